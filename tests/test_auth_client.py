"""The client's authentication flow against a scripted server: order, limits, and what is fatal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastssh.auth.client import AuthClient
from fastssh.auth.effects import AskAgent, AskPrivateKey, AskText, Identity, Question
from fastssh.auth.methods import AuthContext
from fastssh.auth.publickey import HOSTBOUND, SignedRequest
from fastssh.errors import AuthenticationError, ProtocolError
from fastssh.keys.private import PrivateKey
from fastssh.wire.messages import (
    Message,
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
from fastssh.wire.requests import (
    Password,
    PasswordChange,
    Publickey,
    PublickeyHostbound,
    PublickeyQuery,
)
from tests.support.memory import host_key

SESSION = b"the session id"
HOST_BLOB = host_key("ecdsa").public.blob


class Script:
    """Runs an AuthClient; the test plays the server and the person."""

    def __init__(self, **context: Any) -> None:
        self.sent: list[Message] = []
        self.questions: list[Question] = []
        self.banners: list[str] = []
        self.told: list[tuple[int, str]] = []
        self.method: str | None = None
        defaults: dict[str, Any] = {"user": "ann", "host": "box", "session_id": SESSION, "host_key": HOST_BLOB}
        self.auth = AuthClient(AuthContext(**(defaults | context)), self.sent.append, self)
        self.auth.start()

    def question(self, question: Question) -> None:
        self.questions.append(question)

    def banner(self, text: str) -> None:
        self.banners.append(text)

    def tell(self, level: int, text: str) -> None:
        self.told.append((level, text))

    def authenticated(self, method: str) -> None:
        assert self.method is None
        self.method = method

    def give(self, message: Message) -> Message:
        """The server's message; returns what the client says next."""
        before = len(self.sent)
        self.auth.message(message.encode())
        return self.sent[before] if len(self.sent) > before else UserauthSuccess()

    def begin(self, *can_continue: str) -> Message:
        """Service accepted, 'none' refused; returns the first real request."""
        assert self.sent == [ServiceRequest("ssh-userauth")]
        assert self.give(ServiceAccept("ssh-userauth")) == UserauthRequest("ann", "ssh-connection", "none")
        return self.give(UserauthFailure(can_continue))

    def refuse(self, *can_continue: str, partial: bool = False) -> Message:
        return self.give(UserauthFailure(can_continue, partial))


def memory(key: PrivateKey) -> Identity:
    return Identity("key", "memory", key.public, key)


def held(key: PrivateKey) -> Identity:
    return Identity("key", "agent", key.public)


def method_of(message: Message) -> str:
    assert isinstance(message, UserauthRequest)
    return message.method


def test_none_may_be_enough() -> None:
    script = Script()
    script.give(ServiceAccept("ssh-userauth"))
    script.give(UserauthSuccess())
    assert script.method == "none"


def test_a_key_at_hand_signs_at_once_and_binds_this_connection() -> None:
    key = host_key()
    script = Script(identities=[memory(key)])
    request = script.begin("publickey")
    assert isinstance(request, UserauthRequest)
    signed = Publickey.parse(request.method_data)
    to_verify = SignedRequest("ann", "ssh-connection", "ssh-ed25519", key.public.blob).to_sign(SESSION)
    assert key.public.verify(signed.signature, to_verify, ("ssh-ed25519",))
    script.give(UserauthSuccess())
    assert script.method == "publickey"


def test_hostbound_is_used_where_the_server_offers_it() -> None:
    key = host_key()
    script = Script(identities=[memory(key)], hostbound=True)
    request = script.begin("publickey")
    assert method_of(request) == HOSTBOUND
    assert isinstance(request, UserauthRequest)
    signed = PublickeyHostbound.parse(request.method_data)
    assert signed.host_key == HOST_BLOB
    to_verify = SignedRequest("ann", "ssh-connection", "ssh-ed25519", key.public.blob, HOST_BLOB).to_sign(SESSION)
    assert key.public.verify(signed.signature, to_verify, ("ssh-ed25519",))


def test_an_agent_is_asked_only_for_keys_that_the_server_wants() -> None:
    first, second = host_key("ecdsa"), host_key()
    script = Script(identities=[held(first), held(second)])
    query = script.begin("publickey")
    assert isinstance(query, UserauthRequest)
    assert PublickeyQuery.parse(query.method_data) == PublickeyQuery(False, first.public.algorithm, first.public.blob)
    query = script.refuse("publickey")
    assert isinstance(query, UserauthRequest)
    assert PublickeyQuery.parse(query.method_data).blob == second.public.blob
    assert not script.questions
    script.give(UserauthPkOk("ssh-ed25519", second.public.blob))
    (question,) = script.questions
    assert isinstance(question, AskAgent)
    script.auth.answer(second.sign(question.data, question.algorithm))
    assert isinstance(script.sent[-1], UserauthRequest)
    assert Publickey.parse(script.sent[-1].method_data).signed
    script.give(UserauthSuccess())
    assert script.method == "publickey"


