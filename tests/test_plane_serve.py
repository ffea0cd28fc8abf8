"""The native plane serving SFTP: a client's plane joined to it in memory, our SFTP server behind it."""

from __future__ import annotations

import errno
import os
import random
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastssh._native import plane as native
from fastssh._native.plane import Plane
from fastssh.errors import ProtocolError
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes as A
from fastssh.sftp.constants import MAX_MESSAGE, Packet
from fastssh.sftp.constants import OpenFlags as F
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.status import failure, native_statuses, status, status_of
from fastssh.wire.codec import uint32
from tests.support.planes import CLOSE, EOF, KEXINIT, NEWKEYS, SUITES, deliver, finished, joined, keys_for
from tests.support.sftp_serving import CLIENT, SERVED, Talk, by_plane, by_python

READ, BOTH, NEW = int(F.READ), int(F.READ | F.WRITE), int(F.READ | F.WRITE | F.CREAT)
APPENDING = int(F.WRITE | F.APPEND | F.CREAT)
SIZES = [0, 1, 100, 32767, 32768, 32769, 261120, 1_000_003]
HANDLE = bytes(4)  # the first that is given out


def one_by_one(left: int) -> int:
    return 1


def pieces_of(seed: int, most: int = 50_000) -> Callable[[int], int]:
    cut = random.Random(seed)
    return lambda left: cut.randrange(1, most)


def statuses(replies: list[bytes]) -> list[tuple[int, int]]:
    """(id, code) of replies that are all STATUS."""
    assert all(reply[0] == Packet.STATUS for reply in replies)
    return [(int.from_bytes(reply[1:5], "big"), m.STATUS.decode(reply).code) for reply in replies]


# --- a client's transfers against it ------------------------------------------------------------------------------


def transfer(directory: Path, content: bytes, chunk: int, **how: object) -> Talk:
    """Up with the client's put, down again with its get; all bytes are where they belong."""
    (directory / "there").write_bytes(b"")
    (directory / "source").write_bytes(content)
    with Talk(directory, **how) as talk:  # type: ignore[arg-type]
        talk.begin()
        handle = talk.open(b"there", BOTH)
        asked = len(talk.serving.seen)
        talk.client.sftp_attach(CLIENT)
        source = os.open(directory / "source", os.O_RDONLY)
        sink = os.open(directory / "back", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        put = talk.client.sftp_put(CLIENT, handle, source, offset=0, size=-1, chunk=chunk)
        result = finished(talk.client, talk.run(), put)
        assert (result.status, result.bytes) == (0, len(content))
        assert (directory / "there").read_bytes() == content
        get = talk.client.sftp_get(CLIENT, handle, sink, offset=0, size=len(content), chunk=chunk, to_end=True)
        result = finished(talk.client, talk.run(), get)
        assert (result.status, result.bytes, result.end_of_file) == (0, len(content), len(content))
        assert (directory / "back").read_bytes() == content
        assert talk.serving.counters == (len(content), len(content))
        assert len(talk.serving.seen) == asked  # not one of them came to Python
        os.close(source)
        os.close(sink)
        return talk


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [1000, 32755, 32768, 261120])
def test_gets_and_puts_are_served_without_python(tmp_path: Path, size: int, chunk: int) -> None:
    transfer(tmp_path, random.Random(size).randbytes(size), chunk)


@pytest.mark.parametrize("suite", SUITES, ids=["+".join(suite) for suite in SUITES])
def test_every_suite_serves_in_odd_pieces(tmp_path: Path, suite: tuple[str, str]) -> None:
    transfer(tmp_path, random.Random(1).randbytes(300_001), 32768, suite=suite, pieces=pieces_of(2))


@pytest.mark.parametrize("window", [100, 1000, 20_000, 70_000, 300_000])
@pytest.mark.parametrize("packet", [512, 4096, 100_000])
def test_narrow_windows_and_small_packets_only_slow_it_down(tmp_path: Path, window: int, packet: int) -> None:
    size = min(100 * window, 1_500_000) // (10 if packet == 512 else 1)
    content = random.Random(size).randbytes(size)
    for client_packet in (packet, 32768):
        channel = {"window": window, "client_window": window, "max_packet": packet, "client_packet": client_packet}
        transfer(tmp_path, content, 261120 if window > 1000 else 3000, **channel)


def test_byte_by_byte_is_the_same(tmp_path: Path) -> None:
    transfer(tmp_path, random.Random(3).randbytes(70_001), 20_000, pieces=one_by_one)


