"""Packets: lengths, padding, integrity, compression, and malformed messages inside good packets."""

from __future__ import annotations

import asyncio
import threading
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import fastssh
from fastssh.errors import IntegrityError, ProtocolError, SSHTimeoutError
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelClose,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    Debug,
    Disconnect,
    GlobalRequest,
    Ignore,
    Ping,
    UserauthBanner,
    UserauthFailure,
)
from tests.hostile.client import HANG_SECONDS, memory_bounded, options, refused, survives
from tests.hostile.server import Peer

MALFORMED = "truncated|superfluous|malformed|not printable|announced|name-list|not UTF-8|empty|must not|wanted"
GCM = ("aes128-gcm@openssh.com",)
SUITES = {
    "aes-gcm": {"ciphers": GCM},
    "chacha": {"ciphers": ("chacha20-poly1305@openssh.com",)},
    "ctr-etm": {"ciphers": ("aes256-ctr",), "macs": ("hmac-sha2-256-etm@openssh.com",)},
    "ctr-mac": {"ciphers": ("aes128-ctr",), "macs": ("hmac-sha2-512",)},
}


# --- row 6 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 4, 5, 11, 13, 256 * 1024 + 4, 2**20 + 4, 2**30, 2**31 - 4, 2**31, 2**32 - 4])
async def test_row06_packet_length_is_bounded_before_anything_is_awaited(serve, length):
    """In the clear, before the first keys. Only the length is sent: the client must not wait for the rest."""

    def script(peer: Peer) -> None:
        peer.raw(b"SSH-2.0-hostile_1\r\n" + codec.uint32(length) + bytes(12))

    with memory_bounded():
        await refused(serve(script), ProtocolError, "packet length out of range")


@pytest.mark.parametrize("padding", [0, 3, 11, 12, 255])
async def test_row06_padding_lies_inside_the_packet(serve, padding):
    def script(peer: Peer) -> None:
        peer.raw(b"SSH-2.0-hostile_1\r\n" + codec.uint32(12) + bytes((padding, 2)) + bytes(10))

    await refused(serve(script), ProtocolError, "packet padding out of range")


def seal_gcm(peer: Peer, inside: bytes, *, length: int | None = None) -> bytes:
    """A packet with a good tag and whatever in it. ``inside``: padding length, payload, padding."""
    _, _, key, iv, _ = peer.plane.send_keys
    counter = int.from_bytes(iv[4:], "big") + peer.plane.packets
    nonce = iv[:4] + (counter % 2**64).to_bytes(8, "big")
    clear = codec.uint32(len(inside) if length is None else length)
    return clear + AESGCM(key).encrypt(nonce, inside, clear)


@pytest.mark.parametrize("padding", [0, 1, 3, 15, 16, 254, 255])
async def test_row06_padding_of_sealed_packets_is_checked_too(serve, padding):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.raw(seal_gcm(peer, bytes((padding, 2)) + bytes(14)))

    await refused(serve(script, ciphers=GCM), ProtocolError, "packet padding out of range")


async def test_row06_crafted_packets_are_good_but_for_what_is_wrong_with_them(serve):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.raw(seal_gcm(peer, bytes((10, 2)) + codec.uint32(0) + bytes(10)))
        peer.sock.shutdown(1)

    await refused(serve(script, ciphers=GCM), ConnectionError, "closed by the peer")


@pytest.mark.parametrize("length", [0, 15, 17, 256 * 1024 + 16, 2**31, 2**32 - 16])
async def test_row06_length_in_the_clear_of_sealed_packets(serve, length):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.raw(codec.uint32(length) + bytes(64))

    with memory_bounded():
        await refused(serve(script, ciphers=GCM), ProtocolError, "packet length out of range")


async def test_row06_the_longest_packet_passes_and_costs_no_more_than_itself(serve):
    def script(peer: Peer) -> None:
        peer.start()
        for _ in range(50):
            peer.send(Ignore(bytes(256 * 1024 - 1100)))
        peer.finish()

    with memory_bounded():
        await survives(serve(script))


