"""A channel of a client joined to its caller's descriptors: standard input, output and error of a session, or the first
two of a connection that the server makes (``ssh -W``).

Bytes are relayed natively. Descriptors are borrowed (:mod:`fastssh.aio.borrowed`): they stay the caller's and as they
are, and other processes may have them as well.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastssh._native.plane import RELAY_SINK, RELAY_SOURCE
from fastssh.aio.borrowed import Borrowed
from fastssh.aio.relay import SINKS, DescriptorRelay
from fastssh.connection.channel import Channel, ChannelHandler

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.errors import SSHError


class JoinedChannel(ChannelHandler):
    """Opens a channel of ``kind`` with ``data`` behind it in CHANNEL_OPEN; :meth:`wait` for its end.

    ``stdin`` -1: nothing is read. ``output_ended`` is called when all that will ever come is written to ``stdout``.
    Raises OSError for descriptors that are none, and what ended the connection.
    """

    def __init__(
        self,
        connection: ClientConnection,
        kind: str,
        data: bytes,
        *,
        window: int,
        stdin: int,
        stdout: int,
        stderr: int = -1,
        output_ended: Callable[[], None] | None = None,
    ) -> None:
        self.connection = connection
        self.is_open = False  # until it is closed
        self._output_ended = output_ended
        self._ended: asyncio.Future[SSHError | None] = asyncio.get_running_loop().create_future()
        self._relay: DescriptorRelay | None = None
        self._borrowed: dict[int, Borrowed] = {}
        try:
            if stdin >= 0:
                self._borrowed[RELAY_SOURCE] = Borrowed(stdin, writing=False)
            for end, fd in zip(SINKS, (stdout, stderr), strict=True):
                if fd >= 0:
                    self._borrowed[end] = Borrowed(fd, writing=True)
            self.channel: Channel = connection.start_channel(kind, data, self, window=window)
        except BaseException:
            self._give_back()
            raise

    # -- for the caller ------------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Returns when the channel is closed and what came is written. Raises what kept it from being opened, or ended
        its connection. Cancelled, it is closed at once."""
        try:
            error = await asyncio.shield(self._ended)
        finally:
            self.close()
        for borrowed in self._borrowed.values():
            await borrowed.flushed()
        if error is not None:
            raise error

    def close(self) -> None:
        """Ends the channel at once; what still waits is dropped. Harmless when it has ended."""
        if self._relay is not None:
            self._relay.close()
        self._give_back()
        self.channel.close(discard=True)

    def _give_back(self) -> None:
        for borrowed in self._borrowed.values():
            borrowed.close()

    # -- ChannelHandler ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        self.is_open = True
        self.join()

    def join(self) -> None:
        """From here on bytes are relayed. Once is enough."""
        if self._relay is not None:
            return
        sources = {0: self._borrowed[RELAY_SOURCE].fd} if RELAY_SOURCE in self._borrowed else {}
        sinks = {stream: self._borrowed[end].fd for stream, end in enumerate(SINKS) if end in self._borrowed}
        self._relay = DescriptorRelay(self.channel, sources=sources, sinks=sinks, ended=self._end)

    def data(self, stream: int, data: bytes) -> None:
        """What came before the descriptors were joined."""
        self.join()
        self.channel.relay_feed(data, stream)

    def open_failed(self, error: SSHError) -> None:
        self.finish(error)

    def closed(self, error: SSHError | None) -> None:
        self.is_open = False
        self.release(RELAY_SOURCE)
        if error is not None or self._relay is None:
            self.finish(error)
        else:
            self._relay.finish(math.inf)  # whoever reads our output may take all the time in the world
            self._finish_if_written()

    # -- ends ----------------------------------------------------------------------------------------------------------

    def source_ended(self) -> None:
        """All input was read."""
        self.channel.eof()
        self._close_if_done()

    def sink_ended(self, end: int, error: int) -> None:
        """All output of one stream is written, or nobody takes it any more (``error``)."""
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Both directions of a connection have ended, and so has it."""
        if self.is_open and not any(borrowed.fd >= 0 for borrowed in self._borrowed.values()):
            self.channel.close()

    def _end(self, end: int, error: int) -> None:
        self.release(end)
        if end == RELAY_SINK and self._output_ended is not None:
            self._output_ended()
        if not self.is_open:
            self._finish_if_written()
        elif end == RELAY_SOURCE:
            self.source_ended()
        else:
            self.sink_ended(end, error)

    def _finish_if_written(self) -> None:
        if not any(end in self._borrowed and self._borrowed[end].fd >= 0 for end in SINKS):
            self.finish(None)

    def release(self, end: int) -> None:
        """This descriptor is used no more."""
        if self._relay is not None:
            self._relay.release(end)
        if end in self._borrowed:
            self._borrowed[end].close()

    def finish(self, error: SSHError | None) -> None:
        """What :meth:`wait` waits for; the first time counts."""
        if not self._ended.done():
            self._ended.set_result(error)
