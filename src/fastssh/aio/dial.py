"""A TCP connection to a host: every address that it has, in the resolver's order, until one answers."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from fastssh.aio.options import LOG_DEBUG1, ClientOptions
from fastssh.aio.pipes import PipePair
from fastssh.errors import ConfigError, ConnectionLostError, SSHError, SSHTimeoutError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection

# Class selector 1, the lower-effort class: what OpenSSH gives sessions that are not interactive (IPQoS, ssh_config(5)).
IP_TOS_CS1: Final = 0x20

RETRY_SECONDS: Final = 1.0  # between the turns of ConnectionAttempts

_FAMILIES: Final = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]  # as getaddrinfo gives it


class Carrier(Protocol):
    """What a connection's bytes go through on their way to the server: a proxy command, or another connection."""

    @property
    def hop(self) -> ClientConnection | None:
        """The connection jumped from, None for a command."""

    def on_lost(self, callback: Callable[[SSHError], None]) -> None:
        """``callback`` hears, once, why the carrier ended before the connection did, if it knows."""

    async def explain(self) -> str:
        """Why the connection may have ended before it began; empty if the carrier does not know."""

    def close(self) -> None:
        """The connection's socket is closed: the carrier ends. Harmless when it has."""

    async def wait_closed(self) -> None:
        """Closes; returns when nothing of the carrier is left."""


class Route(NamedTuple):
    """A connected socket, or a pair of pipes. ``address`` is the server's, None where something else made the
    connection; the ``carrier`` then ends with it. ``begun``: when its connection began, by the loop's clock, which is
    when ``connect_timeout`` began."""

    sock: socket.socket | PipePair
    address: str | None
    carrier: Carrier | None = None
    begun: float | None = None


async def reach(options: ClientOptions) -> Route:
    """The way to the server that ``options`` name: a jump host, a proxy command, or :func:`dial`."""
    if options.proxy_jump is not None:
        from fastssh.aio.jump import jump

        return await jump(options)
    if options.proxy_command is not None:
        from fastssh.aio.proxy import run_proxy

        return await run_proxy(options)
    return await dial(options)


async def dial(options: ClientOptions) -> Route:
    """A connected, non-blocking socket and the address it is connected to.

    Each address gets ``connect_timeout`` seconds, and all of them ``connection_attempts`` turns, a second apart. Raises
    ConnectionLostError with the last address's reason, in ssh's words, or SSHTimeoutError where that was the time.
    """
    host, port = options.host, options.port
    failure: OSError | None = None
    begun = asyncio.get_running_loop().time()
    if options.early is not None:
        try:
            async with asyncio.timeout(options.connect_timeout or None):
                sock = await options.early.taken()
        except TimeoutError:
            failure = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        else:
            with suppress(OSError):  # it is lost already, and the next attempt tells
                if sock is not None:
                    return _begun(sock, options, begun)
    addresses = await resolve(host, port, options)
    late = addresses[:1] if failure is not None else []  # it has had its time
    for attempt in range(max(options.connection_attempts, 1)):
        if attempt:
            await asyncio.sleep(RETRY_SECONDS)
            options.log(LOG_DEBUG1, "Trying again...")
        for address in addresses:
            if address in late and not attempt:
                options.log(LOG_DEBUG1, f"connect to address {address[4][0]} port {port}: Connection timed out")
                continue
            begun = asyncio.get_running_loop().time()
            options.log(LOG_DEBUG1, f"Connecting to {printable(host)} [{address[4][0]}] port {port}.")
            try:
                sock = await _connect(address, options)
            except OSError as error:
                options.log(LOG_DEBUG1, f"connect to address {address[4][0]} port {port}: {reason_of(error)}")
                failure = error
            else:
                options.log(LOG_DEBUG1, "Connection established.")
                return Route(sock, str(address[4][0]), begun=begun)
    reason = reason_of(failure) if failure is not None else "no address"
    kind = SSHTimeoutError if isinstance(failure, TimeoutError) else ConnectionLostError
    raise kind(f"connect to host {printable(host)} port {port}: {reason}") from failure


def _begun(sock: socket.socket, options: ClientOptions, begun: float) -> Route:
    """A connection that was made before we were asked for it."""
    address = str(sock.getpeername()[0])
    options.log(LOG_DEBUG1, f"Connecting to {printable(options.host)} [{address}] port {options.port}.")
    options.log(LOG_DEBUG1, "Connection established.")
    sock.setblocking(False)
    set_socket_options(sock, options)
    return Route(sock, address, begun=begun)


def reason_of(error: OSError) -> str:
    """The system's words; asyncio puts its own into ``strerror``, and the resolver has numbers of its own."""
    if isinstance(error, socket.gaierror):
        return error.strerror or "not a host name"
    return os.strerror(error.errno) if error.errno else str(error)


async def resolve(host: str, port: int, options: ClientOptions) -> list[Address]:
    """The addresses of ``host``, of the family of ``options``. Raises ConnectionLostError in ssh's words."""
    family, kind, protocol = _FAMILIES[options.address_family], socket.SOCK_STREAM, socket.IPPROTO_TCP
    with suppress(OSError, UnicodeError):  # an address needs no resolver, and no thread that waits for one
        if host.isascii():  # as bytes, which need no codec
            return list(socket.getaddrinfo(host.encode(), port, family, kind, protocol, socket.AI_NUMERICHOST))
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(options.connect_timeout or None):
            return list(await loop.getaddrinfo(host, port, family=family, type=kind, proto=protocol))
    except TimeoutError:
        raise SSHTimeoutError(f"Could not resolve hostname {printable(host)}: no answer in time") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise ConnectionLostError(f"Could not resolve hostname {printable(host)}: {reason}") from error


async def _connect(address: Address, options: ClientOptions) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        set_socket_options(sock, options)
        source = options.bind_address
        if source is None and options.bind_interface is not None:
            source = _address_of(options.bind_interface, family)
        if source is not None:
            await _bind(sock, family, source)
        try:
            async with asyncio.timeout(options.connect_timeout or None):
                await asyncio.get_running_loop().sock_connect(sock, target)
        except TimeoutError as error:
            raise error if error.errno else TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _address_of(interface: str, family: socket.AddressFamily) -> str:
    from fastssh.aio.interfaces import source_address

    address = source_address(interface, family)
    if address is None:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return address


async def _bind(sock: socket.socket, family: socket.AddressFamily, address: str) -> None:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address, 0, family=family, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"bind address {printable(address)}: {getattr(error, 'strerror', None) or error}") from error
    sock.bind(found[0][4])


def set_socket_options(sock: socket.socket | PipePair, options: ClientOptions) -> None:
    """Keepalives and the class of service. Socket buffers are left to the kernel: setting them ends autotuning."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.tcp_keepalive))
    quality = IP_TOS_CS1 if options.ip_qos is None else options.ip_qos
    set_class(sock, quality, lambda text: options.log(LOG_DEBUG1, text))


def set_class(sock: socket.socket | PipePair, quality: int, log: Callable[[str], None]) -> None:
    """IP_TOS or IPV6_TCLASS of a TCP socket; nothing for one of another kind, or below 0."""
    if quality < 0 or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, quality)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, quality)
    except OSError as error:  # some systems do not let everybody choose: the connection works all the same
        log(f"set socket class {quality:#x}: {error.strerror}")
