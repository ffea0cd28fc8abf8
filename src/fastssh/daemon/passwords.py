"""Passwords: against the hashes of a users file, or PAM's where the ``pam`` extra is installed."""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol

import bcrypt

from fastssh.config.server.settings import ServerSettings
from fastssh.daemon.accounts import User
from fastssh.daemon.users_file import UsersFile
from fastssh.errors import SSHError

MOST_BYTES: Final = 72  # what bcrypt looks at: a longer password is refused, or its beginning would do
MOST_PAM_BYTES: Final = 1024  # as sshd
PAM_SERVICE: Final = "sshd"


class Passwords(Protocol):
    """Judges a password. ``user`` is None for somebody unknown, who costs as much time."""

    def check(self, user: User | None, password: str) -> bool: ...


class HashedPasswords:
    """Those of a users file."""

    def __init__(self, users: UsersFile) -> None:
        self._hash_of_nobody = users.hash_of_nobody

    def check(self, user: User | None, password: str) -> bool:
        known = user is not None and bool(user.password_hash)
        hashed = user.password_hash if user is not None and known else self._hash_of_nobody
        given = password.encode("utf-8", "surrogatepass")
        if not hashed:
            return False
        right = bcrypt.checkpw(given[:MOST_BYTES], hashed.encode("ascii"))
        return known and right and bool(given) and len(given) <= MOST_BYTES


class PamPasswords:
    """PAM's. It delays what is refused by itself, for names that it does not know as well."""

    def __init__(self, pam: Any) -> None:
        self._pam = pam

    def check(self, user: User | None, password: str) -> bool:
        name = "" if user is None else user.name
        if not password or len(password.encode("utf-8", "surrogatepass")) > MOST_PAM_BYTES:
            return False
        # A name that cannot be: PAM does its work for it, and says no.
        right = bool(self._pam.authenticate(name or "INVALID USER", password, service=PAM_SERVICE))
        return right and bool(name)


def passwords_for(settings: ServerSettings, users: UsersFile | None) -> Passwords | str:
    """Who judges passwords, or why nobody does, for the log."""
    if users is not None:
        return HashedPasswords(users) if users.hash_of_nobody else "no user of the UsersFile has one"
    if not settings.use_pam:
        return "there is no UsersFile, and UsePAM is no"
    try:
        return PamPasswords(importlib.import_module("pam").pam())
    except ImportError:
        return "UsePAM needs the pam extra: pip install fastssh[pam]"
    except Exception as error:  # whatever another's module says when libpam is not there
        raise SSHError(f"PAM cannot be used: {type(error).__name__}: {error}") from None
