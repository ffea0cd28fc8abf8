"""Lines of ssh_config(5) as keyword and arguments: quotes, escapes, ``=``, comments, and the reading of files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from typing import NamedTuple

from fastssh.errors import ConfigError
from fastssh.files import UnfitFileError, read_regular

FILE_LIMIT = 1 << 20  # bytes; far above any real file, so that a wrong path cannot fill the memory
LINE_LIMIT = 1 << 16  # characters; what is done with one takes longer than its length says
_BLANK = " \t\r\f"


class Where(NamedTuple):
    """The place a setting came from; line 0 is the command line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def error(self, text: str) -> ConfigError:
        """The error for this place, to be raised."""
        return ConfigError(f"{self}: {text}")


class Line(NamedTuple):
    """One setting as written: ``keyword`` in lower case, ``rest`` is everything after it and its ``=``."""

    where: Where
    keyword: str
    arguments: tuple[str, ...]
    rest: str


def split_keyword(text: str) -> tuple[str, str] | None:
    """(keyword, rest) of a line; None for empty lines and comments. ValueError for a quote that does not end.

    Keyword and arguments are parted by white space, or by white space and exactly one ``=``.
    """
    text = text.strip(_BLANK + "\n")
    if not text or text.startswith("#"):
        return None
    if text.startswith('"'):
        end = text.find('"', 1)
        if end < 0:
            raise ValueError("a quote does not end")
        keyword, rest = text[1:end], text[end + 1 :]
    else:
        end = next((i for i, character in enumerate(text) if character in _BLANK + '="'), len(text))
        keyword, rest = text[:end], text[end:]
    rest = rest.lstrip(_BLANK)
    if rest.startswith("="):
        rest = rest[1:].lstrip(_BLANK)
    return keyword, rest


def split_arguments(text: str, *, comments: bool = True) -> list[str]:
    """The arguments in ``text``, as OpenSSH parts them. ValueError for a quote that does not end.

    Single and double quotes keep blanks; a backslash escapes quotes and itself, and outside quotes a space; any other
    backslash is itself. With ``comments``, a ``#`` where an argument would start begins one.
    """
    arguments: list[str] = []
    i, end = 0, len(text)
    while i < end:
        if text[i] in _BLANK:
            i += 1
            continue
        if comments and text[i] == "#":
            break
        word: list[str] = []
        quote = ""
        while i < end:
            character = text[i]
            if character == "\\" and i + 1 < end and text[i + 1] in ("'\"\\" if quote else "'\"\\ "):
                i += 1
                word.append(text[i])
            elif not quote and character in _BLANK:
                break
            elif character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            else:
                word.append(character)
            i += 1
        if quote:
            raise ValueError("a quote does not end")
        arguments.append("".join(word))
    return arguments


def join_arguments(arguments: Iterable[str]) -> str:
    """The text that :func:`split_arguments` parts into ``arguments`` again; a shell parts it alike.

    What else a shell acts upon (``$``, ``*``, ...) is left to it: the text is the administrator's own.
    """
    return " ".join(_quoted(argument) for argument in arguments)


def _quoted(argument: str) -> str:
    if not argument or argument.startswith("#") or any(blank in argument for blank in _BLANK):
        return '"' + re.sub(r'(["\\])', r"\\\1", argument) + '"'
    return re.sub(r"""(["'\\])""", r"\\\1", argument)


def read_line(text: str, where: Where) -> Line | None:
    """One line as a :class:`Line`; None when it holds no setting. ConfigError when it cannot be understood."""
    if len(text) > LINE_LIMIT:
        raise where.error(f"the line is longer than {LINE_LIMIT} characters")
    try:
        parts = split_keyword(text)
        if parts is None:
            return None
        keyword, rest = parts
        if not keyword:
            raise where.error("a keyword is missing")
        return Line(where, keyword.lower(), tuple(split_arguments(rest)), rest)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise where.error(str(error)) from None


def read_text(path: str, *, check_owner: bool) -> str:
    """The text of a configuration file. OSError when it cannot be opened; ConfigError when it should not be used.

    Only regular files (and /dev/null) of at most FILE_LIMIT bytes are read. With ``check_owner`` the file must belong
    to the user or root and be writable by no other, since whoever writes it runs commands as the user. Bytes that are
    not UTF-8 become surrogates, so that file names survive.
    """
    if os.path.realpath(path) == os.devnull:
        return ""
    try:
        data, status = read_regular(path, FILE_LIMIT)
    except UnfitFileError as error:
        raise ConfigError(str(error)) from None
    if check_owner and not _only_ours(status):
        raise ConfigError(f"{path}: bad owner or permissions: others could write it")
    if b"\0" in data:
        raise Where(path, data.count(b"\n", 0, data.index(b"\0")) + 1).error("holds a NUL byte")
    return data.decode("utf-8", "surrogateescape")


def _only_ours(status: os.stat_result) -> bool:
    """True when nobody but the user and root can write the file; the user's own private group does no harm."""
    if status.st_uid not in (0, os.getuid()) or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or _private_group(status.st_gid)


def _private_group(gid: int) -> bool:
    """True when the group has no member but the user."""
    import grp
    import pwd

    try:
        user = pwd.getpwuid(os.getuid())
        return user.pw_gid == gid and set(grp.getgrgid(gid).gr_mem) <= {user.pw_name} and gid != 0
    except KeyError:
        return False
