"""Escape characters in what is typed: a scanner without any I/O (ssh(1), ESCAPE CHARACTERS)."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final, NamedTuple

_ENDS: Final = b"\r\n"


class Command(NamedTuple):
    """The escape character at the beginning of a line, and then this one."""

    name: str


class EscapeScanner:
    """Takes what is typed apart into bytes for the other side and commands for us.

    ``escape`` is the escape character's byte, None for none; ``commands`` are the characters that mean something behind
    it. Before any other character it stands for itself, and behind itself it stands once.
    """

    def __init__(self, escape: int | None, commands: Container[str]) -> None:
        self._escape, self._commands = escape, commands
        self._line_begins = True
        self._pending = False

    def feed(self, data: bytes) -> Iterator[bytes | Command]:
        """The parts of ``data``, in order; no empty bytes among them. An escape character at its end waits for what
        follows. Each part is to be dealt with before the next is asked for."""
        if self._escape is None:
            if data:
                yield data
            return
        literal = bytearray()
        for byte in data:
            if self._pending:
                self._pending = False
                if chr(byte) in self._commands and byte != self._escape:
                    if literal:
                        yield bytes(literal)
                        literal.clear()
                    yield Command(chr(byte))
                    continue
                if byte != self._escape:
                    literal.append(self._escape)
            elif self._line_begins and byte == self._escape:
                self._pending = True
                continue
            literal.append(byte)
            self._line_begins = byte in _ENDS
        if literal:
            yield bytes(literal)
