"""The connection protocol, both roles in memory: channels, requests, replies, and what a hostile peer gets for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh.connection.channel import Channel
from fastssh.connection.connection import DEFAULT_WINDOW, IncomingOpen
from fastssh.errors import (
    ChannelClosedError,
    ChannelOpenError,
    ConnectionLostError,
    ProtocolError,
    SSHError,
)
from fastssh.sftp import messages
from fastssh.sftp.status import native_statuses
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    GlobalRequest,
    Message,
    OpenFailureReason,
    RequestFailure,
    RequestSuccess,
)
from tests.support.joined import Handler, Joined


def data_message(channel: int, data: bytes) -> bytes:
    return b"\x5e" + codec.uint32(channel) + codec.string(data)


def channel_of(handler: Handler) -> Channel:
    assert handler.channel is not None
    return handler.channel


# --- the life of a channel ----------------------------------------------------------------------------------------


def test_data_flows_both_ways_and_ends_in_order() -> None:
    joined = Joined()
    near, far = joined.open()
    channel_of(near).write(b"to the server")
    channel_of(far).write(b"out")
    channel_of(far).write(b"err", 1)
    channel_of(near).eof()
    joined.run()
    assert far.received[0] == b"to the server"
    assert far.names()[-1] == "eof"
    assert near.received == [b"out", b"err"]
    channel_of(far).write(b" more")  # the other direction stays open
    channel_of(far).eof()
    channel_of(far).close()
    joined.run()
    assert near.received[0] == b"out more"
    assert near.names()[-2:] == ["eof", "closed"]
    assert near.calls[-1] == far.calls[-1] == ("closed", None)
    assert joined.client.connection.channels == joined.server.connection.channels == 0


@pytest.mark.parametrize("consume", [True, False])
def test_a_window_bounds_what_is_under_way(consume: bool) -> None:
    joined = Joined()
    handler = Handler(consume)
    near, far = joined.open(handler, window=64 * 1024)
    channel_of(far).write(b"x" * 1_000_000)
    joined.run()
    assert len(near.received[0]) == (1_000_000 if consume else 64 * 1024)
    if not consume:
        channel_of(near).consumed(64 * 1024)
        joined.run()
        assert len(near.received[0]) == 128 * 1024


def test_requests_that_are_served_reach_their_handler_and_so_does_their_end() -> None:
    joined = Joined()
    near, far = joined.open()
    joined.server.plane.sftp_serve_attach(channel_of(far).id, *native_statuses())
    channel_of(near).write(messages.encode_init() + messages.REALPATH.encode(1, b"."))
    channel_of(near).eof()
    joined.run()
    assert far.calls[-2:] == [("sftp_message", messages.encode_init()[4:]), ("eof",)]
    joined.server.plane.sftp_serve_resume(channel_of(far).id)
    joined.run()
    assert far.calls[-1] == ("sftp_message", messages.REALPATH.encode(1, b".")[4:])
    joined.server.plane.sftp_serve_resume(channel_of(far).id)
    joined.run()
    assert far.calls[-1] == ("sftp_end",)


def test_a_writer_hears_when_there_is_room_again() -> None:
    joined = Joined()
    near, far = joined.open()
    far.consume = False
    assert channel_of(near).write(b"x" * (DEFAULT_WINDOW + 500_000)) > 256 * 1024
    joined.run()
    assert channel_of(near).pending == 500_000
    assert "writable" not in near.names()
    channel_of(far).consumed(DEFAULT_WINDOW)
    joined.run()
    assert near.names()[-1] == "writable"
    assert channel_of(near).pending == 0


def test_numbers_are_small_and_used_again_after_both_closes() -> None:
    joined = Joined()
    handlers = [joined.open()[0] for _ in range(4)]
    assert [channel_of(handler).id for handler in handlers] == [0, 1, 2, 3]
    channel_of(handlers[1]).close()
    joined.run()
    assert channel_of(joined.open()[0]).id == 1
    for _ in range(50):
        handler, _ = joined.open()
        assert channel_of(handler).id == 4
        channel_of(handler).close()
        joined.run()


@pytest.mark.parametrize("first", ["client", "server", "both"])
def test_either_side_may_close(first: str) -> None:
    joined = Joined()
    near, far = joined.open()
    for side, handler in (("client", near), ("server", far)):
        if first in (side, "both"):
            channel_of(handler).close()
    joined.run()
    assert near.names().count("closed") == far.names().count("closed") == 1
    assert joined.client.connection.channels == joined.server.connection.channels == 0
    assert joined.open()[0].names() == ["opened"]


def test_close_stands_behind_what_was_written() -> None:
    joined = Joined()
    near, far = joined.open()
    channel_of(near).write(b"x" * 5_000_000)
    channel_of(near).eof()
    channel_of(near).close()
    joined.run()
    assert len(far.received[0]) == 5_000_000
    assert far.names()[-2:] == ["eof", "closed"]


def test_a_closed_channel_takes_nothing_more() -> None:
    joined = Joined()
    near, far = joined.open()
    channel = channel_of(near)
    channel.eof()
    channel.eof()
    with pytest.raises(ChannelClosedError):
        channel.write(b"x")
    channel.close()
    channel.close()
    for use in (lambda: channel.write(b"x"), channel.eof, lambda: channel.request("env", b"", False)):
        with pytest.raises(ChannelClosedError):
            use()
    channel_of(far).write(b"late")
    joined.run()
    assert near.received[0] == b""
    channel.consumed(4)
    assert channel.pending == 0


def test_data_that_nobody_wants_any_more_does_not_stop_the_peer_from_closing() -> None:
    joined = Joined()
    near, far = joined.open(window=32 * 1024)
    channel_of(far).write(b"x" * 300_000)
    channel_of(far).close()
    channel_of(near).close()
    joined.run()
    assert near.names()[-1] == far.names()[-1] == "closed"


def test_a_channel_closed_while_it_opens_is_closed_once_confirmed() -> None:
    joined = Joined()
    handler = Handler()
    channel = joined.client.connection.open_channel("session", b"", handler)
    channel.close()
    joined.run()
    assert handler.calls == [("closed", None)]
    assert joined.accepted[0].names() == ["closed"]


@pytest.mark.parametrize("rekeying", ["client", "server"])
def test_channels_open_and_close_across_a_rekey(rekeying: str) -> None:
    joined = Joined()
    near, far = joined.open()
    (joined.client if rekeying == "client" else joined.server).transport.rekey()
    channel_of(near).write(b"during")
    channel_of(near).close()
    other = Handler()
    other.channel = joined.client.connection.open_channel("session", b"", other)
    joined.run()
    assert far.received[0] == b"during"
    assert near.names()[-1] == far.names()[-1] == "closed"
    assert other.names() == ["opened"]
    assert joined.client.connection.channels == joined.server.connection.channels == 1


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["write", "eof", "close", "answer", "run", "rekey"]), st.booleans())))
def test_any_order_of_calls_ends_with_each_handler_closed_once(steps: list[tuple[str, bool]]) -> None:
    joined = Joined()
    near, far = joined.open()
    for step, ours in steps:
        channel = channel_of(near if ours else far)
        try:
            if step == "write":
                channel.write(b"x" * 10_000)
            elif step == "eof":
                channel.eof()
            elif step == "close":
                channel.close()
            elif step == "answer":
                channel.request("shell", b"", True)
            elif step == "rekey":
                (joined.client if ours else joined.server).transport.rekey()
            else:
                joined.run()
        except ChannelClosedError:
            continue
    channel_of(near).close()
    joined.run()
    for handler in (near, far):
        assert handler.names().count("closed") == 1
        assert handler.names()[-1] == "closed"
    assert joined.client.connection.channels == joined.server.connection.channels == 0


# --- requests -----------------------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_requests() -> None:
    joined = Joined()
    near, far = joined.open()
    replies: list[tuple[str, bool]] = []
    channel = channel_of(near)
    for name, accept in (("env", True), ("exec", False), ("shell", True)):
        channel.request(name, name.encode(), True, lambda success, name=name: replies.append((name, success)))  # type: ignore[misc]
        far.accept_requests = accept
        joined.run()
    channel.request("signal", b"", False)
    joined.run()
    assert replies == [("env", True), ("exec", False), ("shell", True)]
    assert [call[1] for call in far.calls if call[0] == "request"] == ["env", "exec", "shell", "signal"]


def test_a_channel_that_ends_answers_what_is_still_asked() -> None:
    joined = Joined()
    near, far = joined.open()
    replies: list[bool] = []
    channel_of(far).close()
    channel_of(near).request("env", b"", True, replies.append)  # the two cross
    joined.run()
    assert replies == [False]
    assert channel_of(near).error is None
    assert near.names()[-1] == "closed"
    with pytest.raises(ChannelClosedError):
        channel_of(near).request("env", b"", True, replies.append)


def test_a_connection_that_ends_answers_what_is_still_asked() -> None:
    joined = Joined()
    near, _ = joined.open()
    replies: list[bool] = []
    channel_of(near).request("env", b"", True, replies.append)
    joined.client.connection.lost(ConnectionLostError("gone"))
    assert replies == [False]
    assert isinstance(channel_of(near).error, ConnectionLostError)


def test_global_requests_are_answered_in_order() -> None:
    joined = Joined()
    joined.server.connection.global_handlers["double@test"] = lambda data: data + data
    replies: list[bytes | None] = []
    for name in ("double@test", "unknown@test", "double@test"):
        joined.client.connection.global_request(name, b"ab", on_reply=replies.append)
    joined.client.connection.global_request("unknown@test", b"", want_reply=False)
    joined.run()
    assert replies == [b"abab", None, b"abab"]


def test_keepalive_is_answered_by_both_sides() -> None:
    joined = Joined()
    answers: list[str] = []
    joined.client.connection.keepalive(lambda: answers.append("server"))
    joined.server.connection.keepalive(lambda: answers.append("client"))
    joined.run()
    assert sorted(answers) == ["client", "server"]


def test_host_keys_that_a_server_announces_are_ignored_politely() -> None:
    joined = Joined()
    replies: list[bytes | None] = []
    joined.server.connection.global_request("hostkeys-00@openssh.com", b"\0\0\0\0", want_reply=False)
    joined.server.connection.global_request("hostkeys-00@openssh.com", b"\0\0\0\0", on_reply=replies.append)
    joined.run()
    assert replies == [None]


# --- channels of the peer -----------------------------------------------------------------------------------------


def test_a_client_refuses_channels_of_the_server() -> None:
    joined = Joined()
    for kind in ("session", "forwarded-tcpip", "x11", "auth-agent@openssh.com", "nonsense"):
        handler = Handler()
        joined.server.connection.open_channel(kind, b"", handler)
        joined.run()
        assert handler.names() == ["open_failed", "closed"]
        error = handler.calls[0][1]
        assert isinstance(error, ChannelOpenError) and error.code == OpenFailureReason.UNKNOWN_CHANNEL_TYPE
    assert joined.server.connection.channels == joined.client.connection.channels == 0


def test_row11_refused_channels_leak_nothing() -> None:
    joined = Joined()
    joined.server.connection.acceptors.clear()
    for _ in range(300):
        handler = Handler()
        channel = joined.client.connection.open_channel("session", b"", handler)
        joined.run()
        assert channel.id == 0
        assert handler.names() == ["open_failed", "closed"]
    with pytest.raises(ValueError, match="not open"):
        joined.client.plane.channel_pending(0)
    with pytest.raises(ValueError, match="not open"):
        joined.server.plane.channel_pending(0)


def test_a_channel_may_be_accepted_later_and_only_once() -> None:
    joined = Joined()
    waiting: list[IncomingOpen] = []
    joined.server.connection.acceptors["session"] = waiting.append
    near = Handler()
    near.channel = joined.client.connection.open_channel("session", b"", near)
    joined.run()
    assert near.calls == []
    far = Handler()
    far.channel = waiting[0].accept(far)
    channel_of(far).write(b"hello")
    joined.run()
    assert near.names() == ["opened", "data"]
    with pytest.raises(ValueError, match="already"):
        waiting[0].refuse(OpenFailureReason.CONNECT_FAILED, "")


def test_row12_channels_of_the_peer_are_limited_also_while_they_wait() -> None:
    joined = Joined()
    waiting: list[IncomingOpen] = []
    joined.server.connection.acceptors["session"] = waiting.append
    handlers = [Handler() for _ in range(15)]
    for handler in handlers:
        joined.client.connection.open_channel("session", b"", handler)
    joined.run()
    assert len(waiting) == 10
    assert [handler.names() for handler in handlers[10:]] == [["open_failed", "closed"]] * 5
    for incoming in waiting:
        incoming.accept(Handler())
    late = Handler()
    joined.client.connection.open_channel("session", b"", late)
    joined.run()
    assert late.names() == ["open_failed", "closed"]


def test_row12_a_type_of_channel_has_its_own_limit() -> None:
    joined = Joined()
    server, waiting = joined.server.connection, []
    server.max_peer_channels, server.channel_limits["other"] = 5, 2
    server.acceptors["other"] = waiting.append
    others = [Handler() for _ in range(4)]
    for handler in others:
        joined.client.connection.open_channel("other", b"", handler)
    joined.run()
    for incoming in waiting:
        incoming.accept(Handler())
    joined.run()
    assert [handler.names()[0] for handler in others] == ["opened", "opened", "open_failed", "open_failed"]
    for _ in range(3):
        joined.open()
    late = Handler()
    joined.client.connection.open_channel("session", b"", late)
    joined.run()
    assert late.names() == ["open_failed", "closed"]


# --- a hostile peer -----------------------------------------------------------------------------------------------


def hostile(joined: Joined, *messages: Message | bytes) -> None:
    """The server says this; the client hears it."""
    for message in messages:
        payload = message if isinstance(message, bytes) else message.encode()
        joined.server.transport.send_payload(payload)
    joined.pair.carry(joined.pair.server, joined.pair.client)


@pytest.mark.parametrize(
    "message",
    [
        ChannelSuccess(0),
        ChannelFailure(0),
        RequestSuccess(b""),
        RequestFailure(),
        ChannelOpenConfirmation(0, 0, 1000, 1000),
        ChannelOpenFailure(0, 1, "no"),
        ChannelEof(9),
        ChannelClose(9),
        ChannelRequest(9, "exit-status", False, b""),
        ChannelSuccess(9),
        ChannelOpenConfirmation(9, 0, 1000, 1000),
        ChannelOpenFailure(9, 1, "no"),
        data_message(9, b"x"),
        data_message(0xFFFF_FFFF, b"x"),
        b"\x5d" + codec.uint32(9) + codec.uint32(1),
    ],
)
def test_row11_what_nobody_asked_for_is_fatal(message: Message | bytes) -> None:
    joined = Joined()
    near, _ = joined.open()
    with pytest.raises(ProtocolError):
        hostile(joined, message)
    assert near.names() == ["opened"]


@pytest.mark.parametrize(
    "messages",
    [
        (ChannelEof(0), data_message(0, b"x")),
        (ChannelEof(0), ChannelEof(0)),
        (ChannelClose(0), data_message(0, b"x")),
        (ChannelClose(0), ChannelClose(0)),
        (ChannelClose(0), ChannelEof(0)),
        (ChannelClose(0), ChannelRequest(0, "exit-status", False, codec.uint32(0))),
        (ChannelClose(0), ChannelSuccess(0)),
        (ChannelClose(0), b"\x5d" + codec.uint32(0) + codec.uint32(1)),
    ],
)
def test_row11_nothing_comes_after_the_end(messages: tuple[Message | bytes, ...]) -> None:
    joined = Joined()
    near, _ = joined.open()
    with pytest.raises(ProtocolError):
        hostile(joined, *messages)
    assert "data" not in near.names()
    assert not any(call[0] == "request" for call in near.calls)


def test_row11_data_for_a_channel_that_is_not_confirmed_is_fatal() -> None:
    joined = Joined()
    handler = Handler()
    joined.client.connection.open_channel("session", b"", handler)
    with pytest.raises(ProtocolError):
        hostile(joined, data_message(0, b"x"))
    assert handler.calls == []


@pytest.mark.parametrize(
    "message",
    [ChannelEof(0), ChannelClose(0), ChannelRequest(0, "exit-status", False, b""), ChannelSuccess(0)],
)
def test_row11_a_channel_that_is_not_confirmed_takes_only_the_answer(message: Message) -> None:
    joined = Joined()
    handler = Handler()
    joined.client.connection.open_channel("session", b"", handler)
    with pytest.raises(ProtocolError):
        hostile(joined, message)
    assert handler.calls == []


@pytest.mark.parametrize("max_packet", [0, 1, 255])
def test_row09_an_absurd_maximum_packet_is_refused(max_packet: int) -> None:
    joined = Joined()
    handler = Handler()
    joined.client.connection.open_channel("session", b"", handler)
    with pytest.raises(ProtocolError):
        hostile(joined, ChannelOpenConfirmation(0, 0, 1000, max_packet))
    assert "opened" not in handler.names()


@pytest.mark.parametrize("max_packet", [0, 1, 255])
def test_row09_an_absurd_maximum_packet_of_a_client_is_refused(max_packet: int) -> None:
    joined = Joined()
    joined.client.transport.send(ChannelOpen("session", 0, 1000, max_packet))
    with pytest.raises(ProtocolError):
        joined.run()


def test_row08_more_than_the_window_is_fatal() -> None:
    joined = Joined()
    near, _ = joined.open(Handler(consume=False), window=1000)
    hostile(joined, data_message(0, b"x" * 1000))
    with pytest.raises(ProtocolError):
        hostile(joined, data_message(0, b"x"))
    assert near.received[0] == b"x" * 1000


def test_row08_a_packet_longer_than_we_take_is_fatal() -> None:
    joined = Joined()
    near, _ = joined.open(window=1_000_000, max_packet=1000)
    with pytest.raises(ProtocolError):
        hostile(joined, data_message(0, b"x" * 1001))
    assert near.received[0] == b""


def test_row08_a_window_past_its_type_is_fatal() -> None:
    joined = Joined()
    joined.open()
    with pytest.raises(ProtocolError):
        hostile(joined, b"\x5d" + codec.uint32(0) + codec.uint32(0xFFFF_FFFF))


def test_row12_unanswered_requests_are_bounded() -> None:
    joined = Joined()
    near, _ = joined.open()
    with pytest.raises(SSHError):
        for _ in range(10_000):
            channel_of(near).request("env", b"", True)
    with pytest.raises(SSHError):
        for _ in range(10_000):
            joined.client.connection.keepalive()


@pytest.mark.parametrize(
    "payload",
    [
        b"\x50",
        GlobalRequest("x", True).encode()[:-1],
        ChannelRequest(0, "exit-status", False, b"").encode()[:-1],
        ChannelEof(0).encode() + b"\0",
        ChannelClose(0).encode()[:-1],
        ChannelOpen("session", 0, 1, 1000).encode()[:-3],
        b"\x5a\xff\xff\xff\xff",
        b"\x62" + codec.uint32(0) + codec.utf8("na\x1bme") + b"\0",
    ],
)
def test_row26_malformed_messages_end_the_connection(payload: bytes) -> None:
    joined = Joined()
    near, _ = joined.open()
    with pytest.raises(ProtocolError):
        hostile(joined, payload)
    joined.client.connection.lost(ConnectionLostError("gone"))
    assert near.names() == ["opened", "closed"]


def test_row19_the_reason_of_a_refusal_is_escaped() -> None:
    joined = Joined()
    handler = Handler()
    joined.client.connection.open_channel("session", b"", handler)
    hostile(joined, ChannelOpenFailure(0, 2, "no\x1b[31m\nway"))
    assert str(handler.calls[0][1]) == "channel refused: no\\033[31m\\012way (code 2)"


# --- the end of the connection ------------------------------------------------------------------------------------


def test_a_lost_connection_reaches_everybody_once() -> None:
    joined = Joined()
    handlers = [joined.open()[0] for _ in range(3)]
    opening = Handler()
    joined.client.connection.open_channel("session", b"", opening)
    replies: list[bytes | None] = []
    joined.client.connection.global_request("x@test", on_reply=replies.append)
    error = ConnectionLostError("gone")
    told: list[Exception] = []
    joined.client.connection.on_lost.append(told.append)
    joined.client.connection.lost(error)
    joined.client.connection.lost(ConnectionLostError("gone again"))
    for handler in (*handlers, opening):
        assert handler.calls[-1] == ("closed", error)
        assert handler.names().count("closed") == 1
    assert replies == [None]
    assert told == [error]
    with pytest.raises(ConnectionLostError):
        joined.client.connection.open_channel("session", b"", Handler())
    with pytest.raises(ConnectionLostError):
        channel_of(handlers[0]).write(b"x")
    with pytest.raises(ConnectionLostError):
        joined.client.connection.keepalive()


def test_a_handler_may_open_the_next_channel_when_one_closes() -> None:
    joined = Joined()
    near, far = joined.open()
    successor = Handler()

    def reopen() -> None:
        successor.channel = joined.client.connection.open_channel("session", b"", successor)

    near.on_closed = reopen
    channel_of(far).close()
    joined.run()
    assert successor.names() == ["opened"]
