"""An SFTP session on a channel: the subsystem started, messages and transfers of the native plane handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import (
    ChannelClosedError,
    ChannelRequestError,
    SFTPBadMessageError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.sftp.constants import Packet
from fastssh.sftp.session import Failure, Session
from fastssh.wire.requests import ExecRequest, SubsystemRequest
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import TransferResult

WINDOW: Final = 15 * 1024 * 1024  # bytes; OpenSSH senders degrade near 16 MiB
MAX_PACKET: Final = 32 * 1024  # bytes
WORDS: Final = 512  # bytes kept of what the server says beside SFTP
MAX_VERSION: Final = 64 * 1024  # bytes; OpenSSH's has 200
INIT_SECONDS: Final = 60.0  # for the server to start its subsystem and answer INIT

T = TypeVar("T")


class SessionOpener(Protocol):
    """Where session channels come from: a connection, or what stands for one."""

    async def open_session_channel(self, handler: ChannelHandler, *, window: int, max_packet: int) -> Channel:
        """As :meth:`fastssh.aio.client.ClientConnection.open_session_channel`."""
        ...


class _Link:
    """The channel as a session wants it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close
        self.sftp_get, self.sftp_put = channel.sftp_get, channel.sftp_put
        self.transfer_progress, self.transfer_contiguous = channel.transfer_progress, channel.transfer_contiguous
        self.transfer_cancel = channel.transfer_cancel
        self.set_send_rate = channel.plane.set_send_rate

    def write(self, data: bytes) -> int:
        return self._channel.write(data)

    @property
    def pending(self) -> int:
        return self._channel.pending

    def transfer_result(self, transfer: int) -> TransferResult:
        return self._channel.transfer_result(transfer)


class SFTPChannel(ChannelHandler):
    """Owner of the channel. ``room`` is called whenever there may be room for more requests; ``ended`` is a future."""

    session: Session

    def __init__(self) -> None:
        self.room: Callable[[], None] = lambda: None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel: Channel | None = None
        self._length = self._requests = 0
        self._words = b""  # on stderr
        self._first = b""  # on stdout, before SFTP is known to be spoken

    @classmethod
    async def open(
        cls,
        connection: SessionOpener,
        *,
        timeout: float,
        window: int,
        max_packet: int,
        subsystem: str,
        request_length: int,
        requests: int,
    ) -> Self:
        """See :func:`fastssh.aio.sftp.open_sftp`."""
        self = cls()
        self._length, self._requests = request_length, requests
        try:
            async with asyncio.timeout(timeout):
                channel = await connection.open_session_channel(self, window=window, max_packet=max_packet)
                await self.begin(channel, subsystem)
        except BaseException as error:
            if self._channel is not None:
                self._channel.close()
            if isinstance(error, TimeoutError) and not isinstance(error, SSHError):
                raise SSHTimeoutError("the server did not start SFTP in time") from None
            raise
        return self

    async def begin(self, channel: Channel, subsystem: str) -> None:
        """Requests the subsystem on a channel that is open, and exchanges versions and limits."""
        self._channel = channel
        self.session = Session(_Link(channel), self._length, bounded=bool(self._length or self._requests))
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[bool] = loop.create_future()
        ready: asyncio.Future[Failure | None] = loop.create_future()
        if "/" in subsystem:
            name, body = "exec", ExecRequest(subsystem.encode("utf-8", "surrogateescape")).body()
        else:
            name, body = "subsystem", SubsystemRequest(subsystem).body()
        channel.request(name, body, True, partial(resolve, accepted))
        self.session.start(partial(resolve, ready))  # behind the request, without waiting a round trip for its answer
        if not await accepted:
            raise channel.error or ChannelRequestError(f"the server has no {subsystem} subsystem{self._said()}")
        error = await ready
        if error is not None:
            if self._words:
                raise ChannelClosedError(f"{error}{self._said()}") from error
            raise error

    # -- events of the channel ---------------------------------------------------------------------------------------

    def data(self, stream: int, data: bytes) -> None:
        """The subsystem's stderr, which says why it does not start, and its first words."""
        if self._channel is None:
            return
        self._channel.consumed(len(data))
        if stream == 0:
            self._begin_with(self._channel, data)
        else:
            self._words = (self._words + data)[:WORDS]

    def _begin_with(self, channel: Channel, data: bytes) -> None:
        """VERSION, after which the plane takes messages apart; or what a login shell prints, which is not SFTP.

        A server says nothing behind VERSION before it is asked, so nothing can follow it here.
        """
        self._first += data
        if len(self._first) < 5 or self.session.error is not None:
            return
        end = 4 + int.from_bytes(self._first[:4], "big")
        if self._first[4] != Packet.VERSION or end > MAX_VERSION:
            text = printable(self._first[:WORDS].decode("utf-8", "surrogateescape").strip())
            self.session.abort(SFTPBadMessageError(f"the server sent something else where SFTP should begin: {text}"))
        elif len(self._first) > end:
            self.session.abort(SFTPBadMessageError("SFTP: the server sent a reply to a request that was not made"))
        elif len(self._first) == end:
            channel.sftp_attach(self._requests)
            self.session.receive(self._first[4:])

    def _said(self) -> str:
        """The server's words on stderr, for the end of an error."""
        text = printable(self._words.decode("utf-8", "surrogateescape").strip())
        return f" (the server said: {text})" if text else ""

    def sftp_message(self, data: bytes) -> None:
        self.session.receive(data)
        self.room()

    def transfer_done(self, number: int) -> None:
        self.session.transfer_done(number)

    def writable(self) -> None:
        self.session.writable()
        self.room()

    def eof(self) -> None:
        if self._channel is not None:
            self.session.end_of_file()
            self.room()

    def closed(self, error: SSHError | None) -> None:
        if self._channel is not None:
            self.session.closed(error)
            self.room()
        resolve(self.ended, None)


def resolve(future: asyncio.Future[T], value: T) -> None:
    """Sets a result that somebody may no longer wait for."""
    if not future.done():
        future.set_result(value)
