"""How a directive's arguments become its value: readers, which raise ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from fastssh.keys.times import duration

E = TypeVar("E", bound=Enum)


class RekeyLimit(NamedTuple):
    """When to exchange keys again; 0 means the cipher's own limit, or no time limit."""

    bytes: int
    seconds: int


class Qos(NamedTuple):
    """IP_TOS / IPV6_TCLASS of interactive and of bulk connections; -1 leaves the system's."""

    interactive: int
    bulk: int


class LogLevel(Enum):
    """How much is logged, least first."""

    QUIET = "quiet"
    FATAL = "fatal"
    ERROR = "error"
    INFO = "info"
    VERBOSE = "verbose"
    DEBUG1 = "debug1"
    DEBUG2 = "debug2"
    DEBUG3 = "debug3"


# What a directive may hold: bool, int, str, None, a tuple of words, or a NamedTuple of its own.
Value = bool | int | str | tuple[object, ...] | None

_INT_MAX = 0x7FFF_FFFF
_QOS = {
    "none": -1, "lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04, "ef": 0xB8, "le": 0x04, "va": 0xB0,
    **{f"cs{n}": n << 5 for n in range(8)},
    **{f"af{n}{drop}": n << 5 | drop << 3 for n in range(1, 5) for drop in range(1, 4)},
}  # RFC 2474, 2597, 3246, 5865, 8622; the old words are RFC 1349's
_SCALES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}


def flag(arguments: Sequence[str]) -> bool:
    """yes or no."""
    return choice(yes=("true",), no=("false",))(arguments) == "yes"


def choice(*plain: str, **with_aliases: tuple[str, ...]) -> Callable[[Sequence[str]], str]:
    """A reader for one of several words, in any letter case; the value is the word in lower case, aliases resolved.

    A keyword argument's underscore stands for a dash.
    """
    words = {word: word for word in plain}
    for name, aliases in with_aliases.items():
        name = name.replace("_", "-")
        words |= dict.fromkeys((name, *aliases), name)

    def read(arguments: Sequence[str]) -> str:
        try:
            return words[arguments[0].lower()]
        except KeyError:
            raise ValueError(f"{arguments[0]!r} is not one of {', '.join(dict.fromkeys(words.values()))}") from None

    return read


def member(kind: type[E], **with_aliases: tuple[str, ...]) -> Callable[[Sequence[str]], E]:
    """A reader for an enumeration whose values are words; aliases as choice() takes them."""
    aliased = {name.replace("_", "-") for name in with_aliases}
    word = choice(*(each.value for each in kind if each.value not in aliased), **with_aliases)
    return lambda arguments: kind(word(arguments))


def text(arguments: Sequence[str]) -> str:
    """One word, not empty."""
    if not arguments[0]:
        raise ValueError("the argument is empty")
    return arguments[0]


def words(arguments: Sequence[str]) -> tuple[str, ...]:
    """All arguments, none empty."""
    if not all(arguments):
        raise ValueError("an argument is empty")
    return tuple(arguments)


def files(arguments: Sequence[str]) -> tuple[str, ...]:
    """File names, or ``none`` alone."""
    names = words(arguments)
    if len(names) > 1 and "none" in (name.lower() for name in names):
        raise ValueError("'none' must stand alone")
    return () if names[0].lower() == "none" else names


def number(arguments: Sequence[str]) -> int:
    """A decimal integer from 0 to 2^31-1."""
    if not re.fullmatch(r"[0-9]{1,10}", arguments[0], re.ASCII) or int(arguments[0]) > _INT_MAX:
        raise ValueError(f"{arguments[0]!r} is not a number from 0 to {_INT_MAX}")
    return int(arguments[0])


def port(arguments: Sequence[str]) -> int:
    """A TCP port: a number from 1 to 65535 or a service's name, as OpenSSH takes them."""
    name = arguments[0]
    if re.fullmatch(r"[0-9]{1,5}", name, re.ASCII):
        value = int(name)
    else:
        value = _service(name)
    if not 0 < value <= 65535:
        raise ValueError(f"bad port {name!r}")
    return value


def _service(name: str) -> int:
    import socket  # which costs more than the rest of a usual configuration

    try:
        return socket.getservbyname(name, "tcp")
    except (OSError, UnicodeError):
        return 0


def seconds(arguments: Sequence[str]) -> int:
    """A time in TIME FORMATS of sshd_config(5): ``90``, ``10m``, ``1h30m``."""
    return duration(arguments[0])


def seconds_or_none(arguments: Sequence[str]) -> int:
    """seconds(), or ``none`` for 0."""
    return 0 if arguments[0].lower() == "none" else seconds(arguments)


def scaled(number_text: str) -> int:
    """A number of bytes with an optional K, M, G, ... of 1024."""
    found = re.fullmatch(r"([0-9]{1,19})([KMGTPE]?)", number_text.upper(), re.ASCII)
    value = int(found[1]) << _SCALES[found[2]] if found else -1
    if not 0 <= value < 1 << 63:
        raise ValueError(f"{number_text!r} is not a number of bytes")
    return value


def rekey_limit(arguments: Sequence[str]) -> RekeyLimit:
    """``default`` or a number of bytes, then optionally ``none`` or a time."""
    size = 0 if arguments[0].lower() == "default" else scaled(arguments[0])
    if 0 < size < 16:
        raise ValueError("the limit is too small")
    time = seconds_or_none(arguments[1:]) if len(arguments) > 1 else 0
    return RekeyLimit(size, time)


def qos(arguments: Sequence[str]) -> Qos:
    """One class for both kinds of connection, or one each: a name, a number from 0 to 255, or ``none``."""
    values = []
    for word in arguments:
        value = _QOS.get(word.lower())
        if value is None:
            try:
                value = int(word, 0) if word.isascii() else 256
            except ValueError:
                value = 256
        if not -1 <= value <= 255 or (value < 0 and word.lower() != "none"):
            raise ValueError(f"{word!r} is not a class of service")
        values.append(value)
    return Qos(values[0], values[-1])


def qos_name(value: int) -> str:
    """What a class of service is called; a number in hexadecimal where it has no name."""
    return next((name for name in ("le", *_QOS) if _QOS[name] == value), f"0x{value:02x}")
