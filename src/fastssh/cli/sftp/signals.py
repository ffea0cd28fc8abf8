"""Signals while a line is waited for: none of them is lost, whoever waits."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, NoReturn, Self

AGAIN_SECONDS: Final = 0.05
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_HEARD: Final = (signal.SIGINT, *_ENDING)


class Ended(BaseException):
    """A signal that ends the program came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """While the ``with`` block runs in the main thread, SIGTERM and SIGHUP raise Ended in it, as Ctrl-C raises
    KeyboardInterrupt.

    Python's handlers run in the main thread when it comes back from what it waits in. A signal that comes after the
    last look and before readline, or read(2), has begun to wait would be noticed with the next key alone; so whatever
    :meth:`waiting` does not end soon is sent again. ``loop`` turns in another thread and looks after that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._main = threading.get_ident()
        self._wait = 0  # the number of the wait under way; 0: none
        self._waits = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._before[number] = signal.signal(number, _end)
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._loop.call_soon_threadsafe(self._loop.add_reader, self._reading, self._heard)
        return self

    def __exit__(self, *ignored: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        self._loop.remove_reader(self._reading)
        self._reading.close()
        self._writing.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits."""
        self._waits += 1
        self._wait = self._waits
        try:
            yield
        finally:
            self._wait = 0

    def _heard(self) -> None:
        """A signal came; the system's handler wrote its number."""
        for number in self._reading.recv(64):
            if number in _HEARD and self._wait:
                self._loop.call_later(AGAIN_SECONDS, self._again, number, self._wait)

    def _again(self, number: int, wait: int) -> None:
        if self._wait == wait:
            signal.pthread_kill(self._main, number)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended(number)
