"""Paired comparison: every subject does the same job in turn, round after round, on one sshd or fastsshd.

    python -m benchmarks.compare                    all comparisons, tables on the terminal
    python -m benchmarks.compare --write            ... and into benchmarks/RESULTS.md
    python -m benchmarks.compare --only file --mib 256 --pairs 7 --json out.json

A single time means nothing on a shared machine. After a warm-up round, whose results are compared byte by byte,
the subjects run in turn (A B C A B C ...); ratios are taken within a round, and the median and the spread over the
rounds are shown. Sources and targets are in memory; each target is removed before its run.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.link import distant
from benchmarks.measure import MIB, Run, RunFailed, run
from benchmarks.report import Outcome, machine, show, write_results
from benchmarks.subjects import SUBJECTS, Subject, Transfer
from tests.support.peers import Peer, start_fastsshd, start_sshd

AES, CHACHA = "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"
TREE_FOLDERS, TREE_FILES, TREE_BYTES = 20, 250, 4096
DEV_NULL = Path(os.devnull)


@dataclass(frozen=True)
class Comparison:
    """The subject called ours is set against each of the others."""

    group: str
    title: str
    ours: str
    others: tuple[str, ...]
    cipher: str = AES
    direction: str = "up"
    share: float = 1.0  # of the file size asked for: slow subjects get less

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(SUBJECTS[name] for name in (*self.others, self.ours))


def comparisons() -> list[Comparison]:
    found = []
    for direction in ("up", "down"):
        rooflines = ("roofline", "roofline-libcrypto")
        both = "fastssh-scp, fastsshd"
        many = f"{TREE_FOLDERS * TREE_FILES:,} files of {TREE_BYTES} bytes in {TREE_FOLDERS} folders"
        found += [
            Comparison("file", "one file to a memory file", "fastssh-scp", ("scp", *rooflines), direction=direction),
            Comparison("null", "one file to /dev/null", "fastssh-scp", ("scp", *rooflines), direction=direction),
            Comparison("chacha", "one file", "fastssh-scp", ("scp", "roofline"), CHACHA, direction),
            Comparison("library", "one file", "fastssh", ("asyncssh", "paramiko"), direction=direction, share=0.5),
            Comparison("tree", many, "fastssh-scp", ("scp",), direction=direction),
            Comparison(
                "both", "one file to a memory file, both ours", both, ("scp", "scp, fastsshd", "roofline"),
                direction=direction,
            ),
            Comparison("both-null", "one file to /dev/null, both ours", both, ("scp", "roofline"), direction=direction),
            Comparison("both-tree", f"{many}, both ours", both, ("scp",), direction=direction),
        ]
    return found


# --- what is copied -------------------------------------------------------------------------------------------------


def make_file(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 8 * MIB)))


def make_tree(path: Path) -> None:
    for folder in range(TREE_FOLDERS):
        inner = path / f"folder{folder:02}"
        inner.mkdir(parents=True)
        for number in range(TREE_FILES):
            (inner / f"file{number:04}").write_bytes(os.urandom(TREE_BYTES))


def remove(path: Path) -> None:
    if path == DEV_NULL:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def same(source: Path, target: Path) -> bool:
    """Byte by byte; for a tree, its names too."""
    if target == DEV_NULL:
        return stat.S_ISCHR(target.stat().st_mode)  # nobody replaced it by a file
    if not source.is_dir():
        return filecmp.cmp(source, target, shallow=False)
    names = [{path.relative_to(top) for path in top.rglob("*")} for top in (source, target)]
    files = [str(name) for name in names[0] if (source / name).is_file()]
    return names[0] == names[1] and len(filecmp.cmpfiles(source, target, files, shallow=False)[0]) == len(files)


# --- the runs -------------------------------------------------------------------------------------------------------


def once(subject: Subject, job: Transfer) -> Run:
    remove(job.target)
    command, environment = subject.command(job), subject.environment(job)
    if subject.split_cpu is None:
        return run(command, peer=job.peer, environment=environment)
    alone = run(command, environment=environment)
    sender, receiver = subject.split_cpu(alone.output)
    client, server = (sender, receiver) if job.direction == "up" else (receiver, sender)
    return replace(alone, client_cpu=client, server_cpu=server)


def compare(comparison: Comparison, peers: Peers, directory: Path, size: int, pairs: int) -> Outcome:
    source, target = directory / "source", directory / "target"  # every server serves the whole machine
    tree = comparison.group.endswith("tree")
    if tree:
        make_tree(source)
        size = TREE_FOLDERS * TREE_FILES * TREE_BYTES
    else:
        size = int(size * comparison.share)
        make_file(source, size)
    job = Transfer(
        peers["sshd"],
        comparison.cipher,
        comparison.direction,
        source,
        DEV_NULL if comparison.group.endswith("null") else target,
        recursive=tree,
    )
    rounds: list[dict[str, Run]] = []
    try:
        for number in range(pairs + 1):
            taken = {}
            for subject in comparison.subjects:
                taken[subject.name] = once(subject, replace(job, peer=peers[subject.server]))
                if number == 0 and not same(source, job.target):
                    raise RunFailed(f"{subject.name}: what arrived is not what was sent ({comparison.title})")
            if number > 0:  # the first one warms up
                rounds.append(taken)
    finally:
        remove(source)
        remove(target)
    names = tuple(subject.name for subject in comparison.subjects)
    title = f"{comparison.title}, {comparison.direction}"
    return Outcome(comparison.group, title, comparison.cipher, size, comparison.ours, names, rounds)


class Peers(dict[str, Peer]):
    """Servers by name, started when they are first asked for; with ``far`` behind a link of so many ms one way."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, far: float) -> None:
        super().__init__()
        self._directory, self._stack, self._far = directory, stack, far

    def __missing__(self, name: str) -> Peer:
        start = {"sshd": start_sshd, "fastsshd": start_fastsshd}[name]
        peer = self._stack.enter_context(start(self._directory / name))
        if self._far:
            peer = self._stack.enter_context(distant(peer, self._far))
        self[name] = peer
        return peer


