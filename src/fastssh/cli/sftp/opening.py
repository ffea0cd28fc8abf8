"""The session behind the prompt: over a connection, or with a local program."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from fastssh.aio.bridge import Bridge
from fastssh.cli import options
from fastssh.cli.messages import Messages
from fastssh.cli.sftp.arguments import Arguments

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.sftp import SFTPClient
    from fastssh.cli.companions import Companions
    from fastssh.cli.location import Remote


class Opened:
    """A session. ``large`` is called with the size of each file that is about to be copied."""

    def __init__(self, sftp: SFTPClient) -> None:
        self.sftp = sftp
        self._companions: Companions | None = None
        self._least = 0

    def use(self, companions: Companions, least: int) -> None:
        """More sessions for files of ``least`` bytes or more."""
        self._companions, self._least = companions, least

    def large(self, size: int) -> None:
        if self._companions is not None and size >= self._least:
            self._companions.begin()


@contextlib.asynccontextmanager
async def opened(asked: Arguments, messages: Messages) -> AsyncIterator[Opened]:
    """The session that the command line asks for, closed at the end. Raises SSHError and OSError."""
    async with contextlib.AsyncExitStack() as stack:
        command = program_of(asked)
        if command is None:
            way = await _way_to_host(asked, messages, stack)
        else:
            with _without_interrupts():
                bridge = Bridge.run(command)
            way = await stack.enter_async_context(bridge)
        sftp = await stack.enter_async_context(
            await way.sftp(subsystem=asked.subsystem, request_length=asked.buffer, requests=asked.requests)
        )
        sftp.session.set_send_rate(asked.limit)
        found = Opened(sftp)
        if not isinstance(way, Bridge) and not asked.alone:
            from fastssh.cli.companions import LARGE, Companions

            companions = Companions(way, sftp, asked.connections, ask=False)
            found.use(await stack.enter_async_context(companions), LARGE)
        yield found


async def _way_to_host(
    asked: Arguments, messages: Messages, stack: contextlib.AsyncExitStack
) -> ClientConnection | Bridge:
    """A connection of ours, or a session of another program's that may be shared."""
    from fastssh.cli.connecting import Log, log_in
    from fastssh.cli.mux.lookup import master_path
    from fastssh.config.evaluate import load

    remote = asked.destination
    assert remote is not None
    settings = load(remote.host, overrides=_overrides(asked, remote, messages), file=asked.config_file)
    log = Log.of(settings, messages)
    master = master_path(settings, lambda text: log(0, text))
    if master is None:
        connection = await log_in(settings, messages, log, config_file=asked.config_file)
        return await stack.enter_async_context(connection)
    from fastssh.cli.mux.bridge import session

    shared = session(master, asked.subsystem, subsystem="/" not in asked.subsystem)
    return await stack.enter_async_context(shared)


def _overrides(asked: Arguments, remote: Remote, messages: Messages) -> list[options.Override]:
    """The command line as settings, in the order in which sftp hands them to ssh."""
    from fastssh.cli.connecting import identity_overrides

    found = asked.overrides + identity_overrides(asked.identities, messages, quiet=asked.quiet)
    return found + options.account(remote.user, remote.port if remote.port is not None else asked.port)


def program_of(asked: Arguments) -> list[str] | None:
    """The program of -D or -S with its arguments, if there is one. Raises ValueError."""
    if asked.server is not None:
        command = shlex.split(asked.server)
        if not command:
            raise ValueError("No sftp server specified via -D")
        return command
    if asked.program is None or asked.destination is None:
        return None
    remote = asked.destination
    port = remote.port if remote.port is not None else asked.port
    return [
        asked.program, "-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes", "-oControlMaster no",
        *asked.passed, "-oForwardAgent no",
        *([f"-oPort {port}"] if port is not None else []), *(["-l", remote.user] if remote.user is not None else []),
        *([] if "/" in asked.subsystem else ["-s"]), "--", remote.host, asked.subsystem,
    ]  # fmt: skip


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started inside does not end with Ctrl-C, which is for the transfer."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


