"""Copies by the legacy SCP protocol, with `scp -t` or `scp -f` on the other side: :func:`upload`, :func:`download`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from fastssh.errors import ChannelClosedError, ProtocolError, SSHError, TransferError
from fastssh.scp.command import Command
from fastssh.scp.names import anything, requested
from fastssh.scp.sink import Sink
from fastssh.scp.source import Source
from fastssh.scp.steps import CHUNK, Line, Steps
from fastssh.sftp import paths
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.process import Process, ProcessReader, ProcessWriter

T = TypeVar("T")

END_SECONDS: Final = 10.0  # for the other side's scp to end when all is said
LONGEST_WORDS: Final = 64 * 1024  # bytes of what the other side says on standard error that are passed on
PACE_SECONDS: Final = 0.25  # that a rate may be made up for after a pause
_LINE: Final = 4096

Start = Callable[[str], Awaitable["Process"]]  # runs a command on the other side
Say = Callable[[str], None]  # one line, fit for a terminal


class Reader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...
    async def readline(self, limit: int = ...) -> bytes: ...


class Pace:
    """Holds bytes back to ``rate`` bytes a second; 0: none are. ``piece``: so many at once, a part of a second's."""

    def __init__(self, rate: int = 0) -> None:
        self._rate = rate
        self._due = 0.0  # when the next byte may go
        self.piece = max(rate // 8, 256) if rate else CHUNK

    async def passed(self, count: int) -> None:
        """``count`` bytes more went through: returns when they may have."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - PACE_SECONDS) + count / self._rate
        if self._due > now:
            await asyncio.sleep(self._due - now)


async def drive(steps: Steps[T], reader: Reader, writer: ProcessWriter, pace: Pace | None = None) -> T:
    """Runs ``steps`` to their end, over streams. Cancelled, it closes them. Raises what they and the streams raise.

    An answer that nobody takes any more is no error yet: what the other side said before it went is read first."""
    pace = pace or Pace()
    unsent: ChannelClosedError | None = None
    with closing(steps):
        try:
            want = next(steps)
            while True:
                got = b""
                if isinstance(want, bytes):
                    if unsent is not None:
                        raise unsent
                    try:
                        await _send(want, writer, pace)
                    except ChannelClosedError as error:
                        unsent = error
                else:
                    unsent = None
                    if isinstance(want, Line):
                        got = await reader.readline(want.limit)
                    else:
                        got = await reader.read(min(want.limit, pace.piece))
                        await pace.passed(len(got))
                want = steps.send(got)
        except StopIteration as end:
            result: T = end.value
            return result


async def _send(data: bytes, writer: ProcessWriter, pace: Pace) -> None:
    for start in range(0, len(data), pace.piece):
        piece = data[start : start + pace.piece]
        writer.write(piece)
        await writer.drain()
        await pace.passed(len(piece))


async def upload(
    start: Start,
    sources: Sequence[str],
    target: str,
    options: CopyOptions,
    observer: CopyObserver,
    *,
    pace: Pace | None = None,
    say: Say,
    verbose: bool = False,
) -> CopyReport:
    """Copies local files to ``target`` of the other side; else as :func:`fastssh.aio.copy.upload`.

    What the other side says on standard error goes to ``say``. Raises SSHError where there is nothing to copy with.
    """
    command = Command(
        True, (target or ".",), options.recurse, options.preserve, options.target_directory or len(sources) > 1, verbose
    )
    names = [paths.encode(source) for source in sources]
    source = Source(LocalFileSystem("."), names, options, observer)
    return await _converse(start, command, source.steps(), source.report, pace, say)


async def download(
    start: Start,
    source: str,
    target: str,
    options: CopyOptions,
    observer: CopyObserver,
    *,
    pace: Pace | None = None,
    say: Say,
    verbose: bool = False,
    strict: bool = True,
) -> CopyReport:
    """Copies what the other side finds for ``source``, in which its shell expands wildcards, to the local ``target``.

    Without ``strict`` the names that it sends need not be those that were asked for. Else as :func:`upload`.
    """
    command = Command(False, (source or ".",), options.recurse, options.preserve, verbose=verbose)
    check = requested(paths.encode(source)) if strict else anything
    sink = Sink(LocalFileSystem("."), paths.encode(target), options, observer, check=check, wait=True)
    return await _converse(start, command, sink.steps(), sink.report, pace, say)


async def _converse(
    start: Start, command: Command, steps: Steps[CopyReport], report: CopyReport, pace: Pace | None, say: Say
) -> CopyReport:
    async with far(start, command, say) as process:
        await drive(steps, process.stdout, process.stdin, pace)
    check_status(process, report)
    return report


@asynccontextmanager
async def far(start: Start, command: Command, say: Say) -> AsyncIterator[Process]:
    """The other side's scp. It has ended when the block is left, unless that is by an error of another kind."""
    async with await start(command.text()) as process:
        words = asyncio.ensure_future(_pass_on(process.stderr, say))
        try:
            try:
                yield process
            except (ProtocolError, TransferError) as error:
                with suppress(SSHError):  # the first error is the one that counts
                    await _settle(process, words)
                status = process.exit_status
                if status is not None and status > 1 and isinstance(error, ProtocolError):  # 1 is scp's own
                    raise TransferError(f"scp on the other side ended with status {status}") from error
                raise
            await _settle(process, words)
        finally:
            words.cancel()
            await asyncio.wait({words})


def check_status(process: Process, report: CopyReport) -> None:
    """A far side that failed without a word."""
    if not report.failed and process.exit_status != 0:
        how = f"signal {process.exit_signal}" if process.exit_status is None else f"status {process.exit_status}"
        raise TransferError(f"scp on the other side ended with {how}")


async def _settle(process: Process, words: asyncio.Future[None]) -> None:
    """Nothing more is said to the other side, and what it still says is heard to its end, if that is soon."""
    try:
        process.stdin.write_eof()
    except SSHError:
        pass  # it ended first
    try:
        async with asyncio.timeout(END_SECONDS):
            while await process.stdout.read(_LINE):
                pass
            await process.wait()
            await asyncio.wait({words})
    except TimeoutError as error:
        if isinstance(error, SSHError):  # the connection's
            raise
        raise TransferError("scp on the other side does not end") from None


async def _pass_on(stderr: ProcessReader, say: Say) -> None:
    left = LONGEST_WORDS
    try:
        while line := await stderr.readline(_LINE):
            left -= len(line)
            if left > 0:
                say(printable(paths.decode(line.rstrip(b"\r\n"))))
    except SSHError:
        pass  # whoever reads the other stream hears of it
