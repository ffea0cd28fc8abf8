"""SFTP messages, described once (draft-ietf-secsh-filexfer-02 sections 4 to 8; OpenSSH PROTOCOL section 4).

A :class:`Request` says how its arguments travel and what answers it; a :class:`Reply` how its value travels. The same
tables serve a client, which encodes requests and decodes replies, and a server, which does the opposite. A file name is
bytes here: what character set a server's names are in, the protocol does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fastssh.errors import ProtocolError
from fastssh.sftp.attributes import ATTRS, SFTPAttributes
from fastssh.sftp.constants import MAX_HANDLE, MAX_MESSAGE, VERSION, Packet
from fastssh.wire.codec import Reader, string, uint32
from fastssh.wire.fields import STRING, UINT32, UINT64, Field, counted, pair

# --- what replies carry -----------------------------------------------------------------------------------------------


class StatusReply(NamedTuple):
    """STATUS (section 7). ``message`` is the server's text, not yet fit for a terminal."""

    code: int
    message: str = ""
    language: str = ""


@dataclass(slots=True)
class SFTPName:
    """One entry of NAME. ``longname`` is for people and of no fixed form: nothing is ever read from it (section 7)."""

    filename: bytes
    longname: bytes
    attributes: SFTPAttributes


class SFTPLimits(NamedTuple):
    """limits@openssh.com: bytes, and a count of handles; 0 where the server states no limit."""

    max_packet_length: int = 0
    max_read_length: int = 0
    max_write_length: int = 0
    max_open_handles: int = 0


class SFTPStatVFS(NamedTuple):
    """statvfs@openssh.com: as os.statvfs_result; sizes of blocks in bytes."""

    f_bsize: int
    f_frsize: int
    f_blocks: int
    f_bfree: int
    f_bavail: int
    f_files: int
    f_ffree: int
    f_favail: int
    f_fsid: int
    f_flag: int
    f_namemax: int


def _read_handle(reader: Reader) -> bytes:
    handle = reader.string()
    if not 0 < len(handle) <= MAX_HANDLE:
        raise ProtocolError(f"handle of {len(handle)} bytes")
    return handle


def _read_status(reader: Reader) -> StatusReply:
    """Text and language are part of version 3, but servers leave them out, one or both."""
    code = reader.uint32()
    message = reader.text() if reader.remaining else ""
    return StatusReply(code, message, reader.text() if reader.remaining else "")


def _write_status(status: StatusReply) -> bytes:
    return uint32(status.code) + string(status.message.encode()) + string(status.language.encode())


def _read_name(reader: Reader) -> SFTPName:
    return SFTPName(reader.string(), reader.string(), SFTPAttributes.decode(reader))


def _write_name(name: SFTPName) -> bytes:
    return string(name.filename) + string(name.longname) + name.attributes.encode()


def _record(kind: type[Any], item: Field, count: int) -> Field:
    """``count`` values of one type as the named tuple ``kind``."""
    return Field(
        lambda reader: kind(*[item.read(reader) for _ in range(count)]),
        lambda value: b"".join(item.write(getattr(value, name)) for name in kind._fields),
        item.minimum * count,
    )


def _packed(item: Field) -> Field:
    """Values one after the other inside a string, without a count."""

    def read(reader: Reader) -> tuple[Any, ...]:
        inner = Reader(reader.string())
        values = []
        while inner.remaining:
            values.append(item.read(inner))
        return tuple(values)

    return Field(read, lambda values: string(b"".join(item.write(value) for value in values)), 4)


# --- replies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A kind of reply: its number and the one value it carries."""

    number: Packet
    value: Field

    def encode(self, request_id: int, value: Any) -> bytes:
        """The whole message, with its length."""
        value = self.value.write(value)
        return b"".join((uint32(5 + len(value)), bytes((self.number,)), uint32(request_id), value))

    def decode(self, message: bytes) -> Any:
        """The value of a message without its length. Anything short or superfluous raises ProtocolError."""
        reader = Reader(message, 5)
        value = self.value.read(reader)
        reader.end()
        return value


