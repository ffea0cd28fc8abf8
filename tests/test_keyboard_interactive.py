"""keyboard-interactive on the server: rounds of questions, users of a file, and PAM's own questions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import bcrypt
import paramiko
import pytest

import fastssh
from fastssh import connect
from fastssh.auth.interactive import Conversation, Questions
from fastssh.auth.server import Attempt, AuthRules, Verdict
from fastssh.daemon.login import pam
from fastssh.daemon.login.accounts import SystemAccounts
from fastssh.daemon.login.passwords import PamPasswords
from fastssh.errors import AuthenticationError, ProtocolError
from fastssh.wire.messages import (
    Message,
    UserauthFailure,
    UserauthInfoRequest,
    UserauthInfoResponse,
    UserauthRequest,
    UserauthSuccess,
)
from fastssh.wire.requests import KeyboardInteractive
from tests.support import openssh, peers
from tests.support.auth import USER_KEY, Server, password, signed
from tests.support.fastsshd import Start, logged
from tests.support.pam_service import service
from tests.support.peers import HOST, PASSWORD, Keys

METHOD = "keyboard-interactive"
FAILED = UserauthFailure((METHOD,), False)
INTERACTIVE = (
    "-o", f"PreferredAuthentications={METHOD}", "-o", "KbdInteractiveAuthentication=yes", "-o", "LogLevel=INFO",
)  # fmt: skip


def begin(user: str = "ann", submethods: str = "") -> UserauthRequest:
    return UserauthRequest(user, "ssh-connection", METHOD, KeyboardInteractive(submethods=submethods).body())


def riddles(attempt: Attempt) -> Conversation:
    """Two rounds, the second without a question."""
    first = yield Questions((("Name: ", True), ("Code: ", False)), name="riddles", instruction="Think.")
    yield Questions(instruction="Thank you.")
    return first == ("sphinx", "man")


class Talking(Server):
    """A server that asks riddles; what it was told of each attempt is kept."""

    def __init__(self, converse: Callable[[Attempt], Conversation | None] = riddles, **settings: Any) -> None:
        self.told: list[tuple[Verdict, str]] = []
        super().__init__(lambda attempt: Verdict.ACCEPT, **({
            "converse": converse, "methods": (METHOD,),
            "outcome": lambda attempt, verdict: self.told.append((verdict, attempt.problem)),
        } | settings))  # fmt: skip
        self.begin()

    def answer(self, *answers: str) -> Message:
        return self.hear(UserauthInfoResponse(answers))


def test_questions_go_round_until_the_conversation_ends() -> None:
    server = Talking()
    assert server.hear(begin(submethods="a,b")) == UserauthInfoRequest(
        "riddles", "Think.", "", (("Name: ", True), ("Code: ", False))
    )
    assert server.answer("sphinx", "man") == UserauthInfoRequest("", "Thank you.", "", ())
    assert server.answer() == UserauthSuccess()
    assert server.user is not None and (server.user.method, server.user.submethods) == (METHOD, "a,b")
    server = Talking()
    server.hear(begin())
    server.answer("sphinx", "fish")
    assert server.answer() == FAILED
    assert server.told == [(Verdict.REFUSE, "")]


def test_row26_as_many_answers_as_questions_are_wanted() -> None:
    for answers in ((), ("sphinx",), ("sphinx", "man", "")):
        server = Talking()
        server.hear(begin())
        assert server.answer(*answers) == FAILED
        assert server.told == [(Verdict.REFUSE, f"{len(answers)} answers to 2 questions")]
        with pytest.raises(ProtocolError):  # the conversation is over
            server.answer("sphinx", "man")


def test_row02_answers_that_nobody_asked_for_are_fatal() -> None:
    for said in ((), (begin("ann"),)):
        server = Talking(lambda attempt: None)
        for message in said:
            assert server.hear(message) == FAILED
        with pytest.raises(ProtocolError):
            server.answer("x")
    later: list[Callable[[], None]] = []
    server = Talking(defer=later.append)
    server.hear(begin())
    server.answer("wrong")
    with pytest.raises(ProtocolError):  # while the failure waits to be told
        server.answer("sphinx", "man")


def test_row03_a_conversation_that_is_given_up_has_failed_and_ends() -> None:
    ended: list[str] = []

    def converse(attempt: Attempt) -> Conversation:
        try:
            yield Questions((("?", False),))
        finally:
            ended.append(attempt.user)
        return True

    server = Talking(converse, max_tries=3)
    server.hear(begin("ann"))
    server.hear(begin("bob"))
    assert ended == ["ann"] and server.told == [(Verdict.REFUSE, "the client went on to something else")]
    assert server.answer("x") == UserauthSuccess()  # bob's answer
    assert server.user is not None and server.user.user == "bob"
    server = Talking(converse, max_tries=3)
    with pytest.raises(ProtocolError, match="Too many authentication failures"):
        for _ in range(4):
            server.hear(begin())
    server = Talking(converse)
    server.hear(begin())
    ended.clear()
    server.auth.close()
    assert ended == ["ann"]


def test_row03_it_is_one_of_several_methods() -> None:
    rules = AuthRules((("publickey", METHOD),))
    server = Talking(rules=lambda user: rules)
    assert server.hear(begin()) == UserauthFailure(("publickey",), False)
    assert server.hear(signed(USER_KEY)) == UserauthFailure((METHOD,), True)
    server.hear(begin())
    server.answer("sphinx", "man")
    assert server.answer() == UserauthSuccess()
    server = Talking(rules=lambda user: AuthRules(((METHOD, "password"),)))
    server.hear(begin())
    server.answer("sphinx", "man")
    assert server.answer() == UserauthFailure(("password",), True)
    assert server.hear(password("x")) == UserauthSuccess()


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\0\0\0\0\0\0\0\x05x", KeyboardInteractive().body() + b"x"])
def test_row07_malformed_requests_and_answers_are_fatal(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Talking().hear(UserauthRequest("ann", "ssh-connection", METHOD, data))
    server = Talking()
    server.hear(begin())
    for payload in (b"\x3d", b"\x3d\0\0\0\x02\0\0\0\0", b"\x3d\xff\xff\xff\xff\0\0\0\0", b"\x3d\0\0\0\0x"):
        with pytest.raises(ProtocolError):
            server.auth.message(payload)


# --- the library ------------------------------------------------------------------------------------------------------


class Asked(asyncssh.SSHClient):
    """An asyncssh client that knows the riddles."""

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str]:
        return ["sphinx", "man"][: len(prompts)]


async def test_clients_of_all_kinds_answer(keys: Keys) -> None:
    host_key = fastssh.load_private_key(keys.host("ed25519"))
    async with await fastssh.serve(
        HOST, 0, server_keys=[host_key], authentication_methods=(METHOD,), converse=lambda _, attempt: riddles(attempt),
        process=lambda process: asyncio.sleep(0, 7),
    ) as server:  # fmt: skip
        async with asyncssh.connect(
            HOST, server.port, username="ann", known_hosts=None, config=None, client_keys=None, client_factory=Asked
        ) as theirs:
            assert (await theirs.run("x")).exit_status == 7

        def by_paramiko() -> str:
            transport = paramiko.Transport((HOST, server.port))
            try:
                transport.start_client(timeout=10)
                transport.auth_interactive("ann", lambda title, text, prompts: ["sphinx", "man"][: len(prompts)])
                return transport.get_username()
            finally:
                transport.close()

        assert await asyncio.to_thread(by_paramiko) == "ann"

        class Person:
            async def ask(self, prompt: str, *, echo: bool) -> str:
                return "sphinx" if "Name" in prompt else "man"

            async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
                return True

            def banner(self, text: str) -> None: ...

        async with connect(
            HOST, port=server.port, user="ann", prompter=Person(), pinned_host_key=host_key.public, identity_files=(),
            agent_socket="none",
        ) as ours:  # fmt: skip
            assert (await ours.run("x")).exit_status == 7


# --- users of a file --------------------------------------------------------------------------------------------------


def test_users_of_a_file_are_asked_for_their_password(start_fastsshd: Start, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users, root = tmp_path / "users", tmp_path / "root"
    root.mkdir()
    if os.getuid() == 0:
        os.chown(root, 65534, 65534)
    users.write_text(f"ann:{hashed}:{root}:ro\n")
    users.chmod(0o600)
    peer = replace(start_fastsshd(UsersFile=users, PasswordAuthentication="no"), user="ann")
    for user, given, right in (("ann", PASSWORD, True), ("ann", "wrong", False), ("nobody-there", PASSWORD, False)):
        who = replace(peer, user=user)
        done = openssh.run("sftp", who, who.host, options=INTERACTIVE, password=given, stdin=b"ls\n")
        assert (done.returncode == 0) is right, done.stderr
    logged(peer, f"Accepted {METHOD} for ann from 127.0.0.1 port ")
    logged(peer, f"Failed {METHOD} for ann from 127.0.0.1 port ")
    logged(peer, f"Failed {METHOD} for invalid user nobody-there from 127.0.0.1 port ")


# --- PAM --------------------------------------------------------------------------------------------------------------


def test_pam_asks_its_own_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = service(tmp_path / "pam")
    monkeypatch.setattr(pam, "CONFIGURATION", str(directory))
    judge = PamPasswords(pam.Pam())
    user = SystemAccounts().find(peers.user_name())

    def talk(known: bool, *answers: str) -> bool:
        conversation = judge.converse(user if known else None, "192.0.2.1")
        told = next(conversation)
        assert told == Questions(instruction="Speak, friend.")
        asked = conversation.send(())
        assert [echo for _, echo in asked.prompts] == [False] and "assword" in asked.prompts[0][0]
        with pytest.raises(StopIteration) as ended:
            conversation.send(answers)
        return bool(ended.value.value)

    assert talk(True, PASSWORD)
    assert not talk(True, "wrong")
    assert not talk(False, PASSWORD)
    assert (directory / "seen").read_text().splitlines()[0] == f"{peers.user_name()} 192.0.2.1 ssh"
    given_up = judge.converse(user, "192.0.2.1")
    next(given_up)
    given_up.close()
    assert judge.check(user, PASSWORD, "192.0.2.1")
    assert not judge.check(user, "wrong", "192.0.2.1")
    assert not judge.check(user, "x" * (pam.MAX_ANSWER + 1), "192.0.2.1")
    assert not judge.check(None, PASSWORD, "192.0.2.1")
    (directory / "closed").touch()
    assert not judge.check(user, PASSWORD, "192.0.2.1")


RENAMING = """
int pam_set_item(void *, int, const void *);
int pam_sm_authenticate(void *pam, int flags, int count, const char **given) { return pam_set_item(pam, 2, given[0]); }
int pam_sm_setcred(void *pam, int flags, int count, const char **given) { return 0; }
int pam_prompt(void *, int, char **, const char *, ...);
int pam_sm_acct_mgmt(void *pam, int flags, int count, const char **given)
{
    int status = pam_prompt(pam, 4, 0, "Your password will expire."); /* nothing is asked */
    return status ? status : pam_set_item(pam, 2, given[0]);
}
"""


def test_row03_a_module_that_judges_somebody_else_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, module = tmp_path / "renaming.c", tmp_path / "renaming.so"
    source.write_text(RENAMING)
    command = [peers.program("gcc", "gcc"), "-shared", "-fPIC", "-o", module, source, f"-l:{pam.LIBRARIES[0]}"]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setattr(pam, "CONFIGURATION", str(tmp_path))
    judge = pam.Pam()
    for judged, right in (("ann", True), ("bob", False)):
        (tmp_path / pam.SERVICE).write_text(f"auth required {module} {judged}\naccount required {module} {judged}\n")
        assert judge.password_is_right("ann", PASSWORD, "192.0.2.1") is right
        assert judge.account_is_open("ann", "192.0.2.1") is right


def test_pam_lets_people_in_by_both_methods(start_fastsshd: Start, tmp_path: Path) -> None:
    directory = service(tmp_path / "pam")
    program = (sys.executable, peers.HERE / "pam_fastsshd.py", directory)
    peer = start_fastsshd(program=program, UsePAM="yes")
    done = openssh.ssh(peer, "echo in", options=INTERACTIVE, password=PASSWORD)
    assert done.stdout == b"in\n" and b"Speak, friend." in done.stderr
    logged(peer, f"Accepted {METHOD}/pam for {peer.user} from 127.0.0.1 port ")
    assert openssh.ssh(peer, "echo in", password=PASSWORD).stdout == b"in\n"
    stranger = replace(peer, user="nobody-there")
    for who, given in ((peer, "wrong"), (stranger, PASSWORD)):
        done = openssh.ssh(who, "true", options=INTERACTIVE, password=given)
        assert done.returncode == 255 and b"Speak, friend." in done.stderr
    logged(peer, f"Failed {METHOD}/pam for invalid user nobody-there from 127.0.0.1 port ")


def test_row04_an_account_that_pam_has_closed_is_closed_to_keys_as_well(start_fastsshd: Start, tmp_path: Path) -> None:
    directory = service(tmp_path / "pam")
    peer = start_fastsshd(program=(sys.executable, peers.HERE / "pam_fastsshd.py", directory), UsePAM="yes")
    assert openssh.ssh(peer, "echo in").stdout == b"in\n"
    assert not (directory / "seen").exists()  # nobody was asked for a password
    (directory / "closed").touch()
    assert openssh.ssh(peer, "true").returncode == 255
    logged(peer, f"Access denied for user {peer.user} by PAM account configuration")
    logged(peer, f"Failed publickey for {peer.user} from 127.0.0.1 port ")


async def test_row03_a_key_and_pams_answers_are_both_needed(start_fastsshd: Start, tmp_path: Path) -> None:
    directory = service(tmp_path / "pam")
    peer = start_fastsshd(
        program=(sys.executable, peers.HERE / "pam_fastsshd.py", directory), UsePAM="yes",
        AuthenticationMethods=f"publickey,{METHOD}:pam",
    )  # fmt: skip
    login = peer.connect_options()
    async with connect(peer.host, **login, password=PASSWORD) as connection:
        assert (await connection.run("true")).exit_status == 0
    for wrong in ({"password": "wrong"}, {"password": PASSWORD, "identity_files": ()}):
        with pytest.raises(AuthenticationError):
            async with connect(peer.host, **(login | wrong)):
                pass
