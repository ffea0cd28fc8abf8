"""What both sides of hostkeys-00@openssh.com agree on to the byte (OpenSSH PROTOCOL 2.5): a server says after the login
which host keys it has, and proves on demand that it has the private halves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastssh.wire.codec import Reader, string

HOST_KEYS: Final = "hostkeys-00@openssh.com"
PROVE: Final = "hostkeys-prove-00@openssh.com"


def encode_strings(items: Iterable[bytes]) -> bytes:
    """Keys, or signatures, one after the other."""
    return b"".join(map(string, items))


def decode_strings(data: bytes) -> list[bytes]:
    """The strings in ``data``, which they fill. Raises ProtocolError."""
    reader = Reader(data)
    found = []
    while reader.remaining:
        found.append(reader.string())
    return found


def to_prove(session_id: bytes, blob: bytes) -> bytes:
    """What the key ``blob`` signs: it binds the proof to this one connection."""
    return string(PROVE.encode("ascii")) + string(session_id) + string(blob)
