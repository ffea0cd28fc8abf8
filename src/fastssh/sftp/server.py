"""The server's side of an SFTP session, without I/O on the network: requests in order, each answered before the next.

What the system refuses is answered with a status; a message that is malformed or out of place ends the session. A
request that may take long runs in slices, between which an event loop can do something else.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from fastssh.errors import ProtocolError
from fastssh.sftp import messages
from fastssh.sftp.constants import MAX_MESSAGE, MAX_TRANSFER, Packet, StatusCode
from fastssh.sftp.filesystem import FileSystem, may_go_by_descriptor
from fastssh.sftp.handles import Descriptor, OpenFile
from fastssh.sftp.messages import Request, SFTPLimits, StatusReply
from fastssh.sftp.operations import OPERATIONS, Access, Operations
from fastssh.sftp.status import Refused, status, status_of

MAX_WAITING: Final = 16 * 1024 * 1024  # bytes of memory for requests behind one that takes long
_A_MESSAGE: Final = 64  # bytes of memory that one takes beside its own
MOST_HANDLES: Final = 4096  # of a session, where the system allows as many
_SPARED: Final = 64  # descriptors left for everything else in the process
_A_HANDLE: Final = 3  # descriptors that a directory takes

def extensions(*, by_descriptor: bool) -> dict[str, bytes]:
    """What a server announces: names and versions."""
    return {
        request.name: request.extension.encode()
        for request, operation in OPERATIONS.items()
        if request.number == Packet.EXTENDED and (by_descriptor or not operation.by_descriptor)
    }


def default_limits() -> SFTPLimits:
    """OpenSSH's sizes; handles for one session by what RLIMIT_NOFILE lets this process open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = MOST_HANDLES if soft == resource.RLIM_INFINITY else (soft - _SPARED) // _A_HANDLE
    return SFTPLimits(MAX_MESSAGE, MAX_TRANSFER, MAX_TRANSFER, max(1, min(possible, MOST_HANDLES)))


class _Long(NamedTuple):
    """A request whose answer comes when its slices have ended."""

    request: Request
    id: int
    slices: Iterator[None]


class SFTPServer:
    """One session. ``send`` takes whole messages, in order; ``now`` tells seconds since 1970, for listings.

    ``limits`` are what limits@openssh.com says and what is kept to (a length of 0: the protocol's), by default
    :func:`default_limits`. With ``read_only`` nothing is created, changed or removed.

    While :attr:`busy` the caller calls :meth:`work` in its own time, and gives the peer no more window: what comes
    meanwhile waits here, up to MAX_WAITING bytes.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        send: Callable[[bytes], None],
        *,
        now: Callable[[], float],
        limits: SFTPLimits | None = None,
        read_only: bool = False,
    ) -> None:
        limits = limits or default_limits()
        self._send, self._read_only = send, read_only
        self._longest = min(limits.max_packet_length or MAX_MESSAGE, MAX_MESSAGE)
        self._operations = Operations(filesystem, limits, now, read_only=read_only)
        self._by_descriptor = may_go_by_descriptor(filesystem)
        self._versioned = False
        self._long: _Long | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    # -- messages ----------------------------------------------------------------------------------------------------

    def receive(self, message: bytes | memoryview) -> None:
        """One message of the client, without its length. Raises ProtocolError: the session is to be ended."""
        if len(message) > self._longest:
            raise ProtocolError(f"SFTP message of {len(message)} bytes, {self._longest} allowed")
        if not self.busy:
            self._process(bytes(message))
            return
        self._waiting_bytes += len(message) + _A_MESSAGE
        if self._waiting_bytes > MAX_WAITING:
            raise ProtocolError(f"{len(self._waiting)} SFTP requests behind one that takes long, and still more")
        self._waiting.append(bytes(message))

    @property
    def busy(self) -> bool:
        """Whether there is something to do for :meth:`work`."""
        return self._long is not None or bool(self._waiting)

    def work(self) -> bool:
        """A slice of a long request, or the next one that waits; whether there is more. Raises as :meth:`receive`."""
        if self._long is not None:
            self._proceed(self._long)
        elif self._waiting:
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message) + _A_MESSAGE
            self._process(message)
        return self.busy

    def _process(self, message: bytes) -> None:
        if not self._versioned:
            messages.decode_init(message)  # of whatever version: it is told ours, and may leave
            self._versioned = True
            self._send(messages.encode_version(extensions(by_descriptor=self._by_descriptor)))
            return
        if message[:1] == bytes((Packet.INIT,)):
            raise ProtocolError("SFTP INIT in the midst of a session")
        try:
            request, number, values = messages.decode_request(message)
        except LookupError as unknown:
            self._answer(messages.STATUS, unknown.args[0], status(StatusCode.OP_UNSUPPORTED))
            return
        operation = OPERATIONS[request]
        if operation.by_descriptor and not self._by_descriptor:
            self._answer(messages.STATUS, number, status(StatusCode.OP_UNSUPPORTED))
            return
        if self._read_only and operation.access is Access.WRITES:
            self._answer(messages.STATUS, number, status(StatusCode.PERMISSION_DENIED))
            return
        call = partial(operation.method, self._operations, *values)
        self._run(request, number, (lambda: self._slice(_Long(request, number, call()))) if operation.sliced else call)

    def _proceed(self, long: _Long) -> None:
        self._run(long.request, long.id, partial(self._slice, long))

    def _slice(self, long: _Long) -> None:
        """The next slice; the request stays in ``_long`` unless that was the end of it."""
        self._long = None
        for _ in long.slices:
            self._long = long
            break

    # -- replies -----------------------------------------------------------------------------------------------------

    def _run(self, request: Request, number: int, call: Callable[[], Any]) -> None:
        """Answers with what ``call`` gives. Here, and nowhere else, what went wrong becomes a status."""
        try:
            value = call()
        except OSError as error:
            self._answer(messages.STATUS, number, status_of(error))
        except Refused as refusal:
            self._answer(messages.STATUS, number, refusal.status)
        else:
            if self._long is None:
                ok = request.reply is messages.STATUS
                self._answer(request.reply, number, status(StatusCode.OK) if ok else value)

    def _answer(self, reply: messages.Reply, number: int, value: StatusReply | Any) -> None:
        self._send(reply.encode(number, value))

    # -- the caller's side -------------------------------------------------------------------------------------------

    def descriptor_of(self, handle: bytes) -> Descriptor | None:
        """The open file behind ``handle`` if it never waits, None for anything else; ours until CLOSE is received."""
        file = self._operations.handles.get(handle)
        return file.descriptor() if isinstance(file, OpenFile) else None

    def close(self) -> None:
        """Ends the session: what the client left open is closed, what waits is dropped."""
        self._long = None
        self._waiting.clear()
        self._operations.handles.close_all()
