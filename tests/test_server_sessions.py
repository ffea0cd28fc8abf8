"""Session channels of our server, asked by our own client, by OpenSSH's ssh and by others: commands, their streams,
their environment and their end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from fastssh.aio.process import Process
from fastssh.aio.server.process import Account, ProcessStarter
from fastssh.aio.server.program import SessionPolicy
from fastssh.aio.server.session import MAX_ENV, MAX_ENV_BYTES, ServerSession
from fastssh.aio.server.sftp import sftp_starter
from fastssh.connection.channel import WRITE_HIGH_WATER, Channel, ChannelHandler
from fastssh.errors import ChannelClosedError, ChannelRequestError, SSHError
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.wire.requests import EnvRequest, ExecRequest, PtyRequest
from tests.support import peers
from tests.support.peers import HOST, Keys
from tests.support.serving_fastssh import FastsshServer, account, run, start_fastssh
from tests.support.watching import open_descriptors, until

MIB = 1024 * 1024


# --- streams and status -------------------------------------------------------------------------------------------


async def test_a_command_has_its_streams_and_its_status(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        done = await server.ssh("cat; echo words >&2; exit 7", input=b"through and back")
        assert (done.status, done.stdout, done.stderr) == (7, b"through and back", b"words\n")
        async with server.connect() as connection:
            result = await connection.run("cat; echo words >&2; exit 7", input=b"through and back")
        assert (result.exit_status, result.stdout, result.stderr) == (7, b"through and back", b"words\n")


async def test_a_signal_that_ends_a_command_is_told(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        for name in ("TERM", "KILL", "USR1"):
            result = await connection.run(f"kill -{name} $$")
            assert (result.exit_status, result.exit_signal) == (None, name)
        assert (await server.ssh("kill -TERM $$")).status == 255  # as ssh(1) says it


@pytest.mark.parametrize("client", ["ssh", "fastssh"])
async def test_much_data_goes_through_both_ways_unchanged(tmp_path: Path, keys: Keys, client: str) -> None:
    data = os.urandom(MIB) * 100
    async with start_fastssh(tmp_path, keys) as server:
        if client == "ssh":
            done = await server.ssh("cat", input=data)
            status, back = done.status, done.stdout
        else:
            async with server.connect() as connection:
                result = await connection.run("cat", input=data)
            status, back = result.exit_status or 0, result.stdout
    assert (status, len(back)) == (0, len(data))
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


async def test_outputs_are_drained_to_their_ends_before_the_end_is_told(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        done = await server.ssh("head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2; exit 3")
    assert (done.status, len(done.stdout), len(done.stderr)) == (3, 3_000_000, 200_000)


class Recorder(ChannelHandler):
    """Keeps what comes on its channel, in order."""

    channel: Channel

    def __init__(self) -> None:
        self.events: list[str] = []

    def data(self, stream: int, data: bytes) -> None:
        self.channel.consumed(len(data))
        self.events.append(f"data {data.decode()}")

    def eof(self) -> None:
        self.events.append("eof")

    def request(self, name: str, want_reply: bool, data: bytes) -> bool:
        self.events.append(f"{name} {want_reply}")
        return True

    def closed(self, error: SSHError | None) -> None:
        self.events.append("closed")


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("command", "end"), [(b"echo x", "exit-status"), (b"echo x; kill -9 $$", "exit-signal")])
async def test_the_end_comes_in_openssh_s_order(
    tmp_path: Path, keys: Keys, command: bytes, end: str, terminal: bool
) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        recorder = Recorder()
        recorder.channel = await connection.open_session_channel(recorder)
        if terminal:
            pty = PtyRequest(b"x", 80, 24, 0, 0, b"")
            await connection.channel_request(recorder.channel, "pty-req", pty.body())
        await connection.channel_request(recorder.channel, "exec", ExecRequest(command).body())
        await until(lambda: "closed" in recorder.events, "the channel's end")
        line = "data x\r\n" if terminal else "data x\n"
        assert recorder.events == [line, f"{end} False", "eof", "closed"]


async def test_the_end_of_input_ends_nothing_else(tmp_path: Path, keys: Keys) -> None:
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process("cat; sleep 0.2; echo later; exit 4") as process,
    ):
        process.stdin.write(b"first\n")
        process.stdin.write_eof()
        assert await process.stdout.read() == b"first\nlater\n"
        assert await process.wait() == 4


async def test_output_may_end_long_before_the_program(tmp_path: Path, keys: Keys) -> None:
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process("exec >&- 2>&-; read line; exit 5") as process,
    ):
        assert await process.stdout.read() == b""  # told while it runs
        process.stdin.write(b"go\n")
        assert await process.wait() == 5


async def test_input_that_nobody_reads_does_not_hold_the_end_up(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        assert (await server.ssh("exec <&-; sleep 0.3; exit 6", input=bytes(20 * MIB))).status == 6
        async with server.connect() as connection:
            result = await connection.run("exec <&-; sleep 0.3; exit 6", input=bytes(20 * MIB))
            assert result.exit_status == 6


async def test_a_client_that_wants_no_more_output_is_heard(tmp_path: Path, keys: Keys) -> None:
    """eow@openssh.com (OpenSSH PROTOCOL 2.1): the program learns of it by SIGPIPE, and may do without its output."""
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process("yes; echo $? >&2; exit 8") as process,
    ):
        assert process._channel is not None
        process._channel.request("eow@openssh.com", b"", False)
        await asyncio.gather(process.stdout.read(), process.wait())
        assert (await process.stderr.read(), process.exit_status) == (b"141\n", 8)


async def test_a_shell_reads_its_commands(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, shell="/bin/bash") as server:
        done = await server.ssh(input=b"echo $0; pwd; exit 9\n")
    assert (done.status, done.stdout.decode().split()) == (9, ["-bash", str(server.home)])


async def test_a_home_that_is_missing_is_told_and_is_no_obstacle(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        server.home.rmdir()
        done = await server.ssh("pwd")
    assert (done.status, done.stdout) == (0, b"/\n")
    assert f"Could not chdir to home directory {server.home}".encode() in done.stderr


async def test_an_account_without_a_shell_runs_nothing(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, shell="/nonexistent/shell") as server, server.connect() as connection:
        before = open_descriptors()
        with pytest.raises(ChannelRequestError):
            await connection.run("true")
        assert any("No such file" in line for line in server.log)
        assert open_descriptors() == before


# --- environment and policy ---------------------------------------------------------------------------------------


def serve_policy(tmp_path: Path, keys: Keys, **policy: Any) -> Any:
    return start_fastssh(tmp_path, keys, policy=SessionPolicy(**policy))


async def variables(server: FastsshServer, **more: Any) -> dict[str, str]:
    done = await server.ssh("env", **more)
    return dict(line.split("=", 1) for line in done.stdout.decode().splitlines())


async def test_the_environment_is_the_accounts(tmp_path: Path, keys: Keys) -> None:
    async with serve_policy(tmp_path, keys, set_env={"FROM_SERVER": "x y", "PATH": "/bin:/usr/bin"}) as server:
        found, port = await variables(server), server.port
    mine = account(server.home)
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):  # of the shell itself
        found.pop(name, None)
    connection = found.pop("SSH_CONNECTION").split()
    assert connection[0] == connection[2] == HOST
    assert connection[3] == str(port)
    assert found.pop("SSH_CLIENT") == f"{connection[0]} {connection[1]} {connection[3]}"
    found.pop("TZ", None)
    assert found == {
        "USER": mine.name, "LOGNAME": mine.name, "HOME": mine.home, "SHELL": "/bin/sh", "PATH": "/bin:/usr/bin",
        "MAIL": f"/var/mail/{mine.name}", "FROM_SERVER": "x y",
    }  # fmt: skip


async def test_only_accepted_variables_come_in_and_none_in_the_servers_place(tmp_path: Path, keys: Keys) -> None:
    wishes = {"LC_ONE": "1", "LC_SECRET": "2", "OTHER": "3", "HOME": "/else", "SSH_CLIENT": "me", "FIXED": "theirs"}
    wishes |= {"SSH_ORIGINAL_COMMAND": "anything", "SSH_TTY": "/dev/null"}
    accepted = ("LC_*", "!LC_SECRET", "HOME", "SSH_*", "FIXED")
    async with serve_policy(tmp_path, keys, accept_env=accepted, set_env={"FIXED": "ours"}) as server:
        found = await variables(server, env=wishes, SendEnv=" ".join(wishes))
    assert found["LC_ONE"] == "1"
    assert "LC_SECRET" not in found and "OTHER" not in found
    assert (found["HOME"], found["FIXED"]) == (str(server.home), "ours")
    assert found["SSH_CLIENT"].startswith(HOST)
    assert not {"SSH_ORIGINAL_COMMAND", "SSH_TTY"} & found.keys()


async def test_row12_variables_are_bounded_in_number_and_size(tmp_path: Path, keys: Keys) -> None:
    async with serve_policy(tmp_path, keys, accept_env=("*",)) as server, server.connect() as connection:
        process = Process("env")
        channel = await connection.open_session_channel(process)
        process.attach(channel)
        for number in range(MAX_ENV):
            await connection.channel_request(channel, "env", EnvRequest(b"N%d" % number, b"v").body())
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(channel, "env", EnvRequest(b"ONE_MORE", b"v").body())
        other = await connection.open_session_channel(Process("env"))
        piece = MAX_ENV_BYTES // 8
        for _ in range(7):
            await connection.channel_request(other, "env", EnvRequest(b"BIG", bytes([120]) * piece).body())
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(other, "env", EnvRequest(b"BIG", bytes([120]) * piece).body())


@pytest.mark.parametrize("name", [b"", b"A=B", b"A\0B", b"=", b"\0"])
async def test_row20_names_and_values_that_an_environment_cannot_hold_are_refused(
    tmp_path: Path, keys: Keys, name: bytes
) -> None:
    async with serve_policy(tmp_path, keys, accept_env=("*",)) as server, server.connect() as connection:
        channel = await connection.open_session_channel(Process("env"))
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(channel, "env", EnvRequest(name, b"v").body())
        with pytest.raises(ChannelRequestError):
            await connection.channel_request(channel, "env", EnvRequest(b"GOOD", b"a\0b").body())


async def test_row20_what_a_client_says_reaches_no_shell_but_as_its_command(tmp_path: Path, keys: Keys) -> None:
    """Names, variables and what a forced command replaces stand in the environment and on no command line."""
    evil = "$(touch evil); `touch evil`; touch evil #"
    policy = {"accept_env": ("LC_*",), "forced_command": 'printf "%s\\n" "$SSH_ORIGINAL_COMMAND" "$LC_X"'}
    async with serve_policy(tmp_path, keys, **policy) as server:
        done = await server.ssh(evil, env={"LC_X": evil}, SendEnv="LC_X")
        assert done.stdout.decode() == f"{evil}\n{evil}\n"
        async with server.connect(user=evil) as connection:
            assert (await connection.run(evil)).stdout.decode() == f"{evil}\n\n"
        assert not list(server.home.iterdir())


async def test_a_command_with_a_nul_is_refused(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        with pytest.raises(ChannelRequestError):
            await connection.create_process("true\0; touch evil")
        assert not list(server.home.iterdir())


async def test_a_forced_command_stands_in_the_place_of_everything(tmp_path: Path, keys: Keys) -> None:
    policy = {
        "forced_command": 'echo "forced: ${SSH_ORIGINAL_COMMAND-nothing}"', "permit_exec": False,
        "permit_shell": False, "subsystems": {"line": "the line", "code": sftp_starter(lambda _: LocalFileSystem("/"))},
    }  # fmt: skip
    async with serve_policy(tmp_path, keys, **policy) as server, server.connect() as connection:
        assert (await server.ssh("rm -r files")).stdout == b"forced: rm -r files\n"
        assert (await server.ssh()).stdout == b"forced: nothing\n"
        for name, original in (("line", "the line"), ("code", "code")):
            async with await connection.create_process(subsystem=name) as process:
                assert await process.stdout.read() == f"forced: {original}\n".encode()
        with pytest.raises(ChannelRequestError):
            await connection.create_process(subsystem="unknown")


async def test_what_is_not_permitted_is_refused(tmp_path: Path, keys: Keys) -> None:
    async with serve_policy(tmp_path, keys, permit_exec=False, permit_shell=False) as server:
        async with server.connect() as connection:
            for wanted in ({"command": "true"}, {}, {"subsystem": "sftp"}):
                with pytest.raises(ChannelRequestError):
                    await connection.create_process(**wanted)
        assert (await server.ssh("true")).status == 255


async def test_a_subsystem_may_be_a_command_line(tmp_path: Path, keys: Keys) -> None:
    async with serve_policy(tmp_path, keys, subsystems={"sum": "sha256sum | cut -c 1-64"}) as server:
        done = await server.run("ssh", "-s", HOST, "sum", input=b"data")
    assert done.stdout.decode() == hashlib.sha256(b"data").hexdigest() + "\n"


async def test_one_request_of_a_policy_may_be_somebody_elses(tmp_path: Path, keys: Keys) -> None:
    seen: list[bytes] = []

    def take(session: ServerSession, data: bytes) -> bool:
        seen.append(data)
        session.variables["SSH_AUTH_SOCK"] = "/agent"
        return True

    hooks = {"auth-agent-req@openssh.com": take}
    async with serve_policy(tmp_path, keys, requests=hooks) as server, server.connect() as connection:
        process = Process("x")
        channel = await connection.open_session_channel(process)
        process.attach(channel)
        await connection.channel_request(channel, "auth-agent-req@openssh.com", b"")
        for name in ("x11-req", "xon-xoff", "anything@example.org"):
            with pytest.raises(ChannelRequestError):
                await connection.channel_request(channel, name, b"")
        await connection.channel_request(channel, "exec", b"\0\0\0\x13echo $SSH_AUTH_SOCK")
        assert await process.stdout.read() == b"/agent\n"
        assert seen == [b""]


# --- signals, and clients that go away ----------------------------------------------------------------------------


async def test_a_signal_reaches_the_whole_group(tmp_path: Path, keys: Keys) -> None:
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process("sleep 1000 | sleep 1000; exit 1") as process,
    ):
        process.send_signal("TERM")
        await process.wait()
        assert (process.exit_status, process.exit_signal) == (None, "TERM")


async def test_signals_to_what_the_client_did_not_choose_are_refused(tmp_path: Path, keys: Keys) -> None:
    async with (
        serve_policy(tmp_path, keys, forced_command="read line; exit 2") as server,
        server.connect() as connection,
        await connection.create_process("x") as process,
    ):
        assert process._channel is not None
        for name in (b"TERM", b"KILL"):
            with pytest.raises(ChannelRequestError):
                await connection.channel_request(process._channel, "signal", b"\0\0\0\x04" + name)
        process.stdin.write(b"go\n")
        assert await process.wait() == 2


@pytest.mark.parametrize("how", ["close", "disconnect"])
async def test_row11_a_client_that_goes_leaves_no_process_and_no_descriptor(
    tmp_path: Path, keys: Keys, how: str
) -> None:
    async with start_fastssh(tmp_path, keys, shell="/bin/sh") as server:
        before, children = open_descriptors(), set(peers.children(os.getpid()))
        async with server.connect() as connection:
            process = await connection.create_process("echo ready; cat")
            assert await process.stdout.read(6) == b"ready\n"
            if how == "close":
                process.close()
                await process.wait()
        await until(lambda: set(peers.children(os.getpid())) <= children, "the end of cat")
        await until(lambda: not server.server.connections, "the end of the connection")
        assert open_descriptors() == before


async def test_row11_what_comes_for_a_program_that_has_ended_is_dropped(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        for _ in range(30):
            process = await connection.create_process("true")
            with contextlib.suppress(ChannelClosedError):
                process.stdin.write(bytes(WRITE_HIGH_WATER))
            assert await process.wait() == 0
        assert (await connection.run("echo alive")).stdout == b"alive\n"


async def test_fifty_channels_at_once(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, max_sessions=50) as server, server.connect() as connection:
        data = os.urandom(300_000)
        before = open_descriptors()
        results = await asyncio.gather(*(connection.run(f"cat; exit {n}", input=data) for n in range(50)))
        assert [each.exit_status for each in results] == list(range(50))
        assert all(each.stdout == data for each in results)
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_row12_a_slow_reader_holds_its_program_back_and_not_memory(tmp_path: Path, keys: Keys) -> None:
    """50 MiB are to be written; what waits is the client's window, what is read ahead, and what the pipe holds."""
    handlers: list[ServerSession] = []
    starter = ProcessStarter(account(tmp_path / "home"))

    def session(connection: Any) -> ServerSession:
        handlers.append(ServerSession(connection, SessionPolicy(), starter))
        return handlers[-1]

    async with start_fastssh(tmp_path, keys, session=session) as server, server.connect() as connection:
        command = f"head -c {50 * MIB} /dev/zero; echo done >&2"
        async with await connection.create_process(command) as process:
            await until(lambda: handlers[0].channel.pending > 0, "a full window")
            for _ in range(20):
                await asyncio.sleep(0.01)
                assert handlers[0].channel.pending <= 4096
            received = 0
            while data := await process.stdout.read(MIB):
                received += len(data)
            assert (received, await process.stderr.read(), await process.wait()) == (50 * MIB, b"done\n", 0)


