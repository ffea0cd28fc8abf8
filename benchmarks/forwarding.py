"""What a forwarded connection carries: bytes a second over ``ssh -L`` and ``fastssh -L``, by one sshd.

    python -m benchmarks.forwarding                       both in turn, a table on the terminal
    python -m benchmarks.forwarding --mib 512 --pairs 7
    python -m benchmarks.forwarding --cipher aes128-gcm@openssh.com

Each client runs in a process of its own for all rounds. In a round one connection to its port sends so many bytes to a
destination that throws them away ("up"), or is sent them ("down"); both ends are this program's, and cost what they
cost. Without --cipher each client chooses as it does by itself. On few cores everybody shares them, so that CPU time a
gigabyte stands beside the rate.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import GIB, MIB
from benchmarks.report import spread
from tests.support.peers import HOST, Peer, cpu_seconds_of, free_port, program, start_sshd, wait_for

FASTSSH = Path(sys.executable).with_name("fastssh")
PIECE = 256 * 1024
DIRECTIONS = ("up", "down")


@dataclass(frozen=True)
class Round:
    """One connection."""

    seconds: float
    client_cpu: float
    server_cpu: float


class Destination:
    """Throws away what it gets, and tells when all is there; or gives so many bytes. The first byte says which."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        piece, buffer = bytes(PIECE), bytearray(PIECE)
        while True:
            sock, _ = self._listener.accept()
            with sock, contextlib.suppress(ConnectionError):
                left = self._size
                if sock.recv(1) == b"u":
                    while left > 0 and (count := sock.recv_into(buffer)):
                        left -= count
                    sock.sendall(b"!")
                else:
                    for _ in range(self._size // PIECE):
                        sock.sendall(piece)


def carry(port: int, direction: str, size: int) -> float:
    """Seconds."""
    piece, buffer, left = bytes(PIECE), bytearray(PIECE), size
    with socket.create_connection((HOST, port)) as sock:
        begun = time.perf_counter()
        sock.sendall(direction[:1].encode())
        if direction == "up":
            for _ in range(size // PIECE):
                sock.sendall(piece)
            sock.recv(1)
        else:
            while left > 0 and (count := sock.recv_into(buffer)):
                left -= count
        return time.perf_counter() - begun


def command(client: str, peer: Peer, port: int, target: int, cipher: str) -> list[str]:
    name = str(FASTSSH) if client == "fastssh" else program("ssh", "openssh-client")
    ciphers = ["-c", cipher] if cipher else []
    place = f"{HOST}:{port}:{HOST}:{target}"
    return [name, "-F", "none", *peer.options(), *ciphers, "-N", "-L", place, HOST]


@contextlib.contextmanager
def running(client: str, peer: Peer, target: int, cipher: str) -> Iterator[tuple[int, int]]:
    """The process and the port of a client that forwards."""
    port = free_port()
    process = subprocess.Popen(command(client, peer, port, target, cipher), stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: _listens(port), f"{client} to listen", 20)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


def measure(pid: int, port: int, peer: Peer, direction: str, size: int) -> Round:
    server, client = peer.cpu_seconds(), cpu_seconds_of(pid)
    seconds = carry(port, direction, size)
    return Round(seconds, cpu_seconds_of(pid) - client, peer.cpu_seconds() - server)


def report(direction: str, size: int, rounds: list[dict[str, Round]]) -> None:
    def of(client: str, value: Callable[[Round], float], digits: int) -> str:
        return spread((value(taken[client]) for taken in rounds), digits)

    for client in rounds[0]:
        rate = of(client, lambda taken: size / taken.seconds / 1e6, 0)
        ours = of(client, lambda taken: taken.client_cpu * GIB / size, 2)
        theirs = of(client, lambda taken: taken.server_cpu * GIB / size, 2)
        print(f"| {direction} | {client} | {rate} | {ours} | {theirs} |", flush=True)
    ratios = [taken["ssh"].seconds / taken["fastssh"].seconds for taken in rounds]
    print(f"| {direction} | ratio | {spread(ratios, 2)} | | |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=256, help="MiB in one round (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each after a warm-up (%(default)s)")
    parser.add_argument("--cipher", default="", help="the cipher of both; by default each client's own choice")
    options = parser.parse_args(argv)
    size = options.mib * MIB
    with tempfile.TemporaryDirectory(prefix="fastssh-bench-") as name, contextlib.ExitStack() as stack:
        peer = stack.enter_context(start_sshd(Path(name) / "sshd"))
        target = Destination(size).port
        clients = {
            client: stack.enter_context(running(client, peer, target, options.cipher)) for client in ("ssh", "fastssh")
        }
        print("| direction | client | MB/s | client CPU s a GiB | server CPU s a GiB |")
        print("|---|---|---|---|---|")
        for direction in DIRECTIONS:
            rounds = [
                {client: measure(*where, peer, direction, size) for client, where in clients.items()}
                for _ in range(options.pairs + 1)
            ][1:]
            report(direction, size, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
