"""What runs on a session channel, and what a server permits there: the words that sessions and programs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastssh.aio.tty import Terminal, WindowSize

if TYPE_CHECKING:
    from fastssh.aio.server.session import ServerSession
    from fastssh.errors import SSHError
    from fastssh.wire.requests import ExitSignal, ExitStatus

    Exit = ExitStatus | ExitSignal


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is to be started. Text that came as bytes is decoded as file names are (os.fsdecode).

    ``command`` is None for a login shell, and for a subsystem without a command line. ``original`` is what the client
    asked for where ``forced`` replaced it (SSH_ORIGINAL_COMMAND), None for a shell.
    """

    command: str | None = None
    subsystem: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # what the client set, as far as it may
    terminal: Terminal | None = None
    forced: bool = False
    original: str | None = None


class Program:
    """What runs on a channel, to be subclassed. Calls come in wire order; ``closed`` is the last one, exactly once.

    It writes to ``session.channel``, gives credit with ``session.channel.consumed``, and ends with ``session.finish``.
    """

    def data(self, data: bytes) -> None:
        """Standard input."""
        raise NotImplementedError

    def eof(self) -> None:
        """The end of standard input; nothing else ends with it."""
        raise NotImplementedError

    def writable(self) -> None:
        """There is room for output again."""
        raise NotImplementedError

    def closed(self, error: SSHError | None) -> None:
        """The channel is gone, in order (None) or not. Nothing may be written any more."""
        raise NotImplementedError

    def sftp_message(self, message: bytes) -> None:
        """A request that the native endpoint leaves to us, after :meth:`Channel.sftp_serve`."""

    def sftp_end(self) -> None:
        """All that stood before the end of standard input is answered, after :meth:`Channel.sftp_serve`."""

    def output_unwanted(self) -> None:
        """eow@openssh.com: the client drops what comes on standard output."""

    def window_change(self, size: WindowSize) -> None:
        """The client's terminal has another size."""

    def signal(self, name: str) -> bool:
        """A signal by its name without SIG; whether it was delivered."""
        return False

    def send_break(self, milliseconds: int) -> bool:
        """RFC 4335; whether there is a line to break."""
        return False


#: Starts what is wanted, or raises OSError or SSHError: the request is then refused.
Starter = Callable[["ServerSession", Launch], Program]
#: A request that something outside of sessions takes (auth-agent-req@openssh.com, x11-req): whether it succeeded.
RequestHook = Callable[["ServerSession", bytes], bool]


def _not_told(session: ServerSession, launch: Launch) -> None:
    """The default for programs that run: nobody listens."""


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """What a client may do on its session channels.

    A subsystem, and a forced command, are a command line for the session's starter, or a starter of their own. With
    ``forced_command`` shell, exec and known subsystems all run that. ``accept_env`` are patterns of names.
    """

    permit_pty: bool = True
    permit_shell: bool = True
    permit_exec: bool = True
    accept_env: tuple[str, ...] = ()
    set_env: Mapping[str, str] = field(default_factory=dict)
    forced_command: str | Starter | None = None
    subsystems: Mapping[str, str | Starter] = field(default_factory=dict)
    other_subsystems: Starter | None = None  # for names that are not among ``subsystems``
    requests: Mapping[str, RequestHook] = field(default_factory=dict)
    started: Callable[[ServerSession, Launch], None] = _not_told  # hears of each program that runs
