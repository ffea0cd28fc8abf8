"""The client's side of an SFTP session, without I/O: request ids, outstanding requests, bulk transfers, and their end.

Whatever the server does wrong ends the session at once with a named error for everybody who waits: an id nobody used,
a reply of a kind that does not belong to its request, a message that is short or too long (CVE-2026-59848).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastssh.errors import (
    ProtocolError,
    SFTPBadMessageError,
    SFTPConnectionLostError,
    SFTPError,
    SFTPUnsupportedError,
    SSHError,
    TransferError,
    sftp_error,
)
from fastssh.sftp import messages, paths
from fastssh.sftp.constants import (
    DEFAULT_TRANSFER,
    MAX_MESSAGE,
    MAX_REQUEST_ID,
    MAX_TRANSFER,
    STATUS_TEXT,
    VERSION,
    Packet,
    StatusCode,
)
from fastssh.sftp.messages import Request, SFTPLimits, StatusReply
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import TransferResult

Failure = SSHError | OSError
Callback = Callable[[Any, Failure | None], None]  # (value, None) or (None, error)
TransferCallback = Callable[["TransferResult | None", Failure | None], None]

HIGH_WATER: Final = 256 * 1024  # bytes queued on the channel above which data waits for its turn
MIN_TRANSFER: Final = 1024  # bytes; what a server may state as its limit and still be taken seriously
# Bulk transfers ask for so much that a message is one channel packet of the usual size: the server's processes then
# work side by side, while one of 255 KiB is acted on only when its last packet has come (against sshd 10 to 20 % less).
PACKET: Final = 32 * 1024  # bytes of a channel packet
DATA_HEADER: Final = 13  # uint32 length, byte type, uint32 id, uint32 data length
WRITE_HEADER: Final = 25  # uint32 length, byte type, uint32 id, string handle (without its bytes), uint64, uint32
MAX_OUTSTANDING: Final = 65_536  # requests; far above what any caller here keeps in flight

_ENDED: Final = "the server ended the SFTP session"
_STATUS: Final = int(Packet.STATUS)
_E_SFTP, _E_REQUEST_ID, _E_SYSTEM = -9, -10, -14  # fs_status codes, csrc/include/fs_status.h


class Link(Protocol):
    """What a session needs of its channel; the meanings are those of the native plane (_native/plane.pyi)."""

    def write(self, data: bytes) -> int: ...  # whole messages; bytes now waiting
    @property
    def pending(self) -> int: ...
    def close(self) -> None: ...
    def sftp_get(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int, to_end: bool) -> int: ...
    def sftp_put(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int) -> int: ...
    def transfer_progress(self, transfer: int) -> int: ...
    def transfer_contiguous(self, transfer: int) -> int: ...
    def transfer_cancel(self, transfer: int) -> None: ...
    def transfer_result(self, transfer: int) -> TransferResult: ...
    def set_send_rate(self, bytes_per_second: int) -> None: ...


class Session:
    """One SFTP session over ``link``. Callbacks come from :meth:`receive`, :meth:`transfer_done`, :meth:`writable` and
    :meth:`fail`; on a session that is over, at once from the call that asked.
    """

    def __init__(self, link: Link, length: int = 0, *, bounded: bool = False) -> None:
        """``length``: bytes of one READ or WRITE of a file that is copied; 0: as the server says. ``bounded``: the
        plane counts what is under way, so that all of it goes through the plane's own transfers."""
        self._link = link
        self._length, self._bounded = length, bounded
        self._ready: Callable[[Failure | None], None] | None = None
        self._next_id = 0
        self._outstanding: dict[int, tuple[Request, Callback, int]] = {}
        self._transfers: dict[int, tuple[int, TransferCallback | None]] = {}  # number: (our copy of the fd, who waits)
        self._queue: deque[Callable[[], None]] = deque()
        self._waiting = 0  # bytes on the channel after the last write
        self._versioned = False
        self.error: Failure | None = None
        self.version = VERSION
        self.extensions: dict[str, bytes] = {}
        self.limits = SFTPLimits()
        self.read_length = self.write_length = DEFAULT_TRANSFER
        self.companions: list[Session] = []  # sessions to the same server that large files go over as well
        self.joining: list[Callable[[Session], None]] = []  # who wants to hear of more of them
        self._mark = 0
        self.native_only = bounded  # small files are transfers of the plane as well

    # -- companions --------------------------------------------------------------------------------------------------

    def add_companion(self, session: Session, mark: int) -> None:
        """``mark``: seconds since 1970, a time that no file has but by accident; see :mod:`fastssh.sftp.stripes`."""
        self.companions = [companion for companion in self.companions if companion.error is None]
        self.companions.append(session)
        self._mark = mark
        for join in list(self.joining):
            join(session)

    def next_mark(self) -> int:
        """The time to mark the next file with."""
        self._mark = (self._mark + 1) & 0x7FFF_FFFF
        return self._mark

    # -- beginning ---------------------------------------------------------------------------------------------------

    def start(self, ready: Callable[[Failure | None], None]) -> None:
        """Sends INIT; ``ready(None)`` once the server's version and limits are known."""
        self._ready = ready
        self._write(messages.encode_init())

    def supports(self, request: Request) -> bool:
        """Whether the server announced this extension in the version that we speak (OpenSSH PROTOCOL 4.2)."""
        return not request.extension or self.extensions.get(request.name) == request.extension.encode()

    def _receive_version(self, message: bytes) -> None:
        self.version, self.extensions = messages.decode_version(message)
        if self.version != VERSION:
            raise ProtocolError(f"server speaks SFTP version {self.version}; version {VERSION} is needed")
        self._versioned = True
        if self.supports(messages.LIMITS):
            self.request(messages.LIMITS, (), self._receive_limits)
        else:
            self._receive_limits(None, None)

    def _receive_limits(self, limits: SFTPLimits | None, error: Failure | None) -> None:
        if self.error is not None:  # the session ended, and with it the waiting for it
            return
        if limits is not None:  # else the server could not say, and the defaults stand
            self.limits = limits
            most = MAX_TRANSFER
            if limits.max_packet_length:  # the request around the data takes less than 1024 bytes
                most = min(most, limits.max_packet_length - 1024)
            self.read_length = max(min(limits.max_read_length or DEFAULT_TRANSFER, most), MIN_TRANSFER)
            self.write_length = max(min(limits.max_write_length or DEFAULT_TRANSFER, most), MIN_TRANSFER)
        if self._length:
            self.read_length = min(self._length, self.read_length) if limits is not None else self._length
            self.write_length = min(self._length, self.write_length) if limits is not None else self._length
        self._become_ready(None)

    def _become_ready(self, error: Failure | None) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready(error)

    # -- requests ----------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Requests sent and not yet answered, without the native plane's."""
        return len(self._outstanding)

    @property
    def congested(self) -> bool:
        """Whether more data should wait until the channel has sent what it has."""
        if self._waiting >= HIGH_WATER and self.error is None:
            self._waiting = self._link.pending
        return self._waiting >= HIGH_WATER

    def request(self, request: Request, values: tuple[Any, ...], callback: Callback) -> None:
        """Sends one request; ``callback`` gets the decoded value of its reply (None for status OK), or an error.

        A status other than OK is an :class:`SFTPError` without file name. Values out of range raise ValueError here.
        """
        if self.error is not None:
            callback(None, self.error)
            return
        if not self.supports(request):
            callback(None, SFTPUnsupportedError(f"the server does not support {request.name}"))
            return
        if len(self._outstanding) >= MAX_OUTSTANDING:
            raise ValueError(f"{len(self._outstanding)} SFTP requests are unanswered")
        number = self._next_id
        while number in self._outstanding:
            number = (number + 1) & MAX_REQUEST_ID
        data = request.encode(number, *values)
        self._next_id = (number + 1) & MAX_REQUEST_ID
        self._outstanding[number] = (request, callback, values[2] if request is messages.READ else 0)
        self._write(data)

    def schedule(self, action: Callable[[], None]) -> None:
        """Calls ``action``, which is about to send file data: now, or in turn once the channel has room."""
        if self._queue or self.congested:
            self._queue.append(action)
        else:
            action()

    def writable(self) -> None:
        """The channel has room again."""
        self._waiting = 0
        while self._queue and not self.congested:
            self._queue.popleft()()

    def _write(self, data: bytes) -> None:
        try:
            self._waiting = self._link.write(data)
        except SSHError as error:
            self.fail(error)

    # -- replies -----------------------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> None:
        """One message of the server, without its length."""
        if self.error is not None:
            return
        try:
            if not self._versioned:
                self._receive_version(message)
                return
            callback, value, failure = self._match(message)
        except ProtocolError as error:
            self.abort(SFTPBadMessageError(f"SFTP: {error}"))
            return
        callback(value, failure)

    def _match(self, message: bytes) -> tuple[Callback, Any, SFTPError | None]:
        """Finds the request and decodes the reply. Only a reply that was understood is taken off the list."""
        if len(message) < 5:
            raise ProtocolError(f"message of {len(message)} bytes")
        if len(message) > MAX_MESSAGE:
            raise ProtocolError(f"message of {len(message)} bytes, {MAX_MESSAGE} allowed")
        number, request_id = message[0], int.from_bytes(message[1:5], "big")
        entry = self._outstanding.get(request_id)
        if entry is None:
            raise ProtocolError(f"reply to request {request_id}, which was not made")
        request, callback, limit = entry
        value: Any = None
        error: SFTPError | None = None
        try:
            if number == _STATUS:
                error = self._status(request, messages.STATUS.decode(message))
            elif number == request.reply.number:
                value = request.reply.decode(message)
                if limit and not 0 < len(value) <= limit:
                    raise ProtocolError(f"{len(value)} bytes of data, {limit} asked for")
            else:
                raise ProtocolError(f"message {number} in reply")
        except ProtocolError as fault:
            raise ProtocolError(f"reply to {request.name}: {fault}") from None
        del self._outstanding[request_id]
        return callback, value, error

    @staticmethod
    def _status(request: Request, status: StatusReply) -> SFTPError | None:
        if status.code == StatusCode.OK:
            if request.reply is not messages.STATUS:
                raise ProtocolError("status OK without what was asked for")
            return None
        text = printable(status.message.strip()) or STATUS_TEXT.get(status.code, f"status {status.code}")
        return sftp_error(status.code, text)

    # -- bulk transfers ----------------------------------------------------------------------------------------------

    def set_send_rate(self, bytes_per_second: int) -> None:
        """Limits what files that are copied take of the connection, together; 0: no limit.

        The plane counts the bytes of its own transfers alone, so while there is a limit small files are such as well.
        """
        self._link.set_send_rate(bytes_per_second)
        self.native_only = self._bounded or bytes_per_second > 0

    def get(
        self,
        handle: bytes,
        fd: int,
        size: int,
        callback: TransferCallback,
        *,
        offset: int = 0,
        to_end: bool = True,
        alone: bool = True,
    ) -> int:
        """Reads ``size`` bytes of a remote file from ``offset`` into ``fd``, and with ``to_end`` what follows them.

        ``alone``: no other session works at the same file. Messages of one packet then let a stock server's two
        processes work side by side, as sftp-server acts when a message's last byte has come; where several sessions
        keep all cores busy already, large messages cost everybody less.
        Returns a number for :meth:`progress` and :meth:`cancel`, -1 if the callback came already."""
        chunk = min(self.read_length, PACKET - DATA_HEADER) if alone and not self._length else self.read_length
        start = partial(self._link.sftp_get, handle, offset=offset, size=size, chunk=chunk, to_end=to_end)
        return self._transfer(fd, callback, start)

    def put(
        self, handle: bytes, fd: int, size: int, callback: TransferCallback, *, offset: int = 0, alone: bool = True
    ) -> int:
        """Writes ``size`` bytes of ``fd`` from ``offset`` (-1: until its end) to a remote file; else as :meth:`get`."""
        one_packet = PACKET - WRITE_HEADER - len(handle)
        chunk = min(self.write_length, one_packet) if alone and not self._length else self.write_length
        start = partial(self._link.sftp_put, handle, offset=offset, size=size, chunk=chunk)
        return self._transfer(fd, callback, start)

    def _transfer(self, fd: int, callback: TransferCallback, start: Callable[[int], int]) -> int:
        if self.error is not None:
            callback(None, self.error)
            return -1
        # The plane keeps its descriptor until the transfer has ended, which may be after its owner gave up.
        try:
            copy = os.dup(fd)
        except OSError as fault:
            callback(None, fault)
            return -1
        try:
            number = start(copy)
        except BaseException as error:
            os.close(copy)
            if not isinstance(error, SSHError):
                raise
            callback(None, error)
            return -1
        self._transfers[number] = copy, callback
        return number

    def progress(self, number: int) -> int:
        """Bytes that a transfer has done so far."""
        return self._link.transfer_progress(number) if number in self._transfers else 0

    def contiguous(self, number: int) -> int:
        """Of these, what is surely there without a gap; of a session that is over as well."""
        return self._link.transfer_contiguous(number) if number in self._transfers else 0

    def cancel(self, number: int) -> None:
        """No new requests for this transfer; its callback comes when those outstanding are answered."""
        if number in self._transfers:
            self._link.transfer_cancel(number)

    def transfer_done(self, number: int) -> None:
        """The plane's EVENT_TRANSFER."""
        entry = self._transfers.pop(number, None)
        if entry is None:
            return
        copy, callback = entry
        result = self._link.transfer_result(number)
        os.close(copy)
        if callback is not None:
            callback(result, None)

    # -- the end -----------------------------------------------------------------------------------------------------

    def end_of_file(self) -> None:
        """The server will send nothing more."""
        self.abort(SFTPConnectionLostError(_ENDED))

    def closed(self, error: Failure | None) -> None:
        """The channel is gone: descriptors lent to the plane come back."""
        self.fail(error or SFTPConnectionLostError(_ENDED))
        transfers, self._transfers = self._transfers, {}
        for number, (copy, _) in transfers.items():
            try:
                self._link.transfer_result(number)
            except ValueError:
                pass  # it has not ended: the plane went down with its connection
            os.close(copy)

    def abort(self, error: Failure) -> None:
        """Ends the session and its channel."""
        self._link.close()  # first: what the server still sends is dropped
        self.fail(error)

    def fail(self, error: Failure) -> None:
        """Ends the session: every callback that is still due gets ``error``, now. Later calls change nothing."""
        if self.error is not None:
            return
        self.error = error
        self._become_ready(error)
        outstanding, self._outstanding = self._outstanding, {}
        waiting = [(number, callback) for number, (_, callback) in self._transfers.items() if callback is not None]
        self._transfers = {number: (copy, None) for number, (copy, _) in self._transfers.items()}
        queue, self._queue = self._queue, deque()
        for _, callback, _ in outstanding.values():
            callback(None, error)
        for _, transfer_callback in waiting:
            transfer_callback(None, error)
        for action in queue:
            action()


