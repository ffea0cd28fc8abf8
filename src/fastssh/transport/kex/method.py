"""What a key exchange method is, and what it may ask for.

A method is two generators, the client's and the server's. They yield effects, and are resumed with what came of them::

    yield Send(KexEcdhInit(q_c))
    reply = yield from receive(KexEcdhReply)

They return an :class:`Agreement`: RFC 4253 section 7.2's K and H, and the host key that signed H.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from fastssh.errors import KeyFormatError, ProtocolError, SignatureError
from fastssh.keys.public import PublicKey, decode_key
from fastssh.wire import codec
from fastssh.wire.messages import DisconnectReason, Message

if TYPE_CHECKING:
    from fastssh.keys.private import PrivateKey
    from fastssh.transport.kex.groups import Group

M = TypeVar("M", bound=Message)


class Send(NamedTuple):
    """Sends ``message``. For the log: what stands behind its name, and a line before it."""

    message: Message
    detail: str = ""
    before: str = ""


class Receive(NamedTuple):
    """Waits for one message of this class; resumed with its payload. Any other exchange message ends the connection."""

    message: type[Message]


class AskHostKey(NamedTuple):
    """The server proved that it has ``key``: may we go on? Resumed when the answer is yes."""

    key: PublicKey


MethodEffect: TypeAlias = Send | Receive


def receive(message: type[M]) -> Generator[Receive, bytes, M]:
    """Waits for a message and decodes it."""
    payload = yield Receive(message)
    return message.decode(payload)


def refused(what: str) -> ProtocolError:
    """The error for a key exchange value that must not be used (SECURITY.md row 15)."""
    return ProtocolError(what, DisconnectReason.KEY_EXCHANGE_FAILED)


class Agreement(NamedTuple):
    """The result: ``k`` is the shared secret as it is hashed (an mpint, or a string for hybrids), ``h`` the hash, and
    ``signature`` what the host key made of it."""

    k: bytes
    h: bytes
    host_key: PublicKey
    signature: bytes


class Context(NamedTuple):
    """What a method needs to know. ``transcript`` is V_C, V_S, I_C and I_S as strings (RFC 4253 section 8)."""

    hash_name: str
    transcript: bytes
    host_key_algorithm: str
    host_key: PrivateKey | None  # a server's
    key_bytes: int  # the longest key, IV, block or MAC key that will be derived
    random: Callable[[int], bytes]
    groups: Sequence[Group] = ()  # a server's, for group exchange; the RFC 3526 ones if empty

    @property
    def host_key_blob(self) -> bytes:
        """K_S of a server."""
        assert self.host_key is not None
        return self.host_key.public.blob

    def exchange_hash(self, host_key: bytes, values: bytes, k: bytes) -> bytes:
        """H; ``values`` are the method's own, as it hashes them between K_S and K."""
        return hashlib.new(self.hash_name, self.transcript + codec.string(host_key) + values + k).digest()

    def sign(self, values: bytes, k: bytes) -> Agreement:
        """A server's agreement."""
        assert self.host_key is not None
        h = self.exchange_hash(self.host_key_blob, values, k)
        return Agreement(k, h, self.host_key.public, self.host_key.sign(h, self.host_key_algorithm))

    def verify(self, host_key: bytes, signature: bytes, values: bytes, k: bytes) -> Agreement:
        """A client's agreement, once the signature of H proved the host key. Raises ProtocolError."""
        try:
            key = decode_key(host_key)
            if self.host_key_algorithm not in key.signature_algorithms:
                raise refused(f"host key is {key.algorithm}, {self.host_key_algorithm} was agreed")
            h = self.exchange_hash(host_key, values, k)
            key.verify(signature, h, (self.host_key_algorithm,))
        except (KeyFormatError, SignatureError) as error:
            raise refused(f"host key signature of the key exchange: {error}") from error
        return Agreement(k, h, key, signature)


ClientMethod: TypeAlias = Callable[[Context], Generator[MethodEffect, bytes, Agreement]]
ServerMethod: TypeAlias = Callable[[Context], Generator[MethodEffect, bytes, Agreement]]


class KexMethod(NamedTuple):
    """One method: the hash of RFC 4253 section 7.2 and what either side does."""

    hash_name: str
    client: ClientMethod
    server: ServerMethod
