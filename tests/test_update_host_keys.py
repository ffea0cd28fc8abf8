"""UpdateHostKeys: known_hosts follow the keys that a server proves to have, and nothing else changes them."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio import host_update
from fastssh.aio.client import connect
from fastssh.aio.options import ClientOptions
from fastssh.auth.server import Attempt, Verdict
from fastssh.config.client import client_options
from fastssh.config.evaluate import load
from fastssh.errors import ProtocolError, SSHError
from fastssh.keys.host_announcement import HOST_KEYS, PROVE, decode_strings, encode_strings, to_prove
from fastssh.keys.host_update import Host, plan_update, updated
from fastssh.keys.known_hosts import hash_name
from fastssh.keys.known_hosts_file import parse_lines
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.wire.codec import string
from tests.support import openssh
from tests.support.peers import KEY_TYPES, Keys, Peer
from tests.support.reaching import options_without_file
from tests.support.serving import serving

SECONDS = 20.0
NEW, OLD, OTHER = (generate_private_key("ed25519") for _ in range(3))
RSA = generate_private_key("rsa", 2048)


def line(keys: Keys, kind: str, name: str) -> str:
    return " ".join([name, *keys.host(kind).with_suffix(".pub").read_text().split()[:2]]) + "\n"


# -- real servers ------------------------------------------------------------------------------------------------------


async def known_after(peer: Peer, path: Path, until: Callable[[str], bool], **more: Any) -> str:
    """What stands in known_hosts after a connection that lasts until it is as expected."""
    settings = peer.connect_options() | {"user_known_hosts": [path], "update_host_keys": "yes"} | more
    async with asyncio.timeout(SECONDS), fastssh.connect(peer.host, **settings) as conn:
        await conn.keepalive()  # what the server says first was seen
        while not until(path.read_text()):
            await asyncio.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize("server", ["sshd", "fastsshd"])
@pytest.mark.parametrize("shown", ["ssh-ed25519", "rsa-sha2-256"])
async def test_keys_of_a_server_are_learnt_and_old_ones_forgotten(
    server: str, shown: str, request: pytest.FixtureRequest, keys: Keys, tmp_path: Path
) -> None:
    peer: Peer = request.getfixturevalue(server)
    name, path = f"[{peer.host}]:{peer.port}", tmp_path / "known_hosts"
    other = f"# mine\nelsewhere {OTHER.public.line()}\n"
    known = "ed25519" if shown == "ssh-ed25519" else "rsa"
    path.write_text(f"{other}{line(keys, known, name)}{name} {OLD.public.line('gone')}")
    path.chmod(0o640)
    before = path.read_text()
    algorithms = tuple(dict.fromkeys((shown, "ecdsa-sha2-nistp256", "ssh-ed25519", "rsa-sha2-512")))
    found = await known_after(
        peer, path, lambda text: len(text.splitlines()) == 5, host_key_algorithms=algorithms
    )
    assert found.startswith(other)
    assert sorted(found.splitlines()[2:]) == sorted(line(keys, kind, name).strip() for kind in KEY_TYPES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.with_name("known_hosts.old").read_text() == before
    # A second time there is nothing to do, and what ssh makes of the file agrees.
    inode = path.stat().st_ino
    assert await known_after(peer, path, lambda text: True) == found
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("hashed", [False, True])
def test_ssh_itself_learns_the_keys_of_fastsshd(fastsshd: Peer, keys: Keys, tmp_path: Path, hashed: bool) -> None:
    path = tmp_path / "known_hosts"
    name = f"[{fastsshd.host}]:{fastsshd.port}"
    path.write_text(line(keys, "ed25519", hash_name(name, bytes(20)) if hashed else name))
    options = ("-o", f"UserKnownHostsFile={path}", "-o", "UpdateHostKeys=yes", "-o", f"HashKnownHosts={hashed}",
               "-o", "HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,ecdsa-sha2-nistp256")
    done = openssh.ssh(fastsshd, "sleep 0.3", options=options)
    assert done.returncode == 0, done.stderr
    assert len(path.read_text().splitlines()) == len(KEY_TYPES)
    assert all(text.startswith("|1|" if hashed else name) for text in path.read_text().splitlines())


async def test_a_host_accepted_for_the_first_time_is_known_by_all_its_keys(
    sshd: Peer, keys: Keys, tmp_path: Path
) -> None:
    path = tmp_path / "known_hosts"
    path.touch()
    await known_after(
        sshd, path, lambda text: len(text.splitlines()) == 3, strict_host_key_checking="accept-new",
        hash_known_hosts=True,
    )
    assert all(text.startswith("|1|") for text in path.read_text().splitlines())


# -- a server of the test ----------------------------------------------------------------------------------------------


class Announcing:
    """A connection to a server that says what the test wants; what becomes of the file and the log."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "known_hosts"
        self.lines: list[str] = []
        self.proofs = 0
        self.error: SSHError | None = None

    async def run(
        self, known: str, blobs: list[bytes], prove: Callable[[bytes, list[bytes]], bytes | None], *,
        raw: bytes | None = None, times: int = 1, **settings: Any,
    ) -> str:
        self.path.write_text(known)
        async with asyncio.timeout(SECONDS), serving(key=OLD) as (server, sock):
            server.authorize = lambda attempt: Verdict.REFUSE if attempt.method == "none" else Verdict.ACCEPT

            def proof(data: bytes) -> bytes | None:
                self.proofs += 1
                return prove(server.transport.session_id, decode_strings(data))

            def login() -> None:
                server.connection.global_handlers[PROVE] = proof
                for _ in range(times):
                    data = encode_strings(blobs) if raw is None else raw
                    server.connection.global_request(HOST_KEYS, data, want_reply=False)

            server.on_login = login
            more = {"password": "x", "log": lambda level, text: self.lines.append(text),
                    "user_known_hosts": [self.path], "update_host_keys": "yes"} | settings
            try:
                async with connect(**options_without_file(more), sock=sock) as conn:
                    assert (await conn.run("x")).exit_status == 0
                    while conn._tasks:
                        await asyncio.sleep(0.005)
            except SSHError as error:
                self.error = error
        return self.path.read_text()


