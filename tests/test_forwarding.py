"""Forwarding: our server with OpenSSH's client and with ours, and our client with a stock server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastssh
from fastssh.aio.forwarding.client import Address
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.errors import ChannelRequestError
from tests.support import peers
from tests.support.forwarding import (
    SECONDS,
    Streams,
    destination,
    digest,
    echo,
    exchange,
    forwarder,
    options_of,
    reach,
)
from tests.support.peers import HOST, Keys, Peer, free_port
from tests.support.watching import open_descriptors, until

MIB = 1 << 20


@pytest.fixture(scope="module")
def fifty() -> bytes:
    """50 MiB that no compression helps with."""
    return os.urandom(50 * MIB)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(open_descriptors())
    yield
    assert len(open_descriptors()) <= before


# --- OpenSSH's client and our server ------------------------------------------------------------------------------


async def test_ssh_local_forward_carries_50_mib_each_way(tmp_path: Path, keys: Keys, fifty: bytes) -> None:
    port = free_port()
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as target,
        server.ssh("-N", "-L", f"{port}:{HOST}:{target}"),
    ):
        received = await exchange(await reach(port), fifty)
    assert hashlib.sha256(received).digest() == hashlib.sha256(fifty).digest()


async def test_ssh_remote_forward_carries_data_both_ways(tmp_path: Path, keys: Keys) -> None:
    port, data = free_port(), os.urandom(3 * MIB)
    async with forwarder(tmp_path, keys) as server, destination(echo) as target:
        async with server.ssh("-N", "-R", f"{port}:{HOST}:{target}"):
            assert await exchange(await reach(port), data) == data
        await until(lambda: not server.forwarding._attached, "the connection's end")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)


async def test_ssh_is_told_which_port_was_allocated(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as target,
        server.ssh("-N", "-R", f"0:{HOST}:{target}") as ssh,
    ):
        assert ssh.stderr is not None
        found = re.match(rb"Allocated port (\d+) ", await asyncio.wait_for(ssh.stderr.readline(), SECONDS))
        assert found is not None
        assert await exchange(await reach(int(found[1])), b"allocated") == b"allocated"


async def test_ssh_dynamic_forward_arrives_as_direct_tcpip(tmp_path: Path, keys: Keys) -> None:
    port = free_port()
    async with forwarder(tmp_path, keys) as server, destination(echo) as target, server.ssh("-N", "-D", str(port)):
        reader, writer = await reach(port)
        name = b"localhost"
        writer.write(b"\5\1\0" + b"\5\1\0\3" + bytes([len(name)]) + name + struct.pack(">H", target))
        assert await reader.readexactly(2) == b"\5\0"
        assert (await reader.readexactly(10))[:2] == b"\5\0"
        assert await exchange((reader, writer), b"through socks") == b"through socks"


async def test_ssh_stdio_forward(tmp_path: Path, keys: Keys) -> None:
    data = os.urandom(MIB)
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as target,
        server.ssh("-W", f"{HOST}:{target}") as ssh,
    ):
        out, _ = await asyncio.wait_for(ssh.communicate(data), SECONDS)
    assert out == data


async def test_ssh_forwards_unix_sockets_both_ways(tmp_path: Path, keys: Keys) -> None:
    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    async with forwarder(tmp_path, keys) as server, destination(echo, there):
        async with server.ssh("-N", "-L", f"{here}:{there}", "-R", f"{back}:{there}"):
            await until(lambda: here.exists() and back.exists(), "the sockets")
            assert back.stat().st_mode & 0o777 == 0o600
            for path in (here, back):
                assert await exchange(await asyncio.open_unix_connection(path), b"through") == b"through"
        await until(lambda: not back.exists(), "the server's socket to be removed")


@pytest.fixture
def agent(tmp_path: Path, keys: Keys) -> Iterator[Path]:
    """A stock ssh-agent that holds the user's ed25519 key."""
    path = tmp_path / "agent"
    process = subprocess.Popen(
        [peers.program("ssh-agent", "openssh-client"), "-D", "-a", path],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=peers.clean_environment(tmp_path),
    )
    try:
        peers.wait_for(path.exists, "the agent")
        subprocess.run(
            [peers.program("ssh-add", "openssh-client"), "-q", keys.user("ed25519")],
            env=peers.clean_environment(tmp_path, SSH_AUTH_SOCK=str(path)), check=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
        yield path
    finally:
        process.terminate()
        process.wait(SECONDS)


async def test_ssh_agent_is_reached_through_the_server(
    tmp_path: Path, keys: Keys, agent: Path, short_path: Path
) -> None:
    sockets = short_path
    policy = ForwardingPolicy(agent_directory=str(sockets))
    async with forwarder(tmp_path, keys, policy) as server:
        command = [*server.ssh_command("-A"), "ssh-add -l; stat -c %a $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK)"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env=peers.clean_environment(tmp_path, SSH_AUTH_SOCK=str(agent)),
        )
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        assert b"user_ed25519 (ED25519)" in out
        assert out.split()[-2:] == [b"600", b"700"]
        await until(lambda: not list(sockets.iterdir()), "the agent's socket to be removed")


async def test_all_sessions_of_a_connection_share_one_agent_socket(tmp_path: Path, keys: Keys) -> None:
    policy = ForwardingPolicy(agent_directory=str(tmp_path))
    async with forwarder(tmp_path, keys, policy) as server, server.connect():
        connection = server.connection
        first = server.forwarding.agent_requested(connection)
        assert first is not None and first == server.forwarding.agent_requested(connection)
        assert Path(first["SSH_AUTH_SOCK"]).is_socket()
    assert not Path(first["SSH_AUTH_SOCK"]).parent.exists()


# --- our client and our server ------------------------------------------------------------------------------------


async def _local(server_port: int, listen: Address) -> Streams:
    if isinstance(listen, str):
        return await asyncio.open_unix_connection(listen)
    return await asyncio.open_connection(listen[0], server_port)


@pytest.mark.parametrize("listen_path", [False, True])
@pytest.mark.parametrize("target_path", [False, True])
async def test_forward_local_and_remote(tmp_path: Path, keys: Keys, listen_path: bool, target_path: bool) -> None:
    path = tmp_path / "target"
    data = os.urandom(MIB)
    async with forwarder(tmp_path, keys) as server, destination(echo, path if target_path else None) as port:
        target: Address = str(path) if target_path else (HOST, port)
        async with server.connect() as conn:
            for number, forward in enumerate((conn.forward_local, conn.forward_remote)):
                listen: Address = str(tmp_path / f"listen{number}") if listen_path else (HOST, 0)
                async with await forward(listen, target) as forwarded:
                    assert (forwarded.port == 0) is listen_path
                    assert await exchange(await _local(forwarded.port, listen), data) == data
                    await until(lambda: forwarded.connections == 0, "the relay's end")
                assert not listen_path or not Path(str(listen)).exists()
                with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                    await _local(forwarded.port, listen)


async def test_a_server_in_a_program_forwards_as_far_as_its_policy_says(tmp_path: Path, keys: Keys) -> None:
    policy = fastssh.ForwardingPolicy(remote_tcp=False)
    options = {"authenticated": lambda connection, attempt: None, "forwarding": policy}
    async with forwarder(tmp_path, keys, **options) as server, destination(echo) as port, server.connect() as conn:
        async with await conn.forward_local((HOST, 0), (HOST, port)) as forwarded:
            assert await exchange(await reach(forwarded.port), b"data") == b"data"
        with pytest.raises(ChannelRequestError):
            await conn.forward_remote((HOST, 0), (HOST, port))


async def test_half_close_passes_in_both_directions(tmp_path: Path, keys: Keys) -> None:
    async def talk_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()  # and goes on to listen
        writer.transport.get_extra_info("socket")
        heard.set_result(await reader.read(-1))

    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with (
        forwarder(tmp_path, keys) as server, destination(digest) as quiet, destination(talk_first) as eager,
        server.connect() as conn,
    ):
        async with await conn.forward_local((HOST, 0), (HOST, quiet)) as forward:
            answer = await exchange(await asyncio.open_connection(HOST, forward.port), b"x" * MIB)
            assert answer.decode() == hashlib.sha256(b"x" * MIB).hexdigest()
        async with await conn.forward_local((HOST, 0), (HOST, eager)) as forward:
            reader, writer = await asyncio.open_connection(HOST, forward.port)
            assert await reader.read(-1) == b"greeting"
            writer.write(b"still there")
            writer.write_eof()
            assert await asyncio.wait_for(heard, SECONDS) == b"still there"
            writer.close()


async def test_two_hundred_connections_through_one_forward(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as target, server.connect() as conn,
        await conn.forward_local((HOST, 0), (HOST, target)) as forward,
    ):
        streams = [await asyncio.open_connection(HOST, forward.port) for _ in range(200)]
        for number, (_, writer) in enumerate(streams):
            writer.write(b"%d" % number)
        for number, (reader, _) in enumerate(streams):
            expected = b"%d" % number
            assert await asyncio.wait_for(reader.readexactly(len(expected)), SECONDS) == expected
        assert len(server.attached._group.relays) == 200
        for _, writer in streams:
            writer.close()
        await until(lambda: not server.attached._group.relays and not forward.connections, "the relays' ends")
        assert server.connection.connection.channels == 0


async def test_more_connections_than_allowed_wait_in_the_queue(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys, ForwardingPolicy(max_channels=3)) as server, destination(echo) as target,
        server.connect() as conn, await conn.forward_remote((HOST, 0), (HOST, target)) as forward,
    ):
        streams = [await asyncio.open_connection(HOST, forward.port) for _ in range(5)]
        for _, writer in streams:
            writer.write(b"?")
        for reader, _ in streams[:3]:
            assert await asyncio.wait_for(reader.readexactly(1), SECONDS) == b"?"
        assert len(server.attached._group.relays) == 3
        for reader, writer in streams[3:]:  # each ending lets one in
            streams[0][1].close()
            streams.pop(0)
            assert await asyncio.wait_for(reader.readexactly(1), SECONDS) == b"?"
            del reader, writer
        for _, writer in streams:
            writer.close()


