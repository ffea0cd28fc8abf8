"""Names on the command lines of scp and sftp: a local path, ``[user@]host:[path]`` or
``scp://[user@]host[:port][/path]``; ``[user@]host[:path]`` or ``sftp://...``."""

from __future__ import annotations

from typing import NamedTuple

from fastssh.config.destination import decode, read_authority


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
    host, user, port = read_authority(authority)
    return Remote(host, decode(path) or ".", user, port)
