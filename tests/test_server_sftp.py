"""The sftp subsystem of our server, asked by our own client, by OpenSSH's and by others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.peers import HOST, Keys
from tests.support.serving_fastssh import start_fastssh


@pytest.mark.parametrize("mode", ["-s", "-O"])
async def test_scp_copies_files_up_and_down(tmp_path: Path, keys: Keys, mode: str) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(content)
    async with start_fastssh(tmp_path, keys) as server:
        up = await server.run("scp", mode, tmp_path / "source", f"{HOST}:{server.root}/up")
        assert (up.status, (server.root / "up").read_bytes() == content) == (0, True), up.stderr
        down = await server.run("scp", mode, f"{HOST}:{server.root}/up", tmp_path / "down")
        assert (down.status, (tmp_path / "down").read_bytes() == content) == (0, True), down.stderr
