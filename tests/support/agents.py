"""OpenSSH's ssh-agent, which holds keys for the client."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.peers import clean_environment, program


@contextlib.contextmanager
def running_agent(directory: Path, *arguments: str) -> Iterator[str]:
    """The socket of a stock ssh-agent without keys."""
    path = str(directory / "agent")
    process = subprocess.Popen(
        [program("ssh-agent", "openssh-client"), "-D", "-a", path, *arguments], stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(500):
            if os.path.exists(path):
                break
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait(10)


def ssh_add(agent: str, *arguments: str | Path) -> str:
    """What ssh-add prints."""
    return subprocess.run(
        [program("ssh-add", "openssh-client"), *map(str, arguments)],
        env=clean_environment(Path(agent).parent, SSH_AUTH_SOCK=agent), check=True, timeout=30,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    ).stdout


def add(agent: str, *keys: Path) -> None:
    ssh_add(agent, "-q", *keys)
