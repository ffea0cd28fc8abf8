"""Files below one directory, which nothing leaves: no link, no '..', no absolute path, no rename at the wrong moment.

Every operation is one on a descriptor of the directory and the last component of the path, which the system call itself
does not follow. How that directory is reached is :mod:`fastssh.sftp.beneath`'s matter. A symbolic link that leads to
something is read here and its text resolved from the root again, so that '/' in it is the root as well.
Taught by CVE-2025-48038 and CVE-2026-32147.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final, Self, TypeVar

from fastssh.sftp import paths, syscalls
from fastssh.sftp.beneath import DIRECTORY, HOLD, Beneath, best
from fastssh.sftp.realpath import MAX_LINKS, MAX_PATH, canonical, link_text
from fastssh.sftp.status import failure

T = TypeVar("T")
_CREATE_NEW: Final = os.O_CREAT | os.O_EXCL


def _split(path: bytes) -> tuple[bytes, bytes]:
    """(directory, last component). A path that can only be a directory is all directory, and its last component '.'."""
    if not path:
        raise failure(errno.ENOENT)
    if len(path) > MAX_PATH:
        raise failure(errno.ENAMETOOLONG)
    head, _, name = path.rpartition(b"/")
    return (path, b".") if name in (b"", b".", b"..") else (head or b"/", name)


class RootedFileSystem:
    """A :class:`~fastssh.sftp.filesystem.FileSystem` of what is below ``root``, seen as '/'.

    ``home`` is a path inside. ``beneath`` is chosen by what the kernel can do unless given. Names of users and groups
    are not told: an account list is no part of the files (nor has a chroot one). Raises OSError where there is no root.
    """

    by_descriptor: Final = True

    def __init__(self, root: paths.Path, *, home: bytes = b"/", beneath: Beneath | None = None) -> None:
        self.home = home if home.startswith(b"/") else b"/" + home
        self._root = os.open(paths.encode(root), DIRECTORY)
        try:
            self._beneath = beneath or best(self._root)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Releases the root; what was opened stays open. Any later call fails."""
        if self._root >= 0:
            os.close(self._root)
        self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the one way in ----------------------------------------------------------------------------------------------

    def _at(self, path: bytes, action: Callable[[int, bytes], T], *, follow: bool) -> T:
        """``action(directory, name)`` for the place that ``path`` means.

        ``name`` is one component and never '..'; ``action`` must not follow it. With ``follow`` it is no link, unless
        somebody just made it one: then what ``action`` does, it does to that link.
        """
        if self._root < 0:
            raise failure(errno.EBADF)
        head, name = _split(self._from_home(path))
        for _ in range(MAX_LINKS + 1):
            directory = self._beneath(self._root, head)
            try:
                target = _target(directory, name) if follow else None
                if target is None:
                    return action(directory, name)
            finally:
                os.close(directory)
            head, name = _split(target if target.startswith(b"/") else head + b"/" + target)
        raise failure(errno.ELOOP)

    def _from_home(self, path: bytes) -> bytes:
        return path if path.startswith(b"/") or not path else self.home + b"/" + path

    def _two(self, old: bytes, new: bytes, action: Callable[[int, bytes, int, bytes], None]) -> None:
        self._at(
            old,
            lambda where, name: self._at(new, lambda other, to: action(where, name, other, to), follow=False),
            follow=False,
        )

    # -- files -------------------------------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int, mode: int) -> int:
        if flags & os.O_CREAT and path.endswith(b"/"):
            raise failure(errno.EISDIR)
        return self._at(
            path,
            lambda where, name: os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=where),
            follow=flags & _CREATE_NEW != _CREATE_NEW,
        )

    def opendir(self, path: bytes) -> int:
        return self.open(path, os.O_RDONLY | os.O_DIRECTORY, 0)

    def stat(self, path: bytes) -> os.stat_result:
        return self._at(path, _stat, follow=True)

    def lstat(self, path: bytes) -> os.stat_result:
        return self._at(path, _stat, follow=False)

    def statvfs(self, path: bytes) -> os.statvfs_result:
        held = self._at(path, lambda where, name: os.open(name, HOLD | os.O_NOFOLLOW, dir_fd=where), follow=True)
        try:
            return os.statvfs(held)
        finally:
            os.close(held)

    def readlink(self, path: bytes) -> bytes:
        return self._at(path, lambda where, name: os.readlink(name, dir_fd=where), follow=False)

    def realpath(self, path: bytes) -> bytes:
        return canonical(self._from_home(path), lambda resolved: self._at(resolved, _link_text, follow=False))

    # -- attributes --------------------------------------------------------------------------------------------------

    def truncate(self, path: bytes, size: int) -> None:
        try:
            held = self.open(path, os.O_WRONLY | os.O_NONBLOCK, 0)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket, or a FIFO nobody reads
                raise failure(errno.EINVAL) from None
            raise
        try:
            os.ftruncate(held, size)
        finally:
            os.close(held)

    def chmod(self, path: bytes, mode: int, *, follow: bool) -> None:
        self._at(path, lambda where, name: syscalls.chmod_nofollow(name, mode, where), follow=follow)

    def chown(self, path: bytes, uid: int, gid: int, *, follow: bool) -> None:
        self._at(path, lambda where, name: os.chown(name, uid, gid, dir_fd=where, follow_symlinks=False), follow=follow)

    def utime(self, path: bytes, times: tuple[int, int], *, follow: bool) -> None:
        self._at(path, lambda where, name: os.utime(name, times, dir_fd=where, follow_symlinks=False), follow=follow)

    # -- names -------------------------------------------------------------------------------------------------------

    def unlink(self, path: bytes) -> None:
        self._at(path, lambda where, name: os.unlink(name, dir_fd=where), follow=False)

    def mkdir(self, path: bytes, mode: int) -> None:
        self._at(_bare(path), lambda where, name: os.mkdir(name, mode, dir_fd=where), follow=False)

    def rmdir(self, path: bytes) -> None:
        self._at(_bare(path), lambda where, name: os.rmdir(name, dir_fd=where), follow=False)

    def rename(self, old: bytes, new: bytes) -> None:
        if old != _bare(old) or new != _bare(new):
            self._directory(old)
        self._two(
            _bare(old),
            _bare(new),
            lambda where, name, other, to: os.rename(name, to, src_dir_fd=where, dst_dir_fd=other),
        )

    def _directory(self, path: bytes) -> None:
        """A slash at the end of either name says that it is one: rename(2) then takes nothing else."""
        if not stat.S_ISDIR(self.lstat(_bare(path)).st_mode):
            raise failure(errno.ENOTDIR)

    def link(self, old: bytes, new: bytes) -> None:
        self._two(
            old,
            new,
            lambda where, name, other, to: os.link(name, to, src_dir_fd=where, dst_dir_fd=other, follow_symlinks=False),
        )

    def symlink(self, target: bytes, path: bytes) -> None:
        """``target`` is stored as it is given: what it means is decided when it is followed."""
        self._at(path, lambda where, name: os.symlink(target, name, dir_fd=where), follow=False)

    # -- accounts ----------------------------------------------------------------------------------------------------

    def home_of(self, user: bytes) -> bytes | None:
        return None if user else self.home

    def user_name(self, uid: int) -> bytes | None:
        return None

    def group_name(self, gid: int) -> bytes | None:
        return None


def _stat(directory: int, name: bytes) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _link_text(directory: int, name: bytes) -> bytes | None:
    return link_text(name, directory)


def _target(directory: int, name: bytes) -> bytes | None:
    """The text of a link; None for anything else, and where there is nothing."""
    try:
        return link_text(name, directory)
    except FileNotFoundError:
        return None


def _bare(path: bytes) -> bytes:
    """Without slashes at the end, which name the directory that there will be, or will have been."""
    return path.rstrip(b"/") or path[:1]
