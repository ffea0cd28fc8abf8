"""What a table of directives is made of: a name, how its arguments are read, and what holds without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastssh.config.lexer import Line

T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D", bound="Directive[Any]")


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # what is generated costs start-up
class Directive(Generic[T_co]):
    """One directive. ``most`` is the most arguments it takes: 0 for any number, -1 for the whole rest of the line."""

    name: str
    read: Callable[[Sequence[str]], T_co]
    default: T_co | None = None
    most: int = 1
    least: int = 1
    accumulate: bool = False  # each occurrence adds; otherwise the first one wins
    removes: bool = False  # of one that accumulates: ``-pattern`` takes away what was added so far
    rival: str = ""  # another directive that, when it came first, makes this one count for nothing
    unset: bool = False  # ``none`` means that there is no value
    shell: bool = False  # a shell of this machine reads it: names of others must be plain words there
    tokens: str = ""  # which %-tokens are expanded
    environment: bool = False  # ${NAME} is expanded
    harmless: tuple[object, ...] | None = None  # not supported: any other value would change what we promise
    passed_over: tuple[object, ...] | None = None  # not supported: any other value is told of, and does no harm
    aliases: tuple[str, ...] = ()

    def value(self, line: Line) -> T_co:
        """What ``line`` sets. ConfigError that names the place when its arguments are too few, too many or wrong."""
        # Of the rest of a line OpenSSH takes any number of = away.
        arguments = (line.rest.lstrip(" \t\r="),) if self.most < 0 and line.rest else line.arguments
        if len(arguments) < self.least:
            raise line.where.error(f"{self.name} needs {self.least} argument{'s' * (self.least > 1)}")
        if 0 < self.most < len(arguments):
            raise line.where.error(f"{self.name} has extra arguments at the end of the line")
        try:
            return self.read(arguments)
        except ValueError as error:
            raise line.where.error(f"{self.name}: {error}") from None

    def supports(self, value: object) -> bool:
        """False for a value that is understood, cannot be followed, and may not be ignored."""
        return self.harmless is None or _lower(value) in self.harmless

    def passes_over(self, value: object) -> bool:
        """True for a value that is understood and ignored."""
        return self.passed_over is not None and _lower(value) not in self.passed_over


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def by_name(table: Iterable[D]) -> dict[str, D]:
    """The directives by name and alias, in lower case."""
    return {name: directive for directive in table for name in (directive.name.lower(), *directive.aliases)}
