"""What else is said of a host key: RevokedHostKeys, CheckHostIP, KnownHostsCommand, VisualHostKey, FingerprintHash."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio import known_hosts_command
from fastssh.aio.hostkeys import HostKeyPolicy, HostKeyQuestion
from fastssh.aio.options import ClientOptions
from fastssh.config.client import client_options
from fastssh.config.evaluate import load
from fastssh.errors import (
    HostKeyChangedError,
    HostKeyError,
    HostKeyRevokedError,
    HostKeyUnknownError,
)
from fastssh.keys.known_hosts import hash_name
from fastssh.keys.private import PrivateKey, generate_private_key
from tests.support import keygen
from tests.support.certificates import Authority
from tests.support.peers import Keys, Peer

SECONDS = 20.0
KEY, OTHER = generate_private_key("ed25519"), generate_private_key("ed25519")
ADDRESS = "192.0.2.7"


class Asked:
    """A policy for box, known as the text says."""

    def __init__(self, tmp_path: Path, known: str, address: str | None = ADDRESS, **settings: Any) -> None:
        self.path = tmp_path / "known_hosts"
        self.path.write_text(known)
        self.lines: list[str] = []
        more = {"host": "box", "user": "u", "user_known_hosts": [self.path], "global_known_hosts": []} | settings
        options = ClientOptions(**more, log=lambda level, text: self.lines.append(text) if level == 0 else None)
        self.policy = HostKeyPolicy(options, address)

    def check(self, key: PrivateKey = KEY) -> HostKeyQuestion | None:
        return self.policy.check(key.public)


def line(names: str = "box", key: PrivateKey = KEY) -> str:
    return f"{names} {key.public.line()}\n"


# -- RevokedHostKeys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_krl", [False, True])
def test_row05_a_revoked_host_key_is_refused_whoever_vouches_for_it(tmp_path: Path, as_krl: bool) -> None:
    public, revoked = tmp_path / "key.pub", tmp_path / "revoked"
    public.write_text(KEY.public.line() + "\n")
    if as_krl:
        keygen.run("-q", "-k", "-f", revoked, public, home=tmp_path)
    else:
        revoked.write_text(f"# gone\n{KEY.public.line()}\n")
    empty = tmp_path / "empty"
    empty.touch()
    for settings in ({}, {"pinned_host_key": KEY.public}, {"strict_host_key_checking": "no"},
                     {"no_host_authentication_for_localhost": True}):
        asked = Asked(tmp_path, line(), "127.0.0.1", revoked_host_keys=[empty, revoked], **settings)
        with pytest.raises(HostKeyRevokedError, match=rf"^Host key ED25519 SHA256:\S+ revoked by file {revoked}\."):
            asked.check()
    assert Asked(tmp_path, line(key=OTHER), revoked_host_keys=[revoked]).check(OTHER) is None


def test_row05_an_authority_that_is_revoked_vouches_for_nobody(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    public = tmp_path / "host.pub"
    public.write_text(KEY.public.line() + "\n")
    from fastssh.keys.certificate import load_certificate

    certificate = load_certificate(authority.certify(public, principals="box", host=True))
    revoked = tmp_path / "revoked"
    revoked.write_text(authority.line)
    known = f"@cert-authority * {authority.line}"
    assert Asked(tmp_path, known).policy.check(certificate) is None
    with pytest.raises(HostKeyRevokedError):
        Asked(tmp_path, known, revoked_host_keys=[revoked]).policy.check(certificate)


@pytest.mark.parametrize("contents", [None, b"ssh-ed25519 !!!\n", b"SSHKRL\n\0junk"])
def test_row17_a_list_of_revoked_keys_that_cannot_be_read_revokes_all(tmp_path: Path, contents: bytes | None) -> None:
    revoked = tmp_path / "revoked"
    if contents is not None:
        revoked.write_bytes(contents)
    asked = Asked(tmp_path, line(), revoked_host_keys=[revoked])
    with pytest.raises(HostKeyError, match=rf"^Error checking host key ED25519 \S+ in revoked keys file {revoked}: "):
        asked.check()


# -- CheckHostIP -------------------------------------------------------------------------------------------------------


def test_an_address_that_is_new_goes_with_its_host(tmp_path: Path) -> None:
    asked = Asked(tmp_path, line(), check_host_ip=True)
    assert asked.check() is None
    assert asked.path.read_text() == line() + line(ADDRESS)
    assert asked.lines == [
        f"Warning: Permanently added the ED25519 host key for IP address '{ADDRESS}' to the list of known hosts."
    ]
    assert Asked(tmp_path, asked.path.read_text(), check_host_ip=True).lines == []
    for hashed in (False, True):
        asked = Asked(tmp_path, "", check_host_ip=True, strict_host_key_checking="accept-new", hash_known_hosts=hashed)
        assert asked.check() is None
        written = asked.path.read_text().splitlines()
        assert len(written) == (2 if hashed else 1)
        assert hashed or written[0].startswith(f"box,{ADDRESS} ")


@pytest.mark.parametrize(("settings", "address"), [
    ({}, ADDRESS), ({"check_host_ip": True}, "127.0.0.1"), ({"check_host_ip": True}, None),
    ({"check_host_ip": True, "host": ADDRESS}, ADDRESS),
])
def test_where_addresses_do_not_count_none_is_looked_at(tmp_path: Path, settings: Any, address: str | None) -> None:
    known = line(f"box,{ADDRESS}") + line("192.0.2.*", OTHER) + line("127.0.0.1", OTHER)
    asked = Asked(tmp_path, known, address, **settings)
    assert asked.check() is None
    assert asked.path.read_text() == known and asked.lines == []


def test_row17_an_address_with_another_key_is_told_of_and_refused(tmp_path: Path) -> None:
    known = line() + line(ADDRESS, OTHER)
    asked = Asked(tmp_path, known, check_host_ip=True)
    with pytest.raises(HostKeyChangedError, match="strict checking"):
        asked.check()
    assert asked.lines == [
        f"Warning: the ED25519 host key for 'box' differs from the key for the IP address '{ADDRESS}'",
        f"Offending key for IP in {asked.path}:2", f"Matching host key in {asked.path}:1",
    ]
    person: Any = object()
    asked = Asked(tmp_path, known, check_host_ip=True, prompter=person)
    question = asked.check()
    assert question is not None and question.text.endswith("connecting (yes/no)? ") and question.fingerprint
    asked.policy.confirmed(KEY.public, question, True)
    assert asked.path.read_text() == known
    with pytest.raises(HostKeyUnknownError):
        asked.policy.confirmed(KEY.public, question, False)
    assert Asked(tmp_path, known, check_host_ip=True, strict_host_key_checking="no").check() is None


def test_row17_a_name_that_leads_elsewhere_is_told_of(tmp_path: Path) -> None:
    asked = Asked(tmp_path, line(key=OTHER) + line(ADDRESS), check_host_ip=True)
    with pytest.raises(HostKeyChangedError):
        asked.check()
    assert any("POSSIBLE DNS SPOOFING DETECTED" in text for text in asked.lines)
    assert f"Key of the address in {asked.path}:2" in asked.lines
    asked = Asked(tmp_path, line() + f"@revoked {ADDRESS} {KEY.public.line()}\n", check_host_ip=True)
    with pytest.raises(HostKeyRevokedError):
        asked.check()


# -- the loopback ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "settings", "accepted"), [
    ("127.0.0.1", {}, True), ("127.8.8.8", {}, True), ("::1", {}, True), ("::ffff:127.0.0.1", {}, False),
    (ADDRESS, {}, False), (None, {}, False), ("localhost", {}, False), ("127.0.0.1", {"host_key_alias": "x"}, False),
])
def test_the_loopback_may_go_unchecked_and_nothing_else(
    tmp_path: Path, address: str | None, settings: Any, accepted: bool
) -> None:
    asked = Asked(tmp_path, "", address, no_host_authentication_for_localhost=True, **settings)
    if accepted:
        assert asked.check() is None
        assert not asked.policy.update_wanted([OTHER.public.blob])
    else:
        with pytest.raises(HostKeyUnknownError):
            asked.check()
    with pytest.raises(HostKeyUnknownError):
        Asked(tmp_path, "", "127.0.0.1").check()


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_fingerprints_are_of_the_hash_asked_for_and_pictures_are_drawn(tmp_path: Path) -> None:
    md5 = KEY.public.fingerprint("md5")
    art = KEY.public.randomart("md5")
    asked = Asked(tmp_path, line(), visual_host_key=True, fingerprint_hash="md5")
    assert asked.check() is None
    assert asked.lines == [f"Host key fingerprint is {md5}", *art.split("\n")]
    person: Any = object()
    question = Asked(tmp_path, "", visual_host_key=True, fingerprint_hash="md5", prompter=person).check()
    assert question is not None and question.fingerprint == md5
    assert f"ED25519 key fingerprint is {md5}.\n{art}\n" in question.text


async def test_a_login_shows_fingerprints_of_the_hash_asked_for(sshd: Peer) -> None:
    lines: list[str] = []
    settings = sshd.connect_options() | {"fingerprint_hash": "md5"}
    async with fastssh.connect(sshd.host, **settings, log=lambda level, text: lines.append(text)) as conn:
        shown = f"Server host key: {conn.host_key.algorithm} {conn.host_key.fingerprint('md5')}"
    assert shown in lines
    assert any(text.startswith("Offering public key: ") and " MD5:" in text for text in lines)


# -- KnownHostsCommand -------------------------------------------------------------------------------------------------


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "known hosts"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


async def test_a_program_may_know_hosts(sshd: Peer, keys: Keys, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    path = program(tmp_path, f'printf "%s|" "$@" >> {asked}; echo >> {asked}; cat {sshd.known_hosts}')
    config = tmp_path / "config"
    config.write_text(f'KnownHostsCommand "{path}" %I %H "%t %K" %f\n')
    settings = sshd.connect_options() | {"user_known_hosts": [tmp_path / "none"], "config": config}
    lines: list[str] = []
    async with fastssh.connect(
        sshd.host, **settings, host_key_algorithms=("ssh-ed25519",), update_host_keys="yes",
        log=lambda level, text: lines.append(text),
    ) as conn:
        await conn.keepalive()
    name = f"[{sshd.host}]:{sshd.port}"
    key = keys.host("ed25519").with_suffix(".pub").read_text().split()
    by_name = f"HOSTNAME|{name}|{key[0]} {key[1]}|{conn.host_key.fingerprint()}|"
    assert asked.read_text().splitlines() == [by_name]  # the order of algorithms was given
    assert any("not found in UserKnownHostsFile; disabling UpdateHostkeys" in text for text in lines)
    assert not (tmp_path / "none").exists()
    # The order of algorithms follows from what it knows.
    asked.unlink()
    async with fastssh.connect(sshd.host, **settings) as conn:
        assert asked.read_text().splitlines()[0] == f"ORDER|{name}|NONE NONE|NONE|"
    ecdsa = program(tmp_path, f"grep ecdsa {sshd.known_hosts}")
    async with fastssh.connect(sshd.host, **settings, known_hosts_command=lambda tokens: [str(ecdsa)]) as conn:
        assert conn.host_key.family == "ECDSA"


@pytest.mark.parametrize(("text", "reason"), [
    ("exit 1", "ended with status 1"), ("kill -9 $$", "ended by signal 9"), ("exec sleep 60", "took more than 0.2 s"),
    ("sleep 60 & exec sleep 60", "took more than 0.2 s"), ("exec cat /dev/zero", "said more than"),
    (None, "No such file"), ("", "No ED25519 host key is known"),
])
async def test_row17_a_program_that_fails_vouches_for_nobody(
    sshd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    if text is not None and "sleep 60" in text:
        monkeypatch.setattr(known_hosts_command, "ANSWER_SECONDS", 0.2)
    path = program(tmp_path, text) if text is not None else tmp_path / "missing"
    for first in (True, False):  # asked before the key exchange, and within
        settings = sshd.connect_options() | {
            "known_hosts_command": lambda tokens, first=first:
                ["/bin/true"] if not first and tokens["I"] == "ORDER" else [str(path)],
        } | ({} if first else {"host_key_algorithms": ("ssh-ed25519",)})
        # Nor does a file that knows the host help: a program that fails is no program that does not know.
        known = [tmp_path / "none"] if text == "" else settings["user_known_hosts"]
        with pytest.raises(HostKeyError, match=reason):
            async with asyncio.timeout(SECONDS):
                await fastssh.connect(sshd.host, **(settings | {"user_known_hosts": known}))


async def test_a_program_is_named_by_its_absolute_path(sshd: Peer) -> None:
    with pytest.raises(HostKeyError, match="'true' is not an absolute path"):
        await fastssh.connect(sshd.host, **sshd.connect_options(), known_hosts_command=lambda tokens: ["true"])


# -- the configuration -------------------------------------------------------------------------------------------------


def test_the_configuration_reaches_the_policy(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "config"
    path.write_text("CheckHostIP yes\nNoHostAuthenticationForLocalhost yes\nRevokedHostKeys ~/a /b\nVisualHostKey yes\n"
                    "FingerprintHash md5\nUser u\nKnownHostsCommand /x %H %%\n")
    found = client_options(load("h", file=str(path)))
    assert (found.check_host_ip, found.no_host_authentication_for_localhost) == (True, True)
    assert (found.visual_host_key, found.fingerprint_hash) == (True, "md5")
    assert found.revoked_host_keys == (f"{home}/a", "/b")
    assert found.known_hosts_command is not None
    assert found.known_hosts_command(known_hosts_command.question("ORDER", "[h]:5", None, "")) == ("/x", "[h]:5", "%")


def test_added_lines_make_a_private_file(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "", check_host_ip=True, strict_host_key_checking="accept-new")
    asked.path.unlink()
    assert asked.check() is None
    assert stat.S_IMODE(asked.path.stat().st_mode) == 0o600
    assert hash_name("box", bytes(20)) not in asked.path.read_text()
