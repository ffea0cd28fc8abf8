"""PerSourcePenalties of sshd_config(5): sources that misbehaved are refused for a while.

Penalties of one source add up; below the minimum they only count, from there on connections are refused until they are
over. What a source does costs memory only up to max-sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastssh.config.server.limits import NetBlock, Overflow, Penalties
from fastssh.daemon.endings import Ending
from fastssh.daemon.sources import Source, source_of
from fastssh.keys.addresses import match_address_list

#: The setting that says how many seconds an ending costs, and the words of the log.
COSTS: Final = {
    Ending.NO_AUTH: ("noauth", "connections without attempting authentication"),
    Ending.GRACE_EXCEEDED: ("grace_exceeded", "exceeded LoginGraceTime"),
    Ending.CRASH: ("crash", "caused crash"),
    Ending.AUTH_FAILED: ("authfail", "failed authentication"),
    Ending.INVALID_USER: ("invaliduser", "invalid user"),
}


@dataclass(slots=True)
class _Penalty:
    until: float
    reason: str
    enforced: bool = False


class SourcePenalties:
    """The penalties that hold. Times are seconds of one clock that never goes back; the caller reads it."""

    def __init__(self, limits: Penalties, block: NetBlock, exempt: tuple[str, ...] = ()) -> None:
        self._limits, self._block, self._exempt = limits, block, exempt
        self._by_version: dict[int, dict[str, _Penalty]] = {4: {}, 6: {}}

    def refused(self, address: str, now: float) -> str | None:
        """Why nothing is accepted from ``address`` now, in words; None if it is."""
        table, most, overflow, source = self._table(address)
        if source is None or not self._limits.enabled or match_address_list(address, self._exempt):
            return None
        penalty = table.get(source)
        if penalty is not None and penalty.until <= now:
            del table[source]
            penalty = None
        if penalty is None:
            full = overflow is Overflow.DENY_ALL and len(table) >= most
            if full:
                self._expire(table, now)
            return "too many penalised sources" if full and len(table) >= most else None
        return penalty.reason if penalty.enforced else None

    def add(self, address: str, ending: Ending, now: float) -> str | None:
        """Charges ``address`` with what one of its connections did; words for the log when it is refused from now."""
        setting, reason = COSTS.get(ending, ("", ""))
        table, most, overflow, source = self._table(address)
        cost = getattr(self._limits, setting) if setting else 0
        if source is None or not self._limits.enabled or cost <= 0 or match_address_list(address, self._exempt):
            return None
        if source not in table and len(table) >= most:
            self._expire(table, now)
            if len(table) >= most and overflow is Overflow.DENY_ALL:
                return None  # nobody else comes in until some of them are over
            if len(table) >= most:
                del table[next(iter(table))]  # the oldest one
        penalty = table.setdefault(source, _Penalty(now, reason))
        if penalty.until <= now:
            penalty.enforced = False
        penalty.until = min(max(penalty.until, now) + cost, now + self._limits.max)
        penalty.reason = reason
        if penalty.enforced or penalty.until - now < self._limits.min:
            return None
        penalty.enforced = True
        return f"new {source} penalty of {penalty.until - now:.0f} seconds for penalty: {reason}"

    def _table(self, address: str) -> tuple[dict[str, _Penalty], int, Overflow, Source]:
        limits, source = self._limits, source_of(address, self._block)
        if source is not None and ":" in source:
            return self._by_version[6], limits.max_sources6, limits.overflow6, source
        return self._by_version[4], limits.max_sources4, limits.overflow, source

    @staticmethod
    def _expire(table: dict[str, _Penalty], now: float) -> None:
        for source in [source for source, penalty in table.items() if penalty.until <= now]:
            del table[source]
