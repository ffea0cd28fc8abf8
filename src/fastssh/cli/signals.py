"""Signals that several parts of a program want to hear of, in its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_callbacks: dict[tuple[asyncio.AbstractEventLoop, int], list[Callable[[], None]]] = {}


def subscribe(number: int, callback: Callable[[], None]) -> Callable[[], None]:
    """Calls ``callback`` whenever the signal comes, until what is returned is called."""
    loop = asyncio.get_running_loop()
    callbacks = _callbacks.setdefault((loop, number), [])
    if not callbacks:
        loop.add_signal_handler(number, lambda: [each() for each in list(callbacks)] and None)
    callbacks.append(callback)

    def unsubscribe() -> None:
        if callback in callbacks:
            callbacks.remove(callback)
            if not callbacks:
                loop.remove_signal_handler(number)
                del _callbacks[loop, number]

    return unsubscribe
