"""The SFTP client: version 3 and OpenSSH's extensions as coroutines, whole files through the native plane."""

from __future__ import annotations

import asyncio
import os
import random
import stat as _stat
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastssh.aio.opening import Opening
from fastssh.aio.sftp_channel import INIT_SECONDS, MAX_PACKET, WINDOW, SessionOpener, SFTPChannel, resolve
from fastssh.aio.sftp_file import SFTPFile, forget, open_flags
from fastssh.errors import (
    SFTPBadMessageError,
    SFTPEOFError,
    SFTPError,
    SFTPFileNotFoundError,
    SSHError,
    sftp_error,
)
from fastssh.sftp import glob, messages, paths
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.constants import OpenFlags, StatusCode
from fastssh.sftp.download import FileDownload
from fastssh.sftp.download_tree import READDIRS
from fastssh.sftp.messages import Request, SFTPLimits, SFTPName, SFTPStatVFS
from fastssh.sftp.paths import Path
from fastssh.sftp.session import Failure, named
from fastssh.sftp.transfer import FileCopy, FileOptions
from fastssh.sftp.upload import FileUpload
from fastssh.wire.text import printable

MAX_OUTSTANDING: Final = 256  # requests of coroutines; more wait their turn
PROGRESS_SECONDS: Final = 0.1
INTERRUPT_SECONDS: Final = 2.0  # for the server to answer what is under way when a copy is cancelled
MARK_SECONDS: Final = 1 << 24
MAX_MATCHES: Final = 1_000_000  # names that one pattern or one listing may give

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SFTPEntry:
    """One entry of a directory. ``attributes`` are the entry's own: of a link, not of what it leads to."""

    name: str
    attributes: SFTPAttributes


async def open_sftp(
    connection: SessionOpener,
    *,
    timeout: float = INIT_SECONDS,
    window: int = WINDOW,
    max_packet: int = MAX_PACKET,
    channels: int = 1,
    subsystem: str = "sftp",
    request_length: int = 0,
    requests: int = 0,
) -> SFTPClient:
    """Opens a session channel, starts the sftp subsystem and waits, at most ``timeout`` seconds, for its limits.

    With a slash in it ``subsystem`` is a command of the remote host's that speaks SFTP. ``request_length`` and
    ``requests`` bound what files that are copied have under way: bytes of one READ or WRITE, and how many of them are
    unanswered at once; 0: what the server and the way to it make good use of.
    With ``channels`` above 1, large files are copied over so many channels at once, see
    :meth:`SFTPClient.add_companion`.

    Raises SSHTimeoutError, ChannelOpenError, ChannelRequestError when there is no such subsystem, SFTPBadMessageError
    when what answers is not SFTP.
    """
    options: dict[str, Any] = {"subsystem": subsystem, "request_length": request_length, "requests": requests}
    way: dict[str, Any] = {"timeout": timeout, "window": window, "max_packet": max_packet}
    client = SFTPClient(await SFTPChannel.open(connection, **options, **way), options)
    try:
        for _ in range(1, channels):
            await client.add_companion(connection, **way)
    except BaseException:
        client.close()
        raise
    return client


