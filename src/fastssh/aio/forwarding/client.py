"""What a client has forwarded: :class:`LocalForward` (``ssh -L``) and :class:`RemoteForward` (``ssh -R``).

Either end is a host and port, or a path: an address is ``(host, port)`` or the absolute path of a Unix socket. As in
ssh(1), "localhost" to listen on is the loopback, "" and "*" are all of the machine's addresses.
"""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio.dial import Address as SocketAddress
from fastssh.aio.forwarding.connect import connect_path, connect_tcp, resolve
from fastssh.aio.forwarding.group import RelayGroup, originator
from fastssh.aio.forwarding.listen import bind_path, bind_tcp
from fastssh.aio.forwarding.names import MAX_PORT, numeric, port_number, socket_path
from fastssh.aio.forwarding.policy import CONNECT_SECONDS
from fastssh.errors import ChannelRequestError, ProtocolError, SSHError
from fastssh.wire.messages import OpenFailureReason
from fastssh.wire.requests import (
    CancelStreamlocalForward,
    CancelTcpipForward,
    DirectStreamlocal,
    DirectTcpip,
    ForwardedStreamlocal,
    ForwardedTcpip,
    StreamlocalForward,
    TcpipForward,
    TcpipForwardReply,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh.connection.connection import Connection, IncomingOpen

Address = tuple[str, int] | str
Key = tuple[bytes, int] | bytes  # how the server names a listener of ours: as we asked for it

MAX_CHANNELS: Final = 256  # at a time, of all forwards of one direction
RESOLVING: Final = 4  # names looked up at a time


def _nothing(reply: bytes) -> None:
    """For requests whose replies say nothing."""


def show(address: Address) -> str:
    """An address in words, safe for a terminal."""
    return printable(address if isinstance(address, str) else f"{address[0] or '*'} port {address[1]}")


def _checked(address: Address, *, any_port: bool = False) -> Address:
    """``address``, if it can be one. Raises ValueError."""
    if isinstance(address, str):
        socket_path(os.fsencode(address))
    else:
        port_number(address[1], any_port=any_port)
    return address


class ClientForwarding:
    """All forwards of one client connection; made when the first one is asked for.

    ``fail`` ends the connection; ``log`` gets one line each time a connection could not be forwarded.
    """

    def __init__(self, connection: Connection, *, fail: Callable[[SSHError], None], log: Callable[[str], None]) -> None:
        self.connection = connection
        self.resolving = asyncio.Semaphore(RESOLVING)
        self._fail, self._log = fail, log
        self._groups: set[RelayGroup] = set()
        self._remote: dict[Key, RemoteForward] = {}
        connection.max_peer_channels += MAX_CHANNELS
        connection.acceptors |= {
            "forwarded-tcpip": self._forwarded_tcpip,
            "forwarded-streamlocal@openssh.com": self._forwarded_streamlocal,
        }
        connection.on_lost.append(self._lost)

    def _lost(self, error: SSHError) -> None:
        self._remote.clear()
        for group in list(self._groups):
            self.end(group)

    def group(self) -> RelayGroup:
        """The relays of one more forward, until :meth:`end`."""
        if self.connection.error is not None:
            raise self.connection.error
        group = RelayGroup(self.connection, MAX_CHANNELS, fail=self._fail, log=self._log)
        self._groups.add(group)
        return group

    def end(self, group: RelayGroup) -> None:
        """Everything of this group is closed. Harmless when it is already."""
        self._groups.discard(group)
        group.abort()

    # -- the server's side of remote forwards --------------------------------------------------------------------------

    def add(self, key: Key, forward: RemoteForward) -> None:
        """What the server says comes from ``key`` goes to ``forward``."""
        self._remote[key] = forward

    def discard(self, key: Key) -> None:
        self._remote.pop(key, None)

    def _forwarded_tcpip(self, incoming: IncomingOpen) -> None:
        data = ForwardedTcpip.parse(incoming.data)
        forward = self._remote.get((data.host, data.port))
        if forward is None:  # some servers name the address that they bound, not the one that was asked for
            same_port = [each for key, each in self._remote.items() if isinstance(key, tuple) and key[1] == data.port]
            forward = same_port[0] if len(same_port) == 1 else None
        self._forwarded(incoming, forward)

    def _forwarded_streamlocal(self, incoming: IncomingOpen) -> None:
        self._forwarded(incoming, self._remote.get(ForwardedStreamlocal.parse(incoming.data).path))

    def _forwarded(self, incoming: IncomingOpen, forward: RemoteForward | None) -> None:
        if forward is None:
            incoming.refuse(OpenFailureReason.ADMINISTRATIVELY_PROHIBITED, "that was not asked for")
        else:
            forward.opened(incoming)

    async def request(self, name: str, data: bytes, granted: Callable[[bytes], None] = _nothing) -> bool:
        """A global request; whether the server granted it. ``granted`` is called with the reply's data before anything
        that follows it is looked at, also when nobody waits any more. Raises what ended the connection."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def reply(data: bytes | None) -> None:
            if data is not None:
                try:
                    granted(data)
                except SSHError as error:
                    if not answered.done():
                        answered.set_exception(error)
                    raise  # it ends the connection
            if not answered.done():
                answered.set_result(data is not None)

        self.connection.global_request(name, data, on_reply=reply)
        success = await answered
        if not success and self.connection.error is not None:
            raise self.connection.error
        return success


class Forward(ABC):
    """One forward; ``async with`` closes it, and it ends with its connection.

    ``port`` is the one that is listened on, 0 for a path; ``target`` is where connections go.
    """

    port: int

    def __init__(self, forwarding: ClientForwarding, target: Address) -> None:
        self.target = target
        self._forwarding = forwarding
        self._group = forwarding.group()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._group.relays)

    @abstractmethod
    async def close(self) -> None:
        """Stops listening, and ends the connections that came. Harmless when closed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class LocalForward(Forward):
    """Listens here; each connection goes over the server to ``target``. Made by
    :meth:`ClientConnection.forward_local`."""

    def __init__(self, forwarding: ClientForwarding, bind: Callable[[], list[socket.socket]], target: Address) -> None:
        super().__init__(forwarding, target)
        try:
            sockets = bind()
        except BaseException:
            forwarding.end(self._group)
            raise
        kind = "direct-streamlocal@openssh.com" if isinstance(target, str) else "direct-tcpip"
        self.port = self._group.listen(sockets, kind, self._data, f"a connection to {show(target)}").port

    @classmethod
    async def open(cls, forwarding: ClientForwarding, listen: Address, target: Address) -> Self:
        """Listens on ``listen``. Raises OSError, ValueError for what is no address, or what ended the connection."""
        _checked(target)
        _checked(listen, any_port=True)
        if isinstance(listen, str):
            path = listen
            return cls(forwarding, lambda: [bind_path(path)], target)
        addresses = await _local_addresses(*listen, forwarding.resolving)
        return cls(forwarding, lambda: bind_tcp(addresses), target)

    def _data(self, address: Any) -> bytes:
        if isinstance(self.target, str):
            return DirectStreamlocal(os.fsencode(self.target)).body()
        return DirectTcpip(_encode(self.target[0]), self.target[1], *originator(address)).body()

    async def close(self) -> None:
        self._forwarding.end(self._group)


async def _local_addresses(host: str, port: int, resolving: asyncio.Semaphore) -> list[SocketAddress]:
    if host in ("", "*"):
        return numeric(None, port, passive=True)
    return numeric(None, port) if host == "localhost" else await resolve(host, port, resolving)


def _encode(host: str) -> bytes:
    return host.encode("utf-8", "surrogateescape")


class RemoteForward(Forward):
    """The server listens; each connection comes here and goes on to ``target``. Made by
    :meth:`ClientConnection.forward_remote`."""

    def __init__(self, forwarding: ClientForwarding, listen: Address, target: Address) -> None:
        self.listen = _checked(listen, any_port=True)
        super().__init__(forwarding, _checked(target))
        self.port = 0 if isinstance(listen, str) else listen[1]
        self._granted = self._unwanted = False

    async def open(self) -> Self:
        """Asks the server. Raises ChannelRequestError when it refuses, or what ended the connection. Cancelled, what it
        grants later is given back."""
        if isinstance(self.listen, str):
            name, data = "streamlocal-forward@openssh.com", StreamlocalForward(os.fsencode(self.listen)).body()
        else:
            name, data = "tcpip-forward", TcpipForward(_encode(self.listen[0]), self.listen[1]).body()
        try:
            if not await self._forwarding.request(name, data, self._grant):
                raise ChannelRequestError(f"server refused to listen on {show(self.listen)}")
        except BaseException:
            self._unwanted = True
            self._forwarding.end(self._group)
            if self._granted and self._forwarding.connection.error is None:
                self._cancel_later()
            raise
        return self

    def _grant(self, reply: bytes) -> None:
        """The server listens. Its first connection may stand right behind this reply."""
        if not isinstance(self.listen, str) and self.listen[1] == 0:
            self.port = TcpipForwardReply.parse(reply).port
            if not 0 < self.port <= MAX_PORT:
                raise ProtocolError(f"server listens on port {self.port}, which is none")
        self._granted = True
        if self._unwanted:
            self._cancel_later()
        else:
            self._forwarding.add(self._key, self)

    @property
    def _key(self) -> Key:
        return os.fsencode(self.listen) if isinstance(self.listen, str) else (_encode(self.listen[0]), self.port)

    def _cancellation(self) -> tuple[str, bytes]:
        self._forwarding.discard(self._key)
        if isinstance(self.listen, str):
            return "cancel-streamlocal-forward@openssh.com", CancelStreamlocalForward(os.fsencode(self.listen)).body()
        return "cancel-tcpip-forward", CancelTcpipForward(_encode(self.listen[0]), self.port).body()

    def _cancel_later(self) -> None:
        self._forwarding.connection.global_request(*self._cancellation(), want_reply=False)

    def opened(self, incoming: IncomingOpen) -> None:
        """A connection came to the server."""
        self._group.open(incoming, f"connect to {show(self.target)}", self._dial, "the destination cannot be reached")

    async def _dial(self) -> socket.socket:
        if isinstance(self.target, str):
            return await connect_path(self.target, CONNECT_SECONDS)
        return await connect_tcp(*self.target, CONNECT_SECONDS, self._forwarding.resolving)

    async def close(self) -> None:
        """The server listens no more when this returns, and the connections that came are ended. Harmless when closed;
        an error only where the server does not give the address back: ChannelRequestError."""
        if self._unwanted:
            return
        self._unwanted = True
        connection = self._forwarding.connection
        try:
            if connection.error is None and not await self._forwarding.request(*self._cancellation()):
                raise ChannelRequestError(f"server goes on to listen on {show(self.listen)}")
        except SSHError:
            if connection.error is None:  # else the server's listener has ended with the connection
                raise
        finally:
            self._forwarding.end(self._group)
