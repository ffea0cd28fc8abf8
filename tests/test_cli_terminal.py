"""fastssh-scp on a terminal: the progress line, questions and answers, Ctrl-C, and echo that always comes back."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import stat
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from fastssh.cli import terminal
from fastssh.cli.messages import Messages
from fastssh.cli.terminal import _run_askpass
from tests.support.copying import FASTSSH_SCP, random_file
from tests.support.peers import PASSWORD, Keys, Peer, clean_environment, program

SECONDS = 60
Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(*arguments, **environment): fastssh-scp on a terminal of 100 columns."""
    running: list[pexpect.spawn[str]] = []

    def start_it(*arguments: str | os.PathLike[str], **environment: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            str(FASTSSH_SCP), ["-F", "none", *map(os.fspath, arguments)], cwd=tmp_path, timeout=SECONDS,
            env=clean_environment(tmp_path) | {"TERM": "xterm", "LANG": "C.UTF-8"} | environment,
            dimensions=(24, 100), encoding="utf-8",
        )
        child.delaybeforesend = None
        running.append(child)
        return child

    yield start_it
    for child in running:
        child.close(force=True)


def small(peer: Peer) -> str:
    """The name of a small file on the server."""
    (peer.root / "small").write_text("small")
    return peer.remote(peer.root / "small")


