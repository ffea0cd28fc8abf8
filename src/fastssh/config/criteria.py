"""The criteria of a Match line, as written."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from fastssh.config.lexer import Line, Where


class Criterion(NamedTuple):
    name: str  # in lower case
    negated: bool
    argument: str


class Criteria(NamedTuple):
    """The criteria of one Match line, in order."""

    where: Where
    items: tuple[Criterion, ...]

    @classmethod
    def read(
        cls, line: Line, *, bare: Container[str], with_argument: Container[str], may_be_empty: Container[str] = ()
    ) -> Criteria:
        """The criteria on ``line``: ``bare`` names stand alone, the others take an argument, after a blank or a ``=``.

        ConfigError when they cannot be understood.
        """
        words = list(line.arguments)
        items: list[Criterion] = []
        while words:
            word = words.pop(0)
            negated = word.startswith("!")
            name, equals, argument = word.removeprefix("!").partition("=")
            name = name.lower()
            if name in bare and not equals:
                argument = ""
            elif name in with_argument:
                missing = not equals and not words
                if not equals and words:
                    argument = words.pop(0)
                if missing or not (argument or name in may_be_empty):
                    raise line.where.error(f"Match {name} needs an argument")
            else:
                raise line.where.error(f"{word!r} is not a Match criterion")
            items.append(Criterion(name, negated, argument))
        return cls(line.where, tuple(items))
