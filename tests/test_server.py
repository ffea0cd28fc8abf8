"""The server's side of a connection: logins, limits, and what ends it. Sessions have tests of their own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastssh.aio.client import ClientConnection, connect
from fastssh.aio.forwarding import listen
from fastssh.aio.server.connection import ServerConnection
from fastssh.aio.server.serve import Server, serve
from fastssh.auth.server import Attempt, Verdict
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import (
    AuthenticationError,
    ChannelOpenError,
    ConfigError,
    ConnectionLostError,
    HostKeyUnknownError,
    SSHError,
)
from fastssh.wire.requests import ExecRequest, ExitStatus
from tests.support.memory import host_key

PASSWORD = "open sesame"
SECONDS = 20.0


class Echo(ChannelHandler):
    """A session that answers every command with its name."""

    channel: Channel

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        if name != "exec":
            return False
        asyncio.get_running_loop().call_soon(self.finish, ExecRequest.parse(data).command)
        return True

    def finish(self, command: bytes) -> None:
        self.channel.write(self.connection.user.encode() + b": " + command)
        self.channel.request("exit-status", ExitStatus(7).body(), False)
        self.channel.eof()
        self.channel.close()


def by_password(connection: ServerConnection, attempt: Attempt) -> Verdict:
    right = attempt.user == "ann" and attempt.password == PASSWORD
    return Verdict.ACCEPT if right else Verdict.REFUSE


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    settings: dict[str, Any] = {"authorize": by_password, "session": Echo, "failure_seconds": 0.01} | options
    async with asyncio.timeout(SECONDS), serve("127.0.0.1", server_keys=[host_key()], **settings) as server:
        yield server


def client(server: Server, tmp_path: Path, **options: Any) -> connect:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {host_key().public.line()}\n")
    settings: dict[str, Any] = {
        "user": "ann", "password": PASSWORD, "user_known_hosts": [known], "global_known_hosts": [],
        "identity_files": [], "agent_socket": "none",
    }  # fmt: skip
    return connect("127.0.0.1", server.port, **settings | options)


async def closed(server: Server) -> None:
    """Returns when the server has no connection left."""
    while server.connections:
        await asyncio.sleep(0.005)


async def test_a_client_logs_in_and_runs_a_command(tmp_path: Path) -> None:
    async with serving() as server:
        async with client(server, tmp_path) as connection:
            result = await connection.run("uname")
            assert (result.stdout, result.exit_status) == (b"ann: uname", 7)
            (theirs,) = server.connections
            assert theirs.user == "ann" and theirs.attempt is not None and theirs.attempt.method == "password"
            assert theirs.peer[0] == "127.0.0.1" and theirs.local == ("127.0.0.1", server.port)
            assert theirs.peer_identification.startswith("SSH-2.0-fastssh")
        await closed(server)


async def test_many_clients_share_a_loop(tmp_path: Path) -> None:
    async with serving() as server:

        async def one(number: int) -> bytes:
            async with client(server, tmp_path) as connection:
                return (await connection.run(f"job {number}")).stdout

        assert await asyncio.gather(*map(one, range(20))) == [f"ann: job {number}".encode() for number in range(20)]
        await closed(server)


async def test_row23_tries_are_counted(tmp_path: Path) -> None:
    told: list[str] = []
    async with serving(max_auth_tries=3, log=told.append) as server:
        with pytest.raises(SSHError):
            async with client(server, tmp_path, password="wrong", number_of_password_prompts=3):
                pass
        with socket.create_connection(("127.0.0.1", server.port)):
            await asyncio.sleep(0)  # who comes and says nothing harms nobody
        async with client(server, tmp_path) as connection:
            assert (await connection.run("id")).exit_status == 7


async def test_row03_the_answer_to_a_wrong_name_takes_as_long_as_to_a_wrong_password(tmp_path: Path) -> None:
    async with serving(failure_seconds=0.2) as server:
        for user in ("ann", "nobody"):
            begun = asyncio.get_running_loop().time()
            with pytest.raises(AuthenticationError):
                async with client(server, tmp_path, user=user, password="wrong"):
                    pass
            assert asyncio.get_running_loop().time() - begun >= 0.2  # the answer to "none" takes less


async def test_row23_the_login_has_to_be_done_in_time(tmp_path: Path) -> None:
    told: list[str] = []
    async with serving(login_grace_time=0.2, log=told.append) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            while await loop.sock_recv(sock, 1000):
                pass
        await closed(server)
        assert [line for line in told if "Timeout before authentication" in line]
        async with client(server, tmp_path) as connection:  # one that logs in may stay
            await asyncio.sleep(0.3)
            assert (await connection.run("id")).exit_status == 7


async def test_a_client_that_answers_nothing_is_given_up(tmp_path: Path) -> None:
    told: list[str] = []
    async with serving(client_alive_interval=0.05, client_alive_count_max=2, log=told.append) as server:
        async with client(server, tmp_path) as connection:
            await asyncio.sleep(0.3)  # answers keep it
            assert connection.error is None
            connection._driver._want_read(False)
            connection._driver._want_read = lambda on: None  # type: ignore[method-assign]
            await closed(server)
        assert [line for line in told if "not responding" in line]


async def test_row02_sessions_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    class Waiting(ChannelHandler):
        def __init__(self, connection: ServerConnection) -> None: ...

        def request(self, name: str, want_reply: bool, data: bytes) -> bool:
            return True

    async with serving(max_sessions=2, session=Waiting) as server, client(server, tmp_path) as connection:
        open_channels = [await connection.create_process("wait") for _ in range(2)]
        with pytest.raises(ChannelOpenError):
            await connection.create_process("wait")
        open_channels[0].close()
        await asyncio.sleep(0.05)
        await connection.create_process("wait")


async def test_row23_connections_that_do_not_log_in_are_limited(tmp_path: Path) -> None:
    told: list[str] = []
    async with serving(max_startups=2, log=told.append) as server, client(server, tmp_path) as connection:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        idle[2].setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(idle[2], 100) == b""  # closed at once
        assert told == ["drop connection: max_startups are not logged in yet"]
        assert (await connection.run("id")).exit_status == 7  # who has logged in does not count
        for sock in idle:
            sock.close()


async def test_row23_a_server_without_descriptors_waits_for_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    async with serving(log=told.append) as server:

        def no_more(self: socket.socket) -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", no_more)
            patch.setattr(listen, "REST_SECONDS", 0.2)
            waiting = asyncio.create_task(client(server, tmp_path)._connect())
            await asyncio.sleep(0.1)
            assert told == ["accept: Too many open files"]
        connection = await waiting
        assert (await connection.run("id")).exit_status == 7
        connection.close()


async def test_without_a_session_handler_channels_are_refused(tmp_path: Path) -> None:
    async with serving(session=None) as server, client(server, tmp_path) as connection:
        with pytest.raises(ChannelOpenError):
            await connection.run("id")
        assert connection.error is None


async def test_a_banner_is_shown_before_the_login(tmp_path: Path) -> None:
    seen: list[str] = []
    async with (
        serving(banner="Authorised use only\n") as server,
        client(server, tmp_path, log=lambda level, text: seen.append(text)),
    ):
        assert "Authorised use only" in seen


async def test_row17_the_servers_key_is_the_one_it_was_given(tmp_path: Path) -> None:
    async with serving() as server:
        with pytest.raises(HostKeyUnknownError):
            async with client(server, tmp_path, user_known_hosts=[]):
                pass
        await closed(server)


async def test_closing_ends_every_connection_in_order(tmp_path: Path) -> None:
    async with serving() as server:
        connections: list[ClientConnection] = [await client(server, tmp_path) for _ in range(3)]
        server.close()
        await server.wait_closed()
        for connection in connections:
            await connection.wait_closed()
            assert connection.error is not None and "disconnected by user" in str(connection.error)
        with pytest.raises(ConnectionLostError):
            await client(server, tmp_path)


async def test_a_server_without_host_keys_is_no_server() -> None:
    with pytest.raises(ConfigError):
        async with serve("127.0.0.1"):
            pass


async def test_row26_a_fault_of_one_connection_does_not_touch_another(tmp_path: Path) -> None:
    async with serving() as server, client(server, tmp_path) as good:
        for rubbish in (b"", b"GET / HTTP/1.1\r\n\r\n", b"SSH-1.5-old\r\n", b"SSH-2.0-x\r\n" + b"\xff" * 3000):
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(rubbish)
                sock.shutdown(socket.SHUT_WR)
                sock.setblocking(False)
                with contextlib.suppress(ConnectionResetError):  # it may close with our bytes unread
                    while await asyncio.get_running_loop().sock_recv(sock, 1000):
                        pass
        assert (await good.run("id")).exit_status == 7
        while len(server.connections) > 1:
            await asyncio.sleep(0.005)
        assert good.error is None
