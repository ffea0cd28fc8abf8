"""The keys that a user may log in with: AuthorizedKeysFile and AuthorizedKeysCommand of sshd_config(5)."""

from __future__ import annotations

import base64
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from fastssh.config.server.settings import ServerSettings
from fastssh.config.tokens import check_user, expand
from fastssh.daemon.accounts import SystemAccounts, User
from fastssh.daemon.log import Log
from fastssh.daemon.privileges import rights_of
from fastssh.errors import ConfigError
from fastssh.keys.authorized_keys import (
    MAX_AUTHORIZED_KEYS_FILE,
    AuthorizedKeys,
    load_authorized_keys,
    parse_authorized_keys,
)
from fastssh.keys.files import check_owner_and_modes, shown
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.public import PublicKey

COMMAND_SECONDS: Final = 20.0  # for AuthorizedKeysCommand
COMMAND_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"


def options_of(
    user: User, key: PublicKey, settings: ServerSettings, address: str, host: str | None, log: Log
) -> KeyOptions | None:
    """What ``key`` may be used for by a client at ``address``; None when it does not authorise ``user``."""
    for keys in _sources(user, key, settings, log):
        for note in keys.notes:
            log.info(f"Authentication of {user.name}: {note}")
        for entry in keys.find(key):
            reason = entry.options.admits(address, host, time.time())
            if reason is None:
                log.debug(f"{entry.where}: accepted key {key.family} {key.fingerprint()}")
                return entry.options
            log.info(f"Authentication tried for {user.name} with {entry.where}: {reason}")
    return None


def _sources(user: User, key: PublicKey, settings: ServerSettings, log: Log) -> Iterator[AuthorizedKeys]:
    if user.root is not None:  # of a users file: its keys are the administrator's, and so is the file
        if user.keys_file is not None:
            yield load_authorized_keys(
                user.keys_file, home=None, uid=os.getuid() if settings.strict_modes else None, only=key
            )
        return
    if settings.authorized_keys_command is not None:
        yield _from_command(user, key, settings, log)
    tokens = user_tokens(user)
    for pattern in settings.authorized_keys_file:
        path = os.path.join(user.home, expand(pattern, tokens))
        with rights_of(user):
            yield load_authorized_keys(
                path, home=user.home, uid=user.uid if settings.strict_modes else None, only=key
            )


def user_tokens(user: User) -> Mapping[str, Callable[[], str]]:
    """%h, %u and %U. The name is checked: it goes into paths and commands."""
    return {"h": lambda: user.home, "u": lambda: _checked(user.name), "U": lambda: str(user.uid)}


def _checked(name: str) -> str:
    if "/" in name or name in (".", ".."):
        raise ConfigError(f"user name {name!r} cannot stand in a path")
    return check_user(name)


# -- AuthorizedKeysCommand ---------------------------------------------------------------------------------------------


def _from_command(user: User, key: PublicKey, settings: ServerSettings, log: Log) -> AuthorizedKeys:
    """What the command prints; nothing, with a line in the log, if it may not be run or fails."""
    command = settings.authorized_keys_command
    assert command is not None
    try:
        output = run_command(_arguments(user, key, command.arguments), _runner(settings))
    except (ConfigError, OSError) as error:
        log.error(f"AuthorizedKeysCommand {shown(command.arguments[0])}: {error}")
        return AuthorizedKeys()
    return parse_authorized_keys(output, "AuthorizedKeysCommand", only=key)


def _arguments(user: User, key: PublicKey, arguments: tuple[str, ...]) -> list[str]:
    tokens = {
        **user_tokens(user),
        "f": key.fingerprint,
        "k": lambda: base64.b64encode(key.blob).decode("ascii"),
        "t": lambda: key.algorithm,
    }
    expanded = [expand(argument, tokens) for argument in arguments]
    return expanded if len(expanded) > 1 else [*expanded, _checked(user.name)]


def _runner(settings: ServerSettings) -> User:
    name = settings.authorized_keys_command_user or ""
    runner = SystemAccounts().find(name)
    if runner is None:
        raise ConfigError(f"AuthorizedKeysCommandUser {name!r} does not exist")
    if os.geteuid() not in (0, runner.uid):
        raise ConfigError(f"only root's server can run it as {name!r}")
    return runner


def run_command(arguments: list[str], runner: User) -> bytes:
    """Runs a program of root's, that nobody else can write, as ``runner``, without a shell; returns what it prints.

    Raises ConfigError for one that is not such a program, fails, takes COMMAND_SECONDS or prints too much; OSError.
    """
    unsafe = check_owner_and_modes(arguments[0], None, 0)
    if unsafe is not None:
        raise ConfigError(unsafe)
    as_root = os.geteuid() == 0
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
        env={"PATH": COMMAND_PATH, "USER": runner.name, "LOGNAME": runner.name, "HOME": runner.home},
        start_new_session=True, user=runner.uid if as_root else None, group=runner.gid if as_root else None,
        extra_groups=runner.groups if as_root else None,
    )  # fmt: skip
    assert process.stdout is not None
    deadline = time.monotonic() + COMMAND_SECONDS
    try:
        output = _read(process.stdout.fileno(), deadline)
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ConfigError(f"it did not end within {COMMAND_SECONDS:.0f} seconds") from None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if status != 0:
        raise ConfigError(f"it failed with status {status}")
    return output


def _read(descriptor: int, deadline: float) -> bytes:
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            data = os.read(descriptor, 65536)
            if not data:
                return bytes(output)
            output += data
            if len(output) > MAX_AUTHORIZED_KEYS_FILE:
                raise ConfigError(f"it printed more than {MAX_AUTHORIZED_KEYS_FILE} bytes")
    raise ConfigError(f"it did not end within {COMMAND_SECONDS:.0f} seconds")
