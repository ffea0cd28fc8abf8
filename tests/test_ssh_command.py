"""fastssh without a terminal: commands over descriptors of every kind, exit statuses, forwards, and ssh's words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import HOST, Keys, Peer, descendants, free_port, program, wait_for
from tests.support.ssh_tool import FASTSSH, SECONDS, command, run, start

BIG = 3 * 1024 * 1024 + 17  # more than a window, and no multiple of anything


@pytest.fixture(params=["sshd", "fastsshd"])
def server(request: pytest.FixtureRequest) -> Peer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


# -- a command ---------------------------------------------------------------------------------------------------------


def test_a_commands_streams_and_status_are_its_own(server: Peer) -> None:
    done = run(server, "cat; echo out; echo err >&2; exit 7", given=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\nout\n", b"err\n")


def test_bytes_of_a_large_transfer_are_the_same_in_both_directions(server: Peer) -> None:
    data = os.urandom(BIG)
    assert run(server, "cat", given=data).stdout == data
    assert run(server, "cat >&2", given=data).stderr == data


def test_a_command_ended_by_a_signal_is_told_of_by_the_status(server: Peer) -> None:
    done = run(server, "kill -9 $$")
    assert (done.returncode, done.stderr) == (255, b"")


def test_a_shell_is_given_where_no_command_is(server: Peer) -> None:
    done = run(server, given=b"echo $((40 + 2)); exit 3\n")
    assert (done.returncode, done.stdout) == (3, b"42\n")
    assert done.stderr == b"Pseudo-terminal will not be allocated because stdin is not a terminal.\n"
    assert run(server, options=["-T"], given=b"exit 4\n").stderr == b""


def test_a_subsystem_is_started_by_its_name(server: Peer) -> None:
    with start(server, "sftp", options=["-s"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\0\0\0\5\1\0\0\0\3")  # INIT, and VERSION
        process.stdin.flush()
        assert process.stdout.read(9)[4:] == b"\2\0\0\0\3"
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    done = run(server, "nothing", options=["-s"])
    assert (done.returncode, done.stderr) == (255, b"subsystem request failed on channel 0\n")


def test_the_end_of_input_ends_only_input(server: Peer) -> None:
    assert run(server, "cat > /dev/null; sleep 0.2; echo after", given=b"x").stdout == b"after\n"


def test_the_end_of_a_command_does_not_wait_for_input(server: Peer) -> None:
    reading, writing = os.pipe()
    try:
        assert run(server, "echo done", stdin=reading).stdout == b"done\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_reader_that_leaves_ends_a_command_that_writes_without_end(server: Peer) -> None:
    with start(server, "exec yes") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(SECONDS) == 255  # as ssh's: a signal ended the command
        assert process.stderr.read() == b""


def test_input_that_nobody_reads_is_given_up(server: Peer) -> None:
    with open("/dev/zero", "rb") as endless:
        assert run(server, "head -c 1; exec <&-; sleep 0.3; echo x", stdin=endless).stdout == b"\0x\n"


def test_variables_are_sent_and_set(sshd: Peer) -> None:
    done = run(
        sshd, "echo $FASTSSH_A $FASTSSH_B $FASTSSH_C.", env={"FASTSSH_A": "1", "FASTSSH_C": "3"},
        options=["-o", "SendEnv=FASTSSH_A FASTSSH_X*", "-o", "SetEnv=FASTSSH_B=2"],
    )  # fmt: skip
    assert done.stdout == b"1 2 .\n"


def test_a_remote_command_and_a_local_one_come_from_the_configuration(sshd: Peer, tmp_path: Path) -> None:
    options = [
        "-o", "RemoteCommand=echo %n", "-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo %p > {tmp_path}/l",
    ]  # fmt: skip
    assert run(sshd, options=options).stdout == f"{sshd.host}\n".encode()
    assert (tmp_path / "l").read_text() == f"{sshd.port}\n"
    done = run(sshd, "true", options=options)
    assert (done.returncode, done.stderr) == (255, b"fastssh: Cannot execute command-line and remote command.\n")


# -- descriptors -------------------------------------------------------------------------------------------------------


def test_files_and_devices_are_read_and_written(sshd: Peer, tmp_path: Path) -> None:
    """epoll refuses both."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(BIG))
    with source.open("rb") as reading, target.open("wb") as writing:
        writing.write(b"before")
        writing.flush()
        assert run(sshd, "cat", stdin=reading, stdout=writing).returncode == 0
        writing.write(b"after")  # where it ended: the position is the same file's
    assert target.read_bytes() == b"before" + source.read_bytes() + b"after"
    with open(os.devnull, "r+b") as nothing:
        assert run(sshd, "head -c 100000 /dev/zero; cat", stdin=nothing, stdout=nothing).returncode == 0


