"""fastsshd's log: one line an event, in sshd's words, to standard error, a file or syslog; safe for a terminal."""

from __future__ import annotations

import os
import syslog
from collections.abc import Callable
from typing import Final

from fastssh.config.server.values import SyslogFacility
from fastssh.config.values import LogLevel
from fastssh.files import create_file, write_all
from fastssh.wire.text import printable

IDENT: Final = "fastsshd"
LONGEST: Final = 1024  # characters of a line, as sshd
_ORDER: Final = {level: number for number, level in enumerate(LogLevel)}
_PREFIXES: Final = {  # sshd's, where the level is not syslog's to show
    LogLevel.FATAL: "fatal: ",
    LogLevel.ERROR: "error: ",
    LogLevel.DEBUG1: "debug1: ",
    LogLevel.DEBUG2: "debug2: ",
    LogLevel.DEBUG3: "debug3: ",
}
_PRIORITIES: Final = {
    LogLevel.FATAL: syslog.LOG_CRIT,
    LogLevel.ERROR: syslog.LOG_ERR,
    LogLevel.INFO: syslog.LOG_INFO,
    LogLevel.VERBOSE: syslog.LOG_INFO,
}

Sink = Callable[[LogLevel, str], None]


def to_descriptor(descriptor: int) -> Sink:
    """Lines written to an open file, each in one piece, so that those of several processes do not mix."""

    def write(level: LogLevel, line: str) -> None:
        try:
            write_all(descriptor, f"{line}\n".encode())
        except OSError:
            return  # a full disk, a closed pipe: there is nowhere to say so, and the connections go on

    return write


class FileSink:
    """Appends to a file, made with mode 0600 if there is none. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = self._open()
        self._write = to_descriptor(self._descriptor)

    def _open(self) -> int:
        try:
            create_file(self._path, b"")
        except FileExistsError:
            pass
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY)

    def __call__(self, level: LogLevel, line: str) -> None:
        self._write(level, line)

    def reopen(self) -> None:
        """Goes on in the file that has the name now: the other one may have been moved away."""
        descriptor = self._open()
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)


def to_syslog(facility: SyslogFacility) -> Sink:
    """syslog(3). The connection to it is made now, and outlives a chroot."""
    number: int = getattr(syslog, f"LOG_{facility.name}")
    syslog.openlog(IDENT, syslog.LOG_PID | syslog.LOG_NDELAY, number)
    return lambda level, line: syslog.syslog(_PRIORITIES.get(level, syslog.LOG_DEBUG), line)


class Log:
    """What is at most as loud as ``level`` goes to ``sink``."""

    def __init__(self, level: LogLevel, sink: Sink) -> None:
        self.level, self._sink = level, sink

    def __call__(self, level: LogLevel, text: str) -> None:
        if level is LogLevel.QUIET or _ORDER[level] > _ORDER[self.level]:
            return
        line = _PREFIXES.get(level, "") + printable(text)
        self._sink(level, line if len(line) <= LONGEST else f"{line[:LONGEST]}...")

    def reopen(self) -> None:
        """After a change of names: see :meth:`FileSink.reopen`. Raises OSError."""
        if isinstance(self._sink, FileSink):
            self._sink.reopen()

    def fatal(self, text: str) -> None:
        self(LogLevel.FATAL, text)

    def error(self, text: str) -> None:
        self(LogLevel.ERROR, text)

    def info(self, text: str) -> None:
        self(LogLevel.INFO, text)

    def verbose(self, text: str) -> None:
        self(LogLevel.VERBOSE, text)

    def debug(self, text: str) -> None:
        self(LogLevel.DEBUG1, text)
