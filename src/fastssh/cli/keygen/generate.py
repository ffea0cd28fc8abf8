"""A new pair of keys."""

from __future__ import annotations

import os
import pwd
import socket

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.types import DEFAULT, default_file, read_type
from fastssh.errors import KeyFormatError
from fastssh.files import shown
from fastssh.keys.private import PrivateKey, generate_private_key


def run(asked: Arguments, console: Console) -> int:
    """Makes a pair of keys where no option asks for anything else."""
    identity.check_cipher(asked)
    name = asked.type or DEFAULT
    kind = read_type(name, asked.bits)
    if not asked.quiet:
        console.say(f"Generating public/private {name} key pair.")
    path = asked.file
    if path is None:
        path = console.ask_file("Enter file in which to save the key", default_file(kind))
    _make_folder(path, asked, console)
    if os.path.lexists(path) and not overwrites(path, console):
        return 1
    passphrase = _new_passphrase(asked, console)
    comment = default_comment() if asked.comment is None else asked.comment
    key = generate_private_key(kind.name, kind.bits, comment)
    public = write_pair(key, path, passphrase, asked, console)
    if not asked.quiet:
        console.say(f"Your identification has been saved in {path}\nYour public key has been saved in {public}")
        console.say(f"The key fingerprint is:\n{key.public.fingerprint(asked.hash)} {comment}")
        console.say(f"The key's randomart image is:\n{key.public.randomart(asked.hash)}")
    return 0


def overwrites(path: str, console: Console) -> bool:
    """Whether a file that exists may be overwritten."""
    console.say(f"{shown(path)} already exists.")
    return console.confirm("Overwrite (y/n)? ")


def default_comment() -> str:
    """``user@host``."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise Fatal(f"No user exists for uid {os.getuid()}") from None
    return f"{user}@{socket.gethostname()}"


def write_pair(key: PrivateKey, path: str, passphrase: bytes | None, asked: Arguments, console: Console) -> str:
    """Writes the private key to ``path`` and the public one beside it, whose name is returned. Raises Fatal."""
    public = f"{path}.pub"
    try:
        key.public.line(key.comment)  # a comment of several lines is found before anything is written
        identity.save(key, path, passphrase, asked, console)
        key.public.save(public, key.comment)
    except (KeyFormatError, OSError) as error:
        raise Fatal(f"Unable to save public key to {shown(public)}: {identity.reason(error)}", 1) from None
    return public


def _make_folder(path: str, asked: Arguments, console: Console) -> None:
    """Makes ~/.ssh, readable by its owner alone, if the key is to be there and it is missing."""
    folder = os.path.join(os.path.expanduser("~"), ".ssh")
    if os.path.dirname(path) != folder or os.path.isdir(folder):
        return
    try:
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)
    except OSError as error:
        console.tell(f"Could not create directory '{shown(folder)}' ({error.strerror}).")
        return
    if not asked.quiet:
        console.say(f"Created directory '{shown(folder)}'.")


def _new_passphrase(asked: Arguments, console: Console) -> bytes | None:
    if asked.new_passphrase is not None:
        return os.fsencode(asked.new_passphrase) or None
    return console.new_passphrase("Enter passphrase (empty for no passphrase): ", again=True) or None
