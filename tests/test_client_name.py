"""The client's name: believed when it leads back to the address, waited for until a deadline, and used by fastsshd."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fastssh.config.values import LogLevel
from fastssh.daemon.log import Log
from fastssh.daemon.login.client_name import ClientName, look_up_name
from tests.support import openssh, peers
from tests.support.fastsshd import Start, key_lines, logged, refused
from tests.support.peers import Keys, Peer

USER = peers.user_name()


def resolver(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    """Every address has that name, and every name those addresses."""

    def names(address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        return name, "0"

    def found(host: bytes, port: None, **how: Any) -> list[Any]:
        assert host.decode() == name.lower()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getnameinfo", names)
    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize(("name", "addresses", "expected"), [
    ("Box.Example.ORG", ("192.0.2.9", "192.0.2.1"), "box.example.org"),
    ("box.example.org", ("192.0.2.9",), "this does not map back to the address"),
    ("box.example.org", (), "this does not map back to the address"),
    ("192.0.2.7", ("192.0.2.1",), "nasty PTR record"),
    ("::1", ("192.0.2.1",), "nasty PTR record"),
    ("b\u00f6x", ("192.0.2.1",), "ascii"),
    ("a b", ("192.0.2.1",), "not allowed"),
    ("a\nb", ("192.0.2.1",), "not allowed"),
    ("", ("192.0.2.1",), "is empty"),
])  # fmt: skip
def test_row04_a_name_counts_when_it_leads_back_to_the_address(
    monkeypatch: pytest.MonkeyPatch, name: str, addresses: tuple[str, ...], expected: str
) -> None:
    resolver(monkeypatch, name, *addresses)
    if expected == "box.example.org":
        assert look_up_name("192.0.2.1") == expected
    else:
        with pytest.raises(ValueError, match=expected):
            look_up_name("192.0.2.1")


def log_to(lines: list[str]) -> Log:
    return Log(LogLevel.VERBOSE, lambda level, line: lines.append(line))


def test_why_there_is_no_name_is_told_once() -> None:
    def fail(address: str) -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def lie(address: str) -> str:
        raise ValueError("it maps to x")

    for look_up, reason in ((fail, "Name or service not known"), (lie, "it maps to x")):
        lines: list[str] = []
        name = ClientName("192.0.2.1", log_to(lines), look_up=look_up)
        assert name.wait() is None and name.wait() is None
        assert lines == [f"No name of 192.0.2.1 is used: {reason}"]


def test_row12_a_resolver_that_does_not_answer_is_not_waited_for_and_its_late_answer_does_not_count() -> None:
    late, answered = threading.Event(), threading.Event()

    def look_up(address: str) -> str:
        late.wait(30)
        answered.set()
        return "box"

    lines: list[str] = []
    name = ClientName("192.0.2.1", log_to(lines), seconds=0.05, look_up=look_up)
    assert name.wait() is None
    late.set()
    assert answered.wait(30)
    assert name.wait() is None
    assert lines == ["No name of 192.0.2.1 is used: no answer in time"]


# --- fastsshd ---------------------------------------------------------------------------------------------------------


def named(start: Start, name: str, **config: Any) -> Peer:
    """A server that knows its clients by ``name``."""
    return start(program=(sys.executable, peers.HERE / "dns_fastsshd.py", name), **({"UseDNS": "yes"} | config))


def test_match_host_knows_clients_by_their_names(start_fastsshd: Start) -> None:
    lines = ["Match Host *.example.org,!127.0.0.1", "ForceCommand echo by name", "Match Host 127.0.0.1",
             "ForceCommand echo by address"]  # fmt: skip
    for use, said in (("yes", b"by name\n"), ("no", b"by address\n")):
        peer = named(start_fastsshd, "box.example.org", UseDNS=use, lines=lines)
        assert openssh.ssh(peer, "true").stdout == said


@pytest.mark.parametrize(("config", "admitted"), [
    ({"AllowUsers": f"{USER}@*.example.org"}, True),
    ({"AllowUsers": f"{USER}@*.example.com"}, False),
    ({"DenyUsers": f"{USER}@box.example.org"}, False),
])  # fmt: skip
def test_lists_of_users_know_clients_by_their_names(
    start_fastsshd: Start, config: dict[str, str], admitted: bool
) -> None:
    peer = named(start_fastsshd, "box.example.org", **config)
    assert refused(peer) is not admitted


def test_row04_a_key_may_be_for_a_named_host_alone(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    peer = named(start_fastsshd, "box.example.org", AuthorizedKeysFile=path)
    for options, admitted in (('from="*.example.org"', True), ('from="*.example.com"', False),
                              ('from="!box.*,*"', False)):  # fmt: skip
        path.write_text(key_lines(keys, options))
        assert refused(peer) is not admitted
    logged(peer, r"the key may not be used from 127.0.0.1 \(box.example.org\)")


def test_row12_a_login_does_not_wait_for_a_resolver_for_ever(start_fastsshd: Start, keys: Keys) -> None:
    peer = named(start_fastsshd, "slow", lines=["Match Host box.example.org", "PubkeyAuthentication no"])
    assert openssh.ssh(peer, "echo in").stdout == b"in\n"
    logged(peer, "No name of 127.0.0.1 is used: no answer in time")
