"""SFTP servers that lie, behind a stock sshd: the whole client against them, native plane included."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio import copy
from fastssh.aio.client import ClientConnection
from fastssh.aio.sftp import SFTPClient
from fastssh.errors import (
    SFTPBadMessageError,
    SFTPConnectionLostError,
    SFTPError,
    SSHError,
    SSHTimeoutError,
    TransferError,
)
from tests.conftest import SshdFactory
from tests.support import sftp_server
from tests.support.watching import open_descriptors

SECONDS = 30.0  # for anything here to end, well or not
LARGE = 2_500_000  # bytes: enough for the native plane

Liar = Callable[[str], AbstractAsyncContextManager[ClientConnection]]


@pytest.fixture
def liar(start_sshd: SshdFactory) -> Liar:
    """liar(mode): a connection to a server whose SFTP subsystem lies in that way."""

    @asynccontextmanager
    async def connect(mode: str) -> AsyncIterator[ClientConnection]:
        server = start_sshd(Subsystem=f"sftp {sys.executable} {sftp_server.__file__} {mode}")
        async with asyncio.timeout(SECONDS), fastssh.connect(server.host, **server.connect_options()) as connection:
            yield connection

    return connect


class Recorder(copy.CopyObserver):
    def __init__(self) -> None:
        self.done: list[str] = []
        self.failures: list[tuple[str, Exception]] = []

    def finished(self, name: str, size: int) -> None:
        self.done.append(name)

    def failed(self, name: str, error: Exception) -> None:
        self.failures.append((name, error))


# --- row 22: wrong replies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie", ["unknown-id", "wrong-kind", "status-ok", "no-number", "truncated", "superfluous", "empty", "oversize"]
)
async def test_row22_a_wrong_reply_ends_in_a_prompt_error(liar: Liar, lie: str) -> None:
    async with liar(lie) as connection:
        sftp = await connection.sftp()
        tasks = [asyncio.ensure_future(sftp.stat(".")) for _ in range(5)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, SSHError) for result in results), results
        with pytest.raises(SSHError):
            await sftp.lstat(".")


async def test_row22_a_reply_to_a_request_of_the_planes_that_was_not_made(liar: Liar) -> None:
    async with liar("plane-id") as connection:
        sftp = await connection.sftp()
        with pytest.raises(SSHError):
            await sftp.stat(".")


@pytest.mark.parametrize("lie", ["empty-data", "long-data", "read-handle", "read-id"])
@pytest.mark.parametrize("size", [1000, LARGE])
async def test_row22_wrong_replies_to_reads_end_the_copy(liar: Liar, tmp_path: Path, lie: str, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    async with liar(lie) as connection:
        sftp = await connection.sftp()
        with pytest.raises(SSHError):
            await sftp.get_file(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists() or (tmp_path / "target").stat().st_size < size


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_row22_data_in_reply_to_writes_end_the_copy(liar: Liar, tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    async with liar("write-data") as connection:
        sftp = await connection.sftp()
        with pytest.raises(SSHError):
            await sftp.put_file(tmp_path / "source", tmp_path / "target")


async def test_row22_listings_and_names_of_the_wrong_count(liar: Liar, tmp_path: Path) -> None:
    async with liar("two-names") as connection:
        sftp = await connection.sftp()
        with pytest.raises(SFTPBadMessageError):
            await sftp.realpath(".")
    async with liar("no-names") as connection:
        sftp = await connection.sftp()
        assert await sftp.listdir(tmp_path) == []  # ends, rather than asking for ever
    async with liar("count") as connection:
        sftp = await connection.sftp()
        with pytest.raises(SFTPBadMessageError):
            await sftp.listdir(tmp_path)


async def test_row22_a_server_that_goes_silent_or_never_speaks(liar: Liar) -> None:
    async with liar("silence") as connection:
        sftp = await connection.sftp()
        with pytest.raises(SFTPConnectionLostError):
            await sftp.stat(".")
    async with liar("mute") as connection:
        with pytest.raises(SSHTimeoutError):
            await connection.sftp(timeout=0.5)
        assert (await connection.run("echo alive")).stdout == b"alive\n"


async def test_row22_text_instead_of_sftp_is_an_error(liar: Liar) -> None:
    async with liar("babble") as connection:
        with pytest.raises(SSHError):
            await connection.sftp()


# --- transfers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, LARGE])
async def test_short_replies_to_reads_are_asked_for_again(liar: Liar, tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    async with liar("read-half") as connection, await connection.sftp() as sftp:
        assert await sftp.get_file(tmp_path / "source", tmp_path / "target") == size
        async with sftp.open(tmp_path / "source") as file:
            assert await file.read(20_000) == (tmp_path / "source").read_bytes()[:20_000]
    assert (tmp_path / "source").read_bytes() == (tmp_path / "target").read_bytes()


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("lie", ["write-denied", "close-fails"])
async def test_an_upload_succeeds_only_with_every_status(liar: Liar, tmp_path: Path, lie: str, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    async with liar(lie) as connection, await connection.sftp() as sftp:
        with pytest.raises(SFTPError) as error:
            await sftp.put_file(tmp_path / "source", tmp_path / "target")
        assert error.value.filename == str(tmp_path / "target")
        assert "denied" in str(error.value) or "close: quota exceeded" in str(error.value)
        assert await sftp.exists(".")


async def test_an_upload_that_fails_in_the_middle_is_cut_and_named(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(LARGE))
    async with liar("write-late") as connection, await connection.sftp() as sftp:
        with pytest.raises(SFTPError) as error:
            await sftp.put_file(tmp_path / "source", tmp_path / "target")
    assert str(error.value).endswith("target: No space left on device\\033]0;owned\\007")
    assert (tmp_path / "target").stat().st_size < LARGE


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_attributes_count_for_success_when_asked_for(liar: Liar, tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(bytes(size))
    async with liar("fsetstat-denied") as connection, await connection.sftp() as sftp:
        assert await sftp.put_file(tmp_path / "source", tmp_path / "plain") == size
        with pytest.raises(SFTPError, match="set attributes: denied"):
            await sftp.put_file(tmp_path / "source", tmp_path / "target", preserve=True)


async def test_a_server_that_ends_in_the_middle_costs_the_session_only(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(LARGE))
    for lie in ("exit-reading", "exit-writing"):
        before = open_descriptors()
        async with liar(lie) as connection:
            sftp = await connection.sftp()
            work = sftp.get_file if lie == "exit-reading" else sftp.put_file
            with pytest.raises(SFTPConnectionLostError, match="the server ended the SFTP session") as error:
                await work(tmp_path / "source", tmp_path / "target")
            assert error.value.filename is not None
            await sftp.wait_closed()
            assert (tmp_path / "target").stat().st_size < LARGE
            assert (await connection.run("echo alive")).stdout == b"alive\n"
        assert open_descriptors() == before


async def test_setstat_serves_where_fsetstat_is_unknown(liar: Liar, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    os.utime(source, (5, 6))
    async with liar("no-fsetstat") as connection, await connection.sftp() as sftp:
        await sftp.put_file(source, tmp_path / "target", preserve=True)
    assert (tmp_path / "target").stat().st_mtime == 6


async def test_a_denied_read_leaves_no_file_that_looks_complete(liar: Liar, tmp_path: Path) -> None:
    for size in (1000, LARGE):
        (tmp_path / "source").write_bytes(bytes(size))
        async with liar("read-denied") as connection, await connection.sftp() as sftp:
            with pytest.raises(PermissionError) as error:
                await sftp.get_file(tmp_path / "source", tmp_path / "target")
            assert error.value.filename == str(tmp_path / "source")
        assert not (tmp_path / "target").exists() or (tmp_path / "target").stat().st_size == 0


@pytest.mark.parametrize(
    ("lie", "size"), [("shrunk", LARGE), ("touched", 1000), ("touched", LARGE), ("grown", 1000)]
)
async def test_a_remote_source_that_changes_is_noticed(liar: Liar, tmp_path: Path, lie: str, size: int) -> None:
    (tmp_path / "source").write_bytes(bytes(size))
    async with liar(lie) as connection, await connection.sftp() as sftp:
        attempt = sftp.get_file(tmp_path / "source", tmp_path / "target")
        if (lie, size) == ("touched", 1000) or lie == "grown":
            # Only the listing was old: a closer look finds a file that holds still.
            assert await attempt == 1000
        else:
            with pytest.raises(TransferError, match="file changed while it was copied"):
                await attempt
            if lie == "shrunk":
                assert (tmp_path / "target").stat().st_size < size


async def test_row10_sizes_that_no_file_can_have_are_refused(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    async with liar("huge") as connection, await connection.sftp() as sftp:
        with pytest.raises(OSError) as error:
            await sftp.get_file(tmp_path / "source", tmp_path / "target")
        assert error.value.errno == errno.EFBIG and not (tmp_path / "target").exists()
        assert (await sftp.lstat(tmp_path / "source")).size == 4


# --- rows 18 and 19: names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    ["name-parent", "name-absolute", "name-inside", "name-empty", "name-nul", "name-twice", "name-directory"],
)
async def test_row18_no_name_leads_out_of_the_target(liar: Liar, tmp_path: Path, lie: str) -> None:
    source = tmp_path / "remote" / "source"
    (source / "sub").mkdir(parents=True)
    (source / "good").write_bytes(b"good")
    (tmp_path / "remote" / "evil").write_bytes(b"evil")
    target = tmp_path / "local" / "target"
    target.parent.mkdir()
    observer = Recorder()
    async with liar(lie) as connection, await connection.sftp() as sftp:
        report = await copy.download(sftp, [source], target, copy.CopyOptions(recurse=True), observer)
    found = sorted(str(path.relative_to(tmp_path / "local")) for path in (tmp_path / "local").rglob("*"))
    assert found == ["target", "target/good", "target/sub"]
    assert (target / "good").stat().st_size == 4
    assert not Path("/tmp/evil").exists()
    if lie == "name-directory":  # ".." is in every listing, and never entered
        assert report.failed == 0
    else:
        assert report.failed == 1 and "server sent a name" in str(observer.failures[0][1])


@pytest.mark.parametrize("lie", ["name-parent", "name-absolute", "name-nul", "name-empty"])
async def test_row18_listings_and_patterns_refuse_such_names(liar: Liar, tmp_path: Path, lie: str) -> None:
    async with liar(lie) as connection:
        for work in (_listdir, _glob, _rmtree):
            async with await connection.sftp() as sftp:
                with pytest.raises(SFTPBadMessageError, match="no file name"):
                    await work(sftp, tmp_path)
    assert tmp_path.exists()


async def _listdir(sftp: SFTPClient, path: Path) -> Any:
    return await sftp.listdir(path)


async def _glob(sftp: SFTPClient, path: Path) -> Any:
    return await sftp.glob(path / "*")


async def _rmtree(sftp: SFTPClient, path: Path) -> Any:
    return await sftp.rmtree(path)


async def test_row18_set_id_bits_are_cleared_unless_asked_for(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    async with liar("set-id") as connection, await connection.sftp() as sftp:
        await sftp.get_file(tmp_path / "source", tmp_path / "plain")
        await sftp.get_file(tmp_path / "source", tmp_path / "kept", preserve=True)
        await sftp.get_file(tmp_path / "source", tmp_path / "asked", preserve=True, preserve_set_id=True)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "kept", "asked")]
    assert [mode & 0o7000 for mode in modes] == [0, 0, 0o6000]
    assert modes[1] == 0o755


async def test_row19_names_and_words_of_the_server_cannot_drive_a_terminal(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    observer = Recorder()
    async with liar("name-escape") as connection, await connection.sftp() as sftp:
        await copy.download(sftp, [tmp_path / "source"], tmp_path / "target", copy.CopyOptions(recurse=True), observer)
    [(_, error)] = observer.failures
    assert "\\033[31mred\\007" in str(error) and str(error).isprintable()
    async with liar("stat-escape") as connection, await connection.sftp() as sftp:
        with pytest.raises(SFTPError) as refused:
            await sftp.stat("x\x1b[2J\n")
    assert str(refused.value).isprintable()
