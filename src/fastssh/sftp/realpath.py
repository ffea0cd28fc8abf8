"""REALPATH: a path without symbolic links, '.' and '..', whose last component need not exist."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from fastssh.sftp.status import failure

MAX_PATH: Final = 4096  # bytes; Linux's PATH_MAX, which every path that exists can be reached below
MAX_LINKS: Final = 40  # symbolic links on one path, as Linux counts them


def link_text(path: bytes, directory: int | None = None) -> bytes | None:
    """What the symbolic link ``path`` (in ``directory``) says; None for anything else. Raises OSError."""
    try:
        return os.readlink(path, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def canonical(path: bytes, readlink: Callable[[bytes], bytes | None]) -> bytes:
    """``path``, which is absolute, as realpath(3) gives it; a last component may be missing, as sftp-server allows.

    ``readlink`` gives the text of a symbolic link, None for anything else, and raises OSError where there is nothing.
    It is only asked for paths that have no link before their last component.
    """
    if len(path) > MAX_PATH:
        raise failure(errno.ENAMETOOLONG)
    left = path.split(b"/")[::-1]  # the next component last
    found: list[bytes] = []
    links = 0
    while left:
        name = left.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            del found[-1:]
            continue
        found.append(name)
        try:
            target = readlink(b"/" + b"/".join(found))
        except FileNotFoundError:
            if left:
                raise
            break
        if target is None:
            continue
        links += 1
        if links > MAX_LINKS:
            raise failure(errno.ELOOP)
        del found[0 if target.startswith(b"/") else -1 :]
        left += target.split(b"/")[::-1]
    return b"/" + b"/".join(found)
