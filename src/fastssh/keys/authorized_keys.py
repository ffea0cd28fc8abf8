"""authorized_keys files: which keys may log in, and what each may do (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

A line that is not understood to its end authorises nobody, and stops no other line from doing so: it becomes a note
for the log.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fastssh.errors import KeyFormatError
from fastssh.files import Path, shown
from fastssh.keys.files import Note, Notes, read_checked
from fastssh.keys.key_options import KeyOptions, parse_options
from fastssh.keys.public import PUBLIC_KINDS, PublicKey, decode_key_fields, decode_public_key
from fastssh.wire.text import printable

#: Bytes; a hundred thousand Ed25519 keys have room.
MAX_AUTHORIZED_KEYS_FILE: Final = 16 * 1024 * 1024

_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class AuthorizedKey:
    """One line."""

    key: PublicKey
    options: KeyOptions
    comment: str  #: as written; printable() before it goes anywhere
    where: str  #: ``file:line``, fit for a log


@dataclass(frozen=True)
class AuthorizedKeys:
    """The lines of a file, in order."""

    keys: tuple[AuthorizedKey, ...] = ()  #: may log in themselves
    authorities: tuple[AuthorizedKey, ...] = ()  #: cert-authority: may certify keys, never log in themselves
    notes: tuple[Note, ...] = ()  #: what was ignored: lines, or the whole file

    def find(self, key: PublicKey) -> list[AuthorizedKey]:
        """The lines that ``key`` may log in by; the first whose options admit the client counts (as in sshd)."""
        return _with_key(self.keys, key)

    def find_authority(self, key: PublicKey) -> list[AuthorizedKey]:
        """The lines that trust ``key`` to certify others."""
        return _with_key(self.authorities, key)


def _with_key(entries: Iterable[AuthorizedKey], key: PublicKey) -> list[AuthorizedKey]:
    return [entry for entry in entries if entry.key == key]


def load_authorized_keys(
    path: Path, *, home: Path | None, uid: int | None, only: PublicKey | None = None
) -> AuthorizedKeys:
    """Reads a regular file of at most MAX_AUTHORIZED_KEYS_FILE bytes. Raises nothing: a note says why it was not used.

    One that does not exist is empty. ``uid`` and ``home`` are the user's for :func:`check_owner_and_modes`; with
    ``uid=None`` (StrictModes no) anybody's file will do. ``only``: see :func:`parse_authorized_keys`.
    """
    data = read_checked(path, MAX_AUTHORIZED_KEYS_FILE, home=home, uid=uid)
    if not isinstance(data, bytes):
        return AuthorizedKeys(notes=() if data is None else (data,))
    return parse_authorized_keys(data, shown(path), only=only)


def parse_authorized_keys(
    data: bytes | str, name: str = "authorized_keys", *, only: PublicKey | None = None
) -> AuthorizedKeys:
    """The lines of ``data``; ``name`` stands for the file's in messages and must be fit for them.

    With ``only`` the lines of other keys are not looked at, which is what a large file and one key to check ask for.
    """
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    wanted = base64.b64encode(only.blob).decode("ascii") if only is not None else ""
    keys: list[AuthorizedKey] = []
    authorities: list[AuthorizedKey] = []
    notes = Notes(name)
    for number, raw in enumerate(text.split("\n"), 1):  # lines end with a newline and with nothing else
        line = raw.lstrip(" \t").rstrip(" \t\r")
        if not line or line.startswith("#") or wanted not in line:
            continue
        try:
            options, key, comment = _parse(line)
        except ValueError as error:  # KeyFormatError, and characters that no file could have given
            notes.add(number, printable(str(error)))
            continue
        entry = AuthorizedKey(key, options, comment, f"{name}:{number}")
        (authorities if options.cert_authority else keys).append(entry)
    return AuthorizedKeys(tuple(keys), tuple(authorities), tuple(notes.all))


def _parse(line: str) -> tuple[KeyOptions, PublicKey, str]:
    if "\0" in line:
        raise KeyFormatError("a NUL byte")
    fields = _BLANKS.split(line, 2)
    options = KeyOptions()
    if not _names_a_key(fields):
        options, rest = parse_options(line)
        fields = _BLANKS.split(rest, 2)
    if len(fields) < 2:
        raise KeyFormatError("key type and key are wanted")
    key = decode_public_key(decode_key_fields(fields[0], fields[1]))
    return options, key, fields[2] if len(fields) > 2 else ""


def _names_a_key(fields: list[str]) -> bool:
    """Whether a line begins with a key, be it one that we do not speak: then its key is what is wrong with it."""
    if fields[0] in PUBLIC_KINDS:
        return True
    try:
        return len(fields) > 1 and bool(decode_key_fields(fields[0], fields[1]))
    except KeyFormatError:
        return False
