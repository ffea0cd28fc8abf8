"""A hostile SSH server on a real loopback socket: scripts bring it to any point of the protocol and deviate there.

A script is a function that gets a :class:`Peer` and runs in a thread of its own, reading as the conversation goes::

    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.send(ChannelData...)

What comes before the deviation is done by fastssh's own server role over :class:`ScriptPlane`, which seals whatever it
is told to. When the script returns, or sends faster than the client cares for, the connection is read until the client
closes it: a client that does not is a failure of the test, and so is any error of the script itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from fastssh._native.packet import Opener, Sealer
from fastssh.errors import DisconnectedError, ProtocolError, SSHError
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions
from fastssh.wire import codec
from fastssh.wire.codec import Reader
from fastssh.wire.messages import (
    CHANNEL_DATA,
    CHANNEL_EXTENDED_DATA,
    CHANNEL_WINDOW_ADJUST,
    ChannelClose,
    ChannelEof,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelRequest,
    ChannelSuccess,
    Message,
    ServiceAccept,
    ServiceRequest,
    UserauthRequest,
    UserauthSuccess,
)

SCRIPT_SECONDS = 20.0  # for anything that a script waits for
KEX = ("curve25519-sha256",)  # unless a test says otherwise
WINDOW = 2 * 1024 * 1024  # bytes; what the server grants a client's channel
MAX_PACKET = 32 * 1024  # bytes

M = TypeVar("M", bound=Message)
Script = Callable[["Peer"], None]

_keys: dict[tuple[str, int | None, str], PrivateKey] = {}


class GoneError(Exception):
    """The client closed the connection."""


def host_key(kind: str = "ed25519", bits: int | None = None, which: str = "") -> PrivateKey:
    """A throwaway key, made once a run; ``which`` tells several of a kind apart."""
    if (kind, bits, which) not in _keys:
        _keys[kind, bits, which] = generate_private_key(kind, bits)
    return _keys[kind, bits, which]


class ScriptPlane:
    """Seals and opens packets as the native plane does, and enforces nothing.

    ``rewrite`` turns each payload that the transport sends into those that are sent; ``mangle`` each sealed packet into
    the bytes that go out. Messages of 80 and up are kept in ``connection`` for the script.
    """

    def __init__(self) -> None:
        self.rewrite: Callable[[bytes], list[bytes]] = lambda payload: [payload]
        self.mangle: Callable[[bytes], bytes] = lambda packet: packet
        self.sealer = Sealer("none", "none", b"", b"", b"")
        self.opener = Opener("none", "none", b"", b"", b"")
        self.send_keys: tuple[Any, ...] = ()  # cipher, mac, key, iv, mac key of what we send
        self.packets = 0  # sealed with these keys
        self.connection: deque[bytes] = deque()
        self.deflate: Callable[[bytes], bytes] | None = None
        self.rekey_due = False
        self.unsent = 0
        self._in = bytearray()
        self._out = bytearray()

    def send(self, payload: bytes) -> None:
        for each in self.rewrite(payload):
            self.inject(each)

    def inject(self, payload: bytes) -> None:
        """Sends this, past ``rewrite``."""
        if self.deflate is not None:
            payload = self.deflate(payload)
        self.packets += 1
        self._out += self.mangle(self.sealer.seal(payload))

    def take(self) -> bytes:
        out, self._out = bytes(self._out), bytearray()
        return out

    def feed(self, data: bytes) -> int:
        self._in += data
        return len(data)

    def events(self) -> list[Any]:
        events: list[Any] = []
        while not events:
            payloads, used = self.opener.open(bytes(self._in))
            if not payloads:
                break
            del self._in[:used]
            first = self.opener.sequence - len(payloads)
            for index, payload in enumerate(payloads):
                if payload[0] >= 80:
                    self.connection.append(payload)
                else:
                    events.append((0, first + index, payload))
        return events

    def set_send_keys(self, *keys: Any, reset_sequence: bool) -> None:
        self.send_keys, self.packets = keys, 0
        self.sealer = Sealer(*keys, 0 if reset_sequence else self.sealer.sequence)

    def set_receive_keys(self, *keys: Any, reset_sequence: bool) -> None:
        self.opener = Opener(*keys, 0 if reset_sequence else self.opener.sequence)

    def set_send_compression(self, method: str) -> None:
        if method == "none":
            self.deflate = None
        else:
            deflater = zlib.compressobj()
            self.deflate = lambda data: deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)

    def set_receive_compression(self, method: str) -> None:
        """What the client compresses no script of ours reads."""

    @property
    def send_sequence(self) -> int:
        return self.sealer.sequence


class Peer:
    """One connection, seen from the server. Every wait has a deadline; :class:`GoneError` ends a script quietly."""

    def __init__(self, sock: socket.socket, **options: Any) -> None:
        options.setdefault("host_keys", (host_key(),))
        options.setdefault("software", "hostile_1")
        options.setdefault("kex", KEX)
        self.sock = sock
        self.plane = ScriptPlane()
        self.messages: deque[bytes] = deque()  # below 80, for the script
        self.goodbye: DisconnectedError | None = None  # the client's SSH_MSG_DISCONNECT
        self.channel = -1  # the client's number for the channel opened last
        self.transport: Transport = Transport(
            Role.SERVER, self.plane, TransportOptions(**options), self, random=os.urandom, now=time.monotonic,  # type: ignore[arg-type]
        )
        self._identified = False
        sock.settimeout(SCRIPT_SECONDS)

    # -- bytes -----------------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise GoneError from None

    def flush(self) -> None:
        self.raw(self.plane.take())

    def more(self) -> None:
        """Waits for bytes of the client and handles them."""
        try:
            data = self.sock.recv(256 * 1024)
        except ConnectionResetError:
            raise GoneError from None
        if not data:
            raise GoneError
        try:
            if self._identified:
                self.plane.feed(data)
                self.transport.process_events(())
            else:
                self._identified = self.transport.receive_identification(data)
        except DisconnectedError as error:
            self.goodbye = error
            raise GoneError from error
        except ProtocolError as error:  # our good half does not understand what the client makes of the attack
            self.drain()
            raise GoneError from error
        self.flush()

    def drain(self) -> None:
        """Reads until the client closes."""
        with contextlib.suppress(ConnectionResetError):
            while self.sock.recv(1024 * 1024):
                pass

    def reset(self) -> NoReturn:
        """Ends the connection as a crash of the machine would."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise GoneError

    def wait_for(self, done: Callable[[], Any]) -> None:
        while not done():
            self.more()

    # -- TransportObserver -----------------------------------------------------------------------------------------

    def message(self, sequence: int, payload: bytes) -> None:
        self.messages.append(payload)

    def host_key_received(self, *_: Any) -> None:
        raise AssertionError("a server is shown no host key")

    def transport_ready(self) -> None:
        """The phase says it."""

    def channel_event(self, event: Any) -> None:
        raise AssertionError(f"event {event} of a plane that has none")

    def debug(self, text: str) -> None:
        """Not of interest."""

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, *messages: Message | bytes) -> None:
        """Seals these now, whatever the protocol says, and sends them in one piece."""
        for message in messages:
            self.plane.inject(message if isinstance(message, bytes) else message.encode())
        self.flush()

    def flood(self, message: Message | bytes, count: int) -> None:
        """Sends a message many times, up to half a megabyte at once."""
        payload = message if isinstance(message, bytes) else message.encode()
        while count > 0:
            batch = min(count, 512, 1 + 2**19 // len(payload))
            self.send(*[payload] * batch)
            count -= batch

    def receive(self, kind: type[M]) -> M:
        """The next message below 80, which must be of this kind."""
        self.wait_for(lambda: self.messages)
        return kind.decode(self.messages.popleft())

    def receive_connection(self) -> bytes:
        """The next message of 80 and up."""
        self.wait_for(lambda: self.plane.connection)
        return self.plane.connection.popleft()

    def expect(self, kind: type[M]) -> M:
        """The next message of 80 and up of this kind; window adjustments and others are passed over."""
        while True:
            payload = self.receive_connection()
            if payload[0] == kind.number:
                return kind.decode(payload)

    # -- named points ----------------------------------------------------------------------------------------------

    def identify(self) -> None:
        """Identifications are exchanged, our KEXINIT is out."""
        self.raw(self.transport.identification)
        self.wait_for(lambda: self._identified)

    def ready(self) -> None:
        """The first key exchange is done."""
        if not self._identified:
            self.identify()
        self.wait_for(lambda: self.transport.phase >= Phase.SERVICE)

    def service(self) -> None:
        """The service request came and was accepted."""
        self.ready()
        self.receive(ServiceRequest)
        self.transport.set_phase(Phase.AUTH)
        self.send(ServiceAccept("ssh-userauth"))

    def request(self) -> UserauthRequest:
        """The next authentication request."""
        if self.transport.phase < Phase.AUTH:
            self.service()
        return self.receive(UserauthRequest)

    def succeed(self) -> None:
        self.send(UserauthSuccess())
        self.transport.set_phase(Phase.CONNECTION)

    def authenticate(self) -> None:
        """The client is logged in, by its first request."""
        self.request()
        self.succeed()

    def open_channel(self, window: int = WINDOW, max_packet: int = MAX_PACKET) -> ChannelOpen:
        """The client's next session channel is open; our number for it is 0."""
        if self.transport.phase < Phase.CONNECTION:
            self.authenticate()
        message = self.expect(ChannelOpen)
        self.channel = message.sender
        self.send(ChannelOpenConfirmation(self.channel, 0, window, max_packet))
        return message

    def start(self, **channel: int) -> ChannelRequest:
        """A channel is open, and its exec or subsystem request was granted."""
        self.open_channel(**channel)
        request = self.expect(ChannelRequest)
        self.send(ChannelSuccess(self.channel))
        return request

    def data(self, data: bytes, channel: int | None = None) -> bytes:
        """A CHANNEL_DATA payload."""
        number = self.channel if channel is None else channel
        return bytes((CHANNEL_DATA,)) + codec.uint32(number) + codec.string(data)

    def extended(self, data: bytes, kind: int = 1) -> bytes:
        return bytes((CHANNEL_EXTENDED_DATA,)) + codec.uint32(self.channel) + codec.uint32(kind) + codec.string(data)

    def adjust(self, count: int, channel: int | None = None) -> bytes:
        number = self.channel if channel is None else channel
        return bytes((CHANNEL_WINDOW_ADJUST,)) + codec.uint32(number) + codec.uint32(count)

    def finish(self, status: int = 0) -> None:
        """The command ends as it should."""
        self.send(
            ChannelRequest(self.channel, "exit-status", False, codec.uint32(status)),
            ChannelEof(self.channel),
            ChannelClose(self.channel),
        )

    def read_channel(self) -> bytes:
        """What the client sends next on its channel; b"" for the end of it. Its window is kept open."""
        while True:
            payload = self.receive_connection()
            if payload[0] == CHANNEL_DATA:
                data = Reader(payload, 5).string()
                self.send(bytes((CHANNEL_WINDOW_ADJUST,)) + codec.uint32(self.channel) + codec.uint32(len(data)))
                return data
            if payload[0] in (ChannelEof.number, ChannelClose.number):
                return b""


def healthy(peer: Peer) -> None:
    """A server as it should be: answers one command with "ok"."""
    peer.start()
    peer.send(peer.data(b"ok\n"))
    peer.finish()


class HostileServer:
    """Listens on 127.0.0.1. The first connection gets ``script``, all later ones :func:`healthy` (or ``script`` too,
    with ``every``). Options are those of TransportOptions."""

    def __init__(self, script: Script, *, every: bool = False, **options: Any) -> None:
        self.script, self.every, self.options = script, every, options
        self.failures: list[BaseException] = []
        self.peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.port: int = self._listener.getsockname()[1]
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def host_key(self) -> PrivateKey:
        key: PrivateKey = self.options.get("host_keys", (host_key(),))[0]
        return key

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            first = not self._threads
            thread = threading.Thread(target=self._serve, args=(sock, first or self.every), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, hostile: bool) -> None:
        with sock:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(sock, **self.options)
                self.peers.append(peer)
                try:
                    (self.script if hostile else healthy)(peer)
                    peer.drain()
                except GoneError:
                    pass  # nothing else is to be expected
            except (Exception, SSHError) as error:
                self.failures.append(error)

    def stop(self) -> None:
        """Ends it. What went wrong in a script is raised here, a client that did not close included."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self._listening.join(SCRIPT_SECONDS)
        for thread in self._threads:
            thread.join(2 * SCRIPT_SECONDS)
            assert not thread.is_alive(), "a script does not end"
        if self.failures:
            raise AssertionError(f"hostile script: {self.failures[0]!r}") from self.failures[0]


@contextlib.contextmanager
def serving(script: Script, **options: Any) -> Iterator[HostileServer]:
    server = HostileServer(script, **options)
    try:
        yield server
    finally:
        server.stop()
