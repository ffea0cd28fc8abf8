"""Keys that are refused whoever authorised them: RevokedKeys of sshd_config(5), a list of keys or a KRL (PROTOCOL.krl).

Whatever is not understood is an error and nothing is skipped: who cannot read what was revoked must refuse all keys.
"""

from __future__ import annotations

import hashlib
import heapq
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fastssh.errors import KeyFormatError, ProtocolError
from fastssh.files import Path, read_regular, shown
from fastssh.keys.certificate import Certificate, decode_certificate
from fastssh.keys.public import PublicKey, decode_key_fields
from fastssh.wire.codec import UINT64_MAX, Reader
from fastssh.wire.text import printable

#: Bytes; a KRL has room for millions of serial numbers.
MAX_REVOCATIONS_FILE: Final = 64 * 1024 * 1024

MAGIC: Final = b"SSHKRL\n\0"
FORMAT_VERSION: Final = 1
_BLANKS = re.compile(r"[ \t]+")
_CERTIFICATE: Final = "-cert-v01@openssh.com"


@dataclass
class RevokedCertificates:
    """Certificates of one authority, or of any, that are revoked."""

    serials: set[int] = field(default_factory=set)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    bitmaps: list[tuple[int, bytes]] = field(default_factory=list)  # the first serial, and bits from the lowest on
    key_ids: set[str] = field(default_factory=set)

    def have(self, certificate: Certificate) -> bool:
        serial = certificate.serial
        return (
            serial in self.serials
            or certificate.key_id in self.key_ids
            or any(low <= serial <= high for low, high in self.ranges)
            or any(_bit(bits, serial - first) for first, bits in self.bitmaps)
        )

    def add(self, low: int, high: int | None = None) -> None:
        """Serial numbers from ``low`` to ``high``, both included. Raises ValueError for what is no such range."""
        high = low if high is None else high
        if not 0 < low <= high <= UINT64_MAX:  # nought is that of certificates without one
            raise ValueError(f"not a range of serial numbers: {low} to {high}")
        if low == high:
            self.serials.add(low)
        else:
            self.ranges.append((low, high))

    def intervals(self) -> Iterator[tuple[int, int]]:
        """All serial numbers, from the lowest on, as ranges that neither meet nor touch."""
        found = heapq.merge(
            sorted((serial, serial) for serial in self.serials), sorted(self.ranges),
            *(_runs(first, bits) for first, bits in self.bitmaps),
        )  # fmt: skip
        last: tuple[int, int] | None = None
        for low, high in found:
            if last is not None and low <= last[1] + 1:
                last = last[0], max(last[1], high)
                continue
            if last is not None:
                yield last
            last = low, high
        if last is not None:
            yield last


def _runs(first: int, bits: bytes) -> Iterator[tuple[int, int]]:
    """The set bits, one by one."""
    for number, byte in enumerate(bits):
        if byte:
            for place in range(8):
                if byte >> place & 1:
                    serial = first + number * 8 + place
                    yield serial, serial


