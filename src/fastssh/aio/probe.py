"""Which host key a server has, without a login: a key exchange up to the proof of it, and a polite farewell."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastssh import algorithms
from fastssh._native.plane import Plane
from fastssh.aio.client_core import SOFTWARE
from fastssh.aio.deadline import Deadline
from fastssh.aio.dial import dial
from fastssh.aio.driver import Driver
from fastssh.aio.options import LOG_DEBUG1, ClientOptions
from fastssh.aio.pipes import PipePair
from fastssh.errors import ChannelClosedError, SSHError
from fastssh.transport.transport import Role, Transport, TransportOptions

if TYPE_CHECKING:
    from fastssh._native.plane import Event
    from fastssh.keys.public import PublicKey


def _nobody(text: str) -> None:
    """Who is told of a server's identification by default."""


async def probe_host_key(
    options: ClientOptions, *, timeout: float = 5.0, greeted: Callable[[str], None] = _nobody
) -> PublicKey:
    """The key, or the certificate, that the server at ``options.host`` proves to have.

    ``options.host_key_algorithms`` are asked for, most wanted first; nothing is compared with known_hosts. ``timeout``
    in seconds is for the connection, for the server's identification, of which ``greeted`` is told, and for the key,
    each. Raises ConnectionLostError, SSHTimeoutError, NegotiationError where the server has no such key, ProtocolError.
    """
    peer = f"{options.host} port {options.port}"
    async with Deadline(timeout, f"connect to host {peer}"):
        sock = (await dial(options)).sock
    probe = _Probe(options, sock, peer)
    try:
        async with Deadline(timeout, f"identification of {peer}"):
            greeted(await probe.identified)
        async with Deadline(timeout, f"key exchange with {peer}"):
            return await probe.key
    finally:
        await probe.hang_up()


class _Probe:
    """The observer of a transport that never comes further than its host key."""

    def __init__(self, options: ClientOptions, sock: socket.socket | PipePair, peer: str) -> None:
        loop = asyncio.get_running_loop()
        self.identified: asyncio.Future[str] = loop.create_future()
        self.key: asyncio.Future[PublicKey] = loop.create_future()
        self._log = options.log
        terms = TransportOptions(
            software=SOFTWARE,
            kex=options.kex or algorithms.KEX,
            host_key_algorithms=options.host_key_algorithms or algorithms.HOST_KEYS,
        )
        plane = Plane()
        self._transport = Transport(Role.CLIENT, plane, terms, self, random=os.urandom, now=time.monotonic)
        self._driver = Driver(
            sock, self._transport, plane, settle=self._settle, lost=self._lost, watch=self.channel_event, peer=peer
        )
        self._driver.start()

    async def hang_up(self) -> None:
        self._driver.close(ChannelClosedError("the host key is known"))
        await self._driver.wait_closed()

    def _settle(self) -> None:
        if self._transport.peer_identification and not self.identified.done():
            self.identified.set_result(self._transport.peer_identification)

    def _lost(self, error: SSHError) -> None:
        self._settle()
        for future in (self.identified, self.key):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: whoever waits gets it too

    # -- TransportObserver -----------------------------------------------------------------------------------------

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        self._settle()
        if not self.key.done():
            self.key.set_result(key)  # and no answer: the exchange ends here

    def transport_ready(self) -> None:
        raise AssertionError("a key exchange went on without an answer")

    def message(self, sequence: int, payload: bytes) -> None:
        """None is allowed before the first key exchange is done."""

    def channel_event(self, event: Event) -> None:
        """There are no channels."""

    def debug(self, text: str) -> None:
        self._log(LOG_DEBUG1, text)
