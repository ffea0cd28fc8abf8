"""Native packets against the slow reference and against what OpenSSH sealed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh._native import packet
from fastssh.errors import IntegrityError, ProtocolError
from tests.reference.ciphers import Keys, Reference

RECORDING = json.loads((Path(__file__).parent / "reference/recordings/openssh-9.2p1.json").read_text())
CONNECTION = 90  # a message number of 80 or more: opening goes on behind it


def suites() -> Iterator[tuple[str, str, str]]:
    """(AES-GCM implementation, cipher, MAC): every pair that can be negotiated, GCM once an implementation."""
    yield "auto", "none", ""
    for cipher in packet.cipher_names():
        if "-gcm" in cipher:
            yield from ((implementation, cipher, "") for implementation in packet.aesgcm_implementations())
        elif packet.cipher_sizes(cipher)[3]:
            yield "auto", cipher, ""
        else:
            yield from (("auto", cipher, mac) for mac in packet.mac_names())


SUITES = list(suites())


def keys_for(cipher: str, mac: str, sequence: int = 0, seed: int = 1) -> Keys:
    """Keys without pattern, the same in each run."""
    key_len, iv_len, _, tag_len = packet.cipher_sizes(cipher)
    mac_len = 0 if tag_len else packet.mac_sizes(mac)[0]
    key, iv, mac_key = (
        bytes((seed + 37 * i * i + 11 * i + part) % 256 for i in range(size))
        for part, size in ((0, key_len), (85, iv_len), (170, mac_len))
    )
    return Keys(cipher, mac, key, iv, mac_key, sequence)


def sealer(keys: Keys) -> packet.Sealer:
    return packet.Sealer(keys.cipher, keys.mac, keys.key, keys.iv, keys.mac_key, keys.sequence)


def opener(keys: Keys) -> packet.Opener:
    return packet.Opener(keys.cipher, keys.mac, keys.key, keys.iv, keys.mac_key, keys.sequence)


def open_all(native: packet.Opener, wire: bytes) -> list[bytes]:
    """Every payload; what is left must be nothing."""
    payloads: list[bytes] = []
    while wire:
        opened, used = native.open(wire)
        assert used
        payloads += opened
        wire = wire[used:]
    return payloads


@pytest.fixture(params=SUITES, ids=[":".join(filter(None, suite)) for suite in SUITES])
def suite(request: pytest.FixtureRequest) -> Iterator[Keys]:
    implementation, cipher, mac = request.param
    packet.select_aesgcm(implementation)
    yield keys_for(cipher, mac, sequence=0xFFFF_FFFE)  # wraps soon
    packet.select_aesgcm("auto")


LENGTHS = [*range(1, 70), 255, 256, 257, 1023, 1024, 1025, *range(32766, 32771), 262135]


def test_reference_opens_what_native_sealed(suite: Keys) -> None:
    payloads = [bytes([CONNECTION]) * size for size in LENGTHS]
    native, reference = sealer(suite), Reference(suite)
    assert reference.open_all(b"".join(native.seal(payload) for payload in payloads)) == payloads
    assert reference.open_all(native.seal_batch(payloads)) == payloads
    assert native.sequence == reference.sequence


def test_native_opens_what_reference_sealed(suite: Keys) -> None:
    payloads = [bytes([CONNECTION]) * size for size in LENGTHS]
    native, reference = opener(suite), Reference(suite)
    assert open_all(native, b"".join(reference.seal(payload) for payload in payloads)) == payloads
    assert native.sequence == reference.sequence


PAYLOADS = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


@given(PAYLOADS, st.sampled_from(SUITES), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 14))
def test_any_payloads_pass_both_ways(
    payloads: list[bytes], names: tuple[str, str, str], sequence: int, seed: int, extra: int
) -> None:
    implementation, cipher, mac = names
    packet.select_aesgcm(implementation)
    try:
        keys = keys_for(cipher, mac, sequence, seed)
        assert Reference(keys).open_all(sealer(keys).seal_batch(payloads)) == payloads
        reference = Reference(keys)
        assert open_all(opener(keys), b"".join(reference.seal(payload, extra) for payload in payloads)) == payloads
    finally:
        packet.select_aesgcm("auto")


@given(st.data(), st.sampled_from(SUITES))
def test_any_cut_of_the_stream_opens_the_same(data: st.DataObject, names: tuple[str, str, str]) -> None:
    keys = keys_for(names[1], names[2])
    payloads = data.draw(PAYLOADS)
    wire = sealer(keys).seal_batch(payloads)
    native, opened, waiting = opener(keys), [], b""
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        waiting, wire = waiting + wire[:cut], wire[cut:]
        while True:
            got, used = native.open(waiting)
            opened += got
            waiting = waiting[used:]
            if not used:
                break
    assert opened == payloads
    assert waiting == b""


def test_gcm_counter_carries_within_its_64_bits(suite: Keys) -> None:
    if "-gcm" not in suite.cipher:
        return
    keys = Keys(suite.cipher, "", suite.key, suite.iv[:4] + b"\xff" * 8, b"")
    payloads = [bytes([CONNECTION, i]) for i in range(3)]
    assert Reference(keys).open_all(sealer(keys).seal_batch(payloads)) == payloads


@pytest.mark.parametrize("recorded", RECORDING["suites"], ids=lambda suite: f"{suite['cipher']}:{suite['mac']}")
@pytest.mark.parametrize("implementation", packet.aesgcm_implementations())
def test_packets_that_openssh_sealed(recorded: dict[str, object], implementation: str) -> None:
    secrets = (bytes.fromhex(str(recorded[name])) for name in ("key", "iv", "mac_key"))
    keys = Keys(str(recorded["cipher"]), str(recorded["mac"]), *secrets, int(str(recorded["sequence"])))
    packets = recorded["packets"]
    assert isinstance(packets, list) and packets
    wire = b"".join(bytes.fromhex(packet["wire"]) for packet in packets)
    payloads = [bytes.fromhex(packet["payload"]) for packet in packets]
    packet.select_aesgcm(implementation)
    try:
        assert open_all(opener(keys), wire) == payloads
    finally:
        packet.select_aesgcm("auto")
    assert Reference(keys).open_all(wire) == payloads


def test_every_suite_was_recorded_from_openssh() -> None:
    recorded = {(suite["cipher"], suite["mac"]) for suite in RECORDING["suites"]}
    assert recorded == {(cipher, mac) for _, cipher, mac in SUITES if cipher != "none"}


def test_row14_a_flipped_bit_is_an_integrity_error(suite: Keys) -> None:
    if suite.cipher == "none":
        return
    wire = bytearray(sealer(suite).seal(bytes([CONNECTION]) * 40))
    for position in range(16, len(wire)):  # behind the length, whose faults are the next test's
        wire[position] ^= 1 << position % 8
        with pytest.raises(IntegrityError, match="message authentication code incorrect") as caught:
            opener(suite).open(bytes(wire))
        assert caught.value.reason == 5  # SSH_DISCONNECT_MAC_ERROR
        wire[position] ^= 1 << position % 8
    assert opener(suite).open(bytes(wire))[0] == [bytes([CONNECTION]) * 40]


@pytest.mark.parametrize(
    "length", [0, 4, 5, 11, 13, 256 * 1024 + 1, 256 * 1024 + 4, 0x7FFF_FFFC, 0xFFFF_FFFC, 0xFFFF_FFFF]
)
def test_row06_lengths_out_of_range_are_refused_at_once(length: int) -> None:
    with pytest.raises(ProtocolError, match="packet length out of range") as caught:
        packet.Opener("none", "", b"", b"", b"").open(length.to_bytes(4, "big"))
    assert caught.value.reason == 2  # SSH_DISCONNECT_PROTOCOL_ERROR
    assert not isinstance(caught.value, IntegrityError)


def test_what_came_before_a_bad_packet_is_delivered_and_the_fault_is_final(suite: Keys) -> None:
    good = sealer(suite)
    first = good.seal(bytes([CONNECTION]) * 30)
    native = opener(suite)
    bad = b"\xff" * 64
    assert native.open(first + bad) == ([bytes([CONNECTION]) * 30], len(first))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            native.open(bad)
    with pytest.raises(ProtocolError):
        native.open(good.seal(bytes([CONNECTION])))


def test_opening_stops_after_a_message_that_may_change_keys(suite: Keys) -> None:
    native = sealer(suite)
    first, second = native.seal(b"\x15"), native.seal(bytes([CONNECTION]))  # 21: NEWKEYS
    reader = opener(suite)
    assert reader.open(first + second) == ([b"\x15"], len(first))
    assert reader.open(second) == ([bytes([CONNECTION])], len(second))


def test_many_packets_open_in_one_call(suite: Keys) -> None:
    payloads = [bytes([CONNECTION, i]) for i in range(200)]
    wire = sealer(suite).seal_batch(payloads)
    assert opener(suite).open(wire) == (payloads, len(wire))


def test_padding_is_random() -> None:
    wire = {packet.Sealer("none", "", b"", b"", b"").seal(b"\x02") for _ in range(50)}
    assert len(wire) == 50


def test_payloads_no_packet_can_hold_are_refused(suite: Keys) -> None:
    native = sealer(suite)
    for payload in (b"", bytes(256 * 1024)):
        with pytest.raises(ValueError, match="payload"):
            native.seal(payload)
        with pytest.raises(ValueError, match="payload"):
            native.seal_batch([b"\x02", payload])
    assert native.sequence == suite.sequence  # nothing was sealed
    assert not native.rekey_due


def test_wrong_key_material_is_refused(suite: Keys) -> None:
    fields = (suite.key, suite.iv, suite.mac_key)
    for i, value in enumerate(fields):
        changed = list(fields)
        changed[i] = value + b"x"
        if packet.cipher_sizes(suite.cipher)[3] and i == 2:
            continue  # an AEAD cipher does not look at it
        for kind in (packet.Sealer, packet.Opener):
            with pytest.raises(ValueError, match="bytes long"):
                kind(suite.cipher, suite.mac, *changed)


def test_a_cipher_goes_only_with_a_mac_that_fits() -> None:
    for kind in (packet.Sealer, packet.Opener):
        with pytest.raises(ValueError, match="invalid argument"):
            kind("aes128-ctr", "none", bytes(16), bytes(16), b"")
        with pytest.raises(ValueError, match="invalid argument"):
            kind("none", "hmac-sha2-256", b"", b"", bytes(32))
        with pytest.raises(ValueError, match="unknown cipher: 'aes128-cbc'"):
            kind("aes128-cbc", "", bytes(16), bytes(16), b"")
        with pytest.raises(ValueError, match="unknown MAC: 'hmac-md5'"):
            kind("aes128-ctr", "hmac-md5", bytes(16), bytes(16), b"")
        with pytest.raises(OverflowError):
            kind("none", "", b"", b"", b"", 2**32)


def test_sizes_are_those_of_the_rfcs() -> None:
    assert packet.cipher_sizes("aes192-ctr") == (24, 16, 16, 0)
    assert packet.cipher_sizes("aes256-gcm@openssh.com") == (32, 12, 16, 16)
    assert packet.cipher_sizes("chacha20-poly1305@openssh.com") == (64, 0, 8, 16)
    assert packet.cipher_sizes("none") == (0, 0, 8, 0)
    assert packet.mac_sizes("hmac-sha2-512-etm@openssh.com") == (64, 64, True)
    assert packet.mac_sizes("") == packet.mac_sizes("none") == (0, 0, False)
    assert "none" not in packet.cipher_names() + packet.mac_names()
    with pytest.raises(KeyError):
        packet.cipher_sizes("aes128-cbc")
    with pytest.raises(KeyError):
        packet.mac_sizes("hmac-md5")


def test_aesgcm_is_selectable() -> None:
    names = packet.aesgcm_implementations()
    assert names[-1] == "libcrypto"
    assert packet.aesgcm_implementation() == names[0]
    for name in names:
        packet.select_aesgcm(name)
        assert packet.aesgcm_implementation() == name
    packet.select_aesgcm("auto")
    with pytest.raises(ValueError, match="no AES-GCM named 'nonesuch'"):
        packet.select_aesgcm("nonesuch")
    assert packet.aesgcm_implementation() == names[0]


def test_two_threads_never_share_an_object_in_a_batch() -> None:
    keys = keys_for("aes128-ctr", "hmac-sha2-512")
    native, refused, wires = sealer(keys), [], []
    payloads = [bytes([CONNECTION]) * 30000] * 20

    def seal() -> None:
        for _ in range(5):
            try:
                wires.append(native.seal_batch(payloads))
            except RuntimeError as error:
                refused.append(error)

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) + len(wires) == 20
    assert (native.sequence - keys.sequence) == 20 * len(wires)  # each batch whole, or not at all
