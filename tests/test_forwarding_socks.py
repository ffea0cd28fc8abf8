"""Dynamic forwards: SOCKS clients here (-D) and at the server (-R without a destination), with curl and by hand."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.forwarding import socks
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.keys.endpoint import Endpoint
from tests.support import peers
from tests.support.forwarding import (
    SECONDS,
    Streams,
    destination,
    echo,
    exchange,
    forwarder,
    options_of,
    reach,
)
from tests.support.peers import HOST, Keys, free_port
from tests.support.socks import GRANTED5, socks4, socks5
from tests.support.watching import open_descriptors, until

MIB = 1 << 20
VERSIONS = (("socks4", HOST), ("socks4a", "localhost"), ("socks5", HOST), ("socks5h", "localhost"))


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(open_descriptors())
    yield
    assert len(open_descriptors()) <= before


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, bytes]]:
    """The port of an HTTP server, and what it has at /page."""
    directory, data = tmp_path_factory.mktemp("http"), os.urandom(MIB)
    (directory / "page").write_bytes(data)
    server = ThreadingHTTPServer((HOST, 0), functools.partial(_Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port, data
    server.shutdown()
    thread.join()
    server.server_close()


async def curl(proxy: str, url: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        peers.program("curl", "curl"), "-sS", "--max-time", "30", "-x", proxy, url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=peers.clean_environment(Path("/nonexistent")),
    )  # fmt: skip
    out, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, said


async def answer(streams: Streams, request: bytes) -> bytes:
    """All that comes back for ``request``, the client's side staying open."""
    reader, writer = streams
    writer.write(request)
    async with asyncio.timeout(SECONDS):
        found = await reader.read(-1)
    writer.close()
    return found


@pytest.mark.parametrize("peer", ["sshd", "fastsshd"])
async def test_curl_over_every_version_of_socks(
    request: pytest.FixtureRequest, page: tuple[int, bytes], peer: str
) -> None:
    port, data = page
    async with (
        fastssh.connect(**options_of(request.getfixturevalue(peer))) as conn,
        await conn.forward_dynamic(("localhost", 0)) as forward,
    ):
        for scheme, host in VERSIONS:
            status, found, said = await curl(f"{scheme}://{HOST}:{forward.port}", f"http://{host}:{port}/page")
            assert (status, said) == (0, b"")
            assert found == data
        closed = free_port()  # curl says 97 for a proxy's refusal, and which it was
        status, _, said = await curl(f"socks5h://{HOST}:{forward.port}", f"http://{HOST}:{closed}/")
        assert status == 97 and b"(5)" in said


async def test_what_a_client_sends_before_it_is_connected_arrives_first(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn,
        await conn.forward_dynamic(str(tmp_path / "socks")) as forward,
    ):
        data = os.urandom(3 * MIB)
        granted4 = b"\0\x5a" + bytes(6)
        for request, granted in ((socks5(HOST, port), b"\5\0" + GRANTED5), (socks4(HOST, port), granted4)):
            streams = await asyncio.open_unix_connection(str(tmp_path / "socks"))
            assert await exchange(streams, request + data) == granted + data
        await until(lambda: forward.connections == 0, "the relays' end")


async def test_a_destination_that_speaks_and_closes_at_once_is_heard(tmp_path: Path, keys: Keys) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome and goodbye")
        await writer.drain()

    async with (
        forwarder(tmp_path, keys) as server, destination(greet) as port, server.connect() as conn,
        await conn.forward_dynamic((HOST, 0)) as forward,
    ):
        for _ in range(20):
            found = await answer(await reach(forward.port), socks5(HOST, port))
            assert found == b"\5\0" + GRANTED5 + b"welcome and goodbye"


async def test_refusals_have_their_codes_and_are_logged_in_sshs_words(tmp_path: Path, keys: Keys) -> None:
    said: list[tuple[int, str]] = []
    policy = ForwardingPolicy(permit_open=((Endpoint(HOST, None), Endpoint("name.invalid", None)),))
    async with (
        forwarder(tmp_path, keys, policy) as server,
        server.connect(log=lambda level, text: said.append((level, text))) as conn,
        await conn.forward_dynamic((HOST, 0)) as forward,
    ):
        for request, code in (
            (socks5("192.0.2.1", 80), 2), (socks5(HOST, free_port()), 5), (socks5("name.invalid", 80), 4),
            (socks5(HOST, 80, command=2), 7),
        ):
            found = await answer(await reach(forward.port), request)
            assert found == b"\5\0" + bytes((5, code, 0, 1)) + bytes(6)
        # What the client had sent on already does not take the refusal away from it.
        found = await answer(await reach(forward.port), socks4("192.0.2.1", 80) + b"x" * 30000)
        assert found == b"\0\x5b" + bytes(6)
        assert await answer(await reach(forward.port), b"GET / HTTP/1.0\r\n\r\n") == b""
        await until(lambda: forward.connections == 0, "the relays' end")
    shown = [text for level, text in said if level == 0]
    assert "channel 0: open failed: connect failed: Connection refused" in shown
    assert any(text.startswith("channel 0: open failed: administratively prohibited: ") for text in shown)


