"""A server of our own in the test's event loop, over a socket pair: scripted, and as rude as a test wants it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastssh import algorithms
from fastssh._native.plane import Plane
from fastssh.aio.client import ClientConnection, connect
from fastssh.aio.driver import Driver
from fastssh.auth.server import Attempt, AuthServer, Verdict
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.connection.connection import Connection, IncomingOpen
from fastssh.errors import SSHError
from fastssh.keys.private import PrivateKey
from fastssh.keys.public import PublicKey
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions
from fastssh.wire.messages import ServiceRequest
from fastssh.wire.requests import ExecRequest, ExitStatus
from tests.support.memory import host_key

if TYPE_CHECKING:
    from fastssh._native.plane import Event


class Command(ChannelHandler):
    """One session channel of the server; the server's ``on_exec`` is told of its command."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel: Channel | None = None
        self.received = b""
        self.at_eof = False
        self.is_closed = False

    def data(self, stream: int, data: bytes) -> None:
        self.received += data
        assert self.channel is not None
        self.channel.consumed(len(data))

    def eof(self) -> None:
        self.at_eof = True

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        if name != "exec":
            return False
        return self.server.on_exec(self, ExecRequest.parse(data).command)

    def finish(self, status: int = 0) -> None:
        """Ends as a command does."""
        assert self.channel is not None
        self.channel.request("exit-status", ExitStatus(status).body(), False)
        self.channel.eof()
        self.channel.close()

    def closed(self, error: SSHError | None) -> None:
        self.is_closed = True


def finish_at_once(command: Command, line: bytes) -> bool:
    asyncio.get_running_loop().call_soon(command.finish)
    return True


class Server:
    """The server's end of one connection. Set the ``on_`` hooks before the client comes to them."""

    def __init__(self, sock: socket.socket, *, key: PrivateKey | None = None, **options: Any) -> None:
        self.key = key or host_key()
        self.plane = Plane()
        self.transport = Transport(
            Role.SERVER,
            self.plane,
            TransportOptions(software="fastssh_test", host_keys=(self.key,), **options),
            self,
            random=os.urandom,
            now=time.monotonic,
        )
        self.driver = Driver(
            sock, self.transport, self.plane, settle=self.settle, lost=self.lost, watch=lambda event: None,
            peer="client",
        )
        self.connection = Connection(
            self.transport, self.plane, wake=self.driver.wake, acceptors={"session": self.accept}
        )
        self.auth: AuthServer | None = None
        self.error: SSHError | None = None
        self.commands: list[Command] = []
        self.attempts: list[Attempt] = []
        self.authorize: Callable[[Attempt], Verdict] = lambda attempt: Verdict.ACCEPT
        self.on_ready: Callable[[], None] = lambda: None
        self.on_login: Callable[[], None] = lambda: None
        self.on_message: Callable[[bytes], bool] = lambda payload: False  # True: it is dealt with
        self.on_exec: Callable[[Command, bytes], bool] = finish_at_once

    def send(self, payload: bytes) -> None:
        """Sends these bytes, whatever they are."""
        self.transport.send_payload(payload)
        self.driver.wake()

    def settle(self) -> None:
        self.connection.settle()

    def accept(self, incoming: IncomingOpen) -> None:
        command = Command(self)
        command.channel = incoming.accept(command)
        self.commands.append(command)

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        raise AssertionError("a server is shown no host key")

    def transport_ready(self) -> None:
        self.auth = AuthServer(
            send=self.transport.send,
            session_id=self.transport.session_id,
            host_key=self.key.public.blob,
            authorize=self.judge,
            authenticated=self.authenticated,
            signature_algorithms=algorithms.HOST_KEYS,
        )
        self.on_ready()

    def judge(self, attempt: Attempt) -> Verdict:
        self.attempts.append(attempt)
        return self.authorize(attempt)

    def authenticated(self, attempt: Attempt) -> None:
        self.transport.set_phase(Phase.CONNECTION)
        self.on_login()

    def message(self, sequence: int, payload: bytes) -> None:
        if self.on_message(payload):
            return
        if payload[0] >= 80:
            self.connection.message(payload)
            return
        if payload[0] == ServiceRequest.number:
            self.transport.set_phase(Phase.AUTH)
        assert self.auth is not None
        self.auth.message(payload)

    def channel_event(self, event: Event) -> None:
        self.connection.event(event)

    def debug(self, text: str) -> None: ...

    def lost(self, error: SSHError) -> None:
        self.error = error
        self.connection.lost(error)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Server, socket.socket]]:
    """A server that waits on the other end of the socket; it is closed at the end."""
    ours, theirs = socket.socketpair()
    server = Server(ours, **options)
    server.driver.start()
    try:
        yield server, theirs
    finally:
        server.driver.close(SSHError("the test is over"))
        await server.driver.wait_closed()


@asynccontextmanager
async def joined(tmp_path: Any, **client: Any) -> AsyncIterator[tuple[ClientConnection, Server]]:
    """A logged-in client and its server."""
    async with serving() as (server, sock), connect(**options(tmp_path, server, **client), sock=sock) as connection:
        yield connection, server


def options(tmp_path: Any, server: Server, **more: Any) -> dict[str, Any]:
    """Client options that know the server's host key and touch nothing else on this machine."""
    known = tmp_path / "known_hosts"
    if not known.exists():
        known.write_text(f"server.test {server.key.public.line()}\n")
    settings: dict[str, Any] = {
        "host": "server.test", "user": "ann", "user_known_hosts": [known], "global_known_hosts": [],
        "identity_files": [], "agent_socket": "none",
    }
    return settings | more
