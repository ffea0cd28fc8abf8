"""Descriptors that other processes have as well, such as standard input and output, made fit for a relay.

A relay must not wait, and O_NONBLOCK is not a descriptor's own: whoever shares it would get EAGAIN as well, as a pager
does that reads the terminal on which ssh's output goes. So nothing is changed in what others share. A pipe or a
terminal is opened once more, which gives a flag of our own; where that cannot be, a thread waits in our place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import sys
import threading
from typing import Final

from fastssh.aio.at_once import read_now

PIECE: Final = 64 * 1024  # bytes that a thread moves at a time


class Borrowed:
    """``fd`` is what a relay may read, or with ``writing`` write, in place of the descriptor given; that one stays open
    and as it is. :meth:`close` gives it back. To be made in the running loop. Raises OSError."""

    def __init__(self, shared: int, *, writing: bool) -> None:
        self._pump: _Pump | None = None
        mode = os.fstat(shared).st_mode
        terminal = stat.S_ISCHR(mode) and os.isatty(shared)
        if stat.S_ISFIFO(mode) or terminal:
            self.fd = _reopened(shared, writing=writing, terminal=terminal)
            if self.fd < 0:
                self._pump = _Pump(shared, writing=writing)
                self.fd = self._pump.fd
        elif stat.S_ISCHR(mode) and _pollable(shared):
            self._pump = _Pump(shared, writing=writing)
            self.fd = self._pump.fd
        else:  # a socket, a file, or a device such as /dev/null: the relay takes them as they are
            self.fd = os.dup(shared)

    async def read(self, size: int) -> bytes:
        """At most ``size`` bytes as soon as there are any; nothing at the end, and where reading fails."""
        loop = asyncio.get_running_loop()
        while self.fd >= 0:
            try:
                return read_now(self.fd, size)
            except BlockingIOError:
                pass
            except OSError:  # the terminal is gone, say
                break
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self.fd, _set, readable)
            try:
                await readable
            finally:
                loop.remove_reader(self.fd)
        return b""

    def close(self) -> None:
        """Harmless when closed. What was written reaches its target all the same, see :meth:`flushed`."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._pump is not None:
            self._pump.stop()

    async def flushed(self) -> None:
        """After :meth:`close`: returns when what was written has been taken."""
        if self._pump is not None:
            await self._pump.over.wait()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _reopened(shared: int, *, writing: bool, terminal: bool) -> int:
    """The same pipe or terminal with flags of its own; -1 where it cannot be opened: it is another user's, say."""
    flags = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (os.O_WRONLY if writing else os.O_RDONLY)
    paths = [f"/proc/self/fd/{shared}"] if sys.platform == "linux" else []
    if terminal:
        with contextlib.suppress(OSError):
            paths.append(os.ttyname(shared))
        with contextlib.suppress(OSError):
            os.tcgetpgrp(shared)  # which only our controlling terminal answers
            paths.append("/dev/tty")
    for path in paths:
        with contextlib.suppress(OSError):
            return os.open(path, flags)
    return -1


def _pollable(fd: int) -> bool:
    """Whether it may have to be waited for."""
    if not hasattr(select, "epoll"):
        return True
    with select.epoll() as probe:
        try:
            probe.register(fd, select.EPOLLIN)
        except PermissionError:
            return False
    return True


class _Pump:
    """A thread between a descriptor that must not be touched and a pipe of ours, whose end is ``fd``."""

    def __init__(self, shared: int, *, writing: bool) -> None:
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        reading_end, writing_end = os.pipe()
        self.fd = writing_end if writing else reading_end
        os.set_blocking(self.fd, False)
        self._stop_reading, self._stop = os.pipe()
        source, sink = (reading_end, os.dup(shared)) if writing else (os.dup(shared), writing_end)
        threading.Thread(target=self._run, args=(source, sink, not writing), name="pump", daemon=True).start()

    def stop(self) -> None:
        """A source is read no more."""
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1

    def _run(self, source: int, sink: int, stoppable: bool) -> None:
        with contextlib.suppress(OSError):  # its reader has gone, or its terminal: the relay sees its own end close
            while True:
                if stoppable and self._stopped(source):
                    break
                data = os.read(source, PIECE)
                if not data:
                    break
                while data:
                    data = data[os.write(sink, data) :]
        for fd in (source, sink, self._stop_reading):
            os.close(fd)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self.over.set)

    def _stopped(self, source: int) -> bool:
        """Waits until there is something to read."""
        waiting = select.poll()
        for fd in (source, self._stop_reading):
            waiting.register(fd, select.POLLIN)
        return any(fd == self._stop_reading for fd, _ in waiting.poll())
