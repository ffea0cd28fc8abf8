"""Which message may come when, to whom: legality is data, and what the table does not allow ends the connection
before any handler runs.

Each number has one :class:`Rule`: the phases in which it may come, the roles that may receive it, whether it may come
between the peer's KEXINIT and its NEWKEYS (RFC 4253 section 7.1), and the handler, a method of Transport. Numbers that
nobody defines are answered with SSH_MSG_UNIMPLEMENTED (RFC 4253 section 11.4) where that is safe.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from fastssh.errors import ProtocolError
from fastssh.wire.messages import (
    CHANNEL_DATA,
    CHANNEL_EXTENDED_DATA,
    CHANNEL_WINDOW_ADJUST,
    FIRST_AUTH,
    FIRST_CONNECTION,
    FIRST_RESERVED,
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    Debug,
    Disconnect,
    ExtInfo,
    GlobalRequest,
    Ignore,
    KexInit,
    NewKeys,
    Ping,
    Pong,
    RequestFailure,
    RequestSuccess,
    ServiceAccept,
    ServiceRequest,
    Unimplemented,
    UserauthBanner,
    UserauthFailure,
    UserauthInfoRequest,
    UserauthInfoResponse,
    UserauthRequest,
    UserauthSuccess,
)


class Role(Enum):
    """Our side of the connection."""

    CLIENT = "client"
    SERVER = "server"


class Phase(IntEnum):
    """How far the connection has come; it never goes back."""

    KEX = 0  # until the peer's first NEWKEYS
    SERVICE = 1  # SERVICE_REQUEST is expected by a server, SERVICE_ACCEPT by a client
    AUTH = 2  # RFC 4252
    CONNECTION = 3  # RFC 4254: the user is known


class Rule(NamedTuple):
    """When one message may be received, and by which method of Transport it is handled."""

    handler: str
    phases: frozenset[Phase]
    roles: frozenset[Role]
    in_exchange: bool = False  # between the peer's KEXINIT and its NEWKEYS
    in_strict_first: bool = False  # in the first exchange under strict KEX (OpenSSH PROTOCOL section 1.9)


ALL = frozenset(Phase)
AFTER_KEX = frozenset((Phase.SERVICE, Phase.AUTH, Phase.CONNECTION))
BEFORE_USER = frozenset((Phase.SERVICE, Phase.AUTH))
SERVICE = frozenset((Phase.SERVICE,))
AUTH = frozenset((Phase.AUTH,))
USER = frozenset((Phase.AUTH, Phase.CONNECTION))
CONNECTION = frozenset((Phase.CONNECTION,))
BOTH = frozenset(Role)
CLIENT = frozenset((Role.CLIENT,))
SERVER = frozenset((Role.SERVER,))

_EXCHANGE = Rule("_on_exchange_message", ALL, BOTH, in_exchange=True, in_strict_first=True)
_CHANNEL = Rule("_on_message", CONNECTION, BOTH)

RULES: dict[int, Rule] = {
    Disconnect.number: Rule("_on_disconnect", ALL, BOTH, in_exchange=True, in_strict_first=True),
    Ignore.number: Rule("_on_ignore", ALL, BOTH, in_exchange=True),
    Unimplemented.number: Rule("_on_unimplemented", ALL, BOTH, in_exchange=True),
    Debug.number: Rule("_on_debug", ALL, BOTH, in_exchange=True),
    ServiceRequest.number: Rule("_on_message", BEFORE_USER, SERVER),
    ServiceAccept.number: Rule("_on_message", SERVICE, CLIENT),
    ExtInfo.number: Rule("_on_ext_info", BEFORE_USER, BOTH),
    KexInit.number: Rule("_on_kexinit", ALL, BOTH),
    NewKeys.number: _EXCHANGE,
    **dict.fromkeys(range(30, FIRST_AUTH), _EXCHANGE),  # what they are is the method's matter
    UserauthRequest.number: Rule("_on_userauth", USER, SERVER),  # after success: ignored (RFC 4252 section 5.1)
    UserauthFailure.number: Rule("_on_message", AUTH, CLIENT),
    UserauthSuccess.number: Rule("_on_message", AUTH, CLIENT),
    UserauthBanner.number: Rule("_on_message", AUTH, CLIENT),
    UserauthInfoRequest.number: Rule("_on_message", AUTH, CLIENT),  # every method's message from a server: one number
    UserauthInfoResponse.number: Rule("_on_userauth", USER, SERVER),  # after success: ignored, as requests are
    GlobalRequest.number: _CHANNEL,
    RequestSuccess.number: _CHANNEL,
    RequestFailure.number: _CHANNEL,
    ChannelOpen.number: _CHANNEL,
    ChannelOpenConfirmation.number: _CHANNEL,
    ChannelOpenFailure.number: _CHANNEL,
    ChannelEof.number: _CHANNEL,
    ChannelClose.number: _CHANNEL,
    ChannelRequest.number: _CHANNEL,
    ChannelSuccess.number: _CHANNEL,
    ChannelFailure.number: _CHANNEL,
    Ping.number: Rule("_on_ping", AFTER_KEX, BOTH),
    Pong.number: Rule("_on_pong", AFTER_KEX, BOTH),
}

# Numbers that nobody defines, by their range in RFC 4251 section 7.
_UNKNOWN = Rule("_on_unknown", ALL, BOTH)
_UNKNOWN_AUTH = Rule("_on_unknown", USER, BOTH)
_UNKNOWN_CONNECTION = Rule("_on_unknown", CONNECTION, BOTH)
# 0 is no message; 93, 94 and 95 are the plane's and never come as messages.
_FORBIDDEN = Rule("_on_unknown", frozenset(), frozenset())


def _unknown(number: int) -> Rule:
    if number in (0, CHANNEL_WINDOW_ADJUST, CHANNEL_DATA, CHANNEL_EXTENDED_DATA):
        return _FORBIDDEN
    if FIRST_AUTH <= number < FIRST_CONNECTION:
        return _UNKNOWN_AUTH
    return _UNKNOWN_CONNECTION if FIRST_CONNECTION <= number < FIRST_RESERVED else _UNKNOWN


_TABLE: tuple[Rule, ...] = tuple(RULES.get(number) or _unknown(number) for number in range(256))

_PHASE_NAMES = {
    Phase.KEX: "during key exchange",
    Phase.SERVICE: "before a service was requested",
    Phase.AUTH: "before authentication",
    Phase.CONNECTION: "after authentication",
}


def rule_for(number: int, role: Role, phase: Phase, *, in_exchange: bool, strict_first: bool) -> Rule:
    """The rule that lets message ``number`` in.

    ``in_exchange``: the peer's KEXINIT came and its NEWKEYS did not; ``strict_first``: strict KEX holds and the first
    exchange is not over. Raises ProtocolError if the message has no place here (RFC 4253 section 7.1, RFC 4252
    section 6, OpenSSH PROTOCOL section 1.9).
    """
    rule = _TABLE[number]
    if strict_first and not rule.in_strict_first:
        raise ProtocolError(f"strict KEX violation: unexpected message {number} in the first key exchange")
    if phase not in rule.phases:
        raise ProtocolError(f"message {number} received {_PHASE_NAMES[phase]}")
    if role not in rule.roles:
        raise ProtocolError(f"message {number} must not be sent to a {role.value}")
    if in_exchange and not rule.in_exchange:
        raise ProtocolError(f"message {number} received during key exchange, between KEXINIT and NEWKEYS")
    return rule
