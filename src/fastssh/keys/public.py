"""Public keys: wire blobs, text lines, fingerprints and the verification of signatures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fastssh.errors import KeyFormatError, SignatureError
from fastssh.files import Path, replace_file
from fastssh.keys import fingerprint as _fingerprint
from fastssh.keys.kinds import DECODE_ERRORS, KINDS, PublicKind, kind_named, verify_errors
from fastssh.keys.security_keys import SECURITY_KINDS
from fastssh.wire.codec import Reader, string

#: A key's wire form is never longer; a 16384-bit RSA key takes about 2 KiB.
MAX_BLOB = 16384
#: What the types of certificates end with.
CERTIFICATE_SUFFIX = b"-cert-v01@openssh.com"

PUBLIC_KINDS: dict[str, PublicKind[Any]] = {**KINDS, **SECURITY_KINDS}


@dataclass(frozen=True)
class PublicKey:
    """A public key. Two are equal when their wire forms are; a certificate of a key is not equal to it."""

    blob: bytes
    _kind: PublicKind[Any] = field(repr=False, compare=False)
    _key: Any = field(repr=False, compare=False)

    @property
    def algorithm(self) -> str:
        """The key type on the wire, e.g. ``ssh-rsa``."""
        return self._kind.name

    @property
    def plain(self) -> PublicKey:
        """The key itself: of a certificate the key that it certifies."""
        return self

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """The algorithms it verifies with, best first, e.g. ``("rsa-sha2-512", "rsa-sha2-256")``."""
        return self._kind.signature_algorithms

    @property
    def family(self) -> str:
        """The word people know the type by: ``ED25519``, ``ECDSA`` or ``RSA``; ``ED25519-CERT`` for a certificate."""
        return self._kind.family

    @property
    def is_security_key(self) -> bool:
        """Whether a device signs with it: see :func:`fastssh.keys.security_keys.presence_of`."""
        return self._kind.name in SECURITY_KINDS

    @property
    def bits(self) -> int:
        return self._kind.bits(self._key)

    def fingerprint(self, hash: str = "sha256") -> str:
        """``SHA256:...`` or, with ``"md5"``, ``MD5:aa:bb:...``."""
        return _fingerprint.fingerprint(self.plain.blob, hash)

    def randomart(self, hash: str = "sha256") -> str:
        """The fingerprint as a picture of eleven lines."""
        return _fingerprint.randomart(self.plain.blob, self.family, self.bits, hash)

    def bubblebabble(self) -> str:
        """The SHA-1 fingerprint in words that can be spoken."""
        return _fingerprint.bubblebabble(self.plain.blob)

    def verify(self, signature: bytes, data: bytes, allowed: Collection[str]) -> str:
        """Checks a signature blob (RFC 4253 section 6.6) over ``data`` and returns its algorithm.

        The algorithm must be one of ``allowed``, by its whole name, and one that this type of key signs with.
        Raises :class:`SignatureError` for whatever is wrong.
        """
        try:
            reader = Reader(signature)
            algorithm, value, tail = reader.ascii(), reader.string(), reader.raw(self._kind.signature_tail)
            reader.end()
        except DECODE_ERRORS as error:
            raise SignatureError(f"malformed signature: {error}") from None
        if algorithm not in self.signature_algorithms:
            raise SignatureError(f"signature algorithm {algorithm[:64]} does not belong to an {self.algorithm} key")
        if algorithm not in tuple(allowed):
            raise SignatureError(f"signature algorithm {algorithm} is not allowed here")
        try:
            self._kind.verify(self._key, value, self._kind.signed(self._key, data, tail), algorithm)
        except SignatureError:
            raise
        except verify_errors():
            raise SignatureError(f"incorrect {algorithm} signature") from None
        return algorithm

    def save(self, path: Path, comment: str = "") -> None:
        """Writes the line to ``path``, whole or not at all, with mode 0644; a file that was there is replaced.

        As ssh-keygen writes it, with the blank before a comment even if there is none. Raises OSError,
        :class:`KeyFormatError`.
        """
        line = self.line(comment) if comment else f"{self.line()} "
        replace_file(path, f"{line}\n".encode("utf-8", "surrogateescape"), 0o644)

    @property
    def crypto(self) -> Any:
        """The key as ``cryptography`` has it; a security key is of a type of ours."""
        return self._key

    def line(self, comment: str = "") -> str:
        """``type base64 comment``, as in ``.pub`` and authorized_keys files, without a newline.

        A comment that would begin a line of its own is refused with :class:`KeyFormatError`.
        """
        if "\n" in comment or "\r" in comment or "\0" in comment:
            raise KeyFormatError("the comment of a key must be one line")
        text = f"{self.algorithm} {base64.b64encode(self.blob).decode('ascii')}"
        return f"{text} {comment}" if comment else text


def public_from_crypto(kind: PublicKind[Any], key: Any) -> PublicKey:
    """The :class:`PublicKey` of a ``cryptography`` public key of that kind."""
    return PublicKey(string(kind.name.encode("ascii")) + kind.write_public(key), kind, key)


def decode_public_key(blob: bytes) -> PublicKey:
    """The key in a wire blob. Raises :class:`KeyFormatError`, also for types that we do not support, by their name."""
    if len(blob) > MAX_BLOB:
        raise KeyFormatError(f"public key of {len(blob)} bytes: at most {MAX_BLOB} are accepted")
    try:
        reader = Reader(blob)
        kind = kind_named(reader.string(), PUBLIC_KINDS)
        key = kind.read_public(reader)
        reader.end()
    except KeyFormatError:
        raise
    except DECODE_ERRORS as error:
        raise KeyFormatError(f"malformed public key: {error}") from None
    return PublicKey(bytes(blob), kind, key)


def decode_key(blob: bytes) -> PublicKey:
    """The key or the :class:`~fastssh.keys.certificate.Certificate` in a wire blob. Raises :class:`KeyFormatError`."""
    try:
        is_certificate = Reader(blob).string().endswith(CERTIFICATE_SUFFIX)
    except DECODE_ERRORS:
        is_certificate = False
    if not is_certificate:
        return decode_public_key(blob)
    from fastssh.keys.certificate import decode_certificate  # most logins see none

    return decode_certificate(blob)


def decode_key_fields(algorithm: str, base64_text: str) -> bytes:
    """The blob in the two fields ``type base64`` of a line; its own type must be the one written before it."""
    try:
        blob = binascii.a2b_base64(base64_text.encode("ascii"), strict_mode=True)
        name = Reader(blob).string()
    except DECODE_ERRORS:
        raise KeyFormatError("malformed key: its base64 cannot be decoded") from None
    if name != algorithm.encode("utf-8", "surrogateescape"):
        raise KeyFormatError("malformed key: it is not of the type named before it")
    return blob


def parse_public_line(line: str) -> tuple[PublicKey, str]:
    """Key and comment of ``type base64 comment``. Raises :class:`KeyFormatError`."""
    fields = line.strip().split(None, 2)
    if len(fields) < 2:
        raise KeyFormatError("not a public key line: type and base64 text are wanted")
    key = decode_public_key(decode_key_fields(fields[0], fields[1]))
    return key, fields[2] if len(fields) == 3 else ""
