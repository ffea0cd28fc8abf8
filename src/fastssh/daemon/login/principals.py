"""Certificates of authorities that the server trusts for all users: TrustedUserCAKeys, AuthorizedPrincipals*."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from fastssh.config.tokens import expand
from fastssh.daemon.login.claim import Claim
from fastssh.daemon.login.key_commands import output_of
from fastssh.daemon.login.user_tokens import certificate_tokens, user_tokens
from fastssh.daemon.privileges import rights_of
from fastssh.errors import KeyFormatError
from fastssh.keys.authorized_keys import load_authorized_keys
from fastssh.keys.certificate import Certificate
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.principals import AuthorizedPrincipals, load_principals, parse_principals
from fastssh.wire.text import printable

_UNBOUND: Final = KeyOptions(require_touch=False)  # where nothing is written, the certificate alone has a say


def trusted_options(claim: Claim, certificate: Certificate, granted: KeyOptions) -> KeyOptions | None:
    """What a valid certificate that permits ``granted`` is good for; None unless TrustedUserCAKeys trusts its authority
    and it names the user, or one of the user's principals. Raises ConfigError."""
    path, log = claim.settings.trusted_user_ca_keys, claim.log
    if path is None:
        return None
    authority = certificate.authority
    authorities = load_authorized_keys(path, home=None, uid=None, only=authority)
    for note in authorities.notes:
        log.error(f"TrustedUserCAKeys: {note}")
    if not any(entry.options == KeyOptions() for entry in authorities.find(authority)):
        log.verbose(f"CA {authority.family} {authority.fingerprint()} is not listed in {path}")
        return None
    for options, where in _principals(claim, certificate):
        try:
            merged = options.merge(granted)
            reason = merged.admits(claim.address, claim.host, time.time())
        except KeyFormatError as error:
            reason = str(error)
        if reason is None:
            log.info(
                f'Accepted certificate ID "{printable(certificate.key_id)}" (serial {certificate.serial}) signed by '
                f"{authority.family} CA {authority.fingerprint()} via {where}"
            )
            return merged
        log.info(f"Authentication tried for {claim.user.name} with {where}: {reason}")
    return None


def _principals(claim: Claim, certificate: Certificate) -> Iterator[tuple[KeyOptions, str]]:
    """What is permitted to each of the certificate's names that stands for the user, and where that is written."""
    user, settings, log = claim.user, claim.settings, claim.log
    pattern, command = settings.authorized_principals_file, settings.authorized_principals_command
    if pattern is None and command is None:
        if user.name in certificate.principals:
            yield _UNBOUND, str(settings.trusted_user_ca_keys)
        else:
            log.error("Certificate invalid: name is not a listed principal")
        return
    found = False
    for source in _sources(claim, certificate):
        for note in source.notes:
            log.info(f"Authentication of {user.name}: {note}")
        for line in source.find(certificate.principals):
            found = True
            yield line.options, line.where
    if not found:
        log.error("Certificate does not contain an authorized principal")


def _sources(claim: Claim, certificate: Certificate) -> Iterator[AuthorizedPrincipals]:
    user, settings = claim.user, claim.settings
    pattern, command = settings.authorized_principals_file, settings.authorized_principals_command
    if pattern is not None:
        path = os.path.join(user.home, expand(pattern, user_tokens(user)))
        with rights_of(user):
            yield load_principals(path, home=user.home, uid=user.uid if settings.strict_modes else None)
    if command is not None:
        name = "AuthorizedPrincipalsCommand"
        tokens = certificate_tokens(user, certificate)
        output = output_of(name, command, settings.authorized_principals_command_user, tokens, claim.log)
        yield parse_principals(output, name)
