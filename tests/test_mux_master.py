"""fastssh as the master of a shared connection, with OpenSSH's ssh and fastssh as its clients; and hostile clients."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastssh.wire import mux
from fastssh.wire.messages import (
    CHANNEL_DATA,
    CHANNEL_WINDOW_ADJUST,
    ChannelClose,
    ChannelEof,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    GlobalRequest,
    Message,
    RequestFailure,
    decode,
)
from fastssh.wire.mux import Decoder, MuxMessage
from fastssh.wire.requests import CancelTcpipForward, ExecRequest
from tests.hostile import server as hostile
from tests.support import peers
from tests.support.peers import HOST, Peer, free_port, wait_for

FASTSSH = str(Path(sys.executable).with_name("fastssh"))
SECONDS = 30.0


@dataclass
class Running:
    """A master, or the path of one to come."""

    peer: Peer
    path: str
    process: subprocess.Popen[bytes] | None = None

    def command(self, program: str, *arguments: str) -> list[str]:
        name = FASTSSH if program == "fastssh" else peers.program("ssh", "openssh-client")
        return [name, "-F", "none", *self.peer.options(), "-S", self.path, *arguments]

    def run(
        self, program: str, *arguments: str, data: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(program, *arguments), input=data, capture_output=True, timeout=SECONDS,
            env=peers.clean_environment(Path(self.path).parent, **environment),
        )  # fmt: skip

    def descriptors(self) -> list[str]:
        """What the master has open, but for its connections to clients."""
        assert self.process is not None
        found = []
        for name in os.listdir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.process.pid}/fd/{name}"))
        return found


@contextlib.contextmanager
def master(peer: Peer, directory: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """`fastssh -M -N` while the block runs."""
    running = Running(peer, str(directory / "control"))
    with open(directory / "master.log", "wb") as log:
        running.process = subprocess.Popen(
            running.command("fastssh", "-M", "-N", *arguments, HOST), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=peers.clean_environment(directory, **environment),
        )  # fmt: skip
    try:
        wait_for(lambda: os.path.exists(running.path), "the master to listen")
        yield running
    finally:
        running.process.terminate()
        running.process.wait(SECONDS)


@pytest.fixture(scope="module")
def shared(sshd: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One master for many tests."""
    with master(sshd, tmp_path_factory.mktemp("master"), "-o", "SendEnv=FASTSSH_*") as running:
        yield running


@pytest.fixture(autouse=True)
def the_master_keeps_no_descriptor(request: pytest.FixtureRequest) -> Iterator[None]:
    if "shared" not in request.fixturenames:
        yield
        return
    running: Running = request.getfixturevalue("shared")
    before = len(running.descriptors())
    yield
    wait_for(lambda: len(running.descriptors()) <= before, f"descriptors to be closed: {running.descriptors()}")


# --- clients ------------------------------------------------------------------------------------------------------

each_program = pytest.mark.parametrize("program", ["ssh", "fastssh"])