# --- what fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "reason"),
    [(HOST, "Connection refused"), ("nowhere.invalid", "nowhere.invalid port"), ("::ffff:127.0.0.1", "refused")],
)
async def test_a_destination_that_cannot_be_reached(tmp_path: Path, keys: Keys, host: str, reason: str) -> None:
    said: list[str] = []
    async with forwarder(tmp_path, keys) as server:
        async with (
            server.connect(log=lambda level, text: said.append(text)) as conn,
            await conn.forward_local((HOST, 0), (host, free_port())) as forward,
        ):
            reader, writer = await asyncio.open_connection(HOST, forward.port)
            assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
            writer.close()
            assert forward.connections == 0
        assert [line for line in said if "channel refused" in line and "code 2" in line]
        assert [line for line in server.log if reason in line]


async def test_an_unreachable_path_says_nothing_about_files(tmp_path: Path, keys: Keys) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("no socket")
    async with forwarder(tmp_path, keys) as server:
        async with server.connect(log=lambda level, text: said.append(text)) as conn:
            for name in ("file", "nothing"):
                async with await conn.forward_local((HOST, 0), str(tmp_path / name)) as forward:
                    reader, writer = await asyncio.open_connection(HOST, forward.port)
                    assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
                    writer.close()
        refusals = [line.partition("channel refused")[2] for line in said if "channel refused" in line]
        assert len(refusals) == 2 and len(set(refusals)) == 1


