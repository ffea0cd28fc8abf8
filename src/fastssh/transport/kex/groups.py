"""Diffie-Hellman groups: RFC 3526's MODP groups, their arithmetic and the checks of public values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fastssh._native.modexp import power
from fastssh.transport.kex.method import refused

MIN_BITS = 2048  # RFC 8270; no smaller group is made or accepted
MAX_BITS = 8192  # RFC 4419 section 3
MIN_BITS_SET = 4  # with g = 2 and fewer, the logarithm is easily found
MAX_TRIES = 8  # an honest group needs one

# RFC 3526: p = 2^bits - 2^(bits - 64) - 1 + 2^64 * (floor(2^(bits - 130) * pi) + offset), g = 2
_OFFSETS = {2048: 124476, 3072: 1690314, 4096: 240904, 6144: 929484, 8192: 4743158}


@dataclass(frozen=True)
class Group:
    """A safe prime and its generator."""

    p: int
    g: int

    @property
    def bits(self) -> int:
        return self.p.bit_length()


def _arctan_inverse(x: int, unit: int) -> int:
    """``unit * arctan(1 / x)``, by Gregory's series."""
    total, power, n = 0, unit // x, 1
    while power:
        total += power // n if n % 4 == 1 else -(power // n)
        power //= x * x
        n += 2
    return total


def _pi(bits: int) -> int:
    """``floor(2^bits * pi)``, by Machin's formula with 64 guard bits."""
    unit = 1 << (bits + 64)
    return 4 * (4 * _arctan_inverse(5, unit) - _arctan_inverse(239, unit)) >> 64


@cache
def modp_group(bits: int) -> Group:
    """RFC 3526's group of this size: 2048 is group 14, 3072 15, 4096 16, 6144 17, 8192 18."""
    p = (1 << bits) - (1 << (bits - 64)) - 1 + ((_pi(bits - 130) + _OFFSETS[bits]) << 64)
    return Group(p, 2)


def modp_groups() -> tuple[Group, ...]:
    """All of them, smallest first."""
    return tuple(modp_group(bits) for bits in _OFFSETS)


def check_group(group: Group, minimum: int, maximum: int) -> None:
    """Refuses a group that a server proposed if its size is not what was asked for (RFC 4419 section 3)."""
    if not minimum <= group.bits <= maximum:
        raise refused(f"group of {group.bits} bits offered, {minimum} to {maximum} were asked for")
    if group.p < 0 or group.p % 2 == 0:
        raise refused("group modulus is not an odd prime")
    if not 1 < group.g < group.p - 1:
        raise refused("group generator is out of range")


def _is_fit(value: int, group: Group) -> bool:
    return 1 < value < group.p - 1 and value.bit_count() >= MIN_BITS_SET


def check_public(value: int, group: Group) -> None:
    """Refuses a public value outside [2, p-2] (RFC 4253 section 8) or, as OpenSSH, with fewer than 4 bits set."""
    if not _is_fit(value, group):
        raise refused(f"Diffie-Hellman public value is out of range or has fewer than {MIN_BITS_SET} bits set")


class DiffieHellman:
    """A key pair for one exchange. The exponent has twice the bits of the keys derived, at least 512."""

    def __init__(self, group: Group, key_bytes: int, random: Callable[[int], bytes]) -> None:
        self._group = group
        bits = min(max(2 * 8 * key_bytes, 512), group.bits - 1)
        for _ in range(MAX_TRIES):
            exponent = int.from_bytes(random((bits + 7) // 8), "big") >> (-bits % 8)
            public = power(group.g, exponent, group.p)
            if _is_fit(public, group):
                break
        else:  # a server's group in which hardly any value is fit
            raise refused("group generator yields no usable public value")
        self._exponent = exponent
        self.public = public

    def shared(self, peer: int) -> int:
        """K. Raises ProtocolError for a peer's value out of range, or a secret that would be 0, 1 or p-1."""
        check_public(peer, self._group)
        k = power(peer, self._exponent, self._group.p)
        if not 1 < k < self._group.p - 1:
            raise refused("Diffie-Hellman shared secret is out of range")
        return k
