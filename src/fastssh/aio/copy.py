"""Copies over SFTP: scp's :func:`upload` and :func:`download`, with OpenSSH's rules for what a target may be, and
:func:`store` and :func:`fetch`, whose targets are named one by one."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from fastssh.aio.sftp import SFTPClient
from fastssh.aio.sftp_channel import resolve
from fastssh.errors import SFTPError, SFTPFileNotFoundError
from fastssh.sftp import glob, paths
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.download_tree import DownloadTree
from fastssh.sftp.tree import CopyFailure, CopyObserver, CopyOptions, CopyReport, Note, Tree
from fastssh.sftp.upload_tree import UploadTree

__all__ = [
    "Copy",
    "CopyFailure",
    "CopyObserver",
    "CopyOptions",
    "CopyReport",
    "Note",
    "download",
    "fetch",
    "store",
    "upload",
]

Local = str | os.PathLike[str]
Match = tuple[bytes, SFTPAttributes | None, bytes]  # remote path, what is known of it, the name that a copy of it gets
Root = tuple[Any, ...]  # what a tree's add() takes: a source, its target and what is known
Copy = Callable[..., Awaitable[CopyReport]]  # upload or download

NOBODY: Final = type("_Nobody", (CopyObserver,), {"__doc__": "An observer who does not look."})()


async def upload(
    sftp: SFTPClient,
    sources: Sequence[Local],
    target: paths.Path,
    options: CopyOptions | None = None,
    observer: CopyObserver | None = None,
) -> CopyReport:
    """Copies local files, and with ``options.recurse`` directories, to the remote ``target`` ("" and "~": home).

    Into the target if it is a directory, else to that name; several sources need a directory, which is made if there is
    nothing of that name. What fails is told to ``observer`` and kept in the report, and the rest goes on. Raises what
    concerns all of it: a target that cannot be, a lost session. Cancelled, it ends what is under way first; see
    :meth:`SFTPClient.put_file` for what is left behind.
    """
    options = options or CopyOptions()
    destination = await sftp.expand_user(target)
    known = await remote_target(sftp, destination, len(sources) > 1 or options.target_directory)
    into = known is not None and known.is_dir()

    roots: list[Root] = []
    for source in [os.fspath(source) for source in sources]:
        remote = paths.join(destination, paths.basename(os.fsencode(source))) if into else destination
        roots.append((source, remote, ... if into else known))
    return await _copy(sftp, UploadTree, roots, options, observer)


async def remote_target(sftp: SFTPClient, path: bytes, must_be_directory: bool) -> SFTPAttributes | None:
    """What is at the target; None: nothing. A directory that has to be there is made."""
    name = paths.decode(path)
    try:
        known: SFTPAttributes | None = await sftp.stat(path)
    except SFTPFileNotFoundError:
        known = None
    if must_be_directory and known is None:
        await sftp.mkdir(path)
        known = await sftp.stat(path)
    if must_be_directory and known is not None and not known.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    return known


async def download(
    sftp: SFTPClient,
    sources: Sequence[paths.Path],
    target: Local,
    options: CopyOptions | None = None,
    observer: CopyObserver | None = None,
) -> CopyReport:
    """Copies remote files, and with ``options.recurse`` directories, to the local ``target``.

    Sources may be patterns, as glob(3) reads them; one that matches nothing is taken as it is written. Into the target
    if it is a directory, else to that name; several sources need a directory that is there, several matches of one
    pattern one that is there or can be made. Otherwise as :func:`upload`; see :meth:`SFTPClient.get_file` for what is
    left behind.
    """
    options = options or CopyOptions()
    destination = os.fspath(target)
    if len(sources) > 1 or options.target_directory:
        _check_directory(destination)
    report = CopyReport()
    matches = await matching(sftp, sources, report, observer or NOBODY)
    into = _is_directory(destination, make=len(matches) > 1)
    roots = [
        (remote, os.path.join(destination, os.fsdecode(name)) if into else destination, attributes)
        for remote, attributes, name in matches
    ]
    return await _copy(sftp, DownloadTree, roots, options, observer, report)


async def store(
    sftp: SFTPClient,
    pairs: Iterable[tuple[Local, bytes]],
    options: CopyOptions | None = None,
    observer: CopyObserver | None = None,
) -> CopyReport:
    """Copies each local file or directory to exactly the remote name beside it; otherwise as :func:`upload`."""
    roots = [(os.fspath(local), remote) for local, remote in pairs]
    return await _copy(sftp, UploadTree, roots, options or CopyOptions(), observer)


async def fetch(
    sftp: SFTPClient,
    pairs: Iterable[tuple[bytes, Local, SFTPAttributes | None]],
    options: CopyOptions | None = None,
    observer: CopyObserver | None = None,
) -> CopyReport:
    """Copies each remote file or directory, with what is known of it, to exactly the local name beside it; otherwise as
    :func:`download`."""
    roots = [(remote, os.fspath(local), attributes) for remote, local, attributes in pairs]
    return await _copy(sftp, DownloadTree, roots, options or CopyOptions(), observer)


def _check_directory(path: str) -> None:
    if not os.path.isdir(path):
        code = errno.ENOTDIR if os.path.lexists(path) else errno.ENOENT
        raise OSError(code, os.strerror(code), path)


def _is_directory(path: str, *, make: bool) -> bool:
    if make and not os.path.lexists(path):
        os.mkdir(path)
    if make:
        _check_directory(path)
    return os.path.isdir(path)


async def matching(
    sftp: SFTPClient, sources: Sequence[paths.Path], report: CopyReport, observer: CopyObserver
) -> list[Match]:
    """What all ``sources`` stand for; one that cannot be looked up has failed."""
    matches: list[Match] = []
    for source in sources:
        try:
            matches += await _expand(sftp, source)
        except SFTPError as error:
            if sftp.session.error is not None:
                raise
            name = paths.decode(paths.encode(source))
            report.add_failure(name, error)
            observer.failed(name, error)
    return matches


async def _expand(sftp: SFTPClient, source: paths.Path) -> list[Match]:
    """The paths that a source stands for, never none: what matches nothing is a plain name, as copying it will tell.

    Local names come from what the user wrote, or match it; the server only says where ~user is (CVE-2019-6111).
    """
    written = paths.encode(source)
    path = await sftp.expand_user(written)
    _, _, rest = written.partition(b"/")
    of_server = path.removesuffix(rest) if paths.without_tilde(written) is None else b""
    if glob.has_magic(paths.decode(path.removeprefix(of_server))):
        pattern = paths.encode(glob.escape(paths.decode(of_server))) + path.removeprefix(of_server)
        matches = await sftp.glob_attributes(pattern)
        if matches:
            return [(match, attributes, paths.basename(match)) for match, attributes in matches]
    name = written.rstrip(b"/")[1:] if of_server and not rest else path  # ~bob becomes bob, wherever it is
    return [(path, None, paths.basename(name))]


async def _copy(
    sftp: SFTPClient,
    kind: type[UploadTree | DownloadTree],
    roots: Sequence[Root],
    options: CopyOptions,
    observer: CopyObserver | None,
    report: CopyReport | None = None,
) -> CopyReport:
    report = report or CopyReport()
    for some in _in_turn(roots):
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tree = kind(sftp.session, options, observer or NOBODY, report, partial(resolve, done, None))
        for root in some:
            tree.add(*root)
        tree.pump()
        await sftp.finish_copy(done, tree.cancel, None if observer is None else partial(_tell_progress, tree, observer))
        if sftp.session.error is not None:
            raise sftp.session.error
    return report


def _in_turn(roots: Sequence[Root]) -> Iterator[list[Root]]:
    """The roots in parts to be copied one after another: two of one target would be written into each other at once. So
    the last one stays, as scp has it."""
    part: list[Root] = []
    targets: set[Local | bytes] = set()
    for root in roots:
        if root[1] in targets:
            yield part
            part = []
            targets.clear()
        part.append(root)
        targets.add(root[1])
    yield part


def _tell_progress(tree: Tree[Any], observer: CopyObserver) -> None:
    for name, done in tree.under_way():
        observer.progress(name, done)
