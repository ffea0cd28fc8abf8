"""What a key may be used for: the options of authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

A :class:`KeyOptions` says what is permitted. It is read from the options of a line, or made from a certificate's, and
where both speak :meth:`KeyOptions.merge` keeps what both permit. An option that is not known, or not understood, is an
error: whoever wrote it meant a restriction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final

from fastssh.errors import KeyFormatError
from fastssh.keys.addresses import check_address_list, match_cidr_list, match_host_list
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.patterns import lower, match_pattern
from fastssh.keys.times import moment
from fastssh.wire.text import printable

#: The device number that asks for any free one (OpenSSH PROTOCOL 2.3); numbers of devices end two below it.
TUNNEL_ANY: Final = 0x7FFF_FFFF
#: OpenSSH's bounds (SSH_AUTHOPT_PERMIT_MAX, SSH_AUTHOPT_ENV_MAX, NI_MAXHOST).
MAX_ENDPOINTS: Final = 4096
MAX_ENVIRONMENT: Final = 1024
MAX_HOST: Final = 1024

_NAME = re.compile(r'[^ \t,="]*')
# A backslash stands for itself unless a quote follows. Possessive, so that a quote once taken is never given back.
_QUOTED = re.compile(r'"((?:[^"\\]++|\\"?+)*+)"')
_ENDPOINT = re.compile(r"(?:\[([^\[\]/]*)\]|([^:\[\]/]*)):(?:([0-9]{1,5})|\*)", re.ASCII)
_VARIABLE = re.compile(r"([A-Za-z0-9_]+)=(.*)", re.ASCII | re.DOTALL)
_DEVICE = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What may be done with a key. The defaults are those of a line without options: everything.

    A tuple of lists restricts once a list: each must have an entry that fits, so none at all restricts nothing.
    """

    permit_agent_forwarding: bool = True
    permit_port_forwarding: bool = True
    permit_pty: bool = True
    permit_tunnel: bool = True  #: only ``restrict`` takes it away, and nothing gives it back
    permit_user_rc: bool = True
    permit_x11_forwarding: bool = True
    require_touch: bool = True  #: a security key's signature must show that somebody touched it
    require_verify: bool = False  #: and that it knew who that was
    command: str | None = None  #: runs instead of what was asked for; "" is a command as well
    environment: tuple[tuple[str, str], ...] = ()  #: names once each
    tunnel: int | None = None  #: the tun device to use; :data:`TUNNEL_ANY` for one that the client does not choose
    expires: float | None = None  #: POSIX time after which the key is refused
    sources: tuple[tuple[str, ...], ...] = ()  #: lists of :func:`match_host_list`, from ``from=``
    networks: tuple[tuple[str, ...], ...] = ()  #: lists of :func:`match_cidr_list`, from certificates
    permit_open: tuple[tuple[Endpoint, ...], ...] = ()  #: see :meth:`may_open`
    permit_listen: tuple[tuple[Endpoint, ...], ...] = ()  #: see :meth:`may_listen`
    cert_authority: bool = False  #: the key certifies others and is never authorised itself
    principals: tuple[str, ...] | None = None  #: names in a certificate of this authority, see :meth:`certifies`

    def admits(self, address: str, host: str | None, now: float) -> str | None:
        """None when a client may use the key; else the reason, one line fit for a log.

        ``address`` is the client's as text, ``host`` its name if one was looked up and leads back to the address, and
        ``now`` the POSIX time.
        """
        if self.expires is not None and now > self.expires:
            return "the key has expired"
        try:
            if not all(match_host_list(host, address, patterns) for patterns in self.sources):
                name = f" ({printable(host)})" if host is not None else ""
                return f"the key may not be used from {printable(address)}{name}"
            if not all(match_cidr_list(address, networks) for networks in self.networks):
                return f"the certificate may not be used from {printable(address)}"
        except ValueError as error:  # a list that nobody checked grants nothing
            return printable(str(error))
        return None

    def certifies(self, user: str, principals: Collection[str]) -> bool:
        """Whether a certificate with ``principals`` of the authority that has these options is one for ``user``.

        Names are compared whole: with those of ``principals=`` where there is one, else with the user's own. A
        certificate without principals is for nobody, and so is one of a key that is no authority. To be asked before
        :meth:`merge`, which keeps neither.
        """
        wanted = (user,) if self.principals is None else self.principals
        return self.cert_authority and any(principal in wanted for principal in principals)

    def may_open(self, host: str, port: int) -> bool:
        """Whether a connection to ``host`` and ``port`` may be forwarded; hosts are literal, and ``*`` is any."""
        return self.permit_port_forwarding and all(
            any(entry.host in ("*", host) and entry.port in (None, port) for entry in entries)
            for entries in self.permit_open
        )

    def may_listen(self, host: str, port: int) -> bool:
        """Whether ``host`` and ``port``, as the client wrote them, may be listened on; hosts are patterns."""
        return self.permit_port_forwarding and all(
            any(match_pattern(lower(host), lower(entry.host)) and entry.port in (None, port) for entry in entries)
            for entries in self.permit_listen
        )

    def merge(self, other: KeyOptions) -> KeyOptions:
        """What both permit, for a session to keep to; what is said of authorities ends here.

        Of two environments this one's is taken whole, and two different tunnel devices permit no tunnel. Raises
        :class:`KeyFormatError` for two different forced commands.
        """
        if None not in (self.command, other.command) and self.command != other.command:
            raise KeyFormatError("two different forced commands")
        devices = {self.tunnel, other.tunnel} - {None}
        merged: dict[str, Any] = {name: getattr(self, name) and getattr(other, name) for name in _PERMISSIONS}
        merged |= {name: getattr(self, name) or getattr(other, name) for name in ("require_touch", "require_verify")}
        merged |= {
            name: getattr(self, name) + getattr(other, name)
            for name in ("sources", "networks", "permit_open", "permit_listen")
        }
        merged["permit_tunnel"] = merged["permit_tunnel"] and len(devices) < 2
        return KeyOptions(
            **merged,
            command=other.command if self.command is None else self.command,
            environment=self.environment or other.environment,
            tunnel=other.tunnel if self.tunnel is None else self.tunnel,
            expires=min((time for time in (self.expires, other.expires) if time is not None), default=None),
        )


