"""What a client has forwarded: :class:`LocalForward` (``ssh -L``), :class:`DynamicForward` (``ssh -D``) and
:class:`RemoteForward` (``ssh -R``).

Either end is a host and port, or a path: an address is ``(host, port)`` or the absolute path of a Unix socket. As in
ssh(1), "localhost" to listen on is the loopback, "" and "*" are all of the machine's addresses.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastssh.aio.dial import Address as SocketAddress
from fastssh.aio.forwarding.connect import connect_path, connect_tcp, resolve
from fastssh.aio.forwarding.group import RelayGroup, originator
from fastssh.aio.forwarding.listen import BIND_MASK, Listener, bind_path, bind_tcp
from fastssh.aio.forwarding.names import MAX_PORT, numeric, port_number, socket_path
from fastssh.aio.forwarding.policy import CONNECT_SECONDS
from fastssh.aio.forwarding.relay import SocketRelay
from fastssh.aio.forwarding.socks import SocksRelay, serve_channel
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING
from fastssh.errors import ChannelOpenError, ChannelRequestError, ProtocolError, SSHError
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.key_options import KeyOptions
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
from fastssh.wire.socks import Target
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh.connection.channel import Channel
    from fastssh.connection.connection import Connection, IncomingOpen

Address = tuple[str, int] | str
Key = tuple[bytes, int] | bytes  # how the server names a listener of ours: as we asked for it

#: Connections at a time: those of one forward that listens here, and those of all that the server listens for. A
#: browser keeps up to 900 of them (Firefox's network.http.max-connections).
MAX_CHANNELS: Final = 1024
RESOLVING: Final = 4  # names looked up at a time


def _nothing(reply: bytes) -> None:
    """For requests whose replies say nothing."""


def show(address: Address) -> str:
    """An address in words, safe for a terminal."""
    return printable(address if isinstance(address, str) else f"{address[0] or '*'} port {address[1]}")


def _checked(address: Address, *, any_port: bool = False, remote: bool = False) -> Address:
    """``address``, if it can be one. A ``remote`` path need not be absolute: what it is relative to is the server's to
    say. Raises ValueError."""
    if isinstance(address, str):
        path = os.fsencode(address)
        if remote and path and not path.startswith(b"/"):
            path = b"/" + path[1:]
        socket_path(path)
    else:
        port_number(address[1], any_port=any_port)
    return address


class Taker(Protocol):
    """Whoever takes connections that came to a listener of the server's."""

    def opened(self, incoming: IncomingOpen) -> None:
        """A connection came to the server."""


class _Group(RelayGroup):
    """The relays of one forward."""

    def __init__(
        self, connection: Connection, *, fail: Callable[[SSHError], None], log: Callable[[int, str], None]
    ) -> None:
        super().__init__(connection, MAX_CHANNELS, fail=fail, log=lambda text: log(LOG_DEBUG1, text))
        self._say = log

    def refused(self, what: str, relay: SocketRelay, error: BaseException) -> None:
        """In ssh's words as well, for whoever wonders why a connection was closed."""
        super().refused(what, relay, error)
        if relay.channel is not None and isinstance(error, ChannelOpenError):
            self._say(LOG_WARNING, error.told(relay.channel.id))


