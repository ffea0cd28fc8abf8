"""Logins of our own before the first real one: what they load, cache and specialise, every child inherits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from fastssh import algorithms
from fastssh.aio import lingering
from fastssh.aio.client import connect
from fastssh.aio.options import ClientOptions
from fastssh.aio.server.connection import ServerConnection
from fastssh.aio.server.options import ServerOptions
from fastssh.auth.server import Attempt, Verdict
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.transport.kex.registry import usable

ROUNDS: Final = 3  # of all key exchange methods: CPython specialises what has run a few times
SLOW: Final = ("diffie-hellman-",)  # methods that take long and that hardly any client asks for: once is enough


def rehearse(host_keys: Sequence[PrivateKey], kex: Sequence[str]) -> None:
    """Logs in to a server of its own over a pair of sockets, which nobody else can reach.

    Without it each child loads modules that its parent never used, and fills caches that its siblings filled before.
    """
    lingering.run(_rehearse(tuple(host_keys), usable(tuple(kex or algorithms.KEX))))


async def _rehearse(host_keys: tuple[PrivateKey, ...], kex: tuple[str, ...]) -> None:
    key = generate_private_key("ed25519")

    def authorise(connection: ServerConnection, attempt: Attempt) -> Verdict:
        return Verdict.ACCEPT if attempt.key == key.public else Verdict.REFUSE

    options = ServerOptions(host_keys=host_keys, authorise=authorise, failure_seconds=0)
    for number in range(ROUNDS):
        for method in kex:
            if number == 0 or not method.startswith(SLOW):
                await _log_in(options, key, host_keys[0], method)


async def _log_in(options: ServerOptions, key: PrivateKey, host_key: PrivateKey, method: str) -> None:
    ours, theirs = socket.socketpair()
    server = ServerConnection(options, ours)
    server.start()
    client = ClientOptions(
        host="rehearsal",
        user="nobody",
        kex=(method,),
        host_key_algorithms=host_key.public.signature_algorithms,
        pinned_host_key=host_key.public,
        keys=(key,),
        identity_files=(),
        agent_socket="none",
    )
    async with connect(client, sock=theirs):
        pass
    await asyncio.shield(server.wait_closed())
