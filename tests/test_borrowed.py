"""Descriptors that others have as well: made fit for a relay, and left as they are."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
from pathlib import Path

import pytest

from fastssh.aio import borrowed
from fastssh.aio.borrowed import Borrowed
from tests.support.watching import open_descriptors, until


@pytest.fixture(params=["opened once more", "by a thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By a thread where a pipe cannot be opened once more: it is another user's, or the system has no /proc."""
    if request.param == "by a thread":
        monkeypatch.setattr(borrowed, "_reopened", lambda shared, **how: -1)
    return str(request.param)


async def test_a_pipe_is_read_to_its_end_and_stays_blocking(way: str) -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    lent = Borrowed(reading, writing=False)
    os.write(writing, b"one")
    assert await lent.read(10) == b"one"
    assert os.get_blocking(reading)
    waiting = asyncio.ensure_future(lent.read(10))
    await asyncio.sleep(0.01)
    os.write(writing, b"two")
    assert await waiting == b"two"
    os.close(writing)
    assert await lent.read(10) == b""
    lent.close()
    lent.close()
    await lent.flushed()
    os.close(reading)
    await until(lambda: open_descriptors() == before, "all descriptors closed")


async def test_what_was_written_reaches_a_pipe_whose_reader_is_slow(way: str) -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    lent = Borrowed(writing, writing=True)
    data = os.urandom(60_000)
    assert os.write(lent.fd, data) == len(data)
    lent.close()
    assert os.get_blocking(writing)
    received = b""
    while len(received) < len(data):
        received += await asyncio.to_thread(os.read, reading, 1000)
    assert received == data
    await lent.flushed()
    os.close(reading)
    os.close(writing)
    await until(lambda: open_descriptors() == before, "all descriptors closed")


async def test_a_reader_that_has_gone_is_noticed(way: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lent = Borrowed(writing, writing=True)

    def broken() -> bool:
        try:
            os.write(lent.fd, b"x")
        except BrokenPipeError:
            return True
        except BlockingIOError:
            pass
        return False

    await until(broken, "EPIPE")
    lent.close()
    await lent.flushed()
    os.close(writing)


async def test_reading_that_is_given_up_leaves_what_comes_later_to_others(way: str) -> None:
    reading, writing = os.pipe()
    lent = Borrowed(reading, writing=False)
    waiting = asyncio.ensure_future(lent.read(10))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait((waiting,))
    lent.close()
    await lent.flushed()
    os.write(writing, b"for others")
    assert os.read(reading, 20) == b"for others"
    os.close(reading)
    os.close(writing)


async def test_a_terminal_a_socket_and_a_file_are_used_and_stay_blocking(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    ours, theirs = socket.socketpair()
    (tmp_path / "file").write_bytes(b"from a file")
    with ours, theirs, (tmp_path / "file").open("rb") as file, open(os.devnull, "rb") as nothing:
        os.write(master, b"typed\n")
        ours.send(b"sent")
        for fd, expected in (
            (slave, b"typed\n"), (theirs.fileno(), b"sent"), (file.fileno(), b"from a file"), (nothing.fileno(), b""),
        ):  # fmt: skip
            lent = Borrowed(fd, writing=False)
            assert await lent.read(100) == expected
            assert os.get_blocking(fd)
            lent.close()
    os.close(master)
    os.close(slave)


async def test_what_is_no_descriptor_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Borrowed(999_999, writing=False)
