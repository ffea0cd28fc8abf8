"""A channel to an SFTP server in memory: everything in one thread and in a known order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fastssh.errors import ChannelClosedError, ProtocolError
from fastssh.sftp import messages as m
from fastssh.sftp.constants import StatusCode
from fastssh.sftp.session import Session
from tests.support.sftp_server import Unframer

MALFORMED = -9  # FS_E_SFTP


@dataclass
class Result:
    """As the plane's TransferResult."""

    kind: str
    bytes: int = 0
    status: int = 0
    errno: int = 0
    message: str = ""
    end_of_file: int = -1
    cancelled: bool = False

    @property
    def contiguous(self) -> int:
        """What is asked for is answered in its order."""
        return self.bytes

    def fail(self, reply: m.Reply | None, value: Any) -> None:
        self.status, self.message = MALFORMED, "malformed SFTP reply"
        if reply is m.STATUS and value.code != StatusCode.OK:
            self.status, self.message = value.code, value.message


class MemoryLink:
    """A channel to a server in the same thread.

    Its bulk transfers stand in for the native plane's, one READ or WRITE at a time.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.unframer = Unframer()
        self.replies: list[bytes] = []
        self.sent: list[bytes] = []
        self.closed = False
        self.results: dict[int, Result] = {}
        self.ended: list[int] = []  # transfers whose end was not yet told
        self.waiting = 0
        self.rate = 0  # bytes a second

    @property
    def pending(self) -> int:
        return self.waiting

    def write(self, data: bytes) -> int:
        if self.closed:
            raise ChannelClosedError("channel 0 is not open")
        self.sent.append(data)
        self.replies.append(self.answer(data[4:]))
        return self.waiting

    def close(self) -> None:
        self.closed = True

    # -- the plane -------------------------------------------------------------------------------------------------

    def sftp_get(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int, to_end: bool) -> int:
        result = Result("get")
        return self._begin(result, self._get(result, handle, fd, offset, offset + size, chunk, to_end))

    def _get(
        self, result: Result, handle: bytes, fd: int, offset: int, end: int, chunk: int, to_end: bool
    ) -> Iterator[None]:
        while result.end_of_file < 0 and (to_end or offset < end):
            length = min(chunk, end - offset) if offset < end else chunk
            reply, value = self._bulk(m.READ, handle, offset, length)
            if reply is m.DATA and 0 < len(value) <= length:
                os.pwrite(fd, value, offset)
                offset += len(value)
                result.bytes += len(value)
            elif reply is m.STATUS and value.code == StatusCode.EOF:
                result.end_of_file = offset
            else:
                result.fail(reply, value)
            yield

    def sftp_put(self, handle: bytes, fd: int, *, offset: int, size: int, chunk: int) -> int:
        result, end = Result("put"), offset + size if size >= 0 else 1 << 62
        return self._begin(result, self._put(result, handle, fd, offset, end, chunk))

    def _put(self, result: Result, handle: bytes, fd: int, offset: int, end: int, chunk: int) -> Iterator[None]:
        while offset < end and (data := os.pread(fd, min(chunk, end - offset), offset)):
            reply, value = self._bulk(m.WRITE, handle, offset, data)
            if reply is m.STATUS and value.code == StatusCode.OK:
                offset += len(data)
                result.bytes += len(data)
            else:
                result.fail(reply, value)
            yield

    def _begin(self, result: Result, steps: Iterator[None]) -> int:
        """The whole transfer, at once."""
        while result.status == 0 and next(steps, True) is None:
            pass
        number = len(self.results)
        self.results[number] = result
        self.ended.append(number)
        return number

    def _bulk(self, request: m.Request, *values: Any) -> tuple[m.Reply | None, Any]:
        reply = self.answer(request.encode(1 << 31, *values)[4:])[4:]
        for kind in (m.DATA, m.STATUS):
            if reply[:5] == bytes((kind.number,)) + (1 << 31).to_bytes(4, "big"):
                try:
                    return kind, kind.decode(reply)
                except ProtocolError:
                    break
        return None, None

    def transfer_progress(self, transfer: int) -> int:
        return self.results[transfer].bytes

    def transfer_contiguous(self, transfer: int) -> int:
        return self.results[transfer].contiguous

    def transfer_cancel(self, transfer: int) -> None:
        self.results[transfer].cancelled = True

    def transfer_result(self, transfer: int) -> Any:
        return self.results[transfer]

    def set_send_rate(self, bytes_per_second: int) -> None:
        self.rate = bytes_per_second

    # -- the peer --------------------------------------------------------------------------------------------------

    def deliver(self, session: Session) -> None:
        """Hands over what the server has said so far."""
        while (self.replies or self.ended) and not self.closed:
            while self.ended:
                session.transfer_done(self.ended.pop(0))
            if self.replies:
                for message in self.unframer.feed(self.replies.pop(0)):
                    session.receive(message)
