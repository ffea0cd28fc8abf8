"""Authentication, the client's side (RFC 4252): which method when, in OpenSSH's order, and the machine that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastssh.auth.effects import Ask, Flow, Question, Receive, Send, Tell
from fastssh.auth.methods import (
    VERDICTS,
    AuthContext,
    KeyboardInteractive,
    Method,
    Password,
    Publickey,
    Verdict,
)
from fastssh.errors import AuthenticationError, ProtocolError
from fastssh.wire.messages import (
    Message,
    ServiceAccept,
    ServiceRequest,
    UserauthBanner,
    UserauthFailure,
    decode,
)
from fastssh.wire.text import printable

USERAUTH = "ssh-userauth"
MAX_PARTIAL_SUCCESSES = 16
MAX_BANNERS = 1024  # of one connection
MAX_BANNER_BYTES = 256 * 1024  # in all of them


def authenticate(context: AuthContext) -> Flow[str]:
    """From SERVICE_REQUEST to USERAUTH_SUCCESS; returns the method that did it.

    Methods are tried in the order of ``context.preferred`` among those the server says can continue; a changed list
    and a partial success start the order anew. Raises AuthenticationError when none is left.
    """
    yield Send(ServiceRequest(USERAUTH))
    accept = yield Receive("transport", (ServiceAccept,))
    if accept.service != USERAUTH:
        raise ProtocolError(f"server accepted service {accept.service}, which was not requested")
    yield Tell(1, "SSH2_MSG_SERVICE_ACCEPT received")
    yield Send(context.request("none"))
    verdict: Verdict = yield Receive("auth", VERDICTS)
    publickey = Publickey(context)
    methods: dict[str, Method] = {
        method.name: method for method in (publickey, KeyboardInteractive(context), Password(context))
    }
    used, tried = "none", ["none"]
    offered: tuple[str, ...] | None = None
    remaining: list[str] = []
    current: Method | None = None
    while isinstance(verdict, UserauthFailure):
        if verdict.partial_success:
            context.partial_successes += 1
            if context.partial_successes > MAX_PARTIAL_SUCCESSES:
                raise ProtocolError("server asks for authentication without end")
            yield Tell(1, f'Authenticated using "{used}" with partial success.')
            publickey.partial_success(used)
            offered = None
        if verdict.can_continue != offered:
            offered, remaining, current = verdict.can_continue, list(context.preferred), None
            yield Tell(1, f"Authentications that can continue: {','.join(offered)}")
        outcome: Verdict | None = None
        while outcome is None:
            if current is None:
                current = _next_method(methods, remaining, offered)
                if current is None:
                    yield Tell(1, "No more authentication methods to try.")
                    raise AuthenticationError(
                        f"{context.who}: Permission denied ({','.join(offered)}).", tuple(tried), offered
                    )
                yield Tell(1, f"Next authentication method: {current.name}")
            outcome = yield from current.attempt()
            if outcome is None:
                del methods[current.name]
                current = None
            else:
                used = current.name
                if used not in tried:
                    tried.append(used)
        verdict = outcome
    return used


def _next_method(methods: dict[str, Method], remaining: list[str], offered: tuple[str, ...]) -> Method | None:
    while remaining:
        name = remaining.pop(0)
        if name in offered and name in methods:
            return methods[name]
    return None


class AuthObserver(Protocol):
    """Who runs an :class:`AuthClient`."""

    def question(self, question: Question) -> None:
        """Answer with :meth:`AuthClient.answer` or :meth:`AuthClient.abort`, now or later."""

    def banner(self, text: str) -> None:
        """The server's banner, safe for a terminal."""

    def tell(self, level: int, text: str) -> None:
        """See :class:`Tell`."""

    def authenticated(self, method: str) -> None:
        """USERAUTH_SUCCESS came: the connection protocol may begin."""


class AuthClient:
    """Runs the flow over messages. Errors of the flow come out of the call that caused them."""

    def __init__(self, context: AuthContext, send: Callable[[Message], None], observer: AuthObserver) -> None:
        self._flow = authenticate(context)
        self._send = send
        self._observer = observer
        self._receive: Receive | None = None  # set while the flow waits for a message
        self._asking = False
        self._banners = self._banner_bytes = 0

    def start(self) -> None:
        """Sends the service request."""
        self._advance(None)

    def _advance(self, result: object) -> None:
        """Gives the flow what it waits for, and carries out what it wants next, until it has to wait again."""
        try:
            while True:
                match self._flow.send(result):
                    case Send(message):
                        self._send(message)
                    case Tell(level, text):
                        self._observer.tell(level, text)
                    case Receive() as receive:
                        self._receive = receive
                        return
                    case Ask(question):
                        self._asking = True
                        self._observer.question(question)
                        return
                result = None
        except StopIteration as stop:
            self._observer.authenticated(stop.value)

    def message(self, payload: bytes) -> None:
        """SERVICE_ACCEPT or one of 50 to 79. What the flow does not wait for is fatal."""
        number = payload[0] if payload else 0
        if number == UserauthBanner.number:
            self._banner(UserauthBanner.decode(payload))
            return
        expected, self._receive = self._receive, None
        if expected is None:
            raise ProtocolError(f"message {number} out of place during authentication")
        message = decode(expected.namespace, payload)
        if not isinstance(message, expected.kinds):
            raise ProtocolError(f"{message.label()} out of place during authentication")
        self._advance(message)

    def _banner(self, message: UserauthBanner) -> None:
        self._banners += 1
        self._banner_bytes += len(message.text)
        if self._banners > MAX_BANNERS or self._banner_bytes > MAX_BANNER_BYTES:
            raise ProtocolError("server sent too many banners")
        self._observer.banner(printable(message.text, newlines=True))

    def answer(self, value: object) -> None:
        """The result of the question asked last."""
        if not self._asking:
            raise ValueError("no question was asked")
        self._asking = False
        self._advance(value)

    def close(self) -> None:
        """The flow ends where it is."""
        self._flow.close()
