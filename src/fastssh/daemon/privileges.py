"""Whose rights the process of a connection has: root's at first, the user's for a moment, the user's for good.

A user's files are opened with the user's own effective ids rather than by another process: the process serves one
connection in one thread, so nothing else happens meanwhile, and the kernel then decides what the user may read, on
network file systems as well.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import BuiltinImporter, FrozenImporter

from fastssh.daemon.login.accounts import User
from fastssh.errors import SSHError


class PrivilegeError(SSHError):
    """The process could not become what it has to be. It must end."""


@contextmanager
def rights_of(user: User) -> Iterator[None]:
    """The effective ids are the user's within; without effect unless the process is root's."""
    if os.geteuid() != 0 or user.uid == 0:
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:  # whatever fails here ends the process: an exception climbs out of the event loop's handler
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def become(user: User, root: str | None) -> None:
    """The process is the user's from here on, below ``root`` (ChrootDirectory) if that is not None.

    Raises PrivilegeError, after which the process must end. An ordinary user's server is the user already.
    """
    if os.geteuid() != 0:
        if root is not None:
            raise PrivilegeError("ChrootDirectory needs a server that root started")
        if user.uid != os.geteuid():
            raise PrivilegeError(f"user {user.name} cannot be served by a server of another user")
        return
    try:
        if root is not None:
            _enter(root)
        os.setgroups(user.groups)
        _set_ids(user)
    except OSError as error:
        raise PrivilegeError(f"cannot become user {user.name}: {error.strerror}") from None
    _verify(user)


def _set_ids(user: User) -> None:
    if hasattr(os, "setresuid"):
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    else:  # of root, these set all three
        os.setgid(user.gid)
        os.setuid(user.uid)


def _verify(user: User) -> None:
    """There must be no way back, whatever the calls above have said."""
    if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) != (user.uid, user.uid, user.gid, user.gid):
        raise PrivilegeError("the user's ids were not taken")
    if user.uid == 0:
        return
    if set(os.getgroups()) - set(user.groups) - {user.gid}:
        raise PrivilegeError("groups were left over")
    ways: list[Callable[[int], None]] = [os.setuid, os.seteuid]
    if user.gid != 0 and 0 not in user.groups:
        ways += [os.setgid, os.setegid]
    for way in ways:
        try:
            way(0)
        except PermissionError:
            continue
        raise PrivilegeError("root's rights could be taken back")


def _enter(root: str) -> None:
    """chroot(2). From then on nothing is imported from files: the user may own what would be found."""
    check_chroot(root)
    os.chdir(root)
    os.chroot(root)
    os.chdir("/")
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter]


def check_chroot(root: str) -> None:
    """Every directory on the way must be root's, and writable by nobody else (sshd_config(5), ChrootDirectory).

    Raises PrivilegeError.
    """
    if not root.startswith("/"):
        raise PrivilegeError(f"chroot path does not begin at root: {root!r}")
    path = ""
    for part in ["", *filter(None, root.split("/"))]:
        path = f"{path.rstrip('/')}/{part}"
        try:
            status = os.stat(path)
        except OSError as error:
            raise PrivilegeError(f"chroot directory {path!r}: {error.strerror}") from None
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise PrivilegeError(f"bad ownership or modes for chroot directory component {path!r}")
        if not stat.S_ISDIR(status.st_mode):
            raise PrivilegeError(f"chroot path {path!r} is not a directory")
