"""The standard streams of a program to be started: both sides of three pipes, or of one terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastssh.aio.server.pty import open_pty
from fastssh.aio.tty import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """``theirs`` are the program's descriptors 0, 1 and 2; the others are ours.

    ``source`` takes its input, ``outputs`` give what it writes, by stream. With a terminal, ``control`` is one more
    descriptor of it, for its size and its end, and ``tty`` its path; without one they are -1 and None.
    """

    theirs: tuple[int, int, int]
    source: int
    outputs: Mapping[int, int]
    control: int = -1
    tty: str | None = None

    def close_theirs(self) -> None:
        _close(self.theirs)

    def close_ours(self) -> None:
        _close((self.source, *self.outputs.values(), self.control))


def _close(descriptors: tuple[int, ...] | list[int]) -> None:
    for fd in set(descriptors) - {-1}:
        os.close(fd)


def _several(make: Callable[[], tuple[int, ...]], count: int) -> list[int]:
    """Descriptors of ``count`` calls; all or none. Raises OSError."""
    made: list[int] = []
    try:
        for _ in range(count):
            made += make()
    except OSError:
        _close(made)
        raise
    return made


def pipes() -> Streams:
    """stdout and stderr apart. Raises OSError."""
    reading, source, stdout, writing, stderr, complaining = _several(os.pipe, 3)
    return Streams(theirs=(reading, writing, complaining), source=source, outputs={0: stdout, 1: stderr})


def terminal_streams(terminal: Terminal, uid: int) -> Streams:
    """One terminal, belonging to ``uid``, for all of them. Raises OSError."""
    pty = open_pty(terminal, uid)
    try:
        output, control = _several(lambda: (os.dup(pty.master),), 2)
    except OSError:
        _close([pty.master, pty.slave])
        raise
    return Streams(
        theirs=(pty.slave, pty.slave, pty.slave), source=pty.master, outputs={0: output}, control=control, tty=pty.name
    )
