"""-z: serial numbers of certificates, and the number of a revocation list."""

from __future__ import annotations

from typing import NamedTuple

from fastssh.cli.keygen.console import Fatal
from fastssh.wire.codec import UINT64_MAX


class Serial(NamedTuple):
    """The value of -z; with a ``+`` before it each further certificate has the next number."""

    first: int = 0
    counts: bool = False


def read_serial(text: str | None) -> Serial:
    """The value of -z. Raises Fatal."""
    if text is None:
        return Serial()
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20) or int(digits) > UINT64_MAX:
        raise Fatal(f'Invalid serial number "{digits}"')
    return Serial(int(digits), text.startswith("+"))
