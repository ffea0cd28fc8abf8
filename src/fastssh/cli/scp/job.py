"""The work of one fastssh-scp call: which names go from where to where, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fastssh.cli.location import Local, Remote
from fastssh.cli.messages import Messages, describe
from fastssh.cli.progress import Tally, stdout_progress
from fastssh.cli.scp.arguments import Arguments
from fastssh.cli.scp.reach import Far, reach
from fastssh.cli.scp.summary import Stopwatch, Summary
from fastssh.errors import ConfigError, SSHError

if TYPE_CHECKING:
    from fastssh.aio.sftp import SFTPClient
    from fastssh.sftp.tree import CopyOptions

EXIT_FAILED: Final = 1
EXIT_NO_CONNECTION: Final = 255  # what scp ends with when ssh could not connect, or its configuration is broken

Turn = Callable[[contextlib.AsyncExitStack], Awaitable[None]]


class CopyJob:
    """One call's copies, in the order of the command line. ``summary`` and ``tally`` tell what happened so far."""

    def __init__(self, arguments: Arguments, messages: Messages) -> None:
        self.asked = arguments
        self.messages = messages
        self.summary = Summary()
        self.tally = Tally(on_failed=self._failed)

    async def run(self) -> int:
        """Copies everything that can be copied; returns the exit status."""
        target = self.asked.target
        if isinstance(target, Remote) or self._target_is_right(target.path):
            for _, group in itertools.groupby(self.asked.sources, key=_account):
                await self._copy(list(group))
        return self.summary.status

    async def _copy(self, sources: list[Local | Remote]) -> None:
        """Sources of one account, or local ones."""
        target, first, names = self.asked.target, sources[0], [source.path for source in sources]
        if isinstance(first, Local) and isinstance(target, Local):
            await self._copy_locally(names, target.path)
        elif isinstance(first, Local) or isinstance(target, Local):
            remote = target if isinstance(target, Remote) else first
            assert isinstance(remote, Remote)
            await self.turn(remote.host, lambda stack: self._one_way(stack, remote, names))
        elif self.asked.at_origin:
            from fastssh.cli.scp.between import at_origin

            await self.turn(first.host, lambda stack: at_origin(self, stack, first, names, target))
        else:
            from fastssh.cli.scp.between import through_here

            await self.turn(first.host, lambda stack: through_here(self, stack, first, names, target))

    # -- one side is remote ----------------------------------------------------------------------------------------

    async def _one_way(self, stack: contextlib.AsyncExitStack, remote: Remote, names: list[str]) -> None:
        upload = self.asked.target is remote
        far = await self.reached(stack, remote, sends=upload)
        if self.asked.legacy:
            from fastssh.cli.scp.legacy import one_way

            async with self.copying(remote.host, lambda: far.error):
                await one_way(self, far, names, self.asked.target.path, upload=upload)
            return
        from fastssh.aio import copy

        sftp = await self.sftp(stack, far)
        work = copy.upload if upload else copy.download
        async with far.companions(sftp, self.tally), self.copying(remote.host, lambda: sftp.session.error):
            await work(sftp, names, self.asked.target.path, self.options(), self.tally)
        if sftp.session.error is not None:
            raise sftp.session.error

    # -- what all of them need -----------------------------------------------------------------------------------------

    async def turn(self, name: str, turn: Turn) -> None:
        """Copies that share their fate. Whatever ends them is reported, and the job goes on."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                await turn(stack)
        except (SSHError, OSError) as error:  # no session, or one that was lost: scp's status for both is ssh's
            self.error(name, error, EXIT_NO_CONNECTION)

    async def reached(self, stack: contextlib.AsyncExitStack, remote: Remote, *, sends: bool) -> Far:
        return await stack.enter_async_context(reach(self.asked, self.messages, remote, self.summary, sends=sends))

    async def sftp(self, stack: contextlib.AsyncExitStack, far: Far) -> SFTPClient:
        """A session with the bounds that were asked for."""
        bounds = {"requests": self.asked.requests, "request_length": self.asked.buffer}
        sftp = await stack.enter_async_context(await far.sftp(**bounds))
        sftp.session.set_send_rate(self.asked.limit)
        return sftp

    def options(self) -> CopyOptions:
        from fastssh.sftp.tree import CopyOptions

        return CopyOptions(
            recurse=self.asked.recurse,
            preserve=self.asked.preserve,
            target_directory=len(self.asked.sources) > 1,
        )

    @contextlib.asynccontextmanager
    async def copying(self, name: str, lost: Callable[[], BaseException | None]) -> AsyncIterator[None]:
        """Shows and counts what is copied meanwhile, and reports what ends it; but a session that was ``lost`` is left
        to the caller."""
        progress = None if self.asked.quiet else stdout_progress(self.tally)
        async with contextlib.AsyncExitStack() as stack:
            if progress is not None:
                self.messages.before = progress.clear
                stack.callback(setattr, self.messages, "before", None)
                await stack.enter_async_context(progress)
            stack.enter_context(Stopwatch(self.summary, "seconds"))
            try:
                yield
            except (SSHError, OSError) as error:
                if lost() is not None:
                    raise
                self.error(name, error, EXIT_FAILED)
            finally:  # what was done counts, whatever ended it
                self.summary.files, self.summary.bytes = self.tally.finished_files, self.tally.finished_bytes

    # -- no side is remote ---------------------------------------------------------------------------------------------

    def _target_is_right(self, target: str) -> bool:
        """Several sources need a folder to go to."""
        if len(self.asked.sources) == 1 or os.path.isdir(target):
            return True
        code = errno.ENOTDIR if os.path.lexists(target) else errno.ENOENT
        self.error(target, OSError(code, os.strerror(code), target), EXIT_FAILED)
        return False

    async def _copy_locally(self, paths: list[str], target: str) -> None:
        """As scp does: with cp, which tells by itself what it could not copy. No shell sees the names."""
        flags = [flag for flag, wanted in (("-r", self.asked.recurse), ("-p", self.asked.preserve)) if wanted]
        try:
            process = await asyncio.create_subprocess_exec("cp", *flags, "--", *paths, target)
        except OSError as error:
            self.error("cp", error, EXIT_FAILED)
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
        """One file or folder that was not copied; without a name the other side's words say which."""
        if name:
            self.messages.failure(name, error)
        else:
            self.messages.line(describe(error))
        self.summary.error(name, error)
        self.summary.status = self.summary.status or EXIT_FAILED

    def error(self, name: str, error: SSHError | OSError, status: int) -> None:
        """What ended a whole connection's turn, or kept it from beginning."""
        text = describe(error)
        self.messages.line(text if isinstance(error, ConfigError) or name in text else f"{name}: {text}")
        self.summary.error(name, error)
        self.summary.status = max(self.summary.status, status)


def _account(source: Local | Remote) -> tuple[str, str | None, int | None] | None:
    return source.account if isinstance(source, Remote) else None
