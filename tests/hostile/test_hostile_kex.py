"""Key exchange: order of messages, values, signatures, host keys, and exchanges after the first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastssh.errors import HostKeyChangedError, HostKeyRevokedError, NegotiationError, ProtocolError, SSHTimeoutError
from fastssh.keys.known_hosts import add_known_host
from fastssh.transport.kex.groups import modp_group
from fastssh.transport.kex.method import Context
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelRequest,
    Debug,
    ExtInfo,
    GlobalRequest,
    Ignore,
    KexDhGexGroup,
    KexdhReply,
    KexEcdhReply,
    KexInit,
    NewKeys,
    Ping,
    ServiceAccept,
    Unimplemented,
    UserauthBanner,
    UserauthSuccess,
)
from tests.hostile.client import memory_bounded, refused, survives
from tests.hostile.server import Peer, Script, healthy, host_key

KEXINIT, NEWKEYS, REPLY = KexInit.number, NewKeys.number, KexEcdhReply.number

INTRUDERS = {
    "ignore": Ignore(b"x"),
    "debug": Debug(True, "x"),
    "unimplemented": Unimplemented(0),
    "unknown": b"\x96",
    "ext-info": ExtInfo((("server-sig-algs", b"ssh-ed25519"),)),
    "ping": Ping(b"x"),
    "service-accept": ServiceAccept("ssh-userauth"),
    "success": UserauthSuccess(),
    "banner": UserauthBanner("x"),
    "global-request": GlobalRequest("x", False),
}


def short(value: object) -> str | None:
    """Test ids for huge numbers."""
    return f"{value:#x}"[:16] + f" of {value.bit_length()} bits" if isinstance(value, int) else None


def rewriting(rewrite: Callable[[bytes], list[bytes]], after: Script = Peer.authenticate) -> Script:
    def script(peer: Peer) -> None:
        peer.plane.rewrite = rewrite
        after(peer)

    return script


def before(number: int, *intruders: Any) -> Script:
    """These come right before the message of this number."""
    payloads = [each if isinstance(each, bytes) else each.encode() for each in intruders]
    return rewriting(lambda payload: [*payloads, payload] if payload[0] == number else [payload])


def instead(number: int, change: Callable[[bytes], bytes], after: Script = Peer.authenticate) -> Script:
    return rewriting(lambda payload: [change(payload)] if payload[0] == number else [payload], after)


# --- row 1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [KEXINIT, REPLY, NEWKEYS], ids=["before KEXINIT", "before reply", "before NEWKEYS"])
@pytest.mark.parametrize("name", INTRUDERS)
async def test_row01_nothing_may_be_slipped_into_the_first_exchange(serve, number, name):
    """Terrapin: what is injected there moves sequence numbers, so that later messages can be cut out."""
    await refused(serve(before(number, INTRUDERS[name])), ProtocolError, "message|strict KEX|does not implement")


class _Lenient:
    """An offer without strict KEX: a server of before 2024."""

    def __init__(self, offer: Any) -> None:
        self._offer = offer

    def kexinit(self, *given: Any, **named: Any) -> KexInit:
        kexinit = self._offer.kexinit(*given, **named)
        values = {name: getattr(kexinit, name) for name, _ in KexInit._layout}
        values["kex_algorithms"] = tuple(name for name in values["kex_algorithms"] if "-strict-" not in name)
        return KexInit(**values)


@pytest.mark.parametrize("number", [KEXINIT, REPLY, NEWKEYS], ids=["before KEXINIT", "before reply", "before NEWKEYS"])
@pytest.mark.parametrize("name", sorted(set(INTRUDERS) - {"unimplemented", "unknown"}))
async def test_row02_without_strict_kex_only_what_means_nothing_may_come_between(serve, number, name):
    def script(peer: Peer) -> None:
        peer.transport._offer = _Lenient(peer.transport._offer)  # type: ignore[assignment]
        before(number, INTRUDERS[name])(peer)
        healthy(peer)

    async def use(connection: Any) -> None:
        assert not connection.negotiated.strict
        await connection.run("true")

    if name in ("ignore", "debug"):
        await survives(serve(script), use)
    else:
        await refused(serve(script), ProtocolError, "message|not allowed")


@pytest.mark.parametrize("direction", ["lost", "repeated"])
async def test_row01_sequence_numbers_start_anew_and_no_packet_is_lost_or_repeated_unseen(serve, direction):
    """A packet that is cut out, or played again, after NEWKEYS: the next one does not verify."""

    def script(peer: Peer) -> None:
        peer.ready()
        peer.plane.mangle = lambda packet: b"" if direction == "lost" else packet * 2
        peer.send(Ignore(b"the one"))
        peer.plane.mangle = lambda packet: packet
        peer.service()
        peer.authenticate()

    await refused(serve(script), ProtocolError, "authentication code|length")


# --- row 2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        before(REPLY, NewKeys()),
        before(NEWKEYS, NewKeys()),
        before(NEWKEYS, KexEcdhReply(b"", b"", b"")),
        instead(REPLY, lambda payload: NewKeys().encode()),
        instead(KEXINIT, lambda payload: NewKeys().encode()),
        rewriting(lambda payload: [payload] * (2 if payload[0] == KEXINIT else 1)),
        rewriting(lambda payload: [payload] * (50 if payload[0] == REPLY else 1)),
        instead(REPLY, lambda payload: bytes((30,)) + payload[1:]),
        instead(REPLY, lambda payload: bytes((49,)) + payload[1:]),
    ],
)
async def test_row02_exchange_messages_come_once_and_in_order(serve, script):
    await refused(serve(script), ProtocolError, "unexpected|message|not allowed|authentication code|length")


@pytest.mark.parametrize("name", ["ext-info", "success", "global-request", "banner"])
async def test_row02_nothing_of_later_phases_before_the_service_request_was_answered(serve, name):
    def script(peer: Peer) -> None:
        peer.ready()
        peer.send(Ignore(b""), Ping(b""), INTRUDERS[name])
        peer.service()
        peer.authenticate()

    await refused(serve(script), ProtocolError, "EXT_INFO|message [0-9]+|before authentication")


async def test_row02_second_ext_info_is_only_taken_right_before_success(serve):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(INTRUDERS["ext-info"], UserauthBanner("x"))

    await refused(serve(script), ProtocolError, "between EXT_INFO and USERAUTH_SUCCESS")


@pytest.mark.parametrize("answer", ["success", "connection"])
async def test_row02_ext_info_after_success_ends_the_connection(serve, answer):
    def script(peer: Peer) -> None:
        peer.authenticate()
        if answer == "connection":
            peer.start()
        peer.send(INTRUDERS["ext-info"])

    await refused(serve(script), ProtocolError, "message 7 received after authentication")


@pytest.mark.parametrize("guesses", [0, 1, 2])
async def test_row02_one_wrong_guess_is_passed_over_and_no_more(serve, guesses):
    """first_kex_packet_follows (RFC 4253 section 7): exactly the next message is ignored."""

    def rewrite(payload: bytes) -> list[bytes]:
        if payload[0] != KEXINIT:
            return [payload]
        kexinit = KexInit.decode(payload)
        values = {name: getattr(kexinit, name) for name, _ in KexInit._layout}
        values["kex_algorithms"] = ("diffie-hellman-group14-sha256", *values["kex_algorithms"])
        values["first_kex_packet_follows"] = True
        announced = KexInit(**values).encode()
        return [announced] + [KexdhReply(b"guess", 5, b"guess").encode()] * guesses

    server = serve(rewriting(rewrite))
    # The server's own half of the exchange does not know of this KEXINIT: the signature tells where the client got to.
    match = "signature" if guesses == 1 else "."
    await refused(server, ProtocolError, match)


# --- row 7 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload[:10],
        lambda payload: payload[:17],
        lambda payload: payload[:-1],
        lambda payload: payload + b"x",
        lambda payload: payload[:17] + b"\xff\xff\xff\xff" + payload[21:],
        lambda payload: payload[:17] + b"\x7f\xff\xff\xff" + payload[21:],
        lambda payload: payload[:17] + codec.string(b"a,,b") + payload[21:],
        lambda payload: payload[:17] + codec.string(b"\x1b[31m") + payload[21:],
        lambda payload: payload[:17] + codec.string(b"a," * 50_000 + b"a") + payload[21:],
        lambda payload: payload[:1],
    ],
)
async def test_row07_malformed_kexinit(serve, change):
    await refused(serve(instead(KEXINIT, change)), ProtocolError, "truncated|superfluous|name|message|no common")


@pytest.mark.parametrize(
    "reply",
    [
        b"\x1f",
        b"\x1f\xff\xff\xff\xff",
        KexEcdhReply(b"", b"", b"").encode(),
        KexEcdhReply(b"x" * 200_000, b"", b"").encode(),
        KexEcdhReply(host_key().public.blob, b"\x09" + bytes(31), b"").encode(),
        KexEcdhReply(host_key().public.blob, b"\x09" + bytes(31), codec.string(b"ssh-ed25519") + b"\xff" * 8).encode(),
        KexEcdhReply(host_key().public.blob + b"x", b"\x09" + bytes(31), b"").encode(),
        KexEcdhReply(b"\xff\xff\xff\xff" + host_key().public.blob, b"\x09" + bytes(31), b"").encode(),
        KexEcdhReply(codec.string(b"\x1b[31m") + bytes(40), b"\x09" + bytes(31), b"").encode(),
    ],
)
async def test_row07_malformed_reply(serve, reply):
    await refused(serve(instead(REPLY, lambda _: reply)), ProtocolError, ".")


# --- row 15 -------------------------------------------------------------------------------------------------------


def with_value(change: Callable[[KexEcdhReply], bytes]) -> Script:
    def replace(payload: bytes) -> bytes:
        reply = KexEcdhReply.decode(payload)
        return KexEcdhReply(reply.host_key, change(reply), reply.signature).encode()

    return instead(REPLY, replace)


P25519 = 2**255 - 19
LOW_ORDER = {
    "zero": 0,
    "one": 1,
    "order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "order 8 too": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    "p-1": P25519 - 1,
    "p": P25519,
    "p+1": P25519 + 1,
}


@pytest.mark.parametrize("name", LOW_ORDER)
async def test_row15_x25519_points_of_low_order_are_refused(serve, name):
    point = LOW_ORDER[name].to_bytes(32, "little")
    await refused(serve(with_value(lambda _: point)), ProtocolError, "X25519 shared secret is all zero")


@pytest.mark.parametrize("length", [0, 1, 31, 33, 200_000])
async def test_row15_x25519_values_of_another_length_are_refused(serve, length):
    await refused(serve(with_value(lambda _: b"\x09" * length)), ProtocolError, "X25519 public value has")


@pytest.mark.parametrize(
    ("kex", "size"), [("ecdh-sha2-nistp256", 32), ("ecdh-sha2-nistp384", 48), ("ecdh-sha2-nistp521", 66)]
)
@pytest.mark.parametrize("kind", ["infinity", "compressed", "off curve", "zero", "short", "hybrid", "out of field"])
async def test_row15_nist_points_are_on_their_curve(serve, kex, size, kind):
    point = {
        "infinity": b"\0",
        "compressed": b"\x02" + b"\x01" * size,
        "off curve": b"\x04" + b"\x01" * (2 * size),
        "zero": b"\x04" + bytes(2 * size),
        "short": b"\x04" + b"\x01" * (2 * size - 1),
        "hybrid": b"\x06" + b"\x01" * (2 * size),
        "out of field": b"\x04" + b"\xff" * (2 * size),
    }[kind]
    await refused(serve(with_value(lambda _: point), kex=(kex,)), ProtocolError, "public value is not")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1],
        lambda value: value + b"\0",
        lambda value: b"",
        lambda value: value[:1088],
        lambda value: value[:1088] + bytes(32),
        lambda value: bytes(1088) + value[1088:],
    ],
)
async def test_row15_hybrid_values_are_checked_in_both_parts(serve, change):
    script = with_value(lambda reply: change(reply.q_s))
    await refused(serve(script, kex=("mlkem768x25519-sha256",)), ProtocolError, "bytes, not|all zero|signature")


P14 = modp_group(2048).p


@pytest.mark.parametrize("f", [0, 1, -1, -2, 2, 16, P14 - 1, P14, P14 + 1, 2 * P14, -P14, 2**20000], ids=short)
async def test_row15_dh_values_are_in_range(serve, f):
    def replace(payload: bytes) -> bytes:
        reply = KexdhReply.decode(payload)
        return KexdhReply(reply.host_key, f, reply.signature).encode()

    script = instead(KexdhReply.number, replace)
    await refused(serve(script, kex=("diffie-hellman-group14-sha256",)), ProtocolError, "public value is out of range")


@pytest.mark.parametrize(
    ("p", "g"),
    [
        (2**1024 - 105, 2), (2**2046 + 1, 2), (2**8193 + 1, 2), (2**60000 + 1, 2), (P14 - 1, 2), (-P14, 2), (0, 2),
        (1, 2), (P14, 0), (P14, 1), (P14, -2), (P14, P14 - 1), (P14, P14), (P14, P14 + 1),
    ],
    ids=short,
)  # fmt: skip
async def test_row15_group_exchange_takes_no_group_that_is_weak_or_was_not_asked_for(serve, p, g):
    script = instead(KexDhGexGroup.number, lambda _: KexDhGexGroup(p, g).encode())
    await refused(serve(script, kex=("diffie-hellman-group-exchange-sha256",)), ProtocolError, "group")


async def test_row15_mpint_must_be_in_its_shortest_form(serve):
    reply = bytes((31,)) + codec.string(host_key().public.blob) + codec.string(b"\0\0\x05") + codec.string(b"")
    script = instead(31, lambda _: reply)
    await refused(serve(script, kex=("diffie-hellman-group14-sha256",)), ProtocolError, "superfluous leading bytes")


# --- row 14, row 17: signatures and host keys ---------------------------------------------------------------------


def signed(change: Callable[[bytes], bytes]) -> Script:
    def replace(payload: bytes) -> bytes:
        reply = KexEcdhReply.decode(payload)
        return KexEcdhReply(reply.host_key, reply.q_s, change(reply.signature)).encode()

    return instead(REPLY, replace)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature[:-1] + bytes((signature[-1] ^ 1,)),
        lambda signature: signature[:-1],
        lambda signature: signature + b"\0",
        lambda signature: signature[:8],
        lambda signature: b"",
        lambda signature: codec.string(b"ssh-rsa") + signature[-4:],
        lambda signature: codec.string(b"\x1b[31m") + codec.string(b"x"),
        lambda signature: signature[: 4 + int.from_bytes(signature[:4], "big")] + codec.string(bytes(64)),
    ],
)
async def test_row17_a_host_key_that_did_not_sign_is_no_host_key(serve, kind, change):
    server = serve(signed(change), host_keys=(host_key(kind),))
    await refused(server, ProtocolError, "host key signature of the key exchange")


async def test_row17_a_key_shown_but_not_owned_is_refused(serve):
    """The known key's blob with somebody else's signature."""

    def replace(payload: bytes) -> bytes:
        reply = KexEcdhReply.decode(payload)
        return KexEcdhReply(host_key(which="victim").public.blob, reply.q_s, reply.signature).encode()

    await refused(serve(instead(REPLY, replace)), ProtocolError, "host key signature of the key exchange")


def sign_with(monkeypatch: pytest.MonkeyPatch, algorithm: str, key: Any) -> None:
    """The server signs with this, whatever was agreed."""

    def sign(self: Context, values: bytes, k: bytes) -> Any:
        from fastssh.transport.kex.method import Agreement

        h = self.exchange_hash(key.public.blob, values, k)
        return Agreement(k, h, key.public, key.sign(h, algorithm))

    monkeypatch.setattr(Context, "sign", sign)
    monkeypatch.setattr(Context, "host_key_blob", property(lambda _: key.public.blob))


@pytest.mark.parametrize(
    ("agreed", "algorithm", "kind"),
    [
        ("ed25519", "ecdsa-sha2-nistp256", "ecdsa"),
        ("ecdsa", "ssh-ed25519", "ed25519"),
        ("rsa", "ssh-ed25519", "ed25519"),
    ],
)
async def test_row17_the_agreed_algorithm_is_the_one_that_must_sign(serve, monkeypatch, agreed, algorithm, kind):
    sign_with(monkeypatch, algorithm, host_key(kind))
    server = serve(Peer.authenticate, host_keys=(host_key(agreed),))
    await refused(server, ProtocolError, "was agreed", follow_up=False)


async def test_row17_rsa_with_the_other_hash_is_refused(serve, monkeypatch):
    sign_with(monkeypatch, "rsa-sha2-256", host_key("rsa"))
    server = serve(Peer.authenticate, host_keys=(host_key("rsa"),))
    await refused(server, ProtocolError, "host key signature of the key exchange", follow_up=False)


@pytest.mark.parametrize(
    ("e", "n"),
    [
        (65537, 2**511 + 1), (1, 2**2047 + 1), (2, 2**2047 + 1), (2**2047 - 1, 2**2047 + 1), (0, 2**2047 + 1),
        (65537, 2**2047), (65537, 0), (65537, -5), (65537, 2**100_000 + 1), (2**100_000 + 1, 2**100_000 + 3),
        (2**16383 + 1, 2**16383 + 3),
    ],
    ids=short,
)  # fmt: skip
async def test_row15_rsa_host_keys_of_absurd_size_are_refused_at_once(serve, e, n):
    blob = codec.string(b"ssh-rsa") + codec.mpint(e) + codec.mpint(n)
    signature = codec.string(b"rsa-sha2-512") + codec.string(b"\1" * max(1, (n.bit_length() + 7) // 8))

    def replace(payload: bytes) -> bytes:
        return KexEcdhReply(blob, KexEcdhReply.decode(payload).q_s, signature).encode()

    server = serve(instead(REPLY, replace), host_keys=(host_key("rsa"),))
    await refused(server, ProtocolError, "host key signature of the key exchange")


async def test_row17_a_changed_host_key_is_refused_before_anything_is_said(serve, tmp_path):
    known = tmp_path / "known_hosts"
    server = serve(Peer.authenticate)
    add_known_host(known, "127.0.0.1", server.port, host_key(which="before").public, hashed=False)
    before_bytes = known.read_bytes()
    for checking in ("yes", "ask", "accept-new"):
        await refused(
            server, HostKeyChangedError, "has changed", user_known_hosts=(known,), strict_host_key_checking=checking,
            follow_up=False, password="secret",
        )  # fmt: skip
    assert known.read_bytes() == before_bytes
    assert all(not peer.messages for peer in server.peers)  # not even the service request


async def test_row17_a_server_whose_key_changed_never_gets_a_password(serve, tmp_path):
    """With checking switched off the connection goes on, and passwords stay here."""
    from fastssh.errors import AuthenticationError
    from fastssh.wire.messages import UserauthFailure

    methods: list[str] = []

    def script(peer: Peer) -> None:
        while True:
            methods.append(peer.request().method)
            peer.send(UserauthFailure(("password", "keyboard-interactive")))

    known = tmp_path / "known_hosts"
    server = serve(script)
    add_known_host(known, "127.0.0.1", server.port, host_key(which="before").public, hashed=False)
    await refused(server, AuthenticationError, "Permission denied", user_known_hosts=(known,), password="secret")
    assert methods == ["none"]


async def test_row17_a_revoked_host_key_is_refused_even_if_checking_is_off(serve, tmp_path):
    known = tmp_path / "known_hosts"
    known.write_text(f"@revoked * {host_key().public.line()}\n")
    server = serve(Peer.authenticate)
    for checking in ("yes", "no"):
        await refused(
            server, HostKeyRevokedError, "revoked", user_known_hosts=(known,), strict_host_key_checking=checking,
            follow_up=False,
        )  # fmt: skip


@pytest.mark.parametrize("moment", ["authentication", "command"])
async def test_row17_a_host_key_that_changes_at_rekey_ends_the_connection(serve, monkeypatch, moment):
    def script(peer: Peer) -> None:
        if moment == "authentication":
            peer.request()
        else:
            peer.start()
        sign_with(monkeypatch, "ssh-ed25519", host_key(which="other"))
        peer.transport.rekey()
        peer.flush()
        while True:
            peer.more()

    await refused(serve(script), ProtocolError, "host key changed at rekey", follow_up=False)


# --- row 12: later exchanges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["global-request", "data", "adjust", "request", "ping", "success", "banner", "kexinit"]
)
@pytest.mark.parametrize("moment", ["KEXINIT", "NEWKEYS"])
async def test_row12_a_rekeying_server_that_sends_other_messages_is_dropped(serve, name, moment):
    def script(peer: Peer) -> None:
        peer.start()
        payload = {
            "data": peer.data(b"x"),
            "adjust": peer.adjust(1),
            "request": ChannelRequest(peer.channel, "exit-status", False, codec.uint32(0)).encode(),
            "kexinit": b"",
        }.get(name) or getattr(INTRUDERS.get(name), "encode", bytes)()

        def rewrite(sent: bytes) -> list[bytes]:
            intruder = payload or (sent if sent[0] == KEXINIT else KexInitCopy[0])
            if sent[0] == KEXINIT:
                KexInitCopy[:] = [sent]
                return [sent, intruder] if moment == "KEXINIT" else [sent]
            return [intruder, sent] if sent[0] == NEWKEYS and moment == "NEWKEYS" else [sent]

        KexInitCopy: list[bytes] = []  # noqa: N806
        peer.plane.rewrite = rewrite
        peer.transport.rekey()
        peer.flush()
        while True:
            peer.more()

    await refused(serve(script), ProtocolError, "during key exchange|not allowed in this state|unexpected key exchange")


async def test_row12_a_server_may_rekey_again_and_again(serve):
    def script(peer: Peer) -> None:
        peer.start()
        for _ in range(30):
            peer.transport.rekey()
            peer.flush()
            peer.wait_for(lambda: not peer.transport.exchanging)
            peer.send(peer.data(b"x" * 1000))
        peer.finish()

    async def use(connection: Any) -> None:
        assert len((await connection.run("true")).stdout) == 30_000

    with memory_bounded():
        await survives(serve(script), use)


@pytest.mark.parametrize("name", ["ignore", "debug", "unimplemented"])
async def test_row12_no_queue_grows_while_a_server_does_not_finish_its_rekey(serve, name):
    """After its KEXINIT it talks without end; the client's own deadline still holds."""

    def script(peer: Peer) -> None:
        peer.start()
        peer.plane.rewrite = lambda payload: [payload] if payload[0] == KEXINIT else []
        peer.transport.rekey()
        peer.flush()
        while True:
            peer.flood(INTRUDERS[name], 512)

    async def use(connection: Any) -> None:
        await connection.run("true", timeout=1.0)

    with memory_bounded():
        await refused(serve(script), SSHTimeoutError, "timed out after 1 s", use)


