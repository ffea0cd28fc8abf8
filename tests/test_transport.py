"""The transport of a connection: questions that wait, pings, what is kept, rekeys at any time, the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh._native.packet import Sealer
from fastssh.errors import (
    ConnectionLostError,
    DisconnectedError,
    HostKeyChangedError,
    HostKeyError,
    IntegrityError,
    PassphraseError,
    ProtocolError,
    SSHError,
)
from fastssh.keys.private import generate_private_key
from fastssh.transport import transport as module
from fastssh.transport.options import server_extensions
from fastssh.transport.phases import Phase, Role
from fastssh.wire.messages import (
    ChannelClose,
    ChannelEof,
    ChannelOpen,
    Debug,
    ExtInfo,
    GlobalRequest,
    Ignore,
    KexEcdhReply,
    KexInit,
    NewKeys,
    Ping,
    Pong,
    RequestSuccess,
    ServiceRequest,
    Unimplemented,
)
from tests.support.memory import Endpoint, LaxPlane, Pair, authenticated, connected, host_key

CURVE = {"kex": ("curve25519-sha256",)}
REQUEST = GlobalRequest("keepalive@openssh.com", True)


def lax_pair(role: Role, **options: Any) -> tuple[Pair, Endpoint, Endpoint, LaxPlane]:
    """(pair in the connection phase, the victim in this role, the lax side, its plane)."""
    plane = LaxPlane()
    client = Endpoint(Role.CLIENT, plane=plane if role is Role.SERVER else None, **{**CURVE, **options})
    server = Endpoint(Role.SERVER, plane=plane if role is Role.CLIENT else None, **CURVE)
    pair = Pair(client, server)
    pair.run()
    for side in (client, server):
        side.transport.set_phase(Phase.AUTH)
        side.transport.set_phase(Phase.CONNECTION)
    return (pair, client, server, plane) if role is Role.CLIENT else (pair, server, client, plane)


# --- the host key question ------------------------------------------------------------------------------------------


def test_the_answer_about_the_host_key_may_come_later() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.client.observer.verdict = "later"
    pair.run()
    assert pair.client.observer.keys == [host_key().public]
    assert not pair.client.observer.ready
    assert "SSH2_MSG_NEWKEYS sent" not in pair.client.observer.lines  # nothing is used before the key is accepted
    # the server's NEWKEYS and its EXT_INFO behind it are here already, and wait
    assert not pair.client.transport.peer_extensions
    assert pair.client.observer.answer is not None
    pair.client.observer.answer(None)
    assert pair.client.observer.ready == 1
    assert pair.client.transport.peer_extensions == server_extensions()
    pair.run()
    assert pair.server.observer.ready == 1
    with pytest.raises(RuntimeError, match="answered already"):
        pair.client.observer.answer(None)


def test_row17_a_late_no_ends_the_connection() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.client.observer.verdict = "later"
    pair.run()
    assert pair.client.observer.answer is not None
    error = HostKeyChangedError("not the one we know")
    with pytest.raises(HostKeyChangedError):
        pair.client.observer.answer(error)
    pair.client.transport.disconnect_for(error)
    with pytest.raises(DisconnectedError, match="host key verification failed") as caught:
        pair.run()
    assert caught.value.code == 9
    assert not pair.client.observer.ready


def test_an_answer_after_the_end_changes_nothing() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.client.observer.verdict = "later"
    pair.run()
    pair.client.transport.disconnect(11, "enough")
    assert pair.client.observer.answer is not None
    pair.client.observer.answer(None)
    assert not pair.client.observer.ready


def test_row12_what_a_server_sends_while_the_user_thinks_is_refused_and_not_stored() -> None:
    plane = LaxPlane()
    plane.rewrite = lambda payload: [payload] if payload[0] not in (NewKeys.number, ExtInfo.number) else []
    pair = Pair(Endpoint(Role.CLIENT, **CURVE), Endpoint(Role.SERVER, plane=plane))
    pair.client.observer.verdict = "later"
    pair.run()
    assert pair.client.observer.keys
    in_the_clear = Sealer("none", "none", b"", b"", b"")
    with pytest.raises(ProtocolError, match="strict KEX violation"):
        pair.client.give(in_the_clear.seal(Ignore(b"x" * 1000).encode()))
    assert pair.client.observer.answer is not None
    pair.client.observer.answer(None)  # too late
    assert not pair.client.observer.ready


# --- what goes up, what is answered ---------------------------------------------------------------------------------


def test_messages_go_up_in_order_and_events_are_passed_on() -> None:
    pair = authenticated()
    for _ in range(3):
        pair.client.transport.send(REQUEST)
        pair.client.transport.send(ChannelOpen("session", 0, 1, 1))
    pair.run()
    assert [payload[0] for payload in pair.server.observer.messages] == [80, 90] * 3
    pair.server.transport.process_events([(4, 7)])
    assert pair.server.observer.channel_events == [(4, 7)]


def test_pings_are_answered() -> None:
    pair = authenticated()
    heard: list[bytes] = []
    pair.client.transport.ping(b"one", heard.append)
    pair.client.transport.ping(b"two", heard.append)
    pair.run()
    assert heard == [b"one", b"two"]
    with pytest.raises(ValueError, match="does not answer pings"):
        pair.server.transport.ping(b"", heard.append)  # the client announced nothing
    pair.server.plane.send(Pong(b"unasked").encode())
    pair.run()
    assert heard == [b"one", b"two"]


def test_row12_unanswered_pings_are_bounded() -> None:
    pair = authenticated()
    with pytest.raises(ValueError, match="does not answer pings"):
        for _ in range(1000):
            pair.client.transport.ping(b"", lambda data: None)


@pytest.mark.parametrize("payload", [Ping(b"x" * 30_000).encode(), b"\xffunknown"], ids=["ping", "unknown"])
def test_row12_a_peer_that_makes_us_answer_and_does_not_read_is_dropped(payload: bytes) -> None:
    pair = authenticated()
    with pytest.raises(ProtocolError, match="does not read"):
        for _ in range(100_000):
            pair.server.plane.send(payload)
            pair.carry(pair.server, pair.client)
    assert pair.client.plane.unsent < 2 * module.MAX_UNREAD


def test_debug_text_is_escaped() -> None:
    pair = connected()
    pair.server.plane.send(Debug(True, "\x1b[2J\u202e").encode())
    pair.run()
    assert r"Remote: \033[2J\u202e" in pair.client.observer.lines


def test_a_client_announces_nothing_unless_told_to() -> None:
    pair = connected({"extensions": {"ping@openssh.com": b"0"}}, {"extensions": {}})
    assert pair.server.transport.peer_extensions == {"ping@openssh.com": b"0"}
    assert pair.client.transport.peer_extensions == {}


# --- rekeys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starters", [("client",), ("server",), ("client", "server")])
@pytest.mark.parametrize("kex", ["mlkem768x25519-sha256", "curve25519-sha256", "diffie-hellman-group14-sha256"])
def test_either_side_may_rekey_and_both_at_once(kex: str, starters: tuple[str, ...]) -> None:
    pair = authenticated({"kex": (kex,)})
    session_id = pair.client.transport.session_id
    for count in range(1, 4):
        for starter in starters:
            getattr(pair, starter).transport.rekey()
            getattr(pair, starter).transport.rekey()  # while one is under way nothing happens
        pair.run()
        for side in (pair.client, pair.server):
            assert not side.transport.exchanging
            assert side.observer.lines.count("SSH2_MSG_NEWKEYS sent") == 1 + count
            assert side.observer.lines.count("SSH2_MSG_KEXINIT received") == 1 + count
            assert side.transport.session_id == session_id  # that of the first exchange
            side.transport.send(REQUEST)
        pair.run()
        assert pair.client.observer.messages == pair.server.observer.messages == [REQUEST.encode()] * count
    assert len(pair.client.observer.keys) == 1  # asked once
    assert pair.client.observer.ready == 1


def test_messages_sent_while_rekeying_follow_our_newkeys_in_order() -> None:
    pair = authenticated()
    pair.client.transport.rekey()
    sent = [GlobalRequest(f"request-{i}", False).encode() for i in range(100)]
    for payload in sent:
        pair.client.transport.send_payload(payload)
    pair.client.transport.send(Debug(True, "at once"))  # 1 to 4 are not kept
    pair.carry(pair.client, pair.server)
    assert pair.server.observer.messages == []
    assert "Remote: at once" in pair.server.observer.lines
    pair.run()
    assert pair.server.observer.messages == sent


def test_what_the_peer_sent_before_it_saw_our_kexinit_is_handled_and_answered_after() -> None:
    pair = authenticated()
    pair.server.observer.on_message = lambda payload: pair.server.transport.send(RequestSuccess(payload[-1:]))
    for i in range(5):
        pair.client.transport.send(GlobalRequest("x", True, bytes((i,))))
    pair.server.transport.rekey()
    pair.carry(pair.client, pair.server)  # requests cross the server's KEXINIT
    assert len(pair.server.observer.messages) == 5
    assert pair.client.observer.messages == []
    pair.run()
    assert pair.client.observer.messages == [RequestSuccess(bytes((i,))).encode() for i in range(5)]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("extra", [REQUEST, ChannelOpen("session", 0, 1, 1), Ping(b""), ServiceRequest("ssh-userauth")])
def test_row12_a_rekeying_peer_that_sends_other_messages_is_dropped(role: Role, extra: Any) -> None:
    pair, victim, other, plane = lax_pair(role)
    other.transport.rekey()  # its KEXINIT is out
    plane.inject(extra.encode())
    with pytest.raises(ProtocolError):
        pair.run()
    assert victim.observer.messages == []


def test_row12_channel_data_between_kexinit_and_newkeys_is_refused() -> None:
    side = connected().client
    side.transport._peer_in_exchange = True
    for event in ((1, 0, 0, b"data"), (2, 0, b"message")):
        side.transport._over = False
        with pytest.raises(ProtocolError, match="during key exchange"):
            side.transport.process_events([event])
    assert side.observer.channel_events == []


def test_row12_what_is_kept_while_a_peer_does_not_finish_is_bounded() -> None:
    pair = authenticated()
    pair.client.transport.rekey()
    with pytest.raises(ProtocolError, match="does not finish"):
        for _ in range(module.MAX_KEPT_MESSAGES + 1):
            pair.client.transport.send(ChannelEof(0))
    assert len(pair.client.transport._kept) <= module.MAX_KEPT_MESSAGES + 1

    pair = authenticated()
    pair.client.transport.rekey()
    with pytest.raises(ProtocolError, match="does not finish"):
        for _ in range(100):
            pair.client.transport.send(GlobalRequest("x", False, bytes(30_000)))
    assert pair.client.transport._kept_bytes < 2 * module.MAX_KEPT_BYTES


def test_row12_pings_while_we_rekey_do_not_pile_up() -> None:
    """CVE-2025-26466."""
    pair, _, _, plane = lax_pair(Role.CLIENT)
    pair.client.transport.rekey()
    with pytest.raises(ProtocolError, match="does not finish"):
        for _ in range(100):
            plane.inject(Ping(bytes(30_000)).encode())
            pair.client.give(plane.take())


def test_a_peer_that_does_not_finish_a_rekey_is_dropped_in_time() -> None:
    pair = authenticated({"exchange_seconds": 60})
    side = pair.client
    side.clock.seconds = 1000
    side.transport.rekey()
    side.clock.seconds = 1060
    side.transport.check_rekey()
    side.clock.seconds = 1060.5
    with pytest.raises(ProtocolError, match="did not finish the key exchange"):
        side.transport.check_rekey()
    with pytest.raises(ConnectionLostError):
        side.transport.send(REQUEST)


def test_time_and_the_planes_counters_start_rekeys_but_not_before_the_user_is_known() -> None:
    for phase in Phase:
        pair = connected({"rekey_seconds": 100})
        for step in (Phase.AUTH, Phase.CONNECTION):
            if step <= phase:
                pair.client.transport.set_phase(step)
        pair.client.clock.seconds = 99
        pair.client.transport.check_rekey()
        assert not pair.client.transport.exchanging
        pair.client.clock.seconds = 100
        pair.client.transport.check_rekey()
        assert pair.client.transport.exchanging is (phase is Phase.CONNECTION)

    pair = authenticated({"rekey_bytes": 20_000})
    for _ in range(40):
        pair.client.transport.send(Ignore(bytes(1000)))
        pair.run()
        pair.client.transport.check_rekey()
    pair.run()
    assert 2 <= pair.client.observer.lines.count("SSH2_MSG_NEWKEYS sent") <= 4

    pair = authenticated({"rekey_bytes": 20_000})
    for _ in range(40):
        pair.server.transport.send(Ignore(bytes(1000)))
        pair.run()  # what we receive counts as well
    assert 2 <= pair.client.observer.lines.count("SSH2_MSG_NEWKEYS sent") <= 4


def test_row17_a_host_key_that_changes_at_rekey_ends_the_connection() -> None:
    """CVE-2025-26465."""
    pair = authenticated(server={"host_keys": (host_key(),)})
    pair.server.transport.options.host_keys = (generate_private_key("ed25519"),)
    pair.server.transport.rekey()
    with pytest.raises(ProtocolError, match="host key changed at rekey") as caught:
        pair.run()
    assert caught.value.reason == 9
    assert len(pair.client.observer.keys) == 1
    pair.client.transport.disconnect_for(caught.value)
    with pytest.raises(DisconnectedError):
        pair.run()


def test_row17_another_of_the_servers_keys_at_rekey_ends_the_connection_too() -> None:
    pair = authenticated(server={"host_keys": (host_key(), host_key("ecdsa", 256))})
    offer = pair.client.transport._offer
    pair.client.transport._offer = offer._replace(host_key=("ecdsa-sha2-nistp256",))
    pair.client.transport.rekey()
    with pytest.raises(ProtocolError, match="host key changed at rekey"):
        pair.run()


def test_a_peer_that_answers_kexinit_with_unimplemented_is_dropped() -> None:
    _, victim, _, plane = lax_pair(Role.CLIENT)
    sequence = victim.plane.send_sequence
    victim.transport.rekey()
    plane.inject(Unimplemented(sequence).encode())
    with pytest.raises(ProtocolError, match="does not implement the key exchange"):
        victim.give(plane.take())


def test_a_rekey_cannot_be_asked_for_before_the_first_exchange() -> None:
    side = Endpoint(Role.CLIENT)
    with pytest.raises(ValueError, match="not done"):
        side.transport.rekey()
    side.transport.check_rekey()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("role", Role)
def test_a_packet_sent_on_a_wrong_guess_is_ignored_and_on_a_right_one_is_used(role: Role, right: bool) -> None:
    """RFC 4253 section 7.1: first_kex_packet_follows."""
    plane = LaxPlane()
    theirs = ("curve25519-sha256", "ecdh-sha2-nistp256")
    ours = theirs if right else theirs[::-1]
    victim = Endpoint(role, kex=ours)
    other = Endpoint(Role.SERVER if role is Role.CLIENT else Role.CLIENT, kex=theirs, plane=plane)
    client, server = (victim, other) if role is Role.CLIENT else (other, victim)
    make = other.transport._offer.kexinit

    class Guessing:
        def kexinit(self, *args: Any, **named: Any) -> KexInit:
            kexinit = make(*args, **named)
            return KexInit(**{**{n: getattr(kexinit, n) for n, _ in KexInit._layout}, "first_kex_packet_follows": True})

    other.transport._offer = Guessing()  # type: ignore[assignment]
    if not right:
        plane.rewrite = lambda p: [p, KexEcdhReply(b"", b"guess", b"").encode()] if p[0] == KexInit.number else [p]
    pair = Pair(client, server)
    pair.run()
    assert client.observer.ready == server.observer.ready == 1
    assert any("wrong guess" in line for line in victim.observer.lines) is not right


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["cr", "sr", "cm", "sm", "cs", "sc"]), max_size=40), st.integers(1, 3000))
def test_any_interleaving_of_rekeys_and_messages_keeps_all_messages_in_order(steps: list[str], piece: int) -> None:
    pair = authenticated(CURVE)
    pair.piece = piece
    sent: dict[str, list[bytes]] = {"c": [], "s": []}
    sides = {"c": pair.client, "s": pair.server}
    for index, (side, what) in enumerate(steps):
        if what == "r":
            sides[side].transport.rekey()
        elif what == "m":
            message = GlobalRequest("n", False, index.to_bytes(2, "big"))
            sides[side].transport.send(message)
            sent[side].append(message.encode())
        else:
            pair.carry(sides[side], sides[what])
    pair.run()
    assert pair.server.observer.messages == sent["c"]
    assert pair.client.observer.messages == sent["s"]
    assert not pair.client.transport.exchanging
    assert not pair.server.transport.exchanging


# --- compression ----------------------------------------------------------------------------------------------------


def test_delayed_compression_starts_with_the_connection_phase_and_anew_with_each_key() -> None:
    zlib = {"compression": ("zlib@openssh.com", "none")}
    pair = connected(zlib, zlib)
    assert "compression: zlib@openssh.com" in " ".join(pair.client.observer.lines)

    def size(side: Endpoint) -> int:
        before = side.plane.bytes_sent
        side.transport.send(Ignore(bytes(10_000)))
        pair.run()
        return int(side.plane.bytes_sent - before)

    assert size(pair.client) > 10_000
    for side in (pair.client, pair.server):
        side.transport.set_phase(Phase.AUTH)
        side.transport.set_phase(Phase.CONNECTION)
    assert size(pair.client) < 300
    assert size(pair.server) < 300
    for starter in (pair.client, pair.server):
        starter.transport.rekey()
        starter.transport.send(REQUEST)
        pair.run()
        assert size(pair.client) < 300
        assert size(pair.server) < 300
    assert pair.client.observer.messages == pair.server.observer.messages == [REQUEST.encode()]


def test_row13_compression_is_off_unless_asked_for() -> None:
    assert connected().client.transport.negotiated.compression_c2s == "none"


# --- the end --------------------------------------------------------------------------------------------------------


def test_disconnect_is_said_once_and_nothing_after_it() -> None:
    pair = authenticated()
    pair.client.transport.disconnect(11, "bye")
    pair.client.transport.disconnect(11, "again")
    with pytest.raises(ConnectionLostError):
        pair.client.transport.send(REQUEST)
    with pytest.raises(DisconnectedError) as caught:
        pair.run()
    assert (caught.value.code, caught.value.description) == (11, "bye")
    pair.client.transport.rekey()
    assert not pair.client.transport.exchanging
    pair.client.transport.process_events([(0, 0, REQUEST.encode())])
    assert pair.client.observer.messages == []


def test_nothing_is_said_to_a_peer_that_is_not_identified() -> None:
    side = Endpoint(Role.CLIENT)
    side.transport.disconnect(11, "bye")
    assert side.plane.take() == b""


@pytest.mark.parametrize(
    ("error", "code"),
    [(ProtocolError("x", 3), 3), (IntegrityError(), 5), (HostKeyError("x"), 9), (SSHError("x\ny" * 500), 11)],
)
def test_errors_tell_the_peer_the_right_reason(error: SSHError, code: int) -> None:
    pair = connected()
    pair.client.transport.disconnect_for(error)
    with pytest.raises(DisconnectedError) as caught:
        pair.run()
    assert caught.value.code == code
    assert len(caught.value.description) <= 255


@pytest.mark.parametrize(
    "error",
    [HostKeyError("/home/ann/known_hosts:7: no"), PassphraseError("/home/ann/key: wrong"), SSHError("/opt/askpass")],
)
def test_row17_the_peer_hears_nothing_of_this_machine(error: SSHError) -> None:
    """It may be anybody: most of these errors come before its host key is trusted."""
    pair = connected()
    pair.client.transport.disconnect_for(error)
    with pytest.raises(DisconnectedError) as caught:
        pair.run()
    assert "/" not in caught.value.description


def test_a_disconnect_in_front_of_damaged_bytes_is_heard() -> None:
    pair = authenticated()
    pair.client.transport.disconnect(11, "too many authentication failures")
    with pytest.raises(DisconnectedError, match="too many"):
        pair.server.give(pair.client.take() + bytes(64))


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 5000), st.sampled_from(list(Role)))
def test_row26_any_damage_on_the_way_ends_in_one_clear_error(noise: bytes, offset: int, role: Role) -> None:
    pair = Pair(Endpoint(Role.CLIENT, **CURVE), Endpoint(Role.SERVER, **CURVE))
    seen = 0

    def tap(sender: Role, data: bytes) -> bytes:
        nonlocal seen
        if sender is not role or not data:
            return data
        at = offset - seen
        seen += len(data)
        return data[:at] + noise + data[at + len(noise) :] if 0 <= at < len(data) else data

    pair.tap = tap
    try:
        pair.run()
    except SSHError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("cut", [ChannelClose(0).encode()[:-1], b"\x14" + bytes(3), b"\x50"])
def test_row26_malformed_messages_end_the_connection_with_an_error(cut: bytes) -> None:
    pair, victim, _, plane = lax_pair(Role.CLIENT)
    seen: list[bytes] = []

    def decode(payload: bytes) -> None:
        seen.append(GlobalRequest.decode(payload).encode())

    victim.observer.on_message = decode
    plane.inject(cut)
    with pytest.raises(ProtocolError):
        pair.run()
    assert seen == []


def test_too_many_extensions_announced_are_refused() -> None:
    plane = LaxPlane()
    plane.rewrite = lambda p: [p if p[0] != ExtInfo.number else b"\x07\xff\xff\xff\xff" + p[5:]]
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER, plane=plane))
    with pytest.raises(ProtocolError, match="4294967295 items announced"):
        pair.run()


def test_randomness_and_time_are_handed_in() -> None:
    """The same random bytes make the same session, as far as the library's own signing lets them."""
    calls: list[int] = []

    def random() -> Callable[[int], bytes]:
        state = [0]

        def take(count: int) -> bytes:
            calls.append(count)
            state[0] += 1
            return bytes((state[0] + i) % 256 for i in range(count))

        return take

    sessions = set()
    for _ in range(2):
        pair = Pair(
            Endpoint(Role.CLIENT, random=random(), **CURVE), Endpoint(Role.SERVER, random=random(), **CURVE)
        )
        pair.run()
        sessions.add(pair.client.transport.session_id)
    assert len(sessions) == 1
    assert sorted(set(calls)) == [16, 32]  # cookies and X25519 scalars
