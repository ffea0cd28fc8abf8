"""What every tool does first and last with its process."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from fastssh.cli.messages import Messages

# Before cyclic garbage is looked for: classes and functions of modules are none, and there are tens of thousands.
_OBJECTS: Final = 20_000


def open_standard_descriptors() -> None:
    """Puts /dev/null where the caller closed 0, 1 or 2: no socket and no copied file may get a number that another
    program, or a library's last words, write to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def hurry() -> None:
    """Before the modules of a connection are imported: cyclic garbage is looked for more rarely, and asyncio comes
    without ssl, as on a Python that was built without it. Together that is a sixth of a start's CPU time. A library
    that imports ssl itself gets it all the same."""
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    gc.set_threshold(_OBJECTS, 10, 10)
    sys.modules["ssl"] = None  # type: ignore[assignment]  # an import raises ImportError
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]


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
