"""Certificates with fastsshd: OpenSSH's ssh shows them to it, and is shown those of its host keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastssh import connect
from fastssh.errors import AuthenticationError, HostKeyRevokedError, HostKeyUnknownError
from fastssh.keys.certificate import load_certificate
from fastssh.keys.private import load_private_key
from fastssh.keys.public import PublicKey
from fastssh.wire.codec import string
from tests.support import openssh
from tests.support.certificates import Authority, build, options
from tests.support.fastsshd import Start, logged
from tests.support.peers import KEY_TYPES, Keys, Peer, start_fastsshd
from tests.support.site import USER, Site, site


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Site]:
    """Trusts an authority for all users, who are named by their own names."""
    yield from site(tmp_path_factory.mktemp("site"), keys)


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Site]:
    """The same, with a file of principals, and no line of authorized_keys at first."""
    directory = tmp_path_factory.mktemp("site")
    yield from site(directory, keys, AuthorizedPrincipalsFile=directory / "principals")


# --- authorities of all users -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_a_certificate_of_each_kind_of_key_logs_in(trusting: Site, kind: str) -> None:
    certificate = trusting.certify(kind=kind, id="an é id", serial=7)
    assert trusting.admits(certificate, kind=kind)
    found = load_certificate(certificate)
    authority = found.authority.fingerprint()
    logged(trusting.peer, f'Accepted certificate ID "an é id" (serial 7) signed by ED25519 CA {authority}')
    logged(trusting.peer, f"ssh2: {found.family} {found.fingerprint()} ID an é id (serial 7) CA ED25519 {authority}\n")


@pytest.mark.parametrize(("kind", "bits"), [("ecdsa", 384), ("rsa", 2048)])
def test_authorities_of_other_kinds_are_trusted(tmp_path: Path, trusting: Site, kind: str, bits: int) -> None:
    authority = Authority.make(tmp_path / "authority", kind, bits)
    trusting.authorized_keys.write_text(f"cert-authority {authority.line}")
    assert trusting.admits(trusting.certify(by=authority))
    trusting.authorized_keys.unlink()


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "no names": ((), {"principals": None}, "Certificate lacks principal list"),
    "another's name": ((), {"principals": "somebody"}, "Certificate invalid: name is not a listed principal"),
    "the beginning of a name": ((), {"principals": USER[:-1]}, "name is not a listed principal"),
    "more than the name": ((), {"principals": f"{USER}x,x{USER}"}, "name is not a listed principal"),
    "a pattern": ((), {"principals": "*"}, "name is not a listed principal"),
    "a name in capitals": ((), {"principals": USER.upper()}, "name is not a listed principal"),
    "an end": ((), {"validity": "20200101:20210101"}, "Certificate invalid: expired"),
    "a beginning": ((), {"validity": "20990101:21000101"}, "Certificate invalid: not yet valid"),
    "an unknown critical option": (
        ("critical:unheard@example.org=x",), {},
        'Certificate critical option "unheard@example.org" is not supported',
    ),
    "another address": (("source-address=192.0.2.0/24",), {}, "the certificate may not be used from 127.0.0.1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_row05_a_certificate_that_is_not_for_this_login_is_refused(trusting: Site, name: str) -> None:
    options, what, reason = REFUSED[name]
    trusting.refuses(trusting.certify(*options, **what), reason)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"type": 2}, "Certificate invalid: not a user certificate"),
    ({"principals": string(b"wheel,staff")}, "Certificate does not contain an authorized principal"),  # CVE-2026-35414
    ({"principals": string(b"wheel\0")}, "Certificate does not contain an authorized principal"),
    ({"signature": b""}, "certificate's signature: malformed signature"),
    ({"critical": options(("force-command", string(b"a"))) * 2}, "certificate with the option force-command twice"),
    ({}, "Accepted publickey"),
])  # fmt: skip
async def test_row05_a_certificate_that_ssh_would_not_show_is_refused(
    trusting: Site, changes: dict[str, Any], reason: str
) -> None:
    trusting.authorized_keys.write_text(f'cert-authority,principals="wheel,staff" {trusting.authority.line}')
    key = load_private_key(trusting.peer.key)
    blob = build(load_private_key(trusting.authority.key), key, **({"principals": string(b"wheel")} | changes))
    key = replace(key, public=Unread(blob, key.public._kind, key.public._key))
    login = trusting.peer.connect_options() | {"keys": [key], "identity_files": ()}
    if reason.startswith("Accepted"):
        async with connect(trusting.peer.host, **login):
            pass
    else:
        with pytest.raises(AuthenticationError):
            async with connect(trusting.peer.host, **login):
                pass
    logged(trusting.peer, reason)
    trusting.authorized_keys.unlink()


class Unread(PublicKey):
    """What a client shows as a certificate without having read it."""

    signature_algorithms = ("ssh-ed25519-cert-v01@openssh.com",)  # type: ignore[assignment]


def test_row05_an_authority_that_nobody_trusts_certifies_nobody(trusting: Site) -> None:
    trusting.refuses(trusting.certify(by=trusting.other), "is not listed in")


def test_row05_an_authority_is_no_key_of_a_user(trusting: Site) -> None:
    assert openssh.ssh(replace(trusting.peer, key=trusting.authority.key), "true").returncode == 255


def test_row05_the_certified_key_alone_is_nothing(trusting: Site) -> None:
    assert openssh.ssh(trusting.peer, "true").returncode == 255


def test_row05_a_certificate_is_no_line_of_its_key(trusting: Site) -> None:
    """Whoever authorised the key did not say what the certificate's authority says, and the other way round."""
    trusting.authorized_keys.write_text(trusting.peer.keys.user("ed25519").with_suffix(".pub").read_text())
    only = ("-o", "PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com")
    trusting.refuses(trusting.certify(by=trusting.other), "is not listed in", options=only)
    trusting.authorized_keys.unlink()