@each_program
def test_sessions_have_input_outputs_and_status(shared: Running, program: str) -> None:
    data = os.urandom(5 << 20)
    done = shared.run(program, HOST, "cat; echo oops >&2; exit 7", data=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (7, True, b"oops\n")
    done = shared.run(program, "-o", "SendEnv=*", HOST, "echo $FASTSSH_A$OTHER", FASTSSH_A="x", OTHER="y")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x\n", b"")
    assert shared.run(program, HOST, "kill -9 $$").returncode == 255
    done = shared.run(program, "-tt", HOST, "tty; echo $TERM", TERM="vt102")
    assert done.returncode == 0 and done.stdout.startswith(b"/dev/") and done.stdout.endswith(b"vt102\r\n")
    assert done.stderr.replace(b"\r", b"") == f"Shared connection to {HOST} closed.\n".encode()
    with open(os.devnull) as nothing:
        done = subprocess.run(shared.command(program, "-n", HOST, "cat"), stdin=nothing, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@each_program
def test_control_commands(shared: Running, program: str) -> None:
    assert shared.process is not None
    done = shared.run(program, "-O", "check", HOST)
    assert (done.returncode, done.stderr) == (0, f"Master running (pid={shared.process.pid})\r\n".encode())
    port, here = shared.peer.port, free_port()
    forward = shared.run(program, "-O", "forward", "-R", f"0:{HOST}:{port}", HOST)
    again = shared.run(program, "-O", "forward", "-R", f"0:{HOST}:{port}", HOST)
    assert (forward.returncode, forward.stdout) == (0, again.stdout)
    local, socks = ("-L", f"*:{here}:{HOST}:{port}"), ("-D", str(free_port()))
    assert shared.run(program, "-O", "forward", *local, *socks, HOST).returncode == 0
    for each in (int(forward.stdout), here):
        assert peers._greets(each)
    done = shared.run(program, "-O", "cancel", *local, *socks, "-R", f"0:{HOST}:{port}", HOST)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not peers._greets(here) and not peers._greets(int(forward.stdout))
    done = shared.run(program, "-O", "cancel", *local, HOST)
    assert done.returncode == 0 and b"forwarding request failed: port not forwarded" in done.stderr
    done = shared.run(program, "-O", "forward", "-L", f"{HOST}:{port}:h:80", HOST)
    assert done.returncode == 255 and b"Port forwarding failed" in done.stderr
    with_session = shared.run(program, "-L", f"{here}:{HOST}:{port}", HOST, "echo ok")
    assert (with_session.returncode, with_session.stdout) == (0, b"ok\n")
    assert peers._greets(here)  # a forward is the master's, and stays
    shared.run(program, "-O", "cancel", "-L", f"{here}:{HOST}:{port}", HOST)


@each_program
def test_standard_input_and_output_become_a_connection(shared: Running, program: str) -> None:
    process = subprocess.Popen(
        shared.command(program, "-W", f"{HOST}:{shared.peer.port}", HOST), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.read(8) == b"SSH-2.0-"
    process.communicate(b"not SSH\n", timeout=SECONDS)
    assert process.returncode == 0
    refused = shared.run(program, "-W", f"{HOST}:{free_port()}", HOST)
    assert refused.returncode == 255 and b"Session open refused by peer" in refused.stderr


@each_program
def test_a_new_size_reaches_the_server(shared: Running, program: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    script = "stty -echo; stty size; while read x; do stty size; done"
    process = subprocess.Popen(
        shared.command(program, "-t", "-e", "none", HOST, script), stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip

    def read(until: bytes) -> bytes:
        seen = b""
        while until not in seen:
            seen += os.read(ours, 1000)
        return seen

    try:
        read(b"24 80")
        wait_for(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON, "the terminal to be raw")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        seen = b""
        while b"30 100" not in seen:  # the signal goes its own way
            os.write(ours, b"\n")
            seen = read(b"\n")
        os.write(ours, b"\4")
        assert process.wait(SECONDS) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("signals", [(signal.SIGQUIT,), (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)])
def test_a_client_that_is_ended_leaves_its_terminal_as_it_was(shared: Running, signals: tuple[int, ...]) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        shared.command("fastssh", "-tt", HOST, "cat"), stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip
    try:
        wait_for(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON, "the terminal to be raw")
        for number in signals:
            process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, b"Traceback" in said) == (255, False), said
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@each_program
def test_a_client_that_goes_takes_its_session_along(shared: Running, program: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    process = subprocess.Popen(
        shared.command(program, HOST, f"trap 'touch {gone}' EXIT; echo on; cat"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.terminate()
    assert process.wait(SECONDS) in (255, -signal.SIGTERM)  # the session may speak before the signal is handled
    wait_for(gone.exists, "the session's end")
    process.stdin.close()
    process.stdout.close()


@each_program
def test_escapes_of_a_client_are_the_masters_to_read(shared: Running, program: str) -> None:
    process = subprocess.Popen(
        shared.command(program, "-tt", HOST, "stty -echo raw; echo on; cat"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"first\n~~second\n")
    process.stdin.flush()
    seen = b""
    while b"~second" not in seen:
        seen += process.stdout.read1(1000)  # type: ignore[attr-defined]
    out, said = process.communicate(b"~#~?~.", timeout=SECONDS)
    assert b"~~" not in seen + out
    assert b"The following connections are open:" in said and b"Supported escape" in said
    assert process.returncode == 255


@each_program
def test_a_client_may_speak_the_connection_protocol_itself(shared: Running, program: str) -> None:
    data = os.urandom(3 << 20)
    done = shared.run(program, "-O", "proxy", HOST, "cat; echo oops >&2; exit 7", data=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (7, True, b"oops\n")
    here, there, port = free_port(), free_port(), shared.peer.port
    process = subprocess.Popen(
        shared.command(program, "-O", "proxy", "-L", f"{here}:{HOST}:{port}", "-R", f"{there}:{HOST}:{port}", HOST,
                       "echo on; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    for each in (here, there):
        wait_for(lambda each=each: peers._greets(each), "the forward")  # type: ignore[misc]
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    wait_for(lambda: not peers._greets(there), "the forward's end")
    assert shared.run(program, "-O", "check", HOST).returncode == 0


def test_copies_go_over_a_shared_connection(shared: Running, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(data)
    options = ["-F", "none", "-o", f"ControlPath={shared.path}", "-o", "BatchMode=yes", "-o", "IdentityFile=none"]
    programs = Path(FASTSSH).parent

    def run(program: str, *arguments: str, data: bytes = b"") -> None:
        command = [str(programs / program), *options, *arguments]
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS)
        assert (done.returncode, done.stderr) == (0, b"")

    for number, more in enumerate(([], ["-O"])):
        run("fastssh-scp", *more, str(tmp_path / "source"), f"{HOST}:{tmp_path}/up{number}")
        run("fastssh-scp", *more, f"{HOST}:{tmp_path}/up{number}", str(tmp_path / f"down{number}"))
        assert (tmp_path / f"down{number}").read_bytes() == data
    run("fastssh-sftp", "-q", "-b", "-", HOST, data=f"get {tmp_path}/up0 {tmp_path}/got\n".encode())
    assert (tmp_path / "got").read_bytes() == data


# --- masters ------------------------------------------------------------------------------------------------------


def test_the_socket_is_its_users_alone_and_a_second_master_is_none(shared: Running) -> None:
    assert os.stat(shared.path).st_mode & 0o777 == 0o600
    assert [name for name in os.listdir(os.path.dirname(shared.path)) if name.startswith("control.")] == []
    done = shared.run("fastssh", "-M", HOST, "echo own")
    assert (done.returncode, done.stdout) == (0, b"own\n")
    assert done.stderr == f"ControlSocket {shared.path} already exists, disabling multiplexing\n".encode()


@each_program
def test_a_master_ends_when_it_is_told_or_when_nobody_needs_it(sshd: Peer, tmp_path: Path, program: str) -> None:
    for command, said in (("stop", "Stop listening request sent."), ("exit", "Exit request sent.")):
        with master(sshd, tmp_path) as running:
            assert running.process is not None
            session = subprocess.Popen(
                running.command(program, HOST, "echo on; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert session.stdin is not None and session.stdout is not None
            assert session.stdout.readline() == b"on\n"
            done = running.run(program, "-O", command, HOST)
            assert (done.returncode, done.stderr) == (0, f"{said}\r\n".encode())
            wait_for(lambda running=running: not os.path.exists(running.path), "the socket to go")  # type: ignore[misc]
            check = running.run(program, "-O", "check", HOST)
            assert check.returncode == 255
            assert f"Control socket connect({running.path}): No such file".encode() in check.stderr
            if command == "stop":
                assert running.process.poll() is None
            out, _ = session.communicate(b"data", timeout=SECONDS)
            assert (session.returncode, out) == ((0, b"data") if command == "stop" else (255, b""))
            assert running.process.wait(SECONDS) == 255


def test_a_master_that_stays_goes_to_the_background(sshd: Peer, tmp_path: Path) -> None:
    running = Running(sshd, str(tmp_path / "control"))
    options = ("-o", "ControlMaster=auto", "-o", "ControlPersist=1")
    for status in (3, 4):
        done = running.run("fastssh", *options, HOST, f"cat; exit {status}", data=b"data")
        assert (done.returncode, done.stdout, done.stderr) == (status, b"data", b"")
    check = running.run("ssh", "-O", "check", HOST)
    assert check.returncode == 0
    wait_for(lambda: not os.path.exists(running.path), "the master to have been idle for long enough")
    done = running.run("fastssh", "-o", "ControlPersist=yes", "-M", "-N", HOST)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert running.run("ssh", "-O", "exit", HOST).returncode == 0
    wait_for(lambda: not os.path.exists(running.path), "the master to end")


def test_a_stale_socket_is_removed_by_who_becomes_the_master(sshd: Peer, tmp_path: Path) -> None:
    running = Running(sshd, str(tmp_path / "control"))
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(running.path)
    done = running.run("fastssh", HOST, "echo on")
    assert (done.returncode, done.stdout) == (0, b"on\n")
    assert done.stderr == f"Control socket connect({running.path}): Connection refused\n".encode()
    done = running.run("fastssh", "-o", "ControlMaster=auto", HOST, f"test -S {running.path} && echo master")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"master\n", b"")
    assert not os.path.exists(running.path)


def test_clients_may_use_the_masters_agent(sshd: Peer, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    environment = {"SSH_AUTH_SOCK": str(agent)}
    command = [peers.program("ssh-agent", "openssh-client"), "-D", "-a", str(agent)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(agent.exists, "the agent")
        with master(sshd, tmp_path, "-A", **environment) as running:
            for program in ("ssh", "fastssh"):
                done = running.run(program, "-A", HOST, "ssh-add -l; true", **environment)
                assert (done.returncode, done.stdout) == (0, b"The agent has no identities.\n")
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_the_user_is_asked_before_anything_is_done(sshd: Peer, tmp_path: Path) -> None:
    program, answer, asked = tmp_path / "askpass", tmp_path / "answer", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho "$1" >> {asked}\ncat {answer}\n')
    program.chmod(0o700)
    environment = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    with master(sshd, tmp_path, "-M", **environment) as running:
        answer.write_text("no\n")
        done = running.run("fastssh", HOST, "echo over the master")
        assert b"Master refused session request: Permission denied" in done.stderr
        for arguments in (("-O", "exit"), ("-O", "stop"), ("-O", "forward", "-L", "8080:h:80")):
            done = running.run("ssh", *arguments, HOST)
            assert done.returncode == 255 and b"Permission denied" in done.stderr
        answer.write_text("yes\n")
        done = running.run("ssh", HOST, "echo over the master")
        assert (done.returncode, done.stdout) == (0, b"over the master\n")
        assert running.run("ssh", "-O", "check", HOST).returncode == 0
    assert asked.read_text().splitlines() == [
        f"Allow shared connection to {HOST}? ", f"Terminate shared connection to {HOST}? ",
        f"Disable further multiplexing on shared connection to {HOST}? ",
        f"Open local forward 8080 [h]:80 on {HOST}?", f"Allow shared connection to {HOST}? ",
    ]  # fmt: skip


# --- hostile clients ----------------------------------------------------------------------------------------------


class Raw:
    """A client by hand."""

    def __init__(self, path: str, *, greet: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(path)
        self._decoder = Decoder()
        if greet:
            self.sock.sendall(mux.Hello(mux.VERSION).encode())
            assert self.receive() == mux.Hello(mux.VERSION)

    def receive(self) -> MuxMessage | None:
        while (message := self._decoder.next()) is None:
            try:
                data = self.sock.recv(1000)
            except ConnectionError:
                return None
            if not data:
                return None
            self._decoder.feed(data)
        return message

    def ends(self) -> bool:
        """Whether the master ends this connection; what it says before does not matter."""
        while self.receive() is not None:
            pass
        self.sock.close()
        return True


SESSION = mux.NewSession(1, b"", 0, 0, 0, 0, mux.NO_ESCAPE, b"", b"true")


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08\x10\0\0\4\0\0\0", b"\0\0\0\4\x10\0\0\4",
        mux.Hello(mux.VERSION).encode(), mux.Ok(1).encode(), mux.ExitMessage(1, 1).encode(),
        mux.OpenForward(1, 1, b"", 65536, b"h", 80).encode(), b"\0\0\0\x0c\x10\0\0\x02\0\0\0\1\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_row26_what_a_client_says_wrong_ends_that_client_alone(shared: Running, data: bytes) -> None:
    bystander, hostile = Raw(shared.path), Raw(shared.path)
    hostile.sock.sendall(data)
    hostile.sock.shutdown(socket.SHUT_WR)
    assert hostile.ends()
    bystander.sock.sendall(mux.AliveCheck(7).encode())
    assert shared.process is not None
    assert bystander.receive() == mux.Alive(7, shared.process.pid)
    bystander.sock.close()


def packet(message: Message) -> bytes:
    return framed(message.encode())


def framed(payload: bytes) -> bytes:
    return struct.pack(">IB", len(payload) + 1, 0) + payload


class Proxied(Raw):
    """A client by hand in proxy mode, with a session channel: its number is 3, the server's ``remote``."""

    def __init__(self, path: str, command: str) -> None:
        super().__init__(path)
        self.sock.sendall(mux.Proxy(1).encode())
        assert self.receive() == mux.ProxyOk(1)
        self._rest = self._decoder.take()
        self.sock.sendall(packet(ChannelOpen("session", 3, 1 << 20, 32768, b"")))
        confirmed = self.message()
        assert isinstance(confirmed, ChannelOpenConfirmation) and confirmed.recipient == 3
        self.remote = confirmed.sender
        self.sock.sendall(packet(ChannelRequest(self.remote, "exec", True, ExecRequest(command.encode()).body())))

    def message(self) -> Message | None:
        """The next one that is not for the native plane."""
        while True:
            while len(self._rest) < 4 or len(self._rest) < 4 + int.from_bytes(self._rest[:4], "big"):
                data = self.sock.recv(65536)
                if not data:
                    return None
                self._rest += data
            end = 4 + int.from_bytes(self._rest[:4], "big")
            payload, self._rest = self._rest[5 : end - self._rest[4]], self._rest[end:]
            if payload[0] not in (CHANNEL_WINDOW_ADJUST, CHANNEL_DATA):
                return decode("connection", payload)


def test_row26_a_client_in_proxy_mode_has_its_own_channels_alone(shared: Running) -> None:
    bystander = Proxied(shared.path, "cat")
    assert isinstance(bystander.message(), ChannelSuccess)
    malformed = (b"\x5d", b"\x5d\0\0\0\1\0", b"\x5e\0\0\0\2x", b"\x5f\0\0\0\1x", b"\x62\0\0\0\4xx", b"\x60x")
    for wrong in (
        *(lambda own, text=text: framed(text[:1] + struct.pack(">I", own) + text[1:]) for text in malformed),
        packet(ChannelClose(bystander.remote)), packet(ChannelEof(77)), packet(ChannelOpenConfirmation(0, 1, 1, 32768)),
        packet(GlobalRequest("cancel-tcpip-forward", True, CancelTcpipForward(b"localhost", 22).body())),
        packet(GlobalRequest("tcpip-forward", True, b"\0\0\0\x09")),
        b"\0\0\0\0\0", b"\xff\xff\xff\xff\0", b"\0\0\0\3\0\x62\1",
    ):  # fmt: skip
        hostile = Proxied(shared.path, "cat")
        hostile.sock.sendall(wrong if isinstance(wrong, bytes) else wrong(hostile.remote))
        with contextlib.suppress(ConnectionError):
            while hostile.message() is not None:
                pass
        hostile.sock.close()
    refused = packet(GlobalRequest("no-more-sessions@openssh.com", True, b""))
    bystander.sock.sendall(refused)
    assert isinstance(bystander.message(), RequestFailure)
    bystander.sock.sendall(packet(ChannelEof(bystander.remote)))
    requests = [bystander.message() for _ in range(3)]
    assert {type(message) for message in requests} == {ChannelRequest, ChannelEof, ChannelClose}
    bystander.sock.sendall(packet(ChannelClose(bystander.remote)))
    bystander.sock.close()


def test_row11_what_a_client_in_proxy_mode_leaves_open_is_closed(shared: Running, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    client = Proxied(shared.path, f"trap 'touch {gone}' EXIT; cat")
    assert isinstance(client.message(), ChannelSuccess)
    client.sock.close()
    wait_for(gone.exists, "the session's end")
    assert shared.run("fastssh", HOST, "true").returncode == 0


@pytest.mark.parametrize("wrong", ["number", "refusal"])
def test_row26_a_server_that_mixes_up_a_clients_channels_is_told_of(tmp_path: Path, wrong: str) -> None:
    def script(peer: hostile.Peer) -> None:
        peer.authenticate()
        for _ in range(2):
            opened = peer.expect(ChannelOpen)
            peer.send(ChannelOpenConfirmation(opened.sender, 0, 1 << 20, 32768))
            if wrong == "refusal":
                peer.send(ChannelOpenFailure(opened.sender, 2, ""))

    path, known = str(tmp_path / "control"), tmp_path / "known"
    with hostile.serving(script) as server:
        known.write_text(f"[{HOST}]:{server.port} {server.host_key.public.line()}\n")
        command = [FASTSSH, "-F", "none", "-M", "-N", "-S", path, "-p", str(server.port), "-o"]
        process = subprocess.Popen(
            [*command, f"UserKnownHostsFile={known}", HOST], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=peers.clean_environment(tmp_path),
        )  # fmt: skip
        try:
            wait_for(lambda: os.path.exists(path), "the master to listen")
            client = Proxied(path, "cat")
            with contextlib.suppress(ConnectionError):
                client.sock.sendall(packet(ChannelOpen("session", 4, 1 << 20, 32768, b"")))
            _, said = process.communicate(timeout=SECONDS)
            client.sock.close()
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 255 and b"unexpected" not in said
    assert (b"the number 0 to two channels" if wrong == "number" else b"a channel that is not open") in said


def test_row02_nothing_is_done_before_a_greeting(shared: Running) -> None:
    for data in (mux.AliveCheck(1).encode(), mux.Terminate(1).encode(), mux.Hello(3).encode()):
        hostile = Raw(shared.path, greet=False)
        hostile.sock.sendall(data)
        assert hostile.receive() == mux.Hello(mux.VERSION)
        assert hostile.receive() is None
        hostile.sock.close()


def test_requests_that_are_not_known_or_make_no_sense_are_refused(shared: Running) -> None:
    client = Raw(shared.path)
    for request, reason in (
        (b"\0\0\0\x0c\x10\0\0\x7f\0\0\0\1abcd", "unsupported request"),
        (mux.OpenForward(1, 9, b"", 80, b"h", 80).encode(), "Invalid forwarding request"),
        (mux.OpenForward(1, 1, b"", 80, b"", 80).encode(), "Invalid forwarding request"),
        (mux.OpenForward(1, 1, b"a\0b", 80, b"h", 80).encode(), "Invalid forwarding request"),
        (mux.CloseForward(1, 9, b"", 80, b"h", 80).encode(), "port not forwarded"),
    ):
        client.sock.sendall(request)
        assert client.receive() == mux.Failure(1, reason)
    client.sock.close()


def test_row11_descriptors_that_nobody_asked_for_are_closed(shared: Running) -> None:
    before = len(shared.descriptors())
    read, write = os.pipe()
    for count, message in ((3, mux.AliveCheck(1)), (1, SESSION), (12, mux.AliveCheck(1)), (3, mux.Ok(1))):
        client = Raw(shared.path)
        socket.send_fds(client.sock, [message.encode()], [write] * count)
        client.sock.sendall(b"\0" * message.descriptors)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.ends()
    os.close(write)
    assert os.read(read, 1) == b""  # nobody has it any more
    os.close(read)
    wait_for(lambda: len(shared.descriptors()) <= before, "descriptors to be closed")


def test_a_session_without_descriptors_or_with_useless_ones_is_refused(shared: Running, tmp_path: Path) -> None:
    client = Raw(shared.path)
    client.sock.sendall(SESSION.encode() + b"\0\0\0")
    assert client.receive() == mux.Failure(1, "did not receive file descriptors")
    assert client.ends()
    directory = os.open(tmp_path, os.O_RDONLY)
    listener = socket.socket(socket.AF_UNIX)
    for useless in (directory, listener.fileno()):
        client = Raw(shared.path)
        client.sock.sendall(SESSION.encode())
        for _ in range(3):
            socket.send_fds(client.sock, [b"\0"], [useless])
        assert client.ends()
    os.close(directory)
    listener.close()


def test_a_second_session_of_a_client_is_refused(shared: Running) -> None:
    client = Raw(shared.path)
    read, write = os.pipe()
    waits = mux.NewSession(1, b"", 0, 0, 0, 0, mux.NO_ESCAPE, b"", b"cat")
    for request in (1, 2):
        client.sock.sendall(mux.NewSession(request, *(getattr(waits, name) for name, _ in waits._layout[1:])).encode())
        for _ in range(3):
            socket.send_fds(client.sock, [b"\0"], [read if request == 1 else write])
    assert isinstance(client.receive(), mux.SessionOpened)
    assert client.receive() == mux.Failure(2, "Multiple sessions not supported")
    os.close(write)
    os.close(read)
    client.sock.close()


def test_programs_inherit_no_descriptor_of_a_client(shared: Running) -> None:
    client = Raw(shared.path)
    read, write = os.pipe()
    client.sock.sendall(mux.NewSession(1, b"", 0, 0, 0, 0, mux.NO_ESCAPE, b"", b"cat").encode())
    for _ in range(3):
        socket.send_fds(client.sock, [b"\0"], [read])
    assert isinstance(client.receive(), mux.SessionOpened)
    assert shared.process is not None
    pipe, flags = os.readlink(f"/proc/self/fd/{read}"), []
    for name in os.listdir(f"/proc/{shared.process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{shared.process.pid}/fd/{name}") == pipe:
                text = Path(f"/proc/{shared.process.pid}/fdinfo/{name}").read_text()
                flags.append(int(text.split("flags:")[1].split()[0], 8))
    assert flags and all(each & os.O_CLOEXEC for each in flags)
    os.close(write)
    os.close(read)
    client.sock.close()


def test_row12_a_client_that_reads_no_replies_is_left(shared: Running) -> None:
    client = Raw(shared.path)
    with contextlib.suppress(ConnectionError, TimeoutError):
        client.sock.settimeout(5)
        for _ in range(2000):
            client.sock.sendall(mux.AliveCheck(1).encode() * 100)
    client.sock.close()
    assert shared.run("fastssh", "-O", "check", HOST).returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason=f"{peers.NOT_HERE}: only root can become another user")
def test_row24_another_user_is_no_client(sshd: Peer, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with master(sshd, tmp_path) as running:
        os.chmod(running.path, 0o666)
        for parent in tmp_path.parents:
            if str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(running.path)
                    status = 0 if sock.recv(1) == b"" else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert "multiplex uid mismatch: peer euid 65534" in (tmp_path / "master.log").read_text()