def main(argv: Sequence[str] | None = None) -> int:
    groups = list(dict.fromkeys(comparison.group for comparison in comparisons()))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(groups), help="comma-separated groups (all: %(default)s)")
    parser.add_argument("--direction", choices=("up", "down"), help="one direction alone")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds after the warm-up (%(default)s)")
    parser.add_argument("--subjects", help="leave out all others, e.g. to try the harness: scp,asyncssh")
    parser.add_argument("--far", type=float, default=0, metavar="MS", help="servers stand behind a link, ms one way")
    parser.add_argument("--json", type=Path, help="every single run, for other tools")
    parser.add_argument("--write", action="store_true", help="replace all tables in benchmarks/RESULTS.md")
    options = parser.parse_args(argv)
    chosen = [
        comparison
        for comparison in comparisons()
        if comparison.group in options.only.split(",") and options.direction in (None, comparison.direction)
    ]
    if options.subjects:
        chosen = [restricted for each in chosen if (restricted := restrict(each, options.subjects.split(",")))]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    outcomes, here = [], machine()
    with tempfile.TemporaryDirectory(prefix="fastssh-bench-", dir=memory) as name:
        directory = Path(name)
        with contextlib.ExitStack() as stack:
            peers = Peers(directory, stack, options.far)
            for comparison in chosen:
                try:
                    outcomes.append(compare(comparison, peers, directory, options.mib * MIB, options.pairs))
                except RunFailed as error:
                    print(f"benchmark failed: {error}", file=sys.stderr)
                    return 1
                show(outcomes[-1])
    if options.json:
        document = {"machine": here, "comparisons": [outcome.document() for outcome in outcomes]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.write:
        write_results(outcomes, options.pairs, here)
    return 0


def restrict(comparison: Comparison, names: Sequence[str]) -> Comparison | None:
    """The comparison among the named subjects; None when fewer than two are left."""
    left = [subject.name for subject in comparison.subjects if subject.name in names]
    return replace(comparison, ours=left[-1], others=tuple(left[:-1])) if len(left) > 1 else None


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
