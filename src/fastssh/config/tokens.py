"""TOKENS and ENVIRONMENT VARIABLES of ssh_config(5), and the check of names before they go into any of it.

Names are checked because users put tokens into commands and paths: what a shell would act upon never passes
(security requirement: %-tokens are validated first).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from fastssh.errors import ConfigError

#: Tokens that stand for names of other machines and their users: they may come with a link that somebody clicked on.
STRANGERS: Final = "hjknr"

_TOKEN = re.compile(r"%(.?)|\$\{([A-Za-z0-9_]*)(\}?)", re.DOTALL | re.ASCII)
_SHELL_HOST = frozenset("'`\"$\\;&<>|(){},")
_SHELL_USER = frozenset("'`\";&<>|(){}")


class Local(NamedTuple):
    """What this machine contributes; made by :meth:`here`, by hand in tests."""

    user: str
    uid: int
    home: str
    hostname: str
    environment: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def here(cls) -> Local:
        """The process's own. The home folder is $HOME when set, since that is what users and tests move."""
        import pwd

        uid = os.getuid()
        try:
            entry = pwd.getpwuid(uid)
            user, home = entry.pw_name, entry.pw_dir
        except KeyError:
            user, home = os.environ.get("USER", ""), "/"
        if not user:
            raise ConfigError(f"no user exists for uid {uid}")
        return cls(user, uid, os.environ.get("HOME") or home, os.uname().nodename, os.environ)


def _control(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)


def check_host(name: str) -> str:
    """``name`` when it may be a host's name; ConfigError otherwise. The rule is ssh(1)'s."""
    if not name or name.startswith("-") or _control(name) or any(c in _SHELL_HOST or c.isspace() for c in name):
        raise ConfigError(f"host name {name!r} is empty or holds characters that are not allowed")
    return name


def check_user(name: str) -> str:
    """``name`` when it may be a remote user's name; ConfigError otherwise. The rule is ssh(1)'s."""
    bad = (
        not name
        or name.startswith("-")
        or name.endswith("\\")
        or _control(name)
        or any(character in _SHELL_USER for character in name)
        or re.search(r"\s-", name)
    )
    if bad:
        raise ConfigError(f"user name {name!r} is empty or holds characters that are not allowed")
    return name


def plain_word(value: str) -> str:
    """``value`` when no shell could take it for anything but a plain word; ConfigError otherwise."""
    if not re.fullmatch(r"[\w@%+=:,./-]*", value):
        raise ConfigError(f"{value!r} holds characters that may not go into a command")
    return value


def expand(text: str, tokens: Mapping[str, Callable[[], str]], environment: Mapping[str, str] | None = None) -> str:
    """``text`` with %-tokens and, when ``environment`` is given, ``${NAME}`` replaced.

    One pass, so that nothing in a value is expanded again; only tokens that occur are asked for. ConfigError for a
    token that may not stand here, an unset variable, a missing brace.
    """

    def replace(found: re.Match[str]) -> str:
        token, name, brace = found.groups()
        if name is None:
            if token == "%":
                return "%"
            if token not in tokens:
                raise ConfigError(f"'%{token}' may not stand in {text!r}")
            return tokens[token]()
        if environment is None:
            return found[0]
        if not name or not brace:
            raise ConfigError(f"{text!r}: ${{ without a name and a closing brace")
        if name not in environment:
            raise ConfigError(f"{text!r}: environment variable {name} is not set")
        return environment[name]

    return _TOKEN.sub(replace, text)


def expand_home(path: str, home: str) -> str:
    """``path`` with a leading ``~`` or ``~user`` replaced, which always ends in a slash then.

    ConfigError for a user that does not exist.
    """
    if not path.startswith("~"):
        return path
    user, _, rest = path[1:].partition("/")
    if user:
        import pwd

        try:
            home = pwd.getpwnam(user).pw_dir
        except KeyError:
            raise ConfigError(f"{path!r}: no such user {user!r}") from None
    return f"{home.rstrip('/')}/{rest.lstrip('/')}"
