"""What every tool does first and last with its process."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from fastssh.cli.messages import Messages


def open_standard_descriptors() -> None:
    """Puts /dev/null where the caller closed 0, 1 or 2: no socket and no copied file may get a number that another
    program, or a library's last words, write to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def hurry() -> None:
    """For a short run: what is alive at its beginning is not looked for garbage in (see :func:`settle`), and asyncio is
    imported without TLS, which nothing here uses. Together that is a sixth of a start's CPU time."""
    gc.disable()
    if "asyncio" not in sys.modules and "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]  # as if Python had been built without it
        try:
            import asyncio  # noqa: F401
        finally:
            del sys.modules["ssl"]


def settle() -> None:
    """The run may be a long one after all."""
    gc.freeze()
    gc.enable()


def leave(status: int) -> NoReturn:
    """Ends the process without the interpreter's tidying up, which takes a fifth of a short run's CPU time.

    What was printed is flushed; output that cannot be written was told of before (see :func:`print_text`).
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # a closed or full descriptor: there is nowhere left to say so
            status = status or 1
    os._exit(status)


def print_text(text: str | bytes, messages: Messages) -> int:
    """Writes to standard output, bytes as they are; returns the exit status. Without a standard output there is nothing
    to do."""
    if sys.stdout is None:
        return 0
    try:
        if isinstance(text, str):
            sys.stdout.write(text)
        else:
            sys.stdout.flush()  # what waits there comes first
            sys.stdout.buffer.write(text)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # whoever reads no further wants no complaint
            messages.line(f"standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would try again at its end, and complain
        return 1
    return 0
