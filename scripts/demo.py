"""The main job, shown: a file up and down through fastssh-scp and through OpenSSH's scp, on the same stock sshd.

FASTSSH_DEMO_MIB sets the size (1024), FASTSSH_DEMO_CIPHER the cipher of both.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import MIB, Run, RunFailed, run
from tests.support.peers import Peer, PeerFailed, PeerMissing, clean_environment, openssh_version, program, start_sshd

COPIES = 3  # source, on the server, brought back
BLOCK = 8 * MIB
console = Console()


def say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """One line for the person watching."""


@dataclass(frozen=True)
class Tool:
    name: str
    command: list[str]
    show: bool  # it draws a progress bar of its own


@dataclass(frozen=True)
class Result:
    tool: Tool
    up: Run
    down: Run


def choose_directory(mib: int) -> str:
    """Memory where it suffices, so that no disk is measured; else the temporary directory."""
    need = COPIES * mib * MIB + 64 * MIB
    for directory in ("/dev/shm", tempfile.gettempdir()):
        if os.path.isdir(directory) and os.access(directory, os.W_OK) and shutil.disk_usage(directory).free > need:
            return directory
    raise DemoFailed(f"no place for {need // MIB} MiB in /dev/shm or {tempfile.gettempdir()}; set FASTSSH_DEMO_MIB")


def make_file(path: Path, size: int) -> str:
    """Random bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while size > 0:
            block = os.urandom(min(size, BLOCK))
            digest.update(block)
            file.write(block)
            size -= len(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(tool: Tool, peer: Peer, directory: Path, source: Path, expected: str) -> Result:
    """Up, compared, down, compared."""
    environment = clean_environment(directory, TERM=os.environ.get("TERM", "dumb"))
    uploaded, returned = peer.root / f"{tool.name}.bin", directory / f"{tool.name}.back"
    runs = []
    for arguments, written in (
        ([source.name, peer.remote(uploaded)], uploaded),
        ([peer.remote(uploaded), returned.name], returned),
    ):
        direction = "up" if written is uploaded else "down"
        say(f"[bold]{tool.name}[/bold] {direction}")
        runs.append(
            run([*tool.command, *arguments], peer=peer, environment=environment, directory=directory, show=tool.show)
        )
        if sha256(written) != expected:
            raise DemoFailed(f"{tool.name} {direction}: the SHA-256 differs")
    uploaded.unlink()
    returned.unlink()
    return Result(tool, *runs)


def table(results: list[Result], size: int, title: str) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for heading in ("up", "down", "client CPU up", "client CPU down", "SHA-256"):
        shown.add_column(heading, justify="right")
    for result in results:
        rates = [f"{size / run.seconds / 1e6:.0f} MB/s" for run in (result.up, result.down)]
        cpu = [f"{run.client_cpu:.2f} s" for run in (result.up, result.down)]
        shown.add_row(result.tool.name, *rates, *cpu, "equal")
    ours, theirs = results
    shown.add_section()
    shown.add_row(
        f"{ours.tool.name} : {theirs.tool.name}",
        *(f"{their.seconds / our.seconds:.2f}x" for our, their in ((ours.up, theirs.up), (ours.down, theirs.down))),
        *(
            f"{our.client_cpu / their.client_cpu:.2f}x"
            for our, their in ((ours.up, theirs.up), (ours.down, theirs.down))
        ),
        "",
    )
    return shown


def main() -> int:
    mib = int(os.environ.get("FASTSSH_DEMO_MIB", "1024"))
    cipher = os.environ.get("FASTSSH_DEMO_CIPHER", "aes128-gcm@openssh.com")
    ours = Path(sys.executable).parent / "fastssh-scp"
    try:
        with tempfile.TemporaryDirectory(prefix="fastssh-demo-", dir=choose_directory(mib)) as name:
            directory = Path(name)
            with start_sshd(directory / "server") as peer:
                say(f"{openssh_version()} sshd with throwaway keys on {peer.host} port {peer.port}; {name}")
                source = directory / "source.bin"
                with console.status(f"writing {mib} MiB of random bytes"):
                    expected = make_file(source, mib * MIB)
                say(f"{source.name}: {mib} MiB, SHA-256 {expected}")
                common = ["-F", "/dev/null", "-c", cipher, *peer.options()]
                tools = (
                    Tool("fastssh-scp", [str(ours), *common], show=True),
                    Tool("scp", [program("scp", "openssh-client"), "-q", *common], show=False),
                )
                results = [copy(tool, peer, directory, source, expected) for tool in tools]
                console.print(table(results, mib * MIB, f"{mib} MiB, {cipher}, one run each (make bench measures)"))
    except (DemoFailed, PeerMissing, PeerFailed, RunFailed, OSError) as error:
        console.print(f"demo: {error}", style="bold red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