def honest(*keys: PrivateKey) -> Callable[[bytes, list[bytes]], bytes]:
    by_blob = {key.public.blob: key for key in keys}
    return lambda session_id, blobs: encode_strings(
        by_blob[blob].sign(to_prove(session_id, blob), by_blob[blob].public.signature_algorithms[0]) for blob in blobs
    )


def entry(key: PrivateKey, names: str = "server.test") -> str:
    return f"{names} {key.public.line()}\n"


async def test_a_new_key_is_learnt_with_its_proof(tmp_path: Path) -> None:
    found = await Announcing(tmp_path).run(
        entry(OLD), [OLD.public.blob, NEW.public.blob, RSA.public.blob], honest(NEW, RSA)
    )
    assert found == entry(OLD) + entry(NEW) + entry(RSA)


def _other_session(session_id: bytes, blobs: list[bytes]) -> bytes:
    return honest(NEW)(bytes(32), blobs)


def _other_key(session_id: bytes, blobs: list[bytes]) -> bytes:
    return encode_strings(OTHER.sign(to_prove(session_id, blob), "ssh-ed25519") for blob in blobs)


@pytest.mark.parametrize(("prove", "reason"), [
    (lambda session_id, blobs: None, "failed to confirm ownership"),
    (_other_session, "bad signature for ED25519 key"),
    (_other_key, "bad signature for ED25519 key"),
    (lambda session_id, blobs: b"", "0 proofs for 1 host keys"),
    (lambda session_id, blobs: honest(NEW)(session_id, blobs * 2), "2 proofs for 1 host keys"),
    (lambda session_id, blobs: honest(NEW)(session_id, blobs) + b"\0", "malformed proof"),
    (lambda session_id, blobs: string(b""), "bad signature"),
    (lambda session_id, blobs: os.urandom(200_000), "malformed proof"),
])
async def test_a_key_without_a_good_proof_changes_nothing(tmp_path: Path, prove: Any, reason: str) -> None:
    attempt = Announcing(tmp_path)
    assert await attempt.run(entry(OLD), [OLD.public.blob, NEW.public.blob], prove) == entry(OLD)
    assert attempt.proofs == 1 and attempt.error is None
    assert any(reason in text for text in attempt.lines if text.startswith("UpdateHostKeys: ")), attempt.lines


