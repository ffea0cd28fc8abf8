"""Hosts, ports and paths that a peer sent: checked before anything is done with them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from fastssh.aio.forwarding.gateway import GatewayPorts

if TYPE_CHECKING:
    from fastssh.aio.dial import Address

MAX_HOST: Final = 1024  # NI_MAXHOST
MAX_PORT: Final = 0xFFFF
MAX_SOCKET_PATH: Final = 107  # of sockaddr_un, less one for the end; a few systems have less and say so themselves


def host_name(data: bytes) -> str:
    """A host's name or address. Raises ValueError: empty, too long, not UTF-8, or with what no name has.

    A NUL would end the name for the resolver, which is then not the one that was permitted.
    """
    host = bind_name(data)
    if not host:
        raise ValueError("empty host name")
    return host


def bind_name(data: bytes) -> str:
    """As :func:`host_name`, and "" for all addresses."""
    if len(data) > MAX_HOST:
        raise ValueError("host name too long")
    try:
        host = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("host name is not UTF-8") from None
    if not host.isprintable() or " " in host:
        raise ValueError("host name with control characters or blanks")
    return host


def port_number(port: int, *, any_port: bool = False) -> int:
    """``port``, from 1, or 0 with ``any_port``, up to 65535. Raises ValueError."""
    if not (0 if any_port else 1) <= port <= MAX_PORT:
        raise ValueError("port out of range")
    return port


def socket_path(data: bytes) -> str:
    """The absolute path of a Unix socket. Raises ValueError.

    A NUL at its beginning would name an abstract socket, one within it a shorter path than was permitted.
    """
    if not data.startswith(b"/") or b"\0" in data:
        raise ValueError("not the absolute path of a socket")
    if len(data) > MAX_SOCKET_PATH:
        raise ValueError("path of a socket too long")
    return data.decode("utf-8", "surrogateescape")


def numeric(host: str | None, port: int, *, passive: bool = False) -> list[Address]:
    """Addresses without asking a resolver: of a numeric host; for None of the loopback or, ``passive``, of the whole
    machine. Raises ValueError for a name."""
    flags = socket.AI_NUMERICHOST | (socket.AI_PASSIVE if passive else 0)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    except (OSError, UnicodeError):
        raise ValueError("not a numeric address") from None
    return list(dict.fromkeys(found))


def bind_addresses(host: str, port: int, gateway: GatewayPorts) -> list[Address]:
    """What a server listens on when its client asks for ``host`` (RFC 4254 section 7.1, GatewayPorts in
    sshd_config(5)).

    Raises ValueError for a name other than localhost: only its own addresses are a server's to listen on, and none is
    worth the wait for a resolver.
    """
    if gateway is GatewayPorts.YES:
        return numeric(None, port, passive=True)
    if gateway is GatewayPorts.NO:
        return numeric(host if host in ("127.0.0.1", "::1") else None, port)
    if host in ("", "*"):
        return numeric(None, port, passive=True)
    return numeric(None if host == "localhost" else host, port)
