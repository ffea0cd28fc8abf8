"""Two transports joined in memory: no sockets, no clock, everything in one thread and in a known order."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastssh._native.packet import Opener, Sealer
from fastssh._native.plane import Plane
from fastssh.errors import SSHError
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.keys.public import PublicKey
from fastssh.transport.transport import Phase, Role, Transport, TransportOptions

if TYPE_CHECKING:
    from fastssh._native.plane import Event

ROUNDS = 10_000  # of the pump; nothing in these tests takes nearly as many

_keys: dict[tuple[str, int | None], PrivateKey] = {}


def host_key(kind: str = "ed25519", bits: int | None = None) -> PrivateKey:
    """A key for tests, made once a run."""
    if (kind, bits) not in _keys:
        _keys[kind, bits] = generate_private_key(kind, bits)
    return _keys[kind, bits]


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class LaxPlane:
    """A plane that seals whatever it is told to: for peers that break the rules.

    ``rewrite`` turns each payload that is to be sent into those that are.
    """

    def __init__(self) -> None:
        self.rewrite: Callable[[bytes], list[bytes]] = lambda payload: [payload]
        self._sealer = Sealer("none", "none", b"", b"", b"")
        self._opener = Opener("none", "none", b"", b"", b"")
        self._in = b""
        self._out = b""
        self._events: list[Event] = []
        self.rekey_due = False
        self.unsent = 0

    def send(self, payload: bytes) -> None:
        for each in self.rewrite(payload):
            self.inject(each)

    def inject(self, payload: bytes) -> None:
        """Sends this, past ``rewrite``."""
        self._out += self._sealer.seal(payload)

    def take(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def feed(self, data: bytes) -> int:
        self._in += data
        if not self._events:
            payloads, used = self._opener.open(self._in)
            self._in = self._in[used:]
            start = self._opener.sequence - len(payloads)
            self._events = [(0, start + index, payload) for index, payload in enumerate(payloads)]
        return len(data)

    def events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def set_send_keys(self, *keys: Any, reset_sequence: bool) -> None:
        self._sealer = Sealer(*keys, 0 if reset_sequence else self._sealer.sequence)

    def set_receive_keys(self, *keys: Any, reset_sequence: bool) -> None:
        self._opener = Opener(*keys, 0 if reset_sequence else self._opener.sequence)

    def set_send_compression(self, method: str) -> None:
        assert method == "none"

    set_receive_compression = set_send_compression

    @property
    def send_sequence(self) -> int:
        return self._sealer.sequence


class Recorder:
    """An observer that writes everything down. ``verdict``: the answer to the host key question, given at once;
    ``None``: accept; ``"later"``: not before the test calls ``answer``."""

    def __init__(self) -> None:
        self.verdict: SSHError | str | None = None
        self.keys: list[PublicKey] = []
        self.answer: Callable[[SSHError | None], None] | None = None
        self.ready = 0
        self.messages: list[bytes] = []
        self.channel_events: list[Event] = []
        self.lines: list[str] = []
        self.on_message: Callable[[bytes], None] = lambda payload: None

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        self.keys.append(key)
        self.answer = answer
        if not isinstance(self.verdict, str):
            answer(self.verdict)

    def transport_ready(self) -> None:
        self.ready += 1

    def message(self, sequence: int, payload: bytes) -> None:
        self.messages.append(payload)
        self.on_message(payload)

    def channel_event(self, event: Event) -> None:
        self.channel_events.append(event)

    def debug(self, text: str) -> None:
        self.lines.append(text)


class Endpoint:
    """One side: plane, transport, observer, clock."""

    def __init__(
        self, role: Role, *, random: Callable[[int], bytes] = os.urandom, plane: Any = None, **options: Any
    ) -> None:
        if role is Role.SERVER:
            options.setdefault("host_keys", (host_key(),))
        options.setdefault("software", "fastssh_test")
        self.clock = Clock()
        self.observer = Recorder()
        self.plane: Any = plane or Plane()
        self.transport = Transport(
            role, self.plane, TransportOptions(**options), self.observer, random=random, now=self.clock
        )
        self._identified = False
        self._identification_sent = False

    def take(self) -> bytes:
        """What goes out now."""
        if not self._identification_sent:
            self._identification_sent = True
            return self.transport.identification + self.plane.take()
        return self.plane.take()

    def give(self, data: bytes) -> None:
        """What came in."""
        if not self._identified:
            self._identified = self.transport.receive_identification(data)
            return
        while data:
            try:
                data = data[self.plane.feed(data) :]
            finally:
                self.transport.process_events(self.plane.events())


class Pair:
    """A client and a server. ``tap`` sees, and may change, every piece that goes from one to the other."""

    def __init__(self, client: Endpoint, server: Endpoint) -> None:
        self.client, self.server = client, server
        self.tap: Callable[[Role, bytes], bytes] = lambda sender, data: data
        self.piece = 1 << 30  # bytes given at once

    def carry(self, sender: Endpoint, receiver: Endpoint) -> bool:
        """One way, once; False if there was nothing."""
        data = self.tap(sender.transport.role, sender.take())
        for start in range(0, len(data), self.piece):
            receiver.give(data[start : start + self.piece])
        return bool(data)

    def run(self) -> None:
        """Carries bytes both ways until both are quiet."""
        for _ in range(ROUNDS):
            if not self.carry(self.client, self.server) | self.carry(self.server, self.client):
                return
        raise AssertionError("the two never become quiet")


def connected(client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> Pair:
    """A pair whose first key exchange is done."""
    pair = Pair(Endpoint(Role.CLIENT, **(client or {})), Endpoint(Role.SERVER, **(server or {})))
    pair.run()
    assert pair.client.observer.ready == pair.server.observer.ready == 1
    return pair


def authenticated(client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> Pair:
    """A pair in the connection phase; how the user became known is no matter here."""
    pair = connected(client, server)
    for side in (pair.client, pair.server):
        side.transport.set_phase(Phase.AUTH)
        side.transport.set_phase(Phase.CONNECTION)
    return pair
