"""An event loop that turns in a thread of its own, so that the connection lives while a line is typed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

from fastssh.aio import lingering

T = TypeVar("T")

_STOP_SECONDS: Final = 5.0


class Interrupted(Exception):
    """Ctrl-C ended what was under way; the session goes on."""


class Background:
    """The loop. :meth:`run` turns it in this thread, and between :meth:`start` and the end of the ``with`` block it
    turns in another one. All other methods are for the thread that made it.
    """

    def __init__(self, stray: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]) -> None:
        self.loop = lingering.new_event_loop()
        self.loop.set_exception_handler(stray)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ignored: object) -> None:
        """Cancels what is left. What does not end by itself within seconds is left to the end of the process."""
        if self._thread is None:
            self.loop.run_until_complete(_cancel_all())
            return
        self.loop.call_soon_threadsafe(self._stop)
        self._thread.join(_STOP_SECONDS)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Before :meth:`start`: ``work`` in this thread, which alone can take signals and ask at the terminal."""
        return self.loop.run_until_complete(work)

    def start(self) -> None:
        self._thread = threading.Thread(target=self.loop.run_forever, name="connection", daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self.loop.create_task(_cancel_all()).add_done_callback(lambda _: self.loop.stop())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """After :meth:`start`: the result of ``work``. Ctrl-C cancels it, which lets it end in order, and raises
        Interrupted; a second one does not wait for that."""
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self.loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(settle)

        def settle(task: asyncio.Task[T]) -> None:
            if task.cancelled():
                outcome.set_exception(Interrupted())
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(task.result())

        def cancel() -> None:  # not before it has begun
            tasks[0].cancel()

        self.loop.call_soon_threadsafe(begin)
        try:
            return outcome.result()
        except KeyboardInterrupt:
            self.loop.call_soon_threadsafe(cancel)
        try:
            outcome.result()
        except KeyboardInterrupt:
            self.loop.call_soon_threadsafe(cancel)
        except Interrupted:
            pass
        raise Interrupted


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_STOP_SECONDS)
