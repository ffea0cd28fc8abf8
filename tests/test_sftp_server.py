"""The SFTP server in memory: what it answers, what it refuses, what it keeps to, and what ends a session."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh.errors import ProtocolError
from fastssh.sftp import listing
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes as A
from fastssh.sftp.constants import MAX_MESSAGE
from fastssh.sftp.constants import OpenFlags as F
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.download_tree import DownloadTree
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.operations import MAX_IDS, OPERATIONS, Access
from fastssh.sftp.realpath import canonical
from fastssh.sftp.server import default_limits, extensions
from fastssh.sftp.session import Session
from fastssh.sftp.status import failure, status_of
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.sftp.upload_tree import UploadTree
from fastssh.wire.codec import string, uint32
from tests.support.sftp_memory import MemoryLink
from tests.support.sftp_peers import Ours, limited, local

READ, WRITE, BOTH, NEW = int(F.READ), int(F.WRITE), int(F.READ | F.WRITE), int(F.WRITE | F.CREAT)


# --- the beginning and the table --------------------------------------------------------------------------------------


def test_the_version_names_exactly_what_is_served(tmp_path: Path) -> None:
    with local(tmp_path, begin=False) as session:
        version, announced = m.decode_version(session.exchange(m.encode_init())[4:])
    assert version == 3
    assert announced == {name: request.extension.encode() for name, request in m.EXTENSIONS.items()}
    assert announced == extensions(by_descriptor=True)
    assert set(OPERATIONS) == set(m.REQUESTS.values())


@pytest.mark.parametrize(
    "first", [m.STAT.encode(1, b"/"), m.frame(b"\x02\0\0\0\3"), m.frame(b"\x01\0\0"), m.frame(b"")]
)
def test_row26_a_session_that_does_not_begin_with_init_is_over(tmp_path: Path, first: bytes) -> None:
    with local(tmp_path, begin=False) as session, pytest.raises(ProtocolError):
        session.exchange(first)


def test_row26_a_second_init_ends_the_session(ours: Ours) -> None:
    with pytest.raises(ProtocolError, match="INIT"):
        ours.exchange(m.encode_init())


@pytest.mark.parametrize("number", [2, 21, 99, 101, 201, 255])
def test_unknown_requests_are_unsupported(ours: Ours, number: int) -> None:
    reply = m.STATUS.decode(ours.exchange(m.frame(bytes((number,)) + uint32(77) + b"whatever"))[4:])
    assert reply.code == S.OP_UNSUPPORTED


def test_a_message_may_be_a_view_of_somebody_elses_buffer(ours: Ours, tmp_path: Path) -> None:
    buffer = bytearray(m.MKDIR.encode(1, b"made", A()))
    ours.server.receive(memoryview(buffer)[4:])
    assert (tmp_path / "made").is_dir()


# --- row 7 and row 26: malformed messages -----------------------------------------------------------------------------

SAMPLES: dict[m.Request, tuple[Any, ...]] = {
    m.OPEN: (b"file", READ, A(permissions=0o644)), m.CLOSE: (b"hand",), m.READ: (b"hand", 1, 2),
    m.WRITE: (b"hand", 1, b"data"), m.LSTAT: (b"file",), m.FSTAT: (b"hand",), m.SETSTAT: (b"file", A(1, 2, 3, 4, 5, 6)),
    m.FSETSTAT: (b"hand", A(size=1)), m.OPENDIR: (b".",), m.READDIR: (b"hand",), m.REMOVE: (b"file",),
    m.MKDIR: (b"made", A(permissions=0o755)), m.RMDIR: (b"dir",), m.REALPATH: (b".",), m.STAT: (b"file",),
    m.RENAME: (b"file", b"new"), m.READLINK: (b"link",), m.SYMLINK: (b"file", b"new"),
    m.POSIX_RENAME: (b"file", b"new"),
    m.STATVFS: (b".",), m.FSTATVFS: (b"hand",), m.HARDLINK: (b"file", b"new"), m.FSYNC: (b"hand",),
    m.LSETSTAT: (b"link", A(atime=1, mtime=1)), m.LIMITS: (), m.EXPAND_PATH: (b"~",),
    m.COPY_DATA: (b"hand", 0, 0, b"hane", 0), m.HOME_DIRECTORY: (b"",), m.USERS_GROUPS_BY_ID: ((0, 1), (0,)),
    m.BUNDLE_READ: (b"hand", 1000), m.BUNDLE_WRITE: (b"hand", 0, b""),
}  # fmt: skip


def test_there_is_a_sample_of_each_kind_of_request() -> None:
    assert set(SAMPLES) == set(m.REQUESTS.values())


@pytest.mark.parametrize("request_kind", SAMPLES, ids=lambda kind: kind.name)
def test_row07_row26_requests_cut_anywhere_or_with_a_tail_end_the_session(
    tmp_path: Path, request_kind: m.Request
) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    before = sorted(tmp_path.iterdir())
    whole = request_kind.encode(1, *SAMPLES[request_kind])[4:]
    with local(tmp_path) as session:
        other = local(tmp_path)
        tail = [] if request_kind is m.WRITE else [whole + b"\0"]  # see below
        for message in [whole[:length] for length in range(len(whole))] + tail:
            with pytest.raises(ProtocolError):
                session.server.receive(message)
        assert session.replies == []
        assert sorted(tmp_path.iterdir()) == before
        assert other.value(m.STAT, b"file").size == 8  # nobody else is concerned
        other.close()


def test_what_follows_the_bytes_to_write_is_passed_over(ours: Ours, tmp_path: Path) -> None:
    """As sftp-server does it, and rclone 1.60 needs it: after a short read it sends the rest of its buffer as well."""
    handle = ours.value(m.OPEN, b"file", NEW, A())
    reply = ours.exchange(m.frame(m.WRITE.encode(7, handle, 0, b"data")[4:] + b"rest of a buffer"))
    assert m.STATUS.decode(reply[4:]).code == S.OK
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 100])
def test_row07_lengths_inside_a_request_are_at_most_what_remains(ours: Ours, length: int) -> None:
    for message in (
        b"\x11" + uint32(1) + uint32(length) + b"path",
        b"\x06" + uint32(1) + string(b"hand") + bytes(8) + uint32(length) + b"data",
        b"\x0e" + uint32(1) + string(b"made") + uint32(0x80000000) + uint32(length) + bytes(16),
        b"\xc8" + uint32(1) + string(b"users-groups-by-id@openssh.com") + uint32(length) + bytes(8),
    ):
        with pytest.raises(ProtocolError):
            ours.server.receive(message)


def test_messages_longer_than_the_limit_end_the_session(tmp_path: Path) -> None:
    with local(tmp_path, limits=limited(max_packet_length=1000)) as session:
        session.server.receive(m.STAT.encode(1, b"x" * 991)[4:])
        with pytest.raises(ProtocolError, match="1000 allowed"):
            session.server.receive(m.STAT.encode(1, b"x" * 992)[4:])
    with local(tmp_path) as session, pytest.raises(ProtocolError, match="262144 allowed"):
        session.server.receive(m.STAT.encode(1, b"x")[4:].ljust(MAX_MESSAGE + 1))


def test_a_name_with_a_nul_ends_the_session(ours: Ours) -> None:
    for request, values in SAMPLES.items():
        if m.PATH in request.fields:
            bad = [b"a\0b" if field is m.PATH else value for field, value in zip(request.fields, values, strict=True)]
            with pytest.raises(ProtocolError, match="NUL"):
                ours.server.receive(request.encode(1, *bad)[4:])


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_each_errno_has_the_status_that_openssh_gives_it() -> None:
    expected = {
        S.NO_SUCH_FILE: ("ENOENT", "ENOTDIR", "EBADF", "ELOOP"), S.PERMISSION_DENIED: ("EPERM", "EACCES", "EFAULT"),
        S.BAD_MESSAGE: ("ENAMETOOLONG", "EINVAL"), S.OP_UNSUPPORTED: ("ENOSYS",),
    }  # fmt: skip
    named = {getattr(errno, name): code for code, names in expected.items() for name in names}
    for number in errno.errorcode:
        assert status_of(failure(number)).code == named.get(number, S.FAILURE)
    assert status_of(OSError("without a number")).code == S.FAILURE


def test_a_refusal_says_what_the_system_says_and_no_path(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    reply = m.STATUS.decode(ours.exchange(m.RMDIR.encode(1, b"full"))[4:])
    assert reply == m.StatusReply(S.FAILURE, os.strerror(errno.ENOTEMPTY), "")


# --- listings ---------------------------------------------------------------------------------------------------------


def test_readdir_comes_in_batches_bounded_in_names_and_in_bytes(ours: Ours, tmp_path: Path) -> None:
    for name, names in (
        ("short", [f"{number:03}" for number in range(250)]),
        ("long", [f"{n:0255}" for n in range(150)]),
    ):
        (tmp_path / name).mkdir()
        for each in names:
            (tmp_path / name / each).touch()
        handle = ours.value(m.OPENDIR, name.encode())
        found: list[bytes] = []
        while (answer := ours.ask(m.READDIR, handle)).kind is m.NAME:
            assert 0 < len(answer.value) <= listing.BATCH_NAMES == 100
            assert len(m.NAME.encode(1, answer.value)) < listing.BATCH_BYTES + 1000
            found += [entry.filename for entry in answer.value]
        assert answer.value == S.EOF == ours.status(m.READDIR, handle)
        assert sorted(found) == [b".", b"..", *[each.encode() for each in names]]


def test_a_file_that_vanishes_while_a_directory_is_read_is_passed_over(ours: Ours, tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / str(number)).touch()
    handle = ours.value(m.OPENDIR, b".")
    seen = {entry.filename for entry in ours.value(m.READDIR, handle)}
    for number in range(250):
        (tmp_path / str(number)).unlink()
    assert ours.status(m.READDIR, handle) == S.EOF and len(seen) == 100


def test_names_that_are_not_utf8_come_as_they_are(ours: Ours, tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xff\x1b[2J"))).touch()
    [entry] = [each for each in ours.listing(b".") if each.filename not in (b".", b"..")]
    assert entry.filename == b"\xff\x1b[2J" and entry.longname.endswith(b" \xff\x1b[2J")
    assert ours.value(m.STAT, b"\xff\x1b[2J").size == 0


def test_long_names_show_a_file_as_ls_does(tmp_path: Path) -> None:
    names = listing.LongNames({0: b"root"}.get, {0: b"wheel"}.get, lambda: 1_700_000_000)

    def line(mode: int, links: int, uid: int, gid: int, size: int, seconds: int) -> bytes:
        known = {"st_mode": mode, "st_nlink": links, "st_uid": uid, "st_gid": gid, "st_size": size}
        return names.line(b"name", SimpleNamespace(**known, st_mtime_ns=seconds * 10**9))  # type: ignore[arg-type]

    recent, old = 1_700_000_000 - 5, 1_600_000_000
    assert line(0o100644, 1, 0, 0, 5, recent).startswith(b"-rw-r--r--    1 root     wheel           5 Nov 1")
    assert line(0o104755, 12, 0, 99, 2**40, old).startswith(b"-rwsr-xr-x   12 root     99       1099511627776 Sep 1")
    assert line(0o104755, 12, 0, 99, 2**40, old).endswith(b"  2020 name")
    assert line(0o040755, 1, 4_000_000_000, 0, 0, 1_800_000_000).endswith(b"  2027 name")
    assert line(0o100000, 1, 0, 0, 5, 10**15) == b"----------    1 root     wheel           5  name"


def test_each_account_is_looked_up_once_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def getpwuid(uid: int) -> pwd.struct_passwd:
        asked.append(uid)
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    files = LocalFileSystem(tmp_path)
    for _ in range(3):
        assert files.user_name(7) is None
    assert asked == [7]
    for uid in range(5000):
        files.user_name(uid)
    files.user_name(7)
    assert asked.count(7) == 2  # forgotten meanwhile: memory is bounded


def test_more_ids_than_an_answer_holds_are_refused(ours: Ours) -> None:
    assert len(ours.value(m.USERS_GROUPS_BY_ID, (0,) * MAX_IDS, ())[0]) == MAX_IDS
    assert ours.status(m.USERS_GROUPS_BY_ID, (0,) * (MAX_IDS + 1), ()) == S.FAILURE
    assert ours.status(m.USERS_GROUPS_BY_ID, (), (0,) * (MAX_IDS + 1)) == S.FAILURE


# --- names and attributes ---------------------------------------------------------------------------------------------


class NoLinks(LocalFileSystem):
    """A file system without hard links."""

    def __init__(self, home: Path, number: int) -> None:
        super().__init__(home)
        self.number = number

    def link(self, old: bytes, new: bytes) -> None:
        raise failure(self.number)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_rename_replaces_nothing_even_where_links_are_not_possible(tmp_path: Path, number: int) -> None:
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "other").write_bytes(b"two")
    with Ours(NoLinks(tmp_path, number)) as session:
        assert session.status(m.RENAME, b"file", b"other") == S.FAILURE
        assert session.status(m.RENAME, b"file", b"new") == S.OK
    assert (tmp_path / "other").read_bytes() == b"two" and (tmp_path / "new").read_bytes() == b"one"
    assert not (tmp_path / "file").exists()


def test_rename_leaves_one_name_when_the_old_one_cannot_be_removed(tmp_path: Path) -> None:
    class Stubborn(LocalFileSystem):
        def unlink(self, path: bytes) -> None:
            if path == b"file":
                raise failure(errno.EACCES)
            super().unlink(path)

    (tmp_path / "file").write_bytes(b"one")
    with Ours(Stubborn(tmp_path)) as session:
        assert session.status(m.RENAME, b"file", b"new") == S.PERMISSION_DENIED
    assert os.listdir(tmp_path) == ["file"]


def test_rename_never_replaces_a_link_that_leads_nowhere(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("x")
    assert ours.status(m.RENAME, b"link", b"dangling") == S.FAILURE
    assert os.readlink(tmp_path / "dangling") == "nowhere"


def test_what_fails_of_setstat_does_not_keep_the_rest(ours: Ours, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    assert ours.status(m.SETSTAT, b"file", A(size=2**63, permissions=0o600, atime=1, mtime=2)) == S.BAD_MESSAGE
    st = (tmp_path / "file").stat()
    assert (st.st_size, stat.S_IMODE(st.st_mode), st.st_mtime) == (8, 0o600, 2)


def test_a_home_elsewhere_is_where_relative_paths_begin(ours: Ours, tmp_path: Path) -> None:
    home = bytes(tmp_path)
    for request, path in (
        (m.REALPATH, b""), (m.REALPATH, b"."), (m.EXPAND_PATH, b""), (m.EXPAND_PATH, b"~"), (m.HOME_DIRECTORY, b""),
    ):  # fmt: skip
        assert [each.filename for each in ours.value(request, path)] == [home]
    assert ours.value(m.EXPAND_PATH, b"~/x")[0].filename == home + b"/x"
    assert ours.status(m.HOME_DIRECTORY, b"no such user") == S.FAILURE
    assert ours.status(m.EXPAND_PATH, b"~no such user/x") == S.NO_SUCH_FILE


@given(
    path=st.lists(st.sampled_from(("a", "b", "l", "..", ".", "", "up", "abs", "loop", "gone")), max_size=12),
    absolute=st.booleans(),
)
def test_canonical_agrees_with_the_system_where_that_has_an_answer(path: list[str], absolute: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = os.path.realpath(name)
        os.makedirs(f"{base}/a/b")
        for link, target in (("l", "a"), ("a/up", "../a/b/.."), ("abs", f"{base}/a"), ("loop", "loop"), ("gone", "no")):
            os.symlink(target, f"{base}/{link}")
        joined = "/".join(path)
        given_path = f"{base}/{joined}" if not absolute else f"{base}//{joined}"
        try:
            expected = os.path.realpath(given_path, strict=True)
        except OSError:
            return
        found = canonical(given_path.encode(), lambda each: os.readlink(each) if os.path.islink(each) else None)
        assert found == expected.encode()


# --- read-only --------------------------------------------------------------------------------------------------------

WRITES = {
    m.WRITE, m.SETSTAT, m.FSETSTAT, m.REMOVE, m.MKDIR, m.RMDIR, m.RENAME, m.SYMLINK, m.POSIX_RENAME, m.HARDLINK,
    m.LSETSTAT, m.COPY_DATA, m.BUNDLE_WRITE,
}  # fmt: skip
READS = {
    m.CLOSE, m.READ, m.LSTAT, m.FSTAT, m.OPENDIR, m.READDIR, m.REALPATH, m.STAT, m.READLINK, m.STATVFS, m.FSTATVFS,
    m.FSYNC, m.LIMITS, m.EXPAND_PATH, m.HOME_DIRECTORY, m.USERS_GROUPS_BY_ID, m.BUNDLE_READ,
}  # fmt: skip


def test_row21_every_kind_of_request_is_known_to_write_or_not_to() -> None:
    assert {*WRITES, *READS, m.OPEN} == set(m.REQUESTS.values()) and not WRITES & READS
    found = {access: {kind for kind, each in OPERATIONS.items() if each.access is access} for access in Access}
    assert found == {Access.WRITES: WRITES, Access.READS: READS, Access.DEPENDS: {m.OPEN}}


def test_row21_read_only_is_really_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")

    def state() -> list[tuple[Any, ...]]:
        return [
            (each, *[getattr(each.lstat(), name) for name in ("st_mode", "st_size", "st_ctime_ns", "st_nlink")])
            for each in sorted(tmp_path.rglob("*"))
        ]

    before = state()
    with local(tmp_path, read_only=True) as session:
        file, directory = session.value(m.OPEN, b"file", READ, A()), session.value(m.OPENDIR, b".")
        other = session.value(m.OPEN, b"other", READ, A())
        for flags in range(64):
            answer = session.ask(m.OPEN, b"file", flags | 0x40, A())
            writes = flags & (F.WRITE | F.APPEND | F.CREAT | F.TRUNC)
            assert answer.value == S.PERMISSION_DENIED if writes else answer.kind is m.HANDLE
        for request, values in SAMPLES.items():
            given_handles = iter((directory,) if request in (m.READDIR, m.BUNDLE_READ) else (file, other))
            values = tuple(
                next(given_handles) if field is m.HANDLE_FIELD else value
                for field, value in zip(request.fields, values, strict=True)
            )
            answer = session.ask(request, *values)
            refused = answer.kind is m.STATUS and answer.value == S.PERMISSION_DENIED
            assert refused == (request in WRITES), request.name
            if request is m.CLOSE:
                file = session.value(m.OPEN, b"file", READ, A())
    assert state() == before


# --- our own client ---------------------------------------------------------------------------------------------------


class Quiet(CopyObserver):
    """An observer who does not look."""


def joined(session: Ours) -> tuple[Session, MemoryLink]:
    """Our client's side of a session that has not begun."""

    def answer(message: bytes) -> bytes:
        return session.exchange(m.frame(message))

    link = MemoryLink(answer)
    client = Session(link)
    failures: list[Any] = []
    client.start(failures.append)
    link.deliver(client)
    assert failures == [None]
    return client, link


