"""What a transport is told, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fastssh import algorithms
from fastssh.errors import SSHError

if TYPE_CHECKING:
    from fastssh._native.plane import Event
    from fastssh.keys.private import PrivateKey
    from fastssh.keys.public import PublicKey
    from fastssh.transport.kex.groups import Group


@dataclass
class TransportOptions:
    """How to speak. Algorithm tuples are in order of preference; every name in them must be one that we have."""

    software: str  # softwareversion and comments of our identification line, printable US-ASCII
    kex: tuple[str, ...] = algorithms.KEX
    host_key_algorithms: tuple[str, ...] = algorithms.HOST_KEYS  # a server offers those that its host_keys make
    ciphers: tuple[str, ...] = field(default_factory=algorithms.default_ciphers)
    macs: tuple[str, ...] = algorithms.MACS
    compression: tuple[str, ...] = ("none",)
    rekey_bytes: int = 0  # 0: the cipher's own limit (RFC 4344 section 3.2)
    rekey_seconds: float = 0  # 0: never because of time
    exchange_seconds: float = 120  # a rekey that takes longer ends the connection (check_rekey)
    # --- server ---
    host_keys: Sequence[PrivateKey] = ()  # one with a certificate as well is here twice
    groups: Sequence[Group] = ()  # for group exchange, as from a moduli file; none: RFC 3526's
    # --- RFC 8308 extensions we announce to a peer that takes them; a server's default is server_extensions() ---
    extensions: Mapping[str, bytes] | None = None


def server_extensions(signature_algorithms: tuple[str, ...] = algorithms.USER_KEYS) -> dict[str, bytes]:
    """A server's extensions: RFC 8308 section 3.1, OpenSSH PROTOCOL sections 1.8 and 3.1.

    ``signature_algorithms``: those accepted from users' keys. Clients ask for what a certificate's key signs with, not
    for the certificate's own name, so both are said.
    """
    names = dict.fromkeys((*signature_algorithms, *map(algorithms.signature_algorithm, signature_algorithms)))
    return {
        "server-sig-algs": ",".join(names).encode("ascii"),
        "publickey-hostbound@openssh.com": b"0",
        "ping@openssh.com": b"0",
    }


class TransportObserver(Protocol):
    """The layer above. Every call is made from within a method of Transport; an exception ends up with its caller."""

    def host_key_received(self, key: PublicKey, answer: Callable[[SSHError | None], None]) -> None:
        """Client: the server proved that it has ``key``. Is it the right one?

        ``answer(None)`` goes on; ``answer(error)`` ends the exchange. It may be called now or at any later time, once.
        Called later it works like process_events: it may raise what that raises, ``error`` itself included, and the
        plane may have something to send after it. A rekey must bring the same key and does not ask.
        """

    def transport_ready(self) -> None:
        """The first key exchange is done: both directions are protected, the phase is SERVICE."""

    def message(self, sequence: int, payload: bytes) -> None:
        """A message of 5, 6, or 50 and up that the phase table allows.

        What changes the phase must be acted upon (set_phase) before this returns: the next message is judged then.
        """

    def channel_event(self, event: Event) -> None:
        """One of the plane's events that is no message: channel data, ended transfers, writable channels and so on."""

    def debug(self, text: str) -> None:
        """A line for a log, in OpenSSH's words where it has some; safe for a terminal."""
