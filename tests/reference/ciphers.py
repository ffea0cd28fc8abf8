"""Packet protection as the documents say it, slowly: what the native code is compared with.

Independent of csrc: only the primitives of ``cryptography``. RFC 4253 section 6, RFC 4344 section 4, RFC 5647,
RFC 6668, OpenSSH's PROTOCOL section 1.5 (etm) and PROTOCOL.chacha20poly1305.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

MAX_LENGTH = 256 * 1024


class BadPacketError(Exception):
    """A packet that must be refused."""


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


class Suite:
    """A cipher with its MAC, one direction, stateful: call in packet order."""

    block = 8
    tag_len = 0
    length_padded = True  # whether the length field is part of what padding fills up

    def seal(self, sequence: int, packet: bytes) -> bytes:
        """``packet`` is the whole packet in clear, from its length to its padding; returns the bytes on the wire."""
        return packet

    def open(self, sequence: int, wire: bytes) -> tuple[bytes, bytes]:
        """The first packet of ``wire`` in clear, and the bytes after it."""
        total = 4 + self.length(wire[:4])
        return wire[:total], wire[total:]

    def length(self, field: bytes) -> int:
        value = int.from_bytes(field, "big")
        padded = value + 4 if self.length_padded else value
        if not 5 <= value <= MAX_LENGTH or padded % self.block:
            raise BadPacketError(f"packet_length {value}")
        return value


class Gcm(Suite):
    """RFC 5647 section 7: length as additional data; the IV is a fixed field and a counter."""

    block = 16
    tag_len = 16
    length_padded = False

    def __init__(self, key: bytes, iv: bytes) -> None:
        self.aead = AESGCM(key)
        self.fixed = iv[:4]
        self.counter = int.from_bytes(iv[4:], "big")

    def nonce(self) -> bytes:
        nonce = self.fixed + self.counter.to_bytes(8, "big")
        self.counter = (self.counter + 1) % 2**64
        return nonce

    def seal(self, sequence: int, packet: bytes) -> bytes:
        return packet[:4] + self.aead.encrypt(self.nonce(), packet[4:], packet[:4])

    def open(self, sequence: int, wire: bytes) -> tuple[bytes, bytes]:
        end = 4 + self.length(wire[:4]) + self.tag_len
        return wire[:4] + self.aead.decrypt(self.nonce(), wire[4:end], wire[:4]), wire[end:]


class ChaCha(Suite):
    """PROTOCOL.chacha20poly1305: K_2 is the first half of the key, for the payload; K_1 the second, for the length."""

    tag_len = 16
    length_padded = False

    def __init__(self, key: bytes) -> None:
        self.payload_key, self.length_key = key[:32], key[32:]

    @staticmethod
    def stream(key: bytes, sequence: int, block: int, data: bytes) -> bytes:
        # a little-endian 64-bit block counter, then the nonce: the sequence number as 64 bits, big-endian
        nonce = block.to_bytes(8, "little") + sequence.to_bytes(8, "big")
        return Cipher(algorithms.ChaCha20(key, nonce), None).encryptor().update(data)

    def tag(self, sequence: int, data: bytes) -> bytes:
        return Poly1305.generate_tag(self.stream(self.payload_key, sequence, 0, bytes(32)), data)

    def seal(self, sequence: int, packet: bytes) -> bytes:
        wire = self.stream(self.length_key, sequence, 0, packet[:4])
        wire += self.stream(self.payload_key, sequence, 1, packet[4:])
        return wire + self.tag(sequence, wire)

    def open(self, sequence: int, wire: bytes) -> tuple[bytes, bytes]:
        length = self.stream(self.length_key, sequence, 0, wire[:4])
        end = 4 + self.length(length)
        if self.tag(sequence, wire[:end]) != wire[end : end + self.tag_len]:
            raise BadPacketError("tag")
        return length + self.stream(self.payload_key, sequence, 1, wire[4:end]), wire[end + self.tag_len :]


class Ctr(Suite):
    """RFC 4344 section 4: one key stream for all packets. Encrypt-and-MAC, as RFC 4253 section 6.4."""

    block = 16

    def __init__(self, key: bytes, iv: bytes, digest: Callable[..., hashlib._Hash], mac_key: bytes) -> None:
        self.stream = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
        self.digest, self.mac_key = digest, mac_key
        self.tag_len = digest().digest_size

    def tag(self, sequence: int, data: bytes) -> bytes:
        return hmac.new(self.mac_key, uint32(sequence) + data, self.digest).digest()

    def check(self, sequence: int, data: bytes, tag: bytes) -> None:
        if self.tag(sequence, data) != tag:
            raise BadPacketError("tag")

    def seal(self, sequence: int, packet: bytes) -> bytes:
        return self.stream.update(packet) + self.tag(sequence, packet)

    def open(self, sequence: int, wire: bytes) -> tuple[bytes, bytes]:
        packet = self.stream.update(wire[: self.block])
        end = 4 + self.length(packet[:4])
        packet += self.stream.update(wire[self.block : end])
        self.check(sequence, packet, wire[end : end + self.tag_len])
        return packet, wire[end + self.tag_len :]


class CtrEtm(Ctr):
    """OpenSSH PROTOCOL section 1.5: length in clear, tag over length and ciphertext."""

    length_padded = False

    def seal(self, sequence: int, packet: bytes) -> bytes:
        wire = packet[:4] + self.stream.update(packet[4:])
        return wire + self.tag(sequence, wire)

    def open(self, sequence: int, wire: bytes) -> tuple[bytes, bytes]:
        end = 4 + self.length(wire[:4])
        self.check(sequence, wire[:end], wire[end : end + self.tag_len])
        return wire[:4] + self.stream.update(wire[4:end]), wire[end + self.tag_len :]


@dataclass(frozen=True)
class Keys:
    """What key derivation gives for one direction; field order is that of the native Sealer and Opener."""

    cipher: str
    mac: str
    key: bytes
    iv: bytes
    mac_key: bytes
    sequence: int = 0

    def suite(self) -> Suite:
        if self.cipher == "none":
            return Suite()
        if self.cipher == "chacha20-poly1305@openssh.com":
            return ChaCha(self.key)
        if self.cipher.endswith("-gcm@openssh.com"):
            return Gcm(self.key, self.iv)
        digest = hashlib.sha512 if "sha2-512" in self.mac else hashlib.sha256
        return (CtrEtm if "-etm@" in self.mac else Ctr)(self.key, self.iv, digest, self.mac_key)


class Reference:
    """Seals and opens packets one by one, as :class:`fastssh._native.packet.Sealer` and ``Opener`` together."""

    def __init__(self, keys: Keys) -> None:
        self.suite = keys.suite()
        self.sequence = keys.sequence

    def take_sequence(self) -> int:
        sequence = self.sequence
        self.sequence = (sequence + 1) % 2**32
        return sequence

    def seal(self, payload: bytes, extra_blocks: int = 0) -> bytes:
        """``extra_blocks`` more padding than needed is legal, to hide lengths (RFC 4253 section 6)."""
        counted = (5 if self.suite.length_padded else 1) + len(payload)
        padding = -counted % self.suite.block
        padding += self.suite.block * (extra_blocks + (padding < 4))
        packet = uint32(1 + len(payload) + padding) + bytes([padding]) + payload + os.urandom(padding)
        return self.suite.seal(self.take_sequence(), packet)

    def open(self, wire: bytes) -> tuple[bytes, bytes]:
        """The first payload, and the bytes after its packet."""
        packet, rest = self.suite.open(self.take_sequence(), wire)
        padding = packet[4]
        if not 4 <= padding <= len(packet) - 6:
            raise BadPacketError(f"padding_length {padding}")
        return packet[5:-padding], rest

    def open_all(self, wire: bytes) -> list[bytes]:
        payloads = []
        while wire:
            payload, wire = self.open(wire)
            payloads.append(payload)
        return payloads
