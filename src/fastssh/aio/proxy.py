"""ProxyCommand and ProxyUseFdpass of ssh_config(5): a program that makes the connection, and ends with it.

The user's shell replaces itself with the command, whose standard input and output are pipes, as with ssh; its standard
error stays ours. With ProxyUseFdpass they are one end of a pair of sockets, over which it passes a connected one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from typing import TYPE_CHECKING, Final

from fastssh.aio import passed
from fastssh.aio.dial import Route
from fastssh.aio.pipes import PipePair
from fastssh.errors import ConfigError, ConnectionLostError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastssh.aio.options import ClientOptions
    from fastssh.errors import SSHError

HANGUP_SECONDS: Final = 2.0  # for a command to end after SIGHUP
LAST_WORDS_SECONDS: Final = 1.0  # for a command to end by itself after it closed the connection
STANDARD: Final = "-"  # the command that stands for our own standard input and output

_Process = asyncio.subprocess.Process


class ProxyProcess:
    """A running command; see :class:`~fastssh.aio.dial.Carrier`."""

    def __init__(self, process: _Process) -> None:
        self.hop = None
        self._process = process
        self._ending: asyncio.Task[None] | None = None

    def on_lost(self, callback: Callable[[SSHError], None]) -> None:
        """Its end is the connection's, which tells it."""

    async def explain(self) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._process.wait()
        status = self._process.returncode
        if not status:
            return ""
        return f"proxy command ended {f'by signal {-status}' if status < 0 else f'with status {status}'}"

    def close(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def wait_closed(self) -> None:
        self.close()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        for number in (signal.SIGHUP, signal.SIGKILL):
            if self._process.returncode is None:  # send_signal() would take its status away from whoever waits for it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANGUP_SECONDS):
                    await self._process.wait()
                    return


async def run_proxy(options: ClientOptions) -> Route:
    """The route that ``options.proxy_command`` makes. Raises ConfigError and ConnectionLostError; cancelled, the
    command is ended."""
    command = options.proxy_command
    assert command is not None
    if command == STANDARD:
        return Route(_standard(), None)
    options.log(1, f"Executing proxy command: exec {printable(command)}")
    if not options.proxy_use_fdpass:
        return await _piped(command)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            carrier = ProxyProcess(await _start(command, theirs.fileno(), theirs.fileno()))
        try:
            with ours:
                return Route(await _receive(ours, carrier), None, carrier)
        except BaseException:
            carrier.close()
            raise
    except BaseException:
        ours.close()
        raise


async def _piped(command: str) -> Route:
    source, theirs_out = os.pipe()
    theirs_in, sink = os.pipe()
    ours = PipePair(source, sink)
    try:
        try:
            carrier = ProxyProcess(await _start(command, theirs_in, theirs_out))
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
    except BaseException:
        ours.close()
        raise
    return Route(ours, None, carrier)


async def _start(command: str, stdin: int, stdout: int) -> _Process:
    shell = os.environ.get("SHELL") or "/bin/sh"
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(shell, "-c", f"exec {command}", stdin=stdin, stdout=stdout)
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError):
            await ProxyProcess(await starting).wait_closed()
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise ConnectionLostError(f"proxy command cannot be started: {printable(shell)}: {reason}") from error


def _standard() -> socket.socket:
    """What our standard input and output are, if they are one connection."""
    try:
        if os.path.sameopenfile(0, 1) and stat.S_ISSOCK(os.fstat(0).st_mode):
            return socket.socket(fileno=os.dup(0))
    except OSError as error:
        raise ConnectionLostError(f"proxy command '-': {error.strerror}") from error
    raise ConfigError("proxy command '-' needs a socket as standard input and output")


async def _receive(sock: socket.socket, carrier: ProxyProcess) -> socket.socket:
    """The connected socket that the command hands over, with one byte (SCM_RIGHTS, as ssh reads it)."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    readable = loop.create_future()
    loop.add_reader(sock, lambda: None if readable.done() else readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    try:
        data, descriptors, truncated = passed.receive(sock, 1, 1)
    except OSError as error:
        raise ConnectionLostError(f"proxy command passed no connection: {error.strerror}") from error
    try:
        if not data or truncated or len(descriptors) != 1 or not stat.S_ISSOCK(os.fstat(descriptors[0]).st_mode):
            reason = await carrier.explain()
            raise ConnectionLostError(f"proxy command passed no connection{f': {reason}' if reason else ''}")
        return socket.socket(fileno=descriptors.pop())
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
