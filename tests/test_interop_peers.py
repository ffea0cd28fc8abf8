"""fastssh against servers that are not OpenSSH: dropbear, asyncssh, paramiko."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fastssh
from tests.support import peers
from tests.support.copying import MIB, fastssh_scp, random_file, sha256, there_and_back
from tests.support.peers import Keys, Peer

ALL_PEERS = ["dropbear", "asyncssh_server", "paramiko_server"]
ROOTED_PEERS = ["asyncssh_server", "paramiko_server"]  # their "/" is peer.root
POST_QUANTUM = "mlkem768x25519-sha256"


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Peer:
    """The server that the test is parametrised with."""
    running: Peer = request.getfixturevalue(request.param)
    return running


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ALL_PEERS, indirect=True)
async def test_commands_have_their_output_and_status(peer: Peer) -> None:
    async with fastssh.connect(peer.host, **peer.connect_options()) as connection:
        done = await connection.run("echo out; echo err >&2; exit 3")
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize("peer", ALL_PEERS, indirect=True)
async def test_a_command_gets_its_input_and_returns_it(peer: Peer) -> None:
    data = os.urandom(MIB + 17)
    async with fastssh.connect(peer.host, **peer.connect_options()) as connection:
        done = await connection.run("cat", input=data)
    assert (done.exit_status, done.stdout) == (0, data)


@pytest.mark.parametrize("kind", peers.KEY_TYPES)
@pytest.mark.parametrize("peer", ALL_PEERS, indirect=True)
async def test_every_type_of_user_key_logs_in(peer: Peer, kind: str) -> None:
    options = {**peer.connect_options(), "identity_files": [peer.keys.user(kind)]}
    async with fastssh.connect(peer.host, **options) as connection:
        assert (await connection.run("true")).exit_status == 0


@pytest.mark.parametrize("peer", ALL_PEERS, indirect=True)
async def test_a_password_logs_in(peer: Peer) -> None:
    options = {
        **peer.connect_options(),
        "identity_files": [],
        "password": peers.PASSWORD,
        "preferred_authentications": ("password",),
    }
    async with fastssh.connect(peer.host, **options) as connection:
        assert (await connection.run("true")).exit_status == 0


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256"])
@pytest.mark.parametrize("peer", ALL_PEERS, indirect=True)
async def test_every_host_key_type_is_verified(peer: Peer, algorithm: str) -> None:
    options = {**peer.connect_options(), "host_key_algorithms": (algorithm,)}
    async with fastssh.connect(peer.host, **options) as connection:
        assert connection.negotiated.host_key == algorithm


@pytest.mark.parametrize("peer", ROOTED_PEERS, indirect=True)
async def test_the_post_quantum_key_exchange_works_with_other_implementations(peer: Peer) -> None:
    async with fastssh.connect(peer.host, **peer.connect_options(), kex=(POST_QUANTUM,)) as connection:
        assert connection.negotiated.kex == POST_QUANTUM
        assert (await connection.run("true")).exit_status == 0


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
@pytest.mark.parametrize("peer", ROOTED_PEERS, indirect=True)
def test_files_of_all_edge_sizes_go_both_ways(peer: Peer, tmp_path: Path, cipher: str) -> None:
    for summary in there_and_back(peer, tmp_path, f"/{cipher}", peer.root / cipher, "-c", cipher):
        assert not summary["errors"]


def test_dropbear_with_an_sftp_server_takes_files_of_all_edge_sizes(dropbear: Peer, tmp_path: Path) -> None:
    if not os.access("/usr/lib/sftp-server", os.X_OK):
        pytest.skip("/usr/lib/sftp-server, where dropbear looks, is missing: apt-get install openssh-sftp-server")
    for summary in there_and_back(dropbear, tmp_path, str(dropbear.root / "edge"), dropbear.root / "edge"):
        assert not summary["errors"]


@pytest.mark.parametrize(
    ("start", "counts"),
    [
        (peers.start_asyncssh, ("down",)),  # asyncssh counts what it sends, not what it receives
        (peers.start_paramiko, ("up", "down")),
    ],
)
def test_a_server_that_rekeys_every_mebibyte(
    start: Callable[..., Peer], counts: tuple[str, ...], keys: Keys, tmp_path: Path
) -> None:
    source, back = random_file(tmp_path / "source", 8 * MIB), tmp_path / "back"
    with start(tmp_path / "server", keys=keys, arguments=["--rekey-bytes", str(MIB)]) as peer:
        for direction, ends in (("up", (source, peer.remote("/there"))), ("down", (peer.remote("/there"), back))):
            done = fastssh_scp(peer, "-v", *ends)
            assert done.returncode == 0, done.stderr
            if direction in counts:
                assert done.stderr.count("SSH2_MSG_NEWKEYS received") >= 4, direction
        assert sha256(peer.root / "there") == sha256(back) == sha256(source)
