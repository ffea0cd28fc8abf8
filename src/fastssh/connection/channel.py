"""One channel (RFC 4254 section 5): its life, its requests, and what its owner is told.

Data and windows are the native plane's: it checks the peer's use of our window, cuts what we write into packets, and
sends EOF and CLOSE once the queue is empty. This object decides when that may happen and who hears of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from fastssh.errors import ChannelClosedError, ChannelOpenError, ProtocolError, SSHError
from fastssh.wire.messages import (
    ChannelFailure,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import Plane, TransferResult
    from fastssh.connection.connection import Connection

# Bytes that a client may have under way of an SFTP session that we serve: what it writes is done with at once, and a
# long link needs them.
SERVE_WINDOW = 15 * 1024 * 1024
WRITE_HIGH_WATER = 256 * 1024  # bytes waiting above which a writer should wait for ChannelHandler.writable
MAX_OUTSTANDING_REQUESTS = 256  # replies we wait for on one channel


class ChannelHandler:
    """The owner of a channel, to be subclassed. Calls come in wire order; ``closed`` is the last one, exactly once,
    whatever happens."""

    def opened(self) -> None:
        """The peer confirmed the channel."""

    def open_failed(self, error: SSHError) -> None:
        """The peer refused the channel; ``closed`` follows."""

    def data(self, stream: int, data: bytes) -> None:
        """CHANNEL_DATA (0) or stderr's EXTENDED_DATA (1). Call :meth:`Channel.consumed` when done with the bytes."""

    def eof(self) -> None:
        """The peer will send no more data."""

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        """A request of the peer; the answer is sent if it wants one."""
        return False

    def writable(self) -> None:
        """The queue fell below the low-water mark after it had been above it."""

    def sftp_message(self, data: bytes) -> None:
        """A whole SFTP message, without its length, after :meth:`Channel.sftp_attach` or ``sftp_serve``."""

    def sftp_end(self) -> None:
        """After :meth:`Channel.sftp_serve`: all that stood before the peer's end of file is answered."""

    def transfer_done(self, number: int) -> None:
        """A bulk transfer ended: read :meth:`Channel.transfer_result`."""

    def closed(self, error: SSHError | None) -> None:
        """The end. None: the channel was closed in order; else the reason why the connection or opening failed."""


class RelayOwner(Protocol):
    """Who joined descriptors to a channel with :meth:`Channel.relay`. Ends are the RELAY_ bits of _native/plane.pyi."""

    def relay_ended(self, end: int, error: int) -> None:
        """The plane is done with this end: a source has ended, a sink has all that came before the peer's EOF, or
        ``error`` (errno) happened to it."""

    def relay_waits(self, ends: int) -> None:
        """From now on these are to be watched, and :meth:`Channel.relay_ready` called."""


class State(Enum):
    OPENING = "opening"  # we sent CHANNEL_OPEN
    OPEN = "open"
    CLOSED = "closed"  # handler.closed was called


