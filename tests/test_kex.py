"""Key exchange methods: every one with every host key type, values that must be refused, derivation and groups."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest

from fastssh import algorithms
from fastssh.errors import HostKeyUnknownError, ProtocolError
from fastssh.transport.derivation import derive
from fastssh.transport.kex import gex, groups
from fastssh.transport.kex.groups import DiffieHellman, Group, modp_group
from fastssh.transport.kex.registry import find_method, usable
from fastssh.transport.phases import Role
from fastssh.wire import codec, messages
from fastssh.wire.messages import KexDhGexGroup, KexDhGexRequest, KexdhInit, KexdhReply, KexEcdhInit, KexEcdhReply
from tests.support.memory import Endpoint, LaxPlane, Pair, connected, host_key

KEY_TYPES = [
    ("ssh-ed25519", "ed25519", None),
    ("ecdsa-sha2-nistp256", "ecdsa", 256),
    ("ecdsa-sha2-nistp384", "ecdsa", 384),
    ("ecdsa-sha2-nistp521", "ecdsa", 521),
    ("rsa-sha2-512", "rsa", 2048),
    ("rsa-sha2-256", "rsa", 2048),
]
# The large groups take a tenth of a second a power: one host key will do for them.
SLOW = ("diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha256")


def test_all_methods_are_usable_here() -> None:
    assert usable(algorithms.KEX) == algorithms.KEX


@pytest.mark.parametrize(("algorithm", "kind", "bits"), KEY_TYPES, ids=[case[0] for case in KEY_TYPES])
@pytest.mark.parametrize("kex", algorithms.KEX)
def test_both_roles_agree(kex: str, algorithm: str, kind: str, bits: int | None) -> None:
    if kex in SLOW and kind != "ed25519":
        kex = "curve25519-sha256"
    key = host_key(kind, bits)
    pair = connected({"kex": (kex,), "host_key_algorithms": (algorithm,)}, {"host_keys": (key,)})
    client, server = pair.client.transport, pair.server.transport
    assert client.session_id == server.session_id
    assert len(client.session_id) == hashlib.new(find_method(kex).hash_name).digest_size
    assert client.host_key == key.public
    assert pair.client.observer.keys == [key.public]
    assert key.public.verify(client.host_key_signature, client.session_id, (algorithm,)) == algorithm
    assert f"kex: algorithm: {kex}" in pair.client.observer.lines
    assert f"kex: host key algorithm: {algorithm}" in pair.client.observer.lines
    assert "SSH2_MSG_NEWKEYS sent" in pair.client.observer.lines
    # and the keys are the same: something sealed by one is opened by the other
    client.send(messages.ServiceRequest("ssh-userauth"))
    pair.run()
    assert pair.server.observer.messages == [messages.ServiceRequest("ssh-userauth").encode()]


@pytest.mark.parametrize("cipher", algorithms.CIPHERS)
@pytest.mark.parametrize("mac", algorithms.MACS)
def test_keys_are_derived_for_every_cipher_and_mac(cipher: str, mac: str) -> None:
    pair = connected({"ciphers": (cipher,), "macs": (mac,)})
    pair.server.transport.plane.send(messages.Debug(True, "sealed").encode())
    pair.run()
    assert "Remote: sealed" in pair.client.observer.lines


def test_byte_by_byte_is_the_same_as_whole() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.piece = 1
    pair.run()
    assert pair.client.transport.session_id == pair.server.transport.session_id != b""


# --- SECURITY.md row 15: values that must be refused ---------------------------------------------------------------


def client_meets(kex: str, rewrite: Callable[[bytes], list[bytes]], **options: Any) -> str:
    """What a client says to a server whose messages are rewritten."""
    plane = LaxPlane()
    plane.rewrite = rewrite
    pair = Pair(Endpoint(Role.CLIENT, kex=(kex,), **options), Endpoint(Role.SERVER, plane=plane))
    with pytest.raises(ProtocolError) as caught:
        pair.run()
    assert not pair.client.observer.keys, "the user was asked about a key that was not proved"
    assert not pair.client.observer.ready
    assert caught.value.reason in (2, 3)
    return str(caught.value)


def server_meets(kex: str, rewrite: Callable[[bytes], list[bytes]]) -> str:
    plane = LaxPlane()
    plane.rewrite = rewrite
    pair = Pair(Endpoint(Role.CLIENT, plane=plane), Endpoint(Role.SERVER, kex=(kex,)))
    with pytest.raises(ProtocolError) as caught:
        pair.run()
    assert not pair.server.observer.ready
    return str(caught.value)


def ecdh_reply(change: Callable[[bytes], bytes]) -> Callable[[bytes], list[bytes]]:
    def rewrite(payload: bytes) -> list[bytes]:
        if payload[0] != KexEcdhReply.number:
            return [payload]
        reply = KexEcdhReply.decode(payload)
        return [KexEcdhReply(reply.host_key, change(reply.q_s), reply.signature).encode()]

    return rewrite


def ecdh_init(change: Callable[[bytes], bytes]) -> Callable[[bytes], list[bytes]]:
    def rewrite(payload: bytes) -> list[bytes]:
        if payload[0] != KexEcdhInit.number:
            return [payload]
        return [KexEcdhInit(change(KexEcdhInit.decode(payload).q_c)).encode()]

    return rewrite


# Points of small order on curve25519 (RFC 7748 section 6.1, https://cr.yp.to/ecdh.html#validate): the result is zero.
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


@pytest.mark.parametrize("point", SMALL_ORDER, ids=range(len(SMALL_ORDER)))
@pytest.mark.parametrize("kex", ["curve25519-sha256", "mlkem768x25519-sha256"])
def test_row15_all_zero_x25519_secrets_are_refused(kex: str, point: bytes) -> None:
    prefix = -32 if kex.startswith("mlkem") else None
    keep = (lambda value: value[:prefix]) if prefix else (lambda value: b"")
    assert "all zero" in client_meets(kex, ecdh_reply(lambda value: keep(value) + point))
    assert "all zero" in server_meets(kex, ecdh_init(lambda value: keep(value) + point))


@pytest.mark.parametrize("change", [lambda v: b"", lambda v: v[:-1], lambda v: v + b"\0", lambda v: v * 9])
@pytest.mark.parametrize("kex", [name for name in algorithms.KEX if not name.startswith("diffie")])
def test_row15_values_of_wrong_length_are_refused(kex: str, change: Callable[[bytes], bytes]) -> None:
    words = ("bytes, not", "not an uncompressed point")
    assert any(word in client_meets(kex, ecdh_reply(change)) for word in words)
    assert any(word in server_meets(kex, ecdh_init(change)) for word in words)


@pytest.mark.parametrize("kex", ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"])
def test_row15_points_off_the_curve_are_refused(kex: str) -> None:
    def moved(value: bytes) -> bytes:
        return value[:-1] + bytes((value[-1] ^ 1,))

    def compressed(value: bytes) -> bytes:
        return bytes((2 + value[-1] % 2,)) + value[1 : 1 + len(value) // 2]

    def infinity(value: bytes) -> bytes:
        return b"\0"

    def hybrid(value: bytes) -> bytes:
        return bytes((6 + value[-1] % 2,)) + value[1:]

    def beyond_the_field(value: bytes) -> bytes:
        return b"\x04" + b"\xff" * (len(value) - 1)

    assert "not on the curve" in client_meets(kex, ecdh_reply(moved))
    assert "not on the curve" in server_meets(kex, ecdh_init(moved))
    assert "not on the curve" in client_meets(kex, ecdh_reply(beyond_the_field))
    for change in (compressed, infinity, hybrid):
        assert "uncompressed point" in client_meets(kex, ecdh_reply(change))
        assert "uncompressed point" in server_meets(kex, ecdh_init(change))


def test_row15_an_mlkem_key_beyond_the_modulus_is_refused() -> None:
    """FIPS 203 section 7.2: coefficients are below q."""
    words = server_meets("mlkem768x25519-sha256", ecdh_init(lambda value: b"\xff" * 1184 + value[1184:]))
    assert "encapsulation key is not valid" in words


def dh_values(p: int) -> list[int]:
    return [0, 1, -1, 2, 1 << 100, 7 << 100, p - 1, p, p + 1, p * p, -(p // 2), 1 << 200_000]


@pytest.mark.parametrize("index", range(len(dh_values(23))))
def test_row15_dh_values_out_of_range_are_refused(index: int) -> None:
    value = dh_values(modp_group(2048).p)[index]
    kex = "diffie-hellman-group14-sha256"

    def reply(payload: bytes) -> list[bytes]:
        if payload[0] != KexdhReply.number:
            return [payload]
        real = KexdhReply.decode(payload)
        return [KexdhReply(real.host_key, value, real.signature).encode()]

    def init(payload: bytes) -> list[bytes]:
        return [KexdhInit(value).encode() if payload[0] == KexdhInit.number else payload]

    assert "out of range" in client_meets(kex, reply)
    assert "out of range" in server_meets(kex, init)


GEX = "diffie-hellman-group-exchange-sha256"
P2048 = modp_group(2048).p


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group((1 << 1024) - 105, 2), "1024 bits"),
        (Group(P2048 >> 1, 2), "2047 bits"),
        (Group((1 << 8192) + 1, 2), "8193 bits"),
        (Group(1 << 2047, 2), "not an odd prime"),
        (Group(-P2048, 2), "not an odd prime"),
        (Group(0, 2), "0 bits"),
        (Group(P2048, 0), "generator"),
        (Group(P2048, 1), "generator"),
        (Group(P2048, -2), "generator"),
        (Group(P2048, P2048 - 1), "generator"),
        (Group(P2048, P2048 + 2), "generator"),
        (Group((1 << 2048) - 1, 1 << 1024), "no usable public value"),  # a generator of small order: no endless search
    ],
    ids=range(12),
)
def test_row15_groups_of_a_bad_size_or_form_are_refused(group: Group, words: str) -> None:
    def rewrite(payload: bytes) -> list[bytes]:
        return [KexDhGexGroup(group.p, group.g).encode() if payload[0] == KexDhGexGroup.number else payload]

    assert words in client_meets(GEX, rewrite)


@pytest.mark.parametrize(
    "request_", [(1024, 1024, 1024), (2048, 1024, 8192), (4096, 3000, 8192), (8193, 9000, 10000), (2048, 9000, 8192)]
)
def test_row15_group_requests_that_cannot_be_met_are_refused(request_: tuple[int, int, int]) -> None:
    def rewrite(payload: bytes) -> list[bytes]:
        return [KexDhGexRequest(*request_).encode() if payload[0] == KexDhGexRequest.number else payload]

    assert "cannot be met" in server_meets(GEX, rewrite)


def test_a_wrong_signature_is_refused_before_anybody_is_asked() -> None:
    def rewrite(payload: bytes) -> list[bytes]:
        if payload[0] != KexEcdhReply.number:
            return [payload]
        reply = KexEcdhReply.decode(payload)
        flipped = reply.signature[:-1] + bytes((reply.signature[-1] ^ 1,))
        return [KexEcdhReply(reply.host_key, reply.q_s, flipped).encode()]

    assert "host key signature" in client_meets("curve25519-sha256", rewrite)


def test_row17_another_key_than_the_one_that_signed_is_refused() -> None:
    other = host_key("ecdsa", 256).public.blob

    def rewrite(blob: bytes) -> Callable[[bytes], list[bytes]]:
        def replace(payload: bytes) -> list[bytes]:
            if payload[0] != KexEcdhReply.number:
                return [payload]
            reply = KexEcdhReply.decode(payload)
            return [KexEcdhReply(blob, reply.q_s, reply.signature).encode()]

        return replace

    assert "ssh-ed25519 was agreed" in client_meets("curve25519-sha256", rewrite(other))
    assert "host key signature" in client_meets("curve25519-sha256", rewrite(b"garbage"))
    assert "host key signature" in client_meets("curve25519-sha256", rewrite(b""))


def test_row17_a_refused_host_key_ends_the_exchange() -> None:
    pair = Pair(Endpoint(Role.CLIENT), Endpoint(Role.SERVER))
    pair.client.observer.verdict = HostKeyUnknownError("no")
    with pytest.raises(HostKeyUnknownError):
        pair.run()
    assert not pair.client.observer.ready
    assert "SSH2_MSG_NEWKEYS sent" not in pair.client.observer.lines


# --- groups -----------------------------------------------------------------------------------------------------------


def test_the_rfc_3526_groups() -> None:
    """Group 14's value from RFC 3526 section 3. 16 and 18 are tried on other implementations, 15 and 17 here."""
    text = (
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
        "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
        "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
        "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
        "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"
    )
    assert modp_group(2048) == Group(int(text, 16), 2)
    for group in groups.modp_groups():
        assert group.p >> (group.bits - 64) == group.p % 2**64 == 2**64 - 1
    for bits in (3072, 6144):
        p = modp_group(bits).p
        q = (p - 1) // 2
        assert pow(2, q, p) == 1  # p is prime, and 2 generates the subgroup of order q
        assert pow(3, q - 1, q) == 1


