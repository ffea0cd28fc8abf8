"""PidFile of sshd_config(5): written when the server listens, removed when it ends."""

from __future__ import annotations

import os

from fastssh.daemon.log import Log


class PidFile:
    """A server does its work without one: what goes wrong is only logged."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._path: str | None = None

    def write(self, path: str | None) -> None:
        """Puts this process's number into ``path``, if it is to be anywhere, and removes the file that was before."""
        if self._path != path:
            self.remove()
        if path is None:
            return
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            self._log.error(f"Couldn't create pid file {path!r}: {error.strerror}")
            return
        self._path = path

    def remove(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            try:
                os.unlink(path)
            except OSError as error:
                self._log.error(f"Couldn't remove pid file {path!r}: {error.strerror}")
