"""What a client connection is asked to be: one record of options, and the person behind it (:class:`Prompter`).

Names and defaults are ssh_config(5)'s in Python spelling, so that the configuration layer only translates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, Literal, Protocol

from fastssh.errors import ConfigError
from fastssh.keys.fingerprint import HASHES

if TYPE_CHECKING:
    from fastssh.aio.early import EarlyConnection
    from fastssh.keys.private import PrivateKey
    from fastssh.keys.public import PublicKey

StrictHostKeyChecking = Literal["yes", "ask", "accept-new", "no"]
Path = str | os.PathLike[str]

# Levels of ``ClientOptions.log``: what ssh(1) prints always, and with -v, -vv, -vvv.
LOG_WARNING: Final = 0
LOG_DEBUG1: Final = 1
LOG_DEBUG2: Final = 2

USER_KNOWN_HOSTS: Final = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS: Final = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
IDENTITY_FILES: Final = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
AUTHENTICATIONS: Final = ("publickey", "keyboard-interactive", "password")


class Prompter(Protocol):
    """Where questions to a person go. Text handed in is already safe for a terminal.

    A prompter that cannot or will not answer raises an :class:`~fastssh.errors.SSHError`; it ends the connection.
    """

    async def ask(self, prompt: str, *, echo: bool) -> str:
        """The answer to ``prompt`` (a password, a passphrase, a keyboard-interactive question), without its newline."""
        ...

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        """True to go on with an unknown host key.

        ``question`` is ssh's whole text, ending in "(yes/no/[fingerprint])? "; an answer equal to ``fingerprint``
        is a yes, and anything but yes, no and the fingerprint deserves "Please type 'yes', 'no' or the fingerprint: ".
        """
        ...

    def banner(self, text: str) -> None:
        """Shows the server's banner (RFC 4252 section 5.4); may hold several lines."""
        ...


# What the fields of ClientOptions may be, by their annotation: what only looks right would surprise much later.
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "bool": (bool,),
    "Sequence[Path]": (list, tuple),
    "Sequence[Path] | None": (list, tuple, type(None)),
    "Sequence[str]": (list, tuple),
    "Sequence[PrivateKey]": (list, tuple),
    "tuple[str, ...]": (list, tuple),
}


def _no_log(level: int, text: str) -> None:
    """The default log: nobody listens."""


