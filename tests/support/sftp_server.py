"""A small SFTP server on our own codec, honest or not, for tests: in memory, or as a program (a subsystem of sshd).

``python sftp_server.py MODE`` serves standard input and output; MODE is "honest" or
one of LIES, which name the one thing that is done wrong.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

from fastssh.errors import ProtocolError
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import MAX_MESSAGE, MAX_TRANSFER, OpenFlags, StatusCode
from fastssh.sftp.messages import Request, SFTPLimits, SFTPName, StatusReply, frame

_FLAGS = {
    OpenFlags.CREAT: os.O_CREAT,
    OpenFlags.TRUNC: os.O_TRUNC,
    OpenFlags.EXCL: os.O_EXCL,
    OpenFlags.APPEND: os.O_APPEND,
}
ENTRIES_A_REPLY = 3  # few, so that listings take several

Lie = Callable[["Server", Request, int, tuple[Any, ...], bytes], bytes]


class Server:
    """Answers whole messages. ``lie`` may change any answer."""

    def __init__(self, lie: Lie | None = None, extensions: dict[str, bytes] | None = None) -> None:
        self.lie = lie
        self.extensions = {"limits@openssh.com": b"1"} if extensions is None else extensions
        self.limits = SFTPLimits(262_144, MAX_TRANSFER, MAX_TRANSFER, 100)
        self.requests: list[str] = []
        self._handles: dict[bytes, int | list[SFTPName]] = {}
        self._made = 0
        self._started = False

    def receive(self, message: bytes) -> bytes:
        """The reply to one message, both without and with its length respectively."""
        if not self._started:
            self._started = True
            m.decode_init(message)
            return m.encode_version(self.extensions)
        try:
            request, number, values = m.decode_request(message)
        except LookupError as error:
            return m.STATUS.encode(error.args[0], StatusReply(StatusCode.OP_UNSUPPORTED, "Operation unsupported"))
        self.requests.append(request.name)
        reply = self._answer(request, number, values)
        return reply if self.lie is None else self.lie(self, request, number, values, reply)

    def _answer(self, request: Request, number: int, values: tuple[Any, ...]) -> bytes:
        try:
            value = getattr(self, "do_" + request.name.split("@")[0].replace("-", "_").lower())(*values)
        except EOFError:
            return m.STATUS.encode(number, StatusReply(StatusCode.EOF, "End of file"))
        except FileNotFoundError:
            return m.STATUS.encode(number, StatusReply(StatusCode.NO_SUCH_FILE, "No such file"))
        except PermissionError:
            return m.STATUS.encode(number, StatusReply(StatusCode.PERMISSION_DENIED, "Permission denied"))
        except (OSError, AttributeError, LookupError, ValueError) as error:
            return m.STATUS.encode(number, StatusReply(StatusCode.FAILURE, str(error)))
        if value is None:
            return m.STATUS.encode(number, StatusReply(StatusCode.OK, "Success"))
        return request.reply.encode(number, value)

    def _new(self, thing: int | list[SFTPName]) -> bytes:
        self._made += 1
        handle = self._made.to_bytes(4, "big")
        self._handles[handle] = thing
        return handle

    def _fd(self, handle: bytes) -> int:
        thing = self._handles[handle]
        if not isinstance(thing, int):
            raise ValueError("a handle of a directory")
        return thing

    def close(self) -> None:
        """Closes what clients left open."""
        for thing in self._handles.values():
            if isinstance(thing, int):
                os.close(thing)
        self._handles.clear()

    def do_limits(self) -> SFTPLimits:
        return self.limits

    def do_open(self, path: bytes, flags: int, attributes: SFTPAttributes) -> bytes:
        both = OpenFlags.READ | OpenFlags.WRITE
        how = os.O_RDWR if flags & both == both else os.O_WRONLY if flags & OpenFlags.WRITE else os.O_RDONLY
        for flag, local in _FLAGS.items():
            how |= local if flags & flag else 0
        return self._new(os.open(path, how, 0o666 if attributes.permissions is None else attributes.permissions))

    def do_close(self, handle: bytes) -> None:
        thing = self._handles.pop(handle)
        if isinstance(thing, int):
            os.close(thing)

    def do_read(self, handle: bytes, offset: int, length: int) -> bytes:
        data = os.pread(self._fd(handle), length, offset)
        if not data:
            raise EOFError
        return data

    def do_write(self, handle: bytes, offset: int, data: bytes) -> None:
        os.pwrite(self._fd(handle), data, offset)

    def do_stat(self, path: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.stat(path))

    def do_lstat(self, path: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.lstat(path))

    def do_fstat(self, handle: bytes) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self._fd(handle)))

    def do_setstat(self, path: bytes | int, attributes: SFTPAttributes) -> None:
        if attributes.size is not None:
            os.truncate(path, attributes.size)
        if attributes.permissions is not None:
            os.chmod(path, stat.S_IMODE(attributes.permissions))
        if attributes.atime is not None and attributes.mtime is not None:
            os.utime(path, (attributes.atime, attributes.mtime))

    def do_fsetstat(self, handle: bytes, attributes: SFTPAttributes) -> None:
        self.do_setstat(self._fd(handle), attributes)

    def do_opendir(self, path: bytes) -> bytes:
        names = [b".", b"..", *os.listdir(path)]
        return self._new([self.entry(path, name) for name in names])

    @staticmethod
    def entry(path: bytes, name: bytes) -> SFTPName:
        attributes = SFTPAttributes.from_stat(os.lstat(os.path.join(path, name)))
        return SFTPName(name, b"-rw------- whatever " + name, attributes)

    def do_readdir(self, handle: bytes) -> tuple[SFTPName, ...]:
        names = self._handles[handle]
        if not isinstance(names, list):
            raise ValueError("a handle of a file")
        if not names:
            raise EOFError
        some = tuple(names[:ENTRIES_A_REPLY])
        del names[:ENTRIES_A_REPLY]
        return some

    def do_remove(self, path: bytes) -> None:
        os.unlink(path)

    def do_mkdir(self, path: bytes, attributes: SFTPAttributes) -> None:
        os.mkdir(path, 0o777 if attributes.permissions is None else attributes.permissions)

    def do_rmdir(self, path: bytes) -> None:
        os.rmdir(path)

    def do_realpath(self, path: bytes) -> tuple[SFTPName, ...]:
        return (SFTPName(os.path.realpath(path), b"", SFTPAttributes()),)

    def do_rename(self, old: bytes, new: bytes) -> None:
        os.link(old, new)
        os.unlink(old)

    def do_readlink(self, path: bytes) -> tuple[SFTPName, ...]:
        return (SFTPName(os.readlink(path), b"", SFTPAttributes()),)

    def do_symlink(self, target: bytes, link: bytes) -> None:
        os.symlink(target, link)


# --- lies -------------------------------------------------------------------------------------------------------------


def about(name: str, lie: Callable[[Server, int, tuple[Any, ...], bytes], bytes]) -> Lie:
    """A lie told in reply to one kind of request only."""
    return lambda server, request, number, values, reply: (
        lie(server, number, values, reply) if request.name == name else reply
    )


def _named(name: bytes, mode: int = stat.S_IFREG | 0o644) -> Lie:
    """A directory in which there is one more entry, at its beginning."""
    entry = SFTPName(name, name, SFTPAttributes(4, 0, 0, mode, 0, 0))

    def lie(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
        if "lied" in server.requests or reply[4] != m.NAME.number:
            return reply
        server.requests.append("lied")
        return m.NAME.encode(number, (entry, *m.NAME.decode(reply[4:])))

    return about("READDIR", lie)


def _unlike(name: str, **change: int) -> Lie:
    """Attributes that are not the file's."""

    def lie(_: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
        if reply[4] != m.ATTRIBUTES.number:
            return reply
        attributes = m.ATTRIBUTES.decode(reply[4:])
        for field, value in change.items():
            setattr(attributes, field, value)
        return m.ATTRIBUTES.encode(number, attributes)

    return about(name, lie)


def _end_early(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
    offset = values[1]
    return m.STATUS.encode(number, StatusReply(StatusCode.EOF, "")) if offset >= 100_000 else reply


def _fail_late(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
    """WRITE fails from some offset on, as on a full disk."""
    failure = StatusReply(StatusCode.FAILURE, "No space left on device\x1b]0;owned\x07")
    return m.STATUS.encode(number, failure) if values[1] >= 1_000_000 else reply


def _status(code: int, text: str = "no") -> Callable[[Server, int, tuple[Any, ...], bytes], bytes]:
    return lambda server, number, values, reply: m.STATUS.encode(number, StatusReply(code, text))


def _half(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
    """At most 1000 bytes of data in one reply, as the protocol allows."""
    return reply if reply[4] != m.DATA.number else m.DATA.encode(number, m.DATA.decode(reply[4:])[:1000])


LIES: dict[str, Lie] = {
    "unknown-id": about("STAT", lambda s, n, v, r: m.ATTRIBUTES.encode(n + 1000, SFTPAttributes())),
    "plane-id": about("STAT", lambda s, n, v, r: m.ATTRIBUTES.encode(n | 1 << 31, SFTPAttributes())),
    "twice": about("STAT", lambda s, n, v, r: r + r),
    "wrong-kind": about("STAT", lambda s, n, v, r: m.HANDLE.encode(n, b"h")),
    "status-ok": about("STAT", _status(StatusCode.OK)),
    "no-number": about("STAT", lambda s, n, v, r: frame(r[4:8])),
    "empty": about("STAT", lambda s, n, v, r: frame(b"")),
    "truncated": about("STAT", lambda s, n, v, r: frame(r[4:-3])),
    "superfluous": about("STAT", lambda s, n, v, r: frame(r[4:] + b"\0")),
    "oversize": about("STAT", lambda s, n, v, r: (1 << 30).to_bytes(4, "big") + r[4:]),
    "exit-reading": about("READ", lambda s, n, v, r: sys.exit(0) if v[1] >= 1_000_000 else r),
    "exit-writing": about("WRITE", lambda s, n, v, r: sys.exit(0) if v[1] >= 1_000_000 else r),
    "silence": about("STAT", lambda s, n, v, r: sys.exit(0)),
    "long-handle": about("OPEN", lambda s, n, v, r: frame(r[4:9] + (1000).to_bytes(4, "big") + bytes(1000))),
    "empty-handle": about("OPEN", lambda s, n, v, r: frame(r[4:9] + bytes(4))),
    "count": about("READDIR", lambda s, n, v, r: frame(r[4:9] + b"\xff\xff\xff\xff" + r[13:])),
    "no-names": about("READDIR", lambda s, n, v, r: m.NAME.encode(n, ())),
    "two-names": about("REALPATH", lambda s, n, v, r: m.NAME.encode(n, m.NAME.decode(r[4:]) * 2)),
    "empty-data": about("READ", lambda s, n, v, r: m.DATA.encode(n, b"")),
    "long-data": about("READ", lambda s, n, v, r: m.DATA.encode(n, bytes(v[2] + 1))),
    "read-handle": about("READ", lambda s, n, v, r: m.HANDLE.encode(n, b"h")),
    "read-id": about("READ", lambda s, n, v, r: m.DATA.encode(n ^ 1, b"x")),
    "write-data": about("WRITE", lambda s, n, v, r: m.DATA.encode(n, b"x")),
    "write-denied": about("WRITE", _status(StatusCode.PERMISSION_DENIED, "denied")),
    "write-late": about("WRITE", _fail_late),
    "close-fails": about("CLOSE", _status(StatusCode.FAILURE, "quota exceeded")),
    "no-fsetstat": about("FSETSTAT", _status(StatusCode.OP_UNSUPPORTED)),
    "fsetstat-denied": about("FSETSTAT", _status(StatusCode.PERMISSION_DENIED, "denied")),
    "read-half": about("READ", _half),
    "read-denied": about("READ", _status(StatusCode.PERMISSION_DENIED, "denied")),
    "shrunk": about("READ", _end_early),
    "touched": _unlike("FSTAT", mtime=12345),
    "grown": _unlike("STAT", size=200_000),
    "name-parent": _named(b".." + b"/evil"),
    "name-absolute": _named(b"/tmp/evil"),
    "name-inside": _named(b"sub/evil"),
    "name-empty": _named(b""),
    "name-nul": _named(b"ev\0il"),
    "name-twice": _named(b"good"),
    "name-escape": _named(b"\x1b[31mred\x07", stat.S_IFIFO),
    "name-directory": _named(b"..", stat.S_IFDIR | 0o755),
    "huge": _unlike("STAT", size=2**64 - 1),
    "set-id": _unlike("STAT", permissions=stat.S_IFREG | 0o6755),
    "stat-escape": about("STAT", _status(StatusCode.FAILURE, "\x1b[2Jgone\r\n")),
    "honest": lambda s, q, n, v, r: r,
}


class Unframer:
    """Cuts a stream into messages without their lengths."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that ``data`` completes. ProtocolError for a length of 0 or above MAX_MESSAGE, at once."""
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if not 0 < length <= MAX_MESSAGE:
                raise ProtocolError(f"SFTP message of {length} bytes")
            if len(self._buffer) < 4 + length:
                return
            message = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield message


def main() -> None:
    mode = sys.argv[1]
    if mode == "babble":  # a shell start-up file that prints something
        os.write(1, b"Welcome to this machine!\r\n")
    server = Server(LIES.get(mode))
    unframer = Unframer()
    while data := os.read(0, 1 << 18):
        if mode == "mute":
            continue
        try:
            for message in unframer.feed(data):
                reply = memoryview(server.receive(message))
                while reply:
                    reply = reply[os.write(1, reply) :]
        except ProtocolError as error:
            sys.exit(f"sftp_server: {error}")


if __name__ == "__main__":
    main()
