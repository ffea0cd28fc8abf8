"""The addresses of this machine's network interfaces that are up, for BindInterface and ``Match localnetwork``."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

# rtnetlink(7) and netlink(7)
_REQUEST_DUMP: Final = 0x301
_GET_LINKS, _NEW_LINK, _GET_ADDRESSES, _NEW_ADDRESS = 18, 16, 22, 20
_ERROR, _DONE = 2, 3
_ADDRESS, _LOCAL = 1, 2
_UP: Final = 1
_LINK_LOCAL: Final = 253  # RT_SCOPE_LINK
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_INTERFACE_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_DATAGRAM: Final = 1 << 16
_SECONDS: Final = 5.0


class InterfaceAddress(NamedTuple):
    """``address`` as text, with its zone when it holds on this link alone."""

    interface: str
    address: str


def interface_addresses() -> list[InterfaceAddress]:
    """All addresses of interfaces that are up, in the kernel's order. OSError where the kernel does not tell."""
    up = {_LINK.unpack_from(body)[2] for body in _ask(_GET_LINKS, _NEW_LINK, _LINK) if _LINK.unpack_from(body)[3] & _UP}
    found = []
    for body in _ask(_GET_ADDRESSES, _NEW_ADDRESS, _INTERFACE_ADDRESS):
        family, _, _, scope, index = _INTERFACE_ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[_INTERFACE_ADDRESS.size :]))
        packed = attributes.get(_LOCAL, attributes.get(_ADDRESS, b""))
        if index not in up or len(packed) != {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
            continue
        name = socket.if_indextoname(index)
        zone = f"%{name}" if family == socket.AF_INET6 and scope == _LINK_LOCAL else ""
        found.append(InterfaceAddress(name, socket.inet_ntop(family, packed) + zone))
    return found


def source_address(interface: str, family: int) -> str | None:
    """The address of ``interface`` to connect from; one that holds beyond this link or machine, where there is one.

    None when it has none of the family, or is not up. OSError as :func:`interface_addresses`.
    """
    colon = family == socket.AF_INET6
    found = [each.address for each in interface_addresses() if each.interface == interface]
    fitting = [address for address in found if (":" in address) is colon]
    far = (address for address in fitting if "%" not in address and address != "::1" and not address.startswith("127."))
    return next(far, fitting[0] if fitting else None)


def _ask(question: int, answer: int, shape: struct.Struct) -> Iterator[bytes]:
    """The bodies of the kernel's answers, each at least as long as ``shape``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.bind((0, 0))
        asked = _HEADER.pack(_HEADER.size + shape.size, question, _REQUEST_DUMP, 1, 0)
        kernel.sendto(asked + bytes(shape.size), (0, 0))
        while True:
            data = kernel.recv(_DATAGRAM)
            while len(data) >= _HEADER.size:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                if not _HEADER.size <= length <= len(data):
                    raise OSError("the kernel's answer about interfaces makes no sense")
                body, data = data[_HEADER.size : length], data[_aligned(length) :]
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not tell the addresses of interfaces")
                if kind == answer and len(body) >= shape.size:
                    yield body


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return length + 3 & ~3
