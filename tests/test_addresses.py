"""Lists of addresses and host names: what they match, and that whatever is doubtful refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.keys.addresses import (
    MAX_ENTRY,
    check_address_list,
    match_address_list,
    match_cidr_list,
    match_host_list,
    parse_address,
)


@pytest.mark.parametrize(
    ("patterns", "address", "matches"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.1/32", "192.0.2.1", True),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "192.0.2.1", False),
        ("*", "192.0.2.1", True),
        ("*", "2001:db8::1", True),
        ("192.0.2.*", "192.0.2.77", True),
        ("192.0.2.*", "192.0.22.7", False),
        ("192.0.2.?", "192.0.2.77", False),
        ("2001:db8::/32", "2001:db8:ffff::", True),
        ("2001:db8::/32", "2001:db9::", False),
        ("2001:DB8:0:0::1", "2001:db8::1", True),
        ("2001:DB8:*", "2001:0db8:0::1", True),
        ("198.51.100.1,192.0.2.0/24", "192.0.2.1", True),
        ("host.example,192.0.2.1", "192.0.2.1", True),  # names in the list are no error
        # negation wins wherever it stands, and matches nothing by itself
        ("192.0.2.0/24,!192.0.2.1", "192.0.2.1", False),
        ("!192.0.2.1,192.0.2.0/24", "192.0.2.1", False),
        ("!192.0.2.1,192.0.2.0/24", "192.0.2.2", True),
        ("!192.0.2.1", "192.0.2.2", False),
        ("*,!192.0.2.0/25", "192.0.2.127", False),
        ("*,!192.0.2.0/25", "192.0.2.128", True),
        ("*,!2001:db8:*", "2001:db8::7", False),
        # an address mapped into IPv6 is the IPv4 address, on both sides
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.*", "::ffff:c000:201", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.0/120", "192.0.2.77", True),
        ("::ffff:192.0.2.0/120", "192.0.3.77", False),
        ("*,!::ffff:0:0/96", "192.0.2.1", False),
        ("::/0", "::ffff:192.0.2.1", False),
        # a zone must be named to grant, and need not be to refuse
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("fe80::1%eth0", "fe80::1", False),
        ("fe80::%eth0/64", "fe80::1%eth0", True),
        ("fe80::/10", "fe80::1%eth0", False),
        ("*,!fe80::/10", "fe80::1%eth0", False),
        ("*,!fe80::1%eth1", "fe80::1%eth0", True),
        # what is no address is matched by nothing
        ("*", "UNKNOWN", False),
        ("*", "", False),
        ("*", "192.0.2", False),
        ("*", "192.0.2.1 ", False),
    ],
)
def test_addresses(patterns: str, address: str, matches: bool) -> None:
    assert match_address_list(address, patterns.split(",")) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "!",
        "192.0.2.1/24",  # bits set behind the length
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/+8",
        "192.0.2.0/",
        "192.0.2.0/24 ",
        "192.0.2.0/٢٤",
        "10.0.0.0/255.0.0.0",
        "10/8",
        "10.*/8",
        "2001:db8::1/64",
        "2001:db8::/129",
        "host.example/24",
        # forms that one resolver takes for an address and another does not
        "127.1",
        "010.0.0.1",
        "192.0.2.256",
        "192.0.2.1.",
        "0x7f000001",
        "2130706433",
        "[2001:db8::1]",
        "2001:db8::g",
        "fe80::1%",
        # negations that would refuse nobody
        "!!192.0.2.1",
        "! 192.0.2.1",
        " !192.0.2.1",
        "!192.0.2.1 ",
        "a" * (MAX_ENTRY + 1),
    ],
)
def test_a_malformed_entry_condemns_the_whole_list(pattern: str) -> None:
    for patterns in ([pattern], ["*", pattern], [pattern, "*"], ["!*", pattern]):
        with pytest.raises(ValueError, match=r"list|misplaced|not an address") as caught:
            check_address_list(patterns)
        assert str(caught.value).isprintable()
        with pytest.raises(ValueError):
            match_address_list("192.0.2.1", patterns)
        with pytest.raises(ValueError):
            match_host_list("host.example", "192.0.2.1", patterns)


@pytest.mark.parametrize(
    ("patterns", "host", "address", "matches"),
    [
        ("host.example", "host.example", "192.0.2.1", True),
        ("HOST.example", "Host.EXAMPLE", "192.0.2.1", True),
        ("*.example", "host.example", "192.0.2.1", True),
        ("*.example", "example", "192.0.2.1", False),
        ("*.example", None, "192.0.2.1", False),
        ("192.0.2.0/24", "host.example", "192.0.2.1", True),
        ("192.0.2.0/24", None, "192.0.2.1", True),
        ("*", None, "192.0.2.1", True),
        ("*.example,!bad.example", "bad.example", "192.0.2.1", False),
        ("*.example,!192.0.2.1", "host.example", "192.0.2.1", False),
        ("192.0.2.1,!*.example", "host.example", "192.0.2.1", False),
        ("192.0.2.1,!*.example", "host.test", "192.0.2.1", True),
        # a name is only a name: whoever owns the address may have chosen it
        ("10.*", "10.0.0.1.example", "192.0.2.1", False),
        ("10.0.0.1", "10.0.0.1", "192.0.2.1", False),
        ("10.0.0.?", "10.0.0.1", "192.0.2.1", False),
        ("2001:db8:*", "2001:db8::1", "192.0.2.1", False),
        ("10.0.0.0/8", "10.0.0.1", "192.0.2.1", False),
        ("*,!10.*", "10.0.0.1.example", "192.0.2.1", False),
        ("mail?.example", "mail1.example", "192.0.2.1", True),
        ("*.example", "host.example", "UNKNOWN", False),
    ],
)
def test_hosts(patterns: str, host: str | None, address: str, matches: bool) -> None:
    assert match_host_list(host, address, patterns.split(",")) is matches


def test_networks_of_certificates_are_networks_and_nothing_else() -> None:
    assert match_cidr_list("192.0.2.1", ["198.51.100.1", "192.0.2.0/24"])
    assert match_cidr_list("::ffff:192.0.2.1", ["192.0.2.1"])
    assert not match_cidr_list("192.0.3.1", ["198.51.100.1", "192.0.2.0/24"])
    assert not match_cidr_list("192.0.2.1", [])
    assert not match_cidr_list("UNKNOWN", ["0.0.0.0/0"])
    for text in ("*", "192.0.2.*", "!192.0.2.1", "host.example", "", "192.0.2.1/24", "192.0.2.0/24 "):
        with pytest.raises(ValueError, match="not an address"):
            match_cidr_list("192.0.2.1", ["0.0.0.0/0", text])


def test_addresses_are_read_as_one_kind_each() -> None:
    assert str(parse_address("::FFFF:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("0.0.0.0")) == "0.0.0.0"
    assert str(parse_address("2001:DB8::0:1")) == "2001:db8::1"
    assert parse_address("host.example") is None


ADDRESSES = st.one_of(st.ip_addresses(), st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}")).map(str)


@given(ADDRESSES, st.integers(0, 128), st.booleans())
def test_an_address_is_in_its_own_networks_and_negation_takes_it_out(address: str, bits: int, negated: bool) -> None:
    parsed = parse_address(address)
    assert parsed is not None
    bits = min(bits, parsed.max_prefixlen)
    first = int(parsed) >> (parsed.max_prefixlen - bits) << (parsed.max_prefixlen - bits)
    network = f"{type(parsed)(first)}/{bits}"
    assert match_address_list(address, [network])
    assert not match_address_list(address, ["*", f"!{network}"])


@given(st.lists(st.text(st.characters(), max_size=12) | st.text("!*?./:%0123456789abf", max_size=12)), ADDRESSES)
def test_any_list_gives_an_answer_or_a_reason(patterns: list[str], address: str) -> None:
    try:
        check_address_list(patterns)
    except ValueError:
        with pytest.raises(ValueError):
            match_host_list("host.example", address, patterns)
    else:
        assert match_host_list("host.example", address, patterns) in (True, False)
        assert not match_host_list("host.example", address, [*patterns, "!*"])
