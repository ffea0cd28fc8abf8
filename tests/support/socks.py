"""What SOCKS clients and servers say (RFC 1928, and SOCKS 4 and 4a)."""

from __future__ import annotations

import ipaddress
import struct

GRANTED5 = b"\5\0\0\1\0\0\0\0\0\0"


def socks4(host: str, port: int, user: bytes = b"", command: int = 1) -> bytes:
    head = struct.pack(">BBH", 4, command, port)
    try:
        return head + ipaddress.IPv4Address(host).packed + user + b"\0"
    except ValueError:
        return head + b"\0\0\0\1" + user + b"\0" + host.encode() + b"\0"


def socks5(host: str, port: int, methods: bytes = b"\0", command: int = 1) -> bytes:
    try:
        address = ipaddress.ip_address(host)
        where = bytes((1 if address.version == 4 else 4,)) + address.packed
    except ValueError:
        where = bytes((3, len(host.encode()))) + host.encode()
    return bytes((5, len(methods))) + methods + bytes((5, command, 0)) + where + struct.pack(">H", port)
