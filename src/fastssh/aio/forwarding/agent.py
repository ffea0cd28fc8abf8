"""The socket in which a server shows its client's agent to the programs that it runs for it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
import weakref
from typing import Final

from fastssh.aio.forwarding.listen import bind_path

AGENT_VARIABLE: Final = "SSH_AUTH_SOCK"


class AgentSocket:
    """A listening socket ``sock`` at ``path``, in a new directory that nobody else may enter.

    Raises OSError. :meth:`remove` takes both away; so does the end of the process that made them, at the latest.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = tempfile.mkdtemp(prefix="fastssh-", dir=directory)  # 0700, and its name not to be guessed
        self.path = os.path.join(self._directory, f"agent.{secrets.token_hex(4)}")
        self._remove = weakref.finalize(self, _remove, self.path, self._directory, os.getpid())
        try:
            self.sock: socket.socket = bind_path(self.path)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """The files go; the socket itself belongs to whoever listens on it. Harmless when done already."""
        self._remove()


def _remove(path: str, directory: str, maker: int) -> None:
    if os.getpid() != maker:  # a process forked from the maker ends: the agent is still there
        return
    with contextlib.suppress(OSError):  # somebody removed it: that is what was wanted
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(directory)
