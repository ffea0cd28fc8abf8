"""MaxStartups and PerSourceMaxStartups of sshd_config(5): which of too many unauthenticated connections are dropped."""

from __future__ import annotations

from fastssh.config.server.limits import MaxStartups


def refused_percent(waiting: int, limit: MaxStartups) -> int:
    """The chance, out of 100, that a connection is dropped while ``waiting`` others have not logged in."""
    if waiting < limit.start:
        return 0
    if waiting >= limit.full:
        return 100
    return limit.rate + (100 - limit.rate) * (waiting - limit.start) // (limit.full - limit.start)


def over_limit(
    waiting: int, waiting_here: int, limit: MaxStartups, limit_here: int | None, draw: int
) -> str | None:
    """Why a connection is dropped, None if it is not. ``draw`` is a random number from 0 to 99.

    ``waiting_here`` are those of ``waiting`` that come from the same source.
    """
    if limit_here is not None and waiting_here >= limit_here:
        return "PerSourceMaxStartups"
    return "MaxStartups" if draw < refused_percent(waiting, limit) else None
