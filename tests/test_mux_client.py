"""Our client of OpenSSH's master: -O commands, sessions and forwards over `ssh -M`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastssh.cli.mux import control
from fastssh.cli.mux.client import MasterConnection
from fastssh.cli.mux.lookup import find_master
from fastssh.config.evaluate import load
from fastssh.config.forwards import Forward, Kind, parse
from fastssh.config.settings import Settings
from fastssh.config.tokens import Local
from fastssh.errors import MultiplexError
from tests.support import peers
from tests.support.peers import HOST, Peer, free_port, wait_for
from tests.support.watching import open_descriptors


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(open_descriptors())
    yield
    assert len(open_descriptors()) <= before


@pytest.fixture
def stock_master(sshd: Peer, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The control path and process of an OpenSSH master."""
    path = str(tmp_path / "control")
    command = [peers.program("ssh", "openssh-client"), "-F", "none", *sshd.options(), "-N", "-M", "-S", path,
               "-o", "SendEnv=FASTSSH_*", HOST]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: os.path.exists(path), "the master to listen")
        yield path, process
    finally:
        for _ in range(30):  # OpenSSH's client loses a signal that comes just before it waits
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=1)
                break


def settings(path: str, directory: Path, *lines: str) -> Settings:
    local = Local("me", 1000, str(directory), "box", {})
    return load("host", file="none", overrides=[f"ControlPath {path}", *lines], local=local)


def command(name: str, configured: Settings, *forwards: Forward, quiet: bool = False) -> tuple[int, list[str], str]:
    """-O: its exit status, the lines it said, and what it printed."""
    said: list[str] = []
    shown: list[str] = []
    status = control.run(name, configured, forwards, say=said.append, show=shown.append, quiet=quiet)
    return status, said, "".join(shown)


def run_over(path: str, line: str, data: bytes = b"", **options: object) -> tuple[int | None, bytes, bytes]:
    """A session's exit status and output, with ``data`` as its input."""
    pipes = [os.pipe() for _ in range(3)]
    (stdin, give), (out, stdout), (err, stderr) = pipes
    with MasterConnection(path) as master:
        session = master.open_session([stdin, stdout, stderr], command=line.encode(), **options)  # type: ignore[arg-type]
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        with open(give, "wb") as giving, open(out, "rb") as reading, open(err, "rb") as errors:
            writer = threading.Thread(target=lambda: (giving.write(data), giving.close()))
            writer.start()
            found, said = reading.read(), errors.read()
            writer.join()
        return master.wait(session), found, said


def test_commands_to_a_stock_master(
    stock_master: tuple[str, subprocess.Popen[bytes]], tmp_path: Path, sshd: Peer
) -> None:
    path, process = stock_master
    here, configured = free_port(), settings(path, tmp_path)
    assert command("check", configured) == (0, [f"Master running (pid={process.pid})\r"], "")
    local = parse(Kind.LOCAL, f"{here}:{HOST}:{sshd.port}")
    chosen = parse(Kind.REMOTE, f"0:{HOST}:{sshd.port}")
    socks = parse(Kind.DYNAMIC, f":{free_port()}")
    status, said, shown = command("forward", configured, chosen, local, socks)
    assert (status, said) == (0, [])
    for port in (here, int(shown), socks.listen[1]):
        assert peers._greets(port) or port == socks.listen[1]
    assert command("cancel", configured, local, chosen, socks) == (0, [], "")
    assert command("cancel", configured, local) == (
        0, ["forwarding request failed: port not forwarded", "master cancel forward request failed"], "",
    )  # fmt: skip
    taken = parse(Kind.LOCAL, f"{HOST}:{sshd.port}:h:80")
    assert command("forward", configured, taken)[:2] == (
        255, ["forwarding request failed: Port forwarding failed", "master forward request failed"],
    )  # fmt: skip
    assert command("stop", configured) == (0, ["Stop listening request sent.\r"], "")
    assert command("check", configured)[:2] == (255, [f"Control socket connect({path}): No such file or directory"])


