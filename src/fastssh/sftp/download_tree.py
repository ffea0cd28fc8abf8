"""Files and directories from the server. No name of the server's leads out of the directory that it was listed in."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from functools import partial

from fastssh._native.bundle import entries, unpack
from fastssh.errors import ProtocolError, SFTPBadMessageError, SFTPEOFError, TransferError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.download import FileDownload
from fastssh.sftp.messages import SFTPName
from fastssh.sftp.session import Failure, named
from fastssh.sftp.transfer import FileCopy, local_error, not_regular
from fastssh.sftp.tree import BUNDLE, Directory, Note, Tree
from fastssh.wire.codec import Reader
from fastssh.wire.text import printable

_WRITABLE = stat.S_IWUSR | stat.S_IXUSR  # what a directory needs while we fill it
READ_AHEAD = 256  # entries of a directory kept ready
READDIRS = 4  # requests in flight for one directory
MAX_ENTRIES = 4_000_000  # of one directory


class DownloadDirectory(Directory):
    __slots__ = ("at_end", "attributes", "entries", "fd", "handle", "in_flight", "listed", "real", "seen")

    def __init__(self, local: str, remote: bytes, parent: DownloadDirectory | None, attributes: SFTPAttributes) -> None:
        super().__init__(local, remote, parent)
        self.attributes = attributes
        self.real: bytes | None = None  # what REALPATH said: of roots, and where a link was followed
        self.entries: deque[SFTPName] = deque()
        self.seen: set[bytes] = set()
        self.handle = b""
        self.fd = -1  # of the local directory, where small files come in bundles
        self.in_flight = self.listed = 0
        self.at_end = False

    def real_path(self) -> bytes | None:
        """Where this is once all links are followed, if that is known."""
        if self.real is None and self.parent is not None:
            above = self.parent.real_path()
            if above is not None:
                self.real = paths.join(above, paths.basename(self.remote))
        return self.real


class DownloadTree(Tree[DownloadDirectory]):
    """Remote symbolic links are followed, as OpenSSH does; a link to a directory that we are inside of is an error."""

    def add(self, remote: bytes, local: str, attributes: SFTPAttributes | None = None) -> None:
        """A source and the name it gets."""
        self._roots.append(partial(self._start_root, remote, local, attributes))

    def _start_root(self, remote: bytes, local: str, attributes: SFTPAttributes | None) -> None:
        if attributes is None or attributes.permissions is None or attributes.is_symlink():
            self._request(messages.STAT, (remote,), partial(self._root_known, remote, local, True))
        else:
            self._root_known(remote, local, False, attributes, None)

    def _root_known(
        self, remote: bytes, local: str, fresh: bool, attributes: SFTPAttributes | None, error: Failure | None
    ) -> None:
        name = paths.decode(remote)
        if attributes is None:
            if error is not None:
                self._fail(name, named(error, remote))
        elif not attributes.is_dir():
            done = partial(self._file_done, None)
            self._run(FileDownload(self.session, local, remote, self.options, done, attributes, fresh=fresh))
        elif not self.options.recurse:
            self._fail(name, not_regular(name))
        else:
            directory = DownloadDirectory(local, remote, None, attributes)
            self._request(messages.REALPATH, (remote,), partial(self._real_path_known, directory))
            self._postpone(directory)

    @staticmethod
    def _real_path_known(directory: DownloadDirectory, names: tuple[SFTPName, ...] | None, _: Failure | None) -> None:
        if names is not None and len(names) == 1:
            directory.real = names[0].filename

    def _name(self, copy: FileCopy) -> str:
        return paths.decode(copy.remote)

    def _directory_name(self, directory: DownloadDirectory) -> str:
        return paths.decode(directory.remote)

    # -- one directory -------------------------------------------------------------------------------------------------

    def _mode(self, directory: DownloadDirectory) -> int | None:
        permissions = directory.attributes.permissions
        return None if permissions is None else permissions & stat.S_ISVTX | self.options.mode(permissions)

    def _enter(self, directory: DownloadDirectory) -> None:
        mode = self._mode(directory)
        try:
            os.mkdir(directory.local, 0o777 if mode is None else mode | _WRITABLE)
            directory.created = True
        except FileExistsError as error:
            if not os.path.isdir(directory.local):
                self._drop(directory, error)
                return
        except OSError as error:
            self._drop(directory, error)
            return
        self._request(messages.OPENDIR, (directory.remote,), partial(self._opened, directory))

    def _opened(self, directory: DownloadDirectory, handle: bytes | None, error: Failure | None) -> None:
        if handle is None:
            if error is not None:
                self._fail(self._directory_name(directory), named(error, directory.remote))
            self._open -= 1
            self._leave(directory)
            return
        directory.handle = handle
        if self._bundled(messages.BUNDLE_READ):
            try:
                directory.fd = os.open(directory.local, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                pass  # one that cannot be read can perhaps be written to, file by file
        self._reading.append(directory)
        self._read_on(directory)

    def _read_on(self, directory: DownloadDirectory) -> None:
        while not directory.at_end and directory.in_flight < READDIRS and len(directory.entries) < READ_AHEAD:
            directory.in_flight += 1
            if directory.fd >= 0:
                values = directory.handle, min(BUNDLE, self.session.read_length)
                self.session.request(messages.BUNDLE_READ, values, partial(self._bundle_read, directory))
            else:
                self.session.request(messages.READDIR, (directory.handle,), partial(self._listed, directory))

    def _bundle_read(self, directory: DownloadDirectory, bundle: bytes | None, error: Failure | None) -> None:
        """Makes its files; everything else, and what could not be made, goes by itself, which tells what is wrong."""
        found: list[tuple[bytes, int, bool, int]] = []
        left: tuple[SFTPName, ...] = ()
        if bundle is not None and not self._over:
            try:
                found = entries(bundle)
                left = tuple(self._unpack(directory, bundle, found))
            except ProtocolError as fault:
                self.session.abort(SFTPBadMessageError(f"SFTP: reply to {messages.BUNDLE_READ.name}: {fault}"))
        self._received(directory, left, len(found), error)

    def _unpack(
        self, directory: DownloadDirectory, bundle: bytes, found: list[tuple[bytes, int, bool, int]]
    ) -> Iterator[SFTPName]:
        """What is left to do. A bundle with a name that cannot be is left as a whole: each is then looked at."""
        names = {name for name, *_ in found}
        proper = len(names) == len(found) and names.isdisjoint(directory.seen) and all(map(paths.is_safe_name, names))
        again = set(unpack(bundle, directory.fd, self._bundle_options())) if proper else range(len(found))
        for index, (name, size, whole, attributes) in enumerate(found):
            if whole and index not in again:
                directory.seen.add(name)
                self._bundled_file(paths.decode(paths.join(directory.remote, name)), size)
            else:
                yield SFTPName(name, b"", SFTPAttributes.decode(Reader(bundle, attributes)))

    def _listed(
        self, directory: DownloadDirectory, names: tuple[SFTPName, ...] | None, error: Failure | None
    ) -> None:
        self._received(directory, names or (), len(names or ()), error)

    def _received(
        self, directory: DownloadDirectory, names: tuple[SFTPName, ...], count: int, error: Failure | None
    ) -> None:
        """``names`` are left to be done, of ``count`` entries."""
        directory.in_flight -= 1
        if count and not directory.at_end and not self._over:
            directory.entries.extend(names)
            directory.listed += count
            if directory.listed > MAX_ENTRIES:
                error = TransferError(f"{printable(paths.decode(directory.remote))}: too many entries")
                self._fail(self._directory_name(directory), error)
        elif not directory.at_end and error is not None and not isinstance(error, SFTPEOFError):
            self._fail(self._directory_name(directory), named(error, directory.remote))
        if not count or error is not None or self._over:  # an empty list is an end too, or there might be none
            directory.at_end = True
        self._read_on(directory)
        self._close_if_read(directory)
        self.pump()

    def _close_if_read(self, directory: DownloadDirectory) -> None:
        if directory.at_end and directory.in_flight == 0 and directory.handle:
            handle, directory.handle = directory.handle, b""
            if directory.fd >= 0:
                os.close(directory.fd)
                directory.fd = -1
            self._request(messages.CLOSE, (handle,), partial(self._closed, directory))

    def _closed(self, directory: DownloadDirectory, _: None, error: Failure | None) -> None:
        if error is not None:
            self._fail(self._directory_name(directory), named(error, directory.remote, "close"))

    def _take(self, directory: DownloadDirectory) -> bool:
        if directory.entries:
            entry = directory.entries.popleft()
            self._read_on(directory)
            if entry.filename not in (b".", b".."):
                self._take_entry(directory, entry)
            return True
        if directory.at_end and not directory.handle:
            directory.seen.clear()
            self._read_to_end(directory)
            return True
        return False

    def _take_entry(self, directory: DownloadDirectory, entry: SFTPName) -> None:
        name, remote = entry.filename, paths.join(directory.remote, entry.filename)
        if not paths.is_safe_name(name) or name in directory.seen:
            where = self._directory_name(directory)
            reason = "twice" if name in directory.seen else "that is no file name"
            error = TransferError(f"{printable(where)}: server sent a name {reason}: {printable(paths.decode(name))}")
            self._fail(where, error)
            return
        directory.seen.add(name)
        local = os.path.join(directory.local, os.fsdecode(name))
        attributes = entry.attributes
        special = attributes.permissions is not None and not (attributes.is_file() or attributes.is_dir())
        if special and self.options.only_regular:
            self.observer.noted(paths.decode(remote), Note.PASSED_OVER)
            return
        directory.pending += 1
        if attributes.is_file():
            done = partial(self._file_done, directory)
            self._run(FileDownload(self.session, local, remote, self.options, done, attributes))
        elif attributes.permissions is None or attributes.is_symlink():
            self._request(messages.STAT, (remote,), partial(self._followed, directory, remote, local))
        else:
            self._take_other(directory, remote, local, attributes)

    def _followed(
        self,
        directory: DownloadDirectory,
        remote: bytes,
        local: str,
        attributes: SFTPAttributes | None,
        error: Failure | None,
    ) -> None:
        """What a link leads to is known. Directories behind links are the only ones that can form a circle."""
        if attributes is None:
            if error is not None:
                self._fail(paths.decode(remote), named(error, remote))
            self._leave(directory)
        elif attributes.is_dir():
            child = DownloadDirectory(local, remote, directory, attributes)
            self._request(messages.REALPATH, (remote,), partial(self._link_known, child))
        else:
            self._take_other(directory, remote, local, attributes)

    def _link_known(
        self, child: DownloadDirectory, names: tuple[SFTPName, ...] | None, error: Failure | None
    ) -> None:
        self._real_path_known(child, names, error)
        above = child.parent
        while above is not None and (above.real_path() is None or above.real_path() != child.real):
            above = above.parent
        if above is None:
            self._postpone(child)
        else:
            name = self._directory_name(child)
            self._fail(name, OSError(errno.ELOOP, os.strerror(errno.ELOOP), name))
        self._leave(child.parent)

    def _take_other(
        self, directory: DownloadDirectory, remote: bytes, local: str, attributes: SFTPAttributes
    ) -> None:
        """An entry that is known not to be a link; ``directory`` already waits for it."""
        if attributes.is_dir():
            self._postpone(DownloadDirectory(local, remote, directory, attributes))
            self._leave(directory)
        else:
            done = partial(self._file_done, directory)
            self._run(FileDownload(self.session, local, remote, self.options, done, attributes))

    def _finish_directory(self, directory: DownloadDirectory) -> None:
        mode, attributes = self._mode(directory), directory.attributes
        try:
            if mode is not None and self.options.preserve:
                os.chmod(directory.local, mode)
            elif mode is not None and directory.created and mode & _WRITABLE != _WRITABLE:
                now = stat.S_IMODE(os.stat(directory.local).st_mode)
                os.chmod(directory.local, now & ~(_WRITABLE & ~mode))
            if self.options.preserve and attributes.atime is not None and attributes.mtime is not None:
                os.utime(directory.local, (attributes.atime, attributes.mtime))
        except OSError as error:
            self._fail(self._directory_name(directory), local_error(error, directory.local))
        self._leave(directory.parent)

    def _release(self) -> None:
        for directory in self._reading:
            directory.at_end = True
            self._close_if_read(directory)
