"""Which names a server may send at the top of a copy: those that were asked for (CVE-2019-6111)."""

from __future__ import annotations

from collections.abc import Callable

from fastssh.errors import ProtocolError
from fastssh.sftp import glob, paths
from fastssh.wire.text import printable

#: Raises ProtocolError for a name that was not asked for.
Check = Callable[[bytes], None]


def requested(path: bytes) -> Check:
    """For a source as it was asked for: its last component, which may be a pattern. A plain name comes once.

    ``~bob`` has to come as ``bob``: where that is, is the server's to say, but not what it is called here.
    """
    last = path.rstrip(b"/").rpartition(b"/")[2]
    if last == path.rstrip(b"/") and last.startswith(b"~"):
        last = last[1:]
    text = paths.decode(last)
    pattern, literal = glob.Pattern(text), glob.is_literal(text)
    seen: set[bytes] = set()

    def check(name: bytes) -> None:
        as_written = not literal and name == last  # what matches nothing is left so by a shell
        if not as_written and not pattern.matches(paths.decode(name)):
            raise ProtocolError(f"error: filename does not match request: {printable(paths.decode(name))}")
        if name in seen or (literal and seen):
            raise ProtocolError(f"error: more than was asked for: {printable(paths.decode(name))}")
        seen.add(name)

    return check


def anything(name: bytes) -> None:
    """-T: whatever the server sends."""
