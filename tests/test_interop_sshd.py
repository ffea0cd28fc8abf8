"""fastssh-scp and the library against an unmodified OpenSSH sshd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import fastssh
from fastssh import algorithms
from tests.support import peers
from tests.support.copying import (
    MIB,
    copy,
    edge_files,
    fastssh_scp,
    hashes,
    random_file,
    sha256,
    sparse_file,
    there_and_back,
)
from tests.support.peers import Peer

GIB = 1 << 30
SPARSE_SIZE = 5 * GIB
CTR, ETM = "aes128-ctr", "hmac-sha2-256-etm@openssh.com"


def offered(kind: str, names: tuple[str, ...]) -> list[str]:
    """Those of ours that the installed OpenSSH has; all of them where there is none (the fixture then says so)."""
    try:
        known = peers.openssh_offers(kind)
    except peers.PeerMissing:
        return list(names)
    return [name for name in names if name in known]


CIPHERS_AND_MACS = [
    *((cipher, None if "@" in cipher else ETM) for cipher in offered("cipher", algorithms.CIPHERS)),
    *((CTR, mac) for mac in offered("mac", algorithms.MACS) if mac != ETM),
]


# --- algorithms, sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cipher", "mac"), CIPHERS_AND_MACS)
def test_every_cipher_and_mac_carries_all_edge_sizes_both_ways(
    sshd: Peer, tmp_path: Path, cipher: str, mac: str | None
) -> None:
    options = ["-c", cipher, *(["-o", f"MACs={mac}"] if mac else [])]
    remote = sshd.root / f"{cipher}-{mac}"
    for summary in there_and_back(sshd, tmp_path, str(remote), remote, *options):
        assert summary["cipher"] == cipher
        assert not summary["errors"]


@pytest.mark.parametrize("kex", offered("kex", algorithms.KEX))
def test_every_key_exchange_carries_all_edge_sizes_both_ways(sshd_internal: Peer, tmp_path: Path, kex: str) -> None:
    remote = sshd_internal.root / kex
    for summary in there_and_back(sshd_internal, tmp_path, str(remote), remote, "-o", f"KexAlgorithms={kex}"):
        assert summary["kex"] == kex
        assert not summary["errors"]


def up_and_down(peer: Peer, folder: Path, mib: int, *options: str) -> None:
    source, there, back = random_file(folder / "source", mib * MIB), peer.root / f"{mib}mib", folder / "back"
    assert copy(peer, *options, source, peer.remote(there))["bytes"] == mib * MIB
    assert copy(peer, *options, peer.remote(there), back)["bytes"] == mib * MIB
    assert sha256(there) == sha256(back) == sha256(source)
    for path in (source, there, back):  # pytest keeps temporary directories of earlier runs
        path.unlink()


@pytest.mark.parametrize(("cipher", "mac"), CIPHERS_AND_MACS)
def test_every_cipher_and_mac_carries_100_mib_both_ways(
    sshd: Peer, tmp_path: Path, cipher: str, mac: str | None
) -> None:
    up_and_down(sshd, tmp_path, 100, "-c", cipher, *(["-o", f"MACs={mac}"] if mac else []))


def test_internal_sftp_carries_100_mib_both_ways(sshd_internal: Peer, tmp_path: Path) -> None:
    up_and_down(sshd_internal, tmp_path, 100)


@pytest.fixture
def roomy(tmp_path: Path) -> Path:
    """A directory that can take a dense file of the sparse one's size: memory if there is plenty, else the disk."""
    need = SPARSE_SIZE + GIB
    memory = Path("/proc/meminfo").read_text() if Path("/proc/meminfo").exists() else "MemAvailable: 0 kB"
    available = int(re.search(r"MemAvailable:\s+(\d+)", memory)[1]) * 1024  # type: ignore[index]
    if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > need and available > need + 2 * GIB:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            yield Path(name)
        return
    if shutil.disk_usage(tmp_path).free < need:
        pytest.skip(f"{need / GIB:.0f} GiB are missing in {tmp_path}")
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink()  # pytest keeps temporary directories of earlier runs


