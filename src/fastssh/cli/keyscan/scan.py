"""The scan: many hosts in one loop, each type of key over a connection of its own, and a line for each key found."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from fastssh.aio.dial import resolve
from fastssh.aio.options import ClientOptions
from fastssh.aio.probe import probe_host_key
from fastssh.cli.keyscan.arguments import Arguments
from fastssh.cli.keyscan.targets import Target
from fastssh.cli.messages import Messages
from fastssh.cli.process import print_text
from fastssh.errors import ConnectionLostError, KeyFormatError, NegotiationError, SSHError, SSHTimeoutError
from fastssh.keys import sshfp
from fastssh.keys.known_hosts import hash_name, host_name
from fastssh.keys.public import PublicKey
from fastssh.wire.text import printable

MAX_CONNECTIONS: Final = 256  # at once, as ssh-keyscan
_RESERVED: Final = 32  # descriptors that are no connections


class _Address(NamedTuple):
    """``name`` is how somebody called it."""

    name: str
    address: str


class Scan:
    """One call's scan. ``found`` says whether a key was printed."""

    def __init__(self, asked: Arguments, targets: Iterator[Target], messages: Messages) -> None:
        self._asked, self._targets, self._messages = asked, targets, messages
        self.found = self._unheard = False

    async def run(self) -> int:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, limit - _RESERVED)
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, room // len(self._asked.algorithms))):
                if (target := next(self._targets, None)) is None:
                    break
                group.create_task(self._work(target))
        return 0 if self.found and not self._unheard else 1

    async def _work(self, target: Target | None) -> None:
        """One of those who take hosts from the list until it is empty."""
        while target is not None:
            await self._host(target)
            target = next(self._targets, None)

    async def _host(self, target: Target) -> None:
        told: set[str] = set()  # a host that cannot be reached is told of once, not for each type
        addresses = [each for name in target.addresses for each in await self._resolve(name, target, told)]
        async with asyncio.TaskGroup() as group:
            for algorithms in self._asked.algorithms:
                group.create_task(self._key(target, addresses, algorithms, told))

    async def _resolve(self, name: str, target: Target, told: set[str]) -> list[_Address]:
        """Once for all types of keys: threads wait for the resolver, and there are not many of them."""
        try:
            options = self._options(name)
            async with asyncio.timeout(self._asked.timeout):
                found = await resolve(name, self._asked.port, options)
        except (SSHError, OSError, ValueError) as error:  # ValueError: a name with NUL
            self._tell(name, error, target, told)
            return []
        return [_Address(name, address[4][0]) for address in found]

    def _options(self, host: str, algorithms: tuple[str, ...] = ()) -> ClientOptions:
        return ClientOptions(
            host=host,
            port=self._asked.port,
            user="-",  # nobody logs in
            address_family=self._asked.family,
            host_key_algorithms=algorithms,
            log=lambda level, text: self._debug(text),
        )

    async def _key(
        self, target: Target, addresses: list[_Address], algorithms: tuple[str, ...], told: set[str]
    ) -> None:
        """Asks for one type of key, address by address until one answers."""
        failures: dict[str, Exception] = {}
        for name, address in addresses:
            try:
                key = await probe_host_key(
                    self._options(address, algorithms), timeout=self._asked.timeout,
                    greeted=partial(self._greeted, name),
                )  # fmt: skip
            except NegotiationError as error:  # it has no key of this type
                self._debug(f"{name}: {error}")
                return
            except (SSHError, OSError) as error:
                failures[name] = error
            else:
                self._print(target, key)
                return
        for name, failure in failures.items():
            self._tell(name, failure, target, told)

    def _tell(self, name: str, error: Exception, target: Target, told: set[str]) -> None:
        """What is wrong with a host. Of a network nobody said that each address has one."""
        text = self._reason(name, error)
        if target.ranged and isinstance(error, ConnectionLostError | SSHTimeoutError | OSError):
            self._debug(text)
        elif text not in told:
            told.add(text)
            self._messages.write(text)

    def _debug(self, text: str) -> None:
        if self._asked.verbose:
            self._messages.write(f"debug1: {printable(text)}")

    def _greeted(self, address: str, text: str) -> None:
        if not self._asked.quiet:
            mark = ";" if self._asked.sshfp else "#"
            self._messages.write(f"{mark} {printable(address)}:{self._asked.port} {text}")

    @staticmethod
    def _reason(address: str, error: Exception) -> str:
        """One line, in ssh-keyscan's words where it has some."""
        cause = error.__cause__
        if isinstance(cause, socket.gaierror):
            return f"getaddrinfo {printable(address)}: {cause.strerror}"
        if isinstance(error, TimeoutError) and not isinstance(error, SSHError):
            return f"getaddrinfo {printable(address)}: no answer in time"
        if isinstance(cause, OSError) and cause.errno:
            return f"connect (`{printable(address)}'): {os.strerror(cause.errno)}"
        return f"{printable(address)}: {printable(str(error))}"

    def _print(self, target: Target, key: PublicKey) -> None:
        asked = self._asked
        try:
            if asked.sshfp:
                lines = [line for name in target.names.split(",") for line in sshfp.records(name, key, asked.sshfp)]
            elif asked.certificates:
                lines = [key.line()]
            elif asked.hashed:
                names = [host_name(name, asked.port) for name in target.names.split(",")]
                lines = [f"{hash_name(name, os.urandom(20))} {key.line()}" for name in names]
            else:
                lines = [f"{host_name(target.names, asked.port)} {key.line()}"]
        except KeyFormatError as error:
            self._messages.write(f"{printable(target.names)}: {error}")
            return
        if print_text("".join(f"{printable(line)}\n" for line in lines), self._messages):
            self._unheard = True
        self.found = True
