"""Bytes between a program's descriptors and its channel, both ways, with nothing unbounded on either.

What the client sends is credited when the program has taken it. What the program writes is read only while the channel
has room for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fastssh.connection.channel import WRITE_HIGH_WATER, Channel

READ_PIECE: Final = 64 * 1024  # bytes: what a pipe holds


class Relay:
    """Owns its descriptors: ``source`` is where the client's bytes go, ``outputs`` where those of each stream (0:
    stdout, 1: stderr) come from. Works from the moment it is made, in the running loop.

    ``ended`` is called once, when all outputs are at their end; ``refused`` once, when the program takes no more input.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        source: int,
        outputs: Mapping[int, int],
        ended: Callable[[], None],
        refused: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._input = source  # -1: closed
        self._outputs = dict(outputs)
        self._ended, self._refused = ended, refused
        self._waiting = bytearray()  # at most the channel's window; pieces of one byte each would cost fifty times that
        self._writing = self._reading = self._input_ends = False
        for fd in (source, *outputs.values()):
            os.set_blocking(fd, False)
        self._read_on(True)

    # -- from the client to the program ------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        """Bytes of the client; after the program's end they are dropped."""
        if self._input < 0:
            self._channel.consumed(len(data))
            return
        self._waiting += data
        if not self._writing:
            self._write()

    def eof(self) -> None:
        """No more of them: the program's input is closed behind what waits."""
        self._input_ends = True
        if not self._waiting:
            self.close_input()

    def _write(self) -> None:
        try:
            written = os.write(self._input, self._waiting) if self._waiting else 0
        except BlockingIOError:
            written = 0
        except OSError:  # nobody reads: a pipe says EPIPE, a terminal EIO
            self.close_input()
            self._refused()
            return
        del self._waiting[:written]
        self._channel.consumed(written)
        self._write_on(bool(self._waiting))
        if self._input_ends and not self._waiting:
            self.close_input()

    def _write_on(self, on: bool) -> None:
        if on != self._writing:
            self._writing = on
            if on:
                self._loop.add_writer(self._input, self._write)
            else:
                self._loop.remove_writer(self._input)

    def close_input(self) -> None:
        """Closes the program's input; what waits for it is dropped, and the client may send on."""
        if self._input < 0:
            return
        self._write_on(False)
        os.close(self._input)
        self._input = -1
        self._channel.consumed(len(self._waiting))
        self._waiting.clear()

    # -- from the program to the client ------------------------------------------------------------------------------

    def _read_on(self, on: bool) -> None:
        if on != self._reading:
            self._reading = on
            for stream, fd in self._outputs.items():
                if on:
                    self._loop.add_reader(fd, partial(self._read, stream))
                else:
                    self._loop.remove_reader(fd)

    def _read(self, stream: int) -> None:
        try:
            data = os.read(self._outputs[stream], READ_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a terminal that nobody has open any more says EIO
            data = b""
        if not data:
            self.close_output(stream)
        elif self._channel.write(data, stream) > WRITE_HIGH_WATER:
            self._read_on(False)

    def writable(self) -> None:
        """The channel has room again."""
        self._read_on(True)

    def close_output(self, stream: int) -> None:
        """Closes one of the program's outputs: writing to it fails from now on."""
        fd = self._outputs.pop(stream, -1)
        if fd < 0:
            return
        if self._reading:
            self._loop.remove_reader(fd)
        os.close(fd)
        if not self._outputs:
            self._ended()

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes what is open. Nobody is told."""
        self._ended = lambda: None
        self.close_input()
        for stream in list(self._outputs):
            self.close_output(stream)
