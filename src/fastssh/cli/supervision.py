"""Runs a tool's work in a loop of ours, and ends it on a signal: in order if that works soon, else at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastssh.aio import lingering
from fastssh.cli import terminal
from fastssh.cli.messages import Messages

GIVE_UP_SECONDS: Final = 3.0  # for an orderly end after a signal
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _nothing() -> None:
    """For work with nothing to say when it is interrupted."""


class Supervisor:
    """``interrupted`` is called when a signal has ended the work, and may say what was lost. ``status`` is the exit
    status then, None for 128 and the signal's number."""

    def __init__(
        self, messages: Messages, interrupted: Callable[[], None] = _nothing, *, status: int | None = None
    ) -> None:
        self._messages, self._interrupted, self._failed = messages, interrupted, status
        self._signal: signal.Signals | None = None

    def run(self, work: Coroutine[Any, Any, int], run: Callable[..., int] = lingering.run) -> int:
        """The exit status of ``work``, or what a signal makes of it; raises what it raises. ``run`` turns the
        loop."""
        try:
            return run(self._supervise(work))
        except BaseException as error:
            if self._signal is None:
                raise
            if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt) and os.environ.get("FASTSSH_DEBUG"):
                self._messages.unexpected(error)
            return self._status()

    async def _supervise(self, work: Coroutine[Any, Any, int]) -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.set_exception_handler(self.stray)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and jobs in the background of scripts
                loop.add_signal_handler(number, self._signalled, number, loop, task)
        try:
            return await work
        finally:  # the loop may be used further
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a callback or a forgotten task; whoever waits for its outcome is told as well."""
        error = context.get("exception")
        self._messages.unexpected(error if isinstance(error, BaseException) else RuntimeError(context["message"]))

    def _signalled(self, number: signal.Signals, loop: asyncio.AbstractEventLoop, task: asyncio.Task[int]) -> None:
        if self._signal is not None:
            self._give_up()
        self._signal = number
        task.cancel()
        loop.call_later(GIVE_UP_SECONDS, self._give_up)

    def _give_up(self) -> None:
        terminal.restore()
        os._exit(self._status())

    def _status(self) -> int:
        """Says what there is to say; returns the exit status."""
        assert self._signal is not None
        self._interrupted()
        return 128 + self._signal if self._failed is None else self._failed
