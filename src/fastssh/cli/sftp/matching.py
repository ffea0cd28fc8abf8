"""What a pattern stands for: remote names as sftp's commands want them, and local ones in the same words."""

from __future__ import annotations

import asyncio
import os
from typing import Final, NamedTuple

from fastssh.aio.sftp import SFTPClient
from fastssh.errors import SFTPError
from fastssh.sftp import glob, paths
from fastssh.sftp.attributes import SFTPAttributes

_AT_ONCE: Final = 256  # links looked behind at a time


class Match(NamedTuple):
    """A remote name. ``attributes`` are those of what a link leads to, if it leads somewhere."""

    path: str
    attributes: SFTPAttributes

    @property
    def marked(self) -> str:
        """The path, with a slash behind a directory's."""
        return f"{self.path}/" if self.attributes.is_dir() and not self.path.endswith("/") else self.path


async def remote_matches(sftp: SFTPClient, pattern: str) -> list[Match]:
    """The names that match; none when there is nothing. Raises SFTPError for a lost session."""
    found = [Match(paths.decode(path), known) for path, known in await sftp.glob_attributes(paths.encode(pattern))]
    links = [at for at, match in enumerate(found) if match.attributes.is_symlink()]
    for start in range(0, len(links), _AT_ONCE):
        some = links[start : start + _AT_ONCE]
        for at, match in zip(some, await asyncio.gather(*(_behind(sftp, found[at]) for at in some)), strict=True):
            found[at] = match
    return found


async def _behind(sftp: SFTPClient, match: Match) -> Match:
    try:
        return match._replace(attributes=await sftp.stat(paths.encode(match.path)))
    except SFTPError:
        if sftp.session.error is not None:
            raise
        return match  # it leads nowhere, or where we may not look


async def remote_names(sftp: SFTPClient, pattern: str) -> list[str]:
    """The names that match, or the one that is meant when nothing does: it is for the server to say what is wrong."""
    found = [paths.decode(path) for path, _ in await sftp.glob_attributes(paths.encode(pattern))]
    return found or [glob.unescape(pattern)]


def local_names(pattern: str, *, at_least: bool = True) -> list[str]:
    """The same for local names, a directory's with a slash behind it; without ``at_least`` perhaps none."""
    found = ["/" if pattern.startswith("/") else ""]
    components = [part for part in pattern.split("/") if part]
    for at, component in enumerate(components):
        found = [name for directory in found for name in _below(directory, component, at == len(components) - 1)]
    found = sorted(found, key=os.fsencode) or [glob.unescape(pattern)] * at_least
    return [f"{name}/" if is_local_directory(name) and not name.endswith("/") else name for name in found]


def _below(directory: str, component: str, last: bool) -> list[str]:
    if glob.is_literal(component):
        name = os.path.join(directory, glob.unescape(component))
        return [name] if os.path.lexists(name) else []
    wanted = glob.Pattern(component)
    try:
        names = os.listdir(directory or ".")
    except OSError:  # no directory, or not to be read: it holds no match
        return []
    found = [os.path.join(directory, name) for name in names if wanted.matches(name)]
    return found if last else [name for name in found if is_local_directory(name)]


def is_local_directory(path: str) -> bool:
    """A directory, or a link to one."""
    return os.path.isdir(path)


def escaped(path: str) -> str:
    """The pattern that only ``path`` matches."""
    return glob.escape(path)


def under(directory: str, path: str) -> str:
    """``path`` seen from ``directory``; both patterns, or both names."""
    if path.startswith("/"):
        return path
    return f"{directory}{'' if directory.endswith('/') or not directory else '/'}{path}"


def last_component(path: str) -> str:
    """The name that a copy of ``path`` gets; "." where there is none to be had ("..", "/")."""
    return paths.decode(paths.basename(paths.encode(path)))
