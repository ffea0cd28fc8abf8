"""Whether there is a master whose connection a program may share: ControlPath and ControlMaster of ssh_config(5)."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from fastssh.cli.mux.client import MasterConnection
from fastssh.config.session import control
from fastssh.errors import MultiplexError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastssh.config.settings import Settings

_NEVER_CLIENT: Final = ("yes", "ask")  # ControlMaster of who is a master, or nothing


def find_master(settings: Settings, say: Callable[[str], None]) -> MasterConnection | None:
    """The master that ``settings`` name, if one listens and this program may be its client.

    A socket that nobody listens on is removed where there is to be a master. ``say`` gets a line about any other reason
    for not sharing. Raises ConfigError, and MultiplexError for a path that is too long.
    """
    shared = control(settings)
    if shared is None or shared.master in _NEVER_CLIENT:
        return None
    path = shared.path
    timeout = settings.number("ConnectTimeout")
    try:
        return MasterConnection(path, timeout if timeout > 0 else None)
    except FileNotFoundError:
        return None
    except ConnectionRefusedError as error:
        if shared.master == "no":
            say(refused(path, error))
        else:
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):  # connecting to any other file is refused as well
                    os.unlink(path)
    except OSError as error:
        say(refused(path, error))
    except MultiplexError as error:
        if str(error).startswith("ControlPath too long"):
            raise
        say(str(error))
    return None


def named_master(settings: Settings) -> MasterConnection:
    """The master that -O is for. Raises MultiplexError, in ssh's words, where there is none."""
    shared = control(settings)
    if shared is None:
        raise MultiplexError('No ControlPath specified for "-O" command')
    try:
        return MasterConnection(shared.path, settings.number("ConnectTimeout") or None)
    except OSError as error:
        raise MultiplexError(refused(shared.path, error)) from error


def master_path(settings: Settings, say: Callable[[str], None]) -> str | None:
    """Where the master of :func:`find_master` listens, for programs that want several sessions of it."""
    if "ControlPath" not in settings:
        return None
    master = find_master(settings, say)
    if master is None:
        return None
    master.close()
    return master.path


def refused(path: str, error: OSError) -> str:
    """What ssh says of a control socket to which no connection could be made."""
    return f"Control socket connect({printable(path)}): {error.strerror}"
