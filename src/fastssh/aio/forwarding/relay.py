"""A channel and a connected stream socket, joined: what comes from one goes to the other, and so do their ends.

Nothing is read faster than the other side takes it. The socket is not read while more than WRITE_HIGH_WATER bytes wait
for the peer's window, and the peer gets window back only for what the socket has taken: at most one window of bytes and
one read wait here, whatever either side does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from fastssh.connection.channel import WRITE_HIGH_WATER, Channel, ChannelHandler
from fastssh.errors import SSHError

READ_SIZE: Final = 64 * 1024  # bytes of one recv
READS: Final = 4  # in one call from the loop, so that other sockets have their turn


def _nobody(error: SSHError) -> None:
    """The default of ``refused``: the socket's end says enough."""


class Relay(ChannelHandler):
    """Owns the connected ``sock`` from here on. ``ended`` is called once, when socket and channel are both closed.

    Hand it to :meth:`IncomingOpen.accept` or :meth:`Connection.open_channel` as the handler, then call :meth:`start`
    with the channel. ``refused`` hears why the peer did not open it. To be made in the running loop.

    The end of the socket's data becomes CHANNEL_EOF, that of the channel's ``shutdown(SHUT_WR)``, and when both have
    come both are closed. A socket that fails closes the channel; one that only takes no more bytes is still read to its
    end, since it may have said why. A channel that the peer closes gets its last bytes to the socket first; one that is
    lost with its connection does not.
    """

    def __init__(
        self, sock: socket.socket, ended: Callable[[Relay], None], refused: Callable[[SSHError], None] = _nobody
    ) -> None:
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._ended, self._refused = ended, refused
        self.channel: Channel | None = None
        self._unwritten = bytearray()  # not a queue of pieces: single bytes would cost fifty times their size
        self._at_eof = False  # nothing will follow what is unwritten
        self._read_done = self._write_done = False
        self._reading = self._writing = False
        self._channel_over = self._over = False

    def start(self, channel: Channel) -> None:
        """``channel`` has this handler; bytes move as soon as it is open."""
        self.channel = channel
        if channel.remote_id >= 0:
            self.opened()

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
        return len(self._unwritten)

    # -- from the socket to the channel ------------------------------------------------------------------------------

    def _readable(self) -> None:
        channel = self.channel
        assert channel is not None
        for _ in range(READS):
            try:
                data = self._sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # reset by its other end, say
                self._fail()
                return
            if not data:
                self._read_done = True
                self._want_read(False)
                channel.eof()
                self._close_if_done()
                return
            if channel.write(data) > WRITE_HIGH_WATER:
                self._want_read(False)
                return

    def writable(self) -> None:
        if not self._read_done:
            self._want_read(True)

    # -- from the channel to the socket ------------------------------------------------------------------------------

    def data(self, stream: int, data: bytes) -> None:
        assert self.channel is not None
        if stream != 0 or self._write_done:  # sockets have no stderr
            self.channel.consumed(len(data))
            return
        if self._unwritten:
            self._unwritten += data
            return
        sent = self._send(data)
        if sent < len(data) and not self._write_done:
            self._unwritten += data[sent:]
            self._want_write(True)

    def eof(self) -> None:
        self._at_eof = True
        if not self._unwritten:
            self._shut_write()

    def _send(self, data: bytes | bytearray) -> int:
        """What the socket takes now; the peer may send as much again."""
        assert self.channel is not None
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._write_failed(len(data))
            return 0
        self.channel.consumed(sent)
        return sent

    def _write_failed(self, lost: int) -> None:
        assert self.channel is not None
        self.channel.consumed(lost)
        self._unwritten.clear()
        self._want_write(False)
        self._write_done = True
        self._close_if_done()

    def _writable(self) -> None:
        sent = self._send(self._unwritten)
        del self._unwritten[:sent]
        if not self._unwritten:
            self._want_write(False)
            if self._at_eof:
                self._shut_write()

    def _shut_write(self) -> None:
        if not self._write_done:
            self._write_done = True
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone already, which reading it will tell
                pass
            self._close_if_done()

    # -- the end -----------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        if not self._read_done:
            self._want_read(True)

    def open_failed(self, error: SSHError) -> None:
        self._refused(error)

    def closed(self, error: SSHError | None) -> None:
        self._channel_over = self._at_eof = self._read_done = True
        self._want_read(False)
        if error is not None or not self._unwritten:
            self._close_socket()
            self._finish()  # else as soon as the last bytes are written

    def _fail(self) -> None:
        assert self.channel is not None
        self.channel.consumed(len(self._unwritten))  # a peer without window could not even hear of our CLOSE
        self._read_done = self._write_done = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not (self._read_done and self._write_done):
            return
        self._close_socket()
        if self._channel_over:
            self._finish()
        elif self.channel is not None:
            self.channel.close()

    def _close_socket(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._read_done = self._write_done = True
        self._unwritten.clear()
        self._want_read(False)
        self._want_write(False)
        self._sock.close()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._ended(self)

    def _want_read(self, on: bool) -> None:
        if on != self._reading:
            self._reading = on
            if on:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)

    def _want_write(self, on: bool) -> None:
        if on != self._writing:
            self._writing = on
            if on:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)
