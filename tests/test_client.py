"""The client against stock servers: commands, streams, exits, and connections that end in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.errors import (
    AuthenticationError,
    ChannelClosedError,
    ChannelOpenError,
    ChannelRequestError,
    ConfigError,
    ConnectionLostError,
    DisconnectedError,
    ProcessError,
    ProtocolError,
    SSHError,
    SSHTimeoutError,
)
from tests.support.peers import Peer, free_port
from tests.support.reaching import SECONDS, to
from tests.support.watching import open_descriptors

# --- commands -----------------------------------------------------------------------------------------------------


async def test_commands_run_one_after_the_other_and_at_once(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        first = await conn.run("echo out; echo err >&2; exit 7")
        assert (first.exit_status, first.exit_signal) == (7, None)
        assert (first.stdout, first.stderr) == (b"out\n", b"err\n")
        results = await asyncio.gather(*[conn.run(f"echo {number}") for number in range(8)])
        assert [result.stdout for result in results] == [b"%d\n" % number for number in range(8)]
        assert conn.peer_identification.startswith(("SSH-2.0-OpenSSH", "SSH-2.0-fastssh"))
        assert conn.negotiated.cipher_c2s in fastssh.algorithms.CIPHERS  # type: ignore[attr-defined]
        assert conn.host_key.algorithm == conn.negotiated.host_key
        assert conn.plane.bytes_sent > 0


async def test_awaiting_connect_gives_a_connection_to_close(server: Peer) -> None:
    async with asyncio.timeout(SECONDS):
        conn = await fastssh.connect(fastssh.ClientOptions(**to(server)))
        assert (await conn.run("true", check=True)).exit_status == 0
        conn.close()
        await conn.wait_closed()
        with pytest.raises(ChannelClosedError):
            await conn.run("true")


async def test_a_signal_is_reported(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        result = await conn.run("kill -TERM $$")
        assert (result.exit_status, result.exit_signal) == (None, "TERM")
        with pytest.raises(ProcessError, match="signal KILL"):
            await conn.run("kill -KILL $$", check=True)


async def test_check_raises_with_what_was_written(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        with pytest.raises(ProcessError) as caught:
            await conn.run("echo why >&2; exit 3", check=True)
        assert str(caught.value) == "remote command 'echo why >&2; exit 3' returned exit status 3"
        assert (caught.value.exit_status, caught.value.stderr) == (3, b"why\n")


async def test_environment_reaches_the_command_where_the_server_allows_it(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        result = await conn.run("echo $FASTSSH_A $OTHER_B", env={"FASTSSH_A": "yes", "OTHER_B": "no"})
        assert result.stdout == b"yes\n"


@pytest.mark.parametrize("size", [0, 1, 32 * 1024 + 1, 5_000_000])
async def test_input_comes_back_through_cat(server: Peer, size: int) -> None:
    data = os.urandom(size)
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        result = await conn.run("cat", input=data)
        assert result.stdout == data and result.exit_status == 0


async def test_input_that_the_command_does_not_read_is_no_error(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        assert (await conn.run("exit 5", input=b"x" * 20_000_000)).exit_status == 5


async def test_streams_are_read_and_written_piece_by_piece(server: Peer) -> None:
    async with (
        asyncio.timeout(SECONDS),
        fastssh.connect(**to(server)) as conn,
        await conn.create_process("cat") as process,
    ):
        process.stdin.write(b"one\ntwo\n")
        assert await process.stdout.readline() == b"one\n"
        assert await process.stdout.readexactly(2) == b"tw"
        process.stdin.write(b"three\nlast")
        await process.stdin.drain()
        process.stdin.write_eof()
        assert [line async for line in process.stdout] == [b"o\n", b"three\n", b"last"]
        assert process.stdout.at_eof() and await process.stdout.read() == b""
        with pytest.raises(asyncio.IncompleteReadError):
            await process.stdout.readexactly(1)
        assert await process.wait() == 0
        with pytest.raises(ChannelClosedError):
            process.stdin.write(b"x")


async def test_half_closing_keeps_the_other_direction(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        result = await conn.run("cat >/dev/null; echo after the end; exec 1>&-; echo still >&2; exit 4", input=b"x")
        assert (result.stdout, result.stderr, result.exit_status) == (b"after the end\n", b"still\n", 4)


async def test_a_subsystem_and_one_that_is_not_there(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        async with await conn.create_process(subsystem="sftp") as process:
            process.stdin.write(bytes.fromhex("00000005 01 00000003"))
            assert (await process.stdout.readexactly(9))[4:] == bytes.fromhex("02 00000003")
        with pytest.raises(ChannelRequestError, match="subsystem"):
            await conn.create_process(subsystem="nonsense")
        assert (await conn.run("true")).exit_status == 0


async def test_refused_channels_raise_and_leave_the_connection_alone(start_server: Any) -> None:
    peer = start_server(MaxSessions=2)
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(peer)) as conn:
        running = [await conn.create_process("cat") for _ in range(2)]
        with pytest.raises(ChannelOpenError):
            await conn.create_process("cat")
        for process in running:
            process.close()
            await process.wait()
        assert (await conn.run("true")).exit_status == 0


# --- streams that are long ----------------------------------------------------------------------------------------


async def test_a_long_output_is_read_in_constant_memory(server: Peer) -> None:
    async with asyncio.timeout(2 * SECONDS), fastssh.connect(**to(server)) as conn:
        await conn.run("head -c 5000000 /dev/zero")
        async with await conn.create_process("head -c 100000000 /dev/zero") as process:
            await process.stdout.read(1)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            count = 1
            while data := await process.stdout.read(65536):
                count += len(data)
            assert await process.wait() == 0
        assert count == 100_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


async def test_output_that_is_not_read_waits_at_the_server(server: Peer) -> None:
    async with (
        asyncio.timeout(SECONDS),
        fastssh.connect(**to(server)) as conn,
        await conn.create_process("head -c 20000000 /dev/zero", window=256 * 1024) as process,
    ):
        for number in range(20):  # other channels go on meanwhile
            assert (await conn.run(f"echo {number}")).stdout == b"%d\n" % number
        assert conn.plane.bytes_received < 2_000_000
        assert len(await process.stdout.read()) == 20_000_000


async def test_rekeys_of_the_server_do_not_show(start_server: Any) -> None:
    peer = start_server(RekeyLimit="1M")
    data = os.urandom(8_000_000)
    async with asyncio.timeout(2 * SECONDS), fastssh.connect(**to(peer)) as conn:
        assert (await conn.run("cat", input=data)).stdout == data


async def test_rekeys_of_our_own_do_not_show(server: Peer) -> None:
    data = os.urandom(8_000_000)
    lines: list[str] = []
    settings = to(server, rekey_bytes=1_000_000, log=lambda level, text: lines.append(text))
    async with asyncio.timeout(2 * SECONDS), fastssh.connect(**settings) as conn:
        assert (await conn.run("cat", input=data)).stdout == data
    assert lines.count("SSH2_MSG_NEWKEYS sent") > 4


async def test_rekeys_come_with_time(server: Peer) -> None:
    lines: list[str] = []
    settings = to(server, rekey_seconds=0.1, log=lambda level, text: lines.append(text))
    async with asyncio.timeout(SECONDS), fastssh.connect(**settings) as conn:
        while lines.count("SSH2_MSG_NEWKEYS received") < 4:
            await asyncio.sleep(0.02)
        assert (await conn.run("true")).exit_status == 0


async def test_compressed_streams(start_server: Any) -> None:
    peer = start_server(Compression="yes", RekeyLimit="1M")
    data = b"the same again and again " * 100_000 + os.urandom(3_000_000)
    async with asyncio.timeout(2 * SECONDS), fastssh.connect(**to(peer, compression=True)) as conn:
        assert conn.negotiated.compression_c2s == conn.negotiated.compression_s2c == "zlib@openssh.com"
        assert (await conn.run("cat", input=data)).stdout == data


# --- the end, in the middle ---------------------------------------------------------------------------------------


async def test_a_cancelled_command_closes_its_channel_and_nothing_else(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        for _ in range(12):  # more than MaxSessions: each one really ends
            task = asyncio.create_task(conn.run("yes", input=b"x" * 3_000_000))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await conn.run("echo on")).stdout == b"on\n"


async def test_a_command_that_takes_too_long_is_a_timeout(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        with pytest.raises(SSHTimeoutError, match=r"remote command 'sleep 60' timed out after 0\.2 s"):
            await conn.run("sleep 60", timeout=0.2)
        assert (await conn.run("true")).exit_status == 0


async def test_a_server_that_dies_ends_everything_that_waits(start_server: Any) -> None:
    peer = start_server()
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(peer)) as conn:
        waiting = [asyncio.create_task(conn.run(f"echo {number}; sleep 60")) for number in range(4)]
        process = await conn.create_process("sleep 60")
        reading = asyncio.create_task(process.stdout.read())
        for pid in peer.sessions():
            with contextlib.suppress(ProcessLookupError):  # a shell starting up forks and ends what it forks
                os.kill(pid, signal.SIGKILL)
        results = await asyncio.gather(*waiting, reading, process.wait(), return_exceptions=True)
        assert all(isinstance(result, ConnectionLostError) for result in results), results
        assert isinstance(conn.error, ConnectionLostError)
        with pytest.raises(ConnectionLostError):
            await conn.run("true")


async def test_closing_ends_everything_that_waits(server: Peer) -> None:
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(**to(server)) as conn:
            waiting = asyncio.create_task(conn.run("sleep 60"))
            await asyncio.sleep(0.05)
        with pytest.raises(ChannelClosedError):
            await waiting


async def test_a_keepalive_is_answered_or_hears_what_ended_the_connection(server: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)) as conn:
        await conn.keepalive()
        waiting = asyncio.create_task(conn.keepalive())
        await asyncio.sleep(0)
        conn.close()
        with pytest.raises(ChannelClosedError):
            await waiting


async def test_nothing_is_left_behind(server: Peer) -> None:
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(**to(server)) as conn:
            await conn.run("true")
        gc.collect()
        silent = socket.create_server((server.host, 0))
        before, tasks = open_descriptors(), len(asyncio.all_tasks())
        for _ in range(3):
            async with fastssh.connect(**to(server)) as conn:
                await conn.run("true")
            task = asyncio.create_task(fastssh.connect(**to(server, port=silent.getsockname()[1]))._connect())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(AuthenticationError):
                await fastssh.connect(**to(server, identity_files=[]))
        gc.collect()
        assert (open_descriptors(), len(asyncio.all_tasks())) == (before, tasks)
        silent.close()


# --- no connection ------------------------------------------------------------------------------------------------


async def test_a_refused_connection_says_so() -> None:
    port = free_port()
    with pytest.raises(ConnectionLostError) as caught:
        await fastssh.connect("127.0.0.1", port, user="ann", agent_socket="none")
    assert str(caught.value) == f"connect to host 127.0.0.1 port {port}: Connection refused"


async def test_a_name_that_does_not_resolve_says_so() -> None:
    with pytest.raises(ConnectionLostError, match=r"^Could not resolve hostname no\.such\.host\.invalid: "):
        async with asyncio.timeout(SECONDS):
            await fastssh.connect("no.such.host.invalid", user="ann")


async def test_an_address_needs_no_resolver(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolver(*asked: object, **more: object) -> None:
        raise AssertionError(f"asked for {asked}")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(server)):
        pass


async def test_an_address_of_an_interface_is_used(server: Peer) -> None:
    async with fastssh.connect(**to(server, address_family="inet", bind_interface="lo")) as conn:
        assert (await conn.run("echo $SSH_CONNECTION", check=True)).stdout.startswith(b"127.0.0.1 ")
    with pytest.raises(ConnectionLostError, match="Cannot assign requested address"):
        await fastssh.connect(**to(server, bind_interface="nosuch0"))


async def test_a_wrong_bind_address_says_so(server: Peer) -> None:
    with pytest.raises(ConfigError, match="bind address"):
        async with asyncio.timeout(SECONDS):
            await fastssh.connect(**to(server, bind_address="not an address"))


async def test_addresses_of_one_family(server: Peer) -> None:
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(**to(server, address_family="inet", bind_address="127.0.0.1")) as conn:
            assert (await conn.run("true")).exit_status == 0
        with pytest.raises(ConnectionLostError):
            await fastssh.connect(**to(server, address_family="inet6"))


@pytest.mark.parametrize("when", ["connect_timeout", "login_timeout"])
async def test_a_server_that_says_nothing_is_a_timeout(when: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SSHTimeoutError, match=r"timed out after 0\.2 s"):
            async with asyncio.timeout(SECONDS):
                await fastssh.connect(
                    "127.0.0.1", port, user="ann", agent_socket="none", identity_files=[], user_known_hosts=[],
                    **{when: 0.2},
                )


async def test_a_server_that_speaks_something_else_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-1.5-old\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with asyncio.timeout(SECONDS), server:
        with pytest.raises(ProtocolError, match="Protocol major versions differ"):
            await fastssh.connect("127.0.0.1", server.sockets[0].getsockname()[1], user="ann", agent_socket="none")


async def test_a_server_that_hangs_up_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with asyncio.timeout(SECONDS), server:
        with pytest.raises(ConnectionLostError):
            await fastssh.connect("127.0.0.1", server.sockets[0].getsockname()[1], user="ann", agent_socket="none")


async def test_no_common_algorithm_names_both_offers(start_server: Any) -> None:
    peer = start_server(Ciphers="aes256-ctr")
    with pytest.raises(fastssh.NegotiationError) as caught:
        async with asyncio.timeout(SECONDS):
            await fastssh.connect(**to(peer, ciphers=("aes128-ctr",)))
    assert str(caught.value) == "no common cipher client to server: we offer aes128-ctr; peer offers aes256-ctr"


async def test_too_many_wrong_keys_end_with_the_servers_words(start_server: Any, tmp_path: Path) -> None:
    peer = start_server(MaxAuthTries=2)
    keys = [fastssh.generate_private_key("ed25519") for _ in range(5)]
    with pytest.raises(DisconnectedError, match="Too many authentication failures"):
        async with asyncio.timeout(SECONDS):
            await fastssh.connect(**to(peer, keys=keys, identity_files=[]))


# --- other servers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dropbear", "asyncssh_server", "paramiko_server"])
async def test_other_servers_take_our_key(name: str, request: pytest.FixtureRequest) -> None:
    peer: Peer = request.getfixturevalue(name)
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(peer)) as conn:
        assert conn.host_key.algorithm
        if name == "dropbear":
            result = await conn.run("cat; echo err >&2; exit 3", input=b"x" * 300_000)
            assert (result.stdout, result.stderr, result.exit_status) == (b"x" * 300_000, b"err\n", 3)


# --- the package --------------------------------------------------------------------------------------------------


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, fastssh; fastssh.__version__; print([m for m in sys.modules if m.startswith('cryptography') "
    code += "or m in ('asyncio', 'socket', 'rich', 'bcrypt')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_version_is_the_packages() -> None:
    assert fastssh.__version__ == importlib.metadata.version("fastssh")


def test_every_exported_name_is_there() -> None:
    assert set(fastssh.__all__) <= set(dir(fastssh))
    for name in fastssh.__all__:
        assert getattr(fastssh, name) is not None
    with pytest.raises(AttributeError):
        fastssh.nonsense  # noqa: B018


def test_errors_of_the_library_are_ssh_errors() -> None:
    assert all(
        issubclass(getattr(fastssh, name), SSHError) for name in fastssh.__all__ if name.endswith("Error")
    )
