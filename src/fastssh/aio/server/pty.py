"""Pseudo-terminals: opened, given to their user, and set as the client's terminal is."""

from __future__ import annotations

import fcntl
import grp
import os
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from fastssh.aio.server.program import Terminal, WindowSize
from fastssh.wire import terminal_modes as modes

DISABLED: Final = 255  # a special character that is not to be (RFC 4254 section 8)
IUTF8: Final = 0x4000  # on Linux and on BSDs; Python's termios does not have it before 3.14
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)  # of what termios.tcgetattr() gives

Attributes = list[Any]
_Setter = Callable[[Attributes, int], None]


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


def _setters(disabled: int) -> dict[int, _Setter]:
    """By number; modes that this system does not have are missing, and pass unnoticed (RFC 4254 section 8)."""
    flags = ((_IFLAG, modes.INPUT), (_LFLAG, modes.LOCAL), (_OFLAG, modes.OUTPUT), (_CFLAG, modes.CONTROL))
    setters = {
        number: _flag(field, mask)
        for field, names in flags
        for number, name in names.items()
        if (mask := IUTF8 if name == "IUTF8" else getattr(termios, name, None)) is not None
    }
    setters |= {
        number: _character(index, disabled)
        for number, name in modes.CHARACTERS.items()
        if (index := getattr(termios, name, None)) is not None
    }
    setters |= {
        number: _size_of_characters(getattr(termios, name))
        for number, name in modes.CONTROL.items()
        if name in ("CS7", "CS8")
    }
    return setters | {modes.INPUT_SPEED: _speed(_ISPEED), modes.OUTPUT_SPEED: _speed(_OSPEED)}


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


def set_size(fd: int, size: WindowSize) -> None:
    """Tells the terminal's programs with SIGWINCH. Sizes of 16 bits. Raises OSError."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, size.width, size.height))


@dataclass(frozen=True, slots=True)
class Pty:
    """Two descriptors and the terminal's path; closing them is the caller's."""

    master: int
    slave: int
    name: str


def open_pty(terminal: Terminal, uid: int) -> Pty:
    """A new terminal as ``terminal`` says, belonging to ``uid``. Raises OSError."""
    master, slave = os.openpty()
    try:
        _give(slave, uid)
        set_size(slave, terminal.size)
        set_modes(slave, terminal.modes)
        return Pty(master, slave, os.ttyname(slave))
    except BaseException:
        os.close(master)
        os.close(slave)
        raise


def _give(slave: int, uid: int) -> None:
    """Only root can give a terminal away, and to anybody else it belongs already. It may be written to by mesg(1)'s
    group alone. With the terminal's end its entry disappears, so it is not taken back."""
    if os.geteuid() != 0:
        return
    group = -1
    with suppress(KeyError):  # a system without that group
        group = grp.getgrnam("tty").gr_gid
    os.fchown(slave, uid, group)
    os.fchmod(slave, 0o600 if group < 0 else 0o620)