class ClientForwarding:
    """All forwards of one client connection; made when the first one is asked for.

    ``fail`` ends the connection; ``log(level, text)`` gets lines each time a connection could not be forwarded.
    """

    def __init__(
        self, connection: Connection, *, fail: Callable[[SSHError], None], log: Callable[[int, str], None]
    ) -> None:
        self.connection = connection
        self.resolving = asyncio.Semaphore(RESOLVING)
        #: Whether answers to requests may never come: what is asked for is then taken for granted until refused.
        self.unanswered = False
        self._fail, self._log = fail, log
        self._groups: set[RelayGroup] = set()
        self._retired: set[RelayGroup] = set()  # whose forwards have stopped
        self._remote: dict[Key, Taker] = {}
        connection.max_peer_channels += MAX_CHANNELS
        connection.acceptors |= {
            "forwarded-tcpip": self._forwarded_tcpip,
            "forwarded-streamlocal@openssh.com": self._forwarded_streamlocal,
        }
        connection.on_lost.append(self._lost)

    def _lost(self, error: SSHError) -> None:
        self._remote.clear()
        for group in self._groups | self._retired:
            self.end(group)

    def group(self) -> RelayGroup:
        """The relays of one more forward, until :meth:`end`, or the end of its connections after :meth:`retire`."""
        if self.connection.error is not None:
            raise self.connection.error
        self._retired = {group for group in self._retired if group.busy}
        group = _Group(self.connection, fail=self._fail, log=self._log)
        self._groups.add(group)
        return group

    def retire(self, group: RelayGroup) -> None:
        """Nothing is added to this group any more."""
        if group in self._groups:
            self._groups.discard(group)
            self._retired.add(group)

    def end(self, group: RelayGroup) -> None:
        """Everything of this group is closed. Harmless when it is already."""
        self._groups.discard(group)
        self._retired.discard(group)
        group.abort()

    # -- the server's side of remote forwards --------------------------------------------------------------------------

    def add(self, key: Key, forward: Taker) -> None:
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

    def _forwarded(self, incoming: IncomingOpen, forward: Taker | None) -> None:
        if forward is None:
            incoming.refuse(OpenFailureReason.ADMINISTRATIVELY_PROHIBITED, "that was not asked for")
        else:
            forward.opened(incoming)

    def _answered_late(self, name: str, answer: asyncio.Future[bool]) -> None:
        if not answer.cancelled() and (answer.exception() or not answer.result()) and self.connection.error is None:
            self._log(LOG_WARNING, f"Warning: the server refused {name}")

    async def request(
        self,
        name: str,
        data: bytes,
        granted: Callable[[bytes], None] = _nothing,
        *,
        may_go_unanswered: bool = True,
    ) -> bool:
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
        if self.unanswered and may_go_unanswered:
            answered.add_done_callback(lambda done: self._answered_late(name, done))
            granted(b"")
            granted = _nothing  # once is enough
            return True
        success = await answered
        if not success and self.connection.error is not None:
            raise self.connection.error
        return success


