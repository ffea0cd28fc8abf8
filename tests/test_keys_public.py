"""Public keys: blobs, lines, fingerprints and signatures, against OpenSSH and published vectors."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import KeyFormatError, SignatureError
from fastssh.keys import kinds
from fastssh.keys.kinds import KINDS
from fastssh.keys.private import PrivateKey, generate_private_key, load_private_key
from fastssh.keys.public import PublicKey, decode_key, decode_public_key, parse_public_line
from fastssh.wire.codec import Reader, mpint, string
from tests.support import keygen
from tests.support.certificates import build


@pytest.fixture(scope="module", params=keygen.KINDS, ids=keygen.KIND_IDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PrivateKey, Path]:
    path = keygen.make_key(tmp_path_factory.mktemp("key") / "id", *request.param)
    return load_private_key(path), path


@pytest.fixture(scope="module")
def every_key() -> dict[str, PrivateKey]:
    return {name: generate_private_key(name, 1024 if name == "ssh-rsa" else None) for name in KINDS}


# --- lines and fingerprints ---------------------------------------------------------------------------------------


def test_public_lines_of_ssh_keygen_come_back_unchanged(pair: tuple[PrivateKey, Path]) -> None:
    line = Path(f"{pair[1]}.pub").read_text().rstrip("\n")
    key, comment = parse_public_line(line)
    assert key == pair[0].public
    assert comment == "user@test"
    assert key.line(comment) == line
    assert hash(key) == hash(pair[0].public)
    assert key.algorithm == line.split()[0]


@pytest.mark.parametrize("hash_name", ["sha256", "md5"])
def test_fingerprints_and_randomart_are_those_of_ssh_keygen(pair: tuple[PrivateKey, Path], hash_name: str) -> None:
    key, path = pair[0].public, pair[1]
    expected = keygen.run("-l", "-v", "-E", hash_name, "-f", f"{path}.pub", home=path.parent).stdout.decode()
    ours = f"{key.bits} {key.fingerprint(hash_name)} user@test ({key.family})\n{key.randomart(hash_name)}\n"
    assert ours == expected


def _certified(authority: PrivateKey, blob: bytes, name: bytes) -> bytes:
    key: Any = SimpleNamespace(public=SimpleNamespace(blob=blob))
    return build(authority, key, type_name=name)


@pytest.mark.parametrize("hash_name", ["sha256", "md5", "sha1", "sha512"])
def test_pictures_of_certificates_and_security_keys_are_those_of_ssh_keygen(tmp_path: Path, hash_name: str) -> None:
    authority = generate_private_key("ed25519")
    devices = [
        string(b"sk-ssh-ed25519@openssh.com") + string(bytes(range(32))) + string(b"ssh:"),
        string(b"sk-ecdsa-sha2-nistp256@openssh.com") + string(b"nistp256")
        + string(Reader(generate_private_key("ecdsa", 256).public.blob[35:]).string()) + string(b"ssh:"),
    ]
    made = [generate_private_key(kind, bits).public.blob for kind, bits in keygen.KINDS]
    path = tmp_path / "keys.pub"
    shown = [decode_key(blob) for blob in devices]
    for blob in (*devices, *made):
        name = Reader(blob).string().removesuffix(b"@openssh.com") + b"-cert-v01@openssh.com"
        shown.append(decode_key(_certified(authority, blob, name)))
    path.write_text("".join(key.line() + "\n" for key in shown))
    expected = keygen.run("-l", "-v", "-E", hash_name, "-f", path, home=tmp_path).stdout.decode()
    ours = [f"{key.bits} {key.fingerprint(hash_name)} no comment ({key.family})\n{key.randomart(hash_name)}\n"
            for key in shown]
    assert "".join(ours) == expected


def test_fingerprint_hashes_that_do_not_exist_are_named(every_key: dict[str, PrivateKey]) -> None:
    with pytest.raises(KeyFormatError, match="sha224"):
        every_key["ssh-ed25519"].public.fingerprint("sha224")


def test_a_comment_cannot_begin_a_line_of_its_own(every_key: dict[str, PrivateKey]) -> None:
    with pytest.raises(KeyFormatError):
        every_key["ssh-ed25519"].public.line("me\nssh-ed25519 AAAA intruder")


def test_a_line_must_name_the_type_of_its_key(every_key: dict[str, PrivateKey]) -> None:
    text = every_key["ssh-ed25519"].public.line().split()[1]
    lines = [f"ssh-rsa {text}", f"ssh-ed2551\u00e9 {text}", f"ssh-ed25519 {text[:-1]}", f"ssh-ed25519 \u00e9{text}"]
    for line in (*lines, "ssh-ed25519", ""):
        with pytest.raises(KeyFormatError):
            parse_public_line(line)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (b"ssh-ed25519-cert-v01@openssh.com", "certificates"),
        (b"rsa-sha2-512-cert-v01@openssh.com", "certificates"),
        (b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "security keys"),
        (b"sk-ssh-ed25519-cert-v01@openssh.com", "certificates"),
        (b"ssh-dss", "DSA"),
        (b"ssh-nothing", "unknown key type"),
        (b"rsa-sha2-512", "unknown key type"),
        (b"\x1b[31mred", "unknown key type"),
    ],
)
def test_types_that_we_do_not_speak_are_told_clearly(name: bytes, word: str) -> None:
    with pytest.raises(KeyFormatError, match=word) as caught:
        decode_public_key(string(name) + string(bytes(32)))
    assert "\x1b" not in str(caught.value)


# --- malformed blobs ----------------------------------------------------------------------------------------------


def test_blobs_have_one_form_only(every_key: dict[str, PrivateKey]) -> None:
    for key in every_key.values():
        blob = key.public.blob
        assert decode_public_key(blob) == key.public
        for end in range(len(blob)):
            with pytest.raises(KeyFormatError):
                decode_public_key(blob[:end])
        with pytest.raises(KeyFormatError):
            decode_public_key(blob + b"\0")


def test_row15_points_off_the_curve_and_compressed_points_are_refused(every_key: dict[str, PrivateKey]) -> None:
    for name in ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"):
        reader = Reader(every_key[name].public.blob)
        kind, curve, point = reader.string(), reader.string(), reader.string()
        half = len(point) // 2
        off_curve = point[:-1] + bytes([point[-1] ^ 1])
        compressed = bytes([2 + (point[-1] & 1)]) + point[1 : 1 + half]
        infinity = b"\0"
        for bad in (off_curve, compressed, infinity, b"\x04" + bytes(2 * half), b"\x06" + point[1:], b""):
            with pytest.raises(KeyFormatError):
                decode_public_key(string(kind) + string(curve) + string(bad))
        with pytest.raises(KeyFormatError, match="curve"):
            decode_public_key(string(kind) + string(b"nistp192") + string(point))


@pytest.mark.parametrize(
    ("e", "n"),
    [
        (65537, (1 << 1022) + 1),  # 1023 bits
        (65537, (1 << 16384) + 1),
        (1, (1 << 2047) + 1),
        (65536, (1 << 2047) + 1),
        ((1 << 64) + 1, (1 << 2047) + 1),
        (-3, (1 << 2047) + 1),
        (65537, -(1 << 2047) - 1),
        (65537, 0),
    ],
    ids=["short", "long", "e is 1", "e is even", "e is long", "e is negative", "n is negative", "n is 0"],
)
def test_rsa_keys_out_of_bounds_are_refused(e: int, n: int) -> None:
    with pytest.raises(KeyFormatError):
        decode_public_key(string(b"ssh-rsa") + mpint(e) + mpint(n))


def test_huge_blobs_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(KeyFormatError, match="at most"):
        decode_public_key(string(b"ssh-rsa") + mpint(3) + string(bytes(1 << 20)))


@given(st.binary(max_size=200), st.sampled_from([b"", *(string(name.encode()) for name in KINDS)]))
def test_any_bytes_are_a_key_or_a_key_format_error(tail: bytes, head: bytes) -> None:
    try:
        key = decode_public_key(head + tail)
    except KeyFormatError:
        return
    assert key.blob == head + tail


@given(st.text(max_size=120))
def test_any_text_is_a_key_line_or_a_key_format_error(text: str) -> None:
    with pytest.raises(KeyFormatError):
        parse_public_line(text)


@given(st.data())
def test_a_damaged_blob_is_another_key_or_a_key_format_error(
    every_key: dict[str, PrivateKey], data: st.DataObject
) -> None:
    key = every_key[data.draw(st.sampled_from(list(KINDS)))].public
    at = data.draw(st.integers(0, len(key.blob) - 1))
    damaged = key.blob[:at] + bytes([key.blob[at] ^ data.draw(st.integers(1, 255))]) + key.blob[at + 1 :]
    try:
        other = decode_public_key(damaged)
    except KeyFormatError:
        return
    assert other != key


# --- signatures ---------------------------------------------------------------------------------------------------

#: RFC 8032 section 7.1: TEST 1, 2 and 3: public key, message, signature.
ED25519_VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        ("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
    ),
]

#: RFC 6979 appendix A.2.5, A.2.6, A.2.7, message "sample" with the hash of the curve: x, y, r, s.
ECDSA_VECTORS = {
    "nistp256": (
        "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
        "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    "nistp384": (
        "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13",
        "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720",
        "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
        "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
    ),
    "nistp521": (
        ("1894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD371123D46E45DB6B5D5370A7F20FB633155"
        "D38FFA16D2BD761DCAC474B9A2F5023A4"),
        ("0493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A28A0DB25741B5B34A828008B22ACC23F924"
        "FAAFBD4D33F81EA66956DFEAA2BFDFCF5"),
        ("0C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B53493"
        "1D7D4E8455CC91F9B15BF05EC36E377FA"),
        ("0617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1"
        "A20F8CCB1DCCC43997F1EE0E44DA4A67A"),
    ),
}


@pytest.mark.parametrize(("public", "message", "signature"), ED25519_VECTORS)
def test_ed25519_verifies_the_vectors_of_rfc8032(public: str, message: str, signature: str) -> None:
    key = decode_public_key(string(b"ssh-ed25519") + string(bytes.fromhex(public)))
    blob = string(b"ssh-ed25519") + string(bytes.fromhex(signature))
    assert key.verify(blob, bytes.fromhex(message), ["ssh-ed25519"]) == "ssh-ed25519"
    with pytest.raises(SignatureError):
        key.verify(blob, bytes.fromhex(message) + b"!", ["ssh-ed25519"])


@pytest.mark.parametrize("curve", list(ECDSA_VECTORS))
def test_ecdsa_verifies_the_vectors_of_rfc6979(curve: str) -> None:
    x, y, r, s = (int(value, 16) for value in ECDSA_VECTORS[curve])
    size = (int(curve[-3:]) + 7) // 8
    name = f"ecdsa-sha2-{curve}"
    point = b"\x04" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
    key = decode_public_key(string(name.encode()) + string(curve.encode()) + string(point))
    assert key.verify(_ecdsa(name, r, s), b"sample", [name]) == name
    with pytest.raises(SignatureError):
        key.verify(_ecdsa(name, s, r), b"sample", [name])


def _ecdsa(name: str, r: int, s: int) -> bytes:
    return string(name.encode()) + string(mpint(r) + mpint(s))


def _armored(public: PublicKey, signature: bytes) -> bytes:
    """PROTOCOL.sshsig of OpenSSH: the container that ``ssh-keygen -Y`` reads."""
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + string(public.blob) + string(b"file") + string(b"") + string(b"sha512")
    text = base64.encodebytes(blob + string(signature))
    return b"-----BEGIN SSH SIGNATURE-----\n" + text + b"-----END SSH SIGNATURE-----\n"


def _signed_data(message: bytes) -> bytes:
    return b"SSHSIG" + string(b"file") + string(b"") + string(b"sha512") + string(hashlib.sha512(message).digest())


def test_openssh_verifies_our_signatures(pair: tuple[PrivateKey, Path], tmp_path: Path) -> None:
    key = pair[0]
    for algorithm in key.public.signature_algorithms:
        file = tmp_path / "message.sig"
        file.write_bytes(_armored(key.public, key.sign(_signed_data(b"message"), algorithm)))
        done = keygen.run("-Y", "check-novalidate", "-n", "file", "-s", file, home=tmp_path, stdin=b"message")
        assert key.public.fingerprint().encode() in done.stdout


def test_we_verify_signatures_of_openssh(pair: tuple[PrivateKey, Path], tmp_path: Path) -> None:
    key, path = pair
    message = tmp_path / "message"
    message.write_bytes(b"message")
    keygen.run("-Y", "sign", "-n", "file", "-f", path, message, home=tmp_path)
    text = Path(f"{message}.sig").read_bytes()
    reader = Reader(base64.b64decode(b"".join(text.split(b"\n")[1:-2])))
    assert reader.raw(6) == b"SSHSIG"
    reader.uint32()
    assert reader.string() == key.public.blob
    reader.string(), reader.string(), reader.string()
    signature = reader.string()
    used = key.public.verify(signature, _signed_data(b"message"), key.public.signature_algorithms)
    assert used in key.public.signature_algorithms
    with pytest.raises(SignatureError):
        key.public.verify(signature, _signed_data(b"massage"), key.public.signature_algorithms)


def test_a_signature_is_of_one_key_one_message_and_an_allowed_algorithm(every_key: dict[str, PrivateKey]) -> None:
    for name, key in every_key.items():
        for algorithm in key.public.signature_algorithms:
            signature = key.sign(b"data", algorithm)
            assert key.public.verify(signature, b"data", {algorithm}) == algorithm
            other = generate_private_key(name, 1024 if name == "ssh-rsa" else None)
            with pytest.raises(SignatureError):
                other.public.verify(signature, b"data", {algorithm})
            for allowed in ((), (algorithm[:-1],), (algorithm + "x",), (algorithm.upper(),)):
                with pytest.raises(SignatureError, match="not allowed"):
                    key.public.verify(signature, b"data", allowed)
            with pytest.raises(SignatureError, match="malformed"):
                key.public.verify(signature + b"\0", b"data", {algorithm})
            value = Reader(signature, 4 + len(algorithm)).string()
            for renamed in set(KINDS) - {algorithm} | {"rsa-sha2-256", "rsa-sha2-512"} - {algorithm}:
                with pytest.raises(SignatureError):
                    key.public.verify(string(renamed.encode()) + string(value), b"data", {algorithm, renamed})


def test_row27_rsa_never_signs_or_verifies_with_sha1(every_key: dict[str, PrivateKey]) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key = every_key["ssh-rsa"]
    with pytest.raises(SignatureError):
        key.sign(b"data", "ssh-rsa")
    real = key._key.sign(b"data", padding.PKCS1v15(), hashes.SHA1())
    with pytest.raises(SignatureError, match="does not belong"):
        key.public.verify(string(b"ssh-rsa") + string(real), b"data", {"ssh-rsa", "rsa-sha2-256"})
    for name in ("rsa-sha2-256", "rsa-sha2-512"):
        with pytest.raises(SignatureError):
            key.public.verify(string(name.encode()) + string(real), b"data", {name})


def test_row16_ecdsa_nonces_neither_repeat_nor_are_short(every_key: dict[str, PrivateKey]) -> None:
    for name in ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"):
        key = every_key[name]
        seen = set()
        longest = 0
        for _ in range(64):
            reader = Reader(Reader(key.sign(b"same data", name), 4 + len(name)).string())
            r = reader.mpint()
            seen.add(r)
            longest = max(longest, r.bit_length())
        assert len(seen) == 64
        assert longest >= key.public.bits - 1  # of 64 values all are shorter once in 2^128 runs


def test_rsa_signatures_without_their_leading_zeros_are_accepted_and_longer_ones_not(
    every_key: dict[str, PrivateKey],
) -> None:
    key = every_key["ssh-rsa"]
    name = "rsa-sha2-256"
    for number in range(20000):
        data = number.to_bytes(4, "big")
        value = Reader(key.sign(data, name), 4 + len(name)).string()
        if value[0] == 0:
            break
    assert value[0] == 0
    assert key.public.verify(string(name.encode()) + string(value[1:]), data, {name}) == name
    with pytest.raises(SignatureError, match="longer"):
        key.public.verify(string(name.encode()) + string(b"\0" + value), data, {name})


def test_ecdsa_values_out_of_range_are_refused(every_key: dict[str, PrivateKey]) -> None:
    name = "ecdsa-sha2-nistp256"
    key = every_key[name].public
    for r, s in ((0, 1), (1, 0), (-1, 1), (1, -1), (1 << 256, 1), (1, 1 << 4000), (1, 1)):
        with pytest.raises(SignatureError):
            key.verify(_ecdsa(name, r, s), b"data", {name})
    with pytest.raises(SignatureError):
        key.verify(string(name.encode()) + string(mpint(1) + string(b"\0\1")), b"data", {name})


def test_every_flipped_bit_of_a_signature_is_caught(every_key: dict[str, PrivateKey]) -> None:
    for name in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        signature = every_key[name].sign(b"data", name)
        for at in range(len(signature) * 8):
            flipped = bytearray(signature)
            flipped[at // 8] ^= 1 << at % 8
            with pytest.raises(SignatureError):
                every_key[name].public.verify(bytes(flipped), b"data", {name})


@given(st.binary(max_size=150), st.data())
def test_any_bytes_as_a_signature_are_a_signature_error(
    every_key: dict[str, PrivateKey], tail: bytes, data: st.DataObject
) -> None:
    key = every_key[data.draw(st.sampled_from(list(KINDS)))].public
    head = data.draw(st.sampled_from([b"", *(string(name.encode()) for name in key.signature_algorithms)]))
    with pytest.raises(SignatureError):
        key.verify(head + tail, b"data", key.signature_algorithms)
    with pytest.raises(SignatureError):
        key.verify(head + string(tail), b"data", key.signature_algorithms)


def test_row16_signatures_are_made_by_the_library_alone() -> None:
    """No module of the floor has a source of nonces: the only randomness is that of salts and check numbers."""
    folder = Path(kinds.__file__).parent
    signing = (folder / "kinds.py").read_text()
    assert not [word for word in ("urandom", "import secrets", "import random", "pow(") if word in signing]
