"""fastssh-keygen asks what ssh-keygen asks: at the terminal, of SSH_ASKPASS, or of nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support import keygen
from tests.support.keygen import run
from tests.support.peers import clean_environment

PROGRAM = Path(sys.executable).with_name("fastssh-keygen")
SECONDS = 30
Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(*arguments): fastssh-keygen on a terminal."""
    running: list[pexpect.spawn[str]] = []

    def start_it(*arguments: str | Path) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            str(PROGRAM), [*map(str, arguments)], cwd=tmp_path, timeout=SECONDS, env=clean_environment(tmp_path),
            encoding="utf-8",
        )  # fmt: skip
        child.delaybeforesend = None
        running.append(child)
        return child

    yield start_it
    for child in running:
        child.close(force=True)


def answer(child: pexpect.spawn[str], *dialogue: tuple[str, str]) -> None:
    """What is asked, word for word, and what is typed."""
    for question, typed in dialogue:
        child.expect_exact(question)
        child.sendline(typed)


def end(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    assert "Traceback" not in (child.before or "")
    return child.exitstatus


FIRST, AGAIN = "Enter passphrase (empty for no passphrase): ", "Enter same passphrase again: "


def test_a_key_pair_is_made_in_a_dialogue(start: Start, tmp_path: Path) -> None:
    child = start("-t", "ed25519", "-a", "2", "-C", "me")
    answer(
        child,
        (f"Enter file in which to save the key ({tmp_path}/.ssh/id_ed25519): ", str(tmp_path / "key")),
        (FIRST, "first"),
        (AGAIN, "second"),
    )
    child.expect_exact("Passphrases do not match.  Try again.")
    answer(child, (FIRST, "a passphrase"), (AGAIN, "a passphrase"))
    child.expect_exact(f"Your identification has been saved in {tmp_path}/key")
    assert end(child) == 0
    opened = run("-y", "-P", "a passphrase", "-f", tmp_path / "key", home=tmp_path).stdout
    assert opened == (tmp_path / "key.pub").read_bytes()

    child = start("-p", "-a", "2")
    answer(
        child,
        (f"Enter file in which the key is ({tmp_path}/.ssh/id_ed25519): ", str(tmp_path / "key")),
        ("Enter old passphrase: ", "a passphrase"),
    )
    child.expect_exact("Key has comment 'me'")
    answer(child, ("Enter new passphrase (empty for no passphrase): ", "x"), (AGAIN, "y"))
    child.expect_exact("Pass phrases do not match.  Try again.")
    assert end(child) == 1

    child = start("-c", "-f", tmp_path / "key", "-a", "2")
    answer(child, ("Enter passphrase: ", "a passphrase"), ("New comment: ", "mine"))
    child.expect_exact("Comment 'mine' applied")
    assert end(child) == 0
    assert run("-y", "-P", "a passphrase", "-f", tmp_path / "key", home=tmp_path).stdout.endswith(b" mine\n")


def test_passphrases_are_not_shown_and_echo_comes_back(start: Start, tmp_path: Path) -> None:
    keygen.make_key(tmp_path / "key", "ed25519", passphrase="sesame")
    child = start("-y", "-f", tmp_path / "key")
    child.expect_exact("Enter passphrase: ")
    assert child.waitnoecho(SECONDS)
    child.sendline("sesame")
    child.expect("ssh-ed25519 [^\r]* user@test\r\n")
    assert "sesame" not in (child.before or "")
    assert end(child) == 0

    child = start("-y", "-f", tmp_path / "key")
    child.expect_exact("Enter passphrase: ")
    assert child.waitnoecho(SECONDS)
    child.sendintr()
    child.expect_exact("fastssh-keygen: interrupted")
    assert child.getecho()
    assert end(child) == 130


def without_terminal(tmp_path: Path, *arguments: str | Path, stdin: bytes = b"", **extra: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=SECONDS, start_new_session=True,
        env=clean_environment(tmp_path, **extra),
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_without_a_terminal_one_line_says_so(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519", passphrase="sesame")
    status, _, said = without_terminal(tmp_path, "-y", "-f", path)
    assert (status, said) == (1, "no terminal to ask for 'Enter passphrase:', and nothing on standard input\n")
    status, _, said = without_terminal(tmp_path, "-t", "ed25519", "-f", tmp_path / "new")
    assert status == 1 and said.startswith("no terminal to ask for") and len(said.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_without_a_terminal_standard_input_answers(tmp_path: Path) -> None:
    made = without_terminal(tmp_path, "-t", "ed25519", "-f", tmp_path / "key", "-a", "2", stdin=b"sesame\nsesame\n")
    assert made[0] == 0
    status, line, _ = without_terminal(tmp_path, "-y", "-f", tmp_path / "key", stdin=b"sesame\n")
    assert (status, line) == (0, (tmp_path / "key.pub").read_text())


def test_ssh_askpass_is_asked(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519", passphrase="sesame")
    program = tmp_path / "askpass"
    program.write_text('#!/bin/sh\necho "$1" >> "$0.asked"\necho sesame\n')
    program.chmod(0o755)
    extra = {"SSH_ASKPASS": os.fspath(program), "SSH_ASKPASS_REQUIRE": "force"}
    status, line, _ = without_terminal(tmp_path, "-y", "-f", path, **extra)
    assert (status, line) == (0, Path(f"{path}.pub").read_text())
    assert Path(f"{program}.asked").read_text() == "Enter passphrase: \n"


def test_keys_come_from_pipes_as_well(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519")
    for arguments in (("-y",), ("-l",), ("-e",)):
        piped = without_terminal(tmp_path, *arguments, "-f", "/dev/stdin", stdin=path.read_bytes())
        assert piped == without_terminal(tmp_path, *arguments, "-f", path)


def test_nobody_is_told_that_nobody_reads(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "key", "ed25519")
    for arguments in (("-l",), ("-y",)):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [PROGRAM, *arguments, "-f", path], stdout=writing, stderr=subprocess.PIPE, timeout=SECONDS,
            env=clean_environment(tmp_path),
        )  # fmt: skip
        os.close(writing)
        assert (done.returncode, done.stderr) == (1, b"")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [PROGRAM, "-y", "-f", path], stdout=full, stderr=subprocess.PIPE, timeout=SECONDS,
            env=clean_environment(tmp_path),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"fastssh-keygen: standard output: No space left on device\n")
