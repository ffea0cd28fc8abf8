"""fastssh-scp from its command line to a server, without a terminal: what is copied, said and returned."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.copying import FASTSSH_SCP, random_file
from tests.support.peers import Keys, Peer, clean_environment, free_port

SECONDS = 60
FIRST_IS_DONE = 600_000  # bytes of a limited copy: more than is asked for ahead, so what came before is answered


@pytest.fixture
def run(server: Peer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run(*arguments): fastssh-scp with a home of its own, which reaches ``server`` by the name "server"."""
    ssh = tmp_path / "home/.ssh"
    ssh.mkdir(parents=True, mode=0o700)
    config = ssh / "config"
    config.write_text(
        f"Host server\n HostName {server.host}\n Port {server.port}\n User {server.user}\n IdentityFile {server.key}\n"
        f" UserKnownHostsFile {server.known_hosts}\nHost *\n GlobalKnownHostsFile none\n IdentitiesOnly yes\n"
    )
    config.chmod(0o600)

    def run_it(*arguments: str | os.PathLike[str], **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [FASTSSH_SCP, *map(os.fspath, arguments)], env=clean_environment(tmp_path / "home", **environment),
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
            start_new_session=True,  # no terminal to ask on
        )
        assert "Traceback" not in done.stderr
        return done

    return run_it


Run = Callable[..., subprocess.CompletedProcess[str]]


def small(peer: Peer) -> Path:
    """The path of a small file on the server."""
    (peer.root / "small").write_text("small")
    return peer.root / "small"


# -- what is copied ----------------------------------------------------------------------------------------------------


def test_files_and_trees_go_both_ways_silently(run: Run, server: Peer, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    for number, place in enumerate(("one", "a/two", "a/b/three: x")):
        random_file(tree / place, 1000 * number)
    (tree / "one").chmod(0o640)
    os.utime(tree / "one", (1_000_000_000, 1_100_000_000))
    there = server.root / "cli-trees"
    there.mkdir(exist_ok=True)
    for names in (["-rp", "tree", f"server:{there}"], ["-pr", f"scp://server//{there}/tree", "back"]):
        done = run(*names)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    status = (tmp_path / "back/one").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1_100_000_000)
    for place in ("one", "a/two", "a/b/three: x"):
        assert (tmp_path / "back" / place).read_bytes() == (tree / place).read_bytes()


def test_several_sources_and_patterns_go_into_a_folder(run: Run, server: Peer, tmp_path: Path) -> None:
    for name in ("p1.txt", "p2.txt", "q.txt", "local"):
        (server.root / name).write_text(name)
        (tmp_path / name).write_text(name)
    (tmp_path / "into").mkdir()
    done = run(f"server:{server.root}/p*.txt", "local", f"scp://server/{server.root}/q.txt", "into")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path / "into")) == ["local", "p1.txt", "p2.txt", "q.txt"]
    done = run("p1.txt", "p2.txt", "nowhere/")
    assert (done.returncode, done.stderr) == (1, "fastssh-scp: nowhere/: No such file or directory\n")
    done = run("p1.txt", "server:/", "local")
    assert (done.returncode, done.stderr) == (1, "fastssh-scp: local: Not a directory\n")


def test_local_copies_are_left_to_cp_without_a_shell(run: Run, tmp_path: Path) -> None:
    (tmp_path / "-x; touch mark").write_text("data")
    assert run("--", "-x; touch mark", "./co:py").returncode == 0
    assert (tmp_path / "co:py").read_text() == "data"
    assert not (tmp_path / "mark").exists()
    done = run("missing", "copy")
    assert done.returncode == 1
    assert "missing" in done.stderr


def test_names_with_all_kinds_of_characters_survive(run: Run, server: Peer, tmp_path: Path) -> None:
    names = [b"sp ace", b"q'uo\"te", b"$HOME;`x`", b"\xff\xfe", "ünï".encode(), b"-r", b"%h", b"a\nb\x1b[31m"]
    source = tmp_path / "names"
    source.mkdir()
    for name in names:
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
    there = server.root / "cli-names"
    assert run("-r", "names", f"server:{there}").returncode == 0
    assert run("-r", f"server:{there}", "again").returncode == 0
    assert sorted(os.listdir(os.fsencode(tmp_path / "again"))) == sorted(names)


def test_json_is_one_object_on_standard_output(run: Run, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "file", 100_000)
    done = run("--json", "-c", "aes256-ctr", "-o", "MACs=hmac-sha2-512-etm@openssh.com", "file", "missing",
               f"server:{server.root}/")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (found["files"], found["bytes"], found["exit_status"]) == (1, 100_000, 1)
    assert (found["cipher"], found["mac"]) == ("aes256-ctr", "hmac-sha2-512-etm@openssh.com")
    assert found["kex"]
    assert found["host_key_algorithm"]
    assert found["errors"] == [
        {"name": "missing", "reason": "No such file or directory", "type": "FileNotFoundError"}
    ]
    assert done.stderr == "fastssh-scp: missing: No such file or directory\n"
    assert found["seconds"] > 0
    assert 0 < found["cpu_user_seconds"] < SECONDS