_PERMISSIONS = tuple(
    field.name for field in fields(KeyOptions) if field.name.startswith("permit_") and field.default is True
)
_NO_PERMISSION: Final[dict[str, Any]] = dict.fromkeys(_PERMISSIONS, False)
#: Nothing is permitted: ``restrict``, and what a certificate without extensions starts from.
RESTRICTED: Final = KeyOptions(**_NO_PERMISSION)


def parse_options(text: str) -> tuple[KeyOptions, str]:
    """The options that ``text`` begins with, up to a blank outside quotes, and what follows.

    Raises :class:`KeyFormatError` for an option that is unknown, malformed, empty or repeated where OpenSSH refuses it.
    """
    values: dict[str, Any] = {}
    at = 0
    while True:
        start, at = at, _NAME.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text
        written = text[start:at]
        name = lower(written)
        has_value = text.startswith("=", at)
        if not name:
            raise KeyFormatError("an option is empty")
        if name not in _FLAGS and name not in _VALUES:
            raise KeyFormatError(f"unknown option {printable(written[:64])}")
        if has_value is not (name in _VALUES):
            raise KeyFormatError(f"option {name} {'takes no' if has_value else 'needs a'} value")
        if name in _FLAGS:
            values |= _FLAGS[name]
        else:
            quoted = _QUOTED.match(text, at + 1)
            if quoted is None:
                raise KeyFormatError(f"the value of option {name} must stand in quotes")
            at = quoted.end()
            _VALUES[name].add(values, name, quoted[1].replace('\\"', '"'))
        if at == len(text) or text[at] in " \t":
            break
        if text[at] != ",":
            raise KeyFormatError(f"after option {name} a comma is wanted")
        at += 1
    options = KeyOptions(**values)
    if options.principals is not None and not options.cert_authority:
        raise KeyFormatError("option principals needs cert-authority")
    return options, text[at:].lstrip(" \t")


