"""Walking configuration files: their settings line by line, what they include, and what the command line adds."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Final

from fastssh.config.lexer import Line, Where, read_line, read_text
from fastssh.errors import ConfigError

SYSTEM_FOLDER: Final = "/etc/ssh"
INCLUDE_DEPTH: Final = 16
INCLUDE_FILES: Final = 4096  # files read in one evaluation, so that Includes that multiply end
TOTAL_LIMIT: Final = 16 << 20  # characters of them all
COMMAND_LINE: Final = Where("command line", 0)


class Reading:
    """The files of one evaluation, counted."""

    def __init__(self) -> None:
        self._files = self._characters = 0

    def lines(self, path: str, *, check_owner: bool) -> Iterator[Line]:
        """The settings in a file, each with an argument. ConfigError names the place; OSError when there is no file."""
        self._files += 1
        if self._files > INCLUDE_FILES:
            raise ConfigError(f"{path}: more than {INCLUDE_FILES} files to read")
        contents = read_text(path, check_owner=check_owner)
        self._characters += len(contents)
        if self._characters > TOTAL_LIMIT:
            raise ConfigError(f"{path}: more than {TOTAL_LIMIT} characters to read with what was read before")
        for number, text in enumerate(contents.split("\n"), 1):
            line = read_line(text, Where(path, number))
            if line is None:
                continue
            if not line.arguments:
                raise line.where.error(f"{line.keyword} has no argument")
            yield line


def included(line: Line, depth: int, pattern: Callable[[str], str]) -> Iterator[str]:
    """The files that an Include names, in the order of their names; a pattern without a match is nothing.

    ``pattern`` makes an absolute pattern of an argument, when what came before it has been read. ``depth`` is how
    deep the including file lies. ConfigError when that is too deep, or an argument is empty.
    """
    import glob

    if depth + 1 >= INCLUDE_DEPTH:
        raise line.where.error("includes are nested too deeply")
    for argument in line.arguments:
        if not argument:
            raise line.where.error("include has an empty argument")
        yield from sorted(glob.glob(pattern(argument)))


def override(setting: str | tuple[str, str], refused: Container[str]) -> Line:
    """A setting of the command line: as given to ``-o``, or (keyword, argument) with the argument taken as it is.

    ``refused`` are the keywords that only make sense in a file. Raises ConfigError.
    """
    if "\0" in "".join(setting):
        raise COMMAND_LINE.error("a setting holds a NUL byte")
    if isinstance(setting, str):
        line = read_line(setting, COMMAND_LINE)
    else:
        line = Line(COMMAND_LINE, setting[0].lower(), setting[1:], setting[1])
    if line is None:
        raise COMMAND_LINE.error(f"-o {setting!r} holds no setting")
    if line.keyword in refused:
        raise COMMAND_LINE.error(f"{line.keyword} cannot be given with -o")
    return line
