"""-s: certificates of public keys, signed by an authority."""

from __future__ import annotations

import os
import time

from fastssh.cli.keygen import identity, signers
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.certificates import validity_text
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.serials import read_serial
from fastssh.cli.keygen.signers import Signer
from fastssh.cli.tool import UsageError
from fastssh.errors import AgentError, KeyFormatError, SignatureError
from fastssh.files import UnfitFileError, replace_file, shown
from fastssh.keys.certificate import CertificateType
from fastssh.keys.issuing import NONCE, Terms, complete, parse_options
from fastssh.keys.times import Validity, parse_validity

_SHORT_NAMES = {"ed25519": "ssh-ed25519", "rsa": "rsa-sha2-512"}


def run(asked: Arguments, console: Console) -> int:
    """Certifies each operand. Raises Fatal, UsageError."""
    if not asked.operands:
        raise UsageError("Too few arguments.", usage=True)
    if asked.certificate_id is None:
        raise Fatal("Must specify key id (-I) when certifying")
    if asked.pkcs11 is not None:
        raise Fatal("-D: keys in PKCS#11 tokens are not supported")
    serial = read_serial(asked.serial)
    try:
        validity = Validity() if asked.validity is None else parse_validity(asked.validity, time.time())
        critical, extensions = parse_options(asked.options, permissions=not asked.host_certificate)
        principals = () if asked.principals is None else tuple(asked.principals.split(","))
        if not all(principals):
            raise KeyFormatError("Empty principal name")
    except KeyFormatError as error:
        raise Fatal(str(error)) from None
    authority = _authority(asked, console)
    algorithm = _algorithm(asked, authority)
    for number, operand in enumerate(asked.operands):
        path = os.path.expanduser(operand)
        key, comment = signers.public_key(path, f'load pubkey "{shown(path)}"')
        if key.plain is not key:
            raise Fatal(f'key "{shown(path)}" type {key.family} cannot be certified')
        terms = Terms(
            key, asked.certificate_id, CertificateType.HOST if asked.host_certificate else CertificateType.USER,
            principals, validity, serial.first + number * serial.counts, critical, extensions,
        )  # fmt: skip
        _write(terms, comment, path, authority, algorithm, asked, console)
    return 0


def _write(
    terms: Terms, comment: str, path: str, authority: Signer, algorithm: str, asked: Arguments, console: Console
) -> None:
    target = f"{path.removesuffix('.pub')}-cert.pub"
    try:
        body = terms.body(authority.key, os.urandom(NONCE))
        certificate = complete(body, authority.sign(body, algorithm))
    except (KeyFormatError, SignatureError, AgentError) as error:
        raise Fatal(f"Couldn't certify key {shown(path)}: {error}") from None
    try:
        replace_file(target, f"{certificate.line(comment)}\n".encode("utf-8", "surrogateescape"), 0o644)
    except UnfitFileError as error:
        raise Fatal(f"Unable to save public key to {error}") from None
    except OSError as error:
        raise Fatal(f"Unable to save public key to {shown(target)}: {identity.reason(error)}") from None
    if not asked.quiet:
        names = f" for {asked.principals}" if terms.principals else ""
        console.tell(
            f'Signed {terms.type.name.lower()} key {target}: id "{terms.key_id}" serial {terms.serial}{names} '
            f"valid {validity_text(terms.validity)}"
        )


def _authority(asked: Arguments, console: Console) -> Signer:
    assert asked.ca_key is not None
    path = os.path.expanduser(asked.ca_key)
    if not asked.use_agent:
        return signers.in_file(path, asked, console)
    key, _ = signers.public_key(path, f"Cannot load CA public key {shown(path)}")
    try:
        found = signers.in_agent(key)
    except AgentError as error:
        raise Fatal(f"Cannot use public key for CA signature: {error}") from None
    if found is None:
        raise Fatal(f"CA key {shown(path)} not found in agent")
    return found


def _algorithm(asked: Arguments, authority: Signer) -> str:
    """That of -t, or the best one."""
    known = authority.key.signature_algorithms
    wanted = known[0] if asked.type is None else _SHORT_NAMES.get(asked.type.lower(), asked.type)
    if wanted not in known:
        raise Fatal(f"CA key type {authority.key.algorithm} doesn't match specified {wanted}")
    return wanted
