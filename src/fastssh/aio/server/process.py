"""Programs of the machine on a session channel, as sshd starts them: the account's shell, its environment, its home.

The server runs as the account already: nothing here changes a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from fastssh._native.plane import RELAY_SINK, RELAY_SOURCE
from fastssh.aio.relay import SOURCES, DescriptorRelay
from fastssh.aio.server.child import SIGNALS, Child, start
from fastssh.aio.server.program import Launch, Program
from fastssh.aio.server.streams import pipes, terminal_streams
from fastssh.aio.tty import WindowSize, set_size

if TYPE_CHECKING:
    from fastssh.aio.server.program import Exit
    from fastssh.aio.server.session import ServerSession
    from fastssh.errors import SSHError

SHELL: Final = "/bin/sh"  # of an account that names none
PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/games"
ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNKNOWN: Final = "UNKNOWN", 65535  # what sshd calls an end that is no network's
OURS: Final = {"SSH_TTY", "SSH_ORIGINAL_COMMAND"}  # true, or not there, whatever accept_env lets in
EXIT_SECONDS: Final = 0.05  # between the end of a program's output and its own, which is the usual order


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom the programs of a session run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # all of them
    home: str
    shell: str = SHELL

    @classmethod
    def current(cls) -> Self:
        """That of this process. Raises KeyError."""
        return cls.of(pwd.getpwuid(os.getuid()))

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> Self:
        """That of a line of passwd(5)."""
        return cls(
            name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid,
            groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
            home=entry.pw_dir or "/", shell=entry.pw_shell or SHELL,
        )  # fmt: skip


def environment(account: Account, session: ServerSession, launch: Launch, tty: str | None) -> dict[str, str]:
    """What a program starts with. As in sshd, what comes later stands."""
    (address, port), (local_address, local_port) = (
        end if end[0] else UNKNOWN for end in (session.connection.peer, session.connection.local)
    )
    values = {
        **{name: value for name, value in launch.environment.items() if name not in OURS},
        "USER": account.name,
        "LOGNAME": account.name,
        "HOME": account.home,
        "PATH": ROOT_PATH if account.uid == 0 else PATH,
        "MAIL": f"/var/mail/{account.name}",
        "SHELL": account.shell,
        **({"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}),
        **session.policy.set_env,
        "SSH_CLIENT": f"{address} {port} {local_port}",
        "SSH_CONNECTION": f"{address} {port} {local_address} {local_port}",
    }
    if tty is not None and launch.terminal is not None:
        values |= {"SSH_TTY": tty, "TERM": launch.terminal.term}
    if launch.original is not None:
        values["SSH_ORIGINAL_COMMAND"] = launch.original
    return values | session.variables


class ProcessStarter:
    """Starts command lines through the account's shell, and the shell itself as a login shell. ``files`` is the soft
    RLIMIT_NOFILE of what it starts, 0 for this process's own."""

    def __init__(self, account: Account, *, files: int = 0) -> None:
        self.account, self._files = account, files

    def __call__(self, session: ServerSession, launch: Launch) -> Program:
        """Raises OSError when there is no shell, or no room for a process."""
        return RunningProcess(session, self.account, launch, self._files)


class RunningProcess(Program):
    """A process and its channel: on a terminal if the client asked for one, else on pipes. Raises OSError."""

    def __init__(self, session: ServerSession, account: Account, launch: Launch, files: int) -> None:
        self._session = session
        self._how: Exit | None = None  # its end, once known
        self._output_ended = False
        self._patience: asyncio.TimerHandle | None = None
        base = os.path.basename(account.shell)
        arguments = [f"-{base}"] if launch.command is None else [base, "-c", launch.command]
        home, complaint = _home(account)
        streams = pipes() if launch.terminal is None else terminal_streams(launch.terminal, account.uid)
        try:
            values = environment(account, session, launch, streams.tty)
            pid = start(
                account.shell, arguments, values, home, streams.theirs,
                controlling=streams.tty is not None, files=files,
            )  # fmt: skip
        except BaseException:
            streams.close_ours()
            raise
        finally:
            streams.close_theirs()
        self._control = streams.control
        self._child = Child(pid, self._exited)
        self._open = {RELAY_SINK: streams.source, **{SOURCES[stream]: fd for stream, fd in streams.outputs.items()}}
        self._relay = DescriptorRelay(
            session.channel, sources=streams.outputs, sinks={0: streams.source}, ended=self._stream_ended
        )
        if complaint:
            session.channel.write(complaint, 0 if streams.tty else 1)

    # -- Program ---------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        """What came before the process was there."""
        self._relay.feed(data)

    def eof(self) -> None:
        """The plane closes the process's input behind what waits for it: see ``_stream_ended``."""

    def writable(self) -> None:
        """The plane reads the process's output while there is room for it."""

    def output_unwanted(self) -> None:
        self._close(RELAY_SOURCE)

    def signal(self, name: str) -> bool:
        number = SIGNALS.get(name)
        return number is not None and self._child.signal(number)

    def window_change(self, size: WindowSize) -> None:
        if self._control >= 0:
            with contextlib.suppress(OSError):  # nobody has the terminal open any more
                set_size(self._control, size)

    def send_break(self, milliseconds: int) -> bool:
        """A terminal's break has the length that the system gives it."""
        if self._control < 0:
            return False
        try:
            termios.tcsendbreak(self._control, 0)
        except termios.error:  # nobody has the terminal open any more
            return False
        return True

    def closed(self, error: SSHError | None) -> None:
        """As sshd: a terminal is hung up, pipes are closed and no more; the process is waited for in any case."""
        for end in list(self._open):
            self._close(end, told=False)
        if self._control >= 0:
            self._child.signal(signal.SIGHUP)
        self._release()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _close(self, end: int, *, told: bool = True) -> None:
        """Closes one of our ends of the process's streams, once; what waits for its input is dropped."""
        fd = self._open.pop(end, -1)
        if fd < 0:
            return
        self._relay.release(end)
        os.close(fd)
        if told and end != RELAY_SINK and not self._open.keys() - {RELAY_SINK}:
            self._output_over()

    def _stream_ended(self, end: int, error: int) -> None:
        """Output at its end: a terminal that nobody has open any more says EIO. Input that has everything, or that
        nobody reads: a pipe says EPIPE, a terminal EIO."""
        self._close(end)
        if end == RELAY_SINK and error:
            self._input_refused()

    def _input_refused(self) -> None:
        """Tells a client that knows it to send no more; others drop the connection over requests that they do not
        know (OpenSSH PROTOCOL 2.1)."""
        if "OpenSSH" in self._session.connection.peer_identification:
            self._session.channel.request("eow@openssh.com", b"", False)

    def _exited(self, how: Exit) -> None:
        self._how = how
        self._close(RELAY_SINK)
        self._end()

    def _output_over(self) -> None:
        self._output_ended = True
        if self._how is None:
            self._patience = asyncio.get_running_loop().call_later(EXIT_SECONDS, self._session.channel.eof)
        self._end()

    def _end(self) -> None:
        if self._how is not None and self._output_ended:
            self._release()
            self._session.finish(self._how)

    def _release(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self._control >= 0:
            os.close(self._control)
            self._control = -1


def _home(account: Account) -> tuple[str, bytes]:
    """Where to start, and what to say on stderr if that is not the account's home."""
    if os.path.isdir(account.home) and os.access(account.home, os.X_OK):
        return account.home, b""
    return "/", f"Could not chdir to home directory {account.home}\r\n".encode("utf-8", "surrogateescape")
