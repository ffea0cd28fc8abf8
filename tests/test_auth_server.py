"""The server's side of authentication, against our own client over real transports, and against clients that cheat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastssh import algorithms
from fastssh.auth.client import AuthClient
from fastssh.auth.effects import AskText, Identity, Question
from fastssh.auth.methods import AuthContext
from fastssh.auth.publickey import SignedRequest
from fastssh.auth.server import Attempt, AuthRules, AuthServer, Verdict
from fastssh.errors import AuthenticationError, ProtocolError
from fastssh.keys.private import PrivateKey
from fastssh.transport.phases import Phase
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelOpen,
    Message,
    ServiceAccept,
    ServiceRequest,
    UserauthBanner,
    UserauthFailure,
    UserauthPkOk,
    UserauthRequest,
    UserauthSuccess,
    decode,
)
from fastssh.wire.requests import PublickeyQuery
from tests.support.auth import OTHER_KEY, SESSION, USER_KEY, Server, only_key, password, query, signed
from tests.support.memory import Pair, connected, host_key

REFUSED = UserauthFailure(("publickey", "password"), False)
PARTIAL = UserauthFailure(("password",), True)


# --- with our own client ------------------------------------------------------------------------------------------


class Client:
    """Our client's authentication over a transport in memory."""

    def __init__(self, pair: Pair, **context: Any) -> None:
        transport = pair.client.transport
        assert transport.host_key is not None
        self.transport = transport
        self.method: str | None = None
        self.answers: list[str] = []
        defaults: dict[str, Any] = {
            "user": "ann", "host": "box", "session_id": transport.session_id, "host_key": transport.host_key.blob,
            "hostbound": transport.peer_extensions.get("publickey-hostbound@openssh.com") == b"0",
        }
        self.auth = AuthClient(AuthContext(**(defaults | context)), transport.send, self)
        pair.client.observer.on_message = self.message

    def message(self, payload: bytes) -> None:
        if payload[0] == ServiceAccept.number:
            self.transport.set_phase(Phase.AUTH)
        self.auth.message(payload)

    def question(self, question: Question) -> None:
        assert isinstance(question, AskText)
        self.auth.answer(self.answers.pop(0) if self.answers else None)

    def banner(self, text: str) -> None: ...

    def tell(self, level: int, text: str) -> None: ...

    def authenticated(self, method: str) -> None:
        self.method = method
        self.transport.set_phase(Phase.CONNECTION)


def login(decide: Callable[[Attempt], Verdict], **context: Any) -> tuple[Client, Server, Pair]:
    pair = connected()
    transport = pair.server.transport
    server = Server(decide, send=transport.send, session_id=transport.session_id)

    def accepted(attempt: Attempt) -> None:
        server.user = attempt
        transport.set_phase(Phase.CONNECTION)

    server.auth = AuthServer(
        send=transport.send, session_id=transport.session_id, host_key=host_key().public.blob,
        authorize=server.authorize, authenticated=accepted, signature_algorithms=algorithms.HOST_KEYS,
    )

    def message(payload: bytes) -> None:
        if payload[0] == ServiceRequest.number:
            transport.set_phase(Phase.AUTH)
        server.auth.message(payload)

    pair.server.observer.on_message = message
    client = Client(pair, **context)
    client.auth.start()
    return client, server, pair


@pytest.mark.parametrize("key", [host_key(), USER_KEY, OTHER_KEY, host_key("ecdsa", 521)])
def test_a_key_logs_in(key: PrivateKey) -> None:
    client, server, pair = login(only_key(key.public), identities=[Identity("key", "memory", key.public, key)])
    pair.run()
    assert client.method == "publickey"
    assert server.user is not None and server.user.key == key.public and server.user.verified
    assert pair.client.transport.phase is pair.server.transport.phase is Phase.CONNECTION


def test_a_password_logs_in_after_a_wrong_one() -> None:
    def decide(attempt: Attempt) -> Verdict:
        return Verdict.ACCEPT if attempt.password == "right" else Verdict.REFUSE

    client, server, pair = login(decide, password="wrong")
    client.answers = ["also wrong", "right"]
    pair.run()
    assert client.method == "password"
    assert server.user == Attempt("ann", "password", password="right")


def test_two_methods_in_a_row() -> None:
    def decide(attempt: Attempt) -> Verdict:
        if attempt.method == "publickey":
            return Verdict.PARTIAL
        return Verdict.ACCEPT if attempt.password and "publickey" in attempt.passed else Verdict.REFUSE

    key = Identity("key", "memory", USER_KEY.public, USER_KEY)
    client, server, pair = login(decide, identities=[key], password="right")
    pair.run()
    assert client.method == "password"
    assert server.user is not None and server.user.passed == ("publickey",)


def test_nothing_helps_and_the_client_says_so() -> None:
    _, server, pair = login(lambda attempt: Verdict.REFUSE, password="wrong")
    with pytest.raises(AuthenticationError, match=r"^ann@box: Permission denied \(publickey,password\)\.$"):
        pair.run()
    assert server.user is None