class SFTPClient:
    """An SFTP session. Made by ``await connection.sftp()``; an async context manager.

    Paths are str, bytes or os.PathLike; relative ones start in the user's home. Names come as str, with surrogates for
    what is not UTF-8, as from os.listdir. Errors of the server are :class:`SFTPError` subclasses that are also the
    builtin ones (FileNotFoundError, PermissionError), with ``filename`` set. Methods may be called from many tasks at
    once; one that is cancelled leaves the session in order.
    """

    def __init__(self, channel: SFTPChannel, options: Mapping[str, Any]) -> None:
        """``options``: of :func:`open_sftp`, for companions."""
        self.session = channel.session
        self.patience = INTERRUPT_SECONDS  # seconds that a cancelled copy gives what is under way, then all is ended
        self._options = options
        self._channel = channel
        self._submitted = 0  # requests of coroutines without reply
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._companions: list[SFTPClient] = []
        channel.room = self._wake

    # -- life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    def close(self) -> None:
        """Closes the channel, and those of companions; requests that are still unanswered fail."""
        for client in (self, *self._companions):
            client.session.abort(SSHError("the SFTP session was closed"))
            client._wake()

    async def wait_closed(self) -> None:
        """Returns when the channels are closed, on the server's side as well, or after two seconds."""
        channels = {client._channel.ended for client in (self, *self._companions)}
        await asyncio.wait(channels, timeout=INTERRUPT_SECONDS)

    def on_closed(self, callback: Callable[[], object]) -> None:
        """Calls ``callback``, soon, when the channel has been closed on both sides, or is lost."""
        self._channel.ended.add_done_callback(lambda _: callback())

    # -- companions --------------------------------------------------------------------------------------------------

    @property
    def companions(self) -> tuple[SFTPClient, ...]:
        """The sessions that large files go over as well, those that were lost left out."""
        return tuple(client for client in self._companions if client.session.error is None)

    async def add_companion(self, connection: SessionOpener, **options: Any) -> SFTPClient:
        """Opens one more session, which copies of large files (32 MiB and more) use as well from then on.

        ``connection``: this session's own, or a better one to the same server and user, as a server gives each
        connection a process. ``options`` and errors as of :func:`open_sftp`. It is closed with this session, which
        does without it when it is lost, and does not end the connection.
        """
        companion = await open_sftp(connection, **{**self._options, **options})
        self._companions.append(companion)
        # Marks are within the last half year, so that they look strange to nobody, and before the time of any write.
        mark = int(time.time()) - MARK_SECONDS + random.SystemRandom().randrange(MARK_SECONDS // 2)
        self.session.add_companion(companion.session, mark)
        return companion

    @property
    def limits(self) -> SFTPLimits:
        """What limits@openssh.com said; zeros where it said nothing."""
        return self.session.limits

    @property
    def extensions(self) -> dict[str, bytes]:
        """The extensions that the server announced, with their versions."""
        return self.session.extensions

    @property
    def version(self) -> int:
        return self.session.version

    @property
    def read_length(self) -> int:
        """Bytes asked for in one READ."""
        return self.session.read_length

    @property
    def write_length(self) -> int:
        """Bytes sent in one WRITE."""
        return self.session.write_length

    # -- requests ----------------------------------------------------------------------------------------------------

    async def submit(
        self, request: Request, *values: Any, orphan: Callable[[Any], None] | None = None
    ) -> asyncio.Future[Any]:
        """Sends a request, as soon as there is room for it, and returns its reply to come.

        ``orphan`` gets a reply that nobody waits for any more.
        """
        while (self._submitted >= MAX_OUTSTANDING or self.session.congested) and self.session.error is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # the turn was perhaps ours
                raise
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._submitted += 1
        try:
            self.session.request(request, values, partial(self._settle, future, orphan))
        except ValueError:
            self._submitted -= 1
            raise
        return future

    def _settle(
        self, future: asyncio.Future[Any], orphan: Callable[[Any], None] | None, value: Any, error: Failure | None
    ) -> None:
        self._submitted -= 1
        if future.done():
            if error is None and orphan is not None:
                orphan(value)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _wake(self) -> None:
        """Lets as many coroutines try as there is room for."""
        room = MAX_OUTSTANDING - self._submitted if not self.session.congested else 0
        while self._waiters and (room > 0 or self.session.error is not None):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    async def named(self, reply: Awaitable[T], path: bytes | None) -> T:
        """``reply``, with the file's name in its error."""
        try:
            return await reply
        except SFTPError as error:
            if path is None or error.filename is not None:
                raise
            raise named(error, path) from None

    async def call(
        self, request: Request, *values: Any, path: bytes | None = None, orphan: Callable[[Any], None] | None = None
    ) -> Any:
        """One request and its reply's value."""
        return await self.named(await self.submit(request, *values, orphan=orphan), path)

    async def _on_path(self, request: Request, path: Path, *values: Any) -> Any:
        name = paths.encode(path)
        return await self.call(request, name, *values, path=name)

    async def _one_name(self, request: Request, path: Path) -> str:
        name = paths.encode(path)
        names: tuple[SFTPName, ...] = await self.call(request, name, path=name)
        if len(names) != 1:
            raise self._broken(f"{len(names)} names in reply to {request.name}")
        return paths.decode(names[0].filename)

    def _broken(self, reason: str) -> SFTPBadMessageError:
        """The server's reply makes no sense: the session ends."""
        error = SFTPBadMessageError(f"SFTP: {reason}")
        self.session.abort(error)
        return error

    # -- files by name -----------------------------------------------------------------------------------------------

    async def stat(self, path: Path) -> SFTPAttributes:
        """STAT: follows links."""
        result: SFTPAttributes = await self._on_path(messages.STAT, path)
        return result

    async def lstat(self, path: Path) -> SFTPAttributes:
        """LSTAT: of a link itself."""
        result: SFTPAttributes = await self._on_path(messages.LSTAT, path)
        return result

    async def setstat(self, path: Path, attributes: SFTPAttributes) -> None:
        """SETSTAT: what is not None in ``attributes`` is set."""
        await self._on_path(messages.SETSTAT, path, attributes)

    async def lsetstat(self, path: Path, attributes: SFTPAttributes) -> None:
        """lsetstat@openssh.com: as setstat, of a link itself."""
        await self._on_path(messages.LSETSTAT, path, attributes)

    async def chmod(self, path: Path, mode: int) -> None:
        await self.setstat(path, SFTPAttributes(permissions=_stat.S_IMODE(mode)))

    async def chown(self, path: Path, uid: int, gid: int) -> None:
        await self.setstat(path, SFTPAttributes(uid=uid, gid=gid))

    async def utime(self, path: Path, atime: float, mtime: float) -> None:
        """Times in seconds since 1970; the protocol keeps whole seconds until 2106."""
        times = [wire_time(int(seconds * 1_000_000_000)) for seconds in (atime, mtime)]
        await self.setstat(path, SFTPAttributes(atime=times[0], mtime=times[1]))

    async def truncate(self, path: Path, size: int) -> None:
        await self.setstat(path, SFTPAttributes(size=size))

    async def remove(self, path: Path) -> None:
        """REMOVE: a file or a link, not a directory."""
        await self._on_path(messages.REMOVE, path)

    async def rename(self, old: Path, new: Path) -> None:
        """RENAME: fails where ``new`` exists."""
        await self._on_path(messages.RENAME, old, paths.encode(new))

    async def posix_rename(self, old: Path, new: Path) -> None:
        """posix-rename@openssh.com: replaces ``new``, in one step."""
        await self._on_path(messages.POSIX_RENAME, old, paths.encode(new))

    async def link(self, old: Path, new: Path) -> None:
        """hardlink@openssh.com."""
        await self._on_path(messages.HARDLINK, old, paths.encode(new))

    async def symlink(self, target: Path, link: Path) -> None:
        """SYMLINK: makes ``link`` lead to ``target``, as os.symlink. The wire order is OpenSSH's (PROTOCOL 4.1)."""
        name = paths.encode(link)
        await self.call(messages.SYMLINK, paths.encode(target), name, path=name)

    async def readlink(self, path: Path) -> str:
        """READLINK."""
        return await self._one_name(messages.READLINK, path)

    async def realpath(self, path: Path = ".") -> str:
        """REALPATH: absolute, links followed."""
        return await self._one_name(messages.REALPATH, path)

    async def expand_path(self, path: Path) -> str:
        """expand-path@openssh.com: absolute, with ~ and ~user expanded."""
        return await self._one_name(messages.EXPAND_PATH, path)

    async def expand_user(self, path: Path) -> bytes:
        """``path`` with ~ and ~user taken care of, by the server only where nobody else can know: what stands after
        ~user stays as it was written."""
        name = paths.encode(path)
        relative = paths.without_tilde(name)
        if relative is not None:
            return relative
        user, slash, rest = name.partition(b"/")
        home = await self.expand_path(user)
        if not home or "\0" in home:
            raise self._broken("a name that is no path in reply to expand-path@openssh.com")
        return paths.encode(home.rstrip("/")) + slash + rest if slash else paths.encode(home)

    async def home_directory(self, user: str = "") -> str:
        """home-directory: of ``user``, by default our own, which OpenSSH before 9.8 does not know: then another way."""
        try:
            return await self._one_name(messages.HOME_DIRECTORY, user)
        except SFTPError:
            if user or self.session.error is not None:
                raise
            return await self.expand_path("~")

    async def statvfs(self, path: Path) -> SFTPStatVFS:
        """statvfs@openssh.com: the file system that ``path`` is on."""
        result: SFTPStatVFS = await self._on_path(messages.STATVFS, path)
        return result

    async def users_groups_by_id(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[str], list[str]]:
        """users-groups-by-id@openssh.com: names in the order of the ids, "" for those that have none."""
        reply = await self.call(messages.USERS_GROUPS_BY_ID, tuple(uids), tuple(gids))
        users, groups = ([paths.decode(name) for name in part] for part in reply)
        if (len(users), len(groups)) != (len(uids), len(gids)):
            raise self._broken("wrong number of names in reply to users-groups-by-id@openssh.com")
        return users, groups

    async def copy_data(
        self, source: SFTPFile, target: SFTPFile, *, offset: int = 0, length: int = 0, target_offset: int = 0
    ) -> None:
        """copy-data: ``length`` bytes (0: until end of file) from one open file to another, on the server's side."""
        values = (source.handle, offset, length, target.handle, target_offset)
        await self.call(messages.COPY_DATA, *values, path=paths.encode(target.name))

    async def exists(self, path: Path) -> bool:
        """Whether there is something, not counting a link that leads nowhere."""
        try:
            await self.stat(path)
        except SFTPFileNotFoundError:
            return False
        return True

    async def isdir(self, path: Path) -> bool:
        return await self._is(path, SFTPAttributes.is_dir)

    async def isfile(self, path: Path) -> bool:
        """A regular file."""
        return await self._is(path, SFTPAttributes.is_file)

    async def _is(self, path: Path, test: Callable[[SFTPAttributes], bool]) -> bool:
        try:
            return test(await self.stat(path))
        except SFTPFileNotFoundError:
            return False

    # -- open files --------------------------------------------------------------------------------------------------

    def open(
        self, path: Path, mode: str | OpenFlags = "r", attributes: SFTPAttributes | None = None
    ) -> Opening[SFTPFile]:
        """OPEN: ``async with sftp.open(path, "w") as file``, or ``file = await sftp.open(path)``.

        ``mode`` as open()'s, always binary; ``attributes`` (permissions, less the server's umask) for a new file.
        """
        name, flags = paths.encode(path), open_flags(mode)

        async def opening() -> SFTPFile:
            values = (name, int(flags), attributes or SFTPAttributes())
            handle = await self.call(messages.OPEN, *values, path=name, orphan=self._close_handle)
            return SFTPFile(self, name, handle, flags)

        return Opening(opening)

    def _close_handle(self, handle: bytes) -> None:
        """Nobody will use this handle, and nobody cares how its closing went."""
        self.session.request(messages.CLOSE, (handle,), lambda _value, _error: None)

    # -- directories -------------------------------------------------------------------------------------------------

    async def mkdir(self, path: Path, mode: int = 0o777) -> None:
        """MKDIR, with ``mode`` less the server's umask."""
        await self._on_path(messages.MKDIR, path, SFTPAttributes(permissions=mode))

    async def makedirs(self, path: Path, mode: int = 0o777, *, exist_ok: bool = False) -> None:
        """Makes a directory and those above it that are missing."""
        name = paths.encode(path)
        try:
            await self.mkdir(name, mode)
        except SFTPFileNotFoundError:
            above = name.rstrip(b"/").rpartition(b"/")[0]
            if not above:
                raise
            await self.makedirs(above, mode, exist_ok=True)
            await self.mkdir(name, mode)
        except SFTPError:  # version 3 has no status for 'exists'
            if not exist_ok or not await self.isdir(name):
                raise

    async def rmdir(self, path: Path) -> None:
        """RMDIR: an empty directory."""
        await self._on_path(messages.RMDIR, path)

    async def rmtree(self, path: Path) -> None:
        """Removes a directory and what is in it. Links are removed, not followed."""
        waiting = [paths.encode(path)]
        found: list[bytes] = []  # directories, each behind the one that it is in
        while waiting:
            directory = waiting.pop()
            found.append(directory)
            files: list[bytes] = []
            async for entry in self._entries(directory):
                kind = waiting if entry.attributes.is_dir() else files
                kind.append(paths.join(directory, entry.filename))
            if len(found) + len(waiting) > MAX_MATCHES:
                raise sftp_error(StatusCode.FAILURE, "too many directories", paths.decode(directory))
            for start in range(0, len(files), MAX_OUTSTANDING):
                await asyncio.gather(*map(self.remove, files[start : start + MAX_OUTSTANDING]))
        for directory in reversed(found):
            await self.rmdir(directory)

    async def entries(self, path: Path = ".") -> AsyncIterator[SFTPName]:
        """A directory as the server lists it, with "." and ".." and the line that ls -l would show for each."""
        async with aclosing(self._entries(paths.encode(path), dots=True)) as entries:
            async for entry in entries:
                yield entry

    async def _entries(self, path: bytes, *, dots: bool = False) -> AsyncGenerator[SFTPName, None]:
        """The entries of a directory, "." and ".." only if asked for. A name that is none ends it with an error."""
        handle = await self.call(messages.OPENDIR, path, path=path, orphan=self._close_handle)
        replies: deque[asyncio.Future[tuple[SFTPName, ...]]] = deque()
        seen, at_end = 0, False
        try:
            while replies or not at_end:
                while not at_end and len(replies) < READDIRS:
                    replies.append(await self.submit(messages.READDIR, handle))
                try:
                    names = await self.named(replies.popleft(), path)
                except SFTPEOFError:
                    at_end = True
                    continue
                seen += len(names)
                at_end = at_end or not names  # an empty list is an end too: otherwise there might be none
                if seen > MAX_MATCHES:
                    raise sftp_error(StatusCode.FAILURE, "too many entries", paths.decode(path))
                for name in names:
                    if name.filename in (b".", b".."):
                        if dots:
                            yield name
                        continue
                    if not paths.is_safe_name(name.filename):
                        raise SFTPBadMessageError(
                            f"server sent a name that is no file name: {printable(paths.decode(name.filename))}",
                            filename=paths.decode(path),
                        )
                    yield name
        finally:
            forget(replies)
            self._close_handle(handle)

    async def scandir(self, path: Path = ".") -> AsyncIterator[SFTPEntry]:
        """The entries of a directory as they come, without "." and ".."."""
        async with aclosing(self._entries(paths.encode(path))) as entries:
            async for entry in entries:
                yield SFTPEntry(paths.decode(entry.filename), entry.attributes)

    async def listdir(self, path: Path = ".") -> list[str]:
        """The names in a directory, in the server's order."""
        return [entry.name async for entry in self.scandir(path)]

    async def walk(
        self, top: Path = ".", *, follow_links: bool = False
    ) -> AsyncIterator[tuple[str, list[str], list[str]]]:
        """As os.walk, from the top: (directory, names of directories, other names).

        What the caller takes out of the second list is not entered. Links to directories are in the second list, and
        entered with ``follow_links``.
        """
        stack = [(paths.encode(top), 0)]
        while stack:
            path, depth = stack.pop()
            directories: list[str] = []
            links: set[str] = set()
            others: list[str] = []
            async for entry in self._entries(path):
                name, attributes = paths.decode(entry.filename), entry.attributes
                if attributes.is_symlink() and await self.isdir(paths.join(path, entry.filename)):
                    links.add(name)
                    directories.append(name)
                else:
                    (directories if attributes.is_dir() else others).append(name)
            yield paths.decode(path), directories, others
            if depth < paths.MAX_DEPTH:
                enter = [name for name in reversed(directories) if follow_links or name not in links]
                stack.extend((paths.join(path, paths.encode(name)), depth + 1) for name in enter)

    async def glob(self, pattern: Path) -> list[str]:
        """Sorted paths that match, as glob(3) reads a pattern; empty when nothing does."""
        return [paths.decode(path) for path, _ in await self.glob_attributes(paths.encode(pattern))]

    async def glob_attributes(self, pattern: bytes) -> list[tuple[bytes, SFTPAttributes]]:
        """:meth:`glob` with what is known of each match; a link's own attributes."""
        components = [part for part in paths.decode(pattern).split("/") if part]
        found: list[tuple[bytes, SFTPAttributes | None]] = [(b"/" if pattern.startswith(b"/") else b"", None)]
        for at, component in enumerate(components):
            last = at == len(components) - 1
            if glob.is_literal(component):
                name = paths.encode(glob.unescape(component))
                found = [(_append(path, name), None) for path, _ in found]
            else:
                found = [match for path, _ in found for match in await self._matching(path, component, last)]
            if len(found) > MAX_MATCHES:
                raise sftp_error(StatusCode.FAILURE, "too many matches", paths.decode(pattern))
        known: list[tuple[bytes, SFTPAttributes]] = []
        for path, attributes in found:
            if attributes is None:
                try:
                    attributes = await self.lstat(path or b".")
                except SFTPError:  # not there, or not to be seen: no match
                    continue
            known.append((path, attributes))
        return known

    async def _matching(
        self, path: bytes, component: str, last: bool
    ) -> list[tuple[bytes, SFTPAttributes | None]]:
        wanted = glob.Pattern(component)
        matches: list[tuple[bytes, SFTPAttributes | None]] = []
        try:
            async for entry in self._entries(path or b"."):
                deeper = last or entry.attributes.is_dir() or not entry.attributes.is_file()
                if deeper and wanted.matches(paths.decode(entry.filename)):
                    matches.append((_append(path, entry.filename), entry.attributes))
        except SFTPBadMessageError:
            raise
        except SFTPError:
            if self.session.error is not None:
                raise
            # A directory that cannot be read holds no match.
        return sorted(matches, key=lambda match: match[0])

    # -- whole files, through the native plane -------------------------------------------------------------------------

    async def get_file(
        self,
        remote: Path,
        local: str | os.PathLike[str],
        *,
        preserve: bool = False,
        preserve_set_id: bool = False,
        fsync: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Copies a remote file to the local path and returns its size in bytes.

        ``preserve`` keeps times and mode, ``preserve_set_id`` also set-id bits; with ``fsync`` it returns when the data
        are on the disk. ``progress`` hears of the bytes so far, a few times a second and at the end. Raises SFTPError,
        OSError (local; both with ``filename``), TransferError when the file changed meanwhile. After a failure or
        cancellation the local file holds no more than what arrived without a gap. Large files go over
        :attr:`companions` as well.
        """
        options = FileOptions(preserve, preserve_set_id, fsync)
        name, target = paths.encode(remote), os.fspath(local)
        return await self._copy(partial(FileDownload, self.session, target, name, options), progress)

    async def put_file(
        self,
        local: str | os.PathLike[str],
        remote: Path,
        *,
        preserve: bool = False,
        preserve_set_id: bool = False,
        fsync: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Copies a local regular file to the remote path and returns its size; otherwise as :meth:`get_file`.

        After a failure or cancellation the remote file is cut to what was acknowledged without a gap, if the server can
        be told; else it is shorter than its source all the same. A large file that went over :attr:`companions` as well
        has, without ``preserve``, an access time of some months ago.
        """
        options = FileOptions(preserve, preserve_set_id, fsync)
        name, source = paths.encode(remote), os.fspath(local)
        return await self._copy(partial(FileUpload, self.session, source, name, options), progress)

    async def _copy(
        self, make: Callable[[Callable[[Any], None]], FileCopy], progress: Callable[[int], None] | None
    ) -> int:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        copy = make(lambda _: resolve(done, None))
        copy.start()
        await self.finish_copy(done, copy.cancel, None if progress is None else lambda: progress(copy.progress))
        if copy.error is not None:
            raise copy.error
        return copy.bytes

    async def finish_copy(
        self, done: asyncio.Future[None], cancel: Callable[[], None], tick: Callable[[], None] | None
    ) -> None:
        """Waits for ``done``, calling ``tick`` now and then.

        When cancelled it calls ``cancel`` and gives what is under way :attr:`patience` seconds to end in order; then
        the session is closed, which ends it. Cancelled again it returns at once, and what is under way ends by itself.
        """
        try:
            while not done.done():
                await asyncio.wait({done}, timeout=None if tick is None else PROGRESS_SECONDS)
                if tick is not None:
                    tick()
        except BaseException:  # cancelled, or tick had enough
            cancel()
            await asyncio.wait({done}, timeout=self.patience)
            if not done.done():
                self.session.abort(SSHError("interrupted"))
            raise


def _append(path: bytes, name: bytes) -> bytes:
    """``name`` after ``path``, kept as it was written: "." and ".." are what the user asked for."""
    return path + name if not path or path.endswith(b"/") else path + b"/" + name