def end(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    """(exit status, what was written since the last match); no traceback, and echo is on."""
    child.expect(pexpect.EOF)
    text = child.before or ""
    child.wait()
    assert "Traceback" not in text
    return child.exitstatus, text


def key_of(keys: Keys, directory: Path, passphrase: str) -> Path:
    """The user key that servers know, under a passphrase."""
    path = directory / "encrypted"
    path.write_bytes(keys.user("ed25519").read_bytes())
    path.chmod(0o600)
    keygen = program("ssh-keygen", "openssh-client")
    subprocess.run([keygen, "-q", "-p", "-f", path, "-P", "", "-N", passphrase, "-a", "2"], check=True, timeout=SECONDS)
    return path


def with_key(peer: Peer, path: Path) -> list[str]:
    return [f"IdentityFile={path}" if part.startswith("IdentityFile=") else part for part in peer.options()]


# -- progress ----------------------------------------------------------------------------------------------------------

LINE = r"{name} +\S+ +{percent}% +{bytes} +[0-9.]+ [KMG]?i?B/s +{last}"


@pytest.mark.parametrize("upload", [True, False])
def test_the_progress_line_shows_name_percent_bytes_rate_and_time_left(
    start: Start, server: Peer, tmp_path: Path, upload: bool
) -> None:
    random_file((tmp_path if upload else server.root) / "shown.bin", 3 << 20)
    names = ["shown.bin", server.remote(server.root)] if upload else [server.remote(server.root / "shown.bin"), "."]
    child = start("-l", "16384", *server.options(), *names, NO_COLOR="1")  # 2 MiB a second
    name = r"\S*shown\.bin"
    part, left = r"[0-9]+\.[0-9]/3072\.0 KiB", r"[0-9]:[0-9]+ left"
    child.expect(LINE.format(name=name, percent="[1-9][0-9]?", bytes=part, last=left))
    status, text = end(child)
    assert status == 0
    final = text.rpartition("\r\x1b[K")[2]
    assert re.fullmatch(LINE.format(name=name, percent="100", bytes=r"3\.0 MiB", last=r"0:0[0-9]") + r"\r\n", final)
    assert "\x1b[3" not in text  # no colours
    assert text.count("\r\x1b[K") < 200  # drawn by a timer, not by packets


def test_the_line_follows_the_width_of_the_terminal_and_has_colours(start: Start, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "wide.bin", 3 << 20)
    child = start("-l", "16384", *server.options(), "wide.bin", server.remote(server.root))
    child.expect(r"\x1b\[K(wide[^\r]*left)\r")
    assert "\x1b[36m" in child.match[1]
    assert len(re.sub(r"\x1b\[[0-9]+m", "", child.match[1])) == 99
    child.setwinsize(24, 50)
    deadline = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < deadline
        child.expect(r"\x1b\[K(wide[^\r]*left|wide[^\r]*[0-9])\r")
        if len(re.sub(r"\x1b\[[0-9]+m", "", child.match[1])) == 49:
            break
    assert end(child)[0] == 0


@pytest.mark.parametrize("way", ["up -O", "down -O", "between -O", "between -s"])
def test_every_way_of_copying_shows_how_far_it_is(start: Start, sshd: Peer, tmp_path: Path, way: str) -> None:
    here, there = random_file(tmp_path / "shown.bin", 1 << 20), random_file(sshd.root / "shown.bin", 1 << 20)
    direction, protocol = way.split()
    names = {
        "up": [here, sshd.remote(sshd.root / "shown")],
        "down": [sshd.remote(there), tmp_path / "shown"],
        "between": [sshd.remote(there), sshd.remote(sshd.root / "shown")],
    }[direction]
    child = start(protocol, "-l", "16384", *sshd.options(), *names)
    child.expect(r"\x1b\[K[^\r]*shown[^\r]* +[1-9][0-9]?% [^\r]*left")
    status, text = end(child)
    assert status == 0
    assert re.search(r"shown[^\r]* 100% +1\.0 MiB ", text)


def test_many_small_files_are_counted_and_errors_do_not_disturb_the_line(
    start: Start, server: Peer, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(200):
        (tmp_path / f"many/{number}").write_text("x" * 100)
    status, text = end(start("-r", *server.options(), "many", "missing", server.remote(server.root), NO_COLOR="1"))
    assert status == 1
    lines = [line.rpartition("\x1b[K")[2] for line in text.splitlines()]
    assert "fastssh-scp: missing: No such file or directory" in lines
    assert any(line.startswith("200 files ") for line in lines)


@pytest.mark.parametrize(("arguments", "environment"), [(["-q"], {}), ([], {"TERM": "dumb"})])
def test_nothing_is_drawn_when_quiet_or_on_a_dumb_terminal(
    start: Start, server: Peer, tmp_path: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    random_file(tmp_path / "quiet", 1 << 20)
    child = start(*arguments, "-l", "16384", *server.options(), "quiet", server.remote(server.root), **environment)
    assert end(child) == (0, "")


def test_nothing_is_drawn_when_standard_output_is_no_terminal(start: Start, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "piped", 1 << 20)
    command = [str(FASTSSH_SCP), "-F", "none", "-l", "16384", *server.options(), str(tmp_path / "piped")]
    child = pexpect.spawn("sh", ["-c", '"$@" | cat', "sh", *command, server.remote(server.root)], timeout=SECONDS,
                          encoding="utf-8", env=clean_environment(tmp_path, TERM="xterm"))
    assert end(child) == (0, "")


# -- questions ---------------------------------------------------------------------------------------------------------


def asking(server: Peer, known: Path) -> list[str]:
    return [*server.options()[:-6], "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none"]


QUESTION = r"\(yes/no/\[fingerprint\]\)\? "


def test_an_unknown_host_key_is_asked_about_until_the_answer_is_clear(
    start: Start, server: Peer, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    child = start(*asking(server, known), small(server), "small")
    child.expect(r"authenticity of host '\[127\.0\.0\.1\]:[0-9]+ \(\S+\)' can't be established")
    child.expect(r"key fingerprint is (SHA256:\S+)\.")
    child.expect(QUESTION)
    child.sendline("maybe")
    child.expect("Please type 'yes', 'no' or the fingerprint: ")
    child.sendline(" YES ")
    child.expect("Permanently added")
    assert end(child)[0] == 0
    assert known.read_text().count("\n") == 1
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    assert end(start("-q", *asking(server, known), small(server), "small")) == (0, "")


def test_the_fingerprint_is_a_yes(start: Start, server: Peer, tmp_path: Path) -> None:
    child = start(*asking(server, tmp_path / "known"), small(server), "small")
    child.expect(r"key fingerprint is (SHA256:\S+)\.\r")
    fingerprint = child.match[1]
    child.expect(QUESTION)
    child.sendline(fingerprint[:-1])
    child.expect("Please type")
    child.sendline(fingerprint)
    assert end(child)[0] == 0


@pytest.mark.parametrize("answer", ["no", "", "\x04"])
def test_a_host_key_that_is_not_wanted_is_not_trusted(start: Start, server: Peer, tmp_path: Path, answer: str) -> None:
    known = tmp_path / "known"
    child = start(*asking(server, known), small(server), "small")
    child.expect(QUESTION)
    child.send(answer if answer == "\x04" else answer + "\r")
    status, text = end(child)
    assert status == 255
    assert "fastssh-scp: " in text
    assert not known.exists()


def test_a_password_is_asked_for_without_echo(start: Start, sshd_password: Peer, tmp_path: Path) -> None:
    options = [*sshd_password.options(), "-o", "PubkeyAuthentication=no"]
    child = start(*options, small(sshd_password), "small")
    child.expect("password: ")
    assert not child.getecho()
    child.sendline("wrong")
    child.expect("Permission denied, please try again")
    child.expect("password: ")
    child.sendline(PASSWORD)
    status, text = end(child)
    assert status == 0
    assert PASSWORD not in text
    child = start(*options, small(sshd_password), "small")
    for _ in range(3):
        child.expect("password: ")
        child.sendline("wrong")
    status, text = end(child)
    assert status == 255
    assert re.search(r"fastssh-scp: .*Permission denied \(publickey,password", text)


def test_a_passphrase_is_asked_for_and_a_wrong_one_is_told(
    start: Start, server: Peer, keys: Keys, tmp_path: Path
) -> None:
    path = key_of(keys, tmp_path, "open sesame")
    options = with_key(server, path)
    child = start(*options, small(server), "small")
    child.expect(f"passphrase for key '{path}': ")
    assert not child.getecho()
    child.sendline("wrong")
    child.expect(f"passphrase for key '{path}': ")
    child.sendline("open sesame")
    assert end(child)[0] == 0
    child = start(*options, small(server), "small")
    for _ in range(3):
        child.expect(f"passphrase for key '{path}': ")
        child.sendline("wrong")
    status, text = end(child)
    assert status == 255
    assert re.search(r"fastssh-scp: .*Permission denied", text)


def test_batch_mode_asks_for_nothing(start: Start, sshd_password: Peer, keys: Keys, tmp_path: Path) -> None:
    path = key_of(keys, tmp_path, "secret")
    for options in (["-o", "PubkeyAuthentication=no"], ["-o", "PasswordAuthentication=no"]):
        status, text = end(start("-B", *with_key(sshd_password, path), *options, small(sshd_password), "small"))
        assert status == 255
        assert "assword:" not in text
        assert "passphrase" not in text.lower() or "fastssh-scp" in text
    unknown = asking(sshd_password, tmp_path / "known")
    status, text = end(start("-B", *unknown, small(sshd_password), "small"))
    assert status == 255
    assert "(yes/no" not in text


def test_an_askpass_program_answers_where_wanted(start: Start, sshd_password: Peer, tmp_path: Path) -> None:
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\nprintf '%s' \"$1\" > {tmp_path}/asked\necho '{PASSWORD}'\n")
    askpass.chmod(0o755)
    options = [*sshd_password.options(), "-o", "PubkeyAuthentication=no", small(sshd_password), "small"]
    child = start(*options, SSH_ASKPASS=str(askpass), SSH_ASKPASS_REQUIRE="force")
    status, text = end(child)
    assert (status, "assword" in text) == (0, False)
    assert "password" in (tmp_path / "asked").read_text()
    askpass.write_text("#!/bin/sh\nexit 1\n")
    status, text = end(start(*options, SSH_ASKPASS=str(askpass), SSH_ASKPASS_REQUIRE="force"))
    assert status == 255
    assert f"{askpass} ended with status 1" in text


# -- interruptions -----------------------------------------------------------------------------------------------------


def test_ctrl_c_in_a_copy_is_130_with_a_message(start: Start, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "stopped.bin", 8 << 20)
    child = start("-l", "8000", *server.options(), "stopped.bin", server.remote(server.root))
    child.expect("left")
    child.sendintr()
    status, text = end(child)
    assert status == 130
    assert text.rpartition("\x1b[K")[2].splitlines()[-1].startswith("fastssh-scp: interrupted")
    assert (server.root / "stopped.bin").stat().st_size < 8 << 20


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_echo_comes_back_when_a_password_prompt_is_interrupted(
    start: Start, sshd_password: Peer, number: signal.Signals, status: int
) -> None:
    child = start(*sshd_password.options(), "-o", "PubkeyAuthentication=no", small(sshd_password), "small")
    child.expect("password: ")
    assert not child.getecho()
    if number is signal.SIGINT:
        child.sendintr()
    else:
        child.kill(number)
    child.expect("interrupted")
    assert child.getecho()
    assert end(child)[0] == status


def test_ctrl_z_gives_the_terminal_back_while_stopped(start: Start, sshd_password: Peer) -> None:
    child = start(*sshd_password.options(), "-o", "PubkeyAuthentication=no", small(sshd_password), "small")
    child.expect("password: ")
    child.send("\x1a")

    def state() -> str:
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]

    if not Path("/proc/self/stat").exists():
        pytest.skip("/proc is missing: Linux has it")
    deadline = time.monotonic() + SECONDS
    while state() != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.getecho()
    child.kill(signal.SIGCONT)
    child.expect("password: ")
    assert not child.getecho()
    child.sendline(PASSWORD)
    assert end(child)[0] == 0


def test_row19_a_banner_reaches_the_terminal_without_control_characters(
    start: Start, start_server: Callable[..., Peer], tmp_path: Path
) -> None:
    banner = tmp_path / "banner"
    banner.write_bytes(b"Hello\n\x1b[2J\x07there \xe2\x80\xae!\n")
    peer = start_server(Banner=str(banner))
    status, text = end(start(*peer.options(), small(peer), "small", NO_COLOR="1"))
    assert status == 0
    assert "Hello\r\n\\033[2J\\007there \\u202e!\r\n" in text
    assert "\x1b[2J" not in text
    assert end(start("-q", *peer.options(), small(peer), "small")) == (0, "")


async def test_an_askpass_program_may_write_its_answer_in_pieces(tmp_path: Path) -> None:
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\nprintf 'open '; sleep 0.1; printf 'ses'; sleep 0.1; printf 'ame\\nand more'\n")
    askpass.chmod(0o755)
    assert await _run_askpass(str(askpass), "Password: ") == "open sesame"
    askpass.write_text("#!/bin/sh\nyes | head -c 1000000\n")  # it must not hang, whatever it is made of
    assert await asyncio.wait_for(_run_askpass(str(askpass), "Password: "), SECONDS) == "y"


@pytest.mark.parametrize("echo", [False, True])
async def test_a_question_within_a_session_is_answered_by_a_line_and_leaves_the_terminal_raw(
    echo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    try:
        tty.setraw(theirs)
        raw = termios.tcgetattr(theirs)
        monkeypatch.setattr(terminal, "_open_terminal", lambda: os.dup(theirs))
        asking = asyncio.ensure_future(terminal.Terminal(Messages("x")).ask("Sure? ", echo=echo))
        while not termios.tcgetattr(theirs)[3] & termios.ICANON:
            await asyncio.sleep(0.005)
        os.write(ours, b"yex\x7fs\r")
        assert await asyncio.wait_for(asking, 20) == "yes"
        assert termios.tcgetattr(theirs) == raw
        assert (b"ye" in os.read(ours, 1000)) is echo
    finally:
        os.close(ours)
        os.close(theirs)