def test_5_gib_of_a_sparse_file_up(sshd: Peer, roomy: Path) -> None:
    source, there = sparse_file(roomy / "source", SPARSE_SIZE), roomy / "there"
    assert copy(sshd, source, sshd.remote(there))["bytes"] == SPARSE_SIZE
    assert there.stat().st_size == SPARSE_SIZE
    assert sha256(there) == sha256(source)


def test_5_gib_of_a_sparse_file_down(sshd: Peer, roomy: Path) -> None:
    source, here = sparse_file(roomy / "source", SPARSE_SIZE), roomy / "here"
    assert copy(sshd, sshd.remote(source), here)["bytes"] == SPARSE_SIZE
    assert here.stat().st_size == SPARSE_SIZE
    assert sha256(here) == sha256(source)


# --- rekeying -----------------------------------------------------------------------------------------------------

REKEY_CIPHERS = [
    (cipher, 64 if cipher == "aes128-gcm@openssh.com" else 24) for cipher in offered("cipher", algorithms.CIPHERS)
]


def rekeys_seen(peer: Peer) -> int:
    """Key exchanges after each connection's first, as sshd's log tells them."""
    log = peer.log.read_text(errors="replace")
    return log.count("SSH2_MSG_NEWKEYS received") - log.count("Accepted publickey")


@pytest.mark.parametrize(("cipher", "mib"), REKEY_CIPHERS)
def test_a_server_that_rekeys_every_mebibyte(
    start_sshd: Callable[..., Peer], tmp_path: Path, cipher: str, mib: int
) -> None:
    peer = start_sshd(RekeyLimit="1M", LogLevel="DEBUG1")
    source, there, back = random_file(tmp_path / "source", mib * MIB), peer.root / "there", tmp_path / "back"
    copy(peer, "-c", cipher, source, peer.remote(there))
    assert sha256(there) == sha256(source)
    up = rekeys_seen(peer)
    copy(peer, "-c", cipher, peer.remote(there), back)
    assert sha256(back) == sha256(source)
    # A rekey takes a round trip in which data flow on, so not every mebibyte ends in one.
    assert up >= mib // 8
    assert rekeys_seen(peer) - up >= mib // 8


async def test_a_client_that_rekeys_every_mebibyte(start_sshd: Callable[..., Peer], tmp_path: Path) -> None:
    peer = start_sshd(LogLevel="DEBUG1")
    source, there, back = random_file(tmp_path / "source", 32 * MIB), peer.root / "there", tmp_path / "back"
    async with (
        fastssh.connect(peer.host, **peer.connect_options(), rekey_bytes=MIB) as connection,
        await connection.sftp() as sftp,
    ):
        await sftp.put_file(str(source), str(there))
        await sftp.get_file(str(there), str(back))
    assert sha256(there) == sha256(back) == sha256(source)
    assert rekeys_seen(peer) >= 8


# --- trees and names ----------------------------------------------------------------------------------------------


def test_a_tree_goes_up_and_comes_back(sshd: Peer, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    for folder in ("", "a", "a/b", "empty", "späce and ünïcode"):
        (top / folder).mkdir(parents=True, exist_ok=True)
        if folder != "empty":
            edge_files(top / folder, (0, 1, 40_000))
    copy(sshd, "-r", top, sshd.remote(sshd.root / "tree"))
    copy(sshd, "-r", sshd.remote(sshd.root / "tree"), tmp_path / "back")
    for copied in (sshd.root / "tree", tmp_path / "back"):
        assert contents(copied) == contents(top)


def contents(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): sha256(path) if path.is_file() else "/" for path in top.rglob("*")}


def test_times_and_modes_are_kept_when_asked(sshd: Peer, tmp_path: Path) -> None:
    source, there, back = random_file(tmp_path / "source", 1000), sshd.root / "kept", tmp_path / "back"
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_100_000_000))
    copy(sshd, "-p", source, sshd.remote(there))
    copy(sshd, "-p", sshd.remote(there), back)
    for copied in (there, back):
        assert (copied.stat().st_mode & 0o7777, copied.stat().st_mtime) == (0o640, 1_100_000_000)


