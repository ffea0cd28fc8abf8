"""The sftp subsystem of our server, asked by our own client, by OpenSSH's scp and sftp, and by some that cheat."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.server.program import SessionPolicy
from fastssh.aio.server.session import ServerSession
from fastssh.aio.server.sftp import sftp_starter
from fastssh.connection.channel import WRITE_HIGH_WATER
from fastssh.errors import ChannelRequestError, ConfigError
from fastssh.sftp import messages
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import OpenFlags
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem
from tests.support.peers import HOST, Keys
from tests.support.serving_fastssh import FastsshServer, start_fastssh
from tests.support.sftp_server import Unframer
from tests.support.watching import open_descriptors, until

MIB = 1024 * 1024


def tree(directory: Path) -> dict[str, bytes | None]:
    """Contents by relative name; None for a directory."""
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


# --- OpenSSH's clients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["-s", "-O"])
async def test_scp_copies_files_up_and_down(tmp_path: Path, keys: Keys, mode: str) -> None:
    content = os.urandom(MIB) * 20 + b"end"
    (tmp_path / "source").write_bytes(content)
    async with start_fastssh(tmp_path, keys) as server:
        up = await server.run("scp", mode, tmp_path / "source", f"{HOST}:{server.root}/up")
        assert (up.status, (server.root / "up").read_bytes() == content) == (0, True), up.stderr
        down = await server.run("scp", mode, f"{HOST}:{server.root}/up", tmp_path / "down")
        assert (down.status, (tmp_path / "down").read_bytes() == content) == (0, True), down.stderr


@pytest.mark.parametrize("mode", ["-s", "-O"])
async def test_scp_copies_trees_up_and_down(tmp_path: Path, keys: Keys, mode: str) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    for number in range(40):
        (source / "deep" / f"file {number}").write_bytes(os.urandom(number * 5_000))
    async with start_fastssh(tmp_path, keys) as server:
        up = await server.run("scp", "-rp", mode, source, f"{HOST}:{server.root}/copy")
        assert (up.status, tree(server.root / "copy")) == (0, tree(source)), up.stderr
        down = await server.run("scp", "-rp", mode, f"{HOST}:{server.root}/copy", tmp_path / "back")
        assert (down.status, tree(tmp_path / "back")) == (0, tree(source)), down.stderr


async def sftp_batch(server: FastsshServer, *lines: str) -> str:
    batch = server.home.parent / "batch"
    batch.write_text("".join(f"{line}\n" for line in lines))
    done = await server.run("sftp", "-b", batch, HOST)
    assert done.status == 0, done.stderr
    return done.stdout.decode()


async def test_sftp_does_what_its_commands_say(tmp_path: Path, keys: Keys) -> None:
    content = os.urandom(3 * MIB)
    local = tmp_path / "local"
    local.write_bytes(content)
    async with start_fastssh(tmp_path, keys) as server:
        root = server.root
        (root / "half").write_bytes(content[: 2 * MIB])
        (tmp_path / "half").write_bytes(content[:MIB])
        said = await sftp_batch(
            server, "pwd", f"cd {root}", "mkdir made", f"put {local} made/one", "rename made/one made/two",
            f"reput {local} half", f"reget made/two {tmp_path}/half", f"get made/two {tmp_path}/whole",
            "ls -l made", "df", "ln -s made/two link", "ln made/two hard", "chmod 600 made/two", "rm half",
        )  # fmt: skip
        assert f"Remote working directory: {server.home}" in said
        assert "made/two" in said
        assert (tmp_path / "half").read_bytes() == (tmp_path / "whole").read_bytes() == content
        assert (root / "made" / "two").stat().st_mode & 0o777 == 0o600
        assert os.readlink(root / "link") == "made/two"
        assert sorted(tree(root)) == ["hard", "link", "made", "made/two"]
        (root / "half").write_bytes(content[: 2 * MIB])
        await sftp_batch(server, f"reput {local} {root}/half", f"rm {root}/made/two", f"rmdir {root}/made")
        assert (root / "half").read_bytes() == content


async def test_listings_of_many_files(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        names = sorted(f"file-{number}" for number in range(3000))
        for name in names:
            (server.root / name).touch()
        said = await sftp_batch(server, f"cd {server.root}", "ls -1")
        assert said.splitlines()[2:] == names
        async with server.connect() as connection, await connection.sftp() as sftp:
            assert sorted(await sftp.listdir(str(server.root))) == names


# --- our own client ---------------------------------------------------------------------------------------------------


async def test_our_client_copies_large_files_over_several_channels(tmp_path: Path, keys: Keys) -> None:
    content = os.urandom(MIB) * 80
    (tmp_path / "source").write_bytes(content)
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        before = open_descriptors()
        async with await connection.sftp(channels=2) as sftp:
            await sftp.put_file(tmp_path / "source", server.root / "up", preserve=True)
            await sftp.get_file(server.root / "up", tmp_path / "down")
        assert (server.root / "up").read_bytes() == content
        assert (tmp_path / "down").read_bytes() == content
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_what_a_client_leaves_open_is_closed(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        (server.root / "file").touch()
        before = open_descriptors()
        async with server.connect() as connection, await connection.sftp() as sftp:
            for _ in range(20):
                await sftp.open(server.root / "file")
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_row11_a_client_that_goes_in_the_middle_leaves_nothing_open(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "source").write_bytes(os.urandom(MIB) * 100)
    async with start_fastssh(tmp_path, keys) as server:
        before = open_descriptors()
        target = server.root / "up"
        scp = asyncio.create_task(server.run("scp", "-l", "100000", tmp_path / "source", f"{HOST}:{target}"))
        await until(lambda: target.exists() and target.stat().st_size > MIB, "the first bytes")
        scp.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scp
        await until(lambda: not server.server.connections, "the end of the connection")
        await until(lambda: open_descriptors() == before, "descriptors to close")
        assert target.stat().st_size < 100 * MIB


async def test_the_subsystem_ends_with_its_input_as_sftp_server_does(tmp_path: Path, keys: Keys) -> None:
    async with (
        start_fastssh(tmp_path, keys) as server,
        server.connect() as connection,
        await connection.create_process(subsystem="sftp") as process,
    ):
        process.stdin.write(messages.encode_init())
        process.stdin.write_eof()
        assert (await process.stdout.read())[4] == 2  # VERSION
        assert await process.wait() == 0


# --- clients that cheat -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\0\0\0\x05\x03\0\0\0\1",
        messages.encode_init() * 2,
        messages.encode_init() + b"\0\0\0\x06\x05\0\0\0\x01\xff",
    ],
)
async def test_row26_a_malformed_message_ends_its_channel_and_no_other(
    tmp_path: Path, keys: Keys, data: bytes
) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        async with await connection.create_process(subsystem="sftp") as process:
            process.stdin.write(data)
            await process.stdout.read()
            assert await process.wait() == 1
        assert any("sftp: " in line for line in server.log)
        assert (await connection.run("echo alive")).stdout == b"alive\n"


async def test_row26_a_message_too_long_ends_its_connection_and_no_other(tmp_path: Path, keys: Keys) -> None:
    """Where the next message would begin, nobody knows."""
    async with start_fastssh(tmp_path, keys) as server, server.connect() as good, server.connect() as bad:
        before = open_descriptors()
        process = await bad.create_process(subsystem="sftp")
        process.stdin.write(messages.encode_init() + b"\xff\xff\xff\xff")
        async with asyncio.timeout(10):
            await bad.wait_closed()
        await until(lambda: any("malformed message" in line for line in server.log), "a line in the log")
        assert (await good.run("echo alive")).stdout == b"alive\n"
        await until(lambda: len(open_descriptors()) == len(before) - 2, "the connection's sockets to close")


async def test_row12_a_client_that_reads_no_answers_gets_no_more_of_them(tmp_path: Path, keys: Keys) -> None:
    """READs of 10 GiB, and nobody takes what they give: no more is read than the client has room for."""
    handlers: list[ServerSession] = []

    async with start_fastssh(tmp_path, keys, session=sftp_session(handlers)) as server:
        (server.root / "file").write_bytes(bytes(MIB))
        async with server.connect() as connection:
            process = await connection.create_process(subsystem="sftp")
            open_it = messages.OPEN.encode(1, os.fsencode(server.root / "file"), int(OpenFlags.READ), SFTPAttributes())
            process.stdin.write(messages.encode_init() + open_it)
            unframer = Unframer()
            handle = b""
            while not handle:
                for message in unframer.feed(await process.stdout.read(10_000)):
                    if message[0] == messages.HANDLE.number:
                        handle = messages.HANDLE.decode(message)
            request = messages.READ.encode(2, handle, 0, 200_000)
            process.stdin.write(request * 50_000)  # 1.4 MiB that ask for 10 GiB
            channel = handlers[0].channel
            def ahead() -> int:
                """Bytes that were read from the file and not yet from the channel."""
                return channel.plane.sftp_serve_counters(channel.id)[0] - taken

            taken = 0
            await until(lambda: ahead() > MIB, "the first answers")
            await asyncio.sleep(0.3)
            assert ahead() < 4 * MIB  # a window of 2 MiB, and what is on its way
            while taken < 50 * MIB:
                taken += len(await process.stdout.read(MIB))
                assert ahead() < 4 * MIB
            assert channel.pending < WRITE_HIGH_WATER
            process.close(discard=True)
            await process.wait()


async def test_many_small_requests_leave_room_for_others(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        process = await connection.create_process(subsystem="sftp")
        flood = messages.LSTAT.encode(1, b"/") * 30_000
        process.stdin.write(messages.encode_init() + flood)
        reading = asyncio.create_task(process.stdout.read())
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert (await connection.run("echo alive")).stdout == b"alive\n"
        assert not reading.done()
        assert loop.time() - before < 5
        process.stdin.write_eof()
        assert len(await reading) > 30_000 * 30
        assert await process.wait() == 0


async def test_a_long_request_does_not_hold_others_up(tmp_path: Path, keys: Keys) -> None:
    """copy-data runs in slices; what is asked behind it is answered after it, and other channels go on."""
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        with open(server.root / "big", "wb") as big:
            big.truncate(300 * MIB)
        async with (
            await connection.sftp() as sftp,
            sftp.open(server.root / "big") as source,
            sftp.open(server.root / "copy", "w") as target,
        ):
            copying = asyncio.create_task(sftp.copy_data(source, target))
            await asyncio.sleep(0)
            behind = asyncio.create_task(sftp.stat(server.root / "copy"))
            assert (await connection.run("echo alive")).stdout == b"alive\n"
            assert (await behind).size == 300 * MIB
            await copying


# --- what is offered, and to whom -------------------------------------------------------------------------------------


def sftp_session(handlers: list[ServerSession]) -> Any:
    """A session of nothing but SFTP, whose handlers are kept."""

    def session(connection: Any) -> ServerSession:
        start = sftp_starter(lambda session: LocalFileSystem("/"))
        handlers.append(ServerSession(connection, SessionPolicy(subsystems={"sftp": start}), start))
        return handlers[-1]

    return session


async def test_row21_sftp_root_is_all_there_is(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "offered").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "offered" / "way out").symlink_to("../secret")
    async with start_fastssh(tmp_path, keys, sftp_root=tmp_path / "offered") as server:
        before = open_descriptors()
        async with server.connect() as connection:
            async with await connection.sftp() as sftp:
                assert await sftp.realpath() == "/"
                assert await sftp.listdir() == ["way out"]
                for path in ("way out", "../secret", str(tmp_path / "secret")):
                    with pytest.raises(FileNotFoundError):
                        await sftp.open(path)
            for wanted in ({"command": "true"}, {}, {"subsystem": "other"}):
                with pytest.raises(ChannelRequestError):
                    await connection.create_process(**wanted)
        await until(lambda: open_descriptors() == before, "descriptors to close")


async def test_a_file_system_may_be_made_for_each_session(tmp_path: Path, keys: Keys) -> None:
    made: list[RootedFileSystem] = []

    def make(connection: fastssh.ServerConnection) -> RootedFileSystem:
        (tmp_path / connection.user).mkdir(exist_ok=True)
        made.append(RootedFileSystem(tmp_path / connection.user))
        return made[-1]

    async with start_fastssh(tmp_path, keys, sftp=make) as server:
        for user in ("bob", "eve"):
            async with server.connect(user=user) as connection, await connection.sftp() as sftp:
                await sftp.mkdir(f"of {user}")
        await until(lambda: all(each._root < 0 for each in made), "the file systems to be closed")
    assert (tmp_path / "bob" / "of bob").is_dir() and (tmp_path / "eve" / "of eve").is_dir()


async def test_a_root_that_is_gone_is_told_to_the_operator(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys, sftp_root=tmp_path / "gone") as server, server.connect() as connection:
        with pytest.raises(ChannelRequestError):
            await connection.sftp()
        assert any("cannot start sftp" in line and "gone" in line for line in server.log)


def test_options_that_exclude_each_other_are_refused(tmp_path: Path, keys: Keys) -> None:
    key = fastssh.load_private_key(keys.host("ed25519"))
    session: Any = sftp_session([])
    for wrong in ({"sftp_root": "/", "sftp": lambda _: LocalFileSystem("/")}, {"session": session, "sftp_root": "/"}):
        with pytest.raises(ConfigError):
            fastssh.ServerOptions(host_keys=[key], **wrong)