@given(
    st.integers(0, 600_000), st.integers(1, 261_120), st.integers(200, 1 << 21), st.integers(200, 1 << 21),
    st.integers(512, 70_000), st.integers(512, 70_000), st.integers(0, 1000),
)  # fmt: skip
def test_transfers_of_any_shape(
    size: int, chunk: int, window: int, client_window: int, packet: int, client_packet: int, seed: int
) -> None:
    size = min(size, 200 * chunk, 100 * window, 100 * client_window)
    with tempfile.TemporaryDirectory() as directory:
        transfer(
            Path(directory), random.Random(seed).randbytes(size), chunk, pieces=pieces_of(seed, 200_000), window=window,
            client_window=client_window, max_packet=packet, client_packet=client_packet,
        )  # fmt: skip


def test_a_rekey_in_the_midst_changes_nothing(tmp_path: Path) -> None:
    content = random.Random(4).randbytes(3_000_000)
    (tmp_path / "there").write_bytes(content)
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"there", BOTH)
        talk.client.sftp_attach(CLIENT)
        sink = os.open(tmp_path / "back", os.O_RDWR | os.O_CREAT)
        get = talk.client.sftp_get(CLIENT, handle, sink, offset=0, size=len(content), chunk=32768, to_end=True)
        heard: list[native.Event] = []
        for turn in range(3):
            talk.serving.plane.feed(talk.client.take())
            heard += new_keys(talk.serving.plane, talk.client, b"down%d" % turn)
            heard += new_keys(talk.client, talk.serving.plane, b"up%d" % turn)
            deliver(talk.serving.plane, talk.client)
        assert 0 < talk.serving.counters[0] < len(content)
        assert finished(talk.client, heard + talk.run(), get).status == 0
        assert (tmp_path / "back").read_bytes() == content
        os.close(sink)


def new_keys(source: Plane, sink: Plane, seed: bytes) -> list[native.Event]:
    """For one direction, with requests and replies under way; what the sink heard meanwhile."""
    heard = []
    keys = keys_for("chacha20-poly1305@openssh.com", "none", seed)
    for message in (KEXINIT, NEWKEYS):
        source.send(bytes([message]))
        deliver(source, sink)
        heard += sink.events()
    source.set_send_keys(*keys, reset_sequence=True)
    sink.set_receive_keys(*keys, reset_sequence=True)
    return heard


def test_compressed_packets_are_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 40_000)
    with Talk(tmp_path) as talk:
        for plane, other in ((talk.client, talk.serving.plane), (talk.serving.plane, talk.client)):
            plane.set_send_compression("zlib@openssh.com")
            other.set_receive_compression("zlib@openssh.com")
        talk.begin()
        handle = talk.open(b"file", BOTH)
        talk.say(b"".join(m.WRITE.encode(i, handle, 1000 * i, b"x" * 1000) for i in range(50)))
        assert statuses(talk.replies()) == [(i, S.OK) for i in range(50)]
        assert m.DATA.decode(talk.ask(m.READ, 9, handle, 0, 120_000)) == b"x" * 50_000 + (b"abc" * 40_000)[50_000:]
        assert talk.serving.counters == (120_000, 50_000)


# --- replies, in order, and as few packets as possible --------------------------------------------------------------


def packets(plane: Plane) -> int:
    return plane.send_sequence


def test_many_small_writes_are_acknowledged_in_one_packet(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        before = packets(talk.serving.plane)
        talk.say(b"".join(m.WRITE.encode(i, handle, 10 * i, b"0123456789") for i in range(500)))
        assert packets(talk.serving.plane) == before + 1
        assert talk.replies() == [m.STATUS.encode(i, status(S.OK))[4:] for i in range(500)]
        assert (tmp_path / "new").read_bytes() == b"0123456789" * 500


def test_many_reads_of_one_packet_are_answered_with_full_packets(tmp_path: Path) -> None:
    content = random.Random(5).randbytes(100_000)
    (tmp_path / "file").write_bytes(content)
    places = [random.Random(6).randrange(99_900) for _ in range(300)]
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"file", READ)
        before = packets(talk.serving.plane)
        talk.say(b"".join(m.READ.encode(i, handle, at, 100) for i, at in enumerate(places)))
        replies = talk.replies()
        assert packets(talk.serving.plane) <= before + 4  # 128 at once, and credit
        assert replies == [m.DATA.encode(i, content[at : at + 100])[4:] for i, at in enumerate(places)]