class Channel:
    """Made by :meth:`Connection.open_channel` and :meth:`IncomingOpen.accept`; ``id`` is our number for it.

    ``error`` is set before ``handler.closed`` is called: what ended the channel, None for an orderly close.
    """

    def __init__(self, connection: Connection, number: int, kind: str, handler: ChannelHandler) -> None:
        self.connection = connection
        self.plane: Plane = connection.plane
        self.id = number
        self.kind = kind
        self.handler = handler
        self.state = State.OPENING
        self.error: SSHError | None = None
        self.remote_id = -1  # the peer's number, once open
        self.eof_sent = self.close_sent = self.eof_received = False
        self._replies: deque[Callable[[bool], None] | None] = deque()
        self._relay: RelayOwner | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.id} {self.kind} {self.state.value}>"

    # -- what the owner does ---------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.state is not State.OPEN or self.close_sent:
            raise self.error if self.error is not None else ChannelClosedError(f"channel {self.id} is not open")

    def write(self, data: bytes, stream: int = 0) -> int:
        """Queues data and returns the bytes now waiting; above WRITE_HIGH_WATER wait for ``writable``.

        Raises ChannelClosedError (or what ended the connection) after ``eof``, ``close`` or the peer's close.
        """
        self._check_open()
        if self.eof_sent:
            raise ChannelClosedError(f"channel {self.id}: write after end of file")
        waiting = self.plane.channel_write(self.id, data, stream)
        self.connection.wake()
        return waiting

    @property
    def pending(self) -> int:
        """Bytes written and not yet sent."""
        return self.plane.channel_pending(self.id) if self.state is State.OPEN else 0

    def eof(self) -> None:
        """CHANNEL_EOF behind what was written. Once is enough."""
        self._check_open()
        if not self.eof_sent:
            self.eof_sent = True
            self.plane.channel_eof(self.id)
            self.connection.wake()

    def close(self, *, discard: bool = False) -> None:
        """CHANNEL_CLOSE behind what was written; ``handler.closed`` follows when the peer has closed as well.

        With ``discard`` what still waits is dropped: a peer that opens its window no more would hold CLOSE back for
        ever. From here on data of the peer is dropped. Harmless when already closing; before the peer's confirmation
        the channel closes as soon as that comes.
        """
        if self.state is State.OPEN and discard:
            self.plane.channel_discard(self.id)
            self.connection.wake()
        if self.close_sent or self.state is State.CLOSED:
            return
        self.close_sent = True
        if self.state is State.OPEN:
            self.plane.channel_close(self.id)
            self.connection.wake()

    def consumed(self, count: int) -> None:
        """``count`` bytes from ``handler.data`` are done with: the peer may send as many more."""
        if self.state is State.OPEN:
            self.plane.channel_consumed(self.id, count)
            self.connection.wake()

    def request(self, name: str, data: bytes, want_reply: bool, on_reply: Callable[[bool], None] | None = None) -> None:
        """CHANNEL_REQUEST (RFC 4254 section 5.4).

        ``on_reply`` gets True for success, False for failure and for a channel that ends first (``error`` says how).
        """
        self._check_open()
        if want_reply:
            if len(self._replies) >= MAX_OUTSTANDING_REQUESTS:
                raise SSHError(f"channel {self.id}: {len(self._replies)} requests are still unanswered")
            self._replies.append(on_reply)
        self.connection.send(ChannelRequest(self.remote_id, name, want_reply, data))

    # -- bulk SFTP: the plane's endpoints, see _native/plane.pyi ---------------------------------------------------

    def sftp_attach(self, requests: int = 0) -> None:
        """What arrives from now on is SFTP messages; call it before the subsystem request is answered. At most
        ``requests`` of transfers are unanswered at once; 0: as many as are good."""
        self._check_open()
        self.plane.sftp_attach(self.id)
        if requests:
            self.plane.sftp_limit(self.id, requests)

    def sftp_get(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int, to_end: bool) -> int:
        """Starts reading a remote file into ``fd``; returns the transfer number of ``handler.transfer_done``."""
        self._check_open()
        number = self.plane.sftp_get(self.id, handle, fd, offset=offset, size=size, chunk=chunk, to_end=to_end)
        self.connection.wake()
        return number

    def sftp_put(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int) -> int:
        """Starts writing ``fd`` to a remote file; returns the transfer number of ``handler.transfer_done``."""
        self._check_open()
        number = self.plane.sftp_put(self.id, handle, fd, offset=offset, size=size, chunk=chunk)
        self.connection.wake()
        return number

    def transfer_contiguous(self, number: int) -> int:
        """Bytes so far that are there without a gap."""
        return self.plane.transfer_contiguous(number)

    def transfer_progress(self, number: int) -> int:
        """Bytes so far; 0 for one whose result was read."""
        return self.plane.transfer_progress(number)

    def transfer_cancel(self, number: int) -> None:
        """No new requests; the transfer ends when those outstanding are answered."""
        self.plane.transfer_cancel(number)
        self.connection.wake()

    def transfer_result(self, number: int) -> TransferResult:
        """How it ended: once, after its ``handler.transfer_done``."""
        return self.plane.transfer_result(number)

    # -- serving SFTP: the same of a server --------------------------------------------------------------------------

    def sftp_serve(self, end_of_file: bytes, statuses: Sequence[bytes]) -> None:
        """What arrives from now on is requests: READ and WRITE of registered files are served natively, the others come
        one by one, and ``sftp_serve_resume`` asks for the next. Call it before the subsystem request is answered."""
        self._check_open()
        self.plane.sftp_serve_attach(self.id, end_of_file, statuses)
        self.plane.channel_widen(self.id, SERVE_WINDOW)

    def sftp_serve_feed(self, data: bytes) -> None:
        """``handler.data`` that came with the request for the subsystem; it is credited when it is worked off."""
        if self.state is State.OPEN and not self.close_sent:
            self.plane.sftp_serve_feed(self.id, data)
            self.connection.wake()

    def sftp_serve_register(self, handle: bytes, fd: int, *, readable: bool, writable: bool, append: bool) -> None:
        """A regular file that stays open until ``sftp_serve_forget``."""
        self.plane.sftp_serve_register(self.id, handle, fd, readable=readable, writable=writable, append=append)

    def sftp_serve_forget(self, handle: bytes) -> None:
        """Its descriptor is not touched any more."""
        if self.state is State.OPEN:
            self.plane.sftp_serve_forget(self.id, handle)

    def sftp_serve_resume(self) -> None:
        """The last message is answered."""
        if self.state is State.OPEN and not self.close_sent:
            self.plane.sftp_serve_resume(self.id)
            self.connection.wake()

    # -- relaying: descriptors joined to the channel, see _native/plane.pyi ------------------------------------------

    def relay(
        self, owner: RelayOwner, *, source: int = -1, source_stderr: int = -1, sink: int = -1, sink_stderr: int = -1
    ) -> None:
        """From now on data goes from and to these descriptors natively; before the channel is open as well. They stay
        the owner's."""
        if self.state is not State.OPENING or self.close_sent:
            self._check_open()
        self.plane.relay_attach(
            self.id, source=source, source_stderr=source_stderr, sink=sink, sink_stderr=sink_stderr
        )
        self._relay = owner
        self.connection.wake()

    def relay_feed(self, data: bytes, stream: int = 0) -> None:
        """``handler.data`` that came before the descriptors were there; it is credited when the sink takes it."""
        if self.state is State.OPEN:
            self.plane.relay_feed(self.id, data, stream)
            self.connection.wake()

    def relay_ready(self, ends: int) -> None:
        """Descriptors that are watched are ready."""
        if self.state is not State.CLOSED:
            self.plane.relay_ready(self.id, ends)
            self.connection.turn()

    def relay_release(self, ends: int) -> None:
        """Their descriptors are not touched any more. To be called before they are closed, in ``handler.closed`` at the
        latest."""
        self.plane.relay_release(self.id, ends)
        self.connection.wake()

    def relay_kept(self, stream: int = 0) -> bytes:
        """What the sink of the stream has not taken yet; in ``handler.closed`` for the last time."""
        return self.plane.relay_kept(self.id, stream)

    @property
    def relay_pending(self) -> int:
        """How many bytes that are, of stream 0."""
        return self.plane.relay_pending(self.id) if self._relay is not None and self.state is State.OPEN else 0

    # -- what the connection tells us ------------------------------------------------------------------------------

    def relay_ended(self, end: int, error: int) -> None:
        if self._relay is not None:
            self._relay.relay_ended(end, error)

    def relay_waits(self, ends: int) -> None:
        if self._relay is not None:
            self._relay.relay_waits(ends)

    def confirmed(self, message: ChannelOpenConfirmation) -> None:
        if self.state is not State.OPENING:
            raise ProtocolError(f"confirmation of channel {self.id}, which is open already")
        self.opened(message.sender)
        if self.close_sent:  # its owner lost interest meanwhile
            self.plane.channel_close(self.id)
            self.connection.wake()
        else:
            self.handler.opened()

    def opened(self, remote_id: int) -> None:
        """Both sides have agreed."""
        self.state, self.remote_id = State.OPEN, remote_id

    def refused(self, message: ChannelOpenFailure) -> None:
        if self.state is not State.OPENING:
            raise ProtocolError(f"refusal of channel {self.id}, which is open already")
        self.fail_opening(ChannelOpenError(message.reason, printable(message.description)))

    def fail_opening(self, error: SSHError) -> None:
        self.error = error
        self.handler.open_failed(error)
        self.finish(error)

    def received_data(self, stream: int, data: bytes) -> None:
        self._check_peer("data")
        if self.eof_received:
            raise ProtocolError(f"data on channel {self.id} after end of file")
        if self.close_sent:
            self.consumed(len(data))  # a peer that waits for window would never read what our CLOSE stands behind
        else:
            self.handler.data(stream, data)

    def received_sftp(self, message: bytes) -> None:
        self._check_peer("SFTP message")
        if not self.close_sent:
            self.handler.sftp_message(message)

    def received_eof(self) -> None:
        self._check_peer("end of file")
        if self.eof_received:
            raise ProtocolError(f"second end of file on channel {self.id}")
        self.eof_received = True
        if not self.close_sent:
            self.handler.eof()

    def received_request(self, message: ChannelRequest) -> None:
        self._check_peer("request")
        accepted = self.handler.request(message.name, message.want_reply, message.data)
        if message.want_reply and not self.close_sent and self.state is State.OPEN:
            reply = ChannelSuccess if accepted else ChannelFailure
            self.connection.send(reply(self.remote_id))

    def received_reply(self, success: bool) -> None:
        self._check_peer("reply")
        if not self._replies:
            raise ProtocolError(f"reply on channel {self.id} to a request that was not made")
        on_reply = self._replies.popleft()
        if on_reply is not None:
            on_reply(success)

    def _check_peer(self, what: str) -> None:
        if self.state is not State.OPEN:
            raise ProtocolError(f"{what} for channel {self.id}, which is not open")

    def finish(self, error: SSHError | None) -> None:
        """Tells everybody who waits, once: requests without answer, then the owner."""
        if self.state is State.CLOSED:
            return
        self.state, self.error = State.CLOSED, error
        while self._replies:
            on_reply = self._replies.popleft()
            if on_reply is not None:
                on_reply(False)
        self.handler.closed(error)
