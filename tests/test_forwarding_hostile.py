"""Clients that do to forwarding what no client should: floods, lengths, names, windows, answers nobody asked for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastssh
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.connection.channel import ChannelHandler
from fastssh.connection.connection import DEFAULT_WINDOW
from fastssh.errors import ProtocolError, SSHError
from fastssh.wire.codec import string, uint32
from fastssh.wire.messages import CHANNEL_DATA, ChannelClose, ChannelEof, ChannelOpen
from fastssh.wire.requests import (
    AuthAgent,
    CancelTcpipForward,
    DirectStreamlocal,
    DirectTcpip,
    ForwardedTcpip,
    StreamlocalForward,
    TcpipForward,
)
from tests.support.forwarding import (
    SECONDS,
    Forwarder,
    Streams,
    destination,
    echo,
    exchange,
    forwarder,
)
from tests.support.peers import HOST, Keys, free_port
from tests.support.watching import open_descriptors, until

TCP = "direct-tcpip"
PATH = "direct-streamlocal@openssh.com"


class Channel(ChannelHandler):
    """What became of one channel, in words: "open", "refused 1", "lost", "closed". Data is kept and not credited."""

    def __init__(self) -> None:
        self.fate: list[str] = []
        self.received = b""

    def opened(self) -> None:
        self.fate.append("open")

    def open_failed(self, error: SSHError) -> None:
        self.fate.append(f"refused {getattr(error, 'code', error)}")

    def data(self, stream: int, data: bytes) -> None:
        self.received += data

    def closed(self, error: SSHError | None) -> None:
        self.fate.append("closed" if error is None else "lost")


@asynccontextmanager
async def hostile(
    tmp_path: Path, keys: Keys, policy: ForwardingPolicy | None = None
) -> AsyncIterator[tuple[Forwarder, fastssh.ClientConnection]]:
    """A server with one client; at the end nothing of it is left."""
    before = len(open_descriptors())
    async with forwarder(tmp_path, keys, policy) as server, server.connect() as conn:
        yield server, conn
    await until(lambda: len(open_descriptors()) <= before, "the last descriptor to be closed")


def ask(conn: fastssh.ClientConnection, kind: str, data: bytes) -> Channel:
    channel = Channel()
    conn._connection.open_channel(kind, data, channel)
    return channel


async def fate(conn: fastssh.ClientConnection, kind: str, data: bytes) -> str:
    channel = ask(conn, kind, data)
    await until(lambda: bool(channel.fate), "an answer")
    return channel.fate[0]


async def granted(conn: fastssh.ClientConnection, name: str, data: bytes) -> bytes | None:
    answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    conn._connection.global_request(name, data, on_reply=answer.set_result)
    return await asyncio.wait_for(answer, SECONDS)


def tcp(host: bytes, port: int, origin_port: int = 1) -> bytes:
    return DirectTcpip(host, port, b"127.0.0.1", origin_port).body()


@asynccontextmanager
async def busy_path(path: Path) -> AsyncIterator[socket.socket]:
    """A Unix socket whose queue is full: connecting waits."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as filler:
        busy.bind(str(path))
        busy.listen(0)
        filler.connect(str(path))
        yield busy


# --- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (TCP, tcp(b"127.0.0.1", 65536)), (TCP, tcp(b"127.0.0.1", 0)), (TCP, tcp(b"127.0.0.1", 0xFFFFFFFF)),
        (TCP, tcp(b"127.0.0.1", 65536 + 22)), (TCP, tcp(b"127.0.0.1", 22, 65536)), (TCP, tcp(b"", 22)),
        (TCP, tcp(b"127.0.0.1\0.example", 22)), (TCP, tcp(b"\xff", 22)), (TCP, tcp(b"a" * 5000, 22)),
        (TCP, tcp(b"a b", 22)), (TCP, tcp(b"a\nb", 22)),
        (PATH, DirectStreamlocal(b"").body()), (PATH, DirectStreamlocal(b"\0abstract").body()),
        (PATH, DirectStreamlocal(b"/tmp/a\0b").body()), (PATH, DirectStreamlocal(b"relative").body()),
        (PATH, DirectStreamlocal(b"/" + b"x" * 200).body()),
    ],
)
async def test_names_and_ports_that_cannot_be_are_refused(tmp_path: Path, keys: Keys, kind: str, data: bytes) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        assert await fate(conn, kind, data) == "refused 1"
        assert not server.attached._group._opening
        assert server.log and all(line.isprintable() for line in server.log)


