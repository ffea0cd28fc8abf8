"""A client's connection from its first byte to its last: key exchange, host key, login, timers, the end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from fastssh import algorithms
from fastssh._native.plane import Plane
from fastssh.aio import identities
from fastssh.aio.deadline import Deadline
from fastssh.aio.driver import Driver
from fastssh.aio.login import Login, Patience, open_agent
from fastssh.aio.options import LOG_DEBUG1, ClientOptions
from fastssh.aio.timers import Timers
from fastssh.connection.connection import Connection
from fastssh.errors import (
    ChannelClosedError,
    ConnectionLostError,
    HostKeyError,
    ProtocolError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.keys.host_announcement import HOST_KEYS, decode_strings
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions
from fastssh.version import __version__
from fastssh.wire.messages import FIRST_CONNECTION, ServiceAccept
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh._native.plane import Event
    from fastssh.aio.dial import Carrier, Route
    from fastssh.aio.hostkeys import HostKeyPolicy, HostKeyQuestion
    from fastssh.keys.public import PublicKey
    from fastssh.transport.negotiation import Negotiated

SOFTWARE: Final = f"fastssh_{__version__}"
REKEY_CHECK_SECONDS: Final = 30.0  # how often time limits of keys and key exchanges are looked at


class ClientCore:
    """What :class:`~fastssh.aio.client.ClientConnection` is made on: it does nothing yet with what it may open.

    ``negotiated`` names the algorithms, ``peer_identification`` the server's software; ``host_key`` is its key,
    ``plane`` the native data plane with its counters, ``error`` what ended the connection (None while it lives).
    """

    def __init__(self, options: ClientOptions, route: Route, policy: HostKeyPolicy, peer: str) -> None:
        self._options = options
        self._sock, self._address, self._carrier = route.sock, route.address, route.carrier
        self._policy = policy
        self.plane = Plane()
        self._transport = self._make_transport()
        self._driver = Driver(
            route.sock,
            self._transport,
            self.plane,
            settle=self._settle,
            lost=self._lost,
            watch=self.channel_event,
            peer=peer,
        )
        self._connection = Connection(self._transport, self.plane, wake=self._driver.wake, turn=self._driver.turn)
        self._connection.global_handlers[HOST_KEYS] = self._host_keys_announced
        self._announced = False
        if route.carrier is not None:
            route.carrier.on_lost(self._driver.fail)  # its end, before a login: see connect
        self._login: Login | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._patience: Patience | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers = Timers()
        self._alive_bytes = self._alive_missed = 0

    def _make_transport(self) -> Transport:
        return Transport(
            Role.CLIENT, self.plane, self._transport_options(), self, random=os.urandom, now=time.monotonic
        )

    def _transport_options(self) -> TransportOptions:
        options = self._options
        return TransportOptions(
            software=SOFTWARE,
            kex=options.kex or algorithms.KEX,
            host_key_algorithms=options.host_key_algorithms or self._policy.algorithms(algorithms.HOST_KEYS),
            ciphers=options.ciphers or algorithms.default_ciphers(),
            macs=options.macs or algorithms.MACS,
            compression=algorithms.COMPRESSION_WANTED if options.compression else algorithms.COMPRESSION,
            rekey_bytes=options.rekey_bytes,
            rekey_seconds=options.rekey_seconds,
        )

    # -- the beginning ---------------------------------------------------------------------------------------------

    async def establish(self, connect_deadline: float | None) -> None:
        """Key exchange and authentication. ``connect_deadline``: by the loop's clock, for the former."""
        options = self._options
        options.log(LOG_DEBUG1, f"Local version string SSH-2.0-{SOFTWARE}")
        agent = None
        try:
            async with Deadline(options.login_timeout, f"login to {self._driver.peer}") as timeout:
                self._patience = Patience(timeout)
                self._driver.start()
                options.log(
                    LOG_DEBUG1,
                    f"Authenticating to {printable(options.host)}:{options.port} as '{printable(options.user)}'",
                )
                agent = await open_agent(options)  # meanwhile the key exchange goes on
                files = await identities.load_files(options)
                await self._key_exchange(connect_deadline, timeout)
                if self.error is not None:
                    raise self.error
                login = self._login = Login(
                    options, self._transport, self._driver, Patience(timeout), self._where()
                )
                await login.run(agent, files, server_changed=self._policy.changed_key_accepted)
        except BaseException as error:
            if isinstance(error, ConnectionLostError) and self._carrier is not None:
                error = await explained(error, self._carrier)
            self._driver.fail(error if isinstance(error, SSHError) else ChannelClosedError("connecting was given up"))
            raise error
        finally:
            if agent is not None:
                agent.close()
        if self._carrier is not None:
            self._driver.on_closed(self._carrier.close)
        self._timers.every(min(options.rekey_seconds or REKEY_CHECK_SECONDS, REKEY_CHECK_SECONDS), self._driver.wake)
        if options.server_alive_interval > 0:
            self._timers.every(options.server_alive_interval, self._check_alive)

    def _where(self) -> str:
        """The server as ssh names it after the login."""
        options = self._options
        host = printable(options.host)
        return f"{host} (via proxy)" if self._carrier is not None else f"{host} ([{self._address}]:{options.port})"

    async def _key_exchange(self, deadline: float | None, login: asyncio.Timeout) -> None:
        left = 0.0 if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0.001)
        what = f"key exchange with {self._driver.peer}"
        async with Deadline(left, what, self._options.connect_timeout) as timeout:
            self._patience = Patience(login, timeout)
            await self._ready

    # -- TransportObserver: what the protocol says -----------------------------------------------------------------

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        log = self._options.log
        log(LOG_DEBUG1, f"Server host key: {key.algorithm} {key.fingerprint(self._options.fingerprint_hash)}")
        if self._options.known_hosts_command is not None:
            self._start(self._judge(key, answer))
            return
        question = self._policy.check(key)
        if question is None:
            answer(None)
        else:
            self._start(self._judge(key, answer, question))

    async def _judge(
        self, key: PublicKey, answer: Callable[[SSHError | None], None], question: HostKeyQuestion | None = None
    ) -> None:
        """Answers when a program, or a person, has said what there is to say."""
        prompter, patience = self._options.prompter, self._patience
        try:
            if question is None:
                await self._policy.ask_command(key)
                question = self._policy.check(key)
            if question is not None:
                if prompter is None or patience is None:
                    raise HostKeyError("Host key verification failed: nobody can be asked")
                async with patience.paused():
                    yes = await prompter.confirm_host_key(question.text, question.fingerprint)
                self._policy.confirmed(key, question, yes)
            answer(None)
            self._driver.wake()
        except SSHError as error:
            self._driver.fail(error)
        except Exception as error:  # whatever goes wrong with the question, it is not a yes
            failure = HostKeyError(f"Host key verification failed: {type(error).__name__}")
            failure.__cause__ = error
            self._driver.fail(failure)

    def _host_keys_announced(self, data: bytes) -> bytes:
        """What we make of it is not the server's business: the answer is always yes."""
        if self._announced:
            raise ProtocolError("server announced its host keys twice")
        self._announced = True
        blobs = decode_strings(data)
        if self._policy.update_wanted(blobs):
            from fastssh.aio.host_update import HostKeyUpdate

            update = HostKeyUpdate(
                self._options,
                self._policy.host,
                session_id=self._transport.session_id,
                algorithm=self.negotiated.host_key,
                request=lambda name, data, reply: self._connection.global_request(name, data, on_reply=reply),
            )
            self._start(update.run(blobs))
        return b""

    def transport_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def message(self, sequence: int, payload: bytes) -> None:
        if payload[0] >= FIRST_CONNECTION:
            self._connection.message(payload)
            return
        if self._login is None:
            raise ProtocolError(f"message {payload[0]} before authentication began")
        if payload[0] == ServiceAccept.number:
            self._transport.set_phase(Phase.AUTH)
        self._login.message(payload)

    def channel_event(self, event: Event) -> None:
        self._connection.event(event)

    def debug(self, text: str) -> None:
        self._options.log(LOG_DEBUG1, text)

    def _settle(self) -> None:
        self._connection.settle()

    def _lost(self, error: SSHError) -> None:
        self._timers.close()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if not self._ready.done():
            self._ready.set_exception(error)
        if not self._ready.cancelled():
            self._ready.exception()  # seen: whoever waits gets it too
        if self._login is not None:
            self._login.lost(error)
        self._connection.lost(error)

    # -- meanwhile -------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_alive(self) -> None:
        """ServerAliveInterval: a server from which nothing came, not even answers, is gone (ssh_config(5))."""
        received = self.plane.bytes_received
        if received != self._alive_bytes:
            self._alive_bytes, self._alive_missed = received, 0
            return
        if self._alive_missed >= self._options.server_alive_count_max:
            self._driver.fail(SSHTimeoutError(f"Timeout, server {self._driver.peer} not responding."))
            return
        self._alive_missed += 1
        try:
            self._connection.keepalive()
        except SSHError as error:
            self._driver.fail(error)

    # -- the end ---------------------------------------------------------------------------------------------------

    @property
    def error(self) -> SSHError | None:
        return self._driver.error

    def close(self) -> None:
        """Ends the connection in order; what is still open on it is closed with ChannelClosedError."""
        self._driver.close(ChannelClosedError("the connection was closed"))

    async def wait_closed(self) -> None:
        """Returns when the socket is closed, whatever closed it, and what carried its bytes has ended."""
        await self._driver.wait_closed()
        if begun := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(begun)
        if self._carrier is not None:
            await self._carrier.wait_closed()

    def on_lost(self, callback: Callable[[SSHError], None]) -> None:
        """``callback`` is called once when the connection has ended, in whatever way, with what ended it."""
        self._connection.on_lost.append(callback)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    async def keepalive(self) -> None:
        """keepalive@openssh.com: returns when the server has answered, and with it all that was sent before. Raises
        what ended the connection."""
        answered = asyncio.Event()
        self._connection.keepalive(answered.set)
        await answered.wait()
        if self.error is not None:
            raise self.error

    # -- facts -----------------------------------------------------------------------------------------------------

    @property
    def negotiated(self) -> Negotiated:
        """The algorithms in use."""
        assert self._transport.negotiated is not None
        return self._transport.negotiated

    @property
    def peer_identification(self) -> str:
        """The server's identification line, safe for a terminal."""
        return self._transport.peer_identification

    @property
    def host_key(self) -> PublicKey:
        """The server's host key."""
        assert self._transport.host_key is not None
        return self._transport.host_key

    @property
    def user_key(self) -> PublicKey | None:
        """The key, or certificate, that alone was enough to log in; None for other ways."""
        identity = self._login.identity if self._login is not None else None
        return identity.public if identity is not None else None

    @property
    def options(self) -> ClientOptions:
        """What the connection was asked to be."""
        return self._options


async def explained(error: ConnectionLostError, carrier: Carrier) -> ConnectionLostError:
    """``error`` with what the carrier knows of it."""
    reason = await carrier.explain()
    if not reason:
        return error
    better = ConnectionLostError(f"{error}: {reason}")
    better.__cause__ = error
    return better
