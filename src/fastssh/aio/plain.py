"""A transport without keys: the connection protocol where nobody else listens, over a socket of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from fastssh._native.plane import EVENT_MESSAGE
from fastssh.errors import ProtocolError

if TYPE_CHECKING:
    from fastssh._native.plane import Event, Plane
    from fastssh.connection.connection import Connection
    from fastssh.wire.messages import Message


class PlainTransport:
    """What a driver and a connection ask of a transport. ``connection`` is to be set before anything is received."""

    identification: Final = b""  # none is sent, and none waited for
    peer_identification: Final = "local"

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.connection: Connection

    def send(self, message: Message) -> None:
        self._plane.send(message.encode())

    def send_payload(self, payload: bytes) -> None:
        self._plane.send(payload)

    def receive_identification(self, data: bytes) -> bool:
        """None is waited for."""
        raise ProtocolError("an identification where there is none")

    def process_events(self, events: Iterable[Event]) -> None:
        for event in events:
            if event[0] == EVENT_MESSAGE:
                self.connection.message(event[2])
            else:
                self.connection.event(event)

    def check_rekey(self) -> None:
        """There are no keys."""

    def rekey(self) -> None:
        """There are no keys."""

    def disconnect(self, reason: int, text: str) -> None:
        """The socket's end says it."""

    def disconnect_for(self, error: BaseException) -> None:
        """The socket's end says it."""
