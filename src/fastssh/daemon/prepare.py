"""All that can be done before the first connection comes: reading, checking, loading. Children inherit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastssh.auth.interactive import KEYBOARD_INTERACTIVE
from fastssh.config.server.evaluate import ServerConfig
from fastssh.config.server.settings import ServerSettings
from fastssh.config.values import LogLevel
from fastssh.daemon import internal_sftp
from fastssh.daemon.host_keys import load_host_keys
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import Accounts, SystemAccounts
from fastssh.daemon.login.passwords import Passwords, passwords_for
from fastssh.daemon.login.users_file import load_users
from fastssh.daemon.moduli import load_moduli
from fastssh.errors import ConfigError
from fastssh.keys.private import PrivateKey
from fastssh.transport.kex.groups import Group

GROUP_EXCHANGE: Final = "diffie-hellman-group-exchange-sha256"


@dataclass(frozen=True)
class Prepared:
    """A configuration with what it names. ``log_level``: that of the command line, which no Match block changes."""

    config: ServerConfig
    host_keys: tuple[PrivateKey, ...]
    accounts: Accounts
    passwords: Passwords | None
    log_level: LogLevel | None = None
    groups: tuple[Group, ...] = ()  # for group exchange; none: RFC 3526's

    def method_lists(self, settings: ServerSettings) -> tuple[tuple[str, ...], ...]:
        """AuthenticationMethods, as far as they can be passed here; without it, each method that is on is enough."""
        on = {
            "publickey": settings.pubkey_authentication,
            "password": settings.password_authentication and self.passwords is not None,
        }
        if settings.kbd_interactive_authentication and self.passwords is not None:
            on |= dict.fromkeys((KEYBOARD_INTERACTIVE, f"{KEYBOARD_INTERACTIVE}:{self.passwords.device}"), True)
        lists = settings.authentication_methods or tuple((method,) for method in on if ":" not in method)
        possible = (methods for methods in lists if all(on.get(method, False) for method in methods))
        return tuple(tuple(method.partition(":")[0] for method in methods) for methods in possible)


def prepare(config: ServerConfig, log: Log, log_level: LogLevel | None = None) -> Prepared:
    """Raises ConfigError that says what is wrong."""
    settings = config.settings
    for warning in config.warnings:
        log.info(warning)
    internal_sftp.check(settings)
    host_keys = load_host_keys(settings, log)
    users = load_users(settings.users_file) if settings.users_file is not None else None
    judge = passwords_for(settings, users)
    passwords = None if isinstance(judge, str) else judge
    if isinstance(judge, str) and (settings.password_authentication or settings.kbd_interactive_authentication):
        log.info(f"Passwords are refused: {judge}")
    groups: tuple[Group, ...] = ()
    if settings.moduli_file is not None and GROUP_EXCHANGE in settings.kex_algorithms:
        groups = load_moduli(settings.moduli_file, log, wanted="moduli_file" in settings.given)
    prepared = Prepared(config, host_keys, users or SystemAccounts(), passwords, log_level, groups)
    if config.is_whole and not prepared.method_lists(settings):
        raise ConfigError("no authentication method is left that fastsshd has (AuthenticationMethods)")
    return prepared
