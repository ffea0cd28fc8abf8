"""Small files in bundles: the native codec, what a server does for them, and a client whose server lies."""

from __future__ import annotations

import os
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh._native.bundle import MIN_ROOM, PRESERVE, SET_ID, Packer, entries, unpack
from fastssh.errors import ProtocolError, SFTPBadMessageError
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import MAX_TRANSFER
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.download_tree import DownloadTree
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem
from fastssh.sftp.session import Session
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport
from fastssh.sftp.upload_tree import UploadTree
from fastssh.wire.codec import string
from tests.support.sftp_memory import MemoryLink
from tests.support.sftp_peers import SERVERS, Ours, local
from tests.support.watching import open_descriptors


def entry(name: bytes, content: bytes, mode: int = stat.S_IFREG | 0o644, mtime: int = 1000, kind: int = 1) -> bytes:
    attributes = SFTPAttributes(len(content), 0, 0, mode, mtime, mtime)
    return bytes((kind,)) + string(name) + attributes.encode() + string(content)


def open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def pack(path: Path, room: int = MAX_TRANSFER) -> list[bytes]:
    packer = Packer(open_directory(path))
    try:
        return list(iter(lambda: packer.next(room), b""))
    finally:
        packer.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "target").mkdir()
    descriptor = open_directory(tmp_path / "target")
    yield descriptor
    os.close(descriptor)


# --- the native codec -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [MIN_ROOM, 5000, MAX_TRANSFER])
def test_what_is_packed_is_unpacked_unchanged(tmp_path: Path, target: int, room: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for size in (0, 1, 100, 4000, 4998, 100_000, 300_000):
        (source / f"{size} \udcff").write_bytes(os.urandom(size))
    (source / "directory").mkdir()
    (source / "link").symlink_to("100")
    os.mkfifo(source / "fifo")
    seen = {}
    for bundle in pack(source, room):
        assert len(bundle) <= room
        assert unpack(bundle, target, PRESERVE) == ()
        for name, size, whole, attributes in entries(bundle):
            st_of = os.lstat(source / os.fsdecode(name))
            assert (size, bundle[attributes + 20 : attributes + 24]) == (st_of.st_size, st_of.st_mode.to_bytes(4))
            seen[os.fsdecode(name)] = whole
    assert seen.keys() == set(os.listdir(source))
    assert {name for name, whole in seen.items() if whole} == set(os.listdir(tmp_path / "target"))
    for path in (tmp_path / "target").iterdir():
        assert path.read_bytes() == (source / path.name).read_bytes()
        assert int(path.stat().st_mtime) == int((source / path.name).stat().st_mtime)
    if room == MAX_TRANSFER:
        assert {name for name, whole in seen.items() if not whole} == {"directory", "link", "fifo", "300000 \udcff"}


@given(st.binary(max_size=200))
def test_row07_row26_arbitrary_bytes_are_entries_or_a_protocol_error(data: bytes) -> None:
    for bundle in (data, entry(b"name", b"content") + data, entry(b"name", b"content")[: len(data)]):
        try:
            found = entries(bundle)
        except ProtocolError:
            with pytest.raises(ProtocolError):  # before the directory, which there is none, is looked at
                unpack(bundle, -1, 0)
        else:
            assert sum(45 - 4 + len(name) + (size if whole else 0) for name, size, whole, _ in found) == len(bundle)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=6), st.binary(max_size=20)), max_size=5))
def test_row18_whatever_the_names_nothing_is_written_outside(tmp_path_factory: Any, files: Any) -> None:
    top = tmp_path_factory.mktemp("top")
    (top / "inner").mkdir()
    descriptor = open_directory(top / "inner")
    try:
        bundle = b"".join(entry(name, content) for name, content in files)
        failed = unpack(bundle, descriptor, 0)
    finally:
        os.close(descriptor)
    assert os.listdir(top) == ["inner"]
    for index, (name, _) in enumerate(files):
        if b"/" in name or b"\0" in name or name in (b".", b".."):
            assert index in failed


@pytest.mark.parametrize("room", [-1, 0, MIN_ROOM - 1])
def test_a_packer_says_what_it_cannot_do(tmp_path: Path, room: int) -> None:
    packer = Packer(open_directory(tmp_path))
    with pytest.raises(ValueError, match="room"):
        packer.next(room)
    packer.close()
    with pytest.raises(ValueError, match="closed"):
        packer.next(MIN_ROOM)
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        Packer(descriptor)
    os.close(descriptor)  # still the caller's


