"""Private keys: every format that ssh-keygen writes, ours read by ssh-keygen, and files that are not what they seem."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from fastssh.errors import KeyFormatError, PassphraseError, SSHError
from fastssh.files import UnfitFileError, create_file
from fastssh.keys import openssh_format
from fastssh.keys.files import MAX_KEY_FILE, KeyPermissionError
from fastssh.keys.kinds import KINDS
from fastssh.keys.private import (
    PrivateKey,
    generate_private_key,
    load_private_key,
    parse_private_key,
    serialize_private_key,
    write_key_pair,
)
from fastssh.keys.public import parse_public_line
from fastssh.wire.codec import Reader, mpint, string, uint32
from tests.support import keygen

SECRET = "correct horse"
FILE_CIPHERS = list(openssh_format.CIPHERS)


@pytest.fixture(scope="module")
def every_key() -> dict[str, PrivateKey]:
    return {name: generate_private_key(name, 1024 if name == "ssh-rsa" else None, "a comment") for name in KINDS}


@pytest.fixture(scope="module")
def ed25519_key(every_key: dict[str, PrivateKey]) -> PrivateKey:
    return every_key["ssh-ed25519"]


class Asked:
    """A passphrase prompt that counts."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer, self.times = answer, 0

    def __call__(self) -> bytes | None:
        self.times += 1
        return self.answer