STATUS: Final = Reply(Packet.STATUS, Field(_read_status, _write_status, 4))
HANDLE: Final = Reply(Packet.HANDLE, Field(_read_handle, string, 5))
DATA: Final = Reply(Packet.DATA, STRING)
NAME: Final = Reply(Packet.NAME, counted(Field(_read_name, _write_name, 12)))
ATTRIBUTES: Final = Reply(Packet.ATTRS, ATTRS)
LIMITS_REPLY: Final = Reply(Packet.EXTENDED_REPLY, _record(SFTPLimits, UINT64, 4))
STATVFS_REPLY: Final = Reply(Packet.EXTENDED_REPLY, _record(SFTPStatVFS, UINT64, 11))
BUNDLE_REPLY: Final = Reply(Packet.EXTENDED_REPLY, STRING)
INDEXES_REPLY: Final = Reply(Packet.EXTENDED_REPLY, counted(UINT32))
USERS_GROUPS_REPLY: Final = Reply(Packet.EXTENDED_REPLY, pair(_packed(STRING), _packed(STRING)))

# --- requests ---------------------------------------------------------------------------------------------------------


def _read_path(reader: Reader) -> bytes:
    """A NUL would end the name early for the system, which would then mean another file."""
    path = reader.string()
    if b"\0" in path:
        raise ProtocolError("NUL in a file name")
    return path


def _read_written(reader: Reader) -> bytes:
    """What is to be written. rclone 1.60 sends the rest of its buffer behind it, which sftp-server passes over."""
    data = reader.string()
    reader.rest()
    return data


