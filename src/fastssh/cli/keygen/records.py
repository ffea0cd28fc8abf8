"""SSHFP records of a key, or of the machine's host keys."""

from __future__ import annotations

import contextlib

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.host_keys import files
from fastssh.errors import KeyFormatError
from fastssh.files import shown
from fastssh.keys.public_file import load_public_key
from fastssh.keys.sshfp import HASHES, records


def run(asked: Arguments, console: Console) -> int:
    """-r."""
    hashes = _hashes(asked)
    assert asked.hostname is not None
    if asked.file is not None:
        try:
            key, _ = load_public_key(asked.file)
            lines = records(asked.hostname, key, hashes, generic=asked.generic)
        except OSError as error:
            raise Fatal(f"{shown(asked.file)}: {identity.reason(error)}") from None
        except KeyFormatError as error:
            raise Fatal(f'Failed to read v2 public key from "{shown(asked.file)}": {error}') from None
    else:
        lines = []
        for path in files(""):
            with contextlib.suppress(OSError, KeyFormatError):  # a machine need not have them all
                key, _ = load_public_key(f"{path}.pub")
                lines += records(asked.hostname, key, hashes, generic=asked.generic)
        if not lines:
            raise Fatal("no keys found.")
    console.say("\n".join(lines))
    return 0


def _hashes(asked: Arguments) -> list[str]:
    """Those of -O hashalg, or all."""
    hashes = list(HASHES)
    for option in asked.options:
        name, _, value = option.partition("=")
        if name.lower() != "hashalg":
            raise Fatal(f'Invalid option "{option}"')
        if value.lower() not in HASHES:
            raise Fatal("Unsupported hash algorithm")
        hashes = [value.lower()]
    return hashes
