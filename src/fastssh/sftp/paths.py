"""File names between Python, the wire and the other side's file system."""

from __future__ import annotations

import os
from typing import Final

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAX_NAME: Final = 4096  # bytes of one name from a server
MAX_DEPTH: Final = 64  # levels of directories in a recursive copy, as OpenSSH's MAX_DIR_DEPTH


def encode(path: Path) -> bytes:
    """``path`` for the wire: UTF-8, with the bytes that :func:`decode` could not read put back. ValueError on NUL."""
    path = os.fspath(path)
    data = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def decode(name: bytes) -> str:
    """``name`` from the wire. What is not UTF-8 becomes surrogates, as os.fsdecode makes of local names."""
    return name.decode("utf-8", "surrogateescape")


def is_safe_name(name: bytes) -> bool:
    """Whether a directory entry from a server names something inside that directory and nothing else.

    Taught by CVE-2019-6111 and CVE-2018-20685: a name with a slash, '.', '..', the empty name. A NUL would cut the
    name short for the system. No file system has names of MAX_NAME bytes.
    """
    return 0 < len(name) <= MAX_NAME and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def join(directory: bytes, name: bytes) -> bytes:
    """``name`` inside ``directory``; "." and the empty path stand for the directory itself."""
    if name in (b".", b""):
        return directory or b"."
    if directory in (b"", b"."):
        return name
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def basename(path: bytes) -> bytes:
    """The last component as basename(3) sees it; "." where a copy cannot be named after it ("..", "/")."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return b"." if name in (b"", b"..") else name


def without_tilde(path: bytes) -> bytes | None:
    """``path`` relative to home, where a session starts: "", "~", "~/x". None for "~user": the server must say."""
    if path in (b"", b"~"):
        return b"."
    if not path.startswith(b"~"):
        return path
    if path.startswith(b"~/"):
        return path[2:].lstrip(b"/") or b"."
    return None
