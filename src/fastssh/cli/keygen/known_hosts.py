"""known_hosts files: finding hosts, removing them, hashing their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.errors import KeyFormatError
from fastssh.files import UnfitFileError, shown
from fastssh.keys.known_hosts import Marker
from fastssh.keys.known_hosts_file import Line, read_lines, rewrite
from fastssh.keys.patterns import lower
from fastssh.keys.public_file import first_key

_WORDS = {Marker.NONE: "", Marker.CERT_AUTHORITY: "CA", Marker.REVOKED: "REVOKED"}


class _File(NamedTuple):
    path: str
    real: str  # where links lead
    lines: list[Line]


def run(asked: Arguments, console: Console) -> int:
    """-F, -R and -H."""
    path = os.path.expanduser("~/.ssh/known_hosts") if asked.file is None else asked.file
    try:
        real = os.path.realpath(path)
        file = _File(path, real, read_lines(real))
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"Cannot stat {shown(path)}: {identity.reason(error)}") from None
    if asked.find_host is not None:
        return _find(file, asked.find_host, asked, console)
    if asked.remove_host is not None:
        return _remove(file, asked.remove_host, asked, console)
    return _hash(file, console)


def _find(file: _File, host: str, asked: Arguments, console: Console) -> int:
    found = False
    for line in file.lines:
        if not line.matches(lower(host)):
            continue
        shown_lines = _lines_found(line, host, asked)
        if shown_lines is None:
            continue
        found = True
        if not asked.quiet:
            console.say(f"# Host {host} found: line {line.number} {_WORDS[line.marker]}")
        console.data("".join(f"{text}\n" for text in shown_lines).encode("utf-8", "surrogateescape"))
    return 0 if found else 1


def _lines_found(line: Line, host: str, asked: Arguments) -> list[str] | None:
    """What is printed of a line; None if -l wants its key and that cannot be read."""
    if asked.hash_hosts:
        return line.hashed(os.urandom)
    if not asked.print_fingerprint:
        return [line.text]
    try:
        key, comment = first_key(line.key.encode("utf-8", "surrogateescape"))
    except KeyFormatError:
        return None
    text = f"{host} {key.family} {key.bubblebabble() if asked.bubblebabble else key.fingerprint(asked.hash)}"
    return [f"{text} {comment}".rstrip(), *([key.randomart(asked.hash)] if asked.verbosity else [])]


def _remove(file: _File, host: str, asked: Arguments, console: Console) -> int:
    removed = [line for line in file.lines if line.marker is Marker.NONE and line.matches(lower(host))]
    if not asked.quiet:
        for line in removed:
            console.say(f"# Host {host} found: line {line.number}")
    invalid = [line for line in file.lines if line.invalid or line.is_malformed_hash]
    for line in invalid:
        _tell_invalid(file, line, console)
    _refuse(file, invalid)
    if not removed:
        console.tell(f"Host {host} not found in {shown(file.path)}")
        return 0
    gone = {line.number for line in removed}
    _replace(file, (line.text for line in file.lines if line.number not in gone), console)
    return 0


def _hash(file: _File, console: Console) -> int:
    for line in file.lines:
        if line.invalid:
            _tell_invalid(file, line, console)
        elif line.is_pattern:
            console.tell(f"{shown(file.path)}:{line.number}: ignoring host name with wildcard: {line.names[:64]}")
    _refuse(file, [line for line in file.lines if line.invalid])
    lines = [line.hashed(os.urandom) for line in file.lines]
    old = _replace(file, _joined(lines), console)
    if any(after != [line.text] for line, after in zip(file.lines, lines, strict=True)):
        console.tell(f"WARNING: {old} contains unhashed entries\nDelete this file to ensure privacy of hostnames")
    return 0


def _joined(lines: Iterable[list[str]]) -> Iterator[str]:
    for each in lines:
        yield from each


def _tell_invalid(file: _File, line: Line, console: Console) -> None:
    console.tell(f"{shown(file.path)}:{line.number}: invalid line")


def _refuse(file: _File, invalid: list[Line]) -> None:
    """A file with lines that are not understood is not rewritten. Raises Fatal."""
    if invalid:
        raise Fatal(
            f"{shown(file.path)} is not a valid known_hosts file.\n"
            "Not replacing existing known_hosts file because of errors", 1,
        )  # fmt: skip


def _replace(file: _File, lines: Iterable[str], console: Console) -> str:
    """Writes the file; returns what the name of the old one is shown as."""
    old = shown(f"{file.path}.old")
    try:
        rewrite(file.real, lines, f"{file.path}.old")
    except (OSError, UnfitFileError) as error:
        raise Fatal(f"{shown(file.path)} cannot be written: {identity.reason(error)}") from None
    console.say(f"{shown(file.path)} updated.\nOriginal contents retained as {old}")
    return old
