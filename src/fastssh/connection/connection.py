"""The connection protocol (RFC 4254): channels by number, global requests, and whom a message concerns. Both roles.

No message gets here that the transport's phase table did not allow. Replies come in the order of the requests
(RFC 4254 sections 4 and 5.4), so two queues are enough to know whose they are; one nobody asked for is fatal.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from fastssh._native.plane import (
    EVENT_DATA,
    EVENT_RAW,
    EVENT_RELAY,
    EVENT_RELAY_WAITS,
    EVENT_SFTP,
    EVENT_SFTP_END,
    EVENT_TRANSFER,
    EVENT_WRITABLE,
)
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import ProtocolError, SSHError
from fastssh.wire.messages import (
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    GlobalRequest,
    Message,
    OpenFailureReason,
    RequestFailure,
    RequestSuccess,
    decode,
)

if TYPE_CHECKING:
    from fastssh._native.plane import Event, Plane

DEFAULT_WINDOW = 2 * 1024 * 1024  # bytes, as OpenSSH's sessions
DEFAULT_MAX_PACKET = 32 * 1024  # bytes of data in one message, as OpenSSH and RFC 4253 section 6.1
MAX_OUTSTANDING_GLOBAL_REQUESTS = 256

FIRST_OF_CHANNEL, LAST_OF_CHANNEL = 91, 100  # messages that begin with a recipient's number (RFC 4254 section 9)

Acceptor = Callable[["IncomingOpen"], None]
GlobalHandler = Callable[[bytes], bytes | None]  # request data -> reply data, or None for failure


class Sender(Protocol):
    """The part of the transport that this layer needs."""

    def send(self, message: Message) -> None: ...

    def send_payload(self, payload: bytes) -> None: ...


class RawChannel(Protocol):
    """Whoever understands the messages of a channel that :meth:`Connection.add_raw` made."""

    def received(self, payload: bytes) -> None:
        """A message of the peer's for it."""


class IncomingOpen:
    """A CHANNEL_OPEN of the peer, to be accepted or refused, now or later, once."""

    def __init__(self, connection: Connection, message: ChannelOpen) -> None:
        self._connection: Connection | None = connection
        self._message = message
        self.kind, self.data = message.kind, message.data

    def take(self) -> ChannelOpen:
        """The message itself, to be answered by the caller."""
        self._answer()
        return self._message

    def _answer(self) -> Connection:
        if self._connection is None:
            raise ValueError("this channel was answered already")
        connection, self._connection = self._connection, None
        connection.forget_incoming(self)
        return connection

    def accept(
        self, handler: ChannelHandler, *, window: int = DEFAULT_WINDOW, max_packet: int = DEFAULT_MAX_PACKET
    ) -> Channel:
        """Confirms the channel; it is open when this returns."""
        return self._answer().accept(self._message, handler, window, max_packet)

    def refuse(self, reason: OpenFailureReason, description: str) -> None:
        """Answers CHANNEL_OPEN_FAILURE; nothing is kept."""
        self._answer().send(ChannelOpenFailure(self._message.sender, reason, description))


