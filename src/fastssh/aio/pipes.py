"""Two descriptors in place of a connected socket: what a program writes, and what it reads.

A driver asks little of a socket: this is that much of it. The plane reads from the one and writes to the other.
"""

from __future__ import annotations

import errno
import os


class PipePair:
    """Owns ``source`` and ``sink``, which may be pipes, terminals or sockets. Descriptors become non-blocking."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self.sink = source, sink
        self.family = -1  # no network's

    def fileno(self) -> int:
        return self._source

    def setblocking(self, flag: bool) -> None:
        os.set_blocking(self._source, flag)
        os.set_blocking(self.sink, flag)

    def recv(self, size: int) -> bytes:
        return os.read(self._source, size)

    def send(self, data: bytes) -> int:
        return os.write(self.sink, data)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))

    def close(self) -> None:
        """Harmless when closed already."""
        source, sink, self._source, self.sink = self._source, self.sink, -1, -1
        for descriptor in {source, sink} - {-1}:
            os.close(descriptor)
