"""Memory that a process shares with those it forks: little of it, and none that they write to without need."""

from __future__ import annotations

import ctypes
import gc
from typing import Any


def share_memory() -> None:
    """To be called before the first fork, and after what changed much.

    What a fork costs grows with the pages that there are, so those that are free go back to the system. The collector
    leaves alone what is there now: it would write to all of it.
    """
    gc.unfreeze()
    gc.collect()
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    gc.freeze()
