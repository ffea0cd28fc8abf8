"""Random transfers against a real sshd, for as long as FASTSSH_SOAK_SECONDS says. `make soak` runs it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastssh import algorithms
from tests.support.copying import MIB, copy, random_file, sha256
from tests.support.peers import Peer

SECONDS = float(os.environ.get("FASTSSH_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("FASTSSH_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(32)
SERVERS = (
    {"RekeyLimit": "1M"},
    {"RekeyLimit": "700K", "sftp": "internal"},
    {"RekeyLimit": "16M 1"},
    {"sftp": "internal"},
)


@pytest.mark.soak
def test_random_transfers_arrive_whole(start_sshd: Callable[..., Peer], tmp_path: Path) -> None:
    chance = random.Random(SEED)
    peers = [start_sshd(**config) for config in SERVERS]
    deadline = time.monotonic() + SECONDS
    copies = moved = 0
    while time.monotonic() < deadline:
        peer, cipher = chance.choice(peers), chance.choice(algorithms.CIPHERS)
        sizes = [int(chance.uniform(0, 1) ** 4 * 80 * MIB) for _ in range(chance.randrange(1, 12))]
        sources = [random_file(tmp_path / f"{number}", size, SEED) for number, size in enumerate(sizes)]
        expected = {path.name: sha256(path) for path in sources}
        there, back = peer.root / "there", tmp_path / "back"
        for folder in (there, back):
            folder.mkdir()
        what = f"seed {SEED}, copy {copies}, {cipher}, {peer.directory / 'sshd_config'}, sizes {sizes}"
        copy(peer, "-c", cipher, *sources, peer.remote(there))
        assert {path.name: sha256(path) for path in there.iterdir()} == expected, what
        copy(peer, "-c", cipher, *(peer.remote(there / path.name) for path in sources), back)
        assert {path.name: sha256(path) for path in back.iterdir()} == expected, what
        for path in (*sources, *there.iterdir(), *back.iterdir()):
            path.unlink()
        there.rmdir()
        back.rmdir()
        copies, moved = copies + 1, moved + 2 * sum(sizes)
    print(f"seed {SEED}: {copies} copies both ways, {moved / MIB:,.0f} MiB")
