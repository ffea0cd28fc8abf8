"""Large files over several channels and connections against a stock sshd, and fastssh-scp that opens them by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import fastssh
from fastssh.aio.client import ClientConnection
from fastssh.aio.copy import CopyOptions, download, upload
from fastssh.aio.sftp import SFTPClient
from fastssh.errors import ChannelOpenError, HostKeyChangedError, SSHError
from fastssh.keys.private import load_private_key
from fastssh.sftp.stripes import SEGMENT, STRIPED
from tests.conftest import SshdFactory
from tests.support.copying import FASTSSH_SCP, MIB, random_file, sha256
from tests.support.peers import PASSWORD, Keys, Peer, clean_environment, sftp_server, wait_for

SECONDS = 60.0
SIZE = STRIPED + 3 * SEGMENT + 12_345
CLI_SIZE = 100 * MIB + 1  # above what fastssh-scp finds worth a connection
both = pytest.mark.parametrize("direction", ["up", "down"])


@pytest_asyncio.fixture
async def connection(sshd: Peer) -> AsyncIterator[ClientConnection]:
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as connection:
        yield connection


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_file(tmp_path_factory.mktemp("source") / "source", SIZE)


def work(sftp: SFTPClient, direction: str) -> Any:
    return sftp.put_file if direction == "up" else sftp.get_file


def one_connection_each(peer: Peer) -> list[str]:
    """The log's line of each login."""
    return re.findall(r"Accepted publickey.*", peer.log.read_text())


# -- the library -------------------------------------------------------------------------------------------------------


@both
async def test_channels_share_a_file(
    connection: ClientConnection, source: Path, tmp_path: Path, direction: str
) -> None:
    async with await connection.sftp(channels=3) as sftp:
        assert len(sftp.companions) == 2
        assert await work(sftp, direction)(source, tmp_path / "target") == SIZE
        moved = [client.session._next_id for client in sftp.companions]
        assert all(number > 3 for number in moved)  # LIMITS, OPEN, FSTAT, CLOSE
        assert sftp.session.outstanding == 0
    assert sha256(tmp_path / "target") == sha256(source)


@both
@pytest.mark.parametrize("size", [STRIPED - 1, STRIPED, STRIPED + 1, 5 * SEGMENT - 1, 5 * SEGMENT, 5 * SEGMENT + 1])
async def test_sizes_around_segments_arrive_whole(
    sshd: Peer, connection: ClientConnection, tmp_path: Path, direction: str, size: int
) -> None:
    source, target = random_file(tmp_path / "source", size), tmp_path / "target"
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_100_000_000))
    async with (
        fastssh.connect(sshd.host, **sshd.connect_options()) as another,
        await connection.sftp() as sftp,
    ):
        await sftp.add_companion(another)
        assert await work(sftp, direction)(source, target, preserve=True) == size
        status = target.stat()
        assert (status.st_mode & 0o777, status.st_atime, status.st_mtime) == (0o640, 1_000_000_000, 1_100_000_000)
        assert sha256(target) == sha256(source)


@both
async def test_rekeying_companions_lose_nothing(
    start_sshd: SshdFactory, source: Path, tmp_path: Path, direction: str
) -> None:
    peer = start_sshd(RekeyLimit="1M")
    options = peer.connect_options() | {"rekey_bytes": 3 * MIB}
    async with (
        fastssh.connect(peer.host, **options) as first,
        fastssh.connect(peer.host, **options) as second,
        await first.sftp(channels=2) as sftp,
    ):
        await sftp.add_companion(second)
        async with asyncio.timeout(SECONDS):
            assert await work(sftp, direction)(source, tmp_path / "target") == SIZE
    assert sha256(tmp_path / "target") == sha256(source)