async def test_a_unix_socket_whose_queue_is_full_is_tried_again(tmp_path: Path, keys: Keys) -> None:
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        fillers: list[socket.socket] = []
        try:
            while True:
                fillers.append(socket.socket(socket.AF_UNIX))
                fillers[-1].setblocking(False)
                fillers[-1].connect(path)
        except BlockingIOError:
            pass
        async with (
            forwarder(tmp_path, keys) as server, server.connect() as conn,
            await conn.forward_local((HOST, 0), path) as forward,
        ):
            _, writer = await asyncio.open_connection(HOST, forward.port)
            writer.write(b"at last")
            await asyncio.sleep(0.2)
            accepted = [busy.accept()[0] for _ in fillers[:-1]]
            last = await asyncio.to_thread(busy.accept)
            last[0].settimeout(SECONDS)
            assert await asyncio.to_thread(last[0].recv, 100) == b"at last"
            writer.close()
            for each in (*accepted, last[0], *fillers):
                each.close()


async def test_the_deadline_of_a_connection_is_kept(tmp_path: Path, keys: Keys) -> None:
    said: list[str] = []
    path = str(tmp_path / "busy")
    policy = ForwardingPolicy(connect_seconds=0.3)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as filler:
        busy.bind(path)
        busy.listen(0)
        filler.connect(path)
        async with forwarder(tmp_path, keys, policy) as server:
            async with (
                server.connect(log=lambda level, text: said.append(text)) as conn,
                await conn.forward_local((HOST, 0), path) as forward,
            ):
                reader, writer = await asyncio.open_connection(HOST, forward.port)
                assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
                writer.close()
            assert [line for line in server.log if "timed out" in line]


