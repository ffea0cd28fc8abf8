"""A child process, from its start to its status: it is waited for exactly once, and no zombie stays."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fastssh._native.spawn import spawn
from fastssh.wire.requests import ExitSignal, ExitStatus

if TYPE_CHECKING:
    from fastssh.aio.server.program import Exit

UNKNOWN: Final = ExitStatus(255)  # somebody else in this process waited for our child

#: RFC 4254 section 6.10, and INFO, which sshd takes as well where the system has it.
SIGNALS: Final = {
    name: getattr(signal, f"SIG{name}")
    for name in (
        *("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"),
        *(("INFO",) if hasattr(signal, "SIGINFO") else ()),
    )
}
_NAMES: Final = {int(number): name for name, number in SIGNALS.items()}


def exit_of(status: int) -> Exit:
    """What the client is told of a status of waitpid(2)."""
    if os.WIFSIGNALED(status):
        name = _NAMES.get(os.WTERMSIG(status), "SIG@openssh.com")  # as sshd calls those without a name in the RFC
        return ExitSignal(name, os.WCOREDUMP(status), "")
    return ExitStatus(os.WEXITSTATUS(status))


class Child:
    """A running process, the leader of its session. ``exited`` is called once, in the loop, when it was reaped."""

    def __init__(self, pid: int, exited: Callable[[Exit], None]) -> None:
        self.pid = pid
        self.running = True  # until it is reaped: as long the number is its own
        self._exited = exited
        self._loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # no Linux, or one before 5.3
            self._pidfd = -1
            threading.Thread(target=self._wait, name=f"fastssh-wait-{pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._ready)

    def _ready(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._reaped(_wait(self.pid))

    def _wait(self) -> None:
        how = _wait(self.pid)
        self.running = False
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reaped, how)

    def _reaped(self, how: Exit) -> None:
        self.running = False
        self._exited(how)

    def signal(self, number: int) -> bool:
        """To its whole process group; whether that was possible."""
        if not self.running:
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # just ended, or another user's by now (a set-id program)
            return False
        return True


def _wait(pid: int) -> Exit:
    try:
        return exit_of(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return UNKNOWN


def start(
    path: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    streams: tuple[int, int, int],
    *,
    controlling: bool = False,
    files: int = 0,
) -> int:
    """Starts a program as the leader of a session of its own; ``streams`` become its descriptors 0, 1 and 2, the first
    its controlling terminal if ``controlling``; ``files`` is its soft RLIMIT_NOFILE (0: ours). Gives the process id,
    for a :class:`Child`. Raises OSError."""
    return spawn(
        os.fsencode(path),
        [os.fsencode(argument) for argument in arguments],
        [os.fsencode(f"{name}={value}") for name, value in environment.items()],
        os.fsencode(directory),
        streams,
        controlling,
        files,
    )
