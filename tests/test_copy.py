"""Copies of trees against a stock sshd and fastsshd, with scp's rules."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

import fastssh
from fastssh.aio import copy
from fastssh.aio.client import ClientConnection
from fastssh.aio.copy import CopyOptions, download, upload
from fastssh.aio.sftp import SFTPClient
from fastssh.errors import SFTPError, SSHError
from fastssh.sftp import messages
from fastssh.sftp.messages import Request
from fastssh.sftp.session import Callback, Failure, TransferCallback
from tests.conftest import SshdFactory
from tests.support.peers import Peer

if TYPE_CHECKING:
    from fastssh._native.plane import TransferResult

SECONDS = 60.0
TREE = CopyOptions(recurse=True)
KEEP = CopyOptions(recurse=True, preserve=True)


@pytest_asyncio.fixture(params=["sshd", "fastsshd"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[ClientConnection]:
    """fastsshd takes small files in bundles."""
    peer: Peer = request.getfixturevalue(request.param)
    async with fastssh.connect(peer.host, **peer.connect_options()) as connection:
        yield connection


@pytest_asyncio.fixture
async def sftp(connection: ClientConnection) -> AsyncIterator[SFTPClient]:
    async with await connection.sftp() as client:
        yield client


class Recorder(copy.CopyObserver):
    """Keeps what it is told, by the last part of the names."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.heard: list[tuple[str, int]] = []
        self.failures: dict[str, Exception] = {}

    def started(self, name: str, size: int) -> None:
        self.sizes[os.path.basename(name)] = size

    def progress(self, name: str, done: int) -> None:
        self.heard.append((os.path.basename(name), done))

    def finished(self, name: str, size: int) -> None:
        self.done[os.path.basename(name)] = size

    def failed(self, name: str, error: Exception) -> None:
        self.failures[os.path.basename(name)] = error


def grow(root: Path) -> Path:
    """A tree with what trees have: nothing, little, much, depth, links."""
    files = {"empty": 0, "small": 1000, "d/chunk": 261_120, "d/more": 261_121, "d/e/f/deep": 5, "large": 3_000_000}
    for name, size in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.urandom(size))
    (root / "hollow").mkdir()
    (root / "many").mkdir()
    for number in range(300):
        (root / "many" / f"{number:03}").write_bytes(b"x" * number)
    (root / "link").symlink_to("small")
    (root / "d/dirlink").symlink_to("e")
    return root


def shape(root: Path) -> dict[str, bytes | None]:
    """Everything below, links followed."""
    found: dict[str, bytes | None] = {}
    for path, directories, files in os.walk(root, followlinks=True):
        for name in directories + files:
            entry = Path(path, name)
            found[str(entry.relative_to(root))] = entry.read_bytes() if entry.is_file() else None
    return found


# --- trees ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 2, 128])
async def test_trees_go_up_and_down_unchanged(sftp: SFTPClient, tmp_path: Path, files: int) -> None:
    source = grow(tmp_path / "source")
    observer = Recorder()
    options = CopyOptions(recurse=True, max_files=files)
    report = await upload(sftp, [source], str(tmp_path / "up"), options, observer)
    assert (report.failed, report.errors, observer.failures) == (0, [], {})
    count = sum(content is not None for content in shape(source).values())
    assert report.files == count and report.directories == 1 + len(shape(source)) - count
    assert report.bytes == sum(len(content or b"") for content in shape(source).values())
    assert shape(tmp_path / "up") == shape(source)
    assert observer.sizes["large"] == observer.done["large"] == 3_000_000
    observer = Recorder()
    again = await download(sftp, [tmp_path / "up"], tmp_path / "down", options, observer)
    assert (again.files, again.directories, again.bytes, again.failed) == (
        report.files, report.directories, report.bytes, 0,
    )
    assert shape(tmp_path / "down") == shape(source)
    assert not any(path.is_symlink() for path in (tmp_path / "down").rglob("*"))
    # and once more over what is there
    for work, target in ((upload, "up"), (download, "down")):
        (tmp_path / target / "small").write_bytes(b"something longer" * 1000)
        report = await work(sftp, [source / name for name in os.listdir(source)], tmp_path / target, TREE)
        assert report.failed == 0 and shape(tmp_path / target) == shape(source)


