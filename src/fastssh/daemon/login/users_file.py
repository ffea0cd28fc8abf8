"""UsersFile, a setting of ours: users of an SFTP service that have no account of the system.

A line is ``name:bcrypt hash:root:ro`` or ``rw``, and after another colon may name a file of authorized keys; a hash of
``*`` is no password. ``#`` begins a comment. Each user sees what is below its root and nothing else.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Final

from fastssh.config.lexer import Where
from fastssh.config.tokens import check_user
from fastssh.daemon.login.accounts import User
from fastssh.errors import ConfigError
from fastssh.files import UnfitFileError, read_regular

FILE_LIMIT: Final = 16 * 1024 * 1024  # bytes
COST_LIMIT: Final = 16  # of a hash: each step doubles what an attempt costs this machine, and 16 are seconds
NO_PASSWORD: Final = "*"
_HASH: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)


class UsersFile:
    """The users of a file, read once."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users
        hashes = [user.password_hash for user in users.values() if user.password_hash]
        self.hash_of_nobody = max(hashes, key=_cost, default="")  # for as much work as a user costs

    def find(self, name: str) -> User | None:
        return self._users.get(name)


def load_users(path: str) -> UsersFile:
    """Reads a users file, which nobody but its owner, root or who runs the server, may read or write.

    Raises ConfigError that names file and line.
    """
    try:
        data, status = read_regular(path, FILE_LIMIT)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnfitFileError as error:
        raise ConfigError(str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    if status.st_uid not in (0, os.getuid()) or status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{path}: must belong to root or this user and be closed to others (mode {mode:04o})")
    return parse_users(text, path)


def parse_users(text: str, name: str) -> UsersFile:
    """The users in ``text``; ``name`` stands for the file's in ConfigErrors."""
    users: dict[str, User] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        where = Where(name, number)
        try:
            user = _user(line)
        except ValueError as error:  # ConfigError is one
            raise where.error(str(error)) from None
        if user.name in users:
            raise where.error(f"user {user.name!r} is there already")
        users[user.name] = user
    return UsersFile(users)


def _user(line: str) -> User:
    fields = line.split(":")
    if len(fields) not in (4, 5):
        raise ValueError("name:hash:root:ro|rw[:keys file] is wanted")
    name, hashed, root, access, *keys = fields
    check_user(name)
    if hashed != NO_PASSWORD and not _HASH.fullmatch(hashed):
        raise ValueError(f"the hash of user {name!r} is not bcrypt's; '*' is no password")
    if hashed != NO_PASSWORD and not 4 <= _cost(hashed) <= COST_LIMIT:
        raise ValueError(f"the hash of user {name!r} must have a cost from 4 to {COST_LIMIT}")
    if any("\0" in path or not path.startswith("/") for path in (root, *keys)):
        raise ValueError("a path is not absolute")
    if access not in ("ro", "rw"):
        raise ValueError(f"{access!r} is neither ro nor rw")
    return User(
        name=name, uid=os.getuid(), gid=os.getgid(), home="/", root=root, read_only=access == "ro",
        keys_file=keys[0] if keys else None, password_hash="" if hashed == NO_PASSWORD else hashed,
    )  # fmt: skip


def _cost(hashed: str) -> int:
    found = _HASH.fullmatch(hashed)
    return int(found[1]) if found else 0
