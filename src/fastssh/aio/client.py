"""The client: :func:`connect`, and what one does with a :class:`ClientConnection`."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastssh import algorithms
from fastssh._native.plane import Plane
from fastssh.aio import identities
from fastssh.aio.dial import Route, reach, set_class, set_socket_options
from fastssh.aio.driver import Driver
from fastssh.aio.hostkeys import HostKeyPolicy, HostKeyQuestion
from fastssh.aio.login import Login, Patience, open_agent
from fastssh.aio.opening import Opening
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.aio.process import CompletedProcess, Process
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import DEFAULT_MAX_PACKET, DEFAULT_WINDOW, Connection, IncomingOpen
from fastssh.errors import (
    AgentError,
    ChannelClosedError,
    ChannelRequestError,
    ConnectionLostError,
    HostKeyError,
    ProtocolError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.keys.host_announcement import HOST_KEYS, decode_strings
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions
from fastssh.version import __version__
from fastssh.wire.messages import FIRST_CONNECTION, OpenFailureReason, ServiceAccept
from fastssh.wire.requests import EnvRequest, ExecRequest, SubsystemRequest
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh._native.plane import Event
    from fastssh.aio.agent_forwarding import AgentForwarding
    from fastssh.aio.dial import Carrier
    from fastssh.aio.forwarding.client import Address, ClientForwarding, DynamicForward, LocalForward, RemoteForward
    from fastssh.aio.sftp import SFTPClient
    from fastssh.keys.key_options import Endpoint
    from fastssh.keys.public import PublicKey
    from fastssh.transport.negotiation import Negotiated

SOFTWARE: Final = f"fastssh_{__version__}"
COMPANION_SECONDS: Final = 15.0  # for a companion connection to be made
COMPANION_ALIVE: Final = 5.0  # ServerAliveInterval of one: whoever copies over it waits for it
REKEY_CHECK_SECONDS: Final = 30.0  # how often time limits of keys and key exchanges are looked at


class ClientConnection:
    """A connection of a logged-in user. Made by :func:`connect`; ``async with`` closes it.

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
        self._connection.acceptors["auth-agent@openssh.com"] = self._agent_wanted
        self._agent_forwarding: AgentForwarding | None = None
        self._announced = False
        if route.carrier is not None:
            route.carrier.on_lost(self._driver.fail)  # its end, before a login: see connect
        self._login: Login | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._patience: Patience | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._alive_bytes = self._alive_missed = 0
        self._forwarding: ClientForwarding | None = None

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
            async with _deadline(options.login_timeout, f"login to {self._driver.peer}") as timeout:
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
                error = await _explained(error, self._carrier)
            self._driver.fail(error if isinstance(error, SSHError) else ChannelClosedError("connecting was given up"))
            raise error
        finally:
            if agent is not None:
                agent.close()
        if self._carrier is not None:
            self._driver.on_closed(self._carrier.close)
        self._every(min(options.rekey_seconds or REKEY_CHECK_SECONDS, REKEY_CHECK_SECONDS), self._check_rekey)
        if options.server_alive_interval > 0:
            self._every(options.server_alive_interval, self._check_alive)

    def _where(self) -> str:
        """The server as ssh names it after the login."""
        options = self._options
        host = printable(options.host)
        return f"{host} (via proxy)" if self._carrier is not None else f"{host} ([{self._address}]:{options.port})"

    async def _key_exchange(self, deadline: float | None, login: asyncio.Timeout) -> None:
        left = 0.0 if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0.001)
        what = f"key exchange with {self._driver.peer}"
        async with _deadline(left, what, self._options.connect_timeout) as timeout:
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
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
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

    # -- timers and tasks ------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        """Calls ``action`` each ``seconds`` while the connection lives."""

        def run() -> None:
            self._every(seconds, action)
            action()

        if self.error is None:
            self._timers[action] = asyncio.get_running_loop().call_later(seconds, run)

    def _check_rekey(self) -> None:
        self._driver.wake()  # each turn of the driver begins with it

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
                channel.request("auth-agent-req@openssh.com", b"", False)
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
            _deadline(timeout or 0, f"remote command {command!a}"),
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


async def _explained(error: ConnectionLostError, carrier: Carrier) -> ConnectionLostError:
    """``error`` with what the carrier knows of it."""
    reason = await carrier.explain()
    if not reason:
        return error
    explained = ConnectionLostError(f"{error}: {reason}")
    explained.__cause__ = error
    return explained


def _encode(text: str) -> bytes:
    """As the operating system's own encoding has it, so that names which are not UTF-8 survive."""
    return text.encode("utf-8", "surrogateescape")


class _deadline:  # noqa: N801
    """``async with``: SSHTimeoutError naming ``what`` after ``seconds``; 0 for no limit. ``asked``: the limit that was
    set, where ``seconds`` are what is left of it."""

    def __init__(self, seconds: float, what: str, asked: float | None = None) -> None:
        self._seconds, self._what = seconds if asked is None else asked, what
        self._timeout = asyncio.timeout(seconds if seconds > 0 else None)

    async def __aenter__(self) -> asyncio.Timeout:
        return await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            if not self._timeout.expired():
                raise
            raise SSHTimeoutError(f"{self._what} timed out after {self._seconds:g} s") from None


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
                async with _deadline(options.connect_timeout, f"connect to host {peer}"):
                    route = await reach(options)
            policy = HostKeyPolicy(options, route.address)
            async with _deadline(options.login_timeout, f"{peer}: what KnownHostsCommand knows"):
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
