"""Our SFTP server beside OpenSSH's: equal requests in equal directories give equal answers and equal directories."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes as A
from fastssh.sftp.constants import OpenFlags as F
from fastssh.sftp.constants import StatusCode as S
from fastssh.sftp.operations import OPERATIONS, Access
from fastssh.wire.codec import string, uint32
from tests.support.sftp_peers import NO_ATTRIBUTES, SERVERS, STOCK, Answer, Asked, Stock, local

pytestmark = pytest.mark.skipif(not STOCK.exists(), reason="openssh-sftp-server is not installed")

OLD = 1_000_000_000  # 2001
READ, WRITE, BOTH, APPEND = int(F.READ), int(F.WRITE), int(F.READ | F.WRITE), int(F.WRITE | F.APPEND)
NEW = int(F.WRITE | F.CREAT)
EXCLUSIVE, EMPTIED = NEW | int(F.EXCL), NEW | int(F.TRUNC)


def grow(root: Path) -> None:
    """One of everything, with times that do not change."""
    (root / "file").write_bytes(b"contents of a file\n")
    (root / "other").write_bytes(b"another")
    (root / "empty").touch()
    (root / "unreadable").write_bytes(b"secret")
    (root / "setid").write_bytes(b"#!")
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "dir" / "inner").write_bytes(b"inside")
    (root / "bare").mkdir()
    (root / "sealed").mkdir()
    (root / "sealed" / "inner").touch()
    for name, target in (
        ("dlink", "dir"), ("flink", "file"), ("dangling", "nowhere"), ("chain", "dangling"), ("loop", "loop"),
        ("absolute", "/no-such/directory"), ("up", "dir/../file"), ("slash", "dir/"),
    ):  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    for name, mode in (("unreadable", 0), ("setid", 0o6755), ("bare", 0o1777), ("sealed", 0), ("file", 0o640)):
        (root / name).chmod(mode)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (OLD + 1, OLD), follow_symlinks=False)
    for path in (root, root.parent):
        os.utime(path, (OLD + 1, OLD))


def clear(root: Path) -> None:
    """Everything in it goes, whatever its mode became."""
    for path in [root, *root.rglob("*")]:
        if stat.S_ISDIR(path.lstat().st_mode):
            path.chmod(0o755)
    for path in root.iterdir():
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


# --- what is compared -------------------------------------------------------------------------------------------------


def _time(seconds: int | None) -> Any:
    return "now" if seconds is not None and abs(seconds - time.time()) < 100 else seconds


def _attributes(attributes: A) -> tuple[Any, ...]:
    a = attributes
    return a.size, a.uid, a.gid, a.permissions, _time(a.atime), _time(a.mtime)


def comparable(answer: Answer, root: Path, inside: bool) -> Any:
    """An answer without what differs from directory to directory. ``inside``: of a server that sees only those."""
    value = answer.value
    if answer.kind is m.ATTRIBUTES:
        return _attributes(value)
    if answer.kind is m.HANDLE:
        return "handle"
    if answer.kind is m.STATVFS_REPLY:  # what is free may be less by now
        return value.f_bsize, value.f_frsize, value.f_blocks, value.f_fsid, value.f_flag, value.f_namemax
    if answer.kind is m.NAME and len(value) == 1 and value[0].attributes == NO_ATTRIBUTES:
        [name] = value
        assert name.longname == name.filename
        return name.filename if inside else name.filename.replace(bytes(root), b"") or b"/"
    if answer.kind is m.NAME:
        return sorted((each.filename, _attributes(replace(each.attributes, atime=0))) for each in value)  # it is read
    return value


def tree(root: Path) -> dict[str, Any]:
    """All there is below a directory."""
    found = {}
    for path in [root, *root.rglob("*")]:
        try:
            st = path.lstat()
        except PermissionError:  # in a directory whose mode was set to that
            continue
        what: Any = st.st_size if stat.S_ISREG(st.st_mode) else None
        if stat.S_ISLNK(st.st_mode):
            what = os.readlink(path)
        elif stat.S_ISREG(st.st_mode) and os.access(path, os.R_OK) and st.st_size < 1000:
            what = path.read_bytes()
        about = oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, _time(int(st.st_mtime)), what
        found[str(path.relative_to(root))] = about
    return found


@dataclass(frozen=True)
class Handle:
    """In the values of a step: the handle that step ``number`` gave."""

    number: int


Step = tuple[Any, ...]  # request, values


def _given(answer: Answer) -> bytes:
    """A handle, and where there is none something that is none."""
    return bytes(answer.value) if answer.kind is m.HANDLE else b"\xff\xff\xff\xff"


def play(server: Asked, steps: Iterable[Step]) -> list[Answer]:
    answers: list[Answer] = []
    for request, *values in steps:
        values = [_given(answers[each.number]) if isinstance(each, Handle) else each for each in values]
        answers.append(server.ask(request, *values))
    return answers


@dataclass(frozen=True)
class Difference:
    """Of one answer: of which of ours, to what, and both answers."""

    kind: str
    request: m.Request
    values: tuple[Any, ...]
    theirs: Any
    ours: Any

    @property
    def codes(self) -> tuple[Any, Any]:
        return self.theirs, self.ours

    @property
    def both_refuse(self) -> bool:
        return all(isinstance(code, int) and code != S.OK for code in self.codes)


# Those that are meant, by name.
KNOWN: dict[str, Callable[[Difference], bool]] = {
    "a directory has no place behind OPEN, and READ would refuse it": lambda d: (
        d.request is m.OPEN and d.codes == ("handle", S.FAILURE)
    ),
    "a link that leads nowhere is something as well, which RENAME does not replace": lambda d: (
        d.request is m.RENAME and d.ours == S.FAILURE and d.theirs in (S.OK, S.NO_SUCH_FILE)
    ),
    "below a root, a slash after what is no directory is noticed earlier": lambda d: (
        d.kind in ("openat2", "walk")
        and d.both_refuse
        and any(isinstance(path, bytes) and path.endswith((b"/", b"/..")) for path in d.values)
    ),
    "below a root, the directory of the new name is looked for before the old name": lambda d: (
        d.kind in ("openat2", "walk")
        and d.both_refuse
        and d.request is m.HARDLINK
        and d.codes == (S.BAD_MESSAGE, S.NO_SUCH_FILE)
    ),
    "READ behind the largest possible file is the end of the file": lambda d: (
        d.request is m.READ
        and d.values[1] == 2**62
        and d.codes in ((S.BAD_MESSAGE, S.EOF), (S.BAD_MESSAGE, S.NO_SUCH_FILE))
    ),
    "an offset that is negative for the system is one for a device as well": lambda d: (
        d.request in (m.READ, m.WRITE) and d.values[1] >= 2**63 and d.ours == S.BAD_MESSAGE
    ),
    "copy-data tells what went wrong also in its last 64 KiB": lambda d: (
        d.request is m.COPY_DATA and 0 < d.values[2] < 2**16 and d.codes in ((S.OK, S.EOF), (S.OK, S.NO_SUCH_FILE))
    ),
}


class Beside:
    """OpenSSH's server and ours, each over a directory of its own, in which the same grows for every script."""

    def __init__(self, directory: Path, *options: str, **our_options: Any) -> None:
        self.roots = {kind: directory / kind / "root" for kind in ("stock", *SERVERS)}
        for root in self.roots.values():
            root.mkdir(parents=True)
        self.servers: dict[str, Asked] = {"stock": Stock(self.roots["stock"], *options)}
        self.servers |= {kind: start(self.roots[kind], **our_options) for kind, start in SERVERS.items()}
        self.known: set[str] = set()
        self._fresh: dict[str, Any] = {}  # the directories, where nothing has changed since they grew

    def close(self) -> None:
        for server in self.servers.values():
            server.close()
        for root in self.roots.values():
            clear(root)

    def differences(self, scripts: Iterable[list[Step]], kinds: Iterable[str] = tuple(SERVERS)) -> list[str]:
        """What is not the same, in words."""
        return [line for steps in scripts for line in self._script(steps, ("stock", *kinds))]

    def _script(self, steps: list[Step], kinds: tuple[str, ...]) -> Iterator[str]:
        if not self._fresh:
            for kind, root in self.roots.items():
                clear(root)
                grow(root)
                self._fresh[kind] = tree(root)
        reads = all(OPERATIONS[request].access is Access.READS for request, *_ in steps)
        results = {}
        for kind in kinds:
            root, inside = self.roots[kind], kind not in ("stock", "local")
            answers = [comparable(answer, root, inside) for answer in play(self.servers[kind], steps)]
            results[kind] = answers, self._fresh[kind] if reads else tree(root)
        if any(files != self._fresh[kind] for kind, (_, files) in results.items()):
            self._fresh.clear()
        answers, files = results.pop("stock")
        for kind, (our_answers, our_files) in results.items():
            same = True
            for (request, *values), theirs, ours in zip(steps, answers, our_answers, strict=True):
                difference = Difference(kind, request, tuple(values), theirs, ours)
                if theirs != ours:
                    same = same and difference.both_refuse
                    if not self._is_known(difference):
                        yield f"{kind} {request.name} {values}: {theirs} against {ours}"
            for path in sorted({*files, *our_files}) if same else ():
                if files.get(path) != our_files.get(path):
                    shown = [(request.name, *values) for request, *values in steps]
                    yield f"{kind} {shown} leaves {path}: {files.get(path)} against {our_files.get(path)}"

    def _is_known(self, difference: Difference) -> bool:
        reasons = {why for why, applies in KNOWN.items() if applies(difference)}
        self.known |= reasons
        return bool(reasons)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    before = os.umask(0o022)
    both = Beside(tmp_path)
    try:
        yield both
    finally:
        both.close()
        os.umask(before)


