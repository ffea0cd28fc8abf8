"""fastssh-keygen -Y: signatures that ssh-keygen verifies, and the same verdicts on its own; git signs with it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from fastssh.errors import KeyFormatError, SignatureError
from fastssh.keys.allowed_signers import AllowedSigners
from fastssh.keys.certificate import load_certificate
from fastssh.keys.issuing import Terms, issue
from fastssh.keys.krl import revoke, serialize_krl
from fastssh.keys.private import PrivateKey
from fastssh.keys.revocation import Revocations
from fastssh.keys.sshsig import Signature, armor, dearmor, decode_signature, sign, signed_data
from fastssh.keys.times import Validity, moment_text
from fastssh.wire.codec import string, uint32
from tests.support import keygen
from tests.support.desk import EC, ED, RSA, Desk, make_desk
from tests.support.peers import PeerMissing, clean_environment, program
from tests.support.security_key import Device

FASTSSH_KEYGEN = Path(sys.executable).parent / "fastssh-keygen"
DATA = b"what is signed\n"
DIGEST = hashlib.sha512(DATA).digest()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = make_desk(tmp_path, capsys, monkeypatch)
    Path("data").write_bytes(DATA)
    Path("other").write_bytes(b"something else")
    certificate = issue(Terms(EC.public, "id", principals=("ann@x", "bob@x"), validity=Validity(10**9, 2 * 10**9)), ED)
    Path("key-cert.pub").write_text(f"{certificate.line('me')}\n")
    return desk


def allow(*lines: str) -> None:
    """``lines`` as allowed signers, with {ca}, {rsa}, {key} and {cert} for those keys."""
    keys = {name: Path(f"{name}.pub").read_text().strip() for name in ("ca", "rsa", "key")}
    keys["cert"] = Path("key-cert.pub").read_text().strip()
    Path("allowed").write_text("\n".join(lines).format(**keys))


def verify(desk: Desk, *arguments: str, data: str = "data") -> tuple[int, str, str]:
    """What both say of a signature."""
    with open(data, "rb") as stdin:
        done = keygen.run("-Y", *arguments, home=desk.folder, check=False, stdin=stdin.read())
    mine = keygen.ours("-Y", *arguments, home=desk.folder, stdin=Path(data).read_bytes())
    assert (mine.returncode, mine.stdout) == (done.returncode, done.stdout), mine.stderr
    said = mine.stderr.decode()
    assert "Traceback" not in said and "please report" not in said
    return mine.returncode, mine.stdout.decode(), said


# --- signing and verifying --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ca", "rsa", "key", "key-cert.pub", "rsa.pub"])
@pytest.mark.parametrize("hash", ["", "sha256", "sha512"])
def test_each_verifies_what_the_other_signed(desk: Desk, name: str, hash: str) -> None:
    options = [f"-Ohashalg={hash}"] if hash else []
    for run in (desk.ours, desk.theirs):
        status, out, err = run("-Y", "sign", "-f", name, "-n", "file", *options, "data")
        assert (status, out) == (0, "") and err == "Signing file data\nWrite signature to data.sig\n"
        status, out, _ = verify(desk, "check-novalidate", "-n", "file", "-s", "data.sig")
        assert status == 0 and out.startswith('Good "file" signature with ')
        assert verify(desk, "check-novalidate", "-n", "file", "-s", "data.sig", data="other")[0] == 255
        assert verify(desk, "check-novalidate", "-n", "mail", "-s", "data.sig")[0] == 255
        signature = decode_signature(dearmor(Path("data.sig").read_bytes()))
        assert signature.hash == (hash or "sha512")
        os.unlink("data.sig")


def test_deterministic_signatures_are_those_of_ssh_keygen(desk: Desk) -> None:
    for name in ("ca", "rsa"):
        made = []
        for run in (desk.ours, desk.theirs):
            assert run("-q", "-Y", "sign", "-f", name, "-n", "file", "data") == (0, "", "")
            made.append(Path("data.sig").read_bytes())
            os.unlink("data.sig")
        assert made[0] == made[1]
    key = {"ca": ED, "rsa": RSA}["rsa"]
    assert armor(sign(key, DIGEST, "file").encode()).encode() == made[0]


def test_standard_input_is_signed_to_standard_output(desk: Desk) -> None:
    done = keygen.ours("-Y", "sign", "-f", "ca", "-n", "file", home=desk.folder, stdin=DATA)
    assert done.returncode == 0 and done.stderr == b"Signing data on standard input\n"
    decode_signature(dearmor(done.stdout)).verify(DIGEST, "file")


def test_a_signature_is_overwritten_only_when_asked(desk: Desk) -> None:
    Path("data.sig").write_text("precious")
    done = keygen.ours("-q", "-Y", "sign", "-f", "ca", "-n", "file", "data", home=desk.folder, stdin=b"n\n")
    assert done.stdout == b"data.sig already exists.\nOverwrite (y/n)? " and done.returncode == 0
    assert Path("data.sig").read_text() == "precious"
    keygen.ours("-q", "-Y", "sign", "-f", "ca", "-n", "file", "data", home=desk.folder, stdin=b"y\n")
    assert Path("data.sig").read_text().startswith("-----BEGIN SSH SIGNATURE-----\n")


VERDICTS = {
    # lines of allowed signers, further options, and the first line of what is said if the answer is no
    ("ann@x {ca}", ""): "",
    ("bob@x,*@x {ca}", ""): "",
    ("*,!ann@x {ca}", ""): "Could not",
    ("bob@x {ca}", ""): "Could not",
    ("ann@x {rsa}", ""): "Could not",
    ("# ann@x {ca}", ""): "Could not",
    ("ann@x {rsa}\nann@x {ca} a comment", ""): "",
    ('"ann@x" {ca}', ""): "",
    ('ann@x namespaces="file,mail" {ca}', ""): "",
    ('ann@x NameSpaces="f*" {ca}', ""): "",
    ('ann@x namespaces="mail" {ca}', ""): 'allowed:1: key is not permitted for use in signature namespace "file"',
    ('ann@x namespaces="*,!file" {ca}', ""): 'allowed:1: key is not permitted for use in signature namespace "file"',
    ('ann@x valid-after="20200101Z" {ca}', ""): "",
    ('ann@x valid-after="20990101Z" {ca}', "-Overify-time=20300101Z"): (
        "allowed:1: key is not yet valid: verify time 2030-01-01T00:00:00 < valid-after 2099-01-01T00:00:00"
    ),
    ('ann@x valid-before="20200101Z" {ca}', "-Overify-time=20300101Z"): (
        "allowed:1: key has expired: verify time 2030-01-01T00:00:00 > valid-before 2020-01-01T00:00:00"
    ),
    ('ann@x valid-before="20200101Z" {ca}', "-Overify-time=20191231Z"): "",
    ('ann@x valid-before="20200101Z" {ca}\nann@x {ca}', ""): "",
    ("ann@x cert-authority {ca}", ""): "Could not",
    ("ann@x octopus {ca}", ""): "allowed:1: bad options: unknown key option",
    ("ann@x octopus {ca}\nann@x {ca}", ""): "",
    ('ann@x namespaces="a {ca}', ""): "allowed:1: invalid options",
    ('ann@x namespaces="a", {ca}', ""): "allowed:1: bad options: unexpected end-of-options",
    ('ann@x namespaces="a",namespaces="b" {ca}', ""): 'allowed:1: bad options: multiple "namespaces" clauses',
    ('ann@x valid-after="2020" {ca}', ""): 'allowed:1: bad options: invalid "valid-after" time',
    ('ann@x valid-after="20200101",valid-before="20190101" {ca}', ""): (
        'allowed:1: bad options: "valid-before" time is before "valid-after"'
    ),
    ("ann@x cert-authority", ""): "allowed:1: missing key",
    ("ann@x cert-authority ssh-rsa AAAA", ""): "allowed:1: invalid key",
    ("ann@x", ""): "allowed:1: missing key",
}


@pytest.mark.parametrize(("lines", "options"), VERDICTS, ids=lambda value: value.replace("\n", "+") or "now")
def test_verdicts_are_those_of_ssh_keygen(
    desk: Desk, lines: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    allow(lines)
    Path("data.sig").write_text(armor(sign(ED, DIGEST, "file").encode()))
    asked = ("verify", "-f", "allowed", "-I", "ann@x", "-n", "file", "-s", "data.sig", *filter(None, [options]))
    status, out, err = verify(desk, *asked)
    refused = VERDICTS[lines, options]
    if not refused:
        assert (status, out) == (0, f'Good "file" signature for ann@x with ED25519 key {ED.public.fingerprint()}\n')
    else:
        assert (status, out) == (255, "Could not verify signature.\n")
        assert err == (f"{refused}\n" if refused.startswith("allowed") else "")
    assert verify(desk, *asked, "-q")[1] == ""


CERTIFIED = {
    ("ann@x cert-authority {ca}", "ann@x"): True,
    ("*@x cert-authority {ca}", "bob@x"): True,
    ("*@x cert-authority {ca}", "carl@x"): False,
    ("ann@x {cert}", "ann@x"): True,
    ("ann@x {key}", "ann@x"): False,
    ("ann@x {ca}", "ann@x"): False,
    ("ann@x cert-authority {rsa}", "ann@x"): False,
    ("ann@x cert-authority {cert}", "ann@x"): False,
}


@pytest.mark.parametrize(("lines", "who"), CERTIFIED, ids=lambda value: value)
def test_row05_certificates_sign_for_those_they_name(desk: Desk, lines: str, who: str) -> None:
    allow(lines)
    assert desk.ours("-q", "-Y", "sign", "-f", "key-cert.pub", "-n", "file", "data") == (0, "", "")
    asked = ("verify", "-f", "allowed", "-I", who, "-n", "file", "-s", "data.sig")
    assert verify(desk, *asked)[0] == (0 if CERTIFIED[lines, who] else 255)
    late = verify(desk, *asked, "-Overify-time=20500101Z")
    assert late[0] == (0 if "{cert}" in lines and CERTIFIED[lines, who] else 255)
    if CERTIFIED[lines, who] and "{cert}" not in lines:
        assert late[2] == "allowed:1: certificate not authorized: Certificate invalid: expired\n"


@pytest.mark.parametrize("form", ["list", "krl"])
def test_row05_revoked_keys_and_authorities_sign_nothing(desk: Desk, form: str) -> None:
    def revoked(name: str) -> None:
        text = Path(f"{name}.pub").read_text()
        Path("revoked").write_text(text)
        if form == "krl":
            found = Revocations()
            revoke(text, found)
            Path("revoked").write_bytes(serialize_krl(found, generated=0))

    allow("ann@x cert-authority {ca}", "ann@x {rsa}")
    for name, others in (("key-cert.pub", ("key", "ca", "key-cert")), ("rsa", ("rsa",))):
        desk.ours("-q", "-Y", "sign", "-f", name, "-n", "file", "data")
        asked = ("verify", "-f", "allowed", "-I", "ann@x", "-n", "file", "-s", "data.sig", "-r", "revoked")
        for other in ("rsa", "ca", "key", "key-cert"):
            revoked(other)
            assert verify(desk, *asked)[0] == (255 if other in others else 0)
        os.unlink("data.sig")
    Path("revoked").write_text("no list at all")
    desk.ours("-q", "-Y", "sign", "-f", "rsa", "-n", "file", "data")
    assert verify(desk, *asked)[0] == 255
    os.unlink("revoked")
    assert verify(desk, *asked)[0] == 255


def test_principals(desk: Desk) -> None:
    allow('ann@x,b {ca}', '*@x cert-authority {ca}', 'c@x namespaces="n" {rsa}', 'c@x valid-before="20200101" {key}',
          "d@x {key}")  # fmt: skip
    for name, expected in (
        ("ca", ["ann@x", "b"]), ("key-cert.pub", ["ann@x", "bob@x"]), ("rsa", ["c@x"]), ("key", ["d@x"])
    ):  # fmt: skip
        desk.ours("-q", "-Y", "sign", "-f", name, "-n", "file", "data")
        status, out, _ = verify(desk, "find-principals", "-f", "allowed", "-s", "data.sig")
        assert status == 0 and out.splitlines() == expected
        os.unlink("data.sig")
    for who, expected in (
        ("c@x", ["*@x", "c@x", "c@x"]), ("ann@x", ["ann@x,b", "*@x"]), ("e@x", ["*@x"]), ("ann@y", [])
    ):  # fmt: skip
        status, out, err = verify(desk, "match-principals", "-f", "allowed", "-I", who)
        assert out.splitlines() == expected and err == ("" if expected else "No principal matched.\n")
    allow("ann@x octopus {ca}")
    desk.ours("-q", "-Y", "sign", "-f", "ca", "-n", "file", "data")
    for asked in (
        ("match-principals", "-f", "allowed", "-I", "ann@x"), ("match-principals", "-f", "none", "-I", "ann@x"),
        ("find-principals", "-f", "allowed", "-s", "data.sig"), ("find-principals", "-f", "none", "-s", "data.sig"),
        ("find-principals", "-f", "allowed", "-s", "none"), ("find-principals", "-f", "allowed", "-s", "data"),
    ):  # fmt: skip
        status, out, err = verify(desk, *asked)
        assert status and out == "" and err.endswith("\nNo principal matched.\n")


REFUSED = {
    "foo": 'Unsupported operation for -Y: "foo"',
    "sign": "Too few arguments for sign: missing namespace",
    "sign -n a": "Too few arguments for sign: missing key",
    "verify -n a": "Too few arguments for verify: missing signature file",
    "verify -n a -s b -f c": "Too few arguments for verify: missing principal identity",
    "match-principals -f c": "Too few arguments for match-principals: missing principal ID",
    "sign -f none -n a data": "Couldn't load public key none: No such file or directory",
    "sign -f ca -n a none": "Cannot open none for signing: No such file or directory",
    "sign -f ca -n a -O foo data": 'Invalid option "foo"',
    "sign -f ca -n a -O print-pubkey data": 'Invalid option "print-pubkey"',
    "sign -f ca -n a - data": "Cannot sign mix of paths and standard input",
    "sign -U -f ca -n a data": "Couldn't get agent socket",
    "verify -n a -s data -f c -I x -O verify-time=x": 'Invalid "verify-time" option',
    "check-novalidate -n a -s none": "Couldn't read signature file: No such file or directory",
    "check-novalidate -n a -s data": "Couldn't parse signature: missing header",
    "check-novalidate -n a -s cut": "Couldn't parse signature: missing footer",
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_is_refused_in_ssh_keygens_words(desk: Desk, command: str) -> None:
    Path("cut").write_text("-----BEGIN SSH SIGNATURE-----\nAAAA")
    ours, theirs = desk.ours("-Y", *command.split()), desk.theirs("-Y", *command.split())
    assert ours[0] == theirs[0] and ours[0]
    assert ours[2].splitlines()[0].removeprefix("fastssh-keygen: ") == REFUSED[command] == theirs[2].splitlines()[0]


def test_other_refusals(desk: Desk) -> None:
    status, _, err = desk.ours("-Y", "sign", "-f", "ca", "-n", "a", "-Ohashalg=sha1", "data")
    assert status == 255 and err.endswith('Signing data failed: unsupported hash algorithm "sha1"\n')
    Path("lonely.pub").write_text(Path("ca.pub").read_text())
    status, _, err = desk.ours("-Y", "sign", "-f", "lonely.pub", "-n", "a", "data")
    assert (status, err) == (255, 'No private key found for public key "lonely.pub"\n')
    shutil.copy("rsa", "lonely")
    status, _, err = desk.ours("-Y", "sign", "-f", "lonely.pub", "-n", "a", "data")
    assert (status, err) == (255, "Public key lonely.pub doesn't match private lonely\n")


def test_keys_in_the_agent_sign(desk: Desk, agent_here: str) -> None:
    subprocess.run([program("ssh-add", "openssh-client"), "-q", "rsa", "key"], check=True)
    os.unlink("rsa")
    os.unlink("key")
    for name in ("rsa.pub", "key-cert.pub"):
        for options in ((), ("-U",)):
            assert desk.ours("-q", "-Y", "sign", *options, "-f", name, "-n", "file", "data") == (0, "", "")
            assert verify(desk, "check-novalidate", "-n", "file", "-s", "data.sig")[0] == 0
            os.unlink("data.sig")
    assert desk.ours("-Y", "sign", "-U", "-f", "ca", "-n", "file", "data")[2] == "Couldn't find key in agent\n"
    assert desk.ours("-q", "-Y", "sign", "-f", "ca", "-n", "file", "data")[0] == 0


def test_the_key_is_printed_where_it_is_asked_for(desk: Desk) -> None:
    desk.ours("-q", "-Y", "sign", "-f", "ca", "-n", "file", "data")
    asked = ("-q", "-Y", "check-novalidate", "-n", "file", "-s", "data.sig", "-O", "print-pubkey")
    done = keygen.compare(*asked, home=desk.folder, stdin=DATA)
    assert done.stdout.decode() == f"{ED.public.line()}\n"


# --- git --------------------------------------------------------------------------------------------------------------


def test_git_signs_and_verifies_with_it(desk: Desk) -> None:
    try:
        git = program("git", "git")
    except PeerMissing as missing:
        pytest.skip(str(missing))
    allow("me@test {ca}")
    settings = {
        "gpg.format": "ssh", "gpg.ssh.program": FASTSSH_KEYGEN, "gpg.ssh.allowedSignersFile": desk.folder / "allowed",
        "user.signingkey": desk.folder / "ca", "user.name": "me", "user.email": "me@test",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [git, *options, *arguments], cwd=desk.folder, env=clean_environment(desk.folder), capture_output=True,
            text=True, check=check, timeout=60,
        )  # fmt: skip

    run("init", "-q")
    run("commit", "-q", "-S", "--allow-empty", "-m", "signed")
    good = f'Good "git" signature for me@test with ED25519 key {ED.public.fingerprint()}\n'
    assert good in run("verify-commit", "HEAD").stderr
    assert run("log", "-1", "--format=%G? %GS %GF").stdout == f"G me@test {ED.public.fingerprint()}\n"
    run("tag", "-s", "v1", "-m", "signed as well")
    assert good in run("verify-tag", "v1").stderr
    allow("somebody@else {rsa}")
    refused = run("verify-commit", "HEAD", check=False)
    assert refused.returncode and "No principal matched." in refused.stderr


# --- the library ------------------------------------------------------------------------------------------------------


def test_what_is_signed_is_told_apart() -> None:
    made = sign(RSA, DIGEST, "file")
    made.verify(DIGEST, "file")
    for broken, digest, namespace in (
        (made, hashlib.sha512(b"").digest(), "file"), (made, DIGEST, "mail"),
        (made._replace(namespace="mail"), DIGEST, "mail"),
        (made._replace(key=EC.public), DIGEST, "file"), (made._replace(blob=b""), DIGEST, "file"),
        (made._replace(blob=string(b"ssh-rsa") + made.blob[16:]), DIGEST, "file"),
    ):  # fmt: skip
        with pytest.raises(SignatureError):
            broken.verify(digest, namespace)
    with pytest.raises(KeyFormatError, match="needs a namespace"):
        sign(ED, DIGEST, "")
    with pytest.raises(KeyFormatError, match="unsupported hash"):
        sign(ED, DIGEST, "file", "sha1")
    with pytest.raises(KeyFormatError, match="does not have 64 bytes"):
        signed_data("file", "sha256", DIGEST)


@pytest.mark.parametrize("inner", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_security_keys_sign_files(desk: Desk, inner: str) -> None:
    device = Device(inner)
    blob = device.sign(signed_data("file", "sha512", DIGEST))
    Path("data.sig").write_text(armor(Signature(device.public, "file", "sha512", blob).encode()))
    Path("allowed").write_text(f"ann@x {device.public.line()}\n")
    asked = ("verify", "-f", "allowed", "-I", "ann@x", "-n", "file", "-s", "data.sig")
    assert verify(desk, *asked)[0] == 0
    assert verify(desk, *asked, data="other")[0] == 255


def test_row27_no_signature_with_sha1_is_one(desk: Desk) -> None:
    """RSA with SHA-1 under its own name, as no ssh-keygen makes it any more."""
    value = RSA._key.sign(signed_data("file", "sha512", DIGEST), padding.PKCS1v15(), hashes.SHA1())
    made = Signature(RSA.public, "file", "sha512", string(b"ssh-rsa") + string(value))
    with pytest.raises(SignatureError, match="does not belong to"):
        made.verify(DIGEST, "file")
    Path("data.sig").write_text(armor(made.encode()))
    assert verify(desk, "check-novalidate", "-n", "file", "-s", "data.sig")[0] == 255


def test_a_certificates_signature_shows_the_certificate(desk: Desk) -> None:
    certificate = load_certificate("key-cert.pub")
    made = sign(EC.certified(certificate), DIGEST, "file")
    assert made.key == certificate and decode_signature(made.encode()) == made
    made.verify(DIGEST, "file")
    assert isinstance(EC, PrivateKey)


def test_objects_that_are_none() -> None:
    good = sign(ED, DIGEST, "file").encode()
    for data, words in (
        (b"", "invalid format"), (b"SSHSIX" + good[6:], "invalid format"), (good[:-1], "invalid format"),
        (good + b"x", "trailing data"), (b"SSHSIG" + uint32(2) + good[10:], "version 2 is larger than"),
        (Signature(ED.public, "n", "sha1", b"").encode(), "unsupported hash algorithm"),
        (b"SSHSIG" + uint32(1) + string(b"no key") + good[65:], "malformed"),
    ):  # fmt: skip
        with pytest.raises(KeyFormatError, match=words):
            decode_signature(data)
    reserved = good.replace(string(b"file") + string(b""), string(b"file") + string(b"later"))
    assert decode_signature(reserved).namespace == "file"  # to be ignored


@hypothesis.given(st.binary(max_size=300))
def test_armour_comes_off(data: bytes) -> None:
    text = armor(data).encode()
    assert dearmor(text) == data == dearmor(text.replace(b"\n", b"\r\n")) == dearmor(text + b"anything")
    assert max(map(len, text.splitlines())) <= 76


@hypothesis.given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, flip: int) -> None:
    good = sign(ED, DIGEST, "file").encode()
    broken = bytearray(good)
    broken[at % len(good)] ^= flip
    with pytest.raises((SignatureError, KeyFormatError)):
        decode_signature(bytes(broken)).verify(DIGEST, "file")


@hypothesis.given(st.binary(max_size=200))
def test_any_object_is_a_signature_or_refused(data: bytes) -> None:
    for candidate in (data, sign(ED, DIGEST, "file").encode()[:10] + data):
        with pytest.raises(KeyFormatError):
            decode_signature(candidate)
    for text in (data, b"-----BEGIN SSH SIGNATURE-----\n" + data + b"\n-----END SSH SIGNATURE-----"):
        with contextlib.suppress(KeyFormatError):
            dearmor(text)


@hypothesis.given(st.text(max_size=80) | st.text('ann@x,*"= \\namespcvlid-fterbo0129\n', max_size=80))
def test_any_line_allows_or_does_not(text: str) -> None:
    told: list[str] = []
    line = f"{text} {base64.b64encode(ED.public.blob).decode()}\n{text} {ED.public.line()}\n"
    signers = AllowedSigners(line.encode("utf-8", "surrogatepass"), "file", told.append)
    for key in (ED.public, RSA.public):
        assert signers.allow(key, "ann@x", "file", 1e9) in (True, False)
        assert isinstance(signers.principals_of(key, 1e9), list)
    assert all(line.startswith("file:") for line in told)
    try:
        signers.matching("ann@x")
    except KeyFormatError as error:
        assert str(error).startswith("file:")


def test_moments_are_written_whatever_the_year() -> None:
    for seconds in (0, 1_800_000_000, 2**33, 253402300800, 2**45, 2**55):
        assert moment_text(seconds) == time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
    assert moment_text(2**63) is None and moment_text(2**64 - 1) is None
