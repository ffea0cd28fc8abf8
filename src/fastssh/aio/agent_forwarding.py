"""The agent shown to a server: auth-agent@openssh.com channels joined to the agent's socket (ssh_config(5),
ForwardAgent)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from fastssh.aio.forwarding.connect import connect_path
from fastssh.aio.forwarding.group import RelayGroup
from fastssh.connection.connection import Connection, IncomingOpen
from fastssh.errors import SSHError
from fastssh.keys.agent import MAX_MESSAGE

MAX_CHANNELS: Final = 64  # at a time; one a program that asks the agent something
CONNECT_SECONDS: Final = 10.0
BIND_SECONDS: Final = 10.0


class AgentForwarding:
    """The channels of one connection to the agent at ``path``. ``bind`` is the frame with which each of them begins:
    session-bind@openssh.com, which tells the agent on whose behalf it is asked."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        bind: bytes,
        *,
        fail: Callable[[SSHError], None],
        log: Callable[[str], None],
    ) -> None:
        self._path, self._bind, self._log = os.path.expanduser(path), bind, log
        self._group = RelayGroup(connection, MAX_CHANNELS, fail=fail, log=log)
        connection.max_peer_channels += MAX_CHANNELS
        connection.on_lost.append(lambda error: self._group.abort())

    def opened(self, incoming: IncomingOpen) -> None:
        """A program on the server wants the agent."""
        self._group.open(incoming, "connect to the agent", self._dial, "the agent cannot be reached")

    async def _dial(self) -> socket.socket:
        sock = await connect_path(self._path, CONNECT_SECONDS)
        try:
            async with asyncio.timeout(BIND_SECONDS):
                await self._tell(sock)
        except TimeoutError:
            sock.close()
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        except BaseException:
            sock.close()
            raise
        return sock

    async def _tell(self, sock: socket.socket) -> None:
        """Binds this connection to the session before anybody can ask for a signature. An agent that does not know how
        says no: then it has no keys that are restricted to hosts. Not a byte of what follows is read here."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, self._bind)
        size = int.from_bytes(await _exactly(sock, 4), "big")
        if not 1 <= size <= MAX_MESSAGE:
            raise OSError(errno.EPROTO, f"agent sent a message of {size} bytes")
        reply = await _exactly(sock, size)
        self._log("bound agent to hostkey" if reply == b"\x06" else "agent does not bind sessions")


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        data += more
    return data
