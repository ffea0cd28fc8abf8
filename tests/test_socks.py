"""The SOCKS codec: handshakes in pieces of any size, what is refused and how, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.wire.socks import MAX_TEXT, Handshake, Reply, Target
from tests.support.socks import GRANTED5, socks4, socks5

# RFC 1928 sections 3 and 4; SOCKS 4 and 4a as their protocol texts have them.
REQUESTS = [
    (b"\x04\x01\x00\x50\x42\x66\x07\x63Fred\0", Target("66.102.7.99", 80), b"", b"\0\x5a\0\0\0\0\0\0"),
    (b"\x04\x01\x01\xbb\0\0\0\x2a\0example.org\0", Target("example.org", 443), b"", b"\0\x5a\0\0\0\0\0\0"),
    (socks4("10.0.0.1", 22, b"me"), Target("10.0.0.1", 22), b"", b"\0\x5a\0\0\0\0\0\0"),
    (socks5("192.0.2.1", 65535), Target("192.0.2.1", 65535), b"\5\0", GRANTED5),
    (socks5("2001:db8::1", 1), Target("2001:db8::1", 1), b"\5\0", GRANTED5),
    (socks5("example.org", 80, b"\2\1\0"), Target("example.org", 80), b"\5\0", GRANTED5),
    (socks5("b\u00fccher.example", 80), Target("b\u00fccher.example", 80), b"\5\0", GRANTED5),
]


@pytest.mark.parametrize(("request_", "target", "before", "granted"), REQUESTS)
@pytest.mark.parametrize("tail", [b"", b"GET / HTTP/1.0\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_request_is_read_in_pieces_of_any_size(
    request_: bytes, target: Target, before: bytes, granted: bytes, tail: bytes, size: int
) -> None:
    handshake, said, data = Handshake(), b"", request_ + tail
    for start in range(0, len(data), size):
        assert handshake.over == (start >= len(request_))
        if handshake.over:
            size = len(data)  # whoever carries the bytes stops here; what it read already is the rest
            break
        said += handshake.feed(data[start : start + size])
    else:
        start = len(data)
    assert (handshake.target, handshake.failure, said) == (target, None, before)
    assert handshake.rest + data[start:] == tail
    assert handshake.answer(Reply.GRANTED) == granted


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n", b""),
        (b"\x06\1\0", b""),
        (socks4("10.0.0.1", 22, command=2), b"\0\x5b\0\0\0\0\0\0"),
        (socks4("10.0.0.1", 0), b"\0\x5b\0\0\0\0\0\0"),
        (socks4("ex ample", 22), b"\0\x5b\0\0\0\0\0\0"),
        (b"\4\1\0\x16\0\0\0\1\0\0", b"\0\x5b\0\0\0\0\0\0"),
        (b"\4\1\0\x16\0\0\0\1\0\xff\xfe\0", b"\0\x5b\0\0\0\0\0\0"),
        (b"\5\1\2", b"\5\xff"),
        (b"\5\0", b"\5\xff"),
        (b"\5\1\0\4\1\0\1\0\0\0\0\0\0", b"\5\0"),
        (socks5("10.0.0.1", 22, command=2), b"\5\0\5\7\0\1" + bytes(6)),
        (socks5("10.0.0.1", 22, command=3), b"\5\0\5\7\0\1" + bytes(6)),
        (b"\5\1\0\5\1\0\2", b"\5\0\5\x08\0\1" + bytes(6)),
        (b"\5\1\0\5\1\0\3\0\0\x16", b"\5\0\5\1\0\1" + bytes(6)),
        (socks5("a\0b", 22), b"\5\0\5\1\0\1" + bytes(6)),
        (socks5("a\nb", 22), b"\5\0\5\1\0\1" + bytes(6)),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_clients_protocol(data: bytes, said: bytes) -> None:
    for size in (1, len(data)):
        handshake, heard = Handshake(), b""
        for start in range(0, len(data), size):
            heard += handshake.feed(data[start : start + size])
        assert (heard, handshake.target, handshake.rest) == (said, None, b"")
        assert handshake.failure


@pytest.mark.parametrize("head", [b"\4\1\0\x16\1\2\3\4", b"\4\1\0\x16\0\0\0\1me\0"])
def test_row07_a_name_without_end_is_given_up(head: bytes) -> None:
    handshake = Handshake()
    assert not handshake.feed(head + b"x" * MAX_TEXT)
    assert not handshake.over
    assert handshake.feed(b"x") == b"\0\x5b\0\0\0\0\0\0"
    assert handshake.failure and "too long" in handshake.failure


@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from([b"", b"\4\1", b"\5\1\0\5\1\0"]))
def test_row07_no_bytes_bring_anything_but_a_target_a_failure_or_the_wish_for_more(
    pieces: list[bytes], head: bytes
) -> None:
    whole, once = head + b"".join(pieces), Handshake()
    said = once.feed(whole)
    handshake, heard = Handshake(), b""
    for piece in (head, *pieces):
        heard += handshake.feed(piece)
        assert handshake.over or len(handshake.rest) < 256
    assert (said, once.target, once.failure) == (heard, handshake.target, handshake.failure)
    if once.target is not None:
        assert 0 < once.target.port < 65536 and once.target.host


@given(st.ip_addresses() | st.from_regex(r"[a-z]{1,20}\.example", fullmatch=True), st.integers(1, 65535), st.binary())
def test_every_target_arrives_as_it_was_meant(host: object, port: int, tail: bytes) -> None:
    handshake = Handshake()
    handshake.feed(socks5(str(host), port) + tail)
    assert handshake.target == Target(str(host), port)
    assert handshake.rest == tail
