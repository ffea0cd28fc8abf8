"""Messages: one table of cases drives encode and decode; whole, cut short, with a tail, and garbage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import ProtocolError
from fastssh.wire import fields, messages, requests
from fastssh.wire.fields import Field, Structure
from fastssh.wire.messages import Message

# Message, and its payload as the RFCs lay it out.
CASES: list[tuple[Message, str]] = [
    (messages.Disconnect(2, "bye", "en"), "01 00000002 00000003 627965 00000002 656e"),
    (messages.Ignore(b"\x00\xff"), "02 00000002 00ff"),
    (messages.Unimplemented(0xFFFFFFFF), "03 ffffffff"),
    (messages.Debug(True, "é"), "04 01 00000002 c3a9 00000000"),
    (messages.ServiceRequest("ssh-userauth"), "05 0000000c 7373682d7573657261757468"),
    (messages.ServiceAccept("ssh-userauth"), "06 0000000c 7373682d7573657261757468"),
    (messages.ExtInfo((("a", b"\x01"), ("b", b""))), "07 00000002 00000001 61 00000001 01 00000001 62 00000000"),
    (
        messages.KexInit(bytes(16), ("a", "b"), ("c",), (), (), (), (), (), (), (), ("x",), True, 7),
        "14" + "00" * 16 + "00000003 612c62 00000001 63" + "00000000" * 7 + "00000001 78 01 00000007",
    ),
    (messages.NewKeys(), "15"),
    (messages.KexdhInit(0x80), "1e 00000002 0080"),
    (messages.KexdhReply(b"K", 1, b"S"), "1f 00000001 4b 00000001 01 00000001 53"),
    (messages.KexDhGexRequest(2048, 3072, 8192), "22 00000800 00000c00 00002000"),
    (messages.KexDhGexGroup(0, -1), "1f 00000000 00000001 ff"),
    (messages.KexDhGexInit(0x7F), "20 00000001 7f"),
    (messages.KexDhGexReply(b"", 0x1234, b""), "21 00000000 00000002 1234 00000000"),
    (messages.KexEcdhInit(b"Q"), "1e 00000001 51"),
    (messages.KexEcdhReply(b"K", b"Q", b"S"), "1f 00000001 4b 00000001 51 00000001 53"),
    (messages.UserauthRequest("u", "s", "m", b"\x01\x02"), "32 00000001 75 00000001 73 00000001 6d 0102"),
    (messages.UserauthFailure(("publickey", "x"), True), "33 0000000b 7075626c69636b65792c78 01"),
    (messages.UserauthSuccess(), "34"),
    (messages.UserauthBanner("hi\r\n"), "35 00000004 68690d0a 00000000"),
    (messages.UserauthPkOk("a", b"k"), "3c 00000001 61 00000001 6b"),
    (messages.UserauthPasswdChangereq("p"), "3c 00000001 70 00000000"),
    (
        messages.UserauthInfoRequest("n", "i", "", (("p", False), ("q", True))),
        "3c 00000001 6e 00000001 69 00000000 00000002 00000001 70 00 00000001 71 01",
    ),
    (messages.UserauthInfoResponse(("a", "")), "3d 00000002 00000001 61 00000000"),
    (messages.GlobalRequest("k", True, b"z"), "50 00000001 6b 01 7a"),
    (messages.RequestSuccess(b"\x00\x00\x00\x16"), "51 00000016"),
    (messages.RequestFailure(), "52"),
    (
        messages.ChannelOpen("session", 1, 2, 3),
        "5a 00000007 73657373696f6e 00000001 00000002 00000003",
    ),
    (messages.ChannelOpenConfirmation(1, 2, 3, 4, b"x"), "5b 00000001 00000002 00000003 00000004 78"),
    (messages.ChannelOpenFailure(1, 2, "no"), "5c 00000001 00000002 00000002 6e6f 00000000"),
    (messages.ChannelEof(9), "60 00000009"),
    (messages.ChannelClose(9), "61 00000009"),
    (messages.ChannelRequest(1, "exec", False, b"d"), "62 00000001 00000004 65786563 00 64"),
    (messages.ChannelSuccess(1), "63 00000001"),
    (messages.ChannelFailure(1), "64 00000001"),
    (messages.Ping(b"p"), "c0 00000001 70"),
    (messages.Pong(b"p"), "c1 00000001 70"),
]
IDS = [type(case[0]).__name__ for case in CASES]
# The data of requests and channels, as their documents lay it out.
REQUEST_CASES: list[tuple[Structure, str]] = [
    (requests.DirectTcpip(b"h", 80, b"o", 65537), "00000001 68 00000050 00000001 6f 00010001"),
    (requests.ForwardedTcpip(b"", 22, b"::1", 0), "00000000 00000016 00000003 3a3a31 00000000"),
    (requests.TcpipForward(b"*", 0), "00000001 2a 00000000"),
    (requests.TcpipForwardReply(0xFFFF), "0000ffff"),
    (requests.CancelTcpipForward(b"*", 8080), "00000001 2a 00001f90"),
    (requests.DirectStreamlocal(b"/s"), "00000002 2f73 00000000 00000000"),
    (requests.ForwardedStreamlocal(b"/s"), "00000002 2f73 00000000"),
    (requests.StreamlocalForward(b"/s"), "00000002 2f73"),
    (requests.CancelStreamlocalForward(b"/s"), "00000002 2f73"),
    (requests.AuthAgent(), ""),
]
REQUEST_IDS = [type(case[0]).__name__ for case in REQUEST_CASES]
ALL_REQUESTS = [
    value for value in vars(requests).values() if isinstance(value, type) and issubclass(value, Structure)
    and value is not Structure
]


def test_every_message_has_a_case() -> None:
    assert {type(case[0]) for case in CASES} == set(messages.REGISTRY.values())


@pytest.mark.parametrize(("message", "wire"), CASES, ids=IDS)
def test_encodes(message: Message, wire: str) -> None:
    assert message.encode() == bytes.fromhex(wire)


@pytest.mark.parametrize(("message", "wire"), CASES, ids=IDS)
def test_decodes(message: Message, wire: str) -> None:
    payload = bytes.fromhex(wire)
    assert messages.decode(message.namespace, payload) == message
    assert type(message).decode(payload) == message


@pytest.mark.parametrize(("message", "wire"), CASES, ids=IDS)
def test_row07_every_truncation_is_refused_or_another_message(message: Message, wire: str) -> None:
    payload = bytes.fromhex(wire)
    for length in range(len(payload)):
        try:
            shorter = type(message).decode(payload[:length])
        except ProtocolError:
            continue
        # raw data at the end may be shorter, and a language tag may be missing
        assert shorter != message or message._layout[-1][0] == "language"


@pytest.mark.parametrize(("message", "wire"), CASES, ids=IDS)
def test_a_tail_is_refused(message: Message, wire: str) -> None:
    takes_all = message._layout and message._layout[-1][1] is fields.REST
    if takes_all:
        assert type(message).decode(bytes.fromhex(wire) + b"\0") != message
        return
    with pytest.raises(ProtocolError, match=message.title):
        type(message).decode(bytes.fromhex(wire) + b"\0")


@pytest.mark.parametrize(("message", "wire"), CASES, ids=IDS)
def test_row07_every_length_and_count_is_at_most_what_remains(message: Message, wire: str) -> None:
    """Each uint32, aligned or not, is replaced by large values: an error, never a huge allocation."""
    payload = bytes.fromhex(wire)
    for offset in range(1, len(payload) - 3):
        for value in (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, len(payload)):
            changed = payload[:offset] + value.to_bytes(4, "big") + payload[offset + 4 :]
            try:
                decoded = type(message).decode(changed)
            except ProtocolError:
                continue
            assert len(decoded.encode()) <= 3 * len(changed) + 4  # what is not UTF-8 grows; an absent tag is 4 bytes


@pytest.mark.parametrize(("data", "wire"), REQUEST_CASES, ids=REQUEST_IDS)
def test_data_of_requests_is_laid_out_as_documented(data: Structure, wire: str) -> None:
    body = bytes.fromhex(wire)
    assert data.body() == body
    assert type(data).parse(body) == data


@pytest.mark.parametrize(("data", "wire"), REQUEST_CASES, ids=REQUEST_IDS)
def test_row07_data_of_requests_is_refused_short_and_long(data: Structure, wire: str) -> None:
    body = bytes.fromhex(wire)
    for wrong in [body[:length] for length in range(len(body))] + [body + b"\0"]:
        with pytest.raises(ProtocolError, match=type(data).__name__):
            type(data).parse(wrong)


def test_wrong_numbers_and_empty_messages_are_refused() -> None:
    for payload in (b"", b"\xff", b"\x00"):
        with pytest.raises(ProtocolError):
            messages.decode("transport", payload)
    with pytest.raises(ProtocolError, match="SSH_MSG_IGNORE wanted"):
        messages.Ignore.decode(messages.NewKeys().encode())


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (
            requests.PtyRequest(b"vt100", 80, 24, 640, 480, b"\x35\0\0\0\1\0"),
            "00000005 7674313030 00000050 00000018 00000280 000001e0 00000006 350000000100",
        ),
        (requests.WindowChange(80, 24, 640, 480), "00000050 00000018 00000280 000001e0"),
        (requests.Break(500), "000001f4"),
    ],
)
def test_requests_of_terminals_are_as_the_rfcs_lay_them_out(data: Structure, wire: str) -> None:
    assert data.body() == bytes.fromhex(wire)
    assert type(data).parse(bytes.fromhex(wire)) == data


def test_method_namespaces_know_the_common_messages_too() -> None:
    payload = messages.UserauthFailure(("password",)).encode()
    assert messages.decode("auth-kbdint", payload) == messages.UserauthFailure(("password",))
    assert isinstance(messages.decode("auth-password", b"\x3c\0\0\0\0\0\0\0\0"), messages.UserauthPasswdChangereq)


def test_absent_language_tags_read_as_empty() -> None:
    assert messages.Disconnect.decode(bytes.fromhex("01 0000000b 00000000")) == messages.Disconnect(11, "")


@pytest.mark.parametrize("name", [b"a\n", b"a\x1b", b"a ", b"\xc3\xa9", b"a\0"])
def test_row19_names_are_printable_ascii(name: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.ServiceRequest.decode(b"\x05" + len(name).to_bytes(4, "big") + name)


@pytest.mark.parametrize("names", [b",", b"a,", b",a", b"a,,b"])
def test_empty_names_in_lists_are_refused(names: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.UserauthFailure.decode(b"\x33" + len(names).to_bytes(4, "big") + names + b"\0")


def test_the_log_form_has_no_secrets_and_no_control_characters() -> None:
    assert "hunter2" not in repr(messages.UserauthInfoResponse(("hunter2",)))
    assert "hunter2" not in repr(requests.Password(False, "hunter2"))
    request = messages.UserauthRequest("u\x1b", "s", "password", requests.Password(False, "hunter2").body())
    assert repr(request) == (
        r"SSH_MSG_USERAUTH_REQUEST(user='u\x1b', service='s', method='password', method_data=<12 bytes>)"
    )
    assert repr(messages.KexdhInit(1 << 2000)) == "SSH_MSG_KEXDH_INIT(e=<2001 bits>)"


def test_messages_are_immutable_values() -> None:
    message = messages.Unimplemented(3)
    with pytest.raises(AttributeError):
        message.sequence = 4  # type: ignore[misc]
    assert hash(message) == hash(messages.Unimplemented(sequence=3))
    assert message != messages.ChannelEof(3)
    for wrong in ((), (1, 2)):
        with pytest.raises(TypeError):
            messages.Unimplemented(*wrong)
    with pytest.raises(TypeError):
        messages.Unimplemented(1, sequence=1)  # type: ignore[misc]


def test_a_number_cannot_be_taken_twice() -> None:
    with pytest.raises(TypeError):
        messages.message("transport", 1, "SSH_MSG_OTHER")(type("Other", (Message,), {}))


_TEXT = st.text(max_size=20)
_NAME = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_LISTED = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=9)
_UINT32 = st.integers(0, 2**32 - 1)
_STRATEGIES: dict[Field, st.SearchStrategy[Any]] = {
    fields.BOOLEAN: st.booleans(),
    fields.UINT32: _UINT32,
    fields.UINT64: st.integers(0, 2**64 - 1),
    fields.STRING: st.binary(max_size=40),
    fields.UTF8: _TEXT,
    fields.TEXT: _TEXT,
    fields.NAME: _NAME,
    fields.NAME_LIST: st.lists(_LISTED, max_size=5).map(tuple),
    fields.MPINT: st.integers(-(2**300), 2**300),
    fields.REST: st.binary(max_size=40),
}
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "cookie": st.binary(min_size=16, max_size=16),
    "language": _TEXT,
    "extensions": st.lists(st.tuples(_NAME, st.binary(max_size=9)), max_size=4).map(tuple),
    "prompts": st.lists(st.tuples(_TEXT, st.booleans()), max_size=4).map(tuple),
    "responses": st.lists(_TEXT, max_size=4).map(tuple),
    "password": _TEXT,
    "new_password": _TEXT,
}


def _any(cls: type[Structure]) -> st.SearchStrategy[Structure]:
    return st.builds(
        cls, *(_BY_NAME[name] if name in _BY_NAME and kind not in _STRATEGIES else _STRATEGIES[kind]
               for name, kind in cls._layout)
    )


@given(st.one_of([_any(cls) for cls in messages.REGISTRY.values()]))
def test_what_is_encoded_is_decoded(message: Structure) -> None:
    assert isinstance(message, Message)
    assert messages.decode(message.namespace, message.encode()) == message


@given(st.one_of([_any(cls) for cls in ALL_REQUESTS]))
def test_requests_are_decoded_as_they_were_encoded(data: Structure) -> None:
    assert type(data).parse(data.body()) == data


@given(st.sampled_from(sorted(messages.REGISTRY)), st.binary(max_size=300))
def test_row26_garbage_raises_protocol_errors_only(key: tuple[str, int], body: bytes) -> None:
    namespace, number = key
    try:
        message = messages.decode(namespace, bytes((number,)) + body)
    except ProtocolError as error:
        assert str(error).isprintable()
    else:
        assert repr(message).isprintable()


@given(st.sampled_from(ALL_REQUESTS), st.binary(max_size=100))
def test_row26_garbage_in_requests_raises_protocol_errors_only(cls: type[Structure], body: bytes) -> None:
    try:
        cls.parse(body)
    except ProtocolError as error:
        assert str(error).isprintable()
