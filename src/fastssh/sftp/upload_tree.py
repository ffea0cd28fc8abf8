"""Files and directories to the server."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import EllipsisType

from fastssh._native.bundle import Packer, entries
from fastssh.errors import SSHError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.session import Failure, named
from fastssh.sftp.transfer import FileCopy, local_error, not_regular
from fastssh.sftp.tree import BUNDLE, BUNDLE_WEIGHT, Directory, Note, Tree
from fastssh.sftp.upload import FileUpload

_WRITABLE = stat.S_IWUSR | stat.S_IXUSR  # what a directory needs while we fill it


class UploadDirectory(Directory):
    __slots__ = ("bundles", "entries", "handle", "identity", "named", "packer", "stat")

    def __init__(self, local: str, remote: bytes, parent: UploadDirectory | None) -> None:
        super().__init__(local, remote, parent)
        self.entries: Iterator[os.DirEntry[str]] | None = None
        self.packer: Packer | None = None  # in place of ``entries``, where small files go in bundles
        self.handle = b""  # of the remote directory, for bundles
        self.bundles = 0  # sent and not yet answered
        self.named: deque[bytes] = deque()  # what does not go, or did not go, in a bundle
        self.identity = (0, 0)  # device and inode
        self.stat: os.stat_result | None = None


class _Named:
    """As much of an os.DirEntry as is wanted, of a name."""

    def __init__(self, directory: str, name: str) -> None:
        self.name, self.path = name, os.path.join(directory, name)

    def is_symlink(self) -> bool:
        return os.path.islink(self.path)

    def is_file(self) -> bool:
        return os.path.isfile(self.path)

    def is_dir(self) -> bool:
        return os.path.isdir(self.path)

    def stat(self) -> os.stat_result:
        return os.stat(self.path)


class UploadTree(Tree[UploadDirectory]):
    """Symbolic links are followed, as OpenSSH does; a link to a directory that we are inside of is an error."""

    def add(self, local: str, remote: bytes, target: SFTPAttributes | EllipsisType | None = ...) -> None:
        """A source and the name it gets. ``target``: as for :class:`FileUpload`."""
        self._roots.append(partial(self._start_root, local, remote, target))

    def _start_root(self, local: str, remote: bytes, target: SFTPAttributes | EllipsisType | None) -> None:
        if os.path.isdir(local):
            if self.options.recurse:
                self._postpone(UploadDirectory(local, remote, None))
            else:
                self._fail(local, not_regular(local))
        else:
            self._run(FileUpload(self.session, local, remote, self.options, partial(self._file_done, None), target))

    def _name(self, copy: FileCopy) -> str:
        return copy.local

    def _directory_name(self, directory: UploadDirectory) -> str:
        return directory.local

    # -- one directory -------------------------------------------------------------------------------------------------

    def _enter(self, directory: UploadDirectory) -> None:
        try:
            st = os.stat(directory.local)
        except OSError as error:
            self._drop(directory, error)
            return
        directory.stat, directory.identity = st, (st.st_dev, st.st_ino)
        above = directory.parent
        while above is not None and above.identity != directory.identity:
            above = above.parent
        if above is not None:
            self._drop(directory, OSError(errno.ELOOP, os.strerror(errno.ELOOP), directory.local))
            return
        attributes = SFTPAttributes(permissions=self._mode(st) | _WRITABLE)
        self._request(messages.MKDIR, (directory.remote, attributes), partial(self._made, directory))

    def _mode(self, st: os.stat_result) -> int:
        return st.st_mode & stat.S_ISVTX | self.options.mode(st.st_mode)

    def _made(self, directory: UploadDirectory, _: None, error: Failure | None) -> None:
        if error is None:
            directory.created = True
            self._begin(directory)
        else:  # version 3 has no status for 'exists'
            self._request(messages.STAT, (directory.remote,), partial(self._exists, directory, error))

    def _exists(
        self, directory: UploadDirectory, mkdir_error: Failure, attributes: SFTPAttributes | None, error: Failure | None
    ) -> None:
        if attributes is None:
            self._drop(directory, named(mkdir_error, directory.remote, "mkdir"))
        elif attributes.permissions is not None and not attributes.is_dir():
            self._drop(directory, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._shown(directory)))
        else:
            self._begin(directory)

    @staticmethod
    def _shown(directory: UploadDirectory) -> str:
        return paths.decode(directory.remote)

    def _begin(self, directory: UploadDirectory) -> None:
        """The remote directory is there. Bundles need a handle of it."""
        if self._bundled(messages.BUNDLE_WRITE):
            self._request(messages.OPENDIR, (directory.remote,), partial(self._opened, directory))
        else:
            self._read(directory)

    def _opened(self, directory: UploadDirectory, handle: bytes | None, error: Failure | None) -> None:
        directory.handle = handle or b""  # one that cannot be read can perhaps be written to, file by file
        self._read(directory)

    def _read(self, directory: UploadDirectory) -> None:
        try:
            if directory.handle:
                directory.packer = _pack(directory.local)
            else:
                directory.entries = os.scandir(directory.local)
        except OSError as error:
            self._fail(directory.local, local_error(error, directory.local))
            self._close_handle(directory)
            self._open -= 1
            self._leave(directory)  # the empty directory is there, and gets its attributes
            return
        self._reading.append(directory)

    def _close_handle(self, directory: UploadDirectory) -> None:
        if directory.handle:
            handle, directory.handle = directory.handle, b""
            self._request(messages.CLOSE, (handle,), lambda value, error: None)  # nothing was written through it alone

    def _take(self, directory: UploadDirectory) -> bool:
        if directory.named:
            self._take_entry(directory, _Named(directory.local, os.fsdecode(directory.named.popleft())))
        elif directory.packer is not None:
            self._take_bundle(directory, directory.packer)
        elif directory.entries is not None:
            self._take_next(directory, directory.entries)
        elif directory.bundles:
            return False
        else:
            self._close_handle(directory)
            self._read_to_end(directory)
        return True

    def _take_next(self, directory: UploadDirectory, entries: Iterator[os.DirEntry[str]]) -> None:
        try:
            entry = next(entries, None)
        except OSError as error:
            self._fail(directory.local, local_error(error, directory.local))
            entry = None
        if entry is None:
            directory.entries = None
        else:
            self._take_entry(directory, entry)

    def _take_entry(self, directory: UploadDirectory, entry: os.DirEntry[str] | _Named) -> None:
        path = entry.path
        remote = paths.join(directory.remote, os.fsencode(entry.name))
        try:
            if self.options.only_regular and (entry.is_symlink() or not (entry.is_file() or entry.is_dir())):
                self.observer.noted(path, Note.PASSED_OVER)
            elif entry.is_file():
                directory.pending += 1
                done = partial(self._file_done, directory)
                target = None if directory.created else ...
                self._run(FileUpload(self.session, path, remote, self.options, done, target))
            elif entry.is_dir():
                self._postpone(UploadDirectory(path, remote, directory))
            else:
                entry.stat()  # says what is wrong with a dangling link
                self._fail(path, not_regular(path))
        except OSError as error:
            self._fail(path, local_error(error, path))

    # -- bundles -----------------------------------------------------------------------------------------------------

    def _take_bundle(self, directory: UploadDirectory, packer: Packer) -> None:
        try:
            bundle = packer.next(min(BUNDLE, self.session.write_length))
        except OSError as error:
            self._fail(directory.local, local_error(error, directory.local))
            bundle = b""
        if not bundle:
            packer.close()
            directory.packer = None
            return
        files: dict[int, tuple[bytes, int]] = {}
        for index, (name, size, whole, _) in enumerate(entries(bundle)):
            if whole:
                files[index] = name, size
            else:
                directory.named.append(name)
        if files:
            directory.bundles += 1
            self._load += BUNDLE_WEIGHT
            values = directory.handle, self._bundle_options(), bundle
            self.session.request(messages.BUNDLE_WRITE, values, partial(self._bundle_written, directory, files))

    def _bundle_written(
        self,
        directory: UploadDirectory,
        files: dict[int, tuple[bytes, int]],
        failed: tuple[int, ...] | None,
        error: Failure | None,
    ) -> None:
        """What did not arrive goes by itself, which tells what is wrong with it."""
        directory.bundles -= 1
        self._load -= BUNDLE_WEIGHT
        again = files.keys() if failed is None else set(failed)
        for index, (name, size) in files.items():
            if index in again:
                directory.named.append(name)
            else:
                self._bundled_file(os.path.join(directory.local, os.fsdecode(name)), size)
        self.pump()

    # -- the end of a directory --------------------------------------------------------------------------------------

    def _finish_directory(self, directory: UploadDirectory) -> None:
        st = directory.stat
        assert st is not None
        attributes = SFTPAttributes(permissions=self._mode(st))
        if self.options.preserve:
            attributes.atime, attributes.mtime = wire_time(st.st_atime_ns), wire_time(st.st_mtime_ns)
        elif not directory.created or self._mode(st) & _WRITABLE == _WRITABLE:
            self._leave(directory.parent)
            return
        self._request(messages.SETSTAT, (directory.remote, attributes), partial(self._finished, directory))

    def _finished(self, directory: UploadDirectory, _: None, error: Failure | None) -> None:
        if error is not None and isinstance(error, SSHError | OSError):
            self._fail(directory.local, named(error, directory.remote, "set attributes"))
        self._leave(directory.parent)

    def _release(self) -> None:
        for directory in self._reading:
            if directory.entries is not None:
                directory.entries.close()  # type: ignore[attr-defined]
            if directory.packer is not None:
                directory.packer.close()
            self._close_handle(directory)


def _pack(path: str) -> Packer:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Packer(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
