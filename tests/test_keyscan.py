"""fastssh-keyscan beside ssh-keyscan, on real servers and on those that only pretend."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

import fastssh
from fastssh.aio.options import ClientOptions
from fastssh.aio.probe import probe_host_key
from fastssh.cli.keyscan import arguments, targets
from fastssh.cli.keyscan.targets import Target
from fastssh.cli.tool import UsageError
from fastssh.errors import ProtocolError
from fastssh.keys.known_hosts import HostStatus, KnownHosts
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.keys.public import parse_public_line
from fastssh.keys.sshfp import records
from tests.support import keygen
from tests.support.certificates import Authority
from tests.support.peers import Peer, clean_environment, free_port, program

FASTSSH_KEYSCAN = Path(sys.executable).parent / "fastssh-keyscan"
SECONDS = 60


def scan(
    *arguments: str, name: str | Path = FASTSSH_KEYSCAN, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [name, *arguments], input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False,
        env=clean_environment(Path("/nonexistent")),
    )  # fmt: skip


def stock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return scan(*arguments, name=program("ssh-keyscan", "openssh-client"))


@contextlib.contextmanager
def pretender(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each connection is given to ``serve``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("server", ["sshd", "dropbear", "fastsshd"])
def test_the_same_lines_as_ssh_keyscan(server: str, request: pytest.FixtureRequest) -> None:
    peer: Peer = request.getfixturevalue(server)
    mine, theirs = (each("-p", str(peer.port), peer.host) for each in (scan, stock))
    assert (mine.returncode, theirs.returncode) == (0, 0), mine.stderr
    assert sorted(mine.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    assert set(mine.stderr.splitlines()) == set(filter(lambda line: line[0] == "#", theirs.stderr.splitlines()))


def test_hashed_names_and_lists_of_them_are_known_hosts(sshd: Peer) -> None:
    arguments = ["-q", "-t", "ed25519", "-p", str(sshd.port)]
    done = scan(*arguments, "-H", f"{sshd.host} One.example,two.example")
    assert done.stderr == "" and done.stdout.count("|1|") == 2
    key, _ = parse_public_line(sshd.keys.host("ed25519").with_suffix(".pub").read_text())
    for name in ("one.example", "two.example"):
        assert KnownHosts.parse(done.stdout).check(name, sshd.port, key).status is HostStatus.MATCH
    plain = scan(*arguments, f"{sshd.host} One.example,two.example")
    assert plain.stdout == f"[one.example,two.example]:{sshd.port} {key.line()}\n"


def test_sshfp_records_are_those_of_ssh_keyscan(sshd: Peer, tmp_path: Path) -> None:
    mine, theirs = (each("-D", "-p", str(sshd.port), sshd.host) for each in (scan, stock))
    assert sorted(mine.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    assert mine.stderr.startswith("; 127.0.0.1:")
    one = scan("-qD", "-O", "hashalg=sha256", "-t", "rsa", "-p", str(sshd.port), sshd.host)
    assert one.stdout.startswith("127.0.0.1 IN SSHFP 1 2 ") and one.stdout.count("\n") == 1
    for kind in ("rsa", "ecdsa", "ed25519"):
        path = sshd.keys.host(kind).with_suffix(".pub")
        key, _ = parse_public_line(path.read_text())
        for options in ((), ("-g",)):
            made = keygen.run("-r", "a.example", *options, "-f", path, home=tmp_path).stdout.decode()
            assert records("a.example", key, generic=bool(options)) == made.splitlines()


def test_certificates_of_a_host(start_sshd: Callable[..., Peer], sshd: Peer, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    public = sshd.keys.host("ed25519").with_suffix(".pub")
    certificate = authority.certify(public, principals="localhost", host=True)
    peer = start_sshd(HostCertificate=certificate)
    mine, theirs = (each("-c", "-p", str(peer.port), peer.host) for each in (scan, stock))
    assert mine.stdout.split() == theirs.stdout.split() == certificate.read_text().split()[:2]
    assert scan("-qc", "-t", "rsa", "-p", str(peer.port), peer.host).returncode == 1


def test_hosts_come_from_files_and_from_standard_input(sshd: Peer, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(f"# a comment\n\n{sshd.host} from.file\n{free_port()}.invalid,{sshd.host} second")
    done = scan(
        "-qT", "20", "-t", "ed25519", "-p", str(sshd.port), "-f", str(tmp_path / "hosts"), "-f", "-", "127.0.0.1/32",
        stdin=f"{sshd.host}",
    )  # fmt: skip
    names = sorted(line.split()[0] for line in done.stdout.splitlines())
    ends = ["127.0.0.1", "127.0.0.1", "from.file", "second"]
    assert names == [f"[{name}]:{sshd.port}" for name in ends] and done.returncode == 0
    local = scan("-qt", "ed25519", "-p", str(sshd.port), "localhost")  # whose first address may be another one's
    assert local.stdout.startswith("[localhost]:") and local.stderr == ""
    missing = scan("-f", str(tmp_path / "none"))
    assert missing.returncode == 255 and missing.stderr.endswith("none: No such file or directory\n")


def test_row19_a_host_that_does_not_do_its_part_costs_its_own_line(sshd: Peer) -> None:
    """Endless talk, silence, no SSH at all, an early end: each in time, and none keeps the others from their keys."""

    def talks(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"and another thing\r\n" * 1000)

    def hangs(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-hanging\x1b[31m\r\n")
        while connection.recv(4096):
            pass

    def raves(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-raving\r\n" + b"\xff" * 100)
        connection.recv(4096)

    expected = (
        (talks, "no identification string in the first 1024 lines"),
        (lambda connection: connection.sendall(b"SSH-1.5-old\r\n"), "Protocol major versions differ: 2 vs. 1"),
        (lambda connection: None, "closed by the peer"),
        (hangs, "timed out after 1 s"),
        (raves, "packet"),
    )
    for serve, words in expected:
        with pretender(serve) as port:
            done = scan("-T", "1", "-t", "ed25519", "-p", str(port), "127.0.0.1")
        told = [line for line in done.stderr.splitlines() if not line.startswith("# ")]
        assert done.returncode == 1 and done.stdout == "" and "\x1b" not in done.stderr
        assert len(told) == 1 and told[0].startswith("127.0.0.1: ") and words in told[0], done.stderr
    nobody = scan("-f", "-", stdin="a\0b\n\xff.invalid\n" + "x" * 300)
    assert len(nobody.stderr.splitlines()) == 3 and "unexpected" not in nobody.stderr and nobody.returncode == 1
    refused = scan("-T", "5", "-p", str(free_port()), "127.0.0.1")
    assert refused.stderr == "connect (`127.0.0.1'): Connection refused\n" and refused.returncode == 1


def test_a_hanging_host_keeps_nobody_waiting(sshd: Peer) -> None:
    """Two addresses that share a port: one never says a word."""
    with socket.create_server(("127.0.0.2", sshd.port)):
        done = scan("-qT", "1", "-p", str(sshd.port), "127.0.0.2", sshd.host)
    assert len(done.stdout.splitlines()) == 3 and done.returncode == 0
    both = scan("-qT", "1", "-t", "rsa", "-p", str(sshd.port), f"127.0.0.3,{sshd.host}")
    assert both.stdout.startswith(f"[127.0.0.3,{sshd.host}]:{sshd.port} ssh-rsa ") and both.stderr == ""
    assert done.stderr == f"127.0.0.2: identification of 127.0.0.2 port {sshd.port} timed out after 1 s\n"


def test_row17_a_key_whose_proof_is_wrong_is_not_printed() -> None:
    """A server that signs with another key than the one it shows."""
    shown, other = generate_private_key("ed25519"), generate_private_key("ed25519")
    lying = PrivateKey(shown.public, "", other._kind, other._key)

    async def main(key: PrivateKey) -> bytes:
        async with await fastssh.serve("127.0.0.1", 0, server_keys=[key]) as server:
            options = ClientOptions(host="127.0.0.1", port=server.port, user="-")
            return (await probe_host_key(options)).blob

    assert asyncio.run(main(shown)) == shown.public.blob
    with pytest.raises(ProtocolError, match="incorrect ssh-ed25519 signature"):
        asyncio.run(main(lying))


@pytest.mark.parametrize(
    ("argv", "words", "status"),
    [
        ([], "a host or a file of hosts is needed", None),
        (["-t", "dsa", "h"], 'Unknown key type "dsa"', 255),
        (["-t", "rsa,", "h"], 'Unknown key type ""', 255),
        (["-p", "0", "h"], "Bad port '0'", None),
        (["-p", "65536", "h"], "Bad port '65536'", None),
        (["-T", "0", "h"], "Bad timeout '0'", None),
        (["-T", "x", "h"], "Bad timeout 'x'", None),
        (["-O", "what=x", "h"], "Unsupported -O option", 255),
        (["-O", "hashalg=md5", "h"], "Unsupported hash algorithm", 255),
    ],
)
def test_command_lines_that_make_no_sense(argv: list[str], words: str, status: int | None) -> None:
    with pytest.raises(UsageError) as raised:
        arguments.read(argv)
    assert str(raised.value) == words and raised.value.status == status


def test_types_go_by_short_names_and_by_those_of_the_wire() -> None:
    assert arguments.read(["-t", "ED25519,ssh-rsa", "h"]).algorithms == (
        ("rsa-sha2-512", "rsa-sha2-256"),
        ("ssh-ed25519",),
    )
    assert arguments.read(["-c", "-t", "ed25519", "h"]).algorithms == (("ssh-ed25519-cert-v01@openssh.com",),)
    assert arguments.read(["-T", "1m30s", "h"]).timeout == 90


def test_what_a_line_means() -> None:
    assert list(targets.parse("  a.example\tb,c \r")) == [Target(("a.example",), "b,c")]
    assert list(targets.parse("a,,b")) == [Target(("a", "b"), "a,b")]
    assert list(targets.parse("")) == list(targets.parse(" \t")) == list(targets.parse(",")) == []
    assert list(targets.parse("name/24")) == [Target(("name/24",), "name/24")]
    network = [target.names for target in targets.parse("192.0.2.9/30")]
    assert network == ["192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11"]
    assert next(targets.parse("::/0")) == Target(("::",), "::", True)  # and the others when they are asked for


@hypothesis.given(st.text("a0/.,: \t[]é", max_size=30))
def test_any_line_means_hosts_or_nothing(line: str) -> None:
    for target in (each for _, each in zip(range(3), targets.parse(line), strict=False)):
        assert target.addresses and target.names
