"""Match blocks of ssh_config(5): criteria read once, evaluated against what the settings say so far."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastssh.config.directives import ALL_TOKENS
from fastssh.config.lexer import Line, Where
from fastssh.config.settings import Settings
from fastssh.config.tokens import expand
from fastssh.errors import ConfigError
from fastssh.keys.patterns import lower, match_pattern_list
from fastssh.version import __version__

_BARE: Final = ("all", "canonical", "final")
_WITH_ARGUMENT: Final = (
    "command", "exec", "host", "localnetwork", "localuser", "originalhost", "sessiontype", "tagged", "user", "version",
)


@dataclass(frozen=True, slots=True)
class Criterion:
    name: str
    negated: bool
    argument: str


@dataclass(frozen=True, slots=True)
class Criteria:
    """The criteria of one Match line, in order."""

    where: Where
    items: tuple[Criterion, ...]

    @property
    def wants_final(self) -> bool:
        """True when the files are to be read a second time ("final"; negated or not, as in OpenSSH)."""
        return any(item.name == "final" for item in self.items)

    @classmethod
    def read(cls, line: Line) -> Criteria:
        """The criteria on ``line``; ConfigError when they cannot be understood."""
        words = list(line.arguments)
        items: list[Criterion] = []
        while words:
            word = words.pop(0)
            negated = word.startswith("!")
            name, equals, argument = word.removeprefix("!").partition("=")
            name = name.lower()
            if name in _BARE and not equals:
                argument = ""
            elif name in _WITH_ARGUMENT:
                if not equals:
                    argument = words.pop(0) if words else ""
                if not argument:
                    raise line.where.error(f"Match {name} needs an argument")
            else:
                raise line.where.error(f"{word!r} is not a Match criterion")
            items.append(Criterion(name, negated, argument))
        names = [item.name for item in items]
        if "all" in names[:-1]:
            raise line.where.error("'all' cannot be combined with other Match criteria")
        return cls(line.where, tuple(items))


def matches(criteria: Criteria, settings: Settings, *, final: bool, active: bool) -> bool:
    """True when every criterion holds; none is evaluated after the first that fails, so no command runs in vain."""
    subjects: dict[str, Callable[[], str]] = {
        "host": lambda: settings.host,
        "originalhost": lambda: settings.original_host,
        "user": lambda: settings.user,
        "localuser": lambda: settings.local.user,
        "tagged": lambda: settings.text("Tag") or "",
        "sessiontype": lambda: settings.session_type,
        "command": lambda: settings.command,
        "version": lambda: f"fastssh_{__version__}",
    }
    for item in criteria.items if active else ():
        match item.name:
            case "all":
                holds = True
            case "canonical" | "final":  # names are not canonicalised, so both mean the second pass
                holds = final
            case "exec":
                holds = _run(item.argument, settings, criteria.where)
            case "localnetwork":  # the standard library cannot list the addresses of interfaces
                raise criteria.where.error("Match localnetwork is not supported yet")
            case "host" | "originalhost":  # in any letter case
                holds = match_pattern_list(lower(subjects[item.name]()), lower(item.argument).split(","))
            case _:
                holds = match_pattern_list(subjects[item.name](), item.argument.split(","))
        if holds == item.negated:
            return False
    return active


def _run(command: str, settings: Settings, where: Where) -> bool:
    """True when the command of "Match exec" ends with status 0 in the user's shell.

    No value of a token reaches the shell that the shell could read as anything but a plain word.
    """

    def plain(value: Callable[[], str]) -> Callable[[], str]:
        return lambda: _plain_word(value())

    try:
        command = expand(command, {token: plain(value) for token, value in settings.tokens(ALL_TOKENS).items()})
    except ConfigError as error:
        raise where.error(f"Match exec: {error}") from None
    shell = settings.local.environment.get("SHELL") or "/bin/sh"
    try:
        done = subprocess.run(
            [shell, "-c", f"exec {command}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ, check=False,
        )
    except OSError as error:
        raise where.error(f"Match exec: cannot run {shell}: {error.strerror}") from None
    return done.returncode == 0


def _plain_word(value: str) -> str:
    if not re.fullmatch(r"[\w@%+=:,./-]*", value):
        raise ConfigError(f"{value!r} holds characters that may not go into a command")
    return value