def test_row26_a_packer_keeps_no_room_between_bundles(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    packers = [Packer(open_directory(tmp_path)) for _ in range(20)]
    tracemalloc.start()
    try:
        for packer in packers:
            assert packer.next(MAX_TRANSFER)
        assert tracemalloc.get_traced_memory()[0] < MAX_TRANSFER
    finally:
        tracemalloc.stop()
        for packer in packers:
            packer.close()


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ours]:
    """Each kind of file system of ours, with ``served`` for home or root."""
    (tmp_path / "served").mkdir()
    before = open_descriptors()
    with SERVERS[request.param](tmp_path / "served") as session:
        yield session
    assert open_descriptors() == before


def test_a_directory_is_read_in_bundles_to_its_end(server: Ours, tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "served" / f"{number}").write_bytes(b"x" * 50 * number)
    handle = server.value(m.OPENDIR, b".")
    found: dict[bytes, int] = {}
    while (answer := server.ask(m.BUNDLE_READ, handle, 100_000)).kind is m.BUNDLE_REPLY:
        assert 0 < len(answer.value) <= 100_000
        found |= {name: size for name, size, whole, _ in entries(answer.value) if whole}
    assert answer.value == S.EOF
    assert found == {b"%d" % number: 50 * number for number in range(200)}
    assert len(server.value(m.READDIR, handle)) > 2  # each has its own place in the directory
    assert server.status(m.CLOSE, handle) == S.OK


def test_what_was_not_written_is_told_by_index(server: Ours, tmp_path: Path) -> None:
    (tmp_path / "served" / "taken").mkdir()
    handle = server.value(m.OPENDIR, b".")
    bundle = entry(b"one", b"1") + entry(b"taken", b"2") + entry(b"named", b"", kind=0) + entry(b"../x", b"3")
    assert server.value(m.BUNDLE_WRITE, handle, PRESERVE | SET_ID, bundle) == (1, 3)
    assert (tmp_path / "served" / "one").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path / "served")) == ["one", "taken"] and not (tmp_path / "x").exists()


def test_row21_no_link_is_followed_out_of_a_root_or_read(server: Ours, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "served" / "link").symlink_to(tmp_path / "secret")
    handle = server.value(m.OPENDIR, b".")
    assert b"secret" not in server.value(m.BUNDLE_READ, handle, 10_000).replace(str(tmp_path).encode(), b"")
    assert server.value(m.BUNDLE_WRITE, handle, 0, entry(b"link", b"overwritten")) == (0,)
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("bundle", [b"\1", entry(b"a", b"b")[:-1], entry(b"a", b"b") + b"\7", entry(b"", b"b")])
def test_row07_row26_a_malformed_bundle_ends_the_session_with_nothing_written(
    server: Ours, tmp_path: Path, bundle: bytes
) -> None:
    handle = server.value(m.OPENDIR, b".")
    with pytest.raises(ProtocolError):
        server.ask(m.BUNDLE_WRITE, handle, 0, entry(b"good", b"x") + bundle)
    assert os.listdir(tmp_path / "served") == []


def test_bundles_need_a_directory_and_known_options(server: Ours, tmp_path: Path) -> None:
    (tmp_path / "served" / "file").touch()
    file = server.value(m.OPEN, b"file", 1, SFTPAttributes())
    for handle in (file, b"none"):
        assert server.status(m.BUNDLE_READ, handle, 10_000) == S.FAILURE
        assert server.status(m.BUNDLE_WRITE, handle, 0, b"") == S.FAILURE
    directory = server.value(m.OPENDIR, b".")
    assert server.status(m.BUNDLE_WRITE, directory, 4, entry(b"x", b"")) == S.OP_UNSUPPORTED
    assert len(server.value(m.BUNDLE_READ, directory, 0)) <= MIN_ROOM  # never nothing but at the end


def test_row21_a_read_only_server_writes_no_bundle(tmp_path: Path) -> None:
    with local(tmp_path, read_only=True) as server:
        handle = server.value(m.OPENDIR, b".")
        assert server.status(m.BUNDLE_WRITE, handle, 0, entry(b"x", b"")) == S.PERMISSION_DENIED
    assert os.listdir(tmp_path) == []


