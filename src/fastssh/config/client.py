"""From the settings of ssh_config(5) to the options of a client connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from fastssh.aio.options import AUTHENTICATIONS, ClientOptions, Prompter
from fastssh.config.algorithm_lists import LISTS
from fastssh.config.client_values import KeysToAgent
from fastssh.config.destination import Jump
from fastssh.config.evaluate import load
from fastssh.config.session import agent_socket, forwarded_agent, known_hosts_command
from fastssh.config.settings import Settings
from fastssh.config.support import passed_over, refuse
from fastssh.errors import ConfigError

MAX_HOPS: Final = 16
_ANYTHING: Final = dict.fromkeys("fHIKt", "x")  # for a command that is to be looked at, not run


class _Place(NamedTuple):
    """Where a connection goes, and as whom."""

    host: str
    port: int
    user: str


# Which directive switches an authentication method off.
_SWITCHES: Final = {
    "publickey": "PubkeyAuthentication",
    "keyboard-interactive": "KbdInteractiveAuthentication",
    "password": "PasswordAuthentication",
}


def client_options(
    settings: Settings,
    *,
    prompter: Prompter | None = None,
    log: Callable[[int, str], None] | None = None,
    evaluate: Callable[..., Settings] = load,
) -> ClientOptions:
    """The options for the host of ``settings``. ``prompter`` is left out in BatchMode. ``evaluate`` gives the settings
    of jump hosts: :func:`load`, with the files that are to be read.

    Raises ConfigError for settings that cannot be followed: what would change where we connect or whom we trust is
    never ignored.
    """
    return _options(settings, None if settings.flag("BatchMode") else prompter, log, evaluate, ())


def _options(
    settings: Settings,
    prompter: Prompter | None,
    log: Callable[[int, str], None] | None,
    evaluate: Callable[..., Settings],
    beyond: tuple[_Place, ...],
) -> ClientOptions:
    """``beyond`` are the places that are reached by way of this one."""
    refuse(settings)
    if log is not None:
        for line in passed_over(settings):
            log(1, line)
    place = _Place(settings.host, settings.port, settings.user)
    if place in beyond or len(beyond) > MAX_HOPS:
        raise ConfigError(f"jumphost loop via {settings.original_host}")
    jump = settings.proxy_jump()
    options = ClientOptions(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        host_key_alias=settings.host_key_alias,
        bind_address=settings.text("BindAddress"),
        bind_interface=settings.text("BindInterface"),
        connection_attempts=settings.number("ConnectionAttempts"),
        proxy_command=settings.text("ProxyCommand"),
        proxy_use_fdpass=settings.flag("ProxyUseFdpass"),
        connect_timeout=settings.number("ConnectTimeout"),
        tcp_keepalive=settings.flag("TCPKeepAlive"),
        user_known_hosts=settings.paths("UserKnownHostsFile") or (),
        global_known_hosts=settings.words("GlobalKnownHostsFile") or (),
        required_rsa_size=max(1024, settings.number("RequiredRSASize")),
        check_host_ip=settings.flag("CheckHostIP"),
        no_host_authentication_for_localhost=settings.flag("NoHostAuthenticationForLocalhost"),
        revoked_host_keys=settings.paths("RevokedHostKeys") or (),
        fingerprint_hash=settings.typed("FingerprintHash", str),
        visual_host_key=settings.flag("VisualHostKey"),
        update_host_keys=_update_host_keys(settings),
        hash_known_hosts=settings.flag("HashKnownHosts"),
        identity_files=settings.paths("IdentityFile"),
        certificate_files=settings.paths("CertificateFile") or (),
        identities_only=settings.flag("IdentitiesOnly"),
        agent_socket=_agent_socket(settings),
        add_keys_to_agent=_add_keys_to_agent(settings),
        add_keys_lifetime=settings.typed("AddKeysToAgent", KeysToAgent).lifetime,
        forward_agent=forwarded_agent(settings),
        prompter=prompter,
        preferred_authentications=_authentications(settings),
        number_of_password_prompts=settings.number("NumberOfPasswordPrompts"),
        kex=_algorithms(settings, "KexAlgorithms"),
        host_key_algorithms=_algorithms(settings, "HostKeyAlgorithms"),
        ca_signature_algorithms=_algorithms(settings, "CASignatureAlgorithms"),
        pubkey_accepted_algorithms=_algorithms(settings, "PubkeyAcceptedAlgorithms"),
        ciphers=_algorithms(settings, "Ciphers"),
        macs=_algorithms(settings, "MACs"),
        compression=settings.flag("Compression"),
        server_alive_interval=settings.number("ServerAliveInterval"),
        server_alive_count_max=settings.number("ServerAliveCountMax"),
        rekey_bytes=settings.rekey_limit().bytes,
        rekey_seconds=settings.rekey_limit().seconds,
    )
    if known_hosts_command(settings, _ANYTHING) is not None:
        options.known_hosts_command = lambda tokens: known_hosts_command(settings, tokens) or ()
    match settings.value("AddressFamily"):
        case "inet":
            options.address_family = "inet"
        case "inet6":
            options.address_family = "inet6"
    match settings.value("StrictHostKeyChecking"):
        case ("yes" | "no" | "accept-new") as checking:
            options.strict_host_key_checking = checking
        case _:  # "ask", and nobody to ask in BatchMode: unknown hosts are refused
            options.strict_host_key_checking = "ask" if options.prompter is not None else "yes"
    if (qos := settings.qos()) is not None:
        options.ip_qos = qos.bulk
    if log is not None:
        options.log = log
    if jump is not None:
        options.proxy_jump = _options(_hop(settings, jump, evaluate), prompter, log, evaluate, (*beyond, place))
    return options


def _hop(settings: Settings, jump: Jump, evaluate: Callable[..., Settings]) -> Settings:
    """The settings of the last hop, to which the ones before it are handed on; like ``ssh -W``, it is a host of its
    own, for which nothing of the command line holds but the files to read."""
    hop = jump.hops[-1]
    overrides = [("ProxyJump", jump.before)] if jump.before else []
    overrides += [("User", hop.user)] if hop.user is not None else []
    overrides += [("Port", str(hop.port))] if hop.port is not None else []
    return evaluate(hop.host, overrides=overrides, local=settings.local, session_type="none", command="")


def _agent_socket(settings: Settings) -> str | None:
    """IdentityAgent as ClientOptions takes it: None for $SSH_AUTH_SOCK, "none" for no agent, else a path."""
    if settings.text("IdentityAgent") in (None, "SSH_AUTH_SOCK"):
        return None
    return agent_socket(settings) or "none"


def _add_keys_to_agent(settings: Settings) -> Literal["no", "yes", "ask", "confirm"]:
    match settings.typed("AddKeysToAgent", KeysToAgent).when:
        case ("yes" | "ask" | "confirm") as chosen:
            return chosen
        case _:
            return "no"


def _update_host_keys(settings: Settings) -> Literal["yes", "ask", "no"]:
    match settings.update_host_keys:
        case ("yes" | "ask") as chosen:
            return chosen
        case _:
            return "no"


def _authentications(settings: Settings) -> tuple[str, ...]:
    """PreferredAuthentications without methods that are switched off or that fastssh does not speak."""
    asked = settings.text("PreferredAuthentications")
    methods = asked.lower().split(",") if asked else AUTHENTICATIONS
    kept = tuple(
        method for method in dict.fromkeys(methods)
        if method in _SWITCHES and settings.value(_SWITCHES[method]) not in (False, "no")
    )
    if not kept:
        reason = "PreferredAuthentications and the methods switched off leave no authentication method"
        raise settings.where(settings.last("PreferredAuthentications", *_SWITCHES.values())).error(reason)
    return kept


def _algorithms(settings: Settings, name: str) -> tuple[str, ...]:
    """The algorithms a directive chooses; empty when it leaves the default."""
    spec = settings.text(name)
    if spec is None:
        return ()
    try:
        return LISTS[name].choose(spec)
    except ValueError as error:
        raise settings.where(name).error(f"{name}: {error}") from None
