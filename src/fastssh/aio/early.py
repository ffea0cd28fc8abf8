"""A TCP connection begun before there is an event loop: while a program still loads what it needs for the rest, names
are looked up, and the server starts the process that will serve us.

Nothing is decided here. What does not work at the first attempt is done again, and told of, by :mod:`fastssh.aio.dial`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class EarlyConnection:
    """Begins at once, in a thread of its own, with the first address of ``host``."""

    def __init__(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> None:
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._over = False
        self._told: Callable[[], object] | None = None
        threading.Thread(target=self._run, args=(host, port, family), name="connect", daemon=True).start()

    def _run(self, host: str, port: int, family: socket.AddressFamily) -> None:
        sock = None
        with contextlib.suppress(OSError, UnicodeError):
            kind, _, protocol, _, address = _first(host, port, family)
            sock = socket.socket(kind, socket.SOCK_STREAM, protocol)
            try:
                sock.connect(address)
            except BaseException:
                sock.close()
                sock = None
                raise
        with self._lock:
            self._sock, self._over = sock, True
            told = self._told
        if told is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits
                told()

    async def taken(self) -> socket.socket | None:
        """The connected socket, which is the caller's from here on; None when it did not come to be. Cancelled, the
        socket is closed when it comes."""
        import asyncio

        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        with self._lock:
            if self._over:
                done.set()
            self._told = lambda: loop.call_soon_threadsafe(done.set)
        try:
            await done.wait()
        except BaseException:
            with self._lock:
                self._told = self._drop
                if self._over:
                    self._drop()
            raise
        sock, self._sock = self._sock, None
        return sock

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()


def _first(
    host: str, port: int, family: socket.AddressFamily
) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]:
    name = host.encode() if host.isascii() else host  # text is IDNA, whose tables are long to load
    found = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    return found[0]  # type: ignore[return-value]  # no address family of bytes is asked for