async def test_an_rsa_proof_of_sha1_is_none(tmp_path: Path) -> None:
    def prove(session_id: bytes, blobs: list[bytes]) -> bytes:
        good = RSA.sign(to_prove(session_id, blobs[0]), "rsa-sha2-256")
        return string(string(b"ssh-rsa") + good[len(string(b"rsa-sha2-256")):])

    attempt = Announcing(tmp_path)
    assert await attempt.run(entry(OLD), [OLD.public.blob, RSA.public.blob], prove) == entry(OLD)
    assert attempt.proofs == 1


async def test_a_proof_that_does_not_come_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_update, "PROOF_SECONDS", 0.05)

    def late(session_id: bytes, blobs: list[bytes]) -> bytes:
        import time

        time.sleep(0.1)  # the one loop of both sides
        return honest(NEW)(session_id, blobs)

    attempt = Announcing(tmp_path)
    assert await attempt.run(entry(OLD), [OLD.public.blob, NEW.public.blob], late) == entry(OLD)


@pytest.mark.parametrize(("blobs", "reason"), [
    ([OLD.public.blob, NEW.public.blob, NEW.public.blob], "duplicated host key"),
    ([OLD.public.blob, *(string(b"ssh-ed25519") + string(os.urandom(32)) for _ in range(1000))], "1001 host keys"),
    ([string(b"ssh-unknown") + b"x", string(b"ssh-ed25519") + b"junk", b""], "sent no hostkeys"),
])
async def test_row07_announcements_are_bounded_and_checked(tmp_path: Path, blobs: list[bytes], reason: str) -> None:
    attempt = Announcing(tmp_path)
    assert await attempt.run(entry(OLD), blobs, honest(NEW)) == entry(OLD)
    assert attempt.proofs == 0 and attempt.error is None
    assert any(reason in text for text in attempt.lines), attempt.lines


@pytest.mark.parametrize("how", [{"raw": b"\0\0\0\5abc"}, {"times": 2}])
async def test_row26_a_malformed_or_repeated_announcement_ends_the_connection(tmp_path: Path, how: Any) -> None:
    attempt = Announcing(tmp_path)
    assert await attempt.run(entry(OLD), [OLD.public.blob], honest(), **how) == entry(OLD)
    assert isinstance(attempt.error, ProtocolError)


@pytest.mark.parametrize("known", [
    f"@cert-authority server.test {OTHER.public.line()}\n" + entry(OLD),
    f"@revoked server.test {OTHER.public.line()}\n" + entry(OLD),
    entry(OLD, "*.test"), entry(OLD, "server.tes?"), entry(OLD, "server.test,a,b"),
    entry(OLD) + entry(NEW, "elsewhere"),
    entry(OLD) + entry(OTHER) + entry(OTHER, "elsewhere"),
    entry(OLD) + entry(NEW, hash_name("elsewhere", bytes(20))),
])
async def test_files_that_ssh_would_not_write_so_are_left_alone(tmp_path: Path, known: str) -> None:
    attempt = Announcing(tmp_path)
    assert await attempt.run(known, [OLD.public.blob, NEW.public.blob], honest(NEW)) == known
    assert attempt.proofs == 0
    assert any("skipping UserKnownHostsFile update" in text for text in attempt.lines), attempt.lines