@both
async def test_a_companion_connection_lost_on_the_way_is_done_without(
    sshd: Peer, connection: ClientConnection, source: Path, tmp_path: Path, direction: str
) -> None:
    connection.plane.set_send_rate(40_000_000)
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as another, await connection.sftp() as sftp:
        another.plane.set_send_rate(10_000_000)
        companion = await sftp.add_companion(another)
        seen = [0]

        def cut(done: int) -> None:
            if companion.session._transfers and done > SEGMENT and not seen[0]:
                seen[0] = done
                another._driver._sock.shutdown(2)

        async with asyncio.timeout(SECONDS):
            assert await work(sftp, direction)(source, tmp_path / "target", progress=cut) == SIZE
        assert seen[0]
        assert sftp.companions == ()
        assert sha256(tmp_path / "target") == sha256(source)
        assert await sftp.isfile(source)


@both
async def test_the_first_connection_lost_leaves_less_than_the_whole(
    sshd: Peer, connection: ClientConnection, source: Path, tmp_path: Path, direction: str
) -> None:
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as another:
        for one in (connection, another):
            one.plane.set_send_rate(20_000_000)
        sftp = await connection.sftp()
        await sftp.add_companion(another)

        def cut(done: int) -> None:
            if done > SEGMENT:
                connection._driver._sock.shutdown(2)

        async with asyncio.timeout(SECONDS):
            with pytest.raises(SSHError):
                await work(sftp, direction)(source, tmp_path / "target", progress=cut)
        assert (tmp_path / "target").stat().st_size < SIZE


@both
async def test_cancelled_over_several_sessions_it_is_a_true_beginning(
    connection: ClientConnection, source: Path, tmp_path: Path, direction: str
) -> None:
    target = tmp_path / "target"
    async with await connection.sftp(channels=3) as sftp:
        connection.plane.set_send_rate(30_000_000)
        under_way = asyncio.Event()
        heard: list[int] = []

        def progress(done: int) -> None:
            heard.append(done)
            if done > 2 * SEGMENT:
                under_way.set()

        task = asyncio.ensure_future(work(sftp, direction)(source, target, progress=progress))
        async with asyncio.timeout(SECONDS):
            await under_way.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        data = target.read_bytes()
        assert len(data) < SIZE
        assert data == source.read_bytes()[: len(data)]
        connection.plane.set_send_rate(0)
        assert await work(sftp, direction)(source, target) == SIZE
        assert sha256(target) == sha256(source)


async def test_the_null_device_takes_stripes_and_keeps_its_times(
    connection: ClientConnection, source: Path
) -> None:
    before = os.stat(os.devnull)
    async with await connection.sftp(channels=2) as sftp:
        assert await sftp.put_file(source, os.devnull) == SIZE
        assert await sftp.get_file(source, os.devnull) == SIZE
        assert all(client.session._next_id > 3 for client in sftp.companions)
    after = os.stat(os.devnull)
    assert (after.st_mode, after.st_atime_ns) == (before.st_mode, before.st_atime_ns)


