"""The progress display: one line that is drawn again ten times a second, never once a packet.

Plain escape codes rather than a library: importing and starting a general one takes about 40 ms and 8 MiB, more than
the whole copy of a small file.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO

from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.sftp.tree import Note

INTERVAL: Final = 0.1  # seconds between drawings
OWN_LINE: Final = 0.5  # seconds a file takes to get a line of its own
STALL: Final = 5.0  # seconds without a byte before it says so
_SMOOTHING: Final = 0.05  # weight of the newest rate, per drawing
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_CLEAR: Final = "\r\x1b[K"


# -- text --------------------------------------------------------------------------------------------------------------


def _unit(count: float) -> int:
    unit = 0
    while count >= 1023.95 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return unit


def size_text(count: float) -> str:
    """A number of bytes in at most 10 columns: ``1023.9 MiB``."""
    unit = _unit(count)
    return f"{count / 1024**unit:.{1 if unit else 0}f} {_UNITS[unit]}"


def part_text(done: int, size: int) -> str:
    """How much of how much, in a unit fine enough to see it grow; of a whole file only the size."""
    if done >= size:
        return size_text(done)
    unit = _unit(size / 10)
    digits = 1 if unit else 0
    return f"{done / 1024**unit:.{digits}f}/{size / 1024**unit:.{digits}f} {_UNITS[unit]}"


def time_text(seconds: float) -> str:
    """A duration: ``0:07``, ``1:02:03``, or dashes past 100 hours."""
    if not seconds < 360000:
        return "--:--"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def text_columns(text: str) -> int:
    """The columns of a terminal that ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def fit(text: str, width: int) -> str:
    """``text`` in exactly ``width`` columns: padded, or its end after an ellipsis, since paths differ there."""
    used = text_columns(text)
    if used <= width:
        return text + " " * (width - used)
    if width <= 0:
        return ""
    start, used = len(text), 1
    while used + _columns(text[start - 1]) <= width:
        start -= 1
        used += _columns(text[start])
    return "…" + text[start:] + " " * (width - used)


class Style(NamedTuple):
    """How the line is drawn: with colours, with line characters beyond ASCII."""

    colour: bool = False
    unicode: bool = False

    def bar(self, done: float, width: int) -> str:
        """A bar of ``width`` columns, ``done`` of it (0 to 1) filled."""
        filled = round(max(0.0, min(1.0, done)) * width)
        full, empty = ("━", "╌" if not self.colour else "━") if self.unicode else ("#", ".")
        if not self.colour:
            return full * filled + empty * (width - filled)
        tint = "\x1b[32m" if filled == width else "\x1b[36m"
        return f"{tint}{full * filled}\x1b[90m{empty * (width - filled)}\x1b[0m"