def test_closed_descriptors_are_nobodys(sshd: Peer) -> None:
    shell = ["sh", "-c", '"$@" 0<&- 1>&-', "sh", *command(sshd, "cat; echo out; echo err >&2; exit 5")]
    done = subprocess.run(shell, capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"", b"err\n")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_other_processes_share_stays_blocking(sshd: Peer, kind: str) -> None:
    """O_NONBLOCK is the open file's, not the descriptor's: a pager that shares it would get EAGAIN."""
    make = os.pipe if kind == "pipe" else lambda: tuple(end.detach() for end in socket.socketpair())
    (stdin, write), (read, stdout) = make(), make()
    try:
        with start(sshd, "echo on; cat", stdin=stdin, stdout=stdout, stderr=stdout) as process:
            assert os.read(read, 10) == b"on\n"
            for fd in (stdin, stdout):
                assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
            os.write(write, b"more\n")
            assert os.read(read, 10) == b"more\n"
            process.terminate()
            assert process.wait(SECONDS) == 255
    finally:
        for fd in (stdin, write, read, stdout):
            os.close(fd)


def test_a_socket_serves_as_input_and_output(sshd: Peer) -> None:
    ours, theirs = socket.socketpair()
    data = os.urandom(BIG)
    with ours, start(sshd, "cat", stdin=theirs, stdout=theirs) as process:
        theirs.close()
        received = bytearray()
        ours.settimeout(SECONDS)
        sent = 0
        while sent < len(data) or len(received) < len(data):
            if sent < len(data):
                sent += ours.send(data[sent : sent + 65536])
                if sent == len(data):
                    ours.shutdown(socket.SHUT_WR)
            received += ours.recv(1 << 20)
        assert bytes(received) == data
        assert process.wait(SECONDS) == 0


def test_no_input_is_read_with_n(sshd: Peer) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"stays")
    try:
        assert run(sshd, "cat", options=["-n"], stdin=reading).stdout == b""
        assert os.read(reading, 10) == b"stays"
    finally:
        os.close(reading)
        os.close(writing)


# -- forwards, and what goes on in the background ----------------------------------------------------------------------


def greeting(port: int) -> bytes:
    with socket.create_connection((HOST, port), timeout=SECONDS) as connection:
        return connection.recv(4)