# --- rules --------------------------------------------------------------------------------------------------------


def test_row02_nothing_before_the_service_request() -> None:
    with pytest.raises(ProtocolError):
        Server().hear(password("x"))


@pytest.mark.parametrize("message", [UserauthSuccess(), UserauthFailure(()), UserauthPkOk("x", b"")])
def test_row02_messages_of_a_server_are_fatal(message: Message) -> None:
    with pytest.raises(ProtocolError):
        Server().begin().hear(message)


def test_row02_no_channel_before_authentication() -> None:
    _, _, pair = login(lambda attempt: Verdict.REFUSE)
    with pytest.raises(ProtocolError, match="before"):
        pair.client.transport.send(ChannelOpen("session", 0, 1 << 20, 1 << 15))
        pair.carry(pair.client, pair.server)


def test_row02_requests_after_success_are_ignored() -> None:
    server = Server().begin()
    assert server.hear(signed(USER_KEY)) == UserauthSuccess()
    said = len(server.said)
    server.auth.message(password("x", user="root").encode())
    assert len(server.said) == said
    assert server.user is not None and server.user.user == "ann"


@pytest.mark.parametrize("service", ["ssh-connection", "other"])
def test_services_we_do_not_have_end_the_connection(service: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        Server().hear(ServiceRequest(service))
    assert caught.value.reason == 7
    with pytest.raises(ProtocolError):
        Server().begin().hear(UserauthRequest("ann", "other", "none"))


def test_none_is_refused_and_the_first_time_not_counted() -> None:
    server = Server(max_tries=2).begin()
    none = UserauthRequest("ann", "ssh-connection", "none")
    assert server.hear(none) == REFUSED
    assert server.hear(none) == REFUSED
    with pytest.raises(ProtocolError, match="Too many authentication failures"):
        server.hear(none)


def test_row23_tries_are_limited() -> None:
    server = Server().begin()
    for _ in range(5):
        assert server.hear(password("x")) == REFUSED
    with pytest.raises(ProtocolError, match="Too many authentication failures"):
        server.hear(password("x"))


def test_row03_another_user_starts_without_what_the_first_had_passed() -> None:
    def decide(attempt: Attempt) -> Verdict:
        if attempt.user == "ann" and attempt.method == "publickey":
            return Verdict.PARTIAL
        return Verdict.ACCEPT if attempt.password and attempt.passed else Verdict.REFUSE

    server = Server(decide).begin()
    assert server.hear(signed(USER_KEY)) == PARTIAL
    assert server.hear(password("x", user="root")) == REFUSED
    assert server.asked[-1].passed == ()
    assert server.hear(password("x", user="ann")) == REFUSED  # and coming back does not bring it back
    assert server.hear(signed(USER_KEY)) == PARTIAL
    assert server.hear(password("x")) == UserauthSuccess()


def test_row03_a_query_authorises_nothing() -> None:
    server = Server().begin()
    algorithm = USER_KEY.public.signature_algorithms[0]
    assert server.hear(query(USER_KEY.public)) == UserauthPkOk(algorithm, USER_KEY.public.blob)
    assert server.user is None and not server.asked[-1].verified
    assert server.hear(signed(OTHER_KEY)) == REFUSED
    assert server.asked[-1].key == OTHER_KEY.public  # the key that signed, not the one asked about
    assert server.user is None


def test_row03_the_key_authorised_is_the_key_that_signed() -> None:
    server = Server().begin()
    assert server.hear(query(USER_KEY.public))
    asked = len(server.asked)
    assert server.hear(signed(host_key("ecdsa", 256), claim=host_key("ecdsa", 384))) == REFUSED
    assert server.hear(signed(host_key(), claim=USER_KEY, algorithm="ssh-ed25519")) == REFUSED
    assert len(server.asked) == asked  # no question without a good signature


@pytest.mark.parametrize(
    "request_",
    [
        signed(USER_KEY, session=b"another session"),
        signed(USER_KEY, signed_user="root"),
        signed(USER_KEY, host=b"another host"),
        signed(USER_KEY, host=host_key("rsa", 2048).public.blob),
    ],
)
def test_row03_a_signature_for_anything_else_is_refused(request_: UserauthRequest) -> None:
    server = Server().begin()
    assert server.hear(request_) == REFUSED
    assert server.asked == []


def test_the_host_bound_method_takes_our_host_key() -> None:
    server = Server().begin()
    assert server.hear(signed(USER_KEY, host=host_key().public.blob)) == UserauthSuccess()


def test_row27_signature_algorithms_are_exact() -> None:
    server = Server(only_key(OTHER_KEY.public), signature_algorithms=("rsa-sha2-512",)).begin()
    assert server.hear(signed(OTHER_KEY, algorithm="rsa-sha2-256")) == REFUSED
    request = SignedRequest("ann", "ssh-connection", "rsa-sha2-512", OTHER_KEY.public.blob)
    other = OTHER_KEY.sign(request.to_sign(SESSION), "rsa-sha2-256")
    assert server.hear(request.signed(other)) == REFUSED
    sha1 = SignedRequest("ann", "ssh-connection", "ssh-rsa", OTHER_KEY.public.blob)
    assert server.hear(sha1.signed(other)) == REFUSED
    assert server.hear(signed(OTHER_KEY, algorithm="rsa-sha2-512")) == UserauthSuccess()


def test_a_key_that_cannot_be_read_is_refused() -> None:
    server = Server().begin()
    data = PublickeyQuery(False, "ssh-ed25519", codec.utf8("ssh-ed25519") + codec.string(b"short")).body()
    assert server.hear(UserauthRequest("ann", "ssh-connection", "publickey", data)) == REFUSED


@pytest.mark.parametrize("data", [b"", b"\x01", b"\0\0\0\0\x09x", b"\0" + codec.utf8("x") + b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("method", ["publickey", "publickey-hostbound-v00@openssh.com", "password"])
def test_row07_malformed_requests_are_fatal(method: str, data: bytes) -> None:
    if method == "password" and data == b"\x01":
        return  # a password change, refused before its strings are read
    with pytest.raises(ProtocolError):
        Server().begin().hear(UserauthRequest("ann", "ssh-connection", method, data))


def test_methods_that_are_off_are_refused() -> None:
    server = Server(lambda attempt: Verdict.ACCEPT, methods=("publickey",)).begin()
    assert server.hear(password("x")) == UserauthFailure(("publickey",), False)
    assert server.hear(UserauthRequest("ann", "ssh-connection", "hostbased")) == UserauthFailure(("publickey",), False)
    assert server.asked == []


def test_row03_failures_wait_and_what_comes_meanwhile_is_bounded() -> None:
    later: list[Callable[[], None]] = []
    server = Server(defer=later.append, max_tries=100).begin()
    server.hear(password("x"))
    assert server.said == [ServiceAccept("ssh-userauth")]
    server.auth.message(signed(USER_KEY).encode())
    assert server.user is None  # nothing overtakes the answer
    later.pop()()
    assert server.said[1:] == [REFUSED, UserauthSuccess()]
    server = Server(defer=later.append, max_tries=100).begin()
    with pytest.raises(ProtocolError, match="at once"):
        for _ in range(50):
            server.auth.message(password("x").encode())
    assert decode("auth", REFUSED.encode()) == REFUSED


# --- rules for a user ---------------------------------------------------------------------------------------------


def accepting(**rules: AuthRules) -> Server:
    """A server that takes what is right for anybody; ``rules`` by user."""
    return Server(lambda attempt: Verdict.ACCEPT, rules=rules.__getitem__).begin()


def test_row03_a_list_is_passed_in_order_and_whole() -> None:
    server = accepting(ann=AuthRules((("publickey", "password"),)))
    assert server.hear(password("right")) == UserauthFailure(("publickey",), False)
    assert not server.asked  # out of turn, it is not even looked at
    assert server.hear(signed(USER_KEY)) == UserauthFailure(("password",), True)
    assert server.hear(password("right")) == UserauthSuccess()
    assert server.user is not None and server.user.passed == ("publickey",)


def test_row03_a_key_counts_once() -> None:
    server = accepting(ann=AuthRules((("publickey", "publickey"),)))
    assert server.hear(signed(USER_KEY)) == UserauthFailure(("publickey",), True)
    assert server.hear(signed(USER_KEY)) == UserauthFailure(("publickey",), False)
    assert server.hear(signed(OTHER_KEY)) == UserauthSuccess()


def test_row03_another_user_begins_its_own_lists_anew() -> None:
    both = AuthRules((("publickey", "password"),))
    server = accepting(ann=both, bob=both)
    assert server.hear(signed(USER_KEY)) == UserauthFailure(("password",), True)
    assert server.hear(password("right", user="bob")) == UserauthFailure(("publickey",), False)
    assert server.hear(password("right")) == UserauthFailure(("publickey",), False)


def test_any_list_that_is_passed_is_enough() -> None:
    server = accepting(ann=AuthRules((("publickey", "password"), ("password",))))
    assert server.hear(password("right")) == UserauthSuccess()


def test_a_user_has_tries_banner_and_algorithms_of_its_own() -> None:
    told: list[tuple[str, Verdict]] = []
    server = Server(
        lambda attempt: Verdict.REFUSE,
        rules={
            "ann": AuthRules((("publickey",),), max_tries=2, banner="hello\n", signature_algorithms=("ssh-ed25519",)),
        }.__getitem__,
        outcome=lambda attempt, verdict: told.append((attempt.method, verdict)),
    ).begin()
    server.hear(signed(USER_KEY))  # an algorithm that ann's keys may not use
    assert server.said[-2:] == [UserauthBanner("hello\n"), UserauthFailure(("publickey",), False)]
    assert not server.asked
    with pytest.raises(ProtocolError, match="Too many authentication failures"):
        server.hear(password("wrong"))
    assert told == [("publickey", Verdict.REFUSE), ("password", Verdict.REFUSE)]
    assert sum(isinstance(message, UserauthBanner) for message in server.said) == 1
