"""The far side's scp: what a command asks for, of the files of a session."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from fastssh.errors import TransferError
from fastssh.scp.command import Command
from fastssh.scp.records import Problem
from fastssh.scp.sink import Sink
from fastssh.scp.source import Source
from fastssh.scp.steps import Steps
from fastssh.sftp import glob, paths
from fastssh.sftp.filesystem import FileSystem
from fastssh.sftp.tree import CopyObserver, CopyReport

MAX_MATCHES: Final = 16 * 1024 * 1024  # bytes of the names that a pattern may give; a shell's limit is lower still

_NOBODY: Final = type("_Nobody", (CopyObserver,), {"__doc__": "An observer who does not look."})()


def serve(filesystem: FileSystem, command: Command, *, patterns: bool, read_only: bool = False) -> Steps[CopyReport]:
    """What :class:`Sink` or :class:`Source` make of it. ``patterns``: no shell has expanded the paths yet,
    for this is a server, which others wait for."""
    if command.sink and read_only:
        return _refusing("Permission denied")
    if command.sink:
        path = command.paths[0]
        target = _home(filesystem, path) if patterns else paths.encode(path)
        return Sink(filesystem, target, command.options, _NOBODY, wait=not patterns).steps()
    if patterns:
        try:
            sources = [name for path in command.paths for name in expand(filesystem, path)]
        except TransferError as error:
            return _refusing(str(error))
    else:
        sources = [paths.encode(path) for path in command.paths]
    return Source(filesystem, sources, command.options, _NOBODY).steps()


def _refusing(reason: str) -> Steps[CopyReport]:
    yield Problem(reason, fatal=True).encode()
    raise TransferError(reason)


def _home(filesystem: FileSystem, path: str) -> bytes:
    """A plain path: a leading tilde is somebody's home, backslashes are taken out."""
    name, slash, rest = path.partition("/")
    if name.startswith("~"):
        home = filesystem.home_of(paths.encode(name[1:]))
        if home is not None:
            return home.rstrip(b"/") + paths.encode(slash + _plain(rest)) if slash else home
    return paths.encode(_plain(path))


def _plain(path: str) -> str:
    return re.sub(r"\\(.)", r"\1", path, flags=re.DOTALL)


def expand(filesystem: FileSystem, pattern: str) -> list[bytes]:
    """The paths that a shell would make of ``pattern``, in order; one that matches nothing is a plain path.

    Raises TransferError for more than MAX_MATCHES: links can make any number of paths of a few names."""
    tilde = pattern.startswith("~")
    head, _, rest = pattern.partition("/") if tilde else ("", "", pattern)
    if not glob.has_magic(rest):
        return [_home(filesystem, pattern)]
    base = _home(filesystem, head) if tilde else b""
    start = b"/" if rest.startswith("/") and not tilde else b""
    found = [base.rstrip(b"/") + b"/" if base else start]
    components = [component for component in rest.split("/") if component]
    for index, component in enumerate(components):
        last = index == len(components) - 1
        found = _bounded(path for each in found for path in _matches(filesystem, each, component, last))
    return sorted(path.removesuffix(b"/") or b"/" for path in found) or [_home(filesystem, pattern)]


def _bounded(found: Iterator[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    left = MAX_MATCHES
    for path in found:
        left -= len(path) + 1
        if left < 0:
            raise TransferError(os.strerror(errno.E2BIG))
        kept.append(path)
    return kept


def _matches(filesystem: FileSystem, directory: bytes, component: str, last: bool) -> Iterator[bytes]:
    """Paths in ``directory``, which ends in a slash or is empty; with a slash at the end where more follows."""
    end = b"" if last else b"/"
    if glob.is_literal(component):
        path = directory + paths.encode(glob.unescape(component))
        try:
            status = filesystem.stat(path)
        except OSError:
            return
        if last or stat.S_ISDIR(status.st_mode):
            yield path + end
        return
    test = glob.Pattern(component)
    try:
        fd = filesystem.opendir(directory or b".")
    except OSError:
        return
    try:
        names = [name for name in os.listdir(fd) if test.matches(name)]
    finally:
        os.close(fd)
    for name in names:
        path = directory + os.fsencode(name)
        if last or _is_directory(filesystem, path):
            yield path + end


def _is_directory(filesystem: FileSystem, path: bytes) -> bool:
    try:
        return stat.S_ISDIR(filesystem.stat(path).st_mode)
    except OSError:
        return False