class Connection:
    """Channels and global requests of one transport connection.

    ``wake`` is called after anything that the plane may now want to send, ``turn`` when it can go on at once (the same,
    if nobody says how). ``acceptors`` answer CHANNEL_OPEN by channel
    type; other types are refused. At most ``max_peer_channels`` channels of the peer live at a time, and of a type in
    ``channel_limits`` at most as many as that says. What stands in ``on_lost`` is called once, when the connection has
    ended and its channels have heard of it; ``on_idle`` each time that the last channel is gone.
    """

    def __init__(
        self,
        transport: Sender,
        plane: Plane,
        *,
        wake: Callable[[], None],
        turn: Callable[[], None] | None = None,
        acceptors: Mapping[str, Acceptor] | None = None,
        global_handlers: Mapping[str, GlobalHandler] | None = None,
        max_peer_channels: int = 10,
        channel_limits: Mapping[str, int] | None = None,
    ) -> None:
        self.plane = plane
        self.wake, self.turn = wake, turn or wake
        self.acceptors = dict(acceptors or {})
        self.global_handlers = dict(global_handlers or {})
        self.max_peer_channels = max_peer_channels
        self.channel_limits = dict(channel_limits or {})
        self.on_lost: list[Callable[[SSHError], None]] = []
        self.on_idle: Callable[[], None] | None = None
        self.after_turn: list[Callable[[], None]] = []  # each called once: after a turn of the plane, or at the end
        self.error: SSHError | None = None  # set once the connection is gone
        self._transport = transport
        self._channels: dict[int, Channel] = {}
        self._free: list[int] = []  # numbers given back, smallest first
        self._peer_channels: dict[int, str] = {}  # their types
        self._incoming: set[IncomingOpen] = set()
        self._raw: dict[int, RawChannel] = {}
        self._closing: list[int] = []  # closed for their owners, our CLOSE not yet sent
        self._global_replies: deque[Callable[[bytes | None], None] | None] = deque()

    @property
    def channels(self) -> int:
        """How many channels are open, opening or closing."""
        return len(self._channels) + len(self._raw) + len(self._closing)

    def open_channels(self) -> list[Channel]:
        """Those that are not closed."""
        return list(self._channels.values())

    def send(self, message: Message) -> None:
        try:
            self._transport.send(message)
        finally:  # an error of sending ends the connection, and whoever drives it must notice
            self.wake()

    # -- what we ask for -------------------------------------------------------------------------------------------

    def open_channel(
        self,
        kind: str,
        data: bytes,
        handler: ChannelHandler,
        *,
        window: int = DEFAULT_WINDOW,
        max_packet: int = DEFAULT_MAX_PACKET,
    ) -> Channel:
        """Sends CHANNEL_OPEN; ``handler.opened`` or ``handler.open_failed`` follows. Sizes in bytes."""
        self._check_alive()
        channel = self._new_channel(kind, handler, window, max_packet)
        self.send(ChannelOpen(kind, channel.id, window, max_packet, data))
        return channel

    # -- channels whose messages somebody else understands ---------------------------------------------------------

    def add_raw(self, handler: RawChannel, max_packet: int) -> int:
        """The number of a channel whose messages go to ``handler`` as they come, and are sent with
        :meth:`send_payload`, the opening ones included. ``max_packet`` in bytes is what the peer is told."""
        self._check_alive()
        number = self._take_number(0, max_packet)
        self.plane.channel_raw(number)
        self._raw[number] = handler
        return number

    def confirm_raw(self, number: int, remote: int, max_packet: int) -> None:
        """The peer opened it, and we have confirmed that."""
        self.plane.channel_confirm(number, remote, 0, max_packet)

    def remove_raw(self, number: int) -> None:
        """The peer has closed it, or has not opened it, and so have we."""
        del self._raw[number]
        self._closing.append(number)
        self.wake()

    def send_payload(self, payload: bytes) -> None:
        """A message as it is on the wire."""
        try:
            self._transport.send_payload(payload)
        finally:
            self.wake()

    def global_request(
        self,
        name: str,
        data: bytes = b"",
        *,
        want_reply: bool = True,
        on_reply: Callable[[bytes | None], None] | None = None,
    ) -> None:
        """GLOBAL_REQUEST (RFC 4254 section 4).

        ``on_reply`` gets the reply's data, or None for failure and for a connection that ends first.
        """
        self._check_alive()
        if want_reply:
            if len(self._global_replies) >= MAX_OUTSTANDING_GLOBAL_REQUESTS:
                raise SSHError(f"{len(self._global_replies)} global requests are still unanswered")
            self._global_replies.append(on_reply)
        self.send(GlobalRequest(name, want_reply, data))

    def keepalive(self, on_reply: Callable[[], None] | None = None) -> None:
        """keepalive@openssh.com: any answer, failure included, shows that the peer lives."""
        self.global_request("keepalive@openssh.com", on_reply=None if on_reply is None else lambda _: on_reply())

    def _check_alive(self) -> None:
        if self.error is not None:
            raise self.error

    def _new_channel(self, kind: str, handler: ChannelHandler, window: int, max_packet: int) -> Channel:
        number = self._take_number(window, max_packet)
        channel = self._channels[number] = Channel(self, number, kind, handler)
        return channel

    def _take_number(self, window: int, max_packet: int) -> int:
        number = heapq.heappop(self._free) if self._free else self.channels
        try:
            self.plane.channel_add(number, window, max_packet)
        except BaseException:
            heapq.heappush(self._free, number)
            raise
        return number

    def _remove(self, number: int) -> None:
        self.plane.channel_remove(number)
        self._peer_channels.pop(number, None)
        heapq.heappush(self._free, number)
        if self.on_idle is not None and not self.channels:
            self.on_idle()

    def settle(self) -> None:
        """Gives back the numbers of closed channels. To be called right after each turn of the plane (``step`` or
        ``take``), before its events are looked at: what was asked for before that turn has then been sent, our CLOSE
        included, if nothing is left unsent and no key exchange holds messages back (RFC 4253 section 7.1)."""
        if self.after_turn:
            self._turned()
        if self._closing and not self.plane.unsent and not self.plane.sending_kex:
            closing, self._closing = self._closing, []
            for number in closing:
                self._remove(number)

    def _turned(self) -> None:
        calls, self.after_turn = self.after_turn, []
        for call in calls:
            call()

    # -- what the peer sends ---------------------------------------------------------------------------------------

    def message(self, payload: bytes) -> None:
        """One message of 80 and up. Raises ProtocolError: the connection is then over."""
        if self._raw and FIRST_OF_CHANNEL <= payload[0] <= LAST_OF_CHANNEL:
            raw = self._raw.get(int.from_bytes(payload[1:5], "big"))
            if raw is not None:
                raw.received(payload)
                return
        match decode("connection", payload):
            case ChannelRequest() as message:
                self._channel(message.recipient).received_request(message)
            case ChannelSuccess() as message:
                self._channel(message.recipient).received_reply(True)
            case ChannelFailure() as message:
                self._channel(message.recipient).received_reply(False)
            case ChannelEof() as message:
                self._channel(message.recipient).received_eof()
            case ChannelClose() as message:
                self._close(message)
            case ChannelOpenConfirmation() as message:
                self._channel(message.recipient).confirmed(message)
            case ChannelOpenFailure() as message:
                self._open_failure(message)
            case ChannelOpen() as message:
                self._open(message)
            case GlobalRequest() as message:
                self._global_request(message)
            case RequestSuccess() | RequestFailure() as message:
                self._global_reply(message)
            case message:
                raise ProtocolError(f"{message.label()} is not a message of the connection protocol")

    def event(self, event: Event) -> None:
        """An event of the plane other than a message."""
        if event[0] == EVENT_DATA:
            self._channel(event[1]).received_data(event[2], event[3])
        elif event[0] == EVENT_SFTP:
            self._channel(event[1]).received_sftp(event[2])
        elif event[0] == EVENT_RAW:
            if event[1] in self._raw:
                self._raw[event[1]].received(event[2])
        elif event[1] in self._channels:  # the others are the plane's own, and may be late
            channel = self._channels[event[1]]
            handler = channel.handler
            if event[0] == EVENT_TRANSFER:
                handler.transfer_done(event[2])
            elif event[0] == EVENT_WRITABLE:
                handler.writable()
            elif event[0] == EVENT_SFTP_END:
                handler.sftp_end()
            elif event[0] == EVENT_RELAY:
                channel.relay_ended(event[2], event[3])
            elif event[0] == EVENT_RELAY_WAITS:
                channel.relay_waits(event[2])

    def _channel(self, number: int) -> Channel:
        channel = self._channels.get(number)
        if channel is None:
            raise ProtocolError(f"message for channel {number}, which is not open")
        return channel

    def _global_request(self, message: GlobalRequest) -> None:
        handler = self.global_handlers.get(message.name)
        reply = handler(message.data) if handler is not None else None
        if message.want_reply:
            self.send(RequestFailure() if reply is None else RequestSuccess(reply))

    def _global_reply(self, message: RequestSuccess | RequestFailure) -> None:
        if not self._global_replies:
            raise ProtocolError("reply to a global request that was not made")
        on_reply = self._global_replies.popleft()
        if on_reply is not None:
            on_reply(message.data if isinstance(message, RequestSuccess) else None)

    def _open(self, message: ChannelOpen) -> None:
        incoming = IncomingOpen(self, message)
        self._incoming.add(incoming)
        acceptor = self.acceptors.get(message.kind)
        if acceptor is None:
            incoming.refuse(OpenFailureReason.UNKNOWN_CHANNEL_TYPE, "unknown or unexpected channel type")
        elif self._too_many(message.kind):
            incoming.refuse(OpenFailureReason.RESOURCE_SHORTAGE, "too many channels")
        else:
            acceptor(incoming)

    def _too_many(self, kind: str) -> bool:
        """Whether the peer has gone past a limit, what is not answered yet counted in."""
        if len(self._peer_channels) + len(self._incoming) > self.max_peer_channels:
            return True
        limit = self.channel_limits.get(kind)
        if limit is None:
            return False
        kinds = [*self._peer_channels.values(), *(incoming.kind for incoming in self._incoming)]
        return kinds.count(kind) > limit

    def forget_incoming(self, incoming: IncomingOpen) -> None:
        self._incoming.discard(incoming)

    def accept(self, message: ChannelOpen, handler: ChannelHandler, window: int, max_packet: int) -> Channel:
        """See :meth:`IncomingOpen.accept`."""
        self._check_alive()
        channel = self._new_channel(message.kind, handler, window, max_packet)
        self._peer_channels[channel.id] = message.kind
        self.send(ChannelOpenConfirmation(message.sender, channel.id, window, max_packet))
        self.plane.channel_confirm(channel.id, message.sender, message.window, message.max_packet)
        channel.opened(message.sender)
        return channel

    def _open_failure(self, message: ChannelOpenFailure) -> None:
        channel = self._channel(message.recipient)
        channel.refused(message)
        del self._channels[channel.id]
        self._remove(channel.id)

    def _close(self, message: ChannelClose) -> None:
        channel = self._channel(message.recipient)
        if channel.remote_id < 0:
            raise ProtocolError(f"close of channel {channel.id}, which is not open")
        del self._channels[channel.id]
        self._closing.append(channel.id)
        self.plane.channel_close(channel.id)  # our CLOSE, if it did not go out yet; what was queued is dropped
        self.wake()
        channel.finish(None)

    # -- the end ---------------------------------------------------------------------------------------------------

    def lost(self, error: SSHError) -> None:
        """The transport is gone: everybody who waits hears ``error``, once. Later calls change nothing."""
        if self.error is not None:
            return
        self.error = error
        channels, self._channels = self._channels, {}
        self._raw.clear()
        self._incoming.clear()
        replies, self._global_replies = self._global_replies, deque()
        ended, self.on_lost = self.on_lost, []
        self._turned()
        calls: list[Callable[[], object]] = [partial(channel.finish, error) for channel in channels.values()]
        calls += [partial(on_reply, None) for on_reply in replies if on_reply is not None]
        calls += [partial(callback, error) for callback in ended]
        fault: Exception | None = None
        for call in calls:
            try:
                call()
            except Exception as raised:  # the others have to hear of it all the same
                fault = fault or raised
        if fault is not None:
            raise fault
