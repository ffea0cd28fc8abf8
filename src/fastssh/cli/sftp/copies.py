"""get and put: which names a pattern stands for, what each copy is called, and the copies, many at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from fastssh.aio import copy
from fastssh.cli.messages import reason as without_name
from fastssh.cli.progress import Tally, stdout_progress
from fastssh.cli.sftp.commands import Command
from fastssh.cli.sftp.matching import is_local_directory, last_component, local_names, remote_matches, under
from fastssh.cli.sftp.output import CommandError, reason
from fastssh.errors import SFTPError, SSHError
from fastssh.sftp import messages, paths

if TYPE_CHECKING:
    from fastssh.cli.sftp.shell import Shell


_ENTERING: Final = {"download": "Retrieving", "upload": "Entering"}


class Copies:
    """``large`` is called with the size of each file that is about to be copied, in bytes."""

    def __init__(self, large: Callable[[int], None]) -> None:
        self._large = large

    async def get(self, shell: Shell, command: Command) -> None:
        """Remote files and, with -r, directories to local names."""
        source, *target = command.paths
        local = target[0] if target else None
        pattern = shell.pattern(source)
        matches = await shell.asked(pattern, remote_matches(shell.sftp, pattern))
        if not matches:
            raise CommandError(f'File "{pattern}" not found.')
        into = local is not None and is_local_directory(local)
        if len(matches) > 1 and local is not None and not into:
            raise CommandError(f'Multiple source paths, but destination "{local}" is not a directory')
        pairs = []
        for match in matches:
            name = last_component(match.path)
            if local is None:
                copied = name
            else:
                copied = under(local, name) if into else local
            shell.note(f"{'Resuming' if self._resumes(shell, command) else 'Fetching'} {match.marked} to {copied}")
            pairs.append((paths.encode(match.path), copied, match.attributes))
        options = self._options(shell, command, download=True)
        async with self._observed(shell, "download") as tally:
            report = await self._settled(shell, copy.fetch(shell.sftp, pairs, options, tally))
        if report.failed:
            raise CommandError("")

    async def put(self, shell: Shell, command: Command) -> None:
        """Local files and, with -r, directories to remote names."""
        source, *target = command.paths
        remote = under(shell.directory, target[0]) if target else None
        names = local_names(source)
        into = remote is None or await self.is_directory(shell, remote)
        if len(names) > 1 and not into:
            raise CommandError(f'Multiple paths match, but destination "{remote}" is not a directory')
        pairs, failed = [], False
        for name in names:
            try:
                os.stat(name)
            except (OSError, ValueError) as error:
                shell.output.error(f"stat {name}: {reason(error)}")
                failed = True
                continue
            copied = under(remote or shell.directory, last_component(name)) if into or remote is None else remote
            words = "Resuming upload of" if self._resumes(shell, command) else "Uploading"
            shell.note(f"{words} {name} to {copied}")
            pairs.append((name, paths.encode(copied)))
        options = self._options(shell, command, download=False)
        async with self._observed(shell, "upload") as tally:
            report = await self._settled(shell, copy.store(shell.sftp, pairs, options, tally))
        if failed or report.failed:
            raise CommandError("")

    @staticmethod
    def _resumes(shell: Shell, command: Command) -> bool:
        return shell.settings.resume or "a" in command.flags or command.verb.does in ("reget", "reput")

    def _options(self, shell: Shell, command: Command, *, download: bool) -> copy.CopyOptions:
        flags, settings = command.flags.lower(), shell.settings
        return copy.CopyOptions(
            preserve=settings.preserve or "p" in flags,
            recurse=settings.recurse or "r" in flags,
            fsync=(settings.fsync or "f" in flags) and (download or shell.sftp.session.supports(messages.FSYNC)),
            resume=self._resumes(shell, command),
            only_regular=True,
        )

    @staticmethod
    async def is_directory(shell: Shell, path: str) -> bool:
        try:
            return (await shell.sftp.stat(paths.encode(path))).is_dir()
        except SFTPError:
            if shell.sftp.session.error is not None:
                raise
            return False

    @staticmethod
    async def _settled(shell: Shell, copying: object) -> copy.CopyReport:
        try:
            return await copying  # type: ignore[misc,no-any-return]
        except (SSHError, OSError) as error:
            if shell.sftp.session.error is not None:
                raise
            raise CommandError(reason(error)) from None

    @contextlib.asynccontextmanager
    async def _observed(self, shell: Shell, doing: str) -> AsyncIterator[Tally]:
        """Who hears of the files, with a progress display where one is wanted."""

        def failed(name: str, error: BaseException) -> None:
            text = reason(error) if isinstance(error, SFTPError) else without_name(error, name)
            shell.output.error(f'{doing} "{name}": {text}')

        def noted(name: str, what: copy.Note) -> None:
            if shell.settings.quiet:
                return
            if what is copy.Note.ENTERED:
                shell.output.line(f"{_ENTERING[doing]} {name}")
            elif what is copy.Note.PASSED_OVER:
                shell.output.error(f'{doing} "{name}": not a regular file')
            else:
                shell.output.error(f'File "{name}" was not modified')

        tally = Tally(on_failed=failed, on_started=self._large, on_noted=noted)
        progress = stdout_progress(tally) if shell.settings.progress else None
        if progress is None:
            yield tally
            return
        shell.output.flush()
        async with progress:
            shell.output.before = progress.clear
            try:
                yield tally
            finally:
                shell.output.before = None
