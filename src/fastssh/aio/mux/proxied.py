"""A connection over a master in proxy mode (PROTOCOL.mux, section 9): channels and forwards are our own, logging in was
the master's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastssh.aio.client import ClientConnection
from fastssh.aio.dial import Route
from fastssh.aio.hostkeys import HostKeyPolicy
from fastssh.aio.plain import PlainTransport

if TYPE_CHECKING:
    import socket

    from fastssh.aio.forwarding.client import ClientForwarding
    from fastssh.aio.options import ClientOptions
    from fastssh.transport.transport import Transport


class ProxiedConnection(ClientConnection):
    """``sock`` is the control connection, whose master has agreed; owned from here on. Works from the moment it is
    made, in the running loop. What a login leaves behind, keys and algorithms, it does not have."""

    def __init__(self, options: ClientOptions, sock: socket.socket) -> None:
        policy = HostKeyPolicy(options, None)  # there is no key to look at: the master did
        super().__init__(options, Route(sock, None), policy, "the master of the shared connection")
        plain: Any = self._transport
        plain.connection = self._connection
        self.plane.set_unpadded()
        self._driver.start()

    @property
    def forwarding(self) -> ClientForwarding:
        """As every connection's; but OpenSSH's masters keep the server's answers to themselves."""
        made = super().forwarding
        made.unanswered = True
        return made

    def _make_transport(self) -> Transport:
        made: Any = PlainTransport(self.plane)  # of a Transport, this is what a connection that is set up uses
        transport: Transport = made
        return transport