def test_an_agent_that_refuses_leaves_the_next_key() -> None:
    script = Script(identities=[held(host_key("ecdsa")), memory(host_key())])
    script.begin("publickey")
    script.give(UserauthPkOk(host_key("ecdsa").public.algorithm, host_key("ecdsa").public.blob))
    script.auth.answer(None)
    assert isinstance(script.sent[-1], UserauthRequest)
    assert Publickey.parse(script.sent[-1].method_data).blob == host_key().public.blob


def test_an_encrypted_file_is_loaded_after_the_server_wants_it() -> None:
    key = host_key()
    script = Script(identities=[Identity("file", "file", key.public, path="file")])
    script.begin("publickey")
    assert not script.questions
    script.give(UserauthPkOk("ssh-ed25519", key.public.blob))
    assert isinstance(script.questions[0], AskPrivateKey)
    script.auth.answer(key)
    assert isinstance(script.sent[-1], UserauthRequest)
    assert Publickey.parse(script.sent[-1].method_data).signed


def test_a_file_whose_public_half_is_hidden_is_loaded_first() -> None:
    script = Script(identities=[Identity("file", "file", None, path="file")])
    script.begin("publickey")
    assert isinstance(script.questions[0], AskPrivateKey)
    script.auth.answer(host_key())
    assert isinstance(script.sent[-1], UserauthRequest)
    assert Publickey.parse(script.sent[-1].method_data).signed


@pytest.mark.parametrize(
    ("announced", "accepted", "expected"),
    [
        (None, (), "rsa-sha2-512"),
        (("rsa-sha2-256", "ssh-rsa"), (), "rsa-sha2-256"),
        (("rsa-sha2-256", "rsa-sha2-512"), (), "rsa-sha2-512"),
        (("rsa-sha2-256", "rsa-sha2-512"), ("rsa-sha2-256",), "rsa-sha2-256"),
        (("ssh-rsa",), (), None),
        (("ssh-ed25519",), (), None),
    ],
)
def test_rsa_signs_with_what_the_server_announced(
    announced: tuple[str, ...] | None, accepted: tuple[str, ...], expected: str | None
) -> None:
    key = host_key("rsa", 2048)
    script = Script(identities=[memory(key)], server_sig_algs=announced, accepted_algorithms=accepted)
    if expected is None:
        with pytest.raises(AuthenticationError):
            script.begin("publickey")
        assert any("no mutual signature algorithm" in text for _, text in script.told)
        return
    request = script.begin("publickey")
    assert isinstance(request, UserauthRequest)
    assert Publickey.parse(request.method_data).algorithm == expected


def test_methods_are_tried_in_order_and_the_end_says_what_was_offered() -> None:
    script = Script(identities=[memory(host_key())], password_prompts=2)
    offered = ("publickey", "password", "hostbased")
    assert method_of(script.begin(*offered)) == "publickey"
    script.refuse(*offered)
    assert script.questions == [AskText("ann@box's password: ", False)]
    script.auth.answer("wrong")
    assert isinstance(script.sent[-1], UserauthRequest)
    assert Password.parse(script.sent[-1].method_data) == Password(False, "wrong")
    script.refuse(*offered)
    assert (0, "Permission denied, please try again.") in script.told
    script.auth.answer("wrong again")
    with pytest.raises(AuthenticationError) as caught:
        script.refuse(*offered)
    assert str(caught.value) == "ann@box: Permission denied (publickey,password,hostbased)."
    assert caught.value.tried == ("none", "publickey", "password")
    assert caught.value.offered == offered


def test_methods_that_are_not_offered_or_not_preferred_are_not_tried() -> None:
    script = Script(identities=[memory(host_key())], preferred=("password",))
    script.begin("publickey", "password")
    assert isinstance(script.questions[0], AskText)
    script = Script(identities=[memory(host_key())])
    script.begin("password")
    assert isinstance(script.questions[0], AskText)


def test_a_known_password_is_tried_once_before_anybody_is_asked() -> None:
    script = Script(password="secret")
    request = script.begin("password")
    assert isinstance(request, UserauthRequest)
    assert Password.parse(request.method_data).password == "secret"
    assert not script.questions
    script.refuse("password")
    assert script.questions == [AskText("ann@box's password: ", False)]


