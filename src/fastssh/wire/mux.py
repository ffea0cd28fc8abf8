"""OpenSSH's PROTOCOL.mux, version 4: how programs share the SSH connection of one of them, its master.

Messages go over a Unix socket, each behind its length. Two of them are followed by descriptors, sent one by one with a
byte each (SCM_RIGHTS): whoever carries the bytes collects them, and :class:`Decoder` takes care of the bytes. Names are
PROTOCOL.mux's.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Final, TypeVar

from fastssh.errors import ProtocolError
from fastssh.wire.codec import Reader, uint32
from fastssh.wire.fields import STRING, String, Structure, Text, Uint32, pair, until_end

VERSION: Final = 4
MAX_MESSAGE: Final = 256 * 1024  # bytes; OpenSSH's
NO_ESCAPE: Final = 0xFFFF_FFFF
PATH_PORT: Final = 0xFFFF_FFFE  # -2: the host beside it is the path of a Unix socket

FORWARD_LOCAL, FORWARD_REMOTE, FORWARD_DYNAMIC = 1, 2, 3


class MuxMessage(Structure):
    """Base of all messages; all but HELLO begin with the number of the request that they are, or answer, or of the
    session that they concern."""

    number: ClassVar[int]
    title: ClassVar[str]
    descriptors: ClassVar[int] = 0  # that follow it

    def encode(self) -> bytes:
        """The message with its length before it."""
        body = self.body()
        return uint32(len(body) + 4) + uint32(self.number) + body

    @classmethod
    def label(cls) -> str:
        return cls.title


M = TypeVar("M", bound=MuxMessage)
_REGISTRY: Final[dict[int, type[MuxMessage]]] = {}


def _message(number: int, title: str) -> Callable[[type[M]], type[M]]:
    def describe(cls: type[M]) -> type[M]:
        cls.number, cls.title = number, title
        _REGISTRY[number] = cls
        return cls

    return describe


@_message(0x0000_0001, "MUX_MSG_HELLO")
class Hello(MuxMessage):
    version: Uint32
    extensions: Annotated[tuple[tuple[bytes, bytes], ...], until_end(pair(STRING, STRING))] = ()


# --- what a client asks for -------------------------------------------------------------------------------------------


@_message(0x1000_0002, "MUX_C_NEW_SESSION")
class NewSession(MuxMessage):
    """Flags are numbers, 0 for no. ``escape`` is a character, or NO_ESCAPE. Behind it come standard input, output and
    error."""

    request: Uint32
    reserved: String
    want_tty: Uint32
    want_x11: Uint32
    want_agent: Uint32
    subsystem: Uint32
    escape: Uint32
    term: String
    command: String
    environment: Annotated[tuple[bytes, ...], until_end(STRING)] = ()

    descriptors = 3


@_message(0x1000_0004, "MUX_C_ALIVE_CHECK")
class AliveCheck(MuxMessage):
    request: Uint32


@_message(0x1000_0005, "MUX_C_TERMINATE")
class Terminate(MuxMessage):
    request: Uint32


@_message(0x1000_0006, "MUX_C_OPEN_FWD")
class OpenForward(MuxMessage):
    """A kind, FORWARD_LOCAL and so on; where to listen, an empty host for none given; where connections go, both 0 and
    empty for a SOCKS client's choice. A port of PATH_PORT makes the host a path."""

    request: Uint32
    kind: Uint32
    listen_host: String
    listen_port: Uint32
    connect_host: String
    connect_port: Uint32


@_message(0x1000_0007, "MUX_C_CLOSE_FWD")
class CloseForward(MuxMessage):
    """The one that was opened with the same."""

    request: Uint32
    kind: Uint32
    listen_host: String
    listen_port: Uint32
    connect_host: String
    connect_port: Uint32


@_message(0x1000_0008, "MUX_C_NEW_STDIO_FWD")
class NewStdioForward(MuxMessage):
    """Behind it come standard input and output."""

    request: Uint32
    reserved: String
    host: String
    port: Uint32

    descriptors = 2


@_message(0x1000_0009, "MUX_C_STOP_LISTENING")
class StopListening(MuxMessage):
    request: Uint32


@_message(0x1000_000F, "MUX_C_PROXY")
class Proxy(MuxMessage):
    request: Uint32


# --- what a master says -----------------------------------------------------------------------------------------------


@_message(0x8000_0001, "MUX_S_OK")
class Ok(MuxMessage):
    request: Uint32


@_message(0x8000_0002, "MUX_S_PERMISSION_DENIED")
class PermissionDenied(MuxMessage):
    request: Uint32
    reason: Text  # for a person


@_message(0x8000_0003, "MUX_S_FAILURE")
class Failure(MuxMessage):
    request: Uint32
    reason: Text


@_message(0x8000_0004, "MUX_S_EXIT_MESSAGE")
class ExitMessage(MuxMessage):
    session: Uint32
    value: Uint32


@_message(0x8000_0005, "MUX_S_ALIVE")
class Alive(MuxMessage):
    request: Uint32
    pid: Uint32


@_message(0x8000_0006, "MUX_S_SESSION_OPENED")
class SessionOpened(MuxMessage):
    request: Uint32
    session: Uint32


@_message(0x8000_0007, "MUX_S_REMOTE_PORT")
class RemotePort(MuxMessage):
    request: Uint32
    port: Uint32


@_message(0x8000_0008, "MUX_S_TTY_ALLOC_FAIL")
class TtyAllocFail(MuxMessage):
    session: Uint32


@_message(0x8000_000F, "MUX_S_PROXY")
class ProxyOk(MuxMessage):
    request: Uint32


class Unknown(MuxMessage):
    """A message of another number, of which only the request's is read."""

    request: Uint32

    title = "an unknown message"


class Decoder:
    """Takes what arrives and gives messages, bounded, each when its descriptors have come as well."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> None:
        self._received += data

    def next(self) -> MuxMessage | None:
        """The next message; None until more has come. Raises ProtocolError: whoever sent it is to be left."""
        received = self._received
        if len(received) < 4:
            return None
        length = int.from_bytes(received[:4], "big")
        if not 4 <= length <= MAX_MESSAGE:
            raise ProtocolError(f"message of {length} bytes")
        if len(received) < 8:
            return None
        kind = _REGISTRY.get(int.from_bytes(received[4:8], "big"))
        end = 4 + length + (kind.descriptors if kind is not None else 0)
        if len(received) < end:
            return None
        payload = bytes(received[8 : 4 + length])
        del received[:end]
        if kind is None:
            return Unknown(Reader(payload).uint32())
        return kind.parse(payload)

    @property
    def rest(self) -> bytes:
        """What came behind the last message."""
        return bytes(self._received)

    def take(self) -> bytes:
        """The same, which is then no message's any more."""
        rest, self._received = bytes(self._received), bytearray()
        return rest
