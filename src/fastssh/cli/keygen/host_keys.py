"""The host keys of a machine that has none yet."""

from __future__ import annotations

import os
from typing import Final

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.generate import default_comment, write_pair
from fastssh.files import shown
from fastssh.keys.private import generate_private_key

_TYPES: Final = ("rsa", "ecdsa", "ed25519")


def files(prefix: str) -> list[str]:
    """The machine's private host keys, in the order of their types; ``prefix`` stands before ``/etc/ssh``."""
    return [f"{prefix}/etc/ssh/ssh_host_{kind}_key" for kind in _TYPES]


def run(asked: Arguments, console: Console) -> int:
    """-A."""
    identity.check_cipher(asked)
    begun = False
    failed = False
    for kind, path in zip(_TYPES, files(asked.file or ""), strict=True):
        try:
            if os.stat(path).st_size:
                continue
        except FileNotFoundError:
            pass
        except OSError as error:
            console.tell(f"Could not stat {shown(path)}: {error.strerror}")
            failed = True
            continue
        if not asked.quiet:
            console.say(f"{'' if begun else f'{console.name}: generating new host keys: '}{kind.upper()} ", end="")
        begun = True
        key = generate_private_key(kind, None, default_comment() if asked.comment is None else asked.comment)
        try:
            write_pair(key, path, None, asked, console)
        except Fatal as fatal:
            console.say("")
            console.tell(fatal.text)
            begun, failed = False, True
    if begun and not asked.quiet:
        console.say("")
    return 1 if failed else 0
