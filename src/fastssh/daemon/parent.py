"""fastsshd's parent: it listens, limits, and forks a process for each connection; it speaks no SSH itself.

It is one thread and one selector, so that a fork copies nothing that runs. Signals only write their number to a pipe,
and are acted upon between two events (daemon/signals.py). What a connection's process has to tell are two things: a
byte when somebody has logged in, and its exit status.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

from fastssh.aio.server.connection import peer_address
from fastssh.config.server.settings import ServerSettings
from fastssh.config.values import LogLevel
from fastssh.daemon.endings import GRACE_MARGIN, Ending, ending_of
from fastssh.daemon.listening import Listeners
from fastssh.daemon.log import Log
from fastssh.daemon.penalties import SourcePenalties
from fastssh.daemon.pid_file import PidFile
from fastssh.daemon.sharing import share_memory
from fastssh.daemon.signals import HEARD, Signals, install
from fastssh.daemon.sources import source_of
from fastssh.daemon.startups import over_limit

ACCEPTS: Final = 64  # in one turn, so that signals are heard in a flood
WAIT_AFTER_FAILURE: Final = 0.1  # seconds without accepting, when descriptors or processes ran out
REFUSED: Final = b"Not allowed at this time\r\n"  # in place of an identification
TOO_MANY: Final = b"Exceeded MaxStartups\r\n"
NEVER: Final = float("inf")

#: Serves a connected socket in the process that was forked for it; calls back when somebody has logged in.
Serve = Callable[[socket.socket, Callable[[], None]], Ending]


@dataclass(frozen=True)
class Plan:
    """What a configuration makes of the parent."""

    settings: ServerSettings
    serve: Serve
    log_level: LogLevel


@dataclass
class _Child:
    """A connection's process. ``startup`` is the pipe from it, closed when somebody has logged in, or it has ended."""

    pid: int
    address: str
    startup: int
    deadline: float
    logged_in: bool = False


