"""RevokedKeys: lists, and KRLs as ssh-keygen makes them, which says what they mean; and fastsshd, which heeds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import KeyFormatError
from fastssh.keys.certificate import load_certificate
from fastssh.keys.private import generate_private_key
from fastssh.keys.public import PublicKey, parse_public_line
from fastssh.keys.revocation import Revocations, load_revocations, parse_revocations
from fastssh.wire.codec import boolean, mpint, string, uint32, uint64
from tests.support import keygen, openssh
from tests.support.certificates import Authority
from tests.support.peers import Keys
from tests.support.site import Site, site

KEY, CA = generate_private_key("ed25519"), generate_private_key("ed25519")
MAGIC = b"SSHKRL\n\0"
HEADER = MAGIC + uint32(1) + uint64(1) + uint64(2) + uint64(0) + string(b"") + string(b"comment")


def section(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + string(data)


def of_certificates(*sections: bytes, authority: bytes = CA.public.blob) -> bytes:
    return HEADER + section(1, string(authority) + string(b"") + b"".join(sections))


# --- what ssh-keygen makes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Public keys and certificates by a name for each."""
    directory = tmp_path_factory.mktemp("revocation")
    key, other = (keygen.make_key(directory / name, "ed25519").with_suffix(".pub") for name in ("key", "other"))
    ca, ca2 = (Authority.make(directory / name) for name in ("ca", "ca2"))
    found = {"key": key, "other": other, "ca": ca.key.with_suffix(".pub")}
    for serial in (0, 1, 2, 5, 10, 500, 2**40, 2**64 - 1):
        found[f"{serial}"] = ca.certify(key, principals="a", serial=serial, id=f"id {serial}")
    found["other 5"] = ca.certify(other, principals="a", serial=5, id="id 5")
    found["ca2 5"] = ca2.certify(other, principals="a", serial=5, id="é")
    return found


def read_key(path: Path) -> PublicKey:
    return load_certificate(path) if path.name.endswith("-cert.pub") else parse_public_line(path.read_text())[0]


def hash_of(world: dict[str, Path], name: str) -> str:
    return keygen.run("-l", "-f", world[name], home=world[name].parent).stdout.decode().split()[1]


SPECIFICATIONS: dict[str, tuple[str, str]] = {  # whose certificates are meant, and the lines
    "a key": ("", "{key}"),
    "keys and certificates": ("", "{other}\n{5}"),
    "one serial": ("ca", "serial: 5"),
    "serials that become a list": ("ca", "serial: 1\nserial: 500\nserial: 1099511627776"),
    "serials that become a bitmap": ("ca", "\n".join(f"serial: {number}" for number in range(1, 400, 3))),
    "a range": ("ca", "serial: 2-100"),
    "the last serials": ("ca", "serial: 18446744073709551000-18446744073709551615"),
    "key ids": ("ca", "id: id 5\nid: é\nid: id"),
    "key ids of any authority": ("none", "id: id 5\nid: é"),
    "an authority": ("", "{ca}"),
    "a key by name": ("", "key: {key}"),
    "a hash by sha1": ("", "sha1: {key}"),
    "a hash by sha256": ("", "sha256: {key}\nsha256: {other}"),
    "a fingerprint": ("", "hash: {key hash}"),
    "all kinds": ("ca", "serial: 5\nserial: 7-12\nid: id 500\nsha1: {other}\nkey: {ca}"),
    "nothing": ("", "# nothing"),
}


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_a_krl_revokes_what_ssh_keygen_says_it_does(name: str, world: dict[str, Path], tmp_path: Path) -> None:
    whose, text = SPECIFICATIONS[name]
    lines = re.sub(
        r"\{([^}]*)\}", lambda found: hash_of(world, found[1][:-5]) if found[1].endswith(" hash")
        else world[found[1]].read_text().strip(), text,
    )  # fmt: skip
    (tmp_path / "spec").write_text(lines + "\n")
    authority = ("-s", world.get(whose, whose)) if whose else ()
    keygen.run("-q", "-k", "-f", tmp_path / "krl", *authority, tmp_path / "spec", home=tmp_path)
    found = load_revocations(tmp_path / "krl")
    said = keygen.run("-Q", "-f", tmp_path / "krl", *world.values(), home=tmp_path, check=False).stdout.decode()
    expected = [line.endswith(": REVOKED") for line in said.splitlines()]
    assert [found.revoke(read_key(path)) for path in world.values()] == expected
    assert any(expected) is (name != "nothing") and not all(expected)


def test_a_list_revokes_keys_their_certificates_and_what_they_certify(world: dict[str, Path]) -> None:
    def revoked(*names: str) -> set[str]:
        found = parse_revocations(("# old\n\n" + "".join(world[name].read_text() for name in names)).encode())
        return {name for name, path in world.items() if found.revoke(read_key(path))}

    of_key = {name for name in world if name not in ("other", "other 5", "ca", "ca2 5")}
    assert revoked() == set()
    assert revoked("key") == revoked("5") == of_key
    assert revoked("ca") == {"ca", "other 5"} | of_key - {"key"}
    assert revoked("key", "other") == set(world) - {"ca"}


# --- what nobody can read ---------------------------------------------------------------------------------------------