def test_our_client_copies_trees_there_and_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub" / "deep").mkdir(parents=True)
    (source / "sub" / "deep" / "large").write_bytes(os.urandom(700_000))
    for number in range(150):
        (source / "sub" / f"{number}").write_bytes(b"%d" % number * number)
    with local(tmp_path, begin=False) as session:
        client, link = joined(session)
        assert client.limits == default_limits() and client.extensions == extensions(by_descriptor=True)
        options, report = CopyOptions(recurse=True, preserve=True), CopyReport()
        for kind, names in ((UploadTree, (str(source), b"there")), (DownloadTree, (b"there", str(tmp_path / "back")))):
            ends: list[None] = []
            work = kind(client, options, Quiet(), report, lambda ends=ends: ends.append(None))
            work.add(*names)
            work.pump()
            link.deliver(client)
            assert ends == [None] and report.errors == []
    assert (report.files, report.directories) == (302, 6)
    for path in source.rglob("*"):
        back = tmp_path / "back" / path.relative_to(source)
        assert back.is_dir() if path.is_dir() else back.read_bytes() == path.read_bytes()
        assert int(back.stat().st_mtime) == int(path.stat().st_mtime)


# --- whatever comes ---------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(message=st.binary(max_size=400))
def test_row26_no_bytes_do_more_than_raise_protocol_error(message: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, local(Path(name), read_only=True) as session:
        for start in (b"", bytes((200,)) + uint32(1), bytes((message[0] % 21 if message else 0,)) + uint32(1)):
            try:
                session.server.receive(start + message)
            except ProtocolError:
                pass
        with local(Path(name), begin=False) as other:
            try:
                other.server.receive(message)
            except ProtocolError:
                pass


@settings(max_examples=200)
@given(data=st.data())
def test_row26_bit_flips_in_good_requests_do_no_more_than_end_the_session(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name, local(Path(name)) as session:
        Path(name, "file").write_bytes(b"contents")
        handle = session.value(m.OPEN, b"file", READ, A())
        for _ in range(10):
            request = data.draw(st.sampled_from(list(SAMPLES)))
            values = [
                handle if field is m.HANDLE_FIELD else value
                for field, value in zip(request.fields, SAMPLES[request], strict=True)
            ]
            message = bytearray(request.encode(1, *values)[4:])
            bit = data.draw(st.integers(0, 8 * len(message) - 1))
            message[bit // 8] ^= 1 << bit % 8
            number = len(session.replies)
            try:
                session.server.receive(message)
            except ProtocolError:
                assert len(session.replies) == number
            else:
                assert len(session.replies) == number + 1
