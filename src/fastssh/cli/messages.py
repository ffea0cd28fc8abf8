"""Lines for the person at the terminal: one a message, nothing in them that could drive the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from fastssh.wire.text import printable


class Messages:
    """Writes to standard error. ``before`` is called first, to take away what is being drawn there; ``newline`` ends
    lines otherwise where a terminal is in raw mode; ``elsewhere`` takes the lines in place of standard error."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.before: Callable[[], None] | None = None
        self.newline = "\n"
        self.elsewhere: Callable[[str], None] | None = None

    def write(self, text: str) -> None:
        """Lines as they are; already safe for a terminal."""
        if self.elsewhere is not None:
            self.elsewhere(text)
        else:
            self.show(text)

    def show(self, text: str) -> None:
        """The same, on standard error in any case: what is for the person there, and not about what happens."""
        if self.before is not None:
            self.before()
        if self.newline != "\n":
            text = text.replace("\n", self.newline)
        try:
            print(text, file=sys.stderr, end=self.newline, flush=True)
        except (OSError, ValueError, AttributeError):
            pass  # nobody is left to read; the exit status still tells

    def line(self, text: str) -> None:
        """One line, with the program's name before it."""
        self.write(f"{self.program}: {printable(text)}")

    def failure(self, name: str, error: BaseException) -> None:
        self.line(f"{name}: {reason(error, name)}")

    def unexpected(self, error: BaseException) -> None:
        """The last resort: one line, or with FASTSSH_DEBUG the traceback as well."""
        if os.environ.get("FASTSSH_DEBUG"):
            import traceback

            self.write("".join(traceback.format_exception(error)).rstrip())
        else:
            hint = "FASTSSH_DEBUG=1 shows where it came from; please report it"
            self.line(f"unexpected {type(error).__name__}: {describe(error)} ({hint})")


def describe(error: BaseException) -> str:
    """An error in words, with the file it names."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        if isinstance(name, bytes):
            name = os.fsdecode(name)
        return f"{name}: {error.strerror}" if name is not None and not isinstance(name, int) else str(error.strerror)
    return str(error) or type(error).__name__


def reason(error: BaseException, name: str) -> str:
    """describe() without the file's name, for a line that begins with it."""
    return describe(error).removeprefix(f"{name}: ").removeprefix(f"{printable(name)}: ")
