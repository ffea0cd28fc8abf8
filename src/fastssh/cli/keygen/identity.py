"""The key that a command is about: found, opened with its passphrase, and told of in ssh-keygen's words."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.types import default_file
from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.files import read_any, shown
from fastssh.keys import openssh_format
from fastssh.keys.files import MAX_KEY_FILE, KeyPermissionError, check_private
from fastssh.keys.private import OPENSSH, PrivateKey, parse_private_key
from fastssh.keys.public import PublicKey
from fastssh.keys.public_file import public_key_of

_UNPROTECTED: Final = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions {mode:04o} for '{path}' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored."""
_FORMATS: Final = {None: OPENSSH, "RFC4716": OPENSSH, "PEM": "pem", "PKCS8": "pkcs8"}


class Opened(NamedTuple):
    """A private key and the passphrase that opened its file, None where none was needed."""

    key: PrivateKey
    passphrase: bytes | None
    openssh: bool  #: whether the file is in OpenSSH's own format, which has a comment


def file_of(asked: Arguments, console: Console, prompt: str = "Enter file in which the key is") -> str:
    """The name of -f, or the one that is typed."""
    return console.ask_file(prompt, default_file()) if asked.file is None else asked.file


class KeyFile:
    """A file with a key in it. It is read once, for it may be a pipe."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The path, for a message."""
        return shown(self.path)

    @functools.cached_property
    def contents(self) -> tuple[bytes, os.stat_result]:
        """Raises OSError, KeyFormatError for a file that is too large."""
        return read_any(self.path, MAX_KEY_FILE)

    def public(self) -> tuple[PublicKey, str]:
        """Public key and comment, as :func:`fastssh.keys.public_file.load_public_key`."""
        return public_key_of(self.contents[0], self.path)


def key_file(asked: Arguments, console: Console, *, named: bool = False) -> KeyFile:
    """The file of -f, or the one whose name is typed; it is there. Raises Fatal, which with ``named`` begins with the
    tool's name."""
    file = KeyFile(file_of(asked, console))
    try:
        os.stat(file.path)
    except OSError as error:
        raise Fatal(f"{f'{console.name}: ' if named else ''}{file.name}: {reason(error)}") from None
    return file


def reason(error: Exception) -> str:
    """Why a key could not be read or written, in OpenSSH's words as far as it has any."""
    if isinstance(error, PassphraseError):
        return "incorrect passphrase supplied to decrypt private key"
    if isinstance(error, KeyPermissionError):
        return "bad permissions"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"invalid format{str(error) and ': '}{str(error).removeprefix(': ')}"


def open_private(file: KeyFile, console: Console, passphrase: Callable[[], bytes], failed: str) -> Opened:
    """The private key in a file; ``passphrase`` is called if it is encrypted. Raises Fatal, which begins with
    ``failed``."""
    used: list[bytes] = []

    def ask() -> bytes:
        used.append(passphrase())
        return used[0]

    try:
        data, status = file.contents
        check_open_to_others(file.path, status, console)
        key = parse_private_key(data, ask, "", security_keys=True)
    except (KeyFormatError, PassphraseError, OSError) as error:
        raise Fatal(f"{failed}: {reason(error)}") from None
    return Opened(key, used[0] if used else None, openssh_format.BEGIN in data)


def check_open_to_others(path: str, status: os.stat_result, console: Console) -> None:
    """Warns of a private key file that others than its owner can read, and raises KeyPermissionError."""
    try:
        check_private(path, status)
    except KeyPermissionError:
        console.tell(_UNPROTECTED.format(mode=status.st_mode & 0o7777, path=shown(path)))
        raise


def load(file: KeyFile, asked: Arguments, console: Console) -> Opened:
    """The private key in a file, opened with the passphrase of -P or the one that is typed. Raises Fatal."""
    return open_private(file, console, lambda: old_passphrase(asked, console), f'Load key "{file.name}"')


def old_passphrase(asked: Arguments, console: Console, prompt: str = "Enter passphrase: ") -> bytes:
    """That of -P, or the one that is typed."""
    return console.passphrase(prompt) if asked.passphrase is None else os.fsencode(asked.passphrase)


def save(key: PrivateKey, path: str, passphrase: bytes | None, asked: Arguments, console: Console) -> None:
    """Writes a private key as -m, -Z and -a ask for it. Raises Fatal."""
    format = file_format(key, asked)
    try:
        key.save(
            path, passphrase or None, format=format,
            cipher=asked.cipher or openssh_format.DEFAULT_CIPHER, rounds=asked.rounds or openssh_format.DEFAULT_ROUNDS,
        )  # fmt: skip
    except (KeyFormatError, OSError) as error:
        why = str(error) if isinstance(error, KeyFormatError) else reason(error)
        raise Fatal(f'Saving key "{shown(path)}" failed: {why}', 1) from None


def file_format(key: PrivateKey, asked: Arguments) -> str:
    """The format of the private key's file: it is OpenSSH's where the one of -m has no place for the key."""
    format = _FORMATS[asked.format]
    if key.public.is_security_key or (format == "pem" and key.public.algorithm == "ssh-ed25519"):
        return OPENSSH
    return format


def check_cipher(asked: Arguments) -> None:
    """Raises Fatal if -Z names no cipher for key files."""
    if asked.cipher is not None and asked.cipher not in openssh_format.CIPHERS:
        raise Fatal(f"Invalid OpenSSH-format cipher '{asked.cipher}'")
