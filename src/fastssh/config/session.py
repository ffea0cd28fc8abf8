"""What a session of ssh(1) needs to know of the settings, each value in the form in which it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from fastssh.config.client_values import NO_ESCAPE, ControlPersist
from fastssh.config.directives import LOG_LEVELS
from fastssh.config.lexer import split_arguments
from fastssh.config.settings import Settings
from fastssh.config.values import Qos

#: Of sessions with a terminal, and of others (RFC 4594): what OpenSSH 9.2 gives them.
DEFAULT_QOS: Final = Qos(interactive=0x48, bulk=0x20)


def verbosity(settings: Settings) -> int:
    """LogLevel as a number: -1 for errors alone, 0 with warnings, 1 to 3 with ever more debugging."""
    level = settings.value("LogLevel")
    assert isinstance(level, str)
    return max(-1, LOG_LEVELS.index(level) - 4) if level not in ("info", "verbose") else 0


class Control(NamedTuple):
    """A shared connection. ``path`` is its socket; ``master`` is no, yes, ask, auto or autoask; ``persist`` is None
    when a master ends with its session, else for how many idle seconds it stays, 0 for ever."""

    path: str
    master: str
    persist: int | None


def control(settings: Settings) -> Control | None:
    """ControlPath, ControlMaster and ControlPersist; None when no connection is shared."""
    path = settings.path("ControlPath")
    if path is None:
        return None
    stays, seconds = settings.typed("ControlPersist", ControlPersist)
    return Control(os.path.abspath(path), settings.typed("ControlMaster", str), seconds if stays else None)


def escape_character(settings: Settings) -> int | None:
    """The byte that begins an escape; None for none."""
    byte = settings.number("EscapeChar")
    return None if byte == NO_ESCAPE else byte


def local_command(settings: Settings) -> str | None:
    """What the user's shell is to run when logged in; None where nothing is given, or PermitLocalCommand forbids it."""
    return settings.text("LocalCommand") if settings.flag("PermitLocalCommand") else None


def known_hosts_command(settings: Settings, tokens: Mapping[str, str]) -> tuple[str, ...] | None:
    """The program that knows host keys, and its arguments; None without one.

    ``tokens`` are those that stand for what is asked: f, H, I, K and t. No shell has a part in it, and what a token
    stands for is one argument, whatever it is. ConfigError when it cannot be expanded.
    """
    command = settings.value("KnownHostsCommand")
    if not isinstance(command, str) or command.lower() == "none":
        return None
    return tuple(settings.expanded("KnownHostsCommand", word, tokens) for word in split_arguments(command))


def forwarded_agent(settings: Settings) -> str | None:
    """The socket of the agent to forward; None when none is forwarded, or there is none.

    ``ForwardAgent yes`` means the one that authentication uses: IdentityAgent's, or $SSH_AUTH_SOCK.
    """
    asked = settings.typed("ForwardAgent", str)
    if asked == "no":
        return None
    return agent_socket(settings, "IdentityAgent" if asked == "yes" else "ForwardAgent")


def agent_socket(settings: Settings, directive: str = "IdentityAgent") -> str | None:
    """The path that IdentityAgent or ForwardAgent names, $SSH_AUTH_SOCK's without one; None when there is none."""
    environment = settings.local.environment
    name = settings.value(directive)
    if name is None or name == "SSH_AUTH_SOCK":
        return environment.get("SSH_AUTH_SOCK") or None
    assert isinstance(name, str)
    if name.lower() == "none":
        return None
    if name.startswith("$") and not name.startswith("${"):  # the older form: the variable that holds the path
        return environment.get(name[1:]) or None
    return settings.path(directive)


def class_of_service(settings: Settings, *, interactive: bool) -> int:
    """IP_TOS of a session with a terminal, or of any other; -1 leaves the system's."""
    qos = settings.qos() or DEFAULT_QOS
    return qos.interactive if interactive else qos.bulk


def refused_tunnel(settings: Settings) -> str | None:
    """What to tell of a tunnel that was asked for and that fastssh does not make; None when none was.

    ConfigError with ExitOnForwardFailure and without ClearAllForwardings.
    """
    if settings.value("Tunnel") == "no" or settings.flag("ClearAllForwardings"):
        return None
    if settings.flag("ExitOnForwardFailure"):
        raise settings.where("Tunnel").error("Could not request tunnel forwarding: fastssh makes no tunnels")
    return "Could not request tunnel forwarding."
