"""Copies between two SFTP servers through this machine: :func:`crossload`, as ``scp -3`` does.

A large file passes through a ring of segments in memory, each filled by one server's native transfer and emptied by the
other's, so that neither makes a Python object a packet and memory does not grow with the file.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastssh.aio.copy import NOBODY, matching, remote_target
from fastssh.aio.sftp import PROGRESS_SECONDS, SFTPClient
from fastssh.aio.sftp_channel import resolve
from fastssh.errors import SFTPError, SFTPFileNotFoundError, SFTPPermissionError, SSHError, TransferError
from fastssh.sftp import paths
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.session import Failure, Session, transfer_failure
from fastssh.sftp.transfer import SameFileError, another_time, changed, not_regular, one_file
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import TransferResult
    from fastssh.aio.sftp_file import SFTPFile

SEGMENT: Final = 4 * 1024 * 1024  # bytes
SHORT_SEGMENT: Final = 256 * 1024  # where a limit makes it long until one is filled
SEGMENTS: Final = 6  # of the one large file under way
SMALL_FILES: Final = 32  # under way at once
END_SECONDS: Final = 2.0  # for what is under way to be answered when a copy ends before its time
_FILLED: Final = stat.S_IWUSR | stat.S_IXUSR | stat.S_IRUSR  # what a directory needs while it is filled
_CREATE: Final = OpenFlags.WRITE | OpenFlags.CREAT


async def crossload(
    source: SFTPClient,
    names: Sequence[paths.Path],
    destination: SFTPClient,
    target: paths.Path,
    options: CopyOptions | None = None,
    observer: CopyObserver | None = None,
) -> CopyReport:
    """Copies ``names`` of one server, which may be patterns, to ``target`` of the other; rules and errors as of
    :func:`fastssh.aio.copy.upload`. Cancelled, it cuts what is not complete, as far as the server can still be told."""
    copy = _Crossload(source, destination, options or CopyOptions(), observer or NOBODY)
    return await copy.run(names, target)


class _Crossload:
    def __init__(
        self, source: SFTPClient, destination: SFTPClient, options: CopyOptions, observer: CopyObserver
    ) -> None:
        self._source, self._destination = source, destination
        self._options, self._observer = options, observer
        self._report = CopyReport()
        self._room = asyncio.Semaphore(min(SMALL_FILES, options.max_files))
        self._large = asyncio.Lock()
        self._files: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None  # what should not have happened
        self._made: list[tuple[bytes, SFTPAttributes, bool]] = []  # directories, with whether they are new

    async def run(self, names: Sequence[paths.Path], target: paths.Path) -> CopyReport:
        place = await self._destination.expand_user(target)
        known = await remote_target(self._destination, place, len(names) > 1 or self._options.target_directory)
        matches = await matching(self._source, names, self._report, self._observer)
        if len(matches) > 1 and known is None:
            known = await remote_target(self._destination, place, True)
        into = known is not None and known.is_dir()
        try:
            begun: set[bytes] = set()
            for path, attributes, name in matches:
                if name in begun:  # two of one name would be written into each other at once
                    await self._wait()
                begun.add(name)
                await self._any(path, paths.join(place, name) if into else place, attributes, None)
            await self._wait()
            for made in reversed(self._made):
                await self._finish_directory(*made)
        finally:
            for task in self._files:
                task.cancel()
            if self._files:
                await asyncio.wait(self._files)
        return self._report

    async def _wait(self) -> None:
        """Until all files are done with; raises what lost a session."""
        while self._files:
            await asyncio.wait(self._files)
        self._check()
        if self._fault is not None:
            raise self._fault

    def _check(self) -> None:
        for client in (self._source, self._destination):
            if client.session.error is not None:
                raise client.session.error

    def _fail(self, path: bytes, error: Failure) -> None:
        self._check()
        self._report.add_failure(paths.decode(path), error)
        self._observer.failed(paths.decode(path), error)

    # -- directories ---------------------------------------------------------------------------------------------------

    async def _any(
        self, path: bytes, place: bytes, attributes: SFTPAttributes | None, parent: _Directory | None
    ) -> None:
        """A file or directory; links are followed, as scp does."""
        self._check()
        try:
            link = attributes is None or not (attributes.is_file() or attributes.is_dir())
            found = await self._source.stat(path) if link or attributes is None else attributes
            if not found.is_dir():
                await self._room.acquire()
                task = asyncio.create_task(self._file(path, place, new=parent is not None and parent.new))
                self._files.add(task)
                task.add_done_callback(self._file_done)
            elif self._options.recurse:
                await self._directory(path, place, found, parent, link=link)
            else:
                raise not_regular(paths.decode(path))
        except (SSHError, OSError) as error:
            self._fail(path, error)

    async def _directory(
        self, path: bytes, place: bytes, attributes: SFTPAttributes, parent: _Directory | None, *, link: bool
    ) -> None:
        depth = 0 if parent is None else parent.depth + 1
        if depth >= paths.MAX_DEPTH:
            raise TransferError(f"{printable(paths.decode(path))}: maximum directory depth exceeded")
        if parent is None or link:
            real = paths.encode(await self._source.realpath(path))
            if parent is not None and (parent.real + b"/").startswith(real.rstrip(b"/") + b"/"):
                raise TransferError(f"{printable(paths.decode(path))}: a link back to a folder that it is in")
        else:
            real = parent.real + b"/" + paths.basename(path)
        new = await self._make(place, attributes)
        self._made.append((place, attributes, new))
        here = _Directory(real, depth, new)
        async for entry in self._source.scandir(path):
            name = paths.encode(entry.name)
            await self._any(paths.join(path, name), paths.join(place, name), entry.attributes, here)
        self._report.directories += 1

    async def _make(self, place: bytes, attributes: SFTPAttributes) -> bool:
        """Whether the directory is new."""
        mode = 0o777 if attributes.permissions is None else attributes.permissions & 0o777
        try:
            await self._destination.mkdir(place, mode | _FILLED)
        except SFTPError:  # version 3 has no status for 'exists'
            if self._destination.session.error is not None or not await self._destination.isdir(place):
                raise
            return False
        return True

    async def _finish_directory(self, place: bytes, attributes: SFTPAttributes, new: bool) -> None:
        permissions = attributes.permissions
        try:
            if self._options.preserve:
                await self._destination.setstat(place, self._preserved(attributes))
            elif new and permissions is not None and permissions & _FILLED != _FILLED:
                now = (await self._destination.stat(place)).permissions or 0
                await self._destination.chmod(place, now & (permissions | ~_FILLED))
        except (SSHError, OSError) as error:
            self._fail(place, error)

    def _preserved(self, attributes: SFTPAttributes) -> SFTPAttributes:
        mode = attributes.permissions
        return SFTPAttributes(
            permissions=None if mode is None else self._options.mode(mode),
            atime=attributes.atime, mtime=attributes.mtime,
        )  # fmt: skip

    # -- files ---------------------------------------------------------------------------------------------------------

    def _file_done(self, task: asyncio.Task[None]) -> None:
        self._files.discard(task)
        self._room.release()
        if not task.cancelled() and self._fault is None:
            self._fault = task.exception()

    async def _file(self, path: bytes, place: bytes, *, new: bool) -> None:
        name = paths.decode(path)
        try:
            async with self._source.open(path) as file:
                attributes = await file.stat()
                if attributes.permissions is not None and not attributes.is_file():
                    raise not_regular(name)
                self._observer.started(name, attributes.size or 0)
                size = attributes.size or 0
                with suppress(SameFileError):  # it is what it is to be
                    await self._copy(file, path, place, attributes, new=new)
        except (SSHError, OSError) as error:
            self._fail(path, error)
            return
        self._report.files += 1
        self._report.bytes += size
        self._observer.finished(name, size)

    async def _copy(self, file: SFTPFile, path: bytes, place: bytes, attributes: SFTPAttributes, *, new: bool) -> None:
        size = attributes.size or 0
        in_place = not new and await self._may_be_one(path, place, attributes)
        mode = 0o666 if attributes.permissions is None else attributes.permissions & 0o777 | stat.S_IWUSR
        flags = _CREATE if in_place else _CREATE | OpenFlags.TRUNC
        target = await self._destination.open(place, flags, SFTPAttributes(permissions=mode))
        pump = _Pump(self._source.session, self._destination.session, size, (path, place))
        try:
            try:
                if size < min(self._source.read_length, self._destination.write_length) and not self._limited:
                    await self._copy_small(file, target, size, pump)
                else:
                    async with self._large:
                        await pump.run(file.handle, target.handle, partial(self._observer.progress, file.name))
                after = await file.stat()
                if (after.size or 0, after.mtime) != (size, attributes.mtime):
                    raise changed(file.name)
                await self._complete(target, attributes, size if in_place else None)
            except BaseException:
                if not in_place:  # never at its full length
                    left = max(min(pump.done, size - 1), 0)
                    with suppress(SSHError, OSError, TimeoutError):
                        await asyncio.wait_for(target.truncate(left), END_SECONDS)
                raise
        finally:
            await target.close()

    @property
    def _limited(self) -> bool:
        return self._source.session.native_only or self._destination.session.native_only

    async def _copy_small(self, file: SFTPFile, target: SFTPFile, size: int, pump: _Pump) -> None:
        data = await file.pread(size + 1, 0)
        if len(data) != size:
            raise changed(file.name)
        await target.pwrite(data, 0)
        pump.done = size

    async def _complete(self, target: SFTPFile, attributes: SFTPAttributes, size: int | None) -> None:
        wanted = self._preserved(attributes) if self._options.preserve else SFTPAttributes()
        mode = attributes.permissions
        if not self._options.preserve and mode is not None and not mode & stat.S_IWUSR:
            now = (await target.stat()).permissions or 0
            wanted = SFTPAttributes(permissions=now & 0o777 & (mode | ~stat.S_IWUSR))
        if size is not None:
            await target.truncate(size)
        if wanted != SFTPAttributes():
            await target.setstat(wanted)

    async def _may_be_one(self, path: bytes, place: bytes, attributes: SFTPAttributes) -> bool:
        """Whether source and target may be one file, which is not to be emptied then. Raises TransferError if they are:
        an access time that is given to one shows on the other."""
        try:
            known = await self._destination.stat(place)
        except SFTPFileNotFoundError:
            return False
        if (known.size, known.mtime) != (attributes.size, attributes.mtime) or not known.size:
            return False
        if known.atime is None or known.mtime is None:
            return True
        access = another_time(known.atime)
        try:
            await self._destination.setstat(place, SFTPAttributes(atime=access, mtime=known.mtime))
        except SFTPPermissionError:  # it cannot be told: written in place, nothing of it is lost
            return True
        probed = await self._source.stat(path)
        if probed.atime == access:
            await self._destination.setstat(place, SFTPAttributes(atime=known.atime, mtime=known.mtime))
            raise one_file(paths.decode(path))
        return False


class _Directory(NamedTuple):
    """One that is being read: where it is once all links are followed, how deep, and whether its copy is new."""

    real: bytes
    depth: int
    new: bool


class _Segment(NamedTuple):
    fd: int
    offset: int
    size: int
    session: Session
    number: int
    done: asyncio.Future[Failure | None]


class _Pump:
    """One large file. ``done``: bytes at its beginning that the target's server has acknowledged."""

    def __init__(self, source: Session, target: Session, size: int, names: tuple[bytes, bytes]) -> None:
        self._source, self._target, self._size, self._names = source, target, size, names
        self.done = 0
        self._asked = 0
        self._getting: deque[_Segment] = deque()
        self._putting: deque[_Segment] = deque()

    async def run(self, handle: bytes, target: bytes, progress: Callable[[int], None]) -> None:
        limited = self._source.native_only or self._target.native_only
        segment = min(SEGMENT, SHORT_SEGMENT) if limited else SEGMENT
        ring: list[int] = []
        try:
            for _ in range(min(SEGMENTS, -(-self._size // segment))):
                ring.append(_memory())
            free = list(ring)
            while self.done < self._size:
                while free and self._asked < self._size:
                    size = min(segment, self._size - self._asked)
                    start = partial(self._source.get, handle, to_end=False)
                    self._getting.append(self._start(self._source, start, free.pop(), self._asked, size))
                    self._asked += size
                heads = [queue[0].done for queue in (self._getting, self._putting) if queue]
                await asyncio.wait(heads, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._move(free, partial(self._target.put, target))
                progress(self.done + (self._target.progress(self._putting[0].number) if self._putting else 0))
        finally:
            await self._stop()
            for fd in ring:
                os.close(fd)

    def _move(self, free: list[int], put: Callable[..., int]) -> None:
        """What has arrived goes on its way; what is there makes room."""
        while self._getting and self._getting[0].done.done():
            got = self._getting.popleft()
            _raise(got.done.result())
            self._putting.append(self._start(self._target, put, got.fd, got.offset, got.size))
        while self._putting and self._putting[0].done.done():
            put_ = self._putting.popleft()
            _raise(put_.done.result())
            self.done += put_.size
            os.ftruncate(put_.fd, 0)
            free.append(put_.fd)

    def _start(self, session: Session, transfer: Callable[..., int], fd: int, offset: int, size: int) -> _Segment:
        done: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        number = transfer(fd, size, partial(self._ended, done, size), offset=offset)
        return _Segment(fd, offset, size, session, number, done)

    def _ended(
        self, done: asyncio.Future[Any], size: int, result: TransferResult | None, failure: Failure | None
    ) -> None:
        error = failure
        if result is not None:
            source, target = self._names
            name = source if result.kind == "get" else target
            error = transfer_failure(result, name, paths.decode(name))
            if error is None and result.bytes != size:
                error = changed(paths.decode(source))
        resolve(done, error)

    async def _stop(self) -> None:
        left = [*self._getting, *self._putting]
        for segment in left:
            segment.session.cancel(segment.number)
        if left:
            await asyncio.wait([segment.done for segment in left], timeout=END_SECONDS)


def _raise(error: Failure | None) -> None:
    if error is not None:
        raise error


def _memory() -> int:
    """A file in memory, or where there is no such thing one without a name."""
    if sys.platform == "linux":
        return os.memfd_create("fastssh-crossload", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
