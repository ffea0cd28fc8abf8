"""Messages that go elsewhere than to standard error: -E and -y."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from fastssh.errors import ConfigError
from fastssh.wire.text import printable


def to_file(path: str) -> Callable[[str], None]:
    """Appends lines to a file. Raises ConfigError where it cannot be opened."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"Couldn't open logfile {printable(path)}: {error.strerror}") from None

    def write(text: str) -> None:
        with suppress(OSError):  # a full disk, say: there is nowhere left to say so
            os.write(fd, f"{text}\n".encode("utf-8", "surrogateescape"))

    return write


def to_syslog(facility: str) -> Callable[[str], None]:
    """Each line is a message of ``facility``, one of syslog(3) without its LOG_."""
    import syslog

    syslog.openlog("fastssh", syslog.LOG_PID, getattr(syslog, f"LOG_{facility}", syslog.LOG_USER))

    def write(text: str) -> None:
        for line in text.split("\n"):
            syslog.syslog(syslog.LOG_DEBUG if line.startswith("debug") else syslog.LOG_INFO, line)

    return write
