"""What fastssh-keygen prints of keys is what ssh-keygen prints, line for line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli.keygen import arguments
from fastssh.keys import fingerprint
from fastssh.keys.public_file import all_keys
from tests.support import keygen
from tests.support.keygen import compare, ours, run

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all sorts in which ssh-keygen looks for keys."""
    folder = tmp_path_factory.mktemp("zoo")
    for (kind, bits), name in zip(keygen.KINDS, keygen.KIND_IDS, strict=True):
        keygen.make_key(folder / name, kind, bits)
    keygen.make_key(folder / "locked", "ed25519", passphrase=PASSPHRASE)
    keygen.make_key(folder / "locked-alone", "ecdsa", passphrase=PASSPHRASE)
    keygen.make_key(folder / "pem", "ecdsa", 521, options=("-m", "PEM"))
    keygen.make_key(folder / "pem-alone", "ecdsa", options=("-m", "PEM"))
    keygen.make_key(folder / "pem-locked", "rsa", 2048, passphrase=PASSPHRASE, options=("-m", "PEM"))
    keygen.make_key(folder / "pkcs8-alone", "ecdsa", 384, options=("-m", "PKCS8"))
    keygen.make_key(folder / "pkcs8-locked", "ecdsa", passphrase=PASSPHRASE, options=("-m", "PKCS8"))
    run("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "mute", home=folder)
    run("-q", "-t", "ed25519", "-N", "", "-C", "über\t\x1b[31m\x7f", "-f", folder / "odd", home=folder)
    run("-q", "-t", "ed25519", "-N", "", "-C", "zzz", "-f", folder / "open", home=folder)
    (folder / "open").chmod(0o644)
    (folder / "open.pub").unlink()
    for name in ("locked-alone", "pem-alone", "pkcs8-alone"):
        (folder / f"{name}.pub").unlink()
    (folder / "pem-locked.pub").rename(folder / "pem-locked-pub")
    run("-q", "-s", folder / "rsa2048", "-I", "id", "-n", "user", folder / "ed25519.pub", home=folder)
    run("-q", "-s", folder / "ed25519", "-h", "-I", "id", folder / "ecdsa256.pub", home=folder)
    lines = [(folder / f"{name}.pub").read_text() for name in keygen.KIND_IDS]
    bare = [" ".join(line.split()[:2]) for line in lines]
    (folder / "authorized_keys").write_text(
        f'# comment\n\n{lines[0]}from="a b",command="say \\"hi\\"" {lines[1]}no-pty {bare[2]}\n'
        f"  \t{bare[3]} indented\nnothing\nssh-rsa AAAA\n22 {bare[4]}\ncert-authority {lines[4]}".replace("user@", "@")
    )
    (folder / "known_hosts").write_text(
        f"host {lines[0]}host,1.2.3.4 {bare[1]}\n@revoked host {bare[2]}\n[h]:22 {bare[3]}\r\n{lines[4]}"
    )
    (folder / "nothing").write_text("nothing here\n")
    (folder / "broken").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (folder / "broken").chmod(0o600)
    return folder


FILES = (
    "ed25519", "ecdsa384", "rsa2048", "ed25519.pub", "ecdsa256.pub", "ecdsa521.pub", "rsa2048.pub", "locked",
    "locked-alone", "pem", "pem.pub", "pem-alone", "pem-locked", "pem-locked-pub", "pkcs8-alone", "pkcs8-locked",
    "mute", "mute.pub", "odd.pub", "open", "ed25519-cert.pub", "ecdsa256-cert.pub", "authorized_keys",
    "known_hosts", "nothing", "broken", "missing", ".",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_fingerprints_are_those_of_ssh_keygen(zoo: Path, name: str) -> None:
    compare("-l", "-f", zoo / name, home=zoo)
    compare("-l", "-E", "md5", "-f", zoo / name, home=zoo)
    compare("-B", "-f", zoo / name, home=zoo)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("pem-locked", "broken", "open", "pem-alone",
                                                                        "pkcs8-alone")])  # fmt: skip
def test_pictures_are_those_of_ssh_keygen(zoo: Path, name: str) -> None:
    theirs = run("-l", "-v", "-f", zoo / name, home=zoo, check=False)
    assert ours("-lvf", zoo / name, home=zoo).stdout == theirs.stdout


@pytest.mark.parametrize("hash", ["SHA1", "sha384", "sha512", "sha224"])
def test_other_hashes_are_those_of_ssh_keygen(zoo: Path, hash: str) -> None:
    theirs = run("-lv", "-E", hash, "-f", zoo / "ed25519.pub", home=zoo, check=False)
    assert ours("-lv", "-E", hash, "-f", zoo / "ed25519.pub", home=zoo).stdout == theirs.stdout


@pytest.mark.parametrize("name", ["ed25519.pub", "authorized_keys", "known_hosts", "nothing"])
def test_keys_on_standard_input_are_shown(zoo: Path, name: str) -> None:
    compare("-l", "-f", "-", home=zoo, stdin=(zoo / name).read_bytes())


def test_a_line_without_a_comment_has_none(zoo: Path) -> None:
    """ssh-keygen shows what another line left in its memory."""
    bare = " ".join((zoo / "rsa2048.pub").read_text().split()[:2])
    for text in (f"{bare}\r\n", f"{bare} # told\n", f"{bare}\n"):
        (zoo / "bare").write_text((zoo / "known_hosts").read_text() + text)
        assert ours("-l", "-f", zoo / "bare", home=zoo).stdout.endswith(b" no comment (RSA)\n")


def test_a_private_key_on_standard_input_is_shown(zoo: Path) -> None:
    for name, comment in (("ed25519", b"user@test"), ("locked", b"no comment")):
        shown = ours("-l", "-f", "-", home=zoo, stdin=(zoo / name).read_bytes()).stdout
        assert shown.split(b" ", 2)[1] in run("-l", "-f", zoo / name, home=zoo).stdout
        assert shown.endswith(comment + b" (ED25519)\n")


@pytest.mark.parametrize("name", ["ed25519", "ecdsa521", "rsa2048", "pem", "pkcs8-alone", "pem-alone", "mute", "open",
                                  "ed25519.pub", "missing"])  # fmt: skip
def test_public_keys_of_private_ones_are_those_of_ssh_keygen(zoo: Path, name: str) -> None:
    compare("-y", "-f", zoo / name, home=zoo)


@pytest.mark.parametrize("name", ["locked", "locked-alone", "pem-locked", "pkcs8-locked"])
def test_a_passphrase_opens_a_key_and_a_wrong_one_is_told(zoo: Path, name: str) -> None:
    compare("-y", "-P", PASSPHRASE, "-f", zoo / name, home=zoo)
    said = compare("-y", "-P", "wrong", "-f", zoo / name, home=zoo)
    assert b"incorrect passphrase supplied to decrypt private key" in said.stderr


def test_the_hashes_of_the_command_line_are_those_of_keys() -> None:
    assert arguments._HASHES == fingerprint.HASHES


@given(st.binary(max_size=300) | st.text("s -rha=A\"\\#@,1\n\t\r").map(str.encode), st.binary(max_size=20))
def test_whatever_stands_in_a_list_its_keys_are_found(junk: bytes, comment: bytes) -> None:
    """Lines are each on their own, and none is too odd to be read over."""
    line = f"ssh-ed25519 {KEY} ".encode() + comment.replace(b"\n", b"")
    found = [shown.key.line() for shown in all_keys(junk + b"\n" + line + b"\n" + junk)]
    assert found == [f"ssh-ed25519 {KEY}"]
