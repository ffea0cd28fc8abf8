"""fastsshd as a command, with OpenSSH's ssh, scp and sftp as its clients."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from fastssh import connect
from fastssh.keys.private import load_private_key
from tests.support import openssh, peers
from tests.support.copying import copy, random_file, sha256
from tests.support.fastsshd import SECONDS, Start, fastsshd_command, logged, moduli_line
from tests.support.peers import FASTSSHD, Keys, Peer, clean_environment, make_keys, start_fastsshd, wait_for

# --- what it serves -----------------------------------------------------------------------------------------------


def test_openssh_logs_in_and_runs_a_command(fastsshd: Peer) -> None:
    done = openssh.ssh(fastsshd, "echo out; echo err >&2; cat; exit 7", stdin=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\nin", b"err\n")


@pytest.mark.parametrize("kind", peers.KEY_TYPES)
def test_every_kind_of_key_logs_in(fastsshd: Peer, kind: str) -> None:
    done = openssh.ssh(replace(fastsshd, key=fastsshd.keys.user(kind)), "true")
    assert done.returncode == 0, done.stderr
    family = {"ed25519": "ED25519", "ecdsa": "ECDSA", "rsa": "RSA"}[kind]
    who = rf"Accepted publickey for {fastsshd.user} from 127\.0\.0\.1 port \d+"
    logged(fastsshd, rf"{who} ssh2: {family} SHA256:\S{{43}}\n")


def test_fastssh_scp_copies_to_it(fastsshd: Peer, tmp_path: Path) -> None:
    source = random_file(tmp_path / "source", 5_000_000)
    assert copy(fastsshd, source, fastsshd.remote(fastsshd.root / "ours"))["files"] == 1
    assert sha256(fastsshd.root / "ours") == sha256(source)


async def test_a_session_has_thousands_of_handles_and_programs_the_usual_limit(start_fastsshd: Start) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        peer = start_fastsshd()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    (peer.root / "file").write_bytes(b"contents")
    async with connect(peer.host, **peer.connect_options()) as connection:
        async with await connection.sftp() as sftp:
            handles = await asyncio.gather(*(sftp.open(peer.root / "file") for _ in range(3000)))
            assert await handles[0].read() == await handles[-1].read() == b"contents"
            await asyncio.gather(*(handle.close() for handle in handles))
        assert (await connection.run("ulimit -Sn; ulimit -Hn")).stdout == f"1024\n{before[1]}\n".encode()


def test_the_end_of_a_connection_is_logged_with_what_went_over_it(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    openssh.ssh(peer, "head -c 1000000 /dev/zero")
    logged(peer, r"Received disconnect from 127\.0\.0\.1 port \d+:11: disconnected by user\n")
    logged(peer, rf"Disconnected from user {peer.user} 127\.0\.0\.1 port \d+\n")
    logged(peer, r"Transferred: sent 10\d{5}, received \d+ bytes in \d+\.\d seconds \(\d+\.\d MiB/s\)")


def test_what_runs_is_logged_in_sshd_s_words(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    openssh.ssh(peer, "true")
    openssh.ssh(peer, stdin=b"exit\n")
    openssh.sftp(peer, "pwd\n")
    for kind in ("command", "shell", "subsystem 'sftp'"):
        logged(peer, rf"Starting session: {kind} for {peer.user} from 127\.0\.0\.1 port \d+ id 0\n")


def test_a_port_that_somebody_looks_at_and_leaves_is_logged(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    logged(peer, r"Connection (closed|reset) by 127\.0\.0\.1 port \d+ \[preauth\]")  # whoever waited for its start


def test_settings_reach_the_connection(start_fastsshd: Start, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_text("authorised use only\n")
    peer = start_fastsshd(
        Ciphers="aes256-ctr", KexAlgorithms="ecdh-sha2-nistp384", MACs="hmac-sha2-512", VersionAddendum="hello",
        Banner=banner, AcceptEnv="GOOD_*", SetEnv="FROM_SERVER=yes", RekeyLimit="1M",
    )  # fmt: skip
    done = openssh.ssh(
        peer, 'echo "$GOOD_ONE,$BAD_ONE,$FROM_SERVER"; head -c 3000000 /dev/zero | wc -c',
        options=("-o", "LogLevel=DEBUG1", "-o", "SetEnv=GOOD_ONE=1 BAD_ONE=2"),
    )  # fmt: skip
    assert done.stdout.split() == [b"1,,yes", b"3000000"]
    said = done.stderr.decode()
    assert "authorised use only" in said
    assert "kex: algorithm: ecdh-sha2-nistp384" in said
    assert re.search(r"remote software version fastssh_\S+ hello", said)
    assert "cipher: aes256-ctr MAC: hmac-sha2-512" in said


def test_keys_are_good_for_what_a_match_block_says(start_fastsshd: Start) -> None:
    for who, often in ((peers.user_name(), True), ("nobody-else", False)):
        peer = start_fastsshd(lines=[f"Match User {who}", "RekeyLimit 500K 1h"])
        done = openssh.ssh(peer, "head -c 3000000 /dev/zero", options=("-o", "LogLevel=DEBUG1"))
        assert len(done.stdout) == 3000000 and (done.stderr.count(b"SSH2_MSG_NEWKEYS received") > 1) is often


def test_group_exchange_takes_a_group_of_the_moduli_file(start_fastsshd: Start, tmp_path: Path) -> None:
    path = tmp_path / "moduli"
    path.write_text(moduli_line(3072))
    for file, bits in ((path, 3072), ("none", 8192)):  # aes256 asks for 7680 bits
        peer = start_fastsshd(ModuliFile=file, KexAlgorithms="diffie-hellman-group-exchange-sha256")
        done = openssh.ssh(peer, "true", options=("-c", "aes256-gcm@openssh.com", "-o", "LogLevel=DEBUG2"))
        assert done.returncode == 0 and re.search(rf"bits set: \d+/{bits}\b".encode(), done.stderr)


def test_a_banner_goes_out_as_its_file_is(start_fastsshd: Start, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_bytes((bytes(range(256)) + "größer\n".encode()) * 600)  # 159,000, not UTF-8
    peer = start_fastsshd(Banner=banner)
    with socket.create_connection((peer.host, peer.port)) as sock:
        transport = paramiko.Transport(sock)
        try:
            transport.start_client(timeout=SECONDS)
            transport.auth_publickey(peer.user, paramiko.Ed25519Key.from_private_key_file(str(peer.key)))
            assert transport.get_banner() == banner.read_bytes()
        finally:
            transport.close()


def test_match_blocks_hold_for_whom_they_name(start_fastsshd: Start) -> None:
    peer = start_fastsshd(lines=["Match User nobody-else", "ForceCommand false", "Match Address 127.0.0.0/8",
                                 "ForceCommand echo forced: $SSH_ORIGINAL_COMMAND"])
    done = openssh.ssh(peer, "echo free")
    assert done.stdout == b"forced: echo free\n"


def test_force_command_internal_sftp_offers_nothing_else(start_fastsshd: Start, tmp_path: Path) -> None:
    peer = start_fastsshd(ForceCommand="internal-sftp -R")
    (peer.root / "file").write_text("contents")
    assert openssh.sftp(peer, f"get {peer.root / 'file'} {tmp_path / 'got'}\n").returncode == 0
    assert (tmp_path / "got").read_text() == "contents"
    assert openssh.sftp(peer, f"rm {peer.root / 'file'}\n").returncode == 1
    assert openssh.ssh(peer, "echo no", timeout=SECONDS).stdout != b"no\n"
    assert (peer.root / "file").exists()


def test_an_external_subsystem_runs(start_fastsshd: Start, tmp_path: Path) -> None:
    peer = start_fastsshd(Subsystem=f"sftp {peers.sftp_server()}", lines=["Subsystem hello /bin/echo 'a  b' $HOME"])
    (peer.root / "file").write_text("contents")
    assert openssh.sftp(peer, f"get {peer.root / 'file'} {tmp_path / 'got'}\n").returncode == 0
    assert openssh.ssh(peer, "hello", options=("-s",)).stdout.startswith(b"a  b /")


def test_only_so_many_sessions_are_open_at_once(start_fastsshd: Start) -> None:
    peer = start_fastsshd(MaxSessions=1)
    control = Path(tempfile.mkdtemp(prefix="fastsshd-")) / "c"  # a short path: a socket's
    try:
        options = ("-o", f"ControlPath={control}", "-o", "ControlPersist=no")
        first = subprocess.Popen(
            [peers.program("ssh", "openssh-client"), "-F", "/dev/null", *peer.options(), "-M", *options, peer.host,
             "echo ready; cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(peer.directory),
        )  # fmt: skip
        assert first.stdin and first.stdout and first.stdout.readline() == b"ready\n"
        # ssh makes a connection of its own when the master's server refuses: a proxy command that fails forbids it
        second = openssh.ssh(peer, "echo second", options=(*options, "-o", "ProxyCommand=false"))
        assert second.stdout == b""
        first.stdin.close()
        assert first.wait(SECONDS) == 0
        first.stdout.close()
    finally:
        shutil.rmtree(control.parent)


# --- how it is started and ended -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("Nonsense yes", "sshd_config:1: Bad configuration option: nonsense"),
        ("Port 99999", "sshd_config:1: Port: bad port '99999'"),
        ("Subsystem sftp internal-sftp -z", "internal-sftp: option -z not recognized"),
        ("HostKey /nowhere", "no hostkeys available"),
        ("UsersFile /nowhere", "/nowhere: No such file or directory"),
        ("AuthenticationMethods password", "no authentication method is left"),
        ('Banner "unclosed', "a quote does not end"),
    ],
)
def test_row24_a_broken_configuration_is_told_in_one_line(tmp_path: Path, keys: Keys, lines: str, said: str) -> None:
    config = tmp_path / "sshd_config"
    host_key = "" if "HostKey" in lines else f"HostKey {keys.host('ed25519')}\n"
    config.write_text(f"{lines}\n{host_key}")
    for option in ("-t", "-T", "-De"):
        done = fastsshd_command(tmp_path, option, "-f", config, "-p", "1")
        assert done.returncode == 255
        last = done.stderr.splitlines()[-1]
        assert last.startswith("fastsshd: ") and said in last, done.stderr
        assert "Traceback" not in done.stderr


def test_a_command_line_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    for arguments, said in (
        (["-Z"], "unknown option -- Z"),
        (["extra"], "Extra argument extra."),
        (["-p", "many"], "bad port 'many'"),
        (["-C", "color=red"], "'color' is not one of"),
        (["-f", "/nowhere"], "/nowhere: No such file or directory"),
        (["-f", "/"], "/: not a regular file"),
    ):
        done = fastsshd_command(tmp_path, *arguments)
        assert done.returncode == 255 and said in done.stderr and "Traceback" not in done.stderr


def test_the_configuration_is_tested_and_printed(tmp_path: Path, keys: Keys) -> None:
    config = tmp_path / "sshd_config"
    config.write_text(f"HostKey {keys.host('rsa')}\nMatch User ann\nMaxAuthTries 2\n")
    done = fastsshd_command(tmp_path, "-t", "-f", config)
    told = "Passwords are refused: there is no UsersFile, and UsePAM is no\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", told)
    assert "maxauthtries 6\n" in fastsshd_command(tmp_path, "-T", "-f", config).stdout
    assert "maxauthtries 2\n" in fastsshd_command(tmp_path, "-T", "-f", config, "-C", "user=ann,addr=10.0.0.1").stdout
    options = ("-o", "HostKey=/nowhere", "-g", "1m", "-c", "one-cert.pub", "-c", "/two-cert.pub")
    printed = fastsshd_command(tmp_path, "-G", "-f", config, *options).stdout
    assert "hostkey /nowhere\n" in printed and "logingracetime 60\n" in printed
    assert f"hostcertificate {tmp_path}/one-cert.pub\nhostcertificate /two-cert.pub\n" in printed


def test_help_and_version_are_shown(tmp_path: Path) -> None:
    assert fastsshd_command(tmp_path, "--help").stdout.startswith("usage: fastsshd ")
    assert fastsshd_command(tmp_path, "-V").stdout.startswith("fastssh ")


def test_a_port_that_is_taken_is_told(fastsshd: Peer) -> None:
    config = fastsshd.directory / "sshd_config"
    done = fastsshd_command(fastsshd.directory, "-D", "-f", config, "-p", str(fastsshd.port))
    assert done.returncode == 255
    assert f"error: Bind to port {fastsshd.port} on 127.0.0.1 failed: " in done.stderr
    assert done.stderr.endswith("fastsshd: Cannot bind any address.\n")


def test_without_d_it_leaves_the_terminal_and_writes_its_number(tmp_path: Path, keys: Keys) -> None:
    port, pid_file, log = peers.free_port(), tmp_path / "pid", tmp_path / "log"
    started = fastsshd_command(
        tmp_path, "-f", "/dev/null", "-p", str(port), "-E", log, "-h", keys.host("ed25519"),
        "-o", f"PidFile={pid_file}", "-o", "ListenAddress=127.0.0.1",
    )  # fmt: skip
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the pid file")
    pid = int(pid_file.read_text())
    try:
        assert os.getsid(pid) == pid
        assert peers._greets(port)
        log.rename(tmp_path / "log.1")
        os.kill(pid, signal.SIGHUP)
        wait_for(log.exists, "a new log file in place of the one that was moved")
        assert "Received SIGHUP" in (tmp_path / "log.1").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not pid_file.exists(), "its removal")
    assert "Server listening on 127.0.0.1 port" in (tmp_path / "log.1").read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert "Received signal 15; terminating.\n" in log.read_text()


def test_sigterm_ends_the_server_and_not_who_is_logged_in(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    command = [peers.program("ssh", "openssh-client"), "-F", "/dev/null", *peer.options(), peer.host, "echo ready; cat"]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(peer.directory)
    )
    assert running.stdin and running.stdout and running.stdout.readline() == b"ready\n"
    peer.process.terminate()
    assert peer.process.wait(SECONDS) == 0
    assert running.communicate(b"still here", timeout=SECONDS)[0] == b"still here"
    assert running.returncode == 0


def test_sighup_takes_a_new_configuration_and_keeps_connections(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    config = peer.directory / "sshd_config"
    command = [peers.program("ssh", "openssh-client"), "-F", "/dev/null", *peer.options(), peer.host, "echo ready; cat"]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(peer.directory)
    )
    assert running.stdin and running.stdout and running.stdout.readline() == b"ready\n"
    good = config.read_text()
    config.write_text(f"ForceCommand echo changed\n{good}")
    peer.process.send_signal(signal.SIGHUP)
    wait_for(lambda: openssh.ssh(peer, "echo same").stdout == b"changed\n", "the new configuration")
    config.write_text("Nonsense yes\n")
    peer.process.send_signal(signal.SIGHUP)
    logged(peer, "the configuration stays as it was: .*Bad configuration option: nonsense")
    assert openssh.ssh(peer, "echo same").stdout == b"changed\n"
    assert running.communicate(b"still here", timeout=SECONDS)[0] == b"still here"


def test_sighup_follows_changed_addresses(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    config = peer.directory / "sshd_config"
    config.write_text(config.read_text().replace("127.0.0.1", "127.0.0.2"))
    peer.process.send_signal(signal.SIGHUP)
    logged(peer, f"Server listening on 127.0.0.2 port {peer.port}.")
    wait_for(lambda: not peers._greets(peer.port), "the old address to be closed")
    assert peer.process.poll() is None


def test_i_serves_a_client_on_pipes(fastsshd: Peer) -> None:
    settings = shlex.join(f"{name}={value}" for name, value in fastsshd.environment.items())
    command = shlex.join([str(FASTSSHD), "-i", "-e", "-f", str(fastsshd.directory / "sshd_config")])
    proxy = f"env {settings} {command} 2>{fastsshd.directory / 'inetd.log'}"
    done = openssh.ssh(fastsshd, "cat; echo $SSH_CLIENT", options=("-o", f"ProxyCommand={proxy}", "-o",
                       f"HostKeyAlias=[{fastsshd.host}]:{fastsshd.port}"), stdin=b"through pipes ")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"through pipes ")


async def test_i_serves_a_client_on_a_socket(fastsshd: Peer) -> None:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [FASTSSHD, "-i", "-e", "-f", fastsshd.directory / "sshd_config"], stdin=theirs, stdout=theirs,
        stderr=subprocess.PIPE, env=fastsshd.environment,
    )  # fmt: skip
    theirs.close()
    async with connect(fastsshd.host, sock=ours, **fastsshd.connect_options()) as connection:
        assert (await connection.run("echo here", check=True)).stdout == b"here\n"
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0 and b"Accepted publickey" in said


def test_d_serves_one_connection_and_tells_more(tmp_path: Path, keys: Keys) -> None:
    peer = start_fastsshd(tmp_path / "server", keys=keys, arguments=["-E", tmp_path / "log"])
    peer.stop()
    port = peers.free_port()
    with subprocess.Popen(
        [FASTSSHD, "-d", "-f", peer.directory / "sshd_config", "-p", str(port)],
        stderr=subprocess.PIPE, env=peer.environment, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while f"port {port}." not in process.stderr.readline():
            assert process.poll() is None
        peer.known_hosts.write_text(peer.known_hosts.read_text().replace(f":{peer.port} ", f":{port} "))
        peer.port = port
        assert openssh.ssh(peer, "true").returncode == 0
        rest = process.communicate(timeout=SECONDS)[1]
        assert process.returncode == 0
    for line in ("debug1: SSH2_MSG_NEWKEYS sent", "debug1: kex: algorithm: ", "debug1: kex: client->server cipher: "):
        assert line in rest


# --- an ordinary user -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another account can reach, which those of the tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="fastsshd-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def test_an_ordinary_user_serves_itself_without_any_configuration(open_folder: Path) -> None:
    keys = make_keys(open_folder / "keys")
    home, state = open_folder / "home", open_folder / "state"
    environment = clean_environment(home, XDG_STATE_HOME=str(state))
    account = "nobody" if os.getuid() == 0 else peers.user_name()
    environment |= peers._shimmed(home, keys, account)
    program = [sys.executable, "-m", "tests.support.ordinary"]
    state.mkdir()
    if os.getuid() == 0:
        for path in (state, home, *home.rglob("*")):
            os.chown(path, 65534, 65534)
    fingerprints = []
    for _ in range(2):
        port = peers.free_port()
        process = subprocess.Popen(
            [*program, "-D", "-p", str(port), "-o", "ListenAddress=127.0.0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=peers.HERE.parent.parent,
        )  # fmt: skip
        assert process.stdout and process.stderr
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            found = re.fullmatch(r"fastsshd: 127\.0\.0\.1 port (\d+), host key ED25519 (SHA256:\S+)\n", line)
            assert found and int(found[1]) == port
            fingerprints.append(found[2])
            known = open_folder / "known_hosts"
            key = state / "fastssh/host_ed25519_key"
            known.write_text(f"[127.0.0.1]:{port} {load_private_key(key).public.line()}\n")
            peer = Peer("fastsshd", "127.0.0.1", port, account, keys.user("ed25519"), known, open_folder / "log",
                        process, open_folder, keys, open_folder)  # type: ignore[arg-type]
            done = openssh.ssh(peer, "id -un")
            assert done.stdout.decode().split() == [account], done.stderr
            other = openssh.ssh(replace(peer, user="root" if account != "root" else "daemon"), "id -un")
            assert other.returncode == 255 and b"Permission denied" in other.stderr
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)
    assert fingerprints[0] == fingerprints[1]
    assert key.stat().st_mode & 0o777 == 0o600


def test_the_log_tells_how_long_nobody_logged_in(start_fastsshd: Start) -> None:
    peer = start_fastsshd(LoginGraceTime=1)
    with socket.create_connection(("127.0.0.1", peer.port)) as sock:
        began = time.monotonic()
        while sock.recv(4096):
            assert time.monotonic() - began < 10
    logged(peer, r"Timeout before authentication for 127\.0\.0\.1 port \d+\n")
