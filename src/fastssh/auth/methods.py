"""The client's side of the authentication methods: publickey (RFC 4252 section 7), keyboard-interactive (RFC 4256) and
password (RFC 4252 section 8). Each attempt is one flow; ``None`` from it means that the method has nothing left to try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from fastssh.algorithms import signature_algorithm
from fastssh.auth.effects import Ask, AskAgent, AskPrivateKey, AskText, Flow, Identity, Receive, Send, Tell
from fastssh.auth.publickey import PUBLICKEY, SERVICE, SignedRequest
from fastssh.errors import ProtocolError
from fastssh.wire.messages import (
    Message,
    UserauthFailure,
    UserauthInfoRequest,
    UserauthInfoResponse,
    UserauthPasswdChangereq,
    UserauthPkOk,
    UserauthRequest,
    UserauthSuccess,
)
from fastssh.wire.requests import KeyboardInteractive as KeyboardInteractiveData
from fastssh.wire.requests import Password as PasswordData
from fastssh.wire.requests import PasswordChange, PublickeyQuery
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.keys.certificate import Certificate
    from fastssh.keys.public import PublicKey

Verdict = UserauthSuccess | UserauthFailure
VERDICTS: tuple[type[Message], ...] = (UserauthSuccess, UserauthFailure)

MAX_INFO_REQUESTS = 64  # rounds of one keyboard-interactive attempt
MAX_PROMPTS = 32  # questions of one round
MAX_PASSWORD_CHANGES = 3


@dataclass(kw_only=True)
class AuthContext:
    """What is known when authentication begins. ``identities`` come in the order in which they are offered."""

    user: str
    host: str  # as the user typed it, for prompts and errors
    session_id: bytes
    host_key: bytes  # the server's, for the host-bound method
    server_sig_algs: tuple[str, ...] | None = None  # None: the server did not say (RFC 8308 section 3.1)
    hostbound: bool = False
    identities: Sequence[Identity] = ()
    accepted_algorithms: Sequence[str] = ()  # empty: all that our keys can do
    password: str | None = field(default=None, repr=False)
    password_prompts: int = 3
    fingerprint_hash: str = "sha256"  # of what is shown
    preferred: Sequence[str] = (PUBLICKEY, "keyboard-interactive", "password")
    accepted: list[Identity] = field(default_factory=list)  # what the server has taken so far, for the caller to see
    signers: list[Identity] = field(default_factory=list)  # whose private keys signed for these
    partial_successes: int = 0

    @property
    def who(self) -> str:
        """User and host, for a prompt."""
        return printable(f"{self.user}@{self.host}")

    def request(self, method: str, data: bytes = b"") -> UserauthRequest:
        return UserauthRequest(self.user, SERVICE, method, data)


class Method(Protocol):
    name: ClassVar[str]

    def attempt(self) -> Flow[Verdict | None]: ...


class Publickey:
    """Each identity once. A key whose private half is at hand signs at once; for others the server is asked first, so
    that nobody types a passphrase or confirms a signature for nothing."""

    name: ClassVar[str] = PUBLICKEY

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._keys = list(context.identities)
        self._left = deque(self._keys)
        self._offered: Identity | None = None

    def partial_success(self, method: str) -> None:
        """Keys that were refused before may be right now; one that has done its part is not offered again."""
        if method == self.name:
            self._keys = [identity for identity in self._keys if identity is not self._offered]
        self._left = deque(self._keys)

    def algorithm(self, key: PublicKey) -> str | None:
        """The signature algorithm for ``key``: RSA keys have a choice, which server-sig-algs narrows (RFC 8332)."""
        ours, possible = self._context.accepted_algorithms, key.signature_algorithms
        theirs = self._context.server_sig_algs if len(possible) > 1 else None
        for name in [name for name in ours if name in possible] if ours else possible:
            if theirs is None or name in theirs or signature_algorithm(name) in theirs:
                return name
        return None

    def _signer(self, identity: Identity) -> Identity | None:
        """Whose private key signs for ``identity``; None for a certificate whose key is not at hand.

        A certificate's is that of the same key wherever it is, in an agent as well; else of the file it lies beside.
        """
        public = identity.public
        if public is None or public.plain is public or identity.private is not None:
            return identity
        for other in self._context.identities:
            if other.public is not None and other.public.blob == public.plain.blob:
                return other
        for other in self._context.identities:
            if other.public is None and other.path == identity.path:
                return other
        return identity if identity.origin != "certificate" else None

    def attempt(self) -> Flow[Verdict | None]:
        while self._left:
            identity = self._offered = self._left.popleft()
            asked = identity.public is None
            if identity.public is None:
                yield Tell(1, f"Trying private key: {identity.name}")
                yield from self._load(identity)
                if identity.public is None:
                    continue
            key, shown = identity.public, identity.shown(self._context.fingerprint_hash)
            algorithm, signer = self.algorithm(key), self._signer(identity)
            if algorithm is None:
                ours = self._context.accepted_algorithms
                if ours and not set(ours) & set(key.signature_algorithms):
                    why = f"{key.algorithm} key {identity.name} - "
                    why += "corresponding algorithm not in PubkeyAcceptedAlgorithms"
                else:
                    why = f"{shown}: no mutual signature algorithm"
                yield Tell(1, f"Skipping {why}")
                continue
            if signer is None:
                yield Tell(1, f'no separate private key for certificate "{identity.name}"')
                continue
            if not asked:
                yield Tell(1, f"Offering public key: {shown}")
            if signer.private is None:
                refused = yield from self._query(key, algorithm)
                if refused is not None:
                    return refused
                yield Tell(1, f"Server accepts key: {shown}")
            request = SignedRequest(
                self._context.user, SERVICE, algorithm, key.blob,
                self._context.host_key if self._context.hostbound else None,
            )
            signature = yield from self._sign(signer, key.plain, request.to_sign(self._context.session_id), algorithm)
            if signature is None:
                continue
            yield Send(request.signed(signature))
            verdict: Verdict = yield Receive("auth", VERDICTS)
            if not isinstance(verdict, UserauthFailure) or verdict.partial_success:
                self._context.accepted.append(identity)
                self._context.signers.append(signer)
                if key.plain is not key and signer.private is not None:  # whoever connects again has all it takes
                    identity.private = signer.private.certified(cast("Certificate", key))
            return verdict
        return None

    def _query(self, key: PublicKey, algorithm: str) -> Flow[UserauthFailure | None]:
        yield Send(self._context.request(PUBLICKEY, PublickeyQuery(False, algorithm, key.blob).body()))
        reply = yield Receive("auth-publickey", (UserauthPkOk, UserauthFailure))
        if isinstance(reply, UserauthFailure):
            return reply
        if (reply.algorithm, reply.blob) != (algorithm, key.blob):
            raise ProtocolError("server accepted a key that was not offered")
        return None

    def _load(self, identity: Identity) -> Flow[None]:
        private = yield Ask(AskPrivateKey(identity))
        if private is None:
            return
        if identity.public is not None and private.public.plain.blob != identity.public.plain.blob:
            yield Tell(0, f"{identity.name}: private key does not match its public key file")
            return
        identity.private = private
        if identity.public is None:
            identity.public = private.public

    def _sign(self, signer: Identity, key: PublicKey, data: bytes, algorithm: str) -> Flow[bytes | None]:
        """A signature of ``key``, which is ``signer``'s or the one that is certified."""
        made_with = signature_algorithm(algorithm)
        if signer.origin == "agent":
            signature: bytes | None = yield Ask(AskAgent(signer, data, made_with))
            return signature
        if signer.private is None:
            yield from self._load(signer)
        if signer.private is None:
            return None
        if signer.private.public.plain.blob != key.blob:
            yield Tell(0, f"{signer.name}: private key is not the certificate's")
            return None
        own = signer.private.public.signature_algorithms
        return signer.private.sign(data, algorithm if algorithm in own else made_with)


