"""The agent protocol (draft-ietf-sshm-ssh-agent): requests, replies and their frames, without a socket.

Requests are functions that give whole frames, ready to send. :class:`Frames` cuts what comes back into messages, and
:func:`decode_reply` reads one. All limits are checked before anything is kept; what breaks one is :class:`AgentError`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from fastssh.errors import AgentError, KeyFormatError, ProtocolError
from fastssh.keys.public import PublicKey, decode_key
from fastssh.wire.codec import Reader, boolean, byte, string, uint32

if TYPE_CHECKING:
    from fastssh.keys.private import PrivateKey

#: Bytes of a message, as in OpenSSH's agent and its clients.
MAX_MESSAGE = 256 * 1024
#: OpenSSH's clients refuse an agent with more keys.
MAX_IDENTITIES = 2048

SESSION_BIND = b"session-bind@openssh.com"


class AgentMessage(enum.IntEnum):
    """Message numbers (draft section 6.1)."""

    FAILURE = 5
    SUCCESS = 6
    REQUEST_IDENTITIES = 11
    IDENTITIES_ANSWER = 12
    SIGN_REQUEST = 13
    SIGN_RESPONSE = 14
    ADD_IDENTITY = 17
    ADD_ID_CONSTRAINED = 25
    EXTENSION = 27
    EXTENSION_FAILURE = 28
    EXTENSION_RESPONSE = 29


class SignFlag(enum.IntFlag):
    """Flags of SIGN_REQUEST: without one an RSA key would sign with SHA-1, which we never ask for."""

    NONE = 0
    RSA_SHA2_256 = 2
    RSA_SHA2_512 = 4


_SIGN_FLAGS = {"rsa-sha2-256": SignFlag.RSA_SHA2_256, "rsa-sha2-512": SignFlag.RSA_SHA2_512}


class ConstraintType(enum.IntEnum):
    """Constraints of added keys (draft section 5.2.2)."""

    LIFETIME = 1
    CONFIRM = 2
    EXTENSION = 255


@dataclass(frozen=True)
class Constraints:
    """``lifetime`` in seconds, 0 for none; ``confirm`` asks the user at each use."""

    lifetime: int = 0
    confirm: bool = False

    def encode(self) -> bytes:
        lifetime = byte(ConstraintType.LIFETIME) + uint32(self.lifetime) if self.lifetime else b""
        return lifetime + (byte(ConstraintType.CONFIRM) if self.confirm else b"")

    @classmethod
    def decode(cls, data: bytes) -> Constraints:
        """What follows the key in ADD_ID_CONSTRAINED.

        A constraint that we cannot enforce, or that comes twice, is refused with :class:`AgentError`: to add the key
        without it would hand out more than its owner allowed.
        """
        reader = Reader(data)
        lifetime: int | None = None
        confirm = False
        try:
            while reader.remaining:
                kind = reader.byte()
                if kind == ConstraintType.LIFETIME and lifetime is None:
                    lifetime = reader.uint32()
                elif kind == ConstraintType.CONFIRM and not confirm:
                    confirm = True
                elif kind in (ConstraintType.LIFETIME, ConstraintType.CONFIRM):
                    raise AgentError("agent key constraint given twice")
                elif kind == ConstraintType.EXTENSION:
                    name = reader.text()[:64]
                    raise AgentError(f"unsupported agent key constraint {name.encode('unicode_escape').decode()}")
                else:
                    raise AgentError(f"unsupported agent key constraint {kind}")
        except ProtocolError as error:
            raise AgentError(f"malformed agent key constraint: {error}") from None
        if lifetime == 0:
            raise AgentError("agent key constraint with a lifetime of 0 seconds")
        return cls(lifetime or 0, confirm)


# --- frames -------------------------------------------------------------------------------------------------------


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    if not 1 <= len(message) <= MAX_MESSAGE:
        raise AgentError(f"agent message of {len(message)} bytes: 1 to {MAX_MESSAGE} are allowed")
    return string(message)


class Frames:
    """Cuts a stream into messages. Between calls it keeps less than one message and its length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes. Raises :class:`AgentError` at a length out of bounds."""
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= 4:
            length = int.from_bytes(self._buffer[start : start + 4], "big")
            if not 1 <= length <= MAX_MESSAGE:
                raise AgentError(f"agent sent a message of {length} bytes: 1 to {MAX_MESSAGE} are allowed")
            if len(self._buffer) - start - 4 < length:
                break
            messages.append(bytes(self._buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        del self._buffer[:start]
        return messages

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete: at the end of the stream there must be none."""
        return len(self._buffer)


# --- requests -----------------------------------------------------------------------------------------------------


def request_identities() -> bytes:
    return frame(byte(AgentMessage.REQUEST_IDENTITIES))


def sign_flags(algorithm: str) -> SignFlag:
    """The flags that make an agent sign with ``algorithm``."""
    return _SIGN_FLAGS.get(algorithm, SignFlag.NONE)


