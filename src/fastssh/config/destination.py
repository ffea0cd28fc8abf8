"""Where a connection goes to, as it is written: ``[user@]host[:port]`` and ``ssh://`` URIs, and ProxyJump's lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from fastssh.config.values import port as read_port

_URI: Final = "ssh://"


class Destination(NamedTuple):
    """``user`` and ``port`` are None when not given."""

    host: str
    user: str | None = None
    port: int | None = None


class Jump(NamedTuple):
    """ProxyJump: as written, and the hosts to go through, the nearest first; none of them for ``none``."""

    text: str
    hops: tuple[Destination, ...]

    @property
    def before(self) -> str:
        """The way to the last host, as it was written."""
        return self.text.rpartition(",")[0]


NO_JUMP: Final = Jump("none", ())


def read_jump(arguments: Sequence[str]) -> Jump:
    """The hosts of a ProxyJump, parted by commas, or ``none``. ValueError with the reason."""
    text = arguments[0].partition("#")[0].rstrip()
    if text.lower() == "none":
        return NO_JUMP
    if not text:
        raise ValueError("the argument is empty")
    return Jump(text, tuple(map(read_hop, text.split(","))))


def read_destination(text: str) -> Destination:
    """``[user@]host``, whatever the host is called, or an ``ssh://`` URI. ValueError with the reason."""
    if text[: len(_URI)].lower() == _URI:
        try:
            return read_uri(text)
        except ValueError as error:
            raise ValueError(f"invalid uri: {error}") from None
    user, at, host = text.rpartition("@")
    if not host or (at and not user):
        raise ValueError(f"{text!r} is no destination")
    return Destination(host, user if at else None)


def read_hop(text: str) -> Destination:
    """``[user@]host[:port]``, with an IPv6 address in brackets, or an ``ssh://`` URI. ValueError with the reason."""
    if text[: len(_URI)].lower() == _URI:
        return read_uri(text)
    user, at, rest = text.rpartition("@")
    if at and not user:
        raise ValueError(f"{text!r}: the user name is empty")
    host, port = _host_and_port(text, rest)
    return Destination(host, user if at else None, port)


def read_uri(text: str) -> Destination:
    """``ssh://[user@]host[:port]``, percent-encoded (draft-ietf-secsh-scp-sftp-ssh-uri-04). ValueError otherwise."""
    authority, _, path = text[len(_URI) :].partition("/")
    if path:
        raise ValueError(f"{text!r}: a path may not stand in it")
    return read_authority(authority)


def read_authority(text: str) -> Destination:
    """What stands between ``//`` and ``/`` in URIs of ssh, scp and sftp. ValueError with the reason."""
    user_text, at, rest = text.rpartition("@")
    user = decode(user_text.partition(";")[0]) if at else None  # connection parameters follow the ;
    if user == "":
        raise ValueError(f"{text!r}: the user name is empty")
    host, port = _host_and_port(text, rest)
    return Destination(decode(host), user, port)


def _host_and_port(text: str, rest: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:/\[\]]+))(?::(.*))?", rest, re.DOTALL)
    if not found:
        raise ValueError(f"{text!r} is not a host with or without a port")
    return found[1] or found[2], read_port([found[3]]) if found[3] else None


def decode(text: str) -> str:
    """``text`` with %XX decoded; ValueError for a broken escape or a NUL byte (RFC 3986 section 2.1)."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a % is not followed by two hexadecimal digits")
    encoded = text.encode("utf-8", "surrogateescape")
    decoded = re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), encoded)
    if b"\0" in decoded:
        raise ValueError("it holds a NUL byte")
    return decoded.decode("utf-8", "surrogateescape")