class Guarded(LocalFileSystem):
    """One with rules of its own."""


class Opened(LocalFileSystem):
    by_descriptor = True  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "offered"), [(Guarded, False), (Opened, True), (RootedFileSystem, True)])
def test_row21_a_derived_file_system_is_asked_for_every_file(
    tmp_path: Path, kind: Callable[[Path], Any], offered: bool
) -> None:
    with Ours(kind(tmp_path), begin=False) as server:
        _, announced = m.decode_version(server.exchange(m.encode_init())[4:])
        assert (m.BUNDLE_WRITE.name in announced, m.BUNDLE_READ.name in announced) == (offered, offered)
        handle = server.value(m.OPENDIR, b".")
        answer = server.ask(m.BUNDLE_WRITE, handle, 0, entry(b"x", b""))
        assert answer.value == (() if offered else S.OP_UNSUPPORTED)
    assert os.listdir(tmp_path) == (["x"] if offered else [])


# --- the client -------------------------------------------------------------------------------------------------------


class Heard(CopyObserver):
    def __init__(self) -> None:
        self.failures: dict[str, Exception] = {}
        self.done: list[str] = []

    def finished(self, name: str, size: int) -> None:
        self.done.append(os.path.basename(name))

    def failed(self, name: str, error: Exception) -> None:
        self.failures[os.path.basename(name)] = error


Lie = Callable[[m.Request, int, Any, bytes], bytes]  # request, id, values, true reply -> the reply


def copied(tmp_path: Path, kind: Any, source: str, target: str, lie: Lie, **options: Any) -> tuple[CopyReport, Heard]:
    """A tree between two directories below tmp_path, with an answer of the server's changed on the way."""
    with local(tmp_path, begin=False) as server:

        def answer(message: bytes) -> bytes:
            reply = server.exchange(m.frame(message))
            if message[0] == 1:
                return reply
            request, number, values = m.decode_request(message)
            return lie(request, number, values, reply)

        link = MemoryLink(answer)
        client = Session(link)
        client.start(lambda error: None)
        link.deliver(client)
        report, heard, ends = CopyReport(), Heard(), []
        work = kind(client, CopyOptions(recurse=True, **options), heard, report, lambda: ends.append(None))
        ours, theirs = str(tmp_path / source), str(tmp_path / target)
        work.add(*((ours, theirs.encode()) if kind is UploadTree else (ours.encode(), theirs)))
        work.pump()
        link.deliver(client)
        assert ends == [None] and work._load == 0
        heard.failures |= {"session": client.error} if client.error else {}
        return report, heard


