"""What a user may log in with: AuthorizedKeysFile and AuthorizedKeysCommand of sshd_config(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fastssh.config.server.settings import ServerSettings
from fastssh.config.tokens import expand
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.claim import Claim
from fastssh.daemon.login.key_commands import output_of
from fastssh.daemon.login.principals import trusted_options
from fastssh.daemon.login.user_tokens import key_tokens, user_tokens
from fastssh.daemon.privileges import rights_of
from fastssh.errors import KeyFormatError
from fastssh.keys.authorized_keys import (
    AuthorizedKey,
    AuthorizedKeys,
    load_authorized_keys,
    parse_authorized_keys,
)
from fastssh.keys.certificate import Certificate, CertificateType
from fastssh.keys.certificate_options import certificate_options
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.public import PublicKey


def options_of(claim: Claim, key: PublicKey) -> KeyOptions | None:
    """What ``key`` may be used for by whoever makes the claim; None when it does not authorise it.

    Of a certificate both the authority that made it and whoever trusts the authority have a say. Raises ConfigError.
    """
    user, log = claim.user, claim.log
    granted: KeyOptions | None = None
    if isinstance(key, Certificate):
        reason = _unfit(key, claim.settings)
        if reason is None:
            try:
                granted = certificate_options(key)
            except KeyFormatError as error:
                reason = str(error)
        if granted is None:
            log.error(f"Authentication tried for {user.name}: {reason}")
            return None
        trusted = trusted_options(claim, key, granted)
        if trusted is not None:
            return trusted
    listed = key.authority if isinstance(key, Certificate) else key
    for keys in _sources(claim, key, listed):
        for note in keys.notes:
            log.info(f"Authentication of {user.name}: {note}")
        for entry in keys.find(key) if granted is None else keys.find_authority(listed):
            try:
                options = _granted(user, key, entry, granted)
                reason = options.admits(claim.address, claim.host, time.time())
            except KeyFormatError as error:
                reason = str(error)
            if reason is None:
                log.debug(f"{entry.where}: accepted key {key.family} {key.fingerprint()}")
                return options
            log.info(f"Authentication tried for {user.name} with {entry.where}: {reason}")
    return None


def _unfit(certificate: Certificate, settings: ServerSettings) -> str | None:
    """Why a certificate is no good whoever trusts its authority."""
    if certificate.authority_algorithm not in settings.ca_signature_algorithms:
        return f"Certificate signed with disallowed algorithm {certificate.authority_algorithm}"
    return certificate.refusal(CertificateType.USER, time.time())


def _granted(user: User, key: PublicKey, entry: AuthorizedKey, granted: KeyOptions | None) -> KeyOptions:
    """What a line permits. Raises KeyFormatError with the reason if it does not take the certificate."""
    if granted is None or not isinstance(key, Certificate):
        return entry.options
    if not entry.options.certifies(user.name, key.principals):
        named = entry.options.principals is not None
        raise KeyFormatError(
            "Certificate does not contain an authorized principal" if named
            else "Certificate invalid: name is not a listed principal"
        )  # fmt: skip
    return entry.options.merge(granted)


def _sources(claim: Claim, key: PublicKey, listed: PublicKey) -> Iterator[AuthorizedKeys]:
    """The lines that have the key ``listed``."""
    user, settings = claim.user, claim.settings
    if user.root is not None:  # of a users file: its keys are the administrator's, and so is the file
        if user.keys_file is not None:
            yield load_authorized_keys(
                user.keys_file, home=None, uid=os.getuid() if settings.strict_modes else None, only=listed
            )
        return
    command = settings.authorized_keys_command
    if command is not None:
        name = "AuthorizedKeysCommand"
        output = output_of(name, command, settings.authorized_keys_command_user, key_tokens(user, key), claim.log)
        yield parse_authorized_keys(output, name, only=listed)
    tokens = user_tokens(user)
    for pattern in settings.authorized_keys_file:
        path = os.path.join(user.home, expand(pattern, tokens))
        with rights_of(user):
            yield load_authorized_keys(
                path, home=user.home, uid=user.uid if settings.strict_modes else None, only=listed
            )
