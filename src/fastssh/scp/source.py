"""The sending side: files and directories become records and bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from fastssh.errors import TransferError
from fastssh.scp.records import OK, Directory, End, File, Problem, Times
from fastssh.scp.sink import response
from fastssh.scp.steps import CHUNK, Steps
from fastssh.sftp import paths
from fastssh.sftp.filesystem import FileSystem
from fastssh.sftp.transfer import changed, not_regular
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.wire.text import printable

# O_NONBLOCK: a FIFO without writer is no reason to wait.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Source:
    """Sends ``sources`` of ``filesystem``. What fails is told to the observer and to the other side, and
    the rest goes on.

    :meth:`steps` gives what was done; it raises ProtocolError, and TransferError where the other side cannot go on.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        sources: Sequence[bytes],
        options: CopyOptions,
        observer: CopyObserver,
        report: CopyReport | None = None,
    ) -> None:
        self._files, self._sources, self._options, self._observer = filesystem, sources, options, observer
        self.report = report or CopyReport()

    def steps(self) -> Steps[CopyReport]:
        problem = yield from response()
        if problem is not None:
            raise TransferError(problem.text)
        for path in self._sources:
            yield from self._any(path, 0)
        return self.report

    def _any(self, path: bytes, depth: int) -> Steps[None]:
        try:
            fd = self._files.open(path, _READ, 0)
        except OSError as error:
            yield from self._failed(path, error)
            return
        try:
            st = os.fstat(fd)
            if stat.S_ISREG(st.st_mode):
                os.set_blocking(fd, True)
                yield from self._file(path, fd, st)
                return
        finally:
            os.close(fd)
        if stat.S_ISDIR(st.st_mode) and self._options.recurse:
            yield from self._directory(path, st, depth)
        else:
            yield from self._failed(path, not_regular(paths.decode(path)))

    def _failed(self, path: bytes, error: OSError | TransferError) -> Steps[None]:
        if isinstance(error, OSError) and error.filename is None:
            error = OSError(error.errno, error.strerror, paths.decode(path))
        self.report.add_failure(paths.decode(path), error)
        self._observer.failed(paths.decode(path), error)
        yield self._problem(path, error)

    @staticmethod
    def _problem(path: bytes, error: OSError | TransferError) -> bytes:
        name = printable(paths.decode(path))
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Problem(f"{name}: {reason.removeprefix(f'{name}: ')}").encode()

    def _record(self, path: bytes, st: os.stat_result, record: File | Directory) -> Steps[bool]:
        """Sends a record, with -p the times before it; whether the other side wants what belongs to it."""
        before = [Times(int(st.st_mtime), int(st.st_atime))] if self._options.preserve else []
        for each in [*before, record]:
            yield each.encode()
            problem = yield from response()
            if problem is not None:
                self._refused(path, problem)
                return False
        return True

    def _refused(self, path: bytes, problem: Problem) -> None:
        """The other side said what is wrong."""
        if problem.fatal:
            raise TransferError(problem.text)
        error = TransferError(problem.text)
        self.report.add_failure(paths.decode(path), error)
        self._observer.failed(paths.decode(path), error)

    # -- files ---------------------------------------------------------------------------------------------------------

    def _file(self, path: bytes, fd: int, st: os.stat_result) -> Steps[None]:
        name = paths.decode(path)
        self._observer.started(name, st.st_size)
        if not (yield from self._record(path, st, File(stat.S_IMODE(st.st_mode), st.st_size, paths.basename(path)))):
            return
        error: OSError | TransferError | None = None
        done = 0
        while done < st.st_size:
            wanted = min(CHUNK, st.st_size - done)
            data = b""
            if error is None:
                try:
                    data = os.read(fd, wanted)
                    if not data:
                        error = changed(name)
                except OSError as fault:
                    error = fault
            data = data or bytes(wanted)  # so many were announced, and there is no other way to say that they end
            yield data
            done += len(data)
            self._observer.progress(name, done)
        if error is None and _moved(os.fstat(fd), st):
            error = changed(name)
        yield self._problem(path, error) if error is not None else OK
        problem = yield from response()
        if error is not None:
            self.report.add_failure(name, error)
            self._observer.failed(name, error)
        if problem is not None:
            if error is None or problem.fatal:
                self._refused(path, problem)
        elif error is None:
            self.report.files += 1
            self.report.bytes += done
            self._observer.finished(name, done)

    # -- directories ---------------------------------------------------------------------------------------------------

    def _directory(self, path: bytes, st: os.stat_result, depth: int) -> Steps[None]:
        if depth >= paths.MAX_DEPTH:
            yield from self._failed(path, TransferError("maximum directory depth exceeded"))
            return
        try:
            fd = self._files.opendir(path)
            try:
                entries = os.scandir(fd)
            finally:
                os.close(fd)  # scandir reads by a descriptor of its own
        except OSError as error:
            yield from self._failed(path, error)
            return
        with entries:
            if not (yield from self._record(path, st, Directory(stat.S_IMODE(st.st_mode), paths.basename(path)))):
                return
            while True:
                try:
                    entry = next(entries, None)
                except OSError as error:
                    yield from self._failed(path, error)
                    break
                if entry is None:
                    break
                yield from self._any(paths.join(path, os.fsencode(entry.name)), depth + 1)
        yield End().encode()
        problem = yield from response()
        if problem is not None:
            self._refused(path, problem)
        else:
            self.report.directories += 1


def _moved(now: os.stat_result, then: os.stat_result) -> bool:
    """Whether the file was written to meanwhile."""
    return (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns)

