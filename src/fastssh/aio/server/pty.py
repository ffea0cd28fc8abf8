"""Pseudo-terminals: opened, given to their user, and set as the client's terminal is."""

from __future__ import annotations

import grp
import os
from contextlib import suppress
from dataclasses import dataclass

from fastssh.aio.tty import Terminal, set_modes, set_size


@dataclass(frozen=True, slots=True)
class Pty:
    """Two descriptors and the terminal's path; closing them is the caller's."""

    master: int
    slave: int
    name: str


def open_pty(terminal: Terminal, uid: int) -> Pty:
    """A new terminal as ``terminal`` says, belonging to ``uid``. Raises OSError."""
    master, slave = os.openpty()
    try:
        _give(slave, uid)
        set_size(slave, terminal.size)
        set_modes(slave, terminal.modes)
        return Pty(master, slave, os.ttyname(slave))
    except BaseException:
        os.close(master)
        os.close(slave)
        raise


def _give(slave: int, uid: int) -> None:
    """Only root can give a terminal away, and to anybody else it belongs already. It may be written to by mesg(1)'s
    group alone. With the terminal's end its entry disappears, so it is not taken back."""
    if os.geteuid() != 0:
        return
    group = -1
    with suppress(KeyError):  # a system without that group
        group = grp.getgrnam("tty").gr_gid
    os.fchown(slave, uid, group)
    os.fchmod(slave, 0o600 if group < 0 else 0o620)