async def test_a_reset_closes_the_other_end(tmp_path: Path, keys: Keys) -> None:
    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with (
        forwarder(tmp_path, keys) as server, destination(resetting) as target, server.connect() as conn,
        await conn.forward_local((HOST, 0), (HOST, target)) as forward,
    ):
        reader, writer = await asyncio.open_connection(HOST, forward.port)
        writer.write(b"x")
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
        writer.close()
        await until(lambda: not server.attached._group.relays and not forward.connections, "the relays' ends")


async def test_last_words_of_a_destination_that_reads_no_more_arrive(tmp_path: Path, keys: Keys) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"enough")
        await writer.drain()
        writer.get_extra_info("socket").shutdown(socket.SHUT_RD)
        await asyncio.sleep(0.3)

    path = tmp_path / "rude"
    async with (
        forwarder(tmp_path, keys) as server, destination(rude, path), server.connect() as conn,
        await conn.forward_local((HOST, 0), str(path)) as forward,
    ):
        reader, writer = await asyncio.open_connection(HOST, forward.port)
        writer.write(b"x" * (8 * MIB))
        assert await asyncio.wait_for(reader.read(6), SECONDS) == b"enough"
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
        writer.close()
        await until(lambda: not server.attached._group.relays, "the relay's end")


async def test_what_a_destination_does_not_read_stops_nobody(tmp_path: Path, keys: Keys) -> None:
    go = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").shutdown(socket.SHUT_RD)
        writer.write(b"deaf")
        await go.wait()
        writer.write(b" and done")

    path = tmp_path / "deaf"
    async with (
        forwarder(tmp_path, keys) as server,
        destination(deaf, path),
        server.connect() as conn,
        await conn.forward_local((HOST, 0), str(path)) as forward,
    ):
        reader, writer = await asyncio.open_connection(HOST, forward.port)
        assert await asyncio.wait_for(reader.readexactly(4), SECONDS) == b"deaf"
        assert await _fill(writer, 64 * MIB) == 64 * MIB  # dropped, and its window given back
        go.set()
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b" and done"
        writer.close()


async def test_a_lost_connection_closes_everything_and_frees_the_port(tmp_path: Path, keys: Keys) -> None:
    there = tmp_path / "there"
    async with forwarder(tmp_path, keys) as server, destination(echo) as target, server.connect() as conn:
        local = await conn.forward_local((HOST, 0), (HOST, target))
        remote = await conn.forward_remote((HOST, 0), (HOST, target))
        await conn.forward_remote(str(there), (HOST, target))
        streams = [await asyncio.open_connection(HOST, forward.port) for forward in (local, remote)]
        for reader, writer in streams:
            writer.write(b"!")
            assert await asyncio.wait_for(reader.readexactly(1), SECONDS) == b"!"
        server.connection._driver._sock.shutdown(socket.SHUT_RDWR)
        for reader, writer in streams:
            assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
            writer.close()
        await until(lambda: not server.forwarding._attached, "the server's end")
        assert not there.exists()
        for forward in (local, remote):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, forward.port)
            assert forward.connections == 0
            await forward.close()
        with pytest.raises(fastssh.SSHError):
            await conn.forward_local((HOST, 0), (HOST, target))


# --- backpressure -------------------------------------------------------------------------------------------------


async def _fill(writer: asyncio.StreamWriter, most: int) -> int:
    """Writes until nobody takes any more for a while; how much was taken."""
    taken = 0
    writer.transport.set_write_buffer_limits(0)
    try:
        while taken < most:
            writer.write(bytes(MIB))
            await asyncio.wait_for(writer.drain(), 0.5)
            taken += MIB
    except TimeoutError:
        pass
    return taken


async def test_row12_a_slow_destination_holds_the_sender_back(tmp_path: Path, keys: Keys) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await digest(reader, writer)

    async with (
        forwarder(tmp_path, keys) as server, destination(slow) as target, server.connect() as conn,
        await conn.forward_local((HOST, 0), (HOST, target)) as forward,
    ):
        reader, writer = await asyncio.open_connection(HOST, forward.port)
        taken = await _fill(writer, 200 * MIB)
        assert taken < 100 * MIB  # the kernel's buffers are most of it
        (relay,) = server.attached._group.relays
        assert 0 < relay.waiting <= 2 * MIB  # one window
        (relay,) = forward._group.relays
        assert relay.channel is not None and relay.channel.pending < MIB
        go.set()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(-1), SECONDS)
        assert answer.decode() == hashlib.sha256(bytes(taken + MIB)).hexdigest()
        writer.close()


