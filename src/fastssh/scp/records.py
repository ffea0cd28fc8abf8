"""The records of the legacy SCP protocol: one line each, read with every bound that a hostile peer asks for.

There is no standard; this is what rcp, and every scp since, has sent::

    T<mtime> <µs> <atime> <µs>\\n    times of what the next record is about
    C<mode> <size> <name>\\n         a file, whose bytes follow
    D<mode> 0 <name>\\n              a directory; what follows is in it
    E\\n                             its end
    \\x01<text>\\n, \\x02<text>\\n     something went wrong; and it cannot go on

Each is answered by ``\\0``, or by one of the last two.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fastssh.errors import ProtocolError
from fastssh.sftp import paths
from fastssh.wire.text import printable

OK: Final = b"\0"
WARNING, FATAL = 1, 2  # the first byte of a message
MAX_LINE: Final = paths.MAX_NAME + 64  # bytes of a record, newline and all
MAX_SIZE: Final = 2**63 - 1  # bytes of a file
MAX_TIME: Final = 2**40  # seconds: no file is that old, and every system can be told so
_MODE: Final = 0o7777

# A size that says one thing to everybody: no sign, no space, no more digits than a size has.
_ENTRY: Final = re.compile(rb"([0-7]{4}) (0|[1-9][0-9]{0,18}) (.*)", re.DOTALL)
_TIMES: Final = re.compile(rb"([0-9]{1,13}) ([0-9]{1,6}) ([0-9]{1,13}) ([0-9]{1,6})")


class Times(NamedTuple):
    """Seconds since 1970."""

    modified: int
    accessed: int

    def encode(self) -> bytes:
        return b"T%d 0 %d 0\n" % (max(self.modified, 0), max(self.accessed, 0))


class File(NamedTuple):
    """``mode`` are permission bits, set-id bits among them."""

    mode: int
    size: int
    name: bytes

    def encode(self) -> bytes:
        return b"C%04o %d %s\n" % (self.mode & _MODE, self.size, wire_name(self.name))


class Directory(NamedTuple):
    mode: int
    name: bytes

    def encode(self) -> bytes:
        return b"D%04o 0 %s\n" % (self.mode & _MODE, wire_name(self.name))


class End(NamedTuple):
    """Of a directory."""

    def encode(self) -> bytes:
        return b"E\n"


class Problem(NamedTuple):
    """What the other side could not do. ``text`` is fit for a terminal, and without the name of its program."""

    text: str
    fatal: bool = False

    def encode(self) -> bytes:
        text = self.text.encode("utf-8", "surrogateescape").replace(b"\n", b" ")
        return bytes((FATAL if self.fatal else WARNING,)) + b"scp: " + text[: MAX_LINE - 8] + b"\n"


Record = Times | File | Directory | End | Problem


def wire_name(name: bytes) -> bytes:
    """As scp sends a name with a newline, which ends a record: as vis(3) shows it."""
    return name.replace(b"\n", b"\\^J")


def decode(line: bytes) -> Record:
    """One line as it came. Raises ProtocolError with the reason, fit for a terminal."""
    if not line:
        raise ProtocolError("the other side ended in the middle")
    if line[0] in (WARNING, FATAL):
        return problem(line)
    if not line.endswith(b"\n"):
        _check_length(line)
        raise ProtocolError("protocol error: the other side ended in the middle of a record")
    kind, rest = line[:1], line[1:-1]
    if kind == b"E" and not rest:
        return End()
    if kind == b"T" and (found := _TIMES.fullmatch(rest)):
        return _times(found)
    if kind in (b"C", b"D"):
        return _entry(kind, rest)
    raise ProtocolError(f"protocol error: {_shown(line)}")


def _times(found: re.Match[bytes]) -> Times:
    times = Times(int(found[1]), int(found[3]))
    if max(times) > MAX_TIME:
        raise ProtocolError("protocol error: time is out of range")
    return times


def _entry(kind: bytes, rest: bytes) -> File | Directory:
    found = _ENTRY.fullmatch(rest)
    if found is None:
        raise ProtocolError(f"protocol error: {_shown(kind + rest)}")
    mode, size, name = int(found[1], 8), int(found[2]), found[3]
    if size > MAX_SIZE:
        raise ProtocolError("protocol error: size is out of range")
    if not paths.is_safe_name(name):
        raise ProtocolError(f"error: unexpected filename: {_shown(name)}")
    return File(mode, size, name) if kind == b"C" else Directory(mode, name)


def problem(line: bytes) -> Problem:
    """A message of the other side, whose first byte may be missing: what a shell says is one as well.

    Raises ProtocolError if it does not end."""
    _check_length(line)
    marked = line[:1] in (b"\1", b"\2")
    return Problem(_shown(line[marked:]).removeprefix("scp: "), fatal=line[:1] == b"\2")


def _check_length(line: bytes) -> None:
    if len(line) >= MAX_LINE and not line.endswith(b"\n"):
        raise ProtocolError("protocol error: record is too long")


def _shown(text: bytes) -> str:
    return printable(paths.decode(text).strip())
