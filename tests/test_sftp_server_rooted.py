"""Row 21: an SFTP server with a root stays below it, by openat2 and by the walk, at rest and in races."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh.errors import ProtocolError
from fastssh.sftp import beneath, syscalls
from fastssh.sftp import messages as m
from fastssh.sftp import rooted as rooted_files
from fastssh.sftp.attributes import SFTPAttributes as A
from fastssh.sftp.constants import OpenFlags as F
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem
from fastssh.sftp.status import failure
from tests.support.sftp_peers import BENEATH, Asked, Ours, local, rooted
from tests.support.watching import open_descriptors

READ, WRITE, BOTH, NEW = int(F.READ), int(F.WRITE), int(F.READ | F.WRITE), int(F.WRITE | F.CREAT)
SECRET, NAME = b"what nobody inside may read", "never asked for"  # in files outside; of a file outside
MARK = 1_234_567_891  # seconds since 1970, a time that only files outside have
SECONDS = 1.0  # of every race


LINKS = {
    "to-root": "/", "to-outside": "{outside}", "to-secret": "{outside}/secret", "up": "..",
    "far-up": "../" * 30 + "{outside}", "up-outside": "../outside", "up-secret": "../outside/secret",
    "dir/up": "../../outside", "dir/up2": "../../outside/secret", "chain": "up-outside", "in": "/dir/file",
    "in-up": "../../dir", "new-outside": "{outside}/made", "dir/absolute": "/dir",
    "machine": "/proc", "proc": "/proc/self/root", "loop": "loop",
}  # fmt: skip


def lead_out(root: Path, name: str) -> None:
    """Makes one of LINKS, in the place of what is there."""
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(LINKS[name].format(outside=root.parent / "outside"))


def grow(base: Path) -> Path:
    """A root among other things; the way out of it in every form that a link has."""
    outside, root = base / "outside", base / "root"
    (outside / "dir").mkdir(parents=True)
    for path in (outside / "secret", outside / "dir" / "secret", base / "secret", outside / "victim"):
        path.write_bytes(SECRET)
    (outside / NAME).touch()
    for path in (*outside.rglob("*"), outside):
        os.utime(path, (MARK, MARK))
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "dir" / "file").write_bytes(b"inside")
    for name in LINKS:
        lead_out(root, name)
    return root


def state(directory: Path) -> list[tuple[Any, ...]]:
    """What there is, and whether it was touched."""
    found = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        about = path.lstat()
        contents = path.read_bytes() if stat.S_ISREG(about.st_mode) else None
        found.append((path, about.st_ino, about.st_mode, about.st_nlink, about.st_size, about.st_ctime_ns, contents))
    return found


@pytest.fixture(params=BENEATH)
def way(request: pytest.FixtureRequest) -> str:
    """How directories are found."""
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path)


@pytest.fixture
def inside(root: Path, way: str) -> Iterator[Ours]:
    """A session with a root, which leaves no descriptor behind and nothing outside as it must not be."""
    before, outside = open_descriptors(), state(root.parent / "outside")
    with rooted(root, way) as session:
        yield session
    assert open_descriptors() == before
    assert state(root.parent / "outside") == outside


# --- ways out ---------------------------------------------------------------------------------------------------------


def _shown(path: bytes) -> str:
    return path[:40].decode()


# None names a file of the machine that could be harmed: whoever tries these on code that leaks may be root.
WAYS_OUT = (
    b"..", b"/..", b"../outside/secret", b"/../../outside/secret", b"dir/../../outside/secret",
    b"../" * 100 + b"outside",
    b"to-outside", b"to-outside/secret", b"to-outside/dir/secret", b"to-secret", b"up", b"up/outside",
    b"up/outside/secret",
    b"far-up/secret", b"up-outside", b"up-outside/secret", b"up-secret", b"dir/up", b"dir/up/secret", b"dir/up2",
    b"chain/secret", b"new-outside", b"proc", b"proc/no-such/victim", b"to-root/no-such/victim", b"/no-such/victim",
    b"loop",
    b"in-up/../../outside/secret", b"/proc/self/cwd", b"dir/./../..//outside", b"up/up/up/outside/victim", b"up/root",
)  # fmt: skip
ATTEMPTS: tuple[tuple[Any, ...], ...] = (
    (m.STAT,), (m.LSTAT,), (m.OPENDIR,), (m.READLINK,), (m.REALPATH,), (m.STATVFS,), (m.EXPAND_PATH,),
    (m.OPEN, READ, A()), (m.OPEN, BOTH, A()), (m.OPEN, NEW, A()), (m.OPEN, NEW | int(F.TRUNC), A()),
    (m.OPEN, NEW | int(F.EXCL), A()), (m.SETSTAT, A(size=0)), (m.SETSTAT, A(permissions=0o777)),
    (m.SETSTAT, A(atime=1, mtime=1)), (m.SETSTAT, A(uid=os.getuid(), gid=os.getgid())),
    (m.LSETSTAT, A(atime=1, mtime=1)),
    (m.LSETSTAT, A(permissions=0o777)), (m.MKDIR, A()), (m.RMDIR,), (m.REMOVE,),
)  # fmt: skip


def with_path(path: bytes) -> Iterator[tuple[Any, ...]]:
    """Every request that takes a path, with this one."""
    for request, *values in ATTEMPTS:
        yield (request, path, *values)
    for request in (m.RENAME, m.POSIX_RENAME, m.HARDLINK):
        yield (request, path, b"taken")
        yield (request, b"dir/file", path)
    yield (m.SYMLINK, b"x", path)


def secrets(answer: Any) -> bool:
    """Whether an answer shows something from outside."""
    return SECRET in repr(answer).encode() or NAME in repr(answer) or f"{MARK}" in repr(answer)


@pytest.mark.parametrize("path", WAYS_OUT, ids=_shown)
def test_row21_no_path_leads_out_whatever_is_asked(inside: Ours, root: Path, path: bytes) -> None:
    for step in with_path(path):
        answer = inside.ask(*step)
        assert not secrets(answer), step
        if answer.kind is m.HANDLE and step[0] is m.OPENDIR:
            assert not secrets(inside.ask(m.READDIR, answer.value))
        elif answer.kind is m.HANDLE:
            assert not secrets(inside.ask(m.READ, answer.value, 0, 100))
            inside.ask(m.WRITE, answer.value, 0, b"written")
    assert {each.name for each in root.parent.iterdir()} == {"outside", "root", "secret"}
    assert (root.parent / "secret").read_bytes() == SECRET


def test_most_of_these_paths_lead_out_where_there_is_no_root(root: Path) -> None:
    """So that the test above tests something."""
    with local(root) as session:
        found = [path for path in WAYS_OUT if session.ask(m.STAT, path).kind is m.ATTRIBUTES]
    assert len(found) > len(WAYS_OUT) * 2 // 3


def test_row21_a_link_that_is_made_after_the_look_is_not_followed(
    inside: Ours, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The races below at their worst moment: what was no link a moment ago is one when the system call comes."""
    monkeypatch.setattr(rooted_files, "_target", lambda directory, name: None)
    assert inside.value(m.STATVFS, b"machine").f_blocks == os.statvfs(root).f_blocks != os.statvfs("/proc").f_blocks
    for path in (b"to-outside", b"to-secret", b"up-outside", b"up-secret", b"dir/up2", b"new-outside"):
        for step in with_path(path):
            answer = inside.ask(*step)
            assert not secrets(answer), step
            assert answer.kind is not m.HANDLE, step
            for name in (path.decode(), "dir/file", "taken"):
                (root / name).unlink(missing_ok=True)
            (root / "dir" / "file").write_bytes(b"inside")
            lead_out(root, path.decode())