def honest(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
    return reply


@pytest.mark.parametrize("kind", [UploadTree, DownloadTree])
@pytest.mark.parametrize("preserve", [False, True])
def test_small_files_of_a_tree_take_no_request_of_their_own(tmp_path: Path, kind: Any, preserve: bool) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    for number in range(300):
        (source / "inner" / f"{number}").write_bytes(b"%d" % number * number)
    (source / "large").write_bytes(os.urandom(MAX_TRANSFER + 1))
    (source / "link").symlink_to("inner/7")
    asked: list[str] = []

    def note(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        asked.append(request.name)
        return reply

    before = open_descriptors()
    report, heard = copied(tmp_path, kind, "source", "target", note, preserve=preserve)
    assert open_descriptors() == before
    assert (report.files, report.directories, report.failed) == (302, 2, 0) and len(heard.done) == 302
    assert asked.count("OPEN") == 2 and sum("bundle" in name for name in asked) < 15
    for path in source.rglob("*"):
        there = tmp_path / "target" / path.relative_to(source)
        assert there.is_dir() if path.is_dir() else there.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", [UploadTree, DownloadTree])
def test_what_a_bundle_cannot_replace_is_copied_or_named_by_itself(tmp_path: Path, kind: Any) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("link", "directory", "plain", "same"):
        (source / name).write_bytes(b"new " + name.encode())
    (target / "elsewhere").write_bytes(b"old")
    (target / "link").symlink_to("elsewhere")
    (target / "directory").mkdir()
    os.link(source / "same", target / "same")
    report, heard = copied(tmp_path, kind, "source", "target", honest)
    assert heard.failures.keys() == {"directory"} and report.files == 3
    assert (source / "same").read_bytes() == b"new same"
    assert (target / "elsewhere").read_bytes() == b"new link" and (target / "link").is_symlink()
    assert (target / "plain").read_bytes() == b"new plain"


def test_a_server_that_refuses_bundles_gets_single_files(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(50):
        (tmp_path / "source" / f"{number}").write_bytes(b"x" * number)

    def refusing(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        if request is m.BUNDLE_WRITE:
            return m.STATUS.encode(number, m.StatusReply(S.PERMISSION_DENIED))
        return reply

    report, heard = copied(tmp_path, UploadTree, "source", "target", refusing)
    assert (report.files, report.failed) == (50, 0) and not heard.failures


@pytest.mark.parametrize(
    ("answer", "files"), [((0, 1, 2), 3), ((2, 2, 2, 0xFFFF_FFFF), 3), ((77, 78), 3)], ids=["all", "twice", "unknown"]
)
def test_indexes_of_what_was_not_written_are_believed_and_nothing_else(
    tmp_path: Path, answer: tuple[int, ...], files: int
) -> None:
    (tmp_path / "source").mkdir()
    for number in range(3):
        (tmp_path / "source" / f"{number}").write_bytes(b"x" * number)

    def lie(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        return m.INDEXES_REPLY.encode(number, answer) if request is m.BUNDLE_WRITE else reply

    report, _ = copied(tmp_path, UploadTree, "source", "target", lie)
    assert (report.files, report.failed) == (files, 0)


@pytest.mark.parametrize("name", [b"..", b".", b"../escaped", b"/etc/escaped", b"a/b", b"a\0b"])
def test_row18_a_bundle_with_a_name_that_leads_elsewhere_writes_nothing_there(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "good").write_bytes(b"good")

    def lie(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        if request is m.BUNDLE_READ and reply[4] == m.BUNDLE_REPLY.number:
            return m.BUNDLE_REPLY.encode(number, entry(b"good", b"good") + entry(name, b"evil"))
        return reply

    report, heard = copied(tmp_path, DownloadTree, "source", "target", lie)
    assert report.files == 1
    if name.strip(b"."):  # the directory itself and its parent stand in every listing, and are passed over
        assert report.failed == 1 and "no file name" in str(next(iter(heard.failures.values())))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["good"]


def test_row18_a_name_that_comes_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "one").write_bytes(b"first")
    first = entry(b"one", b"first")
    bundles = iter([first, first, first + first])

    def lie(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        bundle = next(bundles, None) if request is m.BUNDLE_READ else None
        return reply if bundle is None else m.BUNDLE_REPLY.encode(number, bundle)

    report, heard = copied(tmp_path, DownloadTree, "source", "target", lie)
    assert (report.files, report.failed) == (1, 3) and "twice" in str(heard.failures.popitem()[1])


@pytest.mark.parametrize("bundle", [b"\1", entry(b"a", b"b")[:-1], entry(b"a", b"b") + b"\7", entry(b"", b"b")])
def test_row22_a_malformed_bundle_ends_the_session(tmp_path: Path, bundle: bytes) -> None:
    (tmp_path / "source").mkdir()

    def lie(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        return m.BUNDLE_REPLY.encode(number, bundle) if request is m.BUNDLE_READ else reply

    report, heard = copied(tmp_path, DownloadTree, "source", "target", lie)
    assert report.files == 0 and isinstance(heard.failures["session"], SFTPBadMessageError)
    assert "bundle-read" in str(heard.failures["session"])


def test_row18_set_id_bits_come_only_when_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tool").write_bytes(b"x")
    (tmp_path / "source" / "tool").chmod(0o4755)
    for number, (options, mode) in enumerate(
        [({}, 0o755), ({"preserve": True}, 0o755), ({"preserve": True, "preserve_set_id": True}, 0o4755)]
    ):
        for kind in (UploadTree, DownloadTree):
            target = f"target{number}{kind.__name__}"
            copied(tmp_path, kind, "source", target, honest, **options)
            assert stat.S_IMODE((tmp_path / target / "tool").stat().st_mode) == mode


def test_under_fsync_and_a_rate_limit_files_go_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    asked = []

    def note(request: m.Request, number: int, values: Any, reply: bytes) -> bytes:
        asked.append(request.name)
        return reply

    for kind in (UploadTree, DownloadTree):
        report, _ = copied(tmp_path, kind, "source", f"target{kind.__name__}", note, fsync=True)
        assert report.files == 1
    assert not any("bundle" in name for name in asked)