def test_row04_a_certificates_options_bind_the_session(trusting: Site) -> None:
    forced = trusting.certify("force-command=echo forced: $SSH_ORIGINAL_COMMAND", "source-address=127.0.0.0/8,::1")
    assert trusting.ssh(forced, "echo free").stdout == b"forced: echo free\n"
    assert trusting.ssh(trusting.certify(), "tty", options=("-tt",)).stdout.startswith(b"/dev/")
    bare = trusting.certify("clear")
    done = trusting.ssh(bare, "tty", options=("-tt",))
    assert done.returncode == 255 and b"PTY allocation request failed" in done.stderr
    done = trusting.ssh(bare, options=("-W", f"127.0.0.1:{trusting.peer.port}"))
    assert done.returncode == 255 and not done.stdout
    forwarding = trusting.certify("clear", "permit-port-forwarding")
    assert trusting.ssh(forwarding, options=("-W", f"127.0.0.1:{trusting.peer.port}")).stdout.startswith(b"SSH-2.0-")


# --- principals -------------------------------------------------------------------------------------------------------


def test_row05_principals_stand_for_a_user_and_replace_its_name(naming: Site) -> None:
    naming.principals.unlink(missing_ok=True)
    naming.refuses(naming.certify(), "Certificate does not contain an authorized principal")
    naming.principals.write_text("# who\nwheel\nstaff,other\n")
    assert naming.admits(naming.certify(principals="other,wheel"))
    naming.refuses(naming.certify(), "Certificate does not contain an authorized principal")
    for principals in ("whee", "wheels", "staff", "other"):
        assert not naming.admits(naming.certify(principals=principals))


def test_row04_options_of_a_principal_hold_with_those_of_the_certificate(naming: Site) -> None:
    naming.principals.write_text('from="192.0.2.1" away\nno-pty,command="echo by principal" wheel\nbad-option staff\n')
    certificate = naming.certify(principals="wheel")
    assert naming.ssh(certificate, "echo free").stdout == b"by principal\n"
    assert naming.ssh(certificate, "tty", options=("-tt",)).returncode == 255
    naming.refuses(
        naming.certify("force-command=other", principals="wheel"), "two different forced commands"
    )
    naming.refuses(naming.certify(principals="away"), "may not be used from 127.0.0.1")
    naming.refuses(naming.certify(principals="staff"), "unknown option bad-option")


