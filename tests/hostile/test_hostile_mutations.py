"""Good conversations with one message made wrong at random: whatever comes of it, it is one of ours, and soon.

More seeds: FASTSSH_HOSTILE_SEEDS=5000 pytest tests/hostile/test_hostile_mutations.py
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

import fastssh
from fastssh.aio import copy
from fastssh.errors import SSHError
from fastssh.wire import codec
from tests.hostile.client import HANG_SECONDS, Loop, Sandbox, options, works
from tests.hostile.server import HostileServer, Peer, healthy
from tests.hostile.sftp import LINK, Node, Session, entry, folder, sftp

SEEDS = int(os.environ.get("FASTSSH_HOSTILE_SEEDS", "150"))
NUMBERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", bytes(4))
SECONDS = 0.4  # for what a mutation made wait for ever


def mutated(data: bytes, dice: random.Random) -> bytes:
    """``data`` with something wrong in it. The first byte says what it is and mostly stays."""
    at = dice.randrange(min(1, len(data) - 1), len(data)) if data and dice.random() < 0.9 else 0
    match dice.randrange(8):
        case 0:
            return data[:at] + bytes((data[at] ^ (1 << dice.randrange(8)),)) + data[at + 1 :]
        case 1:
            return data[:at] + dice.randbytes(1) + data[at + 1 :]
        case 2:
            return data[: max(at, 1)]
        case 3:
            return data + dice.randbytes(dice.choice((1, 4, 100, 5000)))
        case 4:
            return data[:at] + dice.choice(NUMBERS) + data[at + 4 :]
        case 5:
            return data[:at] + dice.randbytes(dice.randrange(1, 9)) + data[at:]
        case 6:
            return data[:at] + data[at + dice.randrange(1, 9) :] or b"\0"
        case _:
            return data[:1] + dice.randbytes(max(0, len(data) - 1))


async def talk(server: HostileServer, use: Callable[[Any], Any]) -> None:
    """Success or SSHError (or OSError of a file), within the time; nothing uncaught and nothing left over."""
    loop = Loop()
    try:
        async with asyncio.timeout(HANG_SECONDS):
            given = options(server, login_timeout=SECONDS, password="secret", keys=())
            async with fastssh.connect("127.0.0.1", server.port, **given) as connection:
                await use(connection)
    except (SSHError, OSError) as error:
        assert str(error).isprintable(), ascii(str(error))
        assert len(str(error)) < 2100
        assert not isinstance(error, TimeoutError) or isinstance(error, SSHError), "hangs"
        assert "internal error" not in str(error)
    await loop.check()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastssh.aio.sftp.INTERRUPT_SECONDS", 0.1)
    monkeypatch.setattr("fastssh.aio.driver.GOODBYE_SECONDS", 0.1)


async def test_row26_one_wrong_message_of_the_ssh_protocol(serve, hurry):
    async def use(connection: Any) -> None:
        result = await connection.run("true", timeout=SECONDS)
        str(result)

    def lax(script: Callable[[Peer], None]) -> Callable[[Peer], None]:
        """The good half of the conversation may itself be confused by what the client makes of the wrong one."""

        def run(peer: Peer) -> None:
            try:
                script(peer)
            except SSHError:
                peer.sock.shutdown(2)

        return run

    for seed in range(SEEDS):
        dice = random.Random(seed)
        left = dice.randrange(11)

        def rewrite(payload: bytes, *, dice: random.Random = dice) -> bytes:
            nonlocal left
            left -= 1
            return mutated(payload, dice) if left == -1 else payload

        def script(peer: Peer, rewrite: Callable[[bytes], bytes] = rewrite) -> None:
            inject = peer.plane.inject
            peer.plane.inject = lambda payload: inject(rewrite(payload))  # type: ignore[method-assign]
            healthy(peer)

        server = serve(lax(script))
        try:
            await talk(server, use)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        server.stop()
    await works(serve(healthy))


async def test_row22_one_wrong_message_of_sftp(serve, tmp_path, hurry):
    nodes = {
        b"dir": folder(entry(b"a", Node(data=b"aaa")), entry(b"b", Node(data=bytes(70_000))), entry(b"l", Node(LINK)),
                       entry(b"sub", folder())),
        b"dir/a": Node(data=b"aaa"), b"dir/b": Node(data=bytes(70_000)), b"dir/l": Node(data=b"l"),
        b"dir/sub": folder(entry(b"c", Node(data=b"c"))), b"dir/sub/c": Node(data=b"c"),
    }  # fmt: skip

    for seed in range(SEEDS):
        dice = random.Random(seed)
        left = dice.randrange(40)
        root = tmp_path / str(seed)
        root.mkdir()
        sandbox = Sandbox(root)
        source = sandbox.target / "source"
        source.write_bytes(bytes(70_000))

        def script(peer: Peer, dice: random.Random = dice) -> None:
            send = Session.send

            class Wrong(Session):
                def send(self, data: bytes) -> None:
                    nonlocal left
                    left -= 1
                    if left == -1:
                        if dice.random() < 0.7:  # inside of a frame that is right
                            data = codec.string(mutated(data[4:], dice))
                        else:
                            data = mutated(data, dice)
                    send(self, data)

            try:
                sftp(nodes, session_type=Wrong)(peer)
            except (SSHError, LookupError):
                peer.sock.shutdown(2)

        async def use(connection: Any, target: Any = sandbox.target, source: Any = source) -> None:
            async with await connection.sftp(timeout=SECONDS) as session:
                try:
                    async with asyncio.timeout(SECONDS):
                        await session.stat("dir/a")
                        await session.listdir("dir")
                        await session.glob("dir/*")
                        report = await copy.download(session, ["dir"], target, copy.CopyOptions(recurse=True))
                        for failure in report.errors:
                            assert "internal" not in str(failure.error)
                        await session.put_file(source, "up")
                except TimeoutError as error:
                    if isinstance(error, SSHError):
                        raise

        server = serve(script)
        try:
            await talk(server, use)
            sandbox.check()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        server.stop()
