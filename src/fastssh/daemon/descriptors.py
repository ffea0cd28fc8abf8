"""How many files the process of a connection may have open: enough for thousands of a client's handles."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

WANTED: Final = 16_384  # descriptors; a directory that is listed takes three


def raise_limit() -> int:
    """Raises this process's soft RLIMIT_NOFILE as far as it is wanted and allowed; gives what it was, for the programs
    that are started here: select(2) fails with descriptors above 1,023, and who uses it relies on the usual limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        with contextlib.suppress(OSError, ValueError):  # some systems forbid it: there are fewer handles then
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    return 0 if soft == resource.RLIM_INFINITY else soft
