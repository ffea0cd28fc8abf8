"""A security key (OpenSSH PROTOCOL.u2f) as software."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from fastssh.keys.kinds import KINDS
from fastssh.keys.public import PublicKey, decode_public_key
from fastssh.wire.codec import mpint, string

TOUCHED, VERIFIED = 1, 4
APPLICATION = b"ssh:test"


class Device:
    """A security key. ``flags`` are those of its next signatures."""

    def __init__(self, inner: str, *, application: bytes = APPLICATION, flags: int = TOUCHED) -> None:
        self.flags, self.counter, self._application = flags, 7, application
        self._key = KINDS[inner].generate(None)
        self.name = f"sk-{inner}@openssh.com"
        fields = KINDS[inner].write_public(self._key.public_key())
        self.blob = string(self.name.encode()) + fields + string(application)

    @property
    def public(self) -> PublicKey:
        return decode_public_key(self.blob)

    def sign(self, data: bytes) -> bytes:
        """A signature blob, as PROTOCOL.u2f has it."""
        tail = bytes((self.flags,)) + self.counter.to_bytes(4, "big")
        signed = hashlib.sha256(self._application).digest() + tail + hashlib.sha256(data).digest()
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            value = self._key.sign(signed)
        else:
            r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
            value = mpint(r) + mpint(s)
        return string(self.name.encode()) + string(value) + tail
