"""What an SFTP server asks of the files it serves, and the machine's own files as the answer."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

from fastssh.sftp import paths, syscalls
from fastssh.sftp.realpath import canonical, link_text

MAX_NAMES: Final = 1024  # users, and groups, whose names are remembered


class FileSystem(Protocol):
    """The files of one session. Paths are those of the client, never with a NUL; relative ones start in ``home``.

    Methods act as the system calls of their names and raise OSError. ``follow`` says whether a last component that is a
    symbolic link stands for what it leads to; where nothing says so, open, opendir, stat, statvfs and truncate follow
    it, everything else does not.
    """

    home: bytes  # absolute
    # A class may say ``by_descriptor = True``, see :func:`may_go_by_descriptor`.

    def open(self, path: bytes, flags: int, mode: int) -> int:
        """A descriptor, closed at exec. ``flags`` as for open(2); ``mode`` is subject to the umask."""
        ...

    def opendir(self, path: bytes) -> int:
        """A descriptor of a directory, to be read."""
        ...

    def stat(self, path: bytes) -> os.stat_result: ...
    def lstat(self, path: bytes) -> os.stat_result: ...
    def statvfs(self, path: bytes) -> os.statvfs_result: ...
    def truncate(self, path: bytes, size: int) -> None: ...
    def chmod(self, path: bytes, mode: int, *, follow: bool) -> None: ...
    def chown(self, path: bytes, uid: int, gid: int, *, follow: bool) -> None: ...
    def utime(self, path: bytes, times: tuple[int, int], *, follow: bool) -> None: ...
    def unlink(self, path: bytes) -> None: ...
    def mkdir(self, path: bytes, mode: int) -> None: ...
    def rmdir(self, path: bytes) -> None: ...
    def rename(self, old: bytes, new: bytes) -> None: ...
    def link(self, old: bytes, new: bytes) -> None: ...
    def symlink(self, target: bytes, path: bytes) -> None: ...
    def readlink(self, path: bytes) -> bytes: ...

    def realpath(self, path: bytes) -> bytes:
        """Absolute, without links; the last component may be missing."""
        ...

    def home_of(self, user: bytes) -> bytes | None:
        """Where ``user`` is at home; the session's own user for the empty name; None if nobody knows."""
        ...

    def user_name(self, uid: int) -> bytes | None: ...
    def group_name(self, gid: int) -> bytes | None: ...


def _remembered(look_up: Callable[[int], str]) -> Callable[[int], bytes | None]:
    """A directory service may be asked over a network: once for each number is enough."""

    @lru_cache(maxsize=MAX_NAMES)
    def name(number: int) -> bytes | None:
        try:
            return os.fsencode(look_up(number))
        except (KeyError, OverflowError):  # (uid_t)-1 is nobody
            return None

    return name


def may_go_by_descriptor(filesystem: FileSystem) -> bool:
    """Whether files of a directory that ``filesystem`` opened may be opened and made by that descriptor.

    Links are not followed then. Its very class has to say so: one derived from it may have its own rules in ``open``.
    """
    return bool(vars(type(filesystem)).get("by_descriptor", False))


class LocalFileSystem:
    """The whole machine, as far as the process may use it. ``home``: where relative paths start."""

    by_descriptor: Final = True

    def __init__(self, home: paths.Path) -> None:
        self.home = os.path.abspath(paths.encode(home))
        self.user_name = _remembered(lambda uid: pwd.getpwuid(uid).pw_name)
        self.group_name = _remembered(lambda gid: grp.getgrgid(gid).gr_name)

    def _at(self, path: bytes) -> bytes:
        """The empty path stays what it is: it names nothing."""
        return path if path.startswith(b"/") or not path else os.path.join(self.home, path)

    def open(self, path: bytes, flags: int, mode: int) -> int:
        return os.open(self._at(path), flags, mode)

    def opendir(self, path: bytes) -> int:
        return os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)

    def stat(self, path: bytes) -> os.stat_result:
        return os.stat(self._at(path))

    def lstat(self, path: bytes) -> os.stat_result:
        return os.lstat(self._at(path))

    def statvfs(self, path: bytes) -> os.statvfs_result:
        return os.statvfs(self._at(path))

    def truncate(self, path: bytes, size: int) -> None:
        os.truncate(self._at(path), size)

    def chmod(self, path: bytes, mode: int, *, follow: bool) -> None:
        if follow:
            os.chmod(self._at(path), mode)
        else:
            syscalls.chmod_nofollow(self._at(path), mode)

    def chown(self, path: bytes, uid: int, gid: int, *, follow: bool) -> None:
        os.chown(self._at(path), uid, gid, follow_symlinks=follow)

    def utime(self, path: bytes, times: tuple[int, int], *, follow: bool) -> None:
        os.utime(self._at(path), times, follow_symlinks=follow)

    def unlink(self, path: bytes) -> None:
        os.unlink(self._at(path))

    def mkdir(self, path: bytes, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self._at(path))

    def rename(self, old: bytes, new: bytes) -> None:
        os.rename(self._at(old), self._at(new))

    def link(self, old: bytes, new: bytes) -> None:
        os.link(self._at(old), self._at(new), follow_symlinks=False)

    def symlink(self, target: bytes, path: bytes) -> None:
        os.symlink(target, self._at(path))

    def readlink(self, path: bytes) -> bytes:
        return os.readlink(self._at(path))

    def realpath(self, path: bytes) -> bytes:
        return canonical(os.path.join(self.home, path), link_text)

    def home_of(self, user: bytes) -> bytes | None:
        if not user:
            return self.home
        try:
            return os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
        except KeyError:
            return None
