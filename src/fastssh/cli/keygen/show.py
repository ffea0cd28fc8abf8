"""Keys on standard output: fingerprints of all that a file has, and the public key of a private one."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.files import read_any, shown
from fastssh.keys.private import parse_private_key
from fastssh.keys.public import PublicKey
from fastssh.keys.public_file import all_keys, is_private, public_half, public_key_of

_LIMIT: Final = 64 * 1024 * 1024  # bytes, of known_hosts and other lists


def fingerprints(asked: Arguments, console: Console) -> int:
    """-l and -B."""
    path = identity.file_of(asked, console)
    name = "(stdin)" if path == "-" else path
    try:
        if path == "-":
            data, status = console.input(_LIMIT), None
        else:
            data, status = read_any(path, _LIMIT)
    except IsADirectoryError:
        raise Fatal(f"{shown(name)} is not a public key file.") from None
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"{console.name}: {shown(name)}: {identity.reason(error)}") from None
    if is_private(data):
        _one(*_of_private(path, data, status, console), asked, console)
        return 0
    found = False
    for key, comment in all_keys(data):
        _one(key, comment, asked, console)
        found = True
    if not found:
        raise Fatal(f"{shown(name)} is not a public key file.")
    return 0


def _of_private(path: str, data: bytes, status: os.stat_result | None, console: Console) -> tuple[PublicKey, str]:
    """Key and comment of a private key file (without ``status``: of standard input); nobody is asked for its
    passphrase."""
    public, comment = None, ""
    with contextlib.suppress(KeyFormatError, OSError):
        public, comment = (public_half(data), "") if status is None else public_key_of(data, path)
    if comment and public is not None:
        return public, comment
    with contextlib.suppress(KeyFormatError, PassphraseError):
        if status is not None:
            identity.check_open_to_others(path, status, console)
        private = parse_private_key(data, security_keys=True)
        return public or private.public, private.comment
    if public is None:
        raise Fatal(f"{shown(path)} is not a key file.")
    return public, comment


def _one(key: PublicKey, comment: str, asked: Arguments, console: Console) -> None:
    text = key.bubblebabble() if asked.bubblebabble else key.fingerprint(asked.hash)
    console.say(f"{key.bits} {text} {comment or 'no comment'} ({key.family})")
    if asked.verbosity:
        console.say(key.randomart(asked.hash))


def public(asked: Arguments, console: Console) -> int:
    """-y."""
    key = identity.load(identity.key_file(asked, console), asked, console).key
    console.data(f"{key.public.line(key.comment)}\n".encode("utf-8", "surrogateescape"))
    return 0
