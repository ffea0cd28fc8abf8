"""One file to the server. Done only when every WRITE, FSETSTAT and the CLOSE were answered OK."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from types import EllipsisType
from typing import Any, Final

from fastssh.errors import SFTPFileNotFoundError, SFTPUnsupportedError
from fastssh.sftp import messages
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.messages import Request
from fastssh.sftp.session import Failure, Session, named
from fastssh.sftp.stripes import STRIPED, UploadStripes
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
    too_long,
)

# A FIFO without writer must not stop us before we know that it is one.
_OPEN_LOCAL: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_IN_PLACE: Final = int(OpenFlags.WRITE | OpenFlags.CREAT)
_TRUNCATE: Final = _IN_PLACE | int(OpenFlags.TRUNC)


class FileUpload(FileCopy):
    """``local`` to ``remote``. ``target``: what is known of the remote file; None: it is not there; ...: ask first.

    The remote file is created with the source's permissions, less the server's umask, as scp(1) does.
    """

    __slots__ = ("_in_place", "_regular", "_setstat", "_stat", "_target")

    def __init__(
        self,
        session: Session,
        local: str,
        remote: bytes,
        options: FileOptions,
        done: Callable[[FileUpload], None],
        target: SFTPAttributes | EllipsisType | None = ...,
    ) -> None:
        super().__init__(session, local, remote, options, done)
        self._target = target
        self._in_place = self._setstat = False
        self._regular = True  # the target, as far as is known

    def start(self) -> None:
        """Opens the source, then the target."""
        try:
            self._fd = os.open(self.local, _OPEN_LOCAL)
            self._stat = os.fstat(self._fd)
        except OSError as error:
            self._finish(local_error(error, self.local))
            return
        if not stat.S_ISREG(self._stat.st_mode):
            self._finish(not_regular(self.local))
            return
        self._set_size(self._stat.st_size)
        if self._target is ...:
            self.session.request(messages.STAT, (self.remote,), self._target_known)
        else:
            self._open(self._target)

    def _target_known(self, attributes: SFTPAttributes | None, error: Failure | None) -> None:
        if error is not None and not isinstance(error, SFTPFileNotFoundError) and self.session.error is not None:
            self._finish(named(error, self.remote))
        else:  # whatever else is wrong, OPEN will say it better
            self._open(attributes)

    def _open(self, target: SFTPAttributes | None) -> None:
        if self.options.resume and target is not None and target.is_file() and target.size:
            self._start = self.bytes = target.size  # no failure cuts these away
            if self._start >= self.size:
                self._finish(too_long(self.local, "destination file same size or larger"))
                return
        self._in_place = not self._start and may_be_one(target, self._stat)
        self._regular = target is None or target.permissions is None or target.is_file()
        attributes = SFTPAttributes(permissions=self.options.mode(self._stat.st_mode) & 0o777)
        flags = _IN_PLACE if self._in_place or self._start else _TRUNCATE
        self.session.request(messages.OPEN, (self.remote, flags, attributes), self._opened)

    def _opened(self, handle: bytes | None, error: Failure | None) -> None:
        if handle is None or error is not None:
            self._finish(named(error, self.remote) if error is not None else None)
            return
        self._handle = handle
        if self._in_place:
            times = SFTPAttributes(
                atime=another_time(wire_time(self._stat.st_atime_ns)), mtime=wire_time(self._stat.st_mtime_ns)
            )
            self.session.request(messages.FSETSTAT, (handle, times), partial(self._probed, times))
        else:
            self._send()

    def _probed(self, times: SFTPAttributes, _: None, error: Failure | None) -> None:
        """The target may be the source: it is if the access time given to one is now the other's."""
        try:
            if wire_time(os.fstat(self._fd).st_atime_ns) == times.atime:
                restore_times(self._fd, self._stat)
                self._give_up(one_file(self.local))
                return
        except OSError as fault:
            self._give_up(local_error(fault, self.local))
            return
        if error is not None:  # not ours to change, so it cannot be told: written in place, nothing of it is lost
            self._send()
            return
        self._in_place = False
        self.session.request(messages.FSETSTAT, (self._handle, SFTPAttributes(size=0)), self._emptied)

    def _emptied(self, _: None, error: Failure | None) -> None:
        if error is not None:
            self._give_up(named(error, self.remote, "truncate"))
        else:
            self._send()

    def _send(self) -> None:
        if not self._start and self.size <= (0 if self.session.native_only else self.session.write_length):
            self.session.schedule(self._send_small)
        else:
            self._send_large(self.size)

    # -- a file of one WRITE: WRITE, FSETSTAT and CLOSE in one go -----------------------------------------------------

    def _send_small(self) -> None:
        if self.cancelled:
            self._give_up(self._interrupted())
            return
        try:
            data, whole = self._read_small(self.session.write_length)
            same = self._unchanged()
        except OSError as error:
            self._give_up(local_error(error, self.local))
            return
        if not whole or (data and self.session.native_only):  # a size of 0 where there is more: /proc
            self._send_large(-1)
        elif not same or self.size not in (0, len(data)):
            self._give_up(changed(self.local))
        else:
            self.bytes = len(data)
            self._close([(messages.WRITE, (self._handle, 0, data), "")] if data else [])

    def _read_small(self, most: int) -> tuple[bytes, bool]:
        """(data, whether that is all) up to ``most`` bytes."""
        data = os.read(self._fd, min(most, self.size or most) + 1)
        if self.size and len(data) <= self.size:
            return data, True  # a read of a regular file is only short at its end
        while len(data) <= most and (more := os.read(self._fd, most + 1 - len(data))):
            data += more
        return data, len(data) <= most

    # -- a file of many: the native plane -----------------------------------------------------------------------------

    def _send_large(self, size: int) -> None:
        if self.cancelled:
            self._give_up(self._interrupted())
            return
        null = not self._regular and self.remote == os.fsencode(os.devnull)  # which takes bytes in any order
        spread = size - self._start >= STRIPED and not self._in_place and (self._regular or null)
        names = self.remote, self.local
        self._stripes = UploadStripes(
            self.session, self._handle, self._fd, size, names, self._sent, spread=spread, start=self._start,
            marked=not null,
        )
        self._stripes.start()

    def _sent(self, failure: Failure | None) -> None:
        stripes, self._stripes = self._stripes, None
        assert stripes is not None
        if failure is None:
            try:
                if not self._unchanged():
                    failure = changed(self.local)
            except OSError as fault:
                failure = local_error(fault, self.local)
        if failure is not None:
            self.bytes = stripes.prefix
            self._give_up(failure)
        else:
            self.bytes = stripes.bytes
            self._close([])

    # -- the end ------------------------------------------------------------------------------------------------------

    def _unchanged(self) -> bool:
        now = os.fstat(self._fd)
        return (now.st_size, now.st_mtime_ns) == (self._stat.st_size, self._stat.st_mtime_ns)

    def _attributes(self) -> SFTPAttributes:
        attributes = SFTPAttributes()
        if self._in_place:
            attributes.size = self.bytes
        if self.options.preserve and self._regular:  # never the mode or times of /dev/null
            attributes.permissions = self.options.mode(self._stat.st_mode)
            attributes.atime, attributes.mtime = wire_time(self._stat.st_atime_ns), wire_time(self._stat.st_mtime_ns)
        return attributes

    def _close(self, requests: list[tuple[Request, tuple[Any, ...], str]]) -> None:
        """The last batch: attributes, fsync where asked for, CLOSE."""
        if self._in_place or (self.options.preserve and self._regular):
            requests.append((messages.FSETSTAT, (self._handle, self._attributes()), "set attributes"))
        if self.options.fsync:
            requests.append((messages.FSYNC, (self._handle,), "fsync"))
        self._batch(*requests, (messages.CLOSE, (self._handle,), "close"))

    def _give_up(self, error: Failure) -> None:
        """Cuts the target to what is there without a gap, so that it does not pass for the whole, and closes it."""
        self.error = error
        cut = (messages.FSETSTAT, (self._handle, SFTPAttributes(size=self.bytes)), "")
        close = (messages.CLOSE, (self._handle,), "")
        if self._regular and not self._in_place:
            self._batch(cut, close)
        else:
            self._batch(close)

    def _failed(self, request: Request, error: Failure) -> Failure | None:
        if request is messages.FSETSTAT and isinstance(error, SFTPUnsupportedError) and self.error is None:
            self._setstat = True
            return None
        return error

    def _answered(self) -> None:
        if self._setstat and self.error is None:
            self._setstat = False
            self._batch((messages.SETSTAT, (self.remote, self._attributes()), "set attributes"))
        else:
            self._finish(None)
