"""The work of one fastssh-scp call: which names go over which connection, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from fastssh.cli.location import Local, Remote
from fastssh.cli.messages import Messages, describe
from fastssh.cli.progress import Tally, stdout_progress
from fastssh.cli.scp.arguments import Arguments
from fastssh.cli.scp.summary import Stopwatch, Summary
from fastssh.errors import ConfigError, SSHError

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.sftp import SFTPClient

EXIT_FAILED: Final = 1
EXIT_NO_CONNECTION: Final = 255  # what scp ends with when ssh could not connect, or its configuration is broken


class CopyJob:
    """One call's copies, in the order of the command line. ``summary`` and ``tally`` tell what happened so far."""

    def __init__(self, arguments: Arguments, messages: Messages) -> None:
        self._arguments = arguments
        self._messages = messages
        self.summary = Summary()
        self.tally = Tally(on_failed=self._failed)

    async def run(self) -> int:
        """Copies everything that can be copied; returns the exit status."""
        target = self._arguments.target
        if isinstance(target, Remote):
            paths = [source.path for source in self._arguments.sources if isinstance(source, Local)]
            await self._transfer(target, paths, upload=True)
        elif self._target_is_right(target.path):
            for _, group in itertools.groupby(self._arguments.sources, key=_account):
                sources = list(group)
                paths = [source.path for source in sources]
                if isinstance(sources[0], Remote):
                    await self._transfer(sources[0], paths, upload=False)
                else:
                    await self._copy_locally(paths, target.path)
        return self.summary.status

    # -- over a connection -------------------------------------------------------------------------------------------

    async def _transfer(self, remote: Remote, paths: list[str], *, upload: bool) -> None:
        """Copies ``paths`` over a connection of their own. Whatever ends it is reported, and the job goes on."""
        try:
            with Stopwatch(self.summary, "connect_seconds"):
                connection = await self._connect(remote)
        except (SSHError, OSError) as error:
            self._error(remote.host, error, EXIT_NO_CONNECTION)
            return
        async with connection:
            chosen = connection.negotiated
            self.summary.algorithms = {
                "cipher": chosen.cipher_c2s if upload else chosen.cipher_s2c,
                "mac": chosen.mac_c2s if upload else chosen.mac_s2c,
                "kex": chosen.kex,
                "host_key_algorithm": chosen.host_key,
            }
            self.summary.connections = max(self.summary.connections, 1)
            try:
                async with await connection.sftp() as sftp, self._companions(connection, sftp):
                    sftp.session.set_send_rate(self._arguments.limit)
                    await self._copy(sftp, remote, paths, upload=upload)
                    if sftp.session.error is not None:
                        raise sftp.session.error
            except (SSHError, OSError) as error:  # no session, or one that was lost: scp's status for both is ssh's
                self._error(remote.host, error, EXIT_NO_CONNECTION)

    @contextlib.asynccontextmanager
    async def _companions(self, connection: ClientConnection, sftp: SFTPClient) -> AsyncIterator[None]:
        """More sessions as soon as a file is large enough for them to pay. A rate limit holds for one connection."""
        from fastssh.cli.companions import LARGE, Companions

        if self._arguments.limit or self._arguments.connections == 1:
            yield
            return
        async with Companions(connection, sftp, self._arguments.connections) as companions:
            self.tally.on_started = lambda size: companions.begin() if size >= LARGE else None
            try:
                yield
            finally:
                self.tally.on_started = None
                self.summary.connections = max(self.summary.connections, 1 + companions.connections)

    async def _connect(self, remote: Remote) -> ClientConnection:
        from fastssh.cli.connecting import connect

        threading.Thread(target=_import_the_rest, name="imports", daemon=True).start()
        return await connect(
            remote.host, self._messages, overrides=self._overrides(remote), config_file=self._arguments.config_file
        )

    def _overrides(self, remote: Remote) -> list[str | tuple[str, str]]:
        """The command line as settings, in the order in which scp hands them to ssh: -o comes before -P and user@."""
        from fastssh.cli.connecting import identity_overrides

        asked = self._arguments
        found = asked.overrides + identity_overrides(asked.identities, self._messages, quiet=asked.quiet)
        port = remote.port if remote.port is not None else asked.port
        if port is not None:
            found.append(("Port", str(port)))
        if remote.user is not None:
            found.append(("User", remote.user))
        return found

    async def _copy(self, sftp: SFTPClient, remote: Remote, paths: list[str], *, upload: bool) -> None:
        """Copies ``paths`` and reports what failed, but for a lost session, which is left to the caller."""
        from fastssh.aio import copy

        options = copy.CopyOptions(
            recurse=self._arguments.recurse,
            preserve=self._arguments.preserve,
            target_directory=len(self._arguments.sources) > 1,
        )
        progress = None if self._arguments.quiet else stdout_progress(self.tally)
        async with contextlib.AsyncExitStack() as stack:
            if progress is not None:
                self._messages.before = progress.clear
                stack.callback(setattr, self._messages, "before", None)
                await stack.enter_async_context(progress)
            stack.enter_context(Stopwatch(self.summary, "seconds"))
            work = copy.upload if upload else copy.download
            try:
                await work(sftp, paths, self._arguments.target.path, options, self.tally)
            except (SSHError, OSError) as error:
                if sftp.session.error is None:
                    self._error(remote.host, error, EXIT_FAILED)
            finally:  # what was done counts, whatever ended it
                self.summary.files, self.summary.bytes = self.tally.finished_files, self.tally.finished_bytes

    # -- without one ---------------------------------------------------------------------------------------------------

    def _target_is_right(self, target: str) -> bool:
        """Several sources need a folder to go to."""
        if len(self._arguments.sources) == 1 or os.path.isdir(target):
            return True
        code = errno.ENOTDIR if os.path.lexists(target) else errno.ENOENT
        self._error(target, OSError(code, os.strerror(code), target), EXIT_FAILED)
        return False

    async def _copy_locally(self, paths: list[str], target: str) -> None:
        """As scp does: with cp, which tells by itself what it could not copy. No shell sees the names."""
        flags = [flag for flag, wanted in (("-r", self._arguments.recurse), ("-p", self._arguments.preserve)) if wanted]
        try:
            process = await asyncio.create_subprocess_exec("cp", *flags, "--", *paths, target)
        except OSError as error:
            self._error("cp", error, EXIT_FAILED)
            return
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if status != 0:
            self.summary.status = self.summary.status or EXIT_FAILED
            self.summary.error(target, OSError(f"cp ended with status {status}"))

    # -- what went wrong -----------------------------------------------------------------------------------------------

    def _failed(self, name: str, error: BaseException) -> None:
        """One file or folder that was not copied."""
        self._messages.failure(name, error)
        self.summary.error(name, error)
        self.summary.status = self.summary.status or EXIT_FAILED

    def _error(self, name: str, error: SSHError | OSError, status: int) -> None:
        """What ended a whole connection's turn, or kept it from beginning."""
        text = describe(error)
        self._messages.line(text if isinstance(error, ConfigError) or name in text else f"{name}: {text}")
        self.summary.error(name, error)
        self.summary.status = max(self.summary.status, status)


def _import_the_rest() -> None:
    """What is needed after the login, while the server is waited for: a twelfth of a short copy's time."""
    with contextlib.suppress(ImportError):  # whoever needs it tells
        import fastssh.aio.copy
        import fastssh.cli.companions  # noqa: F401


def _account(source: Local | Remote) -> tuple[str, str | None, int | None] | None:
    return source.account if isinstance(source, Remote) else None
