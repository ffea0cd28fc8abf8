"""How long the tools take to start and to reach their work, in processes of their own.

    python -m benchmarks.startup                 single commands (pyperf, whose options apply)
    python -m benchmarks.startup --pairs 15      fastssh's tools and OpenSSH's in turn, a table on the terminal

pyperf runs each command many times and reports mean and deviation; `pyperf compare_to old.json new.json` compares two
results written with `-o`. With ``--pairs`` each command of ours and its counterpart run one after the other, against
the same stock sshd on loopback where there is a login, with the defaults of both sides; CPU is user + system time of
the client's process.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import spread
from tests.support.peers import Peer, clean_environment, openssh_version, program, start_sshd

BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import fastssh": [sys.executable, "-c", "import fastssh"],
    "import fastssh, connect loaded": [sys.executable, "-c", "import fastssh; fastssh.connect"],
    "fastssh-scp --help": [str(BIN / "fastssh-scp"), "--help"],
}


class Pair(NamedTuple):
    """What is run, as the tool of OpenSSH is called; without a counterpart where OpenSSH has none."""

    tool: str
    arguments: list[str]
    shown: str
    both: bool = True


class Taken(NamedTuple):
    """One run, in milliseconds."""

    wall: float
    cpu: float


def pairs(peer: Peer) -> list[Pair]:
    return [
        Pair("ssh", ["--help"], "--help", both=False),
        Pair("ssh", ["-V"], "-V"),
        Pair("ssh", ["-Q", "cipher"], "-Q cipher"),
        Pair("ssh", ["-G", "host"], "-G host"),
        Pair("ssh-keygen", ["-lf", str(peer.key)], "-l"),
        Pair("ssh", [*peer.options(), peer.host, "true"], "host true"),
        Pair("ssh", [*peer.options(), "-oKexAlgorithms=curve25519-sha256", peer.host, "true"],
             "host true, curve25519-sha256"),
        Pair("scp", ["-q", *peer.options(), str(peer.key), peer.remote(os.devnull)], "file host:/dev/null"),
    ]


def run(command: Sequence[str], environment: dict[str, str]) -> Taken:
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environment, file_actions=nowhere)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    if status != 0:
        raise SystemExit(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    return Taken(wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000)


def compare(number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fastssh-bench-") as name, start_sshd(Path(name) / "sshd") as peer:
        environment = clean_environment(Path(name))
        load = " ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} logical CPUs, load {load}, "
              f"Python {platform.python_version()}, {openssh_version()}; {number} pairs\n")
        print("| command | ours, ms | ours, CPU ms | OpenSSH's, ms | OpenSSH's, CPU ms | OpenSSH's time : ours |")
        print("|---|---|---|---|---|---|")
        for pair in pairs(peer):
            ours = [str(BIN / f"fast{pair.tool}" if pair.tool.startswith("ssh") else BIN / f"fastssh-{pair.tool}")]
            theirs = [program(pair.tool, "openssh-client")]
            taken: list[tuple[Taken, Taken | None]] = []
            for _ in range(number + 1):  # the first is a warm-up
                mine = run([*ours, *pair.arguments], environment)
                taken.append((mine, run([*theirs, *pair.arguments], environment) if pair.both else None))
            mine_all, others = [mine for mine, _ in taken[1:]], [other for _, other in taken[1:] if other is not None]
            cells = [spread((t.wall for t in mine_all), 0), spread((t.cpu for t in mine_all), 0)]
            if others:
                ratios = [other.wall / mine.wall for mine, other in zip(mine_all, others, strict=True)]
                cells += [spread((t.wall for t in others), 0), spread((t.cpu for t in others), 0), spread(ratios, 2)]
            else:
                cells += ["", "", ""]
            print(f"| {Path(ours[0]).name} {pair.shown} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if "--pairs" in sys.argv[1:]:
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--pairs", type=int, required=True, help="runs of each after a warm-up")
        compare(parser.parse_args().pairs)
        return
    import pyperf

    runner = pyperf.Runner(processes=5, values=3, warmups=1)
    for name, command in COMMANDS.items():
        runner.bench_command(name, command)


if __name__ == "__main__":
    main()
