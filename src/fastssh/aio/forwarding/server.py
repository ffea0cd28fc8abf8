"""What a server forwards for its clients: connections that it makes, listeners that it keeps, and their agent.

Sources: RFC 4254 section 7, OpenSSH PROTOCOL 2.4, sshd_config(5). What is not allowed is refused before anything is
resolved or connected, and what a client learns of a failure is the system's reason for TCP and nothing for paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio.dial import reason_of
from fastssh.aio.forwarding.agent import AGENT_VARIABLE, AgentSocket
from fastssh.aio.forwarding.connect import connect_path, connect_tcp
from fastssh.aio.forwarding.group import RelayGroup, originator
from fastssh.aio.forwarding.listen import Listener, bind_path, bind_tcp
from fastssh.aio.forwarding.names import bind_addresses, bind_name, host_name, port_number, socket_path
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.wire.messages import OpenFailureReason
from fastssh.wire.requests import (
    AUTH_AGENT,
    AuthAgent,
    CancelStreamlocalForward,
    CancelTcpipForward,
    DirectStreamlocal,
    DirectTcpip,
    ForwardedStreamlocal,
    ForwardedTcpip,
    StreamlocalForward,
    TcpipForward,
    TcpipForwardReply,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.connection.connection import IncomingOpen
    from fastssh.keys.key_options import KeyOptions

RESOLVING: Final = 4  # names of one client that are looked up at a time


def _no_log(text: str) -> None:
    """The default log: nobody listens."""


class Forwarding:
    """Forwarding by ``policy`` for any number of connections; ``log`` gets lines for an operator, safe for a terminal.

    To be attached when the user is known: ``ServerOptions(authenticated=lambda c, attempt: forwarding.attach(c))``.
    """

    def __init__(self, policy: ForwardingPolicy | None = None, log: Callable[[str], None] = _no_log) -> None:
        self.policy = policy or ForwardingPolicy()
        self._log = log
        self._attached: dict[ServerConnection, ConnectionForwarding] = {}

    def attach(self, connection: ServerConnection, options: KeyOptions | None = None) -> None:
        """Answers the client's requests from now on, within what ``options`` of its key permit as well.

        Everything that comes of them ends with the connection. Raises ValueError for one that has been attached.
        """
        if connection in self._attached:
            raise ValueError("this connection's forwarding is attached already")
        if connection.error is not None:
            return
        policy = self.policy if options is None else self.policy.restricted_by(options)
        self._attached[connection] = ConnectionForwarding(connection, policy, self._log)
        connection.connection.on_lost.append(lambda error: self._detach(connection))

    def _detach(self, connection: ServerConnection) -> None:
        self._attached.pop(connection).close()

    def agent_requested(self, connection: ServerConnection) -> dict[str, str] | None:
        """The answer to ``auth-agent-req@openssh.com``: what to add to the environment of the connection's sessions;
        None: refused. All sessions of a connection share one socket."""
        attached = self._attached.get(connection)
        return None if attached is None else attached.agent_requested()


class ConnectionForwarding:
    """The forwarding of one connection. Made by :meth:`Forwarding.attach`."""

    def __init__(self, connection: ServerConnection, policy: ForwardingPolicy, log: Callable[[str], None]) -> None:
        self._policy = policy
        self._who = f"{printable(connection.user)}@{connection.peer[0]}"
        self._log: Callable[[str], None] = lambda text: log(f"{self._who}: {text}")
        channels = connection.connection
        self._group = RelayGroup(channels, policy.max_channels, fail=connection.fail, log=self._log)
        self._resolving = asyncio.Semaphore(RESOLVING)
        self._forwards: dict[tuple[bytes, int] | bytes, Listener] = {}  # by what the client calls them
        self._agent: AgentSocket | None = None
        channels.max_peer_channels += policy.max_channels
        channels.acceptors |= {
            "direct-tcpip": self._direct_tcpip,
            "direct-streamlocal@openssh.com": self._direct_streamlocal,
        }
        channels.global_handlers |= {
            "tcpip-forward": self._tcpip_forward,
            "cancel-tcpip-forward": self._cancel_tcpip_forward,
            "streamlocal-forward@openssh.com": self._streamlocal_forward,
            "cancel-streamlocal-forward@openssh.com": self._cancel_streamlocal_forward,
        }

    def close(self) -> None:
        """The connection has ended, and with it everything that was made for it."""
        self._group.abort()
        self._forwards.clear()
        if self._agent is not None:
            self._agent.remove()
            self._agent = None

    # -- connections that the client asks for --------------------------------------------------------------------------

    def _direct_tcpip(self, incoming: IncomingOpen) -> None:
        data = DirectTcpip.parse(incoming.data)
        try:
            host, port = host_name(data.host), port_number(data.port)
            port_number(data.originator_port, any_port=True)
        except ValueError as error:
            self._refuse(incoming, f"a connection: {error}", str(error))
            return
        what = f"a connection to {printable(host)} port {port}"
        if not self._policy.may_open(host, port):
            self._refuse(incoming, f"{what}: not permitted", "port forwarding to there is not permitted")
            return
        self._group.open(incoming, what, lambda: connect_tcp(host, port, self._policy.connect_seconds, self._resolving))

    def _direct_streamlocal(self, incoming: IncomingOpen) -> None:
        data = DirectStreamlocal.parse(incoming.data)
        try:
            path = socket_path(data.path)
        except ValueError as error:
            self._refuse(incoming, f"a connection: {error}", str(error))
            return
        what = f"a connection to {printable(path)}"
        if not self._policy.may_open_path(path):
            self._refuse(incoming, f"{what}: not permitted", "forwarding to that socket is not permitted")
            return
        # Whether there is such a file, and whose, is not for everybody who may only forward.
        self._group.open(incoming, what, lambda: connect_path(path, self._policy.connect_seconds), "cannot be reached")

    def _refuse(self, incoming: IncomingOpen, log: str, text: str) -> None:
        self._log(f"refused {log}")
        incoming.refuse(OpenFailureReason.ADMINISTRATIVELY_PROHIBITED, text)

    # -- listeners that the client asks for ----------------------------------------------------------------------------

    def _tcpip_forward(self, data: bytes) -> bytes | None:
        wanted = TcpipForward.parse(data)
        what = f"to listen on port {wanted.port}"
        try:
            host, port = bind_name(wanted.host), port_number(wanted.port, any_port=True)
            what = f"to listen on {printable(host) or '*'} port {port}"
            if not self._policy.may_listen(host, port):
                raise ValueError("not permitted")
            if (wanted.host, port) in self._forwards:
                raise ValueError("it does already")
            self._check_room()
            sockets = bind_tcp(bind_addresses(host, port, self._policy.gateway_ports))
        except (OSError, ValueError) as error:
            self._failed(what, error)
            return None
        bound = sockets[0].getsockname()[1]

        def forwarded(address: Any) -> bytes:
            return ForwardedTcpip(wanted.host, bound, *originator(address)).body()

        self._forwards[wanted.host, bound] = self._group.listen(
            sockets, "forwarded-tcpip", forwarded, f"a connection to {printable(host) or '*'} port {bound}"
        )
        return TcpipForwardReply(bound).body() if port == 0 else b""

    def _streamlocal_forward(self, data: bytes) -> bytes | None:
        wanted = StreamlocalForward.parse(data).path
        what = "to listen on a socket"
        try:
            path = socket_path(wanted)
            what = f"to listen on {printable(path)}"
            if not self._policy.may_listen_path(path):
                raise ValueError("not permitted")
            if wanted in self._forwards:
                raise ValueError("it does already")
            self._check_room()
            sock = bind_path(path, mask=self._policy.bind_mask, unlink=self._policy.bind_unlink)
        except (OSError, ValueError) as error:
            self._failed(what, error)
            return None
        self._forwards[wanted] = self._group.listen(
            [sock],
            "forwarded-streamlocal@openssh.com",
            lambda address: ForwardedStreamlocal(wanted).body(),
            f"a connection to {printable(path)}",
        )
        return b""

    def _check_room(self) -> None:
        if len(self._forwards) >= self._policy.max_listeners:
            raise ValueError(f"{len(self._forwards)} listeners are open")

    def _failed(self, what: str, error: OSError | ValueError) -> None:
        self._log(f"refused {what}: {reason_of(error) if isinstance(error, OSError) else error}")

    def _cancel_tcpip_forward(self, data: bytes) -> bytes | None:
        wanted = CancelTcpipForward.parse(data)
        return self._cancel((wanted.host, wanted.port))

    def _cancel_streamlocal_forward(self, data: bytes) -> bytes | None:
        return self._cancel(CancelStreamlocalForward.parse(data).path)

    def _cancel(self, wanted: tuple[bytes, int] | bytes) -> bytes | None:
        listener = self._forwards.pop(wanted, None)
        if listener is None:
            return None
        self._group.stop(listener)
        return b""

    # -- the agent -----------------------------------------------------------------------------------------------------

    def agent_requested(self) -> dict[str, str] | None:
        """See :meth:`Forwarding.agent_requested`."""
        if not self._policy.may_forward_agent():
            self._log("refused to forward the agent: not permitted")
            return None
        if self._agent is None:
            try:
                agent = AgentSocket(self._policy.agent_directory)
            except OSError as error:
                self._log(f"refused to forward the agent: {reason_of(error)}")
                return None
            self._agent = agent
            self._group.listen(
                [agent.sock], AUTH_AGENT, lambda address: AuthAgent().body(), "a connection to the agent"
            )
        return {AGENT_VARIABLE: self._agent.path}
