"""mlkem768x25519-sha256: draft-ietf-sshm-mlkem-hybrid-kex, FIPS 203.

C_INIT is the ML-KEM-768 encapsulation key and the client's X25519 value, S_REPLY the ciphertext and the server's; K is
SHA-256 over both shared secrets, and a string, not an mpint, in the exchange hash and in key derivation (section 2.4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from cryptography.hazmat.primitives.asymmetric import mlkem

from fastssh.transport.kex.ecdh import X25519
from fastssh.transport.kex.method import Agreement, Context, KexMethod, MethodEffect, Send, receive, refused
from fastssh.wire import codec
from fastssh.wire.messages import KexEcdhInit, KexEcdhReply

SEED = 64  # bytes: d and z of FIPS 203 algorithm 16
ENCAPSULATION_KEY = 1184
CIPHERTEXT = 1088


def _split(value: bytes, length: int, what: str) -> tuple[bytes, bytes]:
    """The ML-KEM part and the X25519 part; any other length is refused (section 2.3)."""
    if len(value) != length + 32:
        raise refused(f"{what} of mlkem768x25519-sha256 has {len(value)} bytes, not {length + 32}")
    return value[:length], value[length:]


def _secret(post_quantum: bytes, classical: bytes) -> bytes:
    return codec.string(hashlib.sha256(post_quantum + classical).digest())


def client(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
    decapsulation_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(context.random(SEED))
    ours = X25519(context.random)
    c_init = decapsulation_key.public_key().public_bytes_raw() + ours.public
    yield Send(KexEcdhInit(c_init))
    reply = yield from receive(KexEcdhReply)
    ciphertext, q_s = _split(reply.q_s, CIPHERTEXT, "reply")
    k = _secret(decapsulation_key.decapsulate(ciphertext), ours.shared(q_s))
    return context.verify(reply.host_key, reply.signature, codec.string(c_init) + codec.string(reply.q_s), k)


def server(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
    init = yield from receive(KexEcdhInit)
    encapsulation_key, q_c = _split(init.q_c, ENCAPSULATION_KEY, "initial value")
    try:
        theirs = mlkem.MLKEM768PublicKey.from_public_bytes(encapsulation_key)
        post_quantum, ciphertext = theirs.encapsulate()  # with the library's own randomness: it takes none from us
    except ValueError:  # FIPS 203 section 7.2: the modulus check
        raise refused("ML-KEM-768 encapsulation key is not valid") from None
    ours = X25519(context.random)
    k = _secret(post_quantum, ours.shared(q_c))
    s_reply = ciphertext + ours.public
    agreement = context.sign(codec.string(init.q_c) + codec.string(s_reply), k)
    yield Send(KexEcdhReply(context.host_key_blob, s_reply, agreement.signature))
    return agreement


METHODS = {"mlkem768x25519-sha256": KexMethod("sha256", client, server)}


def supported() -> bool:
    """Whether the cryptography package was built with ML-KEM."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes(SEED))
    except UnsupportedAlgorithm:
        return False
    return True
