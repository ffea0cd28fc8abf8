"""fastssh-copy-id: keys get in once, whatever was there, by commands and over SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import hypothesis
import hypothesis.strategies as st
import pytest

from fastssh.cli.copy_id import arguments, install
from fastssh.cli.copy_id.keys import from_agent
from fastssh.cli.tool import UsageError
from tests.conftest import FastsshdFactory
from tests.support import keygen, openssh, peers
from tests.support.peers import PASSWORD, Peer, clean_environment, program

FASTSSH_COPY_ID = Path(sys.executable).parent / "fastssh-copy-id"
SECONDS = 60
NOBODY = 65534


@dataclass
class Person:
    """Somebody with a home, a password and a key that no server knows; ``asked`` counts what they were asked."""

    home: Path
    peer: Peer
    agent: str = ""

    @classmethod
    def at(cls, home: Path, peer: Peer) -> Person:
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        askpass = home / "askpass"
        askpass.write_text(f"#!/bin/sh\necho \"$1\" >> {home}/asked\necho '{PASSWORD}'\n")
        askpass.chmod(0o700)
        return cls(home, peer)

    def key(self, name: str = "id_ed25519", **options: str) -> Path:
        return keygen.make_key(self.home / ".ssh" / name, "ed25519", **options)  # type: ignore[arg-type]

    @property
    def asked(self) -> list[str]:
        path = self.home / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        peer = self.peer
        environment = clean_environment(
            self.home, SSH_ASKPASS=str(self.home / "askpass"), SSH_ASKPASS_REQUIRE="force", SSH_AUTH_SOCK=self.agent
        )
        settings = (f"UserKnownHostsFile={peer.known_hosts}", "GlobalKnownHostsFile=none", f"User={peer.user}")
        words = [word for setting in settings for word in ("-o", setting)]
        return subprocess.run(
            [FASTSSH_COPY_ID, "-p", str(peer.port), *words, *options, peer.host], env=environment, timeout=SECONDS,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip

    def gets_in(self, key: Path) -> bool:
        options = ("-o", "IdentitiesOnly=yes", "-i", str(key))
        return openssh.ssh(self.peer, "true", options=options).returncode == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    directory = tmp_path_factory.mktemp("server")
    peer = peers.start_sshd(directory, home=directory / "home", AuthorizedKeysFile="%h/.ssh/authorized_keys")
    yield peer
    peer.stop()


@pytest.fixture
def person(server: Peer, tmp_path: Path) -> Person:
    """Of a server whose account has no keys at all."""
    file = authorized(server)
    file.unlink(missing_ok=True)
    if file.parent.exists():
        file.parent.chmod(0o755)
        file.parent.rmdir()
    return Person.at(tmp_path / "person", server)


def authorized(server: Peer) -> Path:
    return server.directory / "home" / ".ssh" / "authorized_keys"


def modes(path: Path) -> tuple[int, int]:
    return stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def agent(socket: Path, keys: list[Path]) -> Iterator[str]:
    """One that holds ``keys``; its socket."""
    with subprocess.Popen([program("ssh-agent", "openssh-client"), "-D", "-a", str(socket)], stdout=-3) as process:
        try:
            while not socket.exists():
                assert process.poll() is None
            add = [program("ssh-add", "openssh-client"), "-q", *map(str, keys)]
            subprocess.run(add, env={"SSH_AUTH_SOCK": str(socket)}, check=True)
            yield str(socket)
        finally:
            process.terminate()


@pytest.mark.parametrize("way", [(), ("-s",)], ids=["sh", "sftp"])
def test_a_key_is_installed_once_and_the_password_asked_for_once(person: Person, way: tuple[str, ...]) -> None:
    key, file = person.key(), authorized(person.peer)
    line = key.with_suffix(".pub").read_text()
    first = person.run(*way)
    assert first.returncode == 0, first.stderr
    assert "\nNumber of key(s) added: 1\n\nNow try logging into the machine, with: " in first.stdout
    assert "Source of key(s) to be installed: " in first.stderr and "1 key(s) remain to be installed" in first.stderr
    assert file.read_text() == line and modes(file) == (0o700, 0o600) and len(person.asked) == 1
    assert [each.name for each in file.parent.iterdir()] == ["authorized_keys"]
    assert person.gets_in(key)

    second = person.run(*way)
    assert second.returncode == 0 and second.stdout == ""
    assert "WARNING: All keys were skipped because they already exist on the remote system." in second.stderr
    assert file.read_text() == line and len(person.asked) == 1

    forced = person.run(*way, "-f")
    assert forced.returncode == 0 and file.read_text() == line * 2


@pytest.mark.parametrize("way", [(), ("-s",)], ids=["sh", "sftp"])
def test_what_was_there_stays(person: Person, way: tuple[str, ...]) -> None:
    """A last line without its newline, open modes, and a file that is a link."""
    person.key()
    file = authorized(person.peer)
    file.parent.mkdir(mode=0o755)
    there = file.parent / "elsewhere"
    there.write_text("# no newline at the end \\n $(here) \\\\")
    there.chmod(0o644)
    file.symlink_to("elsewhere")
    done = person.run(*way, "-i", str(person.home / ".ssh/id_ed25519"))
    assert done.returncode == 0, done.stderr
    assert f"with: \"fastssh{'-sftp' if way else ''} -i " in done.stdout
    line = (person.home / ".ssh/id_ed25519.pub").read_text()
    assert there.read_text() == f"# no newline at the end \\n $(here) \\\\\n{line}"
    assert file.is_symlink() and modes(there) == (0o700, 0o600)
    there.unlink()


def test_an_account_without_a_shell(start_fastsshd: FastsshdFactory, tmp_path: Path) -> None:
    """A user of fastsshd's who has a folder and SFTP, and nothing else."""
    root, users = tmp_path / "root", tmp_path / "users"
    root.mkdir()
    if os.getuid() == 0:
        os.chown(root, NOBODY, NOBODY)  # files are served as the owner, which root may not be
    users.write_text(f"ann:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}:{root}:rw\n")
    users.chmod(0o600)
    peer = replace(start_fastsshd(UsersFile=users), user="ann")
    person = Person.at(tmp_path / "person", peer)
    line = person.key().with_suffix(".pub").read_text()
    shell = person.run()
    assert shell.returncode == 1 and "fastssh-copy-id: ERROR: " in shell.stderr and "Traceback" not in shell.stderr
    done = person.run("-s")
    assert done.returncode == 0 and "Number of key(s) added: 1" in done.stdout, done.stderr
    file = root / ".ssh" / "authorized_keys"
    assert file.read_text() == line and modes(file) == (0o700, 0o600)


