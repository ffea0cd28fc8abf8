"""Escape characters in what is typed: what is a command, what is text, however it comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli.ssh.escapes import Command, EscapeScanner

LETTERS = frozenset(".?#C\x1a")
TILDE = ord("~")

TYPED: dict[bytes, list[bytes | Command]] = {
    b"": [],
    b"ls\r": [b"ls\r"],
    b"~.": [Command(".")],
    b"ls\r~.": [b"ls\r", Command(".")],
    b"ls\n~.": [b"ls\n", Command(".")],
    b"ls ~.": [b"ls ~."],  # not at the beginning of a line
    b"~~.": [b"~."],  # the character itself
    b"~~": [b"~"],
    b"~x": [b"~x"],  # means nothing
    b"~x~.": [b"~x~."],
    b"~\r~.": [b"~\r", Command(".")],
    b"~?~.": [Command("?"), Command(".")],  # a command leaves the line where it was
    b"\r~\x1aok": [b"\r", Command("\x1a"), b"ok"],
    b"~": [],  # what follows is not known yet
    b"~c": [b"~c"],  # letters are told apart by their case
}


def scan(*pieces: bytes, escape: int | None = TILDE, letters: frozenset[str] = LETTERS) -> list[bytes | Command]:
    """What comes of ``pieces``, with neighbouring bytes put together."""
    scanner, found = EscapeScanner(escape, letters), list[bytes | Command]()
    for piece in pieces:
        for part in scanner.feed(piece):
            if isinstance(part, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += part
            else:
                found.append(part)
    return found


@pytest.mark.parametrize("typed", TYPED)
def test_what_is_typed_is_text_or_a_command(typed: bytes) -> None:
    assert scan(typed) == TYPED[typed]


def test_without_an_escape_character_everything_is_text() -> None:
    assert scan(b"~.\r~.", escape=None) == [b"~.\r~."]


def test_another_escape_character_takes_the_tildes_place() -> None:
    assert scan(b"~.\r\x1d.\r\x1d\x1d", escape=0x1D) == [b"~.\r", Command("."), b"\r\x1d"]


def test_an_escape_character_that_is_a_letter_of_a_command_stands_for_itself_when_doubled() -> None:
    assert scan(b"..#", escape=ord(".")) == [b".#"]


KEYS = st.text("~.?#Cx \r\n", max_size=30).map(str.encode)


@given(st.lists(KEYS, max_size=8))
def test_it_does_not_matter_in_which_pieces_keys_come(pieces: list[bytes]) -> None:
    assert scan(*pieces) == scan(b"".join(pieces))


@given(st.binary(max_size=60).filter(lambda data: b"~" not in data))
def test_text_without_the_character_is_left_alone(data: bytes) -> None:
    assert b"".join(part for part in scan(data) if isinstance(part, bytes)) == data


@given(KEYS)
def test_typing_the_character_twice_at_each_beginning_of_a_line_sends_any_text(text: bytes) -> None:
    doubled = b"".join(
        line.replace(b"~", b"~~", 1) if line.startswith(b"~") else line
        for line in text.replace(b"\r", b"\r\0").replace(b"\n", b"\n\0").split(b"\0")
    )
    assert scan(doubled) == ([text] if text else [])
