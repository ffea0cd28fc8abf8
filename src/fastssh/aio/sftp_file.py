"""An open remote file, read and written like a local one, with many requests in flight."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from fastssh.errors import ChannelClosedError, SFTPEOFError, SFTPUnsupportedError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.messages import SFTPStatVFS

if TYPE_CHECKING:
    from fastssh.aio.sftp import SFTPClient

T = TypeVar("T")

IN_FLIGHT: Final = 32  # requests of one read or write

_MODES: Final = {
    "r": OpenFlags.READ,
    "w": OpenFlags.WRITE | OpenFlags.CREAT | OpenFlags.TRUNC,
    "a": OpenFlags.WRITE | OpenFlags.CREAT | OpenFlags.APPEND,
    "x": OpenFlags.WRITE | OpenFlags.CREAT | OpenFlags.EXCL,
}


def open_flags(mode: str | OpenFlags) -> OpenFlags:
    """The flags of open()'s ``mode``: one of r, w, a, x, with + for both ways. All is binary, a "b" changes nothing."""
    if isinstance(mode, OpenFlags):
        return mode
    letters = mode.replace("b", "", 1)
    flags = _MODES.get(letters.replace("+", "", 1))
    if flags is None:
        raise ValueError(f"invalid mode: {mode!r}")
    return flags | OpenFlags.READ | OpenFlags.WRITE if "+" in letters else flags


class SFTPFile:
    """Made by :meth:`SFTPClient.open`. Offsets and sizes are in bytes, and may pass 4 GiB.

    One task at a time may use the position; :meth:`pread` and :meth:`pwrite` can be called from many.
    """

    def __init__(self, client: SFTPClient, name: bytes, handle: bytes, flags: OpenFlags) -> None:
        self._client = client
        self._path = name
        self._handle: bytes | None = handle
        self._append = bool(flags & OpenFlags.APPEND)
        self._position = 0
        self.name = paths.decode(name)

    def __repr__(self) -> str:
        return f"<SFTPFile {self.name!r}{'' if self._handle is not None else ' closed'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def handle(self) -> bytes:
        """The server's name for the open file. Raises ChannelClosedError once closed."""
        if self._handle is None:
            raise ChannelClosedError(f"I/O operation on closed file {self.name!r}")
        return self._handle

    @property
    def closed(self) -> bool:
        return self._handle is None

    def tell(self) -> int:
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position, relative to the start, to itself, or to the end; returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if whence == os.SEEK_END:
            base = (await self.stat()).size or 0
        if base is None or base + offset < 0:
            raise ValueError(f"invalid seek: offset {offset}, whence {whence}")
        self._position = base + offset
        return self._position

    async def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, fewer only at the end of the file; with -1 all that is left."""
        data = await self.pread(size, self._position)
        self._position += len(data)
        return data

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Writes all of ``data`` and returns its length, once the server has acknowledged it."""
        await self.pwrite(data, self._position)
        self._position += len(data)
        return len(data)

    async def pread(self, size: int, offset: int) -> bytes:
        """As :meth:`read`, from ``offset``."""
        if offset < 0:
            raise ValueError(f"negative offset {offset}")
        to_end = size < 0
        if to_end:
            size = max(((await self.stat()).size or 0) - offset, 0)
        data, at_end = await self._read_range(offset, offset + size)
        pieces = [data]
        while to_end and not at_end:  # the file is longer than its size said
            offset += len(data)
            data, at_end = await self._read_range(offset, offset + IN_FLIGHT * self._client.read_length)
            pieces.append(data)
        return b"".join(pieces)

    async def _read_range(self, offset: int, end: int) -> tuple[bytes, bool]:
        """(data, whether the file ended there)."""
        pieces: list[bytes] = []
        requests: deque[tuple[int, int, asyncio.Future[bytes]]] = deque()

        async def ask(at: int, length: int) -> tuple[int, int, asyncio.Future[bytes]]:
            return at, length, await self._client.submit(messages.READ, self.handle, at, length)

        try:
            while True:
                while offset < end and len(requests) < IN_FLIGHT:
                    length = min(self._client.read_length, end - offset)
                    requests.append(await ask(offset, length))
                    offset += length
                if not requests:
                    return b"".join(pieces), False
                at, length, reply = requests.popleft()
                try:
                    data = await self._named(reply)
                except SFTPEOFError:
                    return b"".join(pieces), True
                pieces.append(data)
                if len(data) < length:  # section 6.4 allows it: the rest is asked for again
                    requests.appendleft(await ask(at + len(data), length - len(data)))
        finally:
            forget(reply for _, _, reply in requests)

    async def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """As :meth:`write`, at ``offset``, which means nothing to a file opened for appending."""
        if offset < 0:
            raise ValueError(f"negative offset {offset}")
        view = memoryview(data).cast("B")
        step = self._client.write_length
        requests: deque[asyncio.Future[None]] = deque()
        try:
            for start in range(0, len(view), step):
                piece = bytes(view[start : start + step])
                requests.append(await self._client.submit(messages.WRITE, self.handle, offset + start, piece))
                if len(requests) >= (1 if self._append else IN_FLIGHT):
                    await self._named(requests.popleft())
            while requests:
                await self._named(requests.popleft())
        finally:
            forget(requests)
        return len(view)

    async def _named(self, reply: Awaitable[T]) -> T:
        return await self._client.named(reply, self._path)

    async def stat(self) -> SFTPAttributes:
        """FSTAT."""
        result: SFTPAttributes = await self._client.call(messages.FSTAT, self.handle, path=self._path)
        return result

    async def setstat(self, attributes: SFTPAttributes) -> None:
        """FSETSTAT: what is not None in ``attributes`` is set."""
        await self._client.call(messages.FSETSTAT, self.handle, attributes, path=self._path)

    async def truncate(self, size: int | None = None) -> int:
        """Sets the file's size, by default to the position; the position stays. Returns the size."""
        size = self._position if size is None else size
        await self.setstat(SFTPAttributes(size=size))
        return size

    async def statvfs(self) -> SFTPStatVFS:
        """fstatvfs@openssh.com: the file system that the file is on."""
        result: SFTPStatVFS = await self._client.call(messages.FSTATVFS, self.handle, path=self._path)
        return result

    async def fsync(self) -> None:
        """fsync@openssh.com: returns when the data are on the server's disk."""
        await self._client.call(messages.FSYNC, self.handle, path=self._path)

    async def flush(self) -> None:
        """As :meth:`fsync`, where the server can do it: written data are acknowledged already."""
        try:
            await self.fsync()
        except SFTPUnsupportedError:
            pass  # nothing of ours is left to be flushed

    async def close(self) -> None:
        """CLOSE. Its failure is raised: a server may only notice then that it could not write. Twice is harmless."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            await self._client.call(messages.CLOSE, handle, path=self._path)


def forget(replies: Iterable[asyncio.Future[Any]]) -> None:
    """Nobody will look at these replies, whatever they are or will be."""
    for reply in replies:
        if not reply.cancel() and not reply.cancelled():
            reply.exception()