def test_the_rate_limit_holds_in_both_directions(run: Run, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "limited", 600_000)
    for names in (["limited", f"server:{server.root}/limited"], [f"server:{server.root}/limited", "back"]):
        done = run("--json", "-l", "2400", *names)  # 307,200 bytes a second
        assert done.returncode == 0
        assert json.loads(done.stdout)["seconds"] > 0.9


# -- what is said ------------------------------------------------------------------------------------------------------


def one_line(done: subprocess.CompletedProcess[str], *parts: str, status: int) -> None:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fastssh-scp: ")
    for part in parts:
        assert part in lines[0]
    assert done.returncode == status


def test_an_unknown_host_name_is_one_line(run: Run) -> None:
    one_line(run("nosuchhost.invalid:x", "."), "Could not resolve hostname nosuchhost.invalid", status=255)


def test_a_refused_connection_is_one_line(run: Run) -> None:
    port = free_port()
    one_line(run("-P", str(port), "127.0.0.1:x", "."), f"127.0.0.1 port {port}: Connection refused", status=255)


def test_an_unknown_host_key_is_refused_when_nobody_can_be_asked(run: Run, server: Peer, tmp_path: Path) -> None:
    options = ["-o", f"UserKnownHostsFile={tmp_path}/known"]
    for batch in ([], ["-B"]):
        one_line(run(*batch, *options, "server:x", "."), "host key is known", "verification failed", status=255)
    assert not (tmp_path / "known").exists()
    done = run(*options, "-o", "StrictHostKeyChecking=accept-new", f"server:{small(server)}", "small")
    assert done.returncode == 0
    assert "Permanently added" in done.stderr
    assert run(*options, "-q", f"server:{small(server)}", "small").stderr == ""


def test_a_changed_host_key_is_refused_loudly(run: Run, server: Peer, keys: Keys, tmp_path: Path) -> None:
    other = keys.user("ed25519").with_suffix(".pub").read_text()
    (tmp_path / "known").write_text(f"[{server.host}]:{server.port} {other}")
    done = run("-o", f"UserKnownHostsFile={tmp_path}/known", "server:x", ".")
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("fastssh-scp: ")


def test_no_common_algorithm_names_both_offers(run: Run, start_server: Callable[..., Peer], tmp_path: Path) -> None:
    peer = start_server(Ciphers="aes256-ctr")
    done = run("-c", "aes128-gcm@openssh.com", *peer.options(), f"{peer.host}:x", ".")
    one_line(done, "no common cipher", "aes128-gcm@openssh.com", "aes256-ctr", peer.host, status=255)


def test_rsa_keys_that_are_too_small_are_refused(run: Run, server: Peer, keys: Keys) -> None:
    options = ["-o", "RequiredRSASize=3072"]  # those of the tests have 2048 bits
    done = run(*options, "-o", "HostKeyAlgorithms=rsa-sha2-512", f"server:{small(server)}", "small")
    one_line(done, "2048 bits", "3072", "verification failed", status=255)
    known = f"UserKnownHostsFile={server.known_hosts}"
    key = ["-F", "none", "-P", str(server.port), "-i", keys.user("rsa"), "-o", known]
    one_line(run(*options, *key, f"{server.host}:{small(server)}", "small"), "Permission denied", status=255)
    assert run(*key, f"{server.host}:{small(server)}", "small").returncode == 0


def test_no_login_is_one_line(run: Run, server: Peer) -> None:
    one_line(run("-o", "IdentityFile=none", "-o", "PubkeyAuthentication=no", "server:x", "."), "Permission denied",
             status=255)


def test_a_missing_identity_is_told_and_the_others_are_tried(run: Run, server: Peer) -> None:
    done = run("-i", "/nonexistent/key", f"server:{small(server)}", "small")
    assert done.returncode == 0
    assert done.stderr == "Warning: Identity file /nonexistent/key not accessible: No such file or directory.\n"


@pytest.mark.parametrize("kind", ["garbage", "folder", "fifo", "open to others"])
def test_row24_a_key_file_that_cannot_be_used_is_told_by_name(
    run: Run, server: Peer, keys: Keys, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "unusable"
    match kind:
        case "garbage":
            path.write_text("nonsense")
            path.chmod(0o600)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path, 0o600)
        case _:
            path.write_bytes(keys.user("ed25519").read_bytes())
            path.chmod(0o644)
    options = ["-P", str(server.port), "-o", f"UserKnownHostsFile={server.known_hosts}"]
    done = run("-F", "none", "-i", path, *options, f"{server.host}:x", ".")
    assert done.returncode == 255
    assert str(path) in done.stderr
    assert re.search(r"Permission denied \(publickey(,[\w-]+)*\)\.$", done.stderr)


