"""What -L, -R and -D ask for, and LocalForward, RemoteForward and DynamicForward of ssh_config(5).

A specification is up to four fields between colons: where to listen, then where connections go, either a host and a
port or the path of a Unix socket. A field in square brackets is taken as it stands, and so is a character behind a
backslash. What has a slash is a path. ssh(1) accepts more that means nothing (a backslash at the end, a path where -D
has a host); such is refused here.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from fastssh.aio.forwarding.names import MAX_HOST, MAX_PORT, MAX_SOCKET_PATH
from fastssh.config.directives import ALL_TOKENS
from fastssh.config.lexer import Where
from fastssh.config.reading import COMMAND_LINE
from fastssh.config.settings import Settings
from fastssh.config.tokens import expand
from fastssh.errors import ConfigError
from fastssh.keys.endpoint import Endpoint

if TYPE_CHECKING:
    from fastssh.aio.forwarding.client import Address

Listen = tuple[str | None, int] | str

MAX_SPECIFICATION: Final = 8192  # characters; more than four fields of any use
_FIELD: Final = re.compile(r"\[(?P<literal>[^\]]*)\](?=:|$)|(?P<plain>(?!\[)(?:\\.|[^:\\])*)(?=:|$)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Kind(Enum):
    """The directions, as the names of their directives begin."""

    LOCAL = "local"
    REMOTE = "remote"
    DYNAMIC = "dynamic"

    @property
    def directive(self) -> str:
        return f"{self.value.capitalize()}Forward"


class Forward(NamedTuple):
    """One forward. ``listen`` is a path or a host and a port; the host is None where none was given, "" or "*" for all
    of a machine's addresses. ``target`` None: where the connection's SOCKS client says."""

    kind: Kind
    listen: Listen
    target: Address | None

    def listen_address(self, *, gateway_ports: bool = False) -> Address:
        """``listen`` as :meth:`ClientConnection.forward_local` and ``forward_remote`` take it. ``gateway_ports`` is the
        client's GatewayPorts, which only says where a listener of its own is that names no address."""
        if isinstance(self.listen, str):
            return self.listen if self.kind is Kind.REMOTE else os.path.abspath(self.listen)
        host, port = self.listen
        if host is None:
            host = "" if gateway_ports and self.kind is not Kind.REMOTE else "localhost"
        return host, port

    def target_address(self) -> Address | None:
        """``target`` likewise: a path of this machine is made absolute."""
        if isinstance(self.target, str) and self.kind is Kind.REMOTE:
            return os.path.abspath(self.target)
        return self.target

    def __str__(self) -> str:
        """As ``ssh -G`` writes it behind the directive's name."""
        listen = _show(self.listen)
        return listen if self.kind is Kind.DYNAMIC else f"{listen} {_show(self.target or ('socks', 0))}"


def _show(place: Listen) -> str:
    if isinstance(place, str):
        return place
    host, port = place
    return str(port) if host is None else f"[{host}]:{port}"


class _Field(NamedTuple):
    text: str
    path: bool


def parse(kind: Kind, specification: str, environment: Mapping[str, str] | None = None) -> Forward:
    """What ``specification`` asks for; ``${NAME}`` in it is of ``environment``, or with None stands as it is.

    Raises ConfigError in ssh's words, with the reason.
    """
    try:
        if environment is not None and "${" in specification:
            # A percent sign is nobody's here: paths have their tokens expanded when the host is known.
            specification = expand(specification.replace("%", "%%"), {"%": lambda: "%"}, environment)
        return _read(kind, list(_fields(specification)))
    except (ValueError, ConfigError) as error:
        shown = specification if len(specification) <= 200 else f"{specification[:200]}..."
        raise ConfigError(f"Bad {kind.value} forwarding specification '{shown}': {error}") from None


def forwards(settings: Settings, given: Iterable[tuple[Kind, str]] = ()) -> tuple[Forward, ...]:
    """What the command line asks for (``given``, in its order), then what the configuration does; each once. Nothing
    with ClearAllForwardings. Raises ConfigError."""
    environment = settings.local.environment
    found = [(parse(kind, specification, environment), COMMAND_LINE) for kind, specification in given]
    for kind in Kind:
        for words, where in settings.entries(kind.directive):
            try:
                found.append((parse(kind, ":".join(words), environment), where))
            except ConfigError as error:
                raise where.error(str(error)) from None
    if settings.flag("ClearAllForwardings"):
        return ()
    return tuple(dict.fromkeys(_with_tokens(forward, settings, where) for forward, where in found))


