"""What the library clients of the benchmarks share: their command line.

python -m benchmarks.clients.<library> HOST PORT USER KEY KNOWN_HOSTS CIPHER up|down SOURCE TARGET
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import Peer


@dataclass(frozen=True)
class Job:
    host: str
    port: int
    user: str
    key: str
    known_hosts: str
    cipher: str
    direction: str
    source: str
    target: str


def arguments(peer: Peer, cipher: str, direction: str, source: Path, target: Path) -> list[str]:
    """The command line that parse() takes apart."""
    fields = (peer.host, peer.port, peer.user, peer.key, peer.known_hosts, cipher, direction, source, target)
    return [str(field) for field in fields]


def parse(argv: Sequence[str] | None = None) -> Job:
    parser = argparse.ArgumentParser()
    for name in ("host", "port", "user", "key", "known_hosts", "cipher", "direction", "source", "target"):
        parser.add_argument(name, type=int if name == "port" else str)
    return Job(**vars(parser.parse_args(argv)))
