"""Signals that end a command or the program, wherever the main thread waits: none of them is lost."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from types import FrameType
from typing import Any, Final, NoReturn, Self

AGAIN_SECONDS: Final = 0.05
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal that ends the program came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """While the ``with`` block runs in the main thread, Ctrl-C raises KeyboardInterrupt in it, SIGTERM and SIGHUP raise
    Ended. Those that were ignored stay so, but for Ctrl-C where somebody is at a terminal (``interactive``).

    Python's handlers run when the main thread comes back from what it waits in. A signal that comes after its last
    look, and before readline or read(2) has begun to wait, would be noticed with the next key alone. The system's
    handler leaves a byte for each signal, and ours takes it away; what is still there after a while is sent again by
    ``loop``, which turns in another thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, interactive: bool) -> None:
        self._loop, self._interactive = loop, interactive
        self._main = threading.get_ident()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, *_ENDING):
            ignored = signal.getsignal(number) is signal.SIG_IGN  # nohup, and jobs in the background of scripts
            if not ignored or (self._interactive and number == signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        self._loop.call_soon_threadsafe(self._watch)
        return self

    def __exit__(self, *ignored: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        self._loop.call_soon_threadsafe(self._close)

    def _handle(self, number: int, frame: FrameType | None) -> NoReturn:
        """In the main thread."""
        try:
            self._reading.recv(4096)
        except BlockingIOError:
            pass  # somebody was faster than the byte
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Ended(number)

    # -- in the loop's thread ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._reading.fileno() >= 0:
            self._loop.add_reader(self._reading, self._heard)

    def _heard(self) -> None:
        self._loop.remove_reader(self._reading)
        self._loop.call_later(AGAIN_SECONDS, self._look)

    def _look(self) -> None:
        """Whether what came is dealt with."""
        if self._reading.fileno() < 0:
            return
        try:
            left = self._reading.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._watch()
        else:
            signal.pthread_kill(self._main, left[0])
            self._heard()

    def _close(self) -> None:
        self._loop.remove_reader(self._reading)
        self._reading.close()
        self._writing.close()
