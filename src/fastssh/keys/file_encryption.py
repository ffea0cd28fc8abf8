"""The encryption of key files at rest: bcrypt makes the key, and any of openssh_format's ciphers uses it.

A module of its own because of what it imports, which a key without a passphrase needs nothing of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import bcrypt
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.keys.openssh_format import CipherSizes

#: Some ten minutes of work; a file that asks for more is damaged or hostile.
MAX_ROUNDS = 65536
_MAX_SALT = 1024


class FileKey(NamedTuple):
    """What a passphrase came to."""

    key: bytes
    iv: bytes


def derive(sizes: CipherSizes, passphrase: bytes, salt: bytes, rounds: int) -> FileKey:
    """bcrypt_pbkdf. Raises KeyFormatError for parameters out of range, PassphraseError for no passphrase."""
    if not 1 <= rounds <= MAX_ROUNDS or not 1 <= len(salt) <= _MAX_SALT:
        raise KeyFormatError("the parameters of bcrypt are out of range")
    if not passphrase:
        raise PassphraseError("the passphrase is empty")
    material = bcrypt.kdf(passphrase, salt, sizes.key + sizes.iv, rounds, ignore_few_rounds=True)
    return FileKey(material[: sizes.key], material[sizes.key :])


def encrypt(cipher: str, key: FileKey, plain: bytes) -> bytes:
    """The ciphertext, and the tag where the cipher has one."""
    return _APPLY[cipher](True, key.key, key.iv, plain)


def decrypt(cipher: str, key: FileKey, sealed: bytes) -> bytes:
    """The plaintext. Raises PassphraseError where a tag tells that the key is wrong."""
    return _APPLY[cipher](False, key.key, key.iv, sealed)


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
        raise PassphraseError("wrong passphrase") from None


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
        raise PassphraseError("wrong passphrase") from None
    return stream(1, sealed)


_APPLY: dict[str, Callable[[bool, bytes, bytes, bytes], bytes]] = {
    "aes256-ctr": _ctr,
    "aes192-ctr": _ctr,
    "aes128-ctr": _ctr,
    "aes256-cbc": _cbc,
    "aes192-cbc": _cbc,
    "aes128-cbc": _cbc,
    "aes256-gcm@openssh.com": _gcm,
    "aes128-gcm@openssh.com": _gcm,
    "chacha20-poly1305@openssh.com": _chacha,
}
