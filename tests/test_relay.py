"""Bytes between descriptors and channels: programs of fastsshd with OpenSSH's ssh, and forwarded sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastssh
from fastssh._native import plane as native
from fastssh.aio import lingering
from fastssh.aio.driver import Driver
from fastssh.aio.forwarding import relay as forwarding_relay
from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.aio.forwarding.server import Forwarding
from fastssh.aio.relay import DescriptorRelay
from fastssh.connection.channel import ChannelHandler
from tests.support import openssh
from tests.support.copying import MIB
from tests.support.peers import HOST, Keys, Peer, clean_environment, program
from tests.support.serving_fastssh import SECONDS, FastsshServer, start_fastssh
from tests.support.watching import until

# --- fastsshd and OpenSSH's ssh: the plane waits for the descriptors itself -------------------------------------------


def through(peer: Peer, command: str, path: Path, *options: str) -> str:
    """The SHA-256 of what ``command`` gives for the file as its input."""
    line = [program("ssh", "openssh-client"), "-F", "/dev/null", *options, *peer.options()]
    with path.open("rb") as source, subprocess.Popen(
        [*line, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", peer.host, command],
        stdin=source, stdout=subprocess.PIPE,
        env=clean_environment(peer.directory),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        digest = hashlib.file_digest(process.stdout, "sha256").hexdigest()
        assert process.wait(SECONDS) == 0
    return digest


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("big") / "file"
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(100):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return path, digest.hexdigest()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
def test_100_mib_go_through_a_program_both_ways_at_once(fastsshd: Peer, big: tuple[Path, str], cipher: str) -> None:
    path, digest = big
    assert through(fastsshd, "cat", path, "-c", cipher) == digest


def test_100_mib_arrive_at_a_program_whole(fastsshd: Peer, big: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = big
    through(fastsshd, f"sha256sum > {tmp_path / 'sum'}", path)
    assert (tmp_path / "sum").read_text().startswith(digest)


def test_100_mib_of_a_program_arrive_whole(fastsshd: Peer, big: tuple[Path, str]) -> None:
    path, digest = big
    assert through(fastsshd, f"cat {path}", Path("/dev/null")) == digest


def test_a_relay_goes_on_over_many_key_exchanges(fastsshd: Peer, tmp_path: Path) -> None:
    content = os.urandom(12 * MIB)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert through(fastsshd, "cat", path, "-o", "RekeyLimit=1M") == hashlib.sha256(content).hexdigest()


def test_compressed_streams_arrive_whole(fastsshd: Peer, tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % number for number in range(1_500_000))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert through(fastsshd, "cat", path, "-C") == hashlib.sha256(content).hexdigest()


def test_stdout_and_stderr_stay_apart_and_in_order(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "i=0; while [ $i -lt 20000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done")
    assert done.stdout == b"".join(b"out %d\n" % i for i in range(20000))
    assert done.stderr == b"".join(b"err %d\n" % i for i in range(20000))


def test_many_short_writes_arrive_whole(fastsshd: Peer) -> None:
    code = "import os\nfor i in range(50000): os.write(1, b'%05d' % i)"
    done = openssh.ssh(fastsshd, f'python3 -c "{code}"')
    assert done.stdout == b"".join(b"%05d" % i for i in range(50000))


def test_a_program_ends_although_its_input_waits(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "head -c 3; exit 5", stdin=bytes(8 * MIB))
    assert (done.returncode, done.stdout) == (5, bytes(3))


def test_a_program_that_closes_its_input_is_told_of_to_the_client(fastsshd: Peer) -> None:
    """eow@openssh.com: the client stops, and the program goes on."""
    options = ("-o", "LogLevel=DEBUG2")
    done = openssh.ssh(fastsshd, "exec <&-; sleep 0.3; echo late", stdin=bytes(8 * MIB), options=options)
    assert (done.returncode, done.stdout) == (0, b"late\n")
    assert b"eow@openssh.com" in done.stderr


def test_the_end_of_input_leaves_the_output_open(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "wc -c; sleep 0.2; echo after", stdin=bytes(3 * MIB))
    assert done.stdout.split() == [b"%d" % (3 * MIB), b"after"]


def test_the_end_of_output_leaves_the_input_open(fastsshd: Peer, tmp_path: Path) -> None:
    done = openssh.ssh(fastsshd, f"exec >&- 2>&-; cat > {tmp_path / 'copy'}; exit 3", stdin=bytes(3 * MIB))
    assert (done.returncode, (tmp_path / "copy").stat().st_size) == (3, 3 * MIB)


def test_a_terminal_gives_all_that_was_written(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "stty -opost; seq 1 200000", options=("-tt",))
    assert done.stdout == b"".join(b"%d\n" % i for i in range(1, 200001))


def test_a_terminal_takes_what_is_typed(fastsshd: Peer) -> None:
    typed = b"".join(b"line %d\n" % i for i in range(20000))
    command = f"stty -echo raw; head -c {len(typed)} | sha256sum"
    done = openssh.ssh(fastsshd, command, options=("-tt",), stdin=typed)
    assert hashlib.sha256(typed).hexdigest().encode() in done.stdout


# --- in the test's own loop: the loop watches the descriptors ---------------------------------------------------------


@asynccontextmanager
async def forwarder(tmp_path: Path, keys: Keys) -> AsyncIterator[tuple[FastsshServer, Forwarding]]:
    forwarding = Forwarding(ForwardingPolicy())
    async with start_fastssh(tmp_path, keys, authenticated=lambda c, attempt: forwarding.attach(c)) as server:
        yield server, forwarding


async def test_row12_a_socket_that_never_reads_is_given_up_after_its_channels_close(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding_relay, "LAST_BYTES_SECONDS", 0.2)
    with socket.create_server((HOST, 0)) as listener:
        async with (
            forwarder(tmp_path, keys) as (server, forwarding),
            server.connect() as conn,
            await conn.forward_local((HOST, 0), (HOST, listener.getsockname()[1])) as forward,
        ):
            loop = asyncio.get_running_loop()
            with socket.create_connection((HOST, forward.port)) as near:
                near.setblocking(False)
                far, _ = await loop.run_in_executor(None, listener.accept)
                with far:
                    (attached,) = forwarding._attached.values()
                    await until(lambda: attached._group.relays, "the relay")
                    (relay,) = attached._group.relays
                    relay._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                    while relay.waiting < 65536:
                        await asyncio.wait_for(loop.sock_sendall(near, bytes(65536)), SECONDS)
                        await asyncio.sleep(0)
                    forward._group.abort()  # CLOSE, without EOF
                    await until(lambda: not attached._group.relays, "the relay's end")
                    assert relay._sock.fileno() < 0


async def test_a_loop_of_asyncios_own_hears_which_descriptors_to_watch(tmp_path: Path, keys: Keys) -> None:
    content = os.urandom(5 * MIB)
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        done = await asyncio.wait_for(connection.run("cat; echo done >&2", input=content), SECONDS)
        assert (done.stdout == content, done.stderr) == (True, b"done\n")


def test_in_a_loop_of_ours_python_hears_of_ends_alone(tmp_path: Path, keys: Keys) -> None:
    """Neither packets nor descriptors that are ready reach the loop between the beginning of a relay and its end."""
    ends: list[tuple[int, int]] = []
    waits: list[int] = []
    turns = 0

    class Sink(ChannelHandler):
        def __init__(self) -> None:
            self.over = asyncio.get_running_loop().create_future()

        def ended(self, end: int, error: int) -> None:
            ends.append((end, error))
            self.over.set_result(None)

        def closed(self, error: fastssh.SSHError | None) -> None:
            self.relay.finish(SECONDS)

        def request(self, name: str, want_reply: bool, data: bytes) -> bool:
            return name == "exit-status"

        relay: DescriptorRelay

    async def main() -> None:
        nonlocal turns
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
            with pytest.MonkeyPatch.context() as patch:
                original_turns, original_waits = Driver._turns, DescriptorRelay.relay_waits

                def counted(self: Driver, readable: bool) -> None:
                    nonlocal turns
                    turns += 1
                    original_turns(self, readable)

                def watched(self: DescriptorRelay, mask: int) -> None:
                    waits.append(mask)
                    original_waits(self, mask)

                sink = Sink()
                channel = connection._connection.open_channel("session", b"", sink)
                await until(lambda: channel.remote_id >= 0, "the channel")
                sink.relay = DescriptorRelay(channel, sources={}, sinks={0: writing}, ended=sink.ended)
                patch.setattr(Driver, "_turns", counted)
                patch.setattr(DescriptorRelay, "relay_waits", watched)
                count = loop.run_in_executor(None, lambda: sum(map(len, iter(lambda: os.read(reading, MIB), b""))))
                command = f"head -c {64 * MIB} /dev/zero".encode()
                channel.request("exec", len(command).to_bytes(4, "big") + command, False)
                await asyncio.wait_for(sink.over, SECONDS)
                os.close(writing)
                assert await asyncio.wait_for(count, SECONDS) == 64 * MIB
        os.close(reading)

    lingering.run(main())
    assert ends == [(native.RELAY_SINK, 0)]
    assert turns < 60 and sum(waits) == 0  # 2,000 packets, and as many times a pipe was full or empty
