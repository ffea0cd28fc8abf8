"""The client's side of a session channel on descriptors: ssh's shell, command or subsystem (RFC 4254 section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh._native.plane import RELAY_SINK, RELAY_SOURCE
from fastssh.aio.joined import JoinedChannel
from fastssh.connection.channel import WRITE_HIGH_WATER, State
from fastssh.errors import ChannelRequestError
from fastssh.wire import terminal_modes
from fastssh.wire.requests import (
    AUTH_AGENT_REQUEST,
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
    from fastssh.aio.tty import Terminal, WindowSize
    from fastssh.errors import SSHError

# What servers may have under way to us. A terminal's output is shown as it comes; a command's goes at the line's rate,
# and OpenSSH's sending gets slower near 16 MiB.
TERMINAL_WINDOW: Final = 1024 * 1024
COMMAND_WINDOW: Final = 15 * 1024 * 1024

#: Servers that know eow@openssh.com; others may drop the connection over a request that they do not know.
END_OF_WRITE: Final = ("OpenSSH", "fastssh")


def _ignored(text: str) -> None:
    """The default of ``terminal_refused``."""


@dataclass(frozen=True, kw_only=True)
class SessionRequest:
    """What is wanted: ``command``, ``subsystem``, or without either a shell; ``terminal`` for a pseudo-terminal, which
    is done without when the server refuses: ``terminal_refused`` is then told. ``agent`` asks for the agent to be
    forwarded."""

    command: bytes | None = None
    subsystem: str | None = None
    terminal: Terminal | None = None
    environment: tuple[tuple[str, str], ...] = ()
    agent: bool = False
    terminal_refused: Callable[[str], None] = _ignored

    def start(self) -> tuple[str, bytes]:
        """The request that starts it, and its data."""
        if self.subsystem is not None:
            return "subsystem", SubsystemRequest(self.subsystem).body()
        return ("shell", b"") if self.command is None else ("exec", ExecRequest(self.command).body())


class Session(JoinedChannel):
    """One session; ``stdin`` -1 for a caller that sends input itself, with :meth:`write`.

    ``exit_status`` and ``exit_signal`` are known when :meth:`wait` returns, as far as the server told. It raises
    ChannelOpenError or ChannelRequestError for a session that did not begin.
    """

    def __init__(
        self, connection: ClientConnection, request: SessionRequest, *, stdin: int, stdout: int, stderr: int
    ) -> None:
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self._request = request
        self._room = asyncio.Event()
        window = TERMINAL_WINDOW if request.terminal is not None else COMMAND_WINDOW
        super().__init__(connection, "session", b"", window=window, stdin=stdin, stdout=stdout, stderr=stderr)

    # -- input, and what else a terminal says --------------------------------------------------------------------------

    async def room(self) -> None:
        """Returns when the session takes input: when it is open, and what waits to be sent is little."""
        await self._room.wait()

    def write(self, data: bytes) -> None:
        """Input, after :meth:`room`. Dropped when the session takes none any more."""
        if self.is_open and not self.channel.eof_sent and self.channel.write(data) > WRITE_HIGH_WATER:
            self._room.clear()

    def write_eof(self) -> None:
        """The end of input, behind what was written."""
        if self.is_open:
            self.channel.eof()

    def resize(self, size: WindowSize) -> None:
        """The terminal has another size."""
        self._tell("window-change", WindowChange(*size).body())

    def signal(self, name: str) -> None:
        """A signal by its name without SIG (RFC 4254 section 6.9)."""
        self._tell("signal", SignalRequest(name).body())

    def send_break(self, milliseconds: int = 1000) -> None:
        """RFC 4335."""
        self._tell("break", Break(milliseconds).body(), reply=True)

    def _tell(self, name: str, data: bytes, *, reply: bool = False) -> None:
        if self.is_open:
            self.channel.request(name, data, reply)

    # -- ChannelHandler ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """All requests go out at once, in order, and no answer is waited for: that would be a round trip each."""
        channel, asked = self.channel, self._request
        if asked.agent:
            channel.request(AUTH_AGENT_REQUEST, b"", False)
        if asked.terminal is not None:
            pty = asked.terminal
            request = PtyRequest(_encode(pty.term), *pty.size, terminal_modes.encode(pty.modes))
            channel.request("pty-req", request.body(), True, self._terminal_answered)
        for name, value in asked.environment:
            channel.request("env", EnvRequest(_encode(name), _encode(value)).body(), False)
        what, data = asked.start()
        channel.request(what, data, True, lambda success: self._start_answered(what, success))
        self.is_open = True
        if asked.terminal is None:
            self.join()
        # else when the server has answered: our terminal has to be put back before output is shown if theirs is refused
        self._room.set()

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        match name:
            case "exit-status" if self.exit_status is None:
                self.exit_status = ExitStatus.parse(data).status
            case "exit-signal" if self.exit_signal is None:
                self.exit_signal = ExitSignal.parse(data).signal
            case "eow@openssh.com":  # nobody reads our input any more (OpenSSH PROTOCOL 2.1)
                self.release(RELAY_SOURCE)
            case _:
                return False
        return True

    def writable(self) -> None:
        self._room.set()

    def closed(self, error: SSHError | None) -> None:
        self._room.set()
        super().closed(error)

    # -- answers and ends ----------------------------------------------------------------------------------------------

    def _terminal_answered(self, success: bool) -> None:
        if not success and self.channel.state is State.OPEN:  # else there is no answer, but an end
            self._request.terminal_refused(f"PTY allocation request failed on channel {self.channel.id}")

    def _start_answered(self, what: str, success: bool) -> None:
        if self.channel.state is not State.OPEN:
            return
        self.join()
        if not success:
            self.finish(ChannelRequestError(f"{what} request failed on channel {self.channel.id}"))
            self.close()

    def source_ended(self) -> None:
        self.channel.eof()

    def sink_ended(self, end: int, error: int) -> None:
        """The server ends a session. One whose output nobody takes goes on, but what it writes may go nowhere."""
        if error and end == RELAY_SINK and any(name in self.connection.peer_identification for name in END_OF_WRITE):
            self.channel.request("eow@openssh.com", b"", False)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
