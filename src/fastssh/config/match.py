"""Match blocks of ssh_config(5): criteria read once, evaluated against what the settings say so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from fastssh.config.criteria import Criteria, Criterion
from fastssh.config.directives import ALL_TOKENS
from fastssh.config.lexer import Line, Where
from fastssh.config.settings import Settings
from fastssh.config.tokens import expand, plain_word
from fastssh.errors import ConfigError
from fastssh.keys.patterns import lower, match_pattern_list
from fastssh.version import __version__

_BARE: Final = ("all", "canonical", "final")
_WITH_ARGUMENT: Final = (
    "command", "exec", "host", "localnetwork", "localuser", "originalhost", "sessiontype", "tagged", "user", "version",
)


def read_criteria(line: Line) -> Criteria:
    """The criteria on ``line``; ConfigError when they cannot be understood."""
    criteria = Criteria.read(line, bare=_BARE, with_argument=_WITH_ARGUMENT, may_be_empty=("command", "tagged"))
    places = [place for place, item in enumerate(criteria.items) if item.name == "all"]
    if places and (places[0] > 1 or places[0] != len(criteria.items) - 1):
        raise line.where.error("'all' cannot be combined with other Match criteria")
    for item in criteria.items:
        if item.name == "localnetwork":
            _in_networks("127.0.0.1", item, line.where)
    return criteria


def wants_final(criteria: Criteria) -> bool:
    """True when the files are to be read a second time ("final"; negated or not, as in OpenSSH)."""
    return any(item.name == "final" for item in criteria.items)


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
            case "canonical" | "final":  # both mean the second pass, as in OpenSSH
                holds = final
            case "exec":
                holds = _run(item.argument, settings, criteria.where)
            case "localnetwork":
                holds = _on_network(item, criteria.where)
            case "host" | "originalhost":  # in any letter case
                holds = match_pattern_list(lower(subjects[item.name]()), lower(item.argument).split(","))
            case "command" | "tagged" if not item.argument:
                holds = not subjects[item.name]()
            case _:
                holds = match_pattern_list(subjects[item.name](), item.argument.split(","))
        if holds == item.negated:
            return False
    return active


def _in_networks(address: str, item: Criterion, where: Where) -> bool:
    from fastssh.keys.addresses import match_cidr_list  # not for configurations without such a criterion

    try:
        return match_cidr_list(address, item.argument.split(","))
    except ValueError as error:
        raise where.error(f"Match {item.name}: {error}") from None


def _on_network(item: Criterion, where: Where) -> bool:
    """True when an interface that is up has an address in one of the networks."""
    from fastssh.aio.interfaces import interface_addresses

    try:
        return any(_in_networks(each.address, item, where) for each in interface_addresses())
    except OSError as error:
        raise where.error(f"Match localnetwork: {error.strerror or error}") from None


def _run(command: str, settings: Settings, where: Where) -> bool:
    """True when the command of "Match exec" ends with status 0 in the user's shell.

    No value of a token reaches the shell that the shell could read as anything but a plain word.
    """

    def plain(value: Callable[[], str]) -> Callable[[], str]:
        return lambda: plain_word(value())

    try:
        tokens = settings.tokens(ALL_TOKENS) | {"k": lambda: settings.host_key_alias or settings.host}
        command = expand(command, {token: plain(value) for token, value in tokens.items()})
    except ConfigError as error:
        raise where.error(f"Match exec: {error}") from None
    import subprocess

    shell = settings.local.environment.get("SHELL") or "/bin/sh"
    try:
        done = subprocess.run(
            [shell, "-c", f"exec {command}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ, check=False,
        )
    except OSError as error:
        raise where.error(f"Match exec: cannot run {shell}: {error.strerror}") from None
    return done.returncode == 0