async def test_row12_clients_that_say_nothing_are_given_up(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks, "HANDSHAKE_SECONDS", 0.05)
    async with (
        forwarder(tmp_path, keys) as server, server.connect() as conn,
        await conn.forward_dynamic((HOST, 0)) as forward,
    ):
        assert await answer(await reach(forward.port), b"\5\1") == b""
        assert await answer(await reach(forward.port), b"") == b""
        await until(lambda: forward.connections == 0, "the relays' end")
        async with await conn.forward_remote((HOST, 0), None) as remote:
            assert await answer(await reach(remote.port), b"\4\1\0") == b""
            await until(lambda: remote.connections == 0, "the relays' end")


async def test_clients_that_leave_in_the_middle_leave_nothing(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn,
        await conn.forward_dynamic((HOST, 0)) as local, await conn.forward_remote((HOST, 0), None) as remote,
    ):
        request = socks5(HOST, port)
        for forward in (local, remote):
            for size in range(len(request) + 1):
                _, writer = await reach(forward.port)
                writer.write(request[:size])
                await writer.drain()
                if size % 2:
                    writer.transport.abort()
                writer.close()
            await until(lambda forward=forward: forward.connections == 0, "the relays' end")  # type: ignore[misc]
            assert (await exchange(await reach(forward.port), request + b"data")).endswith(b"data")
        _, writer = await reach(local.port)
        writer.write(request[:4])
        writer.close()  # what was under way ended with the forward


@pytest.mark.parametrize("peer", ["sshd", "fastsshd"])
async def test_a_server_that_listens_for_us_has_socks_clients(
    request: pytest.FixtureRequest, page: tuple[int, bytes], peer: str
) -> None:
    port, data = page
    permitted = [Endpoint(HOST, port), Endpoint("localhost", None)]
    async with (
        fastssh.connect(**options_of(request.getfixturevalue(peer))) as conn,
        await conn.forward_remote(("localhost", 0), None, permit_open=permitted) as forward,
    ):
        for scheme, host in VERSIONS:
            status, found, said = await curl(f"{scheme}://{HOST}:{forward.port}", f"http://{host}:{port}/page")
            assert (status, said) == (0, b"")
            assert found == data
        closed = free_port()
        for host, code in ((HOST, 2), ("localhost", 5)):  # not permitted; and nobody listens there
            found = await answer(await reach(forward.port), socks5(host, closed))
            assert found == b"\5\0" + bytes((5, code, 0, 1)) + bytes(6)
        assert await answer(await reach(forward.port), b"GET / HTTP/1.0\r\n\r\n") == b""


async def test_early_data_of_a_client_at_the_server_arrives_first(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn,
        await conn.forward_remote((HOST, 0), None) as forward,
    ):
        data = os.urandom(5 * MIB)  # more than a window
        assert await exchange(await reach(forward.port), socks5(HOST, port) + data) == b"\5\0" + GRANTED5 + data


async def test_a_forward_stops_and_its_connections_go_on(tmp_path: Path, keys: Keys) -> None:
    async with forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn:
        forwards = [
            await conn.forward_local((HOST, 0), (HOST, port)),
            await conn.forward_remote((HOST, 0), (HOST, port)),
        ]
        for forward in forwards:
            streams = await reach(forward.port)
            await until(lambda forward=forward: forward.connections == 1, "the relay")  # type: ignore[misc]
            await forward.stop()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, forward.port)
            assert await exchange(streams, b"data") == b"data"
            await forward.stop()
            await forward.close()


async def test_a_socket_is_made_as_the_mask_says_and_in_place_of_another(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "listen"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with forwarder(tmp_path, keys) as server, server.connect() as conn:
        with pytest.raises(OSError, match="in use"):
            await conn.forward_local(str(path), (HOST, 1))
        async with await conn.forward_local(str(path), (HOST, 1), bind_mask=0o117, bind_unlink=True):
            assert path.stat().st_mode & 0o777 == 0o660
