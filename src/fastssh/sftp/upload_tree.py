"""Files and directories to the server."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from functools import partial
from types import EllipsisType

from fastssh.errors import SSHError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.session import Failure, named
from fastssh.sftp.transfer import FileCopy, local_error, not_regular
from fastssh.sftp.tree import Directory, Tree
from fastssh.sftp.upload import FileUpload

_WRITABLE = stat.S_IWUSR | stat.S_IXUSR  # what a directory needs while we fill it


class UploadDirectory(Directory):
    __slots__ = ("entries", "identity", "stat")

    def __init__(self, local: str, remote: bytes, parent: UploadDirectory | None) -> None:
        super().__init__(local, remote, parent)
        self.entries: Iterator[os.DirEntry[str]] | None = None
        self.identity = (0, 0)  # device and inode
        self.stat: os.stat_result | None = None


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
            self._read(directory)
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
            self._read(directory)

    @staticmethod
    def _shown(directory: UploadDirectory) -> str:
        return paths.decode(directory.remote)

    def _read(self, directory: UploadDirectory) -> None:
        try:
            directory.entries = os.scandir(directory.local)
        except OSError as error:
            self._fail(directory.local, error)
            self._open -= 1
            self._leave(directory)  # the empty directory is there, and gets its attributes
            return
        self._reading.append(directory)

    def _take(self, directory: UploadDirectory) -> bool:
        assert directory.entries is not None
        try:
            entry = next(directory.entries, None)
        except OSError as error:
            self._fail(directory.local, local_error(error, directory.local))
            entry = None
        if entry is None:
            self._read_to_end(directory)
            return True
        remote = paths.join(directory.remote, os.fsencode(entry.name))
        try:
            if entry.is_file():
                directory.pending += 1
                done = partial(self._file_done, directory)
                target = None if directory.created else ...
                self._run(FileUpload(self.session, entry.path, remote, self.options, done, target))
            elif entry.is_dir():
                self._postpone(UploadDirectory(entry.path, remote, directory))
            else:
                entry.stat()  # says what is wrong with a dangling link
                self._fail(entry.path, not_regular(entry.path))
        except OSError as error:
            self._fail(entry.path, local_error(error, entry.path))
        return True

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
