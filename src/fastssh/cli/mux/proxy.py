"""A client of a master in proxy mode (PROTOCOL.mux, section 9): it speaks the connection protocol itself, in packets
without protection, and the master gives its channels numbers that nobody else has.

What a client says goes to the server as it is, but for our channels' numbers in what opens them; it may speak on its
own channels alone. Windows are its own and the server's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fastssh.errors import ProtocolError
from fastssh.wire.codec import Reader
from fastssh.wire.messages import (
    CHANNEL_DATA,
    CHANNEL_EXTENDED_DATA,
    CHANNEL_WINDOW_ADJUST,
    ChannelClose,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    Debug,
    Disconnect,
    GlobalRequest,
    OpenFailureReason,
    RequestFailure,
    RequestSuccess,
    decode,
)
from fastssh.wire.requests import CancelTcpipForward, TcpipForward, TcpipForwardReply

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.mux.stream import MuxStream
    from fastssh.connection.connection import IncomingOpen

MOST_CHANNELS: Final = 256  # of a client at a time
MOST_PACKET: Final = 256 * 1024  # bytes, as everywhere
LEAST_PACKET: Final = 5  # bytes: OpenSSH's client takes none that is shorter, an answer of one byte not either
MOST_UNREAD: Final = 64 * 1024 * 1024  # bytes that a client has given windows for and does not read
MOST_UNSENT: Final = 1024 * 1024  # bytes on their way to the server, above which a client is not read
_FORWARD, _CANCEL = "tcpip-forward", "cancel-tcpip-forward"
_PASSED_ON: Final = (_FORWARD, _CANCEL, "keepalive@openssh.com")  # requests that concern nobody else's channels
_CHANNEL_CLOSE: Final = ChannelClose.number
_ON_CHANNEL: Final = range(93, 101)
# What stands behind the channel's number in messages that are not of the registry (RFC 4254 section 5.2).
_BULK: Final[dict[int, tuple[Callable[[Reader], object], ...]]] = {
    CHANNEL_WINDOW_ADJUST: (Reader.uint32,),
    CHANNEL_DATA: (Reader.string,),
    CHANNEL_EXTENDED_DATA: (Reader.uint32, Reader.string),
}


class _Channel:
    """``ours`` is its number for the server, ``theirs`` the client's, ``remote`` the server's, once known."""

    def __init__(self, proxy: Proxy, theirs: int) -> None:
        self._proxy = proxy
        self.ours = -1
        self.theirs = theirs
        self.remote = -1
        self.close_sent = self.close_received = False

    def received(self, payload: bytes) -> None:
        self._proxy.from_server(self, payload)


class Proxy:
    """``stream`` is a client's, who has been told that this begins."""

    def __init__(self, connection: ClientConnection, stream: MuxStream) -> None:
        self._connection, self._stream = connection, stream
        self._protocol = connection.protocol
        self._channels: set[_Channel] = set()
        self._by_remote: dict[int, _Channel] = {}
        self._offered: dict[int, ChannelOpen] = {}  # channels of the server that the client has not answered, by number
        self._forwards: set[tuple[bytes, int]] = set()
        self._gone = False

    async def run(self) -> None:
        """Returns when the client has gone. Raises ProtocolError for what it says wrong, and what ended the connection.
        """
        received = bytearray()
        try:
            while data := await self._stream.read():
                received += data
                for payload in _packets(received):
                    if payload[0] == Disconnect.number:
                        return
                    self._from_client(payload)
                await self._room()
        finally:
            self._end()

    async def _room(self) -> None:
        """Returns when more may be sent to the server. Raises what ended the connection."""
        protocol = self._protocol
        while protocol.plane.sending_kex or protocol.plane.unsent > MOST_UNSENT:
            if protocol.error is not None:
                raise protocol.error
            turned = asyncio.Event()
            protocol.after_turn.append(turned.set)
            await turned.wait()

    def _end(self) -> None:
        """Closes what the client has left open."""
        self._gone = True
        if self._protocol.error is not None:
            return
        for key in self._forwards:
            self._connection.forwarding.discard(key)
            self._protocol.global_request(_CANCEL, CancelTcpipForward(*key).body(), want_reply=False)
        for message in self._offered.values():
            reason = OpenFailureReason.CONNECT_FAILED
            self._protocol.send(ChannelOpenFailure(message.sender, reason, "the client has gone"))
        self._offered.clear()
        for channel in list(self._channels):
            self._close(channel)

    # -- from the client -----------------------------------------------------------------------------------------------

    def _from_client(self, payload: bytes) -> None:
        number = payload[0]
        if number in _ON_CHANNEL:
            channel = self._by_remote.get(int.from_bytes(payload[1:5], "big"))
            if channel is None or len(payload) < 5:
                raise ProtocolError(f"message {number} for a channel that is not this client's")
            _check_form(payload)
            if not channel.close_sent:
                channel.close_sent = number == _CHANNEL_CLOSE
                self._protocol.send_payload(payload)
                self._forget_if_closed(channel)
            return
        if number <= Debug.number or number in (RequestSuccess.number, RequestFailure.number):
            return  # to nobody, or an answer to what the server asked of the master
        match decode("connection", payload):
            case ChannelOpen() as message:
                self._open(message)
            case ChannelOpenConfirmation() as message:
                self._confirm(message)
            case ChannelOpenFailure() as message:
                if self._offered.pop(message.recipient, None) is None:
                    raise ProtocolError("refusal of a channel that is not offered")
                self._protocol.send_payload(payload)
            case GlobalRequest() as message:
                self._request(message)
            case message:
                raise ProtocolError(f"{message.label()} from a client")

    def _open(self, message: ChannelOpen) -> None:
        if len(self._channels) >= MOST_CHANNELS:
            reason = OpenFailureReason.RESOURCE_SHORTAGE
            self._send(ChannelOpenFailure(message.sender, reason, "too many channels").encode())
            return
        channel = _Channel(self, message.sender)
        channel.ours = self._protocol.add_raw(channel, message.max_packet)
        self._channels.add(channel)
        self._protocol.send(
            ChannelOpen(message.kind, channel.ours, message.window, message.max_packet, message.data)
        )

    def _confirm(self, message: ChannelOpenConfirmation) -> None:
        offered = self._offered.pop(message.recipient, None)
        if offered is None:
            raise ProtocolError("confirmation of a channel that is not offered")
        channel = _Channel(self, message.sender)
        channel.ours = self._protocol.add_raw(channel, message.max_packet)
        channel.remote = message.recipient
        self._channels.add(channel)
        self._by_remote[channel.remote] = channel
        self._protocol.send(
            ChannelOpenConfirmation(message.recipient, channel.ours, message.window, message.max_packet)
        )
        self._protocol.confirm_raw(channel.ours, channel.remote, offered.max_packet)

    def _request(self, message: GlobalRequest) -> None:
        if message.name not in _PASSED_ON:
            if message.want_reply:
                self._send(RequestFailure().encode())
            return

        # Looked at before the server does, which ends the connection of everybody for what is malformed.
        listen = TcpipForward.parse(message.data) if message.name == _FORWARD else None

        def answered(reply: bytes | None) -> None:
            if reply is not None and listen is not None:
                self._forwarded(listen, reply)
            if message.want_reply:
                self._send((RequestFailure() if reply is None else RequestSuccess(reply)).encode())

        if message.name == _CANCEL:
            wanted = CancelTcpipForward.parse(message.data)
            if (wanted.host, wanted.port) not in self._forwards:
                raise ProtocolError("cancels a forward that is not this client's")
            self._forwards.discard((wanted.host, wanted.port))
            self._connection.forwarding.discard((wanted.host, wanted.port))
        self._protocol.global_request(message.name, message.data, on_reply=answered)

    def _forwarded(self, wanted: TcpipForward, reply: bytes) -> None:
        """The server listens for the client, or for one that has gone meanwhile."""
        key = wanted.host, wanted.port or TcpipForwardReply.parse(reply).port
        if self._gone:
            self._protocol.global_request(_CANCEL, CancelTcpipForward(*key).body(), want_reply=False)
            return
        self._forwards.add(key)
        self._connection.forwarding.add(key, self)

    # -- from the server -----------------------------------------------------------------------------------------------

    def opened(self, incoming: IncomingOpen) -> None:
        """A connection came to where the server listens for the client."""
        if len(self._channels) + len(self._offered) >= MOST_CHANNELS:
            incoming.refuse(OpenFailureReason.RESOURCE_SHORTAGE, "too many channels")
            return
        message = incoming.take()
        self._offered[self._unused(message.sender)] = message
        self._send(message.encode())

    def from_server(self, channel: _Channel, payload: bytes) -> None:
        """A message for a channel of the client's, in whose state the plane allows it: its recipient is the client's
        number for it."""
        number = payload[0]
        if number == ChannelOpenConfirmation.number:
            channel.remote = self._unused(ChannelOpenConfirmation.decode(payload).sender)
            self._by_remote[channel.remote] = channel
            if self._gone:
                self._close(channel)
        elif number == ChannelOpenFailure.number:
            self._channels.discard(channel)
            self._protocol.remove_raw(channel.ours)
        elif number == _CHANNEL_CLOSE:
            channel.close_received = True
        self._send(payload[:1] + channel.theirs.to_bytes(4, "big") + payload[5:])
        self._forget_if_closed(channel)

    def _unused(self, number: int) -> int:
        """A number of the server's for a new channel. Raises ProtocolError for one that another channel has."""
        if number in self._by_remote or number in self._offered:
            raise ProtocolError(f"server gave the number {number} to two channels")
        return number

    def _close(self, channel: _Channel) -> None:
        if channel.remote >= 0 and not channel.close_sent:
            channel.close_sent = True
            self._protocol.send(ChannelClose(channel.remote))
            self._forget_if_closed(channel)

    def _forget_if_closed(self, channel: _Channel) -> None:
        if channel.close_sent and channel.close_received:
            self._channels.discard(channel)
            del self._by_remote[channel.remote]
            self._protocol.remove_raw(channel.ours)

    def _send(self, payload: bytes) -> None:
        if not self._gone:
            padding = bytes(max(0, LEAST_PACKET - 1 - len(payload)))
            head = (1 + len(payload) + len(padding)).to_bytes(4, "big") + bytes((len(padding),))
            self._stream.write(head + payload + padding, most=MOST_UNREAD)


def _check_form(payload: bytes) -> None:
    """Raises ProtocolError for a malformed message of a channel, for which a server ends the connection of everybody.
    """
    fields = _BULK.get(payload[0])
    if fields is None:
        decode("connection", payload)
        return
    reader = Reader(payload, 5)
    for read in fields:
        read(reader)
    reader.end()


def _packets(received: bytearray) -> Iterator[bytes]:
    """The payloads of whole packets, which are taken out of ``received``. Raises ProtocolError."""
    while len(received) >= 5:
        length = int.from_bytes(received[:4], "big")
        padding = received[4]
        if not padding + 2 <= length <= MOST_PACKET:
            raise ProtocolError(f"packet of {length} bytes")
        if len(received) < 4 + length:
            return
        payload = bytes(received[5 : 4 + length - padding])
        del received[: 4 + length]
        yield payload
