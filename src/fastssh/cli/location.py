"""Names on the command lines of scp and sftp: a local path, ``[user@]host:[path]`` or
``scp://[user@]host[:port][/path]``; ``[user@]host[:path]`` or ``sftp://...``."""

from __future__ import annotations

import re
from typing import NamedTuple

from fastssh.config.values import port as read_port


class Local(NamedTuple):
    path: str


class Remote(NamedTuple):
    """``user`` and ``port`` are None when not given; ``path`` is relative to home unless it starts with /."""

    host: str
    path: str
    user: str | None = None
    port: int | None = None

    @property
    def account(self) -> tuple[str, str | None, int | None]:
        """What one connection serves."""
        return self.host, self.user, self.port


_SCHEME = "scp://"
_SFTP_SCHEME = "sftp://"


def parse(name: str) -> Local | Remote:
    """What ``name`` means, as scp decides it. ValueError with the reason for a name that means nothing."""
    if name.lower().startswith(_SCHEME):
        return _from_uri(name, _SCHEME)
    colon = _find_colon(name)
    if colon is None:
        return Local(name)
    user, at, host = name[:colon].rpartition("@")
    host = _without_brackets(host)
    if not host:
        raise ValueError(f"{name}: the host name is missing")
    return Remote(host, name[colon + 1 :] or ".", user if at else None)


def sftp_destination(name: str) -> Remote:
    """What ``name`` means, as sftp decides it; a path that is not given is empty. ValueError as :func:`parse`."""
    if name.lower().startswith(_SFTP_SCHEME):
        found = _from_uri(name, _SFTP_SCHEME)
        return found._replace(path="" if found.path == "." else found.path)
    colon = _find_colon(name)
    account, path = (name, "") if colon is None else (name[:colon], name[colon + 1 :])
    user, at, host = account.rpartition("@")
    host = _without_brackets(host)
    if not host:
        raise ValueError(f"{name}: the host name is missing")
    return Remote(host, path, user if at else None)


def _from_uri(name: str, scheme: str) -> Remote:
    try:
        return _parse_uri(name[len(scheme) :])
    except ValueError as error:
        raise ValueError(f"{name}: invalid uri: {error}") from None


def _find_colon(name: str) -> int | None:
    """Where the host ends; None for a local path: no colon, a colon first, or a slash before the colon.

    Colons between brackets, which open the name or follow an ``@``, belong to an IPv6 address.
    """
    if name.startswith(":"):
        return None
    bracket = name.startswith("[")
    for i, character in enumerate(name):
        if character == "@" and name[i + 1 : i + 2] == "[":
            bracket = True
        elif character == "]" and bracket and name[i + 1 : i + 2] == ":":
            return i + 1
        elif character == ":" and not bracket:
            return i
        elif character == "/":
            return None
    return None


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _parse_uri(rest: str) -> Remote:
    """What stands after ``scp://``; the path is relative to the home folder, an absolute one has two slashes."""
    authority, _, path = rest.partition("/")
    user_text, at, host = authority.rpartition("@")
    user = _decode(user_text.partition(";")[0]) if at else None
    if user == "":
        raise ValueError("the user name is empty")
    port = None
    if host.startswith("["):
        host, bracket, tail = host[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError("the address in brackets does not end")
        port_text = tail[1:] if tail else None
    else:
        host, colon, tail = host.partition(":")
        port_text = tail if colon else None
    if port_text is not None:
        port = read_port([port_text])
    if not host:
        raise ValueError("the host name is missing")
    return Remote(_decode(host), _decode(path) or ".", user, port)


def _decode(text: str) -> str:
    """``text`` with %XX decoded; ValueError for a broken escape or a NUL byte."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a % is not followed by two hexadecimal digits")
    encoded = text.encode("utf-8", "surrogateescape")
    decoded = re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), encoded)
    if b"\0" in decoded:
        raise ValueError("it holds a NUL byte")
    return decoded.decode("utf-8", "surrogateescape")
