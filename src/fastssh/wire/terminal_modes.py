"""Terminal modes as ``pty-req`` has them (RFC 4254 section 8, RFC 8160): numbers on the wire, names in termios(3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastssh.errors import ProtocolError
from fastssh.wire.codec import Reader, byte, uint32

END: Final = 0
FIRST_UNDEFINED: Final = 160  # from here on an argument's length is not known: reading stops
MAX_BYTES: Final = 5 * FIRST_UNDEFINED + 1  # every mode there is, once

CHARACTERS: Final = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2", 8: "VSTART", 9: "VSTOP",
    10: "VSUSP", 11: "VDSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT", 15: "VFLUSH", 16: "VSWTC", 17: "VSTATUS",
    18: "VDISCARD",
}  # fmt: skip
INPUT: Final = {
    30: "IGNPAR", 31: "PARMRK", 32: "INPCK", 33: "ISTRIP", 34: "INLCR", 35: "IGNCR", 36: "ICRNL", 37: "IUCLC",
    38: "IXON", 39: "IXANY", 40: "IXOFF", 41: "IMAXBEL", 42: "IUTF8",
}  # fmt: skip
LOCAL: Final = {
    50: "ISIG", 51: "ICANON", 52: "XCASE", 53: "ECHO", 54: "ECHOE", 55: "ECHOK", 56: "ECHONL", 57: "NOFLSH",
    58: "TOSTOP", 59: "IEXTEN", 60: "ECHOCTL", 61: "ECHOKE", 62: "PENDIN",
}  # fmt: skip
OUTPUT: Final = {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
CONTROL: Final = {90: "CS7", 91: "CS8", 92: "PARENB", 93: "PARODD"}
INPUT_SPEED: Final = 128  # bits a second
OUTPUT_SPEED: Final = 129


def parse(modes: bytes) -> dict[int, int]:
    """Values by number, the last of several. Some clients leave the final END out.

    Raises ProtocolError for an argument that is cut short, and for more than MAX_BYTES.
    """
    if len(modes) > MAX_BYTES:
        raise ProtocolError(f"{len(modes)} bytes of terminal modes, {MAX_BYTES} allowed")
    values: dict[int, int] = {}
    reader = Reader(modes)
    while reader.remaining:
        number = reader.byte()
        if number == END or number >= FIRST_UNDEFINED:
            break
        values[number] = reader.uint32()
    return values


def encode(values: Mapping[int, int]) -> bytes:
    """What :func:`parse` reads."""
    return b"".join(byte(number) + uint32(value) for number, value in values.items()) + byte(END)
