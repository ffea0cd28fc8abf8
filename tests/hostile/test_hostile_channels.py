"""The connection protocol: channels, windows, replies, floods, and a server that stops reading."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fastssh.errors import (
    ChannelClosedError,
    ChannelOpenError,
    ChannelRequestError,
    ProtocolError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    Debug,
    GlobalRequest,
    Ignore,
    Ping,
    RequestFailure,
    RequestSuccess,
)
from tests.hostile.client import MIB, memory_bounded, refused, survives
from tests.hostile.server import SCRIPT_SECONDS, WINDOW, Peer, healthy

NASTY = "no\x1b[31m\x07\x9b\nway"
SAFE = r"no\033[31m\007\233\012way"


def after_start(*make: Any) -> Any:
    """A command runs; then these are sent: messages, payloads, or functions of the peer that give one."""

    def script(peer: Peer) -> None:
        peer.start()
        for each in make:
            peer.send(each(peer) if callable(each) else each)

    return script


# --- row 8 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["data", "stderr", "unknown extended", "mixed"])
async def test_row08_a_server_that_overruns_our_window_is_dropped(serve, stream):
    """Nobody reads, so nothing is given back: what does not fit into the window must not be kept."""

    def script(peer: Peer) -> None:
        peer.start()
        payload = {
            "data": peer.data(bytes(32_000)),
            "stderr": peer.extended(bytes(32_000)),
            "unknown extended": peer.extended(bytes(32_000), 7),
            "mixed": peer.data(bytes(32_000)),
        }[stream]
        while True:
            peer.send(*[payload] * 10)
            if stream == "mixed":
                peer.send(*[peer.extended(bytes(32_000))] * 10)

    async def use(connection: Any) -> None:
        process = await connection.create_process("true")
        await asyncio.wait_for(process.wait(), 20)

    with memory_bounded():
        if stream == "unknown extended":  # thrown away, and credited: it may go on, and costs nothing
            async with asyncio.timeout(20):
                await survives_until_timeout(serve(script))
        else:
            await refused(serve(script), ProtocolError, "window or packet size exceeded", use)


async def survives_until_timeout(server: Any) -> None:
    async def use(connection: Any) -> None:
        await connection.run("true", timeout=0.5)

    await refused(server, (SSHTimeoutError, ProtocolError), "timed out|window or packet size", use)


@pytest.mark.parametrize("size", [32 * 1024 + 1, 65_536, 200_000])
async def test_row08_a_packet_larger_than_our_maximum_is_refused(serve, size):
    await refused(serve(after_start(lambda peer: peer.data(bytes(size)))), ProtocolError, "packet size exceeded")


@pytest.mark.parametrize(
    "adjustments", [(0xFFFF_FFFF, 1), (0xFFFF_FFFF - WINDOW + 1,), (2**31, 2**31), (0xFFFF_FFFF,) * 3]
)
async def test_row08_window_adjustments_never_wrap(serve, adjustments):
    script = after_start(*[lambda peer, count=count: peer.adjust(count) for count in adjustments])
    await refused(serve(script), ProtocolError, "window or packet size exceeded")


async def test_row08_the_largest_window_is_used_as_it_is(serve):
    def script(peer: Peer) -> None:
        peer.start(window=0)
        peer.send(peer.adjust(0xFFFF_FFFF))
        received = 0
        while received < 300_000:
            payload = peer.receive_connection()
            if payload[0] == 94:
                received += len(payload) - 9
        peer.finish()

    async def use(connection: Any) -> None:
        await connection.run("cat", input=bytes(300_000))

    await survives(serve(script), use)


@pytest.mark.parametrize("window", [0, 1])
async def test_row08_a_window_that_never_opens_does_not_hang_the_client(serve, window):
    def script(peer: Peer) -> None:
        peer.start(window=window)

    async def use(connection: Any) -> None:
        await connection.run("cat", input=bytes(300_000), timeout=0.3)

    await refused(serve(script), SSHTimeoutError, "timed out", use)


# --- row 9 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 255])
async def test_row09_an_absurd_maximum_packet_is_refused(serve, size):
    def script(peer: Peer) -> None:
        peer.open_channel(max_packet=size)

    await refused(serve(script), ProtocolError, "window or packet size")


@pytest.mark.parametrize("size", [1024, 2**31, 0xFFFF_FFFF])
async def test_row09_other_maximums_work(serve, size):
    def script(peer: Peer) -> None:
        peer.start(max_packet=size)
        got = 0
        while data := peer.read_channel():
            assert len(data) <= size
            got += len(data)
        assert got == 200_000
        peer.finish()

    async def use(connection: Any) -> None:
        await connection.run("cat", input=bytes(200_000))

    await survives(serve(script), use)


# --- row 11 -------------------------------------------------------------------------------------------------------

OTHER = 4711


@pytest.mark.parametrize(
    "message",
    [
        lambda peer: peer.data(b"x", OTHER), lambda peer: peer.data(b"x", 1), lambda peer: peer.data(b"x", 0xFFFF_FFFF),
        lambda peer: peer.adjust(1, OTHER), lambda peer: b"\x5f" + codec.uint32(OTHER) + codec.uint32(1) + bytes(4),
        ChannelEof(OTHER), ChannelClose(OTHER), ChannelSuccess(OTHER), ChannelFailure(OTHER),
        ChannelRequest(OTHER, "exit-status", False, bytes(4)), ChannelOpenFailure(OTHER, 1, "x"),
        ChannelOpenConfirmation(OTHER, 0, 1000, 1000), ChannelClose(0xFFFF_FFFF), ChannelRequest(65_536, "x", True),
        lambda peer: ChannelOpenConfirmation(peer.channel, 0, 1000, 1000),
        lambda peer: ChannelOpenConfirmation(peer.channel, 1, 1000, 1000),
        lambda peer: ChannelOpenFailure(peer.channel, 1, "too late"),
        lambda peer: ChannelSuccess(peer.channel), lambda peer: ChannelFailure(peer.channel),
        RequestSuccess(), RequestSuccess(b"x" * 1000), RequestFailure(),
    ],
)  # fmt: skip
async def test_row11_messages_for_no_channel_and_replies_nobody_asked_for(serve, message):
    with memory_bounded():
        await refused(serve(after_start(message)), ProtocolError, "not open|open already|not made|unknown")


@pytest.mark.parametrize("end", ["eof", "close"])
@pytest.mark.parametrize("kind", ["data", "stderr", "adjust", "eof", "close", "request", "success"])
async def test_row11_nothing_comes_after_the_end_of_a_channel(serve, end, kind):
    if end == "eof" and kind in ("adjust", "close", "request"):
        return  # that is how it should be

    def script(peer: Peer) -> None:
        peer.start()
        message = {
            "data": peer.data(b"late"),
            "stderr": peer.extended(b"late"),
            "adjust": peer.adjust(1),
            "eof": ChannelEof(peer.channel),
            "close": ChannelClose(peer.channel),
            "request": ChannelRequest(peer.channel, "exit-status", False, bytes(4)),
            "success": ChannelSuccess(peer.channel),
        }[kind]
        peer.send(ChannelEof(peer.channel) if end == "eof" else ChannelClose(peer.channel), message)

    async def use(connection: Any) -> None:
        process = await connection.create_process("true")
        try:
            await process.wait()
        finally:
            await connection.wait_closed()
        if connection.error is not None:
            raise connection.error

    await refused(serve(script), ProtocolError, "not open|after end of file|second end|not made", use)


@pytest.mark.parametrize("end", [ChannelClose(0), ChannelOpenFailure(0, 4, "x"), ChannelSuccess(0), b"\x5e" + bytes(8)])
async def test_row11_a_channel_that_still_opens(serve, end):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.send(end)

    await refused(serve(script), (ProtocolError, ChannelOpenError), "not open|refused")


async def test_row11_refused_channels_leave_nothing_behind(serve):
    def script(peer: Peer) -> None:
        peer.authenticate()
        for _ in range(3000):
            message = peer.expect(ChannelOpen)
            assert message.sender == 0  # the number is used again
            peer.send(ChannelOpenFailure(message.sender, 4, "resource shortage"))
        healthy(peer)

    async def use(connection: Any) -> None:
        for _ in range(3000):
            with pytest.raises(ChannelOpenError):
                await connection.create_process("true")
        assert connection._connection.channels == 0
        assert (await connection.run("true")).stdout == b"ok\n"

    with memory_bounded():
        await survives(serve(script), use)


@pytest.mark.parametrize("end", ["refused", "closed", "eof and closed"])
async def test_row11_a_request_that_is_not_granted_is_an_error_and_the_connection_goes_on(serve, end):
    def script(peer: Peer) -> None:
        peer.open_channel()
        peer.expect(ChannelRequest)
        if end == "refused":
            peer.send(ChannelFailure(peer.channel))
        elif end == "eof and closed":
            peer.send(ChannelEof(peer.channel))
        peer.send(ChannelClose(peer.channel))
        healthy(peer)

    async def use(connection: Any) -> None:
        with pytest.raises((ChannelRequestError, ChannelClosedError)) as caught:
            await connection.run("true")
        assert str(caught.value).isprintable()
        assert (await connection.run("true")).stdout == b"ok\n"

    await survives(serve(script), use)


async def test_row11_channels_closed_by_the_server_are_closed_by_us_and_forgotten(serve):
    def script(peer: Peer) -> None:
        for _ in range(300):
            peer.start()
            peer.send(peer.data(b"x" * 1000))
            peer.finish()
        peer.expect(ChannelClose)

    async def use(connection: Any) -> None:
        for _ in range(300):
            assert len((await connection.run("true")).stdout) == 1000
        await asyncio.sleep(0.05)
        assert connection._connection.channels == 0

    with memory_bounded():
        await survives(serve(script), use)


# --- row 19 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", [NASTY, "x" * 200_000, ""])
async def test_row19_the_reason_of_a_refused_channel_is_escaped(serve, description):
    def script(peer: Peer) -> None:
        peer.authenticate()
        peer.expect(ChannelOpen)
        peer.send(ChannelOpenFailure(0, 1, description))

    error = await refused(serve(script), ChannelOpenError, "channel refused")
    if description == NASTY:
        assert SAFE in str(error)


async def test_row19_the_signal_of_a_command_is_a_name(serve):
    def script(peer: Peer) -> None:
        peer.start()
        signal = codec.string(b"K" * 100_000) + b"\0" + codec.string(NASTY.encode()) + codec.string(b"")
        peer.send(ChannelRequest(peer.channel, "exit-signal", True, signal))
        peer.send(ChannelEof(peer.channel), ChannelClose(peer.channel))

    async def use(connection: Any) -> None:
        await connection.run("true\x1b[31m", check=True)

    await refused(serve(script), SSHError, "ended by signal", use)


# --- row 12, memory: floods ---------------------------------------------------------------------------------------


def flood(payload: Any, count: int, **options: Any) -> Any:
    def script(peer: Peer) -> None:
        peer.start()
        peer.flood(payload(peer) if callable(payload) else payload, count)
        peer.finish()

    return script


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        (Ignore(b""), 30_000),
        (Ignore(bytes(30_000)), 1500),
        (Debug(True, "x" * 10_000), 3000),
        (Debug(False, "\x1b" * 3000), 200),
        (lambda peer: peer.adjust(1), 200_000),
        (lambda peer: peer.adjust(0), 200_000),
        (lambda peer: peer.data(b""), 200_000),
        (lambda peer: peer.extended(b""), 200_000),
        (lambda peer: peer.extended(b"", 99), 200_000),
        (GlobalRequest("x@y", False, bytes(30_000)), 1500),
        (GlobalRequest("x", False), 50_000),
        (lambda peer: ChannelRequest(peer.channel, "x", False, bytes(1000)), 20_000),
        (lambda peer: ChannelRequest(peer.channel, "exit-status", False, bytes(4)), 50_000),
        (b"\x03" + bytes(4), 30_000),
        (b"\xc1" + bytes(4), 30_000),
    ],
)
async def test_row12_floods_that_ask_for_nothing_cost_no_memory(serve, payload, count):
    with memory_bounded():
        await survives(serve(flood(payload, count)))


@pytest.mark.parametrize(
    "payload",
    [
        GlobalRequest("x", True),
        Ping(bytes(1000)),
        b"\xfa",
        b"\x7f",
        lambda peer: ChannelRequest(peer.channel, "x", True),
        ChannelOpen("forwarded-tcpip", 7, 1000, 1000, bytes(16)),
        ChannelOpen("x11", 7, 0, 0),
        ChannelOpen("auth-agent@openssh.com", 7, 2**32 - 1, 2**32 - 1),
        ChannelOpen("session", 7, 1000, 1000),
        ChannelOpen("x" * 1000, 7, 1000, 1000),
    ],
)
async def test_row12_floods_that_want_answers_cost_bounded_memory(serve, payload):
    """A server that reads gets its answers."""

    def script(peer: Peer) -> None:
        peer.start()
        sent = payload(peer) if callable(payload) else payload
        for _ in range(20):
            peer.flood(sent, 256)
            peer.more()
            peer.plane.connection.clear()
            peer.messages.clear()
        peer.finish()

    with memory_bounded():
        await survives(serve(script))


@pytest.mark.parametrize("payload", [Ping(bytes(1000)), ChannelOpen("forwarded-tcpip", 7, 1000, 1000, bytes(16))])
async def test_row12_a_server_that_makes_us_answer_and_does_not_read_is_dropped(serve, payload):
    def script(peer: Peer) -> None:
        peer.start()
        while True:
            peer.flood(payload, 512)

    with memory_bounded():
        await refused(serve(script), ProtocolError, "peer does not read")


@pytest.mark.parametrize("size", [1, 2, 100, 32_000])
async def test_row08_output_that_nobody_reads_stays_within_the_window(serve, size):
    """However small the pieces."""

    def script(peer: Peer) -> None:
        peer.start()
        peer.flood(peer.data(bytes(size)), min(WINDOW // size, 400_000))

    async def use(connection: Any) -> None:
        process = await connection.create_process("true")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 1.5)

    with memory_bounded(40 * MIB):
        await survives(serve(script), use)


async def test_row08_output_that_is_read_may_go_on_and_costs_no_memory(serve):
    total = 64 * MIB

    def script(peer: Peer) -> None:
        peer.start()
        window, sent = WINDOW, 0
        payload = peer.data(bytes(32_000))
        while sent < total:
            while window >= 32_000:
                batch = min(window // 32_000, 20)
                peer.send(*[payload] * batch)
                window -= batch * 32_000
                sent += batch * 32_000
            adjustment = peer.receive_connection()
            if adjustment[0] == 93:
                window += int.from_bytes(adjustment[5:], "big")
        peer.finish()

    async def use(connection: Any) -> None:
        process = await connection.create_process("true")
        got = 0
        while data := await process.stdout.read(65_536):
            got += len(data)
        assert got >= total

    with memory_bounded():
        await survives(serve(script), use)


# --- a server that stops ------------------------------------------------------------------------------------------


async def test_row12_a_server_that_stops_reading_in_the_middle_does_not_hold_the_client(serve):
    def script(peer: Peer) -> None:
        peer.start(window=0x7FFF_FFFF, max_packet=2**20)
        assert gone.wait(SCRIPT_SECONDS)  # nothing is read until then

    gone = threading.Event()

    async def use(connection: Any) -> None:
        await connection.run("cat", input=bytes(64 * MIB), timeout=0.5)

    with memory_bounded(80 * MIB):
        await refused(serve(script), SSHTimeoutError, "timed out", use)
    gone.set()


async def test_row12_a_cancelled_command_leaves_a_connection_that_can_be_closed(serve):
    def script(peer: Peer) -> None:
        peer.start()

    async def use(connection: Any) -> None:
        task = asyncio.create_task(connection.run("true"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await survives(serve(script), use)


@pytest.mark.parametrize("point", ["service", "open", "request"])
async def test_row12_cancelling_at_any_point_ends_at_once(serve, point):
    def script(peer: Peer) -> None:
        if point == "service":
            peer.ready()
        elif point == "open":
            peer.authenticate()
        else:
            peer.open_channel()

    import fastssh
    from tests.hostile.client import Loop, options

    server = serve(script)
    loop = Loop()

    async def all_of_it() -> None:
        async with fastssh.connect("127.0.0.1", server.port, **options(server)) as connection:
            await connection.run("true")

    task = asyncio.create_task(all_of_it())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await task
    await loop.check()


async def test_row12_a_silent_server_is_noticed_by_keepalives(serve):
    def script(peer: Peer) -> None:
        peer.start()

    await refused(
        serve(script), SSHTimeoutError, "not responding", server_alive_interval=0.1, server_alive_count_max=2
    )


async def test_row12_a_server_that_only_sends_is_not_alive_for_ever_against_a_deadline(serve):
    def script(peer: Peer) -> None:
        peer.start()
        while True:
            peer.flood(GlobalRequest("keepalive@openssh.com", False), 100)

    async def use(connection: Any) -> None:
        await connection.run("true", timeout=0.5)

    with memory_bounded():
        await refused(serve(script), SSHTimeoutError, "timed out", use)


@pytest.mark.parametrize("moment", ["open", "request", "running", "eof"])
@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_row26_a_connection_that_breaks_is_told_as_such(serve, moment, how):
    def script(peer: Peer) -> None:
        if moment == "open":
            peer.authenticate()
        elif moment == "request":
            peer.open_channel()
        else:
            peer.start()
            if moment == "eof":
                peer.send(ChannelEof(peer.channel))
        if how == "resets":
            peer.reset()
        peer.sock.shutdown(1)

    await refused(serve(script), ConnectionError, "closed by the peer|reset by peer")
