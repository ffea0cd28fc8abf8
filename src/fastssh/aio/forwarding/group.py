"""The relays of one connection: how many there may be, and their end with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from fastssh.aio.dial import reason_of
from fastssh.aio.forwarding.listen import Listener
from fastssh.aio.forwarding.relay import SocketRelay
from fastssh.connection.connection import Connection, IncomingOpen
from fastssh.errors import SSHError
from fastssh.wire.messages import OpenFailureReason

Refused = Callable[[SocketRelay, BaseException], None]


class RelayGroup:
    """At most ``most`` relays at a time, those that are about to be counted in, and listeners that wait while there are
    as many.

    ``fail`` ends the connection; ``log`` gets one line for each connection that is not forwarded.
    """

    def __init__(
        self, connection: Connection, most: int, *, fail: Callable[[SSHError], None], log: Callable[[str], None]
    ) -> None:
        self.connection = connection
        self.most = most
        self._fail, self.log = fail, log
        self._opening: set[asyncio.Task[None]] = set()
        self.relays: set[SocketRelay] = set()
        self.listeners: set[Listener] = set()

    @property
    def busy(self) -> bool:
        """Whether there is a relay, or one about to be."""
        return bool(self.relays or self._opening)

    @property
    def full(self) -> bool:
        return len(self.relays) + len(self._opening) >= self.most

    def relay(self, sock: socket.socket, refused: Refused | None = None) -> SocketRelay:
        """A relay for ``sock``, counted until it has ended."""
        return self.add(SocketRelay(sock, self.ended, refused) if refused else SocketRelay(sock, self.ended))

    def add(self, relay: SocketRelay) -> SocketRelay:
        """Counts a relay that was made with :meth:`ended`, until that."""
        self.relays.add(relay)
        self._adjust()
        return relay

    def ended(self, relay: SocketRelay) -> None:
        self.relays.discard(relay)
        self._adjust()

    def open(
        self,
        incoming: IncomingOpen,
        what: str,
        connect: Callable[[], Coroutine[Any, Any, socket.socket]],
        said: str | None = None,
    ) -> None:
        """Answers ``incoming`` when ``connect`` has: with a channel, or with ``said`` or the system's reason.

        ``what`` names the connection in the log. ``connect`` raises OSError.
        """
        self.begin(incoming, what, lambda: self._connect(incoming, what, connect, said))

    def begin(self, incoming: IncomingOpen, what: str, answer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has ``answer`` answer ``incoming``, in a task that counts as a relay until it ends; refuses if there are too
        many."""
        if self.full:
            self.log(f"refused {what}: {self.most} are open")
            incoming.refuse(OpenFailureReason.RESOURCE_SHORTAGE, "too many forwarded channels")
            return
        task = asyncio.get_running_loop().create_task(answer())
        self._opening.add(task)
        task.add_done_callback(self._connected)
        self._adjust()

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._adjust()

    async def _connect(
        self,
        incoming: IncomingOpen,
        what: str,
        connect: Callable[[], Coroutine[Any, Any, socket.socket]],
        said: str | None,
    ) -> None:
        try:
            sock = await connect()
        except OSError as error:
            reason = reason_of(error)
            self.log(f"{what}: {reason}")
            self.answer(lambda: incoming.refuse(OpenFailureReason.CONNECT_FAILED, said or reason))
            return
        except Exception as error:  # ours; the peer gets its answer, or the channel would count as open for ever
            self.log(f"{what}: internal error: {type(error).__name__}: {error}")
            self.answer(lambda: incoming.refuse(OpenFailureReason.CONNECT_FAILED, said or "internal error"))
            return
        relay = self.relay(sock)
        self.answer(lambda: relay.start(incoming.accept(relay)))
        if relay.channel is None:
            relay.abort()

    def answer(self, answer: Callable[[], None]) -> None:
        """What goes wrong with an answer ends the connection, as it would have while the peer's message was handled."""
        try:
            answer()
        except SSHError as error:
            self._fail(error)

    def _adjust(self) -> None:
        for listener in self.listeners:
            if self.full:
                listener.pause()
            else:
                listener.resume()

    def listen(self, sockets: list[socket.socket], kind: str, data: Callable[[Any], bytes], what: str) -> Listener:
        """Every connection to ``sockets`` opens a channel ``kind`` to the peer, with ``data(address)``.

        ``what`` names it in the log.
        """

        def refused(relay: SocketRelay, error: BaseException) -> None:
            self.refused(what, relay, error)

        def accepted(sock: socket.socket, address: Any) -> None:
            relay = self.relay(sock, refused)
            try:
                relay.start(self.connection.open_channel(kind, data(address), relay))
            except SSHError as error:  # the connection is gone
                refused(relay, error)
                relay.abort()

        return self.accept(sockets, accepted)

    def accept(self, sockets: list[socket.socket], accepted: Callable[[socket.socket, Any], None]) -> Listener:
        """``accepted`` gets every connection to ``sockets``, with its address, while there is room for a relay."""
        listener = Listener(sockets, accepted, self.log)
        self.listeners.add(listener)
        self._adjust()
        return listener

    def refused(self, what: str, relay: SocketRelay, error: BaseException) -> None:
        """Logs that nothing came of ``what``."""
        self.log(f"{what}: {error}")

    def stop(self, listener: Listener) -> None:
        """Ends a listener of this group; its connections go on."""
        self.listeners.discard(listener)
        listener.close()

    def abort(self) -> None:
        """Ends all of them, and those that were about to be."""
        for task in self._opening:
            task.cancel()
        for listener in list(self.listeners):
            self.stop(listener)
        for relay in list(self.relays):
            relay.abort()


def originator(address: Any) -> tuple[bytes, int]:
    """The address and port that a connection came from, as channels carry them; a Unix socket has none."""
    if not isinstance(address, tuple):
        return b"", 0
    return str(address[0]).encode("ascii", "backslashreplace"), int(address[1])