def test_broken_configurations_are_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("Port 22\n\nFoo bar\n")
    one_line(run("-F", "broken", "h:x", "."), "broken:3: Bad configuration option: foo", status=255)
    one_line(run("-F", "missing", "h:x", "."), "missing: No such file", status=255)
    one_line(run("-o", "Foo=1", "h:x", "."), "command line: Bad configuration option: foo", status=255)
    one_line(run("-c", "rot13", "h:x", "."), "unknown cipher: 'rot13'", status=255)
    one_line(run("-o", "RefuseConnection=j", "h:x", "."), "RefuseConnection: j", status=255)
    (tmp_path / "home/.ssh/config").chmod(0o666)
    one_line(run("h:x", "."), ".ssh/config: bad owner or permissions", status=255)


@pytest.mark.parametrize("host", ["-oProxyCommand=touch${IFS}mark", "$(touch mark)", "a;touch mark", "`touch mark`"])
def test_row20_a_host_name_for_a_shell_is_refused(run: Run, tmp_path: Path, host: str) -> None:
    done = run("--", f"x@{host}:f", ".")
    assert done.returncode in (1, 255)
    assert "not allowed" in done.stderr
    assert not (tmp_path / "mark").exists()


def test_every_failure_names_its_file_and_the_rest_goes_on(run: Run, server: Peer, tmp_path: Path) -> None:
    (tmp_path / "good").write_text("good")
    (tmp_path / "folder").mkdir()
    done = run("missing", "folder", "good", f"server:{server.root}")
    assert done.returncode == 1
    assert sorted(done.stderr.splitlines()) == [
        "fastssh-scp: folder: not a regular file", "fastssh-scp: missing: No such file or directory",
    ]
    assert (server.root / "good").read_text() == "good"
    done = run(f"server:{server.root}/missing", f"server:{server.root}/good", "folder")
    assert done.returncode == 1
    assert re.fullmatch(f"fastssh-scp: {server.root}/missing: No such file( or directory)?\n", done.stderr)
    assert (tmp_path / "folder/good").read_text() == "good"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is missing: Linux has it")
def test_a_full_disk_is_an_error(run: Run, server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "file", 300_000)
    (server.root / "full").write_bytes(bytes(300_000))
    one_line(run(f"server:{server.root}/full", "/dev/full"), "/dev/full: No space left on device", status=1)
    one_line(run("file", "server:/dev/full"), "file: ", "/dev/full: ", status=1)


def test_row19_names_and_reasons_from_the_other_side_are_escaped(run: Run, server: Peer, tmp_path: Path) -> None:
    for name in ("\x1b]0;title\x07", "\u202ereversed", "a\rb"):
        done = run(f"server:{server.root}/missing{name}", ".")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr[:-1].isprintable()
        one_line(run(f"missing{name}", "server:x"), "missing", "\\", status=1)


def test_a_server_that_hangs_up_is_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).accept()[0].close()"
        number = server.fileno()
        process = subprocess.Popen([sys.executable, "-c", code, str(number)], pass_fds=[number])
        try:
            one_line(run("-P", str(server.getsockname()[1]), "127.0.0.1:x", "."), "127.0.0.1", status=255)
        finally:
            process.wait(SECONDS)


def test_a_server_killed_in_the_middle_ends_the_copy_with_an_error(
    run: Run, start_server: Callable[..., Peer], tmp_path: Path
) -> None:
    peer = start_server()
    (peer.root / "first").write_bytes(bytes(1000))
    (peer.root / "large").write_bytes(bytes(4_000_000))
    sources = [peer.remote(peer.root / name) for name in ("first", "large")]
    with started(tmp_path, "-F", "none", "-l", "8000", "--json", *peer.options(), *sources, ".") as process:
        wait_until(lambda: size(tmp_path / "large") > FIRST_IS_DONE, process)
        for pid in reversed(peer.sessions()):
            with contextlib.suppress(ProcessLookupError):  # it ends when what it started does
                os.kill(pid, signal.SIGKILL)
        out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 255
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("fastssh-scp: ")
    found = json.loads(out)
    assert (found["files"], found["bytes"], found["exit_status"]) == (1, 1000, 255)
    assert size(tmp_path / "large") < 4_000_000


# -- signals -----------------------------------------------------------------------------------------------------------