def test_a_stock_master_is_ended(stock_master: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    path, process = stock_master
    assert command("exit", settings(path, tmp_path), quiet=True) == (0, [], "")
    process.wait(20)


def test_sessions_of_a_stock_master(stock_master: tuple[str, subprocess.Popen[bytes]]) -> None:
    path, _ = stock_master
    data = os.urandom(3 << 20)
    assert run_over(path, "cat; echo oops >&2; exit 7", data) == (7, data, b"oops\n")
    environment = [("FASTSSH_A", "x"), ("OTHER", "y")]
    assert run_over(path, "echo $FASTSSH_A$OTHER", environment=environment) == (0, b"x\n", b"")
    assert run_over(path, "kill -9 $$")[0] is None
    status, found, _ = run_over(path, "tty", tty=True, term="vt100")
    assert (status, found.startswith(b"/dev/")) == (0, True)


def test_a_connection_from_the_server_over_a_stock_master(
    stock_master: tuple[str, subprocess.Popen[bytes]], sshd: Peer
) -> None:
    path, _ = stock_master
    (stdin, give), (out, stdout) = os.pipe(), os.pipe()
    with MasterConnection(path) as master:
        session = master.open_stdio([stdin, stdout], HOST.encode(), sshd.port)
        for descriptor in (stdin, stdout):
            os.close(descriptor)
        assert os.read(out, 8) == b"SSH-2.0-"
        os.close(give)
        os.close(out)
        assert master.wait(session) is None


def test_a_stock_master_in_proxy_mode(
    stock_master: tuple[str, subprocess.Popen[bytes]], sshd: Peer
) -> None:
    path, _ = stock_master
    data, there = os.urandom(1 << 20), free_port()
    command = [
        str(Path(sys.executable).with_name("fastssh")), "-F", "none", "-S", path, "-O", "proxy",
        "-R", f"{there}:{HOST}:{sshd.port}", HOST, "cat; exit 7",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: peers._greets(there), "the forward")
    out, _ = process.communicate(data, timeout=30)
    assert (process.returncode, out == data) == (7, True)


def test_who_is_a_masters_client(tmp_path: Path, stock_master: tuple[str, subprocess.Popen[bytes]]) -> None:
    path, process = stock_master
    said: list[str] = []
    for mode in ("no", "auto", "autoask"):
        master = find_master(settings(path, tmp_path, f"ControlMaster {mode}"), said.append)
        assert master is not None
        with master:
            assert master.check() == process.pid
    for mode in ("yes", "ask"):
        assert find_master(settings(path, tmp_path, f"ControlMaster {mode}"), said.append) is None
    assert find_master(settings("none", tmp_path), said.append) is None
    assert find_master(settings(str(tmp_path / "missing"), tmp_path), said.append) is None
    assert said == []
    stale = tmp_path / "stale"
    with peers.socket.socket(peers.socket.AF_UNIX) as listener:
        listener.bind(str(stale))
    assert find_master(settings(str(stale), tmp_path), said.append) is None
    assert said.pop() == f"Control socket connect({stale}): Connection refused"
    assert find_master(settings(str(stale), tmp_path, "ControlMaster auto"), said.append) is None
    assert not stale.exists() and said == []
    stale.write_text("no socket, and somebody's")
    assert find_master(settings(str(stale), tmp_path, "ControlMaster auto"), said.append) is None
    assert stale.exists() and said == []
    with pytest.raises(MultiplexError, match="ControlPath too long"):
        find_master(settings("/" + "x" * 107, tmp_path), said.append)


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0\0\0\4", b"\0\0\0\x08\0\0\0\1\0\0\0\3", b"\0\0\0\x08\x80\0\0\1\0\0\0\0", b"\xff\xff\xff\xff",
     b"\0\0\0\x08\0\0\0\1\0\0\0\4\0\0\0\x08\x80\0\0\1\0\0\0\7", b"\0\0\0\x08\0\0\0\1\0\0\0\4\0\0\0\4\x80\0\0\1"],
)  # fmt: skip
def test_row26_a_master_that_is_none_is_a_clear_error(tmp_path: Path, answer: bytes) -> None:
    path = str(tmp_path / "control")
    with peers.socket.socket(peers.socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(answer)
                sock.shutdown(peers.socket.SHUT_WR)
                while sock.recv(100):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        status, said, _ = command("check", settings(path, tmp_path))
        thread.join()
    assert status == 255
    assert len(said) == 1 and said[0].isprintable()
