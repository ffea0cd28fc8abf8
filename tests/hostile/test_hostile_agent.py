"""An agent is a peer too (row 25): what it says is bounded, and it can only cost us its keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fastssh.errors import AuthenticationError
from fastssh.wire import codec
from fastssh.wire.messages import UserauthFailure
from tests.hostile.client import memory_bounded, refused
from tests.hostile.server import Peer, host_key

IDENTITIES, SIGNED, FAILURE = 12, 14, 5


def answer(kind: int, body: bytes) -> bytes:
    return codec.string(bytes((kind,)) + body)


def keys(*comments: bytes) -> bytes:
    blob = codec.string(host_key(which="user").public.blob)
    return answer(IDENTITIES, codec.uint32(len(comments)) + b"".join(blob + codec.string(each) for each in comments))


@contextlib.asynccontextmanager
async def agent(path: Path, respond: Callable[[bytes], bytes | None]) -> AsyncIterator[str]:
    """``respond``: request -> bytes; None closes the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                reply = respond(await reader.readexactly(length))
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, path)
    try:
        yield str(path)
    finally:
        server.close()


def wants_keys(peer: Peer) -> None:
    while True:
        peer.request()
        peer.send(UserauthFailure(("publickey",)))


@pytest.mark.parametrize(
    "reply",
    [
        None, b"\xff\xff\xff\xff", codec.uint32(256 * 1024 + 1), codec.uint32(0), codec.string(b""),
        answer(FAILURE, b""), answer(IDENTITIES, b""), answer(IDENTITIES, b"\xff\xff\xff\xff"),
        answer(IDENTITIES, codec.uint32(1)), answer(IDENTITIES, codec.uint32(1) + b"\xff\xff\xff\xff"),
        answer(IDENTITIES, codec.uint32(1) + codec.string(b"junk") + codec.string(b"")),
        answer(IDENTITIES, codec.uint32(2000) + (codec.string(b"k") + codec.string(b"")) * 2000),
        answer(IDENTITIES, codec.uint32(0) + b"x"), answer(SIGNED, codec.string(b"x")), answer(200, b"x" * 1000),
        keys(b"\x1b]0;owned\x07", b"\xff\n"), keys(*[b"x" * 100] * 1000),
    ],
)  # fmt: skip
async def test_row25_whatever_an_agent_lists(serve, tmp_path, reply):
    lines: list[str] = []
    async with agent(tmp_path / "agent", lambda request: reply) as path:
        with memory_bounded():
            await refused(
                serve(wants_keys), AuthenticationError, "Permission denied", agent_socket=path, follow_up=False,
                log=lambda _, line: lines.append(line),
            )  # fmt: skip
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]


@pytest.mark.parametrize(
    "reply",
    [
        None, b"\xff\xff\xff\xff", answer(FAILURE, b""), answer(SIGNED, b""), answer(SIGNED, b"\xff\xff\xff\xff"),
        answer(SIGNED, codec.string(b"")), answer(SIGNED, codec.string(b"x" * 200_000)), keys(b"again"),
        answer(SIGNED, codec.string(b"x") + b"superfluous"),
    ],
)  # fmt: skip
async def test_row25_whatever_an_agent_signs(serve, tmp_path, reply):
    def respond(request: bytes) -> bytes | None:
        return keys(b"one") if request[0] == 11 else answer(FAILURE, b"") if request[0] == 27 else reply

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthFailure(("publickey",)))
        while True:
            request = peer.request()
            query = request.method_data[:1] == b"\0"
            key = host_key(which="user").public.blob
            ok = b"\x3c" + codec.string(b"ssh-ed25519") + codec.string(key)
            peer.send(ok if query else UserauthFailure(("publickey",)))

    async with agent(tmp_path / "agent", respond) as path:
        await refused(
            serve(script), AuthenticationError, "Permission denied", agent_socket=path, follow_up=False
        )


async def test_row25_an_agent_that_never_answers_is_subject_to_the_deadline(serve, tmp_path):
    from fastssh.errors import SSHTimeoutError

    async with agent(tmp_path / "agent", lambda request: b"") as path:
        await refused(
            serve(wants_keys), (SSHTimeoutError, AuthenticationError), "timed out|Permission denied", agent_socket=path,
            login_timeout=0.5, follow_up=False,
        )  # fmt: skip
