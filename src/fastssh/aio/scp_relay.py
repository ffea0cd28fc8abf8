"""Two far sides of the legacy SCP protocol joined through this machine, as ``scp -3 -O`` does: :func:`relay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastssh.aio.scp import Pace, Say, Start, check_status, far
from fastssh.errors import ProtocolError, TransferError
from fastssh.scp.command import Command
from fastssh.scp.names import Check, anything, requested
from fastssh.scp.records import MAX_LINE, OK, Directory, End, File, Problem, decode
from fastssh.scp.records import problem as problem_of
from fastssh.sftp import paths
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport

if TYPE_CHECKING:
    from fastssh.aio.process import Process


async def relay(
    source_start: Start,
    source: str,
    target_start: Start,
    target: str,
    options: CopyOptions,
    observer: CopyObserver,
    *,
    pace: Pace | None = None,
    say: Say,
    verbose: bool = False,
    strict: bool = True,
) -> CopyReport:
    """Copies from one other side to another, through this one: what passes is looked at, and not kept. Without
    ``strict`` the names that the source sends need not be those that were asked for. Else as
    :func:`fastssh.aio.scp.upload`."""
    sends = Command(False, (source or ".",), options.recurse, options.preserve, verbose=verbose)
    takes = Command(True, (target or ".",), options.recurse, options.preserve, options.target_directory, verbose)
    async with far(source_start, sends, say) as one, far(target_start, takes, say) as other:
        check = requested(paths.encode(source)) if strict else anything
        passing = _Relay(one, other, options, observer, check, pace or Pace())
        await passing.run()
    for process in (one, other):
        check_status(process, passing.report)
    return passing.report


class _Relay:
    """What one scp says, passed on to another record by record, and the answers back."""

    def __init__(
        self,
        source: Process,
        target: Process,
        options: CopyOptions,
        observer: CopyObserver,
        check: Check,
        pace: Pace,
    ) -> None:
        self._source, self._target = source, target
        self._recurse, self._observer, self._check, self._pace = options.recurse, observer, check, pace
        self._inside: list[bytes] = []
        self.report = CopyReport()

    async def run(self) -> None:
        greeting = await self._answer()
        if greeting is not None:
            raise TransferError(greeting.text)
        while line := await self._source.stdout.readline(MAX_LINE):
            record = decode(line)
            if isinstance(record, Directory) and not (self._recurse and len(self._inside) < paths.MAX_DEPTH):
                raise ProtocolError("error: received a directory that was not asked for")
            if isinstance(record, File | Directory) and not self._inside:
                self._check(record.name)
            await self._send(line)
            if isinstance(record, Problem):
                self._failed(b"", record)
                continue
            problem = await self._answer()
            if problem is not None:
                self._failed(getattr(record, "name", b""), problem)
            elif isinstance(record, File):
                await self._bytes(record)
            elif isinstance(record, Directory):
                self._inside.append(record.name)
            elif isinstance(record, End):
                if not self._inside:
                    raise ProtocolError("protocol error: unexpected end of a directory")
                self._inside.pop()
                self.report.directories += 1
        if self._inside:
            raise ProtocolError("the other side ended in the middle of a directory")

    async def _bytes(self, record: File) -> None:
        name = self._path(record.name)
        self._observer.started(name, record.size)
        left = record.size
        while left:
            data = await self._source.stdout.read(min(left, self._pace.piece))
            if not data:
                raise ProtocolError("the other side ended in the middle of a file")
            await self._send(data)
            await self._pace.passed(len(data))
            left -= len(data)
            self._observer.progress(name, record.size - left)
        problem = await self._answer(self._source, self._target)
        answer = await self._answer()
        problem = problem or answer
        if problem is not None:
            self._failed(record.name, problem)
        else:
            self.report.files += 1
            self.report.bytes += record.size
            self._observer.finished(name, record.size)

    async def _send(self, data: bytes) -> None:
        self._target.stdin.write(data)
        await self._target.stdin.drain()

    async def _answer(self, by: Process | None = None, to: Process | None = None) -> Problem | None:
        """One answer, of the target to the source unless said otherwise; None if all is well."""
        by, to = by or self._target, to or self._source
        said = await by.stdout.read(1)
        if said not in (OK, b"", b"\n"):
            said += await by.stdout.readline(MAX_LINE)
        if not said:
            raise ProtocolError("the other side ended without an answer")
        to.stdin.write(said)
        await to.stdin.drain()
        return None if said == OK else problem_of(said)

    def _path(self, name: bytes) -> str:
        return paths.decode(b"/".join([*self._inside, name]))

    def _failed(self, name: bytes, problem: Problem) -> None:
        error = TransferError(problem.text)
        if problem.fatal:
            raise error
        shown = self._path(name) if name else ""
        self.report.add_failure(shown, error)
        self._observer.failed(shown, error)