def test_remote_wildcards_are_expanded(sshd: Peer, tmp_path: Path) -> None:
    expected = edge_files(sshd.root / "glob", (1, 2, 3))
    (sshd.root / "glob" / "other").write_bytes(b"x")
    copy(sshd, sshd.remote(sshd.root / "glob" / "*.bin"), tmp_path)
    assert hashes(tmp_path) == expected


def test_a_missing_remote_file_is_named_and_the_others_arrive(sshd: Peer, tmp_path: Path) -> None:
    expected = edge_files(sshd.root / "partly", (5,))
    done = fastssh_scp(
        sshd, sshd.remote(sshd.root / "partly" / "none"), sshd.remote(sshd.root / "partly" / "5.bin"), tmp_path
    )
    assert done.returncode == 1
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr
    assert hashes(tmp_path) == expected


# --- the library --------------------------------------------------------------------------------------------------


async def test_commands_have_their_output_and_status(sshd: Peer) -> None:
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as connection:
        done = await connection.run("echo out; echo err >&2; exit 3")
        assert (done.exit_status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        done = await connection.run('echo "$FASTSSH_TEST"', env={"FASTSSH_TEST": "from the client"})
        assert done.stdout == b"from the client\n"
        done = await connection.run("kill -TERM $$")
        assert done.exit_signal is not None


async def test_a_command_gets_its_input_and_returns_it(sshd: Peer) -> None:
    data = os.urandom(3 * MIB + 17)
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as connection:
        done = await connection.run("cat", input=data)
    assert (done.exit_status, done.stdout) == (0, data)


async def test_commands_run_at_the_same_time(sshd: Peer) -> None:
    async with fastssh.connect(sshd.host, **sshd.connect_options()) as connection:
        done = await asyncio.gather(*(connection.run(f"echo {number}; exit {number}") for number in range(8)))
    assert [(each.exit_status, each.stdout) for each in done] == [(n, b"%d\n" % n) for n in range(8)]


@pytest.mark.parametrize("kind", peers.KEY_TYPES)
async def test_every_type_of_user_key_logs_in(sshd: Peer, kind: str) -> None:
    options = {**sshd.connect_options(), "identity_files": [sshd.keys.user(kind)]}
    async with fastssh.connect(sshd.host, **options) as connection:
        assert (await connection.run("true")).exit_status == 0


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"])
async def test_every_host_key_algorithm_is_verified(sshd: Peer, algorithm: str) -> None:
    options = {**sshd.connect_options(), "host_key_algorithms": (algorithm,)}
    async with fastssh.connect(sshd.host, **options) as connection:
        assert connection.negotiated.host_key == algorithm


async def test_a_password_logs_in(sshd_password: Peer) -> None:
    options = {
        **sshd_password.connect_options(),
        "identity_files": [],
        "password": peers.PASSWORD,
        "preferred_authentications": ("password",),
    }
    async with fastssh.connect(sshd_password.host, **options) as connection:
        assert (await connection.run("echo ~")).stdout.decode().strip() == str(sshd_password.directory / "home")


# --- the connection dies ------------------------------------------------------------------------------------------


def test_a_connection_lost_in_the_middle_ends_in_one_line(start_sshd: Callable[..., Peer], tmp_path: Path) -> None:
    """The server's side is killed while data flow: no hang, no traceback, a non-zero exit, no file that looks whole."""
    peer = start_sshd()
    source, there = sparse_file(tmp_path / "source", 8 * GIB), peer.root / "there"
    killed = []

    def kill_sessions_once_data_flow() -> None:
        peers.wait_for(lambda: there.exists() and there.stat().st_size > MIB, "data to flow", 60)
        for pid in peer.sessions():
            killed.append(pid)
            with contextlib.suppress(ProcessLookupError):  # it ends when its parent does
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill_sessions_once_data_flow)
    thread.start()
    done = fastssh_scp(peer, source, peer.remote(there), timeout=120)
    thread.join()
    assert killed
    assert done.returncode not in (0, 130)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert there.stat().st_size < 8 * GIB
    there.unlink()
