"""Two native planes joined back to back in memory, one of them playing an SFTP server."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fastssh._native import plane as native
from fastssh._native.packet import cipher_names, cipher_sizes, mac_names, mac_sizes
from fastssh._native.plane import Plane

DISCONNECT, KEXINIT, NEWKEYS, CONFIRM, ADJUST, DATA, EXTENDED, EOF, CLOSE = 1, 20, 21, 91, 93, 94, 95, 96, 97
SUITES = [
    (cipher, mac) for cipher in cipher_names() for mac in (mac_names() if cipher_sizes(cipher)[3] == 0 else ["none"])
]


def keys_for(cipher: str, mac: str, seed: bytes) -> tuple[str, str, bytes, bytes, bytes]:
    key, iv, _block, tag = cipher_sizes(cipher)
    mac_key = 0 if tag else mac_sizes(mac)[0]
    stream = random.Random(seed)
    return cipher, mac, stream.randbytes(key), stream.randbytes(iv), stream.randbytes(mac_key)


def never() -> None:
    raise AssertionError("the plane did not take everything")


def deliver(
    source: Plane,
    sink: Plane,
    pieces: Callable[[int], int] = lambda left: left,
    blocked: Callable[[], object] = never,
) -> int:
    """Everything that source has to send goes to sink, in pieces; returns the bytes moved. blocked() reads events."""
    sink.feed(b"")  # what had to wait for its events to be read
    data = source.take()
    at = 0
    while at < len(data):
        piece = data[at : at + max(1, pieces(len(data) - at))]
        taken = sink.feed(piece)
        at += taken
        if taken < len(piece):
            blocked()
    return len(data)


def rekey(a: Plane, b: Plane, suite: tuple[str, str], seed: bytes) -> None:
    """New keys both ways, as a key exchange would set them."""
    for source, sink, label in ((a, b, b"ab"), (b, a, b"ba")):
        keys = keys_for(*suite, seed + label)
        source.send(bytes([KEXINIT]))
        deliver(source, sink)
        assert [event[2][0] for event in sink.events()] == [KEXINIT]
        source.send(bytes([NEWKEYS]))
        deliver(source, sink)
        assert [event[2][0] for event in sink.events()] == [NEWKEYS]
        source.set_send_keys(*keys, reset_sequence=True)
        sink.set_receive_keys(*keys, reset_sequence=True)


def open_channel(
    client: Plane,
    server: Plane,
    *,
    window: int = 2 << 20,
    max_packet: int = 32768,
    client_window: int = 15 << 20,
    client_packet: int = 32768,
) -> None:
    """Channel 0 at the client is channel 7 at the server."""
    client.channel_add(0, client_window, client_packet)
    server.channel_add(7, window, max_packet)
    server.send(struct.pack(">BIIII", CONFIRM, 0, 7, window, max_packet))
    server.channel_confirm(7, 0, client_window, client_packet)
    deliver(server, client)
    assert [event[2][0] for event in client.events()] == [CONFIRM]


def joined(suite: tuple[str, str] = ("aes128-gcm@openssh.com", "none"), **channel: int) -> tuple[Plane, Plane]:
    client, server = Plane(), Plane()
    rekey(client, server, suite, b"first")
    open_channel(client, server, **channel)
    return client, server


class SFTPServer:
    """A small SFTP server over EVENT_DATA of channel 7: READ and WRITE on one file in memory, with faults on demand."""

    def __init__(self, plane: Plane, content: bytes = b"") -> None:
        self.plane = plane
        self.content = bytearray(content)
        self.buffer = b""
        self.requests: list[tuple[int, int, int, int]] = []  # type, id, offset, length
        self.answer: Callable[[int, int, int, bytes], list[bytes]] = self.serve
        self.shuffle: random.Random | None = None

    @staticmethod
    def message(body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + body

    def status(self, number: int, code: int, text: bytes = b"") -> bytes:
        return self.message(struct.pack(">BIII", 101, number, code, len(text)) + text + struct.pack(">I", 0))

    def data(self, number: int, data: bytes) -> bytes:
        return self.message(struct.pack(">BII", 103, number, len(data)) + data)

    def serve(self, kind: int, number: int, offset: int, payload: bytes) -> list[bytes]:
        if kind == 5:
            length = struct.unpack(">I", payload)[0]
            found = bytes(self.content[offset : offset + length])
            return [self.data(number, found) if found else self.status(number, 1, b"End of file")]
        if len(self.content) < offset + len(payload):
            self.content.extend(bytes(offset + len(payload) - len(self.content)))
        self.content[offset : offset + len(payload)] = payload
        return [self.status(number, 0)]

    def turn(self) -> bool:
        """Answers what has come; whether there was anything."""
        events = self.plane.events()
        for event in events:
            if event[0] == native.EVENT_DATA:
                self.buffer += event[3]
                self.plane.channel_consumed(7, len(event[3]))
        replies: list[bytes] = []
        while len(self.buffer) >= 4 and len(self.buffer) >= 4 + struct.unpack_from(">I", self.buffer)[0]:
            size = 4 + struct.unpack_from(">I", self.buffer)[0]
            message, self.buffer = self.buffer[:size], self.buffer[size:]
            kind, number, handle_size = struct.unpack_from(">BII", message, 4)
            at = 13 + handle_size
            assert message[13:at] == b"handle"
            offset = struct.unpack_from(">Q", message, at)[0]
            if kind == 6:
                length = struct.unpack_from(">I", message, at + 8)[0]
                payload = message[at + 12 :]
                assert len(payload) == length
            else:
                payload = message[at + 8 :]
            self.requests.append((kind, number, offset, len(payload) if kind == 6 else struct.unpack(">I", payload)[0]))
            replies += self.answer(kind, number, offset, payload)
        if self.shuffle:
            self.shuffle.shuffle(replies)
        for reply in replies:
            self.plane.channel_write(7, reply)
        return bool(events)


def run(
    client: Plane, server: SFTPServer, *, rounds: int = 100_000, pieces: Callable[[int], int] = lambda left: left
) -> list:
    """Until nothing moves any more; the client's events."""
    events = []
    for _ in range(rounds):
        moved = deliver(client, server.plane, pieces, server.turn)
        moved += server.turn()
        moved += deliver(server.plane, client, pieces)
        fresh = client.events()
        events += fresh
        if not moved and not fresh and not server.turn():
            return events
    raise AssertionError("still moving")


def finished(client: Plane, events: list, transfer: int) -> native.TransferResult:
    assert (native.EVENT_TRANSFER, 0, transfer) in events
    return client.transfer_result(transfer)
