"""A client's connection to a master, in the event loop: its messages with the descriptors that came with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Final

from fastssh.aio import passed
from fastssh.errors import ProtocolError
from fastssh.wire.mux import Decoder, MuxMessage

_PIECE: Final = 64 * 1024  # bytes read at a time
_MOST_DESCRIPTORS: Final = 8  # that wait for their message; the most that one has is 3
_MOST_UNSENT: Final = 256 * 1024  # bytes of replies that a client does not read


class MuxStream:
    """Owns ``sock``. Nothing is read but while somebody waits in :meth:`receive`, so that a client gets no further
    ahead than one message."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._descriptors: list[int] = []
        self._unsent = bytearray()
        self._sent = asyncio.Event()
        self._sent.set()
        self._readable: asyncio.Future[None] | None = None

    async def receive(self) -> tuple[MuxMessage, list[int]] | None:
        """The next message and its descriptors, which are then the caller's to close; there are fewer if the client
        sent fewer. None at the end. Raises ProtocolError: the client is to be left."""
        while (message := self._decoder.next()) is None:
            if not await self._read():
                return None
        count = message.descriptors
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, taken

    async def _read(self) -> bool:
        """Takes what has come; False at the end."""
        if self.ended:
            return False
        self._readable = self._loop.create_future()
        self._loop.add_reader(self._sock.fileno(), self._wake)
        try:
            await self._readable
        finally:
            if not self.ended:
                self._loop.remove_reader(self._sock.fileno())
        try:
            data, descriptors, truncated = passed.receive(self._sock, _PIECE, _MOST_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._descriptors += descriptors
        if truncated or len(self._descriptors) > _MOST_DESCRIPTORS:
            raise ProtocolError("too many descriptors")
        self._decoder.feed(data)
        return bool(data)

    def _wake(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    @property
    def ended(self) -> bool:
        """Whether it is closed."""
        return self._sock.fileno() < 0

    async def read(self) -> bytes:
        """What comes behind the last message, as it comes; nothing at the end. Raises ProtocolError for descriptors."""
        while not (data := self._decoder.take()):
            if not await self._read():
                return b""
            if self._descriptors:
                raise ProtocolError("descriptors that nobody asked for")
        return data

    def send(self, message: MuxMessage) -> None:
        """Queues a reply. A client that reads none is left."""
        self.write(message.encode(), most=_MOST_UNSENT)

    def write(self, data: bytes, *, most: int) -> None:
        """Likewise for bytes; ``most`` of them may wait."""
        if self.ended:
            return
        self._unsent += data
        if len(self._unsent) > most:
            self.close()
        elif self._sent.is_set():
            self._write()

    def _write(self) -> None:
        fd = self._sock.fileno()
        with contextlib.suppress(BlockingIOError, InterruptedError):
            try:
                del self._unsent[: self._sock.send(self._unsent)]
            except (BlockingIOError, InterruptedError):
                raise
            except OSError:  # nobody reads any more: reading finds the end
                self._unsent.clear()
        if self._unsent and self._sent.is_set():
            self._sent.clear()
            self._loop.add_writer(fd, self._write)
        elif not self._unsent and not self._sent.is_set():
            self._sent.set()
            self._loop.remove_writer(fd)

    async def finish(self, seconds: float) -> None:
        """Closes, once what was queued is sent; not later than in so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        self.close()

    def close(self) -> None:
        """At once, with the descriptors that nobody took. Harmless when closed."""
        fd = self._sock.fileno()
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._sock.close()
        self._sent.set()
        self._wake()
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)
