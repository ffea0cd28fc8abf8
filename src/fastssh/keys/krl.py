"""Making key revocation lists (PROTOCOL.krl): what specifications revoke, and the binary form, as short as OpenSSH's.

::

    revoked = Revocations()
    revoke(specification_text, revoked, authority=ca_key.blob)
    data = serialize_krl(revoked, generated=int(time.time()))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final

from fastssh.errors import KeyFormatError
from fastssh.keys.certificate import Certificate
from fastssh.keys.public import PublicKey, decode_key, decode_key_fields
from fastssh.keys.revocation import FORMAT_VERSION, MAGIC, Revocations, RevokedCertificates
from fastssh.wire.codec import UINT64_MAX, byte, mpint, string, uint32, uint64, utf8

# -- specifications ----------------------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(r"0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*", re.ASCII | re.IGNORECASE)
_DIGITS: Final = 24  # of a number of 64 bits in any of these; no longer one is converted
_DIRECTIVE: Final = re.compile(r"(serial|id|key|sha1|sha256|hash):[ \t]*(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)


def revoke(text: str, revoked: Revocations, authority: bytes | None = None, name: str = "KRL specification") -> None:
    """Adds what a specification (KEY REVOCATION LISTS of ssh-keygen(1)) or lines of keys revoke.

    ``authority`` is the wire form of the key whose certificates serial numbers and identities are about, b"" for any;
    ``name`` stands for the file's. Raises :class:`KeyFormatError` in ssh-keygen's words.
    """
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].strip(" \t\r")
        if not line:
            continue
        where = f"{name}:{number}"
        found = _DIRECTIVE.fullmatch(line)
        directive, value = (found[1].lower(), found[2]) if found is not None else ("", line)
        match directive:
            case "serial":
                _revoke_serials(value, _of(authority, revoked, "serial number"), where)
            case "id":
                _of(authority, revoked, "key ID").key_ids.add(value)
            case "hash":
                revoked.hashes.setdefault("sha256", set()).add(_fingerprint(value, where))
            case _:
                _revoke_key(_key(value, where), directive, revoked)


def _of(authority: bytes | None, revoked: Revocations, what: str) -> RevokedCertificates:
    if authority is None:
        raise KeyFormatError(f"revoking certificates by {what} requires specification of a CA key")
    return revoked.of(authority)


def _revoke_serials(text: str, certificates: RevokedCertificates, where: str) -> None:
    first, dash, last = text.partition("-")
    low = _serial(first, text, where)
    high = _serial(last, last, where) if dash else low
    if dash and high <= low:
        raise KeyFormatError(f"{where}: invalid serial range {low}:{high}")
    try:
        certificates.add(low, high)
    except ValueError:
        raise KeyFormatError(f"{where}: revoke serial failed: 0 is the number of certificates without one") from None


def _serial(text: str, shown: str, where: str) -> int:
    """Decimal, hexadecimal after ``0x`` or octal after ``0``."""
    if not _NUMBER.fullmatch(text):
        raise KeyFormatError(f'{where}: invalid serial "{shown}"')
    base = 16 if text[:2].lower() == "0x" else 8 if text[0] == "0" else 10
    value = int(text, base) if len(text) <= _DIGITS else UINT64_MAX + 1
    if value > UINT64_MAX:
        raise KeyFormatError(f"{where}: serial out of range")
    return value


def _fingerprint(text: str, where: str) -> bytes:
    if not text.startswith("SHA256:"):
        raise KeyFormatError(f"{where}: unsupported hash algorithm")
    encoded = text.removeprefix("SHA256:")
    try:
        value = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise KeyFormatError(f"{where}: decode hash failed: invalid format") from None
    if len(value) != hashlib.sha256().digest_size:
        raise KeyFormatError(f"{where}: revoke key failed: a SHA256 hash has 32 bytes")
    return value


def _key(text: str, where: str) -> PublicKey:
    type, base64_text, *_ = [*text.split(None, 2), "", ""]
    try:
        return decode_key(decode_key_fields(type, base64_text))
    except KeyFormatError as error:
        raise KeyFormatError(f"{where}: invalid key: {error}") from None


def _revoke_key(key: PublicKey, directive: str, revoked: Revocations) -> None:
    """``directive``: how; without one a certificate is revoked by its number, or by its identity if it has none."""
    if directive in ("sha1", "sha256"):
        value = hashlib.new(directive, key.plain.blob, usedforsecurity=False).digest()
        revoked.hashes.setdefault(directive, set()).add(value)
    elif directive == "key" or not isinstance(key, Certificate):
        revoked.keys.add(key.plain.blob)
    elif key.serial:
        revoked.of(key.authority.blob).add(key.serial)
    else:
        revoked.of(key.authority.blob).key_ids.add(key.key_id)


# -- the binary form ---------------------------------------------------------------------------------------------------


class _Section(IntEnum):
    CERTIFICATES = 1
    KEYS = 2
    SHA1 = 3
    SHA256 = 5


class _Form(IntEnum):
    """How serial numbers are written."""

    LIST = 0x20
    RANGE = 0x21
    BITMAP = 0x22
    KEY_IDS = 0x23


_HEAD: Final = 8 + 64  # bits that a new form costs, in OpenSSH's estimate
_MAX_BITMAP: Final = 1 << 24  # bits; OpenSSH reads no longer ones
_MAX_COUNTED: Final = 1 << 31  # no larger number makes a difference to what is cheapest


def serialize_krl(revoked: Revocations, *, generated: int) -> bytes:
    """The KRL, said to be made at ``generated`` (a POSIX time)."""
    sections = [(_Section.CERTIFICATES, _certificates(*each)) for each in revoked.certificates.items()]
    sections += [
        (section, b"".join(map(string, sorted(values))))
        for section, values in (
            (_Section.KEYS, revoked.keys),
            (_Section.SHA1, revoked.hashes.get("sha1", set())),
            (_Section.SHA256, revoked.hashes.get("sha256", set())),
        )
        if values
    ]
    header = MAGIC + uint32(FORMAT_VERSION) + uint64(revoked.version) + uint64(generated) + uint64(0)
    return header + string(b"") + utf8(revoked.comment) + _joined(sections)


def _joined(sections: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(byte(kind) + string(data) for kind, data in sections)


def _certificates(authority: bytes, some: RevokedCertificates) -> bytes:
    sections: list[tuple[int, bytes]] = list(_serials(some.intervals()))
    if some.key_ids:
        ids = sorted(each.encode("utf-8", "surrogateescape") for each in some.key_ids)
        sections.append((_Form.KEY_IDS, b"".join(map(string, ids))))
    return string(authority) + string(b"") + _joined(sections)


def _serials(intervals: Iterator[tuple[int, int]]) -> Iterator[tuple[_Form, bytes]]:
    """Serial numbers in the forms that take the fewest bytes, so far as can be seen from one interval to the next."""
    form: _Form | None = None
    members: list[tuple[int, int]] = []
    following = next(intervals, None)
    while following is not None:
        low, high = following
        following = next(intervals, None)
        before = low - members[-1][1] if members else 0
        after = following[0] - high if following is not None else None
        chosen, fresh = _cheapest(form, high - low + 1, before, after)
        if chosen is _Form.BITMAP and members and high - members[0][0] >= _MAX_BITMAP:
            fresh = True
        if form is not None and (fresh or chosen is not form or form is _Form.RANGE):
            yield form, _packed(form, members)
            members = []
        form = chosen
        members.append((low, high))
    if form is not None:
        yield form, _packed(form, members)


def _cheapest(form: _Form | None, count: int, before: int, after: int | None) -> tuple[_Form, bool]:
    """The form for ``count`` numbers, ``before`` behind the last ones and ``after`` before the next, and whether it
    begins anew where it goes on. OpenSSH's estimate in bits, rounded up to bytes; of equal ones the first is taken."""
    count, before = min(count, _MAX_COUNTED), min(before, _MAX_COUNTED)
    new = 0 if after is None else _HEAD  # what comes next may have to begin a section
    near = 0 if after is None else min(after, _HEAD)
    costs = {
        (_Form.BITMAP, False): before + count + near + (0 if form is _Form.BITMAP else _HEAD),
        (_Form.RANGE, False): 8 + 2 * 64 + new,
        (_Form.LIST, False): 64 * count + new + (0 if form is _Form.LIST else 8),
        (_Form.BITMAP, True): count + near + _HEAD,
    }
    return min(costs, key=lambda choice: -(-costs[choice] // 8))


def _packed(form: _Form, members: list[tuple[int, int]]) -> bytes:
    first = members[0][0]
    if form is _Form.LIST:
        return b"".join(uint64(serial) for low, high in members for serial in range(low, high + 1))
    if form is _Form.RANGE:
        return uint64(first) + uint64(members[0][1])
    bits = bytearray((members[-1][1] - first) // 8 + 1)
    for low, high in members:
        for place in range(low - first, high - first + 1):
            bits[place // 8] |= 1 << place % 8
    return uint64(first) + mpint(int.from_bytes(bits, "little"))
