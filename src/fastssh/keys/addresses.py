"""Lists of addresses and host names, as ``from=`` in authorized_keys (sshd(8)) and ``Match Address`` (sshd_config(5)).

An entry is an address, a network (``192.0.2.0/24``), or a pattern with ``*`` and ``?``; ``!`` before it refuses what it
matches, wherever it stands. Every doubt ends on the refusing side: one malformed entry condemns its whole list, and
what looks like an address speaks of addresses alone, since whoever answers for an address in the DNS may call it
``10.0.0.1.example``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from fastssh.keys.patterns import has_wildcard, lower, match_pattern

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Characters; names in the DNS have 255 at most, and matching takes time in proportion.
MAX_ENTRY = 1023

_LENGTH = re.compile(r"[0-9]{1,3}", re.ASCII)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
#: Text whose last label is a number: no host name, and some resolvers take it for an IPv4 address ("127.1", "010.1").
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE | re.DOTALL)
_ADDRESS_PATTERN = re.compile(r"(?=.*[0-9])[0-9.*?]+|.*:.*", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a list. ``network`` is None for a pattern; ``scope`` is the zone after ``%``."""

    text: str  #: in lower case, without ``!``
    negated: bool = False
    network: Network | None = None
    scope: str | None = None

    def matches(self, address: Address, host: str | None) -> bool:
        if self.network is not None:
            scope = getattr(address, "scope_id", None)
            # A link-local address is not the same on every link, so without its zone it grants nothing.
            return address in self.network and (scope == self.scope or (self.negated and self.scope is None))
        if match_pattern(lower(str(address)), self.text):
            return True
        if host is None or (not self.negated and _ADDRESS_PATTERN.fullmatch(self.text)):
            return False
        return match_pattern(lower(host), self.text)


def parse_address(text: str) -> Address | None:
    """The address that ``text`` is, None when it is none; an IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def match_address_list(address: str, patterns: Iterable[str]) -> bool:
    """Whether an entry matches ``address`` and no ``!entry`` does; negations alone match nothing.

    What is not an address is matched by nothing. Raises ValueError as :func:`check_address_list`.
    """
    return match_host_list(None, address, patterns)


def match_host_list(host: str | None, address: str, patterns: Iterable[str]) -> bool:
    """As :func:`match_address_list`, where an entry may also match the host's name, in any letter case.

    ``host`` is a name that leads back to ``address``, or None. A negation that matches either refuses both.
    """
    entries = [_entry(pattern) for pattern in patterns]
    parsed = parse_address(address)
    if parsed is None or any(entry.negated and entry.matches(parsed, host) for entry in entries):
        return False
    return any(not entry.negated and entry.matches(parsed, host) for entry in entries)


def match_cidr_list(address: str, networks: Iterable[str]) -> bool:
    """Whether one of ``networks``, addresses or networks without patterns or ``!``, has ``address`` in it.

    For source-address of certificates (OpenSSH PROTOCOL.certkeys). Raises ValueError for anything else in the list.
    """
    entries = [_network(text) for text in networks]
    parsed = parse_address(address)
    return parsed is not None and any(entry.matches(parsed, None) for entry in entries)


def check_address_list(patterns: Iterable[str]) -> None:
    """ValueError, with the reason, when an entry is empty, too long, or a network or address written wrongly.

    A network with bits set behind its length is one of them, as in OpenSSH.
    """
    for pattern in patterns:
        _entry(pattern)


def _entry(pattern: str) -> _Entry:
    negated = pattern.startswith("!")
    text = pattern[negated:]
    if not text:
        raise ValueError("an entry of the list is empty")
    if len(text) > MAX_ENTRY:
        raise ValueError(f"an entry of the list is longer than {MAX_ENTRY} characters")
    # "!!a", "! a" and "a, !b" would refuse nobody, which is not what was meant.
    if "!" in text or (negated and re.search(r"\s", text)):
        raise ValueError(f"'!' is misplaced in {pattern!r}")
    if "/" in text or not has_wildcard(text) and (":" in text or _NUMERIC.fullmatch(text)):
        return _network(text, negated)
    return _Entry(lower(text), negated)


def _network(text: str, negated: bool = False) -> _Entry:
    written, slash, length = text.partition("/")
    bare, _, scope = written.partition("%")
    try:
        if slash and not _LENGTH.fullmatch(length):  # ipaddress would take a netmask as well
            raise ValueError
        address = ipaddress.ip_address(written)
        network = ipaddress.ip_network(f"{bare}/{length if slash else address.max_prefixlen}")
    except ValueError:
        raise ValueError(f"{text!r} is not an address or network") from None
    return _Entry(lower(text), negated, _unmapped(network), scope or None)


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network
