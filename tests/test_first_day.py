"""A new user's first day, on a real terminal: each step as it is typed, against stock sshd and against fastsshd."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from fastssh.keys.private import generate_private_key
from tests.support import peers
from tests.support.pam_service import service
from tests.support.peers import HOST, PASSWORD, Keys, Peer, clean_environment, free_port, program, wait_for

SECONDS = 30
BIN = Path(sys.executable).parent
PAGE = b"what is served on the other side"


class User:
    """Somebody with an empty home and a terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.environment = clean_environment(home) | {
            "TERM": "xterm", "LANG": "C.UTF-8", "PATH": f"{BIN}:{os.environ['PATH']}", "SHELL": "/bin/sh",
        }  # fmt: skip
        self._running: list[pexpect.spawn[str]] = []

    def types(self, tool: str, *arguments: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            str(BIN / tool), list(arguments), cwd=self.home, timeout=SECONDS, env=self.environment, encoding="utf-8",
            dimensions=(24, 80),
        )
        child.delaybeforesend = None
        self._running.append(child)
        return child

    def runs(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal: whoever asks anything fails."""
        return subprocess.run(
            [BIN / tool, *arguments], cwd=self.home, env=self.environment, capture_output=True, text=True,
            timeout=SECONDS, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @contextlib.contextmanager
    def keeps(self, tool: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs in the background meanwhile."""
        process = subprocess.Popen(
            [BIN / tool, *arguments], cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)

    def leaves(self) -> None:
        for child in self._running:
            child.close(force=True)


def ends(child: pexpect.spawn[str], status: int = 0) -> str:
    """Waits for its end; what it wrote since the last match."""
    child.expect(pexpect.EOF)
    text = child.before or ""
    child.wait()
    assert "Traceback" not in text
    assert child.exitstatus == status, text
    return text


@pytest.fixture(params=["sshd", "fastsshd"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Peer]:
    """Takes PASSWORD, and keys that are put into its account's home, where none is yet."""
    directory = tmp_path_factory.mktemp("server")
    home = directory / "home"
    if request.param == "sshd":
        peer = peers.start_sshd(directory, keys=keys, home=home)
    else:
        pam = service(directory / "pam")
        peer = peers.start_fastsshd(
            directory, keys=keys, home=home, UsePAM="yes",
            program=(sys.executable, peers.HERE / "pam_fastsshd.py", pam),
        )  # fmt: skip
    (home / ".ssh" / "authorized_keys").unlink()
    with peer:
        yield peer


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path / "user")
    yield user
    user.leaves()


@pytest.fixture
def page() -> Iterator[int]:
    """The port of an HTTP server that has PAGE."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join(SECONDS)


def listens(port: int) -> Callable[[], bool]:
    def probe() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex((HOST, port)) == 0

    return probe


def fetch(port: int) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=SECONDS) as answer:
        data: bytes = answer.read()
        return data


def test_a_new_user_s_first_day(server: Peer, user: User, page: int) -> None:
    there, port = f"{server.user}@{HOST}", str(server.port)
    host_key = server.keys.host("ed25519").with_suffix(".pub").read_text()
    remote_home = server.directory / "home"

    # the first contact: whoever cannot be asked does not get in, the fingerprint is shown, the password is asked for
    refused = user.runs("fastssh", "-p", port, there, "true")
    assert refused.returncode == 255 and "Host key verification failed" in refused.stderr
    child = user.types("fastssh", "-p", port, there, "echo $((40 + 2))")
    child.expect(r"The authenticity of host '\[127\.0\.0\.1\]:\d+ \(\[?127\.0\.0\.1\]?.*\)' can't be established\.")
    child.expect(r"ED25519 key fingerprint is (SHA256:\S{43})\.")
    assert child.match is not None
    shown = user.runs("fastssh-keygen", "-lf", str(server.keys.host("ed25519").with_suffix(".pub")))
    assert shown.stdout.split()[1] == child.match[1]
    child.expect(re.escape("(yes/no/[fingerprint])? "))
    child.sendline("yes")
    child.expect("Warning: Permanently added .* to the list of known hosts")
    child.expect("(?i)password: ")
    child.sendline(PASSWORD)
    assert "42\r\n" in ends(child)
    known_hosts = user.home / ".ssh" / "known_hosts"
    assert host_key.split()[1] in known_hosts.read_text()
    assert (user.home / ".ssh").stat().st_mode & 0o777 == 0o700

    # a wrong password, then no patience
    child = user.types("fastssh", "-p", port, "-o", "NumberOfPasswordPrompts=1", there, "true")
    while child.expect(["(?i)password: ", r"Permission denied \("]) == 0:
        child.sendline("wrong")
    ends(child, 255)

    # a key, and its copy over there; the password is asked for once
    child = user.types("fastssh-keygen", "-t", "ed25519")
    child.expect(r"Enter file in which to save the key \(.*id_ed25519\): ")
    child.sendline("")
    for _ in range(2):
        child.expect("passphrase.*: ")
        child.sendline("")
    ends(child)
    assert (user.home / ".ssh" / "id_ed25519").stat().st_mode & 0o777 == 0o600
    child = user.types("fastssh-copy-id", "-p", port, there)
    child.expect("(?i)password: ")
    child.sendline(PASSWORD)
    text = ends(child)
    assert "Number of key(s) added: 1" in text and "assword" not in text
    installed = remote_home / ".ssh" / "authorized_keys"
    assert installed.read_text().split()[:2] == (user.home / ".ssh" / "id_ed25519.pub").read_text().split()[:2]
    assert installed.stat().st_mode & 0o777 == 0o600

    # from now on without a password, and by a name of one's own
    (user.home / ".ssh" / "config").write_text(
        f"Host work\n  HostName {HOST}\n  Port {port}\n  User {server.user}\n"
        f"Host inner\n  HostName localhost\n  Port {port}\n  User {server.user}\n  ProxyJump work\n"
        "  StrictHostKeyChecking accept-new\n"
    )
    assert user.runs("fastssh", "-p", port, there, "echo in").stdout == "in\n"
    done = user.runs("fastssh", "work", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)

    # a shell whose window changes its size
    child = user.types("fastssh", "work")
    child.sendline("PS1=; stty -echo; echo rea''dy")
    child.expect("ready\r\n")
    child.sendline("stty size")
    child.expect_exact("24 80\r\n")
    child.setwinsize(40, 132)
    child.sendline("sleep 0.2; stty size; tty; exit 3")
    child.expect_exact("40 132\r\n")
    child.expect("/dev/")
    ends(child, 3)

    # files there and back
    (user.home / "file").write_bytes(os.urandom(300_000))
    digest = hashlib.sha256((user.home / "file").read_bytes()).hexdigest()
    done = user.runs("fastssh-scp", "-p", "file", "work:there")
    assert done.returncode == 0, done.stderr
    assert user.runs("fastssh", "work", "sha256sum there").stdout.split()[0] == digest
    child = user.types("fastssh-sftp", "work")
    for command, said in (("pwd", "Remote working directory: /"), ("get there back", ""), ("mkdir folder", ""),
                          ("put file folder/again", ""), ("ls -1 folder", "folder/again")):  # fmt: skip
        child.expect_exact("sftp> ")
        child.sendline(command)
        if said:
            child.expect_exact(said)
    child.expect_exact("sftp> ")
    child.sendline("bye")
    ends(child)
    assert hashlib.sha256((user.home / "back").read_bytes()).hexdigest() == digest
    assert (remote_home / "folder" / "again").read_bytes() == (user.home / "file").read_bytes()

    # ports: a local one, a remote one, a proxy
    local, remote, proxy = free_port(), free_port(), free_port()
    with user.keeps(
        "fastssh", "-N", "-L", f"{local}:{HOST}:{page}", "-R", f"{remote}:{HOST}:{page}", "-D", str(proxy), "work"
    ):
        for number in (local, remote, proxy):
            wait_for(listens(number), f"port {number} to be forwarded")
        assert fetch(local) == fetch(remote) == PAGE
        curl = [program("curl", "curl"), "-sS", "--noproxy", "", "-x", f"socks5h://{HOST}:{proxy}", f"http://{HOST}:{page}/"]
        assert subprocess.run(curl, capture_output=True, timeout=SECONDS, check=True).stdout == PAGE

    # through one host to another
    done = user.runs("fastssh", "inner", "echo $SSH_CONNECTION")
    assert done.returncode == 0 and done.stdout.split()[3] == port, done.stderr
    done = user.runs("fastssh", "-J", "work", "-p", port, f"{server.user}@localhost", "echo jumped")
    assert done.stdout == "jumped\n", done.stderr

    # many commands over one connection
    path = str(user.home / "socket")
    assert user.runs("fastssh", "-M", "-S", path, "-f", "-N", "work").returncode == 0
    assert "Master running (pid=" in user.runs("fastssh", "-S", path, "-O", "check", "work").stderr
    sessions = len(server.sessions())
    assert [user.runs("fastssh", "-S", path, "work", f"echo {n}").stdout for n in range(3)] == ["0\n", "1\n", "2\n"]
    assert len(server.sessions()) == sessions
    assert "Exit request sent." in user.runs("fastssh", "-S", path, "-O", "exit", "work").stderr
    wait_for(lambda: not os.path.exists(path), "the master's end")

    # somebody else in the server's place: refused, until the person says what is true
    other = generate_private_key("ed25519").public.line()
    known_hosts.write_text(re.sub(r"ssh-ed25519 \S+", " ".join(other.split()[:2]), known_hosts.read_text()))
    done = user.runs("fastssh", "work", "echo in")
    assert done.returncode == 255 and done.stdout == ""
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert f'fastssh-keygen -f "{known_hosts}" -R "[{HOST}]:{port}"' in done.stderr
    done = user.runs("fastssh-scp", "file", "work:there")
    assert done.returncode == 255 and "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert user.runs("fastssh-keygen", "-R", f"[{HOST}]:{port}").returncode == 0
    child = user.types("fastssh", "work", "echo in")
    child.expect(re.escape("(yes/no/[fingerprint])? "))
    child.sendline("yes")
    assert "in\r\n" in ends(child)
