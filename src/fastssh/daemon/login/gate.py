"""Who may log in on one connection: the settings that hold for a user, and the judgement of each attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh.auth.interactive import KEYBOARD_INTERACTIVE, Conversation
from fastssh.auth.server import Attempt, AuthRules, Verdict
from fastssh.config.server.match import ConnectionFacts
from fastssh.config.server.settings import ServerSettings
from fastssh.config.server.values import TOUCH_REQUIRED, VERIFY_REQUIRED
from fastssh.config.values import LogLevel
from fastssh.daemon import internal_sftp
from fastssh.daemon.log import Log
from fastssh.daemon.login import access
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.claim import Claim
from fastssh.daemon.login.client_name import ClientName
from fastssh.daemon.login.passwords import Passwords
from fastssh.daemon.login.revocation import revoked
from fastssh.daemon.login.user_keys import options_of
from fastssh.daemon.prepare import Prepared
from fastssh.errors import ConfigError, KeyFormatError
from fastssh.files import UnfitFileError, read_regular, shown
from fastssh.keys.certificate import Certificate
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.public import PublicKey
from fastssh.keys.security_keys import Presence
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection

BANNER_LIMIT: Final = 200 * 1024  # bytes; with what /etc/nologin says still below a packet
SHOWN_NAME: Final = 100  # characters of a user's name in the log, as sshd
SHOWN_ID: Final = 256  # characters of a certificate's id in the log, where the rest of the line must be seen


@dataclass
class Candidate:
    """Whom the client says it is. ``user`` is None for nobody, ``refused`` says why it may not log in all the same."""

    name: str
    user: User | None
    settings: ServerSettings
    refused: str | None
    options: KeyOptions | None = None  # of the keys that were right so far

    @property
    def described(self) -> str:
        """For the log, as sshd has it: who may not log in is invalid as well."""
        return f"{'' if self.user is not None and self.refused is None else 'invalid user '}{self.name[:SHOWN_NAME]}"


class Gate:
    """The policy of one connection, in the process that serves it."""

    def __init__(self, prepared: Prepared, log: Log) -> None:
        self._prepared, self._log = prepared, log
        self._client_name: ClientName | None = None
        self.candidate: Candidate | None = None
        self.attempted = False  # something was tried, and failed
        self._failures = 0

    def facts(self, connection: ServerConnection, user: User | None = None, name: str | None = None) -> ConnectionFacts:
        """What Match is told. Before there is a user's name, the client's is not waited for."""
        address, (here, port) = connection.peer[0] or None, connection.local
        looked_up = self._client_name is not None and name is None
        return ConnectionFacts(
            user=name, groups=None if user is None else user.group_names,
            host=None if looked_up else self._host or address, address=address,
            local_address=here or None, local_port=port or None,
        )  # fmt: skip

    @property
    def _host(self) -> str | None:
        """The client's name, if it is to be looked up and is to be trusted."""
        return None if self._client_name is None else self._client_name.wait()

    def began(self, connection: ServerConnection) -> None:
        """The client is there: with UseDNS its name is looked up while it says hello."""
        address = connection.peer[0]
        if self._prepared.config.settings.use_dns and address:
            self._client_name = ClientName(address, self._log)

    # -- the user ----------------------------------------------------------------------------------------------------

    def rules(self, connection: ServerConnection, name: str) -> AuthRules:
        """Called when a name comes up. Whether there is such a user changes nothing that the client sees."""
        prepared = self._prepared
        account = name.partition(":")[0]  # as with sshd, user:style is the user; no style means anything here
        user = prepared.accounts.find(account)
        settings = prepared.config.for_connection(self.facts(connection, user, account))
        internal_sftp.check(settings)
        self._log.level = prepared.log_level or settings.log_level
        address = connection.peer[0]
        refused = None
        banner = _banner(settings.banner, self._log)
        if user is None:
            self._log.info(f"Invalid user {name[:SHOWN_NAME]} from {connection.where}")
        else:
            refused = access.refusal(user, settings, address, self._host)
            nologin = None if user.uid == 0 and user.root is None else access.nologin_text()
            if refused is None and nologin is not None:
                refused, banner = "not allowed because of /etc/nologin", banner + nologin
            if refused is not None:
                self._log.info(f"User {name[:SHOWN_NAME]} from {address} {refused}")
        self.candidate = Candidate(name, user, settings, refused)
        options = connection.options
        options.client_alive_interval = settings.client_alive_interval
        options.client_alive_count_max = settings.client_alive_count_max
        options.rekey_bytes, options.rekey_seconds = settings.rekey_limit.bytes, settings.rekey_limit.seconds
        return AuthRules(
            prepared.method_lists(settings), settings.max_auth_tries, banner, settings.pubkey_accepted_algorithms
        )

    # -- attempts ----------------------------------------------------------------------------------------------------

    def authorize(self, connection: ServerConnection, attempt: Attempt) -> Verdict:
        candidate = self.candidate
        if candidate is None or candidate.name != attempt.user:
            return Verdict.REFUSE
        if attempt.method == "password" and attempt.password is not None:
            right = self._password(connection, candidate, attempt.password)
        elif attempt.method == "publickey" and attempt.key is not None:
            right = self._key(connection, candidate, attempt, attempt.key)
        else:
            right = False
        return Verdict.ACCEPT if right else Verdict.REFUSE

    def _password(self, connection: ServerConnection, candidate: Candidate, password: str) -> bool:
        passwords = self._prepared.passwords
        if passwords is None:
            return False
        user = candidate.user if candidate.refused is None else None
        right = passwords.check(user, password, connection.peer[0])
        return user is not None and right and self._root_may(connection, candidate, user, "password", forced=False)

    def converse(self, connection: ServerConnection, attempt: Attempt) -> Conversation | None:
        """keyboard-interactive: whoever judges passwords asks, of somebody who may not log in as well."""
        candidate, passwords = self.candidate, self._prepared.passwords
        if candidate is None or candidate.name != attempt.user or passwords is None:
            return None
        return self._conversation(connection, candidate, passwords)

    def _conversation(
        self, connection: ServerConnection, candidate: Candidate, passwords: Passwords
    ) -> Conversation:
        user = candidate.user if candidate.refused is None else None
        right = yield from passwords.converse(user, connection.peer[0])
        return user is not None and right and self._root_may(
            connection, candidate, user, KEYBOARD_INTERACTIVE, forced=False
        )

    def _key(self, connection: ServerConnection, candidate: Candidate, attempt: Attempt, key: PublicKey) -> bool:
        user, settings = candidate.user, candidate.settings
        if user is None or candidate.refused is not None:
            return False
        if key.plain.algorithm == "ssh-rsa" and key.bits < settings.required_rsa_size:
            self._log.info(f"refusing RSA key of {key.bits} bits: RequiredRSASize is {settings.required_rsa_size}")
            return False
        reason = revoked(key, settings.revoked_keys, settings.fingerprint_hash.value)
        if reason is not None:
            self._log.error(reason)
            return False
        try:
            options = options_of(Claim(user, settings, connection.peer[0], self._host, self._log), key)
        except ConfigError as error:
            self._log.error(str(error))
            return False
        if options is None:
            return False
        forced = options.command is not None
        if not self._root_may(connection, candidate, user, "publickey", forced=forced):
            return False
        if attempt.verified:
            if attempt.presence is not None and (missing := _missing(attempt.presence, options, settings)):
                self._log.error(
                    f"public key {_described(key, settings.fingerprint_hash.value)} signature for "
                    f"{candidate.described} from {connection.where} rejected: {missing} requirement not met"
                )
                return False
            passwords = self._prepared.passwords
            if passwords is not None and not passwords.account_is_open(user, connection.peer[0]):
                self._log.error(f"Access denied for user {candidate.described} by PAM account configuration")
                return False
            try:
                candidate.options = options if candidate.options is None else candidate.options.merge(options)
            except KeyFormatError as error:
                self._log.error(f"Authentication of {candidate.name}: {error}")
                return False
        return True

    def _root_may(
        self, connection: ServerConnection, candidate: Candidate, user: User, method: str, *, forced: bool
    ) -> bool:
        if user.root is not None or user.uid != 0:
            return True
        if access.root_may(candidate.settings.permit_root_login, method, forced=forced):
            return True
        self._log.info(f"ROOT LOGIN REFUSED FROM {connection.where}")
        return False

    # -- the log -----------------------------------------------------------------------------------------------------

    def outcome(self, connection: ServerConnection, attempt: Attempt, verdict: Verdict) -> None:
        """The line that other tools look for."""
        word = {Verdict.ACCEPT: "Accepted", Verdict.PARTIAL: "Partial", Verdict.REFUSE: "Failed"}[verdict]
        candidate = self.candidate
        assert candidate is not None
        level = LogLevel.INFO
        if verdict is Verdict.REFUSE:
            self.attempted |= attempt.method != "none"
            self._failures += attempt.method != "none"
            many = self._failures >= candidate.settings.max_auth_tries // 2
            loud = attempt.method in ("password", KEYBOARD_INTERACTIVE) or many
            level = LogLevel.INFO if loud and attempt.method != "none" else LogLevel.VERBOSE
        if attempt.problem:
            self._log.verbose(f"Authentication of {candidate.described}: {attempt.problem}")
        method = attempt.method[:SHOWN_NAME]
        if method == KEYBOARD_INTERACTIVE and self._prepared.passwords is not None and self._prepared.passwords.device:
            method += f"/{self._prepared.passwords.device}"
        line = f"{word} {method} for {candidate.described} from {connection.where} ssh2"
        if attempt.key is not None:
            line += f": {_described(attempt.key, candidate.settings.fingerprint_hash.value)}"
        self._log(level, line)


def _missing(presence: Presence, options: KeyOptions, settings: ServerSettings) -> str:
    """What a security key did not show and had to, in sshd's words."""
    asked = settings.pubkey_auth_options
    if (options.require_touch or TOUCH_REQUIRED in asked) and not presence.touched:
        return "user presence (authenticator touch)"
    if (options.require_verify or VERIFY_REQUIRED in asked) and not presence.verified:
        return "user verification"
    return ""


def _described(key: PublicKey, hash_name: str) -> str:
    """A key for the log, as sshd has it."""
    text = f"{key.family} {key.fingerprint(hash_name)}"
    if not isinstance(key, Certificate):
        return text
    authority = f"CA {key.authority.family} {key.authority.fingerprint(hash_name)}"
    return f"{text} ID {printable(key.key_id[:SHOWN_ID])} (serial {key.serial}) {authority}"


def _banner(path: str | None, log: Log) -> str:
    """The file's bytes, whatever they are; nothing if it cannot be read, as in sshd."""
    if path is None:
        return ""
    try:
        data, _ = read_regular(path, BANNER_LIMIT)
    except (OSError, UnfitFileError) as error:
        log.error(f"Banner {shown(path)}: {error}")
        return ""
    return data.decode("utf-8", "surrogateescape")
