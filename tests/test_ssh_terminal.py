"""fastssh on a terminal: keys and sizes that arrive, escapes, questions, and a terminal put back however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.peers import HOST, PASSWORD, Peer, clean_environment, descendants, free_port, wait_for
from tests.support.ssh_tool import FASTSSH, SECONDS, command

Start = Callable[..., "pexpect.spawn[str]"]
PROMPT = "READY> "


@pytest.fixture(params=["sshd", "fastsshd"])
def server(request: pytest.FixtureRequest) -> Peer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Start]:
    """spawn(*words): a program on a terminal of 30 rows and 90 columns."""
    running: list[pexpect.spawn[str]] = []

    def start_it(*words: str, **environment: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            words[0], list(words[1:]), cwd=tmp_path, timeout=SECONDS, dimensions=(30, 90), encoding="utf-8",
            env=clean_environment(tmp_path) | {"TERM": "vt100"} | environment,
        )
        child.delaybeforesend = None
        running.append(child)
        return child

    yield start_it
    for child in running:
        child.close(force=True)


def shell(spawn: Start, server: Peer, *options: str) -> pexpect.spawn[str]:
    """A remote shell with a prompt that is known."""
    child = spawn(*command(server, options=options))
    child.sendline("PS1='READY''> '; export HISTFILE=")
    child.expect_exact(PROMPT)
    return child


def attributes(child: pexpect.spawn[str]) -> list[object]:
    return termios.tcgetattr(child.child_fd)


def end_of(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    """The exit status, and what was shown last."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before or ""


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_size_type_and_modes_are_the_local_terminals_and_a_resize_follows(spawn: Start, server: Peer) -> None:
    child = spawn("/bin/sh")
    child.sendline("PS1=; stty -echo erase ^H -ixany intr ^K; echo rea''dy")
    child.expect("ready")
    before = attributes(child)
    child.sendline(" ".join(f"'{word}'" for word in command(server)))
    child.sendline("PS1='READY''> '; stty size; echo $TERM; stty -a")
    child.expect("30 90")
    child.expect("vt100")
    child.expect("intr = \\^K;")
    child.expect("erase = \\^H;")
    child.expect_exact(PROMPT)
    child.setwinsize(41, 101)
    child.sendline("until [ \"`stty size`\" = '41 101' ]; do sleep 0.05; done; echo it fol''lowed")
    child.expect("it followed")
    child.sendline("exit 5")
    child.expect(f"Connection to {server.host} closed.\r\n")
    wait_for(lambda: attributes(child) == before, "the terminal as it was")


def test_keys_go_as_they_are(spawn: Start, server: Peer) -> None:
    child = spawn(*command(server, "stty raw -echo; echo go; head -c 256 | od -An -v -tu1; stty sane", options=["-t"]))
    child.expect("go")
    keys = bytes([120, *(value for value in range(256) if value != ord("~")), ord("~")])  # no line begins with it
    os.write(child.child_fd, keys)
    numbers = " ".join(map(str, keys[:256]))
    status, shown = end_of(child)
    assert (status, " ".join(re.findall(r"\d+", shown.split("Connection")[0]))) == (0, numbers)


def test_an_interrupt_reaches_the_command_there(spawn: Start, server: Peer) -> None:
    child = shell(spawn, server)
    child.sendline("sh -c 'trap \"echo caught it; exit\" INT; echo wait\"\"ing; while :; do sleep 0.1; done'")
    child.expect("waiting")
    child.sendintr()
    child.expect("caught it")
    child.expect_exact(PROMPT)


def test_a_terminal_is_had_without_one_here_if_asked_for_twice(sshd: Peer) -> None:
    for options, status in ((["-t"], 1), (["-tt"], 0)):
        done = subprocess.run(
            command(sshd, "test -t 0", options=options), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
        )
        assert done.returncode == status


