"""The accounts that may be logged in to: the system's, of which an ordinary user serves only its own."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import time
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Protocol

from fastssh.aio.server.process import Account

SECONDS_A_DAY: Final = 86400
LOGIN_NAME_MAX: Final = 256  # of Linux; a longer name is nobody's, and no directory service is asked


@dataclass(frozen=True, kw_only=True)
class User(Account):
    """An account, and what a login to it asks for. ``root`` is set for one of a users file, which has SFTP below that
    directory and nothing else."""

    group_names: tuple[str, ...] = ()
    root: str | None = None
    read_only: bool = False
    keys_file: str | None = None  # instead of AuthorizedKeysFile
    closed: str = ""  # why nobody may log in to it; empty if somebody may
    password_hash: str = field(default="", repr=False)


class Accounts(Protocol):
    """Where accounts come from."""

    def find(self, name: str) -> User | None:
        """The account of that very name, None if there is none; harmless for any text."""
        ...


class SystemAccounts:
    """getpwnam(3), getgrouplist(3) and, as root, getspnam(3)."""

    def find(self, name: str) -> User | None:
        if len(name) > LOGIN_NAME_MAX:
            return None
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):  # ValueError: a NUL, or what no encoding has
            return None
        if entry.pw_name != name:
            return None
        user = User.of(entry)
        return replace(
            user, group_names=tuple(filter(None, map(_group_name, user.groups))), closed=_closed(entry, user.shell)
        )


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""


def _closed(entry: pwd.struct_passwd, shell: str) -> str:
    """Why sshd lets nobody in: a locked or expired account, a shell that cannot be run; and who we are."""
    if os.getuid() not in (0, entry.pw_uid):
        return "the server runs as another user"
    shadow = shadow_of(entry.pw_name) if os.getuid() == 0 else None
    if (entry.pw_passwd if shadow is None else shadow.password).startswith("!"):
        return "account is locked"
    if shadow is not None and 0 <= shadow.expires <= time.time() // SECONDS_A_DAY:
        return "account has expired"
    if not os.path.isfile(shell):
        return f"shell {shell} does not exist"
    return "" if os.access(shell, os.X_OK) else f"shell {shell} is not executable"


@dataclass(frozen=True)
class Shadow:
    """What shadow(5) says: a hash, and the day since 1970 from which the account is closed (-1: never)."""

    password: str = field(repr=False)
    expires: int = -1


class _Spwd(ctypes.Structure):
    _fields_ = (
        ("sp_namp", ctypes.c_char_p),
        ("sp_pwdp", ctypes.c_char_p),
        *((name, ctypes.c_long) for name in ("lstchg", "min", "max", "warn", "inact", "expire")),
        ("flag", ctypes.c_ulong),
    )


@cache
def _getspnam() -> Any:
    function: Any = getattr(ctypes.CDLL(None), "getspnam", None)
    if function is not None:
        function.restype, function.argtypes = ctypes.POINTER(_Spwd), [ctypes.c_char_p]
    return function


def shadow_of(name: str) -> Shadow | None:
    """The shadow entry of an account; None without one, and where there is no such thing. (Python's spwd is gone.)"""
    getspnam = _getspnam()
    found = getspnam(os.fsencode(name)) if getspnam is not None else None
    if not found:
        return None
    return Shadow(os.fsdecode(found.contents.sp_pwdp or b""), found.contents.expire)