# --- one path ---------------------------------------------------------------------------------------------------------

PATHS = (
    b"file", b"file/", b"file/.", b"file/x", b"file/..", b"empty", b"unreadable", b"setid", b"dir", b"dir/", b"dir/.",
    b"dir/..", b"dir/sub", b"dir/inner", b"dir//inner", b"dir/../file", b"./file", b".", b"", b"bare", b"bare/",
    b"sealed/inner", b"dlink", b"dlink/", b"dlink/inner", b"dlink/..", b"flink", b"flink/", b"dangling", b"dangling/",
    b"chain", b"loop", b"loop/x", b"absolute", b"up", b"slash", b"slash/", b"fifo", b"socket", b"new", b"new/",
    b"new/x", b"dlink/new", b"x" * 255, b"x" * 256, b"x/" * 2100, b"\xff\n",
)  # fmt: skip

ONE_PATH: dict[str, tuple[Any, ...]] = {
    "STAT": (m.STAT,),
    "LSTAT": (m.LSTAT,),
    "OPENDIR": (m.OPENDIR,),
    "READLINK": (m.READLINK,),
    "REALPATH": (m.REALPATH,),
    "statvfs": (m.STATVFS,),
    "expand-path": (m.EXPAND_PATH,),
    "REMOVE": (m.REMOVE,),
    "RMDIR": (m.RMDIR,),
    "MKDIR": (m.MKDIR, A()),
    "MKDIR with a mode": (m.MKDIR, A(permissions=0o6750)),
    "SETSTAT nothing": (m.SETSTAT, A()),
    "SETSTAT size": (m.SETSTAT, A(size=3)),
    "SETSTAT size 2^63": (m.SETSTAT, A(size=2**63)),
    "SETSTAT size 2^63 - 1": (m.SETSTAT, A(size=2**63 - 1)),
    "SETSTAT permissions": (m.SETSTAT, A(permissions=0o104711)),
    "SETSTAT times": (m.SETSTAT, A(atime=5, mtime=2**32 - 1)),
    "SETSTAT owner": (m.SETSTAT, A(uid=12, gid=13)),
    "SETSTAT no owner": (m.SETSTAT, A(uid=2**32 - 1, gid=2**32 - 1)),
    "SETSTAT everything": (m.SETSTAT, A(5, 1, 2, 0o106755, 7, 8, ((b"x", b"y"),))),
    "lsetstat permissions": (m.LSETSTAT, A(permissions=0o600)),
    "lsetstat times": (m.LSETSTAT, A(atime=5, mtime=6)),
    "lsetstat owner": (m.LSETSTAT, A(uid=12, gid=13)),
    "lsetstat size": (m.LSETSTAT, A(size=1)),
}
OPENED: dict[str, tuple[int, A]] = {
    "to read": (READ, A()),
    "to write": (WRITE, A()),
    "to do both": (BOTH, A()),
    "for nothing": (0, A()),
    "new": (NEW, A()),
    "new with a mode": (NEW, A(permissions=0o6777)),
    "new to be read": (READ | int(F.CREAT), A(permissions=0o100600)),
    "exclusively": (EXCLUSIVE, A(permissions=0o644)),
    "emptied": (EMPTIED, A(size=10, uid=1, gid=1)),
    "emptied while read": (READ | int(F.TRUNC), A()),
    "to append": (APPEND | NEW, A()),
    "with unknown flags": (READ | 0x80, A()),
}