@dataclass(frozen=True, slots=True)
class _Value:
    """An option with a value: its field, its reader, and what a later one does to an earlier one's value.

    Readers raise ValueError with the reason.
    """

    field: str
    read: Callable[[str], Any]
    join: Callable[[Any, Any], Any]

    def add(self, values: dict[str, Any], name: str, text: str) -> None:
        try:
            value = self.read(text)
            values[self.field] = self.join(values[self.field], value) if self.field in values else value
        except ValueError as error:
            raise KeyFormatError(f"option {name}: {printable(str(error))}") from None


def _sources(text: str) -> tuple[tuple[str, ...], ...]:
    patterns = tuple(text.split(","))
    check_address_list(patterns)
    return (patterns,)


def _principals(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(names):
        raise ValueError("a name is empty")
    return names


def _variable(text: str) -> tuple[tuple[str, str], ...]:
    found = _VARIABLE.fullmatch(text)
    if found is None:
        raise ValueError("NAME=value is wanted, of letters, digits and underscores")
    return ((found[1], found[2]),)


def _device(text: str) -> int:
    if text.lower() == "any":
        return TUNNEL_ANY
    if not _DEVICE.fullmatch(text) or int(text) > TUNNEL_ANY - 2:
        raise ValueError(f"{text!r} is not a tunnel device")
    return int(text)


def _endpoint(text: str) -> tuple[tuple[Endpoint, ...], ...]:
    found = _ENDPOINT.fullmatch(text)
    if found is None or found[3] is not None and not 0 < int(found[3]) < 65536:
        raise ValueError(f"{text!r} is not a host and a port")
    host = found[2] if found[1] is None else found[1]
    if len(host) > MAX_HOST:
        raise ValueError(f"a host is longer than {MAX_HOST} characters")
    return ((Endpoint(host, None if found[3] is None else int(found[3])),),)


def _listen_endpoint(text: str) -> tuple[tuple[Endpoint, ...], ...]:
    return _endpoint(text if ":" in text else f"*:{text}")


def _once(old: object, new: object) -> object:
    raise ValueError("given twice")


def _last(old: object, new: object) -> object:
    return new


def _first_of_a_name(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if new[0][0] in dict(old):
        return old
    if len(old) >= MAX_ENVIRONMENT:
        raise ValueError(f"more than {MAX_ENVIRONMENT} variables")
    return old + new


def _one_list(
    old: tuple[tuple[Endpoint, ...], ...], new: tuple[tuple[Endpoint, ...], ...]
) -> tuple[tuple[Endpoint, ...], ...]:
    if len(old[0]) >= MAX_ENDPOINTS:
        raise ValueError(f"given more than {MAX_ENDPOINTS} times")
    return (old[0] + new[0],)


_VALUES: Final[dict[str, _Value]] = {
    "command": _Value("command", str, _once),
    "environment": _Value("environment", _variable, _first_of_a_name),
    "expiry-time": _Value("expires", moment, min),
    "from": _Value("sources", _sources, _once),
    "permitlisten": _Value("permit_listen", _listen_endpoint, _one_list),
    "permitopen": _Value("permit_open", _endpoint, _one_list),
    "principals": _Value("principals", _principals, _once),
    "tunnel": _Value("tunnel", _device, _last),
}
_FLAGS: Final[dict[str, dict[str, bool]]] = {
    "cert-authority": {"cert_authority": True},
    "restrict": _NO_PERMISSION,
    **{
        prefix + name: {field: not prefix}
        for prefix in ("", "no-")
        for name, field in (
            ("agent-forwarding", "permit_agent_forwarding"),
            ("port-forwarding", "permit_port_forwarding"),
            ("pty", "permit_pty"),
            ("touch-required", "require_touch"),
            ("user-rc", "permit_user_rc"),
            ("verify-required", "require_verify"),
            ("x11-forwarding", "permit_x11_forwarding"),
        )
    },
}
