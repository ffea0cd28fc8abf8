"""The identification exchange: fed whole, byte by byte and with a tail; caps; control characters are escaped."""

from __future__ import annotations

import pytest

from fastssh.errors import ProtocolError
from fastssh.transport.identification import IdentificationReader, identification_line
from fastssh.transport.phases import Role
from tests.support.memory import Endpoint

GOOD = [
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10"),
    (b"SSH-2.0-x\n", b"SSH-2.0-x"),  # without CR, as some send it
    (b"SSH-1.99-Cisco-1.25\r\n", b"SSH-1.99-Cisco-1.25"),
    (b"SSH-2.0-" + b"v" * 245 + b"\r\n", b"SSH-2.0-" + b"v" * 245),
]
BEFORE = [b"", b"Authorised use only\r\n\r\nhello\n", b"x" * 8190 + b"\r\n", b"\n" * 1024]


def read(role: Role, *pieces: bytes) -> tuple[IdentificationReader, bytes | None, list[str]]:
    lines: list[str] = []
    reader = IdentificationReader(role, lines.append)
    rest: bytes | None = None
    for index, piece in enumerate(pieces):
        rest = reader.receive(piece)
        if rest is not None:
            assert index == len(pieces) - 1, "complete before its last piece"
    return reader, rest, lines


@pytest.mark.parametrize("before", BEFORE, ids=["none", "text", "long", "many"])
@pytest.mark.parametrize(("wire", "line"), GOOD)
def test_a_client_reads_a_servers_lines(wire: bytes, line: bytes, before: bytes) -> None:
    data = before + wire
    for pieces in ((data,), tuple(data[i : i + 1] for i in range(len(data)))):
        reader, rest, _ = read(Role.CLIENT, *pieces)
        assert (reader.line, rest) == (line, b"")
    reader, rest, _ = read(Role.CLIENT, data + b"\0\0\1tail\n")
    assert (reader.line, rest) == (line, b"\0\0\1tail\n")


@pytest.mark.parametrize(("wire", "line"), GOOD)
def test_a_server_reads_a_clients_line(wire: bytes, line: bytes) -> None:
    for pieces in ((wire,), tuple(wire[i : i + 1] for i in range(len(wire)))):
        reader, rest, _ = read(Role.SERVER, *pieces)
        assert (reader.line, rest) == (line, b"")


@pytest.mark.parametrize(
    ("role", "wire", "words"),
    [
        (Role.CLIENT, b"SSH-2.0-" + b"v" * 246 + b"\r\n", "longer than 255"),
        (Role.CLIENT, b"SSH-2.0-" + b"v" * 300, "longer than 255"),
        (Role.CLIENT, b"x" * 8193, "longer than 8192"),
        (Role.CLIENT, b"x\n" * 1025, "first 1024 lines"),
        (Role.CLIENT, b"hello\0\r\n", "NUL"),
        (Role.CLIENT, b"SSH-2.0-a\0b\r\n", "NUL"),
        (Role.CLIENT, b"SSH-1.5-OpenSSH_2\r\n", r"Protocol major versions differ: 2 vs\. 1"),
        (Role.CLIENT, b"SSH-3.0-x\r\n", r"Protocol major versions differ: 2 vs\. 3"),
        (Role.CLIENT, b"SSH-2.0\r\n", "Invalid SSH identification string"),
        (Role.CLIENT, b"SSH-2.0-\r\n", "Invalid SSH identification string"),
        (Role.CLIENT, b"SSH-two-x\r\n", "Invalid SSH identification string"),
        (Role.SERVER, b"GET / HTTP/1.1\r\n", "Invalid SSH identification string 'GET / HTTP/1.1"),
        (Role.SERVER, b"\x16\x03\x01", r"Invalid SSH identification string '\\026\\003\\001"),
        (Role.SERVER, b"\r\nSSH-2.0-x\r\n", "Invalid SSH identification string"),
        (Role.SERVER, b"SSH-1.5-x\r\n", "Protocol major versions differ"),
    ],
)
def test_what_is_not_an_identification_is_refused_at_once(role: Role, wire: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        read(role, wire)
    assert str(caught.value).isprintable()
    with pytest.raises(ProtocolError, match=words.partition(" '")[0]):  # a byte may tell enough
        reader = IdentificationReader(role, lambda line: None)
        for i in range(len(wire)):
            reader.receive(wire[i : i + 1])


def test_row19_control_characters_of_the_peer_are_escaped() -> None:
    reader, _, lines = read(Role.CLIENT, b"\x1b]0;owned\x07\r\nSSH-2.0-a\x1b[31m\xff\r\n")
    assert reader.line == b"SSH-2.0-a\x1b[31m\xff"  # the exchange hash takes it as it came
    assert reader.text == r"SSH-2.0-a\033[31m\377"
    assert lines[0] == r"banner line 1: \033]0;owned\007"
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("software", ["", "-x", " x", "a\nb", "é", "x" * 246])
def test_we_send_no_line_that_others_would_refuse(software: str) -> None:
    with pytest.raises((ValueError, UnicodeEncodeError)):
        identification_line(software)


def test_our_line_ends_with_cr_lf() -> None:
    assert identification_line("fastssh_1.0 here") == b"SSH-2.0-fastssh_1.0 here\r\n"


def test_row12_a_peer_that_sends_packets_before_the_key_exchange_is_bounded() -> None:
    """Whatever comes with the identification goes through the same table as later messages."""
    side = Endpoint(Role.CLIENT)
    with pytest.raises(ProtocolError):
        side.give(b"SSH-2.0-x\r\n" + bytes.fromhex("0000000c 06 5a") + bytes(10))  # CHANNEL_OPEN in the clear
