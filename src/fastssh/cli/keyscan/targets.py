"""What is to be scanned: operands and lines of files as hosts, networks as each of their addresses."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fastssh.files import UnfitFileError, read_regular

MAX_FILE: Final = 64 * 1024 * 1024  # bytes


class Target(NamedTuple):
    """``addresses`` are alternatives of one host; ``names`` is what is printed for it, comma-separated. ``ranged``:
    nobody said that there is a host."""

    addresses: tuple[str, ...]
    names: str
    ranged: bool = False


def parse(text: str) -> Iterator[Target]:
    """The hosts of an operand or a line, ``host``, ``network`` or ``addresses names``, one by one."""
    fields = text.split(None, 1)
    if not fields:
        return
    address, names = fields[0], fields[1].strip() if len(fields) > 1 else ""
    if "/" in address:
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            pass  # a name, and the resolver will say so
        else:
            for number in range(network.num_addresses):  # with the first and the last, as ssh-keyscan has it
                host = str(network[number])
                yield Target((host,), names or host, True)
            return
    addresses = tuple(filter(None, address.split(",")))
    if addresses:
        yield Target(addresses, names or ",".join(addresses))


def read_targets(operands: Iterable[str], files: Iterable[str]) -> Iterator[Target]:
    """Those of files, then those of the command line. Raises OSError and UnfitFileError for a file, at once."""
    lines = [line for path in files for line in _lines(path)]
    return (target for text in [*lines, *operands] for target in parse(text))


def _lines(path: str) -> list[str]:
    """A file's lines that are no comments."""
    if path == "-":
        data = sys.stdin.buffer.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise UnfitFileError(f"standard input: larger than {MAX_FILE} bytes")
    else:
        data, _ = read_regular(path, MAX_FILE)
    text = data.decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if not line.lstrip().startswith("#")]
