"""Public keys in files: lines of several formats, and the half of a private key file that needs no passphrase."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fastssh.errors import KeyFormatError, ProtocolError
from fastssh.files import Path, read_any, shown
from fastssh.keys import openssh_format
from fastssh.keys.files import MAX_KEY_FILE
from fastssh.keys.public import PublicKey, decode_key, decode_key_fields

_KEY: Final = re.compile(r"([^ \t]+)[ \t]+([^ \t]+)")
# Blanks in quotation marks belong to it.
_WORD: Final = re.compile(r'(?:\\"|"(?:\\"|[^"\\]++|\\)*+(?:"|\Z)|[^ \t"\\]++|\\)*+')
_BLANKS: Final = " \t"
_NUMBER: Final = re.compile(r"[+-]?0*[1-9][0-9]*[ \t]")


class Shown(NamedTuple):
    """A key and what stands with it: a comment, or the names or options before it where there is none."""

    key: PublicKey  #: or a certificate
    comment: str


def load_public_key(path: Path) -> tuple[PublicKey, str]:
    """Public key, or certificate, and comment of a file: of a line ``type base64 comment``, or of a private key file.

    Beside a private key the file ``path.pub`` is looked at first, as it has the comment; without it the public half of
    OpenSSH's own format will do, encrypted or not. Raises OSError for a file that cannot be opened,
    :class:`KeyFormatError` (which names it) where no key is found.
    """
    return public_key_of(read_any(path, MAX_KEY_FILE)[0], path)


def public_key_of(data: bytes, path: Path) -> tuple[PublicKey, str]:
    """The same of a file that was read: ``data`` is what it has."""
    try:
        return first_key(data)
    except KeyFormatError as error:
        failed = error
    beside = f"{os.fspath(path)}.pub"
    try:
        key, comment = first_key(read_any(beside, MAX_KEY_FILE)[0])
        return key, comment or beside
    except (OSError, KeyFormatError):
        pass
    try:
        return public_half(data), ""
    except KeyFormatError:
        raise KeyFormatError(f"{shown(path)}: {failed}") from None


def first_key(data: bytes) -> tuple[PublicKey, str]:
    """The first line ``type base64 comment`` among comments and others. Raises :class:`KeyFormatError`."""
    for line in _lines(data):
        if line.startswith("-----BEGIN"):
            break
        if found := _read_key(line):
            return found[0], found[1].strip(_BLANKS)
    raise KeyFormatError("not a public key")


def public_half(data: bytes) -> PublicKey:
    """The public key of a private key file in OpenSSH's own format. Raises :class:`KeyFormatError`."""
    try:
        return decode_key(openssh_format.decode_container(data).public_blob)
    except (ProtocolError, ValueError) as error:
        raise KeyFormatError(str(error)) from None


def is_private(data: bytes) -> bool:
    """Whether the first line is that of a private key file."""
    return b"PRIVATE KEY" in data.split(b"\n", 1)[0]


def all_keys(data: bytes) -> Iterator[Shown]:
    """The keys in lines of a public key, authorized_keys or known_hosts file; other lines are left out.

    What stands before a key is a word, in which blanks between quotation marks count as letters.
    """
    for line in _lines(data):
        if line.startswith("#"):
            continue
        before, found = "", _read_key(line)
        if found is None and not _NUMBER.match(line):  # of a key of the first protocol
            before, rest = _skip_word(line)
            found = _read_key(rest)
        if found is not None:
            key, comment = found
            comment = comment.lstrip(_BLANKS)
            yield Shown(key, comment if comment and not comment.startswith("#") else before)


def _lines(data: bytes) -> Iterator[str]:
    """Lines that have something in them; they end with a newline and with nothing else."""
    for raw in data.split(b"\n"):
        if line := raw.decode("utf-8", "surrogateescape").rstrip("\r").lstrip(_BLANKS):
            yield line


def _read_key(text: str) -> tuple[PublicKey, str] | None:
    """The key that ``text`` begins with and what follows, None if it does not."""
    match = _KEY.match(text)
    if match is None:
        return None
    try:
        return decode_key(decode_key_fields(match[1], match[2])), text[match.end():]
    except KeyFormatError:
        return None


def _skip_word(text: str) -> tuple[str, str]:
    """A first word such as the options of authorized_keys, and what follows its blanks."""
    found = _WORD.match(text)
    at = found.end() if found is not None else 0
    return text[:at], text[at:].lstrip(_BLANKS)