async def test_a_key_that_was_not_known_by_the_users_file_changes_nothing(tmp_path: Path) -> None:
    system, attempt = tmp_path / "system", Announcing(tmp_path)
    system.write_text(entry(OLD))
    assert await attempt.run("", [OLD.public.blob, NEW.public.blob], honest(NEW), global_known_hosts=[system]) == ""
    assert attempt.proofs == 0
    for settings in (
        {"pinned_host_key": OLD.public},
        {"update_host_keys": "no"},
        {"update_host_keys": None},  # the file is not the usual one
        {"update_host_keys": "ask"},  # and there is nobody
    ):
        attempt = Announcing(tmp_path)
        assert await attempt.run(entry(OLD), [OLD.public.blob, NEW.public.blob], honest(NEW), **settings) == entry(OLD)
        assert attempt.proofs == 0


async def test_a_changed_key_that_was_let_through_changes_nothing(tmp_path: Path) -> None:
    attempt = Announcing(tmp_path)
    known = entry(OTHER)
    settings: Any = {"strict_host_key_checking": "no", "keys": [NEW], "password": None}
    assert await attempt.run(known, [OLD.public.blob, NEW.public.blob], honest(NEW), **settings) == known
    assert attempt.proofs == 0 and attempt.error is None


@pytest.mark.parametrize(("answers", "learnt"), [
    (["yes"], True), (["no"], False), (["perhaps", " YES "], True), (["", "x", "y"], False),
])
async def test_with_ask_a_person_decides(tmp_path: Path, answers: list[str], learnt: bool) -> None:
    class Person:
        async def ask(self, prompt: str, *, echo: bool) -> str:
            assert (prompt, echo) == ("Accept updated hostkeys? (yes/no): ", True)
            return answers.pop(0)

        async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
            raise AssertionError

        def banner(self, text: str) -> None: ...

    attempt = Announcing(tmp_path)
    found = await attempt.run(
        entry(OLD) + entry(OTHER), [OLD.public.blob, NEW.public.blob], honest(NEW), update_host_keys="ask",
        prompter=Person(), strict_host_key_checking="yes",
    )
    assert found == (entry(OLD) + entry(NEW) if learnt else entry(OLD) + entry(OTHER))
    assert not answers
    assert f"Learned new hostkey: ED25519 {NEW.public.fingerprint()}" in attempt.lines
    assert f"Deprecating obsolete hostkey: ED25519 {OTHER.public.fingerprint()}" in attempt.lines


async def test_what_somebody_else_wrote_meanwhile_counts(tmp_path: Path) -> None:
    attempt = Announcing(tmp_path)

    def prove(session_id: bytes, blobs: list[bytes]) -> bytes:
        attempt.path.write_text(entry(OLD) + f"@revoked server.test {NEW.public.line()}\n")
        return honest(NEW)(session_id, blobs)

    found = await attempt.run(entry(OLD), [OLD.public.blob, NEW.public.blob], prove)
    assert found == entry(OLD) + f"@revoked server.test {NEW.public.line()}\n"


async def test_a_link_stays_one_and_other_files_only_lose_keys(tmp_path: Path) -> None:
    attempt = Announcing(tmp_path)
    real, second = tmp_path / "real", tmp_path / "second"
    attempt.path.symlink_to(real)
    second.write_text(entry(OTHER) + "# kept\n")
    found = await attempt.run(
        entry(OLD), [OLD.public.blob, NEW.public.blob], honest(NEW),
        user_known_hosts=[attempt.path, second, tmp_path / "missing"],
    )
    assert found == entry(OLD) + entry(NEW)
    assert attempt.path.is_symlink() and second.read_text() == "# kept\n"


# -- rules -------------------------------------------------------------------------------------------------------------