def test_row21_links_mean_what_they_mean_inside(inside: Ours, root: Path) -> None:
    (root / "secret").write_bytes(b"another secret")
    handle = inside.value(m.OPEN, b"in", READ, A())
    assert inside.value(m.READ, handle, 0, 100) == b"inside"
    assert inside.value(m.STAT, b"in-up/file").size == 6
    assert inside.value(m.STAT, b"up/up/dir/file").size == 6
    assert inside.value(m.STAT, b"dir/absolute/absolute/file").size == 6
    assert inside.value(m.STAT, b"to-root/secret").size == 14
    assert inside.value(m.STAT, b"../../secret").size == 14
    assert inside.status(m.STAT, b"loop") == S.NO_SUCH_FILE  # ELOOP


def test_row21_links_are_stored_as_they_are_given_and_followed_inside(inside: Ours, root: Path) -> None:
    for number, target in enumerate(
        (b"/etc/passwd", b"../../../../etc/passwd", b"/dir/../../dir/file", b"\xff", b"//dir")
    ):
        name = b"link%d" % number
        assert inside.status(m.SYMLINK, target, name) == S.OK
        assert os.readlink(bytes(root) + b"/" + name) == target
        assert [each.filename for each in inside.value(m.READLINK, name)] == [target]
    assert inside.status(m.STAT, b"link0") == inside.status(m.STAT, b"link1") == S.NO_SUCH_FILE
    assert inside.value(m.STAT, b"link2").size == 6
    assert inside.value(m.STAT, b"link4").is_dir()