def permit_remote_open(settings: Settings) -> tuple[Endpoint, ...] | None:
    """PermitRemoteOpen: where SOCKS clients of a RemoteForward may be connected to; None for everywhere."""
    found = settings.words("PermitRemoteOpen") or ("any",)
    return None if found == ("any",) else () if found == ("none",) else tuple(map(_endpoint, found))


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(host.removeprefix("[").removesuffix("]"), None if port == "*" else int(port))


def _with_tokens(forward: Forward, settings: Settings, where: Where) -> Forward:
    def expanded(path: str) -> str:
        found = expand(path, settings.tokens(ALL_TOKENS))
        if not found or "\0" in found:
            raise ValueError("a path is empty or holds a NUL")
        return found  # one that is too long now fails when it is used, as with ssh

    listen, target = forward.listen, forward.target
    try:
        return forward._replace(
            listen=expanded(listen) if isinstance(listen, str) else listen,
            target=expanded(target) if isinstance(target, str) else target,
        )
    except (ValueError, ConfigError) as error:
        raise where.error(f"{forward.kind.directive} {forward}: {error}") from None


# -- fields ------------------------------------------------------------------------------------------------------------


def _fields(specification: str) -> Iterator[_Field]:
    if len(specification) > MAX_SPECIFICATION:
        raise ValueError("too long")
    text, at = specification.lstrip(), 0
    while at < len(text):  # one colon may end the last field
        found = _FIELD.match(text, at)
        if found is None:
            raise ValueError("a bracket or a backslash is in the wrong place")
        literal, plain = found["literal"], found["plain"]
        if literal is not None:
            yield _Field(literal, "/" in literal)
        else:
            yield _Field(_ESCAPED.sub(r"\1", plain), "/" in _ESCAPED.sub("", plain))
        at = found.end() + 1


def _read(kind: Kind, fields: list[_Field]) -> Forward:
    if not fields:
        raise ValueError("it is empty")
    listen, rest = _listen(kind, fields)
    if not rest:
        if kind is Kind.LOCAL:
            raise ValueError("it does not say where connections go")
        return Forward(kind, listen, None)
    if kind is Kind.DYNAMIC:
        raise ValueError("it says where to listen, and nothing else")
    if rest[0].path and len(rest) == 1:
        return Forward(kind, listen, _path(rest[0].text))
    if len(rest) != 2:
        raise ValueError("it is not [bind_address:]port:host:hostport")
    port = _port(rest[1].text)
    if port == 0:
        raise ValueError("port 0 to connect to")
    return Forward(kind, listen, (_host(rest[0].text), port))


def _listen(kind: Kind, fields: list[_Field]) -> tuple[Listen, list[_Field]]:
    """Where to listen, and the fields behind it."""
    if fields[0].path:
        return _path(fields[0].text), fields[1:]
    # An address before the port makes it two fields: a path or nothing follows these, or both a host and its port.
    target = 1 if fields[-1].path else 0 if len(fields) <= 2 else 2
    bound = len(fields) - target == 2
    if len(fields) - target not in (1, 2):
        raise ValueError("it has too many fields" if len(fields) > 4 else "it is not [bind_address:]port:host:hostport")
    host = _host(fields[0].text) if bound else None
    port = _port(fields[int(bound)].text)
    if port == 0 and kind is not Kind.REMOTE:
        raise ValueError("port 0 to listen on")
    return (host, port), fields[1 + bound :]


def _host(text: str) -> str:
    if len(text.encode("utf-8", "surrogateescape")) > MAX_HOST:
        raise ValueError("a host's name is too long")
    if not text.isprintable():
        raise ValueError("a host's name has control characters")
    return text


def _path(text: str) -> str:
    if len(os.fsencode(text)) > MAX_SOCKET_PATH:
        raise ValueError("a path is too long for a socket")
    if not text or "\0" in text:
        raise ValueError("a path is empty or holds a NUL")
    return text


def _port(text: str) -> int:
    """A number up to 65535, or a service's name."""
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        port = int(text) if len(text) <= 9 else -1
    else:
        try:
            port = socket.getservbyname(text, "tcp")
        except (OSError, UnicodeError, ValueError):
            port = -1
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"bad port {text[:40]!r}")
    return port
