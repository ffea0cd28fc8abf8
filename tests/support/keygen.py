"""OpenSSH's ssh-keygen as the reference for keys, fingerprints, signatures and known_hosts."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from fastssh.cli.keygen import command
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


def ours(*arguments: str | Path, home: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """fastssh-keygen with the same arguments, in this process."""
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(stdin), "utf-8", "surrogateescape"),
        "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS"):
            patch.delenv(name, raising=False)
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        status = command.main([*map(str, arguments)])
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        out, err = (streams[name].buffer.getvalue() for name in ("stdout", "stderr"))  # type: ignore[attr-defined]
    return subprocess.CompletedProcess([*map(str, arguments)], status, out, err)


def compare(*arguments: str | Path, home: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Both with the same arguments: what they print, say and return must be the same. What ours did comes back."""
    theirs = run(*arguments, home=home, check=False, stdin=stdin)
    mine = ours(*arguments, home=home, stdin=stdin)
    said = mine.stderr.replace(b"fastssh-keygen", b"ssh-keygen")
    assert (mine.stdout, said, mine.returncode) == (
        theirs.stdout, theirs.stderr.replace(b"\r\n", b"\n"), theirs.returncode
    ), arguments  # fmt: skip
    return mine
