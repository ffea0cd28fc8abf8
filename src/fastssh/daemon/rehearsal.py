"""Logins of our own before the first real one: what they load, cache and specialise, every child inherits.

They go the way of a real login, from the event loop to the user's keys, up to the point where the process would become
the user's. So a child finds regular expressions compiled, libraries of the name service loaded, and bytecode
specialised: all of that is memory that it does not write to, and need not have a copy of. The client is another
process, so that nothing of it takes room among what the children use.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Final, NoReturn

from fastssh import algorithms
from fastssh.aio import lingering
from fastssh.config.server.evaluate import load
from fastssh.config.server.settings import ServerSettings
from fastssh.config.values import LogLevel
from fastssh.daemon.connection import Service
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import SystemAccounts, User
from fastssh.daemon.prepare import Prepared
from fastssh.daemon.signals import Signals
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.keys.public import PublicKey
from fastssh.transport.kex.registry import usable

USUAL: Final = 6  # more logins with the method most wanted: CPython 3.11 specialises what has run eight times
SLOW: Final = ("diffie-hellman-",)  # methods that take long and that hardly any client asks for: once is enough
NAME: Final = "rehearsal"
CLIENT_SECONDS: Final = 30.0  # for all its logins; the server's own limit is LoginGraceTime


class _Actor(SystemAccounts):
    """Any name is the account that the server runs as, even where nobody could log in to it."""

    def find(self, name: str) -> User | None:
        uid = os.getuid()
        try:
            real = super().find(pwd.getpwuid(uid).pw_name)
        except KeyError:  # an account without a name
            real = None
        return replace(real or User(name=name, uid=uid, gid=os.getgid(), home="/"), name=name, closed="")


def rehearse(prepared: Prepared) -> None:
    """Lets a client log in to this server over pairs of sockets, which nobody else can reach. Nothing of it is logged.

    Where that cannot be (no directory for a temporary file, no process to be had, /etc/nologin), children do without.
    """
    methods = usable(tuple(prepared.config.settings.kex_algorithms or algorithms.SERVER_KEX))
    quick = tuple(method for method in methods if not method.startswith(SLOW))
    logins = (*methods, *quick, *(quick[:1] * USUAL))
    with suppress(OSError), _stage(prepared) as (stage, key):
        pairs = [socket.socketpair() for _ in logins]
        client = os.fork()
        if client == 0:
            _act(prepared.host_keys[0].public, key, logins, pairs)
        for _, theirs in pairs:
            theirs.close()
        for ours, _ in pairs:
            loop = lingering.new_event_loop()
            with closing(loop):
                loop.run_until_complete(_serve(stage, ours))
        os.waitpid(client, 0)


@contextmanager
def _stage(prepared: Prepared) -> Iterator[tuple[Prepared, PrivateKey]]:
    """A configuration by which ``key`` may log in as anybody, and nothing else may."""
    key = generate_private_key("ed25519")
    with tempfile.NamedTemporaryFile("w", prefix="fastsshd-") as file:
        file.write(f"{key.public.line()}\n")
        file.flush()
        config = load(None, overrides=[
            ("AuthorizedKeysFile", file.name), ("StrictModes", "no"), ("PermitRootLogin", "yes"),
            ("PasswordAuthentication", "no"), "Subsystem sftp internal-sftp",
        ])  # fmt: skip
        yield Prepared(config, prepared.host_keys, _Actor(), None, LogLevel.VERBOSE), key


async def _serve(stage: Prepared, sock: socket.socket) -> None:
    with closing(Signals(deaf=True)) as signals:  # they are for the server, when it has rehearsed
        log = Log(LogLevel.VERBOSE, _unheard)
        await Service(stage, log, lambda: None, _nobody_else, failure_seconds=0).run(sock, signals)


def _nobody_else(user: User, settings: ServerSettings) -> int:
    """In place of what makes the process the user's."""
    return 0


def _unheard(level: LogLevel, line: str) -> None:
    """The log of a rehearsal."""


# -- in the client's process -------------------------------------------------------------------------------------------


def _act(
    host_key: PublicKey, key: PrivateKey, logins: tuple[str, ...], pairs: list[tuple[socket.socket, socket.socket]]
) -> NoReturn:
    """One login after another. Whatever fails, the server sees its sockets closed."""
    try:
        for ours, _ in pairs:
            ours.close()
        asyncio.run(_log_in(host_key, key, [(method, sock) for method, (_, sock) in zip(logins, pairs, strict=True)]))
    finally:
        os._exit(0)


async def _log_in(host_key: PublicKey, key: PrivateKey, logins: list[tuple[str, socket.socket]]) -> None:
    from fastssh.aio.client import connect
    from fastssh.aio.options import ClientOptions

    async with asyncio.timeout(CLIENT_SECONDS):
        for method, sock in logins:
            options = ClientOptions(
                host=NAME, user=NAME, kex=(method,), host_key_algorithms=host_key.signature_algorithms,
                pinned_host_key=host_key, keys=(key,), identity_files=(), agent_socket="none",
            )  # fmt: skip
            async with connect(options, sock=sock):
                pass
