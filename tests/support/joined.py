"""A client and a server in memory with authentication and the connection protocol on top of their transports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import Connection, IncomingOpen
from fastssh.errors import SSHError
from tests.support.memory import Endpoint, Pair, authenticated


class Handler(ChannelHandler):
    """Writes down what happens to a channel. ``consume``: data is credited at once."""

    def __init__(self, consume: bool = True) -> None:
        self.consume = consume
        self.channel: Channel | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.received = [b"", b""]
        self.accept_requests = True
        self.on_closed: Callable[[], None] = lambda: None

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def opened(self) -> None:
        self.calls.append(("opened",))

    def open_failed(self, error: SSHError) -> None:
        self.calls.append(("open_failed", error))

    def data(self, stream: int, data: bytes) -> None:
        self.calls.append(("data", stream, data))
        self.received[stream] += data
        if self.consume and self.channel is not None:
            self.channel.consumed(len(data))

    def eof(self) -> None:
        self.calls.append(("eof",))

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        self.calls.append(("request", name, data))
        return self.accept_requests

    def writable(self) -> None:
        self.calls.append(("writable",))

    def sftp_message(self, data: bytes) -> None:
        self.calls.append(("sftp_message", data))

    def sftp_end(self) -> None:
        self.calls.append(("sftp_end",))

    def closed(self, error: SSHError | None) -> None:
        self.calls.append(("closed", error))
        self.on_closed()


class Side:
    """One endpoint with its connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.plane = endpoint.plane
        self.transport = endpoint.transport
        self.connection = Connection(endpoint.transport, endpoint.plane, wake=lambda: None)
        observer: Any = endpoint.observer
        observer.on_message = self.connection.message
        observer.channel_event = self.connection.event
        taking = endpoint.take

        def take() -> bytes:
            data = taking()
            self.connection.settle()
            if events := self.plane.events():  # of filling: channels that became writable
                self.transport.process_events(events)
            return data

        endpoint.take = take  # type: ignore[method-assign]


class Joined:
    """Both sides in the connection phase. The server accepts "session" channels and keeps their handlers."""

    def __init__(self, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> None:
        self.pair: Pair = authenticated(client, server)
        self.client, self.server = Side(self.pair.client), Side(self.pair.server)
        self.accepted: list[Handler] = []
        self.server.connection.acceptors["session"] = self.accept
        self.run = self.pair.run

    def accept(self, incoming: IncomingOpen) -> None:
        handler = Handler()
        handler.channel = incoming.accept(handler)
        self.accepted.append(handler)

    def open(self, handler: Handler | None = None, **sizes: int) -> tuple[Handler, Handler]:
        """An open session channel: (the client's handler, the server's)."""
        handler = handler or Handler()
        handler.channel = self.client.connection.open_channel("session", b"", handler, **sizes)
        self.run()
        assert handler.names() == ["opened"]
        return handler, self.accepted[-1]
