"""Signals as numbers on a pipe, acted upon between two events: no work is done in a handler (CVE-2024-6387)."""

from __future__ import annotations

import os
import signal
from typing import Final

#: Those that fastsshd acts upon, in its first process or in a connection's.
HEARD: Final = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def install() -> None:
    """Installs the handlers, which processes forked later have as well."""
    for number in HEARD:
        signal.signal(number, _heard)


def _heard(number: int, frame: object) -> None:
    """A signal's handler: its number was written to the pipe before this was called."""


class Signals:
    """The pipe of this process. ``fileno`` can be read from when there was a signal; :meth:`take` says which.

    With ``deaf`` nothing ever comes: whoever had the signals before has them still.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self._deaf = deaf
        self.fileno, self._told = os.pipe()
        for end in (self.fileno, self._told):
            os.set_blocking(end, False)
        if not deaf:
            signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)

    def take(self) -> list[int]:
        """Each number once, in order. Some may be missing if there were very many."""
        try:
            return list(dict.fromkeys(os.read(self.fileno, 4096)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """To be called where signals are blocked, or are not wanted any more."""
        if not self._deaf:
            signal.set_wakeup_fd(-1)
        os.close(self.fileno)
        os.close(self._told)
