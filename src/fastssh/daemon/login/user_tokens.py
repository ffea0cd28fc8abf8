"""The %-tokens of sshd_config(5) that speak of who logs in and of what was shown for it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from fastssh.config.tokens import check_user
from fastssh.daemon.login.accounts import User
from fastssh.errors import ConfigError
from fastssh.keys.certificate import Certificate
from fastssh.keys.public import PublicKey

Tokens = Mapping[str, Callable[[], str]]


def user_tokens(user: User) -> Tokens:
    """%h, %u and %U. The name is checked: it goes into paths and commands."""
    return {"h": lambda: user.home, "u": lambda: checked_name(user), "U": lambda: str(user.uid)}


def key_tokens(user: User, key: PublicKey) -> Tokens:
    """Those of AuthorizedKeysCommand."""
    return {
        **user_tokens(user),
        "f": key.fingerprint,
        "k": lambda: _base64(key),
        "t": lambda: key.algorithm,
    }


def certificate_tokens(user: User, certificate: Certificate) -> Tokens:
    """Those of AuthorizedPrincipalsCommand."""
    authority = certificate.authority
    return {
        **key_tokens(user, certificate),
        "F": authority.fingerprint,
        "i": lambda: _checked_id(certificate.key_id),
        "K": lambda: _base64(authority),
        "s": lambda: str(certificate.serial),
        "T": lambda: authority.algorithm,
    }


def checked_name(user: User) -> str:
    """The user's name. Raises ConfigError for one that cannot stand in a path or a command."""
    if "/" in user.name or user.name in (".", ".."):
        raise ConfigError(f"user name {user.name!r} cannot stand in a path")
    return check_user(user.name)


def _checked_id(key_id: str) -> str:
    """No shell sees it, but no program expects a NUL, a newline or half a character either."""
    if not key_id.isprintable():
        raise ConfigError(f"the certificate's id {key_id!r} cannot stand in a command")
    return key_id


def _base64(key: PublicKey) -> str:
    return base64.b64encode(key.blob).decode("ascii")