# --- row 14 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("place", range(10))
async def test_row14_a_flipped_bit_anywhere_in_a_packet_ends_the_connection(serve, suite, place):
    """The packet would end a command; what follows is long enough for any length that the flip may have made."""

    def script(peer: Peer) -> None:
        peer.start()

        def flip(packet: bytes) -> bytes:
            at = (0, 1, 2, 3, 4, 5, len(packet) // 2, len(packet) - 33, len(packet) - 16, len(packet) - 1)[place]
            return packet[:at] + bytes((packet[at] ^ (1 << at % 8),)) + packet[at + 1 :]

        peer.plane.mangle = flip
        peer.send(ChannelRequest(peer.channel, "exit-status", False, codec.uint32(0)))
        peer.plane.mangle = lambda packet: packet
        peer.send(*[Ignore(bytes(32_000))] * 10)
        peer.finish()

    error = await refused(serve(script, **SUITES[suite]), ProtocolError, "authentication code|length out of range")
    assert place < 4 or isinstance(error, IntegrityError)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("kind", ["no tag", "plain", "tag of the last", "swapped", "truncated"])
async def test_row14_packets_without_their_own_tag_are_not_used(serve, suite, kind):
    def script(peer: Peer) -> None:
        peer.start()
        kept: list[bytes] = []

        def collect(packet: bytes) -> bytes:
            kept.append(packet)
            return b""

        peer.plane.mangle = collect
        for status in (0, 1):
            peer.send(ChannelRequest(peer.channel, "exit-status", False, codec.uint32(status)))
        tag = {"aes-gcm": 16, "chacha": 16, "ctr-etm": 32, "ctr-mac": 64}[suite]
        peer.raw({
            "no tag": kept[0][:-tag] + bytes(tag),
            "plain": codec.uint32(28) + b"\x04" + ChannelClose(peer.channel).encode() + bytes(18),
            "tag of the last": kept[0][:-tag] + kept[1][-tag:],
            "swapped": kept[1] + kept[0],
            "truncated": kept[0][: -tag // 2],
        }[kind])  # fmt: skip
        peer.raw(bytes(300_000))

    await refused(serve(script, **SUITES[suite]), ProtocolError, "authentication code|length out of range")


# --- row 7, row 26 ------------------------------------------------------------------------------------------------

LONG = b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "payload",
    [
        b"\x01", b"\x01\0\0\0\1" + LONG, Disconnect(2, "x").encode() + b"y",
        b"\x02", b"\x02" + LONG, Ignore(b"x").encode()[:-1], Ignore(b"x").encode() + b"y",
        b"\x03", b"\x03\0\0\0", b"\x03\0\0\0\0\0",
        b"\x04", b"\x04\1" + LONG, Debug(True, "x").encode()[:-2],
        b"\x14", b"\x15\0", b"\x1f" + LONG,
        b"\xc0", b"\xc0" + LONG, Ping(b"x").encode() + b"y", b"\xc1" + LONG,
        b"\x00", b"\x06", b"\x06" + LONG, b"\x05" + codec.string(b"ssh-userauth"),
        b"\x32", b"\x3c", b"\x3d",
    ],
    ids=lambda payload: payload[:12].hex(),
)  # fmt: skip
@pytest.mark.parametrize("moment", ["authentication", "connection"])
async def test_row07_malformed_transport_messages(serve, payload, moment):
    def script(peer: Peer) -> None:
        if moment == "authentication":
            peer.request()
        else:
            peer.start()
        peer.send(payload)

    await refused(serve(script), ProtocolError, MALFORMED + "|message|must not|not allowed")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x33", b"\x33" + LONG, UserauthFailure(("password",)).encode()[:-1],
        UserauthFailure(("password",)).encode() + b"x", b"\x33" + codec.string(b"a,,b") + b"\0",
        b"\x33" + codec.string(b"a\x1b[31m") + b"\0", b"\x33" + codec.string(b"\xff") + b"\0",
        b"\x34x", b"\x35", b"\x35" + LONG, UserauthBanner("x").encode()[:-5],
        b"\x07", b"\x07" + LONG, b"\x07\0\0\0\1", b"\x07\0\0\0\1" + LONG,
        b"\x07\0\0\0\1" + codec.string(b"a\x1bb") + codec.string(b""),
        b"\x07\0\0\0\1" + codec.string(b"a") + codec.string(b"") + b"x",
    ],
    ids=lambda payload: payload[:12].hex(),
)  # fmt: skip
async def test_row07_malformed_authentication_messages(serve, payload):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(payload)

    await refused(serve(script), ProtocolError, MALFORMED)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x5b", b"\x5b\0\0\0\0", ChannelOpenConfirmation(0, 0, 1, 1).encode()[:-1], b"\x5c", b"\x5c\0\0\0\0",
        ChannelOpenFailure(0, 1, "x").encode()[:-6], b"\x5a", b"\x5a" + LONG, b"\x5a" + codec.string(b"a") + b"\0" * 11,
        b"\x50", b"\x50" + LONG, b"\x50" + codec.string(b"\x1b") + b"\0", b"\x50" + codec.string(b"a"),
        b"\x51", b"\x52x", b"\x5d", b"\x5d\0\0\0\0", b"\x5e", b"\x5f", b"\x60", b"\x61", b"\x62", b"\x63", b"\x64",
        b"\x5a" + codec.string(b"\xff") + bytes(12),
    ],
    ids=lambda payload: payload[:12].hex(),
)  # fmt: skip
async def test_row07_malformed_connection_messages_while_a_channel_opens(serve, payload):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.send(payload)

    await refused(serve(script), ProtocolError, MALFORMED + "|not open|not made")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x5e%s", b"\x5e%s" + LONG, b"\x5e%s\0\0\0\2x", b"\x5e%s\0\0\0\0x", b"\x5f%s", b"\x5f%s\0\0\0\1",
        b"\x5f%s\0\0\0\1" + LONG, b"\x5d%s", b"\x5d%s\0\0\0", b"\x5d%s\0\0\0\0\0", b"\x60%sx", b"\x61%sx", b"\x62%s",
        b"\x62%s" + LONG, b"\x62%s\0\0\0\4exit", b"\x62%s" + codec.string(b"exit-status") + b"\0",
        b"\x62%s" + codec.string(b"exit-status") + b"\0" + bytes(5),
        b"\x62%s" + codec.string(b"exit-signal") + b"\0" + LONG,
        b"\x62%s" + codec.string(b"exit-signal") + b"\0" + codec.string(b"\x1b[31m") + b"\0" + bytes(8),
        b"\x62%s" + codec.string(b"\x1b[31m") + b"\0", b"\x63%sx", b"\x64%sx",
    ],
    ids=lambda payload: payload[:20].hex(),
)  # fmt: skip
async def test_row26_malformed_channel_messages_end_that_connection_with_a_clear_error(serve, payload):
    def script(peer: Peer) -> None:
        peer.start()
        peer.send(payload.replace(b"%s", codec.uint32(peer.channel)))

    await refused(serve(script), ProtocolError, MALFORMED + "|not made")


