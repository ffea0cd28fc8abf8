"""Serving many connections in one event loop: :func:`serve`."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio.forwarding.listen import Listener, bind_tcp
from fastssh.aio.opening import Opening
from fastssh.aio.server.connection import ServerConnection, peer_address
from fastssh.aio.server.options import ServerOptions
from fastssh.errors import ChannelClosedError, DisconnectedError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh.keys.private import PrivateKey

CLOSE_SECONDS: Final = 5.0  # for the connections of a server that closes


class Server:
    """Listens, and serves every client in this event loop. Made by :func:`serve`.

    ``addresses`` are the (address, port) that it listens on, ``connections`` those that live.
    """

    def __init__(self, options: ServerOptions, sockets: list[socket.socket]) -> None:
        self.options = options
        self.addresses = [peer_address(sock.getsockname()) for sock in sockets]
        self.connections: set[ServerConnection] = set()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = Listener(sockets, self._accepted, options.log)

    @property
    def port(self) -> int:
        """The port of the first address."""
        return self.addresses[0][1]

    def _accepted(self, sock: socket.socket, address: object) -> None:
        self.take(sock)

    def take(self, sock: socket.socket) -> ServerConnection | None:
        """Serves a connected socket, which belongs to the connection from here on; closed at once while
        ``max_startups`` others have not logged in."""
        if sum(connection.attempt is None for connection in self.connections) >= self.options.max_startups:
            self.options.log("drop connection: max_startups are not logged in yet")
            sock.close()
            return None
        try:
            connection = ServerConnection(self.options, sock)
        except OSError as error:  # it went away before it was looked at
            self.options.debug(f"accept: {error.strerror}")
            sock.close()
            return None
        self.connections.add(connection)
        connection.start()
        task = self._loop.create_task(self._watch(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return connection

    async def _watch(self, connection: ServerConnection) -> None:
        await connection.wait_closed()
        self.connections.discard(connection)
        error = connection.error
        if error is not None and not isinstance(error, DisconnectedError | ChannelClosedError):
            self.options.log(f"{connection.where}: {error}")

    def close(self) -> None:
        """Stops listening, and ends the connections in order."""
        self._listener.close()
        for connection in list(self.connections):
            connection.close()

    async def wait_closed(self) -> None:
        """Returns when all connections are closed."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CLOSE_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Listening sockets on the addresses of ``host`` (None: on all of this machine's) that can be had. Raises OSError
    when there is none."""
    return bind_tcp(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))


class serve(Opening[Server]):  # noqa: N801
    """A server in this event loop: ``server = await serve(...)``, or ``async with serve(...) as server``.

    ``server_keys`` are its host keys. Further options by keyword as :class:`ServerOptions` has them, or a whole
    :class:`ServerOptions` instead. Raises OSError when the address cannot be listened on, ConfigError.
    """

    def __init__(
        self,
        host: str | None = "localhost",
        port: int = 0,
        *,
        server_keys: list[PrivateKey] | None = None,
        options: ServerOptions | None = None,
        **more: Any,
    ) -> None:
        if options is not None and (more or server_keys is not None):
            raise TypeError("options are given both as an object and by keyword")
        self._options = options or ServerOptions(host_keys=tuple(server_keys or ()), **more)
        self._address = host, port
        super().__init__(self._serve)

    async def _serve(self) -> Server:
        return Server(self._options, listen(*self._address))
