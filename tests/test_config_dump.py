"""``-G``: what we print of a configuration, held against `ssh -G` of the OpenSSH that is installed."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from fastssh.config.dump import lines
from fastssh.config.evaluate import load
from fastssh.config.tokens import Local

SSH = shutil.which("ssh")
needs_ssh = pytest.mark.skipif(SSH is None, reason="the OpenSSH client `ssh` is not installed")

# Lines in which we differ on purpose: what is offered is what fastssh speaks, and so are the default identity files;
# Debian's ssh has classes of service of its own, and GSSAPI.
OURS = frozenset((
    "ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "hostbasedacceptedalgorithms", "pubkeyacceptedalgorithms",
    "casignaturealgorithms", "gssapikexalgorithms",
))  # fmt: skip


def openssh(path: str, host: str, *options: str) -> list[str]:
    assert SSH is not None
    done = subprocess.run([SSH, "-F", path, *options, "-G", host], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, env={**os.environ, "X": "value"}, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def shared(printed: list[str]) -> list[str]:
    return [line for line in printed if line.partition(" ")[0] not in OURS]


@pytest.fixture
def local() -> Local:
    """As ssh sees this machine: it asks the password database for the home folder, not $HOME."""
    return dataclasses.replace(Local.here(), home=pwd.getpwuid(os.getuid()).pw_dir, environment={"X": "value"})


@needs_ssh
def test_what_is_printed_is_what_openssh_prints(tmp_path: Path, local: Local) -> None:
    path = tmp_path / "config"
    path.write_text("IdentityFile ~/a\nIPQoS af21 cs1\nProxyJump a,b@c:22\nSendEnv A B\nSendEnv -A\n")
    ours = lines(load("host", file=str(path), local=local))
    assert shared(ours) == shared(openssh(str(path), "host"))
