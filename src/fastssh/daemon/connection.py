"""The process of one connection: a fresh event loop, one client, and what is logged of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from fastssh.aio import lingering
from fastssh.aio.dial import set_class
from fastssh.aio.server.connection import ServerConnection
from fastssh.aio.server.options import FAILURE_SECONDS, ServerOptions
from fastssh.aio.server.session import ServerSession
from fastssh.auth.server import Attempt
from fastssh.config.server.settings import ServerSettings
from fastssh.daemon.endings import Ending
from fastssh.daemon.farewell import log_end
from fastssh.daemon.forwarding import forward
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.gate import Gate
from fastssh.daemon.prepare import Prepared
from fastssh.daemon.session import sessions, take_over
from fastssh.daemon.signals import HEARD, Signals
from fastssh.errors import ConfigError, SSHError, SSHTimeoutError
from fastssh.keys.key_options import KeyOptions


def _nobody() -> None:
    """Nobody waits to hear of a login."""


def serve(
    sock: socket.socket, prepared: Prepared, log: Log, *, logged_in: Callable[[], None] = _nobody
) -> Ending:
    """Serves a connected socket to its end, in a process of its own: at the end it may be another user's."""
    return lingering.run_last(Service(prepared, log, logged_in, take_over).run(sock, Signals()))


class Service:
    """One connection. ``take_over`` makes the process the user's: see :func:`fastssh.daemon.session.take_over`;
    ``failure_seconds`` are those of :class:`ServerOptions`."""

    def __init__(
        self,
        prepared: Prepared,
        log: Log,
        logged_in: Callable[[], None],
        take_over: Callable[[User, ServerSettings], int],
        failure_seconds: float = FAILURE_SECONDS,
    ) -> None:
        self._prepared, self._log, self._logged_in, self._take_over = prepared, log, logged_in, take_over
        self._failure_seconds = failure_seconds
        self._gate = Gate(prepared, log)
        self._sessions: Callable[[ServerConnection], ServerSession] = _none_yet
        self._crashed = False

    async def run(self, sock: socket.socket, signals: Signals) -> Ending:
        """Serves the connection to its end, or until a signal ends it."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._stray)
        options = server_options(self._prepared, self._prepared.config.settings, self._log)
        options.failure_seconds = self._failure_seconds
        try:
            connection = ServerConnection(options, sock)
        except OSError as error:
            self._log.info(f"getpeername failed: {error.strerror}")
            return Ending.FAILED
        self._gate.began(connection)
        try:
            settings = self._prepared.config.for_connection(self._gate.facts(connection))
        except ConfigError as error:
            self._log.fatal(str(error))
            return Ending.FAILED
        self._log.level = self._prepared.log_level or settings.log_level
        options.rules, options.authorize, options.outcome = self._gate.rules, self._gate.authorize, self._gate.outcome
        options.converse = self._gate.converse
        options.authenticated, options.session = partial(self._authenticated, sock), self._session
        here, here_port = connection.local
        self._log.verbose(f"Connection from {connection.where} on {here} port {here_port}")
        if settings.tcp_keep_alive:
            _keep_alive(sock)
        loop.add_reader(signals.fileno, _signalled, signals, connection)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)  # of a process that was forked for the connection
        connection.start()
        await connection.wait_closed()
        log_end(connection, self._gate.candidate, self._log, loop.time() - connection.started)
        return self._ending(connection)

    def _authenticated(self, sock: socket.socket, connection: ServerConnection, attempt: Attempt) -> None:
        """Becomes the user. An error ends the connection before a channel is opened."""
        candidate = self._gate.candidate
        assert candidate is not None and candidate.user is not None
        user, settings = candidate.user, candidate.settings
        self._logged_in()
        try:
            files = self._take_over(user, settings)
        except SSHError as error:
            self._log.fatal(str(error))
            raise
        connection.connection.channel_limits["session"] = settings.max_sessions
        connection.connection.max_peer_channels = settings.max_sessions
        options = candidate.options or KeyOptions()
        hooks = forward(connection, settings, options) if user.root is None else {}
        self._sessions = sessions(
            user, settings, options, hooks, lambda quality: set_class(sock, quality, self._log.debug), files,
            self._log,
        )  # fmt: skip
        self._log.verbose(f"Starting session for {user.name} with uid {os.getuid()}")

    def _session(self, connection: ServerConnection) -> ServerSession:
        return self._sessions(connection)

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that nobody expected: ours, though a client may have known how to bring it about."""
        self._crashed = True
        error = context.get("exception")
        text = f"{type(error).__name__}: {error}" if error is not None else context["message"]
        self._log.fatal(f"internal error: {text}")

    def _ending(self, connection: ServerConnection) -> Ending:
        if self._crashed:
            return Ending.CRASH
        if connection.attempt is not None:
            return Ending.LOGGED_IN
        if isinstance(connection.error, SSHTimeoutError):
            return Ending.GRACE_EXCEEDED
        if not self._gate.attempted:
            return Ending.NO_AUTH
        candidate = self._gate.candidate
        return Ending.INVALID_USER if candidate is not None and candidate.user is None else Ending.AUTH_FAILED


def server_options(prepared: Prepared, settings: ServerSettings, log: Log) -> ServerOptions:
    """What holds for a connection before anything is known of it."""
    return ServerOptions(
        host_keys=prepared.host_keys,
        login_grace_time=settings.login_grace_time,
        kex=settings.kex_algorithms,
        groups=prepared.groups,
        host_key_algorithms=settings.host_key_algorithms,
        ciphers=settings.ciphers,
        macs=settings.macs,
        compression=settings.compression,
        pubkey_accepted_algorithms=settings.pubkey_accepted_algorithms,
        version_addendum=settings.version_addendum or "",
        client_alive_interval=settings.client_alive_interval,
        client_alive_count_max=settings.client_alive_count_max,
        rekey_bytes=settings.rekey_limit.bytes,
        rekey_seconds=settings.rekey_limit.seconds,
        log=log.info,
        debug=log.debug,
    )


def _signalled(signals: Signals, connection: ServerConnection) -> None:
    """All but the end of a program of the client's ends the connection."""
    if any(number != signal.SIGCHLD for number in signals.take()):
        connection.close()


def _none_yet(connection: ServerConnection) -> ServerSession:
    raise SSHError("not before the login")


def _keep_alive(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:
        return  # no TCP
