"""fastssh: the entry point, what is answered without a connection, and what is said when something goes wrong."""

from __future__ import annotations

import gc
from typing import NoReturn

from fastssh.cli.messages import Messages
from fastssh.cli.process import leave, print_text
from fastssh.cli.ssh import arguments
from fastssh.cli.tool import run_tool


def run() -> NoReturn:
    """The command fastssh."""
    gc.disable()  # until the session has begun
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    if asked.version:
        from fastssh.cli.version import version_text

        messages.write(version_text())
        return 0
    if asked.query is not None:
        from fastssh.cli.ssh.query import answer

        return print_text(answer(asked.query), messages)
    from fastssh.cli.ssh.job import run

    return run(asked, messages)


if __name__ == "__main__":
    run()
