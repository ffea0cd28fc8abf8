"""fastssh-keygen -s and -L: certificates that ssh-keygen reads and sshd accepts, and the same words for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from fastssh.errors import KeyFormatError, SignatureError
from fastssh.keys.certificate import Certificate, CertificateType, decode_certificate, load_certificate
from fastssh.keys.issuing import Terms, complete, issue, parse_options
from fastssh.keys.times import Validity, duration, moment, parse_validity
from fastssh.wire.codec import UINT64_MAX, Reader, utf8
from tests.conftest import FastsshdFactory, SshdFactory
from tests.support import openssh
from tests.support.desk import EC, ED, RSA, Desk, make_desk
from tests.support.peers import Keys, program

NOW = 1_800_000_007.5


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return make_desk(tmp_path, capsys, monkeypatch)


# --- bytes ------------------------------------------------------------------------------------------------------------


def terms_of(certificate: Certificate) -> Terms:
    return Terms(
        certificate.plain, certificate.key_id, certificate.type, certificate.principals,
        Validity(certificate.valid_after, certificate.valid_before), certificate.serial, certificate.critical_options,
        certificate.extensions,
    )  # fmt: skip


@pytest.mark.parametrize("authority", ["ca", "rsa"])
def test_with_the_same_nonce_the_bytes_are_those_of_ssh_keygen(desk: Desk, authority: str) -> None:
    options = (
        "no-pty", "force-command=a b", "source-address=10.0.0.0/8,::1", "critical:x@y=z", "extension:b@y",
        "extension:a@y=", "verify-required", "no-touch-required",
    )  # fmt: skip
    words = [word for option in options for word in ("-O", option)]
    assert desk.theirs("-s", authority, "-I", "an id", "-n", "ann,böb", "-z", "7", *words, "key.pub")[0] == 0
    made = load_certificate("key-cert.pub")
    reader = Reader(made.blob)
    reader.string()
    nonce = reader.string()
    terms = Terms(EC.public, "an id", principals=("ann", "böb"), serial=7)
    critical, extensions = parse_options(options)
    terms = terms._replace(critical_options=critical, extensions=extensions)
    key = {"ca": ED, "rsa": RSA}[authority]
    mine = issue(terms, key, random=lambda count: nonce)
    assert mine.blob == made.blob  # with the signature, since neither algorithm has a random part
    assert terms_of(mine) == terms


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ([], ["key user certificate", "Valid: forever", "Principals: (none)", "permit-pty", "Serial: 0"]),
        (["-h", "-n", "*.example"], ["host certificate", "*.example", "Options: (none)", "Extensions: (none)"]),
        (["-h", "-O", "permit-pty"], ["Extensions: \n                permit-pty\n"]),
        (["-O", "clear", "-O", "Permit-X11-Forwarding"], ["Extensions: \n                permit-X11-forwarding\n"]),
        (["-O", "clear", "-O", "no-touch-required"], ["Extensions: \n                no-touch-required\n"]),
        (["-O", "verify-required", "-O", "critical:a=b"], ["a UNKNOWN OPTION: 0000000162", " verify-required\n"]),
        (["-O", "extension:a@b", "-z", str(UINT64_MAX)], ["a@b UNKNOWN FLAG OPTION", f"Serial: {UINT64_MAX}"]),
        (["-V", "20300101Z:20310101120000Z"], ["Valid: from 2030-01-01T00:00:00 to 2031-01-01T12:00:00"]),
        (["-V", "always:20310101Z"], ["Valid: before 2031-01-01T00:00:00"]),
        (["-V", "0x10:forever"], ["Valid: after 1970-01-01T00:00:16"]),
        (["-s", "rsa", "-t", "rsa-sha2-256"], ["(using rsa-sha2-256)"]),
        (["-s", "rsa"], ["(using rsa-sha2-512)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_ssh_keygen_reads_what_was_asked_for(
    desk: Desk, asked: list[str], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    status, out, err = desk.ours("-s", "ca", "-I", "an id", *asked, "key.pub")
    assert (status, out) == (0, ""), err
    text = desk.shown(Path("key-cert.pub"))
    assert text.startswith("key-cert.pub:\n        Type: ecdsa-sha2-nistp256-cert-v01@openssh.com ")
    for part in shown:
        assert part.removeprefix("key ") in text
    again, _, theirs = desk.theirs("-s", "ca", "-I", "an id", *asked, "key.pub")
    assert again == 0 and err == theirs  # "Signed user key key-cert.pub: id ..."
    assert Path("key-cert.pub").read_text().endswith(" me@test\n")
    assert Path("key-cert.pub").stat().st_mode & 0o777 == 0o644


def test_serial_numbers_count_on_and_quiet_is_quiet(desk: Desk) -> None:
    assert desk.ours("-q", "-s", "ca", "-I", "x", "-z", "+41", "key.pub", "rsa.pub", "ca") == (0, "", "")
    assert [load_certificate(f"{name}-cert.pub").serial for name in ("key", "rsa", "ca")] == [41, 42, 43]


REFUSED = {
    "-s ca key.pub": "Must specify key id (-I) when certifying",
    "-s ca -I x -O foo key.pub": 'Unsupported certificate option "foo"',
    "-s ca -I x -O no-clear key.pub": 'Unsupported certificate option "no-clear"',
    "-s ca -I x -O no-permit-pty key.pub": 'Unsupported certificate option "no-permit-pty"',
    "-s ca -I x -O force-command= key.pub": "Empty force-command option",
    "-s ca -I x -O force-command=a -O force-command=b key.pub": "force-command already specified",
    "-s ca -I x -O source-address= key.pub": "Empty source-address option",
    "-s ca -I x -V foo key.pub": "Invalid certificate life specification foo",
    "-s ca -I x -V 20300101: key.pub": "Invalid certificate life specification 20300101:",
    "-s ca -I x -V +1x key.pub": "Invalid relative certificate life +1x",
    "-s ca -I x -V +1x:+1d key.pub": "Invalid relative certificate time +1x",
    "-s ca -I x -V -3000w:+1d key.pub": "Certificate time -3000w cannot be represented",
    "-s ca -I x -V 2030:forever key.pub": 'Invalid from time "2030"',
    "-s ca -I x -V always:20301301 key.pub": 'Invalid to time "20301301"',
    "-s ca -I x -V 0xg:forever key.pub": "Invalid certificate time: not a number",
    "-s ca -I x -V +1d:-1d key.pub": "Empty certificate validity interval",
    "-s ca -I x -z zz key.pub": 'Invalid serial number "zz"',
    "-s ca -I x -z 18446744073709551616 key.pub": 'Invalid serial number "18446744073709551616"',
    "-s ca -I x -n a,,b key.pub": "Empty principal name",
    "-s ca -I x none.pub": 'load pubkey "none.pub": No such file or directory',
    "-s none -I x key.pub": 'Load key "none": No such file or directory',
    "-s ca -I x -t rsa-sha2-256 key.pub": "CA key type ssh-ed25519 doesn't match specified rsa-sha2-256",
    "-U -s ca.pub -I x key.pub": "Cannot use public key for CA signature: agent not present",
    "-L -f none": "ssh-keygen: none: No such file or directory",
    "-L -f key.pub": "key.pub:1 is not a certificate",
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_is_refused_in_ssh_keygens_words(desk: Desk, command: str) -> None:
    status, out, err = desk.ours(*command.split())
    assert out == "" and err == f"{REFUSED[command]}\n".replace("ssh-keygen:", "fastssh-keygen:")
    if "cannot be represented" not in err:  # that is of a later release
        assert desk.theirs(*command.split()) == (status, "", f"{REFUSED[command]}\n")


def test_other_refusals(desk: Desk) -> None:
    assert desk.ours("-s", "ca", "-I", "x")[2].startswith("fastssh-keygen: Too few arguments.\nusage: ")
    assert desk.ours("-s", "ca", "-I", "x", "-O", "source-address=a", "key.pub")[2] == "Invalid source-address list\n"
    assert desk.ours("-s", "ca", "-I", "x", "-O", "critical:a", "-O", "critical:a", "key.pub")[0] == 255
    names = ",".join(map(str, range(257)))
    assert "Too many certificate principals specified" in desk.ours("-s", "ca", "-I", "x", "-n", names, "key.pub")[2]
    assert not Path("key-cert.pub").exists()
    assert desk.ours("-s", "ca", "-I", "x", "key.pub")[0] == 0
    status, _, err = desk.ours("-s", "ca", "-I", "x", "key-cert.pub")
    assert (status, err) == (255, 'key "key-cert.pub" type ECDSA-CERT cannot be certified\n')
    os.mkdir("folder-cert.pub")
    os.rename("key.pub", "folder.pub")
    status, _, err = desk.ours("-s", "ca", "-I", "x", "folder.pub")
    assert status == 255 and err == "Unable to save public key to folder-cert.pub: not a regular file\n"


# --- printing ---------------------------------------------------------------------------------------------------------


def test_every_line_of_a_file_is_shown(desk: Desk) -> None:
    assert desk.ours("-q", "-s", "ca", "-I", "x", "key.pub", "rsa.pub")[0] == 0
    lines = [Path(f"{name}.pub").read_text() for name in ("key-cert", "key", "rsa-cert")]
    Path("all").write_text(f"# comment\n# another\n  {''.join(lines)}")
    ours, theirs = desk.ours("-L", "-f", "all"), desk.theirs("-L", "-f", "all")
    assert ours == theirs and ours[2] == "all:4 is not a certificate\n" and ours[0] == 0
    md5 = desk.ours("-L", "-E", "md5", "-f", "key-cert.pub")
    assert md5 == desk.theirs("-L", "-E", "md5", "-f", "key-cert.pub") and "MD5:" in md5[1]


def test_row19_a_strangers_certificate_does_not_drive_the_terminal(desk: Desk) -> None:
    terms = Terms(EC.public, "\x1b[2J", principals=("a\x07",), critical_options=(("force-command", utf8("\x1b")),))
    Path("c").write_text(issue(terms, ED).line() + "\n")
    status, out, _ = desk.ours("-L", "-f", "c")
    assert status == 0 and out.isprintable() is False and "\x1b" not in out and "\\033[2J" in out and "a\\007" in out
    broken = terms._replace(critical_options=(("force-command", b"\0"),), validity=Validity(2**63, 2**63 + 1))
    Path("c").write_text(issue(broken, ED).line() + "\n")
    assert "force-command CORRUPT: " in (out := desk.ours("-L", "-f", "c")[1]) and "UNKNOWN-TIME" in out


def test_rsa_keys_go_by_the_names_of_their_signatures_as_well(desk: Desk) -> None:
    assert desk.ours("-q", "-t", "rsa-sha2-256", "-b", "1024", "-N", "", "-f", "made") == (0, "", "")
    assert Path("made.pub").read_text().startswith("ssh-rsa ")


# --- agents and servers -----------------------------------------------------------------------------------------------


def test_an_authority_in_the_agent(desk: Desk, agent_here: str) -> None:
    add = [program("ssh-add", "openssh-client"), "-q", "rsa"]
    subprocess.run(add, check=True)
    os.unlink("rsa")
    assert desk.ours("-q", "-U", "-s", "rsa.pub", "-I", "x", "-t", "rsa-sha2-256", "key.pub") == (0, "", "")
    assert load_certificate("key-cert.pub").authority_algorithm == "rsa-sha2-256"
    assert desk.ours("-U", "-s", "ca.pub", "-I", "x", "key.pub")[2] == "CA key ca.pub not found in agent\n"


def test_servers_let_their_holder_in(desk: Desk, start_sshd: SshdFactory, start_fastsshd: FastsshdFactory) -> None:
    for peer in (start_sshd(TrustedUserCAKeys=desk.folder / "ca.pub", AuthorizedKeysFile="none"),
                 start_fastsshd(TrustedUserCAKeys=desk.folder / "ca.pub", AuthorizedKeysFile="none")):  # fmt: skip
        for options, wanted in (
            (["-n", peer.user, "-V", "+1d"], b"asked\n"),
            (["-n", peer.user, "-O", "force-command=echo forced"], b"forced\n"),
            (["-n", "somebody-else"], b""),
            (["-n", peer.user, "-V", "-2d:-1d"], b""),
        ):
            assert desk.ours("-q", "-s", "ca", "-I", "x", *options, "key.pub") == (0, "", "")
            login = ("-o", "IdentitiesOnly=yes", "-i", str(desk.folder / "key"), "-o", "IdentityFile=none")
            assert openssh.ssh(peer, "echo asked", options=login).stdout == wanted


def test_ssh_trusts_a_host_by_its_certificate(desk: Desk, start_sshd: SshdFactory, keys: Keys) -> None:
    shutil.copy(keys.host("ed25519").with_suffix(".pub"), "host.pub")
    assert desk.ours("-q", "-s", "ca", "-h", "-I", "x", "-n", "127.0.0.1,other", "host.pub") == (0, "", "")
    Path("known").write_text(f"@cert-authority 127.0.0.* {ED.public.line()}\n")
    peer = start_sshd(HostCertificate=desk.folder / "host-cert.pub")
    done = openssh.ssh(peer, "echo in", options=("-o", f"UserKnownHostsFile={desk.folder / 'known'}"))
    assert done.stdout == b"in\n", done.stderr


# --- the library ------------------------------------------------------------------------------------------------------


def test_validity() -> None:
    now = int(NOW)
    assert parse_validity("+1h30m", NOW) == (now - 59 - (now - 59) % 60, now + 5400)
    assert parse_validity("-1d:+5w", NOW) == (now - 86400, now + 5 * 7 * 86400)
    assert parse_validity("always:forever", NOW) == (0, UINT64_MAX)
    assert parse_validity("0x1:0xffffffffffffffff", NOW) == (1, UINT64_MAX)
    assert parse_validity("20300101Z:20300101000001UTC", NOW) == (1893456000, 1893456001)
    assert parse_validity("203001010000:forever", NOW).after == moment("20300101")
    assert duration("1w2d3h4m5") == 788645


@hypothesis.given(st.text("+-:0x19afZwd alwysforev", max_size=20), st.floats(1e6, 2**33))
def test_any_text_is_a_validity_or_refused(text: str, now: float) -> None:
    try:
        found = parse_validity(text, now)
    except KeyFormatError as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= found.after < found.before <= UINT64_MAX


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
CUSTOM = st.lists(
    st.tuples(st.text("ab@.", min_size=1, max_size=6), st.binary(max_size=20)), max_size=4, unique_by=lambda o: o[0]
).map(lambda pairs: tuple(sorted(pairs)))


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    st.builds(
        Terms, st.sampled_from([ED.public, EC.public, RSA.public]), st.text(st.characters(codec="utf-8"), max_size=40),
        st.sampled_from(CertificateType), st.lists(NAMES, max_size=5).map(tuple),
        st.builds(Validity, st.integers(0, UINT64_MAX), st.integers(0, UINT64_MAX)), st.integers(0, UINT64_MAX),
        CUSTOM, CUSTOM,
    )
)
def test_a_certificate_says_what_it_was_asked_to(terms: Terms) -> None:
    certificate = issue(terms, EC)
    assert terms_of(certificate) == terms and certificate.authority == EC.public
    assert decode_certificate(certificate.blob) == certificate


@hypothesis.given(st.lists(st.text("clearno-ptyermi:=source,1.0/excti", max_size=20), max_size=4))
def test_any_options_are_understood_or_refused(words: list[str]) -> None:
    try:
        critical, extensions = parse_options(words)
    except KeyFormatError:
        return
    assert issue(Terms(ED.public, "", critical_options=critical, extensions=extensions), ED)


def test_terms_that_no_certificate_can_have() -> None:
    certificate = issue(Terms(EC.public, "x"), ED)
    for terms in (
        Terms(certificate, "x"), Terms(EC.public, "x", principals=("a", "")), Terms(EC.public, "x", serial=-1),
        Terms(EC.public, "x", principals=("a",) * 257), Terms(EC.public, "x", serial=UINT64_MAX + 1),
        Terms(EC.public, "x", critical_options=(("a", b""), ("a", b""))),
    ):  # fmt: skip
        with pytest.raises(KeyFormatError):
            issue(terms, ED)
    with pytest.raises(SignatureError):
        issue(Terms(EC.public, "x"), ED, "rsa-sha2-512")
    body = Terms(EC.public, "x").body(ED.public, b"n" * 32)
    with pytest.raises(KeyFormatError, match="signature"):
        complete(body, RSA.sign(body, "rsa-sha2-512"))
    assert complete(body, ED.sign(body, "ssh-ed25519")).blob[: len(body)] == body
