"""A connection begun before the event loop: used when it came to be, done again when it did not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fastssh.aio.dial import dial
from fastssh.aio.early import EarlyConnection
from fastssh.aio.options import ClientOptions
from fastssh.errors import ConnectionLostError
from tests.support.peers import HOST, free_port
from tests.support.watching import open_descriptors, until


@pytest.fixture
def listener():
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(10)
        yield listening


async def test_it_is_the_connection_that_is_dialled(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    options = ClientOptions(host=HOST, port=port, user="me", early=EarlyConnection(HOST, port))
    route = await dial(options)
    with route.sock, listener.accept()[0] as accepted:
        assert accepted.getpeername() == route.sock.getsockname()
        assert (route.address, route.sock.getblocking()) == (HOST, False)
    route = await dial(options)  # it is nobody's twice
    with route.sock, listener.accept()[0] as accepted:
        assert accepted.getpeername() == route.sock.getsockname()


async def test_what_went_wrong_is_told_by_the_next_attempt() -> None:
    port = free_port()
    options = ClientOptions(host=HOST, port=port, user="me", early=EarlyConnection(HOST, port))
    with pytest.raises(ConnectionLostError, match="Connection refused"):
        await dial(options)
    with pytest.raises(ConnectionLostError, match=r"Could not resolve hostname no\.invalid"):
        await dial(ClientOptions(host="no.invalid", user="me", early=EarlyConnection("no.invalid", 22)))


async def test_cancelled_it_leaves_no_socket(listener: socket.socket) -> None:
    before = open_descriptors()
    early = EarlyConnection(HOST, listener.getsockname()[1])
    waiting = asyncio.ensure_future(early.taken())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    if not waiting.cancelled():  # it was faster
        sock = waiting.result()
        assert sock is not None
        sock.close()
    await until(lambda: open_descriptors() == before, "the socket's end")
