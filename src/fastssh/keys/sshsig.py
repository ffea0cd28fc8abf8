"""Signatures of files by SSH keys (PROTOCOL.sshsig): what is signed, the object around it, and its armour.

::

    made = sign(key, hashlib.sha512(message).digest(), "file")
    text = armor(made.encode())
    ...
    found = decode_signature(dearmor(text))
    found.verify(hashlib.new(found.hash, message).digest(), "file")

Who a key belongs to is said by :mod:`fastssh.keys.allowed_signers`. Messages come in as their hashes, so that a large
one is never in memory as a whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple

from fastssh.errors import KeyFormatError, ProtocolError, SignatureError
from fastssh.keys.private import PrivateKey
from fastssh.keys.public import PublicKey, decode_key
from fastssh.wire.codec import Reader, string, uint32, utf8

#: Hashes of messages, the default first.
HASHES: Final = ("sha512", "sha256")
#: Bytes of a file with a signature; a certificate with many names takes some ten thousand.
MAX_SIGNATURE_FILE: Final = 1024 * 1024

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----"
_END: Final = b"-----END SSH SIGNATURE-----"
_LINE: Final = 70


class Signature(NamedTuple):
    """A signature and what it says of itself. Nothing in it is true before :meth:`verify` has returned."""

    key: PublicKey  #: or a certificate
    namespace: str  #: what the signature is meant for, so that one for mail is none for a file
    hash: str  #: of the message, one of :data:`HASHES`
    blob: bytes  #: the signature (RFC 4253 section 6.6)

    def encode(self) -> bytes:
        """The object that is put into armour."""
        return (
            _MAGIC + uint32(_VERSION) + string(self.key.blob) + utf8(self.namespace) + string(b"") + utf8(self.hash)
            + string(self.blob)
        )  # fmt: skip

    def verify(self, digest: bytes, namespace: str) -> None:
        """Checks that its key signed the message with that hash, for ``namespace``.

        Raises :class:`SignatureError` in ssh-keygen's words. RSA keys that signed with SHA-1 did not sign.
        """
        if self.namespace != namespace:
            raise SignatureError("Couldn't verify signature: namespace does not match")
        key = self.key.plain
        try:
            key.verify(self.blob, signed_data(namespace, self.hash, digest), key.signature_algorithms)
        except SignatureError as error:
            raise SignatureError(f"Signature verification failed: {error}") from None


def check_hash(name: str) -> None:
    """Raises :class:`KeyFormatError` for a hash that is none of :data:`HASHES`."""
    if name not in HASHES:
        raise KeyFormatError(f'unsupported hash algorithm "{name[:100]}"')


def signed_data(namespace: str, hash: str, digest: bytes) -> bytes:
    """What is really signed, of a message's hash: it begins as nothing does that a login or a key exchange signs.

    Raises :class:`KeyFormatError` for an empty namespace and an unknown hash.
    """
    check_hash(hash)
    if not namespace:
        raise KeyFormatError("a signature needs a namespace")
    if len(digest) != hashlib.new(hash).digest_size:
        raise KeyFormatError(f"a {hash} hash does not have {len(digest)} bytes")
    return _MAGIC + utf8(namespace) + string(b"") + utf8(hash) + string(digest)


def signing_algorithm(key: PublicKey, hash: str) -> str:
    """What ``key`` signs with: RSA keys with the hash of the message."""
    algorithms = key.plain.signature_algorithms
    return next((name for name in algorithms if name == f"rsa-sha2-{hash.removeprefix('sha')}"), algorithms[0])


def sign(key: PrivateKey, digest: bytes, namespace: str, hash: str = HASHES[0]) -> Signature:
    """A signature over the message whose ``hash`` is ``digest``; with a certificate's, if the key has one.

    Raises :class:`KeyFormatError` as :func:`signed_data`.
    """
    data = signed_data(namespace, hash, digest)
    plain = PrivateKey(key.public.plain, key.comment, key._kind, key._key)
    return Signature(key.public, namespace, hash, plain.sign(data, signing_algorithm(key.public, hash)))


def decode_signature(data: bytes) -> Signature:
    """The signature in an object. Raises :class:`KeyFormatError` in ssh-keygen's words."""
    reader = Reader(data)
    try:
        if reader.raw(len(_MAGIC)) != _MAGIC:
            raise KeyFormatError("Couldn't verify signature: invalid format")
        if (version := reader.uint32()) > _VERSION:
            raise KeyFormatError(f"Signature version {version} is larger than supported version {_VERSION}")
        blob, namespace = reader.string(), reader.string().decode("utf-8", "surrogateescape")
        reader.string()  # reserved: to be ignored
        hash, signature = reader.ascii(), reader.string()
        if reader.remaining:
            raise KeyFormatError("Signature contains trailing data")
    except ProtocolError as error:
        raise KeyFormatError(f"Couldn't verify signature: invalid format: {error}") from None
    check_hash(hash)
    return Signature(decode_key(blob), namespace, hash, signature)


def armor(data: bytes) -> str:
    """An object as text."""
    text = base64.b64encode(data)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\n".join((_BEGIN, *lines, _END, b"")).decode("ascii")


def dearmor(text: bytes) -> bytes:
    """The object in a text, which it begins; what follows its end is not looked at. Raises :class:`KeyFormatError`."""
    if not text.startswith((_BEGIN + b"\n", _BEGIN + b"\r\n")):
        raise KeyFormatError("Couldn't parse signature: missing header")
    end = text.find(b"\n" + _END)
    if end < 0:
        raise KeyFormatError("Couldn't parse signature: missing footer")
    try:
        return binascii.a2b_base64(b"".join(text[len(_BEGIN) : end].split()), strict_mode=True)
    except binascii.Error:
        raise KeyFormatError("Couldn't parse signature: its base64 cannot be decoded") from None
