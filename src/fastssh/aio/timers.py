"""What a connection does when time passes: once, again and again, and never after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Action = Callable[[], None]


class Timers:
    """Calls in the running loop, each action's own; :meth:`close` is the end of all of them."""

    def __init__(self) -> None:
        self._handles: dict[Action, asyncio.TimerHandle] = {}
        self._closed = False

    def after(self, seconds: float, action: Action) -> None:
        """Calls ``action`` once."""

        def run() -> None:
            del self._handles[action]
            action()

        self._set(seconds, action, run)

    def every(self, seconds: float, action: Action) -> None:
        """Calls ``action`` each ``seconds``."""

        def run() -> None:
            self._set(seconds, action, run)
            action()

        self._set(seconds, action, run)

    def _set(self, seconds: float, action: Action, run: Action) -> None:
        if not self._closed:
            self._handles[action] = asyncio.get_running_loop().call_later(seconds, run)

    def cancel(self, action: Action) -> None:
        """``action`` is not called any more; nothing happens if it was not to be."""
        handle = self._handles.pop(action, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Cancels all, and whatever would be set from now on."""
        self._closed = True
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
