"""fastsshd in tests: the command, its log, its files, and who is let in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastssh.transport.kex.groups import modp_group
from tests.support import openssh
from tests.support.peers import FASTSSHD, Keys, Peer, clean_environment, wait_for

SECONDS = 30.0
Start = Callable[..., Peer]


def fastsshd_command(
    directory: Path, *arguments: str | Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Runs fastsshd to its end."""
    return subprocess.run(
        [FASTSSHD, *map(str, arguments)], env=clean_environment(directory), cwd=directory, input=stdin.decode(),
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


def logged(peer: Peer, text: str) -> None:
    """Waits for a line of the log that holds ``text``, or matches it as a pattern."""
    try:
        wait_for(lambda: text in peer.log_tail() or re.search(text, peer.log_tail()) is not None, text)
    except TimeoutError:
        raise AssertionError(f"{text!r} is not in the log:\n{peer.log_tail()}") from None


def key_lines(peer_keys: Keys, options: str, kind: str = "ed25519") -> str:
    """A line of authorized_keys."""
    return f"{options} {peer_keys.user(kind).with_suffix('.pub').read_text()}"


def with_keys(start: Start, tmp_path: Path, text: str, **config: Any) -> Peer:
    """A server whose authorized_keys is ``text``."""
    path = tmp_path / "authorized_keys"
    path.write_text(text)
    path.chmod(0o600)
    return start(**{"AuthorizedKeysFile": path, **config})


def refused(peer: Peer, **options: Any) -> bool:
    """Whether nobody gets in with what ``options`` show."""
    done = openssh.ssh(peer, "echo in", **options)
    return done.returncode == 255 and done.stdout == b"" and b"Permission denied" in done.stderr


def moduli_line(
    bits: int, *, kind: int = 2, tests: int = 6, size: int | None = None, generator: int = 2, prime: int | None = None
) -> str:
    """A line of moduli(5)."""
    prime = modp_group(bits).p if prime is None else prime
    return f"20260101000000 {kind} {tests} 100 {bits - 1 if size is None else size} {generator} {prime:X}\n"