async def test_row12_what_the_client_wants_to_say_during_an_unfinished_rekey_is_bounded(serve):
    def script(peer: Peer) -> None:
        peer.start()
        peer.plane.rewrite = lambda payload: [payload] if payload[0] == KEXINIT else []
        peer.transport.rekey()
        peer.flush()

    async def use(connection: Any) -> None:
        process = await connection.create_process("true")
        await asyncio.sleep(0.1)
        for _ in range(100_000):
            process._channel.request("window-change", bytes(16), False)

    with memory_bounded():
        await refused(serve(script), ProtocolError, "too much to send while the peer does not finish", use)


# --- row 27 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "names", "kind"),
    [
        ("kex_algorithms", ("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1"), "key exchange"),
        ("server_host_key_algorithms", ("ssh-rsa", "ssh-dss"), "host key"),
        ("encryption_algorithms_server_to_client", ("aes128-cbc", "3des-cbc", "none"), "cipher"),
        ("encryption_algorithms_client_to_server", ("aes128-cbc", "arcfour", "none"), "cipher"),
        ("kex_algorithms", ("ext-info-s", "kex-strict-s-v00@openssh.com"), "key exchange"),
        ("compression_algorithms_server_to_client", ("zlib",), "compression"),
        ("kex_algorithms", (), "key exchange"),
        ("kex_algorithms", ("x" * 250_000,), "key exchange"),
        ("kex_algorithms", ("x",) * 100_000, "key exchange"),
    ],
)  # fmt: skip
async def test_row27_old_algorithms_are_not_agreed_on_and_the_offers_are_told(serve, field, names, kind):
    def change(payload: bytes) -> bytes:
        kexinit = KexInit.decode(payload)
        values = {name: getattr(kexinit, name) for name, _ in KexInit._layout}
        return KexInit(**{**values, field: names}).encode()

    error = await refused(serve(instead(KEXINIT, change)), NegotiationError, "no common")
    assert kind in str(error)
    offered = tuple(name for name in names if "-strict-" not in name and "ext-info" not in name)
    assert error.theirs == offered[: len(error.theirs)]
    assert bool(error.theirs) == bool(offered)


async def test_row27_macs_without_name_are_refused_for_ciphers_that_need_one(serve):
    def change(payload: bytes) -> bytes:
        kexinit = KexInit.decode(payload)
        values = {name: getattr(kexinit, name) for name, _ in KexInit._layout}
        values["encryption_algorithms_server_to_client"] = ("aes128-ctr",)
        values["mac_algorithms_server_to_client"] = ("hmac-sha1", "none", "hmac-md5")
        return KexInit(**values).encode()

    await refused(serve(instead(KEXINIT, change)), NegotiationError, "no common MAC|no common mac")
