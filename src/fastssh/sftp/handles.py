"""What a client has open: four bytes on the wire, of which no value ever means two things in one session."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from fastssh.sftp.constants import StatusCode
from fastssh.sftp.listing import Listing
from fastssh.sftp.status import Refused

_INDEX_BITS: Final = 16  # slots; the other half of a handle says how often its slot was used before
_USES: Final = 1 << (32 - _INDEX_BITS)
MAX_HANDLES: Final = 1 << _INDEX_BITS


class Descriptor(NamedTuple):
    """An open file that never waits, for who moves its bytes in our place. The descriptor stays ours."""

    fd: int
    readable: bool
    writable: bool
    append: bool


@dataclass(frozen=True, slots=True)
class OpenFile:
    """``flags`` as given to open(2). ``prompt``: nothing done with it waits, as with a regular file."""

    fd: int
    flags: int
    prompt: bool

    @property
    def append(self) -> bool:
        return bool(self.flags & os.O_APPEND)

    def descriptor(self) -> Descriptor | None:
        if not self.prompt:
            return None
        access = self.flags & os.O_ACCMODE
        return Descriptor(self.fd, access != os.O_WRONLY, access != os.O_RDONLY, self.append)

    def close(self) -> None:
        os.close(self.fd)


Open = OpenFile | Listing


@dataclass(slots=True)
class _Slot:
    index: int
    uses: int = 0
    content: Open | None = None

    @property
    def handle(self) -> bytes:
        return (self.uses << _INDEX_BITS | self.index).to_bytes(4, "big")


class Handles:
    """At most ``limit`` files and directories. A slot is used again as late as possible, a handle never."""

    def __init__(self, limit: int) -> None:
        self._limit = min(limit, MAX_HANDLES)
        self._slots: list[_Slot] = []
        self._free: deque[_Slot] = deque()
        self._count = 0

    def add(self, opening: Callable[[], Open]) -> bytes:
        """The handle of what ``opening`` opens, which is not called when there is no room: it may create a file."""
        slot = self._room()
        slot.content = opening()
        if self._free and self._free[0] is slot:
            self._free.popleft()
        else:
            self._slots.append(slot)
        self._count += 1
        return slot.handle

    def _room(self) -> _Slot:
        if self._count < self._limit:
            if self._free:
                return self._free[0]
            if len(self._slots) < MAX_HANDLES:
                return _Slot(len(self._slots))
        raise Refused(StatusCode.FAILURE, "Too many open handles")

    def _slot(self, handle: bytes) -> _Slot | None:
        value = int.from_bytes(handle, "big")
        index = value & (MAX_HANDLES - 1)
        if len(handle) != 4 or index >= len(self._slots):
            return None
        slot = self._slots[index]
        return slot if slot.content is not None and slot.uses == value >> _INDEX_BITS else None

    def get(self, handle: bytes) -> Open | None:
        """None for a handle that was never given out, or was closed."""
        slot = self._slot(handle)
        return None if slot is None else slot.content

    def file(self, handle: bytes, otherwise: StatusCode = StatusCode.FAILURE) -> OpenFile:
        """Refuses what is no handle of a file."""
        content = self.get(handle)
        if not isinstance(content, OpenFile):
            raise Refused(otherwise, "No such file handle")
        return content

    def directory(self, handle: bytes) -> Listing:
        """Refuses what is no handle of a directory."""
        content = self.get(handle)
        if not isinstance(content, Listing):
            raise Refused(StatusCode.FAILURE, "No such directory handle")
        return content

    def close(self, handle: bytes) -> None:
        """Raises OSError as close(2) does; the handle is gone in any case."""
        slot = self._slot(handle)
        if slot is None or slot.content is None:
            raise Refused(StatusCode.NO_SUCH_FILE, "No such handle")
        content, slot.content = slot.content, None
        self._count -= 1
        slot.uses += 1
        if slot.uses < _USES:
            self._free.append(slot)
        content.close()

    def close_all(self) -> None:
        """Closes what the client left open; nobody is left to hear of errors."""
        for slot in self._slots:
            content, slot.content = slot.content, None
            if content is not None:
                try:
                    content.close()
                except OSError:
                    pass  # what could not be written is lost with the session
        self._count = 0
        self._free.clear()
        self._slots.clear()