def test_row21_a_file_is_made_where_a_link_leads_inside(inside: Ours, root: Path) -> None:
    handle = inside.value(m.OPEN, b"new-outside", NEW, A()) if (root / "made").exists() else None
    assert handle is None
    os.makedirs(f"{root}{root.parent}/outside")  # the same path, inside
    handle = inside.value(m.OPEN, b"new-outside", NEW, A())
    assert inside.status(m.WRITE, handle, 0, b"here") == S.OK
    assert Path(f"{root}{root.parent}/outside/made").read_bytes() == b"here"
    assert inside.status(m.OPEN, b"new-outside", NEW | int(F.EXCL), A()) == S.FAILURE


def test_row21_paths_are_told_as_they_are_seen_from_inside(inside: Ours) -> None:
    for path, expected in (
        (b"", b"/"), (b".", b"/"), (b"..", b"/"), (b"/../..", b"/"), (b"dir/sub", b"/dir/sub"), (b"up/dir", b"/dir"),
        (b"in", b"/dir/file"), (b"in-up/new", b"/dir/new"), (b"to-root", b"/"), (b"/new", b"/new"),
    ):  # fmt: skip
        assert [each.filename for each in inside.value(m.REALPATH, path)] == [expected]
    for path in (b"to-secret", b"loop", b"new/x", b"dir/file/x", b"to-outside"):
        assert inside.status(m.REALPATH, path) == S.NO_SUCH_FILE
    for request, name in ((m.HOME_DIRECTORY, b""), (m.EXPAND_PATH, b"~"), (m.EXPAND_PATH, b"~/")):
        assert inside.value(request, name)[0].filename == b"/"
    assert inside.status(m.HOME_DIRECTORY, b"root") == S.FAILURE
    assert inside.status(m.EXPAND_PATH, b"~root") == S.NO_SUCH_FILE


def test_row21_the_parent_of_the_root_is_the_root(inside: Ours, root: Path) -> None:
    entries = {each.filename: each.attributes for each in inside.listing(b"/")}
    (root.parent / "more").mkdir()
    assert entries[b".."] == entries[b"."]
    deeper = {each.filename: each.attributes for each in inside.listing(b"dir/sub")}
    assert deeper[b".."].permissions == entries[b"dir"].permissions
    assert inside.value(m.STAT, b"..") == inside.value(m.STAT, b"/")


def test_row21_no_account_names_are_told(inside: Ours) -> None:
    assert inside.value(m.USERS_GROUPS_BY_ID, (0, os.getuid()), (0,)) == ((b"", b""), (b"",))
    [entry] = [each for each in inside.listing(b"dir") if each.filename == b"file"]
    assert entry.longname.split()[2:4] == [b"%d" % os.getuid(), b"%d" % os.getgid()]


def test_a_home_inside_is_where_relative_paths_begin(root: Path, way: str) -> None:
    for home in (b"/dir", b"dir"):
        with Ours(RootedFileSystem(root, home=home, beneath=BENEATH[way])) as session:
            assert session.value(m.STAT, b"file").size == 6
            assert session.value(m.REALPATH, b".")[0].filename == b"/dir"
            assert session.value(m.REALPATH, b"../../x")[0].filename == b"/x"
            assert session.value(m.EXPAND_PATH, b"~/file")[0].filename == b"/dir/file"


