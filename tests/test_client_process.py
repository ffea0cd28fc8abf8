"""The streams of a process: whatever the pieces are, the bytes, the lines and the credit add up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.aio.process import Process, ProcessReader
from fastssh.errors import ChannelClosedError, ConnectionLostError


class Channel:
    """Counts credit."""

    def __init__(self) -> None:
        self.credit = 0

    def consumed(self, count: int) -> None:
        self.credit += count


def reader(*pieces: bytes, end: bool = True) -> tuple[ProcessReader, Channel]:
    stream, channel = ProcessReader(), Channel()
    stream._attach(channel)  # type: ignore[arg-type]
    for piece in pieces:
        stream._feed(piece)
    if end:
        stream._finish(None)
    return stream, channel


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=10), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_reads_of_any_size_give_every_byte_once(pieces: list[bytes], sizes: list[int]) -> None:
    async def run() -> None:
        stream, channel = reader(*pieces)
        whole, number = b"", 0
        while data := await stream.read(sizes[number % len(sizes)]):
            assert len(data) <= sizes[number % len(sizes)]
            whole += data
            number += 1
            assert channel.credit == len(whole)
        assert whole == b"".join(pieces)
        assert stream.at_eof()

    asyncio.run(run())


@given(st.lists(st.text("ab\n", min_size=1, max_size=9), max_size=10))
def test_lines_end_where_newlines_are(pieces: list[str]) -> None:
    async def run() -> None:
        stream, channel = reader(*[piece.encode() for piece in pieces])
        lines = [line async for line in stream]
        assert lines == "".join(pieces).encode().splitlines(keepends=True)
        assert channel.credit == sum(map(len, lines))

    asyncio.run(run())


async def test_a_line_without_end_is_bounded() -> None:
    stream, _ = reader(b"x" * 100, b"y" * 100)
    assert await stream.readline(150) == b"x" * 100 + b"y" * 50
    assert await stream.readline(150) == b"y" * 50


async def test_what_came_before_an_error_can_be_read() -> None:
    stream, _ = reader(b"before", end=False)
    stream._finish(ConnectionLostError("gone"))
    assert await stream.read(100) == b"before"
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            await stream.read(100)


async def test_a_reader_waits_and_only_one_at_a_time() -> None:
    stream, _ = reader(end=False)
    waiting = asyncio.create_task(stream.read(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await stream.read(10)
    stream._feed(b"data")
    assert await waiting == b"data"
    cancelled = asyncio.create_task(stream.read(10))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    stream._finish(None)
    assert await stream.read(10) == b""


async def test_a_process_that_has_not_started_takes_nothing() -> None:
    process = Process("x")
    uses: list[Any] = [lambda: process.stdin.write(b""), process.stdin.write_eof, lambda: process.send_signal("TERM")]
    for use in uses:
        with pytest.raises(ChannelClosedError):
            use()
    process.close()
