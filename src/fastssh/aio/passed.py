"""Descriptors that come over a Unix socket with its bytes (SCM_RIGHTS); programs that are started here get none."""

from __future__ import annotations

import array
import socket
from typing import Final

_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_SIZE: Final = array.array("i").itemsize


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int], bool]:
    """At most ``size`` bytes, the descriptors that came with them, which are the caller's to close, and whether there
    were more than ``most`` of these. Raises OSError.

    :func:`socket.recv_fds` takes flags and does nothing with them.
    """
    data, ancillary, flags, _ = sock.recvmsg(size, socket.CMSG_LEN(most * _SIZE), _CLOSE_ON_EXEC)
    descriptors = array.array("i")
    for level, kind, contents in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(contents[: len(contents) - len(contents) % _SIZE])
    return data, list(descriptors), bool(flags & socket.MSG_CTRUNC)
