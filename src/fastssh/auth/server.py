"""Authentication, the server's side (RFC 4252): publickey, its host-bound form, password and keyboard-interactive.

Policy is the caller's: :data:`Authorize` judges one attempt, :class:`AuthRules` say for a user which methods it takes,
in which order. This machine guarantees what it asks about: a verified publickey attempt is one whose signature was
checked with that very key and algorithm over this very connection, no key counts twice, and what was passed before is
forgotten when user or service changes (RFC 4252 section 5). Time is handed in too: ``defer`` delays a failure's answer,
so that it takes as long for an unknown user as for a wrong password.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from fastssh.auth.client import USERAUTH
from fastssh.auth.interactive import KEYBOARD_INTERACTIVE, Conversation
from fastssh.auth.publickey import HOSTBOUND, PUBLICKEY, SERVICE, SignedRequest
from fastssh.errors import KeyFormatError, ProtocolError, SignatureError
from fastssh.keys.public import PublicKey, decode_key
from fastssh.keys.security_keys import Presence, presence_of
from fastssh.wire.codec import Reader
from fastssh.wire.messages import (
    DisconnectReason,
    Message,
    ServiceAccept,
    ServiceRequest,
    UserauthBanner,
    UserauthFailure,
    UserauthInfoRequest,
    UserauthInfoResponse,
    UserauthPkOk,
    UserauthRequest,
    UserauthSuccess,
    decode,
)
from fastssh.wire.requests import (
    KeyboardInteractive,
    Password,
    Publickey,
    PublickeyHostbound,
    PublickeyHostboundQuery,
    PublickeyQuery,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_AUTH_TRIES: Final = 6
MAX_WAITING: Final = 8  # requests held while a failure's answer is delayed


class Verdict(Enum):
    REFUSE = "refuse"
    PARTIAL = "partial"  # right, and more is needed
    ACCEPT = "accept"


@dataclass(frozen=True)
class Attempt:
    """What a client offers. ``verified``: its signature was checked; without it the question is only whether the key
    would do, and the answer changes nothing. ``passed``: methods that were partial successes for this user.

    ``key`` may be a :class:`~fastssh.keys.certificate.Certificate`: a key that whoever judges must ask about its
    authority, its names and its times. ``presence`` is what a security key said when it signed. ``submethods``
    are what a client would like of keyboard-interactive. ``problem`` is why an attempt was refused without a question,
    for a log.
    """

    user: str
    method: str
    key: PublicKey | None = None
    password: str | None = None
    verified: bool = False
    passed: tuple[str, ...] = ()
    submethods: str = ""
    presence: Presence | None = None
    problem: str = ""


Authorize = Callable[[Attempt], Verdict]
Converse = Callable[[Attempt], Conversation | None]


@dataclass(frozen=True)
class AuthRules:
    """How one user may log in.

    ``lists`` are methods in order; who has passed all of one list is in, and before that a right answer is a partial
    success (AuthenticationMethods of sshd_config(5)). ``banner`` is sent before the first answer, once a connection.
    ``signature_algorithms``: those accepted from the user's keys, None for what the server accepts from anybody.
    """

    lists: tuple[tuple[str, ...], ...]
    max_tries: int = MAX_AUTH_TRIES
    banner: str = ""
    signature_algorithms: tuple[str, ...] | None = None


def _at_once(answer: Callable[[], None]) -> None:
    answer()


def _not_told(attempt: Attempt, verdict: Verdict) -> None:
    """The default for outcomes: nobody listens."""


def _no_questions(attempt: Attempt) -> None:
    """The default for keyboard-interactive: there is nothing to ask."""


class AuthServer:
    """Runs over messages: :meth:`message` takes SERVICE_REQUEST, USERAUTH_REQUEST and INFO_RESPONSE payloads.

    ``authenticated`` is called once, after USERAUTH_SUCCESS was sent, with the attempt that did it. ``outcome`` hears
    of every attempt that is answered, but for keys that were only asked about and would do. ``converse`` gives the
    questions of keyboard-interactive, None where there are none for this attempt. Without ``rules`` each of
    ``methods`` is enough for everybody.
    """

    def __init__(
        self,
        *,
        send: Callable[[Message], None],
        session_id: bytes,
        host_key: bytes,
        authorize: Authorize,
        authenticated: Callable[[Attempt], None],
        converse: Converse = _no_questions,
        signature_algorithms: Collection[str],
        methods: Sequence[str] = (PUBLICKEY, "password"),
        max_tries: int = MAX_AUTH_TRIES,
        rules: Callable[[str], AuthRules] | None = None,
        outcome: Callable[[Attempt, Verdict], None] = _not_told,
        defer: Callable[[Callable[[], None]], None] = _at_once,
    ) -> None:
        self._send = send
        self._session_id, self._host_key = session_id, host_key
        self._authorize, self._authenticated, self._converse = authorize, authenticated, converse
        self._signature_algorithms = tuple(signature_algorithms)
        always = AuthRules(tuple((method,) for method in methods), max_tries)
        self._rules_for = rules or (lambda user: always)
        self._outcome, self._defer = outcome, defer
        self._rules = always
        self._lists: tuple[tuple[str, ...], ...] = ()  # what is left of each list
        self._used_keys: set[bytes] = set()
        self._banner_sent = False
        self._service_accepted = self._done = False
        self._requests = self._failures = 0
        self._who: tuple[str, str] | None = None
        self._passed: tuple[str, ...] = ()
        self._answering = False
        self._talk: tuple[Attempt, Conversation] | None = None
        self._asked = 0  # questions that wait for answers
        self._waiting: deque[UserauthRequest] = deque()

    # -- messages --------------------------------------------------------------------------------------------------

    def message(self, payload: bytes) -> None:
        """Raises ProtocolError: the connection is over."""
        if payload[:1] == bytes((ServiceRequest.number,)):
            self._service(ServiceRequest.decode(payload))
            return
        message = decode("auth" if self._talk is None else "auth-kbdint", payload)
        if isinstance(message, UserauthInfoResponse):
            self._answers(message)
            return
        if not isinstance(message, UserauthRequest) or not self._service_accepted:
            raise ProtocolError(f"{message.label()} out of place during authentication")
        if self._done:
            return  # RFC 4252 section 5.1: ignored after success
        if self._answering:
            if len(self._waiting) >= MAX_WAITING:
                raise ProtocolError("too many authentication requests at once")
            self._waiting.append(message)
            return
        self._request(message)

    def _service(self, message: ServiceRequest) -> None:
        if message.service != USERAUTH or self._service_accepted:
            raise ProtocolError(f"service {message.service} is not available", DisconnectReason.SERVICE_NOT_AVAILABLE)
        self._service_accepted = True
        self._send(ServiceAccept(USERAUTH))

    def _request(self, message: UserauthRequest) -> None:
        if message.service != SERVICE:
            raise ProtocolError(f"service {message.service} is not available", DisconnectReason.SERVICE_NOT_AVAILABLE)
        self._give_up()
        who = (message.user, message.service)
        if who != self._who:
            self._begin(who)
        self._requests += 1
        if message.method == "none":
            attempt = Attempt(message.user, "none", passed=self._passed)
            self._judge(attempt, counts=self._requests > 1)
        elif message.method in (PUBLICKEY, HOSTBOUND) and PUBLICKEY in self._next:
            self._publickey(message)
        elif message.method == "password" and "password" in self._next:
            self._password(message)
        elif message.method == KEYBOARD_INTERACTIVE and KEYBOARD_INTERACTIVE in self._next:
            self._interactive(message)
        else:
            self._fail(Attempt(message.user, message.method, passed=self._passed))

    def _begin(self, who: tuple[str, str]) -> None:
        """Somebody else, or the first: nothing was passed yet."""
        self._who, self._passed, self._used_keys = who, (), set()
        self._rules = self._rules_for(who[0])
        self._lists = self._rules.lists
        if self._rules.banner and not self._banner_sent:
            self._banner_sent = True
            self._send(UserauthBanner(self._rules.banner))

    @property
    def _next(self) -> tuple[str, ...]:
        """The methods that may productively continue (RFC 4252 section 5.1)."""
        return tuple(dict.fromkeys(methods[0] for methods in self._lists))

    # -- methods ---------------------------------------------------------------------------------------------------

    def _password(self, message: UserauthRequest) -> None:
        if Reader(message.method_data).boolean():
            self._fail(Attempt(message.user, "password", passed=self._passed))  # a change nobody asked for
            return
        password = Password.parse(message.method_data).password
        self._judge(Attempt(message.user, "password", password=password, passed=self._passed), counts=True)

    def _interactive(self, message: UserauthRequest) -> None:
        submethods = KeyboardInteractive.parse(message.method_data).submethods
        attempt = Attempt(message.user, KEYBOARD_INTERACTIVE, passed=self._passed, submethods=submethods)
        conversation = self._converse(attempt)
        if conversation is None:
            self._fail(attempt)
            return
        self._go_on(attempt, conversation, None)

    def _answers(self, message: UserauthInfoResponse) -> None:
        assert self._talk is not None  # nobody else has messages of that name
        attempt, conversation = self._talk
        self._talk = None
        if len(message.responses) != self._asked:  # RFC 4256 section 3.4
            conversation.close()
            self._fail(replace(attempt, problem=f"{len(message.responses)} answers to {self._asked} questions"))
        else:
            self._go_on(attempt, conversation, message.responses)

    def _go_on(self, attempt: Attempt, conversation: Conversation, answers: tuple[str, ...] | None) -> None:
        try:
            questions = next(conversation) if answers is None else conversation.send(answers)
        except StopIteration as done:
            self._conclude(attempt, Verdict.ACCEPT if done.value else Verdict.REFUSE)
            return
        self._talk, self._asked = (attempt, conversation), len(questions.prompts)
        self._send(UserauthInfoRequest(questions.name, questions.instruction, "", questions.prompts))

    def _give_up(self) -> None:
        """The client begins anew: its conversation was a failure that is not answered (RFC 4256 section 3.1)."""
        if self._talk is not None:
            attempt, conversation = self._talk
            self._talk = None
            conversation.close()
            self._count(replace(attempt, problem="the client went on to something else"))

    def _publickey(self, message: UserauthRequest) -> None:
        bound = message.method == HOSTBOUND
        signed = Reader(message.method_data).boolean()
        request: Publickey | PublickeyHostbound | PublickeyQuery | PublickeyHostboundQuery
        if signed:
            request = (PublickeyHostbound if bound else Publickey).parse(message.method_data)
        else:
            request = (PublickeyHostboundQuery if bound else PublickeyQuery).parse(message.method_data)
        host_key = request.host_key if isinstance(request, PublickeyHostbound | PublickeyHostboundQuery) else None
        attempt = Attempt(message.user, PUBLICKEY, passed=self._passed)
        try:
            key = self._key(request.algorithm, request.blob)
        except KeyFormatError as error:
            self._fail(replace(attempt, problem=str(error)))
            return
        attempt = replace(attempt, key=key)
        if host_key is not None and host_key != self._host_key:
            self._fail(replace(attempt, problem="the request is meant for a server with another host key"))
        elif key.plain.blob in self._used_keys:  # the same key twice, be it once with a certificate
            self._fail(replace(attempt, problem="this key was used before"))
        elif isinstance(request, Publickey | PublickeyHostbound):
            to_verify = SignedRequest(message.user, message.service, request.algorithm, request.blob, host_key)
            try:
                key.verify(request.signature, to_verify.to_sign(self._session_id), (request.algorithm,))
            except SignatureError as error:
                self._fail(replace(attempt, problem=str(error)))
                return
            presence = presence_of(request.signature) if key.is_security_key else None
            self._judge(replace(attempt, verified=True, presence=presence), counts=True)
        elif self._authorize(attempt) is Verdict.REFUSE:
            self._fail(attempt)
        else:
            self._send(UserauthPkOk(request.algorithm, request.blob))

    def _key(self, algorithm: str, blob: bytes) -> PublicKey:
        accepted = self._rules.signature_algorithms
        if algorithm not in (self._signature_algorithms if accepted is None else accepted):
            raise KeyFormatError(f"signature algorithm {printable(algorithm[:64])} is not accepted")
        key = decode_key(blob)
        if algorithm not in key.signature_algorithms:
            raise KeyFormatError(f"a key of the type {key.algorithm} does not sign with {algorithm}")
        return key

    # -- answers ---------------------------------------------------------------------------------------------------

    def _judge(self, attempt: Attempt, *, counts: bool) -> None:
        self._conclude(attempt, self._authorize(attempt), counts=counts)

    def _conclude(self, attempt: Attempt, verdict: Verdict, *, counts: bool = True) -> None:
        if verdict is Verdict.REFUSE:
            self._fail(attempt, counts=counts)
            return
        left = tuple(methods[methods[0] == attempt.method :] for methods in self._lists)
        if verdict is Verdict.ACCEPT and all(left) and attempt.method in self._next:
            verdict = Verdict.PARTIAL  # no list is at its end
        self._outcome(attempt, verdict)
        if verdict is Verdict.ACCEPT:
            self._done = True
            self._waiting.clear()
            self._send(UserauthSuccess())
            self._authenticated(attempt)
            return
        self._passed = (*self._passed, attempt.method)
        self._lists = tuple(methods for methods in left if methods)
        if attempt.key is not None:
            self._used_keys.add(attempt.key.plain.blob)
        self._send(UserauthFailure(self._next, True))

    def close(self) -> None:
        """The connection is over: so is a conversation."""
        if self._talk is not None:
            self._talk[1].close()
            self._talk = None

    def _count(self, attempt: Attempt, *, counts: bool = True) -> None:
        self._outcome(attempt, Verdict.REFUSE)
        if counts:
            self._failures += 1
        if self._failures >= self._rules.max_tries:
            raise ProtocolError("Too many authentication failures")

    def _fail(self, attempt: Attempt, *, counts: bool = True) -> None:
        self._count(attempt, counts=counts)
        self._answering = True
        self._defer(self._send_failure)

    def _send_failure(self) -> None:
        self._answering = False
        self._send(UserauthFailure(self._next, False))
        while self._waiting and not self._answering and not self._done:
            self._request(self._waiting.popleft())
