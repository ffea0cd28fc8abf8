"""Authentication: what comes out of place, what never ends, and what reaches a person's terminal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fastssh.errors import AuthenticationError, DisconnectedError, ProtocolError, SSHTimeoutError
from fastssh.transport.transport import Phase
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelClose,
    ChannelEof,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelRequest,
    ChannelSuccess,
    Disconnect,
    GlobalRequest,
    RequestSuccess,
    ServiceAccept,
    ServiceRequest,
    UserauthBanner,
    UserauthFailure,
    UserauthInfoRequest,
    UserauthInfoResponse,
    UserauthPasswdChangereq,
    UserauthPkOk,
    UserauthRequest,
    UserauthSuccess,
)
from tests.hostile.client import memory_bounded, refused, survives
from tests.hostile.server import Peer, healthy, host_key

USERAUTH = "ssh-userauth"
NASTY = "a\x1b[31mb\x07c\x9bd\u202ee\x00f\x7fg\rh"
SAFE = r"a\033[31mb\007c\233d\u202ee\000f\177g\015h"


class Person:
    """Answers every question, and keeps what was shown."""

    def __init__(self, answer: str = "secret") -> None:
        self.answer = answer
        self.shown: list[str] = []
        self.banners: list[str] = []

    async def ask(self, prompt: str, *, echo: bool) -> str:
        self.shown.append(prompt)
        return self.answer

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        self.shown.append(question)
        return True

    def banner(self, text: str) -> None:
        self.banners.append(text)


EARLY = {
    "success": UserauthSuccess(),
    "failure": UserauthFailure(("password",)),
    "banner": UserauthBanner("x"),
    "pk-ok": UserauthPkOk("ssh-ed25519", b"x"),
    "info-request": UserauthInfoRequest("", "", "", (("p", False),)),
    "info-response": UserauthInfoResponse(("x",)),
    "userauth-request": UserauthRequest("root", "ssh-connection", "none"),
    "service-request": ServiceRequest(USERAUTH),
    "global-request": GlobalRequest("x", True),
    "request-success": RequestSuccess(),
    "open": ChannelOpen("session", 0, 1, 1000),
    "confirmation": ChannelOpenConfirmation(0, 0, 1000, 1000),
    "adjust": b"\x5d" + bytes(8),
    "data": b"\x5e" + bytes(8),
    "extended": b"\x5f" + bytes(12),
    "eof": ChannelEof(0),
    "close": ChannelClose(0),
    "request": ChannelRequest(0, "exit-status", True, bytes(4)),
    "channel-success": ChannelSuccess(0),
    "unknown-auth": b"\x4f",
    "unknown-connection": b"\x7f",
}
OUT = "message|channel|not open|out of place|must not|before authentication"


# --- row 2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EARLY)
async def test_row02_before_the_service_was_accepted(serve, name):
    def script(peer: Peer) -> None:
        peer.ready()
        peer.receive(ServiceRequest)
        peer.send(EARLY[name])
        peer.send(ServiceAccept(USERAUTH))
        peer.drain()

    await refused(serve(script), ProtocolError, OUT)


@pytest.mark.parametrize("name", sorted(set(EARLY) - {"success", "failure", "banner", "unknown-auth"}))
async def test_row02_before_authentication_was_answered(serve, name):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(EARLY[name])
        peer.succeed()
        peer.start()

    await refused(serve(script), ProtocolError, OUT)


@pytest.mark.parametrize("name", ["success", "failure", "banner", "pk-ok", "info-request", "service-request",
                                  "userauth-request", "info-response"])
@pytest.mark.parametrize("moment", ["at once", "later"])
async def test_row02_after_authentication(serve, name, moment):
    def script(peer: Peer) -> None:
        if moment == "at once":
            peer.request()
            peer.send(UserauthSuccess(), EARLY[name])
        else:
            peer.start()
            peer.send(EARLY[name])

    await refused(serve(script), ProtocolError, OUT)


@pytest.mark.parametrize("service", ["ssh-connection", "", "ssh-userauth@evil", "x" * 60_000])
async def test_row02_acceptance_of_another_service(serve, service):
    def script(peer: Peer) -> None:
        peer.ready()
        peer.receive(ServiceRequest)
        peer.send(ServiceAccept(service))

    await refused(serve(script), ProtocolError, "service")


@pytest.mark.parametrize("when", ["unasked", "twice", "after success"])
async def test_row02_acceptance_comes_once_and_when_asked_for(serve, when):
    def script(peer: Peer) -> None:
        if when == "unasked":
            peer.ready()
            peer.send(ServiceAccept(USERAUTH), ServiceAccept(USERAUTH))
        elif when == "twice":
            peer.service()
            peer.send(ServiceAccept(USERAUTH))
        else:
            peer.authenticate()
            peer.send(ServiceAccept(USERAUTH))

    await refused(serve(script), ProtocolError, "message 6")


@pytest.mark.parametrize("name", ["success", "failure", "info-request"])
async def test_row02_verdicts_while_a_person_types_are_out_of_place(serve, name):
    """The answer to a request that was not sent yet."""
    import asyncio

    class Slow(Person):
        async def ask(self, prompt: str, *, echo: bool) -> str:
            await asyncio.sleep(20)
            raise AssertionError("the connection should have ended meanwhile")

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("password",)))
        peer.send(EARLY[name])

    await refused(serve(script), ProtocolError, "out of place", prompter=Slow(), follow_up=False)


@pytest.mark.parametrize("name", ["info-request", "info-response"])
async def test_row02_answers_of_another_method(serve, name):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("password",)))
        assert peer.receive(UserauthRequest).method == "password"
        peer.send(EARLY[name])

    await refused(serve(script), ProtocolError, ".", password="secret", follow_up=False)


async def test_row02_a_key_that_was_not_offered_cannot_be_accepted(serve, tmp_path):
    """PK_OK for another key: nothing is signed for it."""
    from fastssh.keys.private import generate_private_key, serialize_private_key

    path = tmp_path / "id"
    key = generate_private_key("ed25519")
    path.write_bytes(serialize_private_key(key, b"passphrase"))
    path.chmod(0o600)
    (tmp_path / "id.pub").write_text(key.public.line() + "\n")

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("publickey",)))
        assert peer.receive(UserauthRequest).method == "publickey"
        peer.send(UserauthPkOk("ssh-ed25519", host_key(which="other").public.blob))

    person = Person("passphrase")
    await refused(
        serve(script), ProtocolError, "not offered", identity_files=(path,), prompter=person, follow_up=False
    )
    assert person.shown == []  # and nobody was asked for the passphrase


# --- row 12: what never ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * 30_000, "x" * 200_000, "", "\n" * 1000])
@pytest.mark.parametrize("prompter", [None, Person()])
async def test_row12_banners_without_end(serve, text, prompter):
    def script(peer: Peer) -> None:
        peer.request()
        while True:
            peer.flood(UserauthBanner(text), 64)

    with memory_bounded():
        await refused(serve(script), ProtocolError, "too many banners", prompter=prompter, follow_up=False)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (UserauthFailure(("password", "keyboard-interactive", "publickey")), AuthenticationError),
        (UserauthFailure(("password", "keyboard-interactive", "publickey"), True), AuthenticationError),
        (UserauthInfoRequest("", "", "", ()), ProtocolError),
        (UserauthInfoRequest("", "", "", (("again?", True),)), ProtocolError),
        (UserauthPasswdChangereq("new one"), ProtocolError),
    ],
)
async def test_row12_authentication_that_goes_on_for_ever(serve, reply, error):
    """The same answer to everything."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("keyboard-interactive", "password")))
        while True:
            peer.wait_for(lambda: peer.messages)
            peer.messages.popleft()
            peer.send(reply)

    if isinstance(reply, UserauthPasswdChangereq):
        more: dict[str, Any] = {"preferred_authentications": ("password",)}
    else:
        more = {}
    await refused(
        serve(script), error, "Permission denied|without end|rounds|again and again", prompter=Person(), **more,
        follow_up=False,
    )  # fmt: skip