def test_group_preference_grows_with_the_keys() -> None:
    assert [gex.preferred_bits(n) for n in (14, 16, 24, 32, 64)] == [2048, 3072, 7680, 8192, 8192]


@pytest.mark.parametrize(
    ("request_", "bits"),
    [((2048, 3072, 8192), 3072), ((2048, 7680, 8192), 8192), ((1024, 2048, 8192), 2048), ((2048, 5000, 6000), 4096),
     ((2048, 8000, 16384), 8192)],
)
def test_a_server_chooses_the_smallest_group_that_will_do(request_: tuple[int, int, int], bits: int) -> None:
    assert gex.choose_group(groups.modp_groups(), KexDhGexRequest(*request_), b"\0").bits == bits


def test_a_servers_own_groups_are_used_for_group_exchange() -> None:
    group = Group(modp_group(3072).p, 4)
    pair = connected({"kex": (GEX,)}, {"groups": (group,)})
    assert pair.client.transport.session_id == pair.server.transport.session_id


def test_exponents_have_twice_the_bits_of_the_keys() -> None:
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return b"\xa5" * count

    DiffieHellman(modp_group(2048), 64, random)
    DiffieHellman(modp_group(2048), 16, random)
    DiffieHellman(modp_group(2048), 1000, random)
    assert asked == [128, 64, 256]