PATH: Final = Field(_read_path, string, 4)
WRITTEN: Final = Field(_read_written, string, 4)
HANDLE_FIELD: Final = Field(_read_handle, string, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A kind of request. ``extension`` is its version where it is an extension, else empty."""

    name: str
    number: Packet
    fields: tuple[Field, ...]
    reply: Reply
    extension: str = ""
    _tail: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tail", string(self.name.encode()) if self.extension else b"")

    def encode(self, request_id: int, *values: Any) -> bytes:
        """The whole message, with its length. ``values`` in the order of ``fields``."""
        parts = [b"", bytes((self.number,)), request_id.to_bytes(4, "big"), self._tail]
        parts.extend([item.write(value) for item, value in zip(self.fields, values, strict=True)])
        length = sum(map(len, parts))
        if length > MAX_MESSAGE:
            raise ValueError(f"SFTP {self.name} request of {length} bytes")
        parts[0] = length.to_bytes(4, "big")
        return b"".join(parts)

    def decode(self, reader: Reader) -> tuple[Any, ...]:
        """The values, from behind the id (and behind the extension's name)."""
        values = tuple([item.read(reader) for item in self.fields])
        reader.end()
        return values


# The order of SYMLINK's arguments is OpenSSH's, target first: the opposite of the draft's (OpenSSH PROTOCOL 4.1).
_PLAIN: Final = (
    Request("OPEN", Packet.OPEN, (PATH, UINT32, ATTRS), HANDLE),
    Request("CLOSE", Packet.CLOSE, (HANDLE_FIELD,), STATUS),
    Request("READ", Packet.READ, (HANDLE_FIELD, UINT64, UINT32), DATA),
    Request("WRITE", Packet.WRITE, (HANDLE_FIELD, UINT64, WRITTEN), STATUS),
    Request("LSTAT", Packet.LSTAT, (PATH,), ATTRIBUTES),
    Request("FSTAT", Packet.FSTAT, (HANDLE_FIELD,), ATTRIBUTES),
    Request("SETSTAT", Packet.SETSTAT, (PATH, ATTRS), STATUS),
    Request("FSETSTAT", Packet.FSETSTAT, (HANDLE_FIELD, ATTRS), STATUS),
    Request("OPENDIR", Packet.OPENDIR, (PATH,), HANDLE),
    Request("READDIR", Packet.READDIR, (HANDLE_FIELD,), NAME),
    Request("REMOVE", Packet.REMOVE, (PATH,), STATUS),
    Request("MKDIR", Packet.MKDIR, (PATH, ATTRS), STATUS),
    Request("RMDIR", Packet.RMDIR, (PATH,), STATUS),
    Request("REALPATH", Packet.REALPATH, (PATH,), NAME),
    Request("STAT", Packet.STAT, (PATH,), ATTRIBUTES),
    Request("RENAME", Packet.RENAME, (PATH, PATH), STATUS),
    Request("READLINK", Packet.READLINK, (PATH,), NAME),
    Request("SYMLINK", Packet.SYMLINK, (PATH, PATH), STATUS),
)
_IDS: Final = _packed(UINT32)
_EXTENDED: Final = tuple(
    Request(name, Packet.EXTENDED, fields, reply, version)
    for name, version, fields, reply in (
        ("posix-rename@openssh.com", "1", (PATH, PATH), STATUS),
        ("statvfs@openssh.com", "2", (PATH,), STATVFS_REPLY),
        ("fstatvfs@openssh.com", "2", (HANDLE_FIELD,), STATVFS_REPLY),
        ("hardlink@openssh.com", "1", (PATH, PATH), STATUS),
        ("fsync@openssh.com", "1", (HANDLE_FIELD,), STATUS),
        ("lsetstat@openssh.com", "1", (PATH, ATTRS), STATUS),
        ("limits@openssh.com", "1", (), LIMITS_REPLY),
        ("expand-path@openssh.com", "1", (PATH,), NAME),
        # from handle, from offset, length (0: until end of file), to handle, to offset
        ("copy-data", "1", (HANDLE_FIELD, UINT64, UINT64, HANDLE_FIELD, UINT64), STATUS),
        ("home-directory", "1", (PATH,), NAME),
        ("users-groups-by-id@openssh.com", "1", (_IDS, _IDS), USERS_GROUPS_REPLY),
        # Small files of a directory, many at once (PROTOCOL.md): handle, most bytes; handle, options, bundle
        ("bundle-read@fastssh", "1", (HANDLE_FIELD, UINT32), BUNDLE_REPLY),
        ("bundle-write@fastssh", "1", (HANDLE_FIELD, UINT32, STRING), INDEXES_REPLY),
    )
)

REQUESTS: Final[dict[str, Request]] = {request.name: request for request in _PLAIN + _EXTENDED}
EXTENSIONS: Final[dict[str, Request]] = {request.name: request for request in _EXTENDED}
_BY_NUMBER: Final[dict[int, Request]] = {request.number: request for request in _PLAIN}

OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR = _PLAIN[:9]
READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = _PLAIN[9:]
POSIX_RENAME, STATVFS, FSTATVFS, HARDLINK, FSYNC, LSETSTAT = _EXTENDED[:6]
LIMITS, EXPAND_PATH, COPY_DATA, HOME_DIRECTORY, USERS_GROUPS_BY_ID, BUNDLE_READ, BUNDLE_WRITE = _EXTENDED[6:]


def decode_request(message: bytes) -> tuple[Request, int, tuple[Any, ...]]:
    """(kind, id, values) of a request without its length, for a server.

    Raises ProtocolError for what is malformed, LookupError for what is well-formed and unknown (``args`` is the id):
    the answer to that is OP_UNSUPPORTED.
    """
    reader = Reader(message)
    number, request_id = reader.byte(), reader.uint32()
    request = _BY_NUMBER.get(number)
    if number == Packet.EXTENDED:
        request = EXTENSIONS.get(reader.text())
    if request is None:
        raise LookupError(request_id)
    return request, request_id, request.decode(reader)


# --- the first exchange (section 4) and framing (section 3) -----------------------------------------------------------


def encode_init(version: int = VERSION) -> bytes:
    """INIT, with its length."""
    return frame(bytes((Packet.INIT,)) + uint32(version))


def encode_version(extensions: dict[str, bytes], version: int = VERSION) -> bytes:
    """VERSION, with its length."""
    pairs = b"".join(string(name.encode()) + string(data) for name, data in extensions.items())
    return frame(bytes((Packet.VERSION,)) + uint32(version) + pairs)


def decode_init(message: bytes) -> int:
    """The version a client speaks; extension data of a client (section 4 allows it) is passed over."""
    return _first(message, Packet.INIT).uint32()


def decode_version(message: bytes) -> tuple[int, dict[str, bytes]]:
    """(version, extension name -> data) of a server's first message. The first of a repeated name counts."""
    reader = _first(message, Packet.VERSION)
    version = reader.uint32()
    extensions: dict[str, bytes] = {}
    while reader.remaining:
        name, data = reader.text(), reader.string()
        extensions.setdefault(name, data)
    return version, extensions


def _first(message: bytes, number: Packet) -> Reader:
    reader = Reader(message)
    if not message or reader.byte() != number:
        raise ProtocolError(f"SFTP {number.name} expected, got message {message[0] if message else 'without a number'}")
    return reader


def frame(body: bytes) -> bytes:
    """``body`` with its length in front."""
    return len(body).to_bytes(4, "big") + body
