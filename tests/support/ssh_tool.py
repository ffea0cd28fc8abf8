"""fastssh as a program, for tests: started without a terminal, or on one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.peers import Peer, clean_environment

FASTSSH = Path(sys.executable).parent / "fastssh"
SECONDS = 60


def command(peer: Peer, *words: str | os.PathLike[str], options: Sequence[str] = ()) -> list[str]:
    """The command line that reaches ``peer``."""
    return [str(FASTSSH), "-F", "none", *peer.options(), *options, peer.host, *map(os.fspath, words)]


def start(peer: Peer, *words: str, options: Sequence[str] = (), **how: Any) -> subprocess.Popen[bytes]:
    """fastssh without a terminal to ask on; ``how`` is for Popen."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    environment = clean_environment(peer.directory) | how.pop("env", {})
    return subprocess.Popen(
        command(peer, *words, options=options), env=environment, start_new_session=True, **how
    )


def run(
    peer: Peer, *words: str, options: Sequence[str] = (), given: bytes | None = None, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    """fastssh to its end, with ``given`` on a pipe as standard input (None: what ``how`` says, else /dev/null)."""
    if given is not None:
        how["stdin"] = subprocess.PIPE
    with start(peer, *words, options=options, **how) as process:
        try:
            out, err = process.communicate(given, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert b"Traceback" not in (err or b"")
    return subprocess.CompletedProcess(process.args, process.returncode, out or b"", err or b"")
