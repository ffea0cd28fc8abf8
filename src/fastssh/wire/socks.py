"""SOCKS as a server speaks it: 4 (Ying-Da Lee's protocol text), 4a (names), 5 (RFC 1928) without authentication.

CONNECT alone, to an IPv4 address, an IPv6 address or a name. Whoever carries the bytes hands them to
:meth:`Handshake.feed`, in pieces of any size.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator
from enum import Enum
from typing import Final, NamedTuple

MAX_TEXT: Final = 255  # bytes of a user's or a host's name; what SOCKS 5 can say at all

_CONNECT: Final = 1
_NO_AUTHENTICATION: Final = 0
_NO_METHOD: Final = 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_UNSPECIFIED: Final = bytes((_IPV4,)) + bytes(6)  # the address that is bound for the client: not told


class Reply(Enum):
    """How a request ends; values are SOCKS 5's (RFC 1928 section 6). SOCKS 4 knows granted and refused."""

    GRANTED = 0
    FAILED = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


class Target(NamedTuple):
    """Where the client wants to be connected to: a name or an address as text, and a port from 1."""

    host: str
    port: int


class _Refused(Exception):
    """The handshake is over; the reply, None for a client that would not understand one."""

    def __init__(self, reason: str, reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reply = reply


class Handshake:
    """One client's handshake. It is over when ``target`` is set, or ``failure``, the reason why it cannot be.

    ``rest`` is what the client sent behind its request.
    """

    def __init__(self) -> None:
        self.target: Target | None = None
        self.failure: str | None = None
        self._version = 0
        self._received = bytearray()
        self._reply = bytearray()
        self._script = self._speak()
        self._wanted = next(self._script)

    @property
    def over(self) -> bool:
        return self.target is not None or self.failure is not None

    @property
    def rest(self) -> bytes:
        return bytes(self._received)

    def feed(self, data: bytes) -> bytes:
        """Takes what the client sent; returns what is to be sent to it, which may be nothing."""
        if self.failure is not None:
            return b""
        self._received += data
        try:
            while not self.over and len(self._received) >= self._wanted:
                piece = bytes(self._received[: self._wanted])
                del self._received[: self._wanted]
                self._wanted = self._script.send(piece)
        except StopIteration as done:
            self.target = done.value
        except _Refused as refused:
            self.failure = str(refused)
            self._received.clear()
            if refused.reply is not None:
                self._reply += self.answer(refused.reply)
        reply, self._reply = bytes(self._reply), bytearray()
        return reply

    def answer(self, reply: Reply) -> bytes:
        """The last message of the handshake; behind :attr:`Reply.GRANTED` follows what the target sends."""
        if self._version == 4:
            return bytes((0, 90 if reply is Reply.GRANTED else 91)) + bytes(6)
        return bytes((5, reply.value, 0)) + _UNSPECIFIED

    # -- what the client says, in its order: each yield takes so many bytes --------------------------------------------

    def _speak(self) -> Generator[int, bytes, Target]:
        self._version = (yield 1)[0]
        if self._version == 4:
            host, port = yield from self._request4()
        elif self._version == 5:
            host, port = yield from self._request5()
        else:
            raise _Refused(f"version {self._version} of SOCKS is not known")
        if port == 0:
            raise _Refused("port 0 to connect to", Reply.FAILED)
        if not host.isprintable() or " " in host or not host:
            raise _Refused("a host's name is empty or holds control characters or blanks", Reply.FAILED)
        return Target(host, port)

    def _request4(self) -> Generator[int, bytes, tuple[str, int]]:
        command, *port = yield 3
        address = yield 4
        yield from self._terminated("a user's name")  # which means nothing here
        named = address[:3] == bytes(3) and address[3] != 0
        host = yield from self._terminated("a host's name") if named else self._none()
        if command != _CONNECT:
            raise _Refused(f"command {command} is not supported", Reply.COMMAND_NOT_SUPPORTED)
        return _name(host) if named else str(ipaddress.IPv4Address(address)), int.from_bytes(bytes(port), "big")

    def _none(self) -> Generator[int, bytes, bytes]:
        return b""
        yield 0

    def _terminated(self, what: str) -> Generator[int, bytes, bytes]:
        """Bytes up to a NUL."""
        text = bytearray()
        while byte := (yield 1)[0]:
            text.append(byte)
            if len(text) > MAX_TEXT:
                raise _Refused(f"{what} is too long", Reply.FAILED)
        return bytes(text)

    def _request5(self) -> Generator[int, bytes, tuple[str, int]]:
        count = (yield 1)[0]
        methods = (yield count) if count else b""
        if _NO_AUTHENTICATION not in methods:
            self._reply += bytes((5, _NO_METHOD))
            raise _Refused("the client wants to authenticate")
        self._reply += bytes((5, _NO_AUTHENTICATION))
        version, command, _, kind = yield 4
        if version != 5:
            raise _Refused(f"a request of version {version} in a handshake of version 5")
        if kind == _IPV4:
            host = str(ipaddress.IPv4Address((yield 4)))
        elif kind == _IPV6:
            host = str(ipaddress.IPv6Address((yield 16)))
        elif kind == _NAME:
            length = (yield 1)[0]
            host = _name((yield length) if length else b"")
        else:
            raise _Refused(f"address type {kind} is not known", Reply.ADDRESS_NOT_SUPPORTED)
        port = int.from_bytes((yield 2), "big")
        if command != _CONNECT:
            raise _Refused(f"command {command} is not supported", Reply.COMMAND_NOT_SUPPORTED)
        return host, port


def _name(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused("a host's name is not UTF-8", Reply.FAILED) from None