UNREADABLE = {
    "a line of no key": (b"hello\n", "line 1: "),
    "a key cut off": (KEY.public.line().encode()[:-3], "line 1: "),
    "options": (b"no-pty " + KEY.public.line().encode(), "line 1: "),
    "noise": (b"\xff\xfe\n", "line 1: "),
    "another version": (MAGIC + uint32(2), "unknown version 2"),
    "a header cut off": (HEADER[:-3], "malformed KRL: message truncated"),
    "a section cut off": (HEADER + section(2, string(b"x"))[:-1], "malformed KRL: message truncated"),
    "a key in a section cut off": (HEADER + section(2, string(b"x")[:-1]), "malformed KRL: message truncated"),
    "an unknown section": (HEADER + section(9, b""), "unknown section 9"),
    "a signature": (HEADER + section(4, string(b"")), "signed KRLs are not supported"),
    "a critical extension": (
        HEADER + section(255, string(b"x@y") + boolean(True) + string(b"")), "unknown critical extension x@y"
    ),
    "a hash of another size": (HEADER + section(5, string(bytes(31))), "sha256 hash of another size"),
    "serials cut off": (of_certificates(section(0x20, bytes(15))), "cut off"),
    "a range turned round": (of_certificates(section(0x21, uint64(2) + uint64(1))), "range of serial numbers 2 to 1"),
    "a range with a tail": (of_certificates(section(0x21, uint64(1) + uint64(2) + b"x")), "superfluous"),
    "a bitmap past the end": (of_certificates(section(0x22, uint64(2**64 - 1) + mpint(2))), "out of range"),
    "a negative bitmap": (of_certificates(section(0x22, uint64(1) + mpint(-2))), "out of range"),
    "an unknown section of certificates": (of_certificates(section(0x30, b"")), "unknown section of certificates 48"),
    "a critical extension of certificates": (
        of_certificates(section(0x39, string(b"x") + boolean(True) + string(b""))), "unknown critical extension x"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_row05_revocations_that_are_not_understood_are_an_error(name: str) -> None:
    data, reason = UNREADABLE[name]
    with pytest.raises(KeyFormatError, match=re.escape(reason)):
        parse_revocations(data)


def test_extensions_that_are_not_critical_are_passed_over() -> None:
    extension = string(b"x") + boolean(False) + string(b"what")
    data = of_certificates(section(0x39, extension), section(0x20, uint64(5))) + section(255, extension)
    assert [some.serials for some in parse_revocations(data).certificates.values()] == [{5}]


@given(st.binary(max_size=300), st.integers(0, 200))
def test_row07_bytes_that_are_no_krl_raise_nothing_else(noise: bytes, at: int) -> None:
    good = of_certificates(section(0x20, uint64(5)), section(0x22, uint64(9) + mpint(5)), section(0x23, string(b"id")))
    for data in (good[:at] + noise, good[:at] + noise + good[at:], HEADER + noise):
        try:
            assert isinstance(parse_revocations(data), Revocations)
        except KeyFormatError:
            continue


# --- fastsshd ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def revoking(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    yield from site(directory, keys, RevokedKeys=f"{directory / 'list'} {directory / 'krl'}")


def test_row05_a_revoked_key_or_authority_logs_nobody_in(revoking: Site) -> None:
    directory, keys = revoking.authority.key.parent, revoking.peer.keys
    public = keys.user("ed25519").with_suffix(".pub")
    (directory / "list").write_text("")
    keygen.run("-q", "-k", "-f", directory / "krl", home=directory)
    certificate = revoking.certify(serial=5)
    assert revoking.admits(certificate)
    (directory / "list").write_text(public.read_text())
    fingerprint = parse_public_line(public.read_text())[0].fingerprint()
    by_list = f"{fingerprint} revoked by file {directory / 'list'}"
    revoking.authorized_keys.write_text(public.read_text())
    assert openssh.ssh(revoking.peer, "true").returncode == 255
    revoking.refuses(certificate, f"key ED25519-CERT {by_list}")
    (directory / "list").write_text(revoking.authority.line)
    only = ("-o", "PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com")  # not the key, which is authorised
    revoking.refuses(certificate, f"key ED25519-CERT {by_list}", options=only)
    assert openssh.ssh(revoking.peer, "true").returncode == 0
    revoking.authorized_keys.unlink()
    (directory / "list").write_text("")
    (directory / "spec").write_text("serial: 5\n")
    authority = f"{revoking.authority.key}.pub"
    keygen.run("-q", "-k", "-f", directory / "krl", "-s", authority, directory / "spec", home=directory)
    revoking.refuses(certificate, f"revoked by file {directory / 'krl'}")
    assert revoking.admits(revoking.certify(serial=6))


@pytest.mark.parametrize(("what", "reason"), [
    (None, ": No such file or directory"), (b"hello\n", ": line 1: "), (MAGIC, ": malformed KRL"),
])  # fmt: skip
def test_row05_revocations_that_cannot_be_read_refuse_all_keys(
    revoking: Site, what: bytes | None, reason: str
) -> None:
    directory = revoking.authority.key.parent
    (directory / "list").write_text("")
    keygen.run("-q", "-k", "-f", directory / "krl", home=directory)
    path = directory / "list"
    path.unlink()
    if what is not None:
        path.write_bytes(what)
    revoking.authorized_keys.write_text(revoking.peer.keys.authorized.read_text())
    revoking.refuses(revoking.certify(), f"in revoked keys file {path}{reason}")
    revoking.authorized_keys.unlink()
