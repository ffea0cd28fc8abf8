"""The server's side of hostkeys-00@openssh.com (OpenSSH PROTOCOL 2.5): clients hear which host keys there are, so that
they know the next one before it is the only one."""

from __future__ import annotations

from collections.abc import Sequence

from fastssh.connection.connection import Connection
from fastssh.keys.host_announcement import HOST_KEYS, PROVE, decode_strings, encode_strings, to_prove
from fastssh.keys.private import PrivateKey


def announce(connection: Connection, keys: Sequence[PrivateKey], *, session_id: bytes, algorithm: str) -> None:
    """Tells of all ``keys``, certificates left out, and answers when the client wants their proof.

    ``algorithm`` is the host key's of the key exchange: RSA keys sign with it, if it is one of theirs.
    """
    plain = {key.public.blob: key for key in keys if key.public.plain is key.public}

    def prove(data: bytes) -> bytes | None:
        blobs = decode_strings(data)
        # One signature a key: what else is asked for is work for nothing.
        if not blobs or len(set(blobs)) != len(blobs) or not plain.keys() >= set(blobs):
            return None
        return encode_strings(_prove(plain[blob], session_id, algorithm) for blob in blobs)

    connection.global_handlers.setdefault(PROVE, prove)
    connection.global_request(HOST_KEYS, encode_strings(plain), want_reply=False)


def _prove(key: PrivateKey, session_id: bytes, algorithm: str) -> bytes:
    own = key.public.signature_algorithms
    return key.sign(to_prove(session_id, key.public.blob), algorithm if algorithm in own else own[0])
