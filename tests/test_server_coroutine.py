"""Sessions that a coroutine of the server's own program serves: ServerOptions.process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.process import Process
from fastssh.connection.channel import WRITE_HIGH_WATER
from fastssh.errors import ChannelRequestError
from fastssh.wire.requests import ExecRequest, PtyRequest, WindowChange
from tests.support.copying import MIB
from tests.support.peers import HOST, Keys
from tests.support.serving_fastssh import start_fastssh
from tests.support.watching import until


async def test_a_coroutine_has_streams_and_its_result_is_the_status(tmp_path: Path, keys: Keys) -> None:
    async def shout(process: fastssh.ServerProcess) -> int:
        async for line in process.stdin:
            process.stdout.write(line.upper())
            await process.stdout.drain()
        process.stderr.write(f"{process.user} asked for {process.command}, {process.env}".encode())
        return 7

    async with start_fastssh(tmp_path, keys, process=shout) as server, server.connect() as connection:
        done = await server.ssh("an echo", input=b"one\ntwo")
        assert (done.status, done.stdout) == (7, b"ONE\nTWO")
        assert done.stderr == b"ann asked for an echo, {}"
        result = await connection.run("x", input=b"y", env={"A": "b"})
        assert (result.exit_status, result.stdout) == (7, b"Y")
        assert result.stderr == b"ann asked for x, {'A': 'b'}"


async def test_what_was_asked_for_is_told_apart(tmp_path: Path, keys: Keys) -> None:
    async def tell(process: fastssh.ServerProcess) -> None:
        process.stdout.write(f"{process.command} {process.subsystem}".encode())

    async with start_fastssh(tmp_path, keys, process=tell) as server, server.connect() as connection:
        for wanted, told in (
            ({"command": "x"}, b"x None"),
            ({}, b"None None"),
            ({"subsystem": "y"}, b"None y"),
        ):
            async with await connection.create_process(**wanted) as process:
                assert await process.stdout.read() == told
                assert await process.wait() == 0


async def test_sftp_stands_beside_a_coroutine(tmp_path: Path, keys: Keys) -> None:
    async def nothing(process: fastssh.ServerProcess) -> None: ...

    (tmp_path / "files").mkdir()
    options = {"process": nothing, "sftp_root": tmp_path / "files"}
    async with start_fastssh(tmp_path, keys, **options) as server, server.connect() as connection:
        assert (await connection.run("x")).exit_status == 0
        async with await connection.sftp() as sftp:
            assert await sftp.listdir() == []


async def test_an_exception_is_status_1_and_a_line_for_the_operator(tmp_path: Path, keys: Keys) -> None:
    async def fail(process: fastssh.ServerProcess) -> None:
        process.stdout.write(b"so far")
        raise LookupError("not \x1b[31mfound")

    async with start_fastssh(tmp_path, keys, process=fail) as server, server.connect() as connection:
        result = await connection.run("x")
        assert (result.exit_status, result.stdout, result.stderr) == (1, b"so far", b"")
        assert any("LookupError: not \\033[31mfound" in line for line in server.log)
        assert (await connection.run("x")).exit_status == 1


@pytest.mark.parametrize("status", [256, -1, "0"])
async def test_a_status_that_is_none_is_a_failure(tmp_path: Path, keys: Keys, status: Any) -> None:
    async def give(process: fastssh.ServerProcess) -> Any:
        return status

    async with start_fastssh(tmp_path, keys, process=give) as server, server.connect() as connection:
        assert (await connection.run("x")).exit_status == 1
        assert server.log


async def test_a_coroutine_that_cancels_itself_ends_its_channel(tmp_path: Path, keys: Keys) -> None:
    async def give_up(process: fastssh.ServerProcess) -> None:
        raise asyncio.CancelledError

    async with start_fastssh(tmp_path, keys, process=give_up) as server, server.connect() as connection:
        assert (await connection.run("x")).exit_status == 1


async def test_a_terminal_is_described_and_its_size_kept_up_to_date(tmp_path: Path, keys: Keys) -> None:
    async def measure(process: fastssh.ServerProcess) -> None:
        assert process.pty is not None
        process.stdout.write(f"{process.pty.term} {process.pty.size.columns}x{process.pty.size.rows} ".encode())
        await process.stdin.readline()
        process.stdout.write(f"{process.pty.size.columns}x{process.pty.size.rows}".encode())

    async with start_fastssh(tmp_path, keys, process=measure) as server, server.connect() as connection:
        process = Process("x")
        channel = await connection.open_session_channel(process)
        process.attach(channel)
        await connection.channel_request(channel, "pty-req", PtyRequest(b"vt100", 80, 24, 0, 0, b"").body())
        await connection.channel_request(channel, "exec", ExecRequest(b"x").body())
        await connection.channel_request(channel, "window-change", WindowChange(100, 50, 0, 0).body())
        process.stdin.write(b"\n")
        assert await process.stdout.read() == b"vt100 80x24 100x50"


@pytest.mark.parametrize("how", ["close", "disconnect"])
async def test_row11_a_coroutine_is_cancelled_when_its_client_goes(tmp_path: Path, keys: Keys, how: str) -> None:
    ended: list[str] = []

    async def wait(process: fastssh.ServerProcess) -> None:
        process.stdout.write(b"ready")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with start_fastssh(tmp_path, keys, process=wait) as server:
        async with server.connect() as connection:
            process = await connection.create_process("x")
            assert await process.stdout.read(5) == b"ready"
            if how == "close":
                process.close()
                await process.wait()
        await until(lambda: ended == ["cancelled"], "the coroutine's end")
        assert not server.log


async def test_row12_writers_wait_for_the_client(tmp_path: Path, keys: Keys) -> None:
    written = 0

    async def flood(process: fastssh.ServerProcess) -> None:
        nonlocal written
        while written < 50 * MIB:
            process.stdout.write(bytes(MIB // 16))
            written += MIB // 16
            await process.stdout.drain()

    async with start_fastssh(tmp_path, keys, process=flood) as server, server.connect() as connection:
        process = await connection.create_process("x")
        await asyncio.sleep(0.3)
        assert WRITE_HIGH_WATER < written < 4 * MIB
        received = 0
        while data := await process.stdout.read(MIB):
            received += len(data)
        assert received == 50 * MIB


async def test_without_anything_to_offer_nothing_is_offered(tmp_path: Path, keys: Keys) -> None:
    key = fastssh.load_private_key(keys.host("ed25519"))
    assert fastssh.ServerOptions(host_keys=[key]).session is None
    async with start_fastssh(tmp_path, keys, session=None) as server, server.connect() as connection:
        with pytest.raises(fastssh.ChannelOpenError):
            await connection.run("true")
        assert (await server.ssh("true")).status == 255


async def test_an_interactive_client_gets_no_terminal_where_there_is_no_program(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, sftp_root=tmp_path) as server, server.connect() as connection:
        channel = await connection.open_session_channel(Process("x"))
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(channel, "pty-req", PtyRequest(b"vt100", 80, 24, 0, 0, b"").body())
        assert (await server.run("ssh", "-tt", HOST)).status == 255
