"""Listening sockets of forwards: TCP ports and Unix sockets, made, paused and removed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastssh.aio.dial import Address, reason_of
from fastssh.aio.forwarding.connect import no_delay

BACKLOG: Final = 128
BIND_MASK: Final = 0o177  # StreamLocalBindMask's default: nobody but the user
REST_SECONDS: Final = 1.0  # after accept failed for want of descriptors or memory


def bind_tcp(addresses: Sequence[Address]) -> list[socket.socket]:
    """Sockets that listen on those of ``addresses`` that can be had; where the port is 0, on one free port for all.

    Raises OSError of the last address when there is none, as sshd sees it.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, target in addresses:
        if sockets and target[1] == 0:
            target = (target[0], sockets[0].getsockname()[1], *target[2:])
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
        except OSError as error:  # a machine without IPv6 among them
            failure = error
            if sock is not None:
                sock.close()
        else:
            sockets.append(sock)
    if not sockets:
        raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def bind_path(path: str, *, mask: int = BIND_MASK, unlink: bool = False) -> socket.socket:
    """A listening Unix socket at ``path``, with mode 0777 less ``mask``. With ``unlink`` a socket that is there already
    is removed; nothing but a socket ever is. Raises OSError."""
    if unlink:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(mask)  # the only way to have the mode from the first moment on
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Accepts on ``sockets``, which it owns. ``accepted`` gets each connection and its address as accept(2) has it;
    the connection is then its own.

    :meth:`pause` leaves what comes in the system's queue until :meth:`resume`. ``path`` is the name of a Unix socket
    that has another one by now than it was bound to. To be made in the running loop.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        accepted: Callable[[socket.socket, Any], None],
        log: Callable[[str], None],
        *,
        path: str | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._accepted, self._log = accepted, log
        self._paths = [
            _identity(path or sock.getsockname()) for sock in self._sockets if sock.family == socket.AF_UNIX
        ]
        self._rest: asyncio.TimerHandle | None = None
        self._listening = False
        for sock in self._sockets:
            sock.setblocking(False)
        self.resume()

    @property
    def port(self) -> int:
        """The port of the first socket; 0 for a Unix socket."""
        return 0 if self._sockets[0].family == socket.AF_UNIX else int(self._sockets[0].getsockname()[1])

    def resume(self) -> None:
        if not self._listening and self._rest is None:
            self._listening = True
            for sock in self._sockets:
                self._loop.add_reader(sock.fileno(), self._ready, sock)

    def pause(self) -> None:
        if self._listening:
            self._listening = False
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())

    def _ready(self, listener: socket.socket) -> None:
        for _ in range(BACKLOG):
            if not self._listening:
                return
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors, say: it would fail again at once
                self._log(f"accept: {reason_of(error)}")
                self.pause()
                self._rest = self._loop.call_later(REST_SECONDS, self._rested)
                return
            no_delay(sock)
            self._accepted(sock, address)

    def _rested(self) -> None:
        self._rest = None
        self.resume()

    def close(self) -> None:
        """Stops listening; the port is free, and a Unix socket's name gone, when this returns. Harmless when closed."""
        self.pause()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.close()
        for path, device, inode in self._paths:
            with contextlib.suppress(OSError):  # gone already, or its directory is
                found = os.lstat(path)
                if (found.st_dev, found.st_ino) == (device, inode):  # else somebody else's by now
                    os.unlink(path)
        self._paths = []


def _identity(path: str) -> tuple[str, int, int]:
    found = os.lstat(path)
    return path, found.st_dev, found.st_ino
