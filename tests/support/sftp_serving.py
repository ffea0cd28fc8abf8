"""A server's plane that serves SFTP, with our SFTP server behind it for what it does not serve; and the same server
without a plane, to be held against it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from fastssh._native import plane as native
from fastssh._native.plane import Plane
from fastssh.errors import ProtocolError
from fastssh.sftp import messages as m
from fastssh.sftp.constants import Packet
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.server import SFTPServer
from fastssh.sftp.status import native_statuses
from tests.support.planes import deliver, joined
from tests.support.sftp_server import Unframer

SERVED, CLIENT = 7, 0  # the channel's numbers


def whole(left: int) -> int:
    """Everything in one piece."""
    return left


class Serving:
    """Our SFTP server on channel 7 of ``plane``, at home in ``directory``. ``lazy``: does not resume by itself."""

    def __init__(self, plane: Plane, directory: Path, *, max_read: int = 261120) -> None:
        self.plane = plane
        self.server = SFTPServer(LocalFileSystem(directory), self._send, now=lambda: 0.0)
        self.seen: list[bytes] = []  # messages that came to Python
        self.fds: dict[bytes, int] = {}  # registered
        self.lazy = False
        self.over = self.end = False
        self._opened = b""
        plane.sftp_serve_attach(SERVED, *native_statuses(), max_read=max_read)

    def _send(self, message: bytes) -> None:
        if message[4] == Packet.HANDLE:
            self._opened = message[13:]
        self.plane.channel_write(SERVED, message)

    def turn(self) -> bool:
        """Answers what came; whether there was anything."""
        events = self.plane.events()
        for event in events:
            if event[0] == native.EVENT_SFTP:
                self.seen.append(event[2])
                if not self.lazy:
                    self.answer(event[2])
            elif event[0] == native.EVENT_SFTP_END:
                assert not self.end
                self.end = True
        return bool(events)

    def answer(self, message: bytes) -> None:
        """What a server does about one event: what it closes is forgotten first, what it opens registered."""
        if message[:1] == bytes((Packet.CLOSE,)):
            self.forget(message[9:])
        self._opened = b""
        try:
            self.server.receive(message)
            while self.server.work():
                pass
        except ProtocolError:
            self.over = True
            self.plane.channel_close(SERVED)
            return
        found = self.server.descriptor_of(self._opened) if self._opened else None
        if found is not None:
            self.fds[self._opened] = os.dup(found.fd)
            self.plane.sftp_serve_register(
                SERVED,
                self._opened,
                self.fds[self._opened],
                readable=found.readable,
                writable=found.writable,
                append=found.append,
            )
        self.plane.sftp_serve_resume(SERVED)

    def forget(self, handle: bytes) -> None:
        self.plane.sftp_serve_forget(SERVED, handle)
        fd = self.fds.pop(handle, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        for handle in list(self.fds):
            self.forget(handle)
        self.server.close()

    @property
    def counters(self) -> tuple[int, int]:
        return self.plane.sftp_serve_counters(SERVED)


class Talk:
    """A client's plane whose channel carries requests as bytes, and the serving plane it is joined to."""

    def __init__(
        self, directory: Path, *, pieces: Callable[[int], int] = whole, max_read: int = 261120, **channel: int
    ):
        self.client, plane = joined(**channel)
        self.serving = Serving(plane, directory, max_read=max_read)
        self.pieces = pieces
        self.received = b""  # SFTP replies, as they come
        self.heard: list[native.Event] = []  # and everything else

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.serving.close()

    def say(self, data: bytes) -> None:
        self.client.channel_write(CLIENT, data)
        self.run()

    def run(self, rounds: int = 1_000_000) -> list[native.Event]:
        """Until nothing moves any more; what the client heard beside replies."""
        for _ in range(rounds):
            moved = deliver(self.client, self.serving.plane, self.pieces, self.serving.turn)
            moved += self.serving.turn()
            moved += deliver(self.serving.plane, self.client, self.pieces, self._hear)
            if not moved and not self._hear() and not self.serving.turn():
                heard, self.heard = self.heard, []
                return heard
        raise AssertionError("still moving")

    def _hear(self) -> bool:
        events = self.client.events()
        for event in events:
            if event[0] == native.EVENT_DATA:
                assert event[2] == 0
                self.received += event[3]
                self.client.channel_consumed(CLIENT, len(event[3]))
            else:
                self.heard.append(event)
        return bool(events)

    def replies(self) -> list[bytes]:
        """The whole messages that came, without their lengths, once."""
        unframer = Unframer()
        found = list(unframer.feed(self.received))
        self.received = bytes(unframer._buffer)
        return found

    def ask(self, request: m.Request, number: int, *values: object) -> bytes:
        """The one reply to one request."""
        self.say(request.encode(number, *values))
        (reply,) = self.replies()
        assert int.from_bytes(reply[1:5], "big") == number
        return reply

    def begin(self) -> None:
        self.say(m.encode_init())
        assert self.replies()[0][0] == Packet.VERSION

    def open(self, path: bytes, flags: int) -> bytes:
        return bytes(m.HANDLE.decode(self.ask(m.OPEN, 1, path, flags, m.SFTPAttributes())))


def by_python(directory: Path, stream: bytes) -> tuple[list[bytes], bool]:
    """The replies to a stream of requests without a plane, and whether the session was ended for it."""
    replies: list[bytes] = []
    server = SFTPServer(LocalFileSystem(directory), replies.append, now=lambda: 0.0)
    unframer = Unframer()
    try:
        for message in unframer.feed(stream):
            server.receive(message)
            while server.work():
                pass
    except ProtocolError:
        return replies, True
    finally:
        server.close()
    return replies, False


def by_plane(directory: Path, stream: bytes, **how: object) -> tuple[list[bytes], bool, Serving]:
    """The same through a plane."""
    with Talk(directory, **how) as talk:  # type: ignore[arg-type]
        try:
            talk.say(stream)
            over = talk.serving.over
        except ProtocolError:
            over = True
        return [m.frame(reply) for reply in talk.replies()], over, talk.serving
