"""Keys in other programs' formats, in both directions, and SSHFP records: as ssh-keygen writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import KeyFormatError
from fastssh.keys import pem, rfc4716
from fastssh.keys.private import load_private_key, parse_private_key
from fastssh.keys.public_file import first_key, load_public_key
from tests.support import keygen, peers
from tests.support.keygen import compare, ours, run

PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    for (kind, bits), name in zip(keygen.KINDS, keygen.KIND_IDS, strict=True):
        keygen.make_key(folder / name, kind, bits)
    keygen.make_key(folder / "locked", "ecdsa", passphrase=PASSPHRASE)
    (folder / "locked.pub").unlink()
    keygen.make_key(folder / "locked-pem", "ecdsa", passphrase=PASSPHRASE, options=("-m", "PEM"))
    (folder / "locked-pem.pub").unlink()
    run("-q", "-s", folder / "rsa2048", "-I", "id", folder / "ed25519.pub", home=folder)
    return folder


@pytest.mark.parametrize("name", keygen.KIND_IDS)
def test_public_keys_are_exported_as_ssh_keygen_exports_them(folder: Path, name: str) -> None:
    for path in (folder / name, folder / f"{name}.pub"):
        exported = compare("-e", "-f", path, home=folder).stdout
        if name != "ed25519":  # a newer ssh-keygen writes it as well
            compare("-e", "-m", "PKCS8", "-f", path, home=folder)
            compare("-e", "-m", "pem", "-f", path, home=folder)
    (folder / "exported").write_bytes(exported)
    back = compare("-i", "-f", folder / "exported", home=folder).stdout
    assert back.split() == (folder / f"{name}.pub").read_bytes().split()[:2]


def test_certificates_and_locked_keys_are_exported(folder: Path) -> None:
    compare("-e", "-f", folder / "ed25519-cert.pub", home=folder)
    compare("-e", "-f", folder / "locked", home=folder)
    compare("-e", "-P", PASSPHRASE, "-f", folder / "locked-pem", home=folder)
    compare("-e", "-f", folder / "missing", home=folder)


@pytest.mark.parametrize("name", [name for name in keygen.KIND_IDS if name != "ed25519"])
def test_pem_is_imported_as_ssh_keygen_imports_it(folder: Path, name: str) -> None:
    for format in ("PKCS8", "PEM") if name == "rsa2048" else ("PKCS8",):
        (folder / "pem").write_bytes(run("-e", "-m", format, "-f", folder / name, home=folder).stdout)
        compare("-i", "-m", format, "-f", folder / "pem", home=folder)


def test_ed25519_goes_through_pkcs8_and_openssl(folder: Path) -> None:
    exported = ours("-e", "-m", "PKCS8", "-f", folder / "ed25519", home=folder).stdout
    private = folder / "pkcs8"
    private.write_bytes((folder / "ed25519").read_bytes())
    private.chmod(0o600)
    assert ours("-p", "-N", "", "-m", "PKCS8", "-f", private, home=folder).returncode == 0
    openssl = [peers.program("openssl", "openssl"), "pkey", "-in", str(private), "-pubout"]
    assert subprocess.run(openssl, capture_output=True, check=True, timeout=60).stdout == exported
    (folder / "pem").write_bytes(exported)
    line = ours("-i", "-m", "PKCS8", "-f", folder / "pem", home=folder).stdout
    assert line.split() == (folder / "ed25519.pub").read_bytes().split()[:2]
    imported = ours("-i", "-m", "PKCS8", "-f", private, home=folder).stdout
    assert parse_private_key(imported).public == load_public_key(folder / "ed25519.pub")[0]


@pytest.mark.parametrize("cipher", ["none", "3des-cbc"])
def test_keys_of_ssh_com_are_imported_as_ssh_keygen_imports_them(folder: Path, tmp_path: Path, cipher: str) -> None:
    puttygen = peers.program("puttygen", "putty-tools")
    path, passphrase = tmp_path / "sshcom", tmp_path / "passphrase"
    passphrase.write_text("" if cipher == "none" else PASSPHRASE)
    subprocess.run(
        [puttygen, folder / "rsa2048", "-O", "private-sshcom", "-o", path, "--new-passphrase", passphrase],
        check=True, timeout=60,
    )  # fmt: skip
    if cipher == "none":
        imported = compare("-i", "-f", path, home=folder).stdout
        assert parse_private_key(imported).public == load_private_key(folder / "rsa2048").public
    else:
        refused = ours("-i", "-f", path, home=folder)
        assert refused.returncode == 255
        assert b"unsupported cipher 3des-cbc" in refused.stderr


@pytest.mark.parametrize("format", ["RFC4716", "PKCS8", "PEM"])
def test_what_is_no_key_is_not_imported(folder: Path, format: str) -> None:
    (folder / "junk").write_text("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n")
    for name in ("junk", "ed25519.pub", "missing"):
        refused = ours("-i", "-m", format, "-f", folder / name, home=folder)
        assert refused.returncode == 255 and len(refused.stderr.splitlines()) == 1 and not refused.stdout


# The examples of RFC 4716 section 3.6, shortened to their headers and forms of lines.
_BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


@pytest.mark.parametrize("headers", [
    'Comment: "1024-bit RSA, converted from OpenSSH by me@example.com"',
    "x-command: /home/me/bin/lock-in-guest.sh",
    "Comment: This is my public key for use on \\\nservers which I don't like.",
    "Subject: me\nComment: a \\\nb \\\nc: d",
    "",
])  # fmt: skip
def test_rfc4716_headers_are_read_over(headers: str) -> None:
    for newline in ("\n", "\r\n"):
        text = f"before\n{rfc4716.BEGIN}\n{headers}\n{_BLOB[:30]}\n{_BLOB[30:]}\n{rfc4716.END}\n"
        key = rfc4716.read(text.replace("\n", newline).encode())
        assert key.line() == f"ssh-ed25519 {_BLOB}"  # type: ignore[union-attr]


@given(st.binary() | st.text(st.sampled_from("A=:\\ \n-\r\t")).map(
    lambda body: f"{rfc4716.BEGIN}\n{body}\n{rfc4716.END}".encode()))  # fmt: skip
def test_what_is_malformed_is_refused_by_name(data: bytes) -> None:
    for read in (rfc4716.read, pem.read_public, first_key):
        with pytest.raises(KeyFormatError):
            read(data)


@given(st.binary(max_size=200))
def test_malformed_private_keys_of_ssh_com_are_refused(tail: bytes) -> None:
    import base64

    blob = b"\x3f\x6f\xf9\xeb" + (8 + 14 + len(tail)).to_bytes(4, "big") + b"\0\0\0\3rsa\0\0\0\4none"[:14] + tail
    body = base64.b64encode(blob).decode()
    begin, end = (f"---- {word} SSH2 ENCRYPTED PRIVATE KEY ----" for word in ("BEGIN", "END"))
    with pytest.raises(KeyFormatError):
        rfc4716.read(f"{begin}\n{body}\n{end}\n".encode())


# -- SSHFP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", keygen.KIND_IDS)
def test_sshfp_records_are_those_of_ssh_keygen(folder: Path, name: str) -> None:
    compare("-r", "host.example.org", "-f", folder / f"{name}.pub", home=folder)
    compare("-r", "host.example.org", "-g", "-f", folder / name, home=folder)


def test_the_hash_of_sshfp_records_can_be_chosen(folder: Path) -> None:
    both = ours("-r", "host", "-f", folder / "ed25519", home=folder).stdout.splitlines()
    for number, hash in enumerate(("sha1", "sha256")):
        chosen = ours("-r", "host", "-O", f"hashalg={hash}", "-f", folder / "ed25519", home=folder)
        assert chosen.stdout.splitlines() == [both[number]]
    assert ours("-r", "host", "-O", "hashalg=md5", "-f", folder / "ed25519", home=folder).returncode == 255
    assert ours("-r", "host", "-f", folder / "missing", home=folder).returncode == 255
