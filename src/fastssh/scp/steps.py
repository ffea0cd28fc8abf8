"""How the protocol asks for bytes: a generator that yields what it wants next, and is told what came of it.

So the same code runs over a channel, over standard input and output, and over nothing at all in a test: whoever drives
it decides how bytes come and go. It may be closed at any time, and then leaves its files in order.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

CHUNK: Final = 256 * 1024  # bytes of a file at a time


@dataclass(frozen=True, slots=True)
class Line:
    """Wanted: a line with its newline; without one only at the end of input, or if it is longer than ``limit``."""

    limit: int


@dataclass(frozen=True, slots=True)
class Data:
    """Wanted: between one byte and ``limit``; nothing only at the end of input."""

    limit: int


Want = bytes | Line | Data  # bytes: to be sent, all of them
Steps = Generator[Want, bytes, T]
