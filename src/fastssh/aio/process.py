"""A remote process on a session channel (RFC 4254 section 6): its three streams, its end, and nothing unbounded.

What the peer sends waits in memory at most up to the channel's window: it is credited when it is read. What is written
waits for the peer's window: :meth:`ProcessWriter.drain` says when there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh.connection.channel import WRITE_HIGH_WATER, Channel, ChannelHandler
from fastssh.errors import ChannelClosedError, ProcessError, SSHError
from fastssh.wire.requests import ExitSignal, ExitStatus, SignalRequest

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

INPUT_PIECE: Final = 128 * 1024  # bytes of run()'s input written at a time


@dataclass(frozen=True)
class CompletedProcess:
    """How a command ended. ``exit_status`` is None if ``exit_signal`` (a name without SIG) ended it, or if the server
    did not say."""

    command: str
    exit_status: int | None
    exit_signal: str | None
    stdout: bytes
    stderr: bytes

    def check_returncode(self) -> None:
        """Raises ProcessError unless the exit status is 0."""
        if self.exit_status != 0:
            raise ProcessError(self.command, self.exit_status, self.exit_signal, self.stdout, self.stderr)


class ProcessReader:
    """stdout or stderr. Reading gives the peer room to send more; not reading stops it at the window's size.

    An error that ended the connection is raised once everything received before it was read.
    """

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._eof = False
        self._error: SSHError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # -- fed by the process ----------------------------------------------------------------------------------------

    def _attach(self, channel: Channel) -> None:
        self._channel = channel

    def _feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._buffered += len(data)
        self._wake()

    def _finish(self, error: SSHError | None) -> None:
        if not self._eof:
            self._eof, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- for the user ----------------------------------------------------------------------------------------------

    def at_eof(self) -> bool:
        """True when everything was read and no more will come."""
        return self._eof and not self._pieces

    async def _wait(self) -> bool:
        """Waits for data; False at the end of the stream."""
        while not self._pieces:
            if self._eof:
                if self._error is not None:
                    raise self._error
                return False
            if self._waiter is not None:
                raise RuntimeError("two tasks read the same stream")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _take(self, limit: int) -> bytes:
        """Up to ``limit`` bytes of what is there; all of it for a negative one."""
        if limit < 0 or limit >= self._buffered:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
        else:
            taken: list[bytes] = []
            left = limit
            while left:
                piece = self._pieces.popleft()
                if len(piece) > left:
                    self._pieces.appendleft(piece[left:])
                    piece = piece[:left]
                taken.append(piece)
                left -= len(piece)
            data = b"".join(taken)
        self._buffered -= len(data)
        if self._channel is not None:
            self._channel.consumed(len(data))
        return data

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes as soon as there are any; b"" at the end. With a negative ``n`` everything to the end."""
        if n == 0:
            return b""
        if n > 0:
            return self._take(n) if await self._wait() else b""
        parts: list[bytes] = []
        while await self._wait():
            parts.append(self._take(-1))
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """Exactly ``n`` bytes. Raises asyncio.IncompleteReadError at an end before that."""
        parts: list[bytes] = []
        missing = n
        while missing:
            if not await self._wait():
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            parts.append(self._take(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    async def readline(self, limit: int = 1024 * 1024) -> bytes:
        """A line with its newline; the last one may lack it; b"" at the end. Of a longer line ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        while size < limit and await self._wait():
            end = self._pieces[0].find(b"\n")
            piece = self._take(min(limit - size, len(self._pieces[0]) if end < 0 else end + 1))
            parts.append(piece)
            size += len(piece)
            if piece.endswith(b"\n"):
                break
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line


class ProcessWriter:
    """stdin; on a server's side stdout (``stream`` 0) or stderr (1)."""

    def __init__(self, stream: int = 0) -> None:
        self._stream = stream
        self._channel: Channel | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    def _attach(self, channel: Channel) -> None:
        self._channel = channel

    def _writable(self) -> None:
        self._drained.set()

    def write(self, data: bytes) -> None:
        """Queues ``data``. Raises ChannelClosedError, or what ended the connection, when it cannot be sent any more."""
        if self._channel is None:
            raise ChannelClosedError("the process has not started")
        if self._channel.write(data, self._stream) > WRITE_HIGH_WATER:
            self._drained.clear()

    async def drain(self) -> None:
        """Waits until there is room for more; also returns when the channel ends."""
        await self._drained.wait()

    def write_eof(self) -> None:
        """The end of what this side sends, behind what was written. The other direction stays open."""
        if self._channel is None:
            raise ChannelClosedError("the process has not started")
        self._channel.eof()


class Process(ChannelHandler):
    """A running command, shell or subsystem. Usable with ``async with``: its end closes the channel, and drops input
    that still waits if the end is an error.

    ``exit_status`` and ``exit_signal`` are known after :meth:`wait`.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.stdin = ProcessWriter()
        self.stdout = ProcessReader()
        self.stderr = ProcessReader()
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self._readers = (self.stdout, self.stderr)
        self._channel: Channel | None = None
        self._closed: asyncio.Future[SSHError | None] = asyncio.get_running_loop().create_future()

    def attach(self, channel: Channel) -> None:
        """The confirmed channel; called once, by the connection."""
        self._channel = channel
        self.stdin._attach(channel)
        for reader in self._readers:
            reader._attach(channel)

    # -- ChannelHandler --------------------------------------------------------------------------------------------

    def data(self, stream: int, data: bytes) -> None:
        self._readers[stream]._feed(data)

    def eof(self) -> None:
        for reader in self._readers:
            reader._finish(None)

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        if name == "exit-status" and self.exit_status is None:
            self.exit_status = ExitStatus.parse(data).status
        elif name == "exit-signal" and self.exit_signal is None:
            self.exit_signal = ExitSignal.parse(data).signal
        else:
            return False
        return True

    def writable(self) -> None:
        self.stdin._writable()

    def closed(self, error: SSHError | None) -> None:
        self.stdin._writable()
        for reader in self._readers:
            reader._finish(error)
        if not self._closed.done():
            self._closed.set_result(error)

    # -- for the user ----------------------------------------------------------------------------------------------

    async def wait(self) -> int | None:
        """Waits for the channel's end and returns the exit status, None for a signal or where the server did not say.

        A process that writes more than the window must be read meanwhile. Raises what ended the connection.
        """
        error = await asyncio.shield(self._closed)
        if error is not None:
            raise error
        return self.exit_status

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:
        """Writes ``input`` and the end of input, reads both streams to their ends, and waits: (stdout, stderr)."""
        work = [
            asyncio.ensure_future(each)
            for each in (self.stdout.read(), self.stderr.read(), self._write_input(input or b""))
        ]
        try:
            stdout, stderr, _ = await asyncio.gather(*work)
        except BaseException:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            raise
        await self.wait()
        return stdout, stderr

    async def _write_input(self, input: bytes) -> bytes:
        try:
            for start in range(0, len(input), INPUT_PIECE):
                self.stdin.write(input[start : start + INPUT_PIECE])
                await self.stdin.drain()
            self.stdin.write_eof()
        except ChannelClosedError:
            pass  # a command need not read its input: how it ended is what counts
        return b""

    def send_signal(self, name: str) -> None:
        """Asks for a signal to be delivered (RFC 4254 section 6.9): a name without SIG, such as "TERM"."""
        if self._channel is None:
            raise ChannelClosedError("the process has not started")
        self._channel.request("signal", SignalRequest(name).body(), False)

    def close(self, *, discard: bool = False) -> None:
        """Closes the channel, behind the input written or, with ``discard``, at once; the server ends the process as it
        sees fit. Harmless when closed already."""
        if self._channel is not None:
            self._channel.close(discard=discard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(discard=kind is not None)
