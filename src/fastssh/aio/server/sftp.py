"""The sftp subsystem of a server: :class:`~fastssh.sftp.server.SFTPServer` on a channel, under the native endpoint.

The plane takes the stream apart. READ and WRITE of regular files are served there; everything else comes here, one
message at a time, and what stands behind it waits until it is answered and the answers are on their way. What the
client may still send is what its window holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fastssh.aio.server.program import Launch, Program, Starter
from fastssh.connection.channel import WRITE_HIGH_WATER
from fastssh.errors import ProtocolError
from fastssh.sftp.constants import Packet
from fastssh.sftp.server import SFTPServer
from fastssh.sftp.status import native_statuses
from fastssh.wire.codec import Reader
from fastssh.wire.requests import ExitStatus

if TYPE_CHECKING:
    from fastssh.aio.server.session import ServerSession
    from fastssh.errors import SSHError
    from fastssh.sftp.filesystem import FileSystem

_CLOSE, _HANDLE = bytes((Packet.CLOSE,)), bytes((Packet.HANDLE,))


@runtime_checkable
class Closeable(Protocol):
    """A file system that holds something."""

    def close(self) -> None: ...


class SFTPSubsystem(Program):
    """One SFTP session. ``filesystem`` is the session's own: its ``close``, if it has one, is called at the end."""

    def __init__(self, session: ServerSession, filesystem: FileSystem, *, read_only: bool = False) -> None:
        self._session, self._channel = session, session.channel
        self._filesystem = filesystem
        self._server = SFTPServer(filesystem, self._send, now=time.time, read_only=read_only)
        self._answering = False  # a message is ours: the plane waits for resume
        self._over = False
        self._turn: asyncio.Handle | None = None
        session.channel.sftp_serve(*native_statuses())

    # -- Program ---------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        """What came before the endpoint was there."""
        self._channel.sftp_serve_feed(data)

    def eof(self) -> None:
        """``sftp_end`` follows, behind what the client asked for before it."""

    def writable(self) -> None:
        self._go_on()

    def closed(self, error: SSHError | None) -> None:
        self._end()

    def sftp_message(self, message: bytes) -> None:
        if self._over:
            return
        self._answering = True
        try:
            if message.startswith(_CLOSE):
                self._channel.sftp_serve_forget(Reader(message, 5).string())
            self._server.receive(message)
            self._go_on()
        except ProtocolError as error:
            self._refuse(error)

    def sftp_end(self) -> None:
        self._finish(0)

    # -- one message after the other ---------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """A slice of a long request in each turn of the loop; the next message when the answer is on its way."""
        if not self._answering or self._turn is not None or self._over:
            return
        if self._server.busy:
            self._turn = asyncio.get_running_loop().call_soon(self._work)
        elif self._channel.pending <= WRITE_HIGH_WATER:  # else writable() goes on
            self._answering = False
            self._channel.sftp_serve_resume()

    def _work(self) -> None:
        self._turn = None
        try:
            self._server.work()
            self._go_on()
        except ProtocolError as error:
            self._refuse(error)

    def _send(self, reply: bytes) -> None:
        self._channel.write(reply)
        if reply[4:5] == _HANDLE:
            handle = Reader(reply, 9).string()
            file = self._server.descriptor_of(handle)
            if file is not None:
                self._channel.sftp_serve_register(
                    handle, file.fd, readable=file.readable, writable=file.writable, append=file.append
                )

    # -- the end -----------------------------------------------------------------------------------------------------

    def _refuse(self, error: ProtocolError) -> None:
        self._session.log(f"sftp: {error}")
        self._finish(1)

    def _finish(self, status: int) -> None:
        if not self._over:
            self._session.finish(ExitStatus(status))  # first: the plane lets go of descriptors with its channel
            self._end()

    def _end(self) -> None:
        """Closes what the client left open."""
        if self._over:
            return
        self._over = True
        if self._turn is not None:
            self._turn.cancel()
        self._server.close()
        if isinstance(self._filesystem, Closeable):
            self._filesystem.close()


def sftp_starter(filesystem: Callable[[ServerSession], FileSystem], *, read_only: bool = False) -> Starter:
    """For :attr:`SessionPolicy.subsystems`: each session gets the file system made for it (OSError: none)."""

    def start(session: ServerSession, launch: Launch) -> Program:
        return SFTPSubsystem(session, filesystem(session), read_only=read_only)

    return start
