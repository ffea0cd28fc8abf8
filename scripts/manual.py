"""Manual pages, man(7), of what the tools say of themselves: `make docs` writes docs/man."""

from __future__ import annotations

import re
from typing import Final

from fastssh.cli.tool import Option, Tool
from fastssh.version import __version__
from scripts.texts import Paragraph, paragraphs

_KINDS: Final = {1: "User Commands", 5: "File Formats", 8: "System Administration"}
_MARKS: Final = re.compile(
    r"`([^`]+)`"  # typed as it stands
    r"|\b([A-Za-z][\w-]*\(\d\))"  # a manual page
    r"|(?<![\w`/.@-])(--?[A-Za-z0-9][\w-]*)"  # an option
)
_VERSION: Final = Option("--version", "show versions of fastssh and of the libraries it uses")
_HELP: Final = Option("--help", "show the options")


def page(tool: Tool) -> str:
    """The manual page of ``tool``, in roff."""
    name = tool.name.upper()
    kind = _KINDS[tool.section]
    lines = [
        '.\\" SPDX-License-Identifier: Apache-2.0',
        '.\\" Made by make docs of src/fastssh/cli: not to be changed here.',
        f'.TH "{name}" "{tool.section}" "" "fastssh {__version__}" "{kind}"',
        ".nr HY 0", ".nh", ".ad l",
        ".SH NAME", f"{_escape(tool.name)} \\- {_escape(tool.summary)}",
        ".SH SYNOPSIS",
        *(line for parts in _forms(tool) for line in (f'.SY "{_escape(tool.name)}"', *map(_part, parts), ".YS")),
        f'.SY "{_escape(tool.name)}"', f"{_bold('--help')} | {_bold('--version')}", ".YS",
        ".SH DESCRIPTION", *_text(tool.about),
    ]  # fmt: skip
    if tool.more:
        lines += [".PP", *_text(tool.more)]
    lines += [".SH OPTIONS", *_options(tool)]
    for section in tool.sections:
        lines += [f'.SH "{_escape(section.title)}"' if section.title else ".PP", *_text(section.text)]
    if tool.see_also:
        lines += [".SH SEE ALSO", ",\n".join(map(_reference, tool.see_also))]
    return "\n".join(lines) + "\n"


def _options(tool: Tool) -> list[str]:
    lines = []
    for option in (*(each for each in tool.options if each.help), _HELP, _VERSION):
        value = f" {_italic(option.value)}" if option.value else ""
        text = _sentence(option.help)
        lines += [".TP", f"{_bold(option.flag)}{value}", *_text(f"{text} {option.more}".strip(), within=True)]
    return lines


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." * (not text.endswith((".", "!", "?")))


def _forms(tool: Tool) -> list[list[str]]:
    """The parts of each form of the synopsis."""
    return [re.findall(r"\[[^]]*\]|\S+", form) for form in tool.forms] or [tool.synopsis()]


def _part(part: str) -> str:
    """One part of the synopsis, which is not broken: ``[-P port]``."""
    found = re.fullmatch(r"\[(--?[\w-]+)(?: (.*))?\]", part)
    if found is None:
        return _bold(part) if part.startswith("-") else _italic(part)
    value = f"\\ {_italic(found[2])}" if found[2] else ""
    return f"[{_bold(found[1])}{value}]"


def _text(text: str, *, within: bool = False) -> list[str]:
    """Paragraphs; ``within`` those of an option, which are indented."""
    lines: list[str] = []
    for number, paragraph in enumerate(paragraphs(text)):
        between = (".IP" if within else ".PP") if number else ""
        lines += _paragraph(paragraph, between)
    return lines


def _paragraph(paragraph: Paragraph, between: str) -> list[str]:
    if paragraph.example:
        return [".PP", ".RS 4", ".nf", *(_escape(line) for line in paragraph.text.split("\n")), ".fi", ".RE"]
    if paragraph.term:
        return [".TP", _marked(paragraph.term), *_sentences(paragraph.text)]
    return [*([between] if between else []), *_sentences(paragraph.text)]


def _sentences(text: str) -> list[str]:
    """One to a line, as roff wants them."""
    return [_marked(sentence) for sentence in re.split(r"(?<=[a-z)`][.!?])(?<!e\.g\.) (?=[A-Z`(-])", text)]


def _marked(text: str) -> str:
    """``text`` with what is typed and what is a page in bold; never taken for a request."""
    parts, end = [], 0
    for found in _MARKS.finditer(text):
        parts.append(_escape(text[end : found.start()]))
        literal, reference, option = found.groups()
        parts.append(_reference(reference) if reference else _bold(literal or option))
        end = found.end()
    line = "".join([*parts, _escape(text[end:])])
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _reference(name: str) -> str:
    title, _, section = name.partition("(")
    return f"{_bold(title)}({section}"


def _bold(text: str) -> str:
    return f"\\fB{_escape(text)}\\fR"


def _italic(text: str) -> str:
    return f"\\fI{_escape(text)}\\fR"


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    escaped = escaped.replace("`", "\\(ga").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
