"""One file's bytes over one or several sessions: segments, handed to whichever session has room for more.

A stock server gives each SFTP channel processes of its own that hand a pipe back and forth, so that several channels,
or better several connections, move one file faster than one. Every session opens the file by itself. What makes this
as safe as one session:

- A companion is used only for what is surely the same file: of an upload one that shows the access time that was just
  given to the first session's file, of a download one with the same size, time, owner and mode.
- The last piece is moved only when everything else is there, acknowledged and closed: until then the target is shorter
  than its source, whatever happens. ``prefix`` says how much of it is known to be without gaps.
- What a lost companion did not finish is done again by the others, and in an upload also what it finished, as nobody
  confirmed the closing of its handle. The loss of the first session is the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from fastssh.errors import SSHError, TransferError
from fastssh.sftp import messages, paths
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.session import Failure, Session, named, transfer_failure, transfer_lost
from fastssh.sftp.transfer import changed, local_error
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import TransferResult

SEGMENT: Final = 8 * 1024 * 1024  # bytes; some ten milliseconds of a fast link: small beside a file that is striped
MAX_SEGMENTS: Final = 2**17  # of a file; those of more than a TiB are longer
QUEUED: Final = 2  # segments of a session under way, so that its wire never idles between two
LAST_PIECE: Final = 64 * 1024  # bytes; what is held back begins at a multiple of this
STRIPED: Final = 32 * 1024 * 1024  # bytes; smaller files are done before a companion has opened them
MAX_LANES: Final = 250  # sessions that one file sees, those that it lost counted
_FREE: Final = 0  # state of a segment; else the number of the lane that finished it
_UNDER_WAY: Final = 255
_NO_ATTRIBUTES: Final = SFTPAttributes()


class _Lane:
    """A session with the file open. ``running``: segments under way and their transfers."""

    __slots__ = ("closing", "handle", "lost", "number", "running", "session")

    def __init__(self, session: Session, handle: bytes, number: int) -> None:
        self.session, self.handle, self.number = session, handle, number
        self.running: dict[int, int] = {}
        self.closing = self.lost = False


class Stripes:
    """Base of the two directions. ``done`` is called once, from :meth:`start` at the earliest, with what went wrong.

    ``handle`` is the first session's, and stays open; companions' handles are closed here. With ``spread``, companions
    that the session has or gets are used. ``size`` -1: until the end of the source. The first ``start`` bytes are there
    already.
    """

    FLAGS: ClassVar[OpenFlags]  # with which companions open the file
    REDO: ClassVar[bool]  # whether a lost companion's finished segments are done again

    def __init__(
        self,
        session: Session,
        handle: bytes,
        fd: int,
        size: int,
        names: tuple[bytes, str],
        done: Callable[[Failure | None], None],
        *,
        spread: bool,
        start: int = 0,
    ) -> None:
        self._session, self._fd, self._done = session, fd, done
        self._start, self._size = start, size - start if size >= 0 else -1  # what is left to be moved
        self._remote, self._local = names
        self._spread = spread
        self._body = max(self._size - 1, 0) // LAST_PIECE * LAST_PIECE  # all but the last piece
        # Whatever size a server tells, it costs no more memory than this many segments.
        self._segment = max(SEGMENT, -(-self._body // MAX_SEGMENTS // LAST_PIECE) * LAST_PIECE)
        self._states = bytearray(-(-self._body // self._segment))  # of the body's segments
        self._last = len(self._states)  # number of the last piece
        self._free = 0  # no segment before this one is free
        self._left = self._last  # segments of the body that are not finished
        self._begun: dict[int, int] = {}  # segments that failed: bytes that are there from their beginning
        self._lanes = [_Lane(session, handle, 1)]
        self._lane_count = 1
        self._failure: Failure | None = None
        self._pumping = self._over = False
        self.bytes = start  # and of segments that are finished
        self.end_of_file = -1  # where the source ended, if the last piece met its end

    def start(self) -> None:
        if self._spread:
            self._session.joining.append(self._join)
            for companion in list(self._session.companions):
                self._join(companion)
        self._pump()

    def cancel(self) -> None:
        """No new requests; ``done`` follows when those under way are answered."""
        self._fail(TransferError(f"{printable(self._source)}: interrupted"))
        self._pump()

    @property
    def progress(self) -> int:
        """Bytes so far, in whatever order."""
        under_way = [(lane.session, number) for lane in self._lanes for number in lane.running.values()]
        return self.bytes + sum(session.progress(number) for session, number in under_way)

    @property
    def prefix(self) -> int:
        """Bytes from the beginning of the file that are known to be there; never the last piece."""
        whole = (n for n, state in enumerate(self._states) if state in (_FREE, _UNDER_WAY))
        first = next(whole, self._last)
        return self._start + min(first * self._segment + self._begun.get(first, 0), self._body)

    # -- the two directions ------------------------------------------------------------------------------------------

    def _move(self, lane: _Lane, offset: int, size: int, last: bool, callback: Callable[..., None]) -> int:
        raise NotImplementedError

    def _whole(self, result: TransferResult, size: int, last: bool) -> bool:
        """Whether a transfer without error moved what it should."""
        raise NotImplementedError

    @property
    def _source(self) -> str:
        """The source's name."""
        raise NotImplementedError

    def _is_same(self, attributes: SFTPAttributes) -> bool:
        """Whether what a companion opened is the first session's file."""
        raise NotImplementedError

    # -- companions --------------------------------------------------------------------------------------------------

    def _join(self, session: Session) -> None:
        if self._states.find(_FREE, self._free) < 0 or self._lane_count == MAX_LANES or session.error is not None:
            return
        self._lane_count += 1
        self._open(_Lane(session, b"", self._lane_count))

    def _open(self, lane: _Lane) -> None:
        values = (self._remote, int(self.FLAGS), _NO_ATTRIBUTES)
        lane.session.request(messages.OPEN, values, partial(self._opened, lane))

    def _opened(self, lane: _Lane, handle: bytes | None, error: Failure | None) -> None:
        if handle is not None:  # else the others do it without this one
            lane.handle = handle
            lane.session.request(messages.FSTAT, (handle,), partial(self._looked, lane))

    def _looked(self, lane: _Lane, attributes: SFTPAttributes | None, error: Failure | None) -> None:
        wanted = not self._over and self._failure is None and self._states.find(_FREE, self._free) >= 0
        if wanted and attributes is not None and self._is_same(attributes):
            self._lanes.append(lane)
            self._pump()
        else:
            self._forget(lane)

    @staticmethod
    def _forget(lane: _Lane) -> None:
        """Closes a handle of which nothing depends any more."""
        lane.closing = True
        lane.session.request(messages.CLOSE, (lane.handle,), lambda _value, _error: None)

    def _lose(self, lane: _Lane) -> None:
        """A companion's session ended: what it had is for the others."""
        self._lanes.remove(lane)
        lane.lost = True
        for segment, number in lane.running.items():
            self._states[segment] = _FREE
            lane.session.cancel(number)
        self._free = 0
        if self.REDO:
            for segment in [n for n, state in enumerate(self._states) if state == lane.number]:
                self._states[segment] = _FREE
                self._left += 1
                self.bytes -= self._length(segment)

    # -- segments ----------------------------------------------------------------------------------------------------

    def _length(self, segment: int) -> int:
        if segment == self._last:
            return self._size - self._body if self._size >= 0 else -1
        return min(self._segment, self._body - segment * self._segment)

    def _pump(self) -> None:
        """Hands out what there is room for, then sees what comes next. From within itself it does nothing."""
        if self._pumping or self._over:
            return
        self._pumping = True
        try:
            while self._failure is None and (lane := self._idle_lane()) is not None:
                self._free = segment = self._states.find(_FREE, self._free)
                if segment < 0:
                    self._free = self._last
                    break
                self._states[segment] = _UNDER_WAY
                self._begin(lane, segment)
            if self._failure is None:
                self._conclude()
        finally:
            self._pumping = False
        running = any(lane.running for lane in self._lanes)
        if self._failure is not None and (not running or self._session.error is not None):
            self._end()

    def _idle_lane(self) -> _Lane | None:
        lane = min((lane for lane in self._lanes if not lane.closing), key=lambda lane: len(lane.running))
        return lane if len(lane.running) < QUEUED else None

    def _begin(self, lane: _Lane, segment: int) -> None:
        lane.running[segment] = -1
        last = segment == self._last
        offset = self._start + (self._body if last else segment * self._segment)
        number = self._move(lane, offset, self._length(segment), last, partial(self._moved, lane, segment))
        if segment in lane.running:
            lane.running[segment] = number

    def _moved(self, lane: _Lane, segment: int, result: TransferResult | None, error: Failure | None) -> None:
        number = lane.running.pop(segment)
        if self._over or lane.lost:
            if not lane.running and lane.number > 1 and not lane.closing:
                self._forget(lane)
            return
        failure = error
        if result is not None:
            failure = transfer_failure(result, self._remote, self._local)
            if failure is None and not self._whole(result, self._length(segment), segment == self._last):
                failure = changed(self._source)
        if failure is None and result is not None:
            self._finished(lane, segment, result)
        else:
            if lane.number == 1 or not self.REDO:
                self._begun[segment] = result.contiguous if result is not None else lane.session.contiguous(number)
            if segment != self._last:
                self._states[segment] = _FREE
                self._free = min(self._free, segment)
            if lane.number > 1 and (isinstance(error, SSHError) if result is None else transfer_lost(result)):
                self._lose(lane)
            elif failure is not None:
                self._fail(named(local_error(failure, self._local), self._remote))
        self._pump()

    def _finished(self, lane: _Lane, segment: int, result: TransferResult) -> None:
        self.bytes += result.bytes
        if segment == self._last:
            self.end_of_file = result.end_of_file
            self._end()
        else:
            self._states[segment] = lane.number
            self._left -= 1

    # -- the end -----------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Nothing is left to be handed out: companions close, and when all is there the last piece follows."""
        if self._states.find(_FREE, self._free) >= 0:
            return
        for lane in self._lanes[1:]:
            if not lane.running and not lane.closing:
                lane.closing = True
                lane.session.request(messages.CLOSE, (lane.handle,), partial(self._closed, lane))
        first = self._lanes[0]
        if self._left == 0 and len(self._lanes) == 1 and not first.running and not self._over:
            self._begin(first, self._last)

    def _closed(self, lane: _Lane, _: None, error: Failure | None) -> None:
        if self._over or lane.lost:
            return
        if error is None:
            self._lanes.remove(lane)
        else:
            self._lose(lane)
            if lane.session.error is None:
                self._fail(named(error, self._remote, "close"))
        self._pump()

    def _fail(self, failure: Failure) -> None:
        """The first failure is the one that is told. What is under way is interrupted."""
        if self._failure is not None or self._over:
            return
        self._failure = failure
        for lane in self._lanes:
            for number in lane.running.values():
                lane.session.cancel(number)

    def _end(self) -> None:
        self._over = True
        if self._spread:
            self._session.joining.remove(self._join)
        for lane in self._lanes[1:]:
            if not lane.running and not lane.closing:
                self._forget(lane)
        self._done(self._failure)


