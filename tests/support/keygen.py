"""OpenSSH's ssh-keygen as the reference for keys, fingerprints, signatures and known_hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support import peers

#: Every kind of key that we speak: type and bits as ``ssh-keygen -t -b`` takes them.
KINDS: tuple[tuple[str, int | None], ...] = (
    ("ed25519", None),
    ("ecdsa", 256),
    ("ecdsa", 384),
    ("ecdsa", 521),
    ("rsa", 2048),
)
KIND_IDS = [f"{kind}{bits or ''}" for kind, bits in KINDS]


def run(
    *arguments: str | Path, home: Path, check: bool = True, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [peers.program("ssh-keygen", "openssh-client"), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=check,
        timeout=60,
        env=peers.clean_environment(home),
    )


def make_key(
    path: Path, kind: str, bits: int | None = None, *, passphrase: str = "", options: tuple[str, ...] = ()
) -> Path:
    """A new key pair at ``path`` and ``path.pub`` with the comment ``user@test``."""
    size = ("-b", str(bits)) if bits else ()
    rounds = ("-a", "2")  # enough for a test
    run("-q", "-t", kind, *size, *rounds, *options, "-N", passphrase, "-C", "user@test", "-f", path, home=path.parent)
    return path
