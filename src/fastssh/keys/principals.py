"""AuthorizedPrincipalsFile of sshd_config(5): the names in a certificate that a user is logged in by.

A line is a name, before which options as those of authorized_keys may stand; ``#`` begins a comment wherever it is. A
line that is not understood names nobody.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fastssh.errors import KeyFormatError
from fastssh.files import Path, shown
from fastssh.keys.files import Note, Notes, read_checked
from fastssh.keys.key_options import KeyOptions, parse_options
from fastssh.wire.text import printable

MAX_PRINCIPALS_FILE: Final = 1024 * 1024  # bytes

_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class AuthorizedPrincipal:
    """One line."""

    name: str
    options: KeyOptions
    where: str  #: ``file:line``, fit for a log


@dataclass(frozen=True)
class AuthorizedPrincipals:
    """The lines of a file, in order."""

    lines: tuple[AuthorizedPrincipal, ...] = ()
    notes: tuple[Note, ...] = ()  #: what was ignored: lines, or the whole file

    def find(self, principals: Collection[str]) -> list[AuthorizedPrincipal]:
        """The lines whose name is, whole, one of a certificate's."""
        return [line for line in self.lines if line.name in principals]


def load_principals(path: Path, *, home: Path | None, uid: int | None) -> AuthorizedPrincipals:
    """Reads a file as :func:`fastssh.keys.files.read_checked` does; one that does not exist names nobody."""
    data = read_checked(path, MAX_PRINCIPALS_FILE, home=home, uid=uid)
    if not isinstance(data, bytes):
        return AuthorizedPrincipals(notes=() if data is None else (data,))
    return parse_principals(data, shown(path))


def parse_principals(data: bytes, name: str) -> AuthorizedPrincipals:
    """The lines of ``data``; ``name`` stands for the file's in messages and must be fit for them."""
    lines: list[AuthorizedPrincipal] = []
    notes = Notes(name)
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = raw.partition("#")[0].strip(" \t\r")
        if not line:
            continue
        principal = _BLANKS.split(line)[-1]
        try:
            options = _options(line.removesuffix(principal))
        except ValueError as error:  # KeyFormatError, and characters that no file could have given
            notes.add(number, printable(str(error)))
            continue
        lines.append(AuthorizedPrincipal(principal, options, f"{name}:{number}"))
    return AuthorizedPrincipals(tuple(lines), tuple(notes.all))


def _options(text: str) -> KeyOptions:
    if "\0" in text:
        raise KeyFormatError("a NUL byte")
    options, rest = parse_options(text) if text else (KeyOptions(), "")
    if rest:
        raise KeyFormatError("more than options stands before the name")
    return options
