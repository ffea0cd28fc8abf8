"""The identification exchange of RFC 4253 section 4.2."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastssh.errors import ProtocolError
from fastssh.transport.phases import Role
from fastssh.wire.messages import DisconnectReason
from fastssh.wire.text import printable

MAX_IDENTIFICATION = 255  # bytes, CR and LF included (RFC 4253 section 4.2)
MAX_LINE = 8192  # bytes of one line before it, as OpenSSH's SSH_MAX_BANNER_LEN
MAX_LINES = 1024  # lines before it, as OpenSSH's SSH_MAX_PRE_BANNER_LINES

_FORM = re.compile(rb"SSH-(\d{1,9})\.(\d{1,9})-(.+)", re.DOTALL)


def identification_line(software: str) -> bytes:
    """Our line, with CR LF. ``software`` is softwareversion and, after a space, comments: printable US-ASCII.

    Raises ValueError if it cannot be sent.
    """
    line = b"SSH-2.0-" + software.encode("ascii") + b"\r\n"
    if not software or software[0] in " -" or not software.isprintable() or len(line) > MAX_IDENTIFICATION:
        raise ValueError(f"not a software version: {software!r}")
    return line


class IdentificationReader:
    """Collects bytes until the peer's identification line is there.

    ``line`` is that line without CR LF, as it goes into the exchange hash. A server may send other lines before it;
    a client may not. They go to ``debug``.
    """

    def __init__(self, role: Role, debug: Callable[[str], None]) -> None:
        self._role = role
        self._debug = debug
        self._buffer = bytearray()
        self._lines = 0
        self._scanned = 0
        self.line: bytes | None = None

    @property
    def text(self) -> str:
        """The peer's line, fit for a terminal."""
        return printable((self.line or b"").decode("utf-8", "surrogateescape"))

    def receive(self, data: bytes) -> bytes | None:
        """Takes received bytes. None: more are needed; else what came after the line.

        Raises ProtocolError for lines too long, too many, with NUL, or of a protocol that is not version 2.
        """
        self._buffer += data
        while self.line is None:
            end = self._buffer.find(b"\n", self._scanned)
            self._check_length(len(self._buffer) if end < 0 else end + 1)
            if end < 0:
                self._scanned = len(self._buffer)
                return None
            line = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            self._scanned = 0
            self._take_line(line)
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _check_length(self, length: int) -> None:
        """``length`` bytes of the current line are there, its end included if it came."""
        if self._buffer.startswith(b"SSH-"):
            if length > MAX_IDENTIFICATION:
                raise ProtocolError(f"identification string is longer than {MAX_IDENTIFICATION} bytes")
        elif self._role is Role.SERVER and not b"SSH-".startswith(bytes(self._buffer[:4])):
            raise self._invalid(bytes(self._buffer[:64]).partition(b"\n")[0])
        elif length > MAX_LINE:
            raise ProtocolError(f"line before the identification string is longer than {MAX_LINE} bytes")

    def _take_line(self, line: bytes) -> None:
        if b"\0" in line:
            raise ProtocolError("NUL in the identification exchange")
        if line.startswith(b"SSH-"):
            self._check_version(line)
            self.line = line
            return
        if self._role is Role.SERVER:
            raise self._invalid(line)
        self._lines += 1
        if self._lines > MAX_LINES:
            raise ProtocolError(f"no identification string in the first {MAX_LINES} lines")
        self._debug(f"banner line {self._lines}: {printable(line.decode('utf-8', 'surrogateescape'))}")

    def _check_version(self, line: bytes) -> None:
        form = _FORM.fullmatch(line)
        if form is None:
            raise self._invalid(line)
        major, minor, software = int(form[1]), int(form[2]), form[3].decode("utf-8", "surrogateescape")
        self._debug(f"Remote protocol version {major}.{minor}, remote software version {printable(software)}")
        if major != 2 and (major, minor) != (1, 99):  # 1.99: a server that also speaks 2.0 (RFC 4253 section 5.1)
            raise ProtocolError(
                f"Protocol major versions differ: 2 vs. {major}", DisconnectReason.PROTOCOL_VERSION_NOT_SUPPORTED
            )

    def _invalid(self, line: bytes) -> ProtocolError:
        shown = printable(line[:64].decode("utf-8", "surrogateescape"))
        return ProtocolError(
            f"Invalid SSH identification string '{shown}'", DisconnectReason.PROTOCOL_VERSION_NOT_SUPPORTED
        )
