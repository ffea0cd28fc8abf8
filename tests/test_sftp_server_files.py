"""Open files of the SFTP server in memory: handles, bytes at any offset, and copies on the server's side."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fastssh.errors import ProtocolError
from fastssh.sftp import file_io, handles, server
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes as A
from fastssh.sftp.constants import MAX_TRANSFER
from fastssh.sftp.constants import OpenFlags as F
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.messages import SFTPLimits
from fastssh.sftp.server import default_limits
from tests.support.sftp_peers import Ours, limited, local
from tests.support.watching import open_descriptors

READ, WRITE, BOTH, NEW = int(F.READ), int(F.WRITE), int(F.READ | F.WRITE), int(F.WRITE | F.CREAT)
GIB4 = 4 * 2**30


# --- handles ----------------------------------------------------------------------------------------------------------


def test_row21_there_are_no_more_handles_than_the_limit(tmp_path: Path) -> None:
    with local(tmp_path, limits=limited(max_open_handles=3)) as session:
        assert session.value(m.LIMITS).max_open_handles == 3
        opened = [session.value(m.OPEN, b"file", NEW, A()) for _ in range(2)] + [session.value(m.OPENDIR, b".")]
        count = open_descriptors()
        assert session.status(m.OPEN, b"another", NEW, A()) == S.FAILURE
        assert session.status(m.OPEN, b"file", NEW | int(F.TRUNC), A()) == S.FAILURE
        assert session.status(m.OPENDIR, b".") == S.FAILURE
        assert not (tmp_path / "another").exists() and open_descriptors() == count
        assert session.status(m.CLOSE, opened[0]) == S.OK
        assert session.value(m.OPEN, b"another", NEW, A()) not in opened


def test_a_failed_open_takes_no_handle(tmp_path: Path) -> None:
    with local(tmp_path, limits=limited(max_open_handles=1)) as session:
        before = open_descriptors()
        for _ in range(5):
            assert session.status(m.OPEN, b"missing", READ, A()) == S.NO_SUCH_FILE
            assert session.status(m.OPEN, b".", READ, A()) == S.FAILURE
        assert open_descriptors() == before
        session.value(m.OPENDIR, b".")


def test_a_stale_handle_is_refused_though_its_slot_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    with local(tmp_path, limits=limited(max_open_handles=2)) as session:
        seen: set[bytes] = set()
        for _ in range(50):
            handle = session.value(m.OPEN, b"file", READ, A())
            assert len(handle) == 4 and handle not in seen
            for stale in seen:
                assert session.status(m.READ, stale, 0, 1) == S.FAILURE
                assert session.status(m.CLOSE, stale) == S.NO_SUCH_FILE
                assert session.server.descriptor_of(stale) is None
            assert session.value(m.READ, handle, 0, 100) == b"contents"
            assert session.status(m.CLOSE, handle) == S.OK
            seen.add(handle)


def test_a_slot_that_was_used_as_often_as_a_handle_can_say_is_used_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "_USES", 3)
    table = handles.Handles(1)
    opened = []
    for _ in range(7):
        opened.append(table.add(lambda: _open(tmp_path)))
        table.close(opened[-1])
    assert len(set(opened)) == 7
    assert [int.from_bytes(handle, "big") & 0xFFFF for handle in opened] == [0, 0, 0, 1, 1, 1, 2]


def _open(directory: Path) -> handles.OpenFile:
    return handles.OpenFile(os.open(directory / "x", os.O_CREAT | os.O_RDWR), os.O_RDWR, True)


def test_a_handle_of_one_kind_is_none_of_the_other(ours: Ours) -> None:
    file, directory = ours.value(m.OPEN, b"file", NEW, A()), ours.value(m.OPENDIR, b".")
    assert ours.status(m.READDIR, file) == S.FAILURE
    for request, *values in ((m.READ, 0, 1), (m.WRITE, 0, b"x"), (m.FSTAT,), (m.FSETSTAT, A(size=0)), (m.FSTATVFS,)):
        assert ours.status(request, directory, *values) == S.FAILURE
    assert ours.status(m.FSYNC, directory) == S.NO_SUCH_FILE


def test_handles_are_as_many_as_descriptors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, expected in ((1024, 320), (20_000, 4096), (resource.RLIM_INFINITY, 4096), (32, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        assert default_limits() == SFTPLimits(262_144, 261_120, 261_120, expected)


def test_the_end_of_a_session_closes_what_was_left_open(tmp_path: Path) -> None:
    before = open_descriptors()
    session = local(tmp_path)
    for name in (b"a", b"b"):
        session.value(m.OPEN, name, NEW, A())
    handle = session.value(m.OPENDIR, b".")
    session.value(m.READDIR, handle)
    session.close()
    assert open_descriptors() == before
    session.close()


def test_the_close_of_a_file_tells_how_it_went(ours: Ours) -> None:
    handle = ours.value(m.OPEN, b"file", NEW, A())
    descriptor = ours.server.descriptor_of(handle)
    assert descriptor is not None
    os.close(descriptor.fd)  # as a file system that cannot write what it had taken
    assert ours.status(m.CLOSE, handle) == S.NO_SUCH_FILE  # EBADF
    assert ours.status(m.FSTAT, handle) == S.FAILURE
    os.open(os.devnull, os.O_RDONLY)  # the number is back in use
    os.close(descriptor.fd)


# --- descriptors for the native plane ---------------------------------------------------------------------------------


def test_a_regular_file_shows_its_descriptor_and_what_it_is_open_for(ours: Ours, tmp_path: Path) -> None:
    ways = {
        READ: (True, False, False), WRITE: (False, True, False), BOTH: (True, True, False),
        WRITE | int(F.APPEND): (False, True, True), BOTH | int(F.APPEND): (True, True, True),
    }  # fmt: skip
    (tmp_path / "file").touch()
    for flags, expected in ways.items():
        found = ours.server.descriptor_of(ours.value(m.OPEN, b"file", flags, A()))
        assert found is not None and found[1:] == expected
        assert os.path.samestat(os.fstat(found.fd), os.stat(tmp_path / "file"))
        assert os.get_blocking(found.fd) and not os.get_inheritable(found.fd)


def test_the_null_device_shows_its_descriptor_too(ours: Ours) -> None:
    found = ours.server.descriptor_of(ours.value(m.OPEN, b"/dev/null", BOTH, A()))
    assert found is not None and found[1:] == (True, True, False) and os.get_blocking(found.fd)


def test_what_may_wait_shows_no_descriptor(ours: Ours) -> None:
    for handle in (ours.value(m.OPENDIR, b"."), ours.value(m.OPEN, b"/dev/zero", READ, A()), b"none", b""):
        assert ours.server.descriptor_of(handle) is None


def test_a_fifo_without_a_partner_does_not_stop_the_server(ours: Ours, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert ours.status(m.OPEN, b"fifo", WRITE, A()) == S.FAILURE  # ENXIO
    reading = ours.value(m.OPEN, b"fifo", READ, A())
    assert ours.status(m.READ, reading, 0, 10) == S.FAILURE  # ESPIPE, as with sftp-server
    writing = ours.value(m.OPEN, b"fifo", WRITE | int(F.APPEND), A())
    statuses = [ours.status(m.WRITE, writing, 0, bytes(200_000)) for _ in range(2)]
    assert statuses[-1] == S.FAILURE  # full, and nobody reads


# --- READ and WRITE ---------------------------------------------------------------------------------------------------


def test_row21_reads_are_as_long_as_the_limit_at_most(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(MAX_TRANSFER + 5000))
    handle = ours.value(m.OPEN, b"file", READ, A())
    assert ours.value(m.READ, handle, 100, 2**32 - 1) == (tmp_path / "file").read_bytes()[100 : 100 + MAX_TRANSFER]
    assert ours.value(m.LIMITS) == SFTPLimits(262_144, 261_120, 261_120, default_limits().max_open_handles)
    with local(tmp_path, limits=limited(max_read_length=1000)) as session:
        assert len(session.value(m.READ, session.value(m.OPEN, b"file", READ, A()), 0, 5000)) == 1000
    with local(tmp_path, limits=limited(max_read_length=2**40)) as session:
        assert len(session.value(m.READ, session.value(m.OPEN, b"file", READ, A()), 0, 2**31)) == MAX_TRANSFER


def test_row10_offsets_and_sizes_of_4_gib_and_more(ours: Ours, tmp_path: Path) -> None:
    for size in (GIB4 - 1, GIB4, GIB4 + 1):
        handle = ours.value(m.OPEN, b"sparse", BOTH | NEW, A())
        assert ours.status(m.SETSTAT, b"sparse", A(size=size)) == S.OK
        assert ours.value(m.STAT, b"sparse").size == size == ours.value(m.FSTAT, handle).size
        assert ours.status(m.WRITE, handle, size, b"after") == S.OK
        assert ours.value(m.READ, handle, size, 10) == b"after"
        assert ours.value(m.READ, handle, size - 1, 10) == b"\0after"
        assert ours.status(m.READ, handle, size + 5, 10) == S.EOF
        assert (tmp_path / "sparse").stat().st_size == size + 5
        assert ours.status(m.FSETSTAT, handle, A(size=size - 1)) == S.OK
        assert ours.value(m.LSTAT, b"sparse").size == size - 1
        [entry] = [each for each in ours.listing(b".") if each.filename == b"sparse"]
        assert entry.attributes.size == size - 1
        assert ours.status(m.CLOSE, handle) == S.OK


def test_row10_copy_data_across_4_gib(ours: Ours, tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as file:
        file.seek(GIB4 - 3)
        file.write(b"abcdef")
    source, target = ours.value(m.OPEN, b"source", READ, A()), ours.value(m.OPEN, b"target", BOTH | NEW, A())
    assert ours.status(m.COPY_DATA, source, GIB4 - 3, 6, target, GIB4 - 2) == S.OK
    assert ours.value(m.READ, target, GIB4 - 2, 10) == b"abcdef"
    assert ours.status(m.COPY_DATA, source, GIB4 + 1, 0, target, 2 * GIB4 + 1) == S.OK
    assert ours.value(m.FSTAT, target).size == 2 * GIB4 + 3


def test_row10_numbers_that_the_system_cannot_have_are_refused(ours: Ours) -> None:
    handle = ours.value(m.OPEN, b"file", BOTH | NEW, A())
    other = ours.value(m.OPEN, b"other", BOTH | NEW, A())
    for number in (2**63, 2**64 - 1):
        for request, *values in (
            (m.READ, handle, number, 1), (m.WRITE, handle, number, b"x"), (m.FSETSTAT, handle, A(size=number)),
            (m.SETSTAT, b"file", A(size=number)), (m.COPY_DATA, handle, number, 1, other, 0),
            (m.COPY_DATA, handle, 0, 1, other, number),
        ):  # fmt: skip
            assert ours.status(request, *values) == S.BAD_MESSAGE
    assert ours.status(m.WRITE, handle, 2**63 - 1, b"xy") in (S.BAD_MESSAGE, S.FAILURE)
    assert ours.value(m.FSTAT, handle).size == 0


def test_a_write_that_the_disk_does_not_take_is_a_failure(ours: Ours) -> None:
    handle = ours.value(m.OPEN, b"/dev/full", WRITE, A())
    assert ours.status(m.WRITE, handle, 0, b"x") == S.FAILURE


def test_a_write_is_carried_on_with_until_all_of_it_is_there(
    ours: Ours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:3], offset))
    handle = ours.value(m.OPEN, b"file", NEW, A())
    assert ours.status(m.WRITE, handle, 0, b"ten bytes!") == S.OK
    assert (tmp_path / "file").read_bytes() == b"ten bytes!"


# --- copy-data --------------------------------------------------------------------------------------------------------

LARGE = 5 * file_io.SLICE + 12345


@pytest.fixture
def lazy(tmp_path: Path) -> Iterator[Ours]:
    """A session whose long requests are not worked off by themselves; "large" is there to be copied."""
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    with local(tmp_path, lazy=True) as session:
        yield session


def begin_copy(session: Ours, length: int = 0) -> None:
    source, target = session.value(m.OPEN, b"large", READ, A()), session.value(m.OPEN, b"target", NEW, A())
    assert not session.server.busy
    session.server.receive(m.COPY_DATA.encode(100, source, 0, length, target, 0)[4:])


def test_copy_data_is_done_in_slices_between_which_others_come_to_their_turn(lazy: Ours, tmp_path: Path) -> None:
    begin_copy(lazy)
    sizes = [(tmp_path / "target").stat().st_size]
    while lazy.server.busy:
        assert lazy.replies == []
        more = lazy.server.work()
        assert more == lazy.server.busy
        sizes.append((tmp_path / "target").stat().st_size)
    assert max(later - sooner for sooner, later in pairwise(sizes)) <= file_io.SLICE
    assert m.STATUS.decode(lazy.replies.pop()[4:]).code == S.OK and not lazy.replies
    assert (tmp_path / "target").read_bytes() == (tmp_path / "large").read_bytes()
    assert not lazy.server.work()


def test_requests_behind_a_copy_are_answered_after_it_and_in_order(lazy: Ours, tmp_path: Path) -> None:
    begin_copy(lazy)
    for number in (101, 102):
        lazy.server.receive(m.STAT.encode(number, b"target")[4:])
    lazy.server.receive(m.REMOVE.encode(103, b"target")[4:])
    while lazy.server.work():
        pass
    assert [int.from_bytes(reply[5:9], "big") for reply in lazy.replies] == [100, 101, 102, 103]
    assert m.ATTRIBUTES.decode(lazy.replies[1][4:]).size == LARGE
    assert not (tmp_path / "target").exists()


def test_a_malformed_request_behind_a_copy_ends_the_session_when_its_turn_comes(lazy: Ours) -> None:
    begin_copy(lazy)
    lazy.server.receive(m.STAT.encode(101, b"x")[4:-1])
    with pytest.raises(ProtocolError):
        while lazy.server.work():
            pass
    assert len(lazy.replies) == 1


def test_row12_requests_behind_a_copy_wait_in_bounded_memory(lazy: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_WAITING", 1000)
    begin_copy(lazy)
    with pytest.raises(ProtocolError, match="behind one that takes long"):
        for number in range(101, 200):
            lazy.server.receive(m.STAT.encode(number, b"x" * 50)[4:])
    assert number == 109


def test_the_end_of_a_session_is_the_end_of_its_copy(lazy: Ours) -> None:
    begin_copy(lazy)
    lazy.server.receive(m.STAT.encode(101, b"x")[4:])
    lazy.server.close()
    assert not lazy.server.busy and not lazy.server.work() and lazy.replies == []


def test_a_copy_without_end_holds_nobody(lazy: Ours) -> None:
    source, target = lazy.value(m.OPEN, b"/dev/zero", READ, A()), lazy.value(m.OPEN, b"/dev/null", WRITE, A())
    lazy.server.receive(m.COPY_DATA.encode(100, source, 0, 0, target, 0)[4:])
    for _ in range(20):
        assert lazy.server.work()
    lazy.server.close()
    assert not lazy.server.work()


@pytest.mark.parametrize("kernel", [True, False], ids=["in the kernel", "through memory"])
@pytest.mark.parametrize("length", [0, 1, LARGE - 10, LARGE - 7])
def test_copies_are_whole_whoever_moves_the_bytes(
    ours: Ours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool, length: int
) -> None:
    moved, by_kernel = [0], file_io._by_kernel

    def counted(*where: int) -> int:
        moved.append(by_kernel(*where) if kernel else 0)
        return moved[-1]

    monkeypatch.setattr(file_io, "_by_kernel", counted)
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    source, target = ours.value(m.OPEN, b"large", READ, A()), ours.value(m.OPEN, b"target", NEW, A())
    assert ours.status(m.COPY_DATA, source, 7, length, target, 3) == S.OK
    copied = (tmp_path / "large").read_bytes()[7 : 7 + length if length else None]
    assert sum(moved) == (len(copied) if kernel and sys.platform == "linux" else 0)
    assert (tmp_path / "target").read_bytes() == bytes(3) + copied
    assert ours.status(m.COPY_DATA, source, 7, LARGE, target, 0) == S.EOF
    assert (tmp_path / "target").stat().st_size == max(LARGE - 7, 3 + len(copied))


def test_copies_from_files_that_do_not_tell_their_size_and_to_the_end_of_a_file(ours: Ours, tmp_path: Path) -> None:
    source = ours.value(m.OPEN, b"/proc/self/status", READ, A())
    target = ours.value(m.OPEN, b"target", NEW | int(F.APPEND), A())
    for times in (1, 2):
        assert ours.status(m.COPY_DATA, source, 0, 0, target, 5) == S.OK
        assert (tmp_path / "target").read_bytes().count(b"Name:") == times


def test_a_copy_that_the_disk_does_not_take_is_a_failure(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    source, target = ours.value(m.OPEN, b"file", READ, A()), ours.value(m.OPEN, b"/dev/full", WRITE, A())
    assert ours.status(m.COPY_DATA, source, 0, 0, target, 0) == S.FAILURE
    assert ours.value(m.STAT, b"file").size == 8  # the session goes on


def test_a_file_is_not_copied_onto_itself_under_whatever_name(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    os.link(tmp_path / "file", tmp_path / "same")
    source, target = ours.value(m.OPEN, b"file", READ, A()), ours.value(m.OPEN, b"same", BOTH, A())
    assert ours.status(m.COPY_DATA, source, 0, 0, target, 8) == S.FAILURE
    assert (tmp_path / "file").read_bytes() == b"contents"
