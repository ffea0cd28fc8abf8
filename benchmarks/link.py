"""A long link on loopback: a relay that holds every byte back for a while, both ways. No privileges are needed.

    python -m benchmarks.link 22 --ms 25        prints the port that leads to port 22 with 50 ms a round trip
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from tests.support.peers import Peer

CHUNK = 512 * 1024
IN_FLIGHT = 64 * 1024 * 1024  # bytes a direction: more than any window that is measured here


@contextlib.contextmanager
def distant(peer: Peer, milliseconds: float) -> Iterator[Peer]:
    """``peer`` as it is seen through a link of so many milliseconds one way."""
    command = [sys.executable, "-m", "benchmarks.link", str(peer.port), "--ms", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as link:
        try:
            assert link.stdout is not None
            port = int(link.stdout.readline())
            known_hosts = peer.known_hosts.with_name("known_hosts_far")
            known_hosts.write_text(peer.known_hosts.read_text().replace(f"]:{peer.port}", f"]:{port}"))
            yield replace(peer, port=port, known_hosts=known_hosts)
        finally:
            link.terminate()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Bytes of one direction, and its end, ``seconds`` later."""
    held: deque[tuple[float, bytes]] = deque()
    arrived, room = asyncio.Event(), asyncio.Event()
    size = 0

    async def deliver() -> None:
        nonlocal size
        while True:
            while not held:
                arrived.clear()
                await arrived.wait()
            due, data = held[0]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            held.popleft()
            size -= len(data)
            room.set()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        while True:
            data = await reader.read(CHUNK)
            held.append((time.monotonic() + seconds, data))
            size += len(data)
            arrived.set()
            if not data:
                break
            while size > IN_FLIGHT:
                room.clear()
                await room.wait()


async def serve(port: int, seconds: float) -> None:
    """Listens on a free port, prints it, and leads every connection to ``port``."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
        with contextlib.suppress(ConnectionError, ExceptionGroup):
            await asyncio.gather(carry(reader, back, seconds), carry(there, writer, seconds))
        for each in (writer, back):
            each.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--ms", type=float, default=25.0, help="one way (%(default)s)")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, options.ms / 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
