"""fastssh-keygen -k and -Q: lists that ssh-keygen reads, byte for byte its own."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from fastssh.errors import KeyFormatError
from fastssh.keys import krl
from fastssh.keys.certificate import decode_certificate
from fastssh.keys.issuing import Terms, issue
from fastssh.keys.krl import revoke, serialize_krl
from fastssh.keys.revocation import Revocations, RevokedCertificates, parse_krl, parse_revocations
from fastssh.wire.codec import UINT64_MAX
from tests.support import keygen
from tests.support.desk import EC, ED, RSA, Desk, make_desk

DATE = slice(20, 28)  # where the time of its making stands
SPEC = """\
# what is revoked
serial: 1-3
SERIAL:7
serial: 0x10  # seventeen is good
serial: 020-022
serial: 100-3000
serial: 18446744073709551610-18446744073709551615
id: some id
id: böse
"""


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = make_desk(tmp_path, capsys, monkeypatch)
    for name, terms in (
        ("numbered", Terms(EC.public, "n", serial=42)),
        ("nameless", Terms(EC.public, "has no number")),
        ("good", Terms(EC.public, "good", serial=43)),
        ("some", Terms(EC.public, "some id", serial=44)),
    ):
        Path(f"{name}-cert.pub").write_text(issue(terms, ED).line() + "\n")
    keys = {name: Path(f"{name}.pub").read_text() for name in ("ca", "rsa", "key")}
    hashed = ED.public.fingerprint()
    Path("spec").write_text(f"{SPEC}key: {keys['key']}sha1: {keys['rsa']}sha256: {keys['ca']}hash: {hashed}\n")
    Path("ids").write_text(SPEC)
    return desk


def same(desk: Desk, *arguments: str) -> bytes:
    """What both make of these arguments."""
    ours, theirs = Path("ours"), Path("theirs")
    said = desk.ours("-k", "-f", ours, *arguments)
    assert said == desk.theirs("-k", "-f", theirs, *arguments) and said[0] == 0
    left, right = bytearray(ours.read_bytes()), bytearray(theirs.read_bytes())
    left[DATE] = right[DATE] = b"\0" * 8
    assert left == right
    listing = desk.theirs("-Q", "-l", "-f", ours)
    assert desk.ours("-Q", "-l", "-f", ours) == listing and listing[0] == 0
    return bytes(left)


def test_the_bytes_are_those_of_ssh_keygen(desk: Desk) -> None:
    certificates = ("numbered-cert.pub", "nameless-cert.pub", "rsa.pub")
    for arguments in (
        (), ("-s", "ca.pub", "spec"), ("-s", "none", "spec", *certificates), ("-z", "77", "-C", "wörds", *certificates),
        ("-q", "-s", "rsa.pub", "ids", *certificates), ("-s", "ca.pub", "ids", "spec", "ids"), ("key.pub", "ca.pub"),
    ):  # fmt: skip
        same(desk, *arguments)


@pytest.mark.parametrize("seed", range(12))
def test_serial_numbers_are_packed_as_ssh_keygen_packs_them(desk: Desk, seed: int) -> None:
    """Lists, ranges and bitmaps, and where one gives way to another."""
    choose = random.Random(seed)
    lines, at = [], choose.choice([0, 2**40, UINT64_MAX - 2**20])
    for _ in range(choose.choice([1, 3, 40, 120])):
        at += choose.choice([1, 2, 3, 9, 17, 70, 72, 73, 80, 200, 4000])
        count = choose.choice([1, 1, 1, 2, 8, 9, 17, 30, 200, 3000])
        lines.append(f"serial: {at}-{at + count}" if count > 1 else f"serial: {at}")
        at += choose.choice([0, count])
    choose.shuffle(lines)
    Path("serials").write_text("\n".join(lines))
    data = same(desk, "-s", "none", "serials")
    assert list(parse_krl(data).certificates) == [b""]


def test_lists_are_asked_about_keys(desk: Desk) -> None:
    desk.ours("-k", "-q", "-f", "krl", "-s", "ca.pub", "ids", "numbered-cert.pub", "nameless-cert.pub", "rsa.pub")
    names = ("numbered-cert.pub", "nameless-cert.pub", "some-cert.pub", "rsa.pub", "good-cert.pub", "key.pub")
    answer = desk.ours("-Q", "-f", "krl", *names)
    assert answer == desk.theirs("-Q", "-f", "krl", *names) and answer[0] == 1
    assert [line.rpartition(": ")[2] for line in answer[1].splitlines()] == ["REVOKED"] * 4 + ["ok"] * 2
    assert answer[1].splitlines()[3] == "rsa.pub (me@test): REVOKED"
    assert desk.ours("-Q", "-f", "krl", "key.pub") == (0, "key.pub (me@test): ok\n", "")
    assert desk.theirs("-Q", "-lf", "krl", "good-cert.pub") == desk.ours("-Q", "-lf", "krl", "good-cert.pub")


def test_an_update_adds_to_what_is_there(desk: Desk) -> None:
    Path("theirs").write_bytes(b"")
    steps = (("ids", ("-s", "ca.pub", "-z", "5")), ("spec", ("-u", "-s", "rsa.pub")), ("key.pub", ("-u",)))
    for part, options in steps:
        for run, path in ((desk.ours, "ours"), (desk.theirs, "theirs")):
            assert run("-k", "-q", "-f", path, *options, part)[0] == 0
    left, right = (bytearray(Path(name).read_bytes()) for name in ("ours", "theirs"))
    left[DATE] = right[DATE] = b"\0" * 8
    assert left == right and parse_krl(bytes(left)).version == 5


REFUSED = {
    "serial: 5-2": "spec:1: invalid serial range 5:2",
    "serial: 5-5": "spec:1: invalid serial range 5:5",
    "\nserial: x": 'spec:2: invalid serial "x"',
    "serial: 3-x": 'spec:1: invalid serial "x"',
    "serial: 3 4": 'spec:1: invalid serial "3 4"',
    "serial:": 'spec:1: invalid serial ""',
    "serial: 18446744073709551616": "spec:1: serial out of range",
    "serial: 0x1" + "0" * 5000: "spec:1: serial out of range",
    "hash: MD5:aa:bb": "spec:1: unsupported hash algorithm",
    "hash: SHA256:*": "spec:1: decode hash failed: invalid format",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20].strip())
def test_what_is_refused_is_refused_in_ssh_keygens_words(desk: Desk, text: str) -> None:
    Path("spec").write_text(text + "\n")
    for run in (desk.ours, desk.theirs):
        assert run("-k", "-q", "-f", "krl", "-s", "none", "spec") == (255, "", f"{REFUSED[text]}\n")
        assert not Path("krl").exists()


def test_other_refusals(desk: Desk) -> None:
    for line, what in (("serial: 5", "serial number"), ("id: x", "key ID")):
        Path("one").write_text(line)
        words = f"revoking certificates by {what} requires specification of a CA key\n"
        for run in (desk.ours, desk.theirs):
            assert run("-k", "-q", "-f", "krl", "one") == (255, "", words)
    for line, words in (
        ("foo", "one:1: invalid key: "), ("ssh-rsa", "one:1: invalid key: "), ("serial: 0", "revoke serial failed"),
        ("hash: SHA256:AAAA", "one:1: revoke key failed: "), ("key: ssh-rsa AAAA", "one:1: invalid key: "),
    ):  # fmt: skip
        Path("one").write_text(line)
        status, _, err = desk.ours("-k", "-q", "-s", "none", "-f", "krl", "one")
        assert status == 255 and words in err and err.count("\n") == 1
    for arguments in (
        ("-k",), ("-Q",), ("-k", "-u", "-f", "none"), ("-Q", "-f", "none"), ("-Q", "-f", "spec", "key.pub"),
        ("-k", "-f", "krl", "none"), ("-k", "-f", "krl", "-s", "none.pub", "spec"),
    ):  # fmt: skip
        ours, theirs = desk.ours(*arguments), desk.theirs(*arguments)
        assert ours == theirs and ours[0] == 255 and ours[2]
    desk.ours("-k", "-f", "krl")
    assert desk.ours("-Q", "-f", "krl", "none") == (255, "", "Cannot load public key none: No such file or directory\n")


def test_a_specification_comes_from_standard_input(desk: Desk) -> None:
    done = keygen.compare("-k", "-f", "krl", "-s", "none", "-", home=desk.folder, stdin=b"serial: 3")
    assert done.stdout == b"Revoking from (standard input)\n"
    assert list(parse_krl(Path("krl").read_bytes()).of(b"").intervals()) == [(3, 3)]


def test_row19_a_strangers_list_does_not_drive_the_terminal(desk: Desk) -> None:
    revoked = Revocations(comment="a\x1b[2J\nb", generated=2**63)
    revoked.of(b"").key_ids.add("x\x1b\ny")
    revoked.keys.add(b"no key at all")
    Path("krl").write_bytes(serialize_krl(revoked, generated=2**64 - 1))
    status, out, _ = desk.ours("-Q", "-l", "-f", "krl")
    assert status == 0 and "\x1b" not in out and "# Comment: a\\033[2J\\012b\n" in out and "id: x\\033\\012y\n" in out
    assert "# Generated at <INVALID>" in out and "# unknown\n" in out


# --- the library ------------------------------------------------------------------------------------------------------

SERIALS = st.integers(1, 300) | st.integers(2**32, 2**32 + 200) | st.integers(1, UINT64_MAX)


@hypothesis.given(st.lists(st.tuples(SERIALS, st.integers(0, 200)), max_size=30))
def test_what_is_written_is_read_again(pairs: list[tuple[int, int]]) -> None:
    revoked = Revocations(version=3, comment="c")
    some = revoked.of(ED.public.blob)
    wanted: set[int] = set()
    for low, more in pairs:
        high = min(low + more, UINT64_MAX)
        some.add(low, high)
        wanted |= set(range(low, high + 1))
    read = parse_krl(serialize_krl(revoked, generated=5))
    assert (read.version, read.generated, read.comment) == (3, 5, "c")
    intervals = list(read.of(ED.public.blob).intervals())
    assert intervals == list(some.intervals())
    assert {serial for low, high in intervals for serial in range(low, high + 1)} == wanted
    assert all(right[0] > left[1] + 1 for left, right in itertools.pairwise(intervals))


def test_a_bitmap_is_never_longer_than_openssh_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert krl._MAX_BITMAP == 1 << 24
    monkeypatch.setattr(krl, "_MAX_BITMAP", 1 << 12)  # the same with fewer numbers
    some = RevokedCertificates()
    serials = range(1, (1 << 14), 71)  # near enough for bitmaps, and too many for one
    for serial in serials:
        some.add(serial)
    data = serialize_krl(Revocations(certificates={b"": some}), generated=0)
    read = parse_krl(data).of(b"")
    assert len(read.bitmaps) >= 4 and all(len(bits) <= 1 << 9 for _, bits in read.bitmaps)
    assert [low for low, _ in read.intervals()] == list(serials)


@hypothesis.given(st.text(max_size=60) | st.text("serialidhaky: 0x19-#\n", max_size=60))
def test_any_specification_is_understood_or_refused_with_its_line(text: str) -> None:
    revoked = Revocations()
    try:
        revoke(text, revoked, b"", "file")
    except KeyFormatError as error:
        assert re.match(r"file:\d+: ", str(error))
    else:
        assert parse_revocations(serialize_krl(revoked, generated=0)) is not None


def test_ranges_of_serial_numbers() -> None:
    some = RevokedCertificates()
    for low, high in ((0, 1), (2, 1), (1, UINT64_MAX + 1), (0, 0)):
        with pytest.raises(ValueError, match="not a range"):
            some.add(low, high)
    some.add(1, UINT64_MAX)
    assert some.have(decode_certificate(issue(Terms(EC.public, "x", serial=UINT64_MAX), RSA).blob))
    assert not some.have(decode_certificate(issue(Terms(EC.public, "x"), RSA).blob))
