"""What a connection's process of fastsshd shares with its parent and its siblings, and what it must not."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256

from fastssh.config.server.evaluate import load
from fastssh.config.server.match import ConnectionFacts
from fastssh.keys.private import generate_private_key
from fastssh.wire.messages import KexInit
from tests.support import openssh
from tests.support.fastsshd import Start, logged
from tests.support.peers import HOST, Peer, wait_for

SECONDS = 20.0


# --- rehearsals -------------------------------------------------------------------------------------------------------

REHEARSED = """
import gc, os, sys
from fastssh.config.server.evaluate import load
from fastssh.daemon.login.accounts import SystemAccounts
from fastssh.daemon.prepare import Prepared
from fastssh.daemon.rehearsal import rehearse
from fastssh.daemon.sharing import share_memory
from fastssh.keys.private import generate_private_key

prepared = Prepared(load(None, overrides=sys.argv[1:]), (generate_private_key("ed25519"),), SystemAccounts(), None)
before = os.listdir("/dev/fd")
rehearse(prepared)
share_memory()
assert len(os.listdir("/dev/fd")) == len(before)
gc.unfreeze()
kinds = [type(thing).__name__ for thing in gc.get_objects()]
assert not {"Plane", "Transport", "LingeringLoop"} & set(kinds), "something of a login was left over"
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(*sorted(name for name in sys.modules if name.startswith("fastssh.") or "mlkem" in name))
"""


def rehearsed(*overrides: str, **environment: str) -> list[str]:
    """The modules in a process that has rehearsed and left nothing behind."""
    done = subprocess.run(
        [sys.executable, "-c", REHEARSED, *overrides], env={**os.environ, **environment}, capture_output=True,
        text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_a_rehearsal_loads_what_a_login_takes_and_leaves_nothing_else() -> None:
    modules = rehearsed("KexAlgorithms curve25519-sha256")
    assert "fastssh.transport.kex.ecdh" in modules
    assert "fastssh.keys.authorized_keys" in modules
    assert "fastssh.aio.client" not in modules  # the client is another process


def test_a_server_that_cannot_rehearse_does_without(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    code = f"import tempfile; tempfile.tempdir = {gone!r}\n{REHEARSED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "fastssh.transport.kex.gex" not in done.stdout


def test_the_key_of_a_rehearsal_is_gone_and_nothing_of_it_is_told(start_fastsshd: Start, tmp_path: Path) -> None:
    rehearsed("KexAlgorithms curve25519-sha256", TMPDIR=str(tmp_path))
    assert not list(tmp_path.iterdir())
    assert "rehearsal" not in start_fastsshd(LogLevel="DEBUG3").log_tail()


INTERRUPTED = """
import os, signal
from fastssh.cli.sshd import command as sshd
from fastssh.daemon import rehearsal

serve = rehearsal._serve

async def interrupted(stage, sock):
    os.kill(os.getpid(), signal.SIGHUP)
    await serve(stage, sock)

rehearsal._serve = interrupted
sshd.run()
"""


def test_a_signal_during_the_rehearsal_waits_for_its_end(start_fastsshd: Start) -> None:
    peer = start_fastsshd(program=(sys.executable, "-c", INTERRUPTED))
    logged(peer, r"Received SIGHUP; restarting\.")
    assert openssh.ssh(peer, "true").returncode == 0


# --- random numbers ---------------------------------------------------------------------------------------------------


def forked(work: Callable[[], bytes]) -> bytes:
    """What ``work`` returns in a child of this process, as it is now."""
    source, sink = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(sink, work())
        finally:
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return data


SIGNER = ec.generate_private_key(ec.SECP256R1())
RSA_SIGNER = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("draw", [
    lambda: random.randbytes(16),
    lambda: x25519.X25519PrivateKey.generate().private_bytes_raw(),
    lambda: SIGNER.sign(b"", ec.ECDSA(SHA256())),
    lambda: RSA_SIGNER.sign(b"", PSS(MGF1(SHA256()), 32), SHA256()),
    lambda: generate_private_key("ed25519").public.blob,
], ids=["Python's random", "X25519", "ECDSA", "PSS", "Ed25519"])  # fmt: skip
def test_row16_no_two_processes_draw_the_same_random_numbers(draw: Callable[[], bytes]) -> None:
    draw()  # the generator has a state when the process is forked
    drawn = [forked(draw) for _ in range(4)]
    assert all(drawn) and len(set(drawn)) == 4


def test_row16_mlkem_ciphertexts_of_two_processes_differ() -> None:
    mlkem = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mlkem")
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes(64)).public_key()

    def draw() -> bytes:
        return bytes(key.encapsulate()[1])

    draw()
    assert len({forked(draw) for _ in range(4)}) == 4


def test_row16_the_cookies_of_two_connections_differ(fastsshd: Peer) -> None:
    cookies = set()
    for _ in range(4):
        with socket.create_connection((HOST, fastsshd.port), timeout=SECONDS) as sock, sock.makefile("rb") as stream:
            sock.sendall(b"SSH-2.0-test\r\n")
            assert stream.readline().startswith(b"SSH-2.0-")
            length, padding = int.from_bytes(stream.read(4), "big"), stream.read(1)[0]
            cookies.add(KexInit.decode(stream.read(length - 1)[: length - 1 - padding]).cookie)
    assert len(cookies) == 4


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def half_open(start_fastsshd: Start) -> Iterator[tuple[Peer, socket.socket]]:
    peer = start_fastsshd()
    wait_for(lambda: not peer.sessions(), "the end of earlier connections")
    with socket.create_connection((HOST, peer.port), timeout=SECONDS) as sock:
        assert sock.recv(4) == b"SSH-"
        wait_for(lambda: len(peer.sessions()) == 1, "its process")
        yield peer, sock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_a_connection_in_order_and_no_other(
    half_open: tuple[Peer, socket.socket], number: signal.Signals
) -> None:
    peer, sock = half_open
    os.kill(peer.sessions()[0], number)
    while sock.recv(4096):
        pass
    logged(peer, r"Closing connection to 127\.0\.0\.1 port \d+")
    assert "internal error" not in peer.log_tail() and "restarting" not in peer.log_tail()
    assert openssh.ssh(peer, "true").returncode == 0


def test_row23_a_program_of_a_session_hears_signals_as_any_other(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "kill -TERM $$; echo lived; sleep 1 & wait; kill -l 15")
    assert done.returncode in (143, 255) and b"lived" not in done.stdout


# --- the configuration ------------------------------------------------------------------------------------------------


def test_without_a_match_block_that_applies_every_connection_has_the_same_settings(tmp_path: Path) -> None:
    file = tmp_path / "sshd_config"
    file.write_text("MaxAuthTries 5\nMatch Address 192.0.2.0/24\nMaxAuthTries 2\n")
    config = load(str(file))
    assert config.for_connection(ConnectionFacts(address="127.0.0.1")) is config.settings
    assert config.for_connection(ConnectionFacts(address="192.0.2.1")).max_auth_tries == 2
