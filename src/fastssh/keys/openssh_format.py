"""The ``openssh-key-v1`` container of private keys (OpenSSH's PROTOCOL.key): its layers and its ciphers.

What is inside the innermost layer is the key types' business; here it is bytes.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.wire.codec import Reader, string, uint32

BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"
_LINE = 70

#: As OpenSSH writes: cipher and bcrypt rounds since 9.4 (16 before).
DEFAULT_CIPHER = "aes256-ctr"
DEFAULT_ROUNDS = 24
#: Some ten minutes of work; a file that asks for more is damaged or hostile.
MAX_ROUNDS = 65536
_MAX_SALT = 1024


class _WrongKey(Exception):
    """The tag of an authenticated cipher does not verify: the passphrase is wrong or the file damaged."""


def _aes(mode: type[modes.CTR | modes.CBC], encrypt: bool, key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), mode(iv))
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()


_ctr = functools.partial(_aes, modes.CTR)
_cbc = functools.partial(_aes, modes.CBC)


def _gcm(encrypt: bool, key: bytes, iv: bytes, data: bytes) -> bytes:
    if encrypt:
        return AESGCM(key).encrypt(iv, data, None)
    try:
        return AESGCM(key).decrypt(iv, data, None)
    except InvalidTag:
        raise _WrongKey from None


def _chacha(encrypt: bool, key: bytes, iv: bytes, data: bytes) -> bytes:
    """PROTOCOL.chacha20poly1305 with sequence number 0 and no length field, so the second half of the key is idle."""

    def stream(block: int, text: bytes) -> bytes:
        cipher = Cipher(algorithms.ChaCha20(key[:32], block.to_bytes(8, "little") + bytes(8)), None)
        return cipher.encryptor().update(text)

    poly_key = stream(0, bytes(32))
    if encrypt:
        sealed = stream(1, data)
        return sealed + Poly1305.generate_tag(poly_key, sealed)
    sealed, tag = data[:-16], data[-16:]
    try:
        Poly1305.verify_tag(poly_key, sealed, tag)
    except InvalidSignature:
        raise _WrongKey from None
    return stream(1, sealed)


class FileCipher(NamedTuple):
    """Sizes in bytes; ``tag`` bytes follow the ciphertext, outside its string."""

    key: int
    iv: int
    block: int
    tag: int
    apply: Callable[[bool, bytes, bytes, bytes], bytes]


#: What may protect a key at rest. CBC is here because OpenSSH wrote it for years; nobody can query a file for padding.
CIPHERS: dict[str, FileCipher] = {
    "aes256-ctr": FileCipher(32, 16, 16, 0, _ctr),
    "aes192-ctr": FileCipher(24, 16, 16, 0, _ctr),
    "aes128-ctr": FileCipher(16, 16, 16, 0, _ctr),
    "aes256-cbc": FileCipher(32, 16, 16, 0, _cbc),
    "aes192-cbc": FileCipher(24, 16, 16, 0, _cbc),
    "aes128-cbc": FileCipher(16, 16, 16, 0, _cbc),
    "aes256-gcm@openssh.com": FileCipher(32, 12, 16, 16, _gcm),
    "aes128-gcm@openssh.com": FileCipher(16, 12, 16, 16, _gcm),
    "chacha20-poly1305@openssh.com": FileCipher(64, 0, 8, 16, _chacha),
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
        try:
            plain = _crypt(container.cipher, passphrase, salt, rounds, False, container.sealed)
        except _WrongKey:
            raise PassphraseError("wrong passphrase") from None
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
        salt = random(16)
        plain = _crypt(cipher, passphrase, salt, rounds, True, plain)
        size = len(plain) - CIPHERS[cipher].tag
        plain, tag = plain[:size], plain[size:]
        layers = string(cipher.encode("ascii")) + string(b"bcrypt") + string(string(salt) + uint32(rounds))
    raw = _MAGIC + layers + uint32(1) + string(public_blob) + string(plain) + tag
    text = base64.b64encode(raw)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join((BEGIN, *lines, END, b""))


def _crypt(cipher: str, passphrase: bytes, salt: bytes, rounds: int, encrypt: bool, data: bytes) -> bytes:
    import bcrypt  # some milliseconds that only encrypted files are worth

    if not 1 <= rounds <= MAX_ROUNDS or not 1 <= len(salt) <= _MAX_SALT:
        raise KeyFormatError("the parameters of bcrypt are out of range")
    if not passphrase:
        raise PassphraseError("the passphrase is empty")
    sizes = CIPHERS[cipher]
    material = bcrypt.kdf(passphrase, salt, sizes.key + sizes.iv, rounds, ignore_few_rounds=True)
    return sizes.apply(encrypt, material[:sizes.key], material[sizes.key:], data)