def test_reads_at_the_end_are_short_and_behind_it_eof(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"file", READ)
        talk.say(b"".join(m.READ.encode(i, handle, i * 4, 4) for i in range(6)) + m.READ.encode(9, handle, 3, 100))
        end = status(S.EOF)
        assert talk.replies() == [
            m.DATA.encode(0, b"0123")[4:], m.DATA.encode(1, b"4567")[4:], m.DATA.encode(2, b"89")[4:],
            *(m.STATUS.encode(i, end)[4:] for i in (3, 4, 5)), m.DATA.encode(9, b"3456789")[4:],
        ]  # fmt: skip
        assert len(talk.serving.seen) == 2  # INIT and OPEN


def test_a_read_sees_what_was_written_before_it_and_not_what_comes_behind(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        stream = b""
        for i in range(300):
            stream += m.WRITE.encode(2 * i, handle, 0, uint32(i) * 500) + m.READ.encode(2 * i + 1, handle, 0, 2000)
        talk.say(stream)
        replies = talk.replies()
        assert statuses(replies[::2]) == [(2 * i, S.OK) for i in range(300)]
        assert [m.DATA.decode(reply) for reply in replies[1::2]] == [uint32(i) * 500 for i in range(300)]


def test_what_comes_behind_a_message_for_python_waits_for_it_without_credit(tmp_path: Path) -> None:
    with Talk(tmp_path, window=100_000) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        talk.serving.lazy = True
        seen = len(talk.serving.seen)
        stream = m.WRITE.encode(1, handle, 0, b"a" * 1000) + m.FSETSTAT.encode(2, handle, A(size=10))
        stream += b"".join(m.WRITE.encode(i, handle, 990 + i * 10, b"b" * 10) for i in range(3, 6000))
        stream += m.STAT.encode(6000, b"new")
        talk.say(stream)
        assert talk.client.channel_pending(CLIENT) > len(stream) - 101_100  # no more than the window came across
        assert (tmp_path / "new").read_bytes() == b"a" * 1000
        assert statuses(talk.replies()) == [(1, S.OK)]
        assert talk.serving.seen[seen:] == [m.FSETSTAT.encode(2, handle, A(size=10))[4:]]
        talk.run()
        assert len(talk.serving.seen) == seen + 1
        talk.serving.lazy = False
        talk.serving.answer(talk.serving.seen[-1])
        talk.run()
        replies = talk.replies()
        assert statuses(replies[:-1]) == [(i, S.OK) for i in range(2, 6000)]
        assert m.ATTRIBUTES.decode(replies[-1]).size == 990 + 5999 * 10 + 10
        assert talk.client.channel_pending(CLIENT) == 0


def test_a_client_that_does_not_read_makes_the_stream_wait_and_no_more(tmp_path: Path) -> None:
    with Talk(tmp_path, client_window=2000, window=200_000) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        stream = b"".join(m.WRITE.encode(i, handle, i, b"x") for i in range(20_000))
        talk.client.channel_write(CLIENT, stream)
        for _ in range(50):  # the client takes nothing
            talk.serving.plane.feed(talk.client.take())
            talk.serving.plane.take()
        assert talk.serving.counters[1] < 10_000
        assert talk.serving.plane.channel_pending(SERVED) < 80_000


def test_a_client_that_was_silent_gets_every_answer_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    with Talk(tmp_path, client_window=30_000) as talk:
        talk.begin()
        handle = talk.open(b"file", BOTH)
        stream = b""
        for i in range(0, 600, 2):
            stream += m.WRITE.encode(i, handle, i * 100, b"x" * 100) + m.READ.encode(i + 1, handle, i * 100, 5000)
        talk.say(stream)
        replies = talk.replies()
        assert [int.from_bytes(reply[1:5], "big") for reply in replies] == list(range(600))
        assert all(m.DATA.decode(reply) == b"x" * 100 + bytes(4900) for reply in replies[1::2])


def test_pythons_own_replies_and_native_ones_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    kinds = random.Random(7)
    with Talk(tmp_path, client_window=5000, pieces=pieces_of(8, 3000)) as talk:
        talk.begin()
        handle = talk.open(b"file", BOTH)
        stream = b""
        for i in range(1000):
            stream += kinds.choice(
                [
                    m.WRITE.encode(i, handle, 0, bytes(50)),
                    m.READ.encode(i, handle, 700, 3000),
                    m.READ.encode(i, handle, 1 << 40, 30),
                    m.FSTAT.encode(i, handle),
                    m.REALPATH.encode(i, b"."),
                ]
            )
        talk.say(stream)
        assert [int.from_bytes(reply[1:5], "big") for reply in talk.replies()] == list(range(1000))


# --- what is Python's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (m.READ.encode(5, HANDLE, 1 << 63, 10), S.BAD_MESSAGE),
        (m.READ.encode(5, HANDLE, (1 << 64) - 1, 10), S.BAD_MESSAGE),
        (m.READ.encode(5, b"\0\1\0\0", 0, 10), S.FAILURE),  # used once before: never given out
        (m.READ.encode(5, b"\0\0\0\1", 0, 10), S.FAILURE),
        (m.READ.encode(5, b"\xff\xff\xff\xff", 0, 10), S.FAILURE),
        (m.READ.encode(5, b"longer than four", 0, 10), S.FAILURE),
        (m.WRITE.encode(5, HANDLE, 1 << 63, b"x"), S.BAD_MESSAGE),
        (m.WRITE.encode(5, b"\0\1\0\0", 0, b"x"), S.FAILURE),
        (m.WRITE.encode(5, HANDLE, 0, b""), S.OK),
    ],
)  # fmt: skip
def test_python_says_what_is_refused(tmp_path: Path, message: bytes, code: int) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        assert talk.open(b"new", NEW) == HANDLE
        talk.say(message)
        assert talk.serving.seen[-1] == message[4:]
        assert statuses(talk.replies()) == [(5, code)]


