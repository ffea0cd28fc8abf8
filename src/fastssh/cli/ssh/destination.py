"""Where to go: ``[user@]host`` or ``ssh://[user@]host[:port]``."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastssh.cli.tool import UsageError

_SCHEME: Final = "ssh://"


class Destination(NamedTuple):
    """``user`` and ``port`` are None where they were not given."""

    host: str
    user: str | None = None
    port: int | None = None


def parse(text: str) -> Destination:
    """Raises UsageError for what is none, with ssh's exit status."""
    if text.lower().startswith(_SCHEME):
        from fastssh.cli.location import parse_authority

        authority, slash, path = text[len(_SCHEME) :].partition("/")
        try:
            if slash and path:
                raise ValueError("a path follows the host")
            return Destination(*parse_authority(authority))
        except ValueError as error:
            raise UsageError(f"{text}: invalid uri: {error}", usage=True) from None
    user, at, host = text.rpartition("@")
    if at and not user:
        raise UsageError("the user name is missing", usage=True)
    if not host:
        raise UsageError("a destination is needed", usage=True)
    return Destination(host, user if at else None)