@both
async def test_large_and_small_files_of_a_tree(
    connection: ClientConnection, source: Path, tmp_path: Path, direction: str
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (tree / name).symlink_to(source)
    for number in range(200):
        (tree / "sub" / f"{number}").write_bytes(b"x" * number)
    async with await connection.sftp(channels=3) as sftp:
        copy = upload if direction == "up" else download
        report = await copy(sftp, [tree], str(tmp_path / "copy"), CopyOptions(recurse=True))
    assert (report.failed, report.files) == (0, 203)
    assert {sha256(tmp_path / "copy" / name) for name in ("a", "b", "sub/c")} == {sha256(source)}
    assert (tmp_path / "copy/sub/199").read_bytes() == b"x" * 199


async def test_channels_that_the_server_refuses_are_an_error_of_who_asked(start_sshd: SshdFactory) -> None:
    peer = start_sshd(MaxSessions=1)
    async with fastssh.connect(peer.host, **peer.connect_options()) as connection:
        with pytest.raises(ChannelOpenError):
            await connection.sftp(channels=2)


async def test_row17_a_pinned_host_key_is_the_only_one(sshd: Peer, keys: Keys, tmp_path: Path) -> None:
    known = tmp_path / "known"
    options = sshd.connect_options() | {"user_known_hosts": [known], "strict_host_key_checking": "no"}
    other = load_private_key(keys.user("ed25519")).public
    with pytest.raises(HostKeyChangedError, match=r"where SHA256:.* is required"):
        await fastssh.connect(sshd.host, **options, pinned_host_key=other)
    assert not known.exists()
    right = load_private_key(keys.host("rsa")).public
    async with fastssh.connect(sshd.host, **options, pinned_host_key=right) as connection:
        assert connection.host_key.blob == right.blob
    assert not known.exists()


async def test_options_of_a_companion_connection_ask_nobody(sshd: Peer, connection: ClientConnection) -> None:
    options = connection.companion_options()
    assert options is not None
    assert (options.prompter, options.password, options.agent_socket) == (None, None, "none")
    assert options.pinned_host_key == connection.host_key
    assert options.connect_timeout and options.login_timeout
    async with fastssh.connect(options) as another:
        assert another.host_key == connection.host_key


async def test_a_login_that_asked_somebody_has_no_companion_connections(sshd_password: Peer) -> None:
    options = sshd_password.connect_options() | {"identity_files": [], "password": PASSWORD}
    async with fastssh.connect(sshd_password.host, **options) as connection:
        assert connection.companion_options() is None
        assert connection.companion_options(ask=True) is None


# -- fastssh-scp -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_file(tmp_path_factory.mktemp("large") / "large", CLI_SIZE)


@contextlib.contextmanager
def started(peer: Peer, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [FASTSSH_SCP, "-F", "none", "--json", *peer.options(), *map(str, arguments)]
    process = subprocess.Popen(command, env=clean_environment(peer.directory), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def scp(peer: Peer, *arguments: object) -> tuple[dict[str, Any], str]:
    with started(peer, *arguments) as process:
        out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, error
    summary: dict[str, Any] = json.loads(out)
    return summary, error


def names(peer: Peer, source: Path, direction: str, target: Path) -> list[str]:
    return [str(source), peer.remote(target)] if direction == "up" else [peer.remote(source), str(target)]


@both
def test_scp_opens_further_connections_by_itself(
    start_sshd: SshdFactory, large: Path, tmp_path: Path, direction: str
) -> None:
    peer = start_sshd()
    summary, error = scp(peer, *names(peer, large, direction, tmp_path / "target"))
    assert (summary["bytes"], summary["connections"], error) == (CLI_SIZE, 3, "")
    assert len(one_connection_each(peer)) == 3
    assert sha256(tmp_path / "target") == sha256(large)
    wait_for(lambda: not peer.sessions(), "all connections to be closed")


@pytest.mark.parametrize(
    ("options", "connections"), [(["--connections", "1"], 1), (["--connections=2"], 2), (["-l", "4000000"], 1)]
)
def test_scp_opens_as_many_connections_as_it_is_told(
    start_sshd: SshdFactory, large: Path, tmp_path: Path, options: list[str], connections: int
) -> None:
    peer = start_sshd()
    summary, _ = scp(peer, *options, *names(peer, large, "down", tmp_path / "target"))
    assert summary["connections"] == len(one_connection_each(peer)) == connections
    assert sha256(tmp_path / "target") == sha256(large)


def test_scp_opens_no_connections_for_small_files(start_sshd: SshdFactory, source: Path, tmp_path: Path) -> None:
    peer = start_sshd()
    summary, _ = scp(peer, *names(peer, source, "up", tmp_path / "target"))
    assert summary["connections"] == len(one_connection_each(peer)) == 1


@both
@pytest.mark.parametrize("limits", [{"MaxStartups": "1:100:1"}, {"MaxSessions": 1}])
def test_what_the_server_refuses_is_done_without(
    start_sshd: SshdFactory, large: Path, tmp_path: Path, direction: str, limits: dict[str, object]
) -> None:
    peer = start_sshd(**limits)
    summary, error = scp(peer, *names(peer, large, direction, tmp_path / "target"))
    assert error == ""
    assert 1 <= summary["connections"] <= 3
    assert sha256(tmp_path / "target") == sha256(large)


@pytest.mark.parametrize("sessions", [10, 1])
def test_scp_with_a_login_of_another_kind_uses_channels(
    start_sshd: SshdFactory, keys: Keys, large: Path, tmp_path: Path, sessions: int
) -> None:
    peer = start_sshd(MaxSessions=sessions)
    agent = subprocess.run(["ssh-agent", "-a", tmp_path / "agent"], capture_output=True, text=True, check=True,
                           timeout=SECONDS, env=clean_environment(tmp_path))
    pid = int(re.findall(r"SSH_AGENT_PID=(\d+)", agent.stdout)[0])
    try:
        subprocess.run(["ssh-add", "-q", keys.user("ed25519")], check=True, timeout=SECONDS,
                       env=clean_environment(tmp_path, SSH_AUTH_SOCK=str(tmp_path / "agent")))
        options = ["-o", f"IdentityAgent={tmp_path / 'agent'}", "-v"]
        summary, error = scp(peer, *options, *names(peer, large, "down", tmp_path / "target"))
        assert summary["connections"] == len(one_connection_each(peer)) == 1
        assert len(re.findall("Starting session: subsystem 'sftp'", peer.log.read_text())) == min(2, sessions)
        assert ("no further SFTP session" in error) == (sessions == 1)
        summary, _ = scp(peer, *options, "--connections", "2", *names(peer, large, "down", tmp_path / "target"))
        assert summary["connections"] == 2
    finally:
        os.kill(pid, signal.SIGTERM)
    assert sha256(tmp_path / "target") == sha256(large)


@both
def test_ctrl_c_with_companions(start_sshd: SshdFactory, tmp_path: Path, direction: str) -> None:
    peer = start_sshd()
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        file.truncate(20_000 * MIB)  # a hole: more than can be copied before the signal
    os.symlink(os.devnull, target)  # nothing is stored
    with started(peer, "--connections", "3", *names(peer, source, direction, target)) as process:
        wait_for(lambda: len(one_connection_each(peer)) == 3, "companions", SECONDS)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert error.splitlines() == [f"fastssh-scp: {source}: interrupted", "fastssh-scp: interrupted"]
    assert json.loads(out)["connections"] >= 1
    wait_for(lambda: not peer.sessions(), "all connections to be closed", SECONDS)


@both
def test_ctrl_c_with_companions_leaves_a_true_beginning(
    start_sshd: SshdFactory, large: Path, tmp_path: Path, direction: str
) -> None:
    peer = start_sshd()
    target = tmp_path / "target"
    with started(peer, *names(peer, large, direction, target)) as process:
        wait_for(lambda: target.exists() and target.stat().st_size > 0, "the copy to begin", SECONDS)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 130)
    data = target.read_bytes()
    assert data == large.read_bytes()[: len(data)]
    assert (len(data) < CLI_SIZE) == (process.returncode == 130)


@both
def test_a_full_disk_names_the_file_and_leaves_a_true_beginning(
    start_sshd: SshdFactory, large: Path, tmp_path: Path, direction: str
) -> None:
    """Files of the writing side may not grow past 40 MiB."""
    limit = 40 * MIB
    limited = f"ulimit -f {limit // 512}; trap '' XFSZ; exec "
    server = tmp_path / "limited"
    server.write_text(f"#!/bin/sh\n{limited} {sftp_server()}\n")
    server.chmod(0o755)
    peer = start_sshd(**({"Subsystem": f"sftp {server}"} if direction == "up" else {}))
    target = tmp_path / "target"
    command = [str(FASTSSH_SCP), "-F", "none", "--json", *peer.options(), *names(peer, large, direction, target)]
    shell = (limited if direction == "down" else "exec ") + '"$@"'
    done = subprocess.run(["sh", "-c", shell, "sh", *command], capture_output=True, text=True, timeout=SECONDS,
                          check=False, env=clean_environment(peer.directory), stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(f"fastssh-scp: {large}: ")
    data = target.read_bytes()
    assert len(data) <= limit
    assert data == large.read_bytes()[: len(data)]