class UploadStripes(Stripes):
    """To the server. ``marked``: companions are shown the file by its times, which nobody else would give it; else (the
    null device) any file of the name will do."""

    FLAGS = OpenFlags.WRITE
    REDO = True

    def __init__(self, *positional: Any, spread: bool, start: int = 0, marked: bool = True) -> None:
        super().__init__(*positional, spread=spread, start=start)
        self._mark: int | None = None
        self._marked = not marked
        self._waiting: list[_Lane] = []

    def _open(self, lane: _Lane) -> None:
        if self._marked:
            super()._open(lane)
            return
        self._waiting.append(lane)
        if self._mark is None:
            self._mark = self._session.next_mark()
            times = SFTPAttributes(atime=self._mark, mtime=self._mark)
            self._session.request(messages.FSETSTAT, (self._lanes[0].handle, times), self._mark_set)

    def _mark_set(self, _: None, error: Failure | None) -> None:
        """Where that is not allowed, companions keep waiting, and the first session does it all."""
        if error is None and not self._over:
            self._marked = True
            for lane in self._waiting:
                super()._open(lane)

    def _is_same(self, attributes: SFTPAttributes) -> bool:
        return self._mark is None or (attributes.is_file() and attributes.atime == self._mark)

    def _move(self, lane: _Lane, offset: int, size: int, last: bool, callback: Callable[..., None]) -> int:
        return lane.session.put(lane.handle, self._fd, size, callback, offset=offset, alone=len(self._lanes) == 1)

    def _whole(self, result: TransferResult, size: int, last: bool) -> bool:
        return result.bytes == size or size <= 0

    @property
    def _source(self) -> str:
        return self._local


class DownloadStripes(Stripes):
    """From the server. ``known``: the file's attributes, as the first session sees them."""

    FLAGS = OpenFlags.READ
    REDO = False

    def __init__(self, *positional: Any, spread: bool, known: SFTPAttributes, start: int = 0) -> None:
        super().__init__(*positional, spread=spread, start=start)
        self._known = known

    def _is_same(self, attributes: SFTPAttributes) -> bool:
        return all(
            getattr(attributes, name) == getattr(self._known, name)
            for name in ("size", "mtime", "uid", "gid", "permissions")
        )

    def _move(self, lane: _Lane, offset: int, size: int, last: bool, callback: Callable[..., None]) -> int:
        alone = len(self._lanes) == 1
        return lane.session.get(lane.handle, self._fd, size, callback, offset=offset, to_end=last, alone=alone)

    def _whole(self, result: TransferResult, size: int, last: bool) -> bool:
        return last or (result.bytes == size and result.end_of_file < 0)

    @property
    def _source(self) -> str:
        return paths.decode(self._remote)