def test_nobody_to_ask_ends_the_password_method() -> None:
    script = Script()
    script.begin("password")
    with pytest.raises(AuthenticationError):
        script.auth.answer(None)


def test_partial_success_starts_over_without_the_key_that_did_its_part() -> None:
    first, second = host_key("ecdsa"), host_key()
    script = Script(identities=[memory(first), memory(second)])
    script.begin("publickey")
    request = script.refuse("publickey")  # the first key is refused
    assert isinstance(request, UserauthRequest)
    assert Publickey.parse(request.method_data).blob == second.public.blob
    request = script.refuse("password", "publickey", partial=True)  # the second is right
    assert isinstance(request, UserauthRequest)
    assert Publickey.parse(request.method_data).blob == first.public.blob
    script.refuse("password", "publickey")
    assert isinstance(script.questions[0], AskText)
    script.auth.answer("right")
    script.give(UserauthSuccess())
    assert script.method == "password"


def test_a_server_that_is_never_satisfied_is_left() -> None:
    script = Script(identities=[memory(host_key()) for _ in range(50)])
    script.begin("publickey")
    with pytest.raises(ProtocolError, match="without end"):
        for _ in range(50):
            script.refuse("publickey", partial=True)


def test_keyboard_interactive_answers_several_rounds() -> None:
    script = Script()
    assert method_of(script.begin("keyboard-interactive")) == "keyboard-interactive"
    script.give(UserauthInfoRequest("Name", "Do this", "", (("Password: ", False), ("Code: ", True))))
    assert (0, "Name") in script.told and (0, "Do this") in script.told
    assert script.questions == [AskText("(ann@box) Password: ", False)]
    script.auth.answer("one")
    assert script.questions[1] == AskText("(ann@box) Code: ", True)
    script.auth.answer("two")
    assert script.sent[-1] == UserauthInfoResponse(("one", "two"))
    assert script.give(UserauthInfoRequest("", "", "", ())) == UserauthInfoResponse(())
    script.give(UserauthSuccess())
    assert script.method == "keyboard-interactive"


def test_a_known_password_answers_one_hidden_question() -> None:
    script = Script(password="secret")
    script.begin("keyboard-interactive")
    assert script.give(UserauthInfoRequest("", "", "", (("Password: ", False),))) == UserauthInfoResponse(("secret",))
    script.refuse("keyboard-interactive")
    script.give(UserauthInfoRequest("", "", "", (("Password: ", False),)))
    assert len(script.questions) == 1


def test_keyboard_interactive_without_questions_is_not_tried_again() -> None:
    script = Script()
    script.begin("keyboard-interactive")
    with pytest.raises(AuthenticationError):
        script.refuse("keyboard-interactive")


def test_keyboard_interactive_has_as_many_attempts_as_passwords() -> None:
    script = Script(password_prompts=2)
    script.begin("keyboard-interactive")
    script.give(UserauthInfoRequest("", "", "", (("Password: ", False),)))
    script.auth.answer("wrong")
    assert method_of(script.refuse("keyboard-interactive")) == "keyboard-interactive"
    script.give(UserauthInfoRequest("", "", "", (("Password: ", False),)))
    script.auth.answer("wrong")
    with pytest.raises(AuthenticationError):
        script.refuse("keyboard-interactive")


def test_rounds_of_questions_without_end_are_fatal() -> None:
    script = Script()
    script.begin("keyboard-interactive")
    with pytest.raises(ProtocolError, match="rounds"):
        for _ in range(1000):
            script.give(UserauthInfoRequest("", "", "", ()))


def test_too_many_questions_at_once_are_fatal() -> None:
    script = Script()
    script.begin("keyboard-interactive")
    with pytest.raises(ProtocolError, match="questions at once"):
        script.give(UserauthInfoRequest("", "", "", (("?", False),) * 1000))


def test_a_password_can_be_changed() -> None:
    script = Script(password="old")
    script.begin("password")
    script.give(UserauthPasswdChangereq("Your password has expired."))
    assert (0, "Your password has expired.") in script.told
    for answer in ("old", "new", "typo", "new", "new"):
        script.auth.answer(answer)
    assert [question.prompt for question in script.questions if isinstance(question, AskText)] == [
        "Enter ann@box's old password: ",
        "Enter ann@box's new password: ",
        "Retype ann@box's new password: ",
        "Enter ann@box's new password: ",
        "Retype ann@box's new password: ",
    ]
    assert isinstance(script.sent[-1], UserauthRequest)
    assert PasswordChange.parse(script.sent[-1].method_data) == PasswordChange(True, "old", "new")
    script.give(UserauthSuccess())
    assert script.method == "password"


