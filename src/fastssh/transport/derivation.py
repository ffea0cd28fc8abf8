"""Key derivation: RFC 4253 section 7.2."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from fastssh._native.packet import cipher_sizes, mac_sizes
from fastssh.transport.kex.method import Agreement
from fastssh.transport.negotiation import Negotiated


class DirectionKeys(NamedTuple):
    """What one direction is sealed with."""

    cipher: str
    mac: str  # "none" with an AEAD cipher
    key: bytes
    iv: bytes
    mac_key: bytes
    compression: str


def key_lengths(cipher: str, mac: str) -> tuple[int, int, int]:
    """Bytes of key, IV and MAC key that this pair takes."""
    key, iv, _, _ = cipher_sizes(cipher)
    return key, iv, 0 if mac == "none" else mac_sizes(mac)[0]


def is_aead(cipher: str) -> bool:
    """Whether the cipher authenticates by itself, so that no MAC is negotiated (RFC 5647, OpenSSH PROTOCOL 1.6)."""
    return cipher_sizes(cipher)[3] > 0


def longest_key(negotiated: Negotiated) -> int:
    """Bytes of the longest key, IV, block or MAC key in use: what a Diffie-Hellman exponent must be good for."""
    lengths = [
        *key_lengths(negotiated.cipher_c2s, negotiated.mac_c2s),
        *key_lengths(negotiated.cipher_s2c, negotiated.mac_s2c),
        cipher_sizes(negotiated.cipher_c2s)[2],
        cipher_sizes(negotiated.cipher_s2c)[2],
    ]
    return max(lengths)


def derive(hash_name: str, k: bytes, h: bytes, session_id: bytes, letter: bytes, length: int) -> bytes:
    """``length`` bytes of HASH(K || H || letter || session_id), extended by HASH(K || H || what is there so far).

    ``k`` as it is hashed: an encoded mpint, or an encoded string for hybrid methods.
    """
    material = b""
    tail = letter + session_id
    while len(material) < length:
        material += hashlib.new(hash_name, k + h + tail).digest()
        tail = material
    return material[:length]


def derive_keys(
    negotiated: Negotiated, agreement: Agreement, hash_name: str, session_id: bytes
) -> tuple[DirectionKeys, DirectionKeys]:
    """Client to server, and server to client."""

    def direction(cipher: str, mac: str, compression: str, letters: bytes) -> DirectionKeys:
        key_length, iv_length, mac_length = key_lengths(cipher, mac)
        iv, key, mac_key = (
            derive(hash_name, agreement.k, agreement.h, session_id, bytes((letter,)), length)
            for letter, length in zip(letters, (iv_length, key_length, mac_length), strict=True)
        )
        return DirectionKeys(cipher, mac, key, iv, mac_key, compression)

    return (
        direction(negotiated.cipher_c2s, negotiated.mac_c2s, negotiated.compression_c2s, b"ACE"),
        direction(negotiated.cipher_s2c, negotiated.mac_s2c, negotiated.compression_s2c, b"BDF"),
    )
