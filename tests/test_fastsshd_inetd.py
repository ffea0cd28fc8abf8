"""fastsshd -i on pipes: neither way waits for the other, and nothing outlives the server for long."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fastssh.config.server.evaluate import load
from fastssh.config.values import LogLevel
from fastssh.daemon import inetd
from fastssh.daemon.endings import GRACE_MARGIN, Ending
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import SystemAccounts
from fastssh.daemon.prepare import Prepared

SECONDS = 30.0
MIB = 1 << 20


@dataclass
class Copying:
    """A client's pipes and a server's socket with the copying process between them, here as a thread."""

    to_server: int
    from_server: int
    server: socket.socket
    thread: threading.Thread


@pytest.fixture
def copying() -> Iterator[Copying]:
    source, to_server = os.pipe()
    from_server, sink = os.pipe()
    server, sock = socket.socketpair()
    server.settimeout(SECONDS)
    thread = threading.Thread(target=inetd._relay, args=(source, sink, sock), daemon=True)
    thread.start()
    made = Copying(to_server, from_server, server, thread)
    yield made
    server.close()
    for fd in (to_server, from_server):
        with contextlib.suppress(OSError):
            os.close(fd)
    thread.join(SECONDS)
    for fd in (source, sink):
        os.close(fd)
    sock.close()
    assert not thread.is_alive()


def fill(server: socket.socket) -> int:
    """Sends until nobody takes any more; how much that was."""
    sent = 0
    server.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            sent += server.send(bytes(65536))
    server.settimeout(SECONDS)
    return sent


def test_row12_a_client_that_never_reads_may_still_write(copying: Copying) -> None:
    assert fill(copying.server) > 0
    content = os.urandom(2 * MIB)
    writer = threading.Thread(target=lambda: _write(copying.to_server, content), daemon=True)
    writer.start()
    received = b""
    while len(received) < len(content):
        received += copying.server.recv(MIB)
    assert received == content
    writer.join(SECONDS)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def test_what_waits_arrives_when_the_client_reads(copying: Copying) -> None:
    sent = fill(copying.server)
    received = 0
    while received < sent:
        received += len(os.read(copying.from_server, MIB))
    assert received == sent


def test_the_client_s_end_reaches_the_server_and_the_servers_words_the_client(copying: Copying) -> None:
    os.close(copying.to_server)
    assert copying.server.recv(10) == b""
    copying.server.sendall(b"last words")
    copying.server.close()
    assert os.read(copying.from_server, 100) == b"last words"
    copying.thread.join(SECONDS)
    assert not copying.thread.is_alive()


def test_row12_a_client_that_never_reads_is_not_waited_for(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inetd, "LAST_SECONDS", 0.1)
    fill(copying.server)
    copying.server.close()
    copying.thread.join(SECONDS)
    assert not copying.thread.is_alive()


def test_a_client_that_is_gone_ends_the_server_s_connection(copying: Copying) -> None:
    os.close(copying.from_server)
    with pytest.raises(OSError):
        while copying.server.send(bytes(65536)):
            pass


@pytest.mark.parametrize(("grace", "armed"), [(30, True), (0, False)])
def test_row23_a_login_that_hangs_is_ended_without_a_parent(
    monkeypatch: pytest.MonkeyPatch, grace: int, armed: bool
) -> None:
    left: list[float] = []

    def serve(sock: socket.socket, prepared: Prepared, log: Log, *, logged_in: Callable[[], None]) -> Ending:
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        assert signal.getsignal(signal.SIGALRM) is (signal.SIG_DFL if armed else signal.SIG_IGN)
        logged_in()
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return Ending.LOGGED_IN

    limit, handler = signal.setitimer(signal.ITIMER_REAL, 0), signal.getsignal(signal.SIGALRM)  # the test runner's
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # as whoever started us may have left it
    monkeypatch.setattr(inetd, "serve", serve)
    monkeypatch.setattr(inetd, "install", lambda: None)
    config = load(None, overrides=[f"LoginGraceTime {grace}"])
    one, other = socket.socketpair()
    try:
        with one, other:
            prepared = Prepared(config, (), SystemAccounts(), None)
            assert inetd._serve(one, prepared, Log(LogLevel.QUIET, lambda level, line: None)) == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *limit)
    assert (grace < left[0] <= grace + GRACE_MARGIN if armed else left[0] == 0) and left[1] == 0
