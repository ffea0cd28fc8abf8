"""OpenSSH's programs as clients of a peer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.peers import Peer, clean_environment, program

SECONDS = 60.0


def run(
    name: str, peer: Peer, *arguments: str | os.PathLike[str], stdin: bytes = b"", password: str | None = None,
    timeout: float = SECONDS,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Runs ssh, scp or sftp with the peer's keys, or with a password and no key."""
    environment = clean_environment(peer.directory)
    options = [*peer.options(), "-o", "LogLevel=ERROR"]
    if password is not None:
        askpass = peer.directory / "askpass"
        askpass.write_text(f"#!/bin/sh\necho '{password}'\n")
        askpass.chmod(0o700)
        environment |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"}
        options = ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", *options]
    else:
        options = ["-o", "BatchMode=yes", *options]
    command = [program(name, "openssh-client"), "-F", "/dev/null", *options, *map(os.fspath, arguments)]
    return subprocess.run(
        command, env=environment, cwd=peer.directory, input=stdin, capture_output=True, timeout=timeout
    )


def ssh(
    peer: Peer, *command: str, options: tuple[str, ...] = (), stdin: bytes = b"", password: str | None = None,
    timeout: float = SECONDS,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """ssh with ``options`` before the host."""
    return run("ssh", peer, *options, peer.host, *command, stdin=stdin, password=password, timeout=timeout)


def sftp(peer: Peer, batch: str, *, password: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """sftp with a batch of commands; a file, since -b - would be asked for by a password prompt."""
    path = Path(peer.directory) / "batch"
    path.write_text(batch)
    return run("sftp", peer, "-b", path, *(() if password is None else ("-o", "BatchMode=no")), peer.host,
               password=password)
