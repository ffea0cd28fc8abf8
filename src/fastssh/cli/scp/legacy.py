"""-O: copies by the legacy SCP protocol, for :mod:`fastssh.cli.scp.job`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastssh.aio import scp

if TYPE_CHECKING:
    from fastssh.cli.scp.job import CopyJob
    from fastssh.cli.scp.reach import Far


async def one_way(job: CopyJob, far: Far, names: list[str], target: str, *, upload: bool) -> None:
    """All sources in one session up; down one after the other, as the protocol does not say which is which."""
    asked, options, pace = job.asked, job.options(), scp.Pace(job.asked.limit)
    say, verbose = job.messages.write, asked.verbosity > 0
    if upload:
        await scp.upload(
            far.start, names, target, options, job.tally, pace=pace, say=say, verbose=verbose
        )
        return
    for name in names:
        await scp.download(
            far.start, name, target, options, job.tally, pace=pace, say=say, verbose=verbose, strict=asked.strict
        )
