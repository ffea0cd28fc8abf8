"""scp for sessions without a shell: `scp -t` and `scp -f` of a client, served here with the file system of its SFTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastssh.aio.scp import drive
from fastssh.aio.server.coroutine import ServerProcess
from fastssh.aio.server.program import Launch, Program, Starter
from fastssh.aio.server.sftp import Closeable
from fastssh.errors import SSHError
from fastssh.scp.command import Command, parse
from fastssh.scp.serve import serve

if TYPE_CHECKING:
    from fastssh.aio.server.session import ServerSession
    from fastssh.sftp.filesystem import FileSystem


def scp_starter(filesystem: Callable[[ServerSession], FileSystem], *, read_only: bool = False) -> Starter:
    """For commands of a client: scp's far side with the file system made for each session; any other is refused."""

    def start(session: ServerSession, launch: Launch) -> Program:
        command = parse(launch.command) if launch.command is not None else None
        if command is None:
            raise SSHError("only SFTP and scp are offered")
        made = command

        async def run(process: ServerProcess) -> int:
            return await _run(process, session, filesystem(session), made, read_only=read_only)

        return ServerProcess(session, launch, run)

    return start


async def _run(
    process: ServerProcess, session: ServerSession, files: FileSystem, command: Command, *, read_only: bool
) -> int:
    """The exit status, as scp has it."""
    try:
        steps = serve(files, command, patterns=True, read_only=read_only)
        report = await drive(steps, process.stdin, process.stdout)
        return 1 if report.failed else 0
    except SSHError as error:
        session.log(f"scp: {error}")
        return 1
    finally:
        if isinstance(files, Closeable):
            files.close()
