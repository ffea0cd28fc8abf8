"""Fingerprints of host keys in the DNS: SSHFP records (RFC 4255, RFC 6594, RFC 7479)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from fastssh.errors import KeyFormatError
from fastssh.keys.public import PublicKey

#: Fingerprint types of RFC 4255 section 3.1.2 and RFC 6594 section 3.2.
HASHES: Final = {"sha1": 1, "sha256": 2}
#: Algorithm numbers by the family of the key; security keys have none.
_ALGORITHMS: Final = {"RSA": 1, "ECDSA": 3, "ED25519": 4}
_RDATA_TYPE: Final = 44  # SSHFP's number among the types of records


def records(name: str, key: PublicKey, hashes: Iterable[str] = HASHES, *, generic: bool = False) -> list[str]:
    """The lines of a zone for ``name``, one for each of ``hashes``; of a certificate those of its key.

    ``generic``: in the form of RFC 3597, for name servers that do not know SSHFP. Raises :class:`KeyFormatError` for a
    type of key that has no number in the DNS.
    """
    key = key.plain
    number = _ALGORITHMS.get(key.family)
    if number is None:
        raise KeyFormatError(f"{key.algorithm}: there are no SSHFP records for this type of key")
    lines = []
    for hash in hashes:
        digest = hashlib.new(hash, key.blob, usedforsecurity=False).digest()
        data = f"{number} {HASHES[hash]} {digest.hex()}"
        if generic:
            data = f"\\# {2 + len(digest)} {number:02x} {HASHES[hash]:02x} {digest.hex()}"
        lines.append(f"{name} IN {f'TYPE{_RDATA_TYPE}' if generic else 'SSHFP'} {data}")
    return lines