async def test_row12_methods_that_change_all_the_time(serve):
    def script(peer: Peer) -> None:
        for number in itertools.count():
            peer.request()
            methods = ("password", "keyboard-interactive", "publickey", f"method{number}")
            peer.send(UserauthFailure(methods[number % 3 :]))

    await refused(
        serve(script), AuthenticationError, "Permission denied", prompter=Person(), keys=(host_key(),), follow_up=False
    )


@pytest.mark.parametrize("count", [33, 1000, 0xFFFF_FFFF])
async def test_row07_questions_without_number(serve, count):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("keyboard-interactive",)))
        peer.receive(UserauthRequest)
        questions = (codec.string(b"?") + b"\0") * min(count, 1000)
        peer.send(b"\x3c" + codec.string(b"") * 3 + codec.uint32(count) + questions)

    person = Person()
    await refused(
        serve(script), ProtocolError, "questions at once|announced", prompter=person, follow_up=False
    )
    assert person.shown == []


@pytest.mark.parametrize("point", ["service", "request", "kbdint"])
async def test_row12_a_server_that_falls_silent_is_given_up_at_the_deadline(serve, point):
    def script(peer: Peer) -> None:
        if point == "service":
            peer.ready()
        else:
            peer.request()
            if point == "kbdint":
                peer.send(UserauthFailure(("keyboard-interactive",)))

    await refused(
        serve(script), SSHTimeoutError, "login to .* timed out", login_timeout=0.3, prompter=Person(), follow_up=False
    )


