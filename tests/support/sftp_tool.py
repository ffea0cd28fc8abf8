"""fastssh-sftp, and sftp beside it, with lines on standard input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.peers import Peer, clean_environment, sftp_server

FASTSSH_SFTP = Path(sys.executable).parent / "fastssh-sftp"
SECONDS = 60

Done = subprocess.CompletedProcess[str]


def run(program: str | Path, directory: Path, lines: str, *arguments: str | os.PathLike[str], home: Path) -> Done:
    """The program in ``directory``, without a terminal. What it says on standard error stands among the rest."""
    done = subprocess.run(
        [os.fspath(program), *map(os.fspath, arguments)], env=clean_environment(home), cwd=directory,
        input=lines.encode("utf-8", "surrogateescape"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=SECONDS, check=False, start_new_session=True,
    )  # fmt: skip
    text = done.stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return subprocess.CompletedProcess(done.args, done.returncode, text)


def ours(peer: Peer, directory: Path, lines: str, *arguments: str | os.PathLike[str], at: str = "") -> Done:
    """A session of fastssh-sftp with ``peer``, which begins in ``at``."""
    names = ["-F", "/dev/null", *peer.options(), *arguments, f"{peer.host}:{at}" if at else peer.host]
    return run(FASTSSH_SFTP, directory, lines, *names, home=peer.directory)


def local(directory: Path, lines: str, *arguments: str | os.PathLike[str], program: str | Path = FASTSSH_SFTP) -> Done:
    """A session with a stock sftp-server of this machine."""
    return run(program, directory, lines, "-D", sftp_server(), *arguments, home=directory)
