"""Forwards as clients of a master ask for them: :class:`~fastssh.config.forwards.Forward` to and from the wire."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from fastssh.config.forwards import Forward, Kind, Listen
from fastssh.errors import ProtocolError
from fastssh.wire.mux import FORWARD_DYNAMIC, FORWARD_LOCAL, FORWARD_REMOTE, PATH_PORT, CloseForward, OpenForward

_KINDS: Final = {Kind.LOCAL: FORWARD_LOCAL, Kind.REMOTE: FORWARD_REMOTE, Kind.DYNAMIC: FORWARD_DYNAMIC}
_BY_NUMBER: Final = {number: kind for kind, number in _KINDS.items()}
_SOCKS: Final = (b"socks", 0)  # what ssh calls the destination that a SOCKS client chooses
_MAX_PORT: Final = 0xFFFF

Place = tuple[bytes, int]


class WireForward(NamedTuple):
    """The arguments of :meth:`MasterConnection.open_forward`."""

    kind: int
    listen: Place
    target: Place


def to_wire(forward: Forward) -> WireForward:
    listen = forward.listen
    if isinstance(listen, str):
        where = os.fsencode(listen), PATH_PORT
    else:
        host, port = listen
        where = b"" if host is None else os.fsencode(host) or b"*", port
    target = forward.target
    if target is None:
        return WireForward(_KINDS[forward.kind], where, _SOCKS)
    there = (os.fsencode(target), PATH_PORT) if isinstance(target, str) else (os.fsencode(target[0]), target[1])
    return WireForward(_KINDS[forward.kind], where, there)


def from_wire(message: OpenForward | CloseForward) -> Forward | None:
    """None for what makes no sense as a forward. Raises ProtocolError for ports that are none."""
    listen_port, connect_port = message.listen_port, message.connect_port
    if any(port > _MAX_PORT and port != PATH_PORT for port in (listen_port, connect_port)):
        raise ProtocolError(f"{message.label()}: port out of range")
    kind = _BY_NUMBER.get(message.kind)
    if kind is None or b"\0" in message.listen_host + message.connect_host:
        return None
    host = os.fsdecode(message.listen_host)
    listen: Listen
    if listen_port == PATH_PORT:
        listen = host
    elif listen_port == 0 and kind is not Kind.REMOTE:
        return None
    else:
        listen = (host or None, listen_port)
    if kind is Kind.DYNAMIC or (kind is Kind.REMOTE and connect_port == 0):
        return None if listen == "" else Forward(kind, listen, None)
    target = os.fsdecode(message.connect_host)
    if not target or connect_port == 0 or listen == "":
        return None
    return Forward(kind, listen, target if connect_port == PATH_PORT else (target, connect_port))
