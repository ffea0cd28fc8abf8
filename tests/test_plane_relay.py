"""The plane's descriptor relay as Python sees it; csrc/tests/test_plane_relay.c has what moves and how it ends."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fastssh._native import plane as native
from fastssh._native.plane import Plane
from tests.support.planes import joined

SECONDS = 30.0
MIB = 1 << 20


class Pipes:
    """Non-blocking pipes, closed at the end at the latest."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def new(self) -> tuple[int, int]:
        ends = os.pipe()
        for fd in ends:
            os.set_blocking(fd, False)
        self._open.update(ends)
        return ends

    def close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def close_all(self) -> None:
        for fd in list(self._open):
            self.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close_all()


def test_bytes_go_from_descriptor_to_descriptor_and_ends_are_events(pipes: Pipes) -> None:
    client, server = joined()
    out, giving = pipes.new()
    err, complaining = pipes.new()
    found, sink = pipes.new()
    found_err, sink_err = pipes.new()
    server.relay_attach(7, source=out, source_stderr=err)
    client.relay_attach(0, sink=sink, sink_stderr=sink_err)
    os.write(giving, b"words")
    os.write(complaining, b"complaints")
    client.feed(server.take())
    client.take()
    assert client.events() == server.events() == []
    assert (os.read(found, 100), os.read(found_err, 100)) == (b"words", b"complaints")
    pipes.close(giving)
    server.relay_ready(7, native.RELAY_SOURCE)
    assert server.take() == b""
    assert server.events() == [(native.EVENT_RELAY, 7, native.RELAY_SOURCE, 0)]
    server.channel_eof(7)
    client.feed(server.take())
    client.take()
    ended = [event for event in client.events() if event[0] == native.EVENT_RELAY]
    assert ended == [(native.EVENT_RELAY, 0, end, 0) for end in (native.RELAY_SINK, native.RELAY_SINK_STDERR)]


def test_a_broken_sink_is_told_with_its_errno(pipes: Pipes) -> None:
    client, server = joined()
    found, sink = pipes.new()
    server.relay_attach(7, sink=sink)
    pipes.close(found)
    client.channel_write(0, b"words")
    server.feed(client.take())
    assert server.events() == [(native.EVENT_RELAY, 7, native.RELAY_SINK, errno.EPIPE)]


def test_what_is_to_be_watched_is_said_once(pipes: Pipes) -> None:
    _, server = joined()
    source, _ = pipes.new()
    server.relay_attach(7, source=source)
    assert server.relay_waits(True) == []
    server.take()
    assert server.relay_waits(True) == [(native.EVENT_RELAY_WAITS, 7, native.RELAY_SOURCE)]
    assert server.relay_waits(True) == []
    assert server.relay_waits(False) == [(native.EVENT_RELAY_WAITS, 7, 0)]
    server.relay_release(7, native.RELAY_SOURCE)
    assert server.relay_waits(True) == []


def test_what_a_sink_did_not_take_can_be_seen(pipes: Pipes) -> None:
    client, server = joined()
    found, sink = pipes.new()
    filled = 0
    while True:
        try:
            filled += os.write(sink, bytes(4096))
        except BlockingIOError:
            break
    server.relay_attach(7, sink=sink)
    client.channel_write(0, b"words")
    server.feed(client.take())
    assert (server.relay_kept(7), server.relay_pending(7), server.relay_kept(7, 1)) == (b"words", 5, b"")
    os.read(found, filled)
    server.relay_ready(7, native.RELAY_SINK)
    server.take()
    assert (server.relay_kept(7), os.read(found, 100)) == (b"", b"words")


