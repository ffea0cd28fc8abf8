"""The SFTP client against a server, over the native plane."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import fastssh
from fastssh.aio.client import ClientConnection
from fastssh.aio.sftp import SFTPClient
from fastssh.errors import (
    ChannelClosedError,
    ChannelRequestError,
    ConnectionLostError,
    SFTPError,
    SFTPUnsupportedError,
    SSHError,
    TransferError,
)
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import OpenFlags
from tests.conftest import ServerFactory
from tests.support import peers
from tests.support.peers import Peer

GIB = 1 << 30
SECONDS = 60.0


@pytest_asyncio.fixture
async def connection(server: Peer) -> AsyncIterator[ClientConnection]:
    async with fastssh.connect(server.host, **server.connect_options()) as connection:
        yield connection


@pytest_asyncio.fixture
async def sftp(connection: ClientConnection) -> AsyncIterator[SFTPClient]:
    async with await connection.sftp() as client:
        yield client


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- open files -------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_and_written_like_a_local_one(sftp: SFTPClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with sftp.open(path, "w+") as file:
        assert await file.write(b"hello world") == 11
        assert file.tell() == 11
        assert await file.seek(-5, os.SEEK_END) == 6
        assert await file.read(3) == b"wor"
        assert await file.seek(-1, os.SEEK_CUR) == 8
        assert await file.read() == b"rld"
        assert await file.read() == b"" and await file.read(10) == b""
        assert await file.truncate(5) == 5
        assert (await file.stat()).size == 5
        await file.setstat(SFTPAttributes(permissions=0o600))
        await file.fsync()
        await file.flush()
        assert (await file.statvfs()).f_namemax > 0
        with pytest.raises(ValueError):
            await file.seek(-1)
    assert path.read_bytes() == b"hello" and mode(path) == 0o600 and file.closed
    with pytest.raises(ChannelClosedError):
        await file.read()


async def test_large_reads_and_writes_are_cut_into_requests(sftp: SFTPClient, tmp_path: Path) -> None:
    data = os.urandom(5_000_001)
    async with sftp.open(tmp_path / "file", "wb") as file:
        assert await file.write(data) == len(data)
    assert (tmp_path / "file").read_bytes() == data
    async with sftp.open(tmp_path / "file") as file:
        assert await file.read() == data
        assert await file.pread(1_000_000, 4_500_000) == data[4_500_000:]
        assert await file.pread(700_000, 13) == data[13:700_013]


async def test_modes_are_those_of_open(sftp: SFTPClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with sftp.open(path, "x") as file:
        await file.write(b"one")
    with pytest.raises(SFTPError):
        await sftp.open(path, "x")
    async with sftp.open(path, "a") as file:
        await file.write(b"two")
        await file.write(memoryview(b"3" * 600_000))
    assert path.read_bytes() == b"onetwo" + b"3" * 600_000
    async with sftp.open(path, "r+") as file:
        await file.write(b"ONE")
    assert path.read_bytes()[:6] == b"ONEtwo"
    async with sftp.open(path, OpenFlags.READ) as file:
        assert await file.read(3) == b"ONE"
    with pytest.raises(ValueError):
        sftp.open(path, "rw")


async def test_files_of_proc_are_read_to_their_end(sftp: SFTPClient) -> None:
    if not os.path.exists("/proc/version"):
        pytest.skip("no /proc here")
    async with sftp.open("/proc/version") as file:
        assert await file.read() == Path("/proc/version").read_bytes()


async def test_row10_offsets_past_4_gib(sftp: SFTPClient, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    async with sftp.open(path, "w+") as file:
        await file.seek(4 * GIB - 1)
        assert await file.write(b"abc") == 3
        assert file.tell() == 4 * GIB + 2
        assert (await file.stat()).size == 4 * GIB + 2
        assert await file.pread(3, 4 * GIB - 1) == b"abc"
        assert await file.pread(10, 4 * GIB) == b"bc"
        await file.truncate(4 * GIB + 1)
    assert path.stat().st_size == 4 * GIB + 1
    assert (await sftp.stat(path)).size == 4 * GIB + 1


async def test_an_open_that_nobody_waits_for_is_closed_again(sftp: SFTPClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    task = asyncio.ensure_future(sftp.open(tmp_path / "file"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(SECONDS):
        while sftp.session.outstanding:
            await sftp.stat(".")
    async with sftp.open(tmp_path / "file") as file:
        assert file.handle[2:] == b"\0\0"  # servers use the place of a closed handle again


# --- names ------------------------------------------------------------------------------------------------------------


async def test_files_by_name(sftp: SFTPClient, tmp_path: Path) -> None:
    path, other, link = tmp_path / "file", tmp_path / "other", tmp_path / "link"
    path.write_bytes(b"12345")
    await sftp.chmod(path, 0o640)
    await sftp.utime(path, 1_000_000_000.7, 1_100_000_000)
    attributes = await sftp.stat(path)
    assert (attributes.size, attributes.atime, attributes.mtime) == (5, 1_000_000_000, 1_100_000_000)
    assert stat.S_IMODE(attributes.permissions or 0) == 0o640 and attributes.is_file()
    await sftp.chown(path, os.getuid(), os.getgid())
    await sftp.truncate(path, 3)
    await sftp.symlink("file", link)
    assert link.readlink() == Path("file") and await sftp.readlink(link) == "file"
    assert (await sftp.lstat(link)).is_symlink() and (await sftp.stat(link)).size == 3
    await sftp.link(path, other)
    with pytest.raises(SFTPError):
        await sftp.rename(path, other)
    await sftp.posix_rename(other, tmp_path / "third")
    await sftp.rename(tmp_path / "third", tmp_path / "fourth")
    await sftp.remove(tmp_path / "fourth")
    assert await sftp.exists(path) and not await sftp.exists(other)
    assert await sftp.isfile(link) and not await sftp.isdir(link) and await sftp.isdir(tmp_path)
    assert await sftp.realpath(f"{link}/../.") == str(tmp_path)
    assert (await sftp.statvfs(tmp_path)).f_bsize > 0


async def test_homes(sftp: SFTPClient) -> None:
    home = await sftp.realpath()
    assert await sftp.home_directory() == home == await sftp.expand_path("~")
    assert await sftp.expand_user("~/a//b") == b"a//b"
    # Only what the server runs in its own process sees the account of the test.
    homes = home, os.path.expanduser(f"~{peers.user_name()}")
    assert await sftp.expand_user(f"~{peers.user_name()}/x") in [os.fsencode(each) + b"/x" for each in homes]
    with pytest.raises(SFTPError):
        await sftp.expand_user("~nobody-of-that-name/x")
    if "users-groups-by-id@openssh.com" in sftp.extensions:
        assert await sftp.users_groups_by_id([0, 4_000_000_000], [0]) == (["root", ""], ["root"])


async def test_errors_are_builtin_ones_and_name_the_file(sftp: SFTPClient, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as error:
        await sftp.stat(missing)
    assert error.value.filename == missing and error.value.errno == errno.ENOENT
    assert str(error.value) in (f"{missing}: No such file", f"{missing}: No such file or directory")
    with pytest.raises(FileNotFoundError):
        await sftp.open(missing)
    with pytest.raises(ValueError):
        await sftp.stat("nul\0inside")


async def test_names_that_are_not_utf8_survive(sftp: SFTPClient, tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe"))).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    [name] = await sftp.listdir(tmp_path)
    assert name == "\udcff\udcfe"
    await sftp.remove(tmp_path / name)


async def test_directories(sftp: SFTPClient, tmp_path: Path) -> None:
    top = tmp_path / "a"
    await sftp.makedirs(top / "b/c/d")
    await sftp.makedirs(top / "b/c/d", exist_ok=True)
    with pytest.raises(SFTPError):
        await sftp.makedirs(top / "b/c/d")
    for number in range(250):
        (top / f"file{number}").touch()
    (top / "link").symlink_to("b")
    assert sorted(await sftp.listdir(top)) == sorted(os.listdir(top))
    entries = {entry.name: entry.attributes async for entry in sftp.scandir(top)}
    assert entries["b"].is_dir() and entries["link"].is_symlink() and entries["file7"].is_file()
    walked = [(path, sorted(inside), sorted(files)) async for path, inside, files in sftp.walk(top)]
    assert walked == [(str(path), sorted(inside), sorted(files)) for path, inside, files in os.walk(top)]
    followed = [path async for path, _, _ in sftp.walk(top, follow_links=True)]
    assert str(top / "link/c/d") in followed
    with pytest.raises(SFTPError):
        await sftp.rmdir(top)
    await sftp.rmtree(top)
    assert not top.exists() and tmp_path.exists()


async def test_glob(sftp: SFTPClient, tmp_path: Path) -> None:
    for name in ("a1.txt", "a2.txt", "b1.txt", ".hidden.txt", "w[1].txt", "d1/x.c", "d1/y.c", "d2/x.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "l").symlink_to("d2")

    async def found(pattern: str) -> list[str]:
        return [path.removeprefix(f"{tmp_path}/") for path in await sftp.glob(tmp_path / pattern)]

    assert await found("a?.txt") == ["a1.txt", "a2.txt"]
    assert await found("[!a]*.txt") == ["b1.txt", "w[1].txt"]
    assert await found("*/x.c") == ["d1/x.c", "d2/x.c", "l/x.c"]
    assert await found("d[12]/[x-z].c") == ["d1/x.c", "d1/y.c", "d2/x.c"]
    assert await found(".*.txt") == [".hidden.txt"]
    assert await found("w\\[1\\].txt") == ["w[1].txt"]
    assert await found("w[1].txt") == []
    assert await found("nothing*") == [] and await found("missing/*") == [] and await found("a1.txt/*") == []
    assert await found("d1/../a1.t*") == ["d1/../a1.txt"]


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_thousands_of_requests_wait_their_turn(sftp: SFTPClient, tmp_path: Path) -> None:
    results = await asyncio.gather(*[sftp.stat(tmp_path) for _ in range(3000)])
    assert len(results) == 3000
    tasks = [asyncio.ensure_future(sftp.stat(tmp_path)) for _ in range(1000)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in done) == 500
    assert (await sftp.stat(tmp_path)).is_dir()


async def test_copy_data_on_the_servers_side(sftp: SFTPClient, tmp_path: Path) -> None:
    """OpenSSH has it since 9.0; where it is missing, the error says so and nothing is written."""
    known = "copy-data" in sftp.extensions
    expected = contextlib.nullcontext() if known else pytest.raises(SFTPUnsupportedError, match="support copy-data")
    (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
    async with sftp.open(tmp_path / "a") as source, sftp.open(tmp_path / "b", "w") as target:
        with expected:
            await sftp.copy_data(source, target, offset=10, length=1000, target_offset=5)
    assert (tmp_path / "b").read_bytes() == (bytes(5) + (bytes(range(256)) * 1000)[10:1010] if known else b"")


# --- whole files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32_768, 261_119, 261_120, 261_121, 10_000_000])
async def test_files_go_up_and_down_unchanged(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    source, remote, target = (tmp_path / name for name in ("source", "remote", "target"))
    source.write_bytes(os.urandom(size))
    remote.write_bytes(b"longer than before" * 1_000_000)
    target.write_bytes(b"longer than before" * 1_000_000)
    heard: list[int] = []
    assert await sftp.put_file(source, remote, progress=heard.append) == size
    assert await sftp.get_file(remote, target, fsync=True) == size
    assert source.read_bytes() == remote.read_bytes() == target.read_bytes()
    assert heard[-1] == size and heard == sorted(heard)


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_modes_follow_the_source_less_the_umask(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    source.chmod(0o6757)
    umask = os.umask(0o027)
    try:
        await sftp.get_file(source, tmp_path / "down")
        await sftp.get_file(source, tmp_path / "kept", preserve=True)
        source.chmod(0o444)
        await sftp.get_file(source, tmp_path / "read-only")
    finally:
        os.umask(umask)
    await sftp.put_file(source, tmp_path / "up")
    assert mode(tmp_path / "down") == 0o750
    assert mode(tmp_path / "kept") == 0o757
    assert mode(tmp_path / "read-only") == 0o440
    assert mode(tmp_path / "up") == 0o444
    (tmp_path / "there").touch(0o600)
    await sftp.get_file(source, tmp_path / "there")
    assert mode(tmp_path / "there") == 0o600


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
async def test_preserve_keeps_times_and_mode(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    source.chmod(0o6711)
    os.utime(source, (1_111_111_111, 1_222_222_222))
    await sftp.put_file(source, tmp_path / "up", preserve=True)
    await sftp.get_file(tmp_path / "up", tmp_path / "down", preserve=True)
    for copy in (tmp_path / "up", tmp_path / "down"):
        assert mode(copy) == 0o711
        assert int(copy.stat().st_mtime) == 1_222_222_222
    await sftp.get_file(source, tmp_path / "all", preserve=True, preserve_set_id=True)
    await sftp.put_file(source, tmp_path / "all-up", preserve=True, preserve_set_id=True)
    assert mode(tmp_path / "all") == mode(tmp_path / "all-up") == 0o6711


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_devices_are_targets(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    before = os.stat("/dev/null").st_mode
    assert await sftp.get_file(source, "/dev/null", preserve=True) == size
    assert await sftp.put_file(source, "/dev/null", preserve=True) == size
    assert os.stat("/dev/null").st_mode == before


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_a_full_disk_is_named(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    with pytest.raises(OSError) as error:
        await sftp.get_file(source, "/dev/full")
    assert error.value.errno == errno.ENOSPC and error.value.filename == "/dev/full"
    with pytest.raises(SFTPError) as remote:
        await sftp.put_file(source, "/dev/full")
    assert remote.value.filename == "/dev/full"
    assert await sftp.exists(source)  # the session goes on


async def test_what_is_no_file_is_refused(sftp: SFTPClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(TransferError, match="not a regular file"):
            await sftp.put_file(name, tmp_path / "x")
        with pytest.raises(TransferError, match="not a regular file"):
            await sftp.get_file(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_bytes(b"data")
    with pytest.raises(OSError) as error:
        await sftp.get_file(tmp_path / "file", tmp_path / "fifo")
    assert error.value.errno == errno.ENXIO
    with pytest.raises(IsADirectoryError):
        await sftp.get_file(tmp_path / "file", tmp_path)
    for work in (sftp.get_file, sftp.put_file):
        with pytest.raises(FileNotFoundError) as missing:
            await work(tmp_path / "missing", tmp_path / "x")
        assert missing.value.filename == str(tmp_path / "missing")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_file_copied_onto_itself_is_not_lost(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = os.urandom(size)
    path.write_bytes(data)
    os.utime(path, ns=(1_000_000_000_111_111_111, 1_000_000_000_222_222_222))
    before = path.stat()
    for work in (sftp.put_file, sftp.get_file):
        with pytest.raises(TransferError, match="source and target are the same file"):
            await work(path, path)
        assert path.read_bytes() == data
        assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_target_that_looks_like_the_source_is_replaced(sftp: SFTPClient, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    for work in (sftp.put_file, sftp.get_file):
        target.write_bytes(bytes(size))
        for path in (source, target):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        assert await work(source, target) == size
        assert source.read_bytes() == target.read_bytes()


async def test_proc_files_are_copied_whole(sftp: SFTPClient, tmp_path: Path) -> None:
    if not os.path.exists("/proc/version"):
        pytest.skip("no /proc here")
    await sftp.get_file("/proc/version", tmp_path / "down")
    await sftp.put_file("/proc/version", tmp_path / "up")
    content = Path("/proc/version").read_bytes()
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes() == content


class Meddler:
    """A progress callback that does something once the copy is under way."""

    def __init__(self, action: Any) -> None:
        self.action = action
        self.reached = asyncio.Event()

    def __call__(self, done: int) -> None:
        if done > 0 and not self.reached.is_set():
            self.reached.set()
            self.action()


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_source_that_changes_meanwhile_is_noticed(
    connection: ClientConnection, tmp_path: Path, change: str, direction: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(24_000_000))
    changes = {
        "grow": lambda: os.truncate(source, 25_000_000),
        "shrink": lambda: os.truncate(source, 1_000_000),
        "touch": lambda: os.utime(source, (5, 5)),
    }
    connection.plane.set_send_rate(40_000_000)
    async with await connection.sftp() as sftp:
        work = sftp.put_file if direction == "up" else sftp.get_file
        with pytest.raises(TransferError, match="source: file changed while it was copied"):
            await work(source, tmp_path / "target", progress=Meddler(changes[change]))
        if change == "shrink":
            assert (tmp_path / "target").stat().st_size < 24_000_000


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_cancelled_copy_leaves_less_than_the_whole(
    connection: ClientConnection, tmp_path: Path, direction: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(30_000_000))
    target.write_bytes(bytes(30_000_000))
    connection.plane.set_send_rate(20_000_000)
    async with await connection.sftp() as sftp:
        meddler = Meddler(lambda: None)
        work = sftp.put_file if direction == "up" else sftp.get_file
        task = asyncio.ensure_future(work(source, target, progress=meddler))
        async with asyncio.timeout(SECONDS):
            await meddler.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        size = target.stat().st_size
        assert size < 30_000_000
        assert target.read_bytes() == source.read_bytes()[:size]
        connection.plane.set_send_rate(0)
        assert await work(source, target) == 30_000_000
        assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_lost_connection_leaves_less_than_the_whole(
    start_server: ServerFactory, tmp_path: Path, direction: str
) -> None:
    server = start_server()
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(30_000_000))
    target.write_bytes(bytes(30_000_000))

    def cut() -> None:
        for process in server.sessions():
            with contextlib.suppress(ProcessLookupError):  # it ends when its parent does
                os.kill(process, signal.SIGKILL)

    async with fastssh.connect(server.host, **server.connect_options()) as connection:
        connection.plane.set_send_rate(20_000_000)
        sftp = await connection.sftp()
        work = sftp.put_file if direction == "up" else sftp.get_file
        async with asyncio.timeout(SECONDS):
            with pytest.raises(ConnectionLostError):
                await work(source, target, progress=Meddler(cut))
        with pytest.raises(SSHError):
            await sftp.stat(".")
    size = target.stat().st_size
    assert size < 30_000_000 and target.read_bytes() == source.read_bytes()[:size]


# --- the session ------------------------------------------------------------------------------------------------------


async def test_a_closed_session_says_so(connection: ClientConnection) -> None:
    sftp = await connection.sftp()
    sftp.close()
    await sftp.wait_closed()
    with pytest.raises(SSHError, match="closed"):
        await sftp.stat(".")
    async with await connection.sftp() as another:
        assert await another.isdir(".")


async def test_a_server_without_sftp_is_named(start_server: ServerFactory) -> None:
    server = start_server(Subsystem="other /bin/false")
    async with fastssh.connect(server.host, **server.connect_options()) as connection:
        with pytest.raises(ChannelRequestError, match="sftp"):
            await connection.sftp()
        assert (await connection.run("echo alive")).stdout == b"alive\n"
