"""PROTOCOL.mux on the wire: vectors written by hand from its text, pieces of any size, descriptors' bytes, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import ProtocolError
from fastssh.wire import mux
from fastssh.wire.mux import MAX_MESSAGE, Decoder, MuxMessage

VECTORS: list[tuple[MuxMessage, str]] = [
    (mux.Hello(4), "00000008 00000001 00000004"),
    (mux.Hello(4, ((b"info", b"0"),)), "00000015 00000001 00000004 00000004 696e666f 00000001 30"),
    (
        mux.NewSession(1, b"", 1, 0, 1, 0, 0x7E, b"vt100", b"ls", (b"A=1",)),
        """00000036 10000002 00000001 00000000 00000001 00000000 00000001 00000000 0000007e 00000005 7674313030
        00000002 6c73 00000003 413d31""",
    ),
    (mux.AliveCheck(2), "00000008 10000004 00000002"),
    (mux.Terminate(3), "00000008 10000005 00000003"),
    (
        mux.OpenForward(4, mux.FORWARD_LOCAL, b"", 8080, b"h", 80),
        "0000001d 10000006 00000004 00000001 00000000 00001f90 00000001 68 00000050",
    ),
    (
        mux.CloseForward(5, mux.FORWARD_REMOTE, b"/p", mux.PATH_PORT, b"", 0),
        "0000001e 10000007 00000005 00000002 00000002 2f70 fffffffe 00000000 00000000",
    ),
    (mux.NewStdioForward(6, b"", b"h", 22), "00000015 10000008 00000006 00000000 00000001 68 00000016"),
    (mux.StopListening(7), "00000008 10000009 00000007"),
    (mux.Proxy(8), "00000008 1000000f 00000008"),
    (mux.Ok(9), "00000008 80000001 00000009"),
    (mux.PermissionDenied(1, "no"), "0000000e 80000002 00000001 00000002 6e6f"),
    (mux.Failure(1, "no"), "0000000e 80000003 00000001 00000002 6e6f"),
    (mux.ExitMessage(2, 255), "0000000c 80000004 00000002 000000ff"),
    (mux.Alive(1, 4711), "0000000c 80000005 00000001 00001267"),
    (mux.SessionOpened(1, 2), "0000000c 80000006 00000001 00000002"),
    (mux.RemotePort(1, 40000), "0000000c 80000007 00000001 00009c40"),
    (mux.TtyAllocFail(2), "00000008 80000008 00000002"),
    (mux.ProxyOk(8), "00000008 8000000f 00000008"),
]


@pytest.mark.parametrize(("message", "wire"), VECTORS)
def test_messages_are_written_and_read_as_the_protocol_says(message: MuxMessage, wire: str) -> None:
    assert message.encode() == bytes.fromhex(wire)
    data = message.encode() + b"\0" * message.descriptors
    for size in (1, 5, len(data)):
        decoder, found = Decoder(), []
        for start in range(0, len(data), size):
            assert not found
            decoder.feed(data[start : start + size])
            found += [read] if (read := decoder.next()) is not None else []
        assert found == [message]
        assert decoder.rest == b""


def test_messages_stand_one_behind_the_other() -> None:
    decoder = Decoder()
    decoder.feed(b"".join(message.encode() + b"\0" * message.descriptors for message, _ in VECTORS) + b"\0")
    assert [decoder.next() for _ in VECTORS] == [message for message, _ in VECTORS]
    assert decoder.next() is None
    assert decoder.rest == b"\0"


def test_a_message_of_another_number_is_known_by_its_request() -> None:
    decoder = Decoder()
    decoder.feed(bytes.fromhex("0000000c 10000099 00000007 01020304"))
    assert decoder.next() == mux.Unknown(7)


@pytest.mark.parametrize("length", [0, 3, MAX_MESSAGE + 1, 0xFFFF_FFFF])
def test_row06_lengths_are_bounded_before_anything_is_awaited(length: int) -> None:
    decoder = Decoder()
    decoder.feed(length.to_bytes(4, "big"))
    with pytest.raises(ProtocolError):
        decoder.next()


@given(st.sampled_from(VECTORS), st.binary(max_size=60), st.integers(0, 60))
def test_row07_no_bytes_bring_anything_but_messages_or_a_protocol_error(
    vector: tuple[MuxMessage, str], junk: bytes, cut: int
) -> None:
    wire = vector[0].encode()
    body = wire[4 : 4 + cut] + junk
    decoder = Decoder()
    decoder.feed(len(body).to_bytes(4, "big") + body + b"\0\0\0")
    try:
        message = decoder.next()
    except ProtocolError:
        return
    assert message is not None
    assert isinstance(message, mux.Unknown) or len(message.encode()) == len(body) + 4
