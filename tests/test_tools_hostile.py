"""What no tool may be talked into, each of them in a process of its own, with one line and a status that say so."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fastssh.keys.private import generate_private_key
from tests.support.peers import HOST, Peer, clean_environment

SECONDS = 30.0
BIN = Path(sys.executable).parent


class Caller(NamedTuple):
    """How a tool is asked to log in to ``host``, with the options that all of them take."""

    tool: str
    arguments: Callable[[str], list[str]]
    status: int  # when there is no connection


CALLERS = [
    Caller("fastssh", lambda host: [host, "true"], 255),
    Caller("fastssh-scp", lambda host: [f"{host}:nothing", "."], 255),
    Caller("fastssh-sftp", lambda host: ["-b", "/dev/null", host], 255),
    Caller("fastssh-copy-id", lambda host: ["-f", host], 1),
]
each_tool = pytest.mark.parametrize("caller", CALLERS, ids=[caller.tool for caller in CALLERS])
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(fastsshd: Peer, tmp_path: Path) -> Run:
    """run(caller, host, *options): with a home that has a key and nothing else, and no terminal."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for suffix in ("", ".pub"):
        path = home / ".ssh" / f"id_ed25519{suffix}"
        path.write_bytes(Path(f"{fastsshd.key}{suffix}").read_bytes())
        path.chmod(0o600)

    def run(caller: Caller, host: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = [part for option in options for part in ("-o", option)]
        done = subprocess.run(
            [BIN / caller.tool, *given, *caller.arguments(host)], env=clean_environment(home) | environment, cwd=home,
            capture_output=True, text=True, errors="surrogateescape", timeout=SECONDS, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done

    return run


def reach(peer: Peer, known_hosts: Path) -> tuple[str, ...]:
    return (f"Port={peer.port}", f"User={peer.user}", f"UserKnownHostsFile={known_hosts}",
            "GlobalKnownHostsFile=/dev/null")  # fmt: skip


@each_tool
def test_row17_a_server_with_another_key_is_sent_nothing(
    caller: Caller, run: Run, fastsshd: Peer, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    other = generate_private_key("ed25519").public.line()
    for text, said in (
        (f"[{HOST}]:{fastsshd.port} {other}\n", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("", "Host key verification failed"),
        (f"@revoked * {fastsshd.keys.host('ed25519').with_suffix('.pub').read_text()}", "REVOKED"),
    ):
        known.write_text(text)
        done = run(caller, HOST, *reach(fastsshd, known), "HostKeyAlgorithms=ssh-ed25519")
        assert done.returncode == caller.status and said in done.stderr
        assert known.read_text() == text
    known.unlink()
    known.mkdir()  # what cannot be read vouches for nobody
    done = run(caller, HOST, *reach(fastsshd, known), "HostKeyAlgorithms=ssh-ed25519")
    assert done.returncode == caller.status and f"known hosts cannot be read: {known}" in done.stderr


@pytest.fixture
def painter() -> Iterator[int]:
    """The port of a server whose first line would drive a terminal."""
    listener = socket.create_server((HOST, 0))

    def greet() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.sendall(b"SSH-1.5-\x1b]0;evil\x07\x9b31m\xe2\x80\xae\r\n")
                sock.settimeout(SECONDS)
                while sock.recv(1000):
                    pass

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(SECONDS)


@each_tool
def test_row19_no_word_of_a_server_drives_the_terminal(caller: Caller, run: Run, painter: int) -> None:
    done = run(caller, HOST, f"Port={painter}", "LogLevel=DEBUG3")
    assert done.returncode == caller.status
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\udc80-\udcff]", done.stderr + done.stdout) is None
    assert "evil" in done.stderr


@each_tool
@pytest.mark.parametrize("name", ["$(touch ran)", "`touch ran`", "-oProxyCommand=touch ran", "a;touch ran", "a'b"])
def test_row20_no_name_reaches_a_shell(caller: Caller, run: Run, tmp_path: Path, name: str) -> None:
    shell = ("ProxyCommand=true %h %r", "PermitLocalCommand=yes", "LocalCommand=true %h %r %n")
    for host in (name, f"{name}@{HOST}"):
        done = run(caller, host, *shell)
        assert done.returncode != 0
        assert done.stderr
    assert not (tmp_path / "home" / "ran").exists()


@each_tool
def test_row24_files_that_others_may_write_or_that_are_no_files_are_refused(
    caller: Caller, run: Run, fastsshd: Peer, tmp_path: Path
) -> None:
    known = ("StrictHostKeyChecking=yes", *reach(fastsshd, fastsshd.known_hosts))
    config = tmp_path / "home" / ".ssh" / "config"
    config.write_text("Host *\n")
    config.chmod(0o666)
    done = run(caller, HOST, *known)
    assert done.returncode != 0 and "bad owner or permissions" in done.stderr and str(config) in done.stderr
    config.unlink()
    os.mkfifo(config, 0o600)  # nobody waits for who never writes
    done = run(caller, HOST, *known)
    assert done.returncode != 0 and str(config) in done.stderr
    config.unlink()
    config.write_text("Host *\n  Prot 22\n")
    done = run(caller, HOST, *known)
    assert done.returncode != 0 and f"{config}:2: Bad configuration option: prot" in done.stderr
    config.unlink()
    key = tmp_path / "home" / ".ssh" / "id_ed25519"
    key.chmod(0o644)
    done = run(caller, HOST, *known, "IdentitiesOnly=yes", "PasswordAuthentication=no")
    assert done.returncode == caller.status and "UNPROTECTED PRIVATE KEY FILE" in done.stderr


@pytest.fixture
def liar(short_path: Path) -> Iterator[str]:
    """An agent that says it has four milliards of keys, in a frame that never ends."""
    path = str(short_path / "agent")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def talk() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.recv(1000)
                sock.sendall(b"\xff\xff\xff\xff\x0c\xff\xff\xff\xff" + bytes(100))

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(SECONDS)


@each_tool
def test_row25_an_agent_that_lies_costs_its_keys_and_no_more(
    caller: Caller, run: Run, fastsshd: Peer, liar: str
) -> None:
    known = ("StrictHostKeyChecking=yes", *reach(fastsshd, fastsshd.known_hosts), f"IdentityAgent={liar}")
    done = run(caller, HOST, *known, "LogLevel=DEBUG1", SSH_AUTH_SOCK=liar)
    if caller.tool == "fastssh-scp":  # it is in, where there is no such file
        assert done.returncode == 1 and "No such file" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
