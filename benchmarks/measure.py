"""One run of a command, measured: wall time, CPU time of client and server apart, peak memory of the client."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import Peer, children, descendants, wait_for

SAMPLE_SECONDS = 0.05
SETTLE_SECONDS = 30.0  # for a server's processes to end after their connection did
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
RUN_SECONDS = 1800.0
GIB = 1 << 30
MIB = 1 << 20


class RunFailed(Exception):
    """The measured command failed; the text holds what it said."""


@dataclass(frozen=True)
class Run:
    """What one run took. CPU times are user + system."""

    seconds: float
    client_cpu: float
    server_cpu: float | None
    peak_rss: int  # bytes; summed over the client's processes (scp and its ssh)
    output: str


class _PeakMemory(threading.Thread):
    """Samples VmHWM of a process and those below it.

    ru_maxrss would not do: a child starts with the high-water mark of the process that forked it.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended = pid, threading.Event()
        self._peaks: dict[int, int] = {}

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for pid in [self._pid, *descendants(self._pid)]:
                self._peaks[pid] = max(self._peaks.get(pid, 0), _high_water(pid))

    def result(self) -> int:
        self._ended.set()
        self.join()
        return sum(self._peaks.values())


def _high_water(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass  # ended meanwhile, or a system without /proc
    return 0


@functools.cache
def _adopt_orphans() -> None:
    """A server's process that ends before its own children leaves them, and their CPU time, to whoever adopts them:
    sftp-server's is a third of a transfer's. From here on that is this process (Linux)."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _Orphans:
    """Children that were not ours when this was made."""

    def __init__(self) -> None:
        _adopt_orphans()
        self._known = set(children(os.getpid()))
        self.cpu = 0.0

    def gone(self) -> bool:
        """Reaps those that have ended."""
        left = set(children(os.getpid())) - self._known
        for pid in list(left):
            ended, _, used = os.wait4(pid, os.WNOHANG)
            if ended:
                left.remove(pid)
                self.cpu += used.ru_utime + used.ru_stime
        return not left


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    peer: Peer | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    show: bool = False,
    server_cpu: bool = True,
) -> Run:
    """Runs a command to its end. With show it has the terminal; without, its output is kept."""
    before = peer.cpu_seconds() if peer and server_cpu else 0.0
    orphans = _Orphans()
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=None if show else output,
            stderr=None if show else subprocess.STDOUT,
            env=environment,
            cwd=directory,
        )
        memory = _PeakMemory(process.pid)
        memory.start()
        watchdog = threading.Timer(RUN_SECONDS, os.kill, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            seconds = time.perf_counter() - begun
            watchdog.cancel()
            peak = memory.result()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if process.returncode != 0:
        raise RunFailed(
            f"{os.fspath(command[0])} exited with {process.returncode}: {text.strip()[-2000:] or 'see above'}"
        )
    server = None
    if peer and server_cpu:
        wait_for(lambda: not peer.sessions() and orphans.gone(), "the server's session to end", SETTLE_SECONDS)
        server = peer.cpu_seconds() - before + orphans.cpu  # the time of what it reaped is its own
    return Run(seconds, used.ru_utime + used.ru_stime, server, peak, text)
