"""What a server says beside SFTP reaches whoever asked for SFTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fastssh.errors import SSHError
from tests.support.serving import Command, joined


async def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bytes, stream: int, pattern: str) -> None:
    def request(command: Command, name: str, want_reply: bool, data: bytes) -> bool:
        def refuse() -> None:
            assert command.channel is not None
            command.channel.write(words, stream)
            command.finish(1)

        asyncio.get_running_loop().call_soon(refuse)
        return True

    monkeypatch.setattr(Command, "request", request)
    async with asyncio.timeout(20), joined(tmp_path, password="x") as (conn, _):
        with pytest.raises(SSHError, match=pattern):
            await conn.sftp()


async def test_what_the_server_says_on_stderr_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = b"This account may\x1b[1m not use sftp\n"
    await refused(tmp_path, monkeypatch, words, 1, r"the server said: This account may\\033\[1m not use sftp\)$")


@pytest.mark.parametrize("words", [b"hello", b"Welcome!\n", b"\x1b[2Jpay here", b"x" * 100_000])
async def test_what_a_login_shell_prints_is_shown_instead_of_a_riddle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    shown = words[:8].decode().strip().replace("\x1b[", r"\\033\[")
    await refused(tmp_path, monkeypatch, words, 0, f"something else where SFTP should begin: {shown}")
