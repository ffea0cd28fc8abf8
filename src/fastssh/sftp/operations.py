"""What an SFTP server does for each kind of request, one method a kind, and the table that says which.

Methods take the values of their request and return what its reply carries, None for a plain OK. They raise OSError, or
Refused where no errno says it. In what they do, and in the order, they follow OpenSSH's sftp-server.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from fastssh._native import bundle as bundles
from fastssh.sftp import file_io, messages
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import MAX_MESSAGE, MAX_TRANSFER, OpenFlags, StatusCode
from fastssh.sftp.file_io import signed
from fastssh.sftp.filesystem import FileSystem
from fastssh.sftp.handles import MAX_HANDLES, Handles, OpenFile
from fastssh.sftp.listing import Listing, LongNames
from fastssh.sftp.messages import Request, SFTPLimits, SFTPName, SFTPStatVFS
from fastssh.sftp.status import Refused, failure

MAX_IDS: Final = 4096  # users, and groups, that one request may ask the names of
_NOBODY: Final = 0xFFFF_FFFF  # (uid_t)-1: is not changed
_MODE: Final = 0o7777
_NEW_FILE, _NEW_DIRECTORY = 0o666, 0o777  # where a client states no mode; less the umask
_VFS_FLAGS: Final = 0x1 | 0x2  # of statvfs@openssh.com: read-only, no set-id

_ACCESS: Final = {
    OpenFlags(0): os.O_RDONLY,
    OpenFlags.READ: os.O_RDONLY,
    OpenFlags.WRITE: os.O_WRONLY,
    OpenFlags.READ | OpenFlags.WRITE: os.O_RDWR,
}
_FLAGS: Final = {
    OpenFlags.APPEND: os.O_APPEND,
    OpenFlags.CREAT: os.O_CREAT,
    OpenFlags.TRUNC: os.O_TRUNC,
    OpenFlags.EXCL: os.O_EXCL,
}
_WRITING: Final = OpenFlags.WRITE | OpenFlags.APPEND | OpenFlags.CREAT | OpenFlags.TRUNC
# A FIFO without a partner must not stop the server, a terminal not become its own.
_NEVER_WAIT: Final = os.O_NONBLOCK | os.O_NOCTTY
_NULL: Final = os.stat(os.devnull).st_rdev  # now: a chroot may have none
# What link(2) says where there are no links, or not this one; EPERM is Linux's way.
_NO_LINKS: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EPERM)


class Access(Enum):
    """What a kind of request does to the files."""

    READS = auto()
    WRITES = auto()  # refused by a server that is read-only
    DEPENDS = auto()  # on its values: the method decides


def _one_name(path: bytes) -> tuple[SFTPName, ...]:
    """The reply of REALPATH and its like: no attributes, the name twice."""
    return (SFTPName(path, path, SFTPAttributes()),)


def _vfs(result: os.statvfs_result) -> SFTPStatVFS:
    return SFTPStatVFS(
        result.f_bsize, result.f_frsize, result.f_blocks, result.f_bfree, result.f_bavail, result.f_files,
        result.f_ffree, result.f_favail, result.f_fsid, result.f_flag & _VFS_FLAGS, result.f_namemax,
    )  # fmt: skip


def _owner(number: int) -> int:
    return -1 if number == _NOBODY else number


class Operations:
    """The methods. ``now``: seconds since 1970, for listings."""

    def __init__(
        self, filesystem: FileSystem, limits: SFTPLimits, now: Callable[[], float], *, read_only: bool
    ) -> None:
        self._files, self._limits, self._read_only = filesystem, limits, read_only
        self._longest_read = min(limits.max_read_length or MAX_TRANSFER, MAX_TRANSFER)
        self._names = LongNames(filesystem.user_name, filesystem.group_name, now)
        self.handles = Handles(limits.max_open_handles or MAX_HANDLES)

    # -- files -------------------------------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int, attributes: SFTPAttributes) -> bytes:
        if self._read_only and flags & _WRITING:
            raise Refused(StatusCode.PERMISSION_DENIED)
        system = _ACCESS[OpenFlags(flags) & (OpenFlags.READ | OpenFlags.WRITE)]
        for flag, meaning in _FLAGS.items():
            system |= meaning if flags & flag else 0
        mode = _NEW_FILE if attributes.permissions is None else attributes.permissions & _MODE
        return self.handles.add(partial(self._open, path, system, mode))

    def _open(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """A directory is refused here: version 3 reads it through OPENDIR alone."""
        descriptor = self._files.open(path, flags | _NEVER_WAIT, mode)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise failure(errno.EISDIR)
            if prompt := stat.S_ISREG(status.st_mode) or _is_null(status):
                os.set_blocking(descriptor, True)  # anything else stays as it is: a write to a full FIFO fails
            return OpenFile(descriptor, flags, prompt)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self, handle: bytes) -> None:
        self.handles.close(handle)

    def read(self, handle: bytes, offset: int, length: int) -> bytes:
        file = self.handles.file(handle)
        data = os.pread(file.fd, min(length, self._longest_read), signed(offset))
        if length and not data:
            raise Refused(StatusCode.EOF)
        return data

    def write(self, handle: bytes, offset: int, data: bytes) -> None:
        file_io.write_all(self.handles.file(handle), data, offset)

    def fsync(self, handle: bytes) -> None:
        os.fsync(self.handles.file(handle, StatusCode.NO_SUCH_FILE).fd)

    def copy_data(self, source: bytes, offset: int, length: int, target: bytes, to: int) -> Iterator[None]:
        """Slices of work, the first of which may already raise."""
        return file_io.copy(self.handles.file(source), self.handles.file(target), offset, length, to)

    # -- attributes --------------------------------------------------------------------------------------------------

    def stat(self, path: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(self._files.stat(path))

    def lstat(self, path: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(self._files.lstat(path))

    def fstat(self, handle: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self.handles.file(handle).fd))

    def setstat(self, path: bytes, attributes: SFTPAttributes) -> None:
        self._set(path, attributes, follow=True)

    def lsetstat(self, path: bytes, attributes: SFTPAttributes) -> None:
        if attributes.size is not None:
            raise Refused(StatusCode.BAD_MESSAGE, "A symbolic link has no size to set")
        self._set(path, attributes, follow=False)

    def _set(self, path: bytes, attributes: SFTPAttributes, *, follow: bool) -> None:
        files = self._files
        _apply(
            attributes,
            partial(files.truncate, path),
            partial(files.chmod, path, follow=follow),
            partial(files.utime, path, follow=follow),
            partial(files.chown, path, follow=follow),
        )

    def fsetstat(self, handle: bytes, attributes: SFTPAttributes) -> None:
        fd = self.handles.file(handle).fd
        _apply(
            attributes,
            partial(os.ftruncate, fd), partial(os.fchmod, fd), partial(os.utime, fd), partial(os.fchown, fd),
        )  # fmt: skip

    def statvfs(self, path: bytes) -> SFTPStatVFS:
        return _vfs(self._files.statvfs(path))

    def fstatvfs(self, handle: bytes) -> SFTPStatVFS:
        return _vfs(os.statvfs(self.handles.file(handle).fd))

    # -- directories and names ---------------------------------------------------------------------------------------

    def opendir(self, path: bytes) -> bytes:
        return self.handles.add(partial(self._opendir, path))

    def _opendir(self, path: bytes) -> Listing:
        parent = partial(self._files.lstat, path + b"/..")
        return Listing(self._files.opendir(path), parent, self._names)

    def readdir(self, handle: bytes) -> tuple[SFTPName, ...]:
        batch = self.handles.directory(handle).batch()
        if not batch:
            raise Refused(StatusCode.EOF)
        return batch

    def remove(self, path: bytes) -> None:
        self._files.unlink(path)

    def mkdir(self, path: bytes, attributes: SFTPAttributes) -> None:
        mode = _NEW_DIRECTORY if attributes.permissions is None else attributes.permissions & _MODE
        self._files.mkdir(path, mode)

    def rmdir(self, path: bytes) -> None:
        self._files.rmdir(path)

    def rename(self, old: bytes, new: bytes) -> None:
        """Version 3 never replaces a file: a link that is made can lose no race, where links can be made."""
        if stat.S_ISREG(self._files.lstat(old).st_mode):
            try:
                self._files.link(old, new)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            else:
                self._unlink_old(old, new)
                return
        try:
            self._files.lstat(new)
        except OSError:
            self._files.rename(old, new)
        else:
            raise failure(errno.EEXIST)

    def _unlink_old(self, old: bytes, new: bytes) -> None:
        try:
            self._files.unlink(old)
        except OSError:
            self._files.unlink(new)  # the file keeps the one name it had
            raise

    def posix_rename(self, old: bytes, new: bytes) -> None:
        self._files.rename(old, new)

    def hardlink(self, old: bytes, new: bytes) -> None:
        self._files.link(old, new)

    def symlink(self, target: bytes, path: bytes) -> None:
        self._files.symlink(target, path)

    def readlink(self, path: bytes) -> tuple[SFTPName, ...]:
        return _one_name(self._files.readlink(path))

    def realpath(self, path: bytes) -> tuple[SFTPName, ...]:
        return _one_name(self._files.realpath(path or b"."))

    def expand_path(self, path: bytes) -> tuple[SFTPName, ...]:
        """REALPATH with '~' and '~user' at the beginning."""
        if path.startswith(b"~"):
            user, slash, rest = path[1:].partition(b"/")
            home = self._files.home_of(user)
            if home is None:
                raise Refused(StatusCode.NO_SUCH_FILE, "No such user")
            path = home if not user and not slash else home + b"/" + rest
        return self.realpath(path)

    def home_directory(self, user: bytes) -> tuple[SFTPName, ...]:
        home = self._files.home_of(user)
        if home is None:
            raise Refused(StatusCode.FAILURE, "No such user")
        return _one_name(home)

    # -- bundles: small files of a directory, many at once (csrc/bundle/bundle.h) --------------------------------------

    def bundle_read(self, handle: bytes, most: int) -> bytes:
        bundle = self.handles.directory(handle).bundle(max(bundles.MIN_ROOM, min(most, MAX_TRANSFER)))
        if not bundle:
            raise Refused(StatusCode.EOF)
        return bundle

    def bundle_write(self, handle: bytes, options: int, bundle: bytes) -> tuple[int, ...]:
        """The indexes of what was not written: the client does that in the ordinary way, which says what is wrong."""
        if options & ~(bundles.PRESERVE | bundles.SET_ID):
            raise Refused(StatusCode.OP_UNSUPPORTED, "Unknown option of a bundle")
        return bundles.unpack(bundle, self.handles.directory(handle).descriptor, options)

    # -- what there is to know ---------------------------------------------------------------------------------------

    def limits(self) -> SFTPLimits:
        return self._limits

    def users_groups_by_id(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> tuple[tuple[bytes, ...], ...]:
        """The names, empty where there is none."""
        if max(len(uids), len(gids)) > MAX_IDS:
            raise Refused(StatusCode.FAILURE, "Too many ids")
        users = tuple(self._files.user_name(uid) or b"" for uid in uids)
        groups = tuple(self._files.group_name(gid) or b"" for gid in gids)
        if sum(4 + len(name) for name in users + groups) > MAX_MESSAGE // 2:
            raise Refused(StatusCode.FAILURE, "Too many ids")
        return users, groups


def _apply(
    attributes: SFTPAttributes,
    truncate: Callable[[int], None],
    chmod: Callable[[int], None],
    utime: Callable[[tuple[int, int]], None],
    chown: Callable[[int, int], None],
) -> None:
    """Sets what is to be set, in sftp-server's order; what fails does not keep the rest, and the last failure tells."""
    steps: list[Callable[[], None]] = []
    if attributes.size is not None:
        size = attributes.size
        steps.append(lambda: truncate(signed(size)))
    if attributes.permissions is not None:
        steps.append(partial(chmod, attributes.permissions & _MODE))
    if attributes.atime is not None and attributes.mtime is not None:
        steps.append(partial(utime, (attributes.atime, attributes.mtime)))
    if attributes.uid is not None and attributes.gid is not None:
        steps.append(partial(chown, _owner(attributes.uid), _owner(attributes.gid)))
    failed: OSError | None = None
    for step in steps:
        try:
            step()
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed


