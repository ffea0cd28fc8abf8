"""Reading and writing at once or not at all, whatever flags the descriptor has: others may share it."""

from __future__ import annotations

import os
import socket
import stat


def read_now(fd: int, size: int) -> bytes:
    """What a descriptor that never waits, or a socket, has now. Raises OSError."""
    if not _is_socket(fd):
        return os.read(fd, size)
    sock = socket.socket(fileno=fd)
    try:
        return sock.recv(size, socket.MSG_DONTWAIT)
    finally:
        sock.detach()


def write_now(fd: int, data: bytes) -> int:
    """How much of ``data`` a descriptor that never waits, or a socket, takes now. Raises OSError."""
    if not _is_socket(fd):
        return os.write(fd, data)
    sock = socket.socket(fileno=fd)
    try:
        return sock.send(data, socket.MSG_DONTWAIT)
    finally:
        sock.detach()


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)
