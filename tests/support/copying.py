"""Copies through fastssh-scp and their comparison, for the interoperability tests."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.peers import Peer, clean_environment

FASTSSH_SCP = Path(sys.executable).parent / "fastssh-scp"
MIB = 1 << 20
COPY_SECONDS = 240.0

# Where requests, packets and files end: 32 KiB pieces, 255 KiB requests, one byte to each side.
EDGE_SIZES = (0, 1, 32767, 32768, 32769, 255 * 1024 - 1, 255 * 1024, 255 * 1024 + 1)


def fastssh_scp(
    peer: Peer, *arguments: str | os.PathLike[str], timeout: float = COPY_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Runs fastssh-scp with the peer's keys and nothing of the account's own."""
    return subprocess.run(
        [FASTSSH_SCP, "-F", "/dev/null", *peer.options(), *map(os.fspath, arguments)],
        env=clean_environment(peer.directory),
        cwd=peer.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def copy(peer: Peer, *arguments: str | os.PathLike[str], timeout: float = COPY_SECONDS) -> dict[str, Any]:
    """The same, which must succeed; returns what --json says."""
    done = fastssh_scp(peer, "--json", *arguments, timeout=timeout)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr or done.stdout}"
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def random_file(path: Path, size: int, seed: int = 1) -> Path:
    """Bytes that repeat nowhere near the sizes that transfers cut files at."""
    source = random.Random(seed * 1_000_003 + size)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(source.randbytes(min(size, MIB)))
    return path


def sparse_file(path: Path, size: int) -> Path:
    """A hole with a few bytes at its ends, and at both sides of 2 and 4 GiB."""
    marks = (0, 2**31 - 8, 2**32 - 8, size - 16)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in marks:
            if 0 <= offset <= size - 16:
                file.seek(offset)
                file.write(hashlib.sha256(str(offset).encode()).digest()[:16])
    return path


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def edge_files(directory: Path, sizes: Iterable[int] = EDGE_SIZES) -> dict[str, str]:
    """Makes a file of each size; returns their names and hashes."""
    directory.mkdir(parents=True, exist_ok=True)
    return {path.name: sha256(path) for path in (random_file(directory / f"{size}.bin", size) for size in sizes)}


def hashes(directory: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in directory.iterdir()}


def there_and_back(peer: Peer, work: Path, remote: str, seen: Path, *options: str) -> list[dict[str, Any]]:
    """Copies files of all edge sizes up and down again and compares them on both sides.

    remote is the folder's name for the peer, seen the same folder on this machine. Returns both summaries.
    """
    up, down = work / "up", work / "down"
    expected = edge_files(up)
    seen.mkdir(parents=True)
    down.mkdir()
    sources = sorted(up.iterdir())
    summaries = [copy(peer, *options, *sources, peer.remote(remote))]
    assert hashes(seen) == expected
    summaries.append(copy(peer, *options, *(peer.remote(f"{remote}/{path.name}") for path in sources), down))
    assert hashes(down) == expected
    return summaries


def make_tree(path: Path) -> Path:
    (path / "sub dir/deep").mkdir(parents=True)
    for number, name in enumerate(("a.txt", "sub dir/b c", "sub dir/deep/$d", "empty")):
        random_file(path / name, 100_000 * number)
        os.utime(path / name, (1_500_000_000, 1_400_000_000 + number))
    (path / "a.txt").chmod(0o640)
    return path


def contents(path: Path) -> dict[str, tuple[int, int, bytes] | None]:
    def of(each: Path) -> tuple[int, int, bytes] | None:
        if each.is_dir():
            return None
        status = each.stat()
        return stat.S_IMODE(status.st_mode), int(status.st_mtime), each.read_bytes()

    return {str(each.relative_to(path)): of(each) for each in path.rglob("*")}