def test_a_server_that_has_no_terminals_is_told_of(spawn: Start, start_sshd: Callable[..., Peer]) -> None:
    child = spawn(*command(start_sshd(PermitTTY="no"), "echo on", options=["-t"]))
    status, shown = end_of(child)
    assert status == 0
    assert "PTY allocation request failed on channel 0\r\n" in shown and "on\r\n" in shown


# -- escapes -----------------------------------------------------------------------------------------------------------


def test_escapes_list_tell_and_end(spawn: Start, server: Peer) -> None:
    child = shell(spawn, server)
    child.send("\r~?")
    child.expect("Supported escape sequences:\r\n")
    child.expect("terminate connection")
    child.expect("immediately after a newline.\\)\r\n")
    child.send("~#")
    child.expect("The following connections are open:\r\n  #0 session \\(open")
    child.send("~v")
    child.expect("~v \\[LogLevel DEBUG1\\]\r\n")
    child.send("~V")
    child.expect("~V \\[LogLevel INFO\\]\r\n")
    child.send("~B")
    child.send("~R")
    child.sendline("echo rekey''ed")
    child.expect("rekeyed")
    child.expect_exact(PROMPT)
    child.send("\r~~. is text\r")
    child.expect("~\\.: (command )?not found")
    child.send("~.")
    child.expect(f"~\\.\r\nConnection to {server.host} closed.\r\n")
    assert end_of(child)[0] == 255


def test_forwards_are_added_and_cancelled_on_the_command_line(spawn: Start, sshd: Peer) -> None:
    child = shell(spawn, sshd)
    child.send("\r~C")
    child.expect_exact("commandline disabled\r\n")
    child = shell(spawn, sshd, "-o", "EnableEscapeCommandline=yes")
    port = free_port()
    for line, answer in (
        (f"-L {port}:{HOST}:{sshd.port}", "Forwarding port."),
        (f"-KL {port}", "Canceled forwarding."),
        (f"-KL {port}", "port not forwarded"),
        (f"-L {port}", "Bad local forwarding specification"),
        ("-R 0:localhost:1", "Allocated port \\d+ for remote forward to localhost:1"),
        ("nonsense", "Invalid command."),
        ("help", "Commands:"),
    ):
        child.send("\r~C")
        child.expect_exact("ssh> ")
        child.sendline(line)
        child.expect(answer)
    child.sendline("echo still''there")
    child.expect("stillthere")


def test_another_escape_character_and_none(spawn: Start, sshd: Peer) -> None:
    child = shell(spawn, sshd, "-e", "^]")
    child.send("\r\x1d?")
    child.expect_exact("^]?\r\n")
    child.send("\x1d.")
    assert end_of(child)[0] == 255
    child = shell(spawn, sshd, "-e", "none")
    child.send("\r~.\r")
    child.expect("~\\.: (command )?not found")


def test_it_is_stopped_and_goes_on(spawn: Start, sshd: Peer) -> None:
    child = spawn("/bin/bash", "--norc", "--noediting", PS1="local> ")
    child.expect_exact("local> ")
    before = attributes(child)
    child.sendline(" ".join(f"'{word}'" for word in command(sshd)))
    child.sendline("PS1='READY''> '")
    child.expect_exact(PROMPT)
    raw = attributes(child)
    for stop in ("\r~\x1a", None):
        if stop is not None:
            child.send(stop)
            child.expect_exact("[suspend ssh]")
        else:
            (pid,) = descendants(child.pid)
            os.kill(pid, signal.SIGTSTP)
        child.expect("Stopped")
        child.expect_exact("local> ")
        assert attributes(child) == before
        child.setwinsize(50, 60)
        child.sendline("fg")
        wait_for(lambda: attributes(child) == raw, "raw mode")
        child.sendline("stty size")
        child.expect("50 60")
        child.expect_exact(PROMPT)


