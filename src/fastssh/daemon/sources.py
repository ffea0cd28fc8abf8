"""Where connections come from: one source is an address, or the network that PerSourceNetBlockSize makes of it."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from fastssh.config.server.limits import NetBlock
from fastssh.keys.addresses import Network, parse_address

Source: TypeAlias = Network | None


def source_of(address: str, block: NetBlock) -> Source:
    """The source of an address; None, which is one source as well, for what has none (a Unix socket, a pipe)."""
    parsed = parse_address(address)
    if parsed is None:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return ipaddress.IPv4Network((int(parsed), block.ipv4), strict=False)
    return ipaddress.IPv6Network((int(parsed), block.ipv6), strict=False)
