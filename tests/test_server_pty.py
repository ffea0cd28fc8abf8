"""Sessions with a terminal on our server: ssh -tt at a terminal of its own, driven as a person would."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.aio.process import Process
from fastssh.aio.server.program import SessionPolicy
from fastssh.aio.server.pty import open_pty
from fastssh.aio.tty import Terminal, WindowSize
from fastssh.errors import ChannelRequestError, ProtocolError
from fastssh.wire import terminal_modes
from fastssh.wire.requests import Break, ExecRequest, PtyRequest, WindowChange
from tests.support import peers
from tests.support.peers import HOST, Keys
from tests.support.serving_fastssh import FastsshServer, start_fastssh
from tests.support.watching import open_descriptors, until

SECONDS = 20


def at_terminal(server: FastsshServer, *command: str) -> pexpect.spawn:
    arguments = ["-tt", *server.options(), HOST, *command]
    return pexpect.spawn(
        peers.program("ssh", "openssh-client"), arguments, timeout=SECONDS, dimensions=(33, 101), encoding="utf-8",
        env=peers.clean_environment(server.home, TERM="vt220"),
    )  # fmt: skip


async def person(server: FastsshServer, script: Callable[[pexpect.spawn], None], *command: str) -> int:
    """Runs ``script`` at a terminal whose shell is the session; the exit status."""

    def run() -> int:
        child = at_terminal(server, *command)
        try:
            script(child)
            child.expect(pexpect.EOF)
        finally:
            child.close()
        return child.exitstatus if child.exitstatus is not None else -1

    return await asyncio.to_thread(run)


async def test_a_login_shell_has_its_terminal(tmp_path: Path, keys: Keys) -> None:
    def script(child: pexpect.spawn) -> None:
        child.sendline("PS1='> '; echo $0 $TERM $(tty) $SSH_TTY")
        child.expect(r"[\r\n]-bash vt220 (/dev/\S+) (/dev/\S+)\r")
        assert child.match[1] == child.match[2]
        child.sendline("stty size; (: </dev/tty) && echo controlling")
        child.expect(r"[\r\n]33 101\r\ncontrolling\r")
        child.setwinsize(50, 120)
        child.sendline("sleep 0.3; stty size")
        child.expect(r"[\r\n]50 120\r")
        child.sendline("echo begins; sleep 1000")
        child.expect(r"[\r\n]begins\r")
        time.sleep(0.2)  # for bash to make sleep the terminal's foreground
        child.sendintr()
        child.sendline("echo $?")
        child.expect(r"[\r\n]130\r")
        child.sendline("exit 12")

    async with start_fastssh(tmp_path, keys, shell="/bin/bash") as server:
        before = open_descriptors()
        assert await person(server, script) == 12
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_the_clients_modes_are_the_terminals(tmp_path: Path, keys: Keys) -> None:
    def script(child: pexpect.spawn) -> None:
        child.expect(pexpect.EOF)
        assert re.search(r"intr = \^X;", child.before)
        assert re.search(r"(^| )-echoe ", child.before)
        assert re.search(r"[^-]iutf8", child.before)

    async with start_fastssh(tmp_path, keys) as server:

        def run() -> None:
            env = peers.clean_environment(server.home)
            child = pexpect.spawn("/bin/sh", timeout=SECONDS, encoding="utf-8", env=env)
            child.sendline("stty intr ^X -echoe iutf8")
            words = [peers.program("ssh", "openssh-client"), "-tt", *server.options(), HOST, "stty -a"]
            child.sendline(f"exec {' '.join(words[:-1])} '{words[-1]}'")
            script(child)
            child.close()

        await asyncio.to_thread(run)


async def test_a_client_that_goes_hangs_the_terminal_up(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        before, children = open_descriptors(), set(peers.children(os.getpid()))

        def run() -> None:
            child = at_terminal(server, "trap 'echo hung up >told; exit' HUP; echo ready; while :; do sleep 0.1; done")
            child.expect("ready")
            child.kill(signal.SIGKILL)
            child.close(force=True)

        await asyncio.to_thread(run)
        told = server.home / "told"
        await until(lambda: told.exists() and told.read_text() == "hung up\n", "SIGHUP")
        await until(lambda: set(peers.children(os.getpid())) <= children, "the end of the shell")
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_a_background_process_does_not_hold_a_terminals_end_up(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        assert await person(server, lambda child: None, "sleep 30 & exit 3") == 3


PTY = PtyRequest(b"xterm", 80, 24, 0, 0, b"\0")


async def test_requests_for_terminals_in_their_order_and_no_other(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        process = Process("x")
        channel = await connection.open_session_channel(process)
        process.attach(channel)

        async def refused(name: str, data: bytes) -> None:
            with pytest.raises(ChannelRequestError):
                await connection.channel_request(channel, name, data)

        await refused("window-change", WindowChange(1, 1, 1, 1).body())  # of no terminal
        await refused("break", Break(500).body())
        for term in (b"a\0b", b"x" * 300):
            await refused("pty-req", PtyRequest(term, 80, 24, 0, 0, b"").body())
        await connection.channel_request(channel, "pty-req", PTY.body())
        await refused("pty-req", PTY.body())  # a second one
        await connection.channel_request(channel, "window-change", WindowChange(2**32 - 1, 7, 0, 0).body())
        await connection.channel_request(channel, "exec", ExecRequest(b"stty size; read line; stty size").body())
        assert await process.stdout.readline() == b"7 65535\r\n"
        await refused("pty-req", PTY.body())
        await connection.channel_request(channel, "window-change", WindowChange(9, 8, 0, 0).body())
        await connection.channel_request(channel, "break", Break(500).body())
        process.stdin.write(b"\n")
        assert b"8 9\r\n" in await process.stdout.read()
        assert await process.wait() == 0


async def test_a_policy_may_permit_no_terminal(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, policy=SessionPolicy(permit_pty=False)) as server:
        done = await server.run("ssh", "-tt", HOST, "tty")
        assert b"PTY allocation request failed" in done.stderr
        assert (await server.ssh("tty; exit 4")).stdout == b"not a tty\n"


@pytest.mark.parametrize("data", [PTY.body()[:-1], PTY.body() + b"\0", PtyRequest(b"x", 1, 1, 0, 0, b"\x01\0").body()])
async def test_row26_a_malformed_terminal_ends_that_connection_and_no_other(
    tmp_path: Path, keys: Keys, data: bytes
) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        channel = await bad.open_session_channel(Process("x"))
        with pytest.raises(Exception, match=r"PtyRequest|message truncated"):
            await bad.channel_request(channel, "pty-req", data)
        assert (await good.run("echo alive")).stdout == b"alive\n"
        assert any("truncated" in line or "superfluous" in line for line in server.log)


# --- modes by themselves ------------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(1, terminal_modes.FIRST_UNDEFINED - 1), st.integers(0, 2**32 - 1)))
def test_modes_are_read_as_they_were_written(values: dict[int, int]) -> None:
    assert terminal_modes.parse(terminal_modes.encode(values)) == values


@given(st.binary(max_size=60))
def test_row07_any_bytes_are_modes_or_a_protocol_error(data: bytes) -> None:
    try:
        values = terminal_modes.parse(data)
    except ProtocolError:
        return
    assert len(values) <= len(data) // 5


def test_modes_end_where_their_lengths_are_unknown_and_are_bounded() -> None:
    assert terminal_modes.parse(b"\x01\0\0\0\x07" + b"\xa0rest") == {1: 7}
    assert terminal_modes.parse(b"\x01\0\0\0\x07") == {1: 7}  # without END, as some clients send it
    assert terminal_modes.parse(b"") == {}
    with pytest.raises(ProtocolError, match="terminal modes"):
        terminal_modes.parse(bytes(terminal_modes.MAX_BYTES + 1))


@given(st.dictionaries(st.integers(1, 255), st.integers(0, 2**32 - 1)))
def test_whatever_the_values_are_a_terminal_takes_them(values: dict[int, int]) -> None:
    pty = open_pty(Terminal("x", WindowSize(80, 24), values), os.getuid())
    os.close(pty.master)
    os.close(pty.slave)


def test_modes_are_set_by_the_table() -> None:
    values = {1: 24, 2: 255, 53: 0, 50: 1, 36: 0, 42: 1, 72: 1, 90: 1, 91: 0, 128: 9600, 129: 38400, 11: 3, 250: 1}
    pty = open_pty(Terminal("x", WindowSize(80, 24), values), os.getuid())
    try:
        flags = termios.tcgetattr(pty.slave)
        assert (flags[6][termios.VINTR], flags[6][termios.VQUIT]) == (b"\x18", b"\0")
        assert not flags[3] & termios.ECHO and flags[3] & termios.ISIG
        assert not flags[0] & termios.ICRNL and flags[0] & 0x4000
        assert flags[1] & termios.ONLCR
        assert flags[2] & termios.CSIZE in (termios.CS7, termios.CS8)  # Linux's ptys have eight bits in any case
        assert (flags[4], flags[5]) in ((termios.B9600, termios.B38400), (termios.B38400, termios.B38400))
        assert os.fstat(pty.slave).st_uid == os.getuid()
        assert os.fstat(pty.slave).st_mode & 0o777 in (0o620, 0o600)
    finally:
        os.close(pty.master)
        os.close(pty.slave)
