"""Host keys: what is accepted, asked, added and refused, and the words that users of ssh know it by."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from fastssh.aio.client import ClientConnection, connect
from fastssh.auth.server import Verdict
from fastssh.errors import (
    AuthenticationError,
    DisconnectedError,
    HostKeyChangedError,
    HostKeyError,
    HostKeyRevokedError,
    HostKeyUnknownError,
    SSHError,
)
from fastssh.keys.known_hosts import hash_name
from fastssh.keys.private import generate_private_key
from tests.support.memory import host_key
from tests.support.peers import Peer
from tests.support.reaching import options_without_file
from tests.support.serving import Server, serving

SECONDS = 20.0
OTHER = generate_private_key("ed25519")


class Person:
    def __init__(self, yes: bool) -> None:
        self.yes = yes
        self.questions: list[tuple[str, str]] = []

    async def ask(self, prompt: str, *, echo: bool) -> str:
        raise AssertionError("no password is asked for here")

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        self.questions.append((question, fingerprint))
        await asyncio.sleep(0.02)
        return self.yes

    def banner(self, text: str) -> None: ...


class Attempt:
    """One connection; what was logged and what came of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error: SSHError | None = None
        self.server: Server | None = None

    async def run(self, tmp_path: Path, known: str | None, **settings: Any) -> Attempt:
        path = tmp_path / "known_hosts"
        if known is not None:
            path.write_text(known)
        log = self.log

        async with asyncio.timeout(SECONDS), serving() as (server, sock):
            self.server = server
            server.authorize = lambda attempt: Verdict.REFUSE if attempt.method == "none" else Verdict.ACCEPT
            more = {"password": "x", "log": log, "user_known_hosts": [path]} | settings
            try:
                async with connect(**options_without_file(more), sock=sock) as conn:
                    assert isinstance(conn, ClientConnection)
                    assert (await conn.run("x")).exit_status == 0
            except SSHError as error:
                self.error = error
                while server.error is None:
                    await asyncio.sleep(0.01)
        return self

    def log(self, level: int, text: str) -> None:
        if level == 0:
            self.lines.append(text)


def line(name: str = "server.test", key: Any = None) -> str:
    return f"{name} {(key or host_key()).public.line()}\n"


FINGERPRINT = host_key().public.fingerprint()


async def test_a_known_key_is_accepted_without_a_word(tmp_path: Path) -> None:
    attempt = await Attempt().run(tmp_path, line())
    assert attempt.error is None and attempt.lines == []


@pytest.mark.parametrize(
    ("known", "settings"),
    [
        (line("server.test,other"), {}),
        (line("*.test"), {}),
        (line(hash_name("server.test", bytes(20))), {}),
        (line("[server.test]:2222"), {"port": 2222}),
        (line("server.test"), {"port": 2222}),
        (line("alias"), {"host_key_alias": "alias", "port": 2222}),
        (line(), {"host": "SERVER.test"}),
    ],
)
async def test_names_that_mean_the_host(known: str, settings: dict[str, Any], tmp_path: Path) -> None:
    attempt = await Attempt().run(tmp_path, known, **settings)
    assert attempt.error is None


async def test_row17_an_unknown_host_is_refused_when_nobody_can_be_asked(tmp_path: Path) -> None:
    for checking in ("yes", "ask", None):
        attempt = await Attempt().run(tmp_path, "", strict_host_key_checking=checking)
        assert isinstance(attempt.error, HostKeyUnknownError)
        assert str(attempt.error) == (
            "No ED25519 host key is known for server.test and you have requested strict checking. "
            "Host key verification failed."
        )
        assert attempt.server is not None and attempt.server.attempts == []
        assert isinstance(attempt.server.error, DisconnectedError) and attempt.server.error.code == 9


async def test_the_question_is_sshs_and_yes_adds_the_key(tmp_path: Path) -> None:
    person = Person(True)
    attempt = await Attempt().run(tmp_path, "other.test ssh-ed25519 unfinished", prompter=person)
    assert attempt.error is None
    question = (
        "The authenticity of host 'server.test (server.test)' can't be established.\n"
        f"ED25519 key fingerprint is {FINGERPRINT}.\n"
        "The key is on record for no other host.\n"
        "Are you sure you want to continue connecting (yes/no/[fingerprint])? "
    )
    assert person.questions == [(question, FINGERPRINT)]
    assert attempt.lines == ["Warning: Permanently added 'server.test' (ED25519) to the list of known hosts."]
    assert (tmp_path / "known_hosts").read_text() == "other.test ssh-ed25519 unfinished\n" + line()
    again = await Attempt().run(tmp_path, None, prompter=Person(False))
    assert again.error is None and again.lines == []


async def test_other_names_of_the_key_are_told(tmp_path: Path) -> None:
    person = Person(False)
    known = line("friend.test") + line(hash_name("secret.test", bytes(20)))
    attempt = await Attempt().run(tmp_path, known, prompter=person)
    assert isinstance(attempt.error, HostKeyUnknownError)
    question = person.questions[0][0]
    assert "The same key is on record for:\n" in question
    assert f"    {tmp_path}/known_hosts:1: friend.test\n" in question
    assert f"    {tmp_path}/known_hosts:2: [hashed name]\n" in question


async def test_no_refuses_and_adds_nothing(tmp_path: Path) -> None:
    attempt = await Attempt().run(tmp_path, "", prompter=Person(False))
    assert isinstance(attempt.error, HostKeyUnknownError)
    assert str(attempt.error) == "Host key verification failed."
    assert (tmp_path / "known_hosts").read_text() == ""


