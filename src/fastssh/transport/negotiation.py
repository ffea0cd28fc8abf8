"""What the two KEXINITs agree on (RFC 4253 section 7.1), and the markers that OpenSSH and RFC 8308 put among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastssh.errors import NegotiationError
from fastssh.transport.phases import Role
from fastssh.wire.messages import KexInit

EXT_INFO_CLIENT = "ext-info-c"  # RFC 8308 section 2.1
EXT_INFO_SERVER = "ext-info-s"
STRICT_CLIENT = "kex-strict-c-v00@openssh.com"  # OpenSSH PROTOCOL section 1.9
STRICT_SERVER = "kex-strict-s-v00@openssh.com"
_MARKERS = {
    Role.CLIENT: (EXT_INFO_CLIENT, STRICT_CLIENT),
    Role.SERVER: (EXT_INFO_SERVER, STRICT_SERVER),
}
_OTHER = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}
_NAMES_SHOWN = 64  # of a peer's offer, in an error


class Offer(NamedTuple):
    """What one side is ready to use, most wanted first."""

    kex: tuple[str, ...]
    host_key: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    compression: tuple[str, ...]

    def kexinit(self, role: Role, cookie: bytes, *, first: bool) -> KexInit:
        """The message that makes this offer; the markers go into the first one only."""
        return KexInit(
            cookie=cookie,
            kex_algorithms=self.kex + (_MARKERS[role] if first else ()),
            server_host_key_algorithms=self.host_key,
            encryption_algorithms_client_to_server=self.ciphers,
            encryption_algorithms_server_to_client=self.ciphers,
            mac_algorithms_client_to_server=self.macs,
            mac_algorithms_server_to_client=self.macs,
            compression_algorithms_client_to_server=self.compression,
            compression_algorithms_server_to_client=self.compression,
        )


class Negotiated(NamedTuple):
    """What both sides use. ``mac_*`` is "none" where the cipher authenticates by itself."""

    kex: str
    host_key: str
    cipher_c2s: str
    cipher_s2c: str
    mac_c2s: str
    mac_s2c: str
    compression_c2s: str
    compression_s2c: str
    strict: bool  # strict KEX holds for the whole connection
    ext_info: bool  # both sides take SSH_MSG_EXT_INFO

    def lines(self, role: Role) -> list[str]:
        """The choice in OpenSSH's words, our receiving direction first."""
        ways = [
            f"{way} cipher: {cipher} MAC: {'<implicit>' if mac == 'none' else mac} compression: {compression}"
            for way, cipher, mac, compression in (
                ("server->client", self.cipher_s2c, self.mac_s2c, self.compression_s2c),
                ("client->server", self.cipher_c2s, self.mac_c2s, self.compression_c2s),
            )
        ]
        if role is Role.SERVER:
            ways.reverse()
        return [f"kex: {line}" for line in (f"algorithm: {self.kex}", f"host key algorithm: {self.host_key}", *ways)]


def negotiate(
    role: Role, ours: KexInit, theirs: KexInit, *, aead: Iterable[str], earlier: Negotiated | None
) -> Negotiated:
    """The client's first choice that the server has, for each kind. ``aead`` are the ciphers that need no MAC.

    ``earlier`` is the first exchange's result: its markers hold for the connection, and are ignored in later ones.
    Raises NegotiationError naming the kind and both offers.
    """
    client, server = (ours, theirs) if role is Role.CLIENT else (theirs, ours)
    aead = frozenset(aead)
    markers = frozenset(marker for pair in _MARKERS.values() for marker in pair)

    def choose(kind: str, field: str) -> str:
        offered: list[str] = [name for name in getattr(client, field) if name not in markers]
        supported = frozenset(getattr(server, field)) - markers
        chosen = next((name for name in offered if name in supported), None)
        if chosen is None:
            ours_shown, theirs_shown = (
                tuple(name for name in getattr(side, field) if name not in markers)[:_NAMES_SHOWN]
                for side in (ours, theirs)
            )
            raise NegotiationError(kind, ours_shown, theirs_shown)
        return chosen

    def choose_mac(kind: str, field: str, cipher: str) -> str:
        return "none" if cipher in aead else choose(kind, field)

    kex = choose("key exchange method", "kex_algorithms")
    host_key = choose("host key algorithm", "server_host_key_algorithms")
    cipher_c2s = choose("cipher client to server", "encryption_algorithms_client_to_server")
    cipher_s2c = choose("cipher server to client", "encryption_algorithms_server_to_client")
    ext_info, strict = (
        mine in ours.kex_algorithms and yours in theirs.kex_algorithms
        for mine, yours in zip(_MARKERS[role], _MARKERS[_OTHER[role]], strict=True)
    )
    return Negotiated(
        kex=kex,
        host_key=host_key,
        cipher_c2s=cipher_c2s,
        cipher_s2c=cipher_s2c,
        mac_c2s=choose_mac("MAC client to server", "mac_algorithms_client_to_server", cipher_c2s),
        mac_s2c=choose_mac("MAC server to client", "mac_algorithms_server_to_client", cipher_s2c),
        compression_c2s=choose("compression client to server", "compression_algorithms_client_to_server"),
        compression_s2c=choose("compression server to client", "compression_algorithms_server_to_client"),
        strict=earlier.strict if earlier else strict,
        ext_info=earlier.ext_info if earlier else ext_info,
    )


def guess_was_wrong(ours: KexInit, theirs: KexInit) -> bool:
    """Whether the peer sent a KEX packet on a guess that does not hold, which is to be ignored (RFC 4253 section 7)."""
    return theirs.first_kex_packet_follows and any(
        mine[:1] != yours[:1]
        for mine, yours in (
            (ours.kex_algorithms, theirs.kex_algorithms),
            (ours.server_host_key_algorithms, theirs.server_host_key_algorithms),
        )
    )
