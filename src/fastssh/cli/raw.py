"""A terminal in raw mode: each key goes to the other side as it is, until the terminal is put back as it was."""

from __future__ import annotations

import contextlib
import os
import termios
from typing import Any, Final

from fastssh.cli import terminal

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_INPUT: Final = (
    termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON | termios.IXANY | termios.IXOFF
    | getattr(termios, "IUCLC", 0)
)  # fmt: skip
_LOCAL: Final = (
    termios.ISIG | termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHONL | termios.IEXTEN
)


class RawMode:
    """The terminal behind ``fd``. It is put back by :meth:`leave`, and by :func:`terminal.restore` where the process
    ends otherwise."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None  # how it was
        self._raw: list[Any] = []

    def enter(self) -> None:
        """Harmless in raw mode. Raises termios.error for what is no terminal any more."""
        if self._before is not None:
            return
        before = termios.tcgetattr(self._fd)
        raw = [*before[:_CC], list(before[_CC])]
        raw[_IFLAG] = raw[_IFLAG] & ~_INPUT | termios.IGNPAR
        raw[_OFLAG] &= ~termios.OPOST
        raw[_LFLAG] &= ~_LOCAL
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
        self._before, self._raw = before, raw
        terminal.changed.append((self._fd, before))
        termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)

    def leave(self) -> None:
        """Harmless otherwise, and where the terminal is gone."""
        if self._before is None:
            return
        before, self._before = self._before, None
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
        terminal.changed.remove((self._fd, before))

    def again(self) -> None:
        """The process was stopped and goes on, and a shell may have set the terminal as it likes it. Not in the
        background, where setting it would stop us."""
        with contextlib.suppress(termios.error, OSError):
            if self._before is not None and os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._raw)
