"""fastssh-scp: the entry point, and what is said when it is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from fastssh.cli.messages import Messages
from fastssh.cli.process import hurry, leave, print_text
from fastssh.cli.scp import arguments
from fastssh.cli.tool import run_tool

if TYPE_CHECKING:
    from fastssh.cli.scp.job import CopyJob


def run() -> NoReturn:
    """The command fastssh-scp."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh-scp with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    if asked.far:
        from fastssh.cli.scp.far import serve

        return serve(asked.far, messages)
    hurry()
    from fastssh.cli.scp.job import CopyJob
    from fastssh.cli.supervision import Supervisor

    job = CopyJob(asked, messages)
    status = Supervisor(messages, lambda: _interrupted(job, messages)).run(job.run())
    if asked.json:
        job.summary.status = status
        printed = print_text(f"{job.summary.text()}\n", messages)
        status = status or printed
    return status


def _interrupted(job: CopyJob, messages: Messages) -> None:
    active = list(job.tally.active)
    job.summary.interrupted = True
    what = f" while copying {active[0]}" if active else ""
    more = f" and {len(active) - 1} more" if len(active) > 1 else ""
    messages.line(f"interrupted{what}{more}")


if __name__ == "__main__":
    run()
