"""How a connection's process ended: the exit status is all that it tells its parent about it."""

from __future__ import annotations

import os
import signal
from enum import IntEnum
from typing import Final

GRACE_MARGIN: Final = 5.0  # seconds after LoginGraceTime in which a process may end by itself


class Ending(IntEnum):
    """Exit statuses of a connection's process."""

    LOGGED_IN = 0  # somebody did, whatever came after
    FAILED = 1  # of no fault of the client's
    NO_AUTH = 2  # the client went away without an attempt to log in
    GRACE_EXCEEDED = 3
    CRASH = 4  # an error of ours; the client may have brought it about
    AUTH_FAILED = 5
    INVALID_USER = 7


_OURS: Final = frozenset((signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT))


def ending_of(status: int) -> Ending:
    """What waitpid() says. A process that died of a signal which nobody sends on purpose has crashed."""
    if os.WIFSIGNALED(status):
        return Ending.FAILED if os.WTERMSIG(status) in _OURS else Ending.CRASH
    try:
        return Ending(os.WEXITSTATUS(status))
    except ValueError:
        return Ending.CRASH