def test_a_dry_run_only_tells(person: Person) -> None:
    line = person.key().with_suffix(".pub").read_text()
    done = person.run("-n")
    assert done.stdout == f"=-=-=-=-=-=-=-=\nWould have added the following key(s):\n\n{line}=-=-=-=-=-=-=-=\n"
    assert done.returncode == 0 and not authorized(person.peer).exists() and person.asked == []


def test_keys_of_an_agent_are_installed_but_for_those_that_are_there(person: Person, tmp_path: Path) -> None:
    keys = [person.key(name) for name in ("one", "two")]
    file = authorized(person.peer)
    file.parent.mkdir(mode=0o700)
    file.write_text(keys[0].with_suffix(".pub").read_text())
    with agent(tmp_path / "agent", keys) as person.agent:
        done = person.run()
    assert done.returncode == 0, done.stderr
    assert "Source of key(s) to be installed: ssh-add -L\n" in done.stderr
    assert "Number of key(s) added: 1\n" in done.stdout
    assert [line.split()[2] for line in file.read_text().splitlines()] == ["user@test", "user@test"]
    assert person.asked == [] and person.gets_in(keys[1])  # the key that was there opened the door


def test_certificates_of_an_agent_are_no_keys_to_install(person: Person, tmp_path: Path) -> None:
    key = person.key()
    public = key.with_suffix(".pub")
    signing = program("ssh-keygen", "openssh-client")
    subprocess.run([signing, "-q", "-s", key, "-I", "id", public], check=True)
    with agent(tmp_path / "agent", [key]) as socket:
        assert [each.line for each in asyncio.run(from_agent(socket)).keys] == [public.read_text().strip()]


def test_many_keys_are_tried_over_few_connections(person: Person, tmp_path: Path) -> None:
    keys = [person.key(f"key{number}") for number in range(7)]
    there = (2, 6)
    file = authorized(person.peer)
    file.parent.mkdir(mode=0o700)
    file.write_text("".join(keys[number].with_suffix(".pub").read_text() for number in there))
    with agent(tmp_path / "agent", keys) as person.agent:
        before = person.peer.log.read_text().count("\nConnection from")
        done = person.run("-n")
        made = person.peer.log.read_text().count("\nConnection from") - before
    assert done.returncode == 0 and "INFO: 5 key(s) remain" in done.stderr, done.stderr
    wanted = {key.with_suffix(".pub").read_text().split()[1] for number, key in enumerate(keys) if number not in there}
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("ssh-")} == wanted
    assert made == 3  # two that let somebody in, and one that did not


def test_nobody_types_a_passphrase_to_find_out_that_a_key_is_there(person: Person) -> None:
    key = person.key("id_locked", passphrase="other")
    file = authorized(person.peer)
    file.parent.mkdir(mode=0o700)
    file.write_text(key.with_suffix(".pub").read_text())
    done = person.run("-i", str(key))
    assert "All keys were skipped" in done.stderr and done.returncode == 0 and person.asked == []


