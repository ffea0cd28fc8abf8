"""sftp's commands: what they are called, what they take, and a line as a command. Nothing is done here."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from fastssh.cli.sftp.words import LineError, plain, split

_UINT32_MAX: Final = 0xFFFFFFFF
_SPACE: Final = " \t\r\n"


class Takes(Enum):
    """The operands of a command."""

    NOTHING = 0  # what is there is passed over, as sftp does
    MAYBE_PATH = 1
    PATH = 2
    TWO_PATHS = 3
    SOURCE = 4  # a pattern, and perhaps a target
    MAYBE_PATTERN = 5
    PATTERN = 6
    NUMBER = 7
    NUMBER_PATTERN = 8
    REST = 9  # of the line, as it is


PATTERNS: Final = (Takes.SOURCE, Takes.MAYBE_PATTERN, Takes.PATTERN)  # those whose first operand is one


class Side(Enum):
    """Whose names complete an operand."""

    LOCAL = "local"
    REMOTE = "remote"


L, R = Side.LOCAL, Side.REMOTE


class Verb(NamedTuple):
    """A command. ``does`` names what is done, and ``usage`` and ``help`` are lines of the help; empty: not shown."""

    name: str
    does: str
    takes: Takes
    flags: str = ""
    usage: str = ""
    help: str = ""
    completes: tuple[Side | None, Side | None] = (None, None)


_LS: Final = "1Safhlnrt"
_COPY: Final = "afPpRr"

VERBS: Final = (
    Verb("bye", "quit", Takes.NOTHING, "", "bye", "Quit sftp"),
    Verb("cd", "cd", Takes.MAYBE_PATH, "", "cd [path]", "Change remote directory to 'path'", (R, None)),
    Verb("chdir", "cd", Takes.MAYBE_PATH, completes=(R, None)),
    Verb("chgrp", "chgrp", Takes.NUMBER_PATTERN, "h", "chgrp [-h] grp path", "Change group of 'path'", (None, R)),
    Verb("chmod", "chmod", Takes.NUMBER_PATTERN, "h", "chmod [-h] mode path", "Change mode of 'path'", (None, R)),
    Verb("chown", "chown", Takes.NUMBER_PATTERN, "h", "chown [-h] own path", "Change owner of 'path'", (None, R)),
    Verb("copy", "copy", Takes.TWO_PATHS, "", "copy oldpath newpath", "Copy remote file", (R, R)),
    Verb("cp", "copy", Takes.TWO_PATHS, "", "cp oldpath newpath", "Copy remote file", (R, R)),
    Verb("df", "df", Takes.MAYBE_PATH, "hi", "df [-hi] [path]", "Show what is free where 'path' is", (R, None)),
    Verb("dir", "ls", Takes.MAYBE_PATTERN, _LS, completes=(R, None)),
    Verb("du", "du", Takes.MAYBE_PATTERN, "ahs", "du [-ahs] [path]", "Add up what is in 'path', in KiB", (R, None)),
    Verb("exit", "quit", Takes.NOTHING, "", "exit", "Quit sftp"),
    Verb("get", "get", Takes.SOURCE, _COPY, "get [-afpR] remote [local]", "Download file", (R, L)),
    Verb("help", "help", Takes.NOTHING, "", "help", "Display this help text"),
    Verb("lcd", "lcd", Takes.MAYBE_PATH, "", "lcd [path]", "Change local directory to 'path', or home", (L, None)),
    Verb("lchdir", "lcd", Takes.MAYBE_PATH, completes=(L, None)),
    Verb("lls", "lls", Takes.REST, "", "lls [ls-options [path]]", "Display local directory listing", (L, L)),
    Verb("lmkdir", "lmkdir", Takes.PATH, "", "lmkdir path", "Create local directory", (L, None)),
    Verb("ln", "ln", Takes.TWO_PATHS, "s", "ln [-s] oldpath newpath", "Link remote file (-s for symlink)", (R, R)),
    Verb("lpwd", "lpwd", Takes.NOTHING, "", "lpwd", "Print local working directory"),
    Verb("ls", "ls", Takes.MAYBE_PATTERN, _LS, "ls [-1afhlnrSt] [path]", "Display remote directory listing", (R, None)),
    Verb("lumask", "lumask", Takes.NUMBER, "h", "lumask umask", "Set local umask to 'umask'"),
    Verb("mkdir", "mkdir", Takes.PATH, "", "mkdir path", "Create remote directory", (R, None)),
    Verb("mget", "get", Takes.SOURCE, _COPY, completes=(R, L)),
    Verb("mput", "put", Takes.SOURCE, _COPY, completes=(L, R)),
    Verb("progress", "progress", Takes.NOTHING, "", "progress", "Toggle display of progress meter"),
    Verb("put", "put", Takes.SOURCE, _COPY, "put [-afpR] local [remote]", "Upload file", (L, R)),
    Verb("pwd", "pwd", Takes.NOTHING, "", "pwd", "Display remote working directory"),
    Verb("quit", "quit", Takes.NOTHING, "", "quit", "Quit sftp"),
    Verb("reget", "reget", Takes.SOURCE, _COPY, "reget [-fpR] remote [local]", "Resume download file", (R, L)),
    Verb("rename", "rename", Takes.TWO_PATHS, "l", "rename [-l] oldpath newpath", "Rename remote file", (R, R)),
    Verb("reput", "reput", Takes.SOURCE, _COPY, "reput [-fpR] local [remote]", "Resume upload file", (L, R)),
    Verb("rm", "rm", Takes.PATTERN, "", "rm path", "Delete remote file", (R, None)),
    Verb("rmdir", "rmdir", Takes.PATH, "", "rmdir path", "Remove remote directory", (R, None)),
    Verb("symlink", "symlink", Takes.TWO_PATHS, "", "symlink oldpath newpath", "Symlink remote file", (R, R)),
    Verb("version", "version", Takes.NOTHING, "", "version", "Show SFTP version"),
    Verb("!", "shell", Takes.REST, "", "![command]", "Execute 'command', or a local shell"),
    Verb("?", "help", Takes.NOTHING, "", "?", "Synonym for help"),
)  # fmt: skip
BY_NAME: Final = {verb.name: verb for verb in VERBS}


class Prefix(NamedTuple):
    """What stands before a command: ``-``: go on even if it fails, ``@``: do not repeat it."""

    go_on: bool
    silent: bool


class Command(NamedTuple):
    """A line that was understood. ``flags`` in the order in which they were given, as some undo others."""

    verb: Verb
    flags: str = ""
    paths: tuple[str, ...] = ()
    number: int = 0
    rest: str = ""


def read_prefix(line: str) -> tuple[Prefix, str]:
    """The prefix of a line, and what follows it."""
    rest = line.lstrip(_SPACE)
    command = rest.lstrip("-@")
    prefix = rest[: len(rest) - len(command)]
    return Prefix("-" in prefix, "@" in prefix), command.lstrip(_SPACE)


def parse(line: str) -> Command | None:
    """A line without its prefix; None for one that asks for nothing. Raises LineError."""
    if not line or line.startswith("#"):
        return None
    words = split(line)
    verb = BY_NAME.get("!" if line.startswith("!") else words[0].lower() if words else "")
    if verb is None:
        raise LineError("Invalid command.")
    if verb.takes is Takes.REST:
        return Command(verb, rest=line[len(verb.name) :].lstrip(_SPACE) if verb.name != "!" else line[1:])
    flags, operands = _read_flags(verb, words[1:])
    return _READERS[verb.takes](Command(verb, flags), operands)


def _read_flags(verb: Verb, words: list[str]) -> tuple[str, list[str]]:
    """The flags before the first operand, as getopt(3) finds them."""
    flags = ""
    for at, word in enumerate(words):
        if word == "--":
            return flags, words[at + 1 :]
        if len(word) < 2 or not word.startswith("-"):
            return flags, words[at:]
        for flag in word[1:]:
            if flag not in verb.flags:
                raise LineError(f"{'ls' if verb.does == 'ls' else verb.name}: Invalid flag -{flag}")
        flags += word[1:]
    return flags, []


def _nothing(command: Command, operands: list[str]) -> Command:
    return command


def _maybe_path(command: Command, operands: list[str]) -> Command:
    return command._replace(paths=tuple(map(plain, operands[:1])))


def _maybe_pattern(command: Command, operands: list[str]) -> Command:
    return command._replace(paths=tuple(operands[:1]))


def _path(command: Command, operands: list[str]) -> Command:
    return _maybe_path(command, _wanted(command, operands, 1, "a path"))


def _pattern(command: Command, operands: list[str]) -> Command:
    return _maybe_pattern(command, _wanted(command, operands, 1, "a path"))


def _two_paths(command: Command, operands: list[str]) -> Command:
    return command._replace(paths=tuple(map(plain, _wanted(command, operands, 2, "two paths")[:2])))


def _source(command: Command, operands: list[str]) -> Command:
    first, *more = _wanted(command, operands, 1, "at least one path")
    return command._replace(paths=(first, *map(plain, more[:1])))


def _number(command: Command, operands: list[str]) -> Command:
    base = 8 if command.verb.does in ("lumask", "chmod") else 0
    number = _read_number(operands[0], base) if operands else None
    if number is None:
        raise LineError(f"You must supply a numeric argument to the {command.verb.name} command.")
    return command._replace(number=number)


def _number_and_pattern(command: Command, operands: list[str]) -> Command:
    numbered = _number(command, operands)
    return numbered._replace(paths=tuple(_wanted(command, operands[1:], 1, "a path")[:1]))


def _wanted(command: Command, operands: list[str], number: int, what: str) -> list[str]:
    if len(operands) < number:
        raise LineError(f"You must specify {what} after a {command.verb.name} command.")
    return operands


_OCTAL: Final = ((re.compile(r"([0-7]+)"), 8),)
_AS_IN_C: Final = (
    (re.compile(r"0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"0([0-7]*)"), 8),
    (re.compile(r"([1-9][0-9]*)"), 10),
)


def _read_number(text: str, base: int) -> int | None:
    """A number of 32 bits, in ``base`` or, with 0, as C writes it; None for anything else."""
    digits = text.lstrip(_SPACE).removeprefix("+")
    for pattern, of in _AS_IN_C if base == 0 else _OCTAL:
        found = pattern.fullmatch(digits)
        if found is not None and len(digits) <= 16:
            number = int(found[1] or "0", of)
            return number if number <= _UINT32_MAX else None
    return None


_READERS: Final = {
    Takes.NOTHING: _nothing,
    Takes.MAYBE_PATH: _maybe_path,
    Takes.PATH: _path,
    Takes.TWO_PATHS: _two_paths,
    Takes.SOURCE: _source,
    Takes.MAYBE_PATTERN: _maybe_pattern,
    Takes.PATTERN: _pattern,
    Takes.NUMBER: _number,
    Takes.NUMBER_PATTERN: _number_and_pattern,
}


def help_text() -> str:
    """The commands, one a line, as `help` shows them."""
    lines = [f"{verb.usage:<34} {verb.help}\n" for verb in VERBS if verb.usage]
    return "Available commands:\n" + "".join(lines)
