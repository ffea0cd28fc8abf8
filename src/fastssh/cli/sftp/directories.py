"""ls and du: remote directories, listed and added up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final

from fastssh.cli.sftp.commands import Command
from fastssh.cli.sftp.listing import Entry, Style, columns, long_line, ordered, scaled, terminal_columns
from fastssh.cli.sftp.matching import Match, remote_matches, under
from fastssh.cli.sftp.output import CommandError, reason
from fastssh.errors import SFTPError
from fastssh.sftp import glob, paths
from fastssh.sftp.attributes import SFTPAttributes

if TYPE_CHECKING:
    from fastssh.aio.sftp import SFTPEntry
    from fastssh.cli.sftp.shell import Shell

_IDS_AT_ONCE: Final = 1000  # whose names are asked for in one request


class Directories:
    """Of the server of ``shell``. Names of users and groups are asked for once."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._names: dict[tuple[str, int], str] = {}  # of users and groups
        self._unread = False  # a directory could not be read

    async def du(self, command: Command) -> None:
        """As du(1) counts: KiB, each file rounded up; sizes, as the protocol does not tell blocks."""
        path = command.paths[0] if command.paths else "."
        self._unread = False
        for match in await self._found(path, "du"):
            whole = match.path.removesuffix("/.") or "/"
            await self._add_up(whole, match.attributes, command.flags, 0)
        if self._unread:
            raise CommandError("")

    async def _add_up(self, path: str, attributes: SFTPAttributes, flags: str, depth: int) -> int:
        kibibytes = -(-(attributes.size or 0) // 1024)
        if attributes.is_dir():
            kibibytes = 0
            if depth >= paths.MAX_DEPTH:
                raise CommandError(f"Maximum directory depth exceeded: {depth} levels")
            below = [entry async for entry in self._below(path)]
            for entry in sorted(below, key=lambda entry: entry.name):
                kibibytes += await self._add_up(under(path, entry.name), entry.attributes, flags, depth + 1)
        if depth == 0 or ("s" not in flags and (attributes.is_dir() or "a" in flags)):
            shown = scaled(kibibytes * 1024) if "h" in flags else str(kibibytes)
            self._shell.output.line(f"{shown:<7} {strip(path, self._shell.directory) or '.'}")
        return kibibytes

    async def _below(self, path: str) -> AsyncIterator[SFTPEntry]:
        try:
            async for entry in self._shell.sftp.scandir(paths.encode(path)):
                yield entry
        except SFTPError as error:
            if self._shell.sftp.session.error is not None:
                raise
            self._unread = True
            self._shell.output.error(f'Couldn\'t read directory "{path}": {reason(error)}')

    async def _found(self, path: str, command: str) -> list[Match]:
        matches: dict[str, Match] = {}
        for pattern in map(self._shell.pattern, glob.braces(path)):
            for match in await self._shell.asked(pattern, remote_matches(self._shell.sftp, pattern)):
                matches.setdefault(match.path, match)
        if not matches:
            raise CommandError(f'Can\'t {command}: "{self._shell.pattern(path)}" not found')
        return list(matches.values())

    async def ls(self, command: Command) -> None:
        style = Style.of(command.flags)
        if not command.paths:
            await self._list_directory(self._shell.directory, self._shell.directory, style)
            return
        path = command.paths[0]
        above = "" if path.startswith("/") else self._shell.directory
        matches = await self._found(path, "ls")
        if len(matches) == 1 and matches[0].attributes.is_dir():
            await self._list_directory(matches[0].marked, above, style)
            return
        entries = ordered([Entry(match.marked, match.attributes) for match in matches], style)
        shown = [entry._replace(name=strip(entry.name, above)) for entry in entries]
        await self._show(shown, style, max(len(paths.encode(entry.name)) for entry in entries))

    async def _list_directory(self, path: str, above: str, style: Style) -> None:
        entries: list[Entry] = []
        try:
            async for name in self._shell.sftp.entries(paths.encode(path)):
                entries.append(Entry(paths.decode(name.filename), name.attributes, paths.decode(name.longname)))
        except SFTPError as error:
            if self._shell.sftp.session.error is not None:
                raise
            raise CommandError(f'remote readdir("{path}"): {reason(error)}') from None
        if not style.hidden:
            entries = [entry for entry in entries if not entry.name.startswith(".")]
        widest = max((len(paths.encode(entry.name)) for entry in entries), default=0)
        shown = [entry._replace(name=strip(under(path, entry.name), above)) for entry in ordered(entries, style)]
        await self._show(shown, style, widest + len(paths.encode(strip(path, above))), of_server=True)

    async def _show(self, entries: list[Entry], style: Style, widest: int, *, of_server: bool = False) -> None:
        if not style.long:
            names = [entry.name for entry in entries]
            self._shell.output.text(columns(names, widest, terminal_columns(), single=style.single))
            return
        known = "users-groups-by-id@openssh.com" in self._shell.sftp.extensions
        if of_server and not known and not (style.numeric or style.human):
            for entry in entries:
                self._shell.output.line(entry.longname)
            return
        if known and not style.numeric:
            await self._learn_names(entry.attributes for entry in entries)
        now = time.time()
        user, group = (lambda uid: self._names.get(("user", uid))), (lambda gid: self._names.get(("group", gid)))
        for entry in entries:
            self._shell.output.line(long_line(entry.name, entry.attributes, style, user, group, now))

    async def _learn_names(self, listed: Iterable[SFTPAttributes]) -> None:
        """Asks who owns what is listed, as far as that is not known yet. Without an answer numbers are shown."""
        found = {kind: set[int]() for kind in ("user", "group")}
        for attributes in listed:
            for kind, number in (("user", attributes.uid), ("group", attributes.gid)):
                if number is not None and (kind, number) not in self._names:
                    found[kind].add(number)
        users, groups = sorted(found["user"]), sorted(found["group"])
        for start in range(0, max(len(users), len(groups)), _IDS_AT_ONCE):
            some, teams = users[start : start + _IDS_AT_ONCE], groups[start : start + _IDS_AT_ONCE]
            try:
                names, team_names = await self._shell.sftp.users_groups_by_id(some, teams)
            except SFTPError:
                if self._shell.sftp.session.error is not None:
                    raise
                return
            self._names.update({("user", uid): name for uid, name in zip(some, names, strict=True) if name})
            self._names.update({("group", gid): name for gid, name in zip(teams, team_names, strict=True) if name})


def strip(path: str, above: str) -> str:
    """``path`` as it is shown to somebody in the directory ``above``."""
    if not above or not path.startswith(above):
        return path
    rest = path[len(above) :]
    return rest[1:] if rest.startswith("/") and not above.endswith("/") else rest