def test_another_path_is_made_with_its_folders(person: Person) -> None:
    person.key()
    file = person.peer.directory / "home" / "it's a" / "place"
    done = person.run("-t", "it's a/place")
    assert done.returncode == 0 and modes(file) == (0o700, 0o600), done.stderr
    file.unlink()


@pytest.mark.parametrize("way", [(), ("-s",)], ids=["sh", "sftp"])
def test_a_file_of_another_place_stays_readable_for_its_user(person: Person, way: tuple[str, ...]) -> None:
    """Of root's files sshd reads those of users as the user, who must not be locked out."""
    line = person.key().with_suffix(".pub").read_text()
    file = person.peer.directory / "home" / "keys" / "ann"
    file.parent.mkdir()
    file.write_text("# ann\n")
    file.chmod(0o664)
    if os.getuid() == 0:
        os.chown(file, NOBODY, NOBODY)
    owner = file.stat().st_uid
    done = person.run("-t", "keys/ann", *way)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == f"# ann\n{line}" and stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_uid == owner and os.listdir(file.parent) == ["ann"]
    shutil.rmtree(file.parent)


def test_what_cannot_be_done_is_said_in_a_line(person: Person, tmp_path: Path) -> None:
    none = person.run()
    assert none.returncode == 1 and none.stderr == "fastssh-copy-id: ERROR: No identities found\n"
    missing = person.run("-i", str(tmp_path / "key"))
    assert "ERROR: failed to open ID file" in missing.stderr and missing.returncode == 1
    key = person.key()
    file = authorized(person.peer)
    file.mkdir(parents=True)
    for way in ((), ("-s",)):
        done = person.run("-f", *way)
        assert done.returncode == 1 and "ERROR: " in done.stderr and "Traceback" not in done.stderr
        assert [each.name for each in file.parent.iterdir()] == ["authorized_keys"]
    file.rmdir()
    key.unlink()
    alone = person.run("-i", str(key))
    assert "(to install the public key anyway, look at the -f option)" in alone.stderr and alone.returncode == 1


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "tcsh", "busybox"])
@pytest.mark.parametrize("before", [None, b"", b"a\n", b"b"])
def test_any_login_shell_runs_the_commands(shell: str, before: bytes | None, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"not here: {shell}")
    file = tmp_path / ".ssh" / "authorized_keys"
    if before is not None:
        file.parent.mkdir()
        file.write_bytes(before)
    data = "one %s \\n $HOME `id` ! 'ä'\ntwo\n".encode()
    words = [shell, *(["sh"] if shell == "busybox" else []), "-c", install.command(arguments.TARGET, data)]
    for sent, status in ((data[:-5], 1), (data, 0)):
        done = subprocess.run(words, input=sent, env=clean_environment(tmp_path), capture_output=True, timeout=SECONDS)
        assert done.returncode == status, done.stderr
        if status:
            assert b"the keys did not arrive whole" in done.stderr
            assert (file.read_bytes() if file.exists() else None) == before
    assert file.read_bytes() == {None: b"", b"": b"", b"a\n": b"a\n", b"b": b"b\n"}[before] + data


@pytest.mark.parametrize(
    ("argv", "identity", "host"),
    [
        (["h"], None, "h"),
        (["-i", "h"], "", "h"),
        (["-i", "k", "h"], "k", "h"),
        (["-i", "-f", "h"], "", "h"),
        (["-fi", "k", "h"], "k", "h"),
        (["-if", "h"], "", "h"),
        (["-i", "k", "-p22", "h"], "k", "h"),
        (["-i", "--", "h"], "", "h"),
        (["-o", "A=b", "-si", "h"], "", "h"),
    ],
)
def test_the_file_of_i_is_optional(argv: list[str], identity: str | None, host: str) -> None:
    found = arguments.read(argv)
    assert (found.identity, found.host) == (identity, host)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "a host is needed"),
        (["a", "b"], "ERROR: Too many arguments.  Expecting a target hostname, got: a b"),
        (["-i", "k", "-i", "k", "h"], "ERROR: -i option must not be specified more than once"),
        (["-p", "0", "h"], "bad port '0'"),
        (["-t", "", "h"], "ERROR: bad target path ''"),
        (["-h"], arguments.TOOL.summary),
        (["-?"], "unknown option -- ?"),
        (["-o"], "option requires an argument -- o"),
    ],
)
def test_command_lines_that_make_no_sense(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        arguments.read(argv)
    assert str(raised.value) == words


@hypothesis.given(st.lists(st.text("-ifosp?hx =a", max_size=5), max_size=6))
def test_any_command_line_is_understood_or_refused(argv: list[str]) -> None:
    try:
        assert arguments.read(argv).host
    except UsageError as error:
        assert str(error)
