"""The agent protocol's codec: every reply, every limit, and a conversation with OpenSSH's ssh-agent."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import AgentError
from fastssh.keys import agent
from fastssh.keys.agent import AgentMessage, Constraints, Frames
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.wire.codec import string, uint32
from tests.support import peers

KEY = generate_private_key("ed25519", comment="me")


def answer(*keys: tuple[bytes, bytes], count: int | None = None) -> bytes:
    body = b"".join(string(blob) + string(comment) for blob, comment in keys)
    return bytes([AgentMessage.IDENTITIES_ANSWER]) + uint32(len(keys) if count is None else count) + body


# --- requests -----------------------------------------------------------------------------------------------------


def test_requests_are_framed_as_the_draft_says() -> None:
    assert agent.request_identities() == bytes.fromhex("00000001 0b")
    assert agent.sign_request(b"key", b"data", 4) == bytes.fromhex(
        "00000014 0d 00000003 6b6579 00000004 64617461 00000004"
    )
    assert agent.extension(b"query") == bytes.fromhex("0000000a 1b 00000005 7175657279")


def test_flags_make_rsa_sign_with_sha2() -> None:
    assert [int(agent.sign_flags(name)) for name in ("rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519")] == [2, 4, 0]


def test_session_bind_has_the_fields_of_openssh() -> None:
    message = agent.session_bind(b"host key", b"session", b"signature", forwarding=True)
    fields = string(b"session-bind@openssh.com") + string(b"host key") + string(b"session") + string(b"signature")
    assert message == string(b"\x1b" + fields + b"\x01")
    assert agent.session_bind(b"h", b"s", b"t", forwarding=False)[-1] == 0


def test_row25_requests_have_the_limit_too() -> None:
    agent.sign_request(b"", bytes(agent.MAX_MESSAGE - 13), 0)
    with pytest.raises(AgentError, match="allowed"):
        agent.sign_request(b"", bytes(agent.MAX_MESSAGE - 12), 0)


# --- replies ------------------------------------------------------------------------------------------------------


def test_replies_are_decoded() -> None:
    assert agent.decode_reply(b"\x05") == agent.Failure()
    assert agent.decode_reply(b"\x1c") == agent.Failure(extension=True)
    assert agent.decode_reply(b"\x06") == agent.Success()
    assert agent.decode_reply(b"\x0e" + string(b"sig")) == agent.SignResponse(b"sig")
    assert agent.decode_reply(b"\x1d" + string(b"query")) == agent.ExtensionResponse(string(b"query"))
    reply = agent.decode_reply(answer((KEY.public.blob, b"me"), (b"\0\0\0\x03odd", b"gr\xfc\xdfe")))
    assert isinstance(reply, agent.IdentitiesAnswer)
    assert [identity.comment for identity in reply.identities] == ["me", "gr\ufffd\ufffde"]
    assert [identity.public_key() for identity in reply.identities] == [KEY.public, None]


def test_refusals_and_answers_to_another_question_are_agent_errors() -> None:
    assert agent.identities(answer()) == ()
    for message in (b"\x05", b"\x06", b"\x0e" + string(b"sig")):
        with pytest.raises(AgentError):
            agent.identities(message)
    for message in (b"\x05", b"\x06", answer(), b"\x0e" + string(b"")):
        with pytest.raises(AgentError):
            agent.signature(message, "ssh-ed25519")


def test_row27_an_agent_that_signs_with_another_algorithm_is_refused() -> None:
    made = string(b"ssh-rsa") + string(b"sha-1 signature")
    with pytest.raises(AgentError, match="ssh-rsa instead of rsa-sha2-512"):
        agent.signature(b"\x0e" + string(made), "rsa-sha2-512")
    with pytest.raises(AgentError) as caught:
        agent.signature(b"\x0e" + string(string(b"\x1b[31m\xff")), "rsa-sha2-512")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0c",
        b"\x0d",
        b"\x00",
        b"\xff",
        b"\x05\x00",
        b"\x06\x00",
        b"\x0e" + string(b"sig") + b"\x00",
        b"\x0e\xff\xff\xff\xff",
        answer((b"key", b"me"))[:-1],
        answer((b"key", b"me")) + b"\x00",
        answer((b"key", b"me"), count=2),
        answer((b"key", b"me"), count=0),
        answer(count=0xFFFFFFFF),
        answer(*[(b"", b"")] * (agent.MAX_IDENTITIES + 1)),
        b"\x1d" + bytes(agent.MAX_MESSAGE),
    ],
)
def test_row25_malformed_and_oversize_replies_are_agent_errors(message: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        agent.decode_reply(message)
    assert len(str(caught.value)) < 200


@given(st.binary(max_size=100))
def test_any_bytes_are_a_reply_or_an_agent_error(message: bytes) -> None:
    try:
        agent.decode_reply(message)
    except AgentError:
        pass


# --- frames -------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.integers(1, 30))
def test_frames_are_cut_the_same_however_they_arrive(messages: list[bytes], step: int) -> None:
    stream = b"".join(agent.frame(message) for message in messages)
    frames = Frames()
    found: list[bytes] = []
    for start in range(0, len(stream), step):
        found += frames.feed(stream[start : start + step])
    assert found == messages
    assert frames.pending == 0


def test_row25_frame_lengths_are_checked_before_anything_is_kept() -> None:
    for length in (0, agent.MAX_MESSAGE + 1, 0xFFFFFFFF):
        with pytest.raises(AgentError, match="allowed"):
            Frames().feed(uint32(length))
    frames = Frames()
    assert frames.feed(uint32(agent.MAX_MESSAGE) + bytes(agent.MAX_MESSAGE - 1)) == []
    assert frames.pending == agent.MAX_MESSAGE + 3
    assert len(frames.feed(b"\0")[0]) == agent.MAX_MESSAGE
    with pytest.raises(AgentError):
        agent.frame(b"")


# --- constraints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraints", [Constraints(), Constraints(5), Constraints(0, True), Constraints(9, True)])
def test_constraints_come_back(constraints: Constraints) -> None:
    assert Constraints.decode(constraints.encode()) == constraints


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" + string(b"restrict-destination-v00@openssh.com") + string(b""),
        b"\xff" + string(b"\x1b[31m"),
        b"\x02\x03",
        b"\x00",
        b"\x01\x00\x00",
        b"\x01\x00\x00\x00\x00",
        b"\x02\x02",
        b"\x01\x00\x00\x00\x05\x01\x00\x00\x00\x06",
        b"\xff\xff\xff\xff\xff",
    ],
)
def test_row25_unsupported_and_malformed_constraints_are_refused(data: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        Constraints.decode(data)
    assert str(caught.value).isprintable()


# --- a real agent -------------------------------------------------------------------------------------------------


class Agent:
    """A blocking connection to an agent's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._frames = Frames()

    def ask(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        while not (messages := self._frames.feed(data := self._socket.recv(4096))):
            assert data, "the agent closed the connection"
        assert len(messages) == 1
        return messages[0]

    def close(self) -> None:
        self._socket.close()


def add_identity(key: PrivateKey, constraints: Constraints | None = None) -> bytes:
    """What ssh-add sends (draft-ietf-sshm-ssh-agent section 5.2)."""
    kind = AgentMessage.ADD_IDENTITY if constraints is None else AgentMessage.ADD_ID_CONSTRAINED
    limits = b"" if constraints is None else constraints.encode()
    return agent.frame(bytes([kind]) + key.fields() + string(key.comment.encode()) + limits)


@pytest.fixture
def real_agent(tmp_path: Path) -> Iterator[Agent]:
    path = tmp_path / "agent"
    process = subprocess.Popen(
        [peers.program("ssh-agent", "openssh-client"), "-D", "-a", str(path)],
        stdout=subprocess.DEVNULL,
        env=peers.clean_environment(tmp_path),
    )
    connection: Agent | None = None
    try:
        for _ in range(400):
            try:
                connection = Agent(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
        assert connection is not None, "ssh-agent did not start"
        yield connection
        connection.close()
    finally:
        process.terminate()
        process.wait(20)


def test_a_conversation_with_ssh_agent(real_agent: Agent) -> None:
    keys = [
        generate_private_key(kind, bits, f"comment {kind}")
        for kind, bits in (("ed25519", None), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048))
    ]
    assert agent.identities(real_agent.ask(agent.request_identities())) == ()
    for key in keys:
        assert agent.decode_reply(real_agent.ask(add_identity(key))) == agent.Success()
    found = agent.identities(real_agent.ask(agent.request_identities()))
    assert [(each.public_key(), each.comment) for each in found] == [(key.public, key.comment) for key in keys]
    for key in keys:
        for algorithm in key.public.signature_algorithms:
            request = agent.sign_request(key.public.blob, b"data", agent.sign_flags(algorithm))
            signature = agent.signature(real_agent.ask(request), algorithm)
            assert key.public.verify(signature, b"data", {algorithm}) == algorithm
    with pytest.raises(AgentError, match="instead of"):
        agent.signature(real_agent.ask(agent.sign_request(keys[-1].public.blob, b"data")), "rsa-sha2-512")
    with pytest.raises(AgentError, match="refused to sign"):
        agent.signature(real_agent.ask(agent.sign_request(KEY.public.blob, b"data")), "ssh-ed25519")
    assert isinstance(agent.decode_reply(real_agent.ask(agent.extension(b"unheard-of@example"))), agent.Failure)


def test_ssh_agent_accepts_our_constraints_and_session_binding(real_agent: Agent) -> None:
    constrained = add_identity(KEY, Constraints(lifetime=600))
    assert agent.decode_reply(real_agent.ask(constrained)) == agent.Success()
    assert len(agent.identities(real_agent.ask(agent.request_identities()))) == 1
    host, session = generate_private_key("ed25519"), b"s" * 32
    bind = agent.session_bind(host.public.blob, session, host.sign(session, "ssh-ed25519"), forwarding=False)
    assert agent.decode_reply(real_agent.ask(bind)) == agent.Success()
    wrong = agent.session_bind(host.public.blob, b"t" * 32, host.sign(session, "ssh-ed25519"), forwarding=False)
    assert isinstance(agent.decode_reply(real_agent.ask(wrong)), agent.Failure)