@dataclass(kw_only=True)
class ClientOptions:
    """Options of one client connection. Times are in seconds, 0 switches a timer off; sizes are in bytes.

    Empty algorithm tuples mean the defaults of :mod:`fastssh.algorithms`.
    """

    host: str
    port: int = 22
    user: str = ""  # empty: the local user's name
    # -- the way there
    host_key_alias: str | None = None  # name to look up in known_hosts instead of host
    address_family: Literal["any", "inet", "inet6"] = "any"
    bind_address: str | None = None
    bind_interface: str | None = None  # one of whose addresses is the source, without bind_address
    connection_attempts: int = 1  # turns over all addresses, a second apart
    proxy_command: str | None = None  # the user's shell runs it, and its stdin and stdout are the connection
    proxy_use_fdpass: bool = False  # the command hands a connected socket over instead
    proxy_jump: ClientOptions | None = None  # the host to connect from, which may have a proxy_jump of its own
    # For each address of the host, and from the beginning of a connection to the end of its first key exchange; 0: the
    # system's, and login_timeout.
    connect_timeout: float = 0
    login_timeout: float = 120  # until authenticated, the time a person takes to answer not counted
    tcp_keepalive: bool = True
    ip_qos: int | None = None  # IP_TOS / IPV6_TCLASS; None: cs1 (0x20), the class of bulk traffic; -1: leave as it is
    # -- host keys
    user_known_hosts: Sequence[Path] = USER_KNOWN_HOSTS  # the first one is where new keys go
    global_known_hosts: Sequence[Path] = GLOBAL_KNOWN_HOSTS
    strict_host_key_checking: StrictHostKeyChecking | None = None  # None: "ask" with a prompter, "yes" without
    hash_known_hosts: bool = False
    check_host_ip: bool = False  # the address's key has to be the host's
    no_host_authentication_for_localhost: bool = False
    revoked_host_keys: Sequence[Path] = ()  # lists of keys or KRLs; one that cannot be read revokes all keys
    # Gives a program and its arguments for the tokens I, H, t, f and K of KnownHostsCommand (ssh_config(5)).
    known_hosts_command: Callable[[Mapping[str, str]], Sequence[str]] | None = None
    visual_host_key: bool = False
    fingerprint_hash: str = "sha256"  # or md5, sha1, sha384, sha512: of the fingerprints that are shown
    # Whether other keys that the server proves to have are learnt, and old ones forgotten; None: "yes", but "no" where
    # user_known_hosts is not the default.
    update_host_keys: Literal["yes", "ask", "no"] | None = None
    pinned_host_key: PublicKey | None = None  # the only one that is accepted; known_hosts is neither read nor written
    required_rsa_size: int = 1024  # bits; smaller host keys are refused, smaller user keys not offered
    # -- authentication
    identity_files: Sequence[Path] | None = None  # None: those of IDENTITY_FILES that exist
    certificate_files: Sequence[Path] = ()  # tried first; without any, ``-cert.pub`` beside each identity file
    identities_only: bool = False
    keys: Sequence[PrivateKey] = ()  # keys already in memory; tried first
    agent_socket: str | None = None  # None: $SSH_AUTH_SOCK; "none": no agent
    add_keys_to_agent: Literal["no", "yes", "ask", "confirm"] = "no"  # keys of files that logged in
    add_keys_lifetime: int = 0  # seconds; 0: for ever
    forward_agent: str | None = None  # the socket of the agent that processes on the server may use; None: none
    password: str | None = field(default=None, repr=False)  # tried once, before anybody is asked
    prompter: Prompter | None = None
    preferred_authentications: Sequence[str] = AUTHENTICATIONS
    number_of_password_prompts: int = 3
    # -- algorithms
    kex: tuple[str, ...] = ()
    host_key_algorithms: tuple[str, ...] = ()  # empty: the defaults, those of known keys of the host first
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    compression: bool = False
    ca_signature_algorithms: tuple[str, ...] = ()  # of authorities of host certificates
    pubkey_accepted_algorithms: tuple[str, ...] = ()  # signature algorithms we use to authenticate
    # -- the life of the connection
    server_alive_interval: float = 0
    server_alive_count_max: int = 3
    rekey_bytes: int = 0  # 0: the cipher's own limit
    rekey_seconds: float = 0
    log: Callable[[int, str], None] = _no_log
    verbose: Callable[[str], None] | None = None  # what ssh shows with LogLevel VERBOSE; None: goes to log, at level 1
    early: EarlyConnection | None = None  # a connection to ``host`` and ``port`` that was begun already
    banner: Callable[[str], None] | None = None  # shows the server's banner in the prompter's place

    def __post_init__(self) -> None:
        for each in fields(self):
            value, wanted = getattr(self, each.name), str(each.type)
            kinds = _TYPES.get(wanted)
            if kinds is not None and (not isinstance(value, kinds) or (type(value) is bool) is not (kinds == (bool,))):
                raise TypeError(f"{each.name} is to be {wanted}, not {type(value).__name__}")  # it may be a secret
        if not isinstance(self.proxy_jump, ClientOptions | None):
            raise TypeError(f"proxy_jump is to be ClientOptions or None, not {type(self.proxy_jump).__name__}")
        if not self.host:
            raise ConfigError("host name is empty")
        if not 0 < self.port <= 65535:
            raise ConfigError(f"port {self.port} is out of range")
        if self.proxy_jump is not None and self.proxy_command is not None:
            raise ConfigError("proxy_command and proxy_jump are both given")
        checking = (None, "yes", "ask", "accept-new", "no")
        if self.strict_host_key_checking not in checking:
            raise ConfigError(f"strict_host_key_checking is not one of yes, ask, accept-new, no: "
                              f"{self.strict_host_key_checking!r}")
        if self.fingerprint_hash not in HASHES:
            raise ConfigError(f"fingerprint_hash is not one of {', '.join(HASHES)}: {self.fingerprint_hash!r}")
        if self.add_keys_to_agent not in ("no", "yes", "ask", "confirm"):
            raise ConfigError(f"add_keys_to_agent is not one of no, yes, ask, confirm: {self.add_keys_to_agent!r}")
        if self.update_host_keys not in (None, "yes", "ask", "no"):
            raise ConfigError(f"update_host_keys is not one of yes, ask, no: {self.update_host_keys!r}")
        if not self.user:
            import getpass

            try:
                self.user = getpass.getuser()
            except (KeyError, OSError) as error:  # no entry in the password database, no $USER
                raise ConfigError("no user given, and the local user has no name") from error

    @property
    def known_hosts_name(self) -> str:
        """The name under which known_hosts is asked and written, in lower case as ssh does."""
        return (self.host_key_alias or self.host).lower()

    @property
    def checking(self) -> StrictHostKeyChecking:
        """strict_host_key_checking with its default filled in: without anybody to ask, unknown hosts are refused."""
        return self.strict_host_key_checking or ("ask" if self.prompter is not None else "yes")

    def tell(self, text: str) -> None:
        """A line for ``verbose``."""
        if self.verbose is not None:
            self.verbose(text)
        else:
            self.log(LOG_DEBUG1, text)

    @property
    def updating(self) -> Literal["yes", "ask", "no"]:
        """update_host_keys with its default filled in; nobody to ask is a no."""
        if self.pinned_host_key is not None or (self.update_host_keys == "ask" and self.prompter is None):
            return "no"
        return self.update_host_keys or ("yes" if tuple(self.user_known_hosts) == USER_KNOWN_HOSTS else "no")

    def identity_paths(self) -> list[str]:
        """The private key files to try, ``~`` expanded; of the default ones those that exist."""
        if self.identity_files is None:
            return [path for path in map(os.path.expanduser, IDENTITY_FILES) if os.path.exists(path)]
        return [os.path.expanduser(os.fspath(path)) for path in self.identity_files]

    def certificate_paths(self) -> list[str]:
        """The certificate files to try, ``~`` expanded."""
        return [os.path.expanduser(os.fspath(path)) for path in self.certificate_files]

    def known_hosts_paths(self) -> tuple[list[str], list[str]]:
        """(the user's files, the system's files), ``~`` expanded."""
        user = [os.path.expanduser(os.fspath(path)) for path in self.user_known_hosts]
        system = [os.path.expanduser(os.fspath(path)) for path in self.global_known_hosts]
        return user, system

    def agent_path(self) -> str | None:
        """The agent's socket, or None when there is to be no agent."""
        if self.agent_socket is not None:
            return None if self.agent_socket == "none" else os.path.expanduser(self.agent_socket)
        return os.environ.get("SSH_AUTH_SOCK") or None
