"""Keys from files, agents and memory, and passwords, against stock servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.agent import AgentClient
from fastssh.errors import AgentError, AuthenticationError
from fastssh.keys.private import generate_private_key, load_private_key, serialize_private_key
from fastssh.wire import codec
from tests.support.agents import add
from tests.support.peers import PASSWORD, Peer, program
from tests.support.reaching import SECONDS, to


class Person:
    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.prompts: list[str] = []

    async def ask(self, prompt: str, *, echo: bool) -> str:
        assert not echo
        self.prompts.append(prompt)
        return self.answers.pop(0)

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        raise AssertionError("the host key is known")

    def banner(self, text: str) -> None: ...


async def whoami(settings: dict[str, Any]) -> list[str]:
    """Logs in, and returns what was logged."""
    lines: list[str] = []
    async with (
        asyncio.timeout(SECONDS),
        fastssh.connect(**settings, log=lambda level, text: lines.append(f"{level} {text}")) as conn,
    ):
        assert (await conn.run("true")).exit_status == 0
    return lines


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_every_type_of_key_logs_in(kind: str, sshd: Peer) -> None:
    await whoami(to(sshd, identity_files=[sshd.keys.user(kind)]))
    await whoami(to(sshd, identity_files=[], keys=[load_private_key(sshd.keys.user(kind))]))


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
async def test_rsa_signs_with_what_is_accepted(algorithm: str, sshd: Peer) -> None:
    settings = to(sshd, identity_files=[sshd.keys.user("rsa")], pubkey_accepted_algorithms=(algorithm,))
    await whoami(settings)


@pytest.fixture
def encrypted(sshd: Peer, tmp_path: Path) -> Path:
    path = tmp_path / "encrypted"
    key = load_private_key(sshd.key)
    path.write_bytes(serialize_private_key(key, b"open sesame", rounds=4))
    path.chmod(0o600)
    return path


async def test_a_passphrase_is_asked_for_when_the_server_wants_the_key(sshd: Peer, encrypted: Path) -> None:
    person = Person("wrong", "open sesame")
    await whoami(to(sshd, identity_files=[encrypted], prompter=person))
    assert person.prompts == [f"Enter passphrase for key '{encrypted}': "] * 2


async def test_no_passphrase_is_asked_for_a_key_the_server_does_not_want(sshd: Peer, tmp_path: Path) -> None:
    path = tmp_path / "unwanted"
    path.write_bytes(serialize_private_key(generate_private_key("ed25519"), b"secret", rounds=4))
    path.chmod(0o600)
    person = Person()
    await whoami(to(sshd, identity_files=[path, sshd.key], prompter=person))
    assert person.prompts == []


async def test_of_two_files_with_one_key_either_will_do(sshd: Peer, tmp_path: Path) -> None:
    path = tmp_path / "spoilt"
    unreadable(path, sshd.key)
    await whoami(to(sshd, identity_files=[path, sshd.key]))


async def test_a_wrong_passphrase_is_one_clear_line(sshd: Peer, encrypted: Path) -> None:
    lines: list[str] = []

    def log(level: int, text: str) -> None:
        if level == 0:
            lines.append(text)

    settings = to(sshd, identity_files=[encrypted], prompter=Person("a", "b", "c"), log=log)
    settings["preferred_authentications"] = ("publickey",)
    with pytest.raises(AuthenticationError, match=r": Permission denied \(publickey") as caught:
        async with asyncio.timeout(SECONDS):
            await fastssh.connect(**settings)
    assert lines == [f'Load key "{encrypted}": incorrect passphrase supplied to decrypt private key']
    assert caught.value.__notes__ == lines


async def test_an_empty_passphrase_means_the_next_key(sshd: Peer, encrypted: Path) -> None:
    person = Person("")
    await whoami(to(sshd, identity_files=[encrypted, sshd.keys.user("rsa")], prompter=person))
    assert len(person.prompts) == 1


def unreadable(path: Path, key: Path) -> str:
    path.write_bytes(key.read_bytes())
    path.chmod(0o644)
    return "UNPROTECTED PRIVATE KEY FILE"


def nonsense(path: Path, key: Path) -> str:
    path.write_text("nonsense")
    path.chmod(0o600)
    return "not a private key"


def missing(path: Path, key: Path) -> str:
    return "No such file or directory"


def folder(path: Path, key: Path) -> str:
    path.mkdir()
    return "irectory" if os.getuid() else "not a regular file"


@pytest.mark.parametrize("spoil", [unreadable, nonsense, missing, folder])
async def test_key_files_that_cannot_be_used_are_one_line_each(
    spoil: Callable[[Path, Path], str], sshd: Peer, tmp_path: Path
) -> None:
    path = tmp_path / "spoilt"
    reason = spoil(path, sshd.keys.user("rsa"))
    lines = await whoami(to(sshd, identity_files=[path, sshd.key]))
    (line,) = [each for each in lines if each.startswith("0 ")]
    assert str(path) in line and reason in line


async def test_default_identity_files_are_in_the_home_directory(sshd: Peer, home: Path) -> None:
    directory = home / ".ssh"
    directory.mkdir(mode=0o700, exist_ok=True)
    key = directory / "id_ed25519"
    key.write_bytes(sshd.key.read_bytes())
    key.chmod(0o600)
    try:
        await whoami(to(sshd, identity_files=None))
    finally:
        key.unlink()


# --- passwords ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sshd_password", "dropbear", "asyncssh_server", "paramiko_server"])
async def test_passwords_known_and_typed(name: str, request: pytest.FixtureRequest) -> None:
    peer: Peer = request.getfixturevalue(name)
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(**to(peer, identity_files=[], password=PASSWORD)):
            pass
        person = Person("wrong", PASSWORD)
        async with fastssh.connect(**to(peer, identity_files=[], prompter=person)):
            pass
        assert len(person.prompts) == 2
        with pytest.raises(AuthenticationError, match="Permission denied"):
            await fastssh.connect(**to(peer, identity_files=[], password="wrong"))


async def test_key_and_password_in_a_row(start_sshd: Any, tmp_path: Path) -> None:
    peer = start_sshd(home=tmp_path / "home", AuthenticationMethods="publickey,password")
    person = Person(PASSWORD)
    lines = await whoami(to(peer, prompter=person))
    assert '1 Authenticated using "publickey" with partial success.' in lines
    assert len(person.prompts) == 1


# --- agents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_keys_of_an_agent_log_in(kind: str, sshd: Peer, agent: str) -> None:
    add(agent, sshd.keys.user(kind))
    lines = await whoami(to(sshd, identity_files=[], agent_socket=agent))
    assert any("Server accepts key" in line and line.endswith(" agent") for line in lines)


async def test_the_agent_is_found_in_the_environment(
    sshd: Peer, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(agent, sshd.key)
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    await whoami(to(sshd, identity_files=[], agent_socket=None))
    with pytest.raises(AuthenticationError):
        await whoami(to(sshd, identity_files=[], agent_socket="none"))


async def test_keys_named_in_files_come_first_and_alone_if_asked(sshd: Peer, agent: str, tmp_path: Path) -> None:
    strangers = []
    for number in range(3):
        path = tmp_path / f"stranger{number}"
        path.write_bytes(serialize_private_key(generate_private_key("ed25519", comment=path.name)))
        path.chmod(0o600)
        strangers.append(path)
    add(agent, *strangers, sshd.key)
    public_only = tmp_path / "named.pub"
    public_only.write_text(sshd.key.with_suffix(".pub").read_text())
    for identities_only in (False, True):
        settings = to(
            sshd, identity_files=[tmp_path / "named"], identities_only=identities_only, agent_socket=agent
        )
        lines = await whoami(settings)
        offered = [line for line in lines if "Offering public key" in line]
        assert len(offered) == 1 and str(tmp_path / "named") in offered[0]
    lines = await whoami(to(sshd, identity_files=[strangers[2], sshd.keys.user("rsa")], agent_socket=agent))
    offered = [line.split()[4] for line in lines if "Offering public key" in line]
    assert offered[0] == str(strangers[2])
    assert offered[1:3] == ["stranger0", "stranger1"]


async def test_session_bind_is_sent_to_the_agent(sshd: Peer, agent: str, tmp_path: Path) -> None:
    """A key restricted to this server by ssh-add -h is only usable when the agent knows which server it is."""
    known = tmp_path / "agent_known_hosts"
    known.write_text(sshd.known_hosts.read_text())
    restriction = ["-H", str(known), "-h", f"[{sshd.host}]:{sshd.port}"]
    ran = subprocess.run(
        [program("ssh-add", "openssh-client"), "-q", *restriction, str(sshd.key)],
        env=os.environ | {"SSH_AUTH_SOCK": agent}, capture_output=True, timeout=30, stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == 0, ran.stderr
    await whoami(to(sshd, identity_files=[], agent_socket=agent))


async def test_an_agent_that_is_not_there_is_no_error(sshd: Peer, tmp_path: Path) -> None:
    await whoami(to(sshd, agent_socket=str(tmp_path / "no agent")))


async def test_an_agent_key_that_does_not_sign_leaves_the_others(sshd: Peer, tmp_path: Path) -> None:
    stolen = load_private_key(sshd.keys.user("ecdsa")).public
    identities = codec.byte(12) + codec.uint32(1) + codec.string(stolen.blob) + codec.utf8("co\x1bmment")
    async with fake_agent(tmp_path, {11: identities}) as path:
        lines = await whoami(to(sshd, agent_socket=path))
    assert any(line.startswith("0 sign_and_send_pubkey: signing failed for co\\033mment") for line in lines)


@asynccontextmanager
async def fake_agent(tmp_path: Path, replies: dict[int, bytes | None]) -> AsyncIterator[str]:
    """An agent that gives these message bodies to these requests; to others it says FAILURE. None: it hangs up."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                request = await reader.readexactly(length)
                reply = replies.get(request[0], b"\x05")
                if reply is None:
                    break
                writer.write(reply if reply.startswith(b"raw") else codec.string(reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        await writer.wait_closed()

    path = str(tmp_path / "fake")
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield path
        async with asyncio.timeout(SECONDS):  # the client hangs up
            while any(task is not None and not task.done() for task in serving):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x05",
        b"\x0c",
        b"\x0c" + codec.uint32(0xFFFF_FFFF),
        b"\x0c" + codec.uint32(1) + codec.uint32(0xFFFF_FFFF),
        b"\x0c" + codec.uint32(0) + b"more",
        b"\x0e" + codec.string(b"signature"),
        b"\xff",
        None,
        b"raw!" + b"x" * 1000,
    ],
)
async def test_row25_replies_of_an_agent_are_checked(reply: bytes | None, tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), fake_agent(tmp_path, {11: reply}) as path:
        agent = await AgentClient.connect(path)
        with pytest.raises(AgentError):
            await agent.identities()
        agent.close()


async def test_row25_a_hostile_agent_does_not_stop_the_login(sshd: Peer, tmp_path: Path) -> None:
    async with fake_agent(tmp_path, {11: b"raw\xff" + b"x" * 100}) as path:
        await whoami(to(sshd, agent_socket=path))
