"""The transport layer of one connection (RFC 4253), both roles, without any I/O of its own.

How it is driven:

1. send ``identification`` as it is, and give what comes in to ``receive_identification`` until it returns True;
2. from then on the plane moves the bytes. Whenever it has events: ``process_events(plane.events())``. That also opens
   whatever was waiting behind a message, so when it returns nothing is left to do until more bytes come;
3. after any call the plane may have bytes to send. Call ``check_rekey`` now and then (each minute will do).

Every method may raise SSHError (ProtocolError, NegotiationError, DisconnectedError, HostKeyError...): the connection is
over then; ``disconnect_for(error)`` tells the peer why, and the bytes still to send should be sent. If the plane itself
raises from ``step``, give its last events to ``process_events`` first: a peer's SSH_MSG_DISCONNECT may be among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from fastssh._native.plane import EVENT_DATA, EVENT_MESSAGE, EVENT_RAW, EVENT_SFTP
from fastssh.errors import ConnectionLostError, DisconnectedError, HostKeyError, ProtocolError, SSHError
from fastssh.transport.exchange import Agreed, Effect, Outcome, Terms, UseReceiveKeys, UseSendKeys, exchange
from fastssh.transport.identification import IdentificationReader, identification_line
from fastssh.transport.kex.method import AskHostKey, Receive, Send
from fastssh.transport.kex.registry import usable
from fastssh.transport.negotiation import Negotiated, Offer
from fastssh.transport.options import TransportObserver, TransportOptions, server_extensions
from fastssh.transport.phases import Phase, Role, rule_for
from fastssh.wire.messages import (
    Debug,
    Disconnect,
    DisconnectReason,
    ExtInfo,
    Ignore,
    KexInit,
    Message,
    NewKeys,
    Ping,
    Pong,
    Unimplemented,
    UserauthSuccess,
)
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh._native.plane import Event, Plane
    from fastssh.keys.public import PublicKey

__all__ = ["Phase", "Role", "Transport", "TransportObserver", "TransportOptions"]

T = TypeVar("T")

MAX_KEPT_MESSAGES = 4096  # kept while we may send none but KEX messages
MAX_KEPT_BYTES = 1024 * 1024
MAX_UNREAD = 1024 * 1024  # bytes waiting to be sent, above which a peer that makes us answer is not served
MAX_PINGS = 32  # unanswered


class Transport:
    """Identification, key exchange, and who may say what when. Not thread-safe.

    Ready to read at any time: ``phase``, ``negotiated`` (the algorithms in use, None before the first KEXINITs met),
    ``session_id`` (b"" until the first exchange is done), ``host_key`` (the server's, None until then) and
    ``host_key_signature`` (its signature of the session id), ``peer_identification`` (fit for a terminal) and
    ``peer_extensions`` (RFC 8308).
    """

    def __init__(
        self,
        role: Role,
        plane: Plane,
        options: TransportOptions,
        observer: TransportObserver,
        *,
        random: Callable[[int], bytes],
        now: Callable[[], float],
    ) -> None:
        """``random(n)``: n bytes fit for keys (os.urandom); ``now()``: seconds that never go back (time.monotonic)."""
        self.role = role
        self.plane = plane
        self.options = options
        self.identification: bytes = identification_line(options.software)
        self.phase = Phase.KEX
        self.negotiated: Negotiated | None = None
        self.session_id = b""
        self.host_key: PublicKey | None = None
        self.host_key_signature = b""
        self.peer_extensions: dict[str, bytes] = {}
        self._observer = observer
        self._random = random
        self._now = now
        self._offer = self._make_offer()
        self._reader = IdentificationReader(role, observer.debug)
        self._over = False  # nothing is received or sent any more
        self._failure: ProtocolError | None = None  # why, if it came up while sending
        self._disconnected = False  # SSH_MSG_DISCONNECT went out or came in
        # the exchange under way
        self._exchange: Generator[Effect, bytes, Outcome] | None = None
        self._awaited: type[Message] | None = None  # the exchange message that must come next
        self._asking = False  # about the host key
        self._early_newkeys: bytes | None = None  # the peer's, come while we were asking
        self._skip_guess = False  # the peer's next exchange message follows a wrong guess
        self._peer_in_exchange = False  # its KEXINIT came, its NEWKEYS did not
        self._kexinit_sent = 0  # sequence number of our KEXINIT
        self._kexinit_received = 0  # and of the peer's
        self._exchange_time = 0.0  # when it began; between exchanges: when the last one ended
        self._outcome: Outcome | None = None  # of the first exchange
        # messages
        self._holding = True  # what is not part of a key exchange is kept until our NEWKEYS
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._ext_info_may_follow = False  # it is the message right after the peer's first NEWKEYS
        self._compressing = False  # what we send, since CONNECTION
        self._success_must_follow = False  # RFC 8308 section 2.4: EXT_INFO before USERAUTH_SUCCESS
        self._pongs: deque[Callable[[bytes], None]] = deque()
        self._rekey_seconds = options.rekey_seconds
        if options.rekey_bytes:
            plane.set_rekey_bytes(options.rekey_bytes)

    def _make_offer(self) -> Offer:
        options = self.options
        host_key = options.host_key_algorithms
        if self.role is Role.SERVER:
            made = {name for key in options.host_keys for name in key.public.signature_algorithms}
            host_key = tuple(name for name in host_key if name in made)
        return Offer(usable(options.kex), host_key, options.ciphers, options.macs, options.compression)

    # -- what the layers above use ---------------------------------------------------------------------------------

    @property
    def peer_identification(self) -> str:
        """The peer's identification line, fit for a terminal; empty until it came."""
        return self._reader.text

    @property
    def exchanging(self) -> bool:
        """A key exchange is under way."""
        return self._exchange is not None

    def receive_identification(self, data: bytes) -> bool:
        """Raw bytes from the peer. False: give more; True: its identification is there, our KEXINIT was sent, and what
        followed in ``data`` was given to the plane and handled."""
        with self._ending():
            rest = self._reader.receive(data)
            if rest is None:
                return False
            self._start_exchange()
            while rest:
                taken = self.plane.feed(rest)
                events = self.plane.events()
                if not taken and not events:  # more than any exchange takes before it goes on
                    raise ProtocolError("too much data before the key exchange")
                rest = rest[taken:]
                self._handle(events)
            self._pump()
        return True

    def process_events(self, events: Iterable[Event]) -> None:
        """Handles the plane's events, and then all that can be opened after them."""
        with self._ending():
            self._handle(events)
            self._pump()
            if self.phase is Phase.CONNECTION and self.plane.rekey_due:
                self.rekey()

    def send(self, message: Message) -> None:
        """Seals one message; while a key exchange lets nothing else out it is kept, in order, for our NEWKEYS.

        Raises ConnectionLostError when the connection is over, ProtocolError when too much would be kept.
        """
        self.send_payload(message.encode())

    def send_payload(self, payload: bytes) -> None:
        """As send, for a message already encoded."""
        if self._over:
            raise ConnectionLostError("the connection is closed")
        if not self._holding or payload[0] <= Debug.number:
            self._seal(payload)
            return
        self._kept_bytes += len(payload)
        self._kept.append(payload)
        if len(self._kept) > MAX_KEPT_MESSAGES or self._kept_bytes > MAX_KEPT_BYTES:
            raise self._fail("too much to send while the peer does not finish the key exchange")

    def ping(self, data: bytes, on_pong: Callable[[bytes], None]) -> None:
        """Asks a peer that announced ping@openssh.com for an echo (OpenSSH PROTOCOL section 1.8).

        Raises ValueError if it did not announce it, or MAX_PINGS are unanswered.
        """
        if "ping@openssh.com" not in self.peer_extensions or len(self._pongs) >= MAX_PINGS:
            raise ValueError("the peer does not answer pings")
        self.send(Ping(data))
        self._pongs.append(on_pong)

    def set_phase(self, phase: Phase) -> None:
        """AUTH: the service request was accepted (client) or accepted by us (server). CONNECTION: the user is known;
        call it with USERAUTH_SUCCESS, right after sending or before anything after it is handled.

        Delayed compression starts with CONNECTION. Raises ValueError for going back or before the first exchange.
        """
        if not Phase.SERVICE <= self.phase < phase:
            raise ValueError(f"phase {phase.name} cannot follow {self.phase.name}")
        self.phase = phase
        if phase is Phase.CONNECTION:
            if not self._holding:  # else USERAUTH_SUCCESS is among what is kept, and is not compressed
                self._compress_sending()
            if not self._peer_in_exchange:  # else its NEWKEYS comes first
                self._compress_receiving()

    def rekey(self) -> None:
        """Starts a key exchange, unless one is under way. Raises ValueError before the first is done."""
        if self._outcome is None:
            raise ValueError("the first key exchange is not done")
        if self._exchange is None and not self._over:
            self._start_exchange()

    def set_rekey_limits(self, size: int, seconds: float) -> None:
        """From now on keys are good for ``size`` bytes each way and for so many seconds; 0 as in TransportOptions, for
        ``size`` from the next keys on."""
        self._rekey_seconds = seconds
        self.plane.set_rekey_bytes(size)

    def check_rekey(self) -> None:
        """Starts a key exchange when the cipher's or the options' limits say so; as OpenSSH, not before the user is
        known. Raises ProtocolError when a peer does not finish one, or did not take what we sent."""
        if self._failure is not None:
            raise self._failure
        if self._over or self._outcome is None:
            return
        elapsed = self._now() - self._exchange_time
        if self._exchange is not None:
            if elapsed > self.options.exchange_seconds:
                self._over = True
                raise ProtocolError("peer did not finish the key exchange", DisconnectReason.KEY_EXCHANGE_FAILED)
        elif self.phase is Phase.CONNECTION and (
            self.plane.rekey_due or 0 < self._rekey_seconds <= elapsed
        ):
            self._start_exchange()

    def disconnect(self, reason: int, text: str) -> None:
        """Sends SSH_MSG_DISCONNECT, unless one went out or came in; nothing is sent or handled after it."""
        if not self._disconnected and self._reader.line is not None:
            try:
                self._seal(Disconnect(reason, text).encode())
            except SSHError as error:  # a farewell: what ended the connection is what matters
                self._observer.debug(f"SSH2_MSG_DISCONNECT not sent: {error}")
        self._disconnected = self._over = True

    def disconnect_for(self, error: BaseException) -> None:
        """Tells the peer why we end the connection: what it did wrong in full, of other errors no more than their kind.
        Their words are for the user, and may name files, programs and hosts to a server that nobody trusts."""
        if isinstance(error, ProtocolError):
            self.disconnect(error.reason, printable(str(error))[:255])
        elif isinstance(error, HostKeyError):
            self.disconnect(DisconnectReason.HOST_KEY_NOT_VERIFIABLE, "host key verification failed")
        else:
            self.disconnect(DisconnectReason.BY_APPLICATION, "disconnected by user")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Whatever error leaves this: the connection is over, and no later message is handled."""
        try:
            yield
        except BaseException:
            self._over = True
            raise

    # -- receiving -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Opens and handles what waits in the plane, as far as it goes."""
        while not self._over:
            fault: SSHError | None = None
            try:
                self.plane.feed(b"")
            except SSHError as error:
                fault = error
            events = self.plane.events()
            self._handle(events)
            if fault is not None:
                raise fault
            if not events:
                return

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            if self._over:
                return
            if event[0] == EVENT_MESSAGE:
                self._receive(event[1], event[2])
            elif self._peer_in_exchange and event[0] in (EVENT_DATA, EVENT_SFTP, EVENT_RAW):
                raise ProtocolError("channel data received during key exchange, between KEXINIT and NEWKEYS")
            else:
                self._observer.channel_event(event)

    def _receive(self, sequence: int, payload: bytes) -> None:
        """One message: judged by the table, then handled."""
        number = payload[0]
        strict_first = self.phase is Phase.KEX and self.negotiated is not None and self.negotiated.strict
        rule = rule_for(
            number, self.role, self.phase, in_exchange=self._peer_in_exchange, strict_first=strict_first
        )
        if number > Debug.number:
            if self._success_must_follow and number != UserauthSuccess.number:
                raise ProtocolError(f"message {number} received between EXT_INFO and USERAUTH_SUCCESS")
            self._success_must_follow = False
            if number != ExtInfo.number:
                self._ext_info_may_follow = False
        handler: Callable[[int, bytes], None] = getattr(self, rule.handler)
        handler(sequence, payload)

    def _on_disconnect(self, sequence: int, payload: bytes) -> None:
        self._disconnected = True
        message = Disconnect.decode(payload)
        raise DisconnectedError(message.reason, printable(message.description))

    def _on_ignore(self, sequence: int, payload: bytes) -> None:
        Ignore.decode(payload)

    def _on_unimplemented(self, sequence: int, payload: bytes) -> None:
        message = Unimplemented.decode(payload)
        sent_since = (self.plane.send_sequence - self._kexinit_sent) % 2**32
        if self._holding and (message.sequence - self._kexinit_sent) % 2**32 < sent_since:
            raise ProtocolError("peer does not implement the key exchange", DisconnectReason.KEY_EXCHANGE_FAILED)
        self._observer.debug(f"Received SSH2_MSG_UNIMPLEMENTED for {message.sequence}")

    def _on_debug(self, sequence: int, payload: bytes) -> None:
        message = Debug.decode(payload)
        self._observer.debug(f"Remote: {printable(message.text)}")

    def _on_ext_info(self, sequence: int, payload: bytes) -> None:
        """RFC 8308 section 2.4: right after the first NEWKEYS, and from a server right before USERAUTH_SUCCESS."""
        if self.phase is Phase.SERVICE:
            if not self._ext_info_may_follow:
                raise ProtocolError("EXT_INFO received, but not right after NEWKEYS")
            self._ext_info_may_follow = False
        elif self.role is Role.CLIENT:
            self._success_must_follow = True
        else:
            raise ProtocolError("EXT_INFO received from a client after its service request")
        message = ExtInfo.decode(payload)
        self._observer.debug("SSH2_MSG_EXT_INFO received")
        for name, value in message.extensions:
            shown = printable(value[:1024].decode("utf-8", "surrogateescape"))
            self._observer.debug(f"kex_input_ext_info: {name}=<{shown}>")
            self.peer_extensions[name] = value

    def _on_ping(self, sequence: int, payload: bytes) -> None:
        self._reply(Pong(Ping.decode(payload).data))

    def _on_pong(self, sequence: int, payload: bytes) -> None:
        data = Pong.decode(payload).data
        if not self._pongs:
            self._observer.debug("SSH2_MSG_PONG received, nobody asked")
            return
        self._pongs.popleft()(data)

    def _on_unknown(self, sequence: int, payload: bytes) -> None:
        """RFC 4253 section 11.4."""
        self._observer.debug(f"unknown message {payload[0]} received")
        self._reply(Unimplemented(sequence))

    def _on_message(self, sequence: int, payload: bytes) -> None:
        self._observer.message(sequence, payload)

    def _on_userauth(self, sequence: int, payload: bytes) -> None:
        """RFC 4252 section 5.1: what a client pipelined behind its successful request is silently ignored."""
        if self.phase is Phase.AUTH:
            self._observer.message(sequence, payload)

    # -- key exchange ----------------------------------------------------------------------------------------------

    def _start_exchange(self) -> None:
        first = self._outcome is None
        kexinit = self._offer.kexinit(self.role, self._random(16), first=first).encode()
        ours, theirs = self.identification.removesuffix(b"\r\n"), self._reader.line or b""
        client, server = self._ways(ours, theirs)
        self._exchange = exchange(
            Terms(
                role=self.role,
                client_identification=client,
                server_identification=server,
                kexinit=kexinit,
                host_keys=self.options.host_keys,
                groups=self.options.groups,
                random=self._random,
                earlier=self._outcome,
            )
        )
        self._exchange_time = self._now()
        self._kexinit_sent = self.plane.send_sequence
        self._holding = True
        self._seal(kexinit)
        self._observer.debug("SSH2_MSG_KEXINIT sent")
        self._advance(None)

    def _on_kexinit(self, sequence: int, payload: bytes) -> None:
        self._observer.debug("SSH2_MSG_KEXINIT received")
        self._peer_in_exchange = True
        self._kexinit_received = sequence
        if self._exchange is None:
            self._start_exchange()
        self._deliver(KexInit.number, payload)

    def _on_exchange_message(self, sequence: int, payload: bytes) -> None:
        number = payload[0]
        if self._skip_guess and number != NewKeys.number:
            self._skip_guess = False
            self._observer.debug(f"message {number} ignored: it follows a wrong guess")
            return
        if self._asking and number == NewKeys.number:  # nothing after it is opened before set_receive_keys
            self._early_newkeys = payload
            return
        self._deliver(number, payload)

    def _deliver(self, number: int, payload: bytes) -> None:
        """Resumes the exchange with the message it waits for."""
        awaited, self._awaited = self._awaited, None
        if awaited is None or awaited.number != number:
            raise ProtocolError(
                f"unexpected key exchange message {number}"
                + (f", {awaited.title} was expected" if awaited is not None else "")
            )
        if number != KexInit.number:
            self._observer.debug(f"{_openssh_title(awaited)} received")
        self._advance(payload)

    def _advance(self, value: bytes | None) -> None:
        """Runs the exchange until it waits for the peer or for an answer. None starts it."""
        running = self._exchange
        assert running is not None
        try:
            effect = next(running) if value is None else running.send(value)
            while True:
                reply = self._carry_out(effect)
                if reply is None:
                    return
                effect = running.send(reply)
        except StopIteration as stop:
            self._finish(stop.value)

    def _carry_out(self, effect: Effect) -> bytes | None:
        """What the exchange is resumed with; None if that is not known yet."""
        match effect:
            case Receive(message):
                if message is NewKeys and self._early_newkeys is not None:
                    early, self._early_newkeys = self._early_newkeys, None
                    self._observer.debug("SSH2_MSG_NEWKEYS received")
                    return early
                self._awaited = message
                if message is not KexInit:
                    self._observer.debug(f"expecting {_openssh_title(message)}")
                return None
            case Send(message, detail, before):
                if before:
                    self._observer.debug(before)
                self._seal(message.encode())
                if not isinstance(message, NewKeys):  # told of with the keys
                    self._observer.debug(f"{_openssh_title(message)}{detail} sent")
            case Agreed(negotiated, skip_guess):
                self._agree(negotiated, skip_guess)
            case AskHostKey(key):
                return self._ask(key)
            case UseSendKeys(keys):
                self.plane.set_send_keys(
                    keys.cipher, keys.mac, keys.key, keys.iv, keys.mac_key, reset_sequence=self._strict
                )
                self._observer.debug(f"rekey out after {self._blocks(keys.cipher)} blocks")
                self._observer.debug("SSH2_MSG_NEWKEYS sent")
                self._release()
            case UseReceiveKeys(keys):
                self.plane.set_receive_keys(
                    keys.cipher, keys.mac, keys.key, keys.iv, keys.mac_key, reset_sequence=self._strict
                )
                self._observer.debug(f"rekey in after {self._blocks(keys.cipher)} blocks")
                self._peer_in_exchange = False
                if self.phase is Phase.CONNECTION:
                    self._compress_receiving()
        return b""

    @property
    def _strict(self) -> bool:
        return self.negotiated is not None and self.negotiated.strict

    def _blocks(self, cipher: str) -> int:
        """After how many blocks of the cipher keys are changed (RFC 4344 section 3.2), as OpenSSH counts them."""
        size, most = (8, 2**27) if cipher.startswith("chacha20") else (16, 2**32)
        return min(most, self.options.rekey_bytes // size) if self.options.rekey_bytes else most

    def _agree(self, negotiated: Negotiated, skip_guess: bool) -> None:
        if negotiated.strict and self._outcome is None and self._kexinit_received != 0:
            raise ProtocolError("strict KEX violation: KEXINIT was not the first packet")
        self.negotiated = negotiated
        self._skip_guess = skip_guess
        for line in negotiated.lines(self.role):
            self._observer.debug(line)

    def _ask(self, key: PublicKey) -> bytes | None:
        """Puts the question; b"" if the answer was yes at once, None if it is still to come."""
        answers: list[SSHError | None] = []
        at_once = True

        def answer(error: SSHError | None) -> None:
            if answers:
                raise RuntimeError("the host key question was answered already")
            answers.append(error)
            if at_once or self._over:
                return
            with self._ending():
                self._asking = False
                if error is not None:
                    raise error
                self._advance(b"")
                self._pump()

        self._asking = True
        self._observer.host_key_received(key, answer)
        at_once = False
        if not answers:
            return None
        self._asking = False
        if answers[0] is not None:
            raise answers[0]
        return b""

    def _release(self) -> None:
        """Our new keys are in use: EXT_INFO first, if it is due, then what was kept."""
        self._holding = False
        if self._compressing:
            self._compress_sending()
        if self._outcome is None and self.negotiated is not None and self.negotiated.ext_info:
            extensions = self.options.extensions
            if extensions is None:
                extensions = server_extensions() if self.role is Role.SERVER else {}
            if extensions:
                self._seal(ExtInfo(tuple(extensions.items())).encode())
                self._observer.debug("Sending SSH2_MSG_EXT_INFO")
        kept, self._kept, self._kept_bytes = self._kept, deque(), 0
        for payload in kept:
            self._seal(payload)
        if self.phase is Phase.CONNECTION and not self._compressing:
            self._compress_sending()

    def _compress_sending(self) -> None:
        """Delayed compression of what we send, from the next packet on; anew with new keys (RFC 4253 section 6.2)."""
        assert self.negotiated is not None
        self._compressing = True
        self.plane.set_send_compression("none")
        self.plane.set_send_compression(self._ways(self.negotiated.compression_c2s, self.negotiated.compression_s2c)[0])

    def _compress_receiving(self) -> None:
        """The same for what we receive."""
        assert self.negotiated is not None
        self.plane.set_receive_compression("none")
        self.plane.set_receive_compression(
            self._ways(self.negotiated.compression_c2s, self.negotiated.compression_s2c)[1]
        )

    def _finish(self, outcome: Outcome) -> None:
        self._exchange = None
        self._exchange_time = self._now()
        if self._outcome is not None:
            return
        self._outcome = outcome
        self.session_id = outcome.session_id
        self.host_key = outcome.host_key
        self.host_key_signature = outcome.signature
        self.phase = Phase.SERVICE
        self._ext_info_may_follow = True
        self._observer.transport_ready()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _seal(self, payload: bytes) -> None:
        try:
            self.plane.send(payload)
        except BufferError:
            raise self._fail("peer does not read what we send") from None

    def _fail(self, text: str) -> ProtocolError:
        """Whoever wanted to send gets this error; who drives us gets it from check_rekey, for all the others."""
        self._over = True
        self._failure = ProtocolError(text)
        return self._failure

    def _reply(self, message: Message) -> None:
        """Sends what the peer makes us send, as long as it also reads."""
        if self.plane.unsent > MAX_UNREAD:
            raise ProtocolError("peer does not read our answers")
        self.send(message)

    def _ways(self, ours: T, theirs: T) -> tuple[T, T]:
        """Turns (ours, theirs) into (client's, server's), and the other way round."""
        return (ours, theirs) if self.role is Role.CLIENT else (theirs, ours)


def _openssh_title(message: Message | type[Message]) -> str:
    """The message's name as OpenSSH logs it, which has one name for all methods of one round trip."""
    return message.title.replace("SSH_", "SSH2_", 1).replace("MSG_KEXDH_", "MSG_KEX_ECDH_")