def sign_request(blob: bytes, data: bytes, flags: int = 0) -> bytes:
    """Asks for a signature of the key ``blob`` over ``data``; ``flags`` from :func:`sign_flags`."""
    return frame(byte(AgentMessage.SIGN_REQUEST) + string(blob) + string(data) + uint32(flags))


def add_identity(key: PrivateKey, comment: str, constraints: Constraints | None = None) -> bytes:
    """Hands a private key over (draft section 5.2): a secret frame. A certificate of it is not part of it."""
    number = AgentMessage.ADD_ID_CONSTRAINED if constraints else AgentMessage.ADD_IDENTITY
    data = key.fields() + string(comment.encode("utf-8", "surrogateescape"))
    return frame(byte(number) + data + (constraints.encode() if constraints else b""))


def extension(name: bytes, data: bytes = b"") -> bytes:
    """An extension request (draft section 5.8); its contents are the extension's own."""
    return frame(byte(AgentMessage.EXTENSION) + string(name) + data)


def session_bind(host_key: bytes, session_id: bytes, signature: bytes, *, forwarding: bool) -> bytes:
    """``session-bind@openssh.com`` (OpenSSH PROTOCOL.agent section 1): ties the agent connection to an SSH session.

    ``signature`` is the host key's over the exchange hash of the first key exchange.
    """
    return extension(SESSION_BIND, string(host_key) + string(session_id) + string(signature) + boolean(forwarding))


# --- replies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A key that the agent holds. ``comment`` is the agent's word: escape it before a terminal sees it."""

    blob: bytes
    comment: str

    def public_key(self) -> PublicKey | None:
        """The key or certificate, or None for a type that we do not speak."""
        try:
            return decode_key(self.blob)
        except KeyFormatError:
            return None


@dataclass(frozen=True)
class Failure:
    """The agent refuses, whatever the reason; ``extension`` when it knew the extension and refused its contents."""

    extension: bool = False


@dataclass(frozen=True)
class Success:
    pass


@dataclass(frozen=True)
class IdentitiesAnswer:
    identities: tuple[Identity, ...]


@dataclass(frozen=True)
class SignResponse:
    signature: bytes  #: a signature blob, RFC 4253 section 6.6


@dataclass(frozen=True)
class ExtensionResponse:
    data: bytes  #: the extension's name and its contents


Reply: TypeAlias = Failure | Success | IdentitiesAnswer | SignResponse | ExtensionResponse


def decode_reply(message: bytes) -> Reply:
    """A message from an agent, as :class:`Frames` cut it. Raises :class:`AgentError` for what is malformed."""
    if not 1 <= len(message) <= MAX_MESSAGE:
        raise AgentError(f"agent sent a message of {len(message)} bytes: 1 to {MAX_MESSAGE} are allowed")
    reader = Reader(message)
    try:
        reply = _decode(reader.byte(), reader)
        reader.end()
    except ProtocolError as error:
        raise AgentError(f"malformed reply from the agent: {error}") from None
    return reply


def _decode(number: int, reader: Reader) -> Reply:
    match number:
        case AgentMessage.FAILURE:
            return Failure()
        case AgentMessage.EXTENSION_FAILURE:
            return Failure(extension=True)
        case AgentMessage.SUCCESS:
            return Success()
        case AgentMessage.IDENTITIES_ANSWER:
            count = reader.uint32()
            # Each takes two length fields at least: what cannot be there is refused before the loop.
            if count > MAX_IDENTITIES or count > reader.remaining // 8:
                raise AgentError(f"agent claims {count} keys in {reader.remaining} bytes")
            return IdentitiesAnswer(tuple(Identity(reader.string(), reader.text()) for _ in range(count)))
        case AgentMessage.SIGN_RESPONSE:
            return SignResponse(reader.string())
        case AgentMessage.EXTENSION_RESPONSE:
            return ExtensionResponse(reader.rest())
    raise AgentError(f"unexpected reply {number} from the agent")


def identities(message: bytes) -> tuple[Identity, ...]:
    """The keys in the answer to :func:`request_identities`; AgentError if it is another reply."""
    reply = decode_reply(message)
    if isinstance(reply, IdentitiesAnswer):
        return reply.identities
    raise AgentError("the agent refused to list its keys" if isinstance(reply, Failure) else _UNEXPECTED)


def signature(message: bytes, algorithm: str) -> bytes:
    """The signature blob in the answer to :func:`sign_request`; AgentError if the agent refused.

    An agent that does not know the flags answers with ``ssh-rsa`` (SHA-1): such a signature is never passed on.
    """
    reply = decode_reply(message)
    if not isinstance(reply, SignResponse):
        raise AgentError("the agent refused to sign" if isinstance(reply, Failure) else _UNEXPECTED)
    try:
        made_with = Reader(reply.signature).string()
    except ProtocolError:
        raise AgentError("malformed signature from the agent") from None
    if made_with != algorithm.encode("ascii"):
        shown = made_with[:64].decode("ascii", "replace").encode("unicode_escape").decode("ascii")
        raise AgentError(f"the agent signed with {shown} instead of {algorithm}")
    return reply.signature


_UNEXPECTED = "the agent sent a reply of another kind than was asked for"
