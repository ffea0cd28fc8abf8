"""The ``openssh-key-v1`` container of private keys (OpenSSH's PROTOCOL.key): its layers.

What is inside the innermost layer is the key types' business; here it is bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.wire.codec import Reader, string, uint32

BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"
_LINE = 70

#: As OpenSSH writes: cipher and bcrypt rounds since 9.4 (16 before).
DEFAULT_CIPHER = "aes256-ctr"
DEFAULT_ROUNDS = 24


class CipherSizes(NamedTuple):
    """In bytes; ``tag`` bytes follow the ciphertext, outside its string."""

    key: int
    iv: int
    block: int
    tag: int


#: What may protect a key at rest; :mod:`fastssh.keys.file_encryption` does it. CBC is here because OpenSSH wrote it for
#: years; nobody can query a file for padding.
CIPHERS: dict[str, CipherSizes] = {
    "aes256-ctr": CipherSizes(32, 16, 16, 0),
    "aes192-ctr": CipherSizes(24, 16, 16, 0),
    "aes128-ctr": CipherSizes(16, 16, 16, 0),
    "aes256-cbc": CipherSizes(32, 16, 16, 0),
    "aes192-cbc": CipherSizes(24, 16, 16, 0),
    "aes128-cbc": CipherSizes(16, 16, 16, 0),
    "aes256-gcm@openssh.com": CipherSizes(32, 12, 16, 16),
    "aes128-gcm@openssh.com": CipherSizes(16, 12, 16, 16),
    "chacha20-poly1305@openssh.com": CipherSizes(64, 0, 8, 16),
}
_PLAIN_BLOCK = 8


class Container(NamedTuple):
    """The outer layer: everything that can be read without a passphrase."""

    cipher: str
    kdf: str
    kdf_options: bytes
    public_blob: bytes
    sealed: bytes  #: the private section, tag included

    @property
    def encrypted(self) -> bool:
        return self.cipher != "none"


def decode_container(data: bytes) -> Container:
    """The outer layer of a file's text. Raises KeyFormatError, ProtocolError or ValueError."""
    start, end = data.find(BEGIN), data.find(END)
    if start < 0 or end < start:
        raise KeyFormatError("the END line of the OpenSSH private key is missing")
    text = b"".join(data[start + len(BEGIN):end].split())
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise KeyFormatError("the base64 of the OpenSSH private key cannot be decoded") from None
    reader = Reader(raw)
    if reader.raw(min(len(_MAGIC), reader.remaining)) != _MAGIC:
        raise KeyFormatError("not an openssh-key-v1 file")
    cipher, kdf, options = reader.ascii(), reader.ascii(), reader.string()
    if (count := reader.uint32()) != 1:
        raise KeyFormatError(f"the file holds {count} keys: one is wanted")
    public_blob, sealed = reader.string(), reader.string()
    if (cipher == "none") != (kdf == "none"):
        raise KeyFormatError("cipher and key derivation do not fit together")
    block = _PLAIN_BLOCK
    if cipher != "none":
        if cipher not in CIPHERS:
            raise KeyFormatError(f"the file's cipher {cipher[:64]} is not supported")
        if kdf != "bcrypt":
            raise KeyFormatError(f"the file's key derivation {kdf[:64]} is not supported")
        block = CIPHERS[cipher].block
    if not sealed or len(sealed) % block:
        raise KeyFormatError("the private section is not a whole number of cipher blocks")
    if cipher != "none":
        sealed += reader.raw(CIPHERS[cipher].tag)
    reader.end()
    return Container(cipher, kdf, options, public_blob, sealed)


def open_container(container: Container, passphrase: bytes) -> bytes:
    """The fields of the key: decrypted, and with check numbers and padding verified and taken off.

    Returns them with the comment and the padding behind still in place; see :func:`end_of_fields`. ``passphrase`` is
    not looked at when the file is not encrypted. Raises :class:`PassphraseError` for a wrong one.
    """
    plain = container.sealed
    if container.encrypted:
        options = Reader(container.kdf_options)
        salt, rounds = options.string(), options.uint32()
        options.end()
        from fastssh.keys import file_encryption  # some milliseconds that only encrypted files are worth

        key = file_encryption.derive(CIPHERS[container.cipher], passphrase, salt, rounds)
        plain = file_encryption.decrypt(container.cipher, key, container.sealed)
    reader = Reader(plain)
    if reader.uint32() != reader.uint32():
        if container.encrypted:
            raise PassphraseError("wrong passphrase")
        raise KeyFormatError("the check numbers of the private section differ")
    return reader.rest()


def end_of_fields(reader: Reader) -> None:
    """Verifies that nothing but the padding 1, 2, 3, ... is left."""
    padding = reader.rest()
    if padding != bytes(index & 0xFF for index in range(1, len(padding) + 1)):
        raise KeyFormatError("the padding of the private section is wrong")


def seal_container(
    public_blob: bytes,
    fields: bytes,
    passphrase: bytes | None,
    *,
    cipher: str,
    rounds: int,
    random: Callable[[int], bytes],
) -> bytes:
    """The text of a file around ``fields`` (key and comment); encrypted when there is a passphrase."""
    if passphrase is not None and cipher not in CIPHERS:
        raise KeyFormatError(f"{cipher!r} is not a cipher for key files")
    block = _PLAIN_BLOCK if passphrase is None else CIPHERS[cipher].block
    check = random(4)
    plain = check + check + fields
    plain += bytes(range(1, -len(plain) % block + 1))
    if passphrase is None:
        layers = string(b"none") + string(b"none") + string(b"")
        tag = b""
    else:
        from fastssh.keys import file_encryption

        salt = random(16)
        key = file_encryption.derive(CIPHERS[cipher], passphrase, salt, rounds)
        plain = file_encryption.encrypt(cipher, key, plain)
        size = len(plain) - CIPHERS[cipher].tag
        plain, tag = plain[:size], plain[size:]
        layers = string(cipher.encode("ascii")) + string(b"bcrypt") + string(string(salt) + uint32(rounds))
    raw = _MAGIC + layers + uint32(1) + string(public_blob) + string(plain) + tag
    text = base64.b64encode(raw)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join((BEGIN, *lines, END, b""))
