"""Limits of sshd_config(5): how many connections and how many of them from one place; readers raise ValueError."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, NamedTuple

from fastssh.config.values import member, number, seconds


class MaxStartups(NamedTuple):
    """From ``start`` connections on, ``rate`` percent are refused, then ever more, and all from ``full`` on."""

    start: int
    rate: int
    full: int

    def __str__(self) -> str:
        return f"{self.start}:{self.rate}:{self.full}"


def max_startups(arguments: Sequence[str]) -> MaxStartups:
    """``start:rate:full``, or one number for start and full."""
    parts = [number([part]) for part in arguments[0].split(":")]
    if len(parts) == 1:
        parts = [parts[0], 30, parts[0]]
    if len(parts) != 3 or not 1 <= parts[0] <= parts[2] or not 1 <= parts[1] <= 100:
        raise ValueError(f"{arguments[0]!r} is not start:rate:full")
    return MaxStartups(*parts)


class NetBlock(NamedTuple):
    """How many bits of an address make one source."""

    ipv4: int
    ipv6: int

    def __str__(self) -> str:
        return f"{self.ipv4}:{self.ipv6}"


def net_block(arguments: Sequence[str]) -> NetBlock:
    """``bits`` for IPv4, or ``bits:bits`` for IPv4 and IPv6."""
    ipv4, colon, ipv6 = arguments[0].partition(":")
    block = NetBlock(number([ipv4]), number([ipv6]) if colon else 128)
    if block.ipv4 > 32 or block.ipv6 > 128:
        raise ValueError(f"{arguments[0]!r} has more bits than an address")
    return block


class Overflow(Enum):
    """What happens to new sources when as many are penalised as can be remembered."""

    PERMISSIVE = "permissive"
    DENY_ALL = "deny-all"


_ENABLED: Final = "enabled"


@dataclass(frozen=True, slots=True)
class Penalties:
    """PerSourcePenalties: for how many seconds a source is refused after what it did. ``given`` are the names set."""

    enabled: bool = True
    crash: int = 90
    authfail: int = 5
    invaliduser: int = 5
    noauth: int = 1
    grace_exceeded: int = 10
    refuseconnection: int = 10
    max: int = 600
    min: int = 15
    max_sources4: int = 65536
    max_sources6: int = 65536
    overflow: Overflow = Overflow.PERMISSIVE
    overflow6: Overflow = Overflow.PERMISSIVE
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        if not self.enabled:
            return "no"
        values = ((name, getattr(self, name)) for name in _PENALTIES)
        shown = ((name, value.value if isinstance(value, Enum) else value) for name, value in values)
        return " ".join(f"{name.replace('_', '-')}:{value}" for name, value in shown)


_PENALTIES: Final[dict[str, Callable[[Sequence[str]], int | Overflow]]] = {
    **dict.fromkeys(
        ("crash", "authfail", "invaliduser", "noauth", "grace_exceeded", "refuseconnection", "max", "min"), seconds
    ),
    "max_sources4": number,
    "max_sources6": number,
    "overflow": member(Overflow),
    "overflow6": member(Overflow),
}


def penalties(arguments: Sequence[str]) -> Penalties:
    """``yes`` or ``no`` alone, or ``name:value`` for what departs from the defaults."""
    if arguments[0].lower() in ("yes", "no"):
        if len(arguments) > 1:
            raise ValueError(f"{arguments[0]!r} must stand alone")
        return Penalties(enabled=arguments[0].lower() == "yes", given=frozenset((_ENABLED,)))
    found: dict[str, int | Overflow] = {}
    for argument in arguments:
        name, colon, value = argument.partition(":")
        key = name.replace("-", "_")
        if not colon or "_" in name or key not in _PENALTIES:
            raise ValueError(f"{argument!r} is not a penalty")
        found.setdefault(key, _PENALTIES[key]([value]))
    return _penalties(found)


def combined_penalties(values: Iterable[Penalties]) -> Penalties:
    """Penalties from several lines: each name's first value stands, and a value enables where ``no`` stood."""
    found: dict[str, object] = {}
    for value in values:
        for name in value.given - found.keys():
            found[name] = getattr(value, name)
    return _penalties(found)


def _penalties(found: Mapping[str, object]) -> Penalties:
    """The defaults with what was ``found``."""
    values: dict[str, Any] = {**found}
    if values.keys() - {_ENABLED}:
        values[_ENABLED] = True
    if "overflow" in values:
        values.setdefault("overflow6", values["overflow"])
    return replace(Penalties(), **values, given=frozenset(found))
