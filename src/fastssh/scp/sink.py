"""The receiving side: records and bytes become files, and nothing is written that the other side was not asked for.

What goes wrong with a file is told to the other side and to the observer, and the rest goes on. What breaks the
protocol ends it all. A file that is not complete never looks as if it were: see :class:`_Target`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from typing import Final

from fastssh.errors import ProtocolError, TransferError
from fastssh.scp import records
from fastssh.scp.names import Check, anything
from fastssh.scp.records import MAX_LINE, OK, Directory, End, File, Problem, Times
from fastssh.scp.steps import CHUNK, Data, Line, Steps, Want
from fastssh.sftp import paths
from fastssh.sftp.filesystem import FileSystem
from fastssh.sftp.status import failure
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.wire.text import printable

_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_OPEN_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Sink:
    """Writes to ``target`` of ``filesystem``: into it if it is a directory, else to that name.

    ``check`` judges the names at the top; ``wait``: where the target is a pipe or a terminal, nobody else has to wait
    when that takes its time. :meth:`steps` gives what was done; it raises ProtocolError, and TransferError
    where the other side cannot go on.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        target: bytes,
        options: CopyOptions,
        observer: CopyObserver,
        *,
        check: Check = anything,
        wait: bool = False,
        report: CopyReport | None = None,
    ) -> None:
        self._files, self._target, self._options = filesystem, target or b".", options
        self._observer, self._check, self._wait = observer, check, wait
        self._used = False
        self.report = report or CopyReport()

    def steps(self) -> Steps[CopyReport]:
        try:
            into = self._is_directory(self._target)
            if self._options.target_directory and not into:
                raise failure(errno.ENOTDIR)
        except OSError as error:
            reason = f"{self._shown(self._target)}: {error.strerror}"
            yield Problem(reason, fatal=True).encode()
            raise TransferError(reason) from None
        try:
            yield OK
            yield from self._level(self._target, into, 0)
        except ProtocolError as error:
            yield Problem(str(error), fatal=True).encode()
            raise
        return self.report

    def _is_directory(self, path: bytes) -> bool:
        try:
            return stat.S_ISDIR(self._files.stat(path).st_mode)
        except FileNotFoundError:
            return False

    # -- records -------------------------------------------------------------------------------------------------------

    def _level(self, path: bytes, into: bool, depth: int) -> Steps[None]:
        """Everything up to the end of this directory; at the top, of what the other side sends."""
        times: Times | None = None
        while True:
            line = yield Line(MAX_LINE)
            if not line and depth == 0:
                return
            match records.decode(line):
                case Problem() as problem:
                    self._told(problem)
                case End() if depth and times is None:
                    yield OK
                    return
                case Times() as times:
                    yield OK
                case (File() | Directory()) as entry:
                    if depth == 0:
                        self._check(entry.name)
                        self._check_room(path, into)
                    place = paths.join(path, entry.name) if into else path
                    if isinstance(entry, File):
                        yield from self._file(entry, place, times)
                    else:
                        yield from self._directory(entry, place, times, depth)
                    times = None
                case _:
                    raise ProtocolError("protocol error: unexpected end of a directory")

    def _check_room(self, path: bytes, into: bool) -> None:
        """A name that is no directory's is for one file."""
        if self._used and not into:
            raise ProtocolError(f"{self._shown(path)}: {os.strerror(errno.ENOTDIR)}")
        self._used = True

    def _told(self, problem: Problem) -> None:
        if problem.fatal:
            raise TransferError(problem.text or "the other side cannot go on")
        self._failed(b"", TransferError(problem.text))

    def _failed(self, path: bytes, error: TransferError | OSError) -> None:
        self.report.add_failure(paths.decode(path), error)
        self._observer.failed(paths.decode(path), error)

    def _refused(self, path: bytes, error: OSError | TransferError) -> Steps[None]:
        """Something failed here: both sides hear of it."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._failed(path, error)
        yield Problem(f"{self._shown(path)}: {reason}").encode()

    @staticmethod
    def _shown(path: bytes) -> str:
        return printable(paths.decode(path))

    # -- directories ---------------------------------------------------------------------------------------------------

    def _directory(self, entry: Directory, path: bytes, times: Times | None, depth: int) -> Steps[None]:
        if not self._options.recurse:
            raise ProtocolError(f"error: received directory without -r: {self._shown(entry.name)}")
        if depth >= paths.MAX_DEPTH:
            raise ProtocolError("error: maximum directory depth exceeded")
        try:
            made = self._make(path, entry.mode & 0o777 | stat.S_IRWXU)
        except OSError as error:
            yield from self._refused(path, error)
            return
        yield OK
        yield from self._level(path, True, depth + 1)
        try:
            self._complete(entry, path, times, made)
        except OSError as error:
            self._failed(path, error)
        self.report.directories += 1

    def _make(self, path: bytes, mode: int) -> bool:
        """Whether a directory was made; else it was there."""
        try:
            self._files.mkdir(path, mode)
        except FileExistsError:
            if not self._is_directory(path):
                raise failure(errno.ENOTDIR) from None
            return False
        return True

    def _complete(self, entry: Directory, path: bytes, times: Times | None, made: bool) -> None:
        mode = self._options.mode(entry.mode)
        if self._options.preserve:
            if times is not None:
                self._files.utime(path, (times.accessed, times.modified), follow=True)
            self._files.chmod(path, mode, follow=True)
        elif made and mode & stat.S_IRWXU != stat.S_IRWXU:  # it had them to be filled
            now = stat.S_IMODE(self._files.stat(path).st_mode)
            self._files.chmod(path, now & (mode | ~stat.S_IRWXU), follow=True)

    # -- files ---------------------------------------------------------------------------------------------------------

    def _file(self, entry: File, path: bytes, times: Times | None) -> Steps[None]:
        name = paths.decode(path)
        try:
            target = _Target(self._files, path, entry, self._options, wait=self._wait)
        except OSError as error:
            yield from self._refused(path, error)
            return
        try:
            self._observer.started(name, entry.size)
            yield OK
            while target.missing:
                data = yield Data(min(target.missing, CHUNK))
                if not data:
                    raise ProtocolError("the other side ended in the middle of a file")
                target.write(data)
                self._observer.progress(name, entry.size - target.missing)
            problem = yield from response()
            failed = target.finish(times, problem)
        finally:
            target.close()  # cut to what is there, unless it was finished
        if problem is not None and problem.fatal:
            self._told(problem)
        if problem is not None:
            self._failed(path, TransferError(problem.text))
            yield OK
        elif failed is not None:
            yield from self._refused(path, failed)
        else:
            self.report.files += 1
            self.report.bytes += entry.size
            self._observer.finished(name, entry.size)
            yield OK


class _Target:
    """A file being written. Raises OSError if it cannot be opened; later errors are told by :meth:`finish`.

    It is emptied before the first byte, so that it is shorter than its source until it is complete, and cut to what was
    written when it will not be. An old file of the very size that is announced may be the source itself: its bytes are
    compared first, and it is emptied from the first difference on. So the source never loses anything, and a copy onto
    itself changes nothing.
    """

    def __init__(self, filesystem: FileSystem, path: bytes, entry: File, options: CopyOptions, *, wait: bool) -> None:
        self.missing = entry.size
        self._mode, self._preserve = options.mode(entry.mode), options.preserve
        self._written = 0
        self._error: OSError | None = None
        mode = entry.mode & 0o777 | stat.S_IWUSR
        self._created = True
        try:
            self._fd = filesystem.open(path, _OPEN_WRITE | os.O_EXCL, mode)
        except FileExistsError:
            self._created = False
            self._fd, readable = _open_old(filesystem, path, mode)
        try:
            self._open(entry.size, not self._created and readable, wait=wait)
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self, size: int, readable: bool, *, wait: bool) -> None:
        st = os.fstat(self._fd)
        if stat.S_ISDIR(st.st_mode):
            raise failure(errno.EISDIR)
        self._regular = stat.S_ISREG(st.st_mode)
        if self._regular or wait:
            os.set_blocking(self._fd, True)
        self._comparing = readable and self._regular and st.st_size == size > 0
        if self._regular and not self._comparing and st.st_size:
            os.ftruncate(self._fd, 0)

    def write(self, data: bytes) -> None:
        """After an error the rest is only counted: the other side sends it all the same."""
        self.missing -= len(data)
        if self._error is not None:
            return
        try:
            if self._comparing:
                if os.pread(self._fd, len(data), self._written) == data:
                    self._written += len(data)
                    return
                self._comparing = False
                os.ftruncate(self._fd, self._written)
                os.lseek(self._fd, self._written, os.SEEK_SET)
            view = memoryview(data)
            while view:
                done = os.write(self._fd, view)
                self._written += done
                view = view[done:]
        except OSError as error:
            self._error = error

    def finish(self, times: Times | None, problem: Problem | None) -> OSError | None:
        """All bytes came: mode, times, and the close's own word. With a ``problem`` of the source it is cut short."""
        if self._error is None and problem is None:
            try:
                self._complete(times)
                fd, self._fd = self._fd, -1
                os.close(fd)
            except OSError as error:
                self._error = error
        return self._error

    def _complete(self, times: Times | None) -> None:
        if not self._regular:
            return
        if self._preserve:
            os.fchmod(self._fd, self._mode)
        elif self._created and not self._mode & stat.S_IWUSR:
            os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o577)
        if self._preserve and times is not None:
            os.utime(self._fd, (times.accessed, times.modified))
        elif self._comparing:
            os.utime(self._fd)

    def close(self) -> None:
        """Nothing after a good :meth:`finish`."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if self._regular and not self._comparing:
                # All of it may have come, and then a word of the source that it is not right.
                os.ftruncate(fd, self._written - (self._written > 0 and not self.missing and self._error is None))
        except OSError:
            pass  # what made it fail has been told, or will be
        finally:
            os.close(fd)


def _open_old(filesystem: FileSystem, path: bytes, mode: int) -> tuple[int, bool]:
    """A file that is there, and whether it can be read as well."""
    try:
        return filesystem.open(path, _OPEN, mode), True
    except PermissionError:
        return filesystem.open(path, _OPEN_WRITE, mode), False


def response() -> Generator[Want, bytes, Problem | None]:
    """The other side's answer: None if all is well. Raises ProtocolError at the end of input."""
    first = yield Data(1)
    if first == OK:
        return None
    if not first:
        raise ProtocolError("the other side ended without an answer")
    rest = first if first == b"\n" else first + (yield Line(MAX_LINE))
    return records.problem(rest)