def _bit(bits: bytes, number: int) -> bool:
    return 0 <= number < len(bits) * 8 and bool(bits[number // 8] >> number % 8 & 1)


@dataclass
class Revocations:
    """What a file revokes. ``keys`` are plain keys' wire forms, ``hashes`` those of them by the function's name.

    ``version``, ``generated`` (a POSIX time) and ``comment`` are what a KRL says of itself.
    """

    keys: set[bytes] = field(default_factory=set)
    hashes: dict[str, set[bytes]] = field(default_factory=dict)
    certificates: dict[bytes, RevokedCertificates] = field(default_factory=dict)  #: see :meth:`of`
    version: int = 0
    generated: int = 0
    comment: str = ""

    def of(self, authority: bytes) -> RevokedCertificates:
        """What is revoked of one authority (its wire form), or of any (empty): there to be added to."""
        return self.certificates.setdefault(authority, RevokedCertificates())

    def revoke(self, key: PublicKey) -> bool:
        """Whether ``key`` is revoked; a certificate is when it is itself, its key or its authority."""
        if isinstance(key, Certificate) and (
            self._plain(key.authority)
            or any(some.have(key) for blob in (key.authority.blob, b"") if (some := self.certificates.get(blob)))
        ):
            return True
        return self._plain(key.plain)

    def _plain(self, key: PublicKey) -> bool:
        return key.blob in self.keys or any(
            hashlib.new(name, key.blob, usedforsecurity=False).digest() in values
            for name, values in self.hashes.items()
        )


def load_revocations(path: Path) -> Revocations:
    """Reads a regular file of at most MAX_REVOCATIONS_FILE bytes.

    Raises OSError for one that cannot be opened, else :class:`KeyFormatError` that names it.
    """
    data, _ = read_regular(path, MAX_REVOCATIONS_FILE)
    try:
        return parse_revocations(data)
    except KeyFormatError as error:
        raise KeyFormatError(f"{shown(path)}: {error}") from None


def parse_revocations(data: bytes) -> Revocations:
    """A KRL, or lines with a key or a certificate each. Raises :class:`KeyFormatError` for what is neither."""
    return parse_krl(data) if data.startswith(MAGIC) else _parse_list(data)


def parse_krl(data: bytes) -> Revocations:
    """A KRL. Raises :class:`KeyFormatError`."""
    if not data.startswith(MAGIC):
        raise KeyFormatError("KRL file has invalid magic number")
    try:
        return _parse_krl(data)
    except KeyFormatError:
        raise
    except ProtocolError as error:
        raise KeyFormatError(f"malformed KRL: {error}") from None


# -- a list ------------------------------------------------------------------------------------------------------------


def _parse_list(data: bytes) -> Revocations:
    found = Revocations()
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            found.keys.add(_listed(_BLANKS.split(line, 2)))
        except ValueError as error:  # KeyFormatError is one
            raise KeyFormatError(f"line {number}: {printable(str(error))}") from None
    return found


def _listed(fields: list[str]) -> bytes:
    """The plain key of a line; one of a type that is not spoken here harms nobody."""
    if len(fields) < 2:
        raise KeyFormatError("key type and key are wanted")
    blob = decode_key_fields(fields[0], fields[1])
    return decode_certificate(blob).plain.blob if fields[0].endswith(_CERTIFICATE) else blob


# -- a KRL -------------------------------------------------------------------------------------------------------------


def _parse_krl(data: bytes) -> Revocations:
    reader = Reader(data, len(MAGIC))
    version = reader.uint32()
    if version != FORMAT_VERSION:
        raise KeyFormatError(f"KRL of the unknown version {version}")
    found = Revocations(version=reader.uint64(), generated=reader.uint64())
    reader.uint64()  # flags: none is defined
    reader.string()  # reserved
    found.comment = reader.string().decode("utf-8", "surrogateescape")
    while reader.remaining:
        kind, section = reader.byte(), Reader(reader.string())
        if kind not in _SECTIONS:
            raise KeyFormatError(f"KRL with the unknown section {kind}")
        _SECTIONS[kind](section, found)
    return found


def _strings(reader: Reader) -> list[bytes]:
    found = []
    while reader.remaining:
        found.append(reader.string())
    return found


def _extension(reader: Reader, found: object) -> None:
    name, critical = reader.string(), reader.boolean()
    reader.string()
    reader.end()
    if critical:
        text = printable(name.decode("ascii", "replace")[:64])
        raise KeyFormatError(f"KRL with the unknown critical extension {text}")


def _certificates(reader: Reader, found: Revocations) -> None:
    some = found.of(reader.string())
    reader.string()  # reserved
    while reader.remaining:
        kind, section = reader.byte(), Reader(reader.string())
        if kind not in _CERTIFICATE_SECTIONS:
            raise KeyFormatError(f"KRL with the unknown section of certificates {kind}")
        _CERTIFICATE_SECTIONS[kind](section, some)


def _serials(reader: Reader, some: RevokedCertificates) -> None:
    packed = reader.rest()
    if len(packed) % 8:
        raise KeyFormatError("KRL with a list of serial numbers that is cut off")
    some.serials.update(struct.unpack(f">{len(packed) // 8}Q", packed))


def _range(reader: Reader, some: RevokedCertificates) -> None:
    low, high = reader.uint64(), reader.uint64()
    reader.end()
    if low > high:
        raise KeyFormatError(f"KRL with the range of serial numbers {low} to {high}")
    some.ranges.append((low, high))


def _bitmap(reader: Reader, some: RevokedCertificates) -> None:
    first, bits = reader.uint64(), reader.mpint()
    reader.end()
    if bits < 0 or first + bits.bit_length() > UINT64_MAX + 1:
        raise KeyFormatError("KRL with a bitmap of serial numbers that is out of range")
    some.bitmaps.append((first, bits.to_bytes((bits.bit_length() + 7) // 8, "little")))


def _key_ids(reader: Reader, some: RevokedCertificates) -> None:
    some.key_ids.update(value.decode("utf-8", "surrogateescape") for value in _strings(reader))


def _keys(reader: Reader, found: Revocations) -> None:
    found.keys.update(_strings(reader))


def _hashes(name: str) -> Callable[[Reader, Revocations], None]:
    size = hashlib.new(name, usedforsecurity=False).digest_size

    def read(reader: Reader, found: Revocations) -> None:
        values = _strings(reader)
        if any(len(value) != size for value in values):
            raise KeyFormatError(f"KRL with a {name} hash of another size")
        found.hashes.setdefault(name, set()).update(values)

    return read


def _signature(reader: Reader, found: object) -> None:
    raise KeyFormatError("signed KRLs are not supported")  # newer OpenSSH has none either


_SECTIONS: Final[dict[int, Callable[[Reader, Revocations], None]]] = {
    1: _certificates,
    2: _keys,
    3: _hashes("sha1"),
    4: _signature,
    5: _hashes("sha256"),
    255: _extension,
}
_CERTIFICATE_SECTIONS: Final[dict[int, Callable[[Reader, RevokedCertificates], None]]] = {
    0x20: _serials,
    0x21: _range,
    0x22: _bitmap,
    0x23: _key_ids,
    0x39: _extension,
}
