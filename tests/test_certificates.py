"""Certificates: what is read of them, and whatever is refused; ssh-keygen makes the good ones."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st

from fastssh import algorithms
from fastssh.auth.server import Attempt, AuthRules, Verdict
from fastssh.errors import KeyFormatError, SignatureError
from fastssh.keys.certificate import (
    MAX_CERTIFICATE,
    MAX_OPTIONS,
    MAX_PRINCIPALS,
    Certificate,
    CertificateType,
    decode_certificate,
    load_certificate,
)
from fastssh.keys.certificate_options import certificate_options
from fastssh.keys.key_options import RESTRICTED, KeyOptions
from fastssh.keys.principals import load_principals, parse_principals
from fastssh.keys.private import PrivateKey, generate_private_key
from fastssh.keys.public import decode_key, decode_public_key
from fastssh.wire.codec import Reader, string
from fastssh.wire.messages import UserauthFailure, UserauthPkOk, UserauthRequest
from fastssh.wire.requests import PublickeyQuery
from tests.support import keygen
from tests.support.auth import Server, query, signed
from tests.support.certificates import ALWAYS, Authority, build, options

ED, CA = generate_private_key("ed25519"), generate_private_key("ed25519")
KINDS = {"ed25519": ED, "ecdsa": generate_private_key("ecdsa"), "rsa": generate_private_key("rsa", 2048)}
GOOD = build(CA, ED)
NOW = 1_800_000_000


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits"), keygen.KINDS, ids=keygen.KIND_IDS)
@pytest.mark.parametrize("authority", [("ed25519", None), ("ecdsa", 384), ("rsa", 2048)], ids=str)
def test_what_ssh_keygen_certifies_is_read(
    kind: str, bits: int | None, authority: tuple[str, int | None], tmp_path: Path
) -> None:
    ca = Authority.make(tmp_path / "ca", *authority)
    key = keygen.make_key(tmp_path / "key", kind, bits)
    path = ca.certify(
        key.with_suffix(".pub"), "clear", "permit-pty", "force-command=a b", principals="ann,böb",
        id="é", serial=2**64 - 1, validity="20200101:20300101",
    )  # fmt: skip
    found = load_certificate(path)
    assert found.plain == decode_public_key(found.plain.blob) and found != found.plain
    assert found.algorithm == path.read_text().split()[0]
    assert found.line() == " ".join(path.read_text().split()[:2])
    assert (found.serial, found.type, found.key_id) == (2**64 - 1, CertificateType.USER, "é")
    assert found.principals == ("ann", "böb")
    assert found.critical_options == (("force-command", string(b"a b")),) and found.extensions == (("permit-pty", b""),)
    assert found.valid_before - found.valid_after == 3653 * 86400
    assert found.authority.line() == " ".join(ca.line.split()[:2])
    shown = keygen.run("-L", "-f", path, home=tmp_path).stdout.decode()
    assert found.fingerprint() in shown and found.authority.fingerprint() in shown
    assert f"(using {found.authority_algorithm})" in shown and f" {found.family} " in shown.replace("-CERT", "-CERT ")
    assert found.bits == found.plain.bits


def test_a_certificate_of_a_host_is_one(tmp_path: Path) -> None:
    ca = Authority.make(tmp_path / "ca")
    key = keygen.make_key(tmp_path / "key", "ed25519")
    found = load_certificate(ca.certify(key.with_suffix(".pub"), principals="*.example.org,box", host=True))
    assert found.type is CertificateType.HOST
    for host, good in (("a.Example.org", True), ("box", True), ("boxer", False), ("example.org", False)):
        reason = found.host_refusal(host, NOW, algorithms.CA_SIGNATURES)
        assert (reason is None) is good, reason
    reason = found.host_refusal("box", NOW, ["rsa-sha2-256"])
    assert reason == "Certificate signed with disallowed algorithm ssh-ed25519"
    critical = decode_certificate(build(CA, ED, type=2, critical=options(("x", b""))))
    assert critical.host_refusal("ann", NOW, algorithms.CA_SIGNATURES) == (
        "Certificate contains unsupported critical options(s)"
    )


BAD = {
    "a nested certificate": (build(CA, ED, signer=GOOD), "not accepted in the place of a key"),
    "an unknown type": (build(CA, ED, type=3), "unknown type 3"),
    "the type zero": (build(CA, ED, type=0), "unknown type 0"),
    "another's signature": (build(ED, ED, signer=CA.public.blob), "incorrect ssh-ed25519 signature"),
    "no signature": (build(CA, ED, signature=b""), "malformed signature"),
    "a tail": (build(CA, ED, tail=b"\0"), "superfluous"),
    "names that are no text": (build(CA, ED, principals=string(b"\xff")), "not UTF-8"),
    "a name cut off": (build(CA, ED, principals=string(b"ann")[:-1]), "truncated"),
    "too many names": (build(CA, ED, principals=string(b"a") * (MAX_PRINCIPALS + 1)), "more than 256 principals"),
    "an option cut off": (build(CA, ED, critical=string(b"x")), "truncated"),
    "an option twice": (build(CA, ED, critical=options(("x", b""), ("x", b""))), "option x twice"),
    "too many options": (
        build(CA, ED, extensions=options(*((str(number), b"") for number in range(MAX_OPTIONS + 1)))), "more than 256",
    ),
    "an extension twice": (build(CA, ED, extensions=options(("permit-pty", b""), ("permit-pty", b""))), "twice"),
    "a key of another kind": (build(CA, KINDS["rsa"], type_name=b"ssh-ed25519-cert-v01@openssh.com"), "32 bytes"),
    "an unknown kind": (build(CA, ED, type_name=b"ssh-dss-cert-v01@openssh.com"), "not a certificate"),
    "a key's own type": (build(CA, ED, type_name=b"ssh-ed25519"), "not a certificate"),
    "too much": (build(CA, ED, key_id=bytes(MAX_CERTIFICATE)), "at most"),
    "nothing": (b"", "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_row05_what_is_wrong_with_a_certificate_is_told_and_refused(name: str) -> None:
    blob, reason = BAD[name]
    with pytest.raises(KeyFormatError, match=re.escape(reason)):
        decode_certificate(blob)


def test_row27_no_authority_signs_with_sha1() -> None:
    rsa = KINDS["rsa"]
    unsigned = build(rsa, ED, signature=b"")[:-4]
    sha1 = rsa._key.sign(unsigned, padding.PKCS1v15(), hashes.SHA1())
    with pytest.raises(KeyFormatError, match="signature algorithm ssh-rsa does not belong"):
        decode_certificate(unsigned + string(string(b"ssh-rsa") + string(sha1)))
    decode_certificate(build(rsa, ED, algorithm="rsa-sha2-256"))


def test_row14_every_flipped_bit_of_a_certificate_is_noticed() -> None:
    for bit in range(0, len(GOOD) * 8, 7):
        changed = bytearray(GOOD)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyFormatError):
            decode_certificate(bytes(changed))


@given(st.binary(max_size=400), st.integers(0, len(GOOD)))
def test_row07_bytes_that_are_no_certificate_raise_nothing_else(noise: bytes, at: int) -> None:
    for blob in (GOOD[:at] + noise, GOOD[: at // 2] + noise + GOOD[at // 2 :]):
        if blob != GOOD:
            with pytest.raises(KeyFormatError):
                decode_certificate(blob)


def test_a_key_is_read_where_a_certificate_may_stand() -> None:
    assert decode_key(ED.public.blob) == ED.public
    assert isinstance(decode_key(GOOD), Certificate)
    for blob in (b"", b"\0\0\0\xff", string(b"x")):
        with pytest.raises(KeyFormatError):
            decode_key(blob)


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cert.pub"
    for text in ("", "ssh-ed25519", ED.public.line(), GOOD.hex()):
        path.write_text(text)
        with pytest.raises(KeyFormatError, match=f"^{path}: "):
            load_certificate(path)


# --- times and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "reason"), [
    ({}, None),
    ({"after": NOW, "before": NOW + 1}, None),
    ({"after": NOW + 1}, "Certificate invalid: not yet valid"),
    ({"before": NOW}, "Certificate invalid: expired"),
    ({"after": ALWAYS, "before": ALWAYS}, "Certificate invalid: not yet valid"),
    ({"before": 0}, "Certificate invalid: expired"),
    ({"type": 2}, "Certificate invalid: not a user certificate"),
    ({"principals": b""}, "Certificate lacks principal list"),
])  # fmt: skip
def test_row05_a_certificate_is_valid_for_its_time_and_for_whom_it_names(
    changes: dict[str, object], reason: str | None
) -> None:
    found = decode_certificate(build(CA, ED, **changes))  # type: ignore[arg-type]
    assert found.refusal(CertificateType.USER, NOW) == reason


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("critical", "extensions", "expected"), [
    ((), (), RESTRICTED),
    ((), (("permit-pty", b""), ("other@example.org", b"x")), replace(RESTRICTED, permit_pty=True)),
    ((), (("permit-agent-forwarding", b""), ("permit-port-forwarding", b""), ("permit-user-rc", b""),
          ("permit-X11-forwarding", b"")),
     KeyOptions(permit_pty=False, permit_tunnel=False)),
    ((), (("no-touch-required", b""),), replace(RESTRICTED, require_touch=False)),
    ((("force-command", string(b"a b")),), (), replace(RESTRICTED, command="a b")),
    ((("source-address", string(b"10.0.0.0/8,::1")),), (), replace(RESTRICTED, networks=(("10.0.0.0/8", "::1"),))),
    ((("verify-required", b""),), (), replace(RESTRICTED, require_verify=True)),
])  # fmt: skip
def test_row04_a_certificate_permits_what_its_extensions_give(
    critical: tuple[tuple[str, bytes], ...], extensions: tuple[tuple[str, bytes], ...], expected: KeyOptions
) -> None:
    found = decode_certificate(build(CA, ED, critical=options(*critical), extensions=options(*extensions)))
    assert certificate_options(found) == expected


@pytest.mark.parametrize(("critical", "extensions", "reason"), [
    (("unheard-of", b""), None, 'critical option "unheard-of" is not supported'),
    (("permit-pty", b""), None, 'critical option "permit-pty" is not supported'),
    (("Force-Command", string(b"x")), None, "is not supported"),
    (("force-command", b"x"), None, 'option "force-command" corrupt'),
    (("force-command", string(b"a\0b")), None, 'option "force-command" corrupt: a NUL byte'),
    (("force-command", string(b"x") + b"y"), None, 'option "force-command" corrupt'),
    (("source-address", string(b"")), None, 'option "source-address" corrupt'),
    (("source-address", string(b"10.0.0.0/8,*")), None, 'option "source-address" corrupt'),
    (("source-address", string(b"!10.0.0.0/8")), None, 'option "source-address" corrupt'),
    (("source-address", string(b"10.0.0.1/8")), None, 'option "source-address" corrupt'),
    (("verify-required", b"x"), None, 'option "verify-required" corrupt'),
    (None, ("permit-pty", b"x"), 'option "permit-pty" corrupt'),
])  # fmt: skip
def test_row05_an_option_that_cannot_be_followed_refuses_the_certificate(
    critical: tuple[str, bytes] | None, extensions: tuple[str, bytes] | None, reason: str
) -> None:
    packed = [b"" if pair is None else options(pair) for pair in (critical, extensions)]
    found = decode_certificate(build(CA, ED, critical=packed[0], extensions=packed[1]))
    with pytest.raises(KeyFormatError, match=re.escape(reason)):
        certificate_options(found)


# --- principals -------------------------------------------------------------------------------------------------------


def test_principals_have_options_and_comments() -> None:
    text = b'# nobody\n\nann\n\tno-pty,command="a  b\tc"  \tbob # who\n restrict cat \r\nx y z\nbad-option dora\n\xff\n'
    found = parse_principals(text, "file")
    names = [(line.name, line.where) for line in found.lines[:3]]
    assert names == [("ann", "file:3"), ("bob", "file:4"), ("cat", "file:5")]
    assert found.lines[1].options == KeyOptions(permit_pty=False, command="a  b\tc")
    assert [note.line for note in found.notes] == [6, 7]
    assert [line.where for line in found.find(("ann", "cat"))] == ["file:3", "file:5"]
    assert not found.find(("an", "ann,cat", ""))


def test_row24_a_file_of_principals_is_regular_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "principals"
    assert load_principals(path, home=tmp_path, uid=None).notes == ()
    path.write_text("ann\n")
    assert len(load_principals(path, home=tmp_path, uid=None).lines) == 1
    path.chmod(0o666)
    assert "writable by others" in load_principals(path, home=tmp_path, uid=path.stat().st_uid).notes[0].reason
    assert "not a regular file" in load_principals(tmp_path, home=None, uid=None).notes[0].reason


# --- signing and verifying with one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_certified_key_signs_as_the_key_and_is_shown_as_the_certificate(kind: str) -> None:
    key = KINDS[kind]
    certified = key.certified(decode_certificate(build(CA, key)))
    assert certified.public.blob != key.public.blob
    for algorithm in certified.public.signature_algorithms:
        signature = certified.sign(b"data", algorithm)
        assert Reader(signature).ascii() == algorithms.signature_algorithm(algorithm) in key.public.signature_algorithms
        assert certified.public.verify(signature, b"data", (algorithm,))
        for allowed in ((), key.public.signature_algorithms):  # the name of the certificate's algorithm, and no other
            with pytest.raises(SignatureError):
                certified.public.verify(signature, b"data", allowed)
        with pytest.raises(SignatureError):
            key.sign(b"data", algorithm)
    with pytest.raises(KeyFormatError, match="not one of this key"):
        CA.certified(decode_certificate(build(CA, key)))


def certified(**changes: object) -> PrivateKey:
    return ED.certified(decode_certificate(build(CA, ED, **changes)))  # type: ignore[arg-type]


def test_row05_a_server_is_asked_about_the_certificate_and_not_about_its_key() -> None:
    key = certified()
    accepts_the_key = Server(lambda attempt: Verdict.ACCEPT if attempt.key == ED.public else Verdict.REFUSE).begin()
    assert isinstance(accepts_the_key.hear(signed(key)), UserauthFailure)
    server = Server(lambda attempt: Verdict.ACCEPT, signature_algorithms=algorithms.USER_KEYS).begin()
    assert server.hear(query(key.public)) == UserauthPkOk("ssh-ed25519-cert-v01@openssh.com", key.public.blob)
    server.hear(signed(key))
    assert server.user is not None and server.user.key == key.public and server.user.verified
    assert isinstance(server.user.key, Certificate)


@pytest.mark.parametrize(("blob", "algorithm", "reason"), [
    (GOOD[:-1] + bytes((GOOD[-1] ^ 1,)), "ssh-ed25519-cert-v01@openssh.com", "signature: incorrect"),
    (GOOD, "ssh-ed25519", "does not sign with ssh-ed25519"),
    (ED.public.blob, "ssh-ed25519-cert-v01@openssh.com", "does not sign with ssh-ed25519-cert-v01@openssh.com"),
    (GOOD, "ssh-rsa-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com is not accepted"),
])  # fmt: skip
def test_row05_what_is_offered_as_a_certificate_and_is_none_is_refused_with_a_reason(
    blob: bytes, algorithm: str, reason: str
) -> None:
    told: list[Attempt] = []
    server = Server(
        lambda attempt: Verdict.ACCEPT, signature_algorithms=algorithms.USER_KEYS,
        outcome=lambda attempt, verdict: told.append(attempt),
    ).begin()  # fmt: skip
    request = UserauthRequest("ann", "ssh-connection", "publickey", PublickeyQuery(False, algorithm, blob).body())
    assert isinstance(server.hear(request), UserauthFailure)
    assert reason in told[-1].problem


def test_row03_a_key_does_not_count_twice_by_being_certified() -> None:
    rules = AuthRules((("publickey", "publickey"),))
    server = Server(
        lambda attempt: Verdict.ACCEPT, signature_algorithms=algorithms.USER_KEYS, rules=lambda user: rules
    ).begin()
    assert server.hear(signed(ED)) == UserauthFailure(("publickey",), True)
    assert server.hear(signed(certified())) == UserauthFailure(("publickey",), False)
    other = generate_private_key("ed25519")
    server.hear(signed(other))
    assert server.user is not None


def test_certificates_are_read_from_what_people_paste(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text(f"ssh-ed25519-cert-v01@openssh.com {base64.b64encode(GOOD).decode()} a comment\n")
    assert load_certificate(path).blob == GOOD
