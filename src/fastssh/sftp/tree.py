"""What recursive copies have in common: many files under way, directories made before their files, finished after.

Work is pulled, never pushed: a directory is read on as files get done, so that memory does not grow with their number.
Nothing waits here: :meth:`Tree.pump` starts what there is room for and is called again when something ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from fastssh._native import bundle as bundles
from fastssh.errors import TransferError
from fastssh.sftp import paths
from fastssh.sftp.messages import Request
from fastssh.sftp.session import Failure, Session
from fastssh.sftp.transfer import FileCopy, FileOptions, SameFileError
from fastssh.wire.text import printable

MAX_FILES: Final = 128  # small files under way: their requests fill a long link, and stay few for the server
LARGE_FILE_WEIGHT: Final = 8  # a file of many requests fills the link by itself
MAX_OPEN_DIRECTORIES: Final = 32
MAX_KEPT_ERRORS: Final = 1000
BUNDLE: Final = 128 * 1024  # bytes of small files in one message, where the server takes them so
BUNDLE_WEIGHT: Final = 8  # of one under way
MAX_POSTPONED: Final = 1_000_000  # directories seen and not yet entered


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions(FileOptions):
    """How files and trees are copied."""

    recurse: bool = False  # -r
    only_regular: bool = False  # in directories, links and special files are passed over, as by sftp(1)
    target_directory: bool = False  # the target must be a directory even for one source
    max_files: int = MAX_FILES  # small files under way at once


class Note(Enum):
    """What else there is to say of a source."""

    ENTERED = 1  # a directory
    PASSED_OVER = 2  # with CopyOptions.only_regular
    UNCHANGED = 3  # with CopyOptions.resume: there was nothing to add


class CopyObserver(Protocol):
    """Who is told how a copy goes; to be subclassed.

    Names are the sources', as given or found, not yet fit for a terminal. A file that cannot even be opened fails
    without having started. Methods must not raise: they are called from within the protocol.
    """

    def started(self, name: str, size: int) -> None:
        """A file's size in bytes is known."""

    def progress(self, name: str, done: int) -> None:
        """Bytes so far of a large file, a few times a second."""

    def finished(self, name: str, size: int) -> None:
        """All of the file, its attributes and its close were acknowledged."""

    def noted(self, name: str, what: Note) -> None:
        """Nothing is wrong."""

    def failed(self, name: str, error: Failure) -> None:
        """This file or directory was not copied, or not all of it; the rest goes on."""


class CopyFailure(NamedTuple):
    """What went wrong with one file or directory."""

    name: str
    error: Failure