# --- derivation -------------------------------------------------------------------------------------------------------


def test_derivation_as_rfc_4253_section_7_2_writes_it() -> None:
    k, h, session = codec.mpint(12345), b"h" * 32, b"s" * 32

    def digest(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    k1 = digest(k, h, b"A", session)
    k2 = digest(k, h, k1)
    k3 = digest(k, h, k1, k2)
    for length in (0, 1, 16, 32, 33, 64, 65, 96):
        assert derive("sha256", k, h, session, b"A", length) == (k1 + k2 + k3)[:length]


def test_row16_the_six_keys_of_an_exchange_and_those_of_a_rekey_all_differ() -> None:
    plane = LaxPlane()
    seen: list[tuple[Any, ...]] = []
    set_send, set_receive = plane.set_send_keys, plane.set_receive_keys

    def note_send(*keys: Any, reset_sequence: bool) -> None:
        seen.append(keys)
        set_send(*keys, reset_sequence=reset_sequence)

    def note_receive(*keys: Any, reset_sequence: bool) -> None:
        seen.append(keys)
        set_receive(*keys, reset_sequence=reset_sequence)

    plane.set_send_keys, plane.set_receive_keys = note_send, note_receive  # type: ignore[method-assign]
    pair = Pair(Endpoint(Role.CLIENT, ciphers=("aes128-ctr",)), Endpoint(Role.SERVER, plane=plane))
    pair.run()
    pair.client.transport.rekey()
    pair.run()
    secrets = [secret for keys in seen for secret in keys[2:]]
    assert len(secrets) == len(set(secrets)) == 12
    assert all(math.ceil(len(secret) / 8) for secret in secrets)
