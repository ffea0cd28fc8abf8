"""What a configuration asks for and fastssh does not do, and what it forbids."""

from __future__ import annotations

from collections.abc import Iterator

from fastssh.config.directives import DIRECTIVES
from fastssh.config.settings import Settings


def refuse(settings: Settings) -> None:
    """ConfigError for a host that RefuseConnection is for."""
    if "RefuseConnection" in settings:
        raise settings.where("RefuseConnection").error(f"RefuseConnection: {settings.text('RefuseConnection')}")


def passed_over(settings: Settings) -> Iterator[str]:
    """A line for each setting that is ignored: a way in that is not there, a comfort that is missing. None of them
    would change where we connect, or make us trust whom we should not."""
    for name in settings:
        if DIRECTIVES[name.lower()].passes_over(settings.value(name)):
            yield f"{settings.where(name)}: {name} is not supported, and ignored"
