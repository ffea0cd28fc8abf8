"""Going to the background when logged in (-f, ControlPersist).

ssh forks then. A process that has an event loop, and perhaps threads, had better not: so this one forks before it has
either. What it was started as waits, and ends when the other says that it is where ssh would fork, or has ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

_READY: Final = b"+"
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # Ctrl-C reaches the whole group by itself


class Background:
    """The side that goes on. Made by :func:`split`."""

    def __init__(self, report: int) -> None:
        self._report = report

    def detach(self, *, keep_stderr: bool) -> None:
        """The process that was started ends with 0; this one has no terminal any more, and no standard input and
        output. Once is enough."""
        if self._report < 0:
            return
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1) if keep_stderr else (0, 1, 2):
            os.dup2(nowhere, fd)
        os.close(nowhere)
        os.write(self._report, _READY)
        os.close(self._report)
        self._report = -1


def split(work: Callable[[Background], int], then: Callable[[], int] | None = None) -> int:
    """The exit status of ``work``, which a new process does, or as soon as that has detached itself that of ``then``, 0
    without. Neither threads nor an event loop may be there yet."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        return work(Background(writing))
    os.close(writing)
    before = {number: signal.getsignal(number) for number in _PASSED_ON}
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(pid, number))
    while True:
        try:
            ready = os.read(reading, 1)
            break
        except KeyboardInterrupt:  # the other process got it as well, and says what comes of it
            continue
    if ready:
        for number, handler in before.items():
            signal.signal(number, handler)
        return 0 if then is None else then()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def fork_running() -> None:
    """The same for a process whose event loop runs: what it was started as ends with 0, and this call returns in
    another one, with a session of its own. Threads stay behind: none may hold what is needed here."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(writing)
        os.read(reading, 1)  # the end of a session's first process hangs up what is in the session
        os._exit(0)
    os.setsid()
    os.close(reading)
    os.close(writing)
    asyncio._set_running_loop(loop)  # a running loop is known by its process
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)  # from Python 3.12 on a child does not hear of signals else
    loop.remove_signal_handler(signal.SIGUSR2)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
