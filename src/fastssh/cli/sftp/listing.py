"""What ls shows: columns as wide as the terminal, or a line for each name, byte for byte as sftp(1) has them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from fastssh.cli.progress import text_columns
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.listing import time_text
from fastssh.wire.text import printable

DEFAULT_COLUMNS: Final = 80
_UNITS: Final = "BKMGTPE"


class Entry(NamedTuple):
    """A name to be listed. ``longname`` is the server's own line for it, where there is one."""

    name: str
    attributes: SFTPAttributes
    longname: str = ""


class Style(NamedTuple):
    """How to list, of ls's flags: the later of two that exclude each other counts."""

    order: str = "name"  # "size", "time", "none"
    reverse: bool = False
    hidden: bool = False
    long: bool = False
    numeric: bool = False
    human: bool = False
    single: bool = False  # a name a line

    @classmethod
    def of(cls, flags: str) -> Style:
        style = cls()
        for flag in flags:
            style = style._replace(**_CHANGES[flag])
        return style


_CHANGES: Final[dict[str, dict[str, Any]]] = {
    "1": {"single": True, "long": False, "numeric": False, "human": False},
    "S": {"order": "size"},
    "a": {"hidden": True},
    "f": {"order": "none"},
    "h": {"human": True},
    "l": {"long": True, "single": False},
    "n": {"long": True, "numeric": True, "single": False},
    "r": {"reverse": True},
    "t": {"order": "time"},
}
_KEYS: Final[dict[str, Callable[[Entry], object]]] = {
    "name": lambda entry: entry.name.encode("utf-8", "surrogateescape"),
    "size": lambda entry: -(entry.attributes.size or 0),
    "time": lambda entry: -(entry.attributes.mtime or 0),
}


def ordered(entries: Sequence[Entry], style: Style) -> list[Entry]:
    """In the order asked for: names, or the largest or newest first."""
    if style.order == "none":
        return list(entries)
    return sorted(entries, key=_KEYS[style.order], reverse=style.reverse)  # type: ignore[arg-type]


def terminal_columns() -> int:
    """The width of the terminal that commands are typed at; 80 without one."""
    try:
        return os.get_terminal_size(sys.stdin.fileno()).columns or DEFAULT_COLUMNS
    except (OSError, ValueError, AttributeError):
        return DEFAULT_COLUMNS


def columns(names: Sequence[str], widest: int, width: int, *, single: bool = False) -> str:
    """``names`` in as many columns as fit ``width``, each as wide as ``widest`` and two more at least."""
    number = 1 if single else max(width // (widest + 2), 1)
    space = 0 if single else min(width // number, width)
    lines: list[str] = []
    for start in range(0, len(names), number):
        lines.append("".join(_padded(printable(name), space) for name in names[start : start + number]) + "\n")
    return "".join(lines)


def _padded(name: str, space: int) -> str:
    return name + " " * (space - text_columns(name))


NameOf = Callable[[int], str | None]


def long_line(name: str, attributes: SFTPAttributes, style: Style, user: NameOf, group: NameOf, now: float) -> str:
    """Mode, owner, group, size, time and name. The number of links is not in the protocol."""
    uid, gid = attributes.uid or 0, attributes.gid or 0
    owner = (None if style.numeric else user(uid)) or str(uid)
    team = (None if style.numeric else group(gid)) or str(gid)
    size = attributes.size or 0
    shown = scaled(size) if style.human else str(size)
    when = time_text(attributes.mtime or 0, now)
    line = f"{stat.filemode(attributes.permissions or 0)}    ? {owner:<8} {team:<8} {shown:>8} {when} {name}"
    return printable(line)


def scaled(number: int) -> str:
    """A number in at most four digits and a unit, in powers of 1024."""
    unit = 0
    while number >> 10 * (unit + 1) and unit < len(_UNITS) - 1:
        unit += 1
    if not number:
        return "0B"
    whole, rest = divmod(number, 1 << 10 * unit)
    tenths = (10 * (rest >> 10 * (unit - 1) if unit else 0) + 512) >> 10
    if tenths >= 10:
        whole, tenths = whole + 1, 0
    if unit == 0 or whole >= 100:
        return f"{whole + (tenths >= 5)}{_UNITS[unit]}"
    return f"{whole}.{tenths}{_UNITS[unit]}"