def test_standard_input_and_output_are_a_connection_with_w(server: Peer) -> None:
    place = f"{HOST}:{server.port}"
    with start(server, options=["-W", place], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.read(8) == b"SSH-2.0-"
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    inner = " ".join(command(server, options=["-W", "%h:%p"])[:-1])
    assert run(server, "echo inside", options=["-o", f"ProxyCommand={inner} {server.host}"]).stdout == b"inside\n"
    done = run(server, options=["-W", f"{HOST}:{free_port()}"])
    assert done.returncode == 255
    assert re.fullmatch(rb"channel 0: open failed: connect failed: .*\nstdio forwarding failed\n", done.stderr)
    assert b"Bad stdio forwarding specification" in run(server, options=["-W", "nothing"]).stderr


def test_forwards_are_there_before_the_command(sshd: Peer) -> None:
    local, remote, dynamic = free_port(), free_port(), free_port()
    target = f"{HOST}:{sshd.port}"
    script = f"exec 3<>/dev/tcp/{HOST}/{remote}; head -c 4 <&3; echo; read x; true"
    options = ["-L", f"{local}:{target}", "-R", f"{remote}:{target}", "-D", str(dynamic)]
    with start(sshd, f"bash -c '{script}'", options=options, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"SSH-\n"
        assert greeting(local) == b"SSH-"
        with socket.create_connection((HOST, dynamic)) as client:
            client.sendall(b"\4\1" + sshd.port.to_bytes(2, "big") + socket.inet_aton(HOST) + b"\0")
            assert client.recv(8)[:2] == b"\0\x5a"
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_a_forward_that_cannot_be_is_told_of_and_fatal_only_if_asked(sshd: Peer) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        forward = ["-L", f"{HOST}:{taken.getsockname()[1]}:{HOST}:1"]
        done = run(sshd, "echo on", options=forward)
        assert done.stdout == b"on\n" and b"Could not request local forwarding." in done.stderr
        done = run(sshd, "echo on", options=[*forward, "-o", "ExitOnForwardFailure=yes"])
        assert (done.returncode, done.stdout) == (255, b"")


def test_a_tunnel_is_told_of_and_fatal_only_if_asked(sshd: Peer) -> None:
    done = run(sshd, "echo in", options=["-oTunnel=yes"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"Could not request tunnel forwarding.\n")
    done = run(sshd, "echo in", options=["-oTunnel=yes", "-oExitOnForwardFailure=yes"])
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Could not request tunnel forwarding" in done.stderr


@contextlib.contextmanager
def ended(marker: str) -> Iterator[int]:
    """The process whose command line holds ``marker``, ended at the end."""
    found = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _has(int(entry), marker)]
    try:
        assert len(found) == 1
        yield found[0]
    finally:
        for pid in found:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda pid=pid: not _has(pid, marker), f"the end of {pid}")  # type: ignore[misc]


def _has(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_f_returns_when_the_forward_is_up_and_leaves_nothing_open(sshd: Peer) -> None:
    port = free_port()
    forward = f"{port}:{HOST}:{sshd.port}"
    done = run(sshd, options=["-f", "-N", "-L", forward])  # returns: nobody holds its pipes
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    with ended(forward) as pid:
        assert os.getsid(pid) == pid
        assert greeting(port) == b"SSH-"


def test_a_command_in_the_background_writes_where_it_was_told_to(sshd: Peer, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        assert run(sshd, "sleep 0.3; echo later; echo err >&2", options=["-f"], stdout=out, stderr=out).returncode == 0
    assert (tmp_path / "out").read_bytes() == b""
    wait_for(lambda: (tmp_path / "out").read_bytes() == b"later\nerr\n", "its output")


def test_what_fails_before_the_background_has_its_status(sshd: Peer) -> None:
    done = run(sshd, "true", options=["-f", "-o", "HostKeyAlias=stranger"])
    assert done.returncode == 255 and done.stderr.endswith(b"Host key verification failed.\n")


# -- ssh's words -------------------------------------------------------------------------------------------------------


def test_what_goes_wrong_is_said_in_sshs_words(sshd: Peer, keys: Keys, tmp_path: Path) -> None:
    port = free_port()
    done = subprocess.run([FASTSSH, "-F", "none", "-p", str(port), HOST], capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (
        255, f"fastssh: connect to host {HOST} port {port}: Connection refused\n".encode(),
    )  # fmt: skip
    done = subprocess.run([FASTSSH, "-F", "none", "no.invalid"], capture_output=True, timeout=SECONDS)
    assert done.stderr.startswith(b"fastssh: Could not resolve hostname no.invalid: ")
    stranger = tmp_path / "stranger"
    keygen = program("ssh-keygen", "openssh-client")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    words = [word if word != f"IdentityFile={sshd.key}" else f"IdentityFile={stranger}" for word in command(sshd)]
    done = subprocess.run(words, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, start_new_session=True)
    assert done.returncode == 255
    assert re.search(rb"^\S+@127\.0\.0\.1: Permission denied \(publickey[^)]*\)\.\n$", done.stderr, re.M)
    quiet = subprocess.run([*words, "-q"], capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert (quiet.returncode, quiet.stderr) == (255, b"")


def test_row17_a_changed_host_key_is_refused_with_sshs_warning(sshd: Peer, keys: Keys, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(f"[{sshd.host}]:{sshd.port} {keys.user('ed25519').with_suffix('.pub').read_text()}")
    options = ["-o", f"UserKnownHostsFile={other}"]
    words = [str(FASTSSH), "-F", "none", *options, *command(sshd, "echo in")[3:]]
    done = subprocess.run(words, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, start_new_session=True)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert done.stderr.endswith(b"Host key verification failed.\n")
    other.write_text("")
    done = subprocess.run(words, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, start_new_session=True)
    assert (done.returncode, done.stdout) == (255, b"")


def test_a_server_that_goes_away_is_told_of(start_sshd: object) -> None:
    server: Peer = start_sshd()  # type: ignore[operator]
    with start(server, "echo on; sleep 60") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"on\n"
        for pid in descendants(server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert process.wait(SECONDS) == 255
        said = process.stderr.read().decode()
        assert said in (
            f"Connection to {server.host} closed by remote host.\n",
            f"Read from remote host {server.host}: Connection reset by peer\n",
        )


def test_a_signal_ends_it_with_sshs_status(sshd: Peer) -> None:
    with start(sshd, "echo on; sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        process.terminate()
        assert process.wait(SECONDS) == 255


def test_messages_go_to_a_file_and_a_commands_errors_do_not(sshd: Peer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run(sshd, "echo err >&2; exit 3", options=["-E", str(log), "-v"])
    assert (done.returncode, done.stderr) == (3, b"err\n")
    assert "debug1: Exit status 3\n" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    done = run(sshd, "true", options=["-E", str(tmp_path / "no" / "log")])
    assert done.returncode == 255 and b"Couldn't open logfile" in done.stderr


def test_the_configuration_is_printed_with_g(sshd: Peer) -> None:
    done = run(sshd, "ls", options=["-G", "-L", "1:a:2"])
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and f"port {sshd.port}" in lines and "localforward 1 [a]:2" in lines


def test_row20_names_that_a_shell_would_take_apart_go_nowhere(tmp_path: Path) -> None:
    proxy = ["-o", f"ProxyCommand=touch {tmp_path}/ran; echo %h %r"]
    for words in (["--", "-oProxyCommand=x"], [f"`touch {tmp_path}/b`"], ["$(id)"], ["-l", "a;b", "host"], ["a\nb"]):
        done = subprocess.run([FASTSSH, "-F", "none", *proxy, *words], capture_output=True, timeout=SECONDS)
        assert done.returncode == 255
        assert re.fullmatch(rb"fastssh: .*characters that are not allowed.*\n", done.stderr), done.stderr
    assert os.listdir(tmp_path) == []


def test_row24_a_configuration_that_is_no_file_or_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    config = tmp_path / ".ssh" / "config"
    config.write_text("User somebody\n")
    config.chmod(0o666)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run([FASTSSH, "-G", "host"], capture_output=True, env=environment, timeout=SECONDS)
    assert done.returncode == 255 and b"owner or permissions" in done.stderr
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run([FASTSSH, "-F", tmp_path / "fifo", "-G", "host"], capture_output=True, timeout=SECONDS)
    assert done.returncode == 255 and done.stderr.count(b"\n") == 1
