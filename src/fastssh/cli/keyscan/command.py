"""fastssh-keyscan: the entry point."""

from __future__ import annotations

from typing import NoReturn

from fastssh.cli.keyscan import arguments
from fastssh.cli.messages import Messages, describe
from fastssh.cli.process import hurry, leave
from fastssh.cli.tool import UsageError, run_tool


def run() -> NoReturn:
    """The command fastssh-keyscan."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastssh-keyscan with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    hurry()
    from fastssh.cli.keyscan.scan import Scan
    from fastssh.cli.keyscan.targets import read_targets
    from fastssh.cli.supervision import Supervisor
    from fastssh.errors import SSHError

    try:
        targets = read_targets(asked.hosts, asked.files)
    except (OSError, SSHError) as error:
        raise UsageError(describe(error), status=255) from None
    return Supervisor(messages).run(Scan(asked, targets, messages).run())


if __name__ == "__main__":
    run()
