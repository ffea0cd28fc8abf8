"""Who is measured: each subject turns a job into the command line that does it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients.common import arguments
from tests.support.peers import Peer, clean_environment, program

ROOT = Path(__file__).resolve().parents[1]
ROOFLINE = ROOT / "build" / "test-gcc" / "roofline"


@dataclass(frozen=True)
class Transfer:
    """One job: source and target are paths on this machine, one of which the peer serves."""

    peer: Peer
    cipher: str
    direction: str  # "up" or "down"
    source: Path
    target: Path
    recursive: bool = False


@dataclass(frozen=True)
class Subject:
    name: str
    command: Callable[[Transfer], list[str]]
    server: str = "sshd"  # which one it talks to
    # CPU seconds of (sender, receiver) from what the command printed, where there is no server to ask
    split_cpu: Callable[[str], tuple[float, float]] | None = None

    def environment(self, transfer: Transfer) -> dict[str, str]:
        return clean_environment(transfer.peer.directory, PYTHONPATH=str(ROOT))


def _scp() -> str:
    return program("scp", "openssh-client")


def _fastssh_scp() -> str:
    return str(Path(sys.executable).parent / "fastssh-scp")


def _scp_like(path: Callable[[], str]) -> Callable[[Transfer], list[str]]:
    def command(job: Transfer) -> list[str]:
        ends = (
            [os.fspath(job.source), job.peer.remote(job.target)]
            if job.direction == "up"
            else [job.peer.remote(job.source), os.fspath(job.target)]
        )
        flags = ["-q", "-F", "/dev/null", "-c", job.cipher, *(["-r"] if job.recursive else [])]
        return [path(), *flags, *job.peer.options(), *ends]

    return command


def _library(module: str) -> Callable[[Transfer], list[str]]:
    def command(job: Transfer) -> list[str]:
        own = arguments(job.peer, job.cipher, job.direction, job.source, job.target)
        return [sys.executable, "-m", f"benchmarks.clients.{module}", *own]

    return command


def _roofline(aesgcm: str) -> Callable[[Transfer], list[str]]:
    def command(job: Transfer) -> list[str]:
        return [str(ROOFLINE), "-a", aesgcm, "-c", job.cipher, os.fspath(job.source), os.fspath(job.target)]

    return command


def _roofline_cpu(output: str) -> tuple[float, float]:
    said = json.loads(output)
    return said["sender_cpu"], said["receiver_cpu"]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("scp", _scp_like(_scp)),
        Subject("fastssh-scp", _scp_like(_fastssh_scp)),
        Subject("fastssh", _library("fastssh_client")),
        Subject("asyncssh", _library("asyncssh_client")),
        Subject("paramiko", _library("paramiko_client")),
        Subject("fastssh-scp, fastsshd", _scp_like(_fastssh_scp), server="fastsshd"),
        Subject("scp, fastsshd", _scp_like(_scp), server="fastsshd"),
        Subject("roofline", _roofline("auto"), split_cpu=_roofline_cpu),
        Subject("roofline-libcrypto", _roofline("libcrypto"), split_cpu=_roofline_cpu),
    )
}
