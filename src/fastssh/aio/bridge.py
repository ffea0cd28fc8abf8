"""Descriptors of this machine in place of a connection: SFTP, or a process, with a local program or over a socket.

The SFTP client lives on a channel of a native plane. So two planes are joined by a socket pair, without keys since
nothing leaves this process: on one side the client, on the other a relay to the descriptors, both native. What the
program says is as untrusted as what a server says, and goes through the same checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fastssh._native.plane import RELAY_SINK, RELAY_SOURCE, Plane
from fastssh.aio.driver import Driver
from fastssh.aio.plain import PlainTransport
from fastssh.aio.process import Process
from fastssh.aio.relay import DescriptorRelay
from fastssh.aio.server.child import Child
from fastssh.aio.sftp_channel import MAX_PACKET, WINDOW
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import DEFAULT_MAX_PACKET, DEFAULT_WINDOW, Connection, IncomingOpen
from fastssh.errors import ChannelClosedError, ConnectionLostError, SSHError
from fastssh.wire.requests import ExecRequest, ExitStatus

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh._native.plane import Event
    from fastssh.aio.server.program import Exit
    from fastssh.aio.sftp import SFTPClient

END_SECONDS: Final = 2.0  # for a program to end after its input did; then SIGTERM, and as long again SIGKILL
CAUGHT: Final = [signal.SIGPIPE, *([signal.SIGXFSZ] if hasattr(signal, "SIGXFSZ") else [])]  # ignored by Python alone


class _Side:
    """One of the two ends of the socket pair."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        plane = Plane()
        transport = PlainTransport(plane)
        self.driver = Driver(sock, transport, plane, settle=self._settle, lost=self._lost, watch=self._watch, peer=name)
        self.connection = Connection(transport, plane, wake=self.driver.wake, turn=self.driver.turn)
        transport.connection = self.connection

    def _settle(self) -> None:
        self.connection.settle()

    def _lost(self, error: SSHError) -> None:
        self.connection.lost(error)

    def _watch(self, event: Event) -> None:
        self.connection.event(event)


class _Ends(ChannelHandler):
    """The far side's channel: what the descriptors give is sent, what arrives is written to them. Owns them."""

    def __init__(self, source: int, sink: int) -> None:
        self._open = {RELAY_SOURCE: source, RELAY_SINK: sink}
        self._how: Exit | None = None
        self.tells = False  # there is a program, and exited() will be called
        self._channel: Channel | None = None
        self._relay: DescriptorRelay | None = None

    def accept(self, incoming: IncomingOpen) -> None:
        self._channel = incoming.accept(self, window=WINDOW, max_packet=MAX_PACKET)

    def exited(self, how: Exit) -> None:
        """The program behind the descriptors has ended."""
        self._how = how
        self._finish()

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        """What is asked for runs already."""
        if name not in ("exec", "subsystem") or self._relay is not None or self._channel is None:
            return False
        sources, sinks = {0: self._open[RELAY_SOURCE]}, {0: self._open[RELAY_SINK]}
        self._relay = DescriptorRelay(self._channel, sources=sources, sinks=sinks, ended=self._ended)
        return True

    def data(self, stream: int, data: bytes) -> None:
        """What came with the request."""
        if self._relay is not None:
            self._relay.feed(data)

    def _ended(self, end: int, error: int) -> None:
        self._close(end)
        if end == RELAY_SOURCE and self._channel is not None:
            self._channel.eof()  # a program may live on without its output, and wait for the end of its input
        self._finish()

    def _finish(self) -> None:
        """All that the program said has been sent; and how it ended, where there is one."""
        if RELAY_SOURCE in self._open or self._channel is None or (self.tells and self._how is None):
            return
        if self._how is not None:
            name = "exit-status" if isinstance(self._how, ExitStatus) else "exit-signal"
            self._channel.request(name, self._how.body(), False)
        self._channel.close()
        self._channel = None

    def closed(self, error: SSHError | None) -> None:
        self._channel = None
        self.close()

    def close(self) -> None:
        for end in list(self._open):
            self._close(end)

    def _close(self, end: int) -> None:
        fd = self._open.pop(end, -1)
        if fd >= 0:
            if self._relay is not None:
                self._relay.release(end)
            if fd not in self._open.values():  # one descriptor may be both
                os.close(fd)


