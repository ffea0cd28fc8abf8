"""What ssh says when something goes wrong, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastssh.cli.messages import Messages, describe
from fastssh.errors import ChannelOpenError, ConfigError, ConnectionLostError, DisconnectedError, SSHError
from fastssh.wire.messages import OpenFailureReason
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.config.settings import Settings

_PREFIXED: Final = ("connect to host ", "Could not resolve hostname ")  # behind the program's name in ssh as well
_REASONS: Final = {
    OpenFailureReason.ADMINISTRATIVELY_PROHIBITED.value: "administratively prohibited",
    OpenFailureReason.CONNECT_FAILED.value: "connect failed",
    OpenFailureReason.UNKNOWN_CHANNEL_TYPE.value: "unknown channel type",
    OpenFailureReason.RESOURCE_SHORTAGE.value: "resource shortage",
}


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
        for line in _lost(error, settings, begun=begun):
            messages.write(printable(line))
    elif isinstance(error, DisconnectedError) and settings is not None:
        where = f"{settings.host} port {settings.port}"
        messages.write(printable(f"Received disconnect from {where}:{error.code}: {error.description}"))
        messages.write(printable(f"Disconnected from {where}"))
    else:
        messages.write(printable(text))


def _lost(error: ConnectionLostError, settings: Settings, *, begun: bool) -> list[str]:
    cause = error.__cause__
    reason = cause.strerror if isinstance(cause, OSError) else None
    if begun and reason:
        return [f"Read from remote host {settings.host}: {reason}", f"Connection to {settings.host} closed."]
    if begun:
        return [f"Connection to {settings.host} closed by remote host."]
    if reason and reason.startswith("Connection reset"):
        return [f"Connection reset by {settings.host} port {settings.port}"]
    return [describe(error)] if reason else [f"Connection closed by {settings.host} port {settings.port}"]


def open_failed(channel: int, error: ChannelOpenError) -> str:
    """A channel that the server refused."""
    reason = _REASONS.get(error.code, "unknown reason")
    return printable(f"channel {channel}: open failed: {reason}: {error.description}")
