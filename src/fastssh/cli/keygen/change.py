"""A private key file gets another passphrase, or another comment."""

from __future__ import annotations

import os
from dataclasses import replace

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.errors import KeyFormatError
from fastssh.files import shown
from fastssh.keys.private import OPENSSH


def passphrase(asked: Arguments, console: Console) -> int:
    """-p."""
    identity.check_cipher(asked)
    file = identity.key_file(asked, console)
    key, _, has_comment = identity.open_private(
        file, console, lambda: identity.old_passphrase(asked, console, "Enter old passphrase: "),
        f"Failed to load key {file.name}",
    )  # fmt: skip
    if has_comment:
        console.say(f"Key has comment '{key.comment}'")
    if asked.new_passphrase is None:
        new = console.new_passphrase("Enter new passphrase (empty for no passphrase): ", again=False)
    else:
        new = os.fsencode(asked.new_passphrase)
    identity.save(key, file.path, new or None, asked, console)
    console.say("Your identification has been saved with the new passphrase.")
    return 0


def comment(asked: Arguments, console: Console) -> int:
    """-c."""
    identity.check_cipher(asked)
    file = identity.key_file(asked, console)

    def known() -> bytes:
        if asked.passphrase is None and asked.new_passphrase is not None:
            return os.fsencode(asked.new_passphrase)
        return identity.old_passphrase(asked, console)

    opened = identity.open_private(file, console, known, f'Cannot load private key "{file.name}"')
    key = opened.key
    if identity.file_format(key, asked) != OPENSSH:
        raise Fatal("Comments are only supported for keys stored in the new format (-o).", 1)
    console.say(f"Old comment: {key.comment}" if opened.openssh else "No existing comment")
    new = console.ask("New comment: ") if asked.comment is None else asked.comment
    if opened.openssh and new == key.comment:
        console.say("No change to comment")
        return 0
    beside = f"{file.path}.pub"
    try:
        key.public.line(new)  # one of several lines is found before anything is written
        identity.save(replace(key, comment=new), file.path, opened.passphrase, asked, console)
        key.public.save(beside, new)
    except (KeyFormatError, OSError) as error:
        raise Fatal(f"Unable to save public key to {shown(beside)}: {identity.reason(error)}") from None
    console.say(f"Comment '{new}' applied" if new else "Comment removed")
    return 0