class KeyboardInteractive:
    """Rounds of questions (RFC 4256). A password known beforehand answers the first hidden single question."""

    name: ClassVar[str] = "keyboard-interactive"

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._password = context.password
        self._attempts = 0
        self._questions_seen = False

    def attempt(self) -> Flow[Verdict | None]:
        if self._attempts >= self._context.password_prompts or (self._attempts and not self._questions_seen):
            return None
        self._attempts += 1
        yield Send(self._context.request(self.name, KeyboardInteractiveData().body()))
        for _ in range(MAX_INFO_REQUESTS):
            reply = yield Receive("auth-kbdint", (UserauthInfoRequest, *VERDICTS))
            if not isinstance(reply, UserauthInfoRequest):
                verdict: Verdict = reply
                return verdict
            self._questions_seen = self._questions_seen or bool(reply.prompts)
            answers = yield from self._answers(reply)
            if answers is None:
                return None
            yield Send(UserauthInfoResponse(answers))
        raise ProtocolError(f"server asked more than {MAX_INFO_REQUESTS} rounds of questions")

    def _answers(self, request: UserauthInfoRequest) -> Flow[tuple[str, ...] | None]:
        if len(request.prompts) > MAX_PROMPTS:
            raise ProtocolError(f"server asked {len(request.prompts)} questions at once")
        if self._password is not None and len(request.prompts) == 1 and not request.prompts[0][1]:
            password, self._password = self._password, None
            return (password,)
        for text in (request.name, request.instruction):
            if text:
                yield Tell(0, printable(text, newlines=True).rstrip("\n"))
        answers: list[str] = []
        for prompt, echo in request.prompts:
            shown = f"({self._context.who}) {printable(prompt, newlines=True)}"
            answer: str | None = yield Ask(AskText(shown, echo))
            if answer is None:
                return None
            answers.append(answer)
        return tuple(answers)


