"""fastssh-keygen makes key pairs that OpenSSH reads, and changes those that OpenSSH made."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import asyncssh
import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastssh
from fastssh import files
from fastssh.cli.keygen import actions
from fastssh.cli.keygen.arguments import TOOL, Arguments, read, read_number
from fastssh.cli.tool import Asked, UsageError
from fastssh.keys import openssh_format
from fastssh.keys.private import load_private_key
from tests.support import keygen, peers
from tests.support.keygen import compare, ours, run

PASSPHRASE = "correct horse"
FORMATS = ("RFC4716", "PEM", "PKCS8")


def test_every_action_is_a_function_that_exists() -> None:
    for action in actions.ACTIONS:
        assert callable(actions.function_of(action)), action.home


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


@pytest.mark.parametrize(("kind", "bits"), keygen.KINDS, ids=keygen.KIND_IDS)
def test_ssh_keygen_reads_what_is_made_and_nobody_else_may(tmp_path: Path, kind: str, bits: int | None) -> None:
    path = tmp_path / "key"
    public = path.with_suffix(".pub")
    size = ("-b", str(bits)) if bits else ()
    before = os.umask(0)
    try:
        made = ours("-t", kind, *size, "-C", "user@test", "-N", "", "-f", path, home=tmp_path)
    finally:
        os.umask(before)
    assert modes(path, public) == [0o600, 0o644]
    assert run("-y", "-f", path, home=tmp_path).stdout == public.read_bytes()
    shown = run("-l", "-v", "-f", path, home=tmp_path).stdout.decode()
    _, fingerprint, *_ = shown.split()
    assert (made.returncode, made.stderr) == (0, b"")
    assert made.stdout.decode() == (
        f"Generating public/private {kind} key pair.\n"
        f"Your identification has been saved in {path}\nYour public key has been saved in {public}\n"
        f"The key fingerprint is:\n{fingerprint} user@test\n"
        f"The key's randomart image is:\n{shown.partition(chr(10))[2]}"
    )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "key.pub"]


def test_files_are_laid_out_as_ssh_keygen_lays_them_out(tmp_path: Path) -> None:
    """All but the random numbers: magic, layers, order of fields, padding, lengths of lines, newlines."""
    for kind, bits in (("ed25519", None), ("ecdsa", 521)):
        theirs = keygen.make_key(tmp_path / f"theirs-{kind}", kind, bits)
        text, public = theirs.read_bytes(), Path(f"{theirs}.pub").read_bytes()
        key = load_private_key(theirs)
        mine = tmp_path / f"mine-{kind}"
        key.save(mine)
        key.public.save(f"{mine}.pub", key.comment)
        container, other = (openssh_format.decode_container(data) for data in (text, mine.read_bytes()))
        assert container.sealed[8:] == other.sealed[8:]  # behind the check numbers
        assert container._replace(sealed=b"") == other._replace(sealed=b"")
        assert [len(line) for line in text.split(b"\n")] == [len(line) for line in mine.read_bytes().split(b"\n")]
        assert Path(f"{mine}.pub").read_bytes() == public
    run("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "mute", home=tmp_path)
    key = load_private_key(tmp_path / "mute")
    key.public.save(tmp_path / "mine.pub", key.comment)
    assert (tmp_path / "mine.pub").read_bytes() == (tmp_path / "mute.pub").read_bytes()


@pytest.mark.parametrize("cipher", openssh_format.CIPHERS)
def test_every_cipher_is_read_by_the_other_side(tmp_path: Path, cipher: str) -> None:
    secret = ("-N", PASSPHRASE, "-a", "2", "-Z", cipher, "-C", "c", "-q", "-t", "ed25519")
    assert ours(*secret, "-f", tmp_path / "mine", home=tmp_path).returncode == 0
    opened = run("-y", "-P", PASSPHRASE, "-f", tmp_path / "mine", home=tmp_path)
    assert opened.stdout == (tmp_path / "mine.pub").read_bytes()
    assert openssh_format.decode_container((tmp_path / "mine").read_bytes()).cipher == cipher
    run(*secret, "-f", tmp_path / "theirs", home=tmp_path)
    compare("-y", "-P", PASSPHRASE, "-f", tmp_path / "theirs", home=tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_read_by_the_other_side(tmp_path: Path, format: str) -> None:
    for passphrase in ("", PASSPHRASE):
        options = ("-t", "ecdsa", "-b", "384", "-m", format, "-N", passphrase, "-C", "c", "-q", "-a", "2")
        mine, theirs = tmp_path / f"mine{len(passphrase)}", tmp_path / f"theirs{len(passphrase)}"
        assert ours(*options, "-f", mine, home=tmp_path).returncode == 0
        run(*options, "-f", theirs, home=tmp_path)
        public = run("-y", "-P", passphrase, "-f", mine, home=tmp_path).stdout
        assert public.split()[:2] == Path(f"{mine}.pub").read_bytes().split()[:2]
        first = [path.read_bytes().split(b"\n", 1)[0] for path in (mine, theirs)]
        assert first[0] == first[1]
        compare("-y", "-P", passphrase, "-f", theirs, home=tmp_path)
        compare("-l", "-f", theirs, home=tmp_path)


def test_a_passphrase_that_pem_cannot_have_is_told(tmp_path: Path) -> None:
    for format in ("PEM", "PKCS8"):
        compare("-q", "-t", "ecdsa", "-m", format, "-N", "four", "-f", tmp_path / "key", home=tmp_path)
        assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [
    ("-t", "foo"), ("-t", "rsa", "-b", "1023"), ("-t", "rsa", "-b", "16385"), ("-t", "ecdsa", "-b", "255"),
    ("-b", "5", "-t", "rsa"), ("-Z", "foo"), ("-t", "ed25519", "-f", "nowhere/key"),
])  # fmt: skip
def test_refusals_are_in_ssh_keygens_words(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    compare("-q", "-N", "", "-f", tmp_path / "key", *arguments, home=tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "status", "words"), [
    (("-b", "x"), 255, "Bits has bad value x (invalid)"),
    (("-b", "0"), 255, "Bits has bad value 0 (too small)"),
    (("-b", "99999999999999999999999"), 255, "Bits has bad value 99999999999999999999999 (too large)"),
    (("-a", "0"), 255, "Invalid number: 0 (too small)"),
    (("-m", "x"), 255, 'Unsupported conversion format "x"'),
    (("-E", "x"), 255, 'Invalid hash algorithm "x"'),
    (("-p", "-c"), 1, "Can only have one of -p and -c."),
    (("-l", "-H"), 1, "Cannot use -l with -H or -R."),
    (("-l", "-R", "x"), 1, "Cannot use -l with -H or -R."),
    (("-l", "x"), 1, "Too many arguments."),
])  # fmt: skip
def test_wrong_command_lines_are_told_in_ssh_keygens_words(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    theirs = run(*arguments, home=tmp_path, check=False)
    mine = ours(*arguments, home=tmp_path)
    assert theirs.returncode == mine.returncode == status
    assert words in theirs.stderr.decode()
    assert mine.stderr.decode().splitlines()[0] == f"fastssh-keygen: {words}"


@pytest.mark.parametrize("arguments", [("-t", "dsa"), ("-t", "ed25519-sk"), ("-t", "ecdsa-sk"), ("-D", "x.so"), ("-K",),
                                       ("-M", "generate")])  # fmt: skip
def test_what_is_not_supported_is_refused_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = ours(*arguments, "-N", "", "-f", tmp_path / "key", home=tmp_path)
    assert refused.returncode == 255 and len(refused.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_the_usage_has_the_forms_that_scripts_look_for(tmp_path: Path) -> None:
    said = ours("-?", home=tmp_path)
    assert said.returncode == 1 and b"ssh-keygen -e" in said.stderr


_FLAGS = [option.flag for option in TOOL.options]


@given(st.lists(st.sampled_from(_FLAGS) | st.sampled_from(["1", "-1", "9" * 30, "x", "PEM", "md5", "", "--", "-\0"])))
def test_every_command_line_is_understood_or_refused(argv: list[str]) -> None:
    try:
        assert isinstance(read(argv), Arguments)
    except UsageError as error:
        assert str(error)
    except Asked:
        assert not argv  # none of them asks for it


@given(st.integers() | st.text(), st.integers(0, 100), st.integers(0, 100))
def test_numbers_are_in_their_range(number: int | str, low: int, more: int) -> None:
    try:
        assert low <= read_number(str(number), low, low + more) <= low + more
    except ValueError as error:
        assert str(error) in ("invalid", "too small", "too large")
        assert not (isinstance(number, int) and low <= number <= low + more)


# -- questions on standard input ---------------------------------------------------------------------------------------


def test_an_existing_file_is_overwritten_only_with_leave(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519")
    before = path.read_bytes()
    for answer in (b"n\n", b"\n", b""):
        compare("-N", "", "-t", "ed25519", "-f", path, home=tmp_path, stdin=answer)
        assert path.read_bytes() == before
    assert ours("-q", "-N", "", "-f", path, home=tmp_path, stdin=b"y\n").returncode == 0
    assert path.read_bytes() != before
    assert run("-y", "-f", path, home=tmp_path).stdout == Path(f"{path}.pub").read_bytes()


def test_the_file_is_asked_for_and_its_folder_made(tmp_path: Path) -> None:
    made = ours("-t", "ed25519", "-N", "", "-C", "c", home=tmp_path, stdin=b"\n")
    folder = tmp_path / ".ssh"
    assert modes(folder, folder / "id_ed25519") == [0o700, 0o600]
    assert made.stdout.decode().startswith(
        "Generating public/private ed25519 key pair.\n"
        f"Enter file in which to save the key ({folder}/id_ed25519): Created directory '{folder}'.\n"
    )
    assert ours("-N", "", home=tmp_path, stdin=b"").returncode == 1


# -- changing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of ssh-keygen's, with and without a passphrase, in all formats."""
    folder = tmp_path_factory.mktemp("made")
    keygen.make_key(folder / "open", "ed25519")
    keygen.make_key(folder / "locked", "ed25519", passphrase=PASSPHRASE)
    keygen.make_key(folder / "pem", "ecdsa", passphrase=PASSPHRASE, options=("-m", "PEM"))
    keygen.make_key(folder / "pkcs8", "rsa", 2048, options=("-m", "PKCS8"))
    return folder


