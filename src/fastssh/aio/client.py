"""The client: :func:`connect`, and what one does with a :class:`ClientConnection`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio.client_core import ClientCore
from fastssh.aio.deadline import Deadline
from fastssh.aio.dial import Route, reach, set_class, set_socket_options
from fastssh.aio.hostkeys import HostKeyPolicy
from fastssh.aio.opening import Opening
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.aio.process import CompletedProcess, Process
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import DEFAULT_MAX_PACKET, DEFAULT_WINDOW, Connection, IncomingOpen
from fastssh.errors import (
    AgentError,
    ChannelClosedError,
    ChannelRequestError,
    HostKeyError,
    SSHError,
)
from fastssh.wire.messages import OpenFailureReason
from fastssh.wire.requests import AUTH_AGENT, AUTH_AGENT_REQUEST, EnvRequest, ExecRequest, SubsystemRequest

if TYPE_CHECKING:

    from fastssh.aio.agent_forwarding import AgentForwarding
    from fastssh.aio.forwarding.client import Address, ClientForwarding, DynamicForward, LocalForward, RemoteForward
    from fastssh.aio.sftp import SFTPClient
    from fastssh.keys.endpoint import Endpoint

COMPANION_SECONDS: Final = 15.0  # for a companion connection to be made
COMPANION_ALIVE: Final = 5.0  # ServerAliveInterval of one: whoever copies over it waits for it


class ClientConnection(ClientCore):
    """A connection of a logged-in user. Made by :func:`connect`; ``async with`` closes it.

    ``negotiated`` names the algorithms, ``peer_identification`` the server's software; ``host_key`` is its key,
    ``plane`` the native data plane with its counters, ``error`` what ended the connection (None while it lives).
    """

    def __init__(self, options: ClientOptions, route: Route, policy: HostKeyPolicy, peer: str) -> None:
        super().__init__(options, route, policy, peer)
        self._forwarding: ClientForwarding | None = None
        self._agent_forwarding: AgentForwarding | None = None
        self._connection.acceptors[AUTH_AGENT] = self._agent_wanted

    def companion_options(self, *, ask: bool = False) -> ClientOptions | None:
        """Options for one more connection to the same server, as the same user and with the same key.

        It accepts no other host key than this connection's, asks no person anything, and gives up soon. None where that
        cannot be: the login was not by one key alone, or, unless ``ask``, an agent or a person had to do with it.
        """
        login, options = self._login, self._options
        identity = login.identity if login is not None else None
        if login is None or identity is None or (login.asked and not ask):
            return None
        if options.proxy_command is not None and not ask:  # whom the command may ask is not ours to know
            return None
        if self._carrier is not None and self._carrier.hop is not None:
            hop = self._carrier.hop.companion_options(ask=ask)
            if hop is None:
                return None
            options = replace(options, proxy_jump=hop)
        if identity.private is not None:
            options = replace(
                options, keys=(identity.private,), identity_files=(), certificate_files=(), agent_socket="none"
            )
        log = options.log
        return replace(
            options,
            host=self._address or options.host,
            host_key_algorithms=(self.negotiated.host_key,),
            pinned_host_key=self.host_key,
            identities_only=True,
            preferred_authentications=("publickey",),
            password=None,
            prompter=None,
            verbose=None,
            early=None,
            connect_timeout=min(options.connect_timeout or COMPANION_SECONDS, COMPANION_SECONDS),
            login_timeout=COMPANION_SECONDS,
            server_alive_interval=min(options.server_alive_interval or COMPANION_ALIVE, COMPANION_ALIVE),
            log=lambda level, text: log(max(level, LOG_DEBUG1), text),  # nobody is bothered when it cannot be made
        )

    # -- channels --------------------------------------------------------------------------------------------------

    @property
    def protocol(self) -> Connection:
        """The connection protocol underneath."""
        return self._connection

    def start_channel(
        self,
        kind: str,
        data: bytes,
        handler: ChannelHandler,
        *,
        window: int = DEFAULT_WINDOW,
        max_packet: int = DEFAULT_MAX_PACKET,
    ) -> Channel:
        """Asks for a channel as :meth:`open_channel` does, and does not wait: ``handler`` hears what comes of it.

        Raises what ended the connection.
        """
        return self._connection.open_channel(kind, data, handler, window=window, max_packet=max_packet)

    def open_channels(self) -> list[Channel]:
        """The channels that are not closed."""
        return self._connection.open_channels()

    async def idle(self) -> None:
        """Returns when no channel is open any more. Raises what ended the connection."""
        if self.error is None and self._connection.channels:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._connection.on_idle = lambda: None if waiting.done() else waiting.set_result(None)
            ended = asyncio.ensure_future(self.wait_closed())
            try:
                await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._connection.on_idle = None
                ended.cancel()
        if self.error is not None:
            raise self.error

    async def idle_for(self, seconds: float) -> None:
        """Returns when no channel has been open for so many seconds; with 0 never. Raises what ended the connection."""
        loop, connection = asyncio.get_running_loop(), self._connection
        news = asyncio.Event()
        since = loop.time()

        def idle() -> None:
            nonlocal since
            since = loop.time()
            news.set()

        connection.on_idle = idle
        ended = asyncio.ensure_future(self.wait_closed())
        waiting = asyncio.ensure_future(news.wait())
        try:
            while self.error is None:
                left = max(since + seconds - loop.time(), 0.0)
                if not connection.channels and seconds > 0 and left == 0:
                    return
                await asyncio.wait(
                    (ended, waiting),
                    timeout=None if connection.channels or seconds <= 0 else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if waiting.done():
                    news.clear()
                    waiting = asyncio.ensure_future(news.wait())
        finally:
            connection.on_idle = None
            ended.cancel()
            waiting.cancel()
        raise self.error

    def rekey(self) -> None:
        """Starts a key exchange, unless one is under way."""
        self._transport.rekey()
        self._driver.wake()

    def global_request(self, name: str, data: bytes = b"") -> None:
        """A global request (RFC 4254 section 4) whose answer nobody waits for. Raises what ended the connection."""
        self._connection.global_request(name, data, want_reply=False)

    async def open_session_channel(
        self, handler: ChannelHandler, *, window: int = DEFAULT_WINDOW, max_packet: int = DEFAULT_MAX_PACKET
    ) -> Channel:
        """A confirmed session channel (RFC 4254 section 6.1), as :meth:`open_channel` opens it."""
        return await self.open_channel("session", b"", handler, window=window, max_packet=max_packet)

    async def open_channel(
        self,
        kind: str,
        data: bytes,
        handler: ChannelHandler,
        *,
        window: int = DEFAULT_WINDOW,
        max_packet: int = DEFAULT_MAX_PACKET,
        prepare: Callable[[Channel], None] | None = None,
    ) -> Channel:
        """A confirmed channel of any kind; ``data`` is what follows in CHANNEL_OPEN (RFC 4254 section 5.1).

        ``window`` and ``max_packet`` in bytes are ours. ``prepare`` is called with the channel before the server has
        answered: a relay has to be there before the first data is. Raises ChannelOpenError when the server refuses,
        or what ended the connection. Cancelled, nothing stays open.
        """
        opening = _ChannelOpening(handler)
        channel = self._connection.open_channel(kind, data, opening, window=window, max_packet=max_packet)
        opening.channel = channel
        try:
            if prepare is not None:
                prepare(channel)
            await opening.done
        except BaseException:
            channel.close()
            raise
        return channel

    async def channel_request(self, channel: Channel, name: str, data: bytes) -> None:
        """A channel request that has to succeed. Raises ChannelRequestError, or what ended the channel."""
        reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        channel.request(name, data, True, lambda success: None if reply.done() else reply.set_result(success))
        if not await reply:
            if channel.error is not None:
                raise channel.error
            raise ChannelRequestError(f"server refused the {name} request")

    async def create_process(
        self,
        command: str | None = None,
        *,
        subsystem: str | None = None,
        env: Mapping[str, str] | None = None,
        agent_forwarding: bool | None = None,
        window: int = DEFAULT_WINDOW,
    ) -> Process:
        """Starts ``command`` (None: the user's shell) or a ``subsystem``. The caller reads its streams and closes it.

        ``env`` is asked for; servers ignore names that they do not allow, without a word. With ``agent_forwarding`` the
        process may use our agent (:meth:`forward_agent`); None does as the options say. Raises ChannelOpenError,
        ChannelRequestError, or what ended the connection.
        """
        if command is not None and subsystem is not None:
            raise ValueError("a process is a command or a subsystem, not both")
        if agent_forwarding:
            self.forward_agent()
        process = Process(command if command is not None else subsystem or "shell")
        channel = await self.open_session_channel(process, window=window)
        process.attach(channel)
        try:
            if self.forwards_agent if agent_forwarding is None else agent_forwarding:
                channel.request(AUTH_AGENT_REQUEST, b"", False)
            for name, value in (env or {}).items():
                channel.request("env", EnvRequest(_encode(name), _encode(value)).body(), False)
            if subsystem is not None:
                await self.channel_request(channel, "subsystem", SubsystemRequest(subsystem).body())
            elif command is not None:
                await self.channel_request(channel, "exec", ExecRequest(_encode(command)).body())
            else:
                await self.channel_request(channel, "shell", b"")
        except BaseException:
            channel.close()
            raise
        return process

    async def run(
        self,
        command: str,
        *,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float | None = None,
    ) -> CompletedProcess:
        """Runs ``command`` to its end, with ``input`` on its standard input (nothing by default).

        With ``check`` anything but exit status 0 raises ProcessError. After ``timeout`` seconds the channel is closed
        and SSHTimeoutError raised. Cancelled, the channel is closed as well.
        """
        async with (
            Deadline(timeout or 0, f"remote command {command!a}"),
            await self.create_process(command, env=env) as process,
        ):
            stdout, stderr = await process.communicate(input)
        result = CompletedProcess(command, process.exit_status, process.exit_signal, stdout, stderr)
        if check:
            result.check_returncode()
        return result

    # -- forwarding ------------------------------------------------------------------------------------------------

    async def forward_local(
        self, listen: Address, target: Address, *, bind_mask: int = 0o177, bind_unlink: bool = False
    ) -> LocalForward:
        """Listens on ``listen`` here, and has the server connect each connection to ``target``: ``ssh -L``.

        Both are ``(host, port)`` or the path of a Unix socket; port 0 listens on any free one, see
        :attr:`LocalForward.port`. A socket is made with mode 0777 less ``bind_mask``, with ``bind_unlink`` in place of
        one that is there. Raises OSError, ValueError, or what ended the connection.
        """
        from fastssh.aio.forwarding.client import LocalForward

        return await LocalForward.open(
            self.forwarding, listen, target, bind_mask=bind_mask, bind_unlink=bind_unlink
        )

    async def forward_dynamic(
        self, listen: Address, *, bind_mask: int = 0o177, bind_unlink: bool = False
    ) -> DynamicForward:
        """Listens on ``listen`` here for SOCKS clients (4, 4a and 5), and has the server connect them to where they
        ask for: ``ssh -D``. Otherwise as :meth:`forward_local`."""
        from fastssh.aio.forwarding.client import DynamicForward

        return await DynamicForward.open(
            self.forwarding, listen, None, bind_mask=bind_mask, bind_unlink=bind_unlink
        )

    async def forward_remote(
        self, listen: Address, target: Address | None, *, permit_open: Sequence[Endpoint] | None = None
    ) -> RemoteForward:
        """Has the server listen on ``listen``, and connects each connection from here to ``target``: ``ssh -R``.

        Addresses as for :meth:`forward_local`. With None for ``target`` they are SOCKS clients, who are connected from
        here to where they ask for, as far as ``permit_open`` says (None: everywhere). Raises ChannelRequestError when
        the server refuses, ValueError, or what ended the connection.
        """
        from fastssh.aio.forwarding.client import RemoteForward

        return await RemoteForward(self.forwarding, listen, target, permit_open).open()

    def set_class_of_service(self, quality: int) -> None:
        """IP_TOS or IPV6_TCLASS of the connection from now on, as for a session with a terminal; -1 leaves it."""
        set_class(self._sock, quality, lambda text: self._options.log(LOG_DEBUG1, text))

    @property
    def forwards_agent(self) -> bool:
        """Whether sessions may ask for the agent to be forwarded: ``forward_agent`` of the options, or
        :meth:`forward_agent`."""
        return self._agent_forwarding is not None or (
            self._options.forward_agent is not None and not self._policy.changed_key_accepted
        )

    def forward_agent(self, path: str | None = None) -> None:
        """Lets the server's programs use the agent at ``path`` (None: ``forward_agent`` of the options, or the agent of
        the login) from now on, as soon as a session asks for it.

        Raises AgentError without an agent; HostKeyError where the server's changed key was accepted: whoever it is gets
        no signatures of ours.
        """
        if self._policy.changed_key_accepted:
            raise HostKeyError("Agent forwarding is disabled to avoid man-in-the-middle attacks.")
        if self._agent_forwarding is not None:
            return
        path = path or self._options.forward_agent or self._options.agent_path()
        if path is None:
            raise AgentError("there is no agent to forward")
        from fastssh.aio.agent_forwarding import AgentForwarding
        from fastssh.keys.agent import session_bind

        transport, log = self._transport, self._options.log
        assert transport.host_key is not None
        self._agent_forwarding = AgentForwarding(
            self._connection,
            path,
            session_bind(transport.host_key.blob, transport.session_id, transport.host_key_signature, forwarding=True),
            fail=self._driver.fail,
            log=lambda text: log(LOG_DEBUG1, text),
        )

    def _agent_wanted(self, incoming: IncomingOpen) -> None:
        if self._agent_forwarding is None and not self.forwards_agent:
            self._options.log(LOG_WARNING, "Warning: ssh server tried agent forwarding.")
            self._options.log(LOG_WARNING, "Warning: this is probably a break-in attempt by a malicious server.")
            incoming.refuse(OpenFailureReason.ADMINISTRATIVELY_PROHIBITED, "that was not asked for")
            return
        self.forward_agent()
        assert self._agent_forwarding is not None
        self._agent_forwarding.opened(incoming)

    @property
    def forwarding(self) -> ClientForwarding:
        """What is forwarded for us; made when it is first asked for."""
        if self._policy.changed_key_accepted:
            raise HostKeyError("Port forwarding is disabled to avoid man-in-the-middle attacks.")
        if self._forwarding is None:
            from fastssh.aio.forwarding.client import ClientForwarding

            self._forwarding = ClientForwarding(self._connection, fail=self._driver.fail, log=self._options.log)
        return self._forwarding

    async def sftp(self, **options: Any) -> SFTPClient:
        """A new SFTP session on a channel of its own; options as :func:`fastssh.aio.sftp.open_sftp` takes them."""
        from fastssh.aio.sftp import open_sftp

        return await open_sftp(self, **options)


class _ChannelOpening(ChannelHandler):
    """Stands in for a channel's handler until the peer has answered CHANNEL_OPEN."""

    def __init__(self, handler: ChannelHandler) -> None:
        self.handler = handler
        self.channel: Channel | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        assert self.channel is not None
        self.channel.handler = self.handler
        self.handler.opened()
        if not self.done.done():
            self.done.set_result(None)

    def open_failed(self, error: SSHError) -> None:
        self.handler.open_failed(error)

    def closed(self, error: SSHError | None) -> None:
        self.handler.closed(error)
        if not self.done.done():
            self.done.set_exception(error or ChannelClosedError("the channel was closed while it was opened"))


