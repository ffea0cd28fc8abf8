"""What sftp's commands say, and in which words they say what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fastssh.cli.messages import Messages, describe
from fastssh.errors import SFTPError
from fastssh.sftp.constants import STATUS_TEXT, StatusCode
from fastssh.wire.text import printable


class CommandError(Exception):
    """A command that failed: one line, for the person. Empty: all is said already."""


class Output:
    """Standard output for what was asked for, standard error for what went wrong, in the order in which they come."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self.before: Callable[[], None] | None = None  # takes away what is being drawn

    def line(self, text: str) -> None:
        """A line in which every name may be a server's."""
        self.text(printable(text) + "\n")

    def text(self, text: str) -> None:
        """Lines as they are; already safe for a terminal. Raises OSError when nobody can read them."""
        if sys.stdout is not None:
            if self.before is not None:
                self.before()
            sys.stdout.write(text)

    def flush(self) -> None:
        if sys.stdout is not None:
            sys.stdout.flush()

    def error(self, text: str) -> None:
        """A line on standard error, without the program's name, as sftp has it: a backslash is shown as two, so that
        what is escaped can be told from it."""
        self.flush()
        self._messages.write(printable(text.replace("\\", "\\\\")))


def reason(error: BaseException) -> str:
    """What went wrong, in OpenSSH's words; what a server says of a failure without a name stands behind it."""
    if isinstance(error, SFTPError):
        usual = STATUS_TEXT.get(error.code)
        if usual is not None:
            said = str(error.strerror or usual)
            return f"{usual} ({said})" if error.code == StatusCode.FAILURE and said != usual else usual
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return describe(error)
