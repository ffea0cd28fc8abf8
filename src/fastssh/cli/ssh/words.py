"""What ssh says when something goes wrong, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastssh.cli.messages import Messages, describe
from fastssh.errors import ConfigError, ConnectionLostError, DisconnectedError, SSHError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.config.settings import Settings

FAILED: Final = 255  # ssh's exit status when something does
_PREFIXED: Final = ("connect to host ", "Could not resolve hostname ")  # behind the program's name in ssh as well


# What ssh says first of a packet that cannot be one.
_PACKETS: Final = {
    "packet length out of range": "Bad packet length.",
    "packet padding out of range": "padding error",
    "message authentication code incorrect": "Corrupted MAC on input.",
}


def tell(
    error: SSHError | OSError, messages: Messages, settings: Settings | None = None, *, begun: bool = False
) -> None:
    """The lines for an error that ends the call. ``begun``: there was a connection, with a user logged in."""
    for note in getattr(error, "__notes__", ()):
        messages.write(printable(note, newlines=True))
    text = describe(error)
    if isinstance(error, ConfigError) or not isinstance(error, SSHError) or text.startswith(_PREFIXED):
        messages.line(text)
    elif text in _PACKETS and settings is not None:
        messages.write(_PACKETS[text])
        messages.write(printable(f"Connection to {settings.host} port {settings.port}: {text}"))
    elif isinstance(error, ConnectionLostError) and settings is not None:
        messages.write(printable(_lost(error, settings, begun=begun)))
    elif isinstance(error, DisconnectedError) and settings is not None:
        where = f"{settings.host} port {settings.port}"
        messages.write(printable(f"Received disconnect from {where}:{error.code}: {error.description}"))
        messages.write(printable(f"Disconnected from {where}"))
    else:
        messages.write(printable(text))


def _lost(error: ConnectionLostError, settings: Settings, *, begun: bool) -> str:
    cause, text, place = error.__cause__, describe(error), f"{settings.host} port {settings.port}"
    reason = cause.strerror if isinstance(cause, OSError) else None
    if begun:
        lost = f"Read from remote host {settings.host}: {reason}"
        return lost if reason else f"Connection to {settings.host} closed by remote host."
    if text == f"connection to {place} closed by the peer":
        return f"Connection closed by {place}"
    return f"Connection reset by {place}" if text == f"connection to {place}: Connection reset by peer" else text
