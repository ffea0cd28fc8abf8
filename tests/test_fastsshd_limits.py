"""What fastsshd bears before anybody has logged in: floods, slow clients, and clients that misbehave."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.config.server.limits import MaxStartups, NetBlock, Overflow, Penalties
from fastssh.daemon.endings import Ending, ending_of
from fastssh.daemon.penalties import SourcePenalties
from fastssh.daemon.startups import over_limit, refused_percent
from tests.support import openssh
from tests.support.fastsshd import Start, logged
from tests.support.peers import HOST, Peer, wait_for

SECONDS = 20.0


def half_open(peer: Peer) -> socket.socket:
    return socket.create_connection((HOST, peer.port), timeout=SECONDS)


@contextlib.contextmanager
def flood(peer: Peer, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, once the one that waited for the server's start is over."""
    wait_for(lambda: not peer.sessions(), "earlier connections to end")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(half_open(peer)) for _ in range(count)]


def greeting(sock: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(256)
    return b""


# --- MaxStartups ------------------------------------------------------------------------------------------------------


def test_row23_a_good_login_succeeds_amid_half_open_connections(start_fastsshd: Start) -> None:
    peer = start_fastsshd(MaxStartups="60:30:100", PerSourceMaxStartups="50")
    with flood(peer, 40) as sockets:
        assert all(greeting(sock).startswith(b"SSH-2.0-") for sock in sockets)
        began = time.monotonic()
        assert openssh.ssh(peer, "true").returncode == 0
        assert time.monotonic() - began < 2.0
    wait_for(lambda: openssh.ssh(peer, "true").returncode == 0, "the server after the flood")


def test_row23_beyond_max_startups_nobody_costs_a_process(start_fastsshd: Start) -> None:
    peer = start_fastsshd(MaxStartups="5")
    with flood(peer, 25) as sockets:
        said = [greeting(sock) for sock in sockets]
        assert sum(word.startswith(b"SSH-2.0-") for word in said) == 5
        assert sum(word == b"Exceeded MaxStartups\r\n" for word in said) == 20
        assert len(peer.sessions()) == 5
    logged(peer, "error: beginning MaxStartups throttling")
    logged(peer, r"drop connection #5 from \[127\.0\.0\.1\]:\d+ on \[127\.0\.0\.1\] past MaxStartups")
    wait_for(lambda: openssh.ssh(peer, "true").returncode == 0, "the server after the flood")


def test_row23_who_has_logged_in_no_longer_counts(start_fastsshd: Start) -> None:
    peer = start_fastsshd(MaxStartups="2", LoginGraceTime="30")
    running = []
    try:
        for number in range(1, 5):
            thread = threading.Thread(target=openssh.ssh, args=(peer, "sleep 3"))
            thread.start()
            running.append(thread)
            wait_for(lambda number=number: peer.log_tail().count("Accepted publickey") == number, "the login")
    finally:
        for thread in running:
            thread.join()


def test_row23_one_source_has_a_limit_of_its_own(start_fastsshd: Start) -> None:
    peer = start_fastsshd(PerSourceMaxStartups="3")
    with flood(peer, 6) as sockets:
        assert sum(greeting(sock).startswith(b"SSH-2.0-") for sock in sockets) == 3
    logged(peer, "past PerSourceMaxStartups")


@given(st.integers(0, 200), st.integers(1, 100), st.integers(1, 100), st.integers(0, 100))
def test_the_chance_to_be_dropped_grows_from_rate_to_certainty(waiting: int, start: int, rate: int, more: int) -> None:
    limit = MaxStartups(start, rate, start + more)
    chance = refused_percent(waiting, limit)
    assert 0 <= chance <= 100
    assert (chance == 0) == (waiting < start)
    assert chance <= refused_percent(waiting + 1, limit)
    if waiting >= limit.full:
        assert chance == 100
    elif waiting == start:
        assert chance == rate


def test_a_source_at_its_limit_is_dropped_before_chance_is_asked() -> None:
    limit = MaxStartups(10, 30, 100)
    assert over_limit(3, 3, limit, 3, 0) == "PerSourceMaxStartups"
    assert over_limit(3, 2, limit, 3, 0) is None
    assert over_limit(10, 0, limit, None, 29) == "MaxStartups"
    assert over_limit(10, 0, limit, None, 30) is None


# --- slow clients -------------------------------------------------------------------------------------------------


def test_row23_a_client_of_one_byte_a_second_is_gone_after_the_grace_time(start_fastsshd: Start) -> None:
    peer = start_fastsshd(LoginGraceTime="3")
    with half_open(peer) as sock:
        began = time.monotonic()
        sock.settimeout(1.0)
        line = iter(b"SSH-2.0-" + b"x" * 100)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                sock.send(bytes((next(line),)))
                with contextlib.suppress(TimeoutError):
                    while data := sock.recv(4096):
                        assert data
                    break
        assert 2.5 < time.monotonic() - began < 6
    logged(peer, r"Timeout before authentication for 127\.0\.0\.1 port \d+\n")
    wait_for(lambda: not peer.sessions(), "the end of its process")


def test_row23_the_parent_ends_a_process_that_does_not_end_itself(start_fastsshd: Start) -> None:
    peer = start_fastsshd(LoginGraceTime="1")
    with half_open(peer) as sock:
        greeting(sock)
        wait_for(lambda: len(peer.sessions()) == 1, "its process")
        os.kill(peer.sessions()[0], signal.SIGSTOP)
        wait_for(lambda: not peer.sessions(), "its end", 10)
    logged(peer, "did not end after LoginGraceTime: killed")


@pytest.mark.parametrize(
    "words", [b"GET / HTTP/1.0\r\n\r\n", b"SSH-1.5-old\r\n", b"SSH-2.0-x\r\n" + b"\xff" * 64, b"\0" * 4096]
)
def test_row26_what_is_no_ssh_ends_its_own_connection_alone(fastsshd: Peer, words: bytes) -> None:
    with half_open(fastsshd) as sock:
        sock.sendall(words)
        with contextlib.suppress(ConnectionError):
            while sock.recv(4096):
                pass
    assert fastsshd.process.poll() is None
    assert openssh.ssh(fastsshd, "true").returncode == 0
    assert "internal error" not in fastsshd.log_tail() and "Traceback" not in fastsshd.log_tail()


# --- penalties ----------------------------------------------------------------------------------------------------


def test_row23_a_source_whose_logins_fail_is_refused_for_a_while(start_fastsshd: Start) -> None:
    peer = start_fastsshd(PerSourcePenalties="authfail:2 min:3 max:4")
    stranger = replace(peer, key=peer.keys.host("ed25519"))
    for _ in range(2):
        assert openssh.ssh(stranger, "true").returncode == 255
    logged(peer, r"new 127\.0\.0\.1/32 penalty of \d seconds for penalty: failed authentication")
    with half_open(peer) as sock:
        assert greeting(sock) == b"Not allowed at this time\r\n"
    logged(peer, r"drop connection from \[127\.0\.0\.1\]:\d+ on \[127\.0\.0\.1\] penalty: failed authentication")
    wait_for(lambda: openssh.ssh(peer, "true").returncode == 0, "the end of the penalty", SECONDS)


def test_row23_exempt_sources_are_never_refused(start_fastsshd: Start) -> None:
    peer = start_fastsshd(PerSourcePenalties="authfail:100 noauth:100 min:1", PerSourcePenaltyExemptList="127.0.0.0/8")
    stranger = replace(peer, key=peer.keys.host("ed25519"))
    assert openssh.ssh(stranger, "true").returncode == 255
    assert openssh.ssh(peer, "true").returncode == 0


def test_row23_penalties_are_on_by_default() -> None:
    table = SourcePenalties(Penalties(), NetBlock(32, 128))
    now = 1000.0
    for _ in range(2):
        assert table.add("192.0.2.1", Ending.AUTH_FAILED, now) is None
        assert table.refused("192.0.2.1", now) is None
    assert table.add("192.0.2.1", Ending.AUTH_FAILED, now) == (
        "new 192.0.2.1/32 penalty of 15 seconds for penalty: failed authentication"
    )
    assert table.refused("192.0.2.1", now + 14.9) == "failed authentication"
    assert table.refused("192.0.2.2", now) is None
    assert table.refused("192.0.2.1", now + 15) is None


def test_a_crash_is_refused_at_once_and_a_login_never() -> None:
    table = SourcePenalties(Penalties(), NetBlock(24, 64))
    assert table.add("2001:db8::1", Ending.CRASH, 0) is not None
    assert table.refused("2001:db8::ffff", 89) == "caused crash"
    assert table.refused("2001:db8:1::1", 0) is None
    for _ in range(100):
        assert table.add("192.0.2.1", Ending.LOGGED_IN, 0) is None
    assert table.refused("192.0.2.1", 0) is None


@given(st.lists(st.tuples(st.sampled_from(list(Ending)), st.floats(0, 50)), max_size=40))
def test_a_penalty_never_lasts_longer_than_the_maximum(events: list[tuple[Ending, float]]) -> None:
    limits = Penalties(max=60)
    table, now = SourcePenalties(limits, NetBlock(32, 128)), 0.0
    for ending, pause in events:
        now += pause
        table.add("192.0.2.1", ending, now)
    assert table.refused("192.0.2.1", now + limits.max) is None


@pytest.mark.parametrize("overflow", list(Overflow))
def test_row23_sources_cost_only_so_much_memory(overflow: Overflow) -> None:
    limits = Penalties(max_sources4=3, max_sources6=3, overflow=overflow, overflow6=overflow)
    table = SourcePenalties(limits, NetBlock(32, 128))
    for number in range(10):
        table.add(f"192.0.2.{number}", Ending.CRASH, 0)
    refused = [number for number in range(10) if table.refused(f"192.0.2.{number}", 1)]
    assert refused == ([7, 8, 9] if overflow is Overflow.PERMISSIVE else list(range(10)))
    assert not any(table.refused(f"192.0.2.{number}", 91) for number in range(10))
    assert table.refused("2001:db8::1", 1) is None


def test_no_address_has_no_penalty() -> None:
    table = SourcePenalties(Penalties(), NetBlock(32, 128))
    assert table.add("", Ending.CRASH, 0) is None
    assert table.refused("", 0) is None


def test_the_end_of_a_process_is_read_from_its_status() -> None:
    for status, ending in (
        (0, Ending.LOGGED_IN), (5 << 8, Ending.AUTH_FAILED), (99 << 8, Ending.CRASH), (signal.SIGSEGV, Ending.CRASH),
        (signal.SIGABRT | 0x80, Ending.CRASH), (signal.SIGTERM, Ending.FAILED), (signal.SIGKILL, Ending.FAILED),
    ):  # fmt: skip
        assert ending_of(status) is ending


def test_row26_a_crash_costs_one_connection(start_fastsshd: Start) -> None:
    peer = start_fastsshd(PerSourcePenalties="crash:2 min:1 noauth:0")
    with half_open(peer) as sock:
        greeting(sock)
        wait_for(lambda: len(peer.sessions()) == 1, "its process")
        os.kill(peer.sessions()[0], signal.SIGSEGV)
        assert greeting(sock) == b""
    logged(peer, r"Connection process \d+ ended by SIGSEGV")
    logged(peer, "penalty of 2 seconds for penalty: caused crash")
    assert re.search(r"Server listening", peer.log_tail())
    wait_for(lambda: openssh.ssh(peer, "true").returncode == 0, "the end of the penalty", SECONDS)


def test_row26_no_end_of_a_session_ends_the_server_or_is_anybody_elses(start_fastsshd: Start) -> None:
    """The process of a connection is its user's, who may send it signals that have no name."""
    peer = start_fastsshd(PerSourcePenalties="crash:90")
    for number in (35, 11):
        assert openssh.ssh(peer, f"kill -{number} $PPID").returncode == 255
        logged(peer, f"ended by {'signal 35' if number == 35 else 'SIGSEGV'}")
        assert openssh.ssh(peer, "true").returncode == 0
