"""The client's side of a session channel that is joined to descriptors: ssh's shell, command or subsystem.

Bytes are relayed natively; what a session is and how it ended is decided here (RFC 4254 section 6).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh._native.plane import RELAY_SINK, RELAY_SOURCE
from fastssh.aio.borrowed import Borrowed
from fastssh.aio.relay import SINKS, DescriptorRelay
from fastssh.connection.channel import WRITE_HIGH_WATER, Channel, ChannelHandler
from fastssh.errors import ChannelClosedError, ChannelRequestError, SSHError
from fastssh.wire.requests import (
    Break,
    EnvRequest,
    ExecRequest,
    ExitSignal,
    ExitStatus,
    PtyRequest,
    SignalRequest,
    SubsystemRequest,
    WindowChange,
)

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection

# What servers may have under way to us. A terminal's output is shown as it comes; a command's goes at the line's rate,
# and OpenSSH's sending gets slower near 16 MiB.
TERMINAL_WINDOW: Final = 1024 * 1024
COMMAND_WINDOW: Final = 15 * 1024 * 1024

#: Servers that know eow@openssh.com; others may drop the connection over a request that they do not know.
END_OF_WRITE: Final = ("OpenSSH", "fastssh")


def _ignored(text: str) -> None:
    """The default of ``warn``."""


@dataclass(frozen=True, kw_only=True)
class SessionRequest:
    """What is wanted: ``command``, ``subsystem``, or without either a shell; ``terminal`` for a pseudo-terminal.

    Refused, a terminal is done without, and ``warn`` is told; ``agent`` asks for the agent to be forwarded.
    """

    command: bytes | None = None
    subsystem: str | None = None
    terminal: PtyRequest | None = None
    environment: tuple[tuple[str, str], ...] = ()
    agent: bool = False
    warn: Callable[[str], None] = _ignored
    terminal_refused: Callable[[], None] = lambda: None

    def start(self) -> tuple[str, bytes]:
        """The request that starts it, and its data."""
        if self.subsystem is not None:
            return "subsystem", SubsystemRequest(self.subsystem).body()
        return ("shell", b"") if self.command is None else ("exec", ExecRequest(self.command).body())


class Session(ChannelHandler):
    """One session, from CHANNEL_OPEN to the last byte that the caller's ``stdout`` takes.

    Descriptors are borrowed (:class:`Borrowed`): they stay the caller's and as they are. Without ``stdin`` the caller
    sends input itself, with :meth:`write`. Raises OSError for descriptors that are none.
    """

    def __init__(
        self,
        connection: ClientConnection,
        request: SessionRequest,
        *,
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> None:
        self._connection = connection
        self._request = request
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[SSHError | None] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._relay: DescriptorRelay | None = None
        self._borrowed: dict[int, Borrowed] = {}
        try:
            if stdin is not None:
                self._borrowed[RELAY_SOURCE] = Borrowed(stdin, writing=False)
            for end, fd in zip(SINKS, (stdout, stderr), strict=True):
                self._borrowed[end] = Borrowed(fd, writing=True)
            window = TERMINAL_WINDOW if request.terminal is not None else COMMAND_WINDOW
            self.channel: Channel = connection.start_channel("session", b"", self, window=window)
        except BaseException:
            self._give_back()
            raise

    # -- for the caller ------------------------------------------------------------------------------------------------

    async def wait(self) -> int | None:
        """The exit status, None without one: see ``exit_signal``. Raises what kept the session from beginning
        (ChannelOpenError, ChannelRequestError), or ended its connection. Cancelled, the channel is closed."""
        try:
            error = await asyncio.shield(self._ended)
        finally:
            self.close()
        for borrowed in self._borrowed.values():
            await borrowed.flushed()
        if error is not None:
            raise error
        return self.exit_status

    def close(self) -> None:
        """Ends the session at once; what still waits is dropped. Harmless when it has ended."""
        if self._relay is not None:
            self._relay.close()
        self._give_back()
        self.channel.close(discard=True)

    def write(self, data: bytes) -> None:
        """Input. Dropped when the session takes none any more."""
        able = self.started.done() and not self._closed and not self.channel.eof_sent
        if able and self.channel.write(data) > WRITE_HIGH_WATER:
            self._room.clear()

    async def room(self) -> None:
        """Returns when there is room for more input."""
        await self._room.wait()

    def write_eof(self) -> None:
        """The end of input, behind what was written."""
        if self.started.done() and not self._closed:
            self.channel.eof()

    def resize(self, size: WindowChange) -> None:
        """The terminal has another size."""
        self._tell("window-change", size.body())

    def signal(self, name: str) -> None:
        """A signal by its name without SIG (RFC 4254 section 6.9)."""
        self._tell("signal", SignalRequest(name).body())

    def send_break(self, milliseconds: int = 1000) -> None:
        """RFC 4335."""
        self._tell("break", Break(milliseconds).body(), reply=True)

    def _tell(self, name: str, data: bytes, *, reply: bool = False) -> None:
        if self.started.done() and not self._closed:
            self.channel.request(name, data, reply)

    # -- ChannelHandler ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """All requests go out at once, in order, and no answer is waited for: that would be a round trip each."""
        channel, asked = self.channel, self._request
        if asked.agent:
            channel.request("auth-agent-req@openssh.com", b"", False)
        if asked.terminal is not None:
            channel.request("pty-req", asked.terminal.body(), True, self._terminal_answered)
        for name, value in asked.environment:
            channel.request("env", EnvRequest(_encode(name), _encode(value)).body(), False)
        what, data = asked.start()
        channel.request(what, data, True, lambda success: self._start_answered(what, success))
        self.started.set_result(None)
        sources = {0: self._borrowed[RELAY_SOURCE].fd} if RELAY_SOURCE in self._borrowed else {}
        sinks = {stream: self._borrowed[end].fd for stream, end in enumerate(SINKS)}
        self._relay = DescriptorRelay(channel, sources=sources, sinks=sinks, ended=self._end)

    def open_failed(self, error: SSHError) -> None:
        self._finish(error)

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        match name:
            case "exit-status" if self.exit_status is None:
                self.exit_status = ExitStatus.parse(data).status
            case "exit-signal" if self.exit_signal is None:
                self.exit_signal = ExitSignal.parse(data).signal
            case "eow@openssh.com":  # nobody reads our input any more (OpenSSH PROTOCOL 2.1)
                self._release(RELAY_SOURCE)
            case _:
                return False
        return True

    def writable(self) -> None:
        self._room.set()

    def closed(self, error: SSHError | None) -> None:
        self._closed = True
        self._room.set()
        self._release(RELAY_SOURCE)
        if error is not None or self._relay is None or not self._relay.ends:
            self._finish(error)
        else:
            self._relay.finish(math.inf)  # whoever reads our output may take all the time in the world

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _terminal_answered(self, success: bool) -> None:
        if not success and not self._closed:
            self._request.warn(f"PTY allocation request failed on channel {self.channel.id}")
            self._request.terminal_refused()

    def _start_answered(self, what: str, success: bool) -> None:
        if not success and self.channel.error is None and not self._ended.done():
            self._finish(ChannelRequestError(f"{what} request failed on channel {self.channel.id}"))
            self.close()

    def _end(self, end: int, error: int) -> None:
        """A descriptor is done with: input at its end, or output that has everything, or that nobody takes."""
        self._release(end)
        if end == RELAY_SOURCE:
            if not self._closed:
                self.channel.eof()
        elif error and end == RELAY_SINK and not self._closed and self._knows_end_of_write():
            self.channel.request("eow@openssh.com", b"", False)
        if self._closed and (self._relay is None or not self._relay.ends) and not self._owed():
            self._finish(None)

    def _knows_end_of_write(self) -> bool:
        return any(name in self._connection.peer_identification for name in END_OF_WRITE)

    def _owed(self) -> bool:
        return any(end in self._borrowed and self._borrowed[end].fd >= 0 for end in SINKS)

    def _release(self, end: int) -> None:
        if self._relay is not None:
            self._relay.release(end)
        if end in self._borrowed:
            self._borrowed[end].close()

    def _give_back(self) -> None:
        for borrowed in self._borrowed.values():
            borrowed.close()

    def _finish(self, error: SSHError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)
        if not self.started.done():
            self.started.set_exception(error or ChannelClosedError("the session was closed before it began"))
            self.started.exception()  # seen: wait() tells as well


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
