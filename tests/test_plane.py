"""The native data plane in memory: two planes joined back to back, one of them playing an SFTP server."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from fastssh._native import plane as native
from fastssh._native.packet import Sealer
from fastssh._native.plane import Plane
from fastssh.errors import IntegrityError, ProtocolError
from tests.support.planes import (
    ADJUST,
    CLOSE,
    CONFIRM,
    DATA,
    DISCONNECT,
    EOF,
    EXTENDED,
    KEXINIT,
    NEWKEYS,
    SUITES,
    SFTPServer,
    deliver,
    finished,
    joined,
    keys_for,
    rekey,
    run,
)


@pytest.fixture
def file(tmp_path: Path):
    """A function that makes an open file with the given content, and closes it."""
    opened = []

    def make(content: bytes = b"", name: str = "file") -> int:
        path = tmp_path / name
        path.write_bytes(content)
        opened.append(os.open(path, os.O_RDWR))
        return opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


# --- transfers ----------------------------------------------------------------------------------------------------

SIZES = [0, 1, 100, 32767, 32768, 32769, 261119, 261120, 261121, 1_000_003, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [1000, 32768, 261120])
def test_put_writes_every_byte_at_its_place(file, size: int, chunk: int) -> None:
    if chunk == 1000 and size > 2_000_000:
        size = 300_000
    content = random.Random(size).randbytes(size)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=chunk)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes) == (0, size)
    assert bytes(server.content) == content
    assert all(length <= chunk for _, _, _, length in server.requests)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("to_end", [False, True])
def test_get_writes_every_byte_at_its_place(file, size: int, to_end: bool) -> None:
    content = random.Random(size).randbytes(size)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, content)
    fd = file()
    transfer = client.sftp_get(0, b"handle", fd, offset=0, size=size, chunk=32768, to_end=to_end)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes) == (0, size)
    assert result.end_of_file == (size if to_end else -1)
    assert os.pread(fd, size + 1, 0) == content


@pytest.mark.parametrize("suite", SUITES, ids=["+".join(suite) for suite in SUITES])
def test_transfers_work_with_every_suite_in_odd_pieces(file, suite: tuple[str, str]) -> None:
    content = random.Random(1).randbytes(300_001)
    client, plane = joined(suite)
    client.sftp_attach(0)
    server = SFTPServer(plane)
    cut = random.Random(2)
    put = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)
    events = run(client, server, pieces=lambda left: cut.randrange(1, 50_000))
    assert finished(client, events, put).bytes == len(content)
    fd = file(name="back")
    get = client.sftp_get(0, b"handle", fd, offset=0, size=len(content), chunk=32768, to_end=True)
    assert finished(client, run(client, server, pieces=lambda left: cut.randrange(1, 50_000)), get).status == 0
    assert os.pread(fd, len(content) + 1, 0) == content


def test_get_takes_replies_in_any_order_and_asks_short_reads_again(file) -> None:
    content = random.Random(3).randbytes(2_000_000)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, content)
    server.shuffle = random.Random(4)
    cut = random.Random(5)

    def short(kind: int, number: int, offset: int, payload: bytes) -> list[bytes]:
        length = cut.randrange(1, struct.unpack(">I", payload)[0] + 1)
        return server.serve(kind, number, offset, struct.pack(">I", length))

    server.answer = short
    fd = file()
    transfer = client.sftp_get(0, b"handle", fd, offset=0, size=len(content), chunk=32768, to_end=True)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes) == (0, len(content))
    assert os.pread(fd, len(content) + 1, 0) == content


def test_get_notices_a_file_that_shrank_or_grew(file) -> None:
    content = random.Random(6).randbytes(500_000)
    for known in (600_000, 400_000):
        client, plane = joined()
        client.sftp_attach(0)
        fd = file(name=str(known))
        transfer = client.sftp_get(0, b"handle", fd, offset=0, size=known, chunk=32768, to_end=True)
        result = finished(client, run(client, SFTPServer(plane, content)), transfer)
        assert (result.status, result.bytes) == (0, 500_000)
        assert 500_000 <= result.end_of_file <= known if known == 600_000 else result.end_of_file == 500_000
        assert os.pread(fd, 700_000, 0) == content


def test_put_of_a_source_that_shrank_says_how_much_there_was(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    transfer = client.sftp_put(0, b"handle", file(bytes(100_000)), offset=0, size=1_000_000, chunk=261120)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes, result.end_of_file) == (0, 100_000, 100_000)
    assert len(server.content) == 100_000


@pytest.mark.parametrize("kind", ["get", "put"])
def test_a_transfer_tells_what_is_there_without_a_gap(file, kind: str) -> None:
    """Replies out of order count, but not for that; and a transfer that was ended tells what it was."""
    content = random.Random(9).randbytes(10_000)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, content if kind == "get" else b"")
    held: list[Any] = []

    def hold(*request: Any) -> list[bytes]:
        if request[2] == 3000:  # an offset
            held.append(request)
            return []
        return server.serve(*request)

    server.answer = hold
    fd = file(b"" if kind == "get" else content)
    if kind == "get":
        transfer = client.sftp_get(0, b"handle", fd, offset=1000, size=9000, chunk=1000, to_end=False)
    else:
        transfer = client.sftp_put(0, b"handle", fd, offset=1000, size=9000, chunk=1000)
    events = run(client, server)
    assert (client.transfer_progress(transfer), client.transfer_contiguous(transfer)) == (8000, 2000)
    client.transfer_cancel(transfer)
    for reply in server.serve(*held.pop()):
        plane.channel_write(7, reply)
    result = finished(client, events + run(client, server), transfer)
    assert result.cancelled
    assert result.contiguous == (2000 if kind == "get" else 3000)  # what arrives after the end is not written


@pytest.mark.parametrize("limit", [1, 3, 64])
@pytest.mark.parametrize("kind", ["get", "put"])
def test_no_more_requests_are_under_way_than_was_allowed(file, kind: str, limit: int) -> None:
    content = random.Random(8).randbytes(100_000)
    client, plane = joined()
    client.sftp_attach(0)
    client.sftp_limit(0, limit)
    server = SFTPServer(plane, content if kind == "get" else b"")
    waiting: list[tuple[int, int, int, bytes]] = []

    def hold(*request: Any) -> list[bytes]:
        waiting.append(request)
        return []

    server.answer = hold
    fd = file(b"" if kind == "get" else content)
    if kind == "get":
        transfer = client.sftp_get(0, b"handle", fd, offset=0, size=len(content), chunk=1000, to_end=True)
    else:
        transfer = client.sftp_put(0, b"handle", fd, offset=0, size=-1, chunk=1000)
    events = run(client, server)
    with pytest.raises(ValueError):
        client.sftp_limit(0, 5)  # not in the midst of it
    while waiting:
        assert len(waiting) <= limit
        for reply in server.serve(*waiting.pop(0)):
            plane.channel_write(7, reply)
        events += run(client, server)
    result = finished(client, events, transfer)
    assert (result.status, result.bytes, result.contiguous) == (0, len(content), len(content))
    assert (os.pread(fd, len(content) + 1, 0) if kind == "get" else bytes(server.content)) == content
    assert all(length <= 1000 for _, _, _, length in server.requests)


def test_row10_offsets_past_4_gib_are_exact_both_ways(file, tmp_path: Path) -> None:
    start = (4 << 30) - 5000
    fd = file()
    os.truncate(fd, start + 10_001)
    content = random.Random(7).randbytes(10_001)
    os.pwrite(fd, content, start)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    seen: dict[int, bytes] = {}

    def keep(kind: int, number: int, offset: int, payload: bytes) -> list[bytes]:
        if kind == 6:
            seen[offset] = payload
            return [server.status(number, 0)]
        at = offset - start
        found = content[at : at + struct.unpack(">I", payload)[0]]
        return [server.data(number, found) if found else server.status(number, 1)]

    server.answer = keep
    put = client.sftp_put(0, b"handle", fd, offset=start, size=-1, chunk=3000)
    assert finished(client, run(client, server), put).bytes == 10_001
    assert sorted(seen) == [start, start + 3000, start + 6000, start + 9000]
    assert b"".join(seen[offset] for offset in sorted(seen)) == content
    back = file(name="back")
    get = client.sftp_get(0, b"handle", back, offset=start, size=10_001, chunk=3000, to_end=True)
    assert finished(client, run(client, server), get).end_of_file == start + 10_001
    assert os.pread(back, 20_000, start) == content


@pytest.mark.parametrize("window", [100, 1000, 24_576, 70_000, 300_000])
@pytest.mark.parametrize("max_packet", [512, 1000, 32768, 131072])
def test_put_goes_on_through_narrow_windows_and_small_packets(file, window: int, max_packet: int) -> None:
    content = random.Random(8).randbytes(400_000 if window > 1000 else 20_000)
    client, plane = joined(window=window, max_packet=max_packet)
    client.sftp_attach(0)
    server = SFTPServer(plane)
    transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=261120)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes) == (0, len(content))
    assert bytes(server.content) == content


def test_many_transfers_share_a_channel_and_python_requests_pass_between(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    content = random.Random(11).randbytes(4_000_000)
    fd = file(content)
    transfers = []
    for n in range(100):  # each its own stretch of the file
        transfers.append(client.sftp_put(0, b"handle", fd, offset=n * 40_000, size=40_000, chunk=32768))
        request = struct.pack(">BI", 5, n) + server.message(b"handle") + struct.pack(">QI", 1 << 40, 1)
        client.channel_write(0, server.message(request))
    events = run(client, server)
    assert [struct.unpack_from(">BI", event[2]) for event in events if event[0] == native.EVENT_SFTP] == [
        (101, n) for n in range(100)
    ]
    for transfer in transfers:
        result = finished(client, events, transfer)
        assert (result.status, result.bytes) == (0, 40_000)
    assert bytes(server.content) == content


def test_a_failed_write_ends_the_transfer_with_the_servers_words(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    server.answer = lambda kind, number, offset, payload: [
        server.status(number, 4, b"No space left on device") if offset >= 100_000 else server.status(number, 0)
    ]
    transfer = client.sftp_put(0, b"handle", file(bytes(9_000_000)), offset=0, size=-1, chunk=32768)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.message) == (4, "No space left on device")
    assert len(server.requests) < 200  # nothing new after the failure came back


def test_a_full_disk_ends_a_get_with_errno(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        transfer = client.sftp_get(0, b"handle", fd, offset=0, size=100_000, chunk=32768, to_end=False)
        result = finished(client, run(client, SFTPServer(plane, bytes(100_000))), transfer)
    finally:
        os.close(fd)
    assert os.strerror(result.errno) == "No space left on device"


def test_cancel_ends_when_outstanding_requests_are_answered(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    transfer = client.sftp_put(0, b"handle", file(bytes(9_000_000)), offset=0, size=-1, chunk=32768)
    deliver(client, plane)
    client.transfer_cancel(transfer)
    result = finished(client, run(client, server), transfer)
    assert result.cancelled and 0 < result.bytes < 3_000_000
    assert result.bytes == len(server.content)


def test_a_closed_channel_ends_its_transfers(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    transfer = client.sftp_put(0, b"handle", file(bytes(1000)), offset=0, size=-1, chunk=32768)
    deliver(client, plane)
    plane.channel_close(7)
    deliver(plane, client)
    result = finished(client, client.events(), transfer)
    assert result.status < 0
    late = client.sftp_put(0, b"handle", file(b"x", "late"), offset=0, size=-1, chunk=32768)  # CLOSE not seen yet
    assert finished(client, client.events(), late).status < 0
    assert client.channel_write(0, b"late") == 0


def test_a_close_behind_the_last_reply_leaves_the_transfer_whole(file) -> None:
    content = random.Random(12).randbytes(100_000)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, content)
    transfer = client.sftp_get(0, b"handle", file(), offset=0, size=len(content), chunk=32768, to_end=False)
    deliver(client, plane)
    server.turn()
    plane.channel_eof(7)
    plane.channel_close(7)
    deliver(plane, client)  # replies, EOF and CLOSE at once
    result = finished(client, client.events(), transfer)
    assert (result.status, result.bytes) == (0, len(content))


def test_end_of_file_waits_for_transfers_and_close_ends_them(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    content = random.Random(13).randbytes(3_000_000)
    transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)
    client.channel_eof(0)
    result = finished(client, run(client, server), transfer)
    assert (result.status, result.bytes) == (0, len(content))
    with pytest.raises(ValueError, match="not open"):
        client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)

    client, plane = joined()
    client.sftp_attach(0)
    transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)
    deliver(client, plane)
    client.channel_close(0)
    assert finished(client, client.events(), transfer).status < 0


@pytest.mark.parametrize("kind", ["get", "put"])
def test_a_rate_limit_holds_transfers_in_both_directions(file, kind: str) -> None:
    content = random.Random(14).randbytes(100_000)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, content)
    client.set_send_rate(1)  # a byte a second
    if kind == "get":
        transfer = client.sftp_get(0, b"handle", file(), offset=0, size=len(content), chunk=32768, to_end=True)
    else:
        transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)
    for _ in range(100):  # however often it is called
        deliver(client, plane)
    server.turn()
    assert server.requests == []
    assert client.wait_seconds > 0
    client.set_send_rate(0)
    assert finished(client, run(client, server), transfer).status == 0
    assert client.wait_seconds == 0


def test_nothing_follows_our_disconnect(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    put = client.sftp_put(0, b"handle", file(bytes(9_000_000)), offset=0, size=-1, chunk=32768)
    deliver(client, plane)
    server.turn()
    replies = plane.take()
    client.channel_write(0, SFTPServer.message(bytes(5)))
    client.send(struct.pack(">BIII", DISCONNECT, 11, 0, 0))
    assert len(client.take()) < 100
    assert client.feed(replies) <= len(replies)
    assert client.take() == b""
    assert client.events() == []
    assert client.transfer_progress(put) == 0


def test_rekeys_in_the_middle_pause_and_resume_a_transfer(file) -> None:
    content = random.Random(9).randbytes(6_000_000)
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    transfer = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=32768)
    for n in range(5):
        deliver(client, plane)
        server.turn()
        deliver(plane, client)
        assert client.events() == []
        suite = SUITES[n % len(SUITES)]
        keys = keys_for(*suite, b"again%d" % n)
        client.send(bytes([KEXINIT]))
        with pytest.raises(ValueError, match="not allowed"):
            client.send(bytes([DATA]) + bytes(20))
        quiet = client.take()
        assert len(quiet) < 200  # KEXINIT alone: bulk holds still
        plane.feed(quiet)
        client.send(bytes([NEWKEYS]))
        client.set_send_keys(*keys, reset_sequence=True)
        server.turn()
        plane.feed(client.take())
        server.turn()
        plane.set_receive_keys(*keys, reset_sequence=True)
    assert finished(client, run(client, server), transfer).bytes == len(content)
    assert bytes(server.content) == content


def test_compression_carries_channels_and_transfers(file) -> None:
    content = b"compressible " * 100_000 + random.Random(10).randbytes(500_000)
    client, plane = joined()
    for end in (client, plane):
        end.set_send_compression("zlib@openssh.com")
        end.set_receive_compression("zlib@openssh.com")
    client.sftp_attach(0)
    server = SFTPServer(plane)
    before = client.bytes_sent
    put = client.sftp_put(0, b"handle", file(content), offset=0, size=-1, chunk=261120)
    assert finished(client, run(client, server), put).bytes == len(content)
    assert bytes(server.content) == content
    assert client.bytes_sent - before < 600_000
    fd = file(name="back")
    get = client.sftp_get(0, b"handle", fd, offset=0, size=len(content), chunk=261120, to_end=True)
    assert finished(client, run(client, server), get).status == 0
    assert os.pread(fd, len(content) + 1, 0) == content


def test_the_longest_message_keeps_within_its_packet_under_compression() -> None:
    """What compression may add is room that a message of the longest kind does not have."""
    client, plane = joined()
    client.set_send_compression("zlib@openssh.com")
    plane.set_receive_compression("zlib@openssh.com")
    stream = random.Random(15)
    client.send(b"\x02" + stream.randbytes(250_000))
    client.send(b"\x02" + stream.randbytes(250_000))
    with pytest.raises(ProtocolError):
        client.send(b"\x02" + stream.randbytes(261_119))
    assert deliver(client, plane, blocked=plane.events) > 500_000


# --- channels -------------------------------------------------------------------------------------------------------


def test_queued_data_then_eof_then_close_go_in_order() -> None:
    client, server = joined(window=1000)
    client.channel_write(0, bytes(range(250)) * 10)
    client.channel_eof(0)
    client.channel_close(0)
    received, rest = b"", []
    for _ in range(10):
        deliver(client, server)
        for event in server.events():
            if event[0] == native.EVENT_DATA:
                received += event[3]
                server.channel_consumed(7, len(event[3]))
            else:
                rest.append(event[2][0])
        deliver(server, client)
    assert received == bytes(range(250)) * 10
    assert rest == [EOF, CLOSE]
    with pytest.raises(ValueError, match="not open"):
        client.channel_write(0, b"more")


def test_writable_comes_when_a_long_queue_has_drained() -> None:
    client, server = joined()
    assert client.channel_write(0, bytes(300_000)) == 300_000
    deliver(client, server)
    assert client.events() == [(native.EVENT_WRITABLE, 0)]


# --- hostile peers ----------------------------------------------------------------------------------------------------


def data(payload: bytes, channel: int = 0, claimed: int | None = None) -> bytes:
    return struct.pack(">BII", DATA, channel, len(payload) if claimed is None else claimed) + payload


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(data(b"x" * 32769), id="more than our maximum packet"),
        pytest.param(struct.pack(">BII", ADJUST, 0, 0xFFFF_FFFF), id="adjustment past 2^32-1"),
        pytest.param(data(b"", channel=1), id="channel that is not open"),
        pytest.param(data(b"", channel=0xFFFF_FFFF), id="absurd channel"),
        pytest.param(data(b"abc", claimed=2), id="tail after the data"),
        pytest.param(data(b"abc", claimed=0xFFFF_FFFF), id="length past the end"),
        pytest.param(bytes([DATA, 0, 0]), id="truncated"),
        pytest.param(bytes([ADJUST]) + bytes(9), id="long adjustment"),
        pytest.param(bytes([NEWKEYS]), id="NEWKEYS without KEXINIT"),
        pytest.param(struct.pack(">BIIII", CONFIRM, 0, 1, 1, 1), id="confirmed twice"),
    ],
)
def test_row08_windows_and_lengths_are_enforced(message: bytes) -> None:
    client, server = joined()
    client.sftp_attach(0)
    server.send(message)
    with pytest.raises(ProtocolError):
        client.feed(server.take())


def test_row08_the_peers_overrun_of_our_window_ends_the_connection() -> None:
    client, server = joined(client_window=100_000)
    with pytest.raises(ProtocolError, match="window"):
        for _ in range(4):
            server.send(data(bytes(30_000)))
            client.feed(server.take())
    assert sum(len(event[3]) for event in client.events()) == 90_000  # what came before the overrun still counts


def test_row08_a_window_that_is_widened_is_kept_to_as_well() -> None:
    client, server = joined(client_window=100_000)
    client.channel_widen(0, 50_000)  # never narrower
    client.channel_widen(0, 1_000_000)
    deliver(client, server)
    server.channel_write(7, bytes(1_000_100))
    while deliver(server, client, blocked=client.events):
        pass
    client.events()
    client.feed(b"")
    assert server.channel_pending(7) == 100  # what is above the window waits
    server.channel_discard(7)
    client.channel_consumed(0, 1_000_000)
    deliver(client, server)
    for _ in range(40):
        server.send(data(bytes(25_000)))
        client.feed(server.take())
        client.events()
    server.send(data(b"x"))
    with pytest.raises(ProtocolError, match="window"):
        client.feed(server.take())
    with pytest.raises(ValueError, match="not open"):
        client.channel_widen(1, 5_000_000)


def test_row09_a_maximum_packet_of_nothing_is_refused() -> None:
    for most in (0, 1, 511):
        client, server = Plane(), Plane()
        rekey(client, server, ("aes128-gcm@openssh.com", "none"), b"x")
        client.channel_add(0, 1000, 32768)
        server.send(struct.pack(">BIIII", CONFIRM, 0, 7, 1000, most))
        with pytest.raises(ProtocolError):
            client.feed(server.take())


def test_row11_data_after_eof_or_close_is_refused() -> None:
    for number in (EOF, CLOSE):
        for late in (data(b"late"), struct.pack(">BI", EOF, 0)):
            client, server = joined()
            server.send(struct.pack(">BI", number, 0))
            client.feed(server.take())
            server.send(late)
            with pytest.raises(ProtocolError):
                client.feed(server.take())


def test_row12_only_key_exchange_may_follow_a_kexinit() -> None:
    for number in (5, 7, 20, 50, 80, 90, DATA, ADJUST, 98, 192):
        client, server = joined()
        server.send(bytes([KEXINIT]))
        client.feed(server.take())
        client.events()
        with pytest.raises(ProtocolError):
            client.feed(seal_as(server, bytes([number]) + bytes(20)))


def seal_as(server: Plane, payload: bytes) -> bytes:
    """What a server sends that does not keep its own silence: its sealer, one packet further on."""
    sealer = Sealer(*keys_for("aes128-gcm@openssh.com", "none", b"firstba"))
    for _ in range(server.send_sequence):
        sealer.seal(b"\x02")
    return sealer.seal(payload)


def test_row14_a_flipped_bit_ends_the_connection_before_any_use() -> None:
    client, server = joined()
    server.channel_write(7, b"secret")
    sealed = bytearray(server.take())
    sealed[20] ^= 1
    with pytest.raises(IntegrityError):
        client.feed(bytes(sealed))
    assert client.events() == []


REPLIES = {
    "unknown id": lambda s, number, length: s.data(number ^ 0x400, b"x"),
    "answered twice": lambda s, number, length: s.data(number, b"x" * length) * 2,
    "empty data": lambda s, number, length: s.data(number, b""),
    "more than asked": lambda s, number, length: s.data(number, b"x" * (length + 1)),
    "OK to a read": lambda s, number, length: s.status(number, 0),
    "handle to a read": lambda s, number, length: s.message(struct.pack(">BII", 102, number, 0)),
    "name of our id": lambda s, number, length: s.message(struct.pack(">BII", 104, 0x8000_0000 | number, 0)),
    "oversize message": lambda s, number, length: struct.pack(">IBI", 300_000, 103, number),
    "empty message": lambda s, number, length: struct.pack(">I", 0) + bytes(9),
    "data longer than its message": lambda s, number, length: struct.pack(">IBII", 10, 103, number, 100) + b"x",
    "data without a length": lambda s, number, length: struct.pack(">IBI", 5, 103, number) + bytes(4),
    "status without a code": lambda s, number, length: s.message(struct.pack(">BI", 101, number)),
}


@pytest.mark.parametrize("fault", REPLIES)
def test_row22_bad_sftp_replies_end_promptly(file, fault: str) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane)
    server.answer = lambda kind, number, offset, payload: [
        REPLIES[fault](server, number, struct.unpack(">I", payload)[0])
    ]
    client.sftp_get(0, b"handle", file(), offset=0, size=1000, chunk=1000, to_end=False)
    with pytest.raises(ProtocolError):
        run(client, server)


def test_stderr_of_an_sftp_channel_is_data_and_not_a_message(file) -> None:
    client, plane = joined()
    client.sftp_attach(0)
    server = SFTPServer(plane, b"content")
    number = client.sftp_get(0, b"handle", file(), offset=0, size=7, chunk=7, to_end=False)
    plane.channel_write(7, b"disk quota exceeded", 1)
    deliver(plane, client)
    assert client.events() == [(1, 0, 1, b"disk quota exceeded")]
    client.channel_consumed(0, 19)
    run(client, server)
    assert client.transfer_result(number).status == 0


def test_what_is_discarded_does_not_hold_back_end_of_file_and_close() -> None:
    client, server = joined(window=1000, max_packet=1000)
    client.channel_write(0, bytes(300_000))
    client.channel_eof(0)
    client.channel_close(0)
    deliver(client, server)
    assert server.events() == [(1, 7, 0, bytes(1000))]
    client.channel_discard(0)
    assert client.channel_pending(0) == 0
    deliver(client, server)
    assert [event[2][0] for event in server.events()] == [96, 97]
    assert [event[0] for event in client.events()] == [4]  # whoever waits for room to write is woken
    client.channel_remove(0)
    with pytest.raises(ValueError):
        client.channel_discard(0)


def test_row13_a_compressed_bomb_is_refused() -> None:
    import zlib

    client, server = joined()
    client.set_receive_compression("zlib@openssh.com")
    squeezed = zlib.compressobj()
    bomb = squeezed.compress(bytes(2_000_000)) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    server.send(bomb)
    with pytest.raises(ProtocolError, match="compress"):
        client.feed(server.take())


# -- for shared connections --------------------------------------------------------------------------------------------


def test_packets_without_padding_are_a_length_a_nought_and_the_message() -> None:
    plane, message = Plane(), bytes([80]) + os.urandom(99)
    plane.set_unpadded()
    plane.send(message)
    packet = struct.pack(">IB", len(message) + 1, 0) + message
    assert plane.take() == packet
    for size in (1, 7, len(packet)):
        other = Plane()
        other.set_unpadded()
        for start in range(0, len(packet), size):
            other.feed(packet[start : start + size])
        assert other.events() == [(native.EVENT_MESSAGE, 0, message)]
    for late in (plane, other):
        with pytest.raises(ValueError):
            late.set_unpadded()
    for bad in (b"\0\0\0\0\0", b"\0\0\0\1\0", b"\0\4\0\1\0", b"\0\0\0\2\1\5"):  # the last: padding, and no message
        plane = Plane()
        plane.set_unpadded()
        with pytest.raises(ProtocolError):
            plane.feed(bad)


def test_what_comes_for_a_raw_channel_is_pythons_to_understand() -> None:
    client, server = Plane(), Plane()
    client.channel_add(5, 0, 32768)
    client.channel_raw(5)
    messages = [
        struct.pack(">BIIII", CONFIRM, 5, 7, 0, 32768), struct.pack(">BII", DATA, 5, 3) + b"abc",
        struct.pack(">BII", ADJUST, 5, 0xFFFFFFFF), struct.pack(">BII", ADJUST, 5, 0xFFFFFFFF),
        struct.pack(">BIII", EXTENDED, 5, 1, 1) + b"x", struct.pack(">BI", EOF, 5), struct.pack(">BI", CLOSE, 5),
    ]  # fmt: skip
    for message in messages:
        server.send(message)
    deliver(server, client, blocked=lambda: None)
    raw = (native.EVENT_RAW, 5)
    found = client.events()
    assert [event[2] for event in found] == messages
    assert [event[:2] == raw for event in found] == [False, True, True, True, True, False, False]
    server.send(messages[1])
    with pytest.raises(ProtocolError):  # after CLOSE there is nobody any more
        deliver(server, client)
