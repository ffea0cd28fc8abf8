"""A channel and a connected stream socket, joined: what comes from one goes to the other, and so do their ends.

The plane moves the bytes (:mod:`fastssh.aio.relay`), and nothing faster than the other side takes it: the socket is
read while the peer's window has room, and the peer gets window back only for what the socket has taken.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from fastssh._native.plane import RELAY_SINK
from fastssh.aio.relay import DescriptorRelay
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import SSHError

LAST_BYTES_SECONDS: Final = 60.0  # for a socket to take what came before its channel was closed


def _nobody(relay: SocketRelay, error: BaseException) -> None:
    """The default of ``refused``: the socket's end says enough."""


def _nothing() -> None:
    """The default of ``all_read``."""


class SocketRelay(ChannelHandler):
    """Owns the connected ``sock`` from here on. ``ended`` is called once, when socket and channel are both closed.

    Hand it to :meth:`IncomingOpen.accept` or :meth:`Connection.open_channel` as the handler, then call :meth:`start`
    with the channel. ``refused`` hears why the peer did not open it, ``all_read`` that all which the socket gave is on
    its way. To be made in the running loop.

    The end of the socket's data becomes CHANNEL_EOF, that of the channel's ``shutdown(SHUT_WR)``, and when both have
    come both are closed. A socket that fails closes the channel; one that only takes no more bytes is still read to its
    end, since it may have said why. A channel that the peer closes gets its last bytes to the socket first, within
    LAST_BYTES_SECONDS; one that is lost with its connection does not.
    """

    def __init__(
        self,
        sock: socket.socket,
        ended: Callable[[SocketRelay], None],
        refused: Callable[[SocketRelay, BaseException], None] = _nobody,
        all_read: Callable[[], None] = _nothing,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._ended, self._refused, self._all_read = ended, refused, all_read
        self.channel: Channel | None = None
        self._relay: DescriptorRelay | None = None
        self._read_done = self._write_done = False
        self._channel_over = self._over = False

    def start(self, channel: Channel) -> None:
        """``channel`` has this handler; bytes move as soon as it is open."""
        self.channel = channel
        fd = self._sock.fileno()
        self._relay = DescriptorRelay(channel, sources={0: fd}, sinks={0: fd}, ended=self._end)

    def abort(self) -> None:
        """Closes both at once, whatever still waits."""
        self._close_socket()
        if self.channel is not None and not self._channel_over:
            self.channel.close(discard=True)
        else:
            self._finish()

    @property
    def waiting(self) -> int:
        """Bytes of the channel that the socket has not taken yet."""
        return 0 if self._relay is None else self._relay.pending

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end(self, end: int, error: int) -> None:
        if end == RELAY_SINK:
            self._write_done = True
            if not error:
                self._shut_write()
        else:
            self._read_done = True
            if error:  # reset by its other end, say
                self._write_done = True
            elif self.channel is not None:
                self.channel.eof()
        self._close_if_done()
        if end != RELAY_SINK:
            self._all_read()

    def _shut_write(self) -> None:
        with contextlib.suppress(OSError):  # it is gone already, which reading it will tell
            self._sock.shutdown(socket.SHUT_WR)

    def _close_if_done(self) -> None:
        if not (self._read_done and self._write_done):
            return
        self._close_socket()
        if self._channel_over:
            self._finish()
        elif self.channel is not None:
            self.channel.close()

    def open_failed(self, error: SSHError) -> None:
        self._refused(self, error)

    def data(self, stream: int, data: bytes) -> None:
        """What had come before :meth:`start` was called."""
        if self._relay is not None:
            self._relay.feed(data)

    def closed(self, error: SSHError | None) -> None:
        self._channel_over = self._read_done = True
        if error is None and self._relay is not None:
            self._relay.finish(LAST_BYTES_SECONDS)
        if error is not None or self._write_done or self._relay is None:
            self.abort()

    def _close_socket(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._read_done = self._write_done = True
        if self._relay is not None:
            self._relay.close()
        self._sock.close()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._ended(self)
