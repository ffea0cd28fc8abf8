"""SFTP and processes over local descriptors: a program of this machine in place of a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from fastssh.aio import bridge
from fastssh.aio.bridge import Bridge, sftp_over
from fastssh.errors import SFTPBadMessageError, SFTPConnectionLostError, SSHError
from tests.support.copying import random_file, sha256
from tests.support.peers import sftp_server
from tests.support.watching import open_descriptors

MIB = 1 << 20


async def test_files_go_through_a_local_sftp_server_both_ways(tmp_path: Path) -> None:
    source = random_file(tmp_path / "source", 3 * MIB + 17)
    before = open_descriptors()
    async with Bridge.run([sftp_server()]) as local, await local.sftp() as sftp:
        await sftp.put_file(source, tmp_path / "up")
        await sftp.get_file(tmp_path / "up", tmp_path / "down")
        assert sorted(await sftp.listdir(str(tmp_path))) == ["down", "source", "up"]
    assert sha256(tmp_path / "down") == sha256(source)
    assert open_descriptors() == before


async def test_sftp_goes_over_descriptors_that_somebody_else_made(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        server = await asyncio.create_subprocess_exec(sftp_server(), stdin=theirs, stdout=theirs)
    sftp = await sftp_over(fd := ours.detach(), fd)
    async with sftp:
        await sftp.mkdir(str(tmp_path / "made"))
    assert (tmp_path / "made").is_dir()
    assert await asyncio.wait_for(server.wait(), 20) == 0  # our end was closed with the session
    with pytest.raises(OSError):
        os.fstat(fd)


async def test_a_process_has_streams_and_a_status() -> None:
    async with Bridge.run(["sh", "-c", "cat; echo end; exit 7"]) as local:
        process = await local.process()
        stdout, _ = await process.communicate(b"x" * MIB)
    assert stdout == b"x" * MIB + b"end\n"
    assert process.exit_status == 7


async def test_a_program_may_live_on_without_its_output() -> None:
    async with Bridge.run(["sh", "-c", "exec 1>&-; cat >/dev/null; exit 3"]) as local:
        process = await local.process()
        assert await process.stdout.read() == b""  # its end is heard while it waits for ours
        process.stdin.write_eof()
        assert await process.wait() == 3


async def test_a_program_that_is_missing_is_an_error_of_the_system() -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        Bridge.run(["/nonexistent/program"])
    await asyncio.sleep(0)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("script", "error", "match"),
    [
        ("exit 1", SFTPConnectionLostError, "ended the SFTP session"),
        ("echo Welcome to the machine", SFTPBadMessageError, "something else where SFTP should begin: Welcome"),
    ],
)
async def test_a_program_that_does_not_speak_sftp_is_one_clear_error(
    script: str, error: type[SSHError], match: str
) -> None:
    async with Bridge.run(["sh", "-c", script]) as local:
        with pytest.raises(error, match=match):
            await local.sftp(timeout=20)


async def test_a_program_that_ends_during_a_copy_loses_the_session(tmp_path: Path) -> None:
    random_file(tmp_path / "large", 8 * MIB)
    script = "import os, subprocess, sys; child = subprocess.Popen([sys.argv[1]]); sys.stdin.close(); child.wait()"
    async with Bridge.run([sys.executable, "-c", script, sftp_server()]) as local, await local.sftp() as sftp:
        await sftp.realpath(".")
        assert local._child is not None
        children = Path(f"/proc/{local._child.pid}/task/{local._child.pid}/children").read_text().split()
        copy = asyncio.ensure_future(sftp.get_file(tmp_path / "large", "/dev/null"))
        await asyncio.sleep(0)
        for pid in children:
            os.kill(int(pid), 9)
        with pytest.raises(SFTPConnectionLostError):
            await copy
            await sftp.realpath(".")


async def test_a_program_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "END_SECONDS", 0.05)
    async with Bridge.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]) as local:
        await local.process()
    child = local._child
    assert child is not None
    assert not child.running
