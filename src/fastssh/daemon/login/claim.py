"""Who asks to be let in: what the judgement of each of its keys needs to know."""

from __future__ import annotations

from typing import NamedTuple

from fastssh.config.server.settings import ServerSettings
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import User


class Claim(NamedTuple):
    """A client at ``address``, whose trusted name is ``host`` if it has one, says that it is ``user``; ``settings`` are
    those that hold for it."""

    user: User
    settings: ServerSettings
    address: str
    host: str | None
    log: Log
