"""Security keys: FIDO devices that sign, and say with each signature whether somebody was there (PROTOCOL.u2f).

Signatures are verified here; they are made by agents, which have the devices. A private key file holds no secret of
its own but a handle that the device knows its key by, and it is read to be shown, and to be written again.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from fastssh.errors import KeyFormatError, SignatureError
from fastssh.keys.kinds import KINDS, KeyKind
from fastssh.wire.codec import Reader, string

MAX_APPLICATION: Final = 1024  # bytes; the name is "ssh:" and what its owner added
_TAIL: Final = 1 + 4  # flags, and a counter that a device may keep
_TOUCHED, _VERIFIED = 0x01, 0x04  # WebAuthn section 6.1: user present, user verified


class Presence(NamedTuple):
    """What a device says of the person: it was touched, and it verified who that was (by a PIN or a finger)."""

    touched: bool
    verified: bool


def presence_of(signature: bytes) -> Presence:
    """What a signature blob of a security key says, which :meth:`PublicKey.verify` has found to be right."""
    flags = signature[-_TAIL]
    return Presence(bool(flags & _TOUCHED), bool(flags & _VERIFIED))


class _Key(NamedTuple):
    """``key`` is that of the type that signs; ``application`` whom the device made it for."""

    key: Any
    application: bytes


class _Handle(NamedTuple):
    """What a private key file has: the public half, what the device wants to be asked for, and its handle."""

    public: _Key
    flags: int
    handle: bytes
    reserved: bytes

    def public_key(self) -> _Key:
        return self.public


class _SecurityKind(KeyKind[_Key, _Handle]):
    """A security key that signs with another type's algorithm."""

    signature_tail = _TAIL
    sizes = ()

    def __init__(self, name: str, inner: KeyKind[Any, Any]) -> None:
        self.name, self._inner = name, inner
        self.family = f"{inner.family}-SK"
        self.signature_algorithms = (name,)

    def accepts(self, key: object) -> bool:
        return isinstance(key, (_Key, _Handle))

    def read_public(self, reader: Reader) -> _Key:
        key, application = self._inner.read_public(reader), reader.string()
        if len(application) > MAX_APPLICATION:
            raise KeyFormatError(f"the application of a security key is longer than {MAX_APPLICATION} bytes")
        return _Key(key, application)

    def write_public(self, key: _Key) -> bytes:
        return self._inner.write_public(key.key) + string(key.application)

    def read_private(self, reader: Reader) -> _Handle:
        return _Handle(self.read_public(reader), reader.byte(), reader.string(), reader.string())

    def write_private(self, key: _Handle) -> bytes:
        return self.write_public(key.public) + bytes([key.flags]) + string(key.handle) + string(key.reserved)

    def generate(self, bits: int | None) -> _Handle:
        raise KeyFormatError(f"{self.name}: a key of this type is made by its device")

    def sign(self, key: _Handle, data: bytes, algorithm: str) -> bytes:
        raise SignatureError(f"{self.name}: a key of this type signs in its device")

    def bits(self, key: _Key) -> int:
        return self._inner.bits(key.key)

    def signed(self, key: _Key, data: bytes, tail: bytes) -> bytes:
        return hashlib.sha256(key.application).digest() + tail + hashlib.sha256(data).digest()

    def verify(self, key: _Key, signature: bytes, data: bytes, algorithm: str) -> None:
        self._inner.verify(key.key, signature, data, self._inner.name)


SECURITY_KINDS: Final[dict[str, KeyKind[Any, Any]]] = {
    name: _SecurityKind(name, KINDS[inner])
    for name, inner in (
        ("sk-ssh-ed25519@openssh.com", "ssh-ed25519"),
        ("sk-ecdsa-sha2-nistp256@openssh.com", "ecdsa-sha2-nistp256"),
    )
}