def test_it_goes_to_the_background_until_what_is_forwarded_has_ended(spawn: Start, sshd: Peer) -> None:
    port = free_port()
    child = shell(spawn, sshd, "-L", f"{HOST}:{port}:{HOST}:{sshd.port}")
    with socket.create_connection((HOST, port), timeout=SECONDS) as connection:
        assert connection.recv(4) == b"SSH-"
        before = child.pid
        child.send("\r~&")
        child.expect_exact("[backgrounded]")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        left = _named(f"{HOST}:{port}:")
        assert len(left) == 1 and left[0] != before
        connection.sendall(b"SSH-2.0-test\r\n")
        received = b""
        while len(received) < 500:  # it is still carried: the server's KEXINIT
            received += connection.recv(1000)
    wait_for(lambda: not _named(f"{HOST}:{port}:"), "its end")


def _named(marker: str) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
    return found


# -- the terminal afterwards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGQUIT", "the server dies"])
def test_the_terminal_is_put_back_however_it_ends(spawn: Start, start_sshd: Callable[..., Peer], how: str) -> None:
    server = start_sshd()
    outer = spawn("/bin/sh", "-c", f"stty -ixon; {_quoted(command(server))}; echo status $?; sleep 60")
    outer.sendline("PS1='READY''> '")
    outer.expect_exact(PROMPT)
    (pid,) = [each for each in descendants(outer.pid) if b"known_hosts" in Path(f"/proc/{each}/cmdline").read_bytes()]
    assert not attributes(outer)[3] & termios.ICANON  # type: ignore[operator]
    if how.startswith("SIG"):
        os.kill(pid, getattr(signal, how))
    else:
        for each in descendants(server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
    outer.expect("status 255\r\n")
    found = attributes(outer)
    assert found[3] & termios.ICANON and found[3] & termios.ECHO and found[1] & termios.OPOST  # type: ignore[operator]
    assert not found[0] & termios.IXON  # type: ignore[operator]


def _quoted(words: list[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


def test_a_terminal_that_others_share_stays_blocking(spawn: Start, sshd: Peer) -> None:
    child = shell(spawn, sshd)
    for fd in (0, 1, 2):
        flags = re.search(r"flags:\s*([0-7]+)", Path(f"/proc/{child.pid}/fdinfo/{fd}").read_text())
        assert flags is not None and not int(flags[1], 8) & os.O_NONBLOCK


# -- questions ---------------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_shown_and_asked_for_and_a_password_prompted(spawn: Start, sshd_password: Peer) -> None:
    server = sshd_password
    words = [
        str(FASTSSH), "-F", "none", "-p", str(server.port), "-o", "UserKnownHostsFile=known",
        "-o", "GlobalKnownHostsFile=none", "-o", "PreferredAuthentications=password", "-v", "-E", "log",
        f"{server.user}@{server.host}", "echo in",
    ]  # fmt: skip
    child = spawn(*words)
    child.expect(r"authenticity of host '\[127\.0\.0\.1\]:\d+")
    child.expect("key fingerprint is SHA256:")
    child.expect_exact("(yes/no/[fingerprint])? ")
    child.sendline("maybe")
    child.expect_exact("Please type 'yes', 'no' or the fingerprint: ")
    child.sendline("yes")
    child.expect_exact(f"{server.user}@{server.host}'s password: ")
    assert not attributes(child)[3] & termios.ECHO  # type: ignore[operator]
    child.sendline(PASSWORD)
    status, shown = end_of(child)
    assert (status, PASSWORD in shown) == (0, False)
    assert shown.strip().endswith("in")
    log = (Path(child.cwd or "") / "log").read_text()
    assert "Permanently added" in log and PASSWORD not in log


def test_row19_what_a_server_says_cannot_drive_the_terminal(
    spawn: Start, start_sshd: Callable[..., Peer], tmp_path: Path
) -> None:
    banner = tmp_path / "banner"
    banner.write_bytes(b"hello\n\x1b]0;title\x07\x9bm\n")
    child = spawn(*command(start_sshd(Banner=banner), "true"))
    status, shown = end_of(child)
    assert status == 0 and "hello\r\n\\033]0;title\\007" in shown
    assert "\x1b" not in shown and "\x07" not in shown
