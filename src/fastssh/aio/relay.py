"""Descriptors joined to a channel: the plane moves the bytes, the event loop says when a descriptor is ready.

Pipes of a program, a terminal, or a socket: :class:`DescriptorRelay` is what all of them need of asyncio. In a loop of
:func:`fastssh.new_event_loop` the plane waits for the descriptors itself, and nothing here is called between a relay's
beginning and its ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fastssh._native.plane import RELAY_SINK, RELAY_SINK_STDERR, RELAY_SOURCE, RELAY_SOURCE_STDERR
from fastssh.aio.at_once import write_now
from fastssh.connection.channel import Channel

SOURCES: Final = (RELAY_SOURCE, RELAY_SOURCE_STDERR)  # by stream
SINKS: Final = (RELAY_SINK, RELAY_SINK_STDERR)


class DescriptorRelay:
    """Joins ``channel``, open or being opened, to descriptors by stream (0: data, 1: stderr): what ``sources`` give is
    sent, what arrives is written to ``sinks``. One descriptor may be both. Works from the moment it is made, in the
    running loop.

    Pipes and terminals become non-blocking; sockets and files need not be. All stay the caller's: none is to be closed
    while it is one of ``ends``.
    ``ended(end, error)`` is called when one of them is done with: a source at its end, a sink that has taken all that
    came before the peer's end of file, or with the errno of what failed. Then, and after :meth:`release`, it is no end
    any more.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        sources: Mapping[int, int],
        sinks: Mapping[int, int],
        ended: Callable[[int, int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._ended = ended
        self._watched = 0
        self._last: set[_LastBytes] = set()
        self.ends = {SOURCES[stream]: fd for stream, fd in sources.items()}
        self.ends |= {SINKS[stream]: fd for stream, fd in sinks.items()}
        for fd in set(self.ends.values()):
            if _may_wait(fd):
                os.set_blocking(fd, False)
        get = self.ends.get
        channel.relay(
            self,
            source=get(RELAY_SOURCE, -1),
            source_stderr=get(RELAY_SOURCE_STDERR, -1),
            sink=get(RELAY_SINK, -1),
            sink_stderr=get(RELAY_SINK_STDERR, -1),
        )

    def feed(self, data: bytes) -> None:
        """Data of stream 0 that the channel's owner got before there was a relay."""
        self._channel.relay_feed(data)

    def release(self, end: int) -> None:
        """This end's descriptor may be closed now; what waits for a sink is dropped, and the peer may send on. Nobody
        is told. Harmless when it is no end any more."""
        if end in self.ends:
            self._forget(end)
            self._channel.relay_release(end)

    def close(self) -> None:
        """Releases all ends, at once."""
        for end in list(self.ends):
            self.release(end)
        for last in self._last:
            last.cancel()
        self._last.clear()

    def finish(self, seconds: float) -> None:
        """The peer has closed the channel, and the plane will forget it: sources are released, and each sink that has
        not ended gets the last bytes that came, and ends; with ETIMEDOUT if it does not take them in time."""
        for end, fd in list(self.ends.items()):
            data = b"" if end in SOURCES else self._channel.relay_kept(SINKS.index(end))
            self.release(end)
            if end in SINKS:
                self._last.add(_LastBytes(fd, data, seconds, partial(self._last_written, end)))
        for last in list(self._last):
            last.write()

    @property
    def pending(self) -> int:
        """Bytes of stream 0 that its sink has not taken yet."""
        return sum(len(last.data) for last in self._last) or self._channel.relay_pending

    def _last_written(self, end: int, last: _LastBytes, error: int) -> None:
        self._last.discard(last)
        self._ended(end, error)

    # -- what the channel tells us -------------------------------------------------------------------------------------

    def relay_ended(self, end: int, error: int) -> None:
        if end in self.ends:
            self._forget(end)
            self._ended(end, error)

    def relay_waits(self, ends: int) -> None:
        for end in self.ends:
            self._watch(end, bool(ends & end))

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _forget(self, end: int) -> None:
        self._watch(end, False)
        del self.ends[end]

    def _watch(self, end: int, on: bool) -> None:
        if on == bool(self._watched & end):
            return
        self._watched ^= end
        fd = self.ends[end]
        if on:
            add = self._loop.add_reader if end in SOURCES else self._loop.add_writer
            ready = partial(self._channel.relay_ready, end)
            try:
                add(fd, ready)
            except PermissionError:  # epoll refuses what is always ready: files, /dev/null
                self._loop.call_soon(ready)
        elif end in SOURCES:
            self._loop.remove_reader(fd)
        else:
            self._loop.remove_writer(fd)


def _may_wait(fd: int) -> bool:
    """Whether reading or writing waits, unless it is made not to. The plane asks sockets not to each time, and a file
    never waits: where a descriptor belongs to others as well, nothing is changed for them."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and os.isatty(fd))


class _LastBytes:
    """What a closed channel left for a sink, written by the loop. ``done(self, errno)`` is called once."""

    def __init__(self, fd: int, data: bytes, seconds: float, done: Callable[[_LastBytes, int], None]) -> None:
        self.data = data
        self._fd, self._done = fd, done
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.call_later(seconds, self._end, errno.ETIMEDOUT)
        self._waits = False

    def write(self) -> None:
        try:
            self.data = self.data[write_now(self._fd, self.data) :] if self.data else b""
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(error.errno or errno.EIO)
            return
        if not self.data:
            self._end(0)
        elif not self._waits:
            self._waits = True
            self._loop.add_writer(self._fd, self.write)

    def cancel(self) -> None:
        """Nothing is written any more, and nobody is told."""
        self._deadline.cancel()
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._fd)

    def _end(self, error: int) -> None:
        self.cancel()
        self._done(self, error)
