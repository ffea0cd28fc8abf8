"""The control socket of a master: made so that nobody meets it half made; and who is at the other end of one."""

from __future__ import annotations

import os
import secrets
import socket
import string
import struct
from typing import Final

from fastssh.errors import MultiplexError
from fastssh.wire.text import printable

MAX_PATH: Final = 108  # bytes of a socket's path, the NUL behind it counted in (sockaddr_un)
_BACKLOG: Final = 64
_MASK: Final = 0o177  # the socket is its user's alone
_LETTERS: Final = string.ascii_letters + string.digits
_SUFFIX: Final = 16  # letters behind the name that a socket has until it listens
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


def check_path(path: str) -> bytes:
    """``path`` as the system takes it. Raises MultiplexError in ssh's words when it is too long for a socket."""
    name = os.fsencode(path)
    if len(name) >= MAX_PATH or b"\0" in name:
        raise MultiplexError(f"ControlPath too long ('{printable(path)}' >= {MAX_PATH} bytes)")
    return name


def peer_uid(sock: socket.socket) -> int | None:
    """The uid of who is at the other end of a connected Unix socket; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def is_ours(sock: socket.socket) -> bool:
    """Whether the other end is this user, or root."""
    return peer_uid(sock) in (None, 0, os.geteuid())


def listen(path: str) -> socket.socket:
    """A socket that listens at ``path``, for this user alone. Whoever closes it takes the name away.

    It listens before it has its name, which is given by link(2): so two masters cannot both have it, and no client
    meets a socket that nobody listens on yet. Raises FileExistsError when the name is taken, other OSErrors, and
    MultiplexError for a path that is too long.
    """
    check_path(path)
    temporary = f"{path}.{''.join(secrets.choice(_LETTERS) for _ in range(_SUFFIX))}"
    check_path(temporary)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(_MASK)  # the only way to have the mode from the first moment on
        try:
            sock.bind(temporary)
        finally:
            os.umask(before)
        try:
            sock.listen(_BACKLOG)
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
    except BaseException:
        sock.close()
        raise
    return sock