def test_the_way_a_file_was_opened_is_kept_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with Talk(tmp_path) as talk:
        talk.begin()
        reading, appending = talk.open(b"file", READ), talk.open(b"file", APPENDING)
        writing = talk.open(b"file", int(F.WRITE))
        for handle, request, values in (
            (reading, m.WRITE, (0, b"no")), (writing, m.READ, (0, 4)), (appending, m.READ, (0, 4)),
        ):  # fmt: skip
            assert statuses([talk.ask(request, 3, handle, *values)]) == [(3, S.NO_SUCH_FILE)]  # EBADF
        assert statuses([talk.ask(m.WRITE, 4, appending, 0, b", more")]) == [(4, S.OK)]
        assert (tmp_path / "file").read_bytes() == b"content, more"
        assert talk.serving.counters == (0, 0)


def test_longer_reads_than_allowed_are_pythons_to_cut(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(300_000))
    with Talk(tmp_path, max_read=1000) as talk:
        talk.begin()
        handle = talk.open(b"file", READ)
        assert len(m.DATA.decode(talk.ask(m.READ, 1, handle, 0, 1000))) == 1000
        assert talk.serving.counters == (1000, 0)
        for length in (1001, 261_121, 0xFFFF_FFFF):
            assert len(m.DATA.decode(talk.ask(m.READ, 1, handle, 0, length))) == min(length, 261_120)
        assert talk.serving.counters == (1000, 0)


