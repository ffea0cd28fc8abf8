"""A fastssh server in the test's own event loop, on a loopback port, and how its clients are told to reach it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fastssh
from fastssh.aio.server.process import Account, ProcessStarter
from fastssh.aio.server.program import SessionPolicy
from fastssh.aio.server.serve import Server
from fastssh.aio.server.session import ServerSession
from fastssh.aio.server.sftp import sftp_starter
from fastssh.keys.public import parse_public_line
from fastssh.sftp.filesystem import LocalFileSystem
from tests.support import peers
from tests.support.peers import HOST, Keys

SECONDS = 60.0  # for a client program


@dataclass
class Finished:
    """How a client program ended."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass
class FastsshServer:
    """A running server. ``log`` are its lines, ``home`` the account's home, ``root`` a directory for files."""

    server: Server
    keys: Keys
    home: Path
    root: Path
    known_hosts: Path
    log: list[str] = field(default_factory=list)
    user: str = "ann"

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def settings(self) -> dict[str, Any]:
        """-o options that keep OpenSSH's clients off everything of the person who runs the tests."""
        return {
            "Port": self.port, "User": self.user, "IdentityFile": self.keys.user("ed25519"), "IdentitiesOnly": "yes",
            "IdentityAgent": "none", "UserKnownHostsFile": self.known_hosts, "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes", "BatchMode": "yes",
        }  # fmt: skip

    def options(self, **more: Any) -> list[str]:
        """The same as arguments."""
        named = (self.settings | more).items()
        return ["-F", "/dev/null", *(part for name, value in named for part in ("-o", f"{name}={value}"))]

    def connect(self, **more: Any) -> fastssh.connect:
        """Our own client, logged in; without a configuration, so that any name of a user may be sent."""
        settings: dict[str, Any] = {
            "port": self.port, "user": self.user, "identity_files": [self.keys.user("ed25519")],
            "identities_only": True, "agent_socket": "none", "user_known_hosts": [self.known_hosts],
            "global_known_hosts": [], "strict_host_key_checking": "yes",
        }  # fmt: skip
        return fastssh.connect(fastssh.ClientOptions(host=HOST, **(settings | more)))

    async def run(
        self, name: str, *arguments: str | Path, input: bytes = b"", env: dict[str, str] | None = None, **settings: Any
    ) -> Finished:
        """Runs ssh, scp or sftp with the options that it needs."""
        command = [peers.program(name, "openssh-client"), *self.options(**settings), *map(os.fspath, arguments)]
        return await run(*command, input=input, env=peers.clean_environment(self.home, **(env or {})))

    async def ssh(self, *arguments: str, **more: Any) -> Finished:
        return await self.run("ssh", HOST, *arguments, **more)


async def run(
    *command: str, input: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None
) -> Finished:
    """A program to its end, at most SECONDS."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=env, cwd=cwd, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await process.communicate(input)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # with what it started: that holds its streams open
        await process.wait()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, stdout, stderr)


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def account(home: Path, shell: str = "/bin/sh") -> Account:
    """Ours, with a home of its own and a plain shell."""
    return replace(Account.current(), home=str(home), shell=shell)


@asynccontextmanager
async def start_fastssh(
    directory: Path, keys: Keys, *, policy: SessionPolicy | None = None, shell: str = "/bin/sh", **options: Any
) -> AsyncIterator[FastsshServer]:
    """A server that starts processes of this machine and serves its files, or what ``options`` say instead."""
    home, root = directory / "home", directory / "root"
    home.mkdir()
    root.mkdir()
    authorised = {parse_public_line(_public(keys.user(kind)))[0].blob for kind in peers.KEY_TYPES}

    def authorize(connection: fastssh.ServerConnection, attempt: fastssh.Attempt) -> fastssh.Verdict:
        if attempt.key is not None and attempt.key.blob in authorised:
            return fastssh.Verdict.ACCEPT
        return fastssh.Verdict.REFUSE

    if not {"session", "process", "sftp", "sftp_root"} & options.keys():
        starter = ProcessStarter(account(home, shell))
        offered = policy or SessionPolicy(subsystems={"sftp": sftp_starter(lambda session: LocalFileSystem(home))})
        options["session"] = lambda connection: ServerSession(connection, offered, starter)
    log: list[str] = []
    defaults: dict[str, Any] = {"authorize": authorize, "log": log.append}
    host_keys = [fastssh.load_private_key(keys.host(kind)) for kind in peers.KEY_TYPES]
    known_hosts = directory / "known_hosts"
    async with fastssh.serve(HOST, 0, server_keys=host_keys, **(defaults | options)) as server:
        lines = [f"[{HOST}]:{server.port} {_public(keys.host(kind))}" for kind in peers.KEY_TYPES]
        known_hosts.write_text("".join(lines))
        yield FastsshServer(server, keys, home, root, known_hosts, log)
