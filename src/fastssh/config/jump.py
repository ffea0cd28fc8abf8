"""ProxyJump of ssh_config(5): the hosts that it names, one after the other."""

from __future__ import annotations

from typing import NamedTuple

from fastssh.config.values import port as read_port


class Hop(NamedTuple):
    """``user`` and ``port`` are None when not given: the hop's own configuration has them."""

    host: str
    user: str | None = None
    port: int | None = None


def split_hops(text: str) -> tuple[str, Hop]:
    """What comes before the last hop of ``text``, to be read again for that one, and the last hop.

    ``[user@]host[:port]`` or ``ssh://[user@]host[:port]``, separated by commas. Raises ValueError.
    """
    before, _, _ = text.rpartition(",")
    hops = [_hop(each) for each in text.split(",")]
    return before, hops[-1]


def _hop(text: str) -> Hop:
    scheme = "ssh://"
    name = text[len(scheme) :].removesuffix("/") if text.lower().startswith(scheme) else text
    user, at, rest = name.rpartition("@")
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"{text!r} is not a jump host: the address in brackets does not end")
        port = tail[1:] if tail else None
    elif rest.count(":") > 1:  # an IPv6 address
        host, port = rest, None
    else:
        host, colon, tail = rest.partition(":")
        port = tail if colon else None
    if not host or (at and not user):
        raise ValueError(f"{text!r} is not a jump host: [user@]host[:port] is wanted")
    return Hop(host, user if at else None, None if port is None else read_port([port]))
