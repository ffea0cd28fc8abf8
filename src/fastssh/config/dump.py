"""What ``ssh -G`` prints: a configuration as it was evaluated, in OpenSSH 9.2's order and spelling.

Where it says what is offered, it is what fastssh offers. What OpenSSH 9.2 does not know is printed when it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fastssh.config.algorithm_lists import LISTS
from fastssh.config.client_values import NO_ESCAPE, ControlPersist, KeysToAgent, PermittedCname, TunnelDevice
from fastssh.config.session import DEFAULT_QOS
from fastssh.config.settings import Settings
from fastssh.config.values import qos_name

if TYPE_CHECKING:
    from fastssh.config.forwards import Forward

Shown = Callable[[Settings], Iterable[str]]


class _Row(NamedTuple):
    """A directive, how its keyword is printed, and what is printed behind it: a line for each text."""

    name: str
    keyword: str
    shown: Shown


def lines(settings: Settings, forwarded: Sequence[Forward] | None = None) -> list[str]:
    """The lines, without line ends. ``forwarded`` is what is forwarded, where the command line says more than
    ``settings``. ConfigError when something in the settings cannot be used."""
    if forwarded is None:
        from fastssh.config.forwards import forwards

        forwarded = forwards(settings)
    found = []
    for row in _ROWS:
        if row.name in _FORWARDS:
            texts: Iterable[str] = (str(each) for each in forwarded if each.kind.directive == row.name)
        else:
            texts = row.shown(settings)
        found += [f"{row.keyword} {text}" for text in texts]
    return found


# -- kinds of rows -----------------------------------------------------------------------------------------------------


def _row(name: str, shown: Shown) -> _Row:
    return _Row(name, name.lower(), shown)


def _flag(name: str) -> _Row:
    return _row(name, lambda settings: ["yes" if settings.flag(name) else "no"])


def _choice(name: str, **words: str) -> _Row:
    """A word, in another spelling where ``words`` has one."""
    return _row(name, lambda settings: [words.get(word := settings.typed(name, str), word)])


def _number(name: str) -> _Row:
    return _row(name, lambda settings: [str(settings.number(name))])


def _text(name: str) -> _Row:
    """Each value as it was written."""
    return _row(name, lambda settings: [str(value) for value, _ in settings.given(name)])


def _unless_none(name: str, text: Callable[[Settings], str | None]) -> _Row:
    def shown(settings: Settings) -> list[str]:
        found = text(settings)
        return [] if found is None else [found]

    return _row(name, shown)


def _as_written(name: str) -> _Row:
    """A word as it was written, unless it is ``none``."""
    given = _text(name)
    return given._replace(shown=lambda settings: [word for word in given.shown(settings) if word.lower() != "none"])


def _path(name: str) -> _Row:
    return _unless_none(name, lambda settings: settings.path(name))


def _together(name: str, empty: str = "none") -> _Row:
    """Words on one line."""
    return _row(name, lambda settings: [" ".join(map(str, settings.typed(name, tuple))) or empty])


def _paths(name: str) -> _Row:
    return _row(name, lambda settings: [" ".join(settings.paths(name) or ()) or "none"])


def _algorithms(name: str) -> _Row:
    return _row(name, lambda settings: [",".join(chosen(settings, name))])


def _if_given(row: _Row) -> _Row:
    return row._replace(shown=lambda settings: row.shown(settings) if row.name in settings else [])


# -- what has a form of its own ----------------------------------------------------------------------------------------


def chosen(settings: Settings, name: str) -> tuple[str, ...]:
    """The algorithms of a kind that are offered, best first. ConfigError that names the place."""
    kind, spec = LISTS[name], settings.text(name)
    if spec is None:
        return kind.known()
    try:
        return kind.choose(spec) or kind.known()
    except ValueError as error:
        raise settings.where(name).error(f"{name}: {error}") from None


def _forward_agent(settings: Settings) -> list[str]:
    return [settings.path("ForwardAgent") or "no"]


def _keystroke_interval(settings: Settings) -> list[str]:
    interval = settings.number("ObscureKeystrokeTiming")
    return [f"interval:{interval}" if interval else "no"]


def _keys_to_agent(settings: Settings) -> list[str]:
    when, lifetime = settings.typed("AddKeysToAgent", KeysToAgent)
    if lifetime:
        return [f"confirm {lifetime}" if when == "confirm" else str(lifetime)]
    return [{"yes": "true", "no": "false"}.get(when, when)]


def _control_persist(settings: Settings) -> list[str]:
    stays, seconds = settings.typed("ControlPersist", ControlPersist)
    return [str(seconds) if seconds else "yes" if stays else "no"]


def _cnames(settings: Settings) -> list[str]:
    rules = settings.typed("CanonicalizePermittedCNAMEs", tuple)
    return [" ".join(f"{rule.source}:{rule.target}" for rule in rules if isinstance(rule, PermittedCname)) or "none"]


def _tunnel(settings: Settings) -> list[str]:
    kind = "no" if settings.flag("ClearAllForwardings") else settings.typed("Tunnel", str)
    return [{"yes": "point-to-point", "no": "false"}.get(kind, kind)]


def _tunnel_device(settings: Settings) -> list[str]:
    device = settings.typed("TunnelDevice", TunnelDevice)
    return [":".join("any" if number is None else str(number) for number in device)]


def _escape_char(settings: Settings) -> list[str]:
    byte = settings.number("EscapeChar")
    return ["none" if byte == NO_ESCAPE else _visible(byte)]


def _visible(byte: int) -> str:
    """A byte as vis(3) shows it, white space too."""
    if byte == 0x20:
        return "\\040"
    if byte == 0x5C:
        return "\\\\"
    if 0x21 <= byte < 0x7F:
        return chr(byte)
    return "\\^" + chr(byte ^ 0x40)


def _qos(settings: Settings) -> list[str]:
    return [" ".join(map(qos_name, settings.qos() or DEFAULT_QOS))]


def _proxy_command(settings: Settings) -> list[str]:
    command = settings.value("ProxyCommand")
    return [] if not isinstance(command, str) or command.lower() == "none" else [command]


def _proxy_jump(settings: Settings) -> Iterator[str]:
    if (jump := settings.jump) is None:
        return
    settings.proxy_jump()  # which refuses a loop
    host, user, port = jump.hops[-1]
    shown = f"[{host}]" if ":" in host or not host.strip("0123456789.") else host
    shown = shown if user is None else f"{user}@{shown}"
    shown = shown if port is None else f"{shown}:{port}"
    yield f"{jump.before},{shown}" if jump.before else shown


def _identity_files(settings: Settings) -> Iterable[str]:
    from fastssh.aio.options import IDENTITY_FILES

    return [str(value) for value, _ in settings.given("IdentityFile")] or IDENTITY_FILES


def _update_host_keys(settings: Settings) -> list[str]:
    return [_TRUE.get(settings.update_host_keys, settings.update_host_keys)]


_FORWARDS: Final = ("DynamicForward", "LocalForward", "RemoteForward")  # see lines()
_LEVELS: Final = {"quiet": "SILENT", "debug1": "DEBUG"}
_TRUE: Final = {"yes": "true", "no": "false"}

_ROWS: Final[tuple[_Row, ...]] = (
    _row("Host", lambda settings: [settings.original_host]),
    _row("User", lambda settings: [settings.user]),
    _row("HostName", lambda settings: [settings.host]),
    _number("Port"),
    _choice("AddressFamily"),
    _flag("BatchMode"),
    _flag("CanonicalizeFallbackLocal"),
    _choice("CanonicalizeHostname", **_TRUE),
    _flag("CheckHostIP"),
    _flag("Compression"),
    _choice("ControlMaster", **_TRUE),
    _flag("EnableSSHKeysign"),
    _flag("ClearAllForwardings"),
    _flag("ExitOnForwardFailure"),
    _row("FingerprintHash", lambda settings: [settings.typed("FingerprintHash", str).upper()]),
    _flag("ForwardX11"),
    _flag("ForwardX11Trusted"),
    _flag("GatewayPorts"),
    _flag("GSSAPIAuthentication"),
    _flag("GSSAPIKeyExchange"),
    _flag("GSSAPIDelegateCredentials"),
    _flag("GSSAPITrustDns"),
    _flag("GSSAPIRenewalForcesRekey"),
    _text("GSSAPIClientIdentity"),
    _text("GSSAPIServerIdentity"),
    _flag("HashKnownHosts"),
    _flag("HostbasedAuthentication"),
    _flag("IdentitiesOnly"),
    _flag("KbdInteractiveAuthentication"),
    _flag("NoHostAuthenticationForLocalhost"),
    _flag("PasswordAuthentication"),
    _flag("PermitLocalCommand"),
    _row("ProxyUseFdpass", lambda settings: ["yes" if settings.flag("ProxyUseFdpass") and not settings.jump else "no"]),
    _choice("PubkeyAuthentication", **_TRUE),
    _choice("RequestTTY", **_TRUE),
    _choice("SessionType"),
    _flag("StdinNull"),
    _flag("ForkAfterAuthentication"),
    _flag("StreamLocalBindUnlink"),
    _choice("StrictHostKeyChecking", **_TRUE),
    _flag("TCPKeepAlive"),
    _row("Tunnel", _tunnel),
    _choice("VerifyHostKeyDNS", **_TRUE),
    _flag("VisualHostKey"),
    _row("UpdateHostKeys", _update_host_keys),
    _flag("EnableEscapeCommandline"),
    _if_given(_choice("WarnWeakCrypto")),
    _number("CanonicalizeMaxDots"),
    _number("ConnectionAttempts"),
    _number("ForwardX11Timeout"),
    _number("NumberOfPasswordPrompts"),
    _number("ServerAliveCountMax"),
    _number("ServerAliveInterval"),
    _number("RequiredRSASize"),
    _if_given(_row("ObscureKeystrokeTiming", _keystroke_interval)),
    _text("BindAddress"),
    _text("BindInterface"),
    _algorithms("Ciphers"),
    _path("ControlPath"),
    _algorithms("HostKeyAlgorithms"),
    _unless_none("HostKeyAlias", lambda settings: settings.host_key_alias),
    _algorithms("HostbasedAcceptedAlgorithms"),
    _path("IdentityAgent"),
    _text("IgnoreUnknown"),
    _text("KbdInteractiveDevices"),
    _algorithms("KexAlgorithms"),
    _algorithms("CASignatureAlgorithms"),
    _as_written("LocalCommand"),
    _unless_none("RemoteCommand", lambda settings: settings.text("RemoteCommand")),
    _row("LogLevel", lambda settings: [_LEVELS.get(level := settings.typed("LogLevel", str), level.upper())]),
    _algorithms("MACs"),
    _as_written("PKCS11Provider"),
    _as_written("SecurityKeyProvider"),
    _text("PreferredAuthentications"),
    _algorithms("PubkeyAcceptedAlgorithms"),
    _if_given(_together("RevokedHostKeys")),
    _text("XAuthLocation"),
    _as_written("KnownHostsCommand"),
    _text("Tag"),
    _if_given(_unless_none("VersionAddendum", lambda settings: settings.text("VersionAddendum") or None)),
    *(_row(name, lambda settings: ()) for name in _FORWARDS),
    _row("IdentityFile", _identity_files),
    _together("CanonicalDomains"),
    _text("CertificateFile"),
    _together("GlobalKnownHostsFile"),
    _paths("UserKnownHostsFile"),
    _text("SendEnv"),
    _row("SetEnv", lambda settings: map(str, settings.typed("SetEnv", tuple))),
    _together("LogVerbose"),
    _together("PermitRemoteOpen"),
    _if_given(_together("ChannelTimeout")),
    _row("AddKeysToAgent", _keys_to_agent),
    _row("ForwardAgent", _forward_agent),
    _row("ConnectTimeout", lambda settings: [str(settings.number("ConnectTimeout") or "none")]),
    _row("TunnelDevice", _tunnel_device),
    _Row("CanonicalizePermittedCNAMEs", "canonicalizePermittedcnames", _cnames),  # as ssh spells it
    _row("ControlPersist", _control_persist),
    _row("EscapeChar", _escape_char),
    _row("IPQoS", _qos),
    _row("RekeyLimit", lambda settings: [" ".join(map(str, settings.rekey_limit()))]),
    _row("StreamLocalBindMask", lambda settings: [f"0{settings.number('StreamLocalBindMask'):o}"]),
    _text("SyslogFacility"),
    _row("ProxyCommand", _proxy_command),
    _row("ProxyJump", _proxy_jump),
)