def to_key_query(script: Script) -> None:
    script.begin("publickey")


def to_question(script: Script) -> None:
    script.begin("password")


def to_success(script: Script) -> None:
    script.give(ServiceAccept("ssh-userauth"))
    script.give(UserauthSuccess())


def at_once(script: Script) -> None:
    """Nothing but the service request was sent."""


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        (at_once, UserauthSuccess()),
        (at_once, UserauthFailure(("password",))),
        (at_once, ServiceAccept("ssh-connection")),
        (to_key_query, UserauthSuccess()),
        (to_key_query, UserauthInfoRequest("", "", "", ())),
        (to_key_query, ServiceAccept("ssh-userauth")),
        (to_key_query, UserauthPkOk("ssh-ed25519", host_key("ecdsa").public.blob)),
        (to_key_query, UserauthPkOk("rsa-sha2-256", host_key().public.blob)),
        (to_question, UserauthSuccess()),
        (to_question, UserauthFailure(("password",))),
        (to_success, UserauthSuccess()),
        (to_success, UserauthFailure(("password",))),
        (to_success, UserauthInfoRequest("", "", "", ())),
    ],
)
def test_row02_messages_out_of_place_are_fatal(reach: Callable[[Script], None], message: Message) -> None:
    script = Script(identities=[held(host_key())])
    reach(script)
    method = script.method
    with pytest.raises(ProtocolError):
        script.auth.message(message.encode())
    assert script.method == method


def test_banners_come_at_any_time_and_are_bounded() -> None:
    script = Script()
    script.auth.message(UserauthBanner("Welcome\r\nto the box\n").encode())
    script.begin("password")
    script.auth.message(UserauthBanner("again").encode())
    assert script.banners == ["Welcome\nto the box\n", "again"]
    with pytest.raises(ProtocolError, match="banners"):
        for _ in range(20):
            script.auth.message(UserauthBanner("x" * 20_000).encode())


def test_row19_texts_of_the_server_are_escaped() -> None:
    script = Script()
    script.auth.message(UserauthBanner("\x1b[31mred").encode())
    assert script.banners == ["\\033[31mred"]
    script.begin("keyboard-interactive")
    script.give(UserauthInfoRequest("\x1b]0;name\x07", "\x9bdo", "", (("Pass\x1bword: ", False),)))
    told = "".join(text for _, text in script.told)
    assert "\x1b" not in told and "\x9b" not in told and "\x07" not in told
    assert script.questions == [AskText("(ann@box) Pass\\033word: ", False)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_row07_truncated_messages_are_refused(cut: int) -> None:
    script = Script()
    script.begin("keyboard-interactive")
    payload = UserauthInfoRequest("n", "i", "", (("p", False),)).encode()
    with pytest.raises(ProtocolError):
        script.auth.message(payload[:-cut])


# --- names and passwords that are not UTF-8, and secrets in logs ------------------------------------------------------

LATIN = b"\xe4\xf6".decode("utf-8", "surrogateescape")  # as a terminal or a command line in ISO 8859-1 gives them


def test_names_and_passwords_that_are_not_utf8_go_out_as_they_were_typed() -> None:
    script = Script(user=f"j{LATIN}rg", host=f"b{LATIN}x")
    script.give(ServiceAccept("ssh-userauth"))
    script.give(UserauthFailure(("password",)))
    question = script.questions[0]
    assert isinstance(question, AskText)
    assert question.prompt == r"j\344\366rg@b\344\366x's password: "
    script.auth.answer(f"se{LATIN}ret")
    assert script.sent[-1].encode().endswith(b"\x00\x00\x00\x07se\xe4\xf6ret")
    assert b"\x00\x00\x00\x05j\xe4\xf6rg" in script.sent[-1].encode()
    script.give(UserauthFailure(("keyboard-interactive",)))
    script.give(UserauthInfoRequest("", "", "", (("Code: ", False),)))
    question = script.questions[1]
    assert isinstance(question, AskText)
    assert question.prompt == r"(j\344\366rg@b\344\366x) Code: "
    script.auth.answer(LATIN)
    assert script.sent[-1].encode().endswith(b"\x00\x00\x00\x02\xe4\xf6")


def test_a_password_is_in_no_repr() -> None:
    context = AuthContext(user="ann", host="box", session_id=SESSION, host_key=HOST_BLOB, password="hunter2")
    shown = [context, Password(False, "hunter2"), PasswordChange(True, "hunter2", "hunter2")]
    shown.append(UserauthInfoResponse(("hunter2",)))
    shown.append(context.request("password", Password(False, "hunter2").body()))
    assert "hunter2" not in repr(shown)