def test_with_addresses_a_line_has_to_be_of_both() -> None:
    host = Host("box", "192.0.2.1")
    announced = {OLD.public.blob}
    for text, refused in (
        (entry(OLD, "box,192.0.2.1"), "no new"), (entry(OLD, "box,192.0.2.9"), "different name"),
        (entry(OLD, "bix,192.0.2.1"), "different name"),
    ):
        lines = list(parse_lines((text + entry(OTHER, "box")).encode() if refused != "no new" else text.encode()))
        assert refused in plan_update([lines], host, [OLD.public], announced).refused
    lines = list(parse_lines(entry(OLD, "box,192.0.2.1").encode()))
    plan = plan_update([lines], host, [OLD.public, NEW.public], {OLD.public.blob, NEW.public.blob})
    assert updated(lines, host, plan, [OLD.public, NEW.public], hashed=False) == [
        entry(OLD, "box,192.0.2.1").strip(), entry(NEW, "box,192.0.2.1").strip(),
    ]
    hashed = updated(lines, host, plan, [NEW.public], hashed=True)
    assert hashed is not None and [text[:3] for text in hashed[1:]] == ["|1|", "|1|"]


def test_a_known_key_that_we_would_not_be_shown_stays_if_it_is_announced() -> None:
    lines = list(parse_lines((entry(OLD) + entry(RSA)).encode()))
    plan = plan_update([lines], Host("server.test"), [OLD.public], {OLD.public.blob, RSA.public.blob})
    assert plan.refused.startswith("no new")


@pytest.mark.parametrize(("text", "expected"), [
    ("", "yes"), ("UpdateHostKeys ask", "ask"), ("UserKnownHostsFile /x", "no"), ("VerifyHostKeyDNS yes", "no"),
    ("UserKnownHostsFile /x\nUpdateHostKeys yes", "yes"),
])
def test_the_configuration_says_whether(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"{text}\nUser u\n")
    found = client_options(load("h", file=str(path), session_type="shell"), prompter=object())  # type: ignore[arg-type]
    assert found.updating == expected


def test_the_default_is_for_the_default_files_alone() -> None:
    assert ClientOptions(host="h").updating == "yes"
    assert ClientOptions(host="h", user_known_hosts=["/x"]).updating == "no"


# -- the server's side -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [
    lambda mine, other: [], lambda mine, other: [mine, mine], lambda mine, other: [mine, other],
    lambda mine, other: [b""],
])
async def test_a_server_proves_its_own_keys_once_each(tmp_path: Path, ask: Any) -> None:
    def everybody(connection: Any, attempt: Attempt) -> Verdict:
        return Verdict.ACCEPT

    async with fastssh.serve("127.0.0.1", 0, server_keys=[OLD, RSA], authorize=everybody) as server:
        settings: Any = {"port": server.port, "user": "u", "config": "none", "agent_socket": "none", "password": "x"}
        async with fastssh.connect("127.0.0.1", pinned_host_key=OLD.public, **settings) as conn:
            for blobs, success in ((ask(OLD.public.blob, OTHER.public.blob), False), ([RSA.public.blob], True)):
                reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
                conn._connection.global_request(PROVE, encode_strings(blobs), on_reply=reply.set_result)
                answer = await asyncio.wait_for(reply, SECONDS)
                assert (answer is not None) == success
            assert answer is not None
            (signature,) = decode_strings(answer)
            RSA.public.verify(signature, to_prove(conn._transport.session_id, RSA.public.blob), ["rsa-sha2-512"])


def test_backups_do_not_follow_links(tmp_path: Path) -> None:
    from fastssh.keys.known_hosts_file import rewrite

    path, victim = tmp_path / "known_hosts", tmp_path / "victim"
    path.write_text("a b c\n")
    victim.write_text("mine")
    path.with_name("known_hosts.old").symlink_to(victim)
    rewrite(str(path), ["x y z"], f"{path}.old")
    assert victim.read_text() == "mine" and path.read_text() == "x y z\n"
    shutil.rmtree(tmp_path)
