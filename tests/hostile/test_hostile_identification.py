"""What a server may say before, and instead of, its identification."""

from __future__ import annotations

import os

import pytest

from fastssh.errors import ConnectionLostError, ProtocolError, SSHTimeoutError
from tests.hostile.client import memory_bounded, refused
from tests.hostile.server import Peer, Script


def says(*pieces: bytes, forever: bytes = b"") -> Script:
    def script(peer: Peer) -> None:
        for piece in pieces:
            peer.raw(piece)
        while forever:
            peer.raw(forever)

    return script


@pytest.mark.parametrize(
    ("script", "match"),
    [
        (says(forever=b"x" * 65536), "longer than 8192"),
        (says(b"SSH-2.0-", forever=b"x" * 65536), "longer than 255"),
        (says(forever=b"hello\r\n" * 8192), "no identification string in the first 1024 lines"),
        (says(b"SSH-1.5-old\r\n"), "major versions differ"),
        (says(b"SSH-3.0-new\r\n"), "major versions differ"),
        (says(b"SSH-2.0-\r\n"), "Invalid SSH identification"),
        (says(b"SSH-99999999999999999999.0-x\r\n"), "Invalid SSH identification"),
        (says(b"SSH-\x1b[2J\x07\xff\x9b31m\r\n"), r"Invalid SSH identification string 'SSH-\\033\[2J\\007\\377"),
        (says(b"SSH-2.0-x\0y\r\n"), "NUL"),
        (says(b"\0" * 100 + b"\n"), "NUL"),
    ],
)
async def test_row06_identification_is_bounded_and_checked(serve, script, match):
    with memory_bounded():
        await refused(serve(script), ProtocolError, match)


@pytest.mark.parametrize("start", [b"", b"SSH-2.0-hostile_1", b"SSH-2.0-hostile_1\r\n", b"hello\r\n"])
async def test_row12_a_silent_server_is_given_up_at_the_deadline(serve, start):
    await refused(serve(says(start)), SSHTimeoutError, "key exchange .* timed out after 0.3 s", connect_timeout=0.3)


@pytest.mark.parametrize("start", [b"", b"SSH-2.0-hosti", b"SSH-2.0-hostile_1\r\n", b"SSH-2.0-hostile_1\r\n\0\0\1"])
async def test_row12_a_server_that_leaves_is_told_as_such(serve, start):
    def script(peer: Peer) -> None:
        peer.raw(start)
        peer.sock.shutdown(1)

    await refused(serve(script), ConnectionLostError, "closed by the peer")


async def test_row12_a_reset_connection_is_told_as_such(serve):
    def script(peer: Peer) -> None:
        peer.identify()
        peer.reset()

    await refused(serve(script), ConnectionLostError, "reset by peer")


@pytest.mark.parametrize("seed", range(4))
async def test_row06_noise_instead_of_packets_ends_the_connection(serve, seed):
    noise = (b"\xff" + os.urandom(4095), b"\0" * 4096, b"\x7f" * 4096, b"GET / HTTP/1.0\r\n\r\n" * 99)[seed]
    await refused(serve(says(b"SSH-2.0-hostile_1\r\n", noise)), ProtocolError, "length|padding|message")


async def test_row19_lines_before_the_identification_are_escaped_in_the_log(serve):
    lines: list[str] = []
    script = says(b"\x1b]0;owned\x07\r\nSSH-2.0-x\x1b[31m\r\n", b"\xff" * 64)
    await refused(serve(script), ProtocolError, "length", log=lambda _, line: lines.append(line))
    assert any("owned" in line for line in lines)
    assert all(line.isprintable() for line in lines), lines