@pytest.mark.parametrize("work", [upload, download], ids=["up", "down"])
async def test_under_a_rate_limit_every_byte_goes_through_the_planes_transfers(
    sftp: SFTPClient, tmp_path: Path, work: copy.Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only of those does the limit know: whatever goes as a request of its own is not counted."""
    source = grow(tmp_path / "source")
    total = sum(len(content or b"") for content in shape(source).values())
    limited, moved, asked = sftp.session, [], []
    done, request = limited._transfer, limited.request

    def transfer(fd: int, callback: TransferCallback, start: Callable[[int], int]) -> int:
        def ended(result: TransferResult | None, error: Failure | None) -> None:
            moved.append(result.bytes if result is not None else 0)
            callback(result, error)

        return done(fd, ended, start)

    def requested(kind: Request, values: tuple[Any, ...], callback: Callback) -> None:
        if kind is messages.READ:
            asked.append(values[2])
        elif kind is messages.WRITE:
            asked.append(len(values[2]))
        request(kind, values, callback)

    monkeypatch.setattr(limited, "_transfer", transfer)
    monkeypatch.setattr(limited, "request", requested)
    limited.set_send_rate(100_000_000)
    report = await work(sftp, [source], str(tmp_path / "limited"), TREE)
    assert (report.failed, report.bytes, sum(moved)) == (0, total, total)
    assert all(length == 1 for length in asked)  # to see that an empty file is empty
    assert shape(tmp_path / "limited") == shape(source)
    moved.clear()
    limited.set_send_rate(0)
    report = await work(sftp, [source], str(tmp_path / "free"), TREE)
    assert report.bytes == total > sum(moved)


async def test_small_files_wait_for_the_rate_limit(
    connection: ClientConnection, sftp: SFTPClient, tmp_path: Path
) -> None:
    """At a byte a second the first file waits for its turn, which comes when the limit is lifted."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / str(number)).write_bytes(bytes(10_000))
    for work, target in ((upload, "up"), (download, "down")):
        sftp.session.set_send_rate(1)
        observer = Recorder()
        task = asyncio.ensure_future(work(sftp, [source], str(tmp_path / target), TREE, observer))
        async with asyncio.timeout(SECONDS):
            while connection.plane.wait_seconds <= 0:
                assert not task.done()
                await asyncio.sleep(0.01)
            assert not observer.done
            sftp.session.set_send_rate(0)
            await sftp.stat(source)  # something to do makes the connection look again
            assert (await task).bytes == 200_000


async def test_preserve_keeps_times_and_modes_of_directories_too(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed/file").write_bytes(b"data")
    (source / "closed/file").chmod(0o400)
    os.utime(source / "closed/file", (100, 200))
    (source / "closed").chmod(0o555)
    (source / "sticky").mkdir()
    (source / "sticky").chmod(0o1750)
    for directory in ("closed", "sticky", "."):
        os.utime(source / directory, (300, 400))
    assert (await upload(sftp, [source], str(tmp_path / "up"), KEEP)).failed == 0
    assert (await download(sftp, [tmp_path / "up"], tmp_path / "down", KEEP)).failed == 0
    for copied in (tmp_path / "up", tmp_path / "down"):
        assert stat.S_IMODE((copied / "closed").stat().st_mode) == 0o555
        assert stat.S_IMODE((copied / "sticky").stat().st_mode) == 0o1750
        assert stat.S_IMODE((copied / "closed/file").stat().st_mode) == 0o400
        assert (copied / "closed/file").stat().st_mtime == 200
        assert [(copied / name).stat().st_mtime for name in ("closed", "sticky", ".")] == [400, 400, 400]
    for path in (source, tmp_path / "up", tmp_path / "down"):
        (path / "closed").chmod(0o755)  # so that it can be removed


async def test_without_preserve_the_umask_counts(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed/file").touch(0o666)
    (source / "closed/file").chmod(0o6666)
    (source / "closed").chmod(0o2577)
    umask = os.umask(0o027)
    try:
        report = await download(sftp, [source], tmp_path / "down", TREE)
    finally:
        os.umask(umask)
    assert report.failed == 0
    assert stat.S_IMODE((tmp_path / "down/closed").stat().st_mode) == 0o550
    assert stat.S_IMODE((tmp_path / "down/closed/file").stat().st_mode) == 0o640
    report = await upload(sftp, [source], str(tmp_path / "up"), TREE)
    assert report.failed == 0
    assert (tmp_path / "up/closed").stat().st_mode & 0o7200 == 0
    assert (tmp_path / "up/closed/file").stat().st_mode & 0o7000 == 0
    for path in (source, tmp_path / "up", tmp_path / "down"):
        (path / "closed").chmod(0o755)


async def test_links_in_a_circle_are_errors_and_the_rest_goes_on(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/up").symlink_to("..")
    (source / "self").symlink_to(".")
    (source / "other").mkdir()
    (source / "other/cross").symlink_to("../a")
    (source / "a/cross").symlink_to("../other")
    (source / "a/file").write_bytes(b"data")
    for work, target in ((upload, "up"), (download, "down")):
        observer = Recorder()
        async with asyncio.timeout(SECONDS):
            report = await work(sftp, [source], str(tmp_path / target), TREE, observer)
        assert report.failed == len(report.errors) >= 3
        assert all(isinstance(error, OSError) and error.errno == errno.ELOOP for error in observer.failures.values())
        assert (tmp_path / target / "other/cross/file").read_bytes() == b"data"


async def test_depth_is_bounded_as_in_openssh(sftp: SFTPClient, tmp_path: Path) -> None:
    (tmp_path / "source" / Path(*["d"] * 70)).mkdir(parents=True)
    for work, target in ((upload, "up"), (download, "down")):
        report = await work(sftp, [tmp_path / "source"], str(tmp_path / target), TREE)
        assert report.failed == 1 and "maximum directory depth exceeded" in str(report.errors[0].error)
        assert report.directories == 64


async def test_what_fails_is_named_and_the_rest_goes_on(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(50):
        (source / f"file{number}").write_bytes(b"data")
    os.mkfifo(source / "fifo")
    (source / "dangling").symlink_to("nowhere")
    (source / "blocked").write_bytes(b"data")
    (source / "occupied").mkdir()
    for work, target in ((upload, tmp_path / "up"), (download, tmp_path / "down")):
        (target / "blocked").mkdir(parents=True)
        (target / "occupied").touch()
        observer = Recorder()
        sources = [str(source / name) for name in sorted(os.listdir(source))]
        report = await work(sftp, sources, str(target), TREE, observer)
        assert report.files == 50 and report.failed == 4
        assert set(observer.failures) == {"fifo", "dangling", "blocked", "occupied"}
        assert "not a regular file" in str(observer.failures["fifo"])
        assert isinstance(observer.failures["dangling"], FileNotFoundError)
        assert [failure.name for failure in report.errors]
        assert len(os.listdir(target)) == 52


async def test_unreadable_things_are_named(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "secret").write_bytes(b"data")
    (source / "open").write_bytes(b"data")
    (source / "closed").chmod(0)
    (source / "secret").chmod(0)
    for work, target in ((upload, "up"), (download, "down")):
        observer = Recorder()
        report = await work(sftp, [source], str(tmp_path / target), TREE, observer)
        if os.getuid() == 0:  # who reads everything
            assert report.files == 2 and not observer.failures
        else:
            assert set(observer.failures) == {"closed", "secret"}
            assert all(isinstance(error, PermissionError) for error in observer.failures.values())
        assert (tmp_path / target / "open").read_bytes() == b"data"
    for path in (source, tmp_path / "up", tmp_path / "down"):
        (path / "closed").chmod(0o755)


@pytest.mark.parametrize("name", ["asyncssh_server", "paramiko_server", "sshd_internal"])
async def test_trees_to_and_from_other_servers(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    peer: Peer = request.getfixturevalue(name)
    source = grow(tmp_path / "source")
    top = str(peer.root) if name == "sshd_internal" else ""
    async with fastssh.connect(peer.host, **peer.connect_options()) as connection, await connection.sftp() as sftp:
        for options in (KEEP, TREE):  # the second over the first
            report = await upload(sftp, [f"{source}/."], f"{top}/tree", options)
            assert (report.failed, report.errors) == (0, [])
        report = await download(sftp, [f"{top}/tr*"], tmp_path / "down", KEEP)
        assert (report.failed, report.errors) == (0, [])
        assert shape(tmp_path / "down") == shape(source)
        await sftp.rmtree(f"{top}/tree")
        assert not await sftp.exists(f"{top}/tree")


# --- targets ----------------------------------------------------------------------------------------------------------


async def test_one_file_goes_to_a_name_or_into_a_directory(sftp: SFTPClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "there").mkdir()
    for work in (upload, download):
        await work(sftp, [tmp_path / "file"], tmp_path / "name")
        assert (tmp_path / "name").read_bytes() == b"data"
        await work(sftp, [tmp_path / "file"], tmp_path / "there")
        assert (tmp_path / "there/file").read_bytes() == b"data"
        (tmp_path / "name").unlink()
        (tmp_path / "there/file").unlink()
        report = await work(sftp, [tmp_path / "file"], tmp_path / "missing/name")
        assert report.failed == 1 and isinstance(report.errors[0].error, FileNotFoundError)


async def test_directories_need_recurse(sftp: SFTPClient, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for work in (upload, download):
        report = await work(sftp, [tmp_path / "source"], tmp_path / "target")
        assert report.failed == 1 and str(report.errors[0].error) == f"{tmp_path}/source: not a regular file"
        assert not (tmp_path / "target").exists()


async def test_several_sources_need_a_directory(sftp: SFTPClient, tmp_path: Path) -> None:
    for name in ("a", "b", "file"):
        (tmp_path / name).write_bytes(name.encode())
    sources = [tmp_path / "a", tmp_path / "b"]
    for work in (upload, download):
        with pytest.raises(NotADirectoryError) as error:
            await work(sftp, sources, tmp_path / "file")
        assert error.value.filename == str(tmp_path / "file") and error.value.strerror == "Not a directory"
        with pytest.raises(NotADirectoryError):
            await work(sftp, sources[:1], tmp_path / "file", CopyOptions(target_directory=True))
    with pytest.raises(FileNotFoundError):
        await download(sftp, sources, tmp_path / "missing")
    assert (await upload(sftp, sources, tmp_path / "made")).files == 2
    assert sorted(os.listdir(tmp_path / "made")) == ["a", "b"]
    assert (tmp_path / "file").read_bytes() == b"file"


async def test_a_directory_takes_the_targets_name_or_goes_into_it(sftp: SFTPClient, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(b"data")
    (tmp_path / "in").mkdir()
    for work in (upload, download):
        target = tmp_path / work.__name__
        await work(sftp, [tmp_path / "source"], target, TREE)
        assert os.listdir(target) == ["file"]
        await work(sftp, [tmp_path / "source"], target, TREE)
        assert sorted(os.listdir(target)) == ["file", "source"]
        await work(sftp, [f"{tmp_path}/source/."], f"{target}/", TREE)
        await work(sftp, [f"{tmp_path}/source/../source/"], f"{target}/", TREE)
        assert sorted(os.listdir(target)) == ["file", "source"]
        report = await work(sftp, [tmp_path / "source"], tmp_path / "source/file", TREE)
        assert report.failed == 1 and isinstance(report.errors[0].error, OSError)


async def test_the_empty_target_and_tilde_are_home(sftp: SFTPClient, tmp_path: Path) -> None:
    home = Path(await sftp.realpath("."))
    name = f"fastssh-test-{os.getpid()}"
    (tmp_path / name).write_bytes(b"data")
    try:
        for target in ("", "~", "~/", "."):
            assert (await upload(sftp, [tmp_path / name], target)).files == 1
            assert (home / name).read_bytes() == b"data"
            (home / name).unlink()
        await upload(sftp, [tmp_path / name], f"~/{name}")
        assert (await download(sftp, [f"~/{name}"], tmp_path / "back")).files == 1
        assert (await download(sftp, [name], tmp_path / "back")).files == 1
    finally:
        (home / name).unlink(missing_ok=True)
    with pytest.raises(SFTPError):
        await upload(sftp, [tmp_path / name], "~no-such-user/x")


async def test_patterns_and_names_that_look_like_patterns(sftp: SFTPClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.c", "b.c", "c.h", "[x].c", "q?.h"):
        (source / name).write_bytes(name.encode())
    report = await download(sftp, [f"{source}/[ab].c"], tmp_path / "made")
    assert report.files == 2 and sorted(os.listdir(tmp_path / "made")) == ["a.c", "b.c"]
    report = await download(sftp, [f"{source}/[x].c"], tmp_path / "literal")
    assert (tmp_path / "literal").read_bytes() == b"[x].c"
    report = await download(sftp, [f"{source}/q\\?.h"], tmp_path / "escaped")
    assert (tmp_path / "escaped").read_bytes() == b"q?.h"
    report = await download(sftp, [f"{source}/*.none"], tmp_path / "none")
    assert report.failed == 1 and isinstance(report.errors[0].error, FileNotFoundError)
    assert report.errors[0].name == f"{source}/*.none"
    with pytest.raises(NotADirectoryError):
        await download(sftp, [f"{source}/*.c"], tmp_path / "literal")
    report = await download(sftp, [f"{tmp_path}/sour*"], tmp_path / "tree", TREE)
    assert report.files == 5 and len(os.listdir(tmp_path / "tree")) == 5


@pytest.mark.parametrize("up", [True, False])
async def test_of_two_sources_of_one_name_the_last_one_stays(sftp: SFTPClient, tmp_path: Path, up: bool) -> None:
    """They are never written into each other."""
    sources = [tmp_path / parent / "x" for parent in "ab"]
    for source, size in zip(sources, (6_000_000, 5_000_000), strict=True):
        source.mkdir(parents=True)
        for name in ("large", "same"):
            (source / name).write_bytes(str(source.parent.name).encode() * size)
    (tmp_path / "into").mkdir()
    work = upload if up else download
    report = await work(sftp, list(map(str, sources)), str(tmp_path / "into"), TREE)
    assert (report.files, report.failed) == (4, 0)
    for name in ("large", "same"):
        assert (tmp_path / "into/x" / name).read_bytes() == b"b" * 5_000_000


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [upload, download], ids=["up", "down"])
async def test_a_cancelled_tree_leaves_no_file_that_looks_complete(
    connection: ClientConnection, tmp_path: Path, work: copy.Copy
) -> None:
    source, target = grow(tmp_path / "source"), tmp_path / "target"
    for number in range(5):
        (source / f"big{number}").write_bytes(os.urandom(8_000_000))
    connection.plane.set_send_rate(10_000_000)
    async with await connection.sftp() as sftp:
        reached = asyncio.Event()
        observer = Recorder()
        observer.progress = lambda name, done: reached.set() if done else None  # type: ignore[method-assign]
        task = asyncio.ensure_future(work(sftp, [source], str(target), TREE, observer))
        async with asyncio.timeout(SECONDS):
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await sftp.isdir(target)  # the session is in order
    whole = shape(source)
    for name, content in shape(target).items():
        expected = whole[name]
        if content is not None and expected is not None:
            assert content == expected[: len(content)]
            assert len(content) == len(expected) if os.path.basename(name) in observer.done else True
    assert any(len(content or b"") < len(whole[name] or b"") for name, content in shape(target).items())


@pytest.mark.parametrize("work", [upload, download], ids=["up", "down"])
async def test_a_lost_connection_ends_the_tree(start_sshd: SshdFactory, tmp_path: Path, work: copy.Copy) -> None:
    server = start_sshd()
    source = grow(tmp_path / "source")
    (source / "big").write_bytes(os.urandom(30_000_000))

    class Cutter(Recorder):
        def progress(self, name: str, done: int) -> None:
            for process in server.sessions():
                with contextlib.suppress(ProcessLookupError):  # it ends when its parent does
                    os.kill(process, signal.SIGKILL)

    async with fastssh.connect(server.host, **server.connect_options()) as connection, asyncio.timeout(SECONDS):
        connection.plane.set_send_rate(20_000_000)
        observer = Cutter()
        with pytest.raises(SSHError):
            await work(await connection.sftp(), [source], str(tmp_path / "target"), TREE, observer)
        assert "big" in observer.failures
    target = tmp_path / "target/big"
    assert not target.exists() or target.stat().st_size < 30_000_000
