"""What a server's announcement of its host keys means for the user's known_hosts: UpdateHostKeys of ssh_config(5).

The rules are OpenSSH's, which touch a file only where nobody can be surprised: lines that ssh itself might have
written, for this name alone.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from fastssh.keys.known_hosts import SALT_SIZE, Marker, hash_name
from fastssh.keys.known_hosts_file import Line
from fastssh.keys.public import PublicKey


class Host(NamedTuple):
    """The names of one host as :func:`~fastssh.keys.known_hosts.host_name` gives them; ``address`` with CheckHostIP."""

    name: str
    address: str | None = None

    def matches(self, line: Line) -> tuple[bool, bool]:
        """Whether ``line`` is of the name, and whether it is of the address."""
        return line.matches(self.name), self.address is not None and line.matches(self.address)

    def lines(self, key: PublicKey, *, hashed: bool, random: Callable[[int], bytes] = os.urandom) -> list[str]:
        """The entry that is written for ``key``."""
        names = [self.name] if self.address in (None, self.name) else [self.name, str(self.address)]
        if hashed:
            return [f"{hash_name(name, random(SALT_SIZE))} {key.line()}" for name in names]
        return [f"{','.join(names)} {key.line()}"]


class Update(NamedTuple):
    """``new`` keys are to be proven and added, ``old`` ones, by their wire form, removed. ``refused`` says why nothing
    is to be done, and is empty where something is."""

    new: tuple[PublicKey, ...] = ()
    old: frozenset[bytes] = frozenset()
    refused: str = ""


def plan_update(
    files: Sequence[Sequence[Line]], host: Host, keys: Sequence[PublicKey], announced: Collection[bytes]
) -> Update:
    """``files`` are the user's. ``keys`` are those that may be learnt of the ``announced`` ones: a key that is known
    and announced stays, whatever it is."""
    known: set[bytes] = set()
    complete: set[bytes] = set()  # known by name and, where that counts, address
    old: set[bytes] = set()
    others: set[bytes] = set()  # keys of lines of other hosts
    complex_names = other_name = False
    for line in (line for file in files for line in file):
        blob = _blob(line)
        if blob is None:
            continue
        by_name, by_address = host.matches(line)
        if not by_name and not by_address:
            others.add(blob)
        elif line.marker is not Marker.NONE or _is_complex(line.names):
            complex_names = True
        elif host.address is not None and "," in line.names and not (by_name and by_address):
            other_name = True
        elif blob in announced:
            known.add(blob)
            if by_name and (host.address is None or by_address):
                complete.add(blob)
        else:
            old.add(blob)
    new = tuple(key for key in keys if key.blob not in known)
    if not new and not old:
        return Update(refused="no new or deprecated keys from server")
    if complex_names:
        return Update(refused="CA/revocation marker, manual host list or wildcard host pattern found, "
                              "skipping UserKnownHostsFile update")
    if other_name or not others.isdisjoint(announced):
        return Update(refused="host key found matching a different name/address, "
                              "skipping UserKnownHostsFile update")
    if not others.isdisjoint(old):
        return Update(refused="key to be removed is known by another name/address, "
                              "skipping UserKnownHostsFile update")
    return Update(new, frozenset(old))


def updated(
    lines: Sequence[Line], host: Host, update: Update, add: Sequence[PublicKey], *, hashed: bool,
    random: Callable[[int], bytes] = os.urandom,
) -> list[str] | None:
    """The lines of one file without old keys, and with those of ``add`` that it has not; None if nothing changes."""
    kept = [line.text for line in lines if not (any(host.matches(line)) and _blob(line) in update.old)]
    here = {_blob(line) for line in lines if any(host.matches(line))}
    added = [text for key in add if key.blob not in here for text in host.lines(key, hashed=hashed, random=random)]
    return [*kept, *added] if added or len(kept) != len(lines) else None


def _blob(line: Line) -> bytes | None:
    if not line.names:
        return None
    try:
        return base64.b64decode(line.key.split()[1], validate=True)
    except (ValueError, IndexError):
        return None


def _is_complex(names: str) -> bool:
    """More than ssh writes: a pattern, or more than a name and an address."""
    return not {"*", "?", "!"}.isdisjoint(names) or names.count(",") > 1