async def test_row12_a_program_that_reads_slowly_holds_its_client_back(tmp_path: Path, keys: Keys) -> None:
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process("mkfifo go; read line <go; wc -c") as process,
    ):
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    process.stdin.write(bytes(MIB // 16))
                    sent += MIB // 16
                    await process.stdin.drain()
        assert sent < 4 * MIB  # the window of 2 MiB, our own queue, a pipe
        process.close()


# --- what other clients make of it --------------------------------------------------------------------------------


async def test_asyncssh_runs_commands(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        options: dict[str, Any] = {
            "port": server.port, "username": "ann", "client_keys": [str(keys.user("ed25519"))], "config": None,
            "known_hosts": str(server.known_hosts), "agent_path": None,
        }  # fmt: skip
        async with asyncssh.connect(HOST, **options) as connection:
            done = await connection.run("cat; echo words >&2; exit 3", input="in", check=False)
            assert (done.exit_status, done.stdout, done.stderr) == (3, "in", "words\n")
            done = await connection.run("tty; stty size", term_type="vt220", term_size=(81, 25))
            assert str(done.stdout).split()[1:] == ["25", "81"]
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(keys.authorized), str(server.root / "up"))
                assert await sftp.listdir(str(server.root)) == [".", "..", "up"]
    assert (server.root / "up").read_bytes() == keys.authorized.read_bytes()


async def test_paramiko_runs_commands(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        await asyncio.to_thread(use_paramiko, server)
    assert (server.root / "up").read_bytes() == keys.authorized.read_bytes()


def use_paramiko(server: FastsshServer) -> None:
    client = paramiko.SSHClient()
    client.load_host_keys(str(server.known_hosts))
    key = str(server.keys.user("ed25519"))
    with client:
        client.connect(HOST, server.port, "ann", key_filename=key, allow_agent=False, look_for_keys=False, timeout=20)
        stdin, stdout, stderr = client.exec_command("cat; echo words >&2; exit 3", timeout=20)
        stdin.write(b"in")
        stdin.channel.shutdown_write()
        assert (stdout.read(), stderr.read(), stdout.channel.recv_exit_status()) == (b"in", b"words\n", 3)
        _, stdout, _ = client.exec_command("stty size", get_pty=True, timeout=20)
        assert stdout.read().split() == [b"24", b"80"]
        sftp = client.open_sftp()
        sftp.put(str(server.keys.authorized), str(server.root / "up"))
        assert sftp.listdir(str(server.root)) == ["up"]


@functools.cache
def git() -> str:
    return peers.program("git", "git")


async def test_git_pushes_and_clones(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        work, copy = tmp_path / "work", tmp_path / "copy"
        env = peers.clean_environment(tmp_path, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null")
        env["GIT_SSH_COMMAND"] = " ".join([peers.program("ssh", "openssh-client"), *server.options()])
        work.mkdir()
        (work / "file").write_bytes(os.urandom(3 * MIB))
        person = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        url = f"{HOST}:{server.root}/repository.git"
        for step in (
            (git(), "init", "-q", "--bare", str(server.root / "repository.git")),
            (git(), "init", "-q", str(work)),
            (git(), "-C", str(work), "add", "file"),
            (git(), "-C", str(work), *person, "commit", "-q", "-m", "one"),
            (git(), "-C", str(work), "push", "-q", url, "HEAD:refs/heads/main"),
            (git(), "clone", "-q", "-b", "main", url, str(copy)),
        ):
            done = await run(*step, env=env)
            assert done.status == 0, (step, done.stderr)
        assert (copy / "file").read_bytes() == (work / "file").read_bytes()


async def test_rsync_copies_trees_both_ways(tmp_path: Path, keys: Keys) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "deep" / "er").mkdir(parents=True)
    for number in range(30):
        (source / "deep" / f"file {number}").write_bytes(os.urandom(number * 10_000))
    (source / "link").symlink_to("deep/er")
    async with start_fastssh(tmp_path, keys) as server:
        rsync = peers.program("rsync", "rsync")
        remote = " ".join([peers.program("ssh", "openssh-client"), *server.options()])
        env = peers.clean_environment(tmp_path)
        for where in ((f"{source}/", f"{HOST}:{server.root}/copy/"), (f"{HOST}:{server.root}/copy/", f"{back}/")):
            done = await run(rsync, "-a", "-e", remote, *where, env=env)
            assert done.status == 0, done.stderr
    names = sorted(path.relative_to(source) for path in source.rglob("*"))
    assert names == sorted(path.relative_to(back) for path in back.rglob("*"))
    for path in (name for name in names if (source / name).is_file()):
        assert (back / path).read_bytes() == (source / path).read_bytes()


def test_the_current_account_is_that_of_the_process() -> None:
    mine = Account.current()
    assert (mine.uid, mine.gid) == (os.getuid(), os.getgid())
    assert mine.gid in mine.groups
