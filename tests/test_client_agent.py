"""AddKeysToAgent, and the agent shown to a server: ForwardAgent."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.config.client import client_options
from fastssh.config.evaluate import load
from fastssh.errors import AgentError, ChannelOpenError, HostKeyError
from fastssh.keys.agent import AgentMessage, Frames
from fastssh.keys.private import generate_private_key, load_private_key
from fastssh.wire.codec import Reader, string
from tests.support import keygen
from tests.support.agents import add, ssh_add
from tests.support.peers import Keys, Peer, program
from tests.support.reaching import SECONDS, to
from tests.support.serving import Command, joined
from tests.support.watching import open_descriptors

OTHER = generate_private_key("ed25519")


class Person:
    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.prompts: list[str] = []

    async def ask(self, prompt: str, *, echo: bool) -> str:
        self.prompts.append(prompt)
        return self.answers.pop(0)


async def log_in(peer: Peer, **options: Any) -> list[str]:
    lines: list[str] = []
    async with (
        asyncio.timeout(SECONDS),
        fastssh.connect(**to(peer, **options), log=lambda level, text: lines.append(text)) as conn,
    ):
        assert (await conn.run("true")).exit_status == 0
    return lines


# -- AddKeysToAgent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_key_that_logged_in_goes_to_the_agent(kind: str, sshd: Peer, agent: str, keys: Keys) -> None:
    settings: Any = {"identity_files": [keys.user(kind)], "agent_socket": agent}
    await log_in(sshd, **settings)
    assert ssh_add(agent, "-D") == ""
    await log_in(sshd, **settings, add_keys_to_agent="yes")
    assert keys.user(kind).with_suffix(".pub").read_text() == ssh_add(agent, "-L")
    await log_in(sshd, agent_socket=agent, identity_files=[], identities_only=False)
    await log_in(sshd, **settings, add_keys_to_agent="yes")  # it is the agent's now: nothing is added
    assert len(ssh_add(agent, "-L").splitlines()) == 1


async def test_a_key_in_the_agent_may_have_an_end_and_ask(sshd: Peer, agent: str, keys: Keys) -> None:
    settings: Any = {"identity_files": [keys.user("ed25519")], "agent_socket": agent}
    await log_in(sshd, **settings, add_keys_to_agent="yes", add_keys_lifetime=1)
    assert len(ssh_add(agent, "-L").splitlines()) == 1
    async with asyncio.timeout(SECONDS):
        while True:
            await asyncio.sleep(0.1)
            with contextlib.suppress(Exception):
                ssh_add(agent, "-L")
                continue
            break  # ssh-add fails when there is no key
    await log_in(sshd, **settings, add_keys_to_agent="confirm")
    assert len(ssh_add(agent, "-L").splitlines()) == 1
    with pytest.raises(fastssh.AuthenticationError):  # nobody confirms its use: there is no askpass program
        await log_in(sshd, identity_files=[], agent_socket=agent, identities_only=False)


@pytest.mark.parametrize(("answer", "added"), [("yes", True), ("", True), ("no", False), ("x", False)])
async def test_a_person_may_be_asked_first(answer: str, added: bool, sshd: Peer, agent: str, tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "id", "ed25519", passphrase="open")
    authorized = sshd.keys.authorized.read_text()
    sshd.keys.authorized.write_text(authorized + path.with_suffix(".pub").read_text())
    person: Any = Person("open", answer)
    try:
        await log_in(sshd, identity_files=[path], agent_socket=agent, add_keys_to_agent="ask", prompter=person)
    finally:
        sshd.keys.authorized.write_text(authorized)
    assert person.prompts[1] == f"Add key {path} (user@test) to agent? "
    if added:
        assert ssh_add(agent, "-L") == path.with_suffix(".pub").read_text()
    else:
        with pytest.raises(Exception, match="status 1"):
            ssh_add(agent, "-L")


async def test_row25_an_agent_that_takes_no_keys_is_no_error(sshd: Peer, tmp_path: Path, keys: Keys) -> None:
    for reply in (b"\5", b"\x0c\0\0\0\0", b"", b"\xff" * 10):
        async with fake_agent(tmp_path / "fake", reply) as asked:
            lines = await log_in(
                sshd, identity_files=[keys.user("ed25519")], agent_socket=str(tmp_path / "fake"),
                add_keys_to_agent="yes",
            )
            assert asked[-1][0] == AgentMessage.ADD_IDENTITY
        assert any(text.startswith("could not add identity to agent: ") for text in lines)
    await log_in(sshd, identity_files=[keys.user("ed25519")], agent_socket=str(tmp_path / "none"),
                 add_keys_to_agent="yes")


# -- ForwardAgent ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def fake_agent(path: Path, reply: bytes | None) -> AsyncIterator[list[bytes]]:
    """An agent that answers everything with ``reply``, or hangs up; yields what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(65536):
            for message in frames.feed(data):
                asked.append(message)
                if reply is None:
                    writer.close()
                    return
                known = message[0] in (AgentMessage.REQUEST_IDENTITIES, AgentMessage.EXTENSION)
                writer.write(string(b"\x05" if known and reply != b"\x06" else reply))
        writer.close()

    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    async with await asyncio.start_unix_server(serve, path):
        yield asked


