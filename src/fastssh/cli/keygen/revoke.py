"""-k and -Q: key revocation lists are made, shown, and asked about keys."""

from __future__ import annotations

import os
import time
from typing import Final

from fastssh.cli.keygen import identity, signers
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.serials import read_serial
from fastssh.errors import KeyFormatError, ProtocolError
from fastssh.files import read_any, replace_file, shown
from fastssh.keys.fingerprint import fingerprint
from fastssh.keys.krl import revoke, serialize_krl
from fastssh.keys.revocation import MAX_REVOCATIONS_FILE, Revocations, parse_krl
from fastssh.keys.times import moment_text
from fastssh.wire.codec import Reader
from fastssh.wire.text import printable

_STDIN: Final = "(standard input)"


def make(asked: Arguments, console: Console) -> int:
    """-k: a list of what the operands revoke, in the file of -f, added to what is there with -u. Raises Fatal."""
    path = asked.file
    if path is None:
        raise Fatal("KRL generation requires an output file")
    if asked.update_krl and not os.path.exists(path):
        raise Fatal(f'KRL "{shown(path)}" does not exist')
    authority = _authority(asked)
    revoked = _load(path) if asked.update_krl else Revocations()
    if version := read_serial(asked.serial).first:
        revoked.version = version
    revoked.comment = asked.comment or revoked.comment
    for operand in asked.operands:
        _revoke_from(operand, revoked, authority, asked, console)
    try:
        replace_file(path, serialize_krl(revoked, generated=int(time.time())), None if os.path.exists(path) else 0o644)
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"write {shown(path)}: {identity.reason(error)}") from None
    return 0


def _authority(asked: Arguments) -> bytes | None:
    """The key of -s: b"" for ``none``, which is any."""
    if asked.ca_key is None:
        return None
    if asked.ca_key.lower() == "none":
        return b""
    path = os.path.expanduser(asked.ca_key)
    return signers.public_key(path, f"Cannot load CA public key {shown(path)}")[0].plain.blob


def _revoke_from(
    operand: str, revoked: Revocations, authority: bytes | None, asked: Arguments, console: Console
) -> None:
    path = os.path.expanduser(operand)
    name = _STDIN if path == "-" else path
    try:
        if path == "-":
            data = console.input(MAX_REVOCATIONS_FILE)
        else:
            data, _ = read_any(path, MAX_REVOCATIONS_FILE)
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"fopen {shown(name)}: {identity.reason(error)}") from None
    if not asked.quiet:
        console.say(f"Revoking from {name}")
    try:
        revoke(data.decode("utf-8", "surrogateescape"), revoked, authority, shown(name))
    except KeyFormatError as error:
        raise Fatal(str(error)) from None


def _load(path: str) -> Revocations:
    try:
        data, _ = read_any(path, MAX_REVOCATIONS_FILE)
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"Unable to load KRL {shown(path)}: {identity.reason(error)}") from None
    try:
        return parse_krl(data)
    except KeyFormatError as error:
        raise Fatal(f"Invalid KRL file {shown(path)}: {error}") from None


def query(asked: Arguments, console: Console) -> int:
    """-Q: which of the operands' keys are revoked: 1 if any is. With -l what the list has. Raises Fatal."""
    if asked.file is None:
        raise Fatal("KRL checking requires an input file")
    revoked = _load(asked.file)
    if asked.print_fingerprint:
        _show(revoked, console)
    status = 0
    for operand in asked.operands:
        key, comment = signers.public_key(operand, f"Cannot load public key {shown(operand)}")
        found = revoked.revoke(key)
        console.say(f"{operand} ({comment}): {'REVOKED' if found else 'ok'}")
        status |= found
    return status


def _show(revoked: Revocations, console: Console) -> None:
    """In ssh-keygen's form, which is nearly that of a specification."""
    console.say(f"# KRL version {revoked.version}")
    console.say(f"# Generated at {_timestamp(revoked.generated)}")
    if revoked.comment:
        console.say(f"# Comment: {printable(revoked.comment)}")
    console.say("")
    for blob in sorted(revoked.keys):
        console.say(f"hash: {fingerprint(blob)} # {_type(blob)}")
    for value in sorted(revoked.hashes.get("sha256", ())):
        console.say(f"hash: SHA256:{value.hex()}")
    for value in sorted(revoked.hashes.get("sha1", ())):
        console.say(f"# hash SHA1:{value.hex()}")
    for blob, some in revoked.certificates.items():
        console.say("")
        console.say(f"# CA key {_type(blob)} {fingerprint(blob)}" if blob else "# Wildcard CA")
        for low, high in some.intervals():
            console.say(f"serial: {low}" if low == high else f"serial: {low}-{high}")
        for text in sorted(some.key_ids):
            console.say(f"id: {printable(text)}")


def _timestamp(seconds: int) -> str:
    return (moment_text(seconds) or "<INVALID>").replace("-", "").replace(":", "")


def _type(blob: bytes) -> str:
    try:
        return Reader(blob).ascii()
    except ProtocolError:
        return "unknown"
