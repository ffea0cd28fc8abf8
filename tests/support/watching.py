"""What tests wait for, and what they leave as it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Waits in the loop for a condition; AssertionError names it."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s for {what}") from None


def open_descriptors() -> list[str]:
    """What each of our descriptors is, but for the one that reads the list (Linux; elsewhere this shows nothing)."""
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else ():
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return sorted(found)
