"""PEM files as other programs have them: private keys in PKCS#1, SEC1 or PKCS#8, public ones in PKCS#1 or
SubjectPublicKeyInfo."""

from __future__ import annotations

from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from fastssh.errors import KeyFormatError
from fastssh.keys.kinds import DECODE_ERRORS, kind_of
from fastssh.keys.public import PublicKey, public_from_crypto

PEM: Final = "pem"
PKCS8: Final = "pkcs8"

_PRIVATE: Final = {PEM: PrivateFormat.TraditionalOpenSSL, PKCS8: PrivateFormat.PKCS8}
_OLD: Final = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)
_TYPES: Final = {PEM: _OLD, PKCS8: (*_OLD, ed25519.Ed25519PrivateKey)}
_SHORTEST: Final = 5  # characters of a passphrase, as OpenSSL and ssh-keygen want it here


def write_private(key: Any, format: str, passphrase: bytes | None) -> bytes:
    """A private key file; ``key`` is one of ``cryptography``. Raises KeyFormatError."""
    if format not in _PRIVATE:
        raise KeyFormatError(f"{format!r} is not a format of private keys: use openssh, pem or pkcs8")
    if not isinstance(key, _TYPES[format]):
        raise KeyFormatError(f"keys of this type cannot be written as {format}: use openssh")
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        if len(passphrase) < _SHORTEST:
            raise KeyFormatError("passphrase is too short (minimum five characters)")
        encryption = BestAvailableEncryption(passphrase)
    try:
        data: bytes = key.private_bytes(Encoding.PEM, _PRIVATE[format], encryption)
    except ValueError as error:  # a passphrase longer than OpenSSL takes
        raise KeyFormatError(f"the key cannot be written as {format}: {' '.join(str(error).split())[:100]}") from None
    return data


def write_public(key: PublicKey, format: str) -> bytes:
    """A public key as SubjectPublicKeyInfo, or with ``pem`` an RSA key as PKCS#1. Raises KeyFormatError."""
    crypto = key.plain.crypto
    old = format == PEM and isinstance(crypto, rsa.RSAPublicKey)
    if not old and not isinstance(crypto, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise KeyFormatError(f"unsupported key type {key.family}")  # a security key's application would be lost
    data: bytes = crypto.public_bytes(Encoding.PEM, PublicFormat.PKCS1 if old else PublicFormat.SubjectPublicKeyInfo)
    return data


def read_public(data: bytes) -> PublicKey:
    """The key in either form of :func:`write_public`. Raises KeyFormatError."""
    try:
        crypto = load_pem_public_key(data)
        return public_from_crypto(kind_of(crypto), crypto)
    except UnsupportedAlgorithm:
        raise KeyFormatError("its type is not supported") from None
    except KeyFormatError:
        raise
    except DECODE_ERRORS as error:
        raise KeyFormatError(f"malformed public key: {' '.join(str(error).split())[:100]}") from None