def _encode(text: str) -> bytes:
    """As the operating system's own encoding has it, so that names which are not UTF-8 survive."""
    return text.encode("utf-8", "surrogateescape")


class connect(Opening[ClientConnection]):  # noqa: N801
    """Connects and logs in: ``conn = await connect(...)``, or ``async with connect(...) as conn``.

    ``host`` is a name or address, or a whole :class:`ClientOptions`; other options by keyword as its fields. ``sock``
    is a connected socket to use instead of dialling (its ownership goes to the connection). The server's host key is
    always verified against known_hosts, see ``strict_host_key_checking``.

    Raises ConnectionLostError (unreachable), SSHTimeoutError, HostKeyError, AuthenticationError, ProtocolError; all are
    SSHError. Cancelled, nothing is left behind.
    """

    def __init__(
        self, host: str | ClientOptions, port: int = 22, *, sock: socket.socket | None = None, **options: Any
    ) -> None:
        if isinstance(host, ClientOptions):
            if options:
                raise TypeError("options are given both as an object and by keyword")
            self._options = host
        else:
            self._options = ClientOptions(host=host, port=port, **options)
        self._sock = sock
        super().__init__(self._connect)

    async def _connect(self) -> ClientConnection:
        options, loop = self._options, asyncio.get_running_loop()
        begun = loop.time()
        peer = f"{options.host} port {options.port}"
        route = Route(self._sock, options.host) if self._sock is not None else None
        try:
            if route is not None:
                set_socket_options(route.sock, options)
            elif options.proxy_command is None:  # hops and addresses have limits of their own
                route = await reach(options)
                begun = route.begun or loop.time()
            else:
                async with Deadline(options.connect_timeout or options.login_timeout, f"connect to host {peer}"):
                    route = await reach(options)
            policy = HostKeyPolicy(options, route.address)
            async with Deadline(options.login_timeout, f"{peer}: what KnownHostsCommand knows"):
                await policy.ask_command(None)
            connection = ClientConnection(options, route, policy, peer)
        except BaseException:
            if route is not None:
                route.sock.close()
                if route.carrier is not None:
                    await route.carrier.wait_closed()
            raise
        try:
            await connection.establish(begun + options.connect_timeout if options.connect_timeout > 0 else None)
        except BaseException:
            if route.carrier is not None:
                await route.carrier.wait_closed()
            raise
        return connection
