"""Clients that break the rules on session channels of our server: each gets what it deserves, and nobody else does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fastssh.aio.client import ClientConnection
from fastssh.aio.process import Process
from fastssh.connection.channel import Channel
from fastssh.errors import ChannelRequestError, DisconnectedError
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelRequest,
    ChannelSuccess,
    Message,
    RequestSuccess,
)
from fastssh.wire.requests import EnvRequest, ExecRequest, SubsystemRequest
from tests.support.peers import Keys
from tests.support.serving_fastssh import FastsshServer, start_fastssh
from tests.support.watching import open_descriptors, until


async def session(connection: ClientConnection) -> tuple[Channel, Process]:
    process = Process("x")
    channel = await connection.open_session_channel(process)
    process.attach(channel)
    return channel, process


def say(connection: ClientConnection, message: Message) -> None:
    """Sends a message that our client would not."""
    connection._transport.send(message)
    connection._driver.wake()


async def ended(server: FastsshServer, bad: ClientConnection, good: ClientConnection, word: str) -> None:
    """The bad connection is over, with a clear error on both sides; the good one lives, and nothing is leaked."""
    async with asyncio.timeout(10):
        await bad.wait_closed()
    assert isinstance(bad.error, DisconnectedError)
    await until(lambda: server.log, "a line in the log")
    assert any(word in line for line in server.log), server.log
    assert (await good.run("echo alive")).stdout == b"alive\n"
    await until(lambda: len(server.server.connections) == 1, "the connection to be forgotten")


# --- requests out of place ----------------------------------------------------------------------------------------

START = {
    "shell": b"",
    "exec": ExecRequest(b"true").body(),
    "subsystem": SubsystemRequest("sftp").body(),
}


@pytest.mark.parametrize("second", START)
@pytest.mark.parametrize("first", START)
async def test_row02_a_channel_starts_one_program(tmp_path: Path, keys: Keys, first: str, second: str) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        channel, process = await session(connection)
        wait = ExecRequest(b"read line").body() if first == "exec" else START[first]
        await connection.channel_request(channel, first, wait)
        for name in (second, "pty-req", "env"):
            data = {"pty-req": codec.string(b"x") + bytes(20), "env": EnvRequest(b"LC_X", b"y").body()}
            with pytest.raises(ChannelRequestError):
                await connection.channel_request(channel, name, data.get(name) or START[second])
        process.close()
        await process.wait()


async def test_row02_after_a_refusal_another_program_may_start(tmp_path: Path, keys: Keys) -> None:
    """RFC 4254 section 6.5: only one of these requests can succeed; those that failed do not count."""
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        channel, process = await session(connection)
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(channel, "subsystem", SubsystemRequest("unknown").body())
        await connection.channel_request(channel, "exec", ExecRequest(b"echo here").body())
        assert await process.stdout.read() == b"here\n"


async def test_row02_requests_of_a_server_are_refused_from_a_client(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        channel, process = await session(connection)
        for name in ("exit-status", "exit-signal", "xon-xoff", "", "signal@example.org"):
            with pytest.raises(ChannelRequestError):
                await connection.channel_request(channel, name, codec.uint32(0))
        await connection.channel_request(channel, "exec", ExecRequest(b"echo here").body())
        assert await process.stdout.read() == b"here\n"


async def test_row02_data_before_a_program_goes_nowhere_and_its_end_is_remembered(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        channel, process = await session(connection)
        channel.write(b"too early")
        channel.eof()
        await until(lambda: channel.pending == 0, "the data to be sent")
        await connection.channel_request(channel, "exec", ExecRequest(b"cat; echo end").body())
        assert await process.stdout.read() == b"end\n"
        assert await process.wait() == 0


# --- sizes and windows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("largest", [0, 1, 3])
async def test_row09_an_absurd_maximum_packet_is_refused(tmp_path: Path, keys: Keys, largest: int) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        say(bad, ChannelOpen("session", 7, 1 << 20, largest))
        async with asyncio.timeout(10):
            await bad.wait_closed()
        assert (await good.run("echo alive")).stdout == b"alive\n"
        assert server.log


async def test_row09_a_window_of_nothing_holds_the_program_and_no_cpu(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        process = Process("x")
        channel = await connection.open_session_channel(process, window=0)
        process.attach(channel)
        await connection.channel_request(channel, "exec", ExecRequest(b"yes").body())
        loop = asyncio.get_running_loop()
        turns = 0
        original = loop.call_soon

        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal turns
            turns += 1
            return original(*arguments, **more)

        await asyncio.sleep(0.2)
        loop.call_soon = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.3)
        loop.call_soon = original  # type: ignore[method-assign]
        assert turns < 20
        process.close(discard=True)
        await process.wait()


# --- what nobody asked for, and what comes too late ---------------------------------------------------------------


@pytest.mark.parametrize("reply", [ChannelSuccess, ChannelFailure])
async def test_row11_a_reply_that_nobody_asked_for_ends_its_connection(
    tmp_path: Path, keys: Keys, reply: type[Message]
) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        channel, _ = await session(bad)
        say(bad, reply(channel.remote_id))
        await ended(server, bad, good, "reply")


async def test_row11_a_global_reply_that_nobody_asked_for_ends_its_connection(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        say(bad, RequestSuccess(b""))
        await ended(server, bad, good, "reply to a global request")


async def test_row11_messages_for_a_channel_that_is_not_there_end_their_connection(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        say(bad, ChannelEof(5))
        await ended(server, bad, good, "not open")


async def test_row11_refused_channels_leave_nothing_behind(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, max_sessions=2) as server, server.connect() as connection:
        held = [await session(connection) for _ in range(2)]
        before = open_descriptors()
        for _ in range(50):
            with pytest.raises(Exception, match="too many channels"):
                await session(connection)
        (peer,) = server.server.connections
        assert peer.connection.channels == 2
        assert open_descriptors() == before
        for _, process in held:
            process.close()
            await process.wait()
        assert (await connection.run("echo room again")).stdout == b"room again\n"


async def test_row11_a_second_end_of_file_ends_its_connection_and_its_programs(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good:
        await good.run("true")
        before = open_descriptors()
        async with server.connect() as bad:
            channel, _ = await session(bad)
            await bad.channel_request(channel, "exec", ExecRequest(b"sleep 0.2; cat").body())
            say(bad, ChannelEof(channel.remote_id))
            say(bad, ChannelEof(channel.remote_id))
            await ended(server, bad, good, "not open")
        await until(lambda: open_descriptors() == before, "descriptors to close")


# --- malformed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pty-req", codec.string(b"x") + bytes(20)),
        ("env", EnvRequest(b"LC_X", b"y").body()),
        ("exec", ExecRequest(b"true").body()),
        ("subsystem", SubsystemRequest("sftp").body()),
        ("window-change", bytes(16)),
        ("signal", codec.string(b"TERM")),
        ("break", bytes(4)),
    ],
)
async def test_row26_a_malformed_request_ends_its_connection_and_no_other(
    tmp_path: Path, keys: Keys, name: str, data: bytes, cut: bool
) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        channel, _ = await session(bad)
        say(bad, ChannelRequest(channel.remote_id, name, True, data[:-1] if cut else data + b"\0"))
        await ended(server, bad, good, "truncated" if cut else "superfluous")


async def test_row26_a_shell_request_with_a_tail_ends_its_connection(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        channel, _ = await session(bad)
        say(bad, ChannelRequest(channel.remote_id, "shell", True, b"tail"))
        await ended(server, bad, good, "superfluous")
