# ruff: noqa: RUF009 - setting() makes dataclass fields
"""The settings of fastsshd: the table of sshd_config(5), which is a dataclass at the same time.

Sources: sshd_config(5) of OpenSSH 9.2 for names, defaults, arguments and which may stand in a Match block, that of
10.2 for PerSourcePenalties and for Subsystem in Match blocks; servconf.c for aliases and for what ``sshd -T`` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from fastssh.config.server.directives import (
    ServerDirective,
    algorithm_setting,
    all_of_them,
    directive_of,
    each,
    joined,
    no_effect,
    setting,
    upper,
)
from fastssh.config.server.limits import (
    MaxStartups,
    NetBlock,
    Penalties,
    combined_penalties,
    max_startups,
    net_block,
    penalties,
)
from fastssh.config.server.values import (
    AddressFamily,
    AllowForwarding,
    Command,
    FingerprintHash,
    GatewayPorts,
    ListenAddress,
    PermitRootLogin,
    Subsystem,
    SyslogFacility,
    absolute_files,
    account,
    address_list,
    command,
    compression,
    destinations,
    environment_patterns,
    environment_values,
    file,
    first_of_each_name,
    listen_address,
    listeners,
    mask,
    method_lists,
    number_or_none,
    one_file,
    only_no,
    ports,
    pubkey_auth_options,
    root_directory,
    rsa_size,
    shell_command,
    subsystem,
    user_environment,
    user_file,
    user_files,
    user_patterns,
    version_addendum,
    with_tokens,
    yes_no,
)
from fastssh.config.table import by_name
from fastssh.config.values import (
    LogLevel,
    Qos,
    RekeyLimit,
    member,
    number,
    qos,
    qos_name,
    rekey_limit,
    seconds,
    words,
)
from fastssh.keys.endpoint import Endpoint

USER_TOKENS: Final = "hUu"
KEY_TOKENS: Final = USER_TOKENS + "fkt"
CERTIFICATE_TOKENS: Final = KEY_TOKENS + "FiKsT"

_PID_FILE: str | None = "/var/run/sshd.pid"
_MODULI_FILE: str | None = "/etc/ssh/moduli"
_HOST_KEYS: Final = tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519"))


def _method_lists(lists: tuple[tuple[str, ...], ...]) -> list[str]:
    return joined(nothing="any")(tuple(",".join(methods) for methods in lists))


def _any_or_none(values: tuple[Endpoint, ...] | None) -> list[str]:
    return ["any"] if values is None else joined()(values)


def _environment(values: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{name}={value}" for name, value in values]


def _user_environment(patterns: tuple[str, ...]) -> list[str]:
    return ["yes" if patterns == ("*",) else ",".join(patterns) or "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What holds for the server, or for one connection; made by :mod:`fastssh.config.server.evaluate`.

    File names are absolute, but for those that are relative to a user's home (``authorized_keys_file``,
    ``authorized_principals_file``), in which tokens and all still stand as written. ``None`` and ``()`` are ``none``,
    except where a comment says otherwise.
    """

    # -- listening
    ports: tuple[int, ...] = setting("Port", ports, (22,), match=False, combine=all_of_them, show=each)
    address_family: AddressFamily = setting("AddressFamily", member(AddressFamily), AddressFamily.ANY, match=False)
    listen_addresses: tuple[ListenAddress, ...] = setting(  # each with its port; hosts' names are not looked up
        "ListenAddress", listen_address, (), match=False, combine=all_of_them, show=each
    )
    pid_file: str | None = setting("PidFile", file, _PID_FILE, match=False)
    tcp_keep_alive: bool = setting("TCPKeepAlive", yes_no, True, match=False, aliases=("keepalive",))
    ip_qos: Qos = setting(
        "IPQoS", qos, qos(("af21", "cs1")), most=2, show=lambda value: [" ".join(map(qos_name, value))]
    )
    use_dns: bool = setting("UseDNS", yes_no, False, match=False)

    # -- limits before authentication
    login_grace_time: int = setting("LoginGraceTime", seconds, 120, match=False)  # seconds; 0: no limit
    max_startups: MaxStartups = setting("MaxStartups", max_startups, MaxStartups(10, 30, 100), match=False)
    per_source_max_startups: int | None = setting("PerSourceMaxStartups", number_or_none, None, match=False)
    per_source_net_block_size: NetBlock = setting(
        "PerSourceNetBlockSize", net_block, NetBlock(32, 128), match=False
    )
    per_source_penalties: Penalties = setting(
        "PerSourcePenalties", penalties, Penalties(), most=0, match=False, combine=combined_penalties
    )
    per_source_penalty_exempt_list: tuple[str, ...] = setting(
        "PerSourcePenaltyExemptList", address_list, (), match=False, show=joined(",")
    )
    max_auth_tries: int = setting("MaxAuthTries", number, 6)

    # -- host keys and algorithms
    host_keys: tuple[str, ...] = setting(  # unless HostKey was given, those that exist
        "HostKey", one_file, _HOST_KEYS, match=False, combine=all_of_them, show=each, aliases=("hostdsakey",)
    )
    host_certificates: tuple[str, ...] = setting(
        "HostCertificate", one_file, (), match=False, combine=all_of_them, show=each
    )
    ciphers: tuple[str, ...] = algorithm_setting("Ciphers", match=False)
    macs: tuple[str, ...] = algorithm_setting("MACs", match=False)
    kex_algorithms: tuple[str, ...] = algorithm_setting("KexAlgorithms", match=False)
    moduli_file: str | None = setting("ModuliFile", file, _MODULI_FILE, match=False)
    host_key_algorithms: tuple[str, ...] = algorithm_setting("HostKeyAlgorithms", match=False)
    compression: bool = setting("Compression", compression, True, match=False)  # after authentication, if asked for
    rekey_limit: RekeyLimit = setting(
        "RekeyLimit", rekey_limit, RekeyLimit(0, 0), most=2, show=lambda value: [f"{value.bytes} {value.seconds}"]
    )
    version_addendum: str | None = setting("VersionAddendum", version_addendum, None, most=-1, match=False)

    # -- who may log in, and how
    permit_root_login: PermitRootLogin = setting(
        "PermitRootLogin",
        member(PermitRootLogin, prohibit_password=("without-password",)),
        PermitRootLogin.PROHIBIT_PASSWORD,
    )
    allow_users: tuple[str, ...] = setting("AllowUsers", user_patterns, (), most=0, combine=all_of_them, show=each)
    deny_users: tuple[str, ...] = setting("DenyUsers", user_patterns, (), most=0, combine=all_of_them, show=each)
    allow_groups: tuple[str, ...] = setting("AllowGroups", words, (), most=0, combine=all_of_them, show=each)
    deny_groups: tuple[str, ...] = setting("DenyGroups", words, (), most=0, combine=all_of_them, show=each)
    authentication_methods: tuple[tuple[str, ...], ...] = setting(  # nothing: any one is enough
        "AuthenticationMethods", method_lists, (), most=0, show=_method_lists
    )
    pubkey_authentication: bool = setting("PubkeyAuthentication", yes_no, True, aliases=("dsaauthentication",))
    password_authentication: bool = setting("PasswordAuthentication", yes_no, True)
    kbd_interactive_authentication: bool = setting(
        "KbdInteractiveAuthentication", yes_no, True, aliases=("challengeresponseauthentication", "skeyauthentication")
    )
    permit_empty_passwords: bool = setting(
        "PermitEmptyPasswords", yes_no, False, remarks=no_effect("PermitEmptyPasswords", "no")
    )
    use_pam: bool = setting("UsePAM", yes_no, False, match=False)
    strict_modes: bool = setting("StrictModes", yes_no, True, match=False)
    users_file: str | None = setting(  # ours, see fastssh.daemon.login.users_file
        "UsersFile", file, None, match=False, show=lambda value: [] if value is None else [value]
    )

    # -- users' keys
    authorized_keys_file: tuple[str, ...] = setting(
        "AuthorizedKeysFile", with_tokens(USER_TOKENS, user_files), (".ssh/authorized_keys", ".ssh/authorized_keys2"),
        most=0, show=joined(),
    )
    authorized_keys_command: Command | None = setting(
        "AuthorizedKeysCommand", with_tokens(KEY_TOKENS, command), None, most=-1
    )
    authorized_keys_command_user: str | None = setting("AuthorizedKeysCommandUser", account, None)
    pubkey_accepted_algorithms: tuple[str, ...] = algorithm_setting(
        "PubkeyAcceptedAlgorithms", match=True, aliases=("pubkeyacceptedkeytypes",)
    )
    pubkey_auth_options: tuple[str, ...] = setting(
        "PubkeyAuthOptions", pubkey_auth_options, (), most=0, show=joined()
    )
    required_rsa_size: int = setting("RequiredRSASize", rsa_size, 1024)
    trusted_user_ca_keys: str | None = setting("TrustedUserCAKeys", file, None)
    authorized_principals_file: str | None = setting(
        "AuthorizedPrincipalsFile", with_tokens(USER_TOKENS, user_file), None
    )
    authorized_principals_command: Command | None = setting(
        "AuthorizedPrincipalsCommand", with_tokens(CERTIFICATE_TOKENS, command), None, most=-1
    )
    authorized_principals_command_user: str | None = setting("AuthorizedPrincipalsCommandUser", account, None)
    ca_signature_algorithms: tuple[str, ...] = algorithm_setting("CASignatureAlgorithms", match=True)
    revoked_keys: tuple[str, ...] = setting("RevokedKeys", absolute_files, (), most=0, show=joined())

    # -- sessions
    max_sessions: int = setting("MaxSessions", number, 10)
    subsystems: tuple[Subsystem, ...] = setting(
        "Subsystem", subsystem, (), most=0, least=2, adds=True, combine=first_of_each_name, show=each
    )
    force_command: str | None = setting("ForceCommand", shell_command, None, most=-1)
    chroot_directory: str | None = setting("ChrootDirectory", with_tokens(USER_TOKENS, root_directory), None)
    permit_tty: bool = setting("PermitTTY", yes_no, True)
    permit_user_rc: bool = setting("PermitUserRC", yes_no, True, remarks=no_effect("PermitUserRC", "no"))
    permit_user_environment: tuple[str, ...] = setting(  # patterns of names; nothing: no
        "PermitUserEnvironment", user_environment, (), match=False, show=_user_environment
    )
    accept_env: tuple[str, ...] = setting(
        "AcceptEnv", environment_patterns, (), most=0, combine=all_of_them, show=each
    )
    set_env: tuple[tuple[str, str], ...] = setting("SetEnv", environment_values, (), most=0, show=_environment)
    banner: str | None = setting("Banner", file, None)
    print_motd: bool = setting(
        "PrintMotd", yes_no, True, match=False, remarks=no_effect("PrintMotd", "no")
    )
    print_last_log: bool = setting(
        "PrintLastLog", yes_no, True, match=False, remarks=no_effect("PrintLastLog", "no")
    )
    client_alive_interval: int = setting("ClientAliveInterval", seconds, 0)  # seconds; 0: never
    client_alive_count_max: int = setting("ClientAliveCountMax", number, 3)

    # -- forwarding
    disable_forwarding: bool = setting("DisableForwarding", yes_no, False)
    allow_tcp_forwarding: AllowForwarding = setting(
        "AllowTcpForwarding", member(AllowForwarding, yes=("all",)), AllowForwarding.YES
    )
    allow_stream_local_forwarding: AllowForwarding = setting(
        "AllowStreamLocalForwarding", member(AllowForwarding, yes=("all",)), AllowForwarding.YES
    )
    allow_agent_forwarding: bool = setting("AllowAgentForwarding", yes_no, True)
    x11_forwarding: bool = setting("X11Forwarding", only_no, False)
    gateway_ports: GatewayPorts = setting("GatewayPorts", member(GatewayPorts), GatewayPorts.NO)
    permit_open: tuple[Endpoint, ...] | None = setting(  # None: any
        "PermitOpen", destinations, None, most=0, show=_any_or_none
    )
    permit_listen: tuple[Endpoint, ...] | None = setting(  # None: any
        "PermitListen", listeners, None, most=0, show=_any_or_none
    )
    stream_local_bind_mask: int = setting(
        "StreamLocalBindMask", mask, 0o177, show=lambda value: [f"0{value:o}"]
    )
    stream_local_bind_unlink: bool = setting("StreamLocalBindUnlink", yes_no, False)

    # -- the log
    log_level: LogLevel = setting(
        "LogLevel", member(LogLevel, debug1=("debug",)), LogLevel.INFO,
        show=lambda level: ["DEBUG"] if level is LogLevel.DEBUG1 else upper(level),
    )
    syslog_facility: SyslogFacility = setting(
        "SyslogFacility", member(SyslogFacility), SyslogFacility.AUTH, match=False, show=upper
    )
    fingerprint_hash: FingerprintHash = setting(
        "FingerprintHash", member(FingerprintHash), FingerprintHash.SHA256, match=False, show=upper
    )

    # -- about the configuration itself
    given: frozenset[str] = frozenset()  # names of the fields that are not left to their defaults
    warnings: tuple[str, ...] = ()  # what was accepted and is not followed, with its place

    def lines(self) -> Iterator[str]:
        """The settings as ``sshd -T`` prints them: a keyword in lower case and its value.

        What sshd prints without ``-C`` is what holds for a connection of which nothing is known.
        """
        for name, directive in BY_FIELD.items():
            for value in directive.show(getattr(self, name)):
                yield f"{directive.name.lower()} {value}"


def _table() -> dict[str, ServerDirective[Any]]:
    found = {field.name: directive_of(field.metadata) for field in fields(ServerSettings)}
    return {name: directive for name, directive in found.items() if directive is not None}


BY_FIELD: Final = _table()
FIELDS: Final = {directive.name: name for name, directive in BY_FIELD.items()}
DIRECTIVES: Final = by_name(BY_FIELD.values())
