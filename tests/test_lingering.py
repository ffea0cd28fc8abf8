"""LingeringSelector: connections served natively while they only move bytes, in a loop that misses nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh._native import plane as native
from fastssh._native.plane import Plane
from fastssh.aio import lingering
from fastssh.aio.lingering import LingeringSelector, selector_of
from fastssh.errors import ConnectionLostError, ProtocolError, SSHError
from tests.support.copying import MIB, random_file, sha256
from tests.support.peers import Peer
from tests.support.planes import SFTPServer, joined

SECONDS = 60.0

# --- the native call --------------------------------------------------------------------------------------------------


class Wire:
    """A client's plane with an upload under way, whose socket leads to a server that answers when it is asked to."""

    def __init__(self, path: Path, size: int = MIB) -> None:
        self.client, self.server = joined()
        self.sftp = SFTPServer(self.server)
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
        self.content = os.urandom(size)
        path.write_bytes(self.content)
        self.source = os.open(path, os.O_RDONLY)
        self.client.sftp_attach(0)
        self.transfer = self.client.sftp_put(0, b"handle", self.source, offset=0, size=size, chunk=30_000)
        self.flags = self.client.step(self.ours.fileno(), False)

    def answer(self) -> None:
        """The server handles what it got."""
        with contextlib.suppress(BlockingIOError):
            while data := self.theirs.recv(64 * 1024):
                assert self.server.feed(data) == len(data)
                self.sftp.turn()
        if out := self.server.take():
            assert self.theirs.send(out) == len(out)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        os.close(self.source)


@pytest.fixture
def wires(tmp_path: Path) -> Iterator[list[Wire]]:
    made = [Wire(tmp_path / "first"), Wire(tmp_path / "second")]
    yield made
    for wire in made:
        wire.close()


def linger(wires: list[Wire], wakeup: int = -1, seconds: float = 0.2) -> list[int | Exception]:
    results = native.linger(
        [wire.client for wire in wires], [wire.ours.fileno() for wire in wires], [wire.flags for wire in wires],
        wakeup, seconds,
    )  # fmt: skip
    for wire, result in zip(wires, results, strict=True):
        if isinstance(result, int):
            wire.flags = result
    return results


def test_several_planes_go_on_in_one_call_until_one_has_something_to_tell(wires: list[Wire]) -> None:
    for _ in range(1000):
        for wire in wires:
            wire.answer()
        results = linger(wires, seconds=0.01)
        ended = [wire for wire, flags in zip(wires, results, strict=True) if flags & native.STEP_EVENTS]  # type: ignore[operator]
        if ended:
            break
    assert ended and [event[0] for event in ended[0].client.events()] == [native.EVENT_TRANSFER]
    assert ended[0].sftp.content == ended[0].content
    assert not ended[0].client.content(0)


def test_a_readable_wakeup_ends_the_call_at_once(wires: list[Wire]) -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"!")
        begun = time.monotonic()
        assert all(wire.client.content(flags) for wire, flags in zip(wires, linger(wires, read, 0.5), strict=True))  # type: ignore[arg-type]
        assert time.monotonic() - begun < 0.4
    finally:
        os.close(read)
        os.close(write)


def test_a_fault_of_one_leaves_the_others_content(wires: list[Wire]) -> None:
    wires[0].theirs.send(b"\xff" * 64)
    failed, other = linger(wires)
    assert isinstance(failed, ProtocolError)
    assert isinstance(other, int) and wires[1].client.content(other)
    with pytest.raises(ProtocolError):
        wires[0].client.step(wires[0].ours.fileno(), False)


def test_the_end_of_a_stream_is_told(wires: list[Wire]) -> None:
    wires[0].answer()
    wires[0].theirs.shutdown(socket.SHUT_WR)
    results = linger(wires)
    assert results[0] & native.STEP_EOF  # type: ignore[operator]


def test_a_rekey_that_is_due_ends_the_call(wires: list[Wire]) -> None:
    assert wires[0].client.content(wires[0].flags)
    wires[0].client.set_rekey_bytes(1000)
    assert not wires[0].client.content(wires[0].flags)


