"""Who may log in at all: AllowUsers and its kin, PermitRootLogin, /etc/nologin (sshd_config(5), sshd(8))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastssh.config.server.settings import ServerSettings
from fastssh.config.server.values import PermitRootLogin
from fastssh.daemon.login.accounts import User
from fastssh.files import UnfitFileError, read_regular
from fastssh.keys.addresses import match_host_list
from fastssh.keys.patterns import match_pattern

NOLOGIN: Final = "/etc/nologin"
NOLOGIN_LIMIT: Final = 16 * 1024  # bytes that are shown


def refusal(user: User, settings: ServerSettings, address: str, host: str | None) -> str | None:
    """Why ``user`` may not log in from there, in sshd's words; None if it may."""
    if user.closed:
        return f"not allowed because {user.closed}"
    if _listed(user.name, settings.deny_users, address, host):
        return "not allowed because listed in DenyUsers"
    if settings.allow_users and not _listed(user.name, settings.allow_users, address, host):
        return "not allowed because not listed in AllowUsers"
    if settings.deny_groups and _in_groups(user, settings.deny_groups):
        return "not allowed because a group is listed in DenyGroups"
    if settings.allow_groups and not _in_groups(user, settings.allow_groups):
        return "not allowed because none of user's groups are listed in AllowGroups"
    return None


def _listed(name: str, patterns: Iterable[str], address: str, host: str | None) -> bool:
    """Patterns of names, or ``name@hosts``: what stands after the last @ is a list of addresses and host names."""
    for pattern in patterns:
        users, at, hosts = pattern.rpartition("@")
        if not at:
            if match_pattern(name, hosts):
                return True
        elif match_pattern(name, users) and match_host_list(host, address, hosts.split(",")):
            return True
    return False


def _in_groups(user: User, patterns: Iterable[str]) -> bool:
    return any(match_pattern(group, pattern) for pattern in patterns for group in user.group_names)


def root_may(permit: PermitRootLogin, method: str, *, forced: bool) -> bool:
    """PermitRootLogin; ``forced``: the key that was shown has a command of its own."""
    match permit:
        case PermitRootLogin.YES:
            return True
        case PermitRootLogin.PROHIBIT_PASSWORD:
            return method == "publickey"
        case PermitRootLogin.FORCED_COMMANDS_ONLY:
            return method == "publickey" and forced
    return False


def nologin_text(path: str = NOLOGIN) -> str | None:
    """What /etc/nologin says; None if there is no such file. One that cannot be read closes the machine as well."""
    try:
        data, _ = read_regular(path, NOLOGIN_LIMIT)
    except FileNotFoundError:
        return None
    except (OSError, UnfitFileError):
        return ""
    return data.decode("utf-8", "surrogateescape")
