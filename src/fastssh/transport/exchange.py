"""One key exchange from KEXINIT to NEWKEYS, as one generator that reads as RFC 4253 section 7 does.

It yields effects, which Transport carries out; see :mod:`fastssh.transport.kex.method` for the rest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from fastssh.errors import ProtocolError
from fastssh.keys.public import PublicKey
from fastssh.transport.derivation import DirectionKeys, derive_keys, is_aead, longest_key
from fastssh.transport.kex.method import AskHostKey, Context, MethodEffect, Receive, Send, receive
from fastssh.transport.kex.registry import find_method
from fastssh.transport.negotiation import Negotiated, guess_was_wrong, negotiate
from fastssh.transport.phases import Role
from fastssh.wire import codec
from fastssh.wire.messages import DisconnectReason, KexInit, NewKeys

if TYPE_CHECKING:
    from fastssh.keys.private import PrivateKey
    from fastssh.transport.kex.groups import Group


class Agreed(NamedTuple):
    """The KEXINITs agree on this. ``skip_guess``: the peer's next exchange message is to be ignored."""

    negotiated: Negotiated
    skip_guess: bool


class UseSendKeys(NamedTuple):
    """NEWKEYS was sent: everything after it is sealed with these."""

    keys: DirectionKeys


class UseReceiveKeys(NamedTuple):
    """The peer's NEWKEYS came: everything after it is sealed with these."""

    keys: DirectionKeys


Effect: TypeAlias = MethodEffect | Agreed | AskHostKey | UseSendKeys | UseReceiveKeys


class Outcome(NamedTuple):
    """What later exchanges and the layers above must know of a finished one."""

    negotiated: Negotiated
    session_id: bytes
    host_key: PublicKey
    signature: bytes  # of the session id, by the host key


class Terms(NamedTuple):
    """What an exchange starts from. ``earlier`` is the first exchange's outcome, None in the first."""

    role: Role
    client_identification: bytes
    server_identification: bytes
    kexinit: bytes  # our KEXINIT's payload
    host_keys: Sequence[PrivateKey]  # a server's
    groups: Sequence[Group]
    random: Callable[[int], bytes]
    earlier: Outcome | None


def exchange(terms: Terms) -> Generator[Effect, bytes, Outcome]:
    """Our KEXINIT is out; everything up to and with the peer's NEWKEYS.

    Raises ProtocolError and NegotiationError for what the peer did wrong; AskHostKey may raise what the answer was.
    """
    client = terms.role is Role.CLIENT
    ours = KexInit.decode(terms.kexinit)
    their_kexinit = yield Receive(KexInit)
    theirs = KexInit.decode(their_kexinit)
    negotiated = negotiate(
        terms.role,
        ours,
        theirs,
        aead=[name for name in ours.encryption_algorithms_client_to_server if is_aead(name)],
        earlier=terms.earlier.negotiated if terms.earlier else None,
    )
    yield Agreed(negotiated, guess_was_wrong(ours, theirs))

    method = find_method(negotiated.kex)
    context = Context(
        hash_name=method.hash_name,
        transcript=b"".join(
            map(
                codec.string,
                (
                    terms.client_identification,
                    terms.server_identification,
                    terms.kexinit if client else their_kexinit,
                    their_kexinit if client else terms.kexinit,
                ),
            )
        ),
        host_key_algorithm=negotiated.host_key,
        host_key=None if client else host_key_for(terms.host_keys, negotiated.host_key),
        key_bytes=longest_key(negotiated),
        random=terms.random,
        groups=terms.groups,
    )
    agreement = yield from (method.client if client else method.server)(context)
    session_id = terms.earlier.session_id if terms.earlier else agreement.h

    if client and terms.earlier is None:
        yield AskHostKey(agreement.host_key)
    elif client and terms.earlier and agreement.host_key.blob != terms.earlier.host_key.blob:
        raise ProtocolError(
            f"the server's host key changed at rekey, from {terms.earlier.host_key.fingerprint()} "
            f"to {agreement.host_key.fingerprint()}",
            DisconnectReason.HOST_KEY_NOT_VERIFIABLE,
        )

    client_to_server, server_to_client = derive_keys(negotiated, agreement, method.hash_name, session_id)
    yield Send(NewKeys())
    yield UseSendKeys(client_to_server if client else server_to_client)
    yield from receive(NewKeys)
    yield UseReceiveKeys(server_to_client if client else client_to_server)
    return Outcome(negotiated, session_id, agreement.host_key, agreement.signature)


def host_key_for(host_keys: Sequence[PrivateKey], algorithm: str) -> PrivateKey:
    """A server's key that signs with ``algorithm``; its offer was made of them."""
    return next(key for key in host_keys if algorithm in key.public.signature_algorithms)