@pytest.mark.parametrize("case", ONE_PATH)
def test_requests_about_a_path_are_answered_as_sftp_server_does(beside: Beside, case: str) -> None:
    request, *values = ONE_PATH[case]
    assert beside.differences([(request, path, *values)] for path in PATHS) == []


@pytest.mark.parametrize("case", OPENED)
def test_files_are_opened_as_sftp_server_does(beside: Beside, case: str) -> None:
    # sftp-server waits for the other end of a FIFO; ours must not, which is tested elsewhere
    paths = [path for path in PATHS if path != b"fifo"]
    assert beside.differences([(m.OPEN, path, *OPENED[case])] for path in paths) == []


# --- two paths --------------------------------------------------------------------------------------------------------

PAIRED = (
    b"file", b"file/", b"other", b"dir", b"dir/", b"dir/sub", b"bare", b"dlink", b"dlink/inner", b"flink", b"dangling",
    b"loop/x", b"fifo", b"new", b"new/", b"new/x", b"", b"dir/sub/deep", b"x" * 256,
)  # fmt: skip


@pytest.mark.parametrize("request_kind", [m.RENAME, m.POSIX_RENAME, m.HARDLINK, m.SYMLINK], ids=lambda kind: kind.name)
def test_requests_about_two_paths_are_answered_as_sftp_server_does(beside: Beside, request_kind: m.Request) -> None:
    assert beside.differences([(request_kind, old, new)] for old in PAIRED for new in PAIRED) == []


