"""fastssh-sftp at a terminal: the prompt, what it completes, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli.sftp.commands import Side
from fastssh.cli.sftp.completion import choices
from fastssh.cli.sftp.editing import MAX_SHOWN, listed
from fastssh.cli.sftp.words import plain, split
from fastssh.sftp import glob
from tests.conftest import SshdFactory
from tests.support.copying import random_file
from tests.support.peers import PASSWORD, Peer, clean_environment, sftp_server
from tests.support.sftp_tool import FASTSSH_SFTP

SECONDS = 30
Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(*arguments): fastssh-sftp on a terminal of 80 columns, at its first prompt, in tmp_path."""
    running: list[pexpect.spawn[str]] = []

    def start_it(*arguments: str | os.PathLike[str], first: str = "sftp> ") -> pexpect.spawn[str]:
        environment = clean_environment(tmp_path) | {"TERM": "xterm", "LANG": "C.UTF-8"}
        child = pexpect.spawn(
            os.fspath(FASTSSH_SFTP), list(map(os.fspath, arguments)), cwd=os.fspath(tmp_path), env=environment,
            encoding="utf-8", codec_errors="replace", timeout=SECONDS, dimensions=(24, 80), echo=True,
        )  # fmt: skip
        running.append(child)
        child.expect_exact(first)
        return child

    yield start_it
    for child in running:
        child.close(force=True)


def answer(child: pexpect.spawn[str], line: str) -> str:
    """What is said of a line, until the next prompt; control sequences of the terminal taken out."""
    child.sendline(line)
    child.expect_exact("\n")
    child.expect_exact("sftp> ")
    assert child.before is not None
    return re.sub(r"\x1b\[\??[0-9;]*[a-zA-Z]", "", child.before).replace("\r\n", "\n")


def test_lines_are_edited_completed_and_remembered(start: Start, tmp_path: Path) -> None:
    for name in ("alpha", "alphabet", "beta file", "it's"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dir one").mkdir()
    (tmp_path / "dir one/inside").write_text("")
    child = start("-D", sftp_server())
    assert answer(child, "pwd") == f"Remote working directory: {tmp_path}\n"
    child.send("rm be\t")
    child.expect_exact("beta\\ file ")
    assert answer(child, "") == f"Removing {tmp_path}/beta file\n"
    child.send("ls -1 al\t")
    child.expect(r"alpha +alphabet +\r\nsftp> ls -1 alpha")
    assert answer(child, "bet") == "alphabet\n"
    child.send("get -p \"it'\t")
    child.expect_exact("\"it's\" ")
    assert answer(child, "copy").startswith(f"Fetching {tmp_path}/it's to copy\n")
    assert (tmp_path / "copy").read_text() == "it's"
    child.send("lcd 'dir\t")
    child.expect_exact("lcd 'dir one/")
    assert answer(child, "'") == ""
    child.send("lp\t")
    child.expect_exact("lpwd ")
    assert answer(child, "") == f"Local working directory: {tmp_path}/dir one\n"
    child.send("\x1b[A")  # the arrow up: the line before
    child.expect_exact("lpwd")
    assert answer(child, "") == f"Local working directory: {tmp_path}/dir one\n"
    child.send("put \t")
    child.expect_exact("put inside ")
    child.send("\x15")  # Ctrl-U
    assert answer(child, "version") == "SFTP protocol version 3\n"
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert not (tmp_path / ".history").exists()


def test_ctrl_c_gives_up_a_line_and_columns_follow_the_terminal(start: Start, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"a-longer-name-{number}").write_text("")
    child = start("-D", sftp_server())
    assert answer(child, "ls").count("\n") == 2
    child.send("rm *")
    child.expect_exact("rm *")
    child.sendintr()
    child.expect_exact("sftp> ")
    assert len(list(tmp_path.iterdir())) >= 6
    child.setwinsize(24, 40)
    child.sendline("version")  # the prompt may be drawn again meanwhile
    child.expect_exact("protocol version 3\r\n")
    child.expect_exact("sftp> ")
    assert answer(child, "ls").count("\n") == 3
    assert answer(child, "!stty -a | grep -c ' echo '") == "1\n"  # a program finds the terminal as it was
    assert "Invalid command" in answer(child, "rubbish")
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_ends_a_transfer_and_keeps_the_session(start: Start, sshd: Peer, tmp_path: Path) -> None:
    random_file(sshd.root / "slow", 3_000_000)
    random_file(tmp_path / "up", 3_000_000)
    child = start("-F", "/dev/null", *sshd.options(), "-l", "2400", f"{sshd.host}:{sshd.root}")
    for line, name, place in (("get slow", "slow", tmp_path), ("put up", "up", sshd.root)):
        child.sendline(line)
        child.expect(rf"{name} .* [1-9]\d?%")  # the bar
        child.sendintr()
        child.expect_exact("Interrupt")
        child.expect_exact("sftp> ")
        whole = (sshd.root / "slow" if name == "slow" else tmp_path / "up").read_bytes()
        left = (place / name).read_bytes()
        assert 0 < len(left) < len(whole)
        assert left == whole[: len(left)]
    assert answer(child, "pwd") == f"Remote working directory: {sshd.root}\n"
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_password_is_asked_for_before_the_first_prompt(sshd_password: Peer, start: Start, tmp_path: Path) -> None:
    settings = {"Port": sshd_password.port, "User": sshd_password.user, "PubkeyAuthentication": "no",
                "UserKnownHostsFile": sshd_password.known_hosts, "GlobalKnownHostsFile": "none"}  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    child = start("-F", "/dev/null", *options, sshd_password.host, first="password: ")
    child.sendline(PASSWORD)
    child.expect_exact("sftp> ")
    assert PASSWORD not in (child.before or "")
    assert f"Connected to {sshd_password.host}." in (child.before or "")
    assert answer(child, "version") == "SFTP protocol version 3\n"


def test_a_connection_that_was_lost_ends_the_session_with_a_word(start: Start, start_sshd: SshdFactory) -> None:
    server = start_sshd()
    child = start("-F", "/dev/null", *server.options(), server.host)
    for pid in server.sessions():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    child.sendline("pwd")
    child.expect("Remote working directory")
    child.sendline("ls")
    child.expect_exact("Connection closed: ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 255


def test_the_terminal_is_as_it_was_after_a_signal(start: Start, tmp_path: Path) -> None:
    child = start("-D", sftp_server())
    child.kill(15)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 128 + 15


def test_a_signal_while_names_are_looked_up_is_not_lost(start: Start, tmp_path: Path) -> None:
    """readline swallows what is raised under it."""
    child = start("-D", sftp_server())
    server = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])
    os.kill(server, signal.SIGSTOP)  # an answer is waited for
    child.send("ls x\t")
    assert child.expect_exact(["\a", pexpect.TIMEOUT], timeout=0.3) == 1
    child.kill(15)
    os.kill(server, signal.SIGCONT)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 128 + 15


