"""ProxyJump of ssh_config(5): a connection over another one, whose bytes the plane moves between both.

ssh(1) runs a further ``ssh -W`` for each hop; here the hop is a connection of this program, and the way on from it a
direct-tcpip channel (RFC 4254 section 7.2) joined to one end of a pair of sockets.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fastssh.aio.deadline import Deadline
from fastssh.aio.dial import Route
from fastssh.errors import ConnectionLostError, SSHError, SSHTimeoutError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastssh.aio.client import ClientConnection
    from fastssh.aio.forwarding.relay import SocketRelay
    from fastssh.aio.options import ClientOptions

WINDOW: Final = 8 * 1024 * 1024  # bytes under way to us: a copy over a hop is bounded by it as one without is
LAST_BYTES_SECONDS: Final = 2.0  # for the hop to take what the connection over it sent last


class Jump:
    """The hop's connection, used for one channel; see :class:`~fastssh.aio.dial.Carrier`."""

    def __init__(self, hop: ClientConnection, name: str) -> None:
        self.hop = hop
        self._name = name
        self._timer: asyncio.TimerHandle | None = None
        self._lost: Callable[[SSHError], None] | None = None
        hop.on_lost(self._hop_lost)

    def _hop_lost(self, error: SSHError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._lost is not None:
            self._lost(ConnectionLostError(f"{self._name}: {error}"))

    def on_lost(self, callback: Callable[[SSHError], None]) -> None:
        self._lost = callback

    async def explain(self) -> str:
        return ""  # the hop's own error has reached the connection by on_lost

    def close(self) -> None:
        """What the connection sent last lies in the pair of sockets still: the relay's end closes the hop."""
        if self._timer is None and self.hop.error is None:
            self._timer = asyncio.get_running_loop().call_later(LAST_BYTES_SECONDS, self.hop.close)

    def all_read(self) -> None:
        """Not at once: the hop's plane is in the middle of a turn."""
        asyncio.get_running_loop().call_soon(self.hop.close)

    async def wait_closed(self) -> None:
        self.close()
        await self.hop.wait_closed()


async def jump(options: ClientOptions) -> Route:
    """The route over ``options.proxy_jump``, which may have a hop of its own. Raises as :class:`connect` does, each
    error with the hop's name; cancelled, nothing is left behind."""
    from fastssh.aio.client import connect
    from fastssh.aio.forwarding.relay import SocketRelay
    from fastssh.wire.requests import DirectTcpip

    assert options.proxy_jump is not None
    host = printable(options.proxy_jump.host)
    name = f"jump host {host}"
    options.log(1, f"Connecting to {printable(options.host)} port {options.port} by way of {name}.")
    try:
        hop = await connect(replace(options.proxy_jump, forward_agent=None))  # no session of ours is there
    except SSHError as error:
        raise _named(error, host, name) from error.__cause__
    carrier = Jump(hop, name)
    ours, theirs = socket.socketpair()
    relay = SocketRelay(theirs, _ended, all_read=carrier.all_read)
    what = f"connect to host {printable(options.host)} port {options.port} from {name}"
    try:
        target = DirectTcpip(options.host.encode("utf-8", "surrogateescape"), options.port, b"127.0.0.1", 65535)
        async with Deadline(options.connect_timeout or options.login_timeout, what):
            await hop.open_channel("direct-tcpip", target.body(), relay, window=WINDOW, prepare=relay.start)
    except BaseException as error:
        relay.abort()
        ours.close()
        hop.close()
        if not isinstance(error, SSHError):
            raise
        await hop.wait_closed()
        if isinstance(error, SSHTimeoutError) and str(error).startswith(what):
            raise
        raise ConnectionLostError(f"{what}: {error}") from error
    return Route(ours, None, carrier)


def _ended(relay: SocketRelay) -> None:
    """The connection over the hop sees its end of the pair close."""


def _named(error: SSHError, host: str, name: str) -> SSHError:
    """``error`` with the hop's name in its text."""
    text = str(error)
    if host not in text:
        error.args = (f"{name}: {text}", *error.args[1:])
    return error
