"""One file from the server. Done only when all of it is in the local file and that is closed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fastssh.errors import SFTPEOFError, SFTPPermissionError, SFTPUnsupportedError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.messages import Request
from fastssh.sftp.session import Failure, Session, named
from fastssh.sftp.stripes import STRIPED, DownloadStripes
from fastssh.sftp.transfer import (
    FileCopy,
    FileOptions,
    another_time,
    changed,
    local_error,
    may_be_one,
    not_regular,
    one_file,
    restore_times,
    too_large,
    too_long,
)

MAX_SIZE: Final = 2**63 - 1  # bytes; what a file offset can be here, while the protocol has 64 bits
_READ: Final = int(OpenFlags.READ)
# O_NONBLOCK: a FIFO without reader is an error, not a wait without end.
_OPEN_LOCAL: Final = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WITHOUT_ATTRIBUTES: Final = SFTPAttributes()
# What a server says that allows no FSTAT (sftp-server -P fstat): whether the file changes meanwhile cannot be known.
_NOT_ALLOWED: Final = (SFTPPermissionError, SFTPUnsupportedError)


class FileDownload(FileCopy):
    """``remote`` to ``local``. ``attributes``: what is known, ``fresh`` or from a directory listing; None: ask.

    The local file is created with the server's permissions, less our umask, without set-id bits, and writable for its
    owner while it is written.
    """

    __slots__ = (
        "_after",
        "_attributes",
        "_careful",
        "_created",
        "_data",
        "_end_of_file",
        "_in_place",
        "_large",
        "_listed",
        "_prefix",
        "_regular",
    )

    def __init__(
        self,
        session: Session,
        local: str,
        remote: bytes,
        options: FileOptions,
        done: Callable[[FileDownload], None],
        attributes: SFTPAttributes | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        super().__init__(session, local, remote, options, done)
        self._attributes = attributes or _WITHOUT_ATTRIBUTES
        self._listed = attributes is not None and not fresh
        self._careful = False
        self._created = self._in_place = self._regular = False
        self._data: bytes | None = None
        self._after: SFTPAttributes | None = None
        self._large = False  # it went as segments
        self._prefix = 0
        self._end_of_file = -1

    def start(self) -> None:
        """Asks what the file is, unless that is known, and opens it."""
        if self._attributes is not _WITHOUT_ATTRIBUTES:
            self._known(self._attributes, None)
        else:
            self.session.request(messages.STAT, (self.remote,), self._known)

    def _known(self, attributes: SFTPAttributes | None, error: Failure | None) -> None:
        if attributes is None:
            self._finish(named(error, self.remote) if error is not None else None)
        elif attributes.permissions is not None and not attributes.is_file():
            self._finish(not_regular(paths.decode(self.remote)))
        elif (attributes.size or 0) > MAX_SIZE:
            self._finish(too_large(paths.decode(self.remote)))
        else:
            self._attributes = attributes
            self._set_size(attributes.size or 0)
            self._open()

    def _open(self) -> None:
        if self.cancelled:
            self._finish(self._interrupted())
        else:
            self.session.request(messages.OPEN, (self.remote, _READ, _WITHOUT_ATTRIBUTES), self._opened)

    def _opened(self, handle: bytes | None, error: Failure | None) -> None:
        if handle is None:
            self._finish(named(error, self.remote) if error is not None else None)
            return
        self._handle = handle
        most = -1 if self.session.native_only else self.session.read_length - 1
        if self.cancelled:
            self._give_up(self._interrupted())
        elif not self._careful and not self.options.resume and self.size <= most:
            self._handle = b""  # closed with the rest
            # One byte more than there should be, to see the end.
            self._batch(
                (messages.READ, (handle, 0, self.size + 1), "read"),
                (messages.FSTAT, (handle,), ""),
                (messages.CLOSE, (handle,), "close"),
            )
        elif self._listed:  # a listing may be old; a change is what happens from now on
            self.session.request(messages.FSTAT, (handle,), self._looked_again)
        else:
            self._open_local(self._receive_large)

    # -- a file of one READ: READ, FSTAT and CLOSE in one go -----------------------------------------------------------

    def _failed(self, request: Request, error: Failure) -> Failure | None:
        if request is messages.READ and isinstance(error, SFTPEOFError):
            self._data = b""
            return None
        if request is messages.FSTAT and isinstance(error, _NOT_ALLOWED):
            return None
        return error

    def _value(self, request: Request, value: Any) -> None:
        if request is messages.READ:
            self._data = value
        elif request is messages.FSTAT:
            self._after = value

    def _answered(self) -> None:
        if self._large:
            self._complete_large()
        elif self.error is not None or self._data is None:
            self._finish(None)
        elif self.cancelled:
            self._finish(self._interrupted())
        elif len(self._data) != self.size or self._changed():
            # Not what the listing said, or an answer shorter than asked for: look at it closely.
            self._careful = self._listed = True
            self._data = None
            self._open()
        else:
            self._open_local(partial(self._store, self._data))

    def _store(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while self.bytes < len(data):
                self.bytes += os.write(self._fd, view[self.bytes :])
            self._complete_local()
        except OSError as error:
            self._finish(local_error(error, self.local))
        else:
            self._finish(None)

    # -- a file of many: the native plane ------------------------------------------------------------------------------

    def _looked_again(self, attributes: SFTPAttributes | None, error: Failure | None) -> None:
        if attributes is None and isinstance(error, _NOT_ALLOWED):
            attributes = self._attributes
        if attributes is None:
            if error is not None:
                self._give_up(named(error, self.remote))
            return
        self._attributes, self.size = attributes, attributes.size or 0
        if attributes.permissions is not None and not attributes.is_file():
            self._give_up(not_regular(paths.decode(self.remote)))
        elif self.size > MAX_SIZE:
            self._give_up(too_large(paths.decode(self.remote)))
        else:
            self._open_local(self._receive_large)

    def _receive_large(self) -> None:
        if self.cancelled:
            self._give_up(self._interrupted())
            return
        if self._start > self.size:
            self._give_up(too_long(paths.decode(self.remote), "local file is larger than remote"))
            return
        spread = self.size - self._start >= STRIPED and not self._in_place and (self._regular or _is_null(self._fd))
        names = self.remote, self.local
        self._stripes = DownloadStripes(
            self.session, self._handle, self._fd, self.size, names, self._received, spread=spread,
            known=self._attributes, start=self._start,
        )
        self._stripes.start()

    def _received(self, failure: Failure | None) -> None:
        stripes, self._stripes = self._stripes, None
        assert stripes is not None
        self.bytes = self._prefix = stripes.prefix
        if failure is not None:
            self._give_up(failure)
            return
        self.bytes, self._end_of_file = stripes.bytes, stripes.end_of_file
        self._large = True
        self._batch((messages.FSTAT, (self._handle,), ""), (messages.CLOSE, (self._handle,), "close"))

    def _complete_large(self) -> None:
        """All is there, and both sides' last words are known."""
        try:
            # A size of 0 where there is more is no change: /proc.
            if self.error is None and (self._changed() or (self.size and self._end_of_file not in (-1, self.size))):
                self.error = changed(paths.decode(self.remote))
            if self.error is None:
                self._complete_local()
        except OSError as error:
            self.error = local_error(error, self.local)
        if self.error is not None:
            self.bytes = self._prefix
            self._cut()
        self._finish(None)

    def _changed(self) -> bool:
        before, after = self._attributes, self._after
        return after is not None and (before.size or 0, before.mtime) != (after.size or 0, after.mtime)

    # -- the local file ------------------------------------------------------------------------------------------------

    def _open_local(self, go_on: Callable[[], None]) -> None:
        """Opens and empties the local file, then calls ``go_on``, unless the file turns out to be the remote one."""
        try:
            st = self._opened_local()
            if st is None or not self._in_place:
                go_on()
                return
            access = another_time(st.st_atime_ns // 1_000_000_000)
            try:
                os.utime(self._fd, ns=(access * 1_000_000_000, st.st_mtime_ns))
            except PermissionError:  # not ours to change, so it cannot be told: written in place, nothing of it is lost
                go_on()
                return
        except OSError as error:
            self._give_up(local_error(error, self.local))
            return
        self.session.request(messages.STAT, (self.remote,), partial(self._probed, go_on, st, access))

    def _probed(
        self,
        go_on: Callable[[], None],
        st: os.stat_result,
        access: int,
        attributes: SFTPAttributes | None,
        error: Failure | None,
    ) -> None:
        """The local file may be the remote one: it is if the access time given to one is now the other's."""
        try:
            if attributes is None or attributes.atime == wire_time(access * 1_000_000_000):
                restore_times(self._fd, st)
                self._give_up(one_file(self.local) if error is None else named(error, self.remote))
                return
            self._in_place = False
            os.ftruncate(self._fd, 0)
        except OSError as fault:
            self._give_up(local_error(fault, self.local))
            return
        go_on()

    def _opened_local(self) -> os.stat_result | None:
        """Opens the local file; what it was if it was there. Empties it, unless it may be the remote one."""
        permissions = self._attributes.permissions
        mode = 0o666 if permissions is None else permissions & 0o777 | stat.S_IWUSR
        try:
            self._fd = os.open(self.local, _OPEN_LOCAL | os.O_EXCL, mode)
            self._created = self._regular = True
            return None
        except FileExistsError:
            self._fd = os.open(self.local, _OPEN_LOCAL, mode)
            st = os.fstat(self._fd)
            self._regular = stat.S_ISREG(st.st_mode)
            if self._regular and self.options.resume:
                self._start = self.bytes = self._prefix = st.st_size  # no failure cuts these away
                return st
            self._in_place = may_be_one(self._attributes, st)
            if self._regular and not self._in_place and st.st_size:
                os.ftruncate(self._fd, 0)
            return st

    def _complete_local(self) -> None:
        """Length, mode and times as they are to be. Nothing of that for /dev/null and its like."""
        if not self._regular:
            return
        permissions = self._attributes.permissions
        if self._in_place:
            os.ftruncate(self._fd, self.bytes)
        if permissions is not None:
            if self.options.preserve:
                os.fchmod(self._fd, self.options.mode(permissions))
            elif self._created and not permissions & stat.S_IWUSR:
                os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o577)
        if self.options.fsync:
            os.fsync(self._fd)
        if self.options.preserve and self._attributes.atime is not None and self._attributes.mtime is not None:
            os.utime(self._fd, (self._attributes.atime, self._attributes.mtime))

    def _cut(self) -> None:
        """After a failure: no more than what was written without a gap."""
        if self._fd >= 0 and self._regular and not self._in_place:
            try:
                os.ftruncate(self._fd, min(self.bytes, os.fstat(self._fd).st_size))
            except OSError as error:
                if self.error is None:
                    self.error = local_error(error, self.local)

    def _give_up(self, error: Failure) -> None:
        self.error = error
        self._cut()
        if self._handle:
            self._batch((messages.CLOSE, (self._handle,), ""))
        else:
            self._finish(error)


def _is_null(fd: int) -> bool:
    """Whether this is the null device, which takes bytes in any order."""
    st, null = os.fstat(fd), os.stat(os.devnull)
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == null.st_rdev