class Password:
    """The password known beforehand, then what the person types."""

    name: ClassVar[str] = "password"

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._known = context.password
        self._attempts = 0

    def attempt(self) -> Flow[Verdict | None]:
        whose = f"{self._context.who}'s"
        password: str | None
        if self._known is not None:
            password, self._known = self._known, None
        else:
            if self._attempts >= self._context.password_prompts:
                return None
            if self._attempts:
                yield Tell(0, "Permission denied, please try again.")
            self._attempts += 1
            password = yield Ask(AskText(f"{whose} password: ", False))
            if password is None:
                return None
        yield Send(self._context.request(self.name, PasswordData(False, password).body()))
        for _ in range(MAX_PASSWORD_CHANGES + 1):
            reply = yield Receive("auth-password", (UserauthPasswdChangereq, *VERDICTS))
            if not isinstance(reply, UserauthPasswdChangereq):
                verdict: Verdict = reply
                return verdict
            if reply.prompt:
                yield Tell(0, printable(reply.prompt, newlines=True).rstrip("\n"))
            change = yield from self._change(whose)
            if change is None:
                return None
            yield Send(self._context.request(self.name, change.body()))
        raise ProtocolError("server asked for a new password again and again")

    def _change(self, whose: str) -> Flow[PasswordChange | None]:
        old: str | None = yield Ask(AskText(f"Enter {whose} old password: ", False))
        if old is None:
            return None
        for _ in range(MAX_PASSWORD_CHANGES):
            new: str | None = yield Ask(AskText(f"Enter {whose} new password: ", False))
            if new is None:
                return None
            if (yield Ask(AskText(f"Retype {whose} new password: ", False))) == new:
                return PasswordChange(True, old, new)
            yield Tell(0, "Mismatch; try again, EOF to quit.")
        return None
