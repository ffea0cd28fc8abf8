"""AuthorizedKeysCommand and AuthorizedPrincipalsCommand: programs that tell who may log in (sshd_config(5))."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import Final

from fastssh.config.server.values import Command
from fastssh.config.tokens import expand
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import SystemAccounts, User
from fastssh.daemon.login.user_tokens import Tokens
from fastssh.errors import ConfigError
from fastssh.files import check_owner_and_modes, shown

COMMAND_SECONDS: Final = 20.0
COMMAND_OUTPUT: Final = 16 * 1024 * 1024  # bytes
COMMAND_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"


def output_of(directive: str, command: Command, runner: str | None, tokens: Tokens, log: Log) -> bytes:
    """What the command of a directive prints, run as the account ``runner``; without arguments it gets the user's name.

    Nothing, with a line in the log, if it may not be run or fails.
    """
    try:
        arguments = [expand(argument, tokens) for argument in command.arguments]
        if len(arguments) == 1:
            arguments.append(tokens["u"]())
        return run_command(arguments, _account(directive, runner or ""))
    except (ConfigError, OSError) as error:
        log.error(f"{directive} {shown(command.arguments[0])}: {error}")
        return b""


def _account(directive: str, name: str) -> User:
    runner = SystemAccounts().find(name)
    if runner is None:
        raise ConfigError(f"{directive}User {name!r} does not exist")
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
            if len(output) > COMMAND_OUTPUT:
                raise ConfigError(f"it printed more than {COMMAND_OUTPUT} bytes")
    raise ConfigError(f"it did not end within {COMMAND_SECONDS:.0f} seconds")
