"""Powers modulo an odd number: libcrypto's against Python's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh._native.modexp import power
from fastssh.transport.kex.groups import modp_groups

LONGEST = (1 << 8192) - 1


@given(
    st.integers(1, LONGEST // 2).map(lambda half: 2 * half + 1),
    st.integers(0, LONGEST),
    st.integers(0, 1 << 600),
)
def test_it_computes_what_python_does(modulus: int, base: int, exponent: int) -> None:
    assert power(base % modulus, exponent, modulus) == pow(base, exponent, modulus)


@pytest.mark.parametrize("group", modp_groups(), ids=lambda group: str(group.bits))
def test_both_sides_of_an_exchange_agree(group) -> None:
    mine, theirs = (1 << 511) + 12345, (1 << 512) - 54321
    shared = power(power(group.g, mine, group.p), theirs, group.p)
    assert shared == power(power(group.g, theirs, group.p), mine, group.p) == pow(group.g, mine * theirs, group.p)


@pytest.mark.parametrize(
    ("base", "exponent", "modulus"),
    [(2, 3, 4), (0, 1, 1), (0, 1, 0), (3, 1, 3), (-1, 1, 3), (2, -1, 3), (2, 1, -3), (2, 1, LONGEST + 2),
     (2, LONGEST + 1, 3)],
)  # fmt: skip
def test_other_numbers_are_refused(base: int, exponent: int, modulus: int) -> None:
    with pytest.raises(ValueError):
        power(base, exponent, modulus)