def test_a_closed_handle_is_never_served_again(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        first = talk.open(b"new", NEW)
        assert statuses([talk.ask(m.CLOSE, 2, first)]) == [(2, S.OK)]
        second = talk.open(b"new", NEW)
        assert second[2:] == first[2:] and second != first
        talk.say(m.WRITE.encode(3, first, 0, b"stale") + m.WRITE.encode(4, second, 0, b"right"))
        assert statuses(talk.replies()) == [(3, S.FAILURE), (4, S.OK)]
        assert (tmp_path / "new").read_bytes() == b"right"


def test_writes_before_a_close_are_in_the_file_when_python_closes_it(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        talk.serving.lazy = True
        talk.say(
            m.WRITE.encode(1, handle, 0, b"x" * 40_000) + m.CLOSE.encode(2, handle) + m.READ.encode(3, handle, 0, 9)
        )
        assert (tmp_path / "new").stat().st_size == 40_000
        talk.serving.lazy = False
        talk.serving.answer(talk.serving.seen[-1])
        talk.run()
        assert statuses(talk.replies()) == [(1, S.OK), (2, S.OK), (3, S.FAILURE)]


# --- errors of the system -----------------------------------------------------------------------------------------


def test_the_table_says_what_the_server_says() -> None:
    end, by_errno = native_statuses()
    assert m.STATUS.encode(1, status(S.EOF))[9:] == end
    assert m.STATUS.encode(1, status(S.OK))[9:] == by_errno[0]
    for number in errno.errorcode:
        assert m.STATUS.encode(1, status_of(failure(number)))[9:] == by_errno[number]
    assert m.STATUS.encode(1, status(S.FAILURE))[9:] == by_errno[-1]
    assert len(by_errno) == max(errno.errorcode) + 2


def forced(talk: Talk, fd: int, index: int = 9, *, readable: bool = True) -> bytes:
    """A handle that leads to any descriptor at all."""
    handle = uint32(index)
    talk.serving.plane.sftp_serve_register(SERVED, handle, fd, readable=readable, writable=True, append=False)
    return handle


def test_a_full_disk_fails_each_write_for_itself(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    no_space = m.STATUS.encode(0, status_of(failure(errno.ENOSPC)))[9:]
    with Talk(tmp_path, pieces=pieces_of(9, 20_000)) as talk:
        talk.begin()
        handle, good = forced(talk, full), talk.open(b"new", NEW)
        stream = b"".join(m.WRITE.encode(i, handle, i * 100, b"x" * 100) for i in range(10))
        stream += m.WRITE.encode(10, handle, 0, b"x" * 200_000)  # comes in many packets
        stream += m.WRITE.encode(11, good, 0, b"x" * 200_000)
        talk.say(stream)
        replies = talk.replies()
        assert [int.from_bytes(reply[1:5], "big") for reply in replies] == list(range(12))
        assert all(reply[5:] == no_space for reply in replies[:11])
        assert replies[11] == m.STATUS.encode(11, status(S.OK))[4:]
        assert talk.serving.counters == (0, 200_000)
        talk.serving.plane.sftp_serve_forget(SERVED, handle)
    os.close(full)


def test_a_write_that_fails_in_its_middle_is_answered_once(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            talk.say(
                m.WRITE.encode(1, handle, 0, b"a" * 60_000)
                + m.WRITE.encode(2, handle, 60_000, b"b" * 150_000)
                + m.WRITE.encode(3, handle, 210_000, b"c" * 10)
                + m.WRITE.encode(4, handle, 10, b"d" * 10)
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert statuses(talk.replies()) == [(1, S.OK), (2, S.FAILURE), (3, S.FAILURE), (4, S.OK)]
        assert (tmp_path / "new").read_bytes() == b"a" * 10 + b"d" * 10 + b"a" * 59_980 + b"b" * 40_000
        assert talk.serving.counters[1] == 100_010


def test_reads_that_the_system_refuses_are_pythons(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with Talk(tmp_path) as talk:
        talk.begin()
        handle, good = forced(talk, directory), talk.open(b"new", NEW)
        asked = m.READ.encode(2, handle, 77, 1000)
        talk.say(m.WRITE.encode(1, good, 0, b"x") + asked + m.READ.encode(3, good, 0, 5))
        assert asked[4:] in talk.serving.seen
        replies = talk.replies()
        assert statuses(replies[:2]) == [(1, S.OK), (2, S.FAILURE)]  # to Python that handle is none
        assert m.DATA.decode(replies[2]) == b"x"
        talk.serving.plane.sftp_serve_forget(SERVED, handle)
    os.close(directory)


def test_a_closed_descriptor_is_an_error_like_any_other(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        fd = os.open(tmp_path / "gone", os.O_RDWR | os.O_CREAT)
        handle = forced(talk, fd)
        os.close(fd)
        assert statuses([talk.ask(m.WRITE, 1, handle, 0, b"x")]) == [(1, S.NO_SUCH_FILE)]  # EBADF
        assert statuses([talk.ask(m.READ, 2, handle, 0, 1)]) == [(2, S.FAILURE)]
        talk.serving.plane.sftp_serve_forget(SERVED, handle)


def test_offsets_beyond_four_gibibytes(tmp_path: Path) -> None:
    far = (4 << 30) + 1
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"sparse", NEW)
        talk.say(b"".join(m.WRITE.encode(i, handle, far + i * 1000, bytes([i]) * 1000) for i in range(40)))
        assert statuses(talk.replies()) == [(i, S.OK) for i in range(40)]
        assert (tmp_path / "sparse").stat().st_size == far + 40_000
        assert m.DATA.decode(talk.ask(m.READ, 1, handle, far - 1, 3)) == b"\0\0\0"
        assert m.DATA.decode(talk.ask(m.READ, 1, handle, far + 39_999, 3)) == b"\x27"
        beyond = talk.ask(m.WRITE, 2, handle, (1 << 63) - 2, b"x")
        assert m.STATUS.decode(beyond) == status_of(failure(errno.EFBIG))


# --- forgetting, ends, interface ----------------------------------------------------------------------------------


def test_forgetting_a_file_while_bytes_for_it_stream_in(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        write = m.WRITE.encode(1, handle, 0, b"x" * 200_000)
        talk.say(write[:100_000])
        written = (tmp_path / "new").stat().st_size
        assert written == 100_000 - 29
        talk.serving.forget(handle)
        talk.say(write[100_000:] + m.READ.encode(2, handle, 0, 10))
        replies = talk.replies()
        assert replies[0] == m.STATUS.encode(1, status_of(failure(errno.EBADF)))[4:]
        assert m.DATA.decode(replies[1]) == b"x" * 10  # Python still has it
        assert (tmp_path / "new").stat().st_size == written


def test_forgetting_a_file_before_its_reads_are_answered(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"file", READ)
        talk.client.channel_write(CLIENT, b"".join(m.READ.encode(i, handle, 0, 7) for i in range(5)))
        talk.serving.plane.feed(talk.client.take())
        talk.serving.forget(handle)
        talk.run()
        assert [m.DATA.decode(reply) for reply in talk.replies()] == [b"content"] * 5
        assert talk.serving.counters == (0, 0)


@pytest.mark.parametrize("cut", [0, 1, 13, 29, 500])
def test_eof_is_told_when_what_came_before_it_is_worked_off(tmp_path: Path, cut: int) -> None:
    with Talk(tmp_path, client_window=5000) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        talk.serving.lazy = True
        stream = m.WRITE.encode(1, handle, 0, b"x" * 10_000) + m.FSTAT.encode(2, handle)
        stream += m.READ.encode(3, handle, 0, 10_000) + m.WRITE.encode(4, handle, 0, b"y" * 600)
        talk.client.channel_write(CLIENT, stream + m.WRITE.encode(5, handle, 0, b"z" * 600)[:cut])
        talk.client.channel_eof(CLIENT)
        talk.run()
        assert not talk.serving.end
        talk.serving.lazy = False
        talk.serving.answer(talk.serving.seen[-1])
        talk.run()
        assert talk.serving.end
        replies = talk.replies()
        assert [int.from_bytes(reply[1:5], "big") for reply in replies] == [1, 2, 3, 4]
        talk.serving.plane.channel_eof(SERVED)
        talk.serving.plane.channel_close(SERVED)
        assert [event[2][0] for event in talk.run() if event[0] == native.EVENT_MESSAGE] == [EOF, CLOSE]


def test_after_the_clients_close_nothing_is_touched(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        talk.serving.lazy = True
        stream = m.WRITE.encode(1, handle, 0, b"x") + m.FSTAT.encode(2, handle) + m.WRITE.encode(3, handle, 0, b"yy")
        talk.client.channel_write(CLIENT, stream)
        talk.client.channel_close(CLIENT)
        talk.run()
        talk.serving.plane.sftp_serve_resume(SERVED)
        talk.run()
        assert (tmp_path / "new").read_bytes() == b"x"
        assert not talk.serving.end
        talk.serving.plane.channel_close(SERVED)
        talk.serving.plane.channel_remove(SERVED)
        with pytest.raises(ValueError, match="channel is not open"):
            talk.serving.plane.sftp_serve_counters(SERVED)
        talk.serving.fds.clear()
        talk.serving.plane = Plane()


def test_after_our_close_requests_are_passed_over(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        write = m.WRITE.encode(1, handle, 0, b"x" * 50_000)
        talk.say(write[:40_000])
        talk.serving.plane.channel_close(SERVED)
        talk.client.channel_write(CLIENT, write[40_000:] * 2)
        talk.run()
        assert talk.replies() == []
        assert (tmp_path / "new").stat().st_size == 40_000 - 29


def test_what_came_before_the_channel_was_attached_is_fed(tmp_path: Path) -> None:
    client, plane = joined(window=1000)
    early = m.encode_init() + m.REALPATH.encode(1, b".")
    client.channel_write(CLIENT, early)
    deliver(client, plane)
    (event,) = plane.events()
    assert event == (native.EVENT_DATA, SERVED, 0, early)
    plane.sftp_serve_attach(SERVED, *native_statuses())
    with pytest.raises(ValueError, match="invalid argument"):
        plane.sftp_serve_feed(SERVED, early + b"x")  # more than came
    plane.sftp_serve_feed(SERVED, early[:5])
    plane.sftp_serve_feed(SERVED, early[5:])
    with pytest.raises(ValueError, match="invalid argument"):
        plane.sftp_serve_feed(SERVED, b"x")
    assert plane.take() == b""
    assert plane.events() == [(native.EVENT_SFTP, SERVED, early[4:9])]
    plane.sftp_serve_resume(SERVED)
    plane.take()
    assert plane.events() == [(native.EVENT_SFTP, SERVED, early[13:])]


def test_the_door_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    client, plane = joined()
    end, by_errno = native_statuses()
    for statuses_, sizes in (
        ((), {}), ((b"x" * 2000,), {}), (by_errno, {"max_read": 0}), (by_errno, {"max_read": 261_121}),
        (by_errno, {"max_message": 0}), (by_errno, {"max_message": MAX_MESSAGE + 1}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="invalid argument"):
            plane.sftp_serve_attach(SERVED, end, statuses_, **sizes)
    plane.sftp_serve_attach(SERVED, end, by_errno)
    for call in (
        lambda: plane.sftp_serve_attach(SERVED, end, by_errno), lambda: plane.sftp_attach(SERVED),
        lambda: plane.sftp_serve_resume(CLIENT), lambda: plane.sftp_serve_forget(3, HANDLE),
        lambda: plane.sftp_serve_counters(3), lambda: plane.sftp_serve_feed(3, b""),
        lambda: plane.sftp_put(SERVED, b"h", 0, offset=0, size=1, chunk=1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="channel is not open"):
            call()
    with pytest.raises(ValueError, match="not allowed in this state"):
        plane.sftp_serve_resume(SERVED)
    ways = {"readable": True, "writable": True, "append": False}
    with pytest.raises(ValueError, match="handle of 3 bytes"):
        plane.sftp_serve_register(SERVED, b"abc", 0, **ways)
    with pytest.raises(ValueError, match="invalid argument"):
        plane.sftp_serve_register(SERVED, HANDLE, -1, **ways)
    plane.sftp_serve_register(SERVED, b"\0\0\xff\xff", 0, **ways)
    with pytest.raises(ValueError, match="invalid argument"):  # the slot is taken
        plane.sftp_serve_register(SERVED, b"\0\1\xff\xff", 0, **ways)
    for handle in (b"\0\1\xff\xff", b"", b"a directory's"):
        plane.sftp_serve_forget(SERVED, handle)
    plane.sftp_serve_forget(SERVED, b"\0\0\xff\xff")
    plane.sftp_serve_register(SERVED, b"\0\1\xff\xff", 0, **ways)
    client.sftp_attach(CLIENT)
    with pytest.raises(ValueError, match="channel is not open"):
        client.sftp_serve_attach(CLIENT, end, by_errno)


# --- hostile input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [MAX_MESSAGE + 1, 1 << 31, 0xFFFF_FFFF])
def test_row26_a_message_too_long_ends_the_connection_at_its_length(tmp_path: Path, length: int) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        handle = talk.open(b"new", NEW)
        talk.client.channel_write(CLIENT, m.WRITE.encode(1, handle, 0, b"before") + uint32(length))
        with pytest.raises(ProtocolError, match="malformed message"):
            talk.run()
        assert (tmp_path / "new").read_bytes() == b"before"


def test_row26_an_empty_message_is_pythons_to_refuse(tmp_path: Path) -> None:
    with Talk(tmp_path) as talk:
        talk.begin()
        talk.say(uint32(0))
        assert talk.serving.seen[-1] == b"" and talk.serving.over


def content_of(directory: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """Of each file its length, its beginning and its end: some are sparse, and large."""
    found = {}
    for path in directory.iterdir():
        with path.open("rb") as file:
            beginning = file.read(1 << 20)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 20)))
            found[path.name] = (size, beginning, file.read())
    return found


def same(tmp: Path, stream: bytes, files: dict[str, bytes], **how: object) -> None:
    """Python alone and the plane before it say the same, byte by byte, and leave the same files."""
    outcomes = []
    for name, play in (("python", by_python), ("plane", by_plane)):
        directory = tmp / name
        directory.mkdir()
        for file, content in files.items():
            (directory / file).write_bytes(content)
        outcomes.append((*(play(directory, stream, **how) if play is by_plane else play(directory, stream))[:2],
                         content_of(directory)))  # fmt: skip
    (replies, over, content), (native_replies, native_over, native_content) = outcomes
    assert native_over == over
    assert native_replies == replies if not over else native_replies == replies[: len(native_replies)]
    assert native_content == content


BEGINNING = m.encode_init() + m.OPEN.encode(1, b"file", BOTH, A())
FEW = (
    m.WRITE.encode(2, HANDLE, 3, b"written") + m.READ.encode(3, HANDLE, 0, 8) + m.READ.encode(4, HANDLE, 8, 30)
    + m.WRITE.encode(5, HANDLE, 10, b"more") + m.CLOSE.encode(6, HANDLE)
)  # fmt: skip


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
def test_row07_row26_any_flipped_bit_is_judged_as_python_judges_it(tmp_path: Path, bit: int) -> None:
    for at in range(len(FEW)):
        flipped = bytearray(FEW)
        flipped[at] ^= bit
        directory = tmp_path / str(at)
        directory.mkdir()
        same(directory, BEGINNING + bytes(flipped), {"file": b"0123456789abcdef"})


def test_row07_row26_a_stream_cut_anywhere_is_no_error(tmp_path: Path) -> None:
    for at in range(len(FEW)):
        directory = tmp_path / str(at)
        directory.mkdir()
        (directory / "file").write_bytes(b"0123456789abcdef")
        with Talk(directory, pieces=one_by_one if at % 16 == 0 else lambda left: left) as talk:
            talk.say(BEGINNING + FEW[:at])
            talk.client.channel_eof(CLIENT)
            talk.run()
            assert talk.serving.end and not talk.serving.over


HANDLES = st.sampled_from(
    [uint32(index) for index in range(4)] + [b"\0\1\0\0", b"\0\1\0\1", b"\0\2\0\0", b"\xff\xff\xff\xff", b"12345"]
)
OFFSETS = st.one_of(
    st.integers(0, 100), st.integers(0, 300_000), st.sampled_from([1 << 32, (1 << 63) - 5, 1 << 63, (1 << 64) - 1])
)
LENGTHS = st.one_of(
    st.integers(0, 40), st.integers(0, 5000), st.sampled_from([32_768, 70_000, 261_120, 261_121, 1 << 31])
)
REQUEST_IDS = st.sampled_from([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 5, 6, 7])
FLAGS = st.sampled_from([READ, int(F.WRITE), BOTH, NEW, APPENDING, int(F.READ | F.APPEND | F.WRITE)])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    number, kind = draw(REQUEST_IDS), draw(st.integers(0, 19))
    if kind < 7:
        return m.READ.encode(number, draw(HANDLES), draw(OFFSETS), draw(LENGTHS))
    if kind < 14:
        offset = draw(OFFSETS.filter(lambda offset: not 300_000 < offset < 1 << 63))
        return m.WRITE.encode(
            number, draw(HANDLES), offset, bytes([draw(st.integers(1, 255))]) * (draw(LENGTHS) % 70_001)
        )
    if kind == 14:
        return m.FSETSTAT.encode(number, draw(HANDLES), A(size=draw(st.integers(0, 100_000))))
    if kind == 15:
        return m.CLOSE.encode(number, draw(HANDLES))
    if kind < 18:
        return m.OPEN.encode(number, draw(st.sampled_from([b"file", b"other", b"none/such"])), draw(FLAGS), A())
    if kind == 18:
        return m.COPY_DATA.encode(number, draw(HANDLES), draw(st.integers(0, 50)), 30, draw(HANDLES), 40)
    whole = m.READ.encode(number, draw(HANDLES), 0, 50)
    return whole if draw(st.integers(0, 3)) else m.frame(whole[4:] + b"\0")


@given(
    st.lists(requests(), max_size=40), st.integers(0, 1000), st.sampled_from([100, 3000, 1 << 20]),
    st.sampled_from([100, 3000, 1 << 20]), st.sampled_from([512, 32_768]),
)  # fmt: skip
@example([m.READ.encode(i, HANDLE, 40 * i, 30) for i in range(200)], 1, 1 << 20, 100, 512)
@example([m.WRITE.encode(i, HANDLE, 30 * i, b"x" * 30) for i in range(400)], 2, 1 << 20, 1 << 20, 32_768)
def test_any_requests_are_answered_as_python_answers_them(
    script: list[bytes], seed: int, window: int, client_window: int, packet: int
) -> None:
    stream = BEGINNING + m.OPEN.encode(1, b"other", NEW, A()) + m.OPEN.encode(1, b"file", READ, A()) + b"".join(script)
    content = random.Random(seed).randbytes(100_000)
    most = 100_000 if seed % 7 else 300
    if len(stream) > 300_000:
        most, window, client_window, packet = 100_000, 1 << 20, 1 << 20, 32_768  # or it takes too long
    with tempfile.TemporaryDirectory() as directory:
        same(
            Path(directory), stream, {"file": content, "other": b"some"}, pieces=pieces_of(seed, most), window=window,
            client_window=client_window, client_packet=packet,
        )  # fmt: skip
