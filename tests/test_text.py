"""Peer text that reaches a terminal carries no control characters (security row 19)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.wire.text import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("grüße 東京", "grüße 東京"),
        ("\x1b]0;owned\x07", "\\033]0;owned\\007"),
        ("two\nlines\tx", "two\\012lines\\011x"),
        ("\x9b31m", "\\23331m"),
        ("a\u202eb", "a\\u202eb"),
        ("\U000e0041", "\\U000e0041"),
        (b"\xff\x1b".decode("utf-8", "surrogateescape"), "\\377\\033"),
    ],
)
def test_row19_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_row19_newlines_stay_only_where_asked() -> None:
    assert printable("a\r\nb\tc\rd\x1b", newlines=True) == "a\nb\tc\\015d\\033"


@given(st.text(st.characters()), st.booleans())
def test_row19_nothing_that_drives_a_terminal_is_left(text: str, newlines: bool) -> None:
    shown = printable(text, newlines=newlines)
    shown.encode("utf-8")
    allowed = "\n\t" if newlines else ""
    assert all(c in allowed or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