# --- handles ----------------------------------------------------------------------------------------------------------

H0, H1, H2 = Handle(0), Handle(1), Handle(2)
NO_HANDLES = (b"\xff\xff\xff\xff", b"x", b"\0\0\0\0\0", b"y" * 256)
OPEN_FILE, OPEN_WRITE, OPEN_DIR = (m.OPEN, b"file", READ, A()), (m.OPEN, b"file", WRITE, A()), (m.OPENDIR, b"dir")
WITH_HANDLE: tuple[tuple[Any, ...], ...] = (
    (m.READ, 0, 10), (m.READ, 5, 2**32 - 1), (m.READ, 19, 1), (m.READ, 18, 5), (m.READ, 1000, 5), (m.READ, 2**62, 5),
    (m.READ, 2**63, 5), (m.READ, 2**64 - 1, 5), (m.WRITE, 0, b"new"), (m.WRITE, 30, b"hole"), (m.WRITE, 2**63, b"x"),
    (m.WRITE, 5, b""), (m.FSTAT,), (m.FSETSTAT, A()), (m.FSETSTAT, A(size=4)), (m.FSETSTAT, A(size=2**64 - 1)),
    (m.FSETSTAT, A(permissions=0o4700)), (m.FSETSTAT, A(atime=1, mtime=2)), (m.FSETSTAT, A(uid=3, gid=4)),
    (m.FSETSTAT, A(6, 1, 2, 0o6755, 7, 8)), (m.READDIR,), (m.CLOSE,), (m.FSTATVFS,), (m.FSYNC,),
)  # fmt: skip


