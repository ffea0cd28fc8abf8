"""fastssh-scp: the entry point, what happens on Ctrl-C, and the last resort for errors."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fastssh.cli import arguments
from fastssh.cli.messages import Messages
from fastssh.cli.process import leave, open_standard_descriptors, print_text

if TYPE_CHECKING:
    import asyncio

    from fastssh.cli.job import CopyJob

EXIT_FAILED: Final = 1
GIVE_UP_SECONDS: Final = 3.0  # for an orderly end after a signal
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run() -> NoReturn:
    """The command fastssh-scp."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh-scp with ``argv`` (without the program's name); returns its exit status and never raises."""
    open_standard_descriptors()
    messages = Messages()
    try:
        status = _run(sys.argv[1:] if argv is None else argv, messages)
    except KeyboardInterrupt:  # before or after the loop, which takes the signal itself
        messages.line("interrupted")
        status = 128 + signal.SIGINT
    except Exception as error:
        messages.unexpected(error)
        status = EXIT_FAILED
    return status


def _run(argv: list[str], messages: Messages) -> int:
    try:
        asked = arguments.read(argv)
    except arguments.UsageError as error:
        messages.line(str(error))
        if error.usage:
            messages.write(arguments.USAGE.rstrip())
        return error.status
    if asked.action == "help":
        return print_text(f"{arguments.USAGE}\n{arguments.HELP}", messages)
    if asked.action == "version":
        from fastssh.cli.version import version_text

        return print_text(f"{version_text()}\n", messages)
    import asyncio

    from fastssh.aio import lingering
    from fastssh.cli.job import CopyJob

    job = CopyJob(asked, messages)
    supervisor = _Supervisor(job, messages)
    try:
        status = lingering.run(supervisor.run())
    except BaseException as error:
        if supervisor.stopped_by is None:
            raise
        if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt) and os.environ.get("FASTSSH_DEBUG"):
            messages.unexpected(error)
        status = job.summary.status = supervisor.interrupted()
    if asked.json:
        printed = print_text(f"{job.summary.text()}\n", messages)
        status = status or printed
    return status


class _Supervisor:
    """Runs a job and ends it on a signal: in order if that works within GIVE_UP_SECONDS, else at once."""

    def __init__(self, job: CopyJob, messages: Messages) -> None:
        self._job, self._messages = job, messages
        self.stopped_by: signal.Signals | None = None

    async def run(self) -> int:
        import asyncio

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.set_exception_handler(self._stray)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and jobs in the background of scripts
                loop.add_signal_handler(number, self._signalled, number, loop, task)
        return await self._job.run()

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a callback or a forgotten task; whoever waits for its outcome is told as well."""
        error = context.get("exception")
        self._messages.unexpected(error if isinstance(error, BaseException) else RuntimeError(context["message"]))

    def _signalled(
        self, number: signal.Signals, loop: asyncio.AbstractEventLoop, task: asyncio.Task[int]
    ) -> None:
        if self.stopped_by is not None:
            self._give_up()
        self.stopped_by = number
        task.cancel()
        loop.call_later(GIVE_UP_SECONDS, self._give_up)

    def _give_up(self) -> None:
        from fastssh.cli import terminal

        terminal.restore()
        os._exit(self.interrupted())

    def interrupted(self) -> int:
        """Says so; returns the exit status."""
        assert self.stopped_by is not None
        summary, active = self._job.summary, list(self._job.tally.active)
        summary.interrupted = True
        what = f" while copying {active[0]}" if active else ""
        more = f" and {len(active) - 1} more" if len(active) > 1 else ""
        self._messages.line(f"interrupted{what}{more}")
        return 128 + self.stopped_by


if __name__ == "__main__":
    run()