@pytest.mark.parametrize("label", [b"a" * 64 + b".invalid", b"a..b", b".", b"xn--\xc3\xa4", b"127.0.0.1%x", b"::1::"])
async def test_names_that_no_resolver_knows_are_refused(tmp_path: Path, keys: Keys, label: bytes) -> None:
    async with hostile(tmp_path, keys) as (_, conn):
        assert await fate(conn, TCP, tcp(label, 22)) == "refused 2"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tcpip-forward", TcpipForward(b"", 65536).body()), ("tcpip-forward", TcpipForward(b"", 0xFFFFFFFF).body()),
        ("tcpip-forward", TcpipForward(b"127.0.0.1\0", 0).body()), ("tcpip-forward", TcpipForward(b"\xff", 0).body()),
        ("tcpip-forward", TcpipForward(b"", 80).body()),
        ("cancel-tcpip-forward", CancelTcpipForward(b"127.0.0.1", 22).body()),
        ("cancel-tcpip-forward", CancelTcpipForward(b"", 0xFFFFFFFF).body()),
        ("streamlocal-forward@openssh.com", string(b"\0abstract")),
        ("streamlocal-forward@openssh.com", string(b"/nowhere/at/all")),
        ("streamlocal-forward@openssh.com", string(b"/tmp/a\0b")),
        ("cancel-streamlocal-forward@openssh.com", string(b"/etc/passwd")),
    ],
)
async def test_listeners_that_cannot_be_are_refused(tmp_path: Path, keys: Keys, name: str, data: bytes) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        assert await granted(conn, name, data) is None
        assert not server.attached._forwards and not server.attached._group.listeners


