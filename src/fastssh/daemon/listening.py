"""The sockets that fastsshd listens on, kept over a change of the configuration."""

from __future__ import annotations

# What looking up a name loads when it is first done, and cannot find after a chroot.
import concurrent.futures.thread  # noqa: F401
import encodings.idna  # noqa: F401
import socket
from collections.abc import Iterable

from fastssh.aio.server.serve import listen
from fastssh.config.server.values import ListenAddress
from fastssh.daemon.log import Log
from fastssh.errors import ConfigError


class Listeners:
    """Sockets by the address that the configuration names."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._by_address: dict[ListenAddress, list[socket.socket]] = {}

    @property
    def sockets(self) -> list[socket.socket]:
        return [sock for sockets in self._by_address.values() for sock in sockets]

    def set(self, addresses: Iterable[ListenAddress]) -> None:
        """Listens on these and on nothing else. An address that was listened on already never stops being so; one that
        cannot be had is logged. ConfigError, and nothing changes, when there would be none."""
        wanted = dict.fromkeys(addresses)
        found = {address: self._by_address[address] for address in wanted if address in self._by_address}
        for address in wanted:
            if address not in found:
                found[address] = self._bind(address)
        if not any(found.values()):
            raise ConfigError("Cannot bind any address.")
        for address, sockets in self._by_address.items():
            if address not in found:
                _close(sockets)
        self._by_address = {address: sockets for address, sockets in found.items() if sockets}

    def _bind(self, address: ListenAddress) -> list[socket.socket]:
        try:
            sockets = listen(address.host, address.port)
        except (OSError, UnicodeError) as error:  # the latter for what can be no host name
            why = getattr(error, "strerror", None) or str(error)
            self._log.error(f"Bind to port {address.port} on {address.host} failed: {why}.")
            return []
        for sock in sockets:
            sock.setblocking(False)
            host, port = sock.getsockname()[:2]
            self._log.info(f"Server listening on {host} port {port}.")
        return sockets

    def close(self) -> None:
        """Stops listening."""
        for sockets in self._by_address.values():
            _close(sockets)
        self._by_address = {}


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
