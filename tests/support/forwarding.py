"""A fastssh server that forwards, in the test's own event loop; destinations for it, and OpenSSH's ssh to ask."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastssh
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.aio.forwarding.server import ConnectionForwarding, Forwarding
from fastssh.aio.server.connection import ServerConnection
from fastssh.aio.server.serve import Server, serve
from fastssh.auth.server import Attempt, Verdict
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import SSHError
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.private import load_private_key
from fastssh.keys.public import parse_public_line
from fastssh.wire.requests import ExecRequest, ExitStatus
from tests.support import peers
from tests.support.peers import HOST, Keys, Peer

SECONDS = 60.0  # the most anything here may wait
USER = "ann"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Forwarder:
    """A running server that forwards."""

    server: Server
    forwarding: Forwarding
    keys: Keys
    known_hosts: Path
    log: list[str] = field(default_factory=list)

    @property
    def connection(self) -> ServerConnection:
        """The only one that is logged in."""
        (connection,) = self.forwarding._attached
        return connection

    @property
    def attached(self) -> ConnectionForwarding:
        """Its forwarding."""
        (attached,) = self.forwarding._attached.values()
        return attached

    def connect(self, **more: Any) -> fastssh.connect:
        """Our own client."""
        settings: dict[str, Any] = {
            "port": self.server.port, "user": USER, "identity_files": [self.keys.user("ed25519")],
            "identities_only": True, "agent_socket": "none", "user_known_hosts": [self.known_hosts],
            "global_known_hosts": [], "strict_host_key_checking": "yes",
        }
        return fastssh.connect(HOST, **(settings | more))

    def ssh_command(self, *arguments: str, **more: Any) -> list[str]:
        """OpenSSH's ssh to this server."""
        settings = {
            "Port": self.server.port, "User": USER, "IdentityFile": self.keys.user("ed25519"), "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts, "GlobalKnownHostsFile": "/dev/null", "BatchMode": "yes",
            "StrictHostKeyChecking": "yes", "ExitOnForwardFailure": "yes",
        }
        named = [part for name, value in (settings | more).items() for part in ("-o", f"{name}={value}")]
        return [peers.program("ssh", "openssh-client"), "-F", "/dev/null", *named, *arguments, HOST]

    @asynccontextmanager
    async def ssh(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """ssh with these arguments while the block runs; its stdin, stdout and stderr are pipes."""
        process = await asyncio.create_subprocess_exec(
            *self.ssh_command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=peers.clean_environment(self.known_hosts.parent),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


@asynccontextmanager
async def forwarder(
    directory: Path,
    keys: Keys,
    policy: ForwardingPolicy | None = None,
    options: KeyOptions | None = None,
    **more: Any,
) -> AsyncIterator[Forwarder]:
    """A server whose clients log in with the user keys, whose options are ``options``."""
    authorised = {parse_public_line(_public(keys.user(kind)))[0].blob for kind in peers.KEY_TYPES}
    log: list[str] = []
    forwarding = Forwarding(policy, log.append)

    def authorize(connection: ServerConnection, attempt: Attempt) -> Verdict:
        return Verdict.ACCEPT if attempt.key is not None and attempt.key.blob in authorised else Verdict.REFUSE

    settings: dict[str, Any] = {
        "authorize": authorize, "authenticated": lambda connection, attempt: forwarding.attach(connection, options),
        "session": lambda connection: Session(connection, forwarding), "log": log.append,
    }
    host_keys = [load_private_key(keys.host(kind)) for kind in peers.KEY_TYPES]
    known_hosts = directory / "forwarder_known_hosts"
    async with serve(HOST, 0, server_keys=host_keys, **(settings | more)) as server:
        lines = [f"[{HOST}]:{server.port} {_public(keys.host(kind))}" for kind in peers.KEY_TYPES]
        known_hosts.write_text("".join(lines))
        yield Forwarder(server, forwarding, keys, known_hosts, log)
    assert not forwarding._attached  # everything ends with its connection


class Session(ChannelHandler):
    """Runs a command without input: as much of a session as forwarding an agent needs."""

    channel: Channel

    def __init__(self, connection: ServerConnection, forwarding: Forwarding) -> None:
        self.connection, self.forwarding = connection, forwarding
        self.environment: dict[str, str] = {}
        self.work: asyncio.Task[None] | None = None

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        if name == "auth-agent-req@openssh.com":
            added = self.forwarding.agent_requested(self.connection)
            self.environment |= added or {}
            return added is not None
        if name != "exec":
            return False
        self.work = asyncio.get_running_loop().create_task(self.run(ExecRequest.parse(data).command))
        return True

    async def run(self, command: bytes) -> None:
        environment = peers.clean_environment(Path("/nonexistent"), **self.environment)
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment,
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        self.channel.write(out)
        self.channel.request("exit-status", ExitStatus(process.returncode).body(), False)
        self.channel.eof()
        self.channel.close()

    def closed(self, error: SSHError | None) -> None:
        if self.work is not None:
            self.work.cancel()


# --- destinations -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def destination(
    serve_one: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], path: Path | None = None
) -> AsyncIterator[int]:
    """A server at a loopback port, or at ``path``; the block gets the port (0 for a path)."""

    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve_one(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the test is about who closed it
        finally:
            tasks.discard(task)
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(handle, path)
    else:
        server = await asyncio.start_server(handle, HOST, 0)
    try:
        yield 0 if path is not None else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back what comes, and its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says the hash of everything, once everything has come."""
    found = hashlib.sha256()
    while data := await reader.read(1 << 18):
        found.update(data)
    writer.write(found.hexdigest().encode())
    await writer.drain()


async def reach(port: int, host: str = HOST) -> Streams:
    """A connection to a port that may not be listened on yet."""
    async with asyncio.timeout(SECONDS / 4):
        while True:
            try:
                return await asyncio.open_connection(host, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)


async def exchange(streams: Streams, data: bytes) -> bytes:
    """Sends all of it and its end, and reads to the end; both at once."""
    reader, writer = streams

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    try:
        async with asyncio.timeout(SECONDS):
            received, _ = await asyncio.gather(reader.read(-1), send())
    finally:
        writer.close()
    return received


def options_of(peer: Peer) -> dict[str, Any]:
    """How our client reaches a stock server."""
    return {"host": peer.host, **peer.connect_options()}