# --- what ssh-keygen writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", ["", SECRET], ids=["plain", "encrypted"])
@pytest.mark.parametrize("container", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize(("kind", "bits"), keygen.KINDS, ids=keygen.KIND_IDS)
def test_every_file_of_ssh_keygen_is_read(
    kind: str, bits: int | None, container: str, passphrase: str, tmp_path: Path
) -> None:
    path = keygen.make_key(tmp_path / "id", kind, bits, passphrase=passphrase, options=("-m", container))
    asked = Asked(SECRET.encode())
    key = load_private_key(path, asked)
    assert asked.times == (1 if passphrase else 0)
    public, comment = parse_public_line(Path(f"{path}.pub").read_text())
    assert key.public == public
    if b"OPENSSH" in path.read_bytes():
        assert key.comment == comment
    for algorithm in public.signature_algorithms:
        assert public.verify(key.sign(b"data", algorithm), b"data", {algorithm}) == algorithm
    if passphrase:
        assert load_private_key(path, SECRET.encode()) == key
        for wrong in (b"wrong", b"", SECRET.encode() + b" "):
            with pytest.raises(PassphraseError) as caught:
                load_private_key(path, wrong)
            assert str(caught.value) in (f"{path}: wrong passphrase", f"{path}: the passphrase is empty")
        for nothing in (None, Asked(None)):
            with pytest.raises(PassphraseError) as caught:
                load_private_key(path, nothing)
            assert str(caught.value) == f"{path}: the key is encrypted and no passphrase was given"


@pytest.mark.parametrize("cipher", FILE_CIPHERS)
def test_every_file_cipher_of_ssh_keygen_is_read(cipher: str, tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "id", "ed25519", passphrase=SECRET, options=("-Z", cipher))
    assert string(cipher.encode()) in base64.b64decode(b"".join(path.read_bytes().split(b"\n")[1:-2]))
    key = load_private_key(path, SECRET.encode())
    assert key.public == parse_public_line(Path(f"{path}.pub").read_text())[0]
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        load_private_key(path, b"wrong")


def test_file_ciphers_and_types_that_we_do_not_speak_are_named(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "id", "ed25519", passphrase=SECRET, options=("-Z", "3des-cbc"))
    asked = Asked(SECRET.encode())
    with pytest.raises(KeyFormatError, match="3des-cbc"):
        load_private_key(path, asked)
    assert asked.times == 0
    sk = string(b"sk-ssh-ed25519@openssh.com") + string(bytes(32)) + string(b"ssh:")
    text = openssh_format.seal_container(
        sk, sk + bytes(9), SECRET.encode(), cipher="aes256-ctr", rounds=1, random=os.urandom
    )
    with pytest.raises(KeyFormatError, match="security keys"):
        parse_private_key(text, asked)
    assert asked.times == 0


def test_pkcs8_ed25519_is_read() -> None:
    raw = ed25519.Ed25519PrivateKey.generate()
    for encryption in (serialization.NoEncryption(), serialization.BestAvailableEncryption(b"pass")):
        text = raw.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        key = parse_private_key(text, b"pass")
        raw.public_key().verify(key.sign(b"data", "ssh-ed25519")[-64:], b"data")


def test_text_before_a_pem_key_and_crlf_line_ends_do_no_harm(every_key: dict[str, PrivateKey]) -> None:
    for key in every_key.values():
        text = serialize_private_key(key)
        assert parse_private_key(b"Some words\n" + text.replace(b"\n", b"\r\n")) == key


@pytest.mark.parametrize("label", ["DSA PRIVATE KEY", "SSH2 ENCRYPTED PRIVATE KEY", "X PRIVATE KEY"])
def test_pem_labels_that_are_no_keys_for_us_are_named(label: str) -> None:
    with pytest.raises(KeyFormatError, match=label):
        parse_private_key(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode())


def test_pkcs8_keys_of_other_types_are_named() -> None:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for raw, word in (
        (dsa.generate_private_key(1024), "DSA"),
        (ec.generate_private_key(ec.SECP256K1()), "EC on the curve secp256k1"),
    ):
        with pytest.raises(KeyFormatError, match=f"id_x: .*{word}"):
            parse_private_key(raw.private_bytes(pem, pkcs8, serialization.NoEncryption()), name="id_x")


# --- what we write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [None, SECRET.encode()], ids=["plain", "encrypted"])
def test_our_files_are_read_by_ssh_keygen(
    every_key: dict[str, PrivateKey], passphrase: bytes | None, tmp_path: Path
) -> None:
    for name, key in every_key.items():
        path = tmp_path / name
        write_key_pair(path, key, passphrase, rounds=2)
        done = keygen.run("-y", "-P", SECRET if passphrase else "", "-f", path, home=tmp_path)
        assert done.stdout.decode() == key.public.line("a comment") + "\n"
        assert Path(f"{path}.pub").read_text() == key.public.line("a comment") + "\n"
        assert load_private_key(path, passphrase) == key


@pytest.mark.parametrize("cipher", FILE_CIPHERS)
def test_our_files_with_every_cipher_are_read_by_ssh_keygen(
    ed25519_key: PrivateKey, cipher: str, tmp_path: Path
) -> None:
    text = serialize_private_key(ed25519_key, SECRET.encode(), cipher=cipher, rounds=2)
    create_file(tmp_path / "id", text)
    done = keygen.run("-y", "-P", SECRET, "-f", tmp_path / "id", home=tmp_path)
    assert done.stdout.decode().split()[1] == ed25519_key.public.line().split()[1]
    assert parse_private_key(text, SECRET.encode()) == ed25519_key


def test_the_same_randomness_gives_the_same_file_and_defaults_are_those_of_openssh(ed25519_key: PrivateKey) -> None:
    texts = [serialize_private_key(ed25519_key, b"pass", random=bytes) for _ in range(2)]
    assert texts[0] == texts[1] != serialize_private_key(ed25519_key, b"pass")
    container = openssh_format.decode_container(texts[0])
    assert (container.cipher, container.kdf) == ("aes256-ctr", "bcrypt")
    assert container.kdf_options == string(bytes(16)) + uint32(24)
    assert max(len(line) for line in texts[0].split(b"\n")) == 70


def test_an_empty_passphrase_is_refused_and_never_means_none(ed25519_key: PrivateKey) -> None:
    with pytest.raises(PassphraseError):
        serialize_private_key(ed25519_key, b"")
    with pytest.raises(KeyFormatError, match="rot13"):
        serialize_private_key(ed25519_key, b"pass", cipher="rot13")


def test_kinds_and_sizes_of_new_keys() -> None:
    assert generate_private_key("ed25519", comment="me").comment == "me"
    assert generate_private_key("ecdsa").public.algorithm == "ecdsa-sha2-nistp256"
    assert generate_private_key("ecdsa", 521).public.algorithm == "ecdsa-sha2-nistp521"
    assert generate_private_key("ecdsa-sha2-nistp384", 384).public.bits == 384
    assert generate_private_key("rsa", 2048).public.bits == 2048
    for kind, bits in (("ecdsa", 255), ("ecdsa-sha2-nistp384", 256), ("ed25519", 512), ("rsa", 512), ("dsa", None)):
        with pytest.raises(KeyFormatError, match=kind if kind != "rsa" else "RSA"):
            generate_private_key(kind, bits)


def test_secrets_are_not_in_the_repr(every_key: dict[str, PrivateKey]) -> None:
    for key in every_key.values():
        assert "_key" not in repr(key)
        assert len(repr(key)) < 4000


# --- damaged OpenSSH files ----------------------------------------------------------------------------------------


def _sealed(
    public: bytes, plain: bytes, *, cipher: bytes = b"none", kdf: bytes = b"none", options: bytes = b""
) -> bytes:
    raw = b"openssh-key-v1\0" + string(cipher) + string(kdf) + string(options) + uint32(1) + string(public)
    return _text(raw + string(plain))


def _text(raw: bytes) -> bytes:
    return b"\n".join((openssh_format.BEGIN, base64.b64encode(raw), openssh_format.END, b""))


def _plain(key: PrivateKey, *, comment: bytes = b"c", check: tuple[int, int] = (7, 7)) -> bytes:
    return uint32(check[0]) + uint32(check[1]) + key.fields() + string(comment)


def _padded(plain: bytes) -> bytes:
    return plain + bytes(range(1, -len(plain) % 8 + 1))


def test_check_numbers_and_padding_are_verified(ed25519_key: PrivateKey) -> None:
    public = ed25519_key.public.blob
    plain = _plain(ed25519_key)
    good = _padded(plain)
    assert len(good) > len(plain)
    assert parse_private_key(_sealed(public, good)).public == ed25519_key.public
    more = len(good) - len(plain) + 1
    assert parse_private_key(_sealed(public, good + bytes(range(more, more + 8)))).public == ed25519_key.public
    for bad, word in (
        (_padded(_plain(ed25519_key, check=(7, 8))), "check numbers"),
        (good[:-1] + bytes([good[-1] ^ 1]), "padding"),
        (good + bytes(8), "padding"),
        (good[:-1], "blocks"),
        (b"", "blocks"),
    ):
        with pytest.raises(KeyFormatError, match=word):
            parse_private_key(_sealed(public, bad))


def test_the_public_key_outside_must_be_that_of_the_private_key_inside(every_key: dict[str, PrivateKey]) -> None:
    inner, outer = every_key["ssh-ed25519"], every_key["ssh-rsa"]
    with pytest.raises(KeyFormatError, match="public key in the file"):
        parse_private_key(_sealed(outer.public.blob, _padded(_plain(inner))))


def test_halves_that_do_not_agree_are_refused(every_key: dict[str, PrivateKey]) -> None:
    def refused(public: bytes, fields: bytes) -> None:
        with pytest.raises(KeyFormatError):
            parse_private_key(_sealed(public, _padded(uint32(1) * 2 + fields + string(b""))))

    one, other = generate_private_key("ed25519"), generate_private_key("ed25519")
    seed = Reader(one.fields()[4 + 11 + 4 + 32 :]).string()[:32]
    point = Reader(other.public.blob[4 + 11 :]).string()
    refused(other.public.blob, string(b"ssh-ed25519") + string(point) + string(seed + point))
    refused(one.public.blob, string(b"ssh-ed25519") + string(point) + string(seed + one.public.blob[-32:]))

    key = every_key["ecdsa-sha2-nistp256"]
    secret = key._key.private_numbers().private_value
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for value in (0, -1, 1, secret + 1, secret + order, order, 1 << 4000):
        refused(key.public.blob, key.public.blob + mpint(value))

    numbers = every_key["ssh-rsa"]._key.private_numbers()
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    right = (n, e, numbers.d, numbers.iqmp, numbers.p, numbers.q)
    for index, change in itertools.product(range(6), (lambda v: v + 2, lambda v: -v, lambda v: 0, lambda v: 1)):
        values = [change(value) if at == index else value for at, value in enumerate(right)]
        refused(every_key["ssh-rsa"].public.blob, string(b"ssh-rsa") + b"".join(map(mpint, values)))


@pytest.mark.parametrize(
    ("cipher", "kdf", "options"),
    [
        (b"none", b"bcrypt", string(bytes(16)) + uint32(16)),
        (b"aes256-ctr", b"none", b""),
        (b"aes256-ctr", b"scrypt", string(bytes(16)) + uint32(16)),
        (b"rot13", b"bcrypt", string(bytes(16)) + uint32(16)),
        (b"aes256-ctr", b"bcrypt", b""),
        (b"aes256-ctr", b"bcrypt", string(b"") + uint32(16)),
        (b"aes256-ctr", b"bcrypt", string(bytes(5000)) + uint32(16)),
        (b"aes256-ctr", b"bcrypt", string(bytes(16)) + uint32(0)),
        (b"aes256-ctr", b"bcrypt", string(bytes(16)) + uint32(0xFFFFFFFF)),  # would run for weeks
        (b"aes256-ctr", b"bcrypt", string(bytes(16)) + uint32(16) + b"\0"),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    ed25519_key: PrivateKey, cipher: bytes, kdf: bytes, options: bytes
) -> None:
    text = _sealed(ed25519_key.public.blob, bytes(160), cipher=cipher, kdf=kdf, options=options)
    with pytest.raises(KeyFormatError):
        parse_private_key(text, b"pass")


def test_files_of_more_than_one_key_and_cut_files_are_refused(ed25519_key: PrivateKey) -> None:
    text = serialize_private_key(ed25519_key)
    raw = base64.b64decode(b"".join(text.split(b"\n")[1:-2]))
    for count in (0, 2, 0xFFFFFFFF):
        at = raw.index(uint32(1) + string(ed25519_key.public.blob))
        with pytest.raises(KeyFormatError, match="keys"):
            parse_private_key(_text(raw[:at] + uint32(count) + raw[at + 4 :]))
    for end in range(len(raw)):
        with pytest.raises(KeyFormatError):
            parse_private_key(_text(raw[:end]))
    with pytest.raises(KeyFormatError, match="superfluous"):
        parse_private_key(_text(raw + b"\0"))
    other_magic, not_base64 = _text(raw.replace(b"openssh", b"openssl")), text.replace(b"AAAA", b"A*AA", 1)
    for bad in (text[: len(text) // 2], other_magic, not_base64, b""):
        with pytest.raises(KeyFormatError):
            parse_private_key(bad)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_key_format_error(data: bytes) -> None:
    for text in (data, _text(data), _text(b"openssh-key-v1\0" + data)):
        with pytest.raises(KeyFormatError):
            parse_private_key(text, b"pass")


PEM_LABELS = ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]


@given(st.sampled_from(PEM_LABELS), st.binary(max_size=200), st.sampled_from(["", "Proc-Type: 4,ENCRYPTED\n"]))
def test_any_bytes_in_pem_are_one_of_our_errors(label: str, data: bytes, header: str) -> None:
    body = base64.encodebytes(data).decode()
    with pytest.raises((KeyFormatError, PassphraseError)):
        parse_private_key(f"-----BEGIN {label}-----\n{header}{body}-----END {label}-----\n".encode(), b"pass")


@settings(max_examples=200)
@given(st.data())
def test_damaged_files_of_every_format_are_the_same_key_or_one_of_our_errors(
    every_key: dict[str, PrivateKey], data: st.DataObject
) -> None:
    key = every_key[data.draw(st.sampled_from(list(KINDS)))]
    pem = serialization.Encoding.PEM
    formats: list[Callable[[], bytes]] = [
        lambda: serialize_private_key(key, random=bytes),
        lambda: key._key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    ]
    text = bytearray(data.draw(st.sampled_from(formats))())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        other = parse_private_key(bytes(text))
    except SSHError:
        return
    signature = other.sign(b"data", other.public.signature_algorithms[0])
    other.public.verify(signature, b"data", other.public.signature_algorithms)


# --- files --------------------------------------------------------------------------------------------------------


def test_row24_key_files_are_private_from_the_start(ed25519_key: PrivateKey, tmp_path: Path) -> None:
    for umask in (0o000, 0o022, 0o777):
        before = os.umask(umask)
        try:
            write_key_pair(tmp_path / f"id{umask}", ed25519_key)
        finally:
            os.umask(before)
        assert (tmp_path / f"id{umask}").stat().st_mode & 0o7777 == 0o600
        assert (tmp_path / f"id{umask}.pub").stat().st_mode & 0o7777 == 0o644


def test_row24_a_new_key_file_never_exists_with_more_rights(
    ed25519_key: PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = os.fchmod

    def spy(descriptor: int, mode: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    before = os.umask(0)
    try:
        create_file(tmp_path / "id", b"secret")
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_existing_key_files_and_links_are_left_alone(ed25519_key: PrivateKey, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("precious")
    with pytest.raises(FileExistsError):
        write_key_pair(tmp_path / "id", ed25519_key)
    assert (tmp_path / "id").read_text() == "precious"
    (tmp_path / "other.pub").write_text("precious")
    with pytest.raises(FileExistsError):
        write_key_pair(tmp_path / "other", ed25519_key)
    assert not (tmp_path / "other").exists()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "link", b"secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_file_that_cannot_be_written_whole_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        create_file(tmp_path / "id", b"secret")
    assert not (tmp_path / "id").exists()


def test_row24_key_files_have_a_size_limit(ed25519_key: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "id"
    text = serialize_private_key(ed25519_key)
    create_file(path, text + b"\n" * (MAX_KEY_FILE - len(text)))
    assert load_private_key(path) == ed25519_key
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(UnfitFileError) as caught:
        load_private_key(path)
    assert str(caught.value) == f"{path}: larger than {MAX_KEY_FILE} bytes"
    with pytest.raises(KeyFormatError, match="larger"):
        parse_private_key(path.read_bytes())


def test_row24_only_regular_files_are_keys_and_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("fifo", "link", "."):
        with pytest.raises(UnfitFileError, match="not a regular file"):
            load_private_key(tmp_path / name)


def test_a_missing_file_is_the_os_error_that_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_private_key(tmp_path / "nothing")
    with pytest.raises(UnfitFileError, match="not a file name"):
        load_private_key(tmp_path / "bad\0name")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o601, 0o610, 0o777])
def test_a_private_key_open_to_others_is_refused_unless_told_otherwise(
    ed25519_key: PrivateKey, mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "id"
    create_file(path, serialize_private_key(ed25519_key), mode)
    with pytest.raises(KeyPermissionError) as caught:
        load_private_key(path)
    message = str(caught.value)
    assert "UNPROTECTED PRIVATE KEY FILE" in message
    assert f"{mode:04o}" in message
    assert str(path) in message
    assert "\n" not in message
    assert load_private_key(path, check_permissions=False) == ed25519_key
    for private in (0o600, 0o400, 0o700):
        path.chmod(private)
        assert load_private_key(path) == ed25519_key


def test_messages_name_the_file_in_one_line_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines\x1b[31m"
    create_file(path, b"rubbish")
    with pytest.raises(KeyFormatError) as caught:
        load_private_key(path)
    assert str(caught.value) == f"{tmp_path}/two\\nlines\\x1b[31m: not a private key"