async def test_row12_a_slow_client_holds_the_destination_back(tmp_path: Path, keys: Keys) -> None:
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set_result(await _fill(writer, 200 * MIB))

    async with (
        forwarder(tmp_path, keys) as server, destination(flood) as target, server.connect() as conn,
        await conn.forward_local((HOST, 0), (HOST, target)) as forward,
    ):
        sock = socket.create_connection((HOST, forward.port))
        assert await asyncio.wait_for(taken, SECONDS) < 100 * MIB
        (relay,) = server.attached._group.relays
        assert relay.channel is not None and 0 < relay.channel.pending < MIB
        (relay,) = forward._group.relays
        assert 0 < relay.waiting <= 2 * MIB
        sock.close()
        await until(lambda: not server.attached._group.relays, "the relay's end")


# --- our client and a stock server --------------------------------------------------------------------------------


async def test_forward_local_through_sshd(server: Peer, tmp_path: Path, fifty: bytes) -> None:
    path = tmp_path / "target"
    async with fastssh.connect(**options_of(server)) as conn, destination(echo) as port, destination(echo, path):
        async with await conn.forward_local(("localhost", 0), ("localhost", port)) as forward:
            received = await exchange(await asyncio.open_connection(HOST, forward.port), fifty)
            assert hashlib.sha256(received).digest() == hashlib.sha256(fifty).digest()
        async with await conn.forward_local(str(tmp_path / "here"), str(path)):
            assert await exchange(await asyncio.open_unix_connection(tmp_path / "here"), b"path") == b"path"


async def test_forward_remote_through_sshd(server: Peer, tmp_path: Path, fifty: bytes) -> None:
    path, there = tmp_path / "target", tmp_path / "there"
    async with fastssh.connect(**options_of(server)) as conn, destination(echo) as port, destination(echo, path):
        async with await conn.forward_remote(("localhost", 0), (HOST, port)) as forward:
            received = await exchange(await asyncio.open_connection(HOST, forward.port), fifty)
            assert hashlib.sha256(received).digest() == hashlib.sha256(fifty).digest()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, forward.port)
        async with await conn.forward_remote(str(there), str(path)):
            assert await exchange(await asyncio.open_unix_connection(there), b"path") == b"path"
        wanted = free_port()
        async with await conn.forward_remote(("", wanted), ("nowhere.invalid", 1)) as forward:
            assert forward.port == wanted
            assert await exchange(await asyncio.open_connection(HOST, wanted), b"") == b""


async def test_a_refused_remote_forward_is_an_error(server: Peer) -> None:
    async with fastssh.connect(**options_of(server)) as conn:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ChannelRequestError, match=f"port {port}"):
                await conn.forward_remote((HOST, port), (HOST, 1))
        assert not conn._forwarding._remote and not conn._forwarding._groups  # type: ignore[union-attr]


async def test_a_remote_forward_given_up_is_given_back(server: Peer) -> None:
    async with fastssh.connect(**options_of(server)) as conn:
        port = free_port()
        task = asyncio.create_task(conn.forward_remote((HOST, port), (HOST, 1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert conn._forwarding is not None
        assert not conn._forwarding._groups
        with pytest.raises(ChannelRequestError):  # the server listens by now; its answer is on the way
            await conn.forward_remote((HOST, port), (HOST, 1))
        again = await conn.forward_remote((HOST, port), (HOST, 1))  # so it was given back meanwhile
        await again.close()
        await again.close()


@pytest.mark.parametrize("address", [("h", 65536), ("h", -1), "", "/" + "x" * 200, "x" * 108, "/a\0b"])
async def test_what_is_no_address_is_refused(tmp_path: Path, keys: Keys, address: Address) -> None:
    async with forwarder(tmp_path, keys) as server, server.connect() as conn:
        for forward in (conn.forward_local, conn.forward_remote):
            with pytest.raises(ValueError):
                await forward(address, (HOST, 1))
            with pytest.raises(ValueError):
                await forward((HOST, 0), address)
        assert not conn._forwarding._groups  # type: ignore[union-attr]
