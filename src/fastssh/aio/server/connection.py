"""The server's side of one connection; :mod:`fastssh.aio.server.serve` runs many of them in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from fastssh import algorithms
from fastssh._native.plane import Plane
from fastssh.aio.driver import Driver
from fastssh.aio.server.host_keys import announce
from fastssh.aio.server.options import ServerOptions
from fastssh.aio.timers import Timers
from fastssh.auth.server import Attempt, AuthRules, AuthServer, Verdict
from fastssh.connection.connection import Connection, IncomingOpen
from fastssh.errors import ChannelClosedError, ProtocolError, SSHError, SSHTimeoutError
from fastssh.transport.options import server_extensions
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions
from fastssh.version import __version__
from fastssh.wire.messages import FIRST_CONNECTION, OpenFailureReason, ServiceRequest

if TYPE_CHECKING:

    from fastssh._native.plane import Event
    from fastssh.keys.public import PublicKey
    from fastssh.transport.negotiation import Negotiated

SOFTWARE: Final = f"fastssh_{__version__}"
REKEY_CHECK_SECONDS: Final = 30.0  # how often time limits of keys and key exchanges are looked at
NONE_SECONDS: Final = 0.005  # what the answer to a method "none" takes


class ServerConnection:
    """One client. ``user`` and ``attempt`` are known after the login; ``error`` is what ended the connection.

    ``peer`` and ``local`` are (address, port), ("", 0) where the socket has none; ``where`` is the former in words.
    """

    def __init__(self, options: ServerOptions, sock: socket.socket) -> None:
        self.options = options
        self.peer, self.local = peer_address(sock.getpeername()), peer_address(sock.getsockname())
        self.where = f"{self.peer[0]} port {self.peer[1]}"
        self.plane = Plane()
        self._transport = Transport(
            Role.SERVER, self.plane, self._transport_options(), self, random=os.urandom, now=time.monotonic
        )
        self._driver = Driver(
            sock, self._transport, self.plane, settle=self._settle, lost=self._lost,
            watch=self.channel_event, peer=self.where,
        )  # fmt: skip
        self.connection = Connection(
            self._transport, self.plane, wake=self._driver.wake, turn=self._driver.turn,
            max_peer_channels=options.max_sessions, channel_limits={"session": options.max_sessions},
        )  # fmt: skip
        self.user = ""
        self.attempt: Attempt | None = None
        self.started = asyncio.get_running_loop().time()
        self._auth: AuthServer | None = None
        self._asked_at, self._turn = self.started, options.failure_seconds
        self._timers = Timers()
        self._alive_bytes = self._alive_missed = 0

    def _transport_options(self) -> TransportOptions:
        options = self.options
        return TransportOptions(
            software=f"{SOFTWARE} {options.version_addendum}".rstrip(),
            kex=options.kex or algorithms.SERVER_KEX,
            host_key_algorithms=options.host_key_algorithms or algorithms.SERVER_KEYS,
            ciphers=options.ciphers or algorithms.default_ciphers(),
            macs=options.macs or algorithms.MACS,
            compression=algorithms.COMPRESSION if options.compression else ("none",),
            rekey_bytes=options.rekey_bytes,
            rekey_seconds=options.rekey_seconds,
            host_keys=options.host_keys,
            groups=options.groups,
            extensions=server_extensions(options.signature_algorithms),
        )

    def start(self) -> None:
        """Greets the client. The login has to be done within ``login_grace_time``."""
        if self.options.login_grace_time > 0:
            self._timers.after(self.options.login_grace_time, self._grace_exceeded)
        self._driver.start()

    def _grace_exceeded(self) -> None:
        if self.attempt is None:
            self._driver.fail(SSHTimeoutError(f"Timeout before authentication for {self._driver.peer}"))

    # -- TransportObserver -----------------------------------------------------------------------------------------

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        raise ProtocolError("a server is shown no host key")

    def transport_ready(self) -> None:
        host_key = self._transport.host_key
        assert host_key is not None
        self._auth = AuthServer(
            send=self._transport.send,
            session_id=self._transport.session_id,
            host_key=host_key.blob,
            authorize=self._authorize,
            authenticated=self._authenticated,
            converse=lambda attempt: self.options.converse(self, attempt),
            signature_algorithms=self.options.signature_algorithms,
            rules=self._rules,
            outcome=lambda attempt, verdict: self.options.outcome(self, attempt, verdict),
            defer=self._defer,
        )

    def message(self, sequence: int, payload: bytes) -> None:
        if payload[0] >= FIRST_CONNECTION:
            self.connection.message(payload)
            return
        assert self._auth is not None
        self._asked_at = asyncio.get_running_loop().time()
        self._turn = self.options.failure_seconds
        self._auth.message(payload)
        if payload[0] == ServiceRequest.number:
            self._transport.set_phase(Phase.AUTH)

    def channel_event(self, event: Event) -> None:
        self.connection.event(event)

    def debug(self, text: str) -> None:
        self.options.debug(text)

    # -- authentication --------------------------------------------------------------------------------------------

    def _rules(self, user: str) -> AuthRules:
        options = self.options
        if options.rules is not None:
            return options.rules(self, user)
        methods = tuple((method,) for method in options.authentication_methods)
        return AuthRules(methods, options.max_auth_tries, options.banner)

    def _authorize(self, attempt: Attempt) -> Verdict:
        if attempt.method == "none":  # each login begins with it, and it guesses at nothing
            self._turn = min(self._turn, NONE_SECONDS)
        return self.options.authorize(self, attempt)

    def _authenticated(self, attempt: Attempt) -> None:
        self.user, self.attempt = attempt.user, attempt
        self._transport.set_phase(Phase.CONNECTION)
        self._timers.cancel(self._grace_exceeded)
        options = self.options
        options.authenticated(self, attempt)  # first: it may choose what this user is offered
        self._transport.set_rekey_limits(options.rekey_bytes, options.rekey_seconds)
        assert self._transport.negotiated is not None
        announce(
            self.connection, options.host_keys, session_id=self._transport.session_id,
            algorithm=self._transport.negotiated.host_key,
        )  # fmt: skip
        if options.forwarding is not None:
            from fastssh.aio.forwarding.server import Forwarding

            Forwarding(options.forwarding, options.log).attach(self)
        if options.session_handlers() is not None:
            self.connection.acceptors.setdefault("session", self._accept_session)
        self._timers.every(min(options.rekey_seconds or REKEY_CHECK_SECONDS, REKEY_CHECK_SECONDS), self._driver.wake)
        if options.client_alive_interval > 0:
            self._timers.every(options.client_alive_interval, self._check_alive)

    def _defer(self, answer: Callable[[], None]) -> None:
        """A failure takes the same time whatever its reason (CVE-2018-15473): what the judgement took is part of it,
        and one that took longer ends with the next whole turn."""

        def run() -> None:
            self._driver.guarded(answer)
            self._driver.wake()

        turn = self._turn
        if turn > 0:
            now = asyncio.get_running_loop().time()
            self._timers.after(turn - (now - self._asked_at) % turn, run)
            self._asked_at = now  # for the next one, which waited meanwhile
        else:
            answer()

    # -- channels --------------------------------------------------------------------------------------------------

    def _accept_session(self, incoming: IncomingOpen) -> None:
        session = self.options.session_handlers()  # as it is now: what a login changes holds
        assert session is not None
        try:
            handler: Any = session(self)
        except SSHError as error:
            incoming.refuse(OpenFailureReason.ADMINISTRATIVELY_PROHIBITED, str(error))
            return
        handler.channel = incoming.accept(handler)

    def _check_alive(self) -> None:
        """ClientAliveInterval: a client from which nothing came, not even answers, is gone."""
        received = self.plane.bytes_received
        if received != self._alive_bytes:
            self._alive_bytes, self._alive_missed = received, 0
        elif self._alive_missed >= self.options.client_alive_count_max:
            self._driver.fail(SSHTimeoutError(f"Timeout, client {self._driver.peer} not responding."))
        else:
            self._alive_missed += 1
            with contextlib.suppress(SSHError):  # too many unanswered: the count above ends it
                self.connection.keepalive()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self.connection.settle()

    def _lost(self, error: SSHError) -> None:
        self._timers.close()
        if self._auth is not None:
            self._auth.close()
        self.connection.lost(error)

    @property
    def error(self) -> SSHError | None:
        return self._driver.error

    @property
    def negotiated(self) -> Negotiated | None:
        """The algorithms in use; None before the first key exchange."""
        return self._transport.negotiated

    @property
    def peer_identification(self) -> str:
        """The client's identification line, safe for a terminal."""
        return self._transport.peer_identification

    def fail(self, error: SSHError) -> None:
        """Ends the connection because of ``error``; the peer is told as much as it may know."""
        self._driver.fail(error)

    def close(self) -> None:
        """Ends the connection in order."""
        self._driver.close(ChannelClosedError("the connection was closed"))

    async def wait_closed(self) -> None:
        """Returns when the socket is closed, whatever closed it."""
        await self._driver.wait_closed()


def peer_address(name: Any) -> tuple[str, int]:
    """(address, port) of getpeername(); an IPv4 address that came as IPv6 is shown as what it is."""
    if not isinstance(name, tuple):
        return "", 0
    return str(name[0]).removeprefix("::ffff:") if "." in str(name[0]) else str(name[0]), int(name[1])