@dataclass(frozen=True, slots=True)
class Operation:
    """``method`` of Operations for a kind of request; with ``sliced`` it gives an iterator, and is done at its end.

    ``by_descriptor``: opens files below an open directory without asking the file system, which has to allow that.
    """

    method: Callable[..., Any]
    access: Access
    sliced: bool = False
    by_descriptor: bool = False


OPERATIONS: Final[dict[Request, Operation]] = {
    messages.OPEN: Operation(Operations.open, Access.DEPENDS),
    messages.CLOSE: Operation(Operations.close, Access.READS),
    messages.READ: Operation(Operations.read, Access.READS),
    messages.WRITE: Operation(Operations.write, Access.WRITES),
    messages.LSTAT: Operation(Operations.lstat, Access.READS),
    messages.FSTAT: Operation(Operations.fstat, Access.READS),
    messages.SETSTAT: Operation(Operations.setstat, Access.WRITES),
    messages.FSETSTAT: Operation(Operations.fsetstat, Access.WRITES),
    messages.OPENDIR: Operation(Operations.opendir, Access.READS),
    messages.READDIR: Operation(Operations.readdir, Access.READS),
    messages.REMOVE: Operation(Operations.remove, Access.WRITES),
    messages.MKDIR: Operation(Operations.mkdir, Access.WRITES),
    messages.RMDIR: Operation(Operations.rmdir, Access.WRITES),
    messages.REALPATH: Operation(Operations.realpath, Access.READS),
    messages.STAT: Operation(Operations.stat, Access.READS),
    messages.RENAME: Operation(Operations.rename, Access.WRITES),
    messages.READLINK: Operation(Operations.readlink, Access.READS),
    messages.SYMLINK: Operation(Operations.symlink, Access.WRITES),
    messages.POSIX_RENAME: Operation(Operations.posix_rename, Access.WRITES),
    messages.STATVFS: Operation(Operations.statvfs, Access.READS),
    messages.FSTATVFS: Operation(Operations.fstatvfs, Access.READS),
    messages.HARDLINK: Operation(Operations.hardlink, Access.WRITES),
    messages.FSYNC: Operation(Operations.fsync, Access.READS),
    messages.LSETSTAT: Operation(Operations.lsetstat, Access.WRITES),
    messages.LIMITS: Operation(Operations.limits, Access.READS),
    messages.EXPAND_PATH: Operation(Operations.expand_path, Access.READS),
    messages.COPY_DATA: Operation(Operations.copy_data, Access.WRITES, sliced=True),
    messages.HOME_DIRECTORY: Operation(Operations.home_directory, Access.READS),
    messages.USERS_GROUPS_BY_ID: Operation(Operations.users_groups_by_id, Access.READS),
    messages.BUNDLE_READ: Operation(Operations.bundle_read, Access.READS, by_descriptor=True),
    messages.BUNDLE_WRITE: Operation(Operations.bundle_write, Access.WRITES, by_descriptor=True),
}


def _is_null(status: os.stat_result) -> bool:
    """The null device, under whatever name: what is written to it is gone at once, wherever it was to go."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
