"""Values of ssh_config(5) that are more than a word or a number, and their readers, which raise ValueError."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from fastssh.config.values import seconds, words

NO_ESCAPE: Final = -1


class ControlPersist(NamedTuple):
    """Whether a master stays when its session is over, and for how many idle seconds; 0: until it is told to go."""

    stays: bool
    seconds: int


class KeysToAgent(NamedTuple):
    """AddKeysToAgent. ``when`` is no, yes, ask or confirm; ``lifetime`` in seconds, 0 for ever."""

    when: str
    lifetime: int


class TunnelDevice(NamedTuple):
    """Numbers of tun(4) devices; None for the next free one."""

    local: int | None
    remote: int | None


class PermittedCname(NamedTuple):
    """A rule of CanonicalizePermittedCNAMEs: pattern lists of the names that may lead on, and of where to."""

    source: str
    target: str


_YES: Final = ("yes", "true")
_NO: Final = ("no", "false")
_FACILITIES: Final = (
    "DAEMON", "USER", "AUTH", "AUTHPRIV", *(f"LOCAL{number}" for number in range(8)),
)  # fmt: skip
_TUNNEL_MAX: Final = 0x7FFF_FFFD
_KEYSTROKE_MS: Final = 20


def control_persist(arguments: Sequence[str]) -> ControlPersist:
    """yes, no or a time."""
    word = arguments[0]
    if word in _YES or word in _NO:
        return ControlPersist(word in _YES, 0)
    return ControlPersist(True, seconds([word]))


def keys_to_agent(arguments: Sequence[str]) -> KeysToAgent:
    """yes, no, ask, confirm with or without a time, or a time."""
    word = arguments[0].lower()
    when = "yes" if word in _YES else "no" if word in _NO else word
    if when == "confirm":
        return KeysToAgent(when, seconds(arguments[1:]) if len(arguments) > 1 else 0)
    if len(arguments) > 1:
        raise ValueError(f"{arguments[1]!r} may only follow 'confirm'")
    return KeysToAgent(when, 0) if when in ("yes", "no", "ask") else KeysToAgent("yes", seconds([word]))


def escape_char(arguments: Sequence[str]) -> int:
    """A byte, given as itself or as ``^`` and a letter; NO_ESCAPE for ``none``."""
    if arguments[0] == "none":
        return NO_ESCAPE
    data = arguments[0].encode("utf-8", "surrogateescape")
    if len(data) == 1:
        return data[0]
    if len(data) == 2 and data.startswith(b"^") and 64 <= data[1] < 128:
        return data[1] & 31
    raise ValueError(f"{arguments[0]!r} is not a character, ^ and a letter, or none")


def mask(arguments: Sequence[str]) -> int:
    """A umask in octal."""
    if not re.fullmatch(r"0*[0-7]{1,3}", arguments[0], re.ASCII):
        raise ValueError(f"{arguments[0]!r} is not an octal mask of at most 0777")
    return int(arguments[0], 8)


def facility(arguments: Sequence[str]) -> str:
    """A facility of syslog(3), in capitals."""
    name = arguments[0].upper()
    if name not in _FACILITIES:
        raise ValueError(f"{arguments[0]!r} is not one of {', '.join(_FACILITIES)}")
    return name


def tunnel_device(arguments: Sequence[str]) -> TunnelDevice:
    """``local[:remote]``, each a number or ``any``."""
    local, _, remote = arguments[0].partition(":")
    return TunnelDevice(_tunnel(local), _tunnel(remote or "any"))


def _tunnel(text: str) -> int | None:
    if text.lower() == "any":
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > _TUNNEL_MAX:
        raise ValueError(f"{text!r} is not the number of a tunnel device")
    return int(text)


def variable_names(arguments: Sequence[str]) -> tuple[str, ...]:
    """Names of environment variables, or patterns of them; a ``-`` before one takes it away again."""
    if any("=" in name for name in words(arguments)):
        raise ValueError("a variable's name holds no '='")
    return tuple(arguments)


def variables(arguments: Sequence[str]) -> tuple[str, ...]:
    """``NAME=value`` each; of several values for a name the first."""
    if not all("=" in word for word in arguments):
        raise ValueError("a variable is given as NAME=value")
    found: dict[str, str] = {}
    for word in arguments:
        found.setdefault(word.partition("=")[0], word)
    return tuple(found.values())


def domains(arguments: Sequence[str]) -> tuple[str, ...]:
    """Domains in lower case, or ``none`` alone for none."""
    if _alone(arguments, "none"):
        return ()
    return tuple(domain(name) for name in arguments)


def domain(name: str) -> str:
    """``name`` in lower case and without a last dot. ValueError when it is none that DNS could know."""
    shown = name.lower().removesuffix(".")
    if not shown or not (shown[0].isalnum() and shown[0].isascii()):
        raise ValueError(f"domain name {name!r} starts with an invalid character")
    if not re.fullmatch(r"[a-z0-9_.-]*", shown, re.ASCII):
        raise ValueError(f"domain name {name!r} contains invalid characters")
    if ".." in shown:
        raise ValueError(f"domain name {name!r} contains consecutive separators")
    return shown


def permitted_cnames(arguments: Sequence[str]) -> tuple[PermittedCname, ...]:
    """``source:target`` each, or ``*`` for any; ``none`` alone for none."""
    if _alone(arguments, "none"):
        return ()
    found = []
    for word in arguments:
        source, colon, target = ("*", ":", "*") if word == "*" else word.lower().partition(":")
        if not colon or not target:
            raise ValueError(f"{word!r} is not a permitted CNAME")
        found.append(PermittedCname(source, target))
    return tuple(found)


def remote_opens(arguments: Sequence[str]) -> tuple[str, ...]:
    """``host:port`` each, where the port may be ``*``; ``any`` or ``none`` alone."""
    for word in ("any", "none"):
        if _alone(arguments, word):
            return (word,)
    for word in arguments:
        found = re.fullmatch(r"(\[[^\]]+\]|[^:/]+):(\*|[0-9]{1,5})", word, re.ASCII)
        if not found or (found[2] != "*" and not 0 < int(found[2]) <= 65535):
            raise ValueError(f"{word!r} is not host:port")
    return tuple(arguments)


def addendum(arguments: Sequence[str]) -> str:
    """What is added to the version that is told to the server, up to a comment; nothing for ``none``."""
    found = arguments[0].partition("#")[0].rstrip()
    return "" if found.lower() == "none" else found


def verbose_places(arguments: Sequence[str]) -> tuple[str, ...]:
    """Patterns of places in the source, or ``none`` alone for none."""
    return () if _alone(arguments, "none") else words(arguments)


def channel_timeouts(arguments: Sequence[str]) -> tuple[str, ...]:
    """``type=time`` each, where the type may be a pattern; ``none`` alone for none."""
    if _alone(arguments, "none"):
        return ()
    for word in arguments:
        kind, _, time = word.partition("=")
        if not kind or not time:
            raise ValueError(f"{word!r} is not type=time")
        seconds([time])
    return tuple(arguments)


def keystroke_interval(arguments: Sequence[str]) -> int:
    """Milliseconds between keystrokes: yes, no (0) or ``interval:number``."""
    word = arguments[0]
    if word in _YES or word in _NO:
        return _KEYSTROKE_MS if word in _YES else 0
    found = re.fullmatch(r"interval:([0-9]{1,4})", word, re.ASCII)
    if not found or not 0 < int(found[1]) <= 1000:
        raise ValueError(f"{word!r} is not yes, no or interval:1 to interval:1000")
    return int(found[1])


def agent_path(arguments: Sequence[str]) -> str:
    """A path, perhaps with variables in it, or ``$NAME`` for the variable that holds the path."""
    path = arguments[0]
    if not path:
        raise ValueError("the argument is empty")
    if re.match(r"\$(?!\{)", path) and not re.fullmatch(r"\$\w+", path, re.ASCII):
        raise ValueError(f"{path!r} does not name an environment variable")
    return path


def forward_agent(arguments: Sequence[str]) -> str:
    """yes, no, or the path of the agent to forward as agent_path() has it."""
    word = arguments[0].lower()
    return "yes" if word in _YES else "no" if word in _NO else agent_path(arguments)


def _alone(arguments: Sequence[str], word: str) -> bool:
    """Whether ``word`` is the one argument. ValueError when it stands among others, or an argument is empty."""
    found = word in (argument.lower() for argument in words(arguments))
    if found and len(arguments) > 1:
        raise ValueError(f"{word!r} must stand alone")
    return found
