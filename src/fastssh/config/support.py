"""What a configuration asks for and fastssh does not do: refused where that would break a promise, else told of."""

from __future__ import annotations

from collections.abc import Iterator

from fastssh.config.directives import DIRECTIVES
from fastssh.config.lexer import Where
from fastssh.config.settings import Settings
from fastssh.config.table import Directive
from fastssh.config.values import Value


def refuse_unsupported(settings: Settings) -> None:
    """ConfigError for what would change where we connect or whom we trust."""
    for directive, value, where in _given(settings):
        if directive.name == "RefuseConnection":
            raise where.error(f"RefuseConnection: {value}")
        if not directive.supports(value):
            raise where.error(f"{directive.name} is not supported yet")


def passed_over(settings: Settings) -> Iterator[str]:
    """A line for each setting that is ignored: a way in that is not there, a comfort that is missing."""
    for directive, value, where in _given(settings):
        if directive.passes_over(value):
            yield f"{where}: {directive.name} is not supported, and ignored"


def _given(settings: Settings) -> Iterator[tuple[Directive[Value], Value, Where]]:
    for name in settings:
        yield DIRECTIVES[name.lower()], settings.value(name), settings.where(name)