def test_row21_links_of_proc_that_are_more_than_their_text_lead_nowhere(way: str) -> None:
    """/proc/self/root and /proc/self/fd lead out of any directory that has them in it."""
    with rooted(Path("/proc/self"), way) as session, tempfile.TemporaryFile() as file:
        fd = b"fd/%d" % file.fileno()
        for path in (b"root", b"root/etc/passwd", b"cwd", b"exe", fd, b"task/../root/etc"):
            for request, *values in ((m.STAT,), (m.OPEN, READ, A()), (m.OPENDIR,), (m.STATVFS,)):
                answer = session.ask(request, path, *values)
                assert answer.kind is m.STATUS or answer.value == session.value(m.STAT, b".") or path == b"root"
        assert session.status(m.STAT, fd) == S.NO_SUCH_FILE
        assert session.status(m.STAT, b"root/etc/passwd") == S.NO_SUCH_FILE


def test_row21_a_rooted_session_may_be_read_only_as_well(root: Path, way: str) -> None:
    before = state(root)
    with rooted(root, way, read_only=True) as session:
        for path in (b"dir/file", b"dir", b"new", b"in"):
            for step in with_path(path):
                session.ask(*step)
    assert state(root) == before


# --- what a root costs ------------------------------------------------------------------------------------------------


def test_errors_leave_no_descriptors(inside: Ours) -> None:
    count = open_descriptors()
    for path in (*WAYS_OUT, b"dir/file/x", b"no/such/file", b"x" * 300, b"dir/" * 2000, b"dir/sub/" * 100):
        for request in (m.STAT, m.REMOVE, m.READLINK, m.REALPATH, m.STATVFS, m.RMDIR):
            inside.ask(request, path)
        for request in (m.RENAME, m.HARDLINK):
            inside.ask(request, b"dir/file", path)
    assert open_descriptors() == count


def test_a_root_that_was_closed_serves_nothing(root: Path, way: str) -> None:
    files = RootedFileSystem(root, beneath=BENEATH[way])
    with files:
        held = files.open(b"dir/file", os.O_RDONLY, 0)
    for path in (b"/", b"dir/file"):
        with pytest.raises(OSError, match="Bad file descriptor"):
            files.stat(path)
    assert os.read(held, 10) == b"inside"
    os.close(held)
    files.close()


def test_a_root_has_to_be_a_directory(root: Path) -> None:
    before = open_descriptors()
    for path in (root / "missing", root / "dir" / "file"):
        with pytest.raises(OSError):
            RootedFileSystem(path)
    assert open_descriptors() == before


def test_deep_trees_and_long_chains_of_links(inside: Ours, root: Path) -> None:
    deep = root / Path(*["d"] * 150)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    assert inside.value(m.STAT, b"d/" * 150 + b"file").size == 4
    assert inside.value(m.STAT, b"d/" * 150 + b"../" * 150 + b"dir/file").size == 6
    (root / "link0").symlink_to("dir/file")
    for number in range(1, 60):
        (root / f"link{number}").symlink_to(f"link{number - 1}")
    assert inside.value(m.STAT, b"link39").size == 6
    assert inside.status(m.STAT, b"link59") == S.NO_SUCH_FILE  # ELOOP
    assert inside.status(m.STAT, b"a/" * 3000) == S.BAD_MESSAGE  # ENAMETOOLONG


def test_the_walk_holds_a_bounded_number_of_directories(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "MAX_DEPTH", 5)
    with rooted(root, "walk") as session:
        (root / "1/2/3/4/5/6").mkdir(parents=True)
        count = open_descriptors()
        assert session.value(m.STAT, b"1/2/3/4/5/6").is_dir()
        assert session.status(m.STAT, b"1/2/3/4/5/6/x") == S.BAD_MESSAGE  # ENAMETOOLONG
        assert session.value(m.STAT, b"1/2/3/../../2/3/4/5").is_dir()
        assert open_descriptors() == count


def test_directories_may_be_passed_that_cannot_be_read(root: Path, way: str) -> None:
    with rooted(root, way) as session:
        (root / "dir").chmod(0o111)
        user = os.geteuid()
        if os.access(root / "dir", os.R_OK):  # root may read everything
            os.seteuid(65534)
        try:
            assert session.value(m.STAT, b"dir/file").size == 6
            assert session.status(m.OPENDIR, b"dir") == S.PERMISSION_DENIED
        finally:
            os.seteuid(user)
    (root / "dir").chmod(0o755)


# --- which way --------------------------------------------------------------------------------------------------------


