"""OpenSSH's programs as clients of a peer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.peers import Peer, clean_environment, program

SECONDS = 60.0


def run(
    name: str, peer: Peer, *arguments: str | os.PathLike[str], options: tuple[str, ...] = (), stdin: bytes = b"",
    password: str | None = None, timeout: float = SECONDS,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Runs ssh, scp or sftp with the peer's keys, or with a password and no key; ``options`` come before all else."""
    environment = clean_environment(peer.directory)
    usual = [*peer.options(), "-o", "LogLevel=ERROR"]
    if password is not None:
        askpass = peer.directory / "askpass"
        askpass.write_text(f"#!/bin/sh\necho '{password}'\n")
        askpass.chmod(0o700)
        environment |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"}
        usual += ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]
        usual += ["-o", "KbdInteractiveAuthentication=no"]
    else:
        usual += ["-o", "BatchMode=yes"]
    command = [program(name, "openssh-client"), "-F", "/dev/null", *options, *usual, *map(os.fspath, arguments)]
    return subprocess.run(
        command, env=environment, cwd=peer.directory, input=stdin, capture_output=True, timeout=timeout
    )


def ssh(
    peer: Peer, *command: str, options: tuple[str, ...] = (), stdin: bytes = b"", password: str | None = None,
    timeout: float = SECONDS,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """ssh, running ``command``."""
    return run("ssh", peer, peer.host, *command, options=options, stdin=stdin, password=password, timeout=timeout)


def sftp(peer: Peer, batch: str, *, password: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """sftp with a batch of commands; a file, since -b - would be asked for by a password prompt."""
    path = Path(peer.directory) / "batch"
    path.write_text(batch)
    asked = () if password is None else ("-o", "BatchMode=no")  # before -b, which would have it otherwise
    return run("sftp", peer, "-b", path, peer.host, options=asked, password=password)
