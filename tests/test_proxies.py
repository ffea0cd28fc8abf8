"""The way to a server that is not dialled: ProxyCommand, ProxyUseFdpass, ProxyJump."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.options import ClientOptions
from fastssh.config.client import client_options
from fastssh.config.destination import Destination, Jump, read_jump
from fastssh.config.evaluate import load
from fastssh.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionLostError,
    HostKeyUnknownError,
    SSHTimeoutError,
)
from fastssh.wire.messages import ChannelOpen, ChannelOpenFailure, OpenFailureReason
from tests.hostile import server as hostile
from tests.support.peers import Peer, clean_environment
from tests.support.watching import open_descriptors

SECONDS = 30.0

# Joins its standard input and output to a TCP connection, and notes its process id.
NETCAT = """
import os, select, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
open(sys.argv[3], "w").write(str(os.getpid()))
while True:
    for ready in select.select([0, sock], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else sock.recv(65536)
        if not data:
            sys.exit()
        sock.sendall(data) if ready == 0 else os.write(1, data)
"""
PASSING = """
import array, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
out = socket.socket(fileno=1)
out.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))])
"""


def script(tmp_path: Path, text: str, *arguments: object) -> str:
    path = tmp_path / "proxy.py"
    path.write_text(text)
    return shlex.join([sys.executable, str(path), *map(str, arguments)])


def options(peer: Peer, **more: Any) -> ClientOptions:
    return ClientOptions(host=peer.host, **(peer.connect_options() | more))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# -- ProxyCommand ------------------------------------------------------------------------------------------------------


async def test_a_proxy_command_carries_the_connection_and_ends_with_it(sshd: Peer, tmp_path: Path) -> None:
    before = open_descriptors()
    command = script(tmp_path, NETCAT, sshd.host, sshd.port, tmp_path / "pid")
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(options(sshd, proxy_command=command, host_key_alias=None)) as conn:
            assert (await conn.run("echo there", check=True)).stdout == b"there\n"
            pid = int((tmp_path / "pid").read_text())
            assert not gone(pid)
            assert conn.companion_options() is None  # whom the command asks is not known
        assert gone(pid)  # reaped, too
    assert open_descriptors() == before


async def test_a_proxy_command_that_ignores_hangups_is_killed(
    sshd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastssh.aio.proxy.HANGUP_SECONDS", 0.1)
    stubborn = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + NETCAT.replace("sys.exit()", "pass")
    command = script(tmp_path, stubborn, sshd.host, sshd.port, tmp_path / "pid")
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(options(sshd, proxy_command=command)):
            pid = int((tmp_path / "pid").read_text())
        assert gone(pid)


async def test_a_proxy_command_that_fails_is_named_with_its_status(sshd: Peer) -> None:
    with pytest.raises(ConnectionLostError, match="proxy command ended with status 7"):
        await fastssh.connect(options(sshd, proxy_command="sh -c 'exit 7'"))
    with pytest.raises(ConnectionLostError, match=f"proxy command ended by signal {signal.SIGTERM:d}"):
        await fastssh.connect(options(sshd, proxy_command="sh -c 'kill -TERM $$'"))


async def test_a_shell_that_is_not_there_is_named(sshd: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/nowhere/sh")
    with pytest.raises(ConnectionLostError, match="proxy command cannot be started: /nowhere/sh: No such file"):
        await fastssh.connect(options(sshd, proxy_command="true"))


async def test_a_silent_proxy_command_meets_the_deadline_and_is_ended(sshd: Peer, tmp_path: Path) -> None:
    command = f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60'"
    with pytest.raises(SSHTimeoutError, match=r"timed out after 0\.3 s"):
        await fastssh.connect(options(sshd, proxy_command=command, connect_timeout=0.3))
    with pytest.raises(SSHTimeoutError, match=r"timed out after 0\.2 s"):
        await fastssh.connect(options(sshd, proxy_command="sleep 60", proxy_use_fdpass=True, login_timeout=0.2))
    assert gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_connect_leaves_no_proxy_command_behind(sshd: Peer, tmp_path: Path) -> None:
    before = open_descriptors()
    command = f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60'"
    task = asyncio.ensure_future(fastssh.connect(options(sshd, proxy_command=command))._connect())
    async with asyncio.timeout(SECONDS):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(int((tmp_path / "pid").read_text()))
    assert open_descriptors() == before


async def test_a_proxy_command_may_hand_a_socket_over(sshd: Peer, tmp_path: Path) -> None:
    before = open_descriptors()
    command = script(tmp_path, PASSING, sshd.host, sshd.port)
    async with fastssh.connect(options(sshd, proxy_command=command, proxy_use_fdpass=True)) as conn:
        assert (await conn.run("echo there", check=True)).stdout == b"there\n"
    assert open_descriptors() == before


@pytest.mark.parametrize("sent", ["b''", "b'x'", "b'x', [(1, 1, array.array('i', [0, 0]))]",
                                  "b'x', [(1, 1, array.array('i', [open('/dev/null').fileno()]))]"])
async def test_a_proxy_command_that_hands_over_no_socket_is_refused(sshd: Peer, tmp_path: Path, sent: str) -> None:
    before = open_descriptors()
    data, _, ancillary = sent.partition(", ")
    command = script(tmp_path, "import array, socket\n"
                     f"socket.socket(fileno=1).sendmsg([{data}], {ancillary or '[]'})\n")
    with pytest.raises(ConnectionLostError, match="proxy command passed no connection"):
        await fastssh.connect(options(sshd, proxy_command=command, proxy_use_fdpass=True))
    assert open_descriptors() == before


def test_a_dash_is_the_standard_input_if_that_is_a_socket(sshd: Peer) -> None:
    program = (
        "import asyncio, fastssh\n"
        "async def main():\n"
        f"    conn = await fastssh.connect({sshd.host!r}, proxy_command='-', port={sshd.port}, user={sshd.user!r},"
        f" identity_files=[{str(sshd.key)!r}], user_known_hosts=[{str(sshd.known_hosts)!r}])\n"
        "    async with conn: print((await conn.run('echo x')).stdout.decode(), file=__import__('sys').stderr)\n"
        "asyncio.run(main())\n"
    )
    with socket.create_connection((sshd.host, sshd.port)) as sock:
        done = subprocess.run([sys.executable, "-c", program], stdin=sock, stdout=sock, stderr=subprocess.PIPE,
                              timeout=SECONDS)
    assert (done.returncode, done.stderr.strip()) == (0, b"x")
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=SECONDS)
    assert b"needs a socket as standard input and output" in done.stderr


# -- ProxyJump ---------------------------------------------------------------------------------------------------------


async def test_hops_are_chained_and_closed_with_the_connection(sshd: Peer, fastsshd: Peer) -> None:
    before = open_descriptors()
    first = options(fastsshd)
    second = options(sshd, proxy_jump=first)
    data = os.urandom(3_000_000)
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(options(fastsshd, proxy_jump=second)) as conn:
            done = await conn.run("sha256sum", input=data, check=True)
            assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
            assert (await conn.run("head -c 3000000 /dev/zero", check=True)).stdout == bytes(3_000_000)
            companion = conn.companion_options()
            assert companion is not None and companion.proxy_jump is not None
            async with fastssh.connect(companion) as other:
                assert (await other.run("echo x", check=True)).stdout == b"x\n"
        assert open_descriptors() == before


async def test_errors_name_the_hop(sshd: Peer, tmp_path: Path) -> None:
    unknown = options(sshd, user_known_hosts=[tmp_path / "none"], host_key_alias="bastion")
    with pytest.raises(HostKeyUnknownError, match=r"^jump host 127\.0\.0\.1: No .* host key is known for bastion"):
        await fastssh.connect(options(sshd, proxy_jump=unknown))
    with pytest.raises(AuthenticationError, match=r"nobody@127\.0\.0\.1: Permission denied"):
        await fastssh.connect(options(sshd, proxy_jump=options(sshd, user="nobody")))
    with socket.socket() as closed:
        closed.bind((sshd.host, 0))
        port = closed.getsockname()[1]
        with pytest.raises(ConnectionLostError, match=rf"connect to host 127\.0\.0\.1 port {port} from jump host "
                                                      r"127\.0\.0\.1: .*Connection refused"):
            await fastssh.connect(options(sshd, port=port, proxy_jump=options(sshd)))


async def test_a_lost_hop_ends_the_connection_by_name(start_sshd: Any, sshd: Peer) -> None:
    bastion = start_sshd()
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(options(sshd, proxy_jump=options(bastion))) as conn:
            process = await conn.create_process("cat")
            bastion.stop()
            with pytest.raises(ConnectionLostError, match=r"^jump host 127\.0\.0\.1: connection to .*(closed|reset)"):
                await process.communicate()


async def test_a_connection_cancelled_while_its_hop_opens_leaves_nothing(sshd: Peer) -> None:
    before = open_descriptors()
    listener = socket.create_server(("127.0.0.1", 0))  # greets nobody
    with listener:
        silent = options(sshd, port=listener.getsockname()[1], proxy_jump=options(sshd))
        with pytest.raises(SSHTimeoutError):
            await fastssh.connect(replace(silent, connect_timeout=0.3))
    assert open_descriptors() == before


def test_a_hop_that_does_not_answer_meets_the_deadline_and_gets_no_agent(tmp_path: Path) -> None:
    answers: list[int] = []

    def script(peer: hostile.Peer) -> None:
        peer.authenticate()
        assert peer.expect(ChannelOpen).kind == "direct-tcpip"
        peer.send(ChannelOpen("auth-agent@openssh.com", 7, 1 << 20, 32768, b""))
        answers.append(peer.expect(ChannelOpenFailure).reason)

    with hostile.serving(script) as server:
        hop = ClientOptions(
            host="127.0.0.1", port=server.port, user="u", pinned_host_key=server.host_key.public, password="x",
            identity_files=(), agent_socket="none", forward_agent=str(tmp_path / "agent"),
        )  # fmt: skip
        target = ClientOptions(host="target", port=22, user="u", proxy_jump=hop, connect_timeout=0.5)
        with pytest.raises(SSHTimeoutError, match=r"^connect to host target port 22 from jump host 127\.0\.0\.1 timed"):
            asyncio.run(asyncio.wait_for(fastssh.connect(target)._connect(), SECONDS))
    assert answers == [OpenFailureReason.ADMINISTRATIVELY_PROHIBITED.value]


# -- ssh_config --------------------------------------------------------------------------------------------------------


def evaluated(tmp_path: Path, text: str, host: str = "target", *overrides: str) -> ClientOptions:
    path = tmp_path / "config"
    path.write_text(text)
    evaluate = functools.partial(load, file=str(path))
    return client_options(evaluate(host, overrides=overrides), evaluate=evaluate)


def way(found: ClientOptions) -> list[str]:
    """The hops, first first."""
    hops = []
    jump = found.proxy_jump
    while jump is not None:
        hops.insert(0, f"{jump.user}@{jump.host}:{jump.port}")
        jump = jump.proxy_jump
    return hops


def test_each_hop_has_a_configuration_of_its_own(tmp_path: Path) -> None:
    text = (
        "Host target\n ProxyJump ann@a:1,ssh://b,[::1]:3\n"
        "Host a\n HostName a.test\n User other\n"
        "Host b\n User bob\n Port 7\n ProxyJump c\n"  # the hops before it are given: its own is not taken
        "Host *\n User me\n Port 2222\n"
    )
    assert way(evaluated(tmp_path, text)) == ["ann@a.test:1", "bob@b:7", "me@::1:3"]
    assert way(evaluated(tmp_path, text, "b")) == ["me@c:2222"]
    assert way(evaluated(tmp_path, "Host x\nProxyJump y\nHost y\nProxyJump z\nHost *\nUser u\n", "x")) == [
        "u@z:22", "u@y:22",
    ]


def test_of_proxy_command_and_proxy_jump_the_first_one_holds(tmp_path: Path) -> None:
    assert evaluated(tmp_path, "ProxyCommand nc %h %p %r %n %%\nProxyJump x\nUser u\n").proxy_command == (
        "nc target 22 u target %"
    )
    assert way(evaluated(tmp_path, "User u\nHost target\nProxyJump x\nProxyCommand nc %h %p\n")) == ["u@x:22"]
    found = evaluated(tmp_path, "ProxyCommand none\nProxyJump x")
    assert (found.proxy_command, found.proxy_jump) == (None, None)
    assert evaluated(tmp_path, "ProxyJump none\nProxyCommand nc").proxy_command == "nc"  # as ssh has it
    assert evaluated(tmp_path, "ProxyCommand x\nProxyUseFdpass yes\n").proxy_use_fdpass


@pytest.mark.parametrize("text", ["ProxyJump target", "ProxyJump a\nHost a\nProxyJump b\nHost b\nProxyJump a",
                                  "ProxyJump a"])
def test_jumps_in_a_circle_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"jumphost loop via (target|a)"):
        evaluated(tmp_path, f"{text}\n")


@pytest.mark.parametrize("text", ["@", "user@", "[::1", "[::1]x", "a:0", "a:b", "a,,b", ":22", "a:65536"])
def test_what_is_no_jump_host_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config:1: ProxyJump: "):
        evaluated(tmp_path, f"ProxyJump {text}\n")


def test_row20_a_jump_host_is_checked_as_any_host_is(tmp_path: Path) -> None:
    for bad in ("-oProxyCommand=x", "a;b", "$(x)"):
        with pytest.raises(ConfigError, match="not allowed"):
            evaluated(tmp_path, f"Host target\nProxyJump '{bad}'\n")


def test_hops_are_read_one_by_one() -> None:
    assert read_jump(["a"]) == Jump("a", (Destination("a"),))
    assert read_jump(["u@a:2,b # c"]) == Jump("u@a:2,b", (Destination("a", "u", 2), Destination("b")))
    assert read_jump(["u@a:2,b"]).before == "u@a:2"
    assert read_jump(["a,SSH://u%40x;p=1@[fe80::1]:4/"]).hops[1] == Destination("fe80::1", "u@x", 4)
    assert read_jump(["me@dom@a"]).hops == (Destination("a", "me@dom"),)
    assert read_jump(["None"]) == Jump("none", ())


def test_a_copy_goes_over_a_jump_host_of_the_configuration(sshd: Peer, fastsshd: Peer, tmp_path: Path) -> None:
    def block(name: str, peer: Peer, *more: str) -> str:
        lines = [f"HostName {peer.host}"]
        settings = peer.options()[1::2]
        lines += [setting.replace("=", " ", 1) for setting in settings]
        return "\n  ".join([f"Host {name}", *lines, *more]) + "\n"

    config = tmp_path / "config"
    config.write_text(block("bastion", fastsshd) + block("inner", sshd, "ProxyJump bastion"))
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(100_000))
    done = subprocess.run(
        [sys.executable, "-m", "fastssh.cli.scp.command", "-F", config, source, f"inner:{target}"],
        env=clean_environment(tmp_path), capture_output=True, timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes() == source.read_bytes()
