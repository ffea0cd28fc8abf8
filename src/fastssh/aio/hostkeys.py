"""May this host key be trusted? known_hosts and StrictHostKeyChecking, in the words that users of ssh know.

Everything that cannot be decided is refused: an unreadable file, a question nobody can answer, an unknown state.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, cast

from fastssh import algorithms
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.errors import (
    HostKeyChangedError,
    HostKeyError,
    HostKeyRevokedError,
    HostKeyUnknownError,
    ProtocolError,
)
from fastssh.files import shown
from fastssh.keys.known_hosts import HostEntry, HostStatus, KnownHosts, add_known_host, host_name
from fastssh.wire.codec import Reader
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.keys.certificate import Certificate
    from fastssh.keys.host_update import Host
    from fastssh.keys.public import PublicKey

_FRAME = "@" * 59
_NO_ADDRESS = "<no hostip for proxy command>"  # as ssh shows it
_FAILED = "Host key verification failed."


class HostKeyQuestion(NamedTuple):
    """What a person has to be asked before an unknown key is trusted."""

    text: str
    fingerprint: str


class HostKeyPolicy:
    """The decision for one connection. ``address`` is the peer's, None behind a proxy; it is for the question only
    (CheckHostIP is off, as in OpenSSH since 8.5). Files are read once, at construction: raises HostKeyError when one
    cannot be."""

    def __init__(self, options: ClientOptions, address: str | None) -> None:
        user_paths, system_paths = options.known_hosts_paths()
        self._options = options
        self._log = options.log
        self._pinned = options.pinned_host_key
        self._known = KnownHosts.load([] if self._pinned is not None else [*user_paths, *system_paths])
        self._add_to = user_paths[0] if user_paths else None
        self._host = options.known_hosts_name
        # An alias stands for the host whatever its port (ssh_config(5), HostKeyAlias).
        self._port = options.port if options.host_key_alias is None else 22
        self.name = printable(host_name(self._host, self._port))
        self._address = _NO_ADDRESS if address is None else printable(host_name(address, options.port))
        self._user_files = frozenset(map(shown, user_paths))
        self._may_update = False  # the key was known by the user's files, or went there
        self.changed_key_accepted = False  # only with "no": passwords must not go to this server

    def algorithms(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """The host key algorithms to offer: those of known keys first, so that a known key is shown."""
        if self._pinned is not None:
            return tuple(name for name in algorithms.SERVER_KEYS if name in self._pinned.signature_algorithms)
        return self._known.algorithms_for(self._host, self._port, default)

    def check(self, key: PublicKey) -> HostKeyQuestion | None:
        """None: accepted. A question: accepted if :meth:`confirmed` gets True. Raises HostKeyError otherwise."""
        if key.plain.algorithm == "ssh-rsa" and key.bits < self._options.required_rsa_size:
            raise HostKeyError(
                f"RSA host key of {self.name} has {key.bits} bits, but {self._options.required_rsa_size} are required. "
                + _FAILED
            )
        if self._pinned is not None:
            self._check_pinned(key, self._pinned)
            return None
        if key.plain is not key:
            if self._certified(cast("Certificate", key)):
                return None
            key = key.plain  # as OpenSSH: without an authority to trust, the key has to be known itself
        match = self._known.check(self._host, self._port, key)
        if match.status is HostStatus.MATCH:
            self._log(LOG_DEBUG1, f"Host '{self.name}' is known and matches the {key.family} host key.")
            for entry in match.entries[:1]:
                self._log(LOG_DEBUG1, f"Found key in {entry.where}")
                self._may_update = entry.file in self._user_files
            if not self._may_update:
                self._log(LOG_DEBUG1, "host key found in GlobalKnownHostsFile; disabling UpdateHostkeys")
            return None
        if match.status is HostStatus.REVOKED:
            raise self._revoked(key)
        if match.status is HostStatus.CHANGED:
            self._changed(key, match.entries)
            return None
        if match.status is not HostStatus.UNKNOWN:
            raise HostKeyError(_FAILED)
        return self._unknown(key)

    def _check_pinned(self, key: PublicKey, pinned: PublicKey) -> None:
        if key.blob != pinned.blob:
            raise HostKeyChangedError(
                f"{self.name} showed the host key {key.fingerprint()} where {pinned.fingerprint()} is required. "
                + _FAILED
            )
        self._log(LOG_DEBUG1, f"Host '{self.name}' showed the {key.family} host key that is required.")

    def _certified(self, certificate: Certificate) -> bool:
        """Whether an authority that is trusted for this host vouches for it. Raises HostKeyError if one was revoked."""
        match = self._known.check_certificate(self._host, self._port, certificate)
        if match.status is HostStatus.REVOKED:
            raise self._revoked(certificate)
        reason: str | None = "no trusted authority of the host made it"
        if match.status is HostStatus.MATCH:
            reason = certificate.host_refusal(
                self._host, time.time(), self._options.ca_signature_algorithms or algorithms.CA_SIGNATURES
            )
        if reason is not None:
            self._log(LOG_DEBUG1, f"Host certificate of '{self.name}' is not used: {reason}")
            return False
        self._log(
            LOG_DEBUG1,
            f"Host '{self.name}' is known and matches the {certificate.family} host certificate "
            f"\"{printable(certificate.key_id)}\" (serial {certificate.serial}), CA in {match.entries[0].where}.",
        )
        return True

    def confirmed(self, key: PublicKey, yes: bool) -> None:
        """The answer to the question. Raises HostKeyUnknownError for no."""
        if not yes:
            raise HostKeyUnknownError(_FAILED)
        self._add(key.plain)

    def _warn(self, *lines: str) -> None:
        for line in lines:
            self._log(LOG_WARNING, line)

    def _revoked(self, key: PublicKey) -> HostKeyError:
        self._warn(
            _FRAME, "@       WARNING: REVOKED HOST KEY DETECTED!               @", _FRAME,
            f"The {key.family} key that {self.name} showed is marked @revoked: somebody else may hold a copy of it,",
            "and this may not be the server that you want.",
        )
        return HostKeyRevokedError(f"{key.family} host key for {self.name} was revoked. {_FAILED}")

    def _changed(self, key: PublicKey, entries: tuple[HostEntry, ...]) -> None:
        self._warn(
            _FRAME, "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", _FRAME,
            f"{self.name} showed another {key.family} key than the one on record. Either the server has got a new key,",
            "or somebody stands between you and the server and could read and change all that you send.",
            f"The key shown has the fingerprint {key.fingerprint()}.",
            "Compare it with what the server's administrator says. Only if they agree, remove the old key:",
        )
        for entry in entries:
            kind = entry.key.family if entry.key is not None else printable(entry.algorithm)
            self._warn(
                f"Offending {kind} key in {entry.where}",
                f'  ssh-keygen -f "{entry.file}" -R "{self.name}"',
            )
        if self._options.checking != "no":
            raise HostKeyChangedError(
                f"Host key for {self.name} has changed and you have requested strict checking. {_FAILED}"
            )
        self.changed_key_accepted = True
        self._warn("No password is sent to a server whose key has changed: password and keyboard-interactive are off.")

    def _unknown(self, key: PublicKey) -> HostKeyQuestion | None:
        checking = self._options.checking
        if checking in ("no", "accept-new"):
            self._add(key)
            return None
        if checking == "ask" and self._options.prompter is not None:
            return self._question(key)
        raise HostKeyUnknownError(
            f"No {key.family} host key is known for {self.name} and you have requested strict checking. {_FAILED}"
        )

    def _question(self, key: PublicKey) -> HostKeyQuestion:
        fingerprint = key.fingerprint()
        others = self._known.with_key(key)
        if others:
            known = "The same key is on record for:\n" + "\n".join(
                f"    {entry.where}: {'[hashed name]' if entry.hashed else printable(entry.names)}" for entry in others
            )
        else:
            known = "The key is on record for no other host."
        return HostKeyQuestion(
            f"The authenticity of host '{self.name} ({self._address})' can't be established.\n"
            f"{key.family} key fingerprint is {fingerprint}.\n"
            f"{known}\n"
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
            fingerprint,
        )

    def update_wanted(self, announced: Collection[bytes]) -> bool:
        """Whether the user's files should follow what the server says its host keys are (UpdateHostKeys)."""
        if not self._may_update or self._options.updating == "no":
            return False
        types = set(map(algorithms.key_type, self._options.host_key_algorithms or algorithms.HOST_KEYS))
        known = self._known.lookup(self._host, self._port).keys
        ours = {entry.blob for entry in known if entry.file in self._user_files}
        theirs = {blob for blob in announced if _type(blob) in types}
        return bool(theirs - ours or ours - set(announced))

    @property
    def host(self) -> Host:
        """The names that lines of known_hosts have for this host."""
        from fastssh.keys.host_update import Host

        return Host(host_name(self._host, self._port))

    def _add(self, key: PublicKey) -> None:
        self._may_update = True
        if self._add_to is None:
            return
        try:
            add_known_host(self._add_to, self._host, self._port, key, hashed=self._options.hash_known_hosts)
        except HostKeyError as error:  # the key was accepted: the connection goes on, as ssh's does
            self._warn(f"Failed to add the host to the list of known hosts ({error}).")
            return
        self._warn(f"Warning: Permanently added '{self.name}' ({key.family}) to the list of known hosts.")


def _type(blob: bytes) -> str:
    """The name that a key's wire form begins with."""
    try:
        return Reader(blob).ascii()
    except ProtocolError:
        return ""
