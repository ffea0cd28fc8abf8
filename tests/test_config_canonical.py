"""Canonicalisation of host names, with a resolver of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastssh.config.canonical import system_resolver
from fastssh.config.evaluate import load
from fastssh.config.settings import Settings
from fastssh.config.tokens import Local
from fastssh.errors import ConfigError, ConnectionLostError

NAMES = {
    "db.a.example.": "db.a.example",
    "db.b.example.": "db.b.example",
    "www.a.example.": "Cdn.Example.NET.",
    "odd.a.example.": "not a name",
    "quiet.a.example.": "",
    "x.y.a.example.": "x.y.a.example",
    "full.example.": "full.example",
    "plain": "plain.lan",
}


class Names:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: str, family: str) -> str | None:
        self.asked.append(name if family == "any" else f"{name} {family}")
        return NAMES.get(name)


def evaluate(tmp_path: Path, text: str, host: str, names: Names | None = None) -> Settings:
    path = tmp_path / "config"
    path.write_text(text)
    local = Local("me", 1000, str(tmp_path), "box", {})
    return load(host, file=str(path), local=local, resolve=names or Names())


ON = "CanonicalizeHostname yes\nCanonicalDomains a.example b.example\n"


@pytest.mark.parametrize(("text", "host", "canonical", "asked"), [
    (ON, "db", "db.a.example", ["db.a.example."]),
    (ON, "DB", "db.a.example", ["db.a.example."]),
    ("CanonicalizeHostname yes\nCanonicalDomains z.example b.example\n", "db", "db.b.example",
     ["db.z.example.", "db.b.example."]),
    (ON, "nobody", "nobody", ["nobody.a.example.", "nobody.b.example."]),
    (ON, "full.example.", "full.example", ["full.example."]),
    (ON, "x.y", "x.y.a.example", ["x.y.a.example."]),
    (ON, "x.y.z", "x.y.z", []),
    (ON + "CanonicalizeMaxDots 0\n", "x.y", "x.y", []),
    (ON + "CanonicalizeMaxDots 2\n", "x.y.z", "x.y.z", ["x.y.z.a.example.", "x.y.z.b.example."]),
    ("CanonicalizeHostname yes\nCanonicalDomains none\n", "db", "db", []),
    ("CanonicalDomains a.example\n", "db", "db", []),
    (ON, "192.0.2.1", "192.0.2.1", []),
    (ON, "127.1", "127.0.0.1", []),
    (ON, "0:0::1", "::1", []),
    (ON + "HostName www\n", "db", "www.a.example", ["www.a.example."]),
    (ON + "AddressFamily inet6\n", "db", "db.a.example", ["db.a.example. inet6"]),
    # a proxy's names are its own, unless "always"
    (ON + "ProxyCommand nc %h %p\n", "db", "db", []),
    (ON + "ProxyJump j\n", "db", "db", []),
    (ON + "ProxyJump none\n", "db", "db.a.example", ["db.a.example."]),
    (ON.replace("yes", "always") + "ProxyJump j\n", "db", "db.a.example", ["db.a.example."]),
    # aliases
    (ON, "www", "www.a.example", ["www.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs *.a.example:*.example.net\n", "www", "cdn.example.net", ["www.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs *\n", "www", "cdn.example.net", ["www.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs *.b.example:* *.a.example:!cdn.*,*.net\n", "www", "www.a.example",
     ["www.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs none\n", "www", "www.a.example", ["www.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs *\n", "odd", "odd.a.example", ["odd.a.example."]),
    (ON + "CanonicalizePermittedCNAMEs *\n", "quiet", "quiet.a.example", ["quiet.a.example."]),
    # not found in any domain: the system's search rules, which an alias may lead on from
    (ON + "CanonicalizePermittedCNAMEs *:*.lan\n", "plain", "plain.lan",
     ["plain.a.example.", "plain.b.example.", "plain"]),
    (ON.replace("yes", "always") + "CanonicalizePermittedCNAMEs *\nProxyJump j\n", "far", "far",
     ["far.a.example.", "far.b.example.", "far"]),
])  # fmt: skip
def test_names_become_canonical(tmp_path: Path, text: str, host: str, canonical: str, asked: list[str]) -> None:
    names = Names()
    assert evaluate(tmp_path, text, host, names).host == canonical
    assert names.asked == asked


def test_without_a_fallback_a_name_that_is_not_found_is_an_error(tmp_path: Path) -> None:
    text = ON + "CanonicalizeFallbackLocal no\n"
    assert evaluate(tmp_path, text, "db").host == "db.a.example"
    assert evaluate(tmp_path, text, "x.y.z").host == "x.y.z"
    with pytest.raises(ConnectionLostError, match='Could not resolve host "nobody"'):
        evaluate(tmp_path, text, "nobody")
    with pytest.raises(ConnectionLostError, match=r'Could not resolve host "no\.body\."'):
        evaluate(tmp_path, text, "no.body.")
    with pytest.raises(ConnectionLostError, match="Could not resolve hostname nobody"):
        evaluate(tmp_path, ON + "CanonicalizePermittedCNAMEs *\n", "nobody")


def test_the_files_are_read_again_with_the_canonical_name(tmp_path: Path) -> None:
    text = (
        "CanonicalizeHostname yes\nCanonicalDomains a.example\n"
        "Host db\n User first\n IdentityFile /short\n HostKeyAlias db\n"
        "Host *.a.example\n User second\n Port 7\n IdentityFile /long\n HostName elsewhere\n"
        "Match canonical host db.*\n Compression yes\n"
        "Match final\n ServerAliveInterval 5\n"
        "Match !canonical\n BatchMode yes\n"
    )
    found = evaluate(tmp_path, text, "db")
    assert (found.host, found.user, found.port) == ("db.a.example", "first", 7)
    assert found.words("IdentityFile") == ("/short", "/long")
    assert (found.flag("Compression"), found.number("ServerAliveInterval"), found.flag("BatchMode")) == (True, 5, True)
    text = text.replace("yes\nCanonicalD", "no\nCanonicalD").replace("Match final", "Match all")
    once = evaluate(tmp_path, text, "db")
    assert (once.host, once.port, once.flag("Compression"), once.number("ServerAliveInterval")) == ("db", 22, False, 5)


def test_match_final_reads_again_without_asking_anybody(tmp_path: Path) -> None:
    names = Names()
    text = "HostName Real.Example\nMatch final host real.example\n Port 5\nHost real.example\n User late\n"
    found = evaluate(tmp_path, text, "typed", names)
    assert (found.host, found.port, found.user, names.asked) == ("real.example", 5, "late", [])


def test_what_accumulates_is_not_there_twice_after_the_second_reading(tmp_path: Path) -> None:
    text = "SendEnv A B\nSendEnv -A\nLocalForward 1 a:2\nIdentityFile /x\nSetEnv A=1\nMatch final\n Port 5\n"
    found = evaluate(tmp_path, text, "h")
    assert (found.words("SendEnv"), found.words("LocalForward"), found.words("IdentityFile")) == (
        ("B",), ("1", "a:2"), ("/x",),
    )  # fmt: skip
    assert found.port == 5


@pytest.mark.parametrize("text", [
    "CanonicalDomains -a", "CanonicalDomains a..b", "CanonicalDomains a none", "CanonicalDomains a/b",
    "CanonicalizePermittedCNAMEs a", "CanonicalizePermittedCNAMEs a:", "CanonicalizePermittedCNAMEs a:b none",
    "CanonicalizeHostname maybe", "CanonicalizeMaxDots -1",
])  # fmt: skip
def test_what_makes_no_sense_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config:1: Canonical"):
        evaluate(tmp_path, f"{text}\n", "h")


def test_the_systems_resolver_knows_this_machine() -> None:
    assert system_resolver("localhost", "inet") is not None
    assert system_resolver("\udcff", "any") is None
    assert system_resolver("x" * 300, "any") is None
