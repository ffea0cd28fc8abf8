"""A server's authentication in memory, and requests that clients make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastssh import algorithms
from fastssh.auth.publickey import SignedRequest
from fastssh.auth.server import Attempt, AuthServer, Verdict
from fastssh.keys.private import PrivateKey
from fastssh.keys.public import PublicKey
from fastssh.wire.messages import (
    Message,
    ServiceAccept,
    ServiceRequest,
    UserauthRequest,
)
from fastssh.wire.requests import Password, PublickeyQuery
from tests.support.memory import host_key

SESSION = b"the session id"
USER_KEY, OTHER_KEY = host_key("ecdsa"), host_key("rsa", 2048)


class Server:
    """An AuthServer whose answers are kept. ``verdicts`` decides."""

    def __init__(self, decide: Callable[[Attempt], Verdict] | None = None, **options: Any) -> None:
        self.said: list[Message] = []
        self.asked: list[Attempt] = []
        self.user: Attempt | None = None
        self.decide = decide or only_key(USER_KEY.public)
        settings: dict[str, Any] = {
            "send": self.said.append,
            "session_id": SESSION,
            "host_key": host_key().public.blob,
            "authorize": self.authorize,
            "authenticated": self.authenticated,
            "signature_algorithms": algorithms.HOST_KEYS,
        }
        self.auth = AuthServer(**(settings | options))

    def authorize(self, attempt: Attempt) -> Verdict:
        self.asked.append(attempt)
        return self.decide(attempt)

    def authenticated(self, attempt: Attempt) -> None:
        assert self.user is None
        self.user = attempt

    def hear(self, message: Message) -> Message:
        self.auth.message(message.encode())
        return self.said[-1]

    def begin(self) -> Server:
        assert self.hear(ServiceRequest("ssh-userauth")) == ServiceAccept("ssh-userauth")
        return self


def only_key(key: PublicKey, user: str = "ann") -> Callable[[Attempt], Verdict]:
    def decide(attempt: Attempt) -> Verdict:
        good = attempt.user == user and attempt.key is not None and attempt.key.blob == key.blob
        return Verdict.ACCEPT if good else Verdict.REFUSE

    return decide


def signed(
    key: PrivateKey,
    *,
    user: str = "ann",
    algorithm: str = "",
    claim: PrivateKey | None = None,
    session: bytes = SESSION,
    signed_user: str = "",
    host: bytes | None = None,
) -> UserauthRequest:
    """A publickey request signed by ``key``; it may claim to be of another."""
    algorithm = algorithm or key.public.signature_algorithms[0]
    blob = (claim or key).public.blob
    to_sign = SignedRequest(signed_user or user, "ssh-connection", algorithm, blob, host)
    signature = key.sign(to_sign.to_sign(session), algorithm)
    return SignedRequest(user, "ssh-connection", algorithm, blob, host).signed(signature)


def query(key: PublicKey, user: str = "ann") -> UserauthRequest:
    data = PublickeyQuery(False, key.signature_algorithms[0], key.blob).body()
    return UserauthRequest(user, "ssh-connection", "publickey", data)


def password(text: str, user: str = "ann") -> UserauthRequest:
    return UserauthRequest(user, "ssh-connection", "password", Password(False, text).body())
