"""The server's side of a session channel: what a client asks for (RFC 4254 section 6), and what it gets.

Requests only describe the session until one of shell, exec and subsystem starts its program; from then on data, window
and signals are the program's matter, and its end is the channel's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from fastssh.aio.server.program import Launch, Program, SessionPolicy, Starter
from fastssh.aio.tty import Terminal, WindowSize
from fastssh.connection.channel import Channel, ChannelHandler
from fastssh.errors import ProtocolError, SSHError
from fastssh.keys.patterns import match_pattern_list
from fastssh.wire import terminal_modes
from fastssh.wire.requests import (
    Break,
    EnvRequest,
    ExecRequest,
    ExitStatus,
    PtyRequest,
    SignalRequest,
    SubsystemRequest,
    WindowChange,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.aio.server.program import Exit

MAX_ENV: Final = 128  # variables of one session, as sshd's
MAX_ENV_BYTES: Final = 128 * 1024  # of their names and values together
MAX_TERM: Final = 256  # bytes
MAX_SIZE: Final = 0xFFFF  # struct winsize has 16 bits


class ServerSession(ChannelHandler):
    """One session channel: ``policy`` says what is permitted, ``starter`` starts it.

    ``environment`` is what the client set, ``variables`` what a hook of the server adds to it, ``terminal`` what
    pty-req described. ``finished`` is set when the program has ended or the channel is gone.
    """

    channel: Channel  # set as soon as the channel is accepted

    def __init__(self, connection: ServerConnection, policy: SessionPolicy, starter: Starter) -> None:
        self.connection = connection
        self.policy = policy
        self.environment: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.terminal: Terminal | None = None
        self.launch: Launch | None = None
        self._starter = starter
        self._program: Program | None = None
        self._env_bytes = 0
        self.finished = False

    # -- ChannelHandler --------------------------------------------------------------------------------------------

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        """Raises ProtocolError for a malformed one, which ends the connection."""
        own = REQUESTS.get(name)
        if own is not None:
            return own(self, data)
        hook = self.policy.requests.get(name)
        return hook is not None and hook(self, data)

    def data(self, stream: int, data: bytes) -> None:
        if self._program is not None and stream == 0:
            self._program.data(data)
        else:  # nobody is there to read it, and nothing has a second input
            self.channel.consumed(len(data))

    def eof(self) -> None:
        if self._program is not None:
            self._program.eof()

    def writable(self) -> None:
        if self._program is not None:
            self._program.writable()

    def sftp_message(self, data: bytes) -> None:
        if self._program is not None:
            self._program.sftp_message(data)

    def sftp_end(self) -> None:
        if self._program is not None:
            self._program.sftp_end()

    def closed(self, error: SSHError | None) -> None:
        self.finished = True
        if self._program is not None:
            self._program.closed(error)

    # -- for the program -------------------------------------------------------------------------------------------

    def finish(self, how: Exit) -> None:
        """The program has ended: exit-status or exit-signal, EOF and CLOSE. Nothing after the first time, or after
        the channel's own end."""
        if self.finished:
            return
        self.finished = True
        self.channel.request("exit-status" if isinstance(how, ExitStatus) else "exit-signal", how.body(), False)
        self.channel.eof()
        self.channel.close()

    def log(self, text: str) -> None:
        """A line for the operator."""
        connection = self.connection
        who = f"{connection.where} user {printable(connection.user)}"
        connection.options.log(f"{who}: {printable(text)}")

    # -- requests that describe the session ------------------------------------------------------------------------

    def _pty(self, data: bytes) -> bool:
        asked = PtyRequest.parse(data)
        modes = terminal_modes.parse(asked.modes)
        if not self.policy.permit_pty or self.terminal is not None or self._program is not None:
            return False
        if len(asked.term) > MAX_TERM or b"\0" in asked.term:
            return False
        self.terminal = Terminal(os.fsdecode(asked.term), _size(asked), modes)
        return True

    def _env(self, data: bytes) -> bool:
        asked = EnvRequest.parse(data)
        name = os.fsdecode(asked.name)
        if not name or b"\0" in asked.name + asked.value or "=" in name or self._program is not None:
            return False
        if not match_pattern_list(name, self.policy.accept_env):
            return False
        # a variable set again counts again: nobody sets one a hundred times
        self._env_bytes += len(asked.name) + len(asked.value)
        if len(self.environment) >= MAX_ENV or self._env_bytes > MAX_ENV_BYTES:
            return False
        self.environment[name] = os.fsdecode(asked.value)
        return True

    def _window_change(self, data: bytes) -> bool:
        size = _size(WindowChange.parse(data))
        if self.terminal is None:
            return False
        self.terminal.size = size
        if self._program is not None:
            self._program.window_change(size)
        return True

    # -- requests that start the program: one of them succeeds, once -----------------------------------------------

    def _shell(self, data: bytes) -> bool:
        if data:
            raise ProtocolError(f"{len(data)} superfluous bytes in a shell request")
        return self._start(None, permitted=self.policy.permit_shell)

    def _exec(self, data: bytes) -> bool:
        command = ExecRequest.parse(data).command
        if b"\0" in command:  # no argument can hold it, and what stands before it is not what was asked for
            return False
        text = os.fsdecode(command)
        return self._start(text, permitted=self.policy.permit_exec, original=text)

    def _subsystem(self, data: bytes) -> bool:
        name = SubsystemRequest.parse(data).name
        found = self.policy.subsystems.get(name, self.policy.other_subsystems)
        if found is None:
            self.log(f"subsystem {name} not found")
            return False
        return self._start(found, permitted=True, subsystem=name, original=found if isinstance(found, str) else name)

    def _start(
        self, what: str | Starter | None, *, permitted: bool, subsystem: str | None = None, original: str | None = None
    ) -> bool:
        forced = self.policy.forced_command
        if self._program is not None or not (permitted or forced is not None):
            return False
        target = what if forced is None else forced
        launch = Launch(
            command=target if isinstance(target, str) else None,
            subsystem=subsystem,
            environment=dict(self.environment),
            terminal=self.terminal,
            forced=forced is not None,
            original=None if forced is None else original,
        )
        starter = target if callable(target) else self._starter
        try:
            self._program = starter(self, launch)
        except (OSError, SSHError) as error:
            self.log(f"cannot start {subsystem or 'a session'}: {error}")
            return False
        self.launch = launch
        self.policy.started(self, launch)
        if self.channel.eof_received:  # said before there was anybody to hear it
            self._program.eof()
        return True

    # -- requests to a program that runs ---------------------------------------------------------------------------

    def _signal(self, data: bytes) -> bool:
        name = SignalRequest.parse(data).signal
        if self._program is None or self.launch is None or self.launch.forced or self.launch.subsystem is not None:
            return False  # as sshd: what the client did not choose is not the client's to interrupt
        return self._program.signal(name)

    def _break(self, data: bytes) -> bool:
        milliseconds = Break.parse(data).milliseconds
        return self._program is not None and self._program.send_break(milliseconds)

    def _end_of_write(self, data: bytes) -> bool:
        if self._program is not None:
            self._program.output_unwanted()
        return True


def _size(asked: PtyRequest | WindowChange) -> WindowSize:
    return WindowSize(*(min(value, MAX_SIZE) for value in (asked.columns, asked.rows, asked.width, asked.height)))


#: By name. Whatever else there is, a hook of the policy takes or nobody does; xon-xoff is never asked of a client.
REQUESTS: Final[Mapping[str, Callable[[ServerSession, bytes], bool]]] = {
    "pty-req": ServerSession._pty,
    "env": ServerSession._env,
    "shell": ServerSession._shell,
    "exec": ServerSession._exec,
    "subsystem": ServerSession._subsystem,
    "window-change": ServerSession._window_change,
    "signal": ServerSession._signal,
    "break": ServerSession._break,
    "eow@openssh.com": ServerSession._end_of_write,
}
