"""What command line and configuration want of a session, whoever drives it: this program, or a master."""

from __future__ import annotations

import termios
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fastssh.errors import ConfigError
from fastssh.keys.patterns import match_pattern

if TYPE_CHECKING:
    from fastssh.aio.tty import Terminal
    from fastssh.config.settings import Settings


def command_of(settings: Settings, given: str) -> str:
    """What is to be run: of the command line, or RemoteCommand; nothing for a shell."""
    return given or settings.text("RemoteCommand") or ""


def wants_terminal(settings: Settings, command: str, *, stdin_is_terminal: bool) -> tuple[bool, bool]:
    """Whether there is to be a terminal, and whether one was wanted that there cannot be."""
    asked = settings.value("RequestTTY")
    wanted = asked in ("yes", "force") or (asked == "auto" and not command)
    if asked == "force" or not wanted:
        return wanted, False
    possible = stdin_is_terminal and not settings.flag("StdinNull")
    return possible, not possible


def sent(settings: Settings, variables: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of ``variables`` whose names SendEnv has."""
    patterns = settings.words("SendEnv") or ()
    return [(name, value) for name, value in variables if any(match_pattern(name, each) for each in patterns)]


def environment(settings: Settings, local: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """SendEnv's variables, then SetEnv's."""
    wanted = dict(sent(settings, local.items()))
    given = (str(word).partition("=") for word in settings.typed("SetEnv", tuple))
    wanted |= {name: value for name, _, value in given}
    return tuple(wanted.items())


def describe_terminal(name: str, tty: int) -> Terminal:
    """The terminal behind ``tty``, called ``name``; one that is none is told of without modes and size."""
    from fastssh.aio.tty import Terminal, get_modes, get_size

    try:
        modes = get_modes(tty)
    except (termios.error, OSError):
        modes = {}
    return Terminal(name, get_size(tty), modes)


def terminal_name(settings: Settings, local: Mapping[str, str]) -> str:
    """$TERM, unless SetEnv says otherwise."""
    given = dict(str(word).partition("=")[::2] for word in settings.typed("SetEnv", tuple))
    return given.get("TERM") or local.get("TERM", "")


def stdio_place(text: str) -> tuple[str, int]:
    """The host and port of -W. Raises ConfigError."""
    from fastssh.config.forwards import Kind, parse

    try:
        place = parse(Kind.DYNAMIC, text).listen
    except ConfigError:
        place = ""
    if isinstance(place, str) or not place[0]:
        raise ConfigError(f"Bad stdio forwarding specification '{text}'")
    return place[0], place[1]
