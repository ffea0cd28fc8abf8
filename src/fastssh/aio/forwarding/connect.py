"""The socket that a forwarded channel leads to: made without waiting in the loop, and within a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from typing import Final

from fastssh.aio.dial import Address
from fastssh.aio.forwarding.names import numeric

RETRY_SECONDS: Final = 0.02  # until a Unix socket with a full queue is asked again


def _timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise error if error.errno else _timed_out() from None


async def connect_tcp(host: str, port: int, seconds: float, resolving: asyncio.Semaphore) -> socket.socket:
    """A connected socket to the first address of ``host`` that answers; each gets its share of ``seconds``.

    ``resolving`` bounds how many names are asked for at once: the resolver's threads are everybody's. Raises OSError of
    the last address, socket.gaierror for a name that has none. Cancelled, nothing stays open.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    async with _deadline(seconds):
        addresses = await resolve(host, port, resolving)
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for index, address in enumerate(addresses):
        try:
            async with _deadline(max(end - loop.time(), 0.0) / (len(addresses) - index)):
                return await _connect(address)
        except OSError as error:
            failure = error
    raise failure


async def resolve(host: str, port: int, resolving: asyncio.Semaphore) -> list[Address]:
    """The addresses of ``host``; only names ask the resolver. Raises socket.gaierror."""
    try:
        return numeric(host, port)
    except ValueError:
        pass  # a name, then
    async with resolving:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        except UnicodeError:  # a label that no name can have
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return list(dict.fromkeys(found))


async def _connect(address: Address) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, target)
        no_delay(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def no_delay(sock: socket.socket) -> None:
    """What was written together arrived together: there is nothing to wait for. Raises nothing: the connection may be
    gone, which using it will tell."""
    with contextlib.suppress(OSError):
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def connect_path(path: str, seconds: float) -> socket.socket:
    """A connected Unix socket. Raises OSError. Cancelled, nothing stays open.

    Such a socket connects at once or not at all: while the listener's queue is full it has to be tried again, and a
    loop that waits for it to become writable takes it for connected.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with _deadline(seconds):
            while True:
                try:
                    sock.connect(path)
                    return sock
                except (BlockingIOError, InterruptedError):
                    await asyncio.sleep(RETRY_SECONDS)
    except BaseException:
        sock.close()
        raise