@dataclass(slots=True)
class CopyReport:
    """What a copy did. ``errors`` holds the first thousand failures, ``failed`` counts all."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    failed: int = 0
    errors: list[CopyFailure] = field(default_factory=list)

    def add_failure(self, name: str, error: Failure) -> None:
        self.failed += 1
        if len(self.errors) < MAX_KEPT_ERRORS:
            self.errors.append(CopyFailure(name, error))


class Directory:
    """A directory under way. ``pending`` counts what must end before it is finished: reading, files, directories."""

    __slots__ = ("created", "depth", "local", "parent", "pending", "remote")

    def __init__(self, local: str, remote: bytes, parent: Any) -> None:
        self.local, self.remote, self.parent = local, remote, parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.pending = 1
        self.created = False  # by us: nothing in it can be in the way of a file


D = TypeVar("D", bound=Directory)


class Tree(Generic[D]):
    """Base of the two directions. ``done`` is called once, when everything that was added has ended."""

    def __init__(
        self,
        session: Session,
        options: CopyOptions,
        observer: CopyObserver,
        report: CopyReport,
        done: Callable[[], None],
    ) -> None:
        self.session, self.options, self.observer, self.report = session, options, observer, report
        self.active: dict[FileCopy, int] = {}  # and their weights
        self._done: Callable[[], None] | None = done
        self._roots: deque[Callable[[], None]] = deque()
        self._postponed: list[D] = []  # directories to enter, the last one first
        self._reading: list[D] = []  # directories with entries still to come
        self._open = 0  # directories entered and not yet read to their end
        self._load = 0
        self._pumping = self._stopped = False
        handles = session.limits.max_open_handles
        self._capacity = max(1, min(options.max_files, handles // 2 if handles else options.max_files))
        self._max_open = max(1, min(MAX_OPEN_DIRECTORIES, self._capacity // 2))

    # -- the engine --------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Starts as much as there is room for. Called from itself (a file that fails at once) it does nothing."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._over and self._load < self._capacity and self._advance():
                pass
        finally:
            self._pumping = False
        if self._done is not None and self._load == 0 and (self._over or not self._work_left):
            done, self._done = self._done, None
            self._release()
            done()

    @property
    def _over(self) -> bool:
        return self._stopped or self.session.error is not None

    @property
    def _work_left(self) -> bool:
        return bool(self._roots or self._postponed or self._reading)

    def cancel(self) -> None:
        """Starts nothing more and interrupts what is under way; ``done`` follows."""
        self._stopped = True
        for copy in list(self.active):
            copy.cancel()
        self.pump()

    def under_way(self) -> list[tuple[str, int]]:
        """(name, bytes so far) of the files that are being copied and take a while: large ones, under a limit all."""
        large = [copy for copy, weight in self.active.items() if weight > 1 or self.session.native_only]
        return [(self._name(copy), copy.progress) for copy in large]

    def _advance(self) -> bool:
        """The next piece of work; False when there is none at the moment."""
        if self._postponed and self._open < self._max_open:
            self._open += 1
            directory = self._postponed.pop()
            self.observer.noted(self._directory_name(directory), Note.ENTERED)
            self._enter(directory)
            return True
        if any(map(self._take, reversed(self._reading))):
            return True
        if self._roots:
            self._roots.popleft()()
            return True
        return False

    def _enter(self, directory: D) -> None:
        """Makes the target directory and begins to read the source."""
        raise NotImplementedError

    def _take(self, directory: D) -> bool:
        """Starts on the next entry of a directory; False when there is none at the moment."""
        raise NotImplementedError

    def _finish_directory(self, directory: D) -> None:
        """Everything inside has ended: mode and times. Calls :meth:`_leave` for the parent when done."""
        raise NotImplementedError

    def _release(self) -> None:
        """What a copy that was stopped still holds."""

    # -- files -------------------------------------------------------------------------------------------------------

    def _run(self, copy: FileCopy) -> None:
        """Starts a copy whose ``done`` is :meth:`_file_done`."""
        self._load += 1
        self.active[copy] = 1
        copy.started = self._file_started
        copy.start()

    def _file_started(self, copy: FileCopy) -> None:
        if copy.size > min(self.session.read_length, self.session.write_length):
            self._load += LARGE_FILE_WEIGHT - 1
            self.active[copy] = LARGE_FILE_WEIGHT
        self.observer.started(self._name(copy), copy.size)

    def _file_done(self, parent: D | None, copy: FileCopy) -> None:
        self._load -= self.active.pop(copy)
        name = self._name(copy)
        if copy.error is None or isinstance(copy.error, SameFileError):
            done = copy.bytes if copy.error is None else copy.size
            self.report.files += 1
            self.report.bytes += done
            if copy.unchanged:
                self.observer.noted(name, Note.UNCHANGED)
            self.observer.finished(name, done)
        else:
            self._fail(name, copy.error)
        self._leave(parent)

    def _name(self, copy: FileCopy) -> str:
        """What the source is called towards the user."""
        raise NotImplementedError

    def _fail(self, name: str, error: Failure) -> None:
        self.report.add_failure(name, error)
        self.observer.failed(name, error)

    # -- bundles of small files, see PROTOCOL.md -----------------------------------------------------------------------

    def _bundled(self, request: Request) -> bool:
        """Whether small files travel in bundles. A rate limit counts single transfers; fsync and resuming are for
        single files."""
        single = self.session.native_only or self.options.fsync or self.options.resume
        return self.session.supports(request) and not single

    def _bundle_options(self) -> int:
        set_id = bundles.SET_ID if self.options.preserve_set_id else 0
        return bundles.PRESERVE | set_id if self.options.preserve else 0

    def _bundled_file(self, name: str, size: int) -> None:
        """A file of a bundle is there."""
        self.report.files += 1
        self.report.bytes += size
        self.observer.started(name, size)
        self.observer.finished(name, size)

    # -- directories -------------------------------------------------------------------------------------------------

    def _postpone(self, directory: D) -> None:
        """Takes a directory up, now or later. Its parent waits for it."""
        if directory.parent is not None:
            directory.parent.pending += 1
        name = self._directory_name(directory)
        if directory.depth >= paths.MAX_DEPTH:
            self._fail(name, TransferError(f"{printable(name)}: maximum directory depth exceeded"))
        elif len(self._postponed) >= MAX_POSTPONED:
            self._fail(name, TransferError(f"{printable(name)}: too many directories"))
        else:
            self._postponed.append(directory)
            return
        self._leave(directory.parent)

    def _directory_name(self, directory: D) -> str:
        raise NotImplementedError

    def _drop(self, directory: D, error: Failure) -> None:
        """A directory that was entered cannot be copied."""
        self._open -= 1
        self._fail(self._directory_name(directory), error)
        self._leave(directory.parent)

    def _read_to_end(self, directory: D) -> None:
        """No more entries will come."""
        self._open -= 1
        self._reading.remove(directory)
        self._leave(directory)

    def _leave(self, directory: D | None) -> None:
        """One thing inside ``directory`` has ended."""
        if directory is not None:
            directory.pending -= 1
            if directory.pending == 0 and not self._over:
                self.report.directories += 1
                self._finish_directory(directory)
        self.pump()

    # -- requests that count as work ---------------------------------------------------------------------------------

    def _request(self, request: Any, values: tuple[Any, ...], callback: Callable[[Any, Failure | None], None]) -> None:
        self._load += 1
        self.session.request(request, values, partial(self._replied, callback))

    def _replied(self, callback: Callable[[Any, Failure | None], None], value: Any, error: Failure | None) -> None:
        self._load -= 1
        callback(value, error)
        self.pump()
