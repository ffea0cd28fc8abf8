"""The sftp subsystem of a server: :class:`~fastssh.sftp.server.SFTPServer` on a channel, within bounds.

While answers wait for the client, or a request takes long, no message is looked at and no credit given: what the client
may still send is what its window holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from fastssh.aio.server_program import Launch, Program, Starter
from fastssh.connection.channel import WRITE_HIGH_WATER
from fastssh.errors import ProtocolError
from fastssh.sftp.constants import Packet
from fastssh.sftp.messages import Unframer
from fastssh.sftp.server import SFTPServer
from fastssh.wire.codec import Reader
from fastssh.wire.requests import ExitStatus

if TYPE_CHECKING:
    from fastssh.aio.server_session import ServerSession
    from fastssh.errors import SSHError
    from fastssh.sftp.filesystem import FileSystem
    from fastssh.sftp.handles import Descriptor

MESSAGES_A_TURN: Final = 64  # then the other channels of this loop have theirs
_CLOSE, _HANDLE = bytes((Packet.CLOSE,)), bytes((Packet.HANDLE,))


@runtime_checkable
class Closeable(Protocol):
    """A file system that holds something."""

    def close(self) -> None: ...


class SFTPSubsystem(Program):
    """One SFTP session. ``filesystem`` is the session's own: its ``close``, if it has one, is called at the end.

    ``opened`` hears of each regular file that the client opens, with its handle; ``closing`` of each handle that is
    about to be closed. In between the descriptor stays what it is.
    """

    def __init__(self, session: ServerSession, filesystem: FileSystem, *, read_only: bool = False) -> None:
        self.opened: Callable[[bytes, Descriptor], None] | None = None
        self.closing: Callable[[bytes], None] | None = None
        self._session, self._channel = session, session.channel
        self._filesystem = filesystem
        self._server = SFTPServer(filesystem, self._send, now=time.time, read_only=read_only)
        self._unframer = Unframer()
        self._pieces: deque[bytes] = deque()  # not yet looked at: at most the channel's window
        self._messages: Iterator[bytes] = iter(())  # of the piece that is being looked at
        self._credit = 0  # for that piece
        self._eof = self._over = False
        self._turn: asyncio.Handle | None = None

    # -- Program ---------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._go_on()

    def eof(self) -> None:
        self._eof = True
        self._go_on()

    def writable(self) -> None:
        self._go_on()

    def closed(self, error: SSHError | None) -> None:
        self._end()

    def _end(self) -> None:
        """Closes what the client left open."""
        if self._over:
            return
        self._over = True
        if self._turn is not None:
            self._turn.cancel()
        self._pieces.clear()
        self._server.close()
        if isinstance(self._filesystem, Closeable):
            self._filesystem.close()

    # -- messages --------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Handles what is there, as far as that may be now. A turn that is already planned goes on by itself."""
        if self._turn is None and not self._over:
            try:
                self._messages_of_a_turn()
            except ProtocolError as error:
                self._session.log(f"sftp: {error}")
                self._finish(1)

    def _messages_of_a_turn(self) -> None:
        for _ in range(MESSAGES_A_TURN):
            if self._channel.pending > WRITE_HIGH_WATER:
                return  # writable() goes on
            if self._server.busy:
                self._server.work()  # a slice is as long as a turn may be
                break
            if (message := self._next()) is not None:
                self._receive(message)
            else:
                if self._eof:
                    self._finish(0)
                return
        self._turn = asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._go_on()

    def _next(self) -> bytes | None:
        """The next whole message; the client gets credit for a piece when all that it completes was handled."""
        while True:
            message = next(self._messages, None)
            if message is not None:
                return message
            if self._credit:
                self._channel.consumed(self._credit)
                self._credit = 0
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._credit = len(piece)
            self._messages = self._unframer.feed(piece)

    def _receive(self, message: bytes) -> None:
        if self.closing is not None and message.startswith(_CLOSE):
            self.closing(Reader(message, 5).string())
        self._server.receive(message)

    def _send(self, reply: bytes) -> None:
        self._channel.write(reply)
        if self.opened is not None and reply[4:5] == _HANDLE:
            handle = Reader(reply, 9).string()
            descriptor = self._server.descriptor_of(handle)
            if descriptor is not None:
                self.opened(handle, descriptor)

    def _finish(self, status: int) -> None:
        self._end()
        self._session.finish(ExitStatus(status))


def sftp_starter(filesystem: Callable[[ServerSession], FileSystem], *, read_only: bool = False) -> Starter:
    """For :attr:`SessionPolicy.subsystems`: each session gets the file system made for it (OSError: none)."""

    def start(session: ServerSession, launch: Launch) -> Program:
        return SFTPSubsystem(session, filesystem(session), read_only=read_only)

    return start
