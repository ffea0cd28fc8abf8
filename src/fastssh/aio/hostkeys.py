"""May this host key be trusted? known_hosts and StrictHostKeyChecking, in the words that users of ssh know.

Everything that cannot be decided is refused: an unreadable file, a question nobody can answer, an unknown state.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, cast

from fastssh import algorithms
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.errors import (
    ConfigError,
    HostKeyChangedError,
    HostKeyError,
    HostKeyRevokedError,
    HostKeyUnknownError,
    KeyFormatError,
    ProtocolError,
)
from fastssh.files import shown
from fastssh.keys.known_hosts import HostEntry, HostStatus, KnownHosts, Match, add_known_host, host_name
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
    adds: bool = True  # a yes makes the key a known one


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
        local = address is not None and _is_loopback(address)
        self._bypassed = local and options.no_host_authentication_for_localhost and options.host_key_alias is None
        # What is compared with it would be the same, or says nothing.
        compared = options.check_host_ip and not local and address != options.host
        self._checked_address = address if compared else None
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
        self._check_revoked(key)
        if self._pinned is not None:
            self._check_pinned(key, self._pinned)
            return None
        if self._bypassed:
            self._log(LOG_DEBUG1, "Forcing accepting of host key for loopback/localhost.")
            return None
        if key.plain is not key:
            if self._certified(cast("Certificate", key)):
                return None
            key = key.plain  # as OpenSSH: without an authority to trust, the key has to be known itself
        match, by_address = self._known.check(self._host, self._port, key), self._address_match(key)
        if by_address.status is HostStatus.REVOKED:
            raise self._revoked(key)
        if match.status is HostStatus.MATCH:
            self._log(LOG_DEBUG1, f"Host '{self.name}' is known and matches the {key.family} host key.")
            for entry in match.entries[:1]:
                self._log(LOG_DEBUG1, f"Found key in {entry.where}")
                self._may_update = entry.file in self._user_files
            if not self._may_update:
                self._log(LOG_DEBUG1, "host key not found in UserKnownHostsFile; disabling UpdateHostkeys")
            self._show(key)
            if by_address.status is HostStatus.CHANGED:
                return self._address_differs(key, match, by_address)
            if by_address.status is HostStatus.UNKNOWN and self._checked_address is not None:
                self._add_address(key, self._checked_address)
            return None
        if match.status is HostStatus.REVOKED:
            raise self._revoked(key)
        if match.status is HostStatus.CHANGED:
            if self._checked_address is not None and by_address.status is not HostStatus.CHANGED:
                self._spoofed(key, by_address)
            self._changed(key, match.entries)
            return None
        if match.status is not HostStatus.UNKNOWN:
            raise HostKeyError(_FAILED)
        if by_address.status is HostStatus.CHANGED:
            return self._address_differs(key, match, by_address)
        return self._unknown(key)

    def _fingerprint(self, key: PublicKey) -> str:
        return key.fingerprint(self._options.fingerprint_hash)

    def _show(self, key: PublicKey) -> None:
        """VisualHostKey."""
        if self._options.visual_host_key:
            art = key.randomart(self._options.fingerprint_hash)
            self._warn(f"Host key fingerprint is {self._fingerprint(key)}", *art.split("\n"))

    def _check_revoked(self, key: PublicKey) -> None:
        """RevokedHostKeys: raises HostKeyError for a key in one of the lists, and for any key where one cannot be
        read."""
        for path in self._options.revoked_host_keys:
            from fastssh.keys.revocation import load_revocations

            shown_path = shown(os.path.expanduser(path))
            what = f"ost key {key.family} {self._fingerprint(key)}"
            try:
                revoked = load_revocations(os.path.expanduser(path)).revoke(key)
            except (OSError, KeyFormatError) as error:
                reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{shown_path}: ")
                raise HostKeyError(
                    f"Error checking h{what} in revoked keys file {shown_path}: {reason}. {_FAILED}"
                ) from error
            if revoked:
                raise HostKeyRevokedError(f"H{what} revoked by file {shown_path}. {_FAILED}")

    # -- CheckHostIP -----------------------------------------------------------------------------------------------

    def _address_match(self, key: PublicKey) -> Match:
        """What is known of the address alone; of none everything matches."""
        if self._checked_address is None:
            return Match(HostStatus.MATCH)
        return self._known.check(self._checked_address, self._options.port, key)

    def _spoofed(self, key: PublicKey, by_address: Match) -> None:
        state = "is not known" if by_address.status is HostStatus.UNKNOWN else "is this one"
        self._warn(
            _FRAME, "@       WARNING: POSSIBLE DNS SPOOFING DETECTED!          @", _FRAME,
            f"The {key.family} key of {self.name} is another one than before, while that of its address",
            f"{self._address} {state}: somebody may have changed where the name leads to.",
        )
        for entry in by_address.entries:
            self._warn(f"Key of the address in {entry.where}")

    def _address_differs(self, key: PublicKey, match: Match, by_address: Match) -> HostKeyQuestion | None:
        """The name's key is right, or new, and the address has another one on record."""
        address = self._address
        lines = [
            f"Warning: the {key.family} host key for '{self.name}' differs from the key for the IP address '{address}'",
            *(f"Offending key for IP in {entry.where}" for entry in by_address.entries[:1]),
            *(f"Matching host key in {entry.where}" for entry in match.entries[:1]),
        ]
        known = match.status is HostStatus.MATCH
        if self._options.checking == "ask" and self._options.prompter is not None:
            if not known:
                self._warn(*lines)
                return self._question(key)
            text = "\n".join([*lines, "Are you sure you want to continue connecting (yes/no)? "])
            return HostKeyQuestion(text, self._fingerprint(key), adds=False)
        self._warn(*lines)
        if self._options.checking != "no":
            raise HostKeyChangedError(f"Exiting, you have requested strict checking. {_FAILED}")
        return None if known else self._unknown(key)

    def _add_address(self, key: PublicKey, address: str) -> None:
        what = f"the {key.family} host key for IP address '{printable(address)}' to the list of known hosts"
        try:
            if self._add_to is not None:
                add_known_host(
                    self._add_to, address, self._options.port, key, hashed=self._options.hash_known_hosts
                )
        except HostKeyError as error:
            self._warn(f"Failed to add {what} ({error}).")
        else:
            self._warn(f"Warning: Permanently added {what}.")

    # -- KnownHostsCommand -----------------------------------------------------------------------------------------

    async def ask_command(self, key: PublicKey | None) -> None:
        """Takes in what KnownHostsCommand knows: before the key exchange (None), and of the key that was shown. Raises
        HostKeyError."""
        make = self._options.known_hosts_command
        if make is None or self._pinned is not None:
            return
        if key is None and self._options.host_key_algorithms:
            return  # the order is given: nobody has to be asked for it
        from fastssh.aio import known_hosts_command as program

        fingerprint = self._fingerprint(key) if key is not None else ""
        asked = [("HOSTNAME" if key is not None else "ORDER", host_name(self._host, self._port))]
        if key is not None and self._checked_address is not None:
            asked.append(("ADDRESS", host_name(self._checked_address, self._options.port)))
        for invocation, name in asked:
            self._log(LOG_DEBUG1, f"{program.NAME}: {invocation} {printable(name)}")
            try:
                command = make(program.question(invocation, name, key, fingerprint))
            except ConfigError as error:
                raise HostKeyError(f"{error}. {_FAILED}") from error
            self._known = self._known.with_text(await program.ask(command), program.NAME)

    def _check_pinned(self, key: PublicKey, pinned: PublicKey) -> None:
        if key.blob != pinned.blob:
            raise HostKeyChangedError(
                f"{self.name} showed the host key {self._fingerprint(key)} where {self._fingerprint(pinned)} is "
                f"required. {_FAILED}"
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

    def confirmed(self, key: PublicKey, question: HostKeyQuestion, yes: bool) -> None:
        """The answer to the question. Raises HostKeyUnknownError for no."""
        if not yes:
            raise HostKeyUnknownError(_FAILED)
        if question.adds:
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
            f"The key shown has the fingerprint {self._fingerprint(key)}.",
            "Compare it with what the server's administrator says. Only if they agree, remove the old key:",
        )
        for entry in entries:
            kind = entry.key.family if entry.key is not None else printable(entry.algorithm)
            self._warn(
                f"Offending {kind} key in {entry.where}",
                f'  fastssh-keygen -f "{entry.file}" -R "{self.name}"',
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
        fingerprint = self._fingerprint(key)
        others = self._known.with_key(key)
        if others:
            known = "The same key is on record for:\n" + "\n".join(
                f"    {entry.where}: {'[hashed name]' if entry.hashed else printable(entry.names)}" for entry in others
            )
        else:
            known = "The key is on record for no other host."
        picture = f"{key.randomart(self._options.fingerprint_hash)}\n" if self._options.visual_host_key else ""
        return HostKeyQuestion(
            f"The authenticity of host '{self.name} ({self._address})' can't be established.\n"
            f"{key.family} key fingerprint is {fingerprint}.\n"
            f"{picture}{known}\n"
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
            fingerprint,
        )

    def update_wanted(self, announced: Collection[bytes]) -> bool:
        """Whether the user's files should follow what the server says its host keys are (UpdateHostKeys)."""
        if not self._may_update or self._options.updating == "no":
            return False
        if self._checked_address is not None:  # what is known by both names is the rules' to tell
            return True
        types = set(map(algorithms.key_type, self._options.host_key_algorithms or algorithms.HOST_KEYS))
        known = self._known.lookup(self._host, self._port).keys
        ours = {entry.blob for entry in known if entry.file in self._user_files}
        theirs = {blob for blob in announced if _type(blob) in types}
        return bool(theirs - ours or ours - set(announced))

    @property
    def host(self) -> Host:
        """The names that lines of known_hosts have for this host."""
        from fastssh.keys.host_update import Host

        address = self._checked_address
        known_by = None if address is None else host_name(address, self._options.port)
        return Host(host_name(self._host, self._port), known_by)

    def _add(self, key: PublicKey) -> None:
        self._may_update = True
        if self._add_to is None:
            return
        try:
            add_known_host(
                self._add_to, self._host, self._port, key, hashed=self._options.hash_known_hosts,
                address=self._checked_address, address_port=self._options.port,
            )  # fmt: skip
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


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:  # a name: of a socket that was handed in
        return False
