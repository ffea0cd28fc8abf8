"""What copying one file has in common in both directions: a chain of callbacks, from ``start`` to one ``done``.

Callbacks and not coroutines, because a tree of small files is copied with a hundred of them under way and each may only
cost microseconds.

What is left behind when a copy fails never looks complete. A target is emptied before it is written, so that it is
shorter than its source until the last byte is there; after a failure it is cut to what is known to be there without a
gap, and never left at its full length.

Emptying the target must not empty the source: think of ``scp file localhost:file``. Where size and modification time of
both agree, the target's access time is changed first, and if that shows on the source, the two are one file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastssh.errors import SSHError, TransferError
from fastssh.sftp import messages
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.messages import Request
from fastssh.sftp.session import Failure, Session, named
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.sftp.stripes import Stripes


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a file is copied."""

    preserve: bool = False  # times and mode, exactly
    preserve_set_id: bool = False  # with preserve: set-user-ID, set-group-ID and sticky bits as well
    fsync: bool = False  # done only when the data are on the disk
    resume: bool = False  # what is there of the target is taken for the beginning of the source, and kept

    def mode(self, permissions: int) -> int:
        """The bits of st_mode that a copy gets. OpenSSH never copies set-id bits over SFTP, as the owner changes."""
        return permissions & (0o7777 if self.preserve and self.preserve_set_id else 0o777)


class FileCopy:
    """One file on its way. ``error`` says how it ended; ``size`` is the source's, ``bytes`` what was transferred."""

    __slots__ = (
        "_fd",
        "_handle",
        "_pending",
        "_start",
        "_stripes",
        "bytes",
        "cancelled",
        "done",
        "error",
        "local",
        "options",
        "remote",
        "session",
        "size",
        "started",
    )

    def __init__(
        self, session: Session, local: str, remote: bytes, options: FileOptions, done: Callable[[Any], None]
    ) -> None:
        self.session, self.local, self.remote, self.options, self.done = session, local, remote, options, done
        self.started: Callable[[FileCopy], None] | None = None  # the size is known
        self.error: Failure | None = None
        self.size = self.bytes = 0
        self._start = 0  # bytes that were there before
        self.cancelled = False
        self._fd = -1
        self._stripes: Stripes | None = None
        self._handle = b""
        self._pending = 0

    def start(self) -> None:
        """Begins; ``done`` follows, perhaps at once."""
        raise NotImplementedError

    def _set_size(self, size: int) -> None:
        self.size = size
        started, self.started = self.started, None
        if started is not None:
            started(self)

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to be added to what was there."""
        return self.options.resume and 0 < self._start == self.bytes

    @property
    def progress(self) -> int:
        """Bytes so far, with those that were there before."""
        return self._stripes.progress if self._stripes is not None else self.bytes

    def cancel(self) -> None:
        """Ends the copy as soon as requests under way are answered; ``done`` follows."""
        self.cancelled = True
        if self._stripes is not None:
            self._stripes.cancel()

    def _interrupted(self) -> TransferError:
        return TransferError(f"{printable(self.local)}: interrupted")

    def _finish(self, error: Failure | None) -> None:
        """The end. The first error is the one that counts."""
        if self.error is None:
            self.error = error
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError as fault:  # EDQUOT, EIO: what was written is not all there
                if self.error is None:
                    self.error = local_error(fault, self.local)
        self.done(self)

    # -- a batch of requests that are all answered before the next step ----------------------------------------------

    def _batch(self, *requests: tuple[Request, tuple[Any, ...], str]) -> None:
        """Sends requests in one go; :meth:`_answered` follows the last reply. The third item is for error messages."""
        self._pending = len(requests) + 1
        for request, values, doing in requests:
            self.session.request(request, values, partial(self._one_answered, request, doing))
        self._one_answered(messages.CLOSE, "", None, None)

    def _one_answered(self, request: Request, doing: str, value: Any, error: Failure | None) -> None:
        self._pending -= 1
        if error is not None:
            error = self._failed(request, error)
        if error is not None and self.error is None:
            self.error = named(error, self.remote, doing)
        if value is not None:
            self._value(request, value)
        if self._pending == 0:
            self._answered()

    def _failed(self, request: Request, error: Failure) -> Failure | None:
        """What an error of one request of a batch means: itself, unless there is another way."""
        return error

    def _value(self, request: Request, value: Any) -> None:
        """The value of one reply of a batch."""

    def _answered(self) -> None:
        """All of a batch is answered."""
        self._finish(None)


def may_be_one(attributes: SFTPAttributes | None, st: os.stat_result) -> bool:
    """Whether a remote and a local file could be one."""
    return (
        attributes is not None
        and stat.S_ISREG(st.st_mode)
        and attributes.size == st.st_size > 0
        and attributes.mtime == wire_time(st.st_mtime_ns)
    )


def another_time(seconds: int) -> int:
    """A time that a file does not have by chance: half a minute before ``seconds``."""
    return seconds - 31 if seconds > 31 else seconds + 31


def too_large(name: str) -> OSError:
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)


class SameFileError(TransferError):
    """Source and target are one file, which was left as it is. A copy of a tree takes that for done, as scp does."""


def one_file(name: str) -> SameFileError:
    return SameFileError(f"{printable(name)}: source and target are the same file")


def too_long(name: str, what: str) -> TransferError:
    """The target cannot be the beginning of the source."""
    return TransferError(f"{printable(name)}: unable to resume: {what}")


def restore_times(fd: int, st: os.stat_result) -> None:
    """Undoes what the search for the same file did to it."""
    os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))


def local_error(error: Failure, path: str) -> Failure:
    """``error`` of the local system with the file it was about, which calls on descriptors do not know."""
    if isinstance(error, SSHError) or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, path)


def changed(name: str) -> TransferError:
    """The source was written to while it was read: the copy is of no single moment."""
    return TransferError(f"{printable(name)}: file changed while it was copied")


def not_regular(name: str) -> TransferError:
    return TransferError(f"{printable(name)}: not a regular file")