@pytest.mark.parametrize("server", ["sshd", "fastsshd"])
async def test_programs_on_the_server_use_the_agent(
    server: str, request: pytest.FixtureRequest, agent: str, keys: Keys
) -> None:
    peer: Peer = request.getfixturevalue(server)
    add(agent, keys.user("ecdsa"), keys.user("rsa"))
    before = open_descriptors()
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(peer)) as conn:
        assert b"agent" not in (await conn.run("echo $SSH_AUTH_SOCK", check=True)).stdout
        process = await conn.create_process(f"{program('ssh-add', 'openssh-client')} -L && "
                                            f"{program('ssh-add', 'openssh-client')} -T {keys.user('rsa')}.pub",
                                            agent_forwarding=False)
        assert (await process.communicate())[0] == b"" and process.exit_status != 0
        with pytest.raises(AgentError, match="no agent to forward"):
            await conn.create_process("true", agent_forwarding=True)
        conn.forward_agent(agent)
        process = await conn.create_process(f"{program('ssh-add', 'openssh-client')} -L && "
                                            f"{program('ssh-add', 'openssh-client')} -T {keys.user('rsa')}.pub")
        stdout, stderr = await process.communicate()
        assert process.exit_status == 0, stderr
        assert stdout.decode() == ssh_add(agent, "-L")
        async with asyncio.TaskGroup() as group:  # several at once
            runs = [group.create_task(conn.run(f"{program('ssh-add', 'openssh-client')} -l", check=True))
                    for _ in range(4)]
        assert len({run.result().stdout for run in runs}) == 1
    assert open_descriptors() == before


async def test_an_agent_is_told_of_the_host_it_is_forwarded_to(
    sshd: Peer, agent: str, keys: Keys, tmp_path: Path
) -> None:
    """A key that may be used on the way to this host may be used from there only as far as that was said as well."""
    known = tmp_path / "known"
    known.write_text(sshd.known_hosts.read_text())
    here = f"[{sshd.host}]:{sshd.port}"
    ssh_add(agent, "-q", "-H", known, "-h", here, keys.user("ed25519"))
    ssh_add(agent, "-q", "-H", known, "-h", here, "-h", f"{here}>{here}", keys.user("rsa"))
    settings: Any = {"identity_files": [], "identities_only": False, "agent_socket": agent, "forward_agent": agent}
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(sshd, **settings)) as conn:
        listed = (await conn.run(f"{program('ssh-add', 'openssh-client')} -L", check=True)).stdout.decode()
    assert listed.split()[0] == "ssh-rsa" and len(listed.splitlines()) == 1


async def test_an_agent_channel_nobody_asked_for_is_refused_and_told_of(tmp_path: Path) -> None:
    lines: list[str] = []
    async with (
        asyncio.timeout(SECONDS),
        joined(tmp_path, password="x", log=lambda level, text: lines.append(text) if level == 0 else None) as (
            conn, server,
        ),
    ):
        refused = Command(server)
        refused.channel = server.connection.open_channel("auth-agent@openssh.com", b"", refused)
        await conn.keepalive()
        assert refused.is_closed and isinstance(refused.channel.error, ChannelOpenError)
    assert lines == ["Warning: ssh server tried agent forwarding.",
                     "Warning: this is probably a break-in attempt by a malicious server."]


async def test_what_a_forwarded_agent_hears_first_is_the_session(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(SECONDS), fake_agent(tmp_path / "fake", b"\x06") as asked,
        joined(tmp_path, password="x", forward_agent=str(tmp_path / "fake")) as (conn, server),
    ):
        asking = Command(server)
        asking.channel = server.connection.open_channel("auth-agent@openssh.com", b"", asking)
        asking.channel.handler = asking
        while not asked:
            await asyncio.sleep(0.005)
        reader = Reader(asked[0])
        assert (reader.byte(), reader.string()) == (AgentMessage.EXTENSION, b"session-bind@openssh.com")
        assert reader.string() == conn.host_key.blob
        assert reader.string() == server.transport.session_id
        reader.string()
        assert reader.boolean() is True
        reader.end()