def copied(folder: Path, name: str, place: Path) -> Path:
    for suffix in ("", ".pub"):
        shutil.copy(folder / f"{name}{suffix}", place / f"{name}{suffix}")
    return place / name


@pytest.mark.parametrize("name", ["open", "locked", "pem", "pkcs8"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_passphrase_is_changed_and_so_is_the_format(made: Path, tmp_path: Path, name: str, format: str) -> None:
    said = []
    for program in (run, ours):
        path = copied(made, name, tmp_path)
        options = ("-P", PASSPHRASE, "-N", "new one", "-a", "2", "-m", format)
        said.append(program("-p", *options, "-f", path, home=tmp_path).stdout)
        assert modes(path) == [0o600]
        opened = ours("-y", "-P", "new one", "-f", path, home=tmp_path).stdout
        assert opened.split()[:2] == Path(f"{path}.pub").read_bytes().split()[:2]
        if format != "PKCS8" or name in ("pem", "pkcs8"):  # Ed25519 in PKCS#8 is OpenSSH's since 9.6
            assert run("-y", "-P", "new one", "-f", path, home=tmp_path).stdout == opened
    assert said[0] == said[1]
    assert ours("-p", "-P", "new one", "-N", "", "-f", path, home=tmp_path).returncode == 0
    assert run("-y", "-f", path, home=tmp_path).returncode == 0


@pytest.mark.parametrize("arguments", [("-p", "-P", "wrong", "-N", "x"), ("-c", "-P", "wrong", "-C", "x")])
def test_a_wrong_passphrase_changes_nothing(made: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for name in ("locked", "pem"):
        path = copied(made, name, tmp_path)
        compare(*arguments, "-f", path, home=tmp_path)
        assert path.read_bytes() == (made / name).read_bytes()
        compare(*arguments, "-f", tmp_path / "missing", home=tmp_path)


def test_a_comment_is_changed_in_both_files(made: Path, tmp_path: Path) -> None:
    said: dict[object, list[bytes]] = {run: [], ours: []}
    files: dict[object, list[bytes]] = {run: [], ours: []}
    for program in (run, ours):
        for name in ("open", "locked"):
            path = copied(made, name, tmp_path)
            for new in ("new comment", "new comment", ""):
                changed = program("-c", "-P", PASSPHRASE, "-C", new, "-a", "2", "-f", path, home=tmp_path)
                said[program].append(changed.stdout)
                files[program].append(Path(f"{path}.pub").read_bytes())
                Path(f"{path}.pub").rename(tmp_path / "aside")
                line = run("-y", "-P", PASSPHRASE, "-f", path, home=tmp_path).stdout
                assert line.rstrip() == files[program][-1].rstrip()
                (tmp_path / "aside").rename(f"{path}.pub")
    assert said[run] == said[ours]
    assert files[run] == files[ours]


def test_a_comment_has_no_place_in_pem_and_is_asked_for(made: Path, tmp_path: Path) -> None:
    compare("-c", "-C", "x", "-m", "PKCS8", "-f", copied(made, "pkcs8", tmp_path), home=tmp_path)
    for program in (run, ours):  # without -m it becomes OpenSSH's own format
        changed = program("-c", "-C", "x", "-f", copied(made, "pkcs8", tmp_path), home=tmp_path)
        assert changed.stdout == b"No existing comment\nComment 'x' applied\n"
        assert load_private_key(tmp_path / "pkcs8").comment == "x"
    path = copied(made, "open", tmp_path)
    asked = ours("-c", "-f", path, home=tmp_path, stdin=b"typed\n")
    assert asked.stdout == b"Old comment: user@test\nNew comment: Comment 'typed' applied\n"
    assert load_private_key(path).comment == "typed"


def test_comments_that_are_not_text_survive(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("-q", "-t", "ed25519", "-N", "", "-C", b"caf\xe9".decode("utf-8", "surrogateescape"), "-f", path, home=tmp_path)
    before = Path(f"{path}.pub").read_bytes()
    assert before.endswith(b" caf\xe9\n")
    assert ours("-p", "-N", "", "-f", path, home=tmp_path).returncode == 0
    assert run("-y", "-f", path, home=tmp_path).stdout == before == ours("-y", "-f", path, home=tmp_path).stdout


# -- host keys ---------------------------------------------------------------------------------------------------------


def test_host_keys_that_are_missing_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "etc" / "ssh"
    folder.mkdir(parents=True)
    (folder / "ssh_host_ecdsa_key").touch()  # one without contents is missing
    ready = keygen.make_key(folder / "ssh_host_ed25519_key", "ed25519").read_bytes()
    made = ours("-A", "-f", tmp_path, home=tmp_path)
    assert made.stdout == b"fastssh-keygen: generating new host keys: RSA ECDSA \n"
    names = [f"ssh_host_{kind}_key{suffix}" for kind in ("ecdsa", "ed25519", "rsa") for suffix in ("", ".pub")]
    assert sorted(each.name for each in folder.iterdir()) == names
    assert (folder / "ssh_host_ed25519_key").read_bytes() == ready
    for kind in ("ecdsa", "rsa"):
        path = folder / f"ssh_host_{kind}_key"
        assert modes(path, path.with_suffix(".pub")) == [0o600, 0o644]
        assert run("-y", "-f", path, home=tmp_path).stdout == path.with_suffix(".pub").read_bytes()
    assert compare("-A", "-f", tmp_path, home=tmp_path).stdout == b""
    failed = ours("-A", "-f", tmp_path / "nowhere", home=tmp_path)
    assert failed.returncode == 1 and failed.stderr.count(b"No such file or directory") == 3


# -- the library -------------------------------------------------------------------------------------------------------


def test_the_library_makes_and_saves_keys(tmp_path: Path) -> None:
    key = fastssh.generate_private_key("ed25519", comment="mine")
    key.save(tmp_path / "key", b"secret", rounds=2)
    key.public.save(tmp_path / "key.pub", key.comment)
    assert modes(tmp_path / "key", tmp_path / "key.pub") == [0o600, 0o644]
    line = run("-y", "-P", "secret", "-f", tmp_path / "key", home=tmp_path).stdout
    assert line == (tmp_path / "key.pub").read_bytes()
    assert fastssh.load_public_key(tmp_path / "key") == (key.public, "mine")
    (tmp_path / "key.pub").unlink()
    assert fastssh.load_public_key(tmp_path / "key") == (key.public, "")
    with pytest.raises(fastssh.KeyFormatError):
        key.save(tmp_path / "key", format="pem")
    assert fastssh.load_private_key(tmp_path / "key", b"secret").comment == "mine"


def test_row24_a_key_is_private_from_its_first_byte_and_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519")
    before = path.read_bytes()
    seen = []

    def full(descriptor: int, data: bytes) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        os.write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_all", full)
    umask = os.umask(0)
    try:
        for arguments in (("-p", "-N", "other"), ("-c", "-C", "other")):
            failed = ours(*arguments, "-f", path, home=tmp_path)
            said = f'Saving key "{path}" failed: No space left on device\n'
            assert (failed.returncode, failed.stderr.decode()) == (1, said)
        assert ours("-q", "-N", "", "-f", tmp_path / "new", home=tmp_path).returncode == 1
    finally:
        os.umask(umask)
    assert seen == [0o600] * 3
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "key.pub"]


def test_a_file_stays_its_owners(tmp_path: Path) -> None:
    """Root may change a user's key, and the user goes on to use it."""
    path = keygen.make_key(tmp_path / "key", "ed25519")
    owner = 65534 if os.geteuid() == 0 else os.getuid()
    os.chown(path, owner, -1)
    assert ours("-p", "-N", "", "-f", path, home=tmp_path).returncode == 0
    assert ours("-c", "-C", "new", "-f", path, home=tmp_path).returncode == 0
    assert (path.stat().st_uid, modes(path)) == (owner, [0o600])


def test_row24_what_has_no_end_is_not_read_to_it(tmp_path: Path) -> None:
    for arguments in (("-y",), ("-l",), ("-e",), ("-i",), ("-p", "-N", ""), ("-c", "-C", "")):
        refused = ours(*arguments, "-f", "/dev/zero", home=tmp_path)
        assert refused.returncode == 255 and b"larger than" in refused.stderr


def test_row19_a_comment_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "key"
    fastssh.generate_private_key("ed25519", comment="\x1b]0;x\x07\u202e").save(path)
    for arguments in (("-l",), ("-p", "-N", ""), ("-c", "-C", "\x1b[2J")):
        said = ours(*arguments, "-f", path, home=tmp_path)
        assert said.returncode == 0 and b"\\033" in said.stdout
        assert said.stdout.decode().replace("\n", "").isprintable()


def test_other_programs_read_what_is_made(made: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    paths = [tmp_path / "ed25519", tmp_path / "ecdsa", copied(made, "pkcs8", tmp_path)]
    for path in paths:
        how = ("-p",) if path.exists() else ("-q", "-t", path.name)
        assert ours(*how, "-N", PASSPHRASE, "-a", "2", "-f", path, home=tmp_path).returncode == 0
        blob = Path(f"{path}.pub").read_text().split()[1]
        assert asyncssh.read_private_key(path, PASSPHRASE).export_public_key().split()[1].decode() == blob
        assert paramiko.PKey.from_path(path, PASSPHRASE.encode()).get_base64() == blob
        puttygen = [peers.program("puttygen", "putty-tools"), path, "-O", "public-openssh"]
        read = subprocess.run(
            [*puttygen, "--old-passphrase", tmp_path / "passphrase"], capture_output=True, check=True, timeout=60
        )
        assert read.stdout.decode().split()[1] == blob


# -- security keys -----------------------------------------------------------------------------------------------------

SK_PROVIDER = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")


if SK_PROVIDER.exists():  # what only machines with openssh-tests have is no requirement

    @pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
    def test_security_keys_are_changed_though_not_made(tmp_path: Path, kind: str) -> None:
        path = tmp_path / "key"
        run("-q", "-w", SK_PROVIDER, "-t", kind, "-N", "", "-C", "c", "-f", path, home=tmp_path)
        public = Path(f"{path}.pub").read_bytes()
        sealed = openssh_format.decode_container(path.read_bytes()).sealed
        assert ours("-p", "-N", PASSPHRASE, "-a", "2", "-m", "PEM", "-f", path, home=tmp_path).returncode == 0
        assert run("-y", "-P", PASSPHRASE, "-f", path, home=tmp_path).stdout == public
        assert ours("-p", "-P", PASSPHRASE, "-N", "", "-f", path, home=tmp_path).returncode == 0
        assert openssh_format.decode_container(path.read_bytes()).sealed[8:] == sealed[8:]
        compare("-y", "-f", path, home=tmp_path)
        compare("-l", "-f", path, home=tmp_path)
        compare("-e", "-f", path, home=tmp_path)
        with pytest.raises(fastssh.KeyFormatError, match="security keys are not supported here"):
            load_private_key(path)