def test_mistakes_of_the_caller_are_value_errors() -> None:
    client, server = joined()
    server.relay_attach(7)
    for wrong in (
        lambda: server.relay_attach(7), lambda: server.relay_attach(3), lambda: client.relay_feed(0, b"x"),
        lambda: server.relay_feed(7, b"never came"), lambda: client.relay_ready(0, 1), lambda: server.relay_kept(7, 2),
        lambda: client.relay_release(0, 1), lambda: client.relay_pending(0),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            wrong()
    client.sftp_attach(0)
    with pytest.raises(ValueError):
        client.relay_attach(0)


def test_the_native_wait_watches_descriptors_as_well(pipes: Pipes) -> None:
    """Planes at both ends of a socket; a thread each for what goes in and what comes out. Only the end is told."""
    client, server = joined()
    near, far = socket.socketpair()
    for sock in (near, far):
        sock.setblocking(False)
    source, giving = pipes.new()
    found, sink = pipes.new()
    for fd in (giving, found):
        os.set_blocking(fd, True)
    content = os.urandom(8 * MIB)
    got = bytearray()
    client.relay_attach(0, source=source)
    server.relay_attach(7, sink=sink)

    def give() -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(giving, view) :]
        pipes.close(giving)

    def take() -> None:
        while len(got) < len(content):
            got.extend(os.read(found, 65536))

    threads = [threading.Thread(target=work, daemon=True) for work in (give, take)]
    for thread in threads:
        thread.start()
    planes, fds = [client, server], [near.fileno(), far.fileno()]
    flags = [plane.step(fd, False) for plane, fd in zip(planes, fds, strict=True)]
    assert all(plane.content(each) for plane, each in zip(planes, flags, strict=True))
    while not flags[0] & native.STEP_EVENTS:
        results = native.linger(planes, fds, flags, -1, SECONDS)
        flags = [result for result in results if isinstance(result, int)]
        assert len(flags) == 2
    assert client.events() == [(native.EVENT_RELAY, 0, native.RELAY_SOURCE, 0)]
    client.channel_eof(0)
    flags[0] = client.step(near.fileno(), True)
    while not any(event[0] == native.EVENT_RELAY for event in server.events()):
        flags[1] = native.linger([server], [far.fileno()], [flags[1]], -1, SECONDS)[0]  # type: ignore[call-overload]
    for thread in threads:
        thread.join(SECONDS)
    assert bytes(got) == content
    near.close()
    far.close()


def test_a_plane_that_waits_for_very_many_descriptors_is_the_loops(pipes: Pipes) -> None:
    plane = Plane()
    for number in range(65):
        assert plane.content(0) == (number > 0)
        plane.channel_add(number, 1000, 1000)
        plane.send(bytes((91, *bytes(3), number)) + bytes(12))
        plane.channel_confirm(number, number, 1000, 1000)
        plane.relay_attach(number, source=pipes.new()[0])
        plane.take()
    assert not plane.content(0)
    assert len(plane.relay_waits(True)) == 65


def test_a_relay_without_end_does_not_keep_the_native_wait(pipes: Pipes) -> None:
    """Python has to look for signals now and then."""
    client, server = joined()
    near, far = socket.socketpair()
    for sock in (near, far):
        sock.setblocking(False)
    source, giving = pipes.new()
    os.set_blocking(giving, True)
    client.relay_attach(0, source=source)
    server.relay_attach(7)  # what arrives is dropped
    over = threading.Event()

    def give() -> None:
        while not over.is_set():
            os.write(giving, bytes(65536))

    thread = threading.Thread(target=give, daemon=True)
    thread.start()
    planes, fds = [client, server], [near.fileno(), far.fileno()]
    flags = [plane.step(fd, False) for plane, fd in zip(planes, fds, strict=True)]
    begun = time.monotonic()
    native.linger(planes, fds, flags, -1, 60.0)
    assert time.monotonic() - begun < SECONDS  # and not 60
    over.set()
    os.set_blocking(source, False)
    while thread.is_alive():
        try:
            os.read(source, 1 << 20)
        except BlockingIOError:
            thread.join(0.01)
    near.close()
    far.close()
