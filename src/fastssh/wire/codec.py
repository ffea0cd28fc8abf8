"""The data types of RFC 4251 section 5: bounds before arithmetic, nothing copied twice.

:class:`Reader` never reads past its end and raises :class:`~fastssh.errors.ProtocolError`; ``end()`` refuses a tail.
"""

from __future__ import annotations

from fastssh.errors import ProtocolError

UINT32_MAX = 0xFFFF_FFFF
UINT64_MAX = 0xFFFF_FFFF_FFFF_FFFF


class Reader:
    """Reads RFC 4251 values from ``data``; ``offset`` is the next byte."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.data = data
        self.offset = offset

    @property
    def remaining(self) -> int:
        return len(self.data) - self.offset

    def raw(self, count: int) -> bytes:
        """The next ``count`` bytes as they are."""
        if count > len(self.data) - self.offset:
            raise ProtocolError(f"message truncated: {count} bytes wanted, {self.remaining} left")
        value = self.data[self.offset : self.offset + count]
        self.offset += count
        return value

    def rest(self) -> bytes:
        """Everything left."""
        return self.raw(self.remaining)

    def byte(self) -> int:
        return self.raw(1)[0]

    def boolean(self) -> bool:
        return self.byte() != 0

    def uint32(self) -> int:
        return int.from_bytes(self.raw(4), "big")

    def uint64(self) -> int:
        return int.from_bytes(self.raw(8), "big")

    def string(self) -> bytes:
        return self.raw(self.uint32())

    def utf8(self) -> str:
        """A string in UTF-8; what is not UTF-8 is refused."""
        value = self.string()
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("message text is not UTF-8") from None

    def text(self) -> str:
        """A string meant for people: what is not UTF-8 is replaced, since no decision rests on it."""
        return self.string().decode("utf-8", "replace")

    def ascii(self) -> str:
        """A name: printable US-ASCII (RFC 4251 section 6)."""
        value = self.string()
        text = value.decode("latin-1")
        if not (value.isascii() and text.isprintable()) or " " in text:  # str.isprintable: 0x20 to 0x7E are
            raise ProtocolError("name is not printable US-ASCII")
        return text

    def name_list(self) -> tuple[str, ...]:
        """A comma-separated list of names; empty for the empty string."""
        value = self.ascii()
        if not value:
            return ()
        names = tuple(value.split(","))
        if not all(names):
            raise ProtocolError("empty name in a name-list")
        return names

    def mpint(self) -> int:
        """A two's complement integer. Superfluous leading bytes are refused, as RFC 4251 section 5 asks."""
        value = self.string()
        if len(value) > 1 and (value[0], value[1] >> 7) in ((0x00, 0), (0xFF, 1)) or value == b"\x00":
            raise ProtocolError("mpint has superfluous leading bytes")
        return int.from_bytes(value, "big", signed=True)

    def end(self) -> None:
        """Refuses bytes that nobody asked for."""
        if self.remaining:
            raise ProtocolError(f"{self.remaining} superfluous bytes after the message")


def byte(value: int) -> bytes:
    return value.to_bytes(1, "big")


def boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def uint64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def string(value: bytes | bytearray | memoryview) -> bytes:
    return len(value).to_bytes(4, "big") + value


def utf8(value: str) -> bytes:
    """A string in UTF-8. Bytes of names and passwords that were not UTF-8 where they came from go out as they were."""
    return string(value.encode("utf-8", "surrogateescape"))


def name_list(names: tuple[str, ...] | list[str]) -> bytes:
    return string(",".join(names).encode("ascii"))


def mpint(value: int) -> bytes:
    """RFC 4251 section 5: two's complement, no superfluous leading bytes, zero is the empty string."""
    if value == 0:
        return b"\x00\x00\x00\x00"
    length = (value.bit_length() if value > 0 else (value + 1).bit_length()) // 8 + 1
    return string(value.to_bytes(length, "big", signed=True))
