"""The forwards of a running fastssh: what is said of them, and cancelling by what was asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fastssh.aio.forwarding.policy import ForwardingPolicy
from fastssh.cli.ssh.forwards import ForwardError, Forwards
from fastssh.config.evaluate import load
from fastssh.config.forwards import Kind, parse
from fastssh.config.settings import Settings
from fastssh.config.tokens import Local
from tests.support.forwarding import destination, echo, exchange, forwarder, reach
from tests.support.peers import HOST, Keys, free_port


def settings(directory: Path, *lines: str) -> Settings:
    local = Local("me", 1000, str(directory), "box", {})
    return load("host", file="none", overrides=lines, local=local)


async def test_forwards_are_opened_and_cancelled_by_what_was_asked_for(tmp_path: Path, keys: Keys) -> None:
    here, there, socks, said = free_port(), free_port(), free_port(), []
    async with forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn:
        forwards = Forwards(conn, settings(tmp_path))
        local = parse(Kind.LOCAL, f"{here}:{HOST}:{port}")
        wanted = [
            local, parse(Kind.REMOTE, f"{there}:{HOST}:{port}"), parse(Kind.REMOTE, f"0:{HOST}:{port}"),
            parse(Kind.DYNAMIC, f"localhost:{socks}"), parse(Kind.REMOTE, f"0:{tmp_path}/none"),
            parse(Kind.LOCAL, f"{tmp_path}/listen:{HOST}:{port}"),
        ]  # fmt: skip
        assert await forwards.open_all(wanted, said.append, exit_on_failure=True)
        chosen = forwards.allocated_port(wanted[2])
        assert said[0] == f"Allocated port {chosen} for remote forward to {HOST}:{port}"
        assert len(said) == 2
        for each in (here, there, chosen):
            assert await exchange(await reach(each), b"data") == b"data"
        assert await forwards.open(wanted[2]) == chosen  # it is there already
        assert set(forwards) == set(wanted)
        for forward in (*wanted[:3], wanted[5]):
            await forwards.cancel(forward)
        await forwards.cancel_listening(Kind.DYNAMIC, ("localhost", socks))
        for each in (here, there, chosen, socks):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, each)
        assert not (tmp_path / "listen").exists()
        for again in (forwards.cancel(local), forwards.cancel_listening(Kind.LOCAL, (None, here))):
            with pytest.raises(ForwardError, match="port not forwarded"):
                await again


async def test_what_cannot_be_forwarded_is_said_in_sshs_words(tmp_path: Path, keys: Keys) -> None:
    async with (
        forwarder(tmp_path, keys, ForwardingPolicy(remote_tcp=False)) as server, destination(echo) as port,
        server.connect() as conn,
    ):
        forwards = Forwards(conn, settings(tmp_path))
        wanted = [parse(Kind.LOCAL, f"{HOST}:{port}:h:80"), parse(Kind.REMOTE, "8080:h:80"),
                  parse(Kind.LOCAL, f"{tmp_path}:h:80"), parse(Kind.REMOTE, "/run/x:h:80")]  # fmt: skip
        for exit_on_failure, word in ((True, "Error"), (False, "Warning")):
            said: list[str] = []
            assert not await forwards.open_all(wanted, said.append, exit_on_failure=exit_on_failure)
            assert said == [
                f"bind [{HOST}]:{port}: Address already in use",
                f"channel_setup_fwd_listener_tcpip: cannot listen to port: {port}",
                "Could not request local forwarding.",
                f"{word}: remote port forwarding failed for listen port 8080",
                f"unix_listener: cannot bind to path {tmp_path}: Address already in use",
                "Could not request local forwarding.",
                f"{word}: remote port forwarding failed for listen path /run/x",
            ]
        assert list(forwards) == []


async def test_gateway_ports_and_masks_are_followed(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "stale").touch()
    async with forwarder(tmp_path, keys) as server, destination(echo) as port, server.connect() as conn:
        options = ("GatewayPorts yes", "StreamLocalBindMask 0117", "StreamLocalBindUnlink yes")
        forwards = Forwards(conn, settings(tmp_path, *options))
        here = free_port()
        await forwards.open(parse(Kind.LOCAL, f"{here}:{HOST}:{port}"))
        assert await exchange(await reach(here, "127.1.2.3"), b"data") == b"data"
        for _ in range(2):  # the second time in place of the first one's socket
            await Forwards(conn, settings(tmp_path, *options)).open(parse(Kind.LOCAL, f"{tmp_path}/s:{HOST}:{port}"))
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o660
        assert (tmp_path / "stale").exists()
