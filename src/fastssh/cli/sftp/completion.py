"""What a line that is still typed may go on with: commands, and names of either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fastssh.cli.sftp.commands import BY_NAME, VERBS, Side, Takes, read_prefix
from fastssh.cli.sftp.words import LineError, Words, plain, quoted, scan
from fastssh.sftp import glob

Names = Callable[[Side, str], list[str]]  # of a side, what matches a pattern; a directory ends with a slash


class Choices(NamedTuple):
    """``lines`` are what the whole line up to the cursor may become; ``shown`` what they are called in a list."""

    lines: list[str]
    shown: list[str]


NONE: Final = Choices([], [])


def choices(line: str, names: Names) -> Choices:
    """Of ``line``, which ends at the cursor."""
    _, rest = read_prefix(line)
    head = line[: len(line) - len(rest)]
    if rest.startswith(("!", "#")):
        return NONE
    try:
        words = scan(rest, partial=True)
        if words.behind and scan(rest + "x", partial=True).behind:  # in a comment
            return NONE
    except LineError:
        return NONE
    if words.behind:
        words = Words([*words.words, ""], start=len(rest))
    before = head + rest[: words.start]
    *earlier, word = words.words or [""]
    if not earlier:
        found = sorted(verb.name for verb in VERBS if verb.name.startswith(word.lower()))
        return Choices([f"{before}{name} " for name in found], found)
    side = _side(earlier)
    if side is None:
        return NONE
    found = names(side, f"{word}*")
    shown = [name.rstrip("/").rpartition("/")[2] + "/" * name.endswith("/") for name in found]
    if not glob.is_literal(word):  # only a list is shown, and the line stays
        return Choices([line] * min(len(shown), 2), shown)
    shell = BY_NAME[earlier[0].lower()].takes is Takes.REST
    return Choices([before + each for each in _words(word, words.quote, shown, shell=shell)], shown)


def _side(words: list[str]) -> Side | None:
    """Whose names the word behind these is one of."""
    verb = BY_NAME.get(words[0].lower())
    if verb is None:
        return None
    operands = [word for word in words[1:] if not word.startswith("-")]
    if verb.takes is Takes.REST:
        return verb.completes[0]
    return verb.completes[len(operands)] if len(operands) < len(verb.completes) else None


def _words(word: str, quote: str, names: list[str], *, shell: bool) -> list[str]:
    """What ``word`` may become. Its directory stays; behind the name of a file the word ends."""
    directory, slash, _ = plain(word).rpartition("/")
    whole = [(directory + slash + name, "" if name.endswith("/") else f"{quote} ") for name in names]
    return [quote + quoted(name, quote, shell=shell) + end for name, end in whole]
