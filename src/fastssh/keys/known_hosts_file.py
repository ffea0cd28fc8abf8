"""known_hosts files to be rewritten: every line is kept as it stands, unless it is the one that changes.

Who is to be trusted is not decided here (:mod:`fastssh.keys.known_hosts`): a line is known by its names alone, and may
have a key of any type.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from fastssh.errors import KeyFormatError
from fastssh.files import (
    Path,
    create_file,
    open_regular,
    read_descriptor,
    read_regular,
    replace_file,
    shown,
)
from fastssh.keys.known_hosts import (
    MAX_KNOWN_HOSTS_FILE,
    SALT_SIZE,
    Marker,
    hash_name,
    names_match,
    unhash,
)
from fastssh.keys.patterns import lower
from fastssh.keys.public import PUBLIC_KINDS, decode_key_fields

_BLANKS: Final = re.compile(r"[ \t]+")
_PATTERN: Final = frozenset("*?!")


class Line(NamedTuple):
    """One line, without its end. ``names`` is empty where it is no entry: then it has nothing, a comment, or what is
    not understood (``invalid``)."""

    number: int  #: from 1
    text: str
    marker: Marker = Marker.NONE
    names: str = ""
    key: str = ""  #: type, base64 text and comment, as they stand
    invalid: bool = False

    @property
    def is_malformed_hash(self) -> bool:
        """Whether the names are hashed, and nobody could tell which they are."""
        try:
            return self.names.startswith("|") and not unhash(self.names)
        except KeyFormatError:
            return True

    @property
    def is_pattern(self) -> bool:
        return not _PATTERN.isdisjoint(self.names)

    def matches(self, name: str) -> bool:
        """Whether it is an entry of ``name``, which is as :func:`~fastssh.keys.known_hosts.host_name` gives it."""
        return bool(self.names) and names_match(self.names, name)

    def hashed(self, random: Callable[[int], bytes]) -> list[str]:
        """The entry with its names hashed, a line each; as it stands if it is hashed, has a pattern or a marker.

        ``random`` gives the salts.
        """
        if not self.names or self.names.startswith("|") or self.is_pattern or self.marker is not Marker.NONE:
            return [self.text]
        names = [name for name in lower(self.names).split(",") if name]
        return [f"{hash_name(name, random(SALT_SIZE))} {self.key}" for name in names] or [self.text]


def read_lines(path: Path) -> list[Line]:
    """The lines of a file. Raises OSError, :class:`~fastssh.files.UnfitFileError` for one that is not regular or too
    large."""
    return list(parse_lines(read_regular(path, MAX_KNOWN_HOSTS_FILE)[0]))


def parse_lines(data: bytes) -> Iterator[Line]:
    """The lines of a file's contents."""
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    if not texts[-1]:
        texts.pop()  # the last newline ends a line and begins none
    return (_parse(number, text) for number, text in enumerate(texts, 1))


def _parse(number: int, text: str) -> Line:
    rest = text.lstrip(" \t")
    if not rest.strip() or rest.startswith("#"):
        return Line(number, text)
    try:
        marker = Marker.NONE
        if rest.startswith("@"):
            word, rest = _BLANKS.split(rest, 1)
            marker = Marker(word)
        names, key = _BLANKS.split(rest, 1)
        type, base64_text, *_ = _BLANKS.split(key.rstrip(), 2)
        if base64_text.startswith("#"):
            raise KeyFormatError("key type and key are wanted")
        if type not in PUBLIC_KINDS:  # one of another program, or of a time to come
            decode_key_fields(type, base64_text)
    except ValueError:  # also of KeyFormatError, too few words and a marker that does not exist
        return Line(number, text, invalid=True)
    return Line(number, text, marker, names, key)


def rewrite(path: str, lines: Iterable[str], old: str) -> None:
    """Puts ``lines`` into a file in place of what it has, which the file ``old`` keeps.

    The mode stays; whoever reads meanwhile sees the old lines or the new. ``path`` is where the file really is, as it
    was found before it was read: a link that somebody puts there meanwhile leads root nowhere. Raises OSError,
    :class:`~fastssh.files.UnfitFileError`.
    """
    descriptor, status = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        data = read_descriptor(descriptor, MAX_KNOWN_HOSTS_FILE, shown(path))
    finally:
        os.close(descriptor)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(old)
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # where the file is elsewhere, or nothing can have two names
        create_file(old, data, stat.S_IMODE(status.st_mode))
    text = "".join(f"{line}\n" for line in lines)
    replace_file(path, text.encode("utf-8", "surrogateescape"), follow=False)