async def test_cancel_ends_what_was_made_and_nothing_else(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        reply = await granted(conn, "tcpip-forward", TcpipForward(b"127.0.0.1", 0).body())
        assert reply is not None
        port = int.from_bytes(reply, "big")
        for host, number in ((b"127.0.0.1", 0), (b"localhost", port), (b"127.0.0.1", port + 1)):
            assert await granted(conn, "cancel-tcpip-forward", CancelTcpipForward(host, number).body()) is None
        again = TcpipForward(b"127.0.0.1", port).body()
        assert await granted(conn, "tcpip-forward", again) is None
        assert len(server.attached._forwards) == 1
        assert await granted(conn, "cancel-tcpip-forward", again) == b""
        assert await granted(conn, "cancel-tcpip-forward", again) is None
        assert await granted(conn, "tcpip-forward", again) == b""  # the port is free again; nothing to say of it


MALFORMED_OPENS = [
    (kind, wrong)
    for kind, data in ((TCP, tcp(b"127.0.0.1", 22)), (PATH, DirectStreamlocal(b"/tmp/x").body()))
    for wrong in (b"", data[:-1], data + b"\0", uint32(0xFFFFFFFF) + data[4:], uint32(len(data)) + data[4:])
]


@pytest.mark.parametrize(("kind", "data"), MALFORMED_OPENS)
async def test_row26_wrong_lengths_end_their_connection_alone(
    tmp_path: Path, keys: Keys, kind: str, data: bytes
) -> None:
    async with hostile(tmp_path, keys) as (server, conn), server.connect() as other:
        assert await fate(conn, kind, data) == "lost"
        assert [line for line in server.log if "truncated" in line or "superfluous" in line]
        assert await granted(other, "tcpip-forward", TcpipForward(b"", 0).body()) is not None


@pytest.mark.parametrize(
    "name", [cancel + of for cancel in ("", "cancel-") for of in ("tcpip-forward", "streamlocal-forward@openssh.com")]
)
@pytest.mark.parametrize("data", [b"", b"\0\0\0\5abc", b"\0\0\0\0\0\0\0\0\0"])
async def test_row26_wrong_lengths_of_requests_end_the_connection(
    tmp_path: Path, keys: Keys, name: str, data: bytes
) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        assert await granted(conn, name, data) is None
        await until(lambda: not server.forwarding._attached, "the connection's end")
        assert [line for line in server.log if "truncated" in line or "superfluous" in line]


@pytest.mark.parametrize(
    "kind", ["forwarded-tcpip", "forwarded-streamlocal@openssh.com", "auth-agent@openssh.com", "x11"]
)
async def test_row02_channels_that_only_servers_open_are_refused_to_clients(
    tmp_path: Path, keys: Keys, kind: str
) -> None:
    async with hostile(tmp_path, keys) as (_, conn):
        assert await fate(conn, kind, ForwardedTcpip(b"h", 1, b"", 1).body()) == "refused 3"


# --- floods -------------------------------------------------------------------------------------------------------


async def test_row12_a_flood_of_opens_is_answered_and_not_kept(tmp_path: Path, keys: Keys) -> None:
    async with busy_path(tmp_path / "busy"):
        policy = ForwardingPolicy(max_channels=20)
        async with hostile(tmp_path, keys, policy) as (server, conn):
            data = DirectStreamlocal(os.fsencode(tmp_path / "busy")).body()
            channels = [ask(conn, PATH, data) for _ in range(3000)]
            await until(lambda: sum(each.fate == ["refused 4", "lost"] for each in channels) == 2980, "the refusals")
            assert len(server.attached._group._opening) == 20
            assert len(server.connection.connection._incoming) == 20
            # what waits is given up with the connection
        await until(lambda: not server.forwarding._attached, "the connection's end")


async def test_row12_forwarded_channels_leave_sessions_their_places(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (_, conn), destination(echo) as target:
        channels = [ask(conn, TCP, tcp(b"127.0.0.1", target)) for _ in range(50)]
        sessions = [ask(conn, "session", b"") for _ in range(11)]
        await until(lambda: all(each.fate for each in (*channels, *sessions)), "the answers")
        assert {each.fate[0] for each in channels} == {"open"}
        assert [each.fate[0] for each in sessions] == ["open"] * 10 + ["refused 4"]


async def test_row12_listeners_are_bounded(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys, ForwardingPolicy(max_listeners=5)) as (server, conn):
        answers = [await granted(conn, "tcpip-forward", TcpipForward(b"localhost", 0).body()) for _ in range(8)]
        paths = [StreamlocalForward(os.fsencode(tmp_path / f"{number}")).body() for number in range(2)]
        answers += [await granted(conn, "streamlocal-forward@openssh.com", path) for path in paths]
        assert [answer is not None for answer in answers] == [True] * 5 + [False] * 5
        assert len(server.attached._forwards) == 5


async def test_row12_a_client_that_never_answers_keeps_no_more_than_its_share(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys, ForwardingPolicy(max_channels=4)) as (server, conn):
        held: list[object] = []
        conn._connection.acceptors["forwarded-tcpip"] = held.append
        reply = await granted(conn, "tcpip-forward", TcpipForward(b"127.0.0.1", 0).body())
        assert reply is not None
        port = int.from_bytes(reply, "big")
        streams = [await asyncio.open_connection(HOST, port) for _ in range(12)]
        await until(lambda: len(held) == 4, "the channels")
        await asyncio.sleep(0.1)
        assert len(held) == len(server.attached._group.relays) == 4
        for _, writer in streams:
            writer.close()


async def test_row12_what_is_asked_for_during_a_key_exchange_waits_within_bounds(tmp_path: Path, keys: Keys) -> None:
    async with (
        hostile(tmp_path, keys) as (server, conn), destination(echo) as target,
        await conn.forward_local((HOST, 0), (HOST, target)) as forward,
    ):
        data = os.urandom(4 << 20)
        streams = [await asyncio.open_connection(HOST, forward.port) for _ in range(4)]
        work = asyncio.gather(*[exchange(each, data) for each in streams])
        for _ in range(5):
            await asyncio.sleep(0.02)
            conn._transport.rekey()
            conn._driver.wake()
        assert await asyncio.wait_for(work, SECONDS) == [data] * 4
        assert server.connection.error is None


# --- windows and packets ------------------------------------------------------------------------------------------


async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads nothing."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(SECONDS)


async def test_row08_more_than_the_window_ends_the_connection(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn), destination(stuck) as target:
        channel = ask(conn, TCP, tcp(b"127.0.0.1", target))
        await until(lambda: channel.fate == ["open"], "the channel")
        remote = conn._connection._channels[0].remote_id
        (relay,) = server.attached._group.relays
        relay._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for _ in range(3 * DEFAULT_WINDOW // 32768):  # whatever it was told, and the socket's buffers
            conn._transport.send_payload(bytes([CHANNEL_DATA]) + uint32(remote) + string(bytes(32768)))
        conn._driver.wake()
        await until(lambda: not server.forwarding._attached, "the connection's end")
        assert [line for line in server.log if "window" in line]


@pytest.mark.parametrize("size", [0, 1])
async def test_row09_an_absurd_packet_size_ends_the_connection(tmp_path: Path, keys: Keys, size: int) -> None:
    async with hostile(tmp_path, keys) as (server, conn), destination(echo) as target:
        conn._connection.send(ChannelOpen(TCP, 0, 1 << 20, size, tcp(b"127.0.0.1", target)))
        await until(lambda: not server.forwarding._attached, "the connection's end")
        await until(lambda: conn.error is not None, "the client's end")
        assert isinstance(conn.error, fastssh.SSHError)


# --- ends ---------------------------------------------------------------------------------------------------------


async def _pair(conn: fastssh.ClientConnection) -> Streams:
    """A channel to a listener of the test's own: what arrives there."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
    listener = await asyncio.start_server(lambda *streams: accepted.set_result(streams), HOST, 0)
    assert await fate(conn, TCP, tcp(b"127.0.0.1", listener.sockets[0].getsockname()[1])) == "open"
    streams = await asyncio.wait_for(accepted, SECONDS)
    listener.close()
    return streams


async def test_row11_data_before_close_arrives_and_nothing_after_it(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        reader, writer = await _pair(conn)
        remote = conn._connection._channels[0].remote_id
        for payload in (b"last", b"words"):
            conn._transport.send_payload(bytes([CHANNEL_DATA]) + uint32(remote) + string(payload))
        conn._connection.send(ChannelClose(remote))
        conn._transport.send_payload(bytes([CHANNEL_DATA]) + uint32(remote) + string(b"late"))
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b"lastwords"
        writer.close()
        await until(lambda: not server.forwarding._attached, "the connection's end")


async def test_row11_what_waits_for_the_destination_survives_the_close(tmp_path: Path, keys: Keys) -> None:
    go = asyncio.Event()
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        got.set_result(await reader.read(-1))

    async with hostile(tmp_path, keys) as (server, conn), destination(late) as target:
        channel = ask(conn, TCP, tcp(b"127.0.0.1", target))
        await until(lambda: channel.fate == ["open"], "the channel")
        (relay,) = server.attached._group.relays
        relay._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = b""
        while relay.waiting < 65536:
            sent += os.urandom(65536)
            conn._connection._channels[0].write(sent[-65536:])
            await asyncio.sleep(0.01)
        conn._connection._channels[0].close()
        await until(lambda: channel.fate == ["open", "closed"], "the close")
        assert relay.waiting
        go.set()
        assert await asyncio.wait_for(got, SECONDS) == sent
        await until(lambda: not server.attached._group.relays, "the relay's end")


async def test_row11_data_after_the_end_of_file_ends_the_connection(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        reader, writer = await _pair(conn)
        remote = conn._connection._channels[0].remote_id
        conn._connection.send(ChannelEof(remote))
        conn._transport.send_payload(bytes([CHANNEL_DATA]) + uint32(remote) + string(b"more"))
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
        writer.close()
        await until(lambda: not server.forwarding._attached, "the connection's end")


async def test_row11_a_close_holds_no_socket_whose_end_reads_nothing(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn), destination(stuck) as target:
        channel = ask(conn, TCP, tcp(b"127.0.0.1", target))
        await until(lambda: channel.fate == ["open"], "the channel")
        (relay,) = server.attached._group.relays
        relay._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while relay.waiting == 0:
            conn._connection._channels[0].write(bytes(65536))
            await asyncio.sleep(0.01)
        conn._connection._channels[0].close(discard=True)
        await until(lambda: channel.fate == ["open", "closed"], "the close")
        assert relay in server.attached._group.relays  # its last bytes wait, and it counts
        conn.close()
        await until(lambda: not server.forwarding._attached, "the connection's end")
        assert relay._sock.fileno() < 0


async def test_row11_refused_channels_leave_nothing(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        before = len(open_descriptors())
        port = free_port()
        for _ in range(20):
            channels = [ask(conn, TCP, tcp(b"127.0.0.1", port)) for _ in range(20)]
            await until(lambda: all(each.fate for each in channels), "the answers")  # noqa: B023
            assert {each.fate[0] for each in channels} == {"refused 2"}
        await until(lambda: not server.attached._group._opening, "the last task")
        assert len(open_descriptors()) == before
        assert server.connection.connection.channels == conn._connection.channels == 0
        assert not server.connection.connection._incoming


async def test_row11_forwarded_channels_that_the_client_refuses_close_their_sockets(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        reply = await granted(conn, "tcpip-forward", TcpipForward(b"127.0.0.1", 0).body())
        assert reply is not None
        reader, writer = await asyncio.open_connection(HOST, int.from_bytes(reply, "big"))
        assert await asyncio.wait_for(reader.read(-1), SECONDS) == b""
        writer.close()
        assert not server.attached._group.relays
        assert server.connection.connection.channels == 0


async def test_a_connection_that_ends_while_connecting_leaves_nothing(tmp_path: Path, keys: Keys) -> None:
    async with busy_path(tmp_path / "busy"), hostile(tmp_path, keys) as (server, conn):
        channel = ask(conn, PATH, DirectStreamlocal(os.fsencode(tmp_path / "busy")).body())
        await until(lambda: bool(server.attached._group._opening), "the attempt")
        group = server.attached._group
        conn.close()
        await until(lambda: not server.forwarding._attached and not group._opening, "the attempt's end")
        assert channel.fate == ["lost"]


# --- a server that is hostile to our client -----------------------------------------------------------------------


@pytest.mark.parametrize("port", [0, 65536, 0xFFFFFFFF])
async def test_row11_a_server_that_listens_on_no_port_is_left(tmp_path: Path, keys: Keys, port: int) -> None:
    async with hostile(tmp_path, keys) as (server, conn):
        server.connection.connection.global_handlers["tcpip-forward"] = lambda data: uint32(port)
        with pytest.raises(ProtocolError, match="port"):
            await conn.forward_remote((HOST, 0), (HOST, 1))


async def test_row11_a_client_connects_nowhere_unasked(tmp_path: Path, keys: Keys) -> None:
    async with hostile(tmp_path, keys) as (server, conn), destination(echo) as target:
        forward = await conn.forward_remote((HOST, 0), (HOST, target))
        fates = []
        for kind, data in (
            ("forwarded-tcpip", ForwardedTcpip(b"127.0.0.1", forward.port + 1, b"", 0).body()),
            ("forwarded-tcpip", ForwardedTcpip(b"other name", forward.port, b"", 0).body()),
            ("forwarded-streamlocal@openssh.com", string(b"/x") + string(b"")),
            ("auth-agent@openssh.com", AuthAgent().body()),
            (TCP, tcp(b"127.0.0.1", target)),
        ):
            channel = Channel()
            server.connection.connection.open_channel(kind, data, channel)
            await until(lambda: bool(channel.fate), "an answer")  # noqa: B023
            fates.append(channel.fate[0])
        assert fates == ["refused 1", "open", "refused 1", "refused 1", "refused 3"]
        await forward.close()