@pytest.mark.parametrize(
    "opening",
    [
        OPEN_FILE, OPEN_WRITE, OPEN_DIR, (m.OPEN, b"file", BOTH, A()), (m.OPEN, b"file", APPEND, A()),
        (m.OPEN, b"/dev/null", BOTH, A()), (m.OPEN, b"/dev/zero", READ, A()),
    ],
    ids=["read", "write", "directory", "both", "append", "null", "zero"],
)  # fmt: skip
def test_requests_about_a_handle_are_answered_as_sftp_server_does(beside: Beside, opening: Step) -> None:
    kinds = ("local",) if opening[1].startswith(b"/") else tuple(SERVERS)
    unharmed = [step for step in WITH_HANDLE if step[0] is not m.FSETSTAT or kinds != ("local",)]
    scripts = [[opening, (request, H0, *values), (m.FSTAT, H0)] for request, *values in unharmed]
    assert beside.differences(scripts, kinds) == []


@pytest.mark.parametrize("handle", NO_HANDLES, ids=["unknown", "short", "long", "longest"])
def test_what_is_no_handle_is_refused_as_sftp_server_does(beside: Beside, handle: bytes) -> None:
    assert beside.differences([(request, handle, *values)] for request, *values in WITH_HANDLE) == []
    copies = [(m.COPY_DATA, handle, 0, 0, H0, 0), (m.COPY_DATA, H0, 0, 0, handle, 0)]
    assert beside.differences([OPEN_FILE, copy] for copy in copies) == []


def test_requests_about_a_closed_handle_are_answered_as_sftp_server_does(beside: Beside) -> None:
    for opening in (OPEN_FILE, OPEN_DIR):
        assert (
            beside.differences([opening, (m.CLOSE, H0), (request, H0, *values)] for request, *values in WITH_HANDLE)
            == []
        )


COPIES: tuple[tuple[int, int, int], ...] = (  # offset, length, offset in the target
    (0, 0, 0), (0, 5, 0), (5, 0, 0), (5, 5, 100), (0, 1000, 0), (19, 0, 0), (500, 0, 0), (0, 0, 2**33), (2**63, 0, 0),
    (0, 5, 2**63), (2**64 - 1, 2**64 - 1, 0),
)  # fmt: skip


@pytest.mark.parametrize("copy", COPIES, ids=str)
def test_copy_data_does_what_sftp_server_does(beside: Beside, copy: tuple[int, int, int]) -> None:
    offset, length, to = copy
    targets = [(m.OPEN, name, flags, A()) for name in (b"other", b"new") for flags in (NEW, NEW | APPEND, READ)]
    scripts = [
        [OPEN_FILE, target, (m.COPY_DATA, H0, offset, length, H1, to), (m.READ, H0, 0, 5), (m.CLOSE, H1)]
        for target in targets
    ]
    scripts.append([OPEN_FILE, OPEN_WRITE, (m.COPY_DATA, H0, offset, length, H1, to)])
    scripts.append([OPEN_FILE, OPEN_DIR, (m.COPY_DATA, H0, offset, length, H1, to)])
    scripts.append([OPEN_DIR, OPEN_WRITE, (m.COPY_DATA, H0, offset, length, H1, to)])
    scripts.append([(m.OPEN, b"file", BOTH, A()), (m.COPY_DATA, H0, offset, length, H0, to)])
    assert beside.differences(scripts) == []


