"""Session channels of our server, asked by our own client, by OpenSSH's and by others."""

from __future__ import annotations

from pathlib import Path

from tests.support.peers import Keys
from tests.support.serving_fastssh import start_fastssh


async def test_a_command_has_its_streams_and_its_status(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server:
        done = await server.ssh("cat; echo words >&2; exit 7", input=b"through and back")
        assert (done.status, done.stdout, done.stderr) == (7, b"through and back", b"words\n")
        async with server.connect() as connection:
            result = await connection.run("cat; echo words >&2; exit 7", input=b"through and back")
        assert (result.exit_status, result.stdout, result.stderr) == (7, b"through and back", b"words\n")


async def test_a_signal_that_ends_a_command_is_told(tmp_path: Path, keys: Keys) -> None:
    async with start_fastssh(tmp_path, keys) as server, server.connect() as connection:
        result = await connection.run("kill -TERM $$")
        assert (result.exit_status, result.exit_signal) == (None, "TERM")