def _no_openat2(number: int) -> Callable[..., int]:
    def openat2(*arguments: Any) -> int:
        raise failure(number)

    return openat2


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_without_openat2_directories_are_walked(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fd = os.open(root, os.O_RDONLY)
    assert beneath.best(fd) is beneath.by_kernel
    monkeypatch.setattr(syscalls, "openat2", _no_openat2(number))
    assert beneath.best(fd) is beneath.walk
    monkeypatch.setattr(syscalls, "openat2", _no_openat2(errno.EIO))
    with pytest.raises(OSError):
        beneath.best(fd)
    os.close(fd)


def test_a_kernel_that_never_finds_the_time_is_helped_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rooted(root, "openat2") as session:
        monkeypatch.setattr(syscalls, "openat2", _no_openat2(errno.EAGAIN))
        assert session.value(m.STAT, b"dir/../dir/file").size == 6
        assert session.status(m.STAT, b"up-outside/secret") == S.NO_SUCH_FILE


def test_system_calls_are_unknown_on_machines_that_number_them_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    syscalls._syscall.cache_clear()
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "alpha")
    with pytest.raises(OSError) as unknown:
        syscalls.openat2(0, b"/", 0, 0)
    assert unknown.value.errno == errno.ENOSYS
    syscalls._syscall.cache_clear()