LONGER: dict[str, list[Step]] = {
    "a file written and read": [
        (m.OPEN, b"new", BOTH | NEW, A(permissions=0o600)), (m.WRITE, H0, 0, b"one"), (m.WRITE, H0, 100_000, b"two"),
        (m.READ, H0, 0, 4), (m.READ, H0, 99_998, 100), (m.FSYNC, H0), (m.CLOSE, H0), (m.STAT, b"new"),
    ],
    "appending pays no regard to offsets": [
        (m.OPEN, b"other", APPEND, A()), (m.WRITE, H0, 0, b"1"), (m.WRITE, H0, 2**63 - 1, b"2"), (m.STAT, b"other"),
    ],
    "a removed file stays open": [
        (m.OPEN, b"file", BOTH, A()), (m.REMOVE, b"file"), (m.STAT, b"file"), (m.WRITE, H0, 0, b"X"),
        (m.READ, H0, 0, 9), (m.FSTAT, H0), (m.CLOSE, H0),
    ],
    "two handles of one file": [
        OPEN_FILE, OPEN_WRITE, (m.WRITE, H1, 0, b"changed"), (m.READ, H0, 0, 7), (m.CLOSE, H1), (m.FSTAT, H0),
    ],
    "a directory read to its end": [
        (m.OPENDIR, b"."), (m.READDIR, H0), (m.READDIR, H0), (m.READDIR, H0), (m.CLOSE, H0),
    ],
    "a directory that is removed while it is read": [
        (m.OPENDIR, b"bare"), (m.RMDIR, b"bare"), (m.READDIR, H0), (m.CLOSE, H0),
    ],
    "a tree made and removed": [
        (m.MKDIR, b"a", A()), (m.MKDIR, b"a/b", A()), (m.RMDIR, b"a"), (m.RMDIR, b"a/b"), (m.RMDIR, b"a"),
    ],
    "links and what they lead to": [
        (m.SYMLINK, b"dir/inner", b"l"), (m.READLINK, b"l"), (m.STAT, b"l"), (m.LSTAT, b"l"),
        (m.SETSTAT, b"l", A(size=1)), (m.HARDLINK, b"l", b"l2"), (m.READLINK, b"l2"), (m.REMOVE, b"l"),
        (m.STAT, b"dir/inner"),
    ],
    "a link to nowhere is written through": [
        (m.OPEN, b"chain", NEW, A()), (m.WRITE, H0, 0, b"somewhere"), (m.STAT, b"nowhere"), (m.CLOSE, H0),
        (m.OPEN, b"dangling", EXCLUSIVE, A()), (m.OPEN, b"loop", NEW, A()),
    ],
    "renaming and renaming back": [
        (m.RENAME, b"file", b"dir/f"), (m.RENAME, b"dir/f", b"file"), (m.RENAME, b"dir", b"d"),
        (m.RENAME, b"d", b"bare"), (m.POSIX_RENAME, b"d", b"bare"), (m.POSIX_RENAME, b"file", b"other"),
        (m.POSIX_RENAME, b"bare", b"bare/sub"),
    ],
    "set-id bits and a new owner": [
        (m.SETSTAT, b"file", A(uid=1, gid=1, permissions=0o6755)), (m.STAT, b"file"),
        (m.SETSTAT, b"file", A(permissions=0o6755)), OPEN_WRITE, (m.WRITE, Handle(3), 0, b"x"), (m.FSTAT, Handle(3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("script", LONGER)
def test_longer_scripts_go_as_with_sftp_server(beside: Beside, script: str) -> None:
    assert beside.differences([LONGER[script]]) == []


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_accounts_and_homes_are_told_as_sftp_server_does(beside: Beside) -> None:
    own = pwd.getpwuid(os.geteuid()).pw_name.encode()
    names = (own, b"nobody", b"no such user", b"\xff", b"root/x")
    # OpenSSH 9.2 tells one's own home for everybody's
    scripts = [[(m.HOME_DIRECTORY, name)] for name in names if name != b"nobody"]
    scripts += [[(m.USERS_GROUPS_BY_ID, ids, ids)] for ids in ((), (0,), (0, 1, 2, 54321, 2**32 - 1, 0))]
    scripts += [[(m.EXPAND_PATH, b"~" + name + rest)] for name in names for rest in (b"", b"/x", b"/../x")]
    assert beside.differences(scripts, ("local",)) == []
    assert (
        beside.differences([(m.EXPAND_PATH, path)] for path in (b"~", b"~/", b"~/dir", b"~/x/y", b"~no-such-user"))
        == []
    )


def test_paths_from_the_root_are_resolved_as_sftp_server_does(beside: Beside) -> None:
    paths = (b"/", b"//", b"/..", b"/../etc", b"/dev/null", b"/dev/null/", b"/proc/self/root/etc", b"/no/such")
    requests = (m.REALPATH, m.STAT, m.LSTAT, m.OPENDIR, m.READLINK, m.EXPAND_PATH)
    assert beside.differences(([(request, path)] for request in requests for path in paths), ("local",)) == []


def test_listings_have_the_long_names_of_sftp_server(beside: Beside) -> None:
    for kind in ("stock", "local"):
        root = beside.roots[kind]
        grow(root)
        (root / "other").write_bytes(b"x" * 123_456_789)
        for name, seconds in (("other", OLD + 10**8), ("file", int(time.time()) - 86_400), ("dir", 2**32 + 5)):
            os.utime(root / name, (seconds, seconds))
        with contextlib.suppress(PermissionError):  # as root, a number without a name
            os.chown(root / "empty", 54321, 54321)
        (root / "setid").chmod(0o7644)
    lines = {kind: sorted(each.longname for each in beside.servers[kind].listing(b".")) for kind in ("stock", "local")}
    assert lines["local"] == lines["stock"] and len(lines["local"]) == 20


def test_unknown_extensions_and_versions_are_answered_as_sftp_server_does(beside: Beside) -> None:
    unknown = m.frame(b"\xc8" + uint32(9) + string(b"no-such@extension") + b"whatever")
    answers = {kind: server.exchange(unknown) for kind, server in beside.servers.items()}
    assert {m.STATUS.decode(answer[4:]).code for answer in answers.values()} == {S.OP_UNSUPPORTED}
    limits = {kind: server.value(m.LIMITS) for kind, server in beside.servers.items()}
    assert len({(each.max_packet_length, each.max_read_length, each.max_write_length) for each in limits.values()}) == 1


def test_the_first_exchange_is_that_of_sftp_server(tmp_path: Path) -> None:
    versions = []
    for version in (3, 4, 99, 2):
        with Stock(tmp_path) as stock, local(tmp_path, begin=False) as ours:
            theirs = m.decode_version(stock.exchange(m.encode_init(version))[4:])
            number, extensions = m.decode_version(ours.exchange(m.encode_init(version))[4:])
            own = {name: data for name, data in extensions.items() if not name.endswith("@fastssh")}
            assert (number, own) == theirs and len(extensions) == len(own) + 2
            versions.append(theirs)
    assert versions[0][0] == 3 and len(versions[0][1]) == 11


def test_read_only_refuses_what_sftp_server_refuses(tmp_path: Path) -> None:
    """But for fsync, which changes nothing, and flags of OPEN that write nothing without WRITE."""
    both = Beside(tmp_path, "-R", read_only=True)
    cases = [(request, path, *values) for request, *values in ONE_PATH.values() for path in (b"file", b"dir", b"new")]
    cases += [(m.OPEN, path, *values) for values in OPENED.values() for path in (b"file", b"new")]
    cases += [(request, b"file", b"new") for request in (m.RENAME, m.POSIX_RENAME, m.HARDLINK, m.SYMLINK)]
    scripts: list[list[Step]] = [[case] for case in cases]
    scripts += [[OPEN_FILE, (request, H0, *values)] for request, *values in WITH_HANDLE if request is not m.FSYNC]
    scripts += [[OPEN_FILE, OPEN_FILE, (m.COPY_DATA, H0, 0, 0, H1, 0)]]
    assert both.differences(scripts) == []
    both.close()


def test_every_known_difference_is_one(beside: Beside) -> None:
    """What is no difference any more must not be excused for ever."""
    beside.differences(
        [
            [(m.OPEN, b"dir", READ, A())],
            [(m.RENAME, b"dir", b"dangling")],
            [(m.REMOVE, b"dlink/")],
            [(m.HARDLINK, b"x" * 256, b"new/x")],
            [OPEN_FILE, (m.READ, H0, 2**62, 5)],
            [OPEN_FILE, (m.OPEN, b"new", NEW, A()), (m.COPY_DATA, H0, 0, 1000, H1, 0)],
        ]
    )
    beside.differences([[(m.OPEN, b"/dev/null", BOTH, A()), (m.READ, H0, 2**63, 5)]], ("local",))
    assert beside.known == set(KNOWN)