class Forward(ABC):
    """One forward; ``async with`` closes it, and it ends with its connection.

    ``port`` is the one that is listened on, 0 for a path; ``target`` is where connections go, None if they say so
    themselves, in SOCKS.
    """

    port: int

    def __init__(self, forwarding: ClientForwarding, target: Address | None) -> None:
        self.target = target
        self._forwarding = forwarding
        self._group = forwarding.group()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._group.relays)

    @abstractmethod
    async def stop(self) -> None:
        """Stops listening; the connections that came go on, and end with the SSH connection at the latest. Harmless
        when closed; an error only where a server does not give the address back: ChannelRequestError."""

    @abstractmethod
    async def close(self) -> None:
        """Stops listening, and ends the connections that came. Harmless when closed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Listening(Forward):
    """Listens here."""

    def __init__(
        self, forwarding: ClientForwarding, bind: Callable[[], list[socket.socket]], target: Address | None
    ) -> None:
        super().__init__(forwarding, target)
        try:
            self.port = self._listen(bind()).port
        except BaseException:
            forwarding.end(self._group)
            raise

    @abstractmethod
    def _listen(self, sockets: list[socket.socket]) -> Listener: ...

    @classmethod
    async def open(
        cls,
        forwarding: ClientForwarding,
        listen: Address,
        target: Address | None,
        *,
        bind_mask: int = BIND_MASK,
        bind_unlink: bool = False,
    ) -> Self:
        """Listens on ``listen``. Raises OSError, ValueError for what is no address, or what ended the connection."""
        if target is not None:
            _checked(target, remote=True)
        _checked(listen, any_port=True)
        if isinstance(listen, str):
            path = listen
            return cls(forwarding, lambda: [bind_path(path, mask=bind_mask, unlink=bind_unlink)], target)
        addresses = await _local_addresses(*listen, forwarding.resolving)
        return cls(forwarding, lambda: bind_tcp(addresses), target)

    async def stop(self) -> None:
        for listener in list(self._group.listeners):
            self._group.stop(listener)
        self._forwarding.retire(self._group)

    async def close(self) -> None:
        self._forwarding.end(self._group)


class LocalForward(_Listening):
    """Listens here; each connection goes over the server to ``target``. Made by
    :meth:`ClientConnection.forward_local`."""

    target: Address

    def _listen(self, sockets: list[socket.socket]) -> Listener:
        kind = "direct-streamlocal@openssh.com" if isinstance(self.target, str) else "direct-tcpip"
        return self._group.listen(sockets, kind, self._data, f"a connection to {show(self.target)}")

    def _data(self, address: Any) -> bytes:
        if isinstance(self.target, str):
            return DirectStreamlocal(os.fsencode(self.target)).body()
        return DirectTcpip(_encode(self.target[0]), self.target[1], *originator(address)).body()


class DynamicForward(_Listening):
    """Listens here; each connection says in SOCKS (4, 4a or 5) where it goes from the server. Made by
    :meth:`ClientConnection.forward_dynamic`."""

    def _listen(self, sockets: list[socket.socket]) -> Listener:
        return self._group.accept(sockets, self._accepted)

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        def connect(target: Target, relay: SocketRelay) -> Channel:
            data = DirectTcpip(_encode(target.host), target.port, *originator(address)).body()
            return self._group.connection.open_channel("direct-tcpip", data, relay)

        def refused(relay: SocketRelay, error: BaseException) -> None:
            self._group.refused("a SOCKS client", relay, error)

        self._group.add(SocksRelay(sock, self._group.ended, refused, connect))


async def _local_addresses(host: str, port: int, resolving: asyncio.Semaphore) -> list[SocketAddress]:
    if host in ("", "*"):
        return numeric(None, port, passive=True)
    return numeric(None, port) if host == "localhost" else await resolve(host, port, resolving)


def _encode(host: str) -> bytes:
    return host.encode("utf-8", "surrogateescape")


class RemoteForward(Forward):
    """The server listens; each connection comes here and goes on to ``target``. Made by
    :meth:`ClientConnection.forward_remote`."""

    def __init__(
        self,
        forwarding: ClientForwarding,
        listen: Address,
        target: Address | None,
        permit_open: Sequence[Endpoint] | None = None,
    ) -> None:
        self.listen = _checked(listen, any_port=True, remote=True)
        super().__init__(forwarding, None if target is None else _checked(target))
        self._permitted = KeyOptions(permit_open=() if permit_open is None else (tuple(permit_open),))
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
            waits = not isinstance(self.listen, str) and self.listen[1] == 0  # for the port that the server chooses
            if not await self._forwarding.request(name, data, self._grant, may_go_unanswered=not waits):
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
        target = self.target
        if target is None:
            self._group.begin(
                incoming, "a SOCKS client", lambda: serve_channel(incoming, self._group, self._dial_target)
            )
        else:
            what = f"connect to {show(target)}"
            self._group.open(incoming, what, lambda: self._dial(target), "the destination cannot be reached")

    async def _dial(self, target: Address) -> socket.socket:
        if isinstance(target, str):
            return await connect_path(target, CONNECT_SECONDS)
        return await connect_tcp(*target, CONNECT_SECONDS, self._forwarding.resolving)

    async def _dial_target(self, target: Target) -> socket.socket:
        """Where a SOCKS client of the server's side wants to go, if it may."""
        if not self._permitted.may_open(*target):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return await self._dial((target.host, target.port))

    async def stop(self) -> None:
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
            self._forwarding.retire(self._group)

    async def close(self) -> None:
        """The server listens no more when this returns, and the connections that came are ended. Harmless when closed;
        an error only where the server does not give the address back: ChannelRequestError."""
        try:
            await self.stop()
        finally:
            self._forwarding.end(self._group)
