"""How a server is dialled: each address in turn, within its time; from where; with which class of service."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio import dial as dialling
from fastssh.aio.dial import dial
from fastssh.aio.options import ClientOptions
from fastssh.config.client import client_options
from fastssh.config.evaluate import load
from fastssh.errors import ConnectionLostError, SSHTimeoutError
from tests.support.peers import Peer
from tests.support.reaching import SECONDS, to


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def leads_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Every name has these addresses."""
    found: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    async def resolve(host: str, port: int, options: ClientOptions) -> Any:
        return found

    monkeypatch.setattr(dialling, "resolve", resolve)


async def test_each_address_has_its_time_and_the_next_one_follows(
    sshd: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with silent() as port:
        leads_to(monkeypatch, port, port, sshd.port)
        options = ClientOptions(
            host="h", user="u", connect_timeout=0.2, log=lambda level, text: lines.append(text)
        )
        async with asyncio.timeout(SECONDS):
            route = await dial(options)
        with route.sock:
            assert route.begun is not None
        assert lines == [
            f"Connecting to h [127.0.0.1] port {options.port}.",
            f"connect to address 127.0.0.1 port {options.port}: Connection timed out",
        ] * 2 + [f"Connecting to h [127.0.0.1] port {options.port}.", "Connection established."]
        leads_to(monkeypatch, sshd.port, port)
        leads_to(monkeypatch, port)
        with pytest.raises(SSHTimeoutError, match=r"^connect to host h port 22: Connection timed out$"):
            await dial(options)


async def test_what_a_late_address_took_is_not_taken_from_the_key_exchange(
    sshd: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent() as port:
        leads_to(monkeypatch, *[port] * 4, sshd.port)
        async with asyncio.timeout(SECONDS), fastssh.connect(**to(sshd, connect_timeout=0.5)) as conn:
            assert (await conn.run("true")).exit_status == 0


async def test_attempts_begin_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "RETRY_SECONDS", 0.05)
    lines: list[str] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        options = ClientOptions(
            host="127.0.0.1", port=port, user="u", connection_attempts=3, log=lambda level, text: lines.append(text)
        )
        begun = time.monotonic()
        with pytest.raises(ConnectionLostError, match="Connection refused"):
            await dial(options)
        assert time.monotonic() - begun >= 0.1
        assert lines.count("Trying again...") == 2
        assert len([line for line in lines if line.startswith("Connecting to")]) == 3


async def test_a_connection_begun_early_has_no_more_time_than_others(
    sshd: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never:
        async def taken(self) -> socket.socket | None:
            await asyncio.sleep(SECONDS)
            raise AssertionError

    lines: list[str] = []
    early: Any = Never()
    options = ClientOptions(
        host="h", user="u", connect_timeout=0.1, early=early, log=lambda level, text: lines.append(text)
    )
    leads_to(monkeypatch, 1)
    with pytest.raises(SSHTimeoutError, match=r"^connect to host h port 22: Connection timed out$"):
        await dial(options)
    leads_to(monkeypatch, 1, sshd.port)
    (await dial(options)).sock.close()
    assert lines[-1] == "Connection established." and not any("refused" in line for line in lines)


# -- from where --------------------------------------------------------------------------------------------------------


async def test_an_address_is_more_than_an_interface(sshd: Peer) -> None:
    async with asyncio.timeout(SECONDS):
        async with fastssh.connect(**to(sshd, bind_interface="nosuch0", bind_address="127.0.0.1")):
            pass
        with pytest.raises(ConnectionLostError, match="Cannot assign requested address"):
            await fastssh.connect(**to(sshd, bind_interface="nosuch0"))


# -- its class ---------------------------------------------------------------------------------------------------------


async def test_the_class_of_service_may_change_with_what_is_done(sshd: Peer) -> None:
    async with asyncio.timeout(SECONDS), fastssh.connect(**to(sshd, ip_qos=0x40)) as conn:
        def class_of(sock: Any) -> int:
            return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)  # type: ignore[no-any-return]

        assert class_of(conn._sock) == 0x40
        conn.set_class_of_service(-1)
        assert class_of(conn._sock) == 0x40
        conn.set_class_of_service(0x48)
        assert class_of(conn._sock) == 0x48
    conn.set_class_of_service(0x20)  # when it is over there is nothing to choose


def test_the_configuration_reaches_the_dialling(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("User u\nConnectionAttempts 4\nBindInterface eth7\nConnectTimeout 9\n")
    found = client_options(load("h", file=str(path)))
    assert (found.connection_attempts, found.bind_interface, found.connect_timeout) == (4, "eth7", 9)
