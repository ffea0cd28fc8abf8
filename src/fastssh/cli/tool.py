"""What a command-line tool says of itself, once: usage, --help, its manual page and shell completion are made of it.

Texts are plain sentences. What stands between backquotes is typed as it stands; a name like ssh_config(5) is a manual
page; an empty line begins a paragraph.
"""

from __future__ import annotations

import getopt
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Final, NamedTuple

from fastssh.cli.messages import Messages, describe
from fastssh.cli.process import open_standard_descriptors, print_text
from fastssh.errors import SSHError

EXIT_INTERRUPTED: Final = 130
_WIDTH: Final = 80
_COLUMN: Final = 20  # where the texts of options begin in --help


class UsageError(Exception):
    """A command line that cannot be understood. ``usage`` says whether the usage is worth showing; ``status`` None is
    the tool's own."""

    def __init__(self, text: str, *, usage: bool = False, status: int | None = None) -> None:
        super().__init__(text)
        self.usage, self.status = usage, status


class Asked(Exception):
    """--help or --version was given: nothing else is done."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Option(NamedTuple):
    """One option. ``flag`` is a letter (``-P``) or a name (``--json``); ``value`` what its value is called, empty for a
    switch; ``help`` is for --help and the manual page, ``more`` for the latter alone. An option without ``help`` is
    taken, and shown nowhere. ``completes`` says with what a shell completes the value: a name of
    SOURCES in scripts/completion.py, or the words themselves.
    """

    flag: str
    help: str
    value: str = ""
    more: str = ""
    completes: str = ""


class Section(NamedTuple):
    """A section of the manual page, or without a title more of the one before; ``help``: its text ends --help too."""

    title: str
    text: str
    help: bool = False


class Tool(NamedTuple):
    """``about`` opens --help and the manual page's DESCRIPTION, where ``more`` follows. ``operands`` is how they are
    written in the usage, and ``completes`` with what a shell completes them; ``failed`` is the exit status of a wrong
    command line, and of whatever went wrong without a status of its own. ``forms`` are the usages of a tool that does
    several things, in place of the one that follows from the options."""

    name: str
    summary: str
    about: str
    options: tuple[Option, ...]
    operands: str = ""
    more: str = ""
    sections: tuple[Section, ...] = ()
    see_also: tuple[str, ...] = ()
    completes: str = "file"
    section: int = 1
    failed: int = 1
    forms: tuple[str, ...] = ()

    # -- reading -------------------------------------------------------------------------------------------------------

    def parse(self, argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """The options as getopt(3) finds them before the first operand, and what follows. Raises UsageError, Asked."""
        letters = "".join(option.flag[1] + ":" * bool(option.value) for option in self.options if len(option.flag) == 2)
        names = [option.flag[2:] + "=" * bool(option.value) for option in self.options if len(option.flag) > 2]
        try:
            options, operands = getopt.getopt(argv, letters, [*names, "help", "version"])
        except getopt.GetoptError as error:
            what = "option requires an argument" if "requires argument" in error.msg else "unknown option"
            raise UsageError(f"{what} -- {error.opt}", usage=True) from None
        for flag, _ in options:
            if flag in ("--help", "--version"):
                raise Asked(flag[2:])
        return options, operands

    # -- telling -------------------------------------------------------------------------------------------------------

    def synopsis(self) -> list[str]:
        """The parts of the usage: ``[-46q]``, ``[-P port]``, ``[--json]``, operands."""
        shown = [option for option in self.options if option.help]
        switches = sorted((o.flag[1] for o in shown if len(o.flag) == 2 and not o.value), key=_order)
        valued = sorted((o for o in shown if len(o.flag) == 2 and o.value), key=lambda o: _order(o.flag[1]))
        parts = [f"[-{''.join(switches)}]"] if switches else []
        parts += [f"[{option.flag} {option.value}]" for option in valued]
        parts += [f"[{o.flag}{' ' * bool(o.value)}{o.value}]" for o in shown if len(o.flag) > 2]
        return [*parts, *self.operands.split()]

    def usage(self) -> str:
        """The lines of a usage message."""
        lines: list[str] = []
        for form in self.forms or (" ".join(self.synopsis()),):
            first = f"{'       ' if lines else 'usage: '}{self.name} "
            whole = re.sub(r"\[[^]]*]", lambda part: part[0].replace(" ", "\0"), form)  # no part is broken
            lines.append(textwrap.fill(
                whole, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
                break_on_hyphens=False,
            ))  # fmt: skip
        return "\n".join([*lines, f"       {self.name} --help | --version\n"]).replace("\0", " ")

    def help(self) -> str:
        """What --help prints."""
        parts = [self.usage(), _paragraphs(self.about), "".join(map(_option_help, self.options))]
        parts += [_paragraphs(section.text) for section in self.sections if section.help]
        return "\n".join(parts)


def _order(letter: str) -> tuple[str, bool]:
    """Digits, then letters as a dictionary has them, capitals first."""
    return letter.lower(), letter.islower()


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, _WIDTH) for part in text.replace("`", "").split("\n\n")) + "\n"


def _option_help(option: Option) -> str:
    if not option.help:
        return ""
    head = f"  {option.flag}{' ' * bool(option.value)}{option.value}"
    if len(head) < _COLUMN - 1:
        first = head.ljust(_COLUMN)
    else:
        first = " " * _COLUMN
    text = textwrap.fill(
        option.help.replace("`", ""), _WIDTH, initial_indent=first, subsequent_indent=" " * _COLUMN,
        break_on_hyphens=False,
    )  # fmt: skip
    return f"{text}\n" if first.strip() else f"{head}\n{text}\n"


Body = Callable[[list[str], Messages], int]


def run_tool(tool: Tool, body: Body, argv: list[str] | None = None) -> int:
    """``body`` with ``argv`` (without the program's name; None: this process's): its exit status. Never raises."""
    open_standard_descriptors()
    messages = Messages(tool.name)
    try:
        return body(sys.argv[1:] if argv is None else argv, messages)
    except Asked as asked:
        return print_text(_answer(tool, asked.what), messages)
    except UsageError as error:
        messages.line(str(error))
        if error.usage:
            messages.write(tool.usage().rstrip())
        return tool.failed if error.status is None else error.status
    except (SSHError, OSError) as error:
        messages.line(describe(error))
    except KeyboardInterrupt:  # before or after a loop, which takes the signal itself
        messages.line("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:
        messages.unexpected(error)
    return tool.failed


def _answer(tool: Tool, what: str) -> str:
    if what == "help":
        return tool.help()
    from fastssh.cli.version import version_text

    return f"{version_text()}\n"