def started(tmp_path: Path, *arguments: str | os.PathLike[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FASTSSH_SCP, *map(os.fspath, arguments)], env=clean_environment(tmp_path), cwd=tmp_path, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("upload", [True, False])
def test_a_signal_in_a_copy_ends_it_with_a_message(
    server: Peer, tmp_path: Path, number: signal.Signals, status: int, upload: bool
) -> None:
    total = 8_000_000
    here, there = (tmp_path, server.root) if upload else (server.root, tmp_path)
    sources = [random_file(here / f"signal-{number}-{length}", length) for length in (1000, total)]
    folder = there / f"stopped-{number}"
    folder.mkdir()
    target = folder / sources[1].name
    names = [*sources, server.remote(folder)] if upload else [*map(server.remote, sources), folder]
    with started(tmp_path, "-F", "none", "-l", "8000", "--json", *server.options(), *names) as process:
        wait_until(lambda: size(target) > FIRST_IS_DONE, process)
        process.send_signal(number)
        out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == status
    assert error.splitlines()[-1].startswith("fastssh-scp: interrupted")
    assert "Traceback" not in error
    found = json.loads(out)
    assert (found["interrupted"], found["exit_status"]) == (True, status)
    assert (found["files"], found["bytes"]) == (1, 1000)
    assert size(target) < total


def test_ctrl_c_does_not_wait_for_a_server_that_stopped_answering(
    start_server: Callable[..., Peer], tmp_path: Path
) -> None:
    peer = start_server()
    (peer.root / "large").write_bytes(bytes(8_000_000))
    source = peer.remote(peer.root / "large")
    with started(tmp_path, "-F", "none", "-l", "8000", *peer.options(), source, "large") as process:
        wait_until(lambda: size(tmp_path / "large") > 0, process)
        stopped = peer.sessions()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=SECONDS)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("fastssh-scp: interrupted")
    assert size(tmp_path / "large") < 8_000_000


def test_an_ignored_signal_stays_ignored(server: Peer, tmp_path: Path) -> None:
    random_file(tmp_path / "nohup", 1_000_000)
    there = server.remote(server.root / "nohup")
    command = [str(FASTSSH_SCP), "-F", "none", "-l", "8000", *server.options(), "nohup", there]
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command]
    process = subprocess.Popen(ignoring, env=clean_environment(tmp_path), cwd=tmp_path, start_new_session=True,
                               stderr=subprocess.PIPE, text=True)
    with process:
        wait_until(lambda: size(server.root / "nohup") > 0, process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(SECONDS) == 0
    assert size(server.root / "nohup") == 1_000_000


def test_ctrl_c_while_connecting_ends_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        with started(tmp_path, "-F", "none", "-P", port, "127.0.0.1:x", ".") as process:
            silent.settimeout(SECONDS)
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(8) == b"SSH-2.0-"
                process.send_signal(signal.SIGINT)
                _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert error == "fastssh-scp: interrupted\n"


def test_an_unexpected_error_is_one_line_with_a_hint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import fastssh.cli.scp.job\n"
        "async def run(self): raise RuntimeError('odd\\nthing')\n"
        "fastssh.cli.scp.job.CopyJob.run = run\n"
    )
    done = run("a", "h:b", PYTHONPATH=str(tmp_path))
    one_line(done, "unexpected RuntimeError: odd\\012thing", "FASTSSH_DEBUG=1", status=1)
    debug = subprocess.run([FASTSSH_SCP, "a", "h:b"], capture_output=True, text=True, timeout=SECONDS, check=False,
                           env=clean_environment(tmp_path, PYTHONPATH=str(tmp_path), FASTSSH_DEBUG="1"))
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


def test_a_closed_standard_output_is_no_traceback(tmp_path: Path) -> None:
    for options in (["--help"], ["--version"], ["--json", "missing", "copy"]):
        for redirection in (">&-", ">/dev/full"):
            command = ["sh", "-c", f'"$@" {redirection}', "sh", str(FASTSSH_SCP), *options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, check=False,
                                  env=clean_environment(tmp_path))
            assert "Traceback" not in done.stderr
            assert "Exception ignored" not in done.stderr
            assert done.returncode != 0 or redirection == ">&-"


def test_closed_standard_descriptors_are_taken_by_nothing_else(tmp_path: Path) -> None:
    """What a library or a child writes to descriptor 2 must not end up in a file that is copied, or on the wire."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, fastssh.cli.scp.job\n"
        "async def run(self):\n"
        "    found = [os.path.realpath(f'/proc/self/fd/{number}') for number in range(3)]\n"
        "    open('found', 'w').write(' '.join(found))\n"
        "    return 0\n"
        "fastssh.cli.scp.job.CopyJob.run = run\n"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", str(FASTSSH_SCP), "a", "h:b"]
    done = subprocess.run(command, timeout=SECONDS, cwd=tmp_path, check=False,
                          env=clean_environment(tmp_path, PYTHONPATH=str(tmp_path)))
    assert done.returncode == 0
    assert (tmp_path / "found").read_text() == " ".join(["/dev/null"] * 3)