class Bridge:
    """Made in a running loop of descriptors, which it owns from then on, or with :meth:`run` of a program's.

    One session over it: :meth:`sftp` or :meth:`process`. ``async with`` closes it, and ends the program.
    """

    def __init__(self, source: int, sink: int, *, name: str = "local program") -> None:
        """``source`` is read, ``sink`` written; a socket may be both."""
        self._ends = _Ends(source, sink)
        self._child: Child | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            near, far = socket.socketpair()
        except BaseException:
            self._ends.close()
            raise
        self._near, self._far = _Side(near, name), _Side(far, name)
        self._far.connection.acceptors["session"] = self._ends.accept
        for side in (self._near, self._far):
            side.driver.start()

    @classmethod
    def run(cls, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Self:
        """Starts a program, found as a shell finds it; its standard input and output are the descriptors, its standard
        error and its terminal are ours. Raises OSError."""
        source, writing = os.pipe()
        reading, sink = os.pipe()
        self = None
        try:
            self = cls(source, sink, name=os.path.basename(arguments[0]))
            pid = os.posix_spawnp(
                arguments[0], list(arguments), os.environ if environment is None else environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, writing, 1)],
                setsigdef=CAUGHT,
            )  # fmt: skip
        except BaseException:
            if self is not None:
                self.close()
            raise
        finally:
            os.close(reading)
            os.close(writing)
        self._child = Child(pid, self.exited)
        self._ends.tells = True
        return self

    def expect_exit(self) -> None:
        """There is a program at the other ends, and :meth:`exited` will be called with its end."""
        self._ends.tells = True

    def exited(self, how: Exit) -> None:
        """How the program ended."""
        self._ends.exited(how)
        if not self._ended.done():
            self._ended.set_result(None)

    # -- sessions ------------------------------------------------------------------------------------------------------

    @property
    def error(self) -> SSHError | None:
        return self._near.driver.error

    async def open_session_channel(
        self, handler: ChannelHandler, *, window: int = DEFAULT_WINDOW, max_packet: int = DEFAULT_MAX_PACKET
    ) -> Channel:
        """As :meth:`ClientConnection.open_session_channel`; once."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        opening = _Opening(handler, opened)
        channel = self._near.connection.open_channel("session", b"", opening, window=window, max_packet=max_packet)
        try:
            await opened
        except asyncio.CancelledError:
            channel.close()
            raise
        channel.handler = handler
        return channel

    async def sftp(self, **options: Any) -> SFTPClient:
        """An SFTP session with what is at the descriptors; options and errors as of :func:`fastssh.aio.sftp.open_sftp`.
        """
        from fastssh.aio.sftp import open_sftp

        return await open_sftp(self, **options)

    async def process(self, *, window: int = DEFAULT_WINDOW) -> Process:
        """What is at the descriptors as a process: ``stdin`` and ``stdout``, and a program's exit status."""
        process = Process("local program")
        channel = await self.open_session_channel(process, window=window)
        process.attach(channel)
        channel.request("exec", ExecRequest(b"").body(), False)
        return process

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the descriptors; what is still open over them ends with ChannelClosedError."""
        for side in (self._near, self._far):
            side.driver.close(ChannelClosedError("the connection was closed"))
        self._ends.close()

    async def wait_closed(self) -> None:
        """Returns when all is closed and the program, which may be told to, has ended."""
        for side in (self._near, self._far):
            await side.driver.wait_closed()
        child = self._child
        if child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            done, _ = await asyncio.wait({self._ended}, timeout=END_SECONDS)
            if done:
                return
            if child.running:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # a set-id program is another's
                    os.kill(child.pid, number)
        await asyncio.wait({self._ended}, timeout=END_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()


class _Opening(ChannelHandler):
    """The near side's channel until it is open."""

    def __init__(self, handler: ChannelHandler, opened: asyncio.Future[None]) -> None:
        self._handler, self._opened = handler, opened

    def opened(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def closed(self, error: SSHError | None) -> None:
        self._handler.closed(error)
        if not self._opened.done():
            self._opened.set_exception(error or ConnectionLostError("the local program has ended"))


async def sftp_over(source: int, sink: int, **options: Any) -> SFTPClient:
    """SFTP with whoever is at the other ends of ``source`` (read) and ``sink`` (written); a socket may be both.

    The descriptors belong to the session from here on, and are closed with it, or when this fails. ``options`` and
    errors as of :func:`fastssh.aio.sftp.open_sftp`; OSError.
    """
    bridge = Bridge(source, sink)
    try:
        client = await bridge.sftp(**options)
    except BaseException:
        bridge.close()
        await bridge.wait_closed()
        raise
    client.on_closed(bridge.close)
    return client
