"""What ssh says when something goes wrong, and to whom."""

from __future__ import annotations

from fastssh.cli.messages import Messages, describe
from fastssh.errors import ConfigError, SSHError
from fastssh.wire.text import printable

_PREFIXED = ("connect to host ", "Could not resolve hostname ")  # these begin with the program's name in ssh as well


def tell(error: SSHError | OSError, messages: Messages) -> None:
    """One line, or an authentication's notes and then its line."""
    for note in getattr(error, "__notes__", ()):
        messages.write(printable(note, newlines=True))
    text = describe(error)
    ours = text.startswith(_PREFIXED) if isinstance(error, SSHError) else True
    if ours or isinstance(error, ConfigError):
        messages.line(text)
    else:
        messages.write(printable(text))
