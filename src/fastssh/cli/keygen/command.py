"""fastssh-keygen: the entry point."""

from __future__ import annotations

from typing import NoReturn

from fastssh.cli.keygen import arguments
from fastssh.cli.messages import Messages
from fastssh.cli.process import leave
from fastssh.cli.tool import run_tool


def run() -> NoReturn:
    """The command fastssh-keygen."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh-keygen with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    from fastssh.cli.keygen.actions import perform
    from fastssh.cli.keygen.console import Console

    return perform(asked, Console(messages))


if __name__ == "__main__":
    run()
