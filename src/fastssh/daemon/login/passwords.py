"""Passwords: against the hashes of a users file, or PAM's, which may ask for more than one."""

from __future__ import annotations

from typing import Final, Protocol

import bcrypt

from fastssh.auth.interactive import Conversation, Questions
from fastssh.config.server.settings import ServerSettings
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.pam import Pam
from fastssh.daemon.login.users_file import UsersFile
from fastssh.errors import ConfigError

MOST_BYTES: Final = 72  # what bcrypt looks at: a longer password is refused, or its beginning would do
PROMPT: Final = "Password: "
NOBODY: Final = "INVALID USER"  # a name that cannot be: PAM does its work for it, and says no


class Passwords(Protocol):
    """Judges passwords. ``user`` is None for somebody unknown, who is asked as much and costs as much time.

    ``device`` is what judges, as in ``keyboard-interactive:pam``; ``address`` the client's.
    """

    device: str

    def check(self, user: User | None, password: str, address: str) -> bool: ...

    def converse(self, user: User | None, address: str) -> Conversation:
        """For keyboard-interactive."""
        ...

    def account_is_open(self, user: User, address: str) -> bool:
        """Whether somebody who has shown a key of ``user`` is let in. What the other two let in is."""
        ...


class HashedPasswords:
    """Those of a users file."""

    device = ""

    def __init__(self, users: UsersFile) -> None:
        self._hash_of_nobody = users.hash_of_nobody

    def check(self, user: User | None, password: str, address: str = "") -> bool:
        known = user is not None and bool(user.password_hash)
        hashed = user.password_hash if user is not None and known else self._hash_of_nobody
        given = password.encode("utf-8", "surrogatepass")
        if not hashed:
            return False
        right = bcrypt.checkpw(given[:MOST_BYTES], hashed.encode("ascii"))
        return known and right and bool(given) and len(given) <= MOST_BYTES

    def converse(self, user: User | None, address: str) -> Conversation:
        (password,) = yield Questions(((PROMPT, False),))
        return self.check(user, password)

    def account_is_open(self, user: User, address: str) -> bool:
        return True  # a users file has no accounts that could be closed


class PamPasswords:
    """PAM's. It delays what is refused by itself, for names that it does not know as well."""

    device = "pam"

    def __init__(self, pam: Pam) -> None:
        self._pam = pam

    def check(self, user: User | None, password: str, address: str) -> bool:
        if not password:
            return False
        right = self._pam.password_is_right(NOBODY if user is None else user.name, password, address)
        return right and user is not None

    def converse(self, user: User | None, address: str) -> Conversation:
        right = yield from self._pam.conversation(NOBODY if user is None else user.name, address)
        return right and user is not None

    def account_is_open(self, user: User, address: str) -> bool:
        return self._pam.account_is_open(user.name, address)


def passwords_for(settings: ServerSettings, users: UsersFile | None) -> Passwords | str:
    """Who judges passwords, or why nobody does, for the log.

    Raises ConfigError where PAM is wanted and not there: it has a say in every login, those with keys as well.
    """
    if users is not None:
        return HashedPasswords(users) if users.hash_of_nobody else "no user of the UsersFile has one"
    if not settings.use_pam:
        return "there is no UsersFile, and UsePAM is no"
    try:
        return PamPasswords(Pam())
    except (OSError, AttributeError) as error:  # AttributeError: a library of that name that is another's
        raise ConfigError(f"UsePAM needs PAM: {error}") from None
