"""Copies between two remote hosts: through this machine (-3), or by scp on the first of them (-R)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

from fastssh.cli.location import Remote
from fastssh.errors import TransferError
from fastssh.scp.command import quoted

if TYPE_CHECKING:
    from fastssh.aio.process import Process, ProcessReader
    from fastssh.cli.scp.arguments import Arguments
    from fastssh.cli.scp.job import CopyJob

_PIECE: Final = 64 * 1024


async def through_here(
    job: CopyJob, stack: contextlib.AsyncExitStack, source: Remote, names: list[str], target: Remote
) -> None:
    """-3: both sides are reached from here, the first one first."""
    first = await job.reached(stack, source, sends=False)
    second = await job.reached(stack, target, sends=True)
    name = f"{source.host} to {target.host}"
    if job.asked.legacy:
        from fastssh.aio.scp import Pace
        from fastssh.aio.scp_relay import relay

        options, pace = job.options(), Pace(job.asked.limit)
        say, verbose = job.messages.write, job.asked.verbosity > 0
        async with job.copying(name, lambda: first.error or second.error):
            for each in names:
                await relay(
                    first.start, each, second.start, target.path, options, job.tally, pace=pace, say=say,
                    verbose=verbose, strict=job.asked.strict,
                )  # fmt: skip
        return
    from fastssh.aio.crossload import crossload

    one, other = await job.sftp(stack, first), await job.sftp(stack, second)
    async with job.copying(name, lambda: one.session.error or other.session.error):
        await crossload(one, names, other, target.path, job.options(), job.tally)


async def at_origin(
    job: CopyJob, stack: contextlib.AsyncExitStack, source: Remote, names: list[str], target: Remote
) -> None:
    """-R: the source's host runs scp, which has to reach the target by itself."""
    far = await job.reached(stack, source, sends=False)
    command = _command(job.asked, names, target)
    async with job.copying(source.host, lambda: far.error), await far.start(command) as process:
        process.stdin.write_eof()
        await asyncio.gather(_pass_on(process.stdout, 1), _pass_on(process.stderr, 2))
        status = await process.wait()
        if status != 0:
            raise TransferError(f"scp on {source.host} ended with {_how(process, status)}")


def _command(asked: Arguments, names: list[str], target: Remote) -> str:
    flags = {"-r": asked.recurse, "-p": asked.preserve, "-q": asked.quiet, "-v": asked.verbosity > 0}
    host = f"[{target.host}]" if ":" in target.host else target.host
    user = f"{target.user}@" if target.user is not None else ""
    words = ["scp", *(flag for flag, on in flags.items() if on), "--", *map(quoted, names)]
    return " ".join([*words, shlex.quote(f"{user}{host}:{target.path}")])


def _how(process: Process, status: int | None) -> str:
    return f"status {status}" if status is not None else f"signal {process.exit_signal or 'unknown'}"


async def _pass_on(reader: ProcessReader, fd: int) -> None:
    """To our own standard output or error, as ssh does with what a command says."""
    stream = sys.stdout if fd == 1 else sys.stderr
    while data := await reader.read(_PIECE):
        with contextlib.suppress(OSError, AttributeError, ValueError):  # nobody is there to read it
            stream.flush()
            os.write(fd, data)