@pytest.mark.parametrize("point", ["service", "request"])
async def test_row12_messages_without_end_do_not_put_the_deadline_off(serve, point):
    def script(peer: Peer) -> None:
        if point == "service":
            peer.ready()
        else:
            peer.request()
        while True:
            peer.flood(b"\x02" + bytes(4), 512)

    with memory_bounded():
        await refused(serve(script), SSHTimeoutError, "login to .* timed out", login_timeout=0.5)


# --- row 19 -------------------------------------------------------------------------------------------------------


async def test_row19_banner_and_questions_are_escaped(serve):
    lines: list[str] = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthBanner(NASTY + "\nsecond line"), UserauthFailure(("keyboard-interactive",)))
        peer.receive(UserauthRequest)
        peer.send(UserauthInfoRequest(NASTY, NASTY, "", ((NASTY, True), (NASTY, False))))
        assert peer.receive(UserauthInfoResponse).responses == ("secret", "secret")
        peer.succeed()
        healthy(peer)

    person = Person()
    await survives(serve(script), prompter=person, log=lambda _, line: lines.append(line))
    assert person.banners == [SAFE + "\nsecond line"]
    assert person.shown == [f"(alice@127.0.0.1) {SAFE}"] * 2
    assert any(SAFE in line for line in lines)
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]


async def test_row19_password_change_prompt_is_escaped(serve):
    lines: list[str] = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("password",)))
        peer.receive(UserauthRequest)
        peer.send(UserauthPasswdChangereq(NASTY))
        peer.receive(UserauthRequest)
        peer.succeed()
        healthy(peer)

    person = Person()
    await survives(serve(script), prompter=person, log=lambda _, line: lines.append(line))
    assert any(SAFE in line for line in lines)
    assert all(line.isprintable() for line in lines)
    assert all(text.isprintable() for text in person.shown)


@pytest.mark.parametrize("moment", ["key exchange", "authentication", "command"])
@pytest.mark.parametrize("text", [NASTY, "x" * 200_000, "", "two\nlines"])
async def test_row19_disconnect_text_is_escaped_and_one_line(serve, moment, text):
    def script(peer: Peer) -> None:
        if moment == "key exchange":
            peer.identify()
        elif moment == "authentication":
            peer.request()
        else:
            peer.start()
        peer.send(Disconnect(2, text))

    error = await refused(serve(script), DisconnectedError, "peer disconnected")
    if text == NASTY:
        assert SAFE in str(error)


@pytest.mark.parametrize("methods", [("x" * 100_000,), ("x",) * 50_000, tuple(f"m{n}" for n in range(20_000))])
async def test_row19_an_endless_list_of_methods_is_no_endless_line(serve, methods):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(methods))

    await refused(serve(script), AuthenticationError, "Permission denied")


async def test_row02_no_channel_is_opened_before_the_user_is_known(serve):
    """The client itself says nothing of the connection protocol before success."""

    def script(peer: Peer) -> None:
        peer.request()
        assert peer.transport.phase is Phase.AUTH
        assert not peer.plane.connection
        peer.send(UserauthFailure(()))
        peer.drain()

    server = serve(script)
    await refused(server, AuthenticationError, "Permission denied")
    assert not server.peers[0].plane.connection
