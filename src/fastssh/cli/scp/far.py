"""-t and -f: the far side of somebody's `scp -O`, over standard input and output. No event loop, and no connection."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from fastssh.errors import SSHError

if TYPE_CHECKING:
    from fastssh.cli.messages import Messages
    from fastssh.scp.steps import Want

_PIECE = 256 * 1024  # bytes read at once


def serve(argv: tuple[str, ...], messages: Messages) -> int:
    """The exit status: 1 if something was not copied. The other side hears of it; these are the messages for nobody."""
    from fastssh.scp.command import parse_arguments
    from fastssh.scp.serve import serve as steps_of
    from fastssh.sftp.filesystem import LocalFileSystem

    steps = steps_of(LocalFileSystem("."), parse_arguments(list(argv)), patterns=False)
    streams = _Streams()
    with closing(steps):
        try:
            want = next(steps)
            while True:
                want = steps.send(streams.satisfy(want))
        except StopIteration as end:
            return 1 if end.value.failed else 0
        except SSHError as error:
            if streams.lost:
                messages.line(str(error))
            return 1
        except BrokenPipeError:
            return 1


class _Streams:
    """Standard input and output. ``lost``: the other side is not there to be told."""

    def __init__(self) -> None:
        self.lost = False
        self._buffer = b""

    def satisfy(self, want: Want) -> bytes:
        from fastssh.scp.steps import Line

        if isinstance(want, bytes):
            view = memoryview(want)
            while view:
                view = view[os.write(1, view) :]
            return b""
        if isinstance(want, Line):
            return self._take(self._line_end(want.limit))
        if not self._buffer:
            self._more()
        return self._take(want.limit)

    def _line_end(self, limit: int) -> int:
        seen = 0
        while True:
            end = self._buffer.find(b"\n", seen, limit)
            if end >= 0:
                return end + 1
            seen = len(self._buffer)
            if seen >= limit or not self._more():
                return limit

    def _more(self) -> bool:
        data = os.read(0, _PIECE)
        self._buffer += data
        self.lost = not data
        return bool(data)

    def _take(self, count: int) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
