"""Whatever a server answers, and wherever it stops: every copy ends, once, and writes nothing outside its target."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh.errors import SFTPBadMessageError
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.download_tree import DownloadTree
from fastssh.sftp.messages import Request, SFTPLimits, SFTPName, StatusReply
from fastssh.sftp.session import Session
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport, Tree
from fastssh.sftp.upload_tree import UploadTree
from tests.support.sftp_memory import MemoryLink
from tests.support.sftp_server import Lie, Server
from tests.support.watching import open_descriptors


class Liar:
    """Answers honestly, but for one reply in ``every`` on average."""

    def __init__(self, seed: int, every: int) -> None:
        self.random, self.every = random.Random(seed), every
        self.lies = 0

    def __call__(self, server: Server, request: Request, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
        if self.random.randrange(self.every):
            return reply
        self.lies += 1
        return self.random.choice(self.LIES)(self, number, reply)

    def _mode(self) -> SFTPAttributes:
        kind = self.random.choice((0o100644, 0o040755, 0o120777, 0o010600, 0o104755, None))
        size = self.random.choice((None, 0, 5, 2**32, 2**64 - 1))
        return SFTPAttributes(size=size, permissions=kind, atime=1, mtime=self.random.choice((1, 2)))

    def _name(self) -> SFTPName:
        name = self.random.choice((b"a", b"..", b"../x", b"/x", b"", b"x\0", b"sub", b"\xff", b"y" * 300))
        return SFTPName(name, b"", self._mode())

    def _bits(self, reply: bytes) -> bytes:
        changed = bytearray(reply)
        changed[self.random.randrange(4, len(reply))] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    LIES = (
        lambda self, n, r: m.STATUS.encode(n, StatusReply(self.random.randrange(12), "words")),
        lambda self, n, r: m.HANDLE.encode(n, b"other"),
        lambda self, n, r: m.DATA.encode(n, bytes(self.random.choice((0, 1, 5, 300_000)))[:250_000]),
        lambda self, n, r: m.NAME.encode(n, tuple(self._name() for _ in range(self.random.randrange(4)))),
        lambda self, n, r: m.ATTRIBUTES.encode(n, self._mode()),
        lambda self, n, r: m.frame(r[4 : self.random.randrange(5, len(r) + 1)]),
        lambda self, n, r: self._bits(r),
        lambda self, n, r: b"",  # and never will
    )


def grow(root: Path) -> None:
    for name in ("a", "b", "sub/a", "sub/deeper/c", "other/d"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 3)
    (root / "large").write_bytes(bytes(10_000))
    (root / "empty").mkdir()
    (root / "link").symlink_to("sub")
    (root / "loop").symlink_to(".")


def copy(tree: type[Tree[Any]], lie: Lie | None, source: Path, target: Path, *, cancel_after: int = -1) -> CopyReport:
    """Runs a copy to its end, which has to come once and leave no descriptor open."""
    before = open_descriptors()
    server = Server(lie)
    server.limits = SFTPLimits(0, 2048, 2048, 20)  # so that "large" is
    honest, server.lie = server.lie, None
    link = MemoryLink(server.receive)
    session = Session(link)
    session.start(lambda error: None)
    link.deliver(session)
    server.lie = honest
    ends: list[None] = []
    report = CopyReport()
    options = CopyOptions(recurse=True, preserve=True, max_files=4)
    work = tree(session, options, CopyObserver.__subclasses__()[0](), report, lambda: ends.append(None))
    work.add(*((bytes(source), str(target)) if tree is DownloadTree else (str(source), bytes(target))))  # type: ignore[attr-defined]
    work.pump()
    if cancel_after >= 0:
        for _ in range(cancel_after):
            if link.replies:
                for message in link.unframer.feed(link.replies.pop(0)):
                    session.receive(message)
        work.cancel()
    link.deliver(session)
    if not ends:  # a reply that never came
        session.end_of_file()
    session.closed(None)
    server.close()
    assert ends == [None]
    assert not work.active and session.outstanding == 0
    assert session.error is not None and open_descriptors() == before
    return report


class Quiet(CopyObserver):
    """An observer who does not look."""


def test_an_honest_server_gives_whole_trees() -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "source")
        source.mkdir()
        grow(source)
        for tree, target in ((DownloadTree, "down"), (UploadTree, "up")):
            report = copy(tree, None, source, Path(name, target))
            assert (report.files, report.directories, report.failed) == (8, 7, 1)  # one loop
            assert Path(name, target, "large").read_bytes() == bytes(10_000)
            assert Path(name, target, "link/deeper/c").read_bytes() == b"sub/deeper/c" * 3


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), every=st.sampled_from((2, 4, 10, 40)), upload=st.booleans())
def test_row18_lies_end_the_copy_and_stay_inside(seed: int, every: int, upload: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "in", "source"), Path(name, "out", "target")
        source.mkdir(parents=True)
        target.parent.mkdir()
        grow(source)
        before = sorted(source.rglob("*"))
        copy(UploadTree if upload else DownloadTree, Liar(seed, every), source, target)
        assert sorted(source.rglob("*")) == before
        assert [path.name for path in target.parent.iterdir()] in ([], ["target"])
        assert sorted(path.name for path in Path(name).iterdir()) == ["in", "out"]


@settings(max_examples=60)
@given(after=st.integers(0, 80), upload=st.booleans(), seed=st.integers(0, 2**32), every=st.sampled_from((10, 1000)))
def test_a_copy_that_is_cancelled_ends_wherever_it_was(after: int, upload: bool, seed: int, every: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source"), Path(name, "target")
        source.mkdir()
        grow(source)
        copy(UploadTree if upload else DownloadTree, Liar(seed, every), source, target, cancel_after=after)


@given(messages=st.lists(st.binary(max_size=40), max_size=5))
def test_row22_random_messages_end_the_session_and_nothing_else(messages: list[bytes]) -> None:
    server = Server()
    link = MemoryLink(server.receive)
    session = Session(link)
    session.start(lambda error: None)
    link.deliver(session)
    link.answer = lambda message: b""
    got: list[Any] = []
    for _ in range(3):
        session.request(m.STAT, (b"/",), lambda value, error: got.append(error))
    for message in messages:
        session.receive(message)
    assert session.error is None or isinstance(session.error, SFTPBadMessageError)
    session.closed(None)
    assert len(got) == 3