def draw(name: str, done: int, size: int, rate: float, last: str, width: int, style: Style) -> str:
    """The line: name, bar, percent, bytes and total, rate, ``last`` (time left or taken), in ``width`` - 1 columns.

    What does not fit a narrow terminal is left out from the bar on.
    """
    width -= 1  # a character in the last column makes some terminals wrap
    share = 1.0 if size <= 0 and not done else done / max(size, done, 1)
    figures = f" {int(share * 100):3d}% {part_text(done, size):>16} {size_text(rate) + '/s':>12} {last:>12}"
    if width < len(figures) + 8:
        figures = f" {int(share * 100):3d}%  {last:>8}"
    if width < len(figures) + 4:
        return fit(name, max(width, 0))
    room = width - len(figures)
    bar = room - 1 - max(14, room * 2 // 5) if room >= 24 else 0
    if bar <= 0:
        return fit(name, room) + figures
    return fit(name, room - bar - 1) + " " + style.bar(share, bar) + figures


# -- the state ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    name: str
    size: int
    began: float
    done: int = 0


@dataclass
class Tally:
    """What a copy did so far, whether or not it is shown. Files are those between started() and finished() or failed().

    This is the copy's observer; its methods only note what they are told.
    """

    now: Callable[[], float] = time.monotonic
    active: dict[str, _File] = field(default_factory=dict)
    finished_files: int = 0
    finished_bytes: int = 0
    on_started: Callable[[int], None] | None = None  # gets the size
    on_finished: Callable[[_File], None] | None = None
    on_failed: Callable[[str, BaseException], None] | None = None
    on_noted: Callable[[str, Note], None] | None = None

    def started(self, name: str, size: int) -> None:
        self.active[name] = _File(name, size, self.now())
        if self.on_started is not None:
            self.on_started(size)

    def progress(self, name: str, done: int) -> None:
        file = self.active.get(name)
        if file is not None:
            file.done = done

    def finished(self, name: str, size: int) -> None:
        file = self.active.pop(name, None) or _File(name, size, self.now())
        file.done = file.size = size
        self.finished_files += 1
        self.finished_bytes += size
        if self.on_finished is not None:
            self.on_finished(file)

    def failed(self, name: str, error: BaseException) -> None:
        self.active.pop(name, None)
        if self.on_failed is not None:
            self.on_failed(name, error)

    def noted(self, name: str, what: Note) -> None:
        if self.on_noted is not None:
            self.on_noted(name, what)

    @property
    def bytes(self) -> int:
        """Of finished files and of those under way."""
        return self.finished_bytes + sum(file.done for file in self.active.values())


# -- the display -------------------------------------------------------------------------------------------------------


class Progress:
    """Draws a Tally on a terminal while its ``async with`` block runs.

    A file that took a while leaves a line of its own; quick ones are only counted, in the last line.
    """

    def __init__(self, tally: Tally, stream: TextIO, style: Style) -> None:
        self._tally, self._stream, self._style = tally, stream, style
        self._began = tally.now()
        self._rate = 0.0
        self._seen = (tally.now(), 0)  # time and bytes at the last drawing
        self._moved = tally.now()
        self._drawn = False
        self._listed = 0  # files that got a line of their own
        self._last: _File | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def wanted(cls, stream: TextIO | None) -> bool:
        """True when the stream is a terminal that understands more than lines."""
        try:
            return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        except ValueError:  # closed
            return False

    async def __aenter__(self) -> Self:
        self._tally.on_finished = self._file_finished
        self._task = asyncio.create_task(self._run(), name="progress")
        return self

    async def __aexit__(self, *ignored: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._tally.on_finished = None
        self.clear()
        if self._tally.finished_files > 1:
            self._write_total()
        elif self._last is not None and not self._listed:
            self._write_finished(self._last)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self.update()

    def update(self) -> None:
        """Draws the line anew."""
        if not self._in_foreground():
            return
        now, moved = self._tally.now(), self._tally.bytes
        then, before = self._seen
        if now > then:
            rate = max(0, moved - before) / (now - then)
            weight = _SMOOTHING if now - self._began > 2 else 0.5  # settles fast, then moves slowly
            self._rate = rate if not self._rate else self._rate + weight * (rate - self._rate)
        if moved != before:
            self._moved = now
        self._seen = now, moved
        file = max(self._tally.active.values(), key=lambda each: each.size - each.done, default=None)
        if file is None:
            return
        if now - self._moved >= STALL:
            last, rate = "stalled", 0.0
        else:
            left = (max(file.size, file.done) - file.done) / self._rate if self._rate else float("inf")
            last, rate = f"{time_text(left)} left", self._rate
        self._put(_CLEAR + self._line(self._label(file), file, rate, last))
        self._drawn = True

    def clear(self) -> None:
        """Takes the line away, for something else to be written."""
        if self._drawn:
            self._put(_CLEAR)
            self._drawn = False

    def _label(self, file: _File) -> str:
        others = len(self._tally.active) - 1
        done = self._tally.finished_files
        counts = ", ".join(f"{count:,} {word}" for count, word in ((done, "done"), (others, "more")) if count)
        return f"{printable(file.name)} ({counts})" if others else printable(file.name)

    def _line(self, name: str, file: _File, rate: float, last: str) -> str:
        return draw(name, file.done, file.size, rate, last, self._width(), self._style)

    def _file_finished(self, file: _File) -> None:
        self._last = file
        if self._tally.now() - file.began >= OWN_LINE:
            self._write_finished(file)

    def _write_finished(self, file: _File) -> None:
        taken = max(self._tally.now() - file.began, 1e-6)
        line = self._line(printable(file.name), file, file.done / taken, f"{time_text(taken)}     ")
        self._put((_CLEAR if self._drawn else "") + line.rstrip() + "\n")
        self._drawn = False
        self._listed += 1

    def _write_total(self) -> None:
        tally = self._tally
        taken = max(tally.now() - self._began, 1e-6)
        total = _File("", tally.finished_bytes, self._began, tally.finished_bytes)
        name = f"{tally.finished_files:,} file{'s' * (tally.finished_files != 1)}"
        self._put(self._line(name, total, total.done / taken, f"{time_text(taken)}     ").rstrip() + "\n")

    def _put(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the terminal is gone; the copy is not its concern

    def _width(self) -> int:
        """The terminal's width now, so that a resize needs no signal."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _in_foreground(self) -> bool:
        """False for a job in the background, which stays silent."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return True


def terminal_style(stream: TextIO) -> Style:
    """Colours unless NO_COLOR says otherwise; line characters where the encoding has them."""
    encoding = (stream.encoding or "ascii").lower().replace("-", "")
    return Style(colour=not os.environ.get("NO_COLOR"), unicode=encoding.startswith("utf"))


def stdout_progress(tally: Tally) -> Progress | None:
    """A display on standard output, as scp has it; None when that is no terminal."""
    if not Progress.wanted(sys.stdout):
        return None
    return Progress(tally, sys.stdout, terminal_style(sys.stdout))
