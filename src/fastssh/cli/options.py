"""Options that several tools have: what is said of them, how their values are read, and which settings they are.

Where a tool says other words, or ends with another status, its OpenSSH counterpart does.
"""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Option, UsageError
from fastssh.config.values import port

Override = str | tuple[str, str]  # as fastssh.config.evaluate.load takes them

IPV4: Final = Option("-4", "IPv4 only")
IPV6: Final = Option("-6", "IPv6 only")
CIPHERS: Final = Option("-c", "ciphers to offer, comma-separated", "cipher", completes="cipher")
COMPRESS: Final = Option("-C", "compress")
CONFIG_FILE: Final = Option("-F", "file instead of `~/.ssh/config` and the system's", "ssh_config", completes="file")
IDENTITY: Final = Option("-i", "private key to log in with", "identity_file", completes="file")
JUMP: Final = Option("-J", "go over these hosts, comma-separated", "destination", completes="host")
LIMIT: Final = Option("-l", "use at most this many Kbit/s", "limit")
SETTING: Final = Option("-o", "a setting of ssh_config(5), e.g. `-o ConnectTimeout=5`", "ssh_option",
                        completes="setting")  # fmt: skip
VERBOSE: Final = Option("-v", "say what happens; -vv and -vvv say more")

FAMILIES: Final = {"-4": ("AddressFamily", "inet"), "-6": ("AddressFamily", "inet6")}
COMPRESSION: Final = ("Compression", "yes")

CONNECTIONS_MAX: Final = 8  # below what MaxStartups and MaxSessions of a stock server allow
LIMIT_MAX: Final = 100 * 1024 * 1024  # Kbit/s, as scp and sftp
BUFFER_MAX: Final = 256 * 1024  # bytes, as scp and sftp take after -X
REQUESTS_MAX: Final = 256 * 1024
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_FATAL: Final = 255  # the status of OpenSSH's fatal()


def log_level(verbosity: int) -> Override:
    """The setting of so many -v."""
    return "LogLevel", f"DEBUG{min(verbosity, 3)}"


def account(user: str | None, port: int | None) -> list[Override]:
    """User and port of a destination, those that are given, as settings in the order in which scp and sftp say them."""
    found: list[Override] = [("Port", str(port))] if port is not None else []
    return found if user is None else [*found, ("User", user)]


def read_port(text: str, words: str = "bad port {!r}", *, status: int | None = None) -> int:
    """A port or the name of a service. UsageError in these ``words`` with this ``status``."""
    try:
        return port([text])
    except ValueError:
        raise UsageError(words.format(text[:64]), status=status) from None


def number(text: str) -> int:
    """A number of at most 12 digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


def between(text: str, most: int, what: str) -> int:
    """A number from 1 to ``most``. UsageError that says ``what`` it is, as sftp does."""
    found = number(text)
    if not 1 <= found <= most:
        raise UsageError(f'Invalid {what} "{text[:64]}"', status=_FATAL)
    return found


def read_sftp_option(text: str) -> tuple[str, int]:
    """-X of scp and sftp: ``buffer`` in bytes, or ``requests``, with its value. UsageError."""
    name, equals, value = text.partition("=")
    if name == "buffer" and equals:
        unit = _UNITS.get(value[-1:].lower(), 0)
        return name, between(str(number(value[:-1]) * unit) if unit else value, BUFFER_MAX, "buffer size")
    if name == "nrequests" and equals:
        return "requests", between(value, REQUESTS_MAX, "number of requests")
    raise UsageError("Invalid -X option", status=_FATAL)
