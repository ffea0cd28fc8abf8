"""Terminals: how one is set, and its size; read from a client's own, set on a server's (RFC 4254 section 8)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fastssh.wire import terminal_modes as modes

DISABLED: Final = 255  # a special character that is not to be (RFC 4254 section 8)
IUTF8: Final = 0x4000  # on Linux and on BSDs; Python's termios does not have it before 3.14
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)  # of what termios.tcgetattr() gives

Attributes = list[Any]
_Setter = Callable[[Attributes, int], None]


class WindowSize(NamedTuple):
    """Of a terminal: in characters, then in pixels (0: unknown)."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class Terminal:
    """What the client said of its terminal. ``modes``: values by number, see :mod:`fastssh.wire.terminal_modes`."""

    term: str
    size: WindowSize
    modes: Mapping[int, int] = field(default_factory=dict)


def _flag(field: int, mask: int) -> _Setter:
    def apply(attributes: Attributes, value: int) -> None:
        attributes[field] = attributes[field] | mask if value else attributes[field] & ~mask

    return apply


def _size_of_characters(bits: int) -> _Setter:
    """CS7 and CS8 are values of one field: the one that is wanted is set, one that is not says nothing."""

    def apply(attributes: Attributes, value: int) -> None:
        if value:
            attributes[_CFLAG] = attributes[_CFLAG] & ~termios.CSIZE | bits

    return apply


def _character(index: int, disabled: int) -> _Setter:
    def apply(attributes: Attributes, value: int) -> None:
        if value <= DISABLED:
            attributes[_CC][index] = bytes((disabled if value == DISABLED else value,))

    return apply


def _speed(field: int) -> _Setter:
    def apply(attributes: Attributes, value: int) -> None:
        if value:  # B0 would hang up
            attributes[field] = getattr(termios, f"B{value}", attributes[field])  # B9600 and so on

    return apply


def _masks() -> dict[int, tuple[int, int]]:
    """Field and bit of each mode that is one, by number; modes that this system does not have are missing."""
    flags = ((_IFLAG, modes.INPUT), (_LFLAG, modes.LOCAL), (_OFLAG, modes.OUTPUT), (_CFLAG, modes.CONTROL))
    return {
        number: (field, mask)
        for field, names in flags
        for number, name in names.items()
        if (mask := IUTF8 if name == "IUTF8" else getattr(termios, name, None)) is not None and name[:2] != "CS"
    }


def _special() -> dict[int, int]:
    """Index of each special character."""
    return {number: getattr(termios, name) for number, name in modes.CHARACTERS.items() if hasattr(termios, name)}


def _sizes() -> dict[int, int]:
    return {number: getattr(termios, name) for number, name in modes.CONTROL.items() if name in ("CS7", "CS8")}


def _setters(disabled: int) -> dict[int, _Setter]:
    """By number; other modes pass unnoticed (RFC 4254 section 8)."""
    setters = {number: _flag(field, mask) for number, (field, mask) in _masks().items()}
    setters |= {number: _character(index, disabled) for number, index in _special().items()}
    setters |= {number: _size_of_characters(bits) for number, bits in _sizes().items()}
    return setters | {modes.INPUT_SPEED: _speed(_ISPEED), modes.OUTPUT_SPEED: _speed(_OSPEED)}


def get_modes(fd: int) -> dict[int, int]:
    """How the terminal is set, for a server to set its own so. Raises termios.error."""
    attributes = termios.tcgetattr(fd)
    disabled, characters = os.fpathconf(fd, "PC_VDISABLE"), attributes[_CC]
    found = {
        modes.INPUT_SPEED: _bits_a_second(attributes[_ISPEED]),
        modes.OUTPUT_SPEED: _bits_a_second(attributes[_OSPEED]),
    }
    for number, index in _special().items():
        character = characters[index]  # VMIN and VTIME, which share their places with others on some systems, are ints
        value = character if isinstance(character, int) else character[0]
        found[number] = DISABLED if value == disabled else value
    found |= {number: int(attributes[field] & mask != 0) for number, (field, mask) in _masks().items()}
    return found | {number: int(attributes[_CFLAG] & termios.CSIZE == bits) for number, bits in _sizes().items()}


def _bits_a_second(speed: int) -> int:
    """B9600 and so on are numbers of the system's own."""
    names = (name for name in vars(termios) if name[:1] == "B" and name[1:].isdigit())
    return next((int(name[1:]) for name in names if getattr(termios, name) == speed), 0)


def set_modes(fd: int, values: Mapping[int, int]) -> None:
    """Sets the terminal as a client describes its own, as far as it can be: a pseudo-terminal has no seven bits."""
    attributes = termios.tcgetattr(fd)
    setters = _setters(os.fpathconf(fd, "PC_VDISABLE"))
    for number, value in sorted(values.items()):
        setter = setters.get(number)
        if setter is not None:
            setter(attributes, value)
    with suppress(termios.error):  # said after all that could be set was set (tcsetattr(3))
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


def get_size(fd: int) -> WindowSize:
    """Zeros where it is no terminal, or does not know."""
    try:
        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return WindowSize(0, 0)
    return WindowSize(columns, rows, width, height)


def set_size(fd: int, size: WindowSize) -> None:
    """Tells the terminal's programs with SIGWINCH. Sizes of 16 bits. Raises OSError."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, size.width, size.height))
