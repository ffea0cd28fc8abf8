"""Which message may come when, to whom: legality is data, and what the table does not allow ends the connection
before any handler runs.

Each number has one :class:`Rule`: the phases in which it may come, the roles that may receive it, whether it may come
between the peer's KEXINIT and its NEWKEYS (RFC 4253 section 7.1), and the handler, a method of Transport. Numbers that
nobody defines are answered with SSH_MSG_UNIMPLEMENTED (RFC 4253 section 11.4) where that is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from fastssh.errors import ProtocolError
from fastssh.wire.messages import CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_WINDOW_ADJUST


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


@dataclass(frozen=True)
class Rule:
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
    1: Rule("_on_disconnect", ALL, BOTH, in_exchange=True, in_strict_first=True),
    2: Rule("_on_ignore", ALL, BOTH, in_exchange=True),
    3: Rule("_on_unimplemented", ALL, BOTH, in_exchange=True),
    4: Rule("_on_debug", ALL, BOTH, in_exchange=True),
    5: Rule("_on_message", BEFORE_USER, SERVER),
    6: Rule("_on_message", SERVICE, CLIENT),
    7: Rule("_on_ext_info", BEFORE_USER, BOTH),
    20: Rule("_on_kexinit", ALL, BOTH),
    21: _EXCHANGE,
    **dict.fromkeys(range(30, 50), _EXCHANGE),
    50: Rule("_on_userauth", USER, SERVER),  # after success: ignored (RFC 4252 section 5.1)
    51: Rule("_on_message", AUTH, CLIENT),
    52: Rule("_on_message", AUTH, CLIENT),
    53: Rule("_on_message", AUTH, CLIENT),
    60: Rule("_on_message", AUTH, CLIENT),
    61: Rule("_on_userauth", USER, SERVER),  # after success: ignored, as 50 is
    80: _CHANNEL,
    81: _CHANNEL,
    82: _CHANNEL,
    90: _CHANNEL,
    91: _CHANNEL,
    92: _CHANNEL,
    96: _CHANNEL,
    97: _CHANNEL,
    98: _CHANNEL,
    99: _CHANNEL,
    100: _CHANNEL,
    192: Rule("_on_ping", AFTER_KEX, BOTH),
    193: Rule("_on_pong", AFTER_KEX, BOTH),
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
    if 50 <= number < 80:
        return _UNKNOWN_AUTH
    return _UNKNOWN_CONNECTION if 80 <= number < 128 else _UNKNOWN


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
