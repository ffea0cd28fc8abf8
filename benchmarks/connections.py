"""What a connection costs a server: authenticated logins a second, and memory of idle connections.

    python -m benchmarks.connections                      sshd and fastsshd in turn, tables on the terminal
    python -m benchmarks.connections --logins 100 --pairs 7 --idle 200
    python -m benchmarks.connections --client fastssh

The same client logs in to both, ``--at-once`` connections at a time, with the same key and the same key exchange; a
login is done when the server has confirmed the key and answered a request behind it. The client is benchmarks/load.py,
which costs next to nothing, or fastssh's own (``--client fastssh``). On few cores the client's own cost is in the rate
all the same, and whoever else uses them; the servers' CPU time, which stands beside it, says more. Memory is what /proc
says of all the server's processes: the proportional set size (shared pages counted once), above that without
connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fastssh
from benchmarks import load
from benchmarks.measure import MIB
from benchmarks.report import spread
from tests.support.peers import Peer, descendants, start_fastsshd, start_sshd, wait_for

KEX = "curve25519-sha256"  # what every release of both has
SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Burst:
    """One burst of logins."""

    seconds: float
    server_cpu: float
    client_cpu: float


async def log_in(peer: Peer) -> None:
    async with fastssh.connect(peer.host, **peer.connect_options(), kex=(KEX,)) as connection:
        await connection.keepalive()


async def burst(peer: Peer, logins: int, at_once: int) -> None:
    left = iter(range(logins))

    async def worker() -> None:
        for _ in left:
            await log_in(peer)

    await asyncio.gather(*(worker() for _ in range(at_once)))


def least_burst(peer: Peer, logins: int, at_once: int) -> None:
    load.run((peer.host, peer.port), peer.user, peer.key, logins, at_once)


def fastssh_burst(peer: Peer, logins: int, at_once: int) -> None:
    fastssh.run(burst(peer, logins, at_once))


CLIENTS = {"least": least_burst, "fastssh": fastssh_burst}


def measure(peer: Peer, client: str, logins: int, at_once: int) -> Burst:
    before, client_before, begun = peer.cpu_seconds(), time.process_time(), time.perf_counter()
    CLIENTS[client](peer, logins, at_once)
    seconds, client_cpu = time.perf_counter() - begun, time.process_time() - client_before
    wait_for(lambda: not peer.sessions(), "the server's sessions to end", SETTLE_SECONDS)
    return Burst(seconds, peer.cpu_seconds() - before, client_cpu)


def proportional_size(pids: Sequence[int]) -> int:
    """Bytes (Linux)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            total += int(found[1]) * 1024 if found else 0
    return total


def idle_memory(peer: Peer, number: int) -> float:
    """Bytes a connection."""

    def size() -> int:
        return proportional_size([peer.process.pid, *descendants(peer.process.pid)])

    async def hold() -> int:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(number):
                await stack.enter_async_context(fastssh.connect(peer.host, **peer.connect_options(), kex=(KEX,)))
            return size()

    before = size()
    return (asyncio.run(hold()) - before) / number


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--logins", type=int, default=100, help="logins in one burst (%(default)s)")
    parser.add_argument("--at-once", type=int, default=8, help="connections at a time (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="bursts of each after a warm-up (%(default)s)")
    parser.add_argument("--idle", type=int, default=200, help="idle connections whose memory is counted (%(default)s)")
    parser.add_argument("--client", choices=CLIENTS, default="least", help="who logs in (%(default)s)")
    options = parser.parse_args(argv)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    limit = str(max(100, 2 * options.idle))
    with tempfile.TemporaryDirectory(prefix="fastssh-bench-", dir=memory) as name, contextlib.ExitStack() as stack:
        starters: dict[str, Callable[..., Peer]] = {"sshd": start_sshd, "fastsshd": start_fastsshd}
        peers = {
            which: stack.enter_context(start(Path(name) / which, MaxStartups=limit))
            for which, start in starters.items()
        }
        rounds = [
            {which: measure(peer, options.client, options.logins, options.at_once) for which, peer in peers.items()}
            for _ in range(options.pairs + 1)
        ][1:]
        ratios = [taken["sshd"].seconds / taken["fastsshd"].seconds for taken in rounds]
        cpu_ratios = [taken["sshd"].server_cpu / taken["fastsshd"].server_cpu for taken in rounds]
        at_once = f"logins a second, {options.at_once} at a time"
        print(f"| server | {at_once} | server CPU ms a login | client's | idle connection, MiB |")
        print("|---|---|---|---|---|")
        for which, peer in peers.items():
            rates = spread((options.logins / taken[which].seconds for taken in rounds), 0)
            cpu = spread((taken[which].server_cpu / options.logins * 1000 for taken in rounds), 1)
            client = statistics.median(taken[which].client_cpu / options.logins * 1000 for taken in rounds)
            idle = idle_memory(peer, options.idle) / MIB
            print(f"| {which} | {rates} | {cpu} | {client:.1f} | {idle:.2f} |", flush=True)
        print(f"\nsshd's time : fastsshd's: {spread(ratios, 2)}; server CPU: {spread(cpu_ratios, 2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
