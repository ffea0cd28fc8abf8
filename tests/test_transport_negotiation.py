"""Negotiation (RFC 4253 section 7.1): the client's first choice that the server has; errors say who offered what."""

from __future__ import annotations

from typing import Any

import pytest

from fastssh.errors import NegotiationError
from fastssh.transport.negotiation import Negotiated, Offer, guess_was_wrong, negotiate
from fastssh.transport.phases import Role
from fastssh.wire.messages import KexInit
from tests.support.memory import Endpoint, Pair, connected, host_key

OFFER = Offer(("k1", "k2"), ("h1", "h2"), ("c1", "aead"), ("m1", "m2"), ("none", "z"))


def kexinit(role: Role, **changes: Any) -> KexInit:
    fields = {**OFFER._asdict(), **changes}
    return Offer(**fields).kexinit(role, bytes(16), first=True)


def agree(ours: KexInit, theirs: KexInit, role: Role = Role.CLIENT, earlier: Negotiated | None = None) -> Negotiated:
    return negotiate(role, ours, theirs, aead=("aead",), earlier=earlier)


def test_the_clients_order_decides() -> None:
    client = kexinit(Role.CLIENT)
    server = kexinit(Role.SERVER, kex=("k2", "k1"), ciphers=("aead", "c1"), macs=("m2", "m1"))
    for role, ours, theirs in ((Role.CLIENT, client, server), (Role.SERVER, server, client)):
        result = agree(ours, theirs, role)
        assert (result.kex, result.host_key, result.cipher_c2s, result.mac_c2s) == ("k1", "h1", "c1", "m1")
        assert result.strict
        assert result.ext_info


def test_the_directions_are_negotiated_apart() -> None:
    client = kexinit(Role.CLIENT)
    server = KexInit(
        bytes(16), ("k1",), ("h1",), ("c1",), ("aead",), ("m2",), (), ("z",), ("none",), ("de",), ("fr",)
    )
    result = agree(client, server)
    assert (result.cipher_c2s, result.mac_c2s, result.compression_c2s) == ("c1", "m2", "z")
    assert (result.cipher_s2c, result.mac_s2c, result.compression_s2c) == ("aead", "none", "none")
    assert not result.strict
    assert not result.ext_info
    assert result.lines(Role.CLIENT) == [
        "kex: algorithm: k1",
        "kex: host key algorithm: h1",
        "kex: server->client cipher: aead MAC: <implicit> compression: none",
        "kex: client->server cipher: c1 MAC: m2 compression: z",
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "ours"),
    [
        ({"kex": ("x",)}, "key exchange method", ("k1", "k2")),
        ({"host_key": ("x",)}, "host key algorithm", ("h1", "h2")),
        ({"ciphers": ("x",)}, "cipher client to server", ("c1", "aead")),
        ({"macs": ("x",)}, "MAC client to server", ("m1", "m2")),
        ({"compression": ("x",)}, "compression client to server", ("none", "z")),
    ],
)
def test_no_common_algorithm_names_the_kind_and_both_offers(
    changes: dict[str, tuple[str, ...]], kind: str, ours: tuple[str, ...]
) -> None:
    with pytest.raises(NegotiationError) as caught:
        agree(kexinit(Role.CLIENT), kexinit(Role.SERVER, **changes))
    assert (caught.value.kind, caught.value.ours, caught.value.theirs) == (kind, ours, ("x",))
    assert caught.value.reason == 3


def test_the_markers_are_never_chosen_as_methods() -> None:
    """A server that lists the client's own markers must not make them the key exchange method."""
    theirs = kexinit(Role.SERVER, kex=("ext-info-c", "kex-strict-c-v00@openssh.com"))
    with pytest.raises(NegotiationError) as caught:
        agree(kexinit(Role.CLIENT), theirs)
    assert caught.value.theirs == ()


def test_a_huge_offer_is_not_repeated_in_full() -> None:
    theirs = kexinit(Role.SERVER, kex=tuple(f"x{i}" for i in range(10_000)))
    with pytest.raises(NegotiationError) as caught:
        agree(kexinit(Role.CLIENT), theirs)
    assert len(str(caught.value)) < 1000


def test_strict_kex_and_ext_info_hold_for_the_connection_whatever_a_rekey_says() -> None:
    first = agree(kexinit(Role.CLIENT), kexinit(Role.SERVER))
    plain = Offer(*OFFER).kexinit(Role.SERVER, bytes(16), first=False)
    assert agree(kexinit(Role.CLIENT), plain, earlier=first).strict
    second = agree(kexinit(Role.CLIENT), plain)
    assert not agree(kexinit(Role.CLIENT), kexinit(Role.SERVER), earlier=second).strict


@pytest.mark.parametrize(
    ("changes", "follows", "wrong"),
    [({}, True, False), ({}, False, False), ({"kex": ("k2", "k1")}, True, True), ({"host_key": ("h2",)}, True, True),
     ({"kex": ("k2", "k1")}, False, False), ({"ciphers": ("aead",)}, True, False)],
)
def test_a_guess_is_wrong_when_the_first_method_or_host_key_algorithm_differs(
    changes: dict[str, tuple[str, ...]], follows: bool, wrong: bool
) -> None:
    theirs = kexinit(Role.SERVER, **changes)
    theirs = KexInit.decode(theirs.encode()[:-5] + bytes((follows,)) + bytes(4))
    assert guess_was_wrong(kexinit(Role.CLIENT), theirs) is wrong


def test_a_server_offers_the_algorithms_of_its_keys_only() -> None:
    pair = connected(
        {"host_key_algorithms": ("ssh-ed25519", "rsa-sha2-256")}, {"host_keys": (host_key("rsa", 2048),)}
    )
    assert pair.client.transport.negotiated.host_key == "rsa-sha2-256"
    assert pair.client.transport.host_key == host_key("rsa", 2048).public


def test_no_common_host_key_algorithm_is_told_to_both() -> None:
    pair = Pair(
        Endpoint(Role.CLIENT, host_key_algorithms=("ssh-ed25519",)),
        Endpoint(Role.SERVER, host_keys=(host_key("ecdsa", 256),)),
    )
    with pytest.raises(NegotiationError, match=r"host key algorithm: we offer .*; peer offers") as caught:
        pair.run()
    assert caught.value.kind == "host key algorithm"
