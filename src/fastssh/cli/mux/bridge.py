"""A session of a master's for a program that moves the bytes itself, as fastssh-scp and fastssh-sftp do."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from fastssh.aio.bridge import Bridge
from fastssh.cli.mux.client import MasterConnection
from fastssh.errors import MultiplexError
from fastssh.wire.requests import ExitStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_STDERR: Final = 2
_FAILED: Final = 255  # of a program whose end nobody told
_LAST_WORDS_SECONDS: Final = 10.0  # for a master to close what it has begun to end


@contextlib.asynccontextmanager
async def session(path: str, command: str, *, subsystem: bool) -> AsyncIterator[Bridge]:
    """``command``, or the ``subsystem`` of that name, over the master at ``path``. Its standard error is ours.

    Raises OSError and MultiplexError.
    """
    source, writing = os.pipe()
    reading, sink = os.pipe()
    try:
        master, number = await asyncio.to_thread(_open, path, (reading, writing, _STDERR), command, subsystem)
    except BaseException:
        os.close(source)
        os.close(sink)
        raise
    finally:
        os.close(reading)
        os.close(writing)
    with master:
        async with Bridge(source, sink, name="shared connection") as bridge:
            telling = None
            if not subsystem:
                bridge.expect_exit()
                telling = asyncio.create_task(_tell_exit(master, number, bridge))
            try:
                yield bridge
            finally:
                if telling is not None:
                    telling.cancel()
                    await asyncio.wait((telling,))


def _open(path: str, descriptors: Sequence[int], command: str, subsystem: bool) -> tuple[MasterConnection, int]:
    master = MasterConnection(path)
    try:
        return master, master.open_session(descriptors, command=os.fsencode(command), subsystem=subsystem)
    except BaseException:
        master.close()
        raise


async def _tell_exit(master: MasterConnection, number: int, bridge: Bridge) -> None:
    """What the master says of the program's end, as soon as it begins to say it."""
    loop, spoke = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(master.fileno(), spoke.set)
    try:
        await spoke.wait()
    finally:
        loop.remove_reader(master.fileno())
    try:
        status = await asyncio.to_thread(master.wait, number, timeout=_LAST_WORDS_SECONDS)
    except (MultiplexError, OSError):
        status = None
    bridge.exited(ExitStatus(_FAILED if status is None else status & 0xFF))
