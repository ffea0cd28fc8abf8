"""Connections whose clients say in SOCKS where they go: those that come here (``ssh -D``), and those that come to a
server which listens for us (``ssh -R`` without a destination).

The codec is :mod:`fastssh.wire.socks`. A client hears that it is connected when it is, or why it is not; then its bytes
are relayed as those of any other forward.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from fastssh.aio.dial import reason_of
from fastssh.aio.forwarding.group import RelayGroup
from fastssh.aio.forwarding.relay import SocketRelay
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import IncomingOpen
from fastssh.errors import ChannelClosedError, ChannelOpenError, SSHError
from fastssh.wire.messages import OpenFailureReason
from fastssh.wire.socks import Handshake, Reply, Target
from fastssh.wire.text import printable

HANDSHAKE_SECONDS: Final = 60.0  # for a client to say where it wants to go
_PIECE: Final = 1024  # bytes read at a time; a handshake is shorter
_DRAIN: Final = 64 * 1024  # bytes that a refused client may have sent on, thrown away so that it gets the refusal

_BY_ERROR: Final = {
    errno.ECONNREFUSED: Reply.REFUSED,
    errno.ENETUNREACH: Reply.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Reply.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Reply.HOST_UNREACHABLE,
}
_BY_TEXT: Final = {os.strerror(number): reply for number, reply in _BY_ERROR.items()}
_BY_CODE: Final = {
    OpenFailureReason.ADMINISTRATIVELY_PROHIBITED.value: Reply.NOT_ALLOWED,
    OpenFailureReason.CONNECT_FAILED.value: Reply.HOST_UNREACHABLE,
}


def refusal(error: BaseException) -> Reply:
    """What a client hears of ``error``: of a channel that was not opened, or of a connection that could not be made."""
    if isinstance(error, ChannelOpenError):
        return _BY_TEXT.get(error.description) or _BY_CODE.get(error.code, Reply.FAILED)
    if isinstance(error, socket.gaierror):
        return Reply.HOST_UNREACHABLE
    if isinstance(error, PermissionError):
        return Reply.NOT_ALLOWED
    return _BY_ERROR.get(error.errno or 0, Reply.HOST_UNREACHABLE) if isinstance(error, OSError) else Reply.FAILED


class SocksRelay(SocketRelay):
    """As :class:`SocketRelay`, for a socket whose client first says where it goes: ``connect(target, self)`` opens the
    channel for it. ``refused`` hears why a handshake or a channel came to nothing. Works from the moment it is made."""

    def __init__(
        self,
        sock: socket.socket,
        ended: Callable[[SocketRelay], None],
        refused: Callable[[SocketRelay, BaseException], None],
        connect: Callable[[Target, SocketRelay], Channel],
    ) -> None:
        super().__init__(sock, ended, refused)
        self._connect = connect
        self._socks = Handshake()
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = self._loop.call_later(HANDSHAKE_SECONDS, self.abort)
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_PIECE)
            said = self._socks.feed(data)
            self._say(said)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if not data:
            self.abort()
        elif self._socks.failure is not None:
            self._refused(self, ValueError(f"SOCKS: {self._socks.failure}"))
            self._part()
        elif self._socks.target is not None:
            self._end_handshake()
            try:
                self.channel = self._connect(self._socks.target, self)
            except SSHError as error:  # the connection is gone
                self._refused(self, error)
                self.abort()

    def _say(self, data: bytes) -> None:
        """A few bytes, which a socket that nothing was written to takes at once. Raises OSError."""
        if data and self._sock.send(data) < len(data):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    def _part(self) -> None:
        """Closes in such a way that the last reply arrives: bytes that nobody has read would reset the connection."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.recv(_DRAIN)
        self.abort()

    def _end_handshake(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._loop.remove_reader(self._sock.fileno())

    def _close_socket(self) -> None:
        self._end_handshake()
        super()._close_socket()

    # -- ChannelHandler ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        channel = self.channel
        if channel is None or self._sock.fileno() < 0:
            return
        try:
            self._say(self._socks.answer(Reply.GRANTED))
        except OSError:  # the client is gone
            self.abort()
            return
        if self._socks.rest:
            channel.write(self._socks.rest)
        self.start(channel)

    def open_failed(self, error: SSHError) -> None:
        super().open_failed(error)
        with contextlib.suppress(OSError):
            self._say(self._socks.answer(refusal(error)))
        if self._sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                self._sock.recv(_DRAIN)


# -- on a channel ------------------------------------------------------------------------------------------------------


class _Arriving(ChannelHandler):
    """What arrives on a channel until a relay takes it over: at most its window."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.channel: Channel | None = None
        self.data_ = bytearray()
        self._task = task
        self._news = asyncio.Event()
        self._ended = False

    def accept(self, incoming: IncomingOpen) -> None:
        self.channel = incoming.accept(self)

    def data(self, stream: int, data: bytes) -> None:
        if stream == 0:
            self.data_ += data
        elif self.channel is not None:
            self.channel.consumed(len(data))
        self._news.set()

    def eof(self) -> None:
        self._ended = True
        self._news.set()

    def closed(self, error: SSHError | None) -> None:
        self._task.cancel()  # nobody is there any more

    async def take(self) -> bytes:
        """What has come; waits for it. Empty at the peer's end of file."""
        while not self.data_ and not self._ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self.data_)
        self.data_.clear()
        return data


async def serve_channel(
    incoming: IncomingOpen,
    group: RelayGroup,
    connect: Callable[[Target], Awaitable[socket.socket]],
) -> None:
    """Accepts ``incoming``, hears its client out, and joins it to the socket that ``connect`` gives (OSError: refused).

    To be run as a task of ``group``.
    """
    task = asyncio.current_task()
    assert task is not None
    arriving = _Arriving(task)
    group.answer(lambda: arriving.accept(incoming))
    channel = arriving.channel
    if channel is None:
        return
    socks = Handshake()
    joined = False
    try:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                while not socks.over and (data := await arriving.take()):
                    if said := socks.feed(data):
                        channel.write(said)
                    channel.consumed(len(data) - (len(socks.rest) if socks.target is not None else 0))
        except TimeoutError:
            group.log(f"SOCKS: nothing was asked for in {HANDSHAKE_SECONDS:g} s")
        if socks.failure is not None:
            group.log(f"SOCKS: {socks.failure}")
        if socks.target is None:
            return
        try:
            sock = await connect(socks.target)
        except OSError as error:
            group.log(f"connect to {printable(socks.target.host)} port {socks.target.port}: {reason_of(error)}")
            channel.write(socks.answer(refusal(error)))
            return
        channel.write(socks.answer(Reply.GRANTED))
        relay = group.relay(sock)
        channel.handler = relay
        joined = True
        relay.start(channel)
        for rest in (socks.rest, bytes(arriving.data_)):
            if rest:
                relay.data(0, rest)
    except ChannelClosedError:  # by the peer, between two turns
        pass
    finally:
        if not joined:
            with contextlib.suppress(SSHError):  # the connection is gone
                channel.eof()
            channel.close()
