"""Tables of a comparison, for the terminal and for RESULTS.md, and the machine that they were made on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import ssl
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.measure import GIB, MIB, Run
from tests.support.peers import openssh_version

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- measured: written by benchmarks.compare -->", "<!-- end of measured -->"


@dataclass(frozen=True)
class Outcome:
    """All rounds of one comparison: in each, one run of every subject."""

    group: str
    title: str
    cipher: str
    size: int  # bytes
    ours: str
    subjects: tuple[str, ...]
    rounds: list[dict[str, Run]]

    def ratios(self, other: str) -> list[float]:
        """How many times as fast as the other ours was, round by round."""
        return [taken[other].seconds / taken[self.ours].seconds for taken in self.rounds]

    def cpu_ratios(self, other: str) -> list[float]:
        """Ours' client CPU time as a part of the other's, round by round."""
        return [taken[self.ours].client_cpu / taken[other].client_cpu for taken in self.rounds]

    def document(self) -> dict[str, object]:
        rounds = [{name: {**asdict(run), "output": None} for name, run in taken.items()} for taken in self.rounds]
        return {"title": self.title, "cipher": self.cipher, "bytes": self.size, "ours": self.ours, "rounds": rounds}


def spread(values: Iterable[float], digits: int) -> str:
    """median (least-most)"""
    known = sorted(values)
    return f"{statistics.median(known):.{digits}f} ({known[0]:.{digits}f}-{known[-1]:.{digits}f})"


def table(outcome: Outcome) -> str:
    gib = outcome.size / GIB
    small = outcome.group.endswith("tree")  # seconds say more than a rate
    rows = [
        [
            "who",
            "seconds" if small else "MB/s",
            f"{outcome.ours} is x times as fast",
            f"{outcome.ours}'s client CPU is x of it",
            "client CPU s" if small else "client CPU s/GiB",
            "server CPU s" if small else "server CPU s/GiB",
            "client peak RSS MiB",
        ]
    ]
    for name in outcome.subjects:
        runs = [taken[name] for taken in outcome.rounds]
        ours = name == outcome.ours
        per = 1.0 if small else gib
        rows.append(
            [
                name,
                spread((run.seconds for run in runs), 2)
                if small
                else spread((outcome.size / run.seconds / 1e6 for run in runs), 0),
                "" if ours else spread(outcome.ratios(name), 2),
                "" if ours else spread(outcome.cpu_ratios(name), 2),
                f"{statistics.median(run.client_cpu for run in runs) / per:.2f}",
                f"{statistics.median(run.server_cpu or 0.0 for run in runs) / per:.2f}",
                f"{max(run.peak_rss for run in runs) / MIB:.0f}",
            ]
        )
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def heading(outcome: Outcome) -> str:
    return f"{outcome.title}: {outcome.size / MIB:,.0f} MiB, {outcome.cipher}"


def show(outcome: Outcome) -> None:
    print(f"\n{heading(outcome)}\n{table(outcome)}", flush=True)


# --- the machine ----------------------------------------------------------------------------------------------------


def _cpu_model() -> str:
    try:
        return re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1]  # type: ignore[index]
    except (OSError, TypeError):
        return platform.processor() or "unknown processor"


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=RESULTS.parent, timeout=20
    )
    return said.stdout.strip() or "unknown"


def machine() -> dict[str, str]:
    from fastssh._native import packet

    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("asyncssh", "paramiko", "cryptography"))
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_cpu_model()}, {os.cpu_count()} logical CPUs",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "OpenSSH": openssh_version(),
        "libcrypto": ssl.OPENSSL_VERSION,
        "Python": f"{sys.version.split()[0]}; {libraries}",
        "fastssh": f"{_commit()}, AES-GCM: {packet.aesgcm_implementation()}",
    }


def write_results(outcomes: Sequence[Outcome], pairs: int, made_on: Mapping[str, str]) -> None:
    """Replaces what stands between the two marks; what people wrote around it stays."""
    parts = ["| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in made_on.items())]
    parts.append(
        f"{pairs} rounds after a warm-up; median (least-most); ratios within a round; CPU is user + system time."
    )
    parts += [f"### {heading(outcome)}\n\n{table(outcome)}" for outcome in outcomes]
    text = RESULTS.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    RESULTS.write_text("\n\n".join([before + BEGIN, *parts, END + after]))