def test_principals_of_a_command(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "site").mkdir()
    config = {
        "AuthorizedPrincipalsCommand": f"/bin/cat {tmp_path}/%i-%s", "AuthorizedPrincipalsCommandUser": USER,
    }  # fmt: skip
    for running in site(tmp_path / "site", keys, **config):
        running.refuses(running.certify(id="id"), "AuthorizedPrincipalsCommand /bin/cat: it failed with status 1")
        (tmp_path / "id-5").write_text("no-pty wheel\n")
        assert running.admits(running.certify(id="id", serial=5, principals="wheel"))
        running.refuses(running.certify(id="id", serial=5), "does not contain an authorized principal")


# --- authorities of one user ------------------------------------------------------------------------------------------


def test_row05_an_authority_of_authorized_keys_certifies_for_its_user(trusting: Site) -> None:
    file, own = trusting.authorized_keys, trusting.other
    file.write_text(f'{own.line}no-pty,cert-authority,command="echo by line" {own.line}')
    assert trusting.ssh(trusting.certify(by=own), "echo free").stdout == b"by line\n"
    trusting.refuses(trusting.certify(by=own, principals="wheel"), "name is not a listed principal")
    trusting.refuses(trusting.certify(by=own, principals=None), "Certificate lacks principal list")
    trusting.refuses(trusting.certify("force-command=x", by=own), "two different forced commands")
    file.write_text(f'cert-authority,principals="wheel,staff" {own.line}')
    assert trusting.admits(trusting.certify(by=own, principals="other,staff"))
    for principals in (USER, "whee", "wheel staff"):
        trusting.refuses(trusting.certify(by=own, principals=principals), "does not contain an authorized principal")
    file.write_text(f'cert-authority,from="192.0.2.1" {own.line}')
    trusting.refuses(trusting.certify(by=own), "may not be used from 127.0.0.1")
    file.unlink()


# --- algorithms -------------------------------------------------------------------------------------------------------


