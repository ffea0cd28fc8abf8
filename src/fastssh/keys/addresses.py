"""Lists of addresses, as ``Match Address`` of sshd_config(5) has them.

An entry is an address, a network (``192.0.2.0/24``), or a pattern with ``*`` and ``?``; ``!`` before it refuses what it
matches, wherever it stands.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from fastssh.keys.patterns import has_wildcard, lower, match_pattern

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def match_address_list(address: str, patterns: Iterable[str]) -> bool:
    """Whether an entry matches ``address`` and no ``!entry`` does; negations alone match nothing.

    What is not an address is matched by nothing. Raises ValueError as :func:`check_address_list`.
    """
    entries = [(pattern.startswith("!"), _entry(pattern.removeprefix("!"))) for pattern in patterns]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    matched = {negated for negated, entry in entries if _matches(parsed, entry)}
    return matched == {False}


def check_address_list(patterns: Iterable[str]) -> None:
    """ValueError, with the reason, when an entry is empty, or a network or address written wrongly.

    A network with bits set behind its length is one of them, as in OpenSSH.
    """
    for pattern in patterns:
        _entry(pattern.removeprefix("!"))


def _matches(address: Address, entry: Network | str) -> bool:
    return match_pattern(str(address), entry) if isinstance(entry, str) else address in entry


def _entry(text: str) -> Network | str:
    """A network, or a pattern in lower case."""
    if not text:
        raise ValueError("an entry of the list is empty")
    if "/" not in text and (has_wildcard(text) or not (":" in text or re.fullmatch(r"[0-9.]+", text, re.ASCII))):
        return lower(text)
    try:
        if "/" in text and not re.fullmatch(r"[0-9]{1,3}", text.partition("/")[2], re.ASCII):
            raise ValueError  # ipaddress would take a netmask as well
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or network") from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network
