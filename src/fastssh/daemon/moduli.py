"""moduli(5): the groups that group exchange chooses from (ModuliFile of sshd_config(5))."""

from __future__ import annotations

from typing import Final

from fastssh.daemon.log import Log
from fastssh.errors import ProtocolError
from fastssh.files import UnfitFileError, read_regular, shown
from fastssh.transport.kex.groups import MAX_BITS, MIN_BITS, Group, check_group

MAX_MODULI_FILE: Final = 16 * 1024 * 1024  # bytes
MAX_LINE: Final = 100 + MAX_BITS // 4  # characters
MAX_GROUPS: Final = 4096

_SAFE: Final = 2  # of the types: p and (p - 1) / 2 are primes
_COMPOSITE: Final = 1  # of the tests: it was found not to be a prime


def load_moduli(path: str, log: Log, *, wanted: bool) -> tuple[Group, ...]:
    """The safe primes in a file, of the sizes that are spoken here; none if it cannot be read.

    Then RFC 3526's groups serve, and the log says so where the file is ``wanted``.
    """
    try:
        data, _ = read_regular(path, MAX_MODULI_FILE)
    except OSError as error:
        reason = error.strerror or str(error)
    except UnfitFileError as error:
        reason = str(error)
    else:
        groups = parse_moduli(data)
        if groups:
            return groups
        reason = "it has no group that can be used"
    if wanted:
        log.error(f"ModuliFile {shown(path)}: {reason}; using the groups of RFC 3526")
    return ()


def parse_moduli(data: bytes) -> tuple[Group, ...]:
    """The groups in ``data``; a line that is none, or not a tested one, is passed over, as in sshd."""
    found: list[Group] = []
    for line in data.decode("ascii", "replace").split("\n"):
        if len(line) <= MAX_LINE and len(found) < MAX_GROUPS:
            found += _group(line)
    return tuple(found)


def _group(line: str) -> list[Group]:
    fields = line.split()
    if len(fields) != 7 or line.startswith("#"):
        return []
    try:
        kind, tests, size, generator = (int(fields[at]) for at in (1, 2, 4, 5))
        group = Group(int(fields[6], 16), generator)
        if kind != _SAFE or tests & _COMPOSITE or not tests & ~_COMPOSITE or group.bits != size + 1:
            return []
        check_group(group, MIN_BITS, MAX_BITS)
    except (ValueError, ProtocolError):
        return []
    return [group]
