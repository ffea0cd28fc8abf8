"""Opening a directory below another one, wherever symbolic links, '..' and races would lead (CVE-2025-48038).

Two ways that give the same: the kernel's (openat2, Linux 5.6 and later), and a walk that opens one component after the
other without following links, and reads links itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from fastssh.sftp import syscalls
from fastssh.sftp.realpath import MAX_LINKS, MAX_PATH, link_text
from fastssh.sftp.status import failure

# (root, path) -> a descriptor of the directory at ``path``, for use with dir_fd alone: '/' and all links are taken from
# ``root``, '..' ends there. Raises OSError.
Beneath = Callable[[int, bytes], int]

# O_PATH asks for the right to search a directory, as the kernel does on its way; elsewhere it has to be readable.
HOLD: Final[int] = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC
DIRECTORY: Final = HOLD | os.O_DIRECTORY
MAX_DEPTH: Final = 200  # levels of directories that the walk holds open, one descriptor each
_ATTEMPTS: Final = 8
_MAY_BE_LINK: Final = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)  # what O_NOFOLLOW says, from system to system


def walk(root: int, path: bytes) -> int:
    """:data:`Beneath` with open(2) alone.

    Every directory was opened from the one before, and '..' goes back to that one: it is never asked of the kernel,
    which would follow a directory that was moved away meanwhile.
    """
    if len(path) > MAX_PATH:
        raise failure(errno.ENAMETOOLONG)
    left = path.split(b"/")[::-1]  # the next component last
    held: list[int] = []
    links = 0
    try:
        while left:
            name = left.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if held:
                    os.close(held.pop())
                continue
            here = held[-1] if held else root
            if len(held) >= MAX_DEPTH:
                raise failure(errno.ENAMETOOLONG)
            try:
                held.append(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here))
                continue
            except OSError as error:
                if error.errno not in _MAY_BE_LINK:
                    raise
                target = link_text(name, here)
                if target is None:
                    raise
            links += 1
            if links > MAX_LINKS:
                raise failure(errno.ELOOP)
            while held and target.startswith(b"/"):
                os.close(held.pop())
            left += target.split(b"/")[::-1]
        return held.pop() if held else os.dup(root)
    finally:
        for descriptor in held:
            os.close(descriptor)


def by_kernel(root: int, path: bytes) -> int:
    """:data:`Beneath` with openat2(2). Magic links, as /proc has them, lead nowhere."""
    bounds = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    for _ in range(_ATTEMPTS):
        try:
            return syscalls.openat2(root, path or b"/", DIRECTORY, bounds)
        except BlockingIOError:  # something was renamed while a '..' was looked up
            continue
    return walk(root, path)


def best(root: int) -> Beneath:
    """The kernel's way, where this kernel (and a filter of system calls) has it."""
    try:
        os.close(by_kernel(root, b"/"))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP):
            return walk
        raise
    return by_kernel
