"""Where connections come from: one source is an address, or the network that PerSourceNetBlockSize makes of it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final, TypeAlias

from fastssh.config.server.limits import NetBlock
from fastssh.keys.addresses import parse_address

Source: TypeAlias = str | None  # a network, with its length
REMEMBERED: Final = 1024  # sources: the parent asks several times for each of those that are connected


@lru_cache(REMEMBERED)
def source_of(address: str, block: NetBlock) -> Source:
    """The source of an address; None, which is one source as well, for what has none (a Unix socket, a pipe)."""
    parsed = parse_address(address)
    if parsed is None:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(ipaddress.IPv4Network((int(parsed), block.ipv4), strict=False))
    return str(ipaddress.IPv6Network((int(parsed), block.ipv6), strict=False))