async def test_row17_a_prompter_that_fails_is_not_a_yes(tmp_path: Path) -> None:
    class Broken(Person):
        async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
            raise OSError("terminal gone")

    attempt = await Attempt().run(tmp_path, "", prompter=Broken(True))
    assert isinstance(attempt.error, HostKeyError)
    assert attempt.server is not None and attempt.server.attempts == []


@pytest.mark.parametrize("checking", ["accept-new", "no"])
async def test_new_keys_are_added_without_a_question(checking: str, tmp_path: Path) -> None:
    attempt = await Attempt().run(
        tmp_path, None, strict_host_key_checking=checking, user_known_hosts=[tmp_path / "ssh" / "known_hosts"],
        hash_known_hosts=True,
    )
    assert attempt.error is None
    added = tmp_path / "ssh" / "known_hosts"
    assert added.read_text().startswith("|1|")
    assert stat.S_IMODE(added.stat().st_mode) == 0o600
    assert stat.S_IMODE(added.parent.stat().st_mode) == 0o700


async def test_a_key_that_cannot_be_added_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    attempt = await Attempt().run(
        tmp_path, None, strict_host_key_checking="no", user_known_hosts=["/dev/null", tmp_path / "x"]
    )
    assert attempt.error is None


@pytest.mark.parametrize("checking", ["yes", "ask", "accept-new"])
async def test_row17_a_changed_key_is_refused_loudly(checking: str, tmp_path: Path) -> None:
    person = Person(True)
    attempt = await Attempt().run(
        tmp_path, line("other") + line(key=OTHER), strict_host_key_checking=checking, prompter=person
    )
    assert isinstance(attempt.error, HostKeyChangedError)
    assert str(attempt.error) == (
        "Host key for server.test has changed and you have requested strict checking. Host key verification failed."
    )
    assert person.questions == []
    assert attempt.server is not None and attempt.server.attempts == []
    text = "\n".join(attempt.lines)
    assert "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @" in text
    assert f"The key shown has the fingerprint {FINGERPRINT}." in text
    assert f"Offending ED25519 key in {tmp_path}/known_hosts:2" in text
    assert f'  fastssh-keygen -f "{tmp_path}/known_hosts" -R "server.test"' in text
    assert (tmp_path / "known_hosts").read_text() == line("other") + line(key=OTHER)


async def test_row17_with_checking_off_a_changed_key_gets_no_password(tmp_path: Path) -> None:
    attempt = await Attempt().run(tmp_path, line(key=OTHER), strict_host_key_checking="no")
    assert isinstance(attempt.error, AuthenticationError)
    assert attempt.server is not None
    assert all(each.password is None for each in attempt.server.attempts)
    assert any(line.startswith("No password is sent") for line in attempt.lines)
    attempt = await Attempt().run(
        tmp_path, line(key=OTHER), strict_host_key_checking="no", keys=[generate_private_key("ed25519")]
    )
    assert attempt.error is None  # a key gives nothing away


@pytest.mark.parametrize("checking", ["yes", "ask", "accept-new", "no"])
async def test_row17_a_revoked_key_is_refused_always(checking: str, tmp_path: Path) -> None:
    known = line() + line("@revoked *")
    attempt = await Attempt().run(tmp_path, known, strict_host_key_checking=checking, prompter=Person(True))
    assert isinstance(attempt.error, HostKeyRevokedError)
    assert "@       WARNING: REVOKED HOST KEY DETECTED!               @" in attempt.lines


async def test_row17_known_hosts_that_cannot_be_read_refuse(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), serving() as (_, sock):
        settings = options_without_file({"user_known_hosts": [tmp_path], "strict_host_key_checking": "no"})
        with pytest.raises(HostKeyError):
            await connect(**settings, sock=sock)
        assert sock.fileno() == -1


async def test_the_system_file_counts_and_the_users_first_file_is_written(tmp_path: Path) -> None:
    system, user = tmp_path / "system", tmp_path / "user"
    system.write_text(line())
    attempt = await Attempt().run(tmp_path, None, user_known_hosts=[user], global_known_hosts=[system])
    assert attempt.error is None and not user.exists()


async def test_the_type_of_a_known_key_is_asked_for_first(sshd: Peer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    for kind, algorithm in (("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsa-sha2-512"), ("ed25519", "ssh-ed25519")):
        public = sshd.keys.host(kind).with_suffix(".pub").read_text()
        known.write_text(f"[{sshd.host}]:{sshd.port} {public}")
        async with asyncio.timeout(SECONDS):
            conn = await connect(
                sshd.host, sshd.port, user=sshd.user, identity_files=[sshd.key], user_known_hosts=[known],
                global_known_hosts=[], agent_socket="none",
            )
            assert conn.negotiated.host_key == algorithm
            conn.close()
            await conn.wait_closed()


async def test_the_address_is_shown_with_its_port(sshd: Peer, tmp_path: Path) -> None:
    person = Person(False)
    with pytest.raises(HostKeyUnknownError):
        async with asyncio.timeout(SECONDS):
            await connect(
                "localhost", sshd.port, user=sshd.user, user_known_hosts=[tmp_path / "none"], global_known_hosts=[],
                agent_socket="none", prompter=person, address_family="inet",
            )
    assert person.questions[0][0].startswith(
        f"The authenticity of host '[localhost]:{sshd.port} ([127.0.0.1]:{sshd.port})' can't be established.\n"
    )


def test_row19_a_host_name_is_escaped(tmp_path: Path) -> None:
    from fastssh.aio.hostkeys import HostKeyPolicy
    from fastssh.aio.options import ClientOptions

    settings = options_without_file({"host": "x\x1b[31m", "user_known_hosts": [tmp_path / "none"]})
    policy = HostKeyPolicy(ClientOptions(**settings), "1.2.3.4")
    assert "\x1b" not in policy.name


