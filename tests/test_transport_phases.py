"""Who may say what when: strict KEX (SECURITY.md row 1) and the phase table (row 2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastssh.errors import DisconnectedError, ProtocolError
from fastssh.transport import phases
from fastssh.transport.negotiation import Offer
from fastssh.transport.phases import Phase, Role, rule_for
from fastssh.transport.transport import Transport
from fastssh.wire import messages
from fastssh.wire.messages import (
    ChannelOpen,
    Debug,
    Disconnect,
    ExtInfo,
    Ignore,
    KexEcdhInit,
    KexEcdhReply,
    KexInit,
    NewKeys,
    ServiceAccept,
    ServiceRequest,
    Unimplemented,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
)
from tests.support.memory import Endpoint, LaxPlane, Pair, authenticated

CURVE = ("curve25519-sha256",)


def hostile(role: Role) -> tuple[Pair, Endpoint, Endpoint, LaxPlane]:
    """(pair, the victim, the hostile side, its plane); nothing has been said yet."""
    plane = LaxPlane()
    client = Endpoint(Role.CLIENT, kex=CURVE, plane=plane if role is Role.SERVER else None)
    server = Endpoint(Role.SERVER, kex=CURVE, plane=plane if role is Role.CLIENT else None)
    pair = Pair(client, server)
    return (pair, client, server, plane) if role is Role.CLIENT else (pair, server, client, plane)


def before(number: int, *extra: bytes) -> Callable[[bytes], list[bytes]]:
    """Says ``extra`` before the first message of this number."""
    done: list[bool] = []

    def rewrite(payload: bytes) -> list[bytes]:
        if payload[0] != number or done:
            return [payload]
        done.append(True)
        return [*extra, payload]

    return rewrite


class PlainOffer(Offer):
    """An offer of a peer that knows no strict KEX."""

    def kexinit(self, role: Role, cookie: bytes, *, first: bool) -> KexInit:
        return super().kexinit(role, cookie, first=False)


IGNORED = [Ignore(b"x").encode(), Debug(False, "x").encode(), Unimplemented(0).encode(), b"\x16unknown"]


# --- row 1 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", IGNORED, ids=["ignore", "debug", "unimplemented", "unknown"])
@pytest.mark.parametrize("role", Role)
def test_row01_anything_before_kexinit_is_fatal_under_strict_kex(role: Role, extra: bytes) -> None:
    """The first half of CVE-2023-48795: a packet put in before KEXINIT, to be cut out behind NEWKEYS."""
    pair, victim, _, plane = hostile(role)
    plane.rewrite = before(KexInit.number, extra)
    with pytest.raises(ProtocolError):
        pair.run()
    assert not victim.observer.ready
    assert not victim.observer.keys


@pytest.mark.parametrize("extra", IGNORED, ids=["ignore", "debug", "unimplemented", "unknown"])
@pytest.mark.parametrize("at", ["method", "newkeys"])
@pytest.mark.parametrize("role", Role)
def test_row01_anything_else_in_the_first_exchange_is_fatal_under_strict_kex(role: Role, at: str, extra: bytes) -> None:
    pair, victim, _, plane = hostile(role)
    method = KexEcdhReply.number if role is Role.CLIENT else KexEcdhInit.number
    plane.rewrite = before(method if at == "method" else NewKeys.number, extra)
    with pytest.raises(ProtocolError, match=r"strict KEX violation|unexpected"):
        pair.run()
    assert not victim.observer.ready


@pytest.mark.parametrize("at", [KexInit.number, NewKeys.number])
@pytest.mark.parametrize("role", Role)
def test_without_strict_kex_ignore_and_debug_are_legal_in_the_first_exchange(role: Role, at: int) -> None:
    pair, victim, other, plane = hostile(role)
    other.transport._offer = PlainOffer(**other.transport._offer._asdict())
    plane.rewrite = before(at, *IGNORED[:2])
    pair.run()
    assert victim.observer.ready == 1
    assert not victim.transport.negotiated.strict
    assert "Remote: x" in victim.observer.lines
    assert victim.plane.receive_sequence == other.plane.send_sequence >= 5  # nothing started again
    other.transport.rekey()
    pair.run()
    assert victim.plane.receive_sequence == other.plane.send_sequence >= 8


@pytest.mark.parametrize("number", [5, 7, 50, 80, 90, 192])
@pytest.mark.parametrize("role", Role)
def test_row02_without_strict_kex_later_messages_are_fatal_in_the_first_exchange_all_the_same(
    role: Role, number: int
) -> None:
    pair, victim, other, plane = hostile(role)
    other.transport._offer = PlainOffer(**other.transport._offer._asdict())
    plane.rewrite = before(NewKeys.number, bytes((number,)) + bytes(8))
    with pytest.raises(ProtocolError):
        pair.run()
    assert not victim.observer.messages


@pytest.mark.parametrize("role", Role)
def test_row01_sequence_numbers_start_again_at_each_newkeys(role: Role) -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.run()
    assert pair.client.transport.negotiated.strict
    first = (pair.client if role is Role.CLIENT else pair.server).plane
    assert first.send_sequence <= 1  # a server has sent its EXT_INFO
    pair.server.transport.rekey()
    pair.run()
    for side in (pair.client, pair.server):
        assert side.plane.send_sequence == side.plane.receive_sequence == 0


@pytest.mark.parametrize("role", Role)
def test_row01_a_packet_cut_out_behind_newkeys_is_noticed(role: Role) -> None:
    """The second half of CVE-2023-48795: the first sealed packet vanishes; the next one must not open."""
    pair = Pair(Endpoint(Role.CLIENT, kex=CURVE), Endpoint(Role.SERVER, kex=CURVE))
    pair.run()
    sender, receiver = (pair.server, pair.client) if role is Role.CLIENT else (pair.client, pair.server)
    sender.plane.send(Ignore(b"").encode())
    sender.take()
    sender.plane.send(Debug(True, "second").encode())
    with pytest.raises(ProtocolError):
        pair.run()
    assert "Remote: second" not in receiver.observer.lines


# --- row 2 -------------------------------------------------------------------------------------------------------


def test_every_rule_names_a_handler() -> None:
    for rule in phases._TABLE:
        assert callable(getattr(Transport, rule.handler))


def test_row02_the_table_lets_in_what_the_rfcs_allow_and_nothing_else() -> None:
    """An independent list: (role that receives, phase) -> numbers that are known there, outside a key exchange."""
    always = {1, 2, 3, 4, 20, 21, *range(30, 50)}
    both = {80, 81, 82, 90, 91, 92, 96, 97, 98, 99, 100}
    allowed = {
        (Role.CLIENT, Phase.KEX): set(),
        (Role.SERVER, Phase.KEX): set(),
        (Role.CLIENT, Phase.SERVICE): {6, 7, 192, 193},
        (Role.SERVER, Phase.SERVICE): {5, 7, 192, 193},
        (Role.CLIENT, Phase.AUTH): {7, 51, 52, 53, 60, 192, 193},
        (Role.SERVER, Phase.AUTH): {5, 7, 50, 61, 192, 193},
        (Role.CLIENT, Phase.CONNECTION): both | {192, 193},
        (Role.SERVER, Phase.CONNECTION): both | {50, 61, 192, 193},
    }
    for (role, phase), extra in allowed.items():
        for number in range(256):
            known = number in always | extra
            try:
                rule = rule_for(number, role, phase, in_exchange=False, strict_first=False)
            except ProtocolError as error:
                assert not known, (number, role, phase)
                assert error.reason == 2
            else:
                assert known or rule.handler == "_on_unknown", (number, role, phase)


@pytest.mark.parametrize("role", Role)
def test_row02_between_kexinit_and_newkeys_only_the_exchange_is_let_in(role: Role) -> None:
    for phase in Phase:
        for number in range(256):
            if number in {1, 2, 3, 4, 21, *range(30, 50)}:
                rule_for(number, role, phase, in_exchange=True, strict_first=False)
            else:
                with pytest.raises(ProtocolError):
                    rule_for(number, role, phase, in_exchange=True, strict_first=False)


@pytest.mark.parametrize("role", Role)
def test_row02_messages_out_of_place_reach_no_handler(role: Role) -> None:
    """Each known message, sealed and well-formed, in each phase where it has no place."""
    samples: dict[int, bytes] = {
        5: ServiceRequest("ssh-userauth").encode(),
        6: ServiceAccept("ssh-userauth").encode(),
        50: UserauthRequest("root", "ssh-connection", "none").encode(),
        51: UserauthFailure(("password",)).encode(),
        52: UserauthSuccess().encode(),
        53: messages.UserauthBanner("hi").encode(),
        60: messages.UserauthPkOk("a", b"").encode(),
        61: messages.UserauthInfoResponse(()).encode(),
        80: messages.GlobalRequest("x", True).encode(),
        90: ChannelOpen("session", 0, 1, 1).encode(),
        98: messages.ChannelRequest(0, "exec", False).encode(),
        30: KexEcdhInit(b"").encode(),
    }
    for phase in (Phase.SERVICE, Phase.AUTH, Phase.CONNECTION):
        for number, payload in samples.items():
            try:
                rule_for(number, role, phase, in_exchange=False, strict_first=False)
                if number != 30:
                    continue
            except ProtocolError:
                pass
            pair, victim, _, plane = hostile(role)
            pair.run()
            victim.observer.messages.clear()
            for step in (Phase.AUTH, Phase.CONNECTION):
                if step <= phase:
                    victim.transport.set_phase(step)
            plane.inject(payload)
            with pytest.raises(ProtocolError):
                pair.run()
            assert not victim.observer.messages
            plane.inject(Debug(True, "after the end").encode())
            pair.run()
            assert "Remote: after the end" not in victim.observer.lines


@pytest.mark.parametrize("number", [90, 91, 94, 80, 52, 7])
def test_row02_nothing_of_a_later_phase_comes_in_the_clear(number: int) -> None:
    """CVE-2025-32433: connection messages before authentication, here even before the key exchange."""
    for role in Role:
        for at in (KexInit.number, NewKeys.number):
            pair, victim, _, plane = hostile(role)
            plane.rewrite = before(at, bytes((number,)) + bytes(20))
            with pytest.raises(ProtocolError):
                pair.run()
            assert not victim.observer.messages
            assert not victim.observer.ready


def test_row02_success_before_service_accept_is_refused() -> None:
    """CVE-2018-10933, from the other side."""
    pair, _, _, plane = hostile(Role.CLIENT)
    pair.run()
    plane.inject(UserauthSuccess().encode())
    with pytest.raises(ProtocolError, match="message 52 received before a service was requested"):
        pair.run()


def test_row02_ext_info_is_taken_right_after_newkeys_only() -> None:
    """CVE-2023-46445: extensions put in elsewhere."""
    info = ExtInfo((("server-sig-algs", b"evil"),)).encode()
    pair, victim, _, plane = hostile(Role.CLIENT)
    pair.run()
    assert victim.transport.peer_extensions["server-sig-algs"].startswith(b"ssh-ed25519")
    plane.inject(info)  # a second one
    with pytest.raises(ProtocolError, match="not right after NEWKEYS"):
        pair.run()
    assert victim.transport.peer_extensions["server-sig-algs"] != b"evil"

    pair, victim, _, plane = hostile(Role.SERVER)
    pair.run()
    plane.inject(ServiceRequest("ssh-userauth").encode())
    plane.inject(info)
    with pytest.raises(ProtocolError, match="not right after NEWKEYS"):
        pair.run()
    assert not victim.transport.peer_extensions

    pair, victim, _, plane = hostile(Role.SERVER)
    pair.run()
    victim.transport.set_phase(Phase.AUTH)
    plane.inject(info)
    with pytest.raises(ProtocolError, match="EXT_INFO received from a client"):
        pair.run()


def test_a_servers_ext_info_before_success_is_taken_and_success_must_follow() -> None:
    """RFC 8308 section 2.4."""
    info = ExtInfo((("late", b"1"),)).encode()
    pair, victim, _, plane = hostile(Role.CLIENT)
    pair.run()
    victim.transport.set_phase(Phase.AUTH)
    for payload in (info, Ignore(b"").encode(), UserauthSuccess().encode()):
        plane.inject(payload)
    pair.run()
    assert victim.transport.peer_extensions["late"] == b"1"
    assert victim.observer.messages == [UserauthSuccess().encode()]

    pair, victim, _, plane = hostile(Role.CLIENT)
    pair.run()
    victim.transport.set_phase(Phase.AUTH)
    plane.inject(info)
    plane.inject(UserauthFailure(("password",)).encode())
    with pytest.raises(ProtocolError, match="between EXT_INFO and USERAUTH_SUCCESS"):
        pair.run()


def test_row02_ext_info_in_a_rekey_or_after_it_is_refused() -> None:
    for at in (KexEcdhReply.number, None):
        pair, victim, other, plane = hostile(Role.CLIENT)
        pair.run()
        for step in (Phase.AUTH, Phase.CONNECTION):
            victim.transport.set_phase(step)
        info = ExtInfo(()).encode()
        if at is not None:
            plane.rewrite = before(at, info)
        other.transport.rekey()
        with pytest.raises(ProtocolError):
            pair.run()
            plane.inject(info)
            pair.run()


def test_requests_pipelined_behind_success_are_ignored_by_a_server() -> None:
    """RFC 4252 section 5.1."""
    pair, victim, _, plane = hostile(Role.SERVER)
    pair.run()
    victim.transport.set_phase(Phase.AUTH)
    victim.transport.set_phase(Phase.CONNECTION)
    plane.inject(UserauthRequest("u", "ssh-connection", "none").encode())
    plane.inject(Debug(True, "on it goes").encode())
    pair.run()
    assert victim.observer.messages == []
    assert "Remote: on it goes" in victim.observer.lines


@pytest.mark.parametrize(
    "extra", [NewKeys().encode(), KexEcdhReply(b"", b"", b"").encode(), b"\x22", b"\x14" + bytes(60)]
)
@pytest.mark.parametrize("role", Role)
def test_row02_exchange_messages_nobody_waits_for_are_fatal(role: Role, extra: bytes) -> None:
    pair, _, _, plane = hostile(role)
    plane.rewrite = before(KexEcdhReply.number if role is Role.CLIENT else KexEcdhInit.number, extra)
    with pytest.raises(ProtocolError):
        pair.run()
    pair, victim, _, plane = hostile(role)
    pair.run()
    plane.inject(extra)
    with pytest.raises(ProtocolError):
        pair.run()
    assert victim.observer.ready == 1


def test_unknown_messages_are_answered_with_unimplemented() -> None:
    for role in Role:
        for number in (8, 22, 29, 101, 127, 128, 191, 194, 255):
            pair = authenticated()
            victim, other = (pair.client, pair.server) if role is Role.CLIENT else (pair.server, pair.client)
            sequence = other.plane.send_sequence
            other.plane.send(bytes((number,)) + b"what")
            pair.run()
            assert f"Received SSH2_MSG_UNIMPLEMENTED for {sequence}" in other.observer.lines
            assert f"unknown message {number} received" in victim.observer.lines


def test_phases_never_go_back() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    with pytest.raises(ValueError, match="cannot follow"):
        pair.client.transport.set_phase(Phase.CONNECTION)
    pair.run()
    pair.client.transport.set_phase(Phase.AUTH)
    for phase in (Phase.KEX, Phase.SERVICE, Phase.AUTH):
        with pytest.raises(ValueError, match="cannot follow"):
            pair.client.transport.set_phase(phase)


@pytest.mark.parametrize("role", Role)
def test_disconnect_is_heard_in_the_first_exchange_and_tells_why(role: Role) -> None:
    pair, victim, _, plane = hostile(role)
    plane.rewrite = before(NewKeys.number, Disconnect(11, "go\x1b[2J away\n").encode())
    with pytest.raises(DisconnectedError) as caught:
        pair.run()
    assert caught.value.code == 11
    assert caught.value.description == r"go\033[2J away\012"
    victim.plane.take()
    victim.transport.disconnect_for(caught.value)  # nothing is said to a peer that is gone
    assert victim.plane.take() == b""
