"""The texts of tools (`fastssh.cli.tool`) taken apart: paragraphs, and what is written in them.

An empty line ends a paragraph. One whose lines are all indented by four is an example, as it stands; one whose first
line alone is not indented explains the term in that line. Within a text, what stands between backquotes is typed as it
stands, and ssh_config(5) is a manual page. A name in braces stands for the list of that name in NAMES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fastssh.config.directives import DIRECTIVES
from fastssh.config.server import settings as server
from fastssh.config.table import Directive


class Paragraph(NamedTuple):
    """``term`` is what a definition explains; ``example``: ``text`` is as it stands, with its line feeds."""

    text: str
    term: str = ""
    example: bool = False


def _names(table: Mapping[str, Directive[Any]], wanted: Callable[[Directive[Any]], bool]) -> list[str]:
    return sorted({each.name for each in table.values() if wanted(each)}, key=str.lower)


NAMES: Final[dict[str, Callable[[], list[str]]]] = {
    "passed over": lambda: _names(DIRECTIVES, lambda each: each.passed_over is not None),
    "server directives": lambda: _names(server.DIRECTIVES, lambda each: each.harmless is None),
}


def paragraphs(text: str) -> Iterator[Paragraph]:
    for part in text.strip("\n").split("\n\n"):
        lines = part.split("\n")
        if all(line.startswith("    ") for line in lines):
            yield Paragraph("\n".join(line[4:] for line in lines), example=True)
        elif len(lines) > 1 and not lines[0].startswith(" ") and all(line.startswith("  ") for line in lines[1:]):
            yield Paragraph(_filled(" ".join(line.strip() for line in lines[1:])), lines[0])
        else:
            yield Paragraph(_filled(" ".join(line.strip() for line in lines)))


def _filled(text: str) -> str:
    return re.sub(r"\{([a-z ]+)\}", lambda found: ", ".join(f"`{name}`" for name in NAMES[found[1]]()), text)
