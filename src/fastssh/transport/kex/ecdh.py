"""Elliptic curve Diffie-Hellman: RFC 5656 section 4 (NIST curves) and RFC 8731 (curve25519-sha256)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, x25519

from fastssh.transport.kex.method import Agreement, Context, KexMethod, MethodEffect, Send, receive, refused
from fastssh.wire import codec
from fastssh.wire.messages import KexEcdhInit, KexEcdhReply


class Ephemeral(Protocol):
    """A key pair for one exchange. ``public`` is Q_C or Q_S on the wire."""

    public: bytes

    def shared(self, peer: bytes) -> bytes:
        """The shared secret with the peer's public value, big-endian. Raises ProtocolError for a value unfit."""
        ...


class X25519:
    """RFC 7748 section 6.1; RFC 8731 section 3."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._private = x25519.X25519PrivateKey.from_private_bytes(random(32))
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        if len(peer) != 32:
            raise refused(f"X25519 public value has {len(peer)} bytes, not 32")
        try:
            return self._private.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
        except ValueError:  # what the library makes of an all-zero result
            raise refused("X25519 shared secret is all zero") from None


class NistCurve:
    """RFC 5656 section 4; SEC 1 sections 2.3.3 and 3.3.1. ``ORDER`` and ``SIZE`` are the curve's n and field bytes."""

    CURVE: ec.EllipticCurve
    ORDER: int
    SIZE: int

    def __init__(self, random: Callable[[int], bytes]) -> None:
        # Here, as it brings much along that X25519 does without.
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        # FIPS 186-5 A.2.1: extra random bits make the bias of the reduction negligible.
        scalar = int.from_bytes(random((self.ORDER.bit_length() + 64 + 7) // 8), "big") % (self.ORDER - 1) + 1
        self._private = ec.derive_private_key(scalar, self.CURVE)
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def shared(self, peer: bytes) -> bytes:
        if len(peer) != 2 * self.SIZE + 1 or peer[0] != 4:
            raise refused(f"{self.CURVE.name} public value is not an uncompressed point")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(self.CURVE, peer)
        except ValueError:
            raise refused(f"{self.CURVE.name} public value is not on the curve") from None
        return self._private.exchange(ec.ECDH(), point)


class NistP256(NistCurve):
    CURVE = ec.SECP256R1()
    ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    SIZE = 32


class NistP384(NistCurve):
    CURVE = ec.SECP384R1()
    ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    SIZE = 48


class NistP521(NistCurve):
    CURVE = ec.SECP521R1()
    ORDER = ((1 << 265) - 6 << 256) + 0x51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409
    SIZE = 66


def method(hash_name: str, ephemeral: Callable[[Callable[[int], bytes]], Ephemeral]) -> KexMethod:
    """RFC 5656 section 4 with this kind of key pair."""

    def client(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
        ours = ephemeral(context.random)
        yield Send(KexEcdhInit(ours.public))
        reply = yield from receive(KexEcdhReply)
        k = codec.mpint(int.from_bytes(ours.shared(reply.q_s), "big"))
        return context.verify(reply.host_key, reply.signature, codec.string(ours.public) + codec.string(reply.q_s), k)

    def server(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
        init = yield from receive(KexEcdhInit)
        ours = ephemeral(context.random)
        k = codec.mpint(int.from_bytes(ours.shared(init.q_c), "big"))
        agreement = context.sign(codec.string(init.q_c) + codec.string(ours.public), k)
        yield Send(KexEcdhReply(context.host_key_blob, ours.public, agreement.signature))
        return agreement

    return KexMethod(hash_name, client, server)


METHODS = {
    "curve25519-sha256": method("sha256", X25519),
    "curve25519-sha256@libssh.org": method("sha256", X25519),
    "ecdh-sha2-nistp256": method("sha256", NistP256),
    "ecdh-sha2-nistp384": method("sha384", NistP384),
    "ecdh-sha2-nistp521": method("sha512", NistP521),
}