class Parent:
    """Runs until a signal ends it; signals that come before :meth:`run` wait for it. ``reload`` makes a new plan and
    raises SSHError or OSError when it cannot.
    """

    def __init__(
        self, plan: Plan, listeners: Listeners, log: Log, reload: Callable[[], Plan], pid_file: PidFile
    ) -> None:
        self._plan, self._listeners, self._log, self._reload, self._pid_file = plan, listeners, log, reload, pid_file
        self._selector = selectors.DefaultSelector()
        self._signals = Signals()
        install()
        self._watched: list[socket.socket] = []
        self._children: dict[int, _Child] = {}
        self._waiting: dict[int, _Child] = {}  # those of them in which nobody has logged in
        self._penalties = self._new_penalties()
        self._random = SystemRandom()
        self._ended_by: signal.Signals | None = None
        self._throttled = False
        self._paused_until = 0.0

    def _new_penalties(self) -> SourcePenalties:
        settings = self._plan.settings
        return SourcePenalties(
            settings.per_source_penalties, settings.per_source_net_block_size, settings.per_source_penalty_exempt_list
        )

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serves; returns the exit status."""
        self._selector.register(self._signals.fileno, selectors.EVENT_READ, self._signalled)
        self._watch()
        share_memory()
        while self._ended_by is None:
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._look_at_deadlines()
        self._end(self._ended_by)
        return 0 if self._ended_by is signal.SIGTERM else 255

    def _watch(self) -> None:
        self._watched = self._listeners.sockets
        for sock in self._watched:
            self._selector.register(sock, selectors.EVENT_READ, lambda sock=sock: self._accept(sock))

    def _unwatch(self) -> None:
        for sock in self._watched:
            self._selector.unregister(sock)
        self._watched = []

    def _timeout(self) -> float | None:
        times = [child.deadline for child in self._waiting.values()]
        soonest = min([*times, self._paused_until or NEVER])
        return None if soonest == NEVER else max(0.0, soonest - time.monotonic())

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            self._watch()
        for pid, child in self._waiting.items():
            if now >= child.deadline:
                child.deadline = NEVER
                self._log.error(f"pid {pid} did not end after LoginGraceTime: killed")
                _kill(pid, signal.SIGKILL)

    def _pause(self, why: str) -> None:
        """Nothing is accepted for a moment: what ran out comes back only when somebody else gives it back."""
        self._log.error(why)
        if not self._paused_until:
            self._unwatch()
            self._paused_until = time.monotonic() + WAIT_AFTER_FAILURE

    # -- signals ---------------------------------------------------------------------------------------------------

    def _signalled(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGHUP:
                self._restart()
            elif number != signal.SIGCHLD:
                self._ended_by = signal.Signals(number)
        self._reap()  # whatever was heard: the pipe may have been full

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(child, status)

    def _ended(self, child: _Child, status: int) -> None:
        self._startup_over(child)
        if os.WIFSIGNALED(status):
            self._log.info(f"Connection process {child.pid} ended by {_signal_name(os.WTERMSIG(status))}")
        if child.logged_in:  # the process was the user's, who may end it as they like: that is nobody else's penalty
            return
        ending = ending_of(status)
        told = self._penalties.add(child.address, ending, time.monotonic())
        if told is not None:
            self._log.info(told)

    def _restart(self) -> None:
        self._log.info("Received SIGHUP; restarting.")
        try:
            self._log.reopen()
            plan = self._reload()
        except Exception as error:  # whatever is wrong with it: what runs goes on
            self._log.error(f"the configuration stays as it was: {error}")
            return
        self._unwatch()
        try:
            self._listeners.set(plan.settings.listen_addresses)
        except Exception as error:
            self._log.error(f"the configuration stays as it was: {error}")
        else:
            changed = _penalty_settings(plan.settings) != _penalty_settings(self._plan.settings)
            self._plan = plan
            self._log.level = plan.log_level
            if changed:
                self._penalties = self._new_penalties()
            self._pid_file.write(plan.settings.pid_file)
            share_memory()
        self._watch()
        self._paused_until = 0.0

    def _end(self, number: signal.Signals) -> None:
        """Those who have logged in stay; whoever has not is sent away."""
        self._log.info(f"Received signal {int(number)}; terminating.")
        self._listeners.close()
        self._pid_file.remove()
        for pid in self._waiting:
            _kill(pid, signal.SIGTERM)

    # -- connections -----------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        if listener not in self._watched:  # closed, or a pause began, in the same turn
            return
        for _ in range(ACCEPTS):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(f"accept: {error.strerror}")
                return
            try:
                self._take(sock)
            finally:
                sock.close()
            if self._paused_until:
                return

    def _take(self, sock: socket.socket) -> None:
        """Forks for a connection, or drops it."""
        try:
            (address, port), (here, _) = peer_address(sock.getpeername()), peer_address(sock.getsockname())
        except OSError:
            return  # gone before it was looked at
        settings, now = self._plan.settings, time.monotonic()
        penalty = self._penalties.refused(address, now)
        if penalty is not None:
            _say(sock, REFUSED)
            self._log.verbose(f"drop connection from [{address}]:{port} on [{here}] penalty: {penalty}")
            return
        waiting, limit_here = len(self._waiting), settings.per_source_max_startups
        waiting_here = 0 if limit_here is None else self._waiting_from(address)
        draw = self._random.randrange(100)
        over = over_limit(waiting, waiting_here, settings.max_startups, limit_here, draw)
        if (over is not None) != self._throttled:
            self._throttled = over is not None
            if over is not None:
                self._log.error(f"beginning {over} throttling")
        if over is not None:
            _say(sock, TOO_MANY)
            self._log.verbose(f"drop connection #{waiting} from [{address}]:{port} on [{here}] past {over}")
            return
        self._fork(sock, address, now)

    def _waiting_from(self, address: str) -> int:
        """How many of those that wait come from the same source."""
        block = self._plan.settings.per_source_net_block_size
        source = source_of(address, block)
        return sum(source_of(child.address, block) == source for child in self._waiting.values())

    def _fork(self, sock: socket.socket, address: str, now: float) -> None:
        try:
            startup, told = os.pipe()
        except OSError as error:
            self._pause(f"pipe: {error.strerror}")
            return
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(startup)
                self._be_child(sock, told)
        except OSError as error:
            os.close(startup)
            self._pause(f"fork: {error.strerror}")
            return
        finally:  # of the parent alone: the child never comes here
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(told)
        grace = self._plan.settings.login_grace_time
        child = _Child(pid, address, startup, now + grace + GRACE_MARGIN if grace else NEVER)
        self._children[pid] = self._waiting[pid] = child
        self._selector.register(startup, selectors.EVENT_READ, lambda: self._startup_told(child))

    def _startup_told(self, child: _Child) -> None:
        if child.pid in self._waiting:  # it may have been reaped in the same turn
            child.logged_in = os.read(child.startup, 1) == b"+"
            self._startup_over(child)

    def _startup_over(self, child: _Child) -> None:
        if self._waiting.pop(child.pid, None) is not None:
            self._selector.unregister(child.startup)
            os.close(child.startup)

    # -- in the child ----------------------------------------------------------------------------------------------

    def _be_child(self, sock: socket.socket, told: int) -> None:
        """Leaves all that is the parent's, serves, and never returns."""
        ending = Ending.CRASH
        try:
            self._signals.close()
            self._selector.close()
            self._listeners.close()
            for child in self._waiting.values():
                os.close(child.startup)

            def logged_in() -> None:
                os.write(told, b"+")
                os.close(told)

            ending = self._plan.serve(sock, logged_in)
        except BaseException as error:  # nothing may climb back into the parent's loop
            self._log.fatal(f"internal error: {type(error).__name__}: {error}")
        finally:
            os._exit(ending)


def _say(sock: socket.socket, text: bytes) -> None:
    """A word in place of the identification (RFC 4253 section 4.2), if it can be had without waiting."""
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # it went away: then it need not be told
        sock.send(text)


def _signal_name(number: int) -> str:
    """Most real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _penalty_settings(settings: ServerSettings) -> tuple[object, ...]:
    return settings.per_source_penalties, settings.per_source_net_block_size, settings.per_source_penalty_exempt_list