async def test_row26_another_connection_in_the_same_process_does_not_notice(serve):
    gate = threading.Event()

    def patient(peer: Peer) -> None:
        peer.start()
        assert gate.wait(20)
        peer.send(peer.data(b"still here"))
        peer.finish()

    def broken(peer: Peer) -> None:
        peer.start()
        peer.send(b"\x62\xff\xff\xff\xff")

    good = serve(patient)
    async with fastssh.connect("127.0.0.1", good.port, **options(good)) as connection:
        process = await connection.create_process("true")
        await refused(serve(broken), ProtocolError, ".")
        gate.set()
        async with asyncio.timeout(HANG_SECONDS):
            assert await process.stdout.read() == b"still here"


# --- row 13 -------------------------------------------------------------------------------------------------------

ZLIB = ("zlib@openssh.com",)


async def test_row13_compression_is_not_offered_unless_asked_for(serve):
    async def use(connection: Any) -> None:
        assert connection.negotiated.compression_c2s == connection.negotiated.compression_s2c == "none"
        await connection.run("true")

    def script(peer: Peer) -> None:
        peer.start()
        peer.finish()

    await survives(serve(script, compression=(*ZLIB, "none")), use)


@pytest.mark.parametrize(
    ("deflated", "match"),
    [
        (lambda payload: b"\xff" * 64, "compressed data is corrupt"),
        (lambda payload: payload, "compressed data is corrupt"),
        (lambda payload: b"\x78\x9c", "compressed data is corrupt"),
        (lambda payload: b"\x78\x9c\x00\x00\x00\xff\xff", "compressed data is corrupt"),
        (zlib.compress, "compressed data is corrupt|not open|message"),
    ],
)
async def test_row13_what_does_not_inflate_ends_the_connection(serve, deflated, match):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.plane.deflate = deflated
        while True:
            peer.send(GlobalRequest("x", False))

    await refused(serve(script, compression=ZLIB), ProtocolError, match, compression=True, follow_up=False)


@pytest.mark.parametrize("size", [257 * 1024, 16 * 1024 * 1024, 200 * 1024 * 1024])
async def test_row13_inflation_is_capped(serve, size):
    def bomb(payload: bytes) -> bytes:
        deflater = zlib.compressobj(9)
        parts = [deflater.compress(bytes(1024 * 1024)) for _ in range(size // 2**20)]
        parts.append(deflater.compress(bytes(size % 2**20)))
        return (b"".join(parts) + deflater.flush(zlib.Z_SYNC_FLUSH))[:255_000]

    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.plane.deflate = bomb
        peer.send(b"")

    with memory_bounded():
        await refused(
            serve(script, compression=ZLIB), ProtocolError, "expands too far", compression=True, follow_up=False
        )


async def test_row13_compression_starts_after_authentication_not_before(serve):
    def script(peer: Peer) -> None:
        peer.request()
        peer.transport.phase = 3  # type: ignore[assignment]
        peer.transport._compress_sending()
        peer.transport.phase = 2  # type: ignore[assignment]
        peer.send(UserauthBanner("compressed too early"))

    await refused(
        serve(script, compression=ZLIB), ProtocolError, ".", compression=True, follow_up=False, login_timeout=5
    )


async def test_row06_bytes_that_never_complete_a_packet_leave_the_deadline_in_force(serve):
    def script(peer: Peer) -> None:
        peer.start()
        peer.raw(codec.uint32(200_000) + bytes(100))

    async def use(connection: Any) -> None:
        await connection.run("true", timeout=0.3)

    await refused(serve(script, ciphers=GCM), SSHTimeoutError, "timed out", use)
