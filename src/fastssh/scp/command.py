"""The command that a client of the legacy protocol runs on the other side: `scp [-dprv] -t|-f path ...`.

A shell there reads it. What we send is quoted, but for wildcards and a leading tilde, which are the shell's to expand:
that is what the protocol has in place of a way to ask for them (CVE-2020-15778 is what else a shell does). What we are
sent where there is no shell is read as a shell reads words, and means nothing beyond that.
"""

from __future__ import annotations

import getopt
import re
from dataclasses import dataclass
from typing import Final

from fastssh.errors import ProtocolError
from fastssh.sftp.tree import CopyOptions

_SAFE: Final = re.compile(r"[A-Za-z0-9_./,:=@%+*?\[\]~^-]|[^\x00-\x7f]")
_BEGIN: Final = re.compile(r"~[A-Za-z0-9._-]*(?=/|\Z)")
_MEANS_MORE: Final = frozenset("$`;&|<>()\n#!{}")  # unquoted, to one shell or another
_OPTIONS: Final = "dfprtqv46BCl:c:i:o:P:S:F:J:"  # those after -r mean nothing to the far side


@dataclass(frozen=True)
class Command:
    """``paths`` are patterns, as :mod:`fastssh.sftp.glob` reads them, where this came from a client."""

    sink: bool  # -t, and not -f
    paths: tuple[str, ...]
    recurse: bool = False
    preserve: bool = False
    target_directory: bool = False
    verbose: bool = False

    @property
    def options(self) -> CopyOptions:
        return CopyOptions(recurse=self.recurse, preserve=self.preserve, target_directory=self.target_directory)

    def words(self) -> list[str]:
        flags = {"-v": self.verbose, "-r": self.recurse, "-p": self.preserve, "-d": self.target_directory}
        words = ["scp", *(flag for flag, on in flags.items() if on), "-t" if self.sink else "-f"]
        if any(path.startswith("-") for path in self.paths):
            words.append("--")
        return words + list(self.paths)

    def text(self) -> str:
        """For a shell."""
        words = self.words()
        first = len(words) - len(self.paths)
        return " ".join([*words[:first], *map(quoted, words[first:])])


def quoted(path: str) -> str:
    """``path`` for a shell, which may expand wildcards and a leading ~ or ~user in it, and nothing else. A backslash
    is what it is in a pattern: the next character means itself."""
    tilde = _BEGIN.match(path)
    at = tilde.end() if tilde else 0
    parts = [path[:at]]
    while at < len(path):
        character = path[at]
        if character == "\\" and path[at + 1 : at + 2] not in ("", "\n"):
            parts.append(path[at : at + 2])
            at += 1
        elif character == "~" and at == 0:
            parts.append("\\~")
        elif character == "\n":
            parts.append("'\n'")
        elif _SAFE.match(character) or (character == "!" and parts[-1].endswith("[")):
            parts.append(character)
        else:
            parts.append(f"\\{character}")
        at += 1
    return "".join(parts) or "''"


def parse(text: str) -> Command | None:
    """What a client asks for; None for any other command. Raises ProtocolError for one that only a shell could run."""
    if re.match(r"\s*(?:\S*/)?scp(?:\s|\Z)", text) is None:
        return None
    return parse_arguments(_split(text)[1:])


def parse_arguments(words: list[str]) -> Command:
    """The words after the program's name. Raises ProtocolError."""
    try:
        options, paths = getopt.getopt(words, _OPTIONS)
    except getopt.GetoptError as error:
        raise ProtocolError(f"scp: {error.msg}") from None
    flags = {flag for flag, _ in options}
    if len(flags & {"-t", "-f"}) != 1:
        raise ProtocolError("scp: one of -t and -f is needed")
    sink = "-t" in flags
    if not paths or (sink and len(paths) != 1):
        raise ProtocolError("scp: ambiguous target" if sink and paths else "scp: a path is needed")
    return Command(sink, tuple(paths), "-r" in flags, "-p" in flags, "-d" in flags, "-v" in flags)


def _split(text: str) -> list[str]:
    """Words as sh(1) has them. What was quoted in them comes with a backslash if it could be a wildcard."""
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character in " \t":
            words += ["".join(word)] if word is not None else []
            word = None
            continue
        word = [] if word is None else word
        if character in "'\"":
            literal, at = _quoted(text, at, character)
            word += literal
        elif character == "\\":
            if at == len(text):
                raise ProtocolError("scp: the command ends with a backslash")
            word.append(_literal(text[at]))
            at += 1
        elif character in _MEANS_MORE:
            raise ProtocolError(f"scp: there is no shell for {character!a} in a name")
        else:
            word.append(character)
    return words + (["".join(word)] if word is not None else [])


def _quoted(text: str, at: int, quote: str) -> tuple[list[str], int]:
    """The characters up to the closing quote, and where it goes on."""
    found: list[str] = []
    while at < len(text) and text[at] != quote:
        if quote == '"' and text[at] == "\\" and text[at + 1 : at + 2] in tuple('"\\$`\n'):
            at += 1
        elif quote == '"' and text[at] in "$`":
            raise ProtocolError(f"scp: there is no shell for {text[at]!a} in a name")
        found.append(_literal(text[at]))
        at += 1
    if at == len(text):
        raise ProtocolError("scp: a quote does not end")
    return found, at + 1


def _literal(character: str) -> str:
    return f"\\{character}" if character in "*?[]\\~" else character
