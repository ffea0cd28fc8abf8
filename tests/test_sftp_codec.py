"""SFTP messages: every kind there and back, and nothing malformed understood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import ProtocolError
from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes, wire_time
from fastssh.sftp.constants import MAX_MESSAGE, MAX_REQUEST_ID
from fastssh.sftp.messages import SFTPLimits, SFTPName, SFTPStatVFS, StatusReply
from fastssh.wire.codec import Reader, string, uint32, uint64
from fastssh.wire.fields import STRING, UINT32, UINT64, Field

uint32s = st.integers(0, 2**32 - 1)
uint64s = st.integers(0, 2**64 - 1)
ids = st.integers(0, MAX_REQUEST_ID)
pairs = st.one_of(st.just((None, None)), st.tuples(uint32s, uint32s))


@st.composite
def attributes(draw: st.DrawFn) -> SFTPAttributes:
    uid, gid = draw(pairs)
    atime, mtime = draw(pairs)
    return SFTPAttributes(
        draw(st.none() | uint64s),
        uid,
        gid,
        draw(st.none() | uint32s),
        atime,
        mtime,
        tuple(draw(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=3))),
    )


names = st.builds(SFTPName, st.binary(max_size=20), st.binary(max_size=20), attributes())
FIELDS: dict[Field, st.SearchStrategy[Any]] = {
    STRING: st.binary(max_size=300),
    m.WRITTEN: st.binary(max_size=300),
    m.PATH: st.binary(max_size=300).map(lambda path: path.replace(b"\0", b"/")),
    UINT32: uint32s,
    UINT64: uint64s,
    m.ATTRS: attributes(),
    m.HANDLE_FIELD: st.binary(min_size=1, max_size=256),
    m._IDS: st.lists(uint32s, max_size=5).map(tuple),
}
VALUES: dict[m.Reply, st.SearchStrategy[Any]] = {
    m.STATUS: st.builds(StatusReply, uint32s, st.text(max_size=20), st.text(max_size=5)),
    m.HANDLE: FIELDS[m.HANDLE_FIELD],
    m.DATA: st.binary(max_size=500),
    m.NAME: st.lists(names, max_size=4).map(tuple),
    m.ATTRIBUTES: attributes(),
    m.LIMITS_REPLY: st.builds(SFTPLimits, uint64s, uint64s, uint64s, uint64s),
    m.STATVFS_REPLY: st.lists(uint64s, min_size=11, max_size=11).map(lambda v: SFTPStatVFS(*v)),
    m.USERS_GROUPS_REPLY: st.tuples(*[st.lists(st.binary(max_size=9), max_size=3).map(tuple)] * 2),
}


@pytest.mark.parametrize("request_kind", m.REQUESTS.values(), ids=m.REQUESTS)
@given(data=st.data(), number=ids)
def test_requests_come_back_as_they_were(request_kind: m.Request, data: st.DataObject, number: int) -> None:
    values = tuple(data.draw(FIELDS[field]) for field in request_kind.fields)
    encoded = request_kind.encode(number, *values)
    assert int.from_bytes(encoded[:4], "big") == len(encoded) - 4
    assert m.decode_request(encoded[4:]) == (request_kind, number, values)


@pytest.mark.parametrize("reply", VALUES, ids=lambda reply: reply.number.name)
@given(data=st.data(), number=ids)
def test_replies_come_back_as_they_were(reply: m.Reply, data: st.DataObject, number: int) -> None:
    value = data.draw(VALUES[reply])
    encoded = reply.encode(number, value)
    assert encoded[4] == reply.number
    assert int.from_bytes(encoded[5:9], "big") == number
    assert reply.decode(encoded[4:]) == value


@pytest.mark.parametrize("reply", VALUES, ids=lambda reply: reply.number.name)
@given(data=st.data())
def test_row07_replies_cut_anywhere_or_with_a_tail_are_refused(reply: m.Reply, data: st.DataObject) -> None:
    message = reply.encode(1, data.draw(VALUES[reply]))[4:]
    with pytest.raises(ProtocolError):
        reply.decode(message + b"\0")
    whole = {len(message)}
    if reply is m.STATUS:  # text and language may be left out, in this order
        code_only = 9
        whole |= {code_only, code_only + 4 + int.from_bytes(message[9:13], "big")}
    for length in range(5, len(message)):
        if length not in whole:
            with pytest.raises(ProtocolError):
                reply.decode(message[:length])


@given(message=st.binary(max_size=200))
def test_row07_no_bytes_do_more_than_raise_protocol_error(message: bytes) -> None:
    for reply in VALUES:
        try:
            reply.decode(message.rjust(5, b"\0"))
        except ProtocolError:
            pass
    try:
        m.decode_request(message)
    except (ProtocolError, LookupError):
        pass
    try:
        m.decode_version(message)
    except ProtocolError:
        pass


@pytest.mark.parametrize("count", [3, 0x10000, 0xFFFFFFFF])
def test_row07_counts_are_checked_against_the_bytes_that_remain(count: int) -> None:
    extended = uint32(0x80000000) + uint32(count) + bytes(16)
    with pytest.raises(ProtocolError):
        SFTPAttributes.decode(Reader(extended))
    with pytest.raises(ProtocolError):
        m.NAME.decode(bytes(5) + uint32(count) + bytes(24))


# Layouts of draft-ietf-secsh-filexfer-02 sections 4 to 8 and OpenSSH PROTOCOL 4, written out by hand.
@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (m.encode_init(), bytes.fromhex("00000005 01 00000003")),
        (m.encode_version({"x": b"1"}), bytes.fromhex("0000000f 02 00000003 00000001 78 00000001 31")),
        (m.OPEN.encode(7, b"f", 0x1A, SFTPAttributes(permissions=0o644)),
         bytes.fromhex("00000016 03 00000007 00000001 66 0000001a 00000004 000001a4")),
        (m.READ.encode(1, b"h", 2**32, 32768),
         bytes.fromhex("00000016 05 00000001 00000001 68 0000000100000000 00008000")),
        (m.WRITE.encode(1, b"h", 5, b"ab"),
         bytes.fromhex("00000018 06 00000001 00000001 68 0000000000000005 00000002 6162")),
        (m.SYMLINK.encode(2, b"target", b"link"), b"\0\0\0\x17\x14\0\0\0\2" + string(b"target") + string(b"link")),
        (m.LIMITS.encode(3), b"\0\0\0\x1b\xc8\0\0\0\3" + string(b"limits@openssh.com")),
        (m.COPY_DATA.encode(4, b"a", 1, 2, b"b", 3), b"\0\0\0\x34\xc8\0\0\0\4" + string(b"copy-data") + string(b"a")
         + uint64(1) + uint64(2) + string(b"b") + uint64(3)),
        (m.USERS_GROUPS_BY_ID.encode(5, (1, 2), ()),
         b"\0\0\0\x37\xc8\0\0\0\5" + string(b"users-groups-by-id@openssh.com")
         + string(uint32(1) + uint32(2)) + string(b"")),
        (m.STATUS.encode(6, StatusReply(2, "no", "en")),
         bytes.fromhex("00000015 65 00000006 00000002 00000002 6e6f 00000002 656e")),
    ],
)
def test_layouts_are_those_of_the_specifications(encoded: bytes, expected: bytes) -> None:
    assert encoded == expected


def test_the_table_has_each_request_and_extension_once() -> None:
    assert len(m.REQUESTS) == 31
    assert {name: request.extension for name, request in m.EXTENSIONS.items()} == {
        "posix-rename@openssh.com": "1", "statvfs@openssh.com": "2", "fstatvfs@openssh.com": "2",
        "hardlink@openssh.com": "1", "fsync@openssh.com": "1", "lsetstat@openssh.com": "1", "limits@openssh.com": "1",
        "expand-path@openssh.com": "1", "copy-data": "1", "home-directory": "1", "users-groups-by-id@openssh.com": "1",
        "bundle-read@fastssh": "1", "bundle-write@fastssh": "1",
    }
    assert m.OPEN.name == "OPEN" and m.SYMLINK.name == "SYMLINK" and m.READDIR.name == "READDIR"
    assert m.POSIX_RENAME.name == "posix-rename@openssh.com" and m.LSETSTAT.name == "lsetstat@openssh.com"
    assert m.USERS_GROUPS_BY_ID.name == "users-groups-by-id@openssh.com" and m.LIMITS.name == "limits@openssh.com"


def test_names_with_a_nul_are_malformed() -> None:
    for message in (m.STAT.encode(1, b"a\0b"), m.RENAME.encode(1, b"a", b"\0"), m.HOME_DIRECTORY.encode(1, b"root\0")):
        with pytest.raises(ProtocolError, match="NUL"):
            m.decode_request(message[4:])


def test_unknown_requests_are_told_from_malformed_ones() -> None:
    with pytest.raises(LookupError) as unknown:
        m.decode_request(b"\x63" + uint32(9))
    assert unknown.value.args == (9,)
    with pytest.raises(LookupError):
        m.decode_request(b"\xc8" + uint32(9) + string(b"no-such@extension") + b"whatever")
    with pytest.raises(ProtocolError):
        m.decode_request(m.STAT.encode(1, b"path")[4:-1])


@pytest.mark.parametrize(
    "wrong",
    [SFTPAttributes(uid=1), SFTPAttributes(gid=1), SFTPAttributes(mtime=1), SFTPAttributes(size=-1),
     SFTPAttributes(size=2**64), SFTPAttributes(permissions=2**32)],
)
def test_attributes_that_cannot_travel_are_a_value_error(wrong: SFTPAttributes) -> None:
    with pytest.raises(ValueError):
        wrong.encode()


def test_flags_that_version_3_does_not_know_are_passed_over() -> None:
    assert SFTPAttributes.decode(Reader(uint32(0x41) + uint64(5))).size == 5


def test_times_before_1970_and_after_2106_stay_in_32_bits() -> None:
    assert wire_time(-1) == 0
    assert wire_time(1_700_000_000_999_999_999) == 1_700_000_000
    assert wire_time(2**40 * 10**9) == 2**32 - 1


def test_messages_longer_than_the_limit_are_not_made() -> None:
    m.WRITE.encode(1, b"h", 0, bytes(MAX_MESSAGE - 22))
    with pytest.raises(ValueError):
        m.WRITE.encode(1, b"h", 0, bytes(MAX_MESSAGE - 21))
