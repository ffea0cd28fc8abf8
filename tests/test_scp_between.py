"""fastssh-scp between two hosts, through programs in place of connections, and with bounds: -3, -R, -S, -D, -X."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastssh.aio import crossload as crossload_module
from fastssh.aio.bridge import Bridge
from fastssh.aio.crossload import crossload
from fastssh.aio.scp_relay import relay
from fastssh.errors import SSHError, TransferError
from fastssh.sftp.tree import CopyOptions
from tests.support.agents import add
from tests.support.copying import FASTSSH_SCP, contents, copy, fastssh_scp, make_tree, random_file, sha256
from tests.support.peers import Peer, clean_environment, program, sftp_server, wait_for
from tests.support.scp_memory import Watcher
from tests.support.watching import open_descriptors

SECONDS = 60
MIB = 1 << 20


def scp(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """fastssh-scp without any server."""
    done = subprocess.run(
        [FASTSSH_SCP, *map(os.fspath, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS,
        stdin=subprocess.DEVNULL, env=clean_environment(tmp_path),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


# --- through this machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_a_tree_goes_from_one_host_to_another(sshd: Peer, tmp_path: Path, protocol: str) -> None:
    there = sshd.root / f"between{protocol}"
    make_tree(there / "tree")
    random_file(there / "tree/large", 9 * MIB + 5)
    summary = copy(sshd, protocol, "-rp", sshd.remote(there / "tree"), sshd.remote(there / "copy"))
    assert contents(there / "copy") == contents(there / "tree")
    assert (summary["files"], summary["bytes"], summary["connections"]) == (5, 600_000 + 9 * MIB + 5, 2)
    (there / "into").mkdir()
    (tmp_path / "local").write_text("local")
    sources = [sshd.remote(there / "tree/a.txt"), tmp_path / "local", sshd.remote(there / "tree/sub dir/b c")]
    copy(sshd, protocol, "-3", *sources, sshd.remote(there / "into"))
    assert sorted(os.listdir(there / "into")) == ["a.txt", "b c", "local"]


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_what_fails_between_two_hosts_is_named_and_the_rest_goes_on(sshd: Peer, protocol: str) -> None:
    there = sshd.root / f"between-failures{protocol}"
    (there / "into/b").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (there / name).write_text(name)
    names = [sshd.remote(there / name) for name in ("a", "b", "missing", "c")]
    done = fastssh_scp(sshd, protocol, *names, sshd.remote(there / "into"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert "missing: No such file" in done.stderr
    assert (there / "into/a").read_text() + (there / "into/c").read_text() == "ac"


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_of_two_sources_of_one_name_the_last_one_stays(sshd: Peer, protocol: str) -> None:
    there = sshd.root / f"between-twice{protocol}"
    for name in ("a", "b", "into"):
        (there / name).mkdir(parents=True)
    random_file(there / "a/x", 9 * MIB)
    random_file(there / "b/x", 8 * MIB)
    copy(sshd, protocol, *(sshd.remote(there / name / "x") for name in ("a", "b")), sshd.remote(there / "into"))
    assert sha256(there / "into/x") == sha256(there / "b/x")


def test_a_file_onto_itself_by_way_of_here_loses_nothing(sshd: Peer) -> None:
    path = random_file(sshd.root / "itself", 700_000)
    before = sha256(path)
    for protocol in ("-s", "-O"):
        copy(sshd, protocol, sshd.remote(path), sshd.remote(path))
        assert sha256(path) == before


@pytest.mark.parametrize(("said", "match"), [
    (b"C0644 1 ../x\nx\0", "unexpected filename"), (b"D0755 0 d\n", "not asked for"), (b"E\n", "unexpected end"),
    (b"C0644 9 x\nxy", "in the middle of a file"), (b"C0644 -1 x\n", "protocol error"), (b"\x02scp: no\n", "^no$"),
    (b"C0644 1 x\nx\x01scp: changed\n", ""), (b"D" * 9000, "too long"), (b"\x01scp: w\n", ""),
    (b"C0644 1 .bashrc\nx\0", "does not match request"), (b"C0644 0 x\n\0C0644 0 x\n\0", "more than was asked for"),
    (b"D0755 0 y\nE\n", "does not match request"), (b"D0755 0 x\n", "in the middle of a directory"),
])  # fmt: skip
async def test_row18_what_passes_between_two_far_sides_is_looked_at(tmp_path: Path, said: bytes, match: str) -> None:
    (tmp_path / "in/target").mkdir(parents=True)
    (tmp_path / "said").write_bytes(said)
    bridges: list[Bridge] = []

    def starting(command: str | None) -> Callable[[str], Any]:
        async def start(text: str) -> Any:
            words = ["sh", "-c", command or text]
            bridges.append(Bridge.run(words))
            return await bridges[-1].process()

        return start

    watcher = Watcher()
    try:
        report = await relay(
            starting(f"cat {tmp_path}/said; exec 1>&-; cat >/dev/null"), "x",
            starting(f"exec {FASTSSH_SCP} -rt {tmp_path}/in/target"), "", CopyOptions(recurse=b"D0755 0 d" not in said),
            watcher,
            say=watcher.failures.append,
        )  # fmt: skip
        assert match == ""
        assert report.failed == 1
    except SSHError as error:
        assert match
        assert re.search(match, str(error)), error
    finally:
        for bridge in bridges:
            bridge.close()
            await bridge.wait_closed()
    assert os.listdir(tmp_path / "in") == ["target"]
    assert set(os.listdir(tmp_path / "in/target")) <= {"x"}


async def cross(tmp_path: Path, *names: str, target: str, **options: Any) -> tuple[Any, list[str]]:
    """crossload() between two local servers; the report, and what failed."""
    watcher = Watcher()
    server = [sftp_server()]
    async with (
        Bridge.run(server) as one, Bridge.run(server) as other,
        await one.sftp() as source, await other.sftp() as destination,
    ):  # fmt: skip
        report = await crossload(
            source, [str(tmp_path / name) for name in names], destination, str(tmp_path / target),
            CopyOptions(**options), watcher,
        )  # fmt: skip
    return report, watcher.failures


@pytest.mark.parametrize("size", [0, 1, 4095, 8192, 8193, 5 * 8192, 100_000])
async def test_segments_of_a_large_file_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(crossload_module, "SEGMENT", 8192)
    monkeypatch.setattr(crossload_module._Crossload, "_limited", True)  # no file is small
    before = open_descriptors()
    source = random_file(tmp_path / "source", size)
    report, failures = await cross(tmp_path, "source", target="target")
    assert (report.files, report.bytes, failures) == (1, size, [])
    assert sha256(tmp_path / "target") == sha256(source)
    assert open_descriptors() == before


async def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/file").write_text("x")
    (tmp_path / "tree/closed").mkdir(mode=0o500)
    os.symlink("../..", tmp_path / "tree/sub/circle")
    os.symlink("../file", tmp_path / "tree/sub/link")
    os.symlink("nowhere", tmp_path / "tree/sub/broken")
    report, failures = await cross(tmp_path, "tree", target="copy", recurse=True)
    assert sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")) == [
        "closed", "file", "sub", "sub/link",
    ]  # fmt: skip
    assert (report.files, report.failed) == (2, 2)
    assert sorted(text.rpartition(": ")[2] for text in failures) == [
        "No such file", "a link back to a folder that it is in",
    ]  # fmt: skip
    assert (tmp_path / "copy/closed").stat().st_mode & 0o777 == 0o500


async def test_a_copy_that_is_interrupted_is_shorter_than_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossload_module, "SEGMENT", 64 * 1024)
    size = 4 * MIB
    random_file(tmp_path / "source", size)

    class Stops(Watcher):
        def progress(self, name: str, done: int) -> None:
            if done >= MIB:
                raise TransferError("had enough")

    before = open_descriptors()
    server = [sftp_server()]
    watcher = Stops()
    async with (
        Bridge.run(server) as one, Bridge.run(server) as other,
        await one.sftp() as source, await other.sftp() as destination,
    ):  # fmt: skip
        names = [str(tmp_path / "source")]
        await crossload(source, names, destination, str(tmp_path / "target"), CopyOptions(), watcher)
    assert watcher.failures == ["had enough"]
    assert MIB // 2 <= (tmp_path / "target").stat().st_size < size
    assert open_descriptors() == before


async def test_a_side_that_is_lost_ends_it(tmp_path: Path) -> None:
    random_file(tmp_path / "source", 4 * MIB)
    server = [sftp_server()]

    class Kills(Watcher):
        def started(self, name: str, size: int) -> None:
            assert other._child is not None
            os.kill(other._child.pid, 9)

    async with (
        Bridge.run(server) as one, Bridge.run(server) as other,
        await one.sftp() as source, await other.sftp() as destination,
    ):  # fmt: skip
        names = [str(tmp_path / "source")]
        with pytest.raises(SSHError):
            await crossload(source, names, destination, str(tmp_path / "target"), CopyOptions(), Kills())


@pytest.mark.parametrize("way", ["up -O", "down -O", "between -O", "between -s"])
def test_ctrl_c_ends_every_way_of_copying_in_order(sshd: Peer, tmp_path: Path, way: str) -> None:
    size = 8 * MIB
    direction, protocol = way.split()
    there = sshd.root / f"stopped {way}"
    there.mkdir()
    here = random_file(tmp_path / "here", size)
    shutil.copy(here, there / "there")
    names, target = {
        "up": ([here, sshd.remote(there / "up")], there / "up"),
        "down": ([sshd.remote(there / "there"), tmp_path / "down"], tmp_path / "down"),
        "between": ([sshd.remote(there / "there"), sshd.remote(there / "copy")], there / "copy"),
    }[direction]
    command = [FASTSSH_SCP, "-F", "none", protocol, "-l", "8000", "--json", *sshd.options(), *names]
    with subprocess.Popen(
        [os.fspath(part) for part in command], env=clean_environment(tmp_path), cwd=tmp_path, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        wait_for(lambda: target.exists() and target.stat().st_size > 0, "the first bytes", SECONDS)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("fastssh-scp: interrupted while copying ")
    summary = json.loads(out)
    assert (summary["interrupted"], summary["exit_status"], summary["files"]) == (True, 130, 0)
    assert target.stat().st_size < size
    assert here.stat().st_size == (there / "there").stat().st_size == size


# --- at the origin, and programs in place of connections --------------------------------------------------------------

SSH = """#!/bin/sh
echo "$@" >> {log}
for last; do :; done
case " $* " in
*" -s "*) exec {server} ;;
*) exec sh -c "$last" ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A program that is called as ssh is, and stays on this machine. What it was asked is in ``log``."""
    script = tmp_path / "ssh"
    script.write_text(SSH.format(log=tmp_path / "log", server=sftp_server()))
    script.chmod(0o755)
    return script


def test_a_program_stands_for_the_connection_and_is_called_as_ssh_is(ssh: Path, tmp_path: Path) -> None:
    source = random_file(tmp_path / "source", MIB)
    options = ["-S", ssh, "-4", "-C", "-v", "-P", "2222", "-i", "key", "-o", "Foo=bar", "-J", "jump", "-c", "aes", "-B"]
    for protocol in ("-s", "-O"):
        done = scp(tmp_path, protocol, *options, source, f"bob@host:{tmp_path}/up")
        assert done.returncode == 0, done.stderr
        done = scp(tmp_path, protocol, "-A", "-S", ssh, f"scp://host:23/{tmp_path}/up", "down")
        assert done.returncode == 0, done.stderr
        assert sha256(tmp_path / "down") == sha256(source)
        (tmp_path / "up").unlink()
        (tmp_path / "down").unlink()
    fixed = "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no"
    rest = "-4 -C -v -i key -o Foo=bar -oProxyJump=jump -c aes -oBatchMode=yes -p 2222 -l bob"
    assert (tmp_path / "log").read_text().splitlines() == [
        f"{fixed} -oForwardAgent=no {rest} -s -- host sftp",
        f"{fixed} -oForwardAgent=yes -p 23 -s -- host sftp",
        f"{fixed} -oForwardAgent=no {rest} -- host scp -v -t {tmp_path}/up",
        f"{fixed} -oForwardAgent=yes -p 23 -- host scp -f {tmp_path}/up",
    ]


def test_a_program_that_fails_is_a_connection_that_fails(tmp_path: Path) -> None:
    for protocol in ("-s", "-O"):
        assert scp(tmp_path, protocol, "-S", "false", "host:x", ".").returncode in (1, 255)
        done = scp(tmp_path, protocol, "-S", "/nonexistent/ssh", "host:x", ".")
        assert done.returncode in (1, 255)
        assert done.stderr == "fastssh-scp: host: /nonexistent/ssh: No such file or directory\n"


def test_a_local_sftp_server_needs_no_connection(tmp_path: Path) -> None:
    source = random_file(tmp_path / "source", 300_000)
    done = scp(tmp_path, "--json", "-D", sftp_server(), f"any:{source}", f"other:{tmp_path}/copy")
    assert done.returncode == 0, done.stderr
    assert sha256(tmp_path / "copy") == sha256(source)
    summary = json.loads(done.stdout)
    assert (summary["files"], summary["bytes"], summary["connections"], summary["cipher"]) == (1, 300_000, 0, None)


def test_the_source_hosts_scp_copies_with_r(ssh: Path, tmp_path: Path) -> None:
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "scp").write_text(f'#!/bin/sh\nprintf "<%s>" "$@" > {tmp_path}/asked\necho told >&2\nexit ${{STATUS:-0}}\n')
    (bin / "scp").chmod(0o755)
    ssh.write_text(f"#!/bin/sh\nPATH={bin}:$PATH\n" + ssh.read_text())
    done = scp(tmp_path, "-R", "-A", "-rp", "-S", ssh, "one:a b", "one:c*", "me@two:d e;f")
    assert (done.returncode, done.stderr) == (0, "told\n")
    assert (tmp_path / "asked").read_text() == "<-r><-p><--><a b><c*><me@two:d e;f>"
    assert "-oForwardAgent=yes" in (tmp_path / "log").read_text()
    ssh.write_text(ssh.read_text().replace("PATH=", "export STATUS=3\nPATH="))
    done = scp(tmp_path, "-R", "-S", ssh, "one:a", "two:b")
    assert (done.returncode, done.stderr) == (1, "told\nfastssh-scp: scp on one ended with status 3\n")


def test_j_goes_by_way_of_another_host(start_sshd: Callable[..., Peer], sshd: Peer, tmp_path: Path) -> None:
    gate = start_sshd()
    config = tmp_path / "config"
    config.write_text("".join(
        f"Host {name}\n HostName {peer.host}\n Port {peer.port}\n User {peer.user}\n IdentityFile {peer.key}\n"
        f" UserKnownHostsFile {peer.known_hosts}\n IdentitiesOnly yes\n"
        for name, peer in (("gate", gate), ("host", sshd))
    ))  # fmt: skip
    config.chmod(0o600)
    source = random_file(tmp_path / "source", 100_000)
    for count, protocol in enumerate(("-s", "-O"), 1):
        done = scp(tmp_path, protocol, "-F", config, "-J", "gate", source, f"host:{sshd.root}/jumped{protocol}")
        assert done.returncode == 0, done.stderr
        assert sha256(sshd.root / f"jumped{protocol}") == sha256(source)
        assert gate.log.read_text().count("Accepted publickey") == count


def test_the_source_host_reaches_the_target_with_the_agent_here(
    start_sshd: Callable[..., Peer], agent: str, tmp_path: Path
) -> None:
    """Two hops for real: fastssh-scp, then stock scp on the first host, which has nothing but the agent."""
    bin = tmp_path / "bin"
    bin.mkdir()
    peer = start_sshd(SetEnv=f"PATH={bin}:/usr/bin:/bin")
    config = tmp_path / "config"
    config.write_text(
        f"Host two\n HostName {peer.host}\n Port {peer.port}\n User {peer.user}\n"
        f" UserKnownHostsFile {peer.known_hosts}\n IdentityFile none\n BatchMode yes\n"
    )
    (bin / "scp").write_text(f'#!/bin/sh\nexec {program("scp", "openssh-client")} -F {config} "$@"\n')
    (bin / "scp").chmod(0o755)
    add(agent, peer.key)
    source = random_file(peer.root / "source", 100_000)
    command = [FASTSSH_SCP, "-R", "-F", "none", *peer.options(), peer.remote(source), f"two:{peer.root}/copy"]
    for flags, status in (["-A"], 0), ([], 1):
        done = subprocess.run(
            [str(command[0]), *flags, *map(os.fspath, command[1:])], cwd=tmp_path, capture_output=True, text=True,
            timeout=SECONDS, stdin=subprocess.DEVNULL, env=clean_environment(tmp_path, SSH_AUTH_SOCK=agent),
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert (peer.root / "copy").exists() is (status == 0)
        (peer.root / "copy").unlink(missing_ok=True)


# --- bounds -----------------------------------------------------------------------------------------------------------

COUNTER = """
import os, subprocess, sys, threading
log = open(sys.argv[1], "w")
server = subprocess.Popen([sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
outstanding, lock = {}, threading.Lock()
def read(fd, n):
    data = b""
    while len(data) < n:
        more = os.read(fd, n - len(data))
        if not more: sys.exit()
        data += more
    return data
def pump(source, sink, asked):
    while True:
        head = read(source, 4)
        body = read(source, int.from_bytes(head, "big"))
        kind, number = body[0], body[1:5]
        with lock:
            if asked and kind in (5, 6):
                outstanding[number] = None
                at = 9 + int.from_bytes(body[5:9], "big") + 8
                print(len(outstanding), int.from_bytes(body[at:at + 4], "big"), file=log, flush=True)
            elif not asked:
                outstanding.pop(number, None)
        view = memoryview(head + body)
        while view: view = view[os.write(sink, view):]
threading.Thread(target=pump, args=(server.stdout.fileno(), 1, False), daemon=True).start()
pump(0, server.stdin.fileno(), True)
"""


@pytest.mark.parametrize(("requests", "buffer"), [(1, 0), (3, 0), (0, 5000), (2, 100_000)])
def test_x_bounds_requests_in_flight_and_their_size(tmp_path: Path, requests: int, buffer: int) -> None:
    script = tmp_path / "counting"
    head = f"#!{sys.executable}\nimport sys\nsys.argv[1:] = ['{tmp_path}/count', '{sftp_server()}']\n"
    script.write_text(head + COUNTER)
    script.chmod(0o755)
    (tmp_path / "tree").mkdir()
    random_file(tmp_path / "tree/large", 1_500_000)
    for number in range(6):
        random_file(tmp_path / "tree" / str(number), 3000 * number)
    options = ["-X", f"nrequests={requests}"] * bool(requests) + ["-X", f"buffer={buffer}"] * bool(buffer)
    for names in ([tmp_path / "tree", f"h:{tmp_path}/up"], [f"h:{tmp_path}/up", tmp_path / "down"]):
        done = scp(tmp_path, "-r", *options, "-D", script, *names)
        assert done.returncode == 0, done.stderr
        seen = [tuple(map(int, line.split())) for line in (tmp_path / "count").read_text().splitlines()]
        most = max(count for count, _ in seen)
        sizes = Counter(size for _, size in seen)
        assert most == requests or (not requests and most > 3), Counter(count for count, _ in seen)
        assert max(sizes) == buffer if 0 < buffer < 30_000 else max(sizes) <= (buffer or 261_120)
    assert contents(tmp_path / "down").keys() == contents(tmp_path / "tree").keys()
