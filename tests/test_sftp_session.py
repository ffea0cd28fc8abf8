"""The sans-IO session: ids, outstanding requests, limits, and that whatever a server does wrong ends it at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastssh.errors import (
    ChannelClosedError,
    SFTPBadMessageError,
    SFTPConnectionLostError,
    SFTPError,
    SFTPFileNotFoundError,
    SFTPUnsupportedError,
)
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import MAX_REQUEST_ID, OpenFlags, Packet
from fastssh.sftp.messages import SFTPLimits
from fastssh.sftp.session import HIGH_WATER, Session, named
from tests.support import peers, sftp_server
from tests.support.sftp_memory import MemoryLink
from tests.support.sftp_server import LIES, Server

Outcome = tuple[Any, Any]


def begin(server: Server) -> tuple[Session, MemoryLink]:
    link = MemoryLink(server.receive)
    session = Session(link)
    ready: list[Any] = []
    session.start(ready.append)
    link.deliver(session)
    assert ready == [None]
    return session, link


def ask(session: Session, link: MemoryLink, request: m.Request, *values: Any) -> list[Outcome]:
    outcomes: list[Outcome] = []
    session.request(request, values, lambda value, error: outcomes.append((value, error)))
    link.deliver(session)
    return outcomes


def test_version_extensions_and_limits_are_known_when_it_is_ready() -> None:
    session, link = begin(Server())
    assert session.version == 3
    assert session.limits.max_open_handles == 100
    assert session.read_length == session.write_length == 261_120
    assert [data[4] for data in link.sent] == [Packet.INIT, Packet.EXTENDED]


@pytest.mark.parametrize(
    ("limits", "lengths"),
    [
        (SFTPLimits(), (32_768, 32_768)),  # 0: no limit stated
        (SFTPLimits(0, 100_000, 50_000, 0), (100_000, 50_000)),
        (SFTPLimits(0, 2**64 - 1, 2**64 - 1, 0), (261_120, 261_120)),
        (SFTPLimits(34_000, 65_536, 65_536, 0), (32_976, 32_976)),
        (SFTPLimits(1, 1, 1, 1), (1024, 1024)),
    ],
)
def test_chunks_follow_the_limits(limits: SFTPLimits, lengths: tuple[int, int]) -> None:
    server = Server()
    server.limits = limits
    session, _ = begin(server)
    assert (session.read_length, session.write_length) == lengths


def test_without_limits_extension_32_kib_are_used() -> None:
    session, link = begin(Server(extensions={"limits@openssh.com": b"2"}))  # another version is another extension
    assert (session.read_length, session.write_length) == (32_768, 32_768)
    assert len(link.sent) == 1


def test_a_refused_limits_request_leaves_the_defaults() -> None:
    session, _ = begin(Server(lambda s, q, n, v, r: m.STATUS.encode(n, m.StatusReply(4))))
    assert session.read_length == 32_768 and session.error is None


def test_statuses_become_builtin_errors_with_the_servers_words() -> None:
    session, link = begin(Server())
    [(value, error)] = ask(session, link, m.STAT, b"/no/such/file")
    assert value is None
    assert isinstance(error, SFTPFileNotFoundError) and isinstance(error, FileNotFoundError)
    assert error.code == 2 and error.strerror == "No such file"


def test_row19_the_servers_words_cannot_drive_a_terminal() -> None:
    session, link = begin(Server(LIES["stat-escape"]))
    [(_, error)] = ask(session, link, m.STAT, b"/")
    assert str(error) == "\\033[2Jgone"


def test_extensions_not_announced_are_not_tried() -> None:
    session, link = begin(Server())
    [(_, error)] = ask(session, link, m.FSYNC, b"h")
    assert isinstance(error, SFTPUnsupportedError)
    assert len(link.sent) == 2


def test_ids_stay_below_the_planes_and_skip_those_outstanding() -> None:
    session, link = begin(Server())
    session._next_id = MAX_REQUEST_ID
    held: list[Outcome] = []
    link_answer, link.answer = link.answer, lambda message: b""
    session.request(m.STAT, (b"/",), lambda value, error: held.append((value, error)))
    session._next_id = MAX_REQUEST_ID  # as after 2^31 more requests
    link.answer = link_answer
    [(value, error)] = ask(session, link, m.STAT, b"/")
    assert error is None and value.is_dir()
    assert [int.from_bytes(data[5:9], "big") for data in link.sent[-2:]] == [MAX_REQUEST_ID, 0]
    assert session.outstanding == 1 and not held


@pytest.mark.parametrize(
    "lie",
    ["unknown-id", "plane-id", "wrong-kind", "status-ok", "no-number", "truncated", "superfluous"],
)
def test_row22_a_wrong_reply_ends_the_session_with_an_error_for_all_who_wait(lie: str) -> None:
    session, link = begin(Server(LIES[lie]))
    link.answer, answer = lambda message: b"", link.answer
    others: list[Outcome] = []
    session.request(m.LSTAT, (b"/",), lambda value, error: others.append((value, error)))
    link.answer = answer
    [(value, error)] = ask(session, link, m.STAT, b"/")
    assert value is None and isinstance(error, SFTPBadMessageError)
    assert others == [(None, error)]
    assert session.error is error and link.closed and session.outstanding == 0
    [(value, later)] = ask(session, link, m.STAT, b"/")
    assert later is error


@pytest.mark.parametrize(
    ("lie", "request_kind"),
    [
        ("empty-data", m.READ),
        ("long-data", m.READ),
        ("long-handle", m.OPEN),
        ("empty-handle", m.OPEN),
        ("count", m.READDIR),
    ],
)
def test_row22_empty_and_oversize_values_end_the_session(lie: str, request_kind: m.Request, tmp_path: Path) -> None:
    session, link = begin(Server(LIES[lie]))
    name = bytes(tmp_path / "file")
    values: tuple[Any, ...] = (name, int(OpenFlags.READ | OpenFlags.CREAT), SFTPAttributes())
    [(handle, error)] = ask(session, link, m.OPEN, *values)
    if request_kind is m.READ:
        [(_, error)] = ask(session, link, m.READ, handle, 0, 10)
    elif request_kind is m.READDIR:
        [(handle, _)] = ask(session, link, m.OPENDIR, bytes(tmp_path))
        [(_, error)] = ask(session, link, m.READDIR, handle)
    assert isinstance(error, SFTPBadMessageError)
    assert link.closed


def test_row22_a_reply_given_twice_ends_the_session() -> None:
    session, link = begin(Server(LIES["twice"]))
    [(_, error)] = ask(session, link, m.STAT, b"/")
    assert error is None
    assert isinstance(session.error, SFTPBadMessageError)


@pytest.mark.parametrize(
    "first",
    [b"\x02\0\0\0\2", b"\x02\0\0\0\6", b"\x02\0\0", b"\x65\0\0\0\3", b"Welcome", b"\x02\0\0\0\3\0\0\0\7x", b""],
)
def test_row22_a_first_message_that_is_no_version_3_ends_the_session(first: bytes) -> None:
    link = MemoryLink(lambda message: b"")
    session = Session(link)
    ready: list[Any] = []
    session.start(ready.append)
    session.receive(first)
    assert len(ready) == 1 and isinstance(ready[0], SFTPBadMessageError)
    assert link.closed


def test_end_of_file_fails_everything_outstanding() -> None:
    session, link = begin(Server())
    link.answer = lambda message: b""
    outcomes = [ask(session, link, m.STAT, b"/") for _ in range(3)]
    assert outcomes == [[], [], []]
    got: list[Any] = []
    session.request(m.STAT, (b"/",), lambda value, error: got.append(error))
    session.end_of_file()
    assert isinstance(got[0], SFTPConnectionLostError) and link.closed
    session.closed(None)
    assert len(got) == 1


def test_a_channel_that_closes_under_a_write_fails_the_request() -> None:
    session, link = begin(Server())
    link.closed = True
    got: list[Any] = []
    session.request(m.STAT, (b"/",), lambda value, error: got.append(error))
    assert isinstance(got[0], ChannelClosedError)


def test_data_wait_for_room_in_order() -> None:
    session, link = begin(Server())
    link.waiting = HIGH_WATER
    ask(session, link, m.STAT, b"/")
    order: list[int] = []
    for number in range(3):
        session.schedule(lambda number=number: order.append(number))  # type: ignore[misc]
    assert order == []
    link.waiting = 0
    session.writable()
    assert order == [0, 1, 2]
    session.schedule(lambda: order.append(3))
    assert order == [0, 1, 2, 3]


# --- real servers and clients over a pipe ---------------------------------------------------------------------------


class PipeLink(MemoryLink):
    """A real sftp-server as a child process."""

    def __init__(self) -> None:
        super().__init__(lambda message: b"")
        try:
            command = [peers.sftp_server(), "-e"]
        except peers.PeerMissing as missing:
            pytest.skip(str(missing))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def write(self, data: bytes) -> int:
        assert self.process.stdin is not None
        self.sent.append(data)
        self.process.stdin.write(data)
        return 0

    def run(self, session: Session) -> None:
        """Until nothing is outstanding."""
        assert self.process.stdout is not None
        while session.error is None and (session.outstanding or not session._versioned):
            data = self.process.stdout.read(1 << 18)
            if not data:
                session.end_of_file()
                return
            for message in self.unframer.feed(data):
                session.receive(message)


@pytest.fixture
def pipe() -> Iterator[tuple[Session, PipeLink]]:
    link = PipeLink()
    session = Session(link)
    session.start(lambda error: None)
    link.run(session)
    yield session, link
    assert link.process.stdin is not None and link.process.stdout is not None
    link.process.stdin.close()
    link.process.wait(10)
    link.process.stdout.close()


def run(pipe: tuple[Session, PipeLink], request: m.Request, *values: Any) -> Any:
    session, link = pipe
    got: list[Outcome] = []
    session.request(request, values, lambda value, error: got.append((value, error)))
    link.run(session)
    [(value, error)] = got
    if error is not None:
        raise error
    return value


def test_openssh_server_understands_every_plain_request(pipe: tuple[Session, PipeLink], tmp_path: Path) -> None:
    path, other, link = (bytes(tmp_path / name) for name in ("file", "other", "link"))
    handle = run(pipe, m.OPEN, path, int(OpenFlags.READ | OpenFlags.WRITE | OpenFlags.CREAT), SFTPAttributes())
    assert run(pipe, m.WRITE, handle, 3, b"abc") is None
    assert run(pipe, m.READ, handle, 0, 100) == b"\0\0\0abc"
    assert run(pipe, m.FSTAT, handle).size == 6
    assert run(pipe, m.FSETSTAT, handle, SFTPAttributes(size=4, atime=1, mtime=2)) is None
    assert run(pipe, m.CLOSE, handle) is None
    attributes = run(pipe, m.STAT, path)
    assert (attributes.size, attributes.atime, attributes.mtime) == (4, 1, 2) and attributes.is_file()
    assert run(pipe, m.SETSTAT, path, SFTPAttributes(permissions=0o600)) is None
    assert run(pipe, m.RENAME, path, other) is None
    assert run(pipe, m.SYMLINK, b"other", link) is None
    assert (tmp_path / "link").readlink() == Path("other")
    assert run(pipe, m.LSTAT, link).is_symlink()
    [name] = run(pipe, m.READLINK, link)
    assert name.filename == b"other"
    [real] = run(pipe, m.REALPATH, link)
    assert real.filename == other
    directory = bytes(tmp_path / "directory")
    assert run(pipe, m.MKDIR, directory, SFTPAttributes(permissions=0o755)) is None
    listing = run(pipe, m.OPENDIR, bytes(tmp_path))
    names = run(pipe, m.READDIR, listing)
    assert {name.filename for name in names} == {b".", b"..", b"other", b"link", b"directory"}
    with pytest.raises(EOFError):
        run(pipe, m.READDIR, listing)
    assert run(pipe, m.RMDIR, directory) is None
    assert run(pipe, m.REMOVE, link) is None
    with pytest.raises(FileNotFoundError):
        run(pipe, m.LSTAT, link)


def test_openssh_server_understands_every_extension_it_announces(
    pipe: tuple[Session, PipeLink], tmp_path: Path
) -> None:
    session, _ = pipe
    path, other = bytes(tmp_path / "file"), bytes(tmp_path / "other")
    (tmp_path / "file").write_bytes(b"x" * 1000)
    source = run(pipe, m.OPEN, path, int(OpenFlags.READ), SFTPAttributes())
    target = run(pipe, m.OPEN, other, int(OpenFlags.WRITE | OpenFlags.CREAT), SFTPAttributes())
    file_system = run(pipe, m.STATVFS, path)
    [home] = run(pipe, m.EXPAND_PATH, b"~")
    assert file_system.f_bsize > 0 and run(pipe, m.FSTATVFS, source).f_blocks == file_system.f_blocks
    assert home.filename.startswith(b"/")
    tries: dict[m.Request, tuple[Any, ...]] = {
        m.COPY_DATA: (source, 0, 0, target, 0),
        m.FSYNC: (target,),
        m.HARDLINK: (path, bytes(tmp_path / "linked")),
        m.LSETSTAT: (path, SFTPAttributes(permissions=0o640)),
        m.POSIX_RENAME: (bytes(tmp_path / "linked"), other),
        m.HOME_DIRECTORY: (peers.user_name().encode(),),
        m.USERS_GROUPS_BY_ID: ((0, 4_000_000_000), (0,)),
    }
    for request, values in tries.items():
        if session.supports(request):  # older servers know fewer
            value = run(pipe, request, *values)
            if request is m.COPY_DATA:
                assert (tmp_path / "other").read_bytes() == b"x" * 1000
            if request is m.USERS_GROUPS_BY_ID:
                assert value == ((b"root", b""), (b"root",))
    for request in m.EXTENSIONS.values():
        announced = session.extensions.get(request.name)
        assert announced in (None, request.extension.encode())


def test_openssh_client_understands_our_replies(tmp_path: Path) -> None:
    """The other direction of the codec, as the server will use it."""
    program = shutil.which("sftp")
    if program is None:
        pytest.skip("sftp is missing: apt-get install openssh-client")
    (tmp_path / "up").write_bytes(b"data" * 50_000)
    (tmp_path / "there").mkdir()
    up, down = tmp_path / "up", tmp_path / "down"
    (tmp_path / "batch").write_text(
        f"cd there\nput {up} copy\nls -l\nrename copy moved\nget moved {down}\nmkdir d\nsymlink moved l\nls\nrm moved\n"
    )
    done = subprocess.run(
        [program, "-b", "batch", "-D", f"{sys.executable} {sftp_server.__file__} honest"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "down").read_bytes() == b"data" * 50_000
    assert "moved" in done.stdout and (tmp_path / "there/l").is_symlink()


def test_errors_name_what_was_done() -> None:
    error = named(SFTPError("Failure"), b"/a/b", "close")
    assert isinstance(error, SFTPError) and error.filename == "/a/b" and str(error) == "/a/b: close: Failure"