@pytest.mark.parametrize("number", [0, errno.ENOSYS, errno.EPERM])
def test_modes_are_set_without_following_a_link_whatever_the_kernel_knows(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    if number:
        monkeypatch.setattr(syscalls, "_call", _no_openat2(number))
    fd = os.open(root, os.O_RDONLY)
    before = open_descriptors()
    syscalls.chmod_nofollow(b"dir/file", 0o4711, fd)
    assert stat.S_IMODE((root / "dir" / "file").stat().st_mode) == 0o4711
    syscalls.chmod_nofollow(bytes(root / "dir"), 0o700)
    assert stat.S_IMODE((root / "dir").stat().st_mode) == 0o700
    for name in (b"in", b"to-secret"):
        with pytest.raises(OSError) as refused:
            syscalls.chmod_nofollow(name, 0o777, fd)
        assert refused.value.errno == errno.EOPNOTSUPP
    with pytest.raises(FileNotFoundError):
        syscalls.chmod_nofollow(b"missing", 0o777, fd)
    assert open_descriptors() == before
    os.close(fd)
    assert stat.S_IMODE((root.parent / "outside" / "secret").stat().st_mode) != 0o777


# --- races ------------------------------------------------------------------------------------------------------------


class Swapper(threading.Thread):
    """Swaps ``name`` in a directory between what it is and a link, as fast as it can."""

    def __init__(self, name: Path, target: str) -> None:
        super().__init__()
        self.real, self.link = name.with_name("." + name.name), name.with_name("." + name.name + "-link")
        self.name_, self.swaps = name, 0
        self.over = threading.Event()
        self.link.symlink_to(target)

    def run(self) -> None:
        while not self.over.is_set():
            self.name_.rename(self.real)
            self.link.rename(self.name_)
            self.name_.rename(self.link)
            self.real.rename(self.name_)
            self.swaps += 1


class Mover(threading.Thread):
    """Moves a directory out of another one and back, so that its '..' is now here, now there."""

    def __init__(self, here: Path, there: Path) -> None:
        super().__init__()
        self.here, self.there, self.swaps = here, there, 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.here.rename(self.there)
            self.there.rename(self.here)
            self.swaps += 1


def attack(
    session: Asked,
    thread: Swapper | Mover,
    steps: list[tuple[Any, ...]],
    seconds: float,
    over: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Asks in a loop while ``thread`` runs, until ``over``; the answers that show something from outside."""
    found: list[Any] = []
    end = time.monotonic() + seconds
    thread.start()
    try:
        while time.monotonic() < end and not found and not over():
            for step in steps:
                answer = session.ask(*step)
                shown = [answer]
                if answer.kind is m.HANDLE:
                    follow = (m.READDIR,) if step[0] is m.OPENDIR else (m.READ, 0, 100)
                    shown.append(session.ask(follow[0], answer.value, *follow[1:]))
                    session.ask(m.CLOSE, answer.value)
                found += [each for each in shown if secrets(each)]
    finally:
        thread.over.set()
        thread.join()
    assert found or over() or thread.swaps > 10
    return found


def reading(name: bytes) -> list[tuple[Any, ...]]:
    return [(m.OPEN, name + b"/victim", READ, A()), (m.OPENDIR, name), (m.READLINK, name + b"/victim-link")]


def changing(name: bytes) -> list[tuple[Any, ...]]:
    """Everything that would leave a trace outside. What is renamed is renamed back."""
    inner = name + b"/victim"
    return [
        (m.REMOVE, inner), (m.RENAME, inner, b"stolen"), (m.POSIX_RENAME, inner, b"stolen"),
        (m.HARDLINK, inner, b"linked"),
        (m.OPEN, inner, NEW | int(F.TRUNC), A()), (m.OPEN, name + b"/made", NEW, A()),
        (m.MKDIR, name + b"/made-dir", A()),
        (m.RMDIR, name + b"/empty"), (m.SYMLINK, b"x", name + b"/made-link"),
        (m.HARDLINK, b"mine", name + b"/made-hard"),
        (m.RENAME, b"mine", name + b"/made-moved"), (m.SETSTAT, inner, A(size=0)),
        (m.SETSTAT, inner, A(permissions=0o777)),
        (m.SETSTAT, inner, A(atime=1, mtime=1)), (m.SETSTAT, name, A(permissions=0o777)),
        (m.LSETSTAT, inner, A(atime=1, mtime=1)),
        (m.LSETSTAT, inner, A(permissions=0o777)),
    ]  # fmt: skip


def arena(base: Path) -> tuple[Path, Path]:
    """(root, outside): "door" is a directory in one, and there is something to read and to spoil in the other."""
    root, outside = base / "root", base / "outside"
    (root / "door").mkdir(parents=True)
    (root / "gate").write_bytes(b"inside")
    (root / "mine").write_bytes(b"mine")
    (outside / "empty").mkdir(parents=True)
    (outside / "victim").write_bytes(SECRET)
    (outside / "victim-link").symlink_to(NAME)
    (outside / NAME).touch()
    return root, outside


@pytest.mark.parametrize("target", ["../outside", "{outside}"], ids=["relative", "absolute"])
@pytest.mark.parametrize("kind", ["reading", "changing"])
def test_row21_a_directory_that_becomes_a_link_lets_nobody_out(
    tmp_path: Path, way: str, kind: str, target: str
) -> None:
    root, outside = arena(tmp_path)
    before = state(outside)
    steps = reading(b"door") if kind == "reading" else changing(b"door")
    with rooted(root, way) as session:
        assert attack(session, Swapper(root / "door", target.format(outside=outside)), steps, SECONDS) == []
    assert state(outside) == before


def test_row21_a_file_that_becomes_a_link_lets_nobody_out(tmp_path: Path, way: str) -> None:
    root, outside = arena(tmp_path)
    before = state(outside)
    steps = [
        (m.OPEN, b"gate", READ, A()), (m.OPEN, b"gate", NEW | int(F.TRUNC), A()), (m.SETSTAT, b"gate", A(size=0)),
        (m.SETSTAT, b"gate", A(permissions=0o777)), (m.SETSTAT, b"gate", A(atime=1, mtime=1)),
        (m.LSETSTAT, b"gate", A(permissions=0o777)), (m.HARDLINK, b"gate", b"linked"), (m.OPEN, b"linked", READ, A()),
        (m.REMOVE, b"linked"),
    ]  # fmt: skip
    with rooted(root, way) as session:
        assert attack(session, Swapper(root / "gate", "../outside/victim"), steps, SECONDS) == []
    assert state(outside) == before


def test_row21_a_directory_that_moves_away_has_no_other_parent(tmp_path: Path, way: str) -> None:
    root, outside = arena(tmp_path)
    (root / "door" / "deep").mkdir()
    (outside / "x").mkdir()
    path = b"door/deep/../../victim"
    with rooted(root, way) as session:
        steps = [(m.OPEN, path, READ, A()), (m.OPENDIR, b"door/deep/../.."), (m.REMOVE, path)]
        assert attack(session, Mover(root / "door" / "deep", outside / "x" / "deep"), steps, SECONDS) == []
    assert (outside / "victim").read_bytes() == SECRET


@pytest.mark.parametrize("kind", ["reading", "changing"])
def test_the_races_are_lost_without_a_root(tmp_path: Path, kind: str) -> None:
    """So that the tests above test something."""
    root, outside = arena(tmp_path)
    before = state(outside)
    steps = reading(b"door") if kind == "reading" else changing(b"door")
    with local(root) as session:
        swapper = Swapper(root / "door", "../outside")
        found = attack(session, swapper, steps, SECONDS * 10, lambda: state(outside) != before)
    assert found if kind == "reading" else state(outside) != before


def naive(root: int, path: bytes) -> int:
    """A walk that follows no link, and asks the kernel for '..' wherever it is not in the root."""
    here = os.dup(root)
    for name in path.split(b"/"):
        if name and not (name == b".." and os.path.samestat(os.fstat(here), os.fstat(root))):
            try:
                there = os.open(name, beneath.DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            finally:
                os.close(here)
            here = there
    return here


def test_the_race_for_the_parent_is_lost_by_a_walk_that_asks_for_it(tmp_path: Path) -> None:
    root, outside = arena(tmp_path)
    (root / "door" / "deep").mkdir()
    (outside / "x").mkdir()
    with Ours(RootedFileSystem(root, beneath=naive)) as session:
        thread = Mover(root / "door" / "deep", outside / "x" / "deep")
        assert attack(session, thread, [(m.OPEN, b"door/deep/../../victim", READ, A())], SECONDS * 5)


# --- whatever is asked ------------------------------------------------------------------------------------------------

COMPONENTS = (
    b"..", b".", b"", b"dir", b"sub", b"file", b"up", b"to-root", b"to-outside", b"up-outside", b"chain", b"in",
    b"in-up",
    b"outside", b"secret", b"root", b"victim", b"a", b"b", b"loop", b"new-outside", b"far-up", b"absolute", b"machine",
)  # fmt: skip
any_path = st.builds(
    lambda start, parts: start + b"/".join(parts), st.sampled_from((b"", b"/")),
    st.lists(st.sampled_from(COMPONENTS), max_size=6)
)  # fmt: skip
any_attributes = st.builds(
    A,
    size=st.none() | st.integers(0, 2000),
    permissions=st.none() | st.integers(0, 0o7777).map(lambda mode: mode | 0o700),
    atime=st.just(1),
    mtime=st.just(2),
)


@st.composite
def any_request(draw: st.DrawFn) -> tuple[Any, ...]:
    request = draw(st.sampled_from([kind for kind in m.REQUESTS.values() if m.PATH in kind.fields]))
    fields = {m.PATH: any_path, m.ATTRS: any_attributes}
    return (request, *[draw(fields.get(field, st.integers(0, 63))) for field in request.fields])


@settings(max_examples=150)
@given(steps=st.lists(any_request(), max_size=15), kind=st.sampled_from(sorted(BENEATH)))
def test_row21_no_sequence_of_requests_leads_out(steps: list[tuple[Any, ...]], kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        root = grow(base)
        (base / "outside" / "canary").write_bytes(SECRET)
        before = state(base / "outside")
        with rooted(root, kind) as session:
            for step in steps:
                try:
                    answer = session.ask(*step)
                except ProtocolError:
                    pytest.fail("a good request")
                assert not secrets(answer)
                if answer.kind is m.HANDLE:
                    assert not secrets(session.ask(m.READ, answer.value, 0, 100))
                    assert not secrets(session.ask(m.READDIR, answer.value))
                    session.ask(m.WRITE, answer.value, 0, b"written")
        assert state(base / "outside") == before
        assert {each.name for each in base.iterdir()} == {"outside", "root", "secret"}


@settings(max_examples=100)
@given(path=any_path)
def test_both_ways_find_the_same(path: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = grow(Path(name))
        found = []
        for kind in BENEATH:
            with rooted(root, kind) as session:
                answers = [session.ask(request, path) for request in (m.STAT, m.LSTAT, m.REALPATH, m.READLINK)]
            for answer in answers:
                if answer.kind is m.ATTRIBUTES:
                    answer.value.atime = 0  # a link is read
            found.append(answers)
        assert found[0] == found[1]


def test_the_whole_machine_is_a_root_as_well(tmp_path: Path) -> None:
    """'/' as a root and the machine without one are the same, names of accounts apart."""
    grow(tmp_path)
    with Ours(RootedFileSystem("/", home=bytes(tmp_path))) as one, Ours(LocalFileSystem(tmp_path)) as other:
        for path in (b"root/in-up/file", b"root/up/secret", b"outside/../root/to-secret", b"/dev/null", b"no/such"):
            for request in (m.STAT, m.LSTAT, m.REALPATH):
                answers = [session.ask(request, path) for session in (one, other)]
                assert answers[0] == answers[1]
