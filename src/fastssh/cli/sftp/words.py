"""The words of sftp's command lines: quotes, backslashes, comments, and which characters are wildcards.

A word is kept as a pattern, as glob(3) reads it: a wildcard that was quoted or escaped has a backslash before it.
:func:`plain` takes those away again, for what is no pattern.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_LINE: Final = 8192  # characters
MAX_WORDS: Final = 128

_SPACE: Final = " \t\n\v\f\r"
_WILD: Final = "?[*"
_TO_ESCAPE: Final = re.compile(r"""['"\\\s\[#*?]""", re.A)
_TO_ESCAPE_SHELL: Final = re.compile(r"[^A-Za-z0-9_@%+=:,./\x80-\U0010ffff-]")
_TO_ESCAPE_QUOTED: Final = re.compile(r"""["\\$`]""")


class LineError(ValueError):
    """A line that has no meaning; the text says why, in sftp's words."""


class Words(NamedTuple):
    """What a line is made of. ``quote`` is the quotation mark that the last word began with, or empty; ``open``: its
    end is missing; ``behind``: the line ends behind the last word, with a space or a comment; ``start``: the index of
    the last word, if the line ends with it.
    """

    words: list[str]
    quote: str = ""
    open: bool = False
    behind: bool = True
    start: int = -1


def split(line: str) -> list[str]:
    """The words of a whole line. Raises LineError."""
    return scan(line).words


def scan(line: str, *, partial: bool = False) -> Words:
    """As :func:`split`; with ``partial`` the line may stop anywhere, as one that is still typed does."""
    if len(line) >= MAX_LINE:
        raise LineError("string too long")
    words: list[str] = []
    word: list[str] | None = None
    mark = first = ""  # the quotation that we are in, and the one that the word began with
    at = start = 0
    while at < len(line):
        character, following = line[at], line[at + 1 : at + 2]
        at += 1
        if not mark and character in _SPACE:
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        if not mark and character == "#":
            return Words(_limited([*words, "".join(word)] if word is not None else words), first)
        if word is None:
            word, start = [], at - 1
            first = character if character in "'\"" else ""
        if character == "\\":
            at += 1
            if not following:
                return _cut_short([*words, "".join(word)], first, partial, start)
            word.append(_escaped(following, mark))
        elif mark and character == mark:
            mark = ""
        elif not mark and character in "'\"":
            mark = character
        else:
            word.append("\\" + character if mark and character in _WILD else character)
    if word is None:
        return Words(_limited(words))
    words.append("".join(word))
    if mark:
        return _cut_short(words, first, partial, start)
    return Words(_limited(words), first, behind=False, start=start)


def _limited(words: list[str]) -> list[str]:
    if len(words) > MAX_WORDS:
        raise LineError("Too many arguments.")
    return words


def _cut_short(words: list[str], first: str, partial: bool, start: int) -> Words:
    if not partial:
        raise LineError("Unterminated quoted argument")
    return Words(_limited(words), first, open=True, behind=False, start=start)


def _escaped(character: str, mark: str) -> str:
    """What a backslash and ``character`` stand for. Between quotation marks a backslash only takes the meaning from
    the mark itself; before a wildcard, which means nothing there anyway, it is a backslash."""
    if not mark:
        return "\\" + character if character in _WILD or character == "\\" else character
    if character == mark:
        return character
    return "\\\\\\" + character if character in _WILD else "\\" + character


def plain(word: str) -> str:
    """The word as a name: without the backslashes before wildcards and backslashes."""
    return re.sub(r"\\([?\[*\\])", r"\1", word)


def quoted(name: str, quote: str = "", *, shell: bool = False) -> str:
    """``name`` as it is typed: behind the quotation mark ``quote``, which is the caller's, or without one. ``shell``:
    in a line that the local shell reads, to which more characters have a meaning."""
    if shell and quote == "'":
        return re.sub(r"['\\]", lambda found: f"'\\{found[0]}'", name)
    if shell:
        escaped = (_TO_ESCAPE_QUOTED if quote else _TO_ESCAPE_SHELL).sub(lambda found: "\\" + found[0], name)
        return escaped if quote else escaped.replace("\\\n", "'\n'")
    if quote:
        return name.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return _TO_ESCAPE.sub(lambda found: "\\" + found[0], name)
