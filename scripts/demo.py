"""The main job, shown: a file up to fastsshd and down again through fastssh-scp, and what arrived compared.

Nothing of OpenSSH's is needed. Where its scp and its sshd are installed, each client meets each server, so that one
sees what either is worth. FASTSSH_DEMO_MIB sets the size (1024), FASTSSH_DEMO_CIPHER the cipher of all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import MIB, Run, RunFailed, run
from tests.support import peers
from tests.support.peers import Peer, PeerFailed, PeerMissing, clean_environment

COPIES = 3  # source, on the server, brought back
BLOCK = 8 * MIB
console = Console()
if not console.is_terminal:
    console = Console(width=100)  # else 80, which the table of results does not fit


def say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """One line for the person watching."""


@dataclass(frozen=True)
class Tool:
    """A client."""

    name: str
    command: tuple[str, ...]
    show: bool  # it draws a progress bar of its own


@dataclass(frozen=True)
class Result:
    client: str
    server: str
    up: Run
    down: Run


def clients() -> list[Tool]:
    """Ours, and OpenSSH's if it is there."""
    found = [Tool("fastssh-scp", (str(Path(sys.executable).parent / "fastssh-scp"),), show=True)]
    with contextlib.suppress(PeerMissing):
        found.append(Tool("scp", (peers.program("scp", "openssh-client"), "-q"), show=False))
    return found


def starters() -> list[Callable[..., Peer]]:
    """Our server, and OpenSSH's if it is there."""
    found: list[Callable[..., Peer]] = [peers.start_fastsshd]
    with contextlib.suppress(PeerMissing):
        peers.program("sshd", "openssh-server")
        peers.sftp_server()
        found.append(peers.start_sshd)
    return found


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


def copy(tool: Tool, peer: Peer, directory: Path, source: Path, expected: str, cipher: str) -> Result:
    """Up, compared, down, compared."""
    environment = clean_environment(directory, TERM=os.environ.get("TERM", "dumb"))
    command = [*tool.command, "-F", os.devnull, "-c", cipher, *peer.options()]
    uploaded, returned = peer.root / f"{tool.name}.bin", directory / f"{tool.name}.back"
    runs = []
    for arguments, written in (
        ([source.name, peer.remote(uploaded)], uploaded),
        ([peer.remote(uploaded), returned.name], returned),
    ):
        direction = "up to" if written is uploaded else "down from"
        say(f"[bold]{tool.name}[/bold] {direction} {peer.name}")
        runs.append(
            run([*command, *arguments], peer=peer, environment=environment, directory=directory, show=tool.show)
        )
        if sha256(written) != expected:
            raise DemoFailed(f"{tool.name} {direction} {peer.name}: the SHA-256 differs")
    uploaded.unlink()
    returned.unlink()
    return Result(tool.name, peer.name, *runs)


def table(results: Sequence[Result], size: int, title: str) -> Table:
    shown = Table(title=title, title_justify="left", caption="CPU: the client's", caption_justify="left")
    for heading in ("client", "server"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("up", "down", "CPU up", "CPU down", "SHA-256"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        rates = [f"{size / run.seconds / 1e6:.0f} MB/s" for run in (result.up, result.down)]
        cpu = [f"{run.client_cpu:.2f} s" for run in (result.up, result.down)]
        shown.add_row(result.client, result.server, *rates, *cpu, "equal")
    by_names = {(result.client, result.server): result for result in results}
    ours, theirs = by_names["fastssh-scp", "fastsshd"], by_names.get(("scp", "sshd"))
    if theirs is not None:
        pairs = ((ours.up, theirs.up), (ours.down, theirs.down))
        shown.add_section()
        shown.add_row(
            "ours : theirs",
            "",
            *(f"{their.seconds / our.seconds:.2f}x" for our, their in pairs),
            *(f"{our.client_cpu / their.client_cpu:.2f}x" for our, their in pairs),
            "",
        )
    return shown


def main() -> int:
    mib = int(os.environ.get("FASTSSH_DEMO_MIB", "1024"))
    cipher = os.environ.get("FASTSSH_DEMO_CIPHER", "aes128-gcm@openssh.com")
    try:
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastssh-demo-", dir=choose_directory(mib)))
            directory = Path(name)
            keys = peers.make_keys(directory / "keys")
            tools, servers = clients(), []
            for number, start in enumerate(starters()):
                servers.append(stack.enter_context(start(directory / f"server{number}", keys=keys)))
                say(f"{servers[-1].name} with throwaway keys on {servers[-1].host} port {servers[-1].port}")
            others = [each.name for each in (*tools[1:], *servers[1:])]
            version = peers.openssh_version() if len(tools) > 1 else "OpenSSH"
            beside = f"{version}'s {' and '.join(others)} beside ours" if others else "no OpenSSH to compare with"
            say(f"{beside}; all files are in {name}")
            source = directory / "source.bin"
            with console.status(f"writing {mib} MiB of random bytes"):
                expected = make_file(source, mib * MIB)
            say(f"{source.name}: {mib} MiB, SHA-256 {expected}")
            results = [copy(tool, peer, directory, source, expected, cipher) for peer in servers for tool in tools]
            console.print(table(results, mib * MIB, f"{mib} MiB, {cipher}, one run each (make bench measures)"))
    except (DemoFailed, PeerMissing, PeerFailed, RunFailed, OSError) as error:
        console.print(f"demo: {error}", style="bold red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
