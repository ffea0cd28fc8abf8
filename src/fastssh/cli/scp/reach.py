"""How the other side of a copy is reached: over a connection of ours, or through a program in its place (-S, -D)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastssh.cli import options
from fastssh.cli.location import Remote
from fastssh.cli.messages import Messages
from fastssh.cli.progress import Tally
from fastssh.cli.scp.arguments import Arguments
from fastssh.cli.scp.summary import Stopwatch, Summary
from fastssh.errors import SSHError

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.process import Process
    from fastssh.aio.sftp import SFTPClient

# What scp asks of ssh for every copy: none of what a configuration wants of a login.
_FOR_COPIES: Final = (
    "-x", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oRemoteCommand=none", "-oRequestTTY=no",
)  # fmt: skip
# Is needed after the login.
_AFTERWARDS: Final = ("fastssh.aio.copy", "fastssh.cli.companions")


class Far(Protocol):
    """The other side, for as long as its :func:`reach` block runs."""

    async def sftp(self, **options: Any) -> SFTPClient:
        """An SFTP session, the caller's to close; options as :func:`fastssh.aio.sftp.open_sftp` takes them."""
        ...

    async def start(self, command: str) -> Process:
        """A command of its shell."""
        ...

    def companions(self, sftp: SFTPClient, tally: Tally) -> contextlib.AbstractAsyncContextManager[None]:
        """More sessions beside ``sftp``, as soon as a file is large enough for them to pay."""
        ...

    @property
    def error(self) -> SSHError | None:
        """What ended it before its time."""
        ...


@contextlib.asynccontextmanager
async def reach(
    asked: Arguments, messages: Messages, remote: Remote, summary: Summary, *, sends: bool
) -> AsyncIterator[Far]:
    """``sends``: whether it is sent files, and not asked for them. Raises what connecting raises, from entering alone.
    """
    if asked.program is not None or (asked.server is not None and not asked.legacy):
        async with contextlib.AsyncExitStack() as stack:
            yield _Program(asked, remote, stack)
        return
    from fastssh.cli.connecting import Log, log_in
    from fastssh.cli.mux.lookup import master_path
    from fastssh.config.evaluate import load

    settings = load(remote.host, overrides=_overrides(asked, messages, remote), file=asked.config_file)
    log = Log.of(settings, messages)
    master = master_path(settings, lambda text: log(0, text))
    if master is not None:
        async with contextlib.AsyncExitStack() as stack:
            yield _Shared(master, stack)
        return
    with Stopwatch(summary, "connect_seconds"):
        connection = await log_in(
            settings, messages, log, config_file=asked.config_file, meanwhile=_AFTERWARDS
        )
    async with connection:
        summary.connected(connection.negotiated, sends=sends)
        try:
            yield _Connection(asked, connection, summary)
        finally:
            summary.open -= 1


class _Connection:
    """Over a connection of ours."""

    def __init__(self, asked: Arguments, connection: ClientConnection, summary: Summary) -> None:
        self._asked, self._connection, self._summary = asked, connection, summary
        self.start = connection.create_process

    @property
    def error(self) -> SSHError | None:
        return self._connection.error

    async def sftp(self, **options: Any) -> SFTPClient:
        return await self._connection.sftp(**options)

    @contextlib.asynccontextmanager
    async def companions(self, sftp: SFTPClient, tally: Tally) -> AsyncIterator[None]:
        from fastssh.cli.companions import LARGE, Companions

        if self._asked.alone:
            yield
            return
        async with Companions(self._connection, sftp, self._asked.connections) as companions:
            tally.on_started = lambda size: companions.begin() if size >= LARGE else None
            try:
                yield
            finally:
                tally.on_started = None
                self._summary.connections = max(
                    self._summary.connections, self._summary.open + companions.connections
                )


class _Program:
    """Through a program: each session starts it anew."""

    def __init__(self, asked: Arguments, remote: Remote, stack: contextlib.AsyncExitStack) -> None:
        self._asked, self._remote, self._stack = asked, remote, stack

    error: Final = None

    async def sftp(self, **options: Any) -> SFTPClient:
        from fastssh.aio.bridge import Bridge

        server = self._asked.server
        arguments = [server] if server is not None else self._ssh("-s", "--", self._remote.host, "sftp")
        return await (await self._stack.enter_async_context(Bridge.run(arguments))).sftp(**options)

    async def start(self, command: str) -> Process:
        from fastssh.aio.bridge import Bridge

        arguments = self._ssh("--", self._remote.host, command)
        return await (await self._stack.enter_async_context(Bridge.run(arguments))).process()

    def _ssh(self, *rest: str) -> list[str]:
        asked, remote = self._asked, self._remote
        assert asked.program is not None
        port = remote.port if remote.port is not None else asked.port
        words = [asked.program, *_FOR_COPIES, f"-oForwardAgent={'yes' if asked.forward_agent else 'no'}"]
        words += asked.ssh_options
        words += ["-p", str(port)] if port is not None else []
        words += ["-l", remote.user] if remote.user is not None else []
        return [*words, *rest]

    def companions(self, sftp: SFTPClient, tally: Tally) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()


class _Shared:
    """Over another program's connection: each session is the master's at ``path``."""

    def __init__(self, path: str, stack: contextlib.AsyncExitStack) -> None:
        self._path, self._stack = path, stack

    error: Final = None

    async def sftp(self, **options: Any) -> SFTPClient:
        from fastssh.cli.mux.bridge import session

        bridge = await self._stack.enter_async_context(session(self._path, "sftp", subsystem=True))
        return await bridge.sftp(**options)

    async def start(self, command: str) -> Process:
        from fastssh.cli.mux.bridge import session

        bridge = await self._stack.enter_async_context(session(self._path, command, subsystem=False))
        return await bridge.process()

    def companions(self, sftp: SFTPClient, tally: Tally) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()


def _overrides(asked: Arguments, messages: Messages, remote: Remote) -> list[options.Override]:
    """The command line as settings, in the order in which scp hands them to ssh: -o comes before -P and user@."""
    from fastssh.cli.connecting import identity_overrides

    found = asked.overrides + identity_overrides(asked.identities, messages, quiet=asked.quiet)
    found.append(("ForwardAgent", "yes" if asked.forward_agent else "no"))
    return found + options.account(remote.user, remote.port if remote.port is not None else asked.port)
