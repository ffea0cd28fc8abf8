"""fastssh-sftp: the entry point."""

from __future__ import annotations

from typing import NoReturn

from fastssh.cli.messages import Messages
from fastssh.cli.process import hurry, leave
from fastssh.cli.sftp import arguments
from fastssh.cli.tool import run_tool


def run() -> NoReturn:
    """The command fastssh-sftp."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh-sftp with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    hurry()
    from fastssh.cli.sftp.session import Job

    return Job(asked, messages).run()


if __name__ == "__main__":
    run()