def test_row05_lists_of_algorithms_name_certificates_and_authorities_exactly(
    tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> None:
    for running in site(
        tmp_path_factory.mktemp("site"), keys, CASignatureAlgorithms="ssh-ed25519,rsa-sha2-512",
        PubkeyAcceptedAlgorithms="ssh-ed25519-cert-v01@openssh.com,rsa-sha2-256",
    ):  # fmt: skip
        directory = running.authority.key.parent
        assert running.admits(running.certify())
        assert not running.admits(running.certify(kind="rsa"), kind="rsa")
        rsa = Authority.make(directory / "rsa", "rsa", 2048)
        running.authorized_keys.write_text(f"cert-authority {rsa.line}")
        assert running.admits(running.certify(by=rsa, algorithm="rsa-sha2-512"))
        running.refuses(
            running.certify(by=rsa, algorithm="rsa-sha2-256"), "signed with disallowed algorithm rsa-sha2-256"
        )


def test_row27_a_certificate_that_was_signed_with_sha1_is_refused(trusting: Site, tmp_path: Path) -> None:
    rsa = Authority.make(tmp_path / "authority", "rsa", 2048)
    trusting.authorized_keys.write_text(f"cert-authority {rsa.line}")
    trusting.refuses(trusting.certify(by=rsa, algorithm="ssh-rsa"), "signature algorithm ssh-rsa does not belong")
    trusting.authorized_keys.unlink()


# --- certificates of hosts --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified_host(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[tuple[Peer, Authority]]:
    directory = tmp_path_factory.mktemp("host")
    authority = Authority.make(directory / "authority")
    lines = [
        f"HostCertificate {authority.certify(keys.host(kind).with_suffix('.pub'), principals='127.0.0.1', host=True)}"
        for kind in KEY_TYPES
    ]
    with start_fastsshd(directory / "server", keys=keys, lines=lines) as peer:
        yield peer, authority


@pytest.mark.parametrize("algorithm", [
    "ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com",
])  # fmt: skip
def test_openssh_knows_a_host_by_its_authority(certified_host: tuple[Peer, Authority], algorithm: str) -> None:
    peer, authority = certified_host
    known = peer.directory / "known_by_authority"
    known.write_text(f"@cert-authority 127.0.0.* {authority.line}")
    done = openssh.ssh(
        replace(peer, known_hosts=known), "echo in", options=("-o", f"HostKeyAlgorithms={algorithm}", "-v")
    )
    assert done.stdout == b"in\n", done.stderr
    done = openssh.ssh(replace(peer, known_hosts=known), "true", options=("-o", "HostKeyAlgorithms=ssh-ed25519"))
    assert done.returncode == 255 and b"Host key verification failed" in done.stderr


async def test_row17_our_client_takes_a_host_by_its_authority_and_by_nothing_less(
    certified_host: tuple[Peer, Authority], tmp_path: Path, keys: Keys
) -> None:
    peer, authority = certified_host
    known = tmp_path / "known_hosts"
    other = Authority.make(tmp_path / "other")
    host_line = keys.host("ed25519").with_suffix(".pub").read_text()
    where = f"[127.0.0.1]:{peer.port}"

    async def family() -> str:
        async with connect(peer.host, **(peer.connect_options() | {"user_known_hosts": [known]})) as connection:
            assert (await connection.run("true")).exit_status == 0
            return connection.host_key.family

    for line in (f"@cert-authority {where} {authority.line}", f"@cert-authority 127.* {authority.line}"):
        known.write_text(line)
        assert await family() == "ED25519-CERT"
    known.write_text(f"{where} {host_line}")
    assert await family() == "ED25519"  # nobody asked for a certificate
    known.write_text(f"@cert-authority {where} {other.line}{where} {host_line}")
    assert await family() == "ED25519-CERT"  # not trusted for its authority, but its key is known
    for text, error in (
        (f"@cert-authority {where} {other.line}", HostKeyUnknownError),
        (f"@cert-authority other {authority.line}", HostKeyUnknownError),
        (f"@cert-authority {where} {authority.line}@revoked {where} {authority.line}", HostKeyRevokedError),
        (f"@cert-authority {where} {authority.line}@revoked * {host_line}", HostKeyRevokedError),
    ):
        known.write_text(text)
        with pytest.raises(error):
            await family()


@pytest.mark.parametrize(("what", "names"), [
    ({"validity": "20200101:20210101"}, "127.0.0.1"), ({"host": False}, "127.0.0.1"), ({}, "127.0.0.2"), ({}, None),
])  # fmt: skip
async def test_row17_a_host_certificate_that_is_not_for_this_host_is_worth_nothing(
    what: dict[str, Any], names: str | None, start_fastsshd: Start, keys: Keys, tmp_path: Path
) -> None:
    authority = Authority.make(tmp_path / "authority")
    public = keys.host("ed25519").with_suffix(".pub")
    path = authority.certify(public, **({"host": True, "principals": names} | what))
    peer = start_fastsshd(HostCertificate=path)
    known = tmp_path / "known_hosts"
    known.write_text(f"@cert-authority * {authority.line}")
    with pytest.raises(HostKeyUnknownError):
        async with connect(peer.host, **(peer.connect_options() | {"user_known_hosts": [known]})):
            pass
    if names != "127.0.0.2":
        logged(peer, "error: Host certificate ")


def test_a_certified_key_need_not_be_the_first_of_its_kind(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "authority")
    second = Authority.make(tmp_path / "second").key
    path = authority.certify(second.with_suffix(".pub"), principals="127.0.0.1", host=True)
    peer = start_fastsshd(lines=[f"HostKey {second}", f"HostCertificate {path}"])
    plain = ("-o", "HostKeyAlgorithms=ssh-ed25519")
    assert openssh.ssh(peer, "true", options=plain).returncode == 0  # the first one, without a certificate
    known = tmp_path / "known_hosts"
    known.write_text(f"@cert-authority * {authority.line}")
    assert openssh.ssh(replace(peer, known_hosts=known), "echo in").stdout == b"in\n"


def test_host_certificates_that_cannot_be_used_are_told_of(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "authority")
    foreign = authority.certify(keys.user("ed25519").with_suffix(".pub"), principals="a", host=True)
    peer = start_fastsshd(lines=[
        "HostCertificate /nowhere", f"HostCertificate {authority.key}.pub", f"HostCertificate {foreign}",
    ])  # fmt: skip
    logged(peer, "Could not load host certificate /nowhere: No such file or directory")
    logged(peer, f"Could not load host certificate: {authority.key}.pub: not a certificate")
    logged(peer, f"No matching private key for certificate: {foreign}")
    assert openssh.ssh(peer, "true").returncode == 0