# -- completion, without a terminal ------------------------------------------------------------------------------------

FILES = {Side.REMOTE: ["/home/x/one", "/home/x/o ther/", "/home/x/*star"], Side.LOCAL: ["two", "t#ree"]}


def names(side: Side, pattern: str) -> list[str]:
    wanted = glob.Pattern(pattern.rpartition("/")[2])
    return [name for name in FILES[side] if wanted.matches(name.rstrip("/").rpartition("/")[2])]


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("ge", ["get "]),
        ("L", ["lcd ", "lchdir ", "lls ", "lmkdir ", "ln ", "lpwd ", "ls ", "lumask "]),
        ("-@ren", ["-@rename "]),
        ("get o", ["get one ", "get o\\ ther/"]),
        ("get 'o", ["get 'one' ", "get 'o ther/"]),
        ('ls -l "o', ['ls -l "one" ', 'ls -l "o ther/']),
        ("get one t", ["get one two ", "get one t\\#ree "]),
        ("put t", ["put two ", "put t\\#ree "]),
        ("put two o", ["put two one ", "put two o\\ ther/"]),
        ("get one two x", []),
        ("rm sub/\\*", ["rm sub/\\*star "]),
        ("chmod 644 on", ["chmod 644 one "]),
        ("chmod ", []),
        ("get o*", ["get o*", "get o*"]),  # a list, and the line as it is
        ("!ls o", []),
        ("rubbish o", []),
        ("get one # o", []),
        ("# g", []),
        ("pwd o", []),
    ],
)
def test_a_line_is_completed_with_what_its_command_takes(line: str, becomes: list[str]) -> None:
    found = choices(line, names)
    assert sorted(found.lines) == sorted(becomes)


@given(st.text("abgetls \\'\"*?[]#!-@/", max_size=25))
def test_completing_never_fails_and_never_takes_back_what_stands_before(line: str) -> None:
    asked: list[str] = []

    def nothing(side: Side, pattern: str) -> list[str]:
        asked.append(pattern)
        return ["x y", "x'z/"]

    found = choices(line, nothing)
    for whole in found.lines:
        if not asked or not glob.is_literal(asked[0][:-1]):
            continue
        words = split(whole if whole.endswith((" ", "/")) and not _open(whole) else whole + _open(whole))
        assert plain(words[-1]).endswith(("x y", "x'z/"))


def _open(line: str) -> str:
    """The quotation mark that ``line`` waits for."""
    from fastssh.cli.sftp.words import scan

    found = scan(line, partial=True)
    return found.quote if found.open else ""


def test_row19_a_servers_names_are_listed_without_their_control_characters() -> None:
    found = choices("get ", lambda side, pattern: ["\x1b[31mred", "a\nb"])
    assert "\x1b" not in listed(found)
    assert listed(found).count("\n") == 1
    many = choices("get ", lambda side, pattern: [f"n{number}" for number in range(MAX_SHOWN + 5)])
    assert listed(many).endswith("... and 5 more\n")
