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
        self._fail, self._log = fail, log
        self._opening: set[asyncio.Task[None]] = set()
        self.relays: set[SocketRelay] = set()
        self.listeners: set[Listener] = set()

    @property
    def full(self) -> bool:
        return len(self.relays) + len(self._opening) >= self.most

    def relay(self, sock: socket.socket, refused: Callable[[SSHError], None] = lambda error: None) -> SocketRelay:
        """A relay for ``sock``, counted until it has ended."""
        relay = SocketRelay(sock, self._ended, refused)
        self.relays.add(relay)
        self._adjust()
        return relay

    def _ended(self, relay: SocketRelay) -> None:
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
        if self.full:
            self._log(f"refused {what}: {self.most} are open")
            incoming.refuse(OpenFailureReason.RESOURCE_SHORTAGE, "too many forwarded channels")
            return
        task = asyncio.get_running_loop().create_task(self._connect(incoming, what, connect, said))
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
            self._log(f"{what}: {reason}")
            self._answer(lambda: incoming.refuse(OpenFailureReason.CONNECT_FAILED, said or reason))
            return
        except Exception as error:  # ours; the peer gets its answer, or the channel would count as open for ever
            self._log(f"{what}: internal error: {type(error).__name__}: {error}")
            self._answer(lambda: incoming.refuse(OpenFailureReason.CONNECT_FAILED, said or "internal error"))
            return
        relay = self.relay(sock)
        self._answer(lambda: relay.start(incoming.accept(relay)))
        if relay.channel is None:
            relay.abort()

    def _answer(self, answer: Callable[[], None]) -> None:
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

        def accepted(sock: socket.socket, address: Any) -> None:
            def refused(error: SSHError) -> None:
                self._log(f"{what}: {error}")

            relay = self.relay(sock, refused)
            try:
                relay.start(self.connection.open_channel(kind, data(address), relay))
            except SSHError as error:  # the connection is gone
                refused(error)
                relay.abort()

        listener = Listener(sockets, accepted, self._log)
        self.listeners.add(listener)
        self._adjust()
        return listener

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
