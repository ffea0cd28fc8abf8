"""Sessions served by a coroutine of the program that runs the server: no process, no shell, no account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from fastssh.aio.process import ProcessReader, ProcessWriter
from fastssh.aio.server.program import Launch, Program, SessionPolicy
from fastssh.aio.server.session import ServerSession
from fastssh.aio.server.sftp import sftp_starter
from fastssh.aio.tty import Terminal
from fastssh.errors import SSHError
from fastssh.sftp.rooted import RootedFileSystem
from fastssh.wire.requests import ExitStatus

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.aio.server.options import ServerOptions
    from fastssh.sftp.filesystem import FileSystem

Function = Callable[["ServerProcess"], Awaitable[int | None]]

FAILED = ExitStatus(1)
LARGEST = 255  # exit status
EVERYTHING = ("*",)  # variables of the client are a mapping here, and nothing takes them for its own


class ServerProcess(Program):
    """What ``ServerOptions.process`` is called with, for each shell, exec and subsystem request.

    ``command`` is None for a shell, ``subsystem`` its name if that was asked for. ``env`` is what the client set.
    ``pty`` is what it said of its terminal, its size kept up to date, or None. ``stdin.read()`` gives room to the
    client, ``await stdout.drain()`` waits for it. The coroutine is cancelled when the client closes the channel.
    """

    def __init__(self, session: ServerSession, launch: Launch, function: Function) -> None:
        self.connection = session.connection
        self.user = session.connection.user
        self.command, self.subsystem = launch.command, launch.subsystem
        self.env: Mapping[str, str] = launch.environment
        self.pty: Terminal | None = launch.terminal
        self.stdin = ProcessReader()
        self.stdout, self.stderr = ProcessWriter(0), ProcessWriter(1)
        self._session = session
        for stream in (self.stdin, self.stdout, self.stderr):
            stream._attach(session.channel)
        self._task = asyncio.get_running_loop().create_task(self._run(function))

    async def _run(self, function: Function) -> None:
        try:
            status = await function(self) or 0
            if not 0 <= status <= LARGEST:  # shells keep eight bits: 256 would be a success
                raise ValueError(f"exit status {status}")
            self._session.finish(ExitStatus(status))
        except asyncio.CancelledError:
            self._session.finish(FAILED)
            raise
        except Exception as error:
            if not self._session.finished:  # else it only noticed that the client is gone
                self._session.log(f"session failed: {type(error).__name__}: {error}")
            self._session.finish(FAILED)

    # -- Program ---------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        self.stdin._feed(data)

    def eof(self) -> None:
        self.stdin._finish(None)

    def writable(self) -> None:
        self.stdout._writable()
        self.stderr._writable()

    def closed(self, error: SSHError | None) -> None:
        self.writable()
        self.stdin._finish(error)
        self._task.cancel()


def offered(options: ServerOptions) -> Callable[[ServerConnection], ServerSession]:
    """What ``process``, ``sftp`` and ``sftp_root`` of the options make of a session channel.

    A client's shell, commands and subsystems are the coroutine's, but for sftp where that is offered. Without a
    coroutine the commands of scp's legacy protocol are served with the files that SFTP is.
    """
    function, files = options.process, _files(options)

    def start(session: ServerSession, launch: Launch) -> Program:
        if function is not None:
            return ServerProcess(session, launch, function)
        if files is None:
            raise SSHError("nothing is offered")
        from fastssh.aio.server.scp import scp_starter

        return scp_starter(files)(session, launch)

    policy = SessionPolicy(
        permit_pty=function is not None,
        permit_shell=function is not None,
        accept_env=EVERYTHING,
        subsystems={} if files is None else {"sftp": sftp_starter(files)},
        other_subsystems=None if function is None else start,
    )
    return lambda connection: ServerSession(connection, policy, start)


def _files(options: ServerOptions) -> Callable[[ServerSession], FileSystem] | None:
    """Makes the file system of a session; None: none is offered."""
    make, root = options.sftp, options.sftp_root
    if root is not None:
        return lambda session: RootedFileSystem(root)
    return None if make is None else lambda session: make(session.connection)
