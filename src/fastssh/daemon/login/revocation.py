"""RevokedKeys: asked before anything else is asked about a key, and of its authority as well."""

from __future__ import annotations

from collections.abc import Iterable

from fastssh.errors import KeyFormatError
from fastssh.files import shown
from fastssh.keys.public import PublicKey
from fastssh.keys.revocation import load_revocations


def revoked(key: PublicKey, paths: Iterable[str], hash_name: str) -> str | None:
    """Why ``key`` must be refused, in sshd's words; None if no file revokes it.

    A file that cannot be read, or not be understood, refuses all keys.
    """
    name = f"key {key.family} {key.fingerprint(hash_name)}"
    for path in paths:
        try:
            if load_revocations(path).revoke(key):
                return f"Authentication {name} revoked by file {shown(path)}"
        except OSError as error:
            return f"Error checking authentication {name} in revoked keys file {shown(path)}: {error.strerror}"
        except KeyFormatError as error:
            return f"Error checking authentication {name} in revoked keys file {error}"
    return None
