"""What a copy cost and brought about, as one JSON object (``--json``)."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastssh.cli.messages import reason
from fastssh.version import __version__

if TYPE_CHECKING:
    from fastssh.transport.negotiation import Negotiated

MAX_ERRORS: Final = 1000  # listed; all are counted


@dataclass
class Summary:
    """Filled while a copy runs. Seconds of connecting and of copying are kept apart, so that rates mean something."""

    files: int = 0
    bytes: int = 0
    connect_seconds: float = 0.0
    seconds: float = 0.0  # of copying
    algorithms: dict[str, str] = field(default_factory=dict)  # of the last connection
    connections: int = 0  # at once, at most
    open: int = 0  # now, without companions
    failed: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)  # the first MAX_ERRORS of them
    interrupted: bool = False
    status: int = 0

    def connected(self, chosen: Negotiated, *, sends: bool) -> None:
        """There is a connection, over which most of the bytes go one way."""
        self.open += 1
        self.connections = max(self.connections, self.open)
        self.algorithms = {
            "cipher": chosen.cipher_c2s if sends else chosen.cipher_s2c,
            "mac": chosen.mac_c2s if sends else chosen.mac_s2c,
            "kex": chosen.kex,
            "host_key_algorithm": chosen.host_key,
        }

    def error(self, name: str, error: BaseException) -> None:
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append({"name": name, "reason": reason(error, name), "type": type(error).__name__})

    def text(self) -> str:
        """One line of JSON, in ASCII."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found: dict[str, Any] = {
            "version": __version__,
            "exit_status": self.status,
            "interrupted": self.interrupted,
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "connect_seconds": round(self.connect_seconds, 6),
            "rate": round(self.bytes / self.seconds) if self.seconds > 0 else 0,
            **{name: self.algorithms.get(name) for name in ("cipher", "mac", "kex", "host_key_algorithm")},
            "connections": self.connections,
            "cpu_user_seconds": round(usage.ru_utime, 6),
            "cpu_system_seconds": round(usage.ru_stime, 6),
            "peak_rss": peak_rss(usage.ru_maxrss),
            "failed": self.failed,
            "errors": self.errors,
        }
        import json  # asked for with --json alone

        return json.dumps(found)


class Stopwatch:
    """Adds the seconds of a ``with`` block to a field of a Summary."""

    def __init__(self, summary: Summary, name: str) -> None:
        self._summary, self._name = summary, name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *ignored: object) -> None:
        spent = getattr(self._summary, self._name) + time.monotonic() - self._began
        setattr(self._summary, self._name, spent)


def peak_rss(maxrss: int) -> int:
    """The process's largest resident set in bytes.

    ru_maxrss on Linux includes what the parent held at fork, so the kernel's figure for this program is preferred.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return maxrss if sys.platform == "darwin" else maxrss * 1024