def test_planes_that_do_not_fit_their_descriptors_are_refused() -> None:
    plane = Plane()
    for arguments in (([plane, plane], [0, 1], [0, 0]), ([plane], [], [0]), ([plane] * 65, [0] * 65, [0] * 65)):
        with pytest.raises(ValueError):
            native.linger(*arguments, -1, 0.0)


# --- in an event loop ---------------------------------------------------------------------------------------------


def run(work: Callable[[LingeringSelector], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        selector = selector_of(asyncio.get_running_loop())
        assert selector is not None
        await asyncio.wait_for(work(selector), SECONDS)

    lingering.run(main())


def test_a_loop_that_nobody_has_is_gone() -> None:
    async def wait_with_a_reader() -> None:
        ours, theirs = socket.socketpair()
        asyncio.get_running_loop().add_reader(ours, theirs.close)

    loop = lingering.new_event_loop()
    loop.run_until_complete(wait_with_a_reader())
    gone = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed"):  # as a program deserves that does not close it
        del loop
        gc.collect()
    assert gone() is None


def test_the_last_run_of_a_process_cancels_what_is_left() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def main() -> int:
        tasks.append(asyncio.ensure_future(forever()))
        await asyncio.sleep(0)
        return 7

    tasks: list[asyncio.Future[None]] = []
    assert lingering.run_last(main()) == 7
    assert ended == ["cancelled"] and tasks[0].cancelled()
    tasks.clear()
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()


async def test_other_loops_have_no_such_selector() -> None:
    assert selector_of(asyncio.get_running_loop()) is None


@pytest.mark.parametrize("direction", ["up", "down"])
def test_several_connections_copy_at_once_and_other_tasks_go_on(server: Peer, tmp_path: Path, direction: str) -> None:
    source = random_file(tmp_path / "source", 40 * MIB + 3)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            while True:  # a timer, and a descriptor that has nothing to do with SSH
                await asyncio.sleep(0.001)
                theirs.send(b".")
                await asyncio.get_running_loop().sock_recv(ours, 1)
                ticks += 1

    async def work(selector: LingeringSelector) -> None:
        ticking = asyncio.create_task(tick())
        async with contextlib.AsyncExitStack() as stack:
            jobs: list[Awaitable[int]] = []
            for number in range(3):
                connection = await stack.enter_async_context(fastssh.connect(server.host, **server.connect_options()))
                sftp = await stack.enter_async_context(await connection.sftp())
                copy = sftp.put_file if direction == "up" else sftp.get_file
                jobs.append(copy(source, tmp_path / f"target{number}"))
            before = ticks
            await asyncio.gather(*jobs)
            assert ticks > before + 3
            assert (await connection.run("echo done")).stdout == b"done\n"
            assert not selector._drivers
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking

    run(work)
    assert {sha256(tmp_path / f"target{number}") for number in range(3)} == {sha256(source)}


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that takes far longer to copy than any of these tests."""
    path = tmp_path / "endless"
    with open(path, "wb") as file:
        file.truncate(1 << 36)
    return path


def test_a_lost_connection_is_heard_of_while_it_is_served_natively(server: Peer, endless: Path) -> None:
    async def work(selector: LingeringSelector) -> None:
        async with (
            fastssh.connect(server.host, **server.connect_options()) as connection,
            await connection.sftp() as sftp,
        ):
            copying = asyncio.create_task(sftp.get_file(endless, os.devnull))
            while not selector._drivers:
                await asyncio.sleep(0.01)
            connection._driver._sock.shutdown(socket.SHUT_RDWR)
            with pytest.raises(SSHError):
                await copying
            assert isinstance(connection.error, ConnectionLostError)
            assert not selector._drivers

    run(work)


def test_a_signal_is_heard_of_at_once(server: Peer, endless: Path) -> None:
    async def work(selector: LingeringSelector) -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        async with (
            fastssh.connect(server.host, **server.connect_options()) as connection,
            await connection.sftp() as sftp,
        ):
            copying = asyncio.create_task(sftp.get_file(endless, os.devnull))
            while not selector._drivers:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR1)
            await heard.wait()
            copying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await copying
            assert connection.error is None

    run(work)
