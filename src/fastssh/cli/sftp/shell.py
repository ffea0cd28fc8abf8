"""sftp's commands as they are carried out: a remote and a local directory, and what is done there."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastssh.aio.sftp import SFTPClient
from fastssh.aio.sftp_file import SFTPFile
from fastssh.cli.sftp.commands import PATTERNS, Command, Side, help_text
from fastssh.cli.sftp.df import df_text
from fastssh.cli.sftp.directories import Directories
from fastssh.cli.sftp.matching import escaped, remote_names, under
from fastssh.cli.sftp.output import CommandError, Output, reason
from fastssh.errors import SFTPError
from fastssh.sftp import paths
from fastssh.sftp.attributes import SFTPAttributes

T = TypeVar("T")

_KNOW_TILDE: Final = frozenset(("cd", "df", "du", "get", "ls", "put", "reget", "reput"))


@dataclass
class Settings:
    """What the command line says of all commands, and what `progress` changes."""

    resume: bool = False
    fsync: bool = False
    preserve: bool = False
    recurse: bool = False
    quiet: bool = False  # nothing is said of what goes well
    stop: bool = False  # a command over many names ends with the first that fails
    progress: bool = True


class Shell:
    """``start``: the remote directory that the session began in. Commands raise CommandError, and SSHError when the
    session is lost.

    ``copies`` carries out get and put; it is given the shell and the command.
    """

    def __init__(
        self,
        sftp: SFTPClient,
        start: str,
        output: Output,
        settings: Settings,
        copies: Mapping[str, Callable[[Shell, Command], Awaitable[None]]],
    ) -> None:
        self.sftp, self.output, self.settings = sftp, output, settings
        self.directory = self._start = start
        directories = Directories(self)
        self._does: dict[str, Callable[[Command], Awaitable[None]]] = {
            "cd": self._cd,
            "chgrp": self._change_owner,
            "chmod": self._chmod,
            "chown": self._change_owner,
            "copy": self._copy,
            "df": self._df,
            "du": directories.du,
            "help": self._help,
            "lcd": self._lcd,
            "lmkdir": self._lmkdir,
            "ln": self._link,
            "lpwd": self._lpwd,
            "ls": directories.ls,
            "lumask": self._lumask,
            "mkdir": self._mkdir,
            "progress": self._progress,
            "pwd": self._pwd,
            "rename": self._rename,
            "rm": self._rm,
            "rmdir": self._rmdir,
            "symlink": self._link,
            "version": self._version,
        }
        for name, copy in copies.items():
            self._does[name] = lambda command, copy=copy: copy(self, command)  # type: ignore[misc]

    async def execute(self, command: Command) -> bool:
        """Whether it went well; what went wrong is said. Raises SSHError when the session is lost."""
        try:
            await self._does[command.verb.does](await self._expanded(command))
        except CommandError as error:
            if str(error):
                self.output.error(str(error))
            return False
        finally:
            self.output.flush()
        return True

    # -- names ---------------------------------------------------------------------------------------------------------

    def pattern(self, path: str) -> str:
        """``path``, a pattern, seen from the remote directory."""
        return under(escaped(self.directory), path)

    def remote(self, path: str) -> bytes:
        """``path``, a name, seen from the remote directory, for the wire."""
        return paths.encode(under(self.directory, path))

    async def _expanded(self, command: Command) -> Command:
        """``command`` with ~ and ~user replaced in remote paths, but not where something is removed or changed: sftp(1)
        takes them for names there."""
        if command.verb.does not in _KNOW_TILDE:
            return command
        found = list(command.paths)
        for at, path in enumerate(found):
            if path.startswith("~") and command.verb.completes[at] is Side.REMOTE:
                found[at] = await self._without_tilde(path, pattern=at == 0 and command.verb.takes in PATTERNS)
        return command._replace(paths=tuple(found))

    async def _without_tilde(self, path: str, *, pattern: bool) -> str:
        """The path itself where nobody of that name is known."""
        user, slash, rest = path.partition("/")
        home = self._start
        if user != "~":
            try:
                home = paths.decode(await self.sftp.expand_user(user))
            except SFTPError:
                if self.sftp.session.error is not None:
                    raise
                return path
        return (escaped(home) if pattern else home) + slash + rest

    async def asked(self, what: str, reply: Awaitable[T]) -> T:
        """The server's answer, or CommandError with ``what`` before its reason."""
        try:
            return await reply
        except SFTPError as error:
            if self.sftp.session.error is not None:
                raise
            raise CommandError(f"{what}: {reason(error)}") from None

    def _need(self, extension: str) -> None:
        if extension not in self.sftp.extensions:
            raise CommandError(f"Server does not support {extension} extension")

    async def each(self, pattern: str, change: Callable[[str], Awaitable[None]]) -> None:
        """``change`` for every name that matches, and CommandError at the end if one of them failed."""
        failed = False
        for name in await self.asked(pattern, remote_names(self.sftp, self.pattern(pattern))):
            try:
                await change(name)
            except CommandError as error:
                self.output.error(str(error))
                failed = True
                if self.settings.stop:
                    break
        if failed:
            raise CommandError("")

    def note(self, text: str) -> None:
        """Said unless it is to be quiet."""
        if not self.settings.quiet:
            self.output.line(text)

    # -- where we are --------------------------------------------------------------------------------------------------

    async def _pwd(self, command: Command) -> None:
        self.output.line(f"Remote working directory: {self.directory}")

    async def _cd(self, command: Command) -> None:
        await self.change_directory(command.paths[0] if command.paths and command.paths[0] else self._start)

    async def change_directory(self, path: str) -> None:
        name = self.remote(path)
        real = await self.asked(f"realpath {paths.decode(name)}", self.sftp.realpath(name))
        attributes = await self.asked("stat remote", self.sftp.stat(real))
        if attributes.permissions is None:
            raise CommandError("Can't change directory: Can't check target")
        if not attributes.is_dir():
            raise CommandError(f'Can\'t change directory: "{real}" is not a directory')
        self.directory = real

    async def _lcd(self, command: Command) -> None:
        path = home_expanded(command.paths[0] if command.paths and command.paths[0] else "~")
        _locally(f'Couldn\'t change local directory to "{path}"', os.chdir, path)

    async def _lpwd(self, command: Command) -> None:
        here = _locally("Couldn't get local cwd", os.getcwd)
        self.output.line(f"Local working directory: {here}")

    async def _lmkdir(self, command: Command) -> None:
        _locally(f'Couldn\'t create local directory "{command.paths[0]}"', os.mkdir, command.paths[0], 0o777)

    async def _lumask(self, command: Command) -> None:
        os.umask(command.number & 0o777)
        self.output.text(f"Local umask: {command.number:03o}\n")

    # -- what is changed -----------------------------------------------------------------------------------------------

    async def _mkdir(self, command: Command) -> None:
        name = self.remote(command.paths[0])
        await self.asked(f'remote mkdir "{paths.decode(name)}"', self.sftp.mkdir(name))

    async def _rmdir(self, command: Command) -> None:
        name = self.remote(command.paths[0])
        await self.asked(f'remote rmdir "{paths.decode(name)}"', self.sftp.rmdir(name))

    async def _rm(self, command: Command) -> None:
        async def remove(name: str) -> None:
            self.note(f"Removing {name}")
            await self.asked(f"remote delete {name}", self.sftp.remove(paths.encode(name)))

        await self.each(command.paths[0], remove)

    async def _rename(self, command: Command) -> None:
        old, new = map(self.remote, command.paths)
        replace = "posix-rename@openssh.com" in self.sftp.extensions and "l" not in command.flags
        rename = self.sftp.posix_rename if replace else self.sftp.rename
        await self.asked(f'remote rename "{paths.decode(old)}" to "{paths.decode(new)}"', rename(old, new))

    async def _link(self, command: Command) -> None:
        """A symbolic link keeps its target as it was typed."""
        new = self.remote(command.paths[1])
        if command.verb.does == "symlink" or "s" in command.flags:
            target = paths.encode(command.paths[0])
            what = f'remote symlink file "{command.paths[0]}" to "{paths.decode(new)}"'
            await self.asked(what, self.sftp.symlink(target, new))
        else:
            old = self.remote(command.paths[0])
            what = f'remote link "{paths.decode(old)}" to "{paths.decode(new)}"'
            self._need("hardlink@openssh.com")
            await self.asked(what, self.sftp.link(old, new))

    async def _chmod(self, command: Command) -> None:
        wanted = SFTPAttributes(permissions=command.number)

        async def change(name: str) -> None:
            self.note(f"Changing mode on {name}")
            await self._set(name, wanted, link="h" in command.flags)

        await self.each(command.paths[0], change)

    async def _change_owner(self, command: Command) -> None:
        """The protocol knows owner and group only together, so that the other one is asked for first."""
        link, owner = "h" in command.flags, command.verb.does == "chown"

        async def change(name: str) -> None:
            path = paths.encode(name)
            now = await self.asked("stat remote", self.sftp.lstat(path) if link else self.sftp.stat(path))
            if now.uid is None or now.gid is None:
                raise CommandError(f'Can\'t get current ownership of remote file "{name}"')
            self.note(f"Changing {'owner' if owner else 'group'} on {name}")
            uid, gid = (command.number, now.gid) if owner else (now.uid, command.number)
            await self._set(name, SFTPAttributes(uid=uid, gid=gid), link=link)

        await self.each(command.paths[0], change)

    async def _set(self, name: str, attributes: SFTPAttributes, *, link: bool) -> None:
        path = paths.encode(name)
        if link:
            self._need("lsetstat@openssh.com")
            await self.asked(f'remote lsetstat "{name}"', self.sftp.lsetstat(path, attributes))
        else:
            await self.asked(f'remote setstat "{name}"', self.sftp.setstat(path, attributes))

    async def _copy(self, command: Command) -> None:
        """On the server's side. Set-id bits do not go along, as the owner may be another."""
        old, new = (paths.decode(self.remote(path)) for path in command.paths)
        self._need("copy-data")
        known = await self.asked("stat remote", self.sftp.stat(paths.encode(old)))
        if known.permissions is not None and not known.is_file():
            raise CommandError(f"Cannot copy non-regular file: {old}")
        mode = 0o666 if known.permissions is None else known.permissions & 0o777
        source = await self.asked(f'remote open("{old}")', self._opened(old, "r", None))
        async with source:
            target = await self.asked(f'remote open("{new}")', self._opened(new, "w", SFTPAttributes(permissions=mode)))
            async with target:
                what = f'Couldn\'t copy file "{old}" to "{new}"'
                await self.asked(what, self.sftp.copy_data(source, target))

    async def _opened(self, path: str, mode: str, attributes: SFTPAttributes | None) -> SFTPFile:
        return await self.sftp.open(paths.encode(path), mode, attributes)

    # -- what is shown -------------------------------------------------------------------------------------------------

    async def _help(self, command: Command) -> None:
        self.output.text(help_text())

    async def _version(self, command: Command) -> None:
        self.output.text(f"SFTP protocol version {self.sftp.version}\n")

    async def _progress(self, command: Command) -> None:
        self.settings.progress = not self.settings.progress
        self.output.text(f"Progress meter {'enabled' if self.settings.progress else 'disabled'}\n")

    async def _df(self, command: Command) -> None:
        name = self.remote(command.paths[0]) if command.paths else paths.encode(self.directory)
        self._need("statvfs@openssh.com")
        known = await self.asked("remote statvfs", self.sftp.statvfs(name))
        self.output.text(df_text(known, command.flags))


def home_expanded(path: str) -> str:
    """A local path with ~ and ~user replaced."""
    return os.path.expanduser(path)


def _locally(what: str, call: Callable[..., T], *arguments: Any) -> T:
    try:
        return call(*arguments)
    except (OSError, ValueError) as error:
        raise CommandError(f"{what}: {reason(error)}") from None