@pytest.mark.parametrize("reply", [None, b""])
async def test_row25_an_agent_that_fails_closes_the_channel_alone(tmp_path: Path, reply: bytes | None) -> None:
    async with (
        asyncio.timeout(SECONDS), fake_agent(tmp_path / "fake", None),
        joined(tmp_path, password="x", forward_agent=str(tmp_path / ("fake" if reply is None else "none"))) as (
            conn, server,
        ),
    ):
        refused = Command(server)
        refused.channel = server.connection.open_channel("auth-agent@openssh.com", b"", refused)
        while not refused.is_closed:
            await asyncio.sleep(0.005)
        assert isinstance(refused.channel.error, ChannelOpenError)
        assert (await conn.run("still fine")).exit_status == 0


async def test_row12_a_server_cannot_open_agent_channels_without_end(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(SECONDS), fake_agent(tmp_path / "fake", b"\x06"),
        joined(tmp_path, password="x", forward_agent=str(tmp_path / "fake")) as (conn, server),
    ):
        commands = [Command(server) for _ in range(200)]
        for command in commands:
            command.channel = server.connection.open_channel("auth-agent@openssh.com", b"", command)
        while sum(command.is_closed for command in commands) < 200 - 64:
            await asyncio.sleep(0.005)
        assert (await conn.run("still fine")).exit_status == 0
        assert sum(command.is_closed for command in commands) == 200 - 64


async def test_a_server_whose_changed_key_was_let_through_gets_neither_agent_nor_forwards(
    sshd: Peer, agent: str, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.write_text(f"[{sshd.host}]:{sshd.port} {OTHER.public.line()}\n")
    settings: Any = {"user_known_hosts": [known], "strict_host_key_checking": "no", "forward_agent": agent}
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(sshd, **settings)) as conn:
        assert not conn.forwards_agent
        assert b"agent" not in (await conn.run("echo $SSH_AUTH_SOCK", check=True)).stdout
        with pytest.raises(HostKeyError, match="Agent forwarding is disabled to avoid man-in-the-middle attacks"):
            await conn.create_process("true", agent_forwarding=True)
        with pytest.raises(HostKeyError, match="Port forwarding is disabled to avoid man-in-the-middle attacks"):
            await conn.forward_local(("localhost", 0), ("localhost", 1))


@pytest.mark.parametrize(("text", "expected"), [
    ("", None), ("ForwardAgent yes", "/run/agent"), ("ForwardAgent no", None), ("ForwardAgent /a", "/a"),
    ("ForwardAgent $OTHER", "/other"), ("ForwardAgent $NOTSET", None), ("ForwardAgent yes\nIdentityAgent /b", "/b"),
    ("ForwardAgent ~/a", "HOME/a"),
])
def test_the_configuration_names_the_agent(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("OTHER", "/other")
    monkeypatch.delenv("NOTSET", raising=False)
    path = tmp_path / "config"
    path.write_text(f"User u\n{text}\n")
    found = client_options(load("h", file=str(path)))
    assert found.forward_agent == (expected.replace("HOME", str(home)) if expected else None)
    path.write_text("User u\nAddKeysToAgent confirm 5m\n")
    found = client_options(load("h", file=str(path)))
    assert (found.add_keys_to_agent, found.add_keys_lifetime) == ("confirm", 300)
    path.write_text("User u\nAddKeysToAgent 1h\n")
    found = client_options(load("h", file=str(path)))
    assert (found.add_keys_to_agent, found.add_keys_lifetime) == ("yes", 3600)


def test_an_agent_is_handed_exactly_the_private_fields(keys: Keys) -> None:
    from fastssh.keys.agent import Constraints, add_identity

    key = load_private_key(keys.user("ed25519"))
    plain = add_identity(key, "a comment")
    assert plain[4] == AgentMessage.ADD_IDENTITY and plain.endswith(string(b"a comment"))
    constrained = add_identity(key, "", Constraints(60, True))
    assert constrained[4] == AgentMessage.ADD_ID_CONSTRAINED
    assert Constraints.decode(constrained[-6:]) == Constraints(60, True)
    assert os.path.exists(keys.user("ed25519"))
