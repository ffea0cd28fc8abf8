"""The algorithm lists and the syntax that changes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh import algorithms
from fastssh.algorithms import apply_list
from fastssh.errors import ConfigError
from fastssh.keys.patterns import match_pattern, match_pattern_list

DEFAULT = ("aes128-gcm", "aes256-gcm", "aes128-ctr")
KNOWN = (*DEFAULT, "aes256-ctr", "chacha20")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("chacha20,aes128-ctr", ("chacha20", "aes128-ctr")),
        ("+chacha20", (*DEFAULT, "chacha20")),
        ("+aes128-gcm,chacha20", (*DEFAULT, "chacha20")),
        ("-aes128-gcm", ("aes256-gcm", "aes128-ctr")),
        ("-*-gcm", ("aes128-ctr",)),
        ("-3des-cbc,aes?28-ctr", ("aes128-gcm", "aes256-gcm")),
        ("^aes128-ctr,chacha20", ("aes128-ctr", "chacha20", "aes128-gcm", "aes256-gcm")),
        ("^*-ctr", ("aes128-ctr", "aes256-ctr", "aes128-gcm", "aes256-gcm")),
        ("aes256-*", ("aes256-gcm", "aes256-ctr")),
        ("+*-ctr", (*DEFAULT, "aes256-ctr")),
        ("chacha20,chacha20", ("chacha20",)),
    ],
)
def test_lists_follow_ssh_config(spec: str, expected: tuple[str, ...]) -> None:
    assert apply_list(spec, DEFAULT, KNOWN, "cipher") == expected


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("rot13", "'rot13'"),
        ("+rot13,aes256-ctr,des", "'rot13', 'des'"),
        ("^nothing-*", "'nothing-*'"),
        ("!chacha20", "'!chacha20'"),
        ("AES128-CTR", "'AES128-CTR'"),
        ("aes128-ctr,,chacha20", "''"),
        ("", "''"),
        ("+", "''"),
        ("-*", "'-*'"),
    ],
)
def test_unknown_names_and_empty_results_are_named(spec: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_list(spec, DEFAULT, KNOWN, "cipher")
    assert named in str(caught.value)
    assert "cipher" in str(caught.value)


@given(st.text(alphabet="+-^!*?,aes128ctr", max_size=24))
def test_any_list_gives_known_names_once_or_a_config_error(spec: str) -> None:
    try:
        names = apply_list(spec, DEFAULT, KNOWN, "cipher")
    except ConfigError:
        return
    assert names
    assert len(set(names)) == len(names)
    assert set(names) <= set(KNOWN)


def test_row27_no_sha1_no_cbc_no_dsa_by_default() -> None:
    names = (*algorithms.KEX, *algorithms.HOST_KEYS, *algorithms.CIPHERS, *algorithms.MACS, *algorithms.COMPRESSION)
    assert not [name for name in names if name.endswith(("sha1", "cbc", "md5")) or "dss" in name]
    assert "ssh-rsa" not in names
    assert not [name for name in names if "group1-" in name or "3des" in name or "umac" in name]


def test_row13_compression_is_off_by_default_and_never_before_authentication() -> None:
    assert algorithms.COMPRESSION[0] == "none"
    assert "zlib" not in (*algorithms.COMPRESSION, *algorithms.COMPRESSION_WANTED)


def test_chacha_comes_first_without_aes_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "_has_aes_instructions", lambda: False)
    ciphers = algorithms.default_ciphers()
    assert ciphers[0] == "chacha20-poly1305@openssh.com"
    assert sorted(ciphers) == sorted(algorithms.CIPHERS)
    monkeypatch.setattr(algorithms, "_has_aes_instructions", lambda: True)
    assert algorithms.default_ciphers() == algorithms.CIPHERS


def test_key_type_of_each_signature_algorithm() -> None:
    assert algorithms.key_type("rsa-sha2-512") == algorithms.key_type("rsa-sha2-256") == "ssh-rsa"
    assert algorithms.key_type("ssh-ed25519") == "ssh-ed25519"


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("", "", True),
        ("", "*", True),
        ("", "?", False),
        ("host", "host", True),
        ("host", "h?st", True),
        ("host", "h*t", True),
        ("host", "h*", True),
        ("host", "**", True),
        ("host", "*o*s*", True),
        ("host", "hos", False),
        ("host", "hostt", False),
        ("host.example", "*.example", True),
        ("example", "*.example", False),
        ("a[b", "a[b", True),
        ("ab", "[ab]b", False),
    ],
)
def test_patterns(text: str, pattern: str, matches: bool) -> None:
    assert match_pattern(text, pattern) is matches


def test_a_negated_match_outweighs_every_other() -> None:
    assert match_pattern_list("a.example", ["*.example", "!b.example"])
    assert not match_pattern_list("b.example", ["*.example", "!b.example"])
    assert not match_pattern_list("b.example", ["!b.example", "*"])
    assert not match_pattern_list("a.example", ["!b.example"])


def test_patterns_made_to_be_slow_are_not() -> None:
    # A backtracking matcher would need some 10^20 steps here.
    assert not match_pattern("a" * 2000, "*a" * 40 + "b")


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=8))
def test_patterns_mean_what_a_recursive_definition_says(pattern: str, text: str) -> None:
    def reference(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(reference(text[start:], pattern[1:]) for start in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and reference(text[1:], pattern[1:])

    assert match_pattern(text, pattern) is reference(text, pattern)
