"""Names and patterns, without a server."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.sftp import glob, paths


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (b"file", True), (b"...", True), (b".hidden", True), (b"a b", True), (b"\xff", True), (b"~", True),
        (b"-r", True),
        (b"", False), (b".", False), (b"..", False), (b"/", False), (b"a/b", False), (b"../a", False), (b"a\0", False),
        (b"x" * 4097, False),
    ],
)
def test_row18_only_names_inside_a_directory_are_safe(name: bytes, safe: bool) -> None:
    assert paths.is_safe_name(name) is safe


@pytest.mark.parametrize(
    ("directory", "name", "joined"),
    [(b"a", b"b", b"a/b"), (b"a/", b"b", b"a/b"), (b"/", b"b", b"/b"), (b".", b"b", b"b"), (b"", b"b", b"b"),
     (b"a", b".", b"a"), (b"", b".", b"."), (b"/a", b"", b"/a")],
)
def test_join(directory: bytes, name: bytes, joined: bytes) -> None:
    assert paths.join(directory, name) == joined


@pytest.mark.parametrize(
    ("path", "name"),
    [(b"a/b", b"b"), (b"a/b//", b"b"), (b"b", b"b"), (b"/", b"."), (b"..", b"."), (b"a/..", b"."), (b".", b"."),
     (b"", b".")],
)
def test_basename_is_what_a_copy_may_be_named(path: bytes, name: bytes) -> None:
    assert paths.basename(path) == name


@pytest.mark.parametrize(
    ("path", "relative"),
    [(b"", b"."), (b"~", b"."), (b"~/", b"."), (b"~//a/b", b"a/b"), (b"a/~", b"a/~"), (b"/x", b"/x"),
     (b"~user/x", None)],
)
def test_home_is_where_relative_paths_start(path: bytes, relative: bytes | None) -> None:
    assert paths.without_tilde(path) == relative


@given(st.binary())
def test_names_come_back_byte_for_byte(name: bytes) -> None:
    if b"\0" not in name:
        assert paths.encode(paths.decode(name)) == name


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", "a abc a.b", ".a"),
        ("?", "a é", ". ab"),
        ("a*c", "ac abc abcc a*c", "ab bac acb"),
        ("*.txt", "a.txt a.b.txt", ".txt a.txt~ .a.txt"),
        (".*", ".a ..", "a"),
        ("[ab]x", "ax bx", "cx x abx"),
        ("[!a-c]x", "dx ]x", "ax bx x"),
        ("[^a]", "b", "a"),
        ("[]a]", "] a", "b"),
        ("[!]a]", "b", "] a"),
        ("[a-]", "a -", "b"),
        ("[[:digit:]_]*", "1a _", "a1"),
        ("[[:upper:]][[:lower:]]", "Ab", "ab AB"),
        ("[[:nonsense:]]", "", "a :"),
        ("[a", "[a", "a"),
        ("a\\*b", "a*b", "axb a\\*b"),
        ("\\[x]", "[x]", "x"),
        ("[\\]]", "]", "\\"),
        ("a\\", "a\\", "a"),
        ("[.]a", "", ".a"),
        ("**a**", "a bab", "b"),
        ("", "", "a"),
    ],
)
def test_patterns(pattern: str, yes: str, no: str) -> None:
    compiled = glob.Pattern(pattern)
    assert [name for name in yes.split() if not compiled.matches(name)] == []
    assert [name for name in no.split() if compiled.matches(name)] == []


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_wildcards_mean_what_fnmatch_means(pattern: str, name: str) -> None:
    assert glob.Pattern(pattern).matches(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_pattern_and_no_name_does_harm(pattern: str, name: str) -> None:
    glob.Pattern(pattern).matches(name)
    if glob.is_literal(pattern):
        literal = glob.unescape(pattern)
        assert glob.Pattern(pattern).matches(literal)
        assert name == literal or not glob.Pattern(pattern).matches(name)
    if not glob.has_magic(pattern):
        assert glob.unescape(pattern) == pattern


def test_matching_takes_no_exponential_time() -> None:
    """The naive way would take longer than the universe is old."""
    assert not glob.Pattern("*a" * 30 + "b").matches("a" * 4000)