def transfer_failure(result: TransferResult, remote: bytes, local: str) -> Failure | None:
    """What a bulk transfer's result means to the user; None if it went well."""
    name = paths.decode(remote)
    if result.status > 0:
        text = printable(result.message.strip()) or STATUS_TEXT.get(result.status, f"status {result.status}")
        return sftp_error(result.status, text, name)
    if result.status == _E_SYSTEM:
        return OSError(result.errno, os.strerror(result.errno or errno.EIO), local)
    if result.status in (_E_SFTP, _E_REQUEST_ID):
        return SFTPBadMessageError(printable(result.message), filename=name)
    if result.status < 0:
        return SFTPConnectionLostError(printable(result.message) or _ENDED, filename=name)
    if result.cancelled:
        return TransferError(f"{printable(name)}: interrupted")
    return None


def transfer_lost(result: TransferResult) -> bool:
    """Whether a transfer ended because its session, or the connection, did."""
    return result.status < 0 and result.status != _E_SYSTEM


def named(error: Failure, remote: bytes, doing: str = "") -> Failure:
    """``error`` of a request with the file it was about, and what was being done to it."""
    if isinstance(error, SFTPError) and error.filename is None:
        text = f"{doing}: {error.strerror}" if doing else str(error.strerror)
        return type(error)(text, code=error.code, filename=paths.decode(remote))
    return error
