"""internal-sftp, as Subsystem and ForceCommand of sshd_config(5) name it, with the options of sftp-server(8)."""

from __future__ import annotations

import getopt
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh.aio.server.program import Launch, Program
from fastssh.aio.server.sftp import SFTPSubsystem
from fastssh.config.lexer import split_arguments
from fastssh.config.server.settings import ServerSettings
from fastssh.config.tokens import expand
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.user_tokens import user_tokens
from fastssh.errors import ConfigError
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem

if TYPE_CHECKING:
    from fastssh.aio.server.session import ServerSession

NAME: Final = "internal-sftp"


@dataclass(frozen=True)
class InternalSFTP:
    """What its options ask for: -R, -d and -u. -e, -f and -l are about a log that is fastsshd's own here."""

    read_only: bool = False
    start: str = ""  # a directory, tokens and all
    umask: int | None = None


def read_options(arguments: Sequence[str]) -> InternalSFTP | None:
    """None when ``arguments`` name another program. ConfigError for options that cannot be followed."""
    if not arguments or arguments[0] != NAME:
        return None
    try:
        options, rest = getopt.getopt(list(arguments[1:]), "ef:l:Rd:u:p:P:")
    except getopt.GetoptError as error:
        raise ConfigError(f"{NAME}: {error}") from None
    if rest:
        raise ConfigError(f"{NAME}: unexpected argument {rest[0]!r}")
    given = dict(options)
    if refused := given.keys() & {"-p", "-P"}:
        raise ConfigError(f"{NAME}: {min(refused)} is not supported")
    mask = given.get("-u")
    if mask is not None and not re.fullmatch(r"[0-7]{1,4}", mask, re.ASCII):
        raise ConfigError(f"{NAME}: {mask!r} is not a mask in octal")
    return InternalSFTP("-R" in given, given.get("-d", ""), None if mask is None else int(mask, 8) & 0o777)


def forced(command: str) -> InternalSFTP | None:
    """read_options() for a forced command as it is written."""
    try:
        return read_options(split_arguments(command, comments=False)) if command.startswith(NAME) else None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{NAME}: {error}") from None


def check(settings: ServerSettings) -> None:
    """ConfigError when something in ``settings`` asks internal-sftp for what it does not do."""
    for subsystem in settings.subsystems:
        read_options(subsystem.arguments)
    if settings.force_command is not None:
        forced(settings.force_command)


class SFTPStarter:
    """Starts SFTP sessions in this process, which is the user's already."""

    def __init__(self, options: InternalSFTP, user: User, *, home: str) -> None:
        self._options, self._rooted = options, user.root is not None
        tokens = {**user_tokens(user), "d": lambda: home}
        self._start = os.path.join(home, expand(options.start, tokens)) if options.start else home
        self._read_only = options.read_only or user.read_only

    def __call__(self, session: ServerSession, launch: Launch) -> Program:
        if self._options.umask is not None:
            os.umask(self._options.umask)
        # Of a rooted user the working directory is the root: see fastssh.daemon.session.
        files = RootedFileSystem(".") if self._rooted else LocalFileSystem(self._existing())
        return SFTPSubsystem(session, files, read_only=self._read_only)

    def _existing(self) -> str:
        """As sftp-server, whose chdir may fail."""
        return self._start if os.path.isdir(self._start) else "/"
