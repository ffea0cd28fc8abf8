"""The local shell, for `!` and lls."""

from __future__ import annotations

import os
import signal
from typing import Final

from fastssh.aio.bridge import CAUGHT
from fastssh.cli.sftp.output import Output

_DEFAULT_SHELL: Final = "/bin/sh"


def run_shell(line: str, output: Output) -> None:
    """Runs ``line`` in the person's shell, or without one the shell itself. Ctrl-C is the shell's alone meanwhile."""
    shell = os.environ.get("SHELL") or _DEFAULT_SHELL
    arguments = [shell, "-c", line] if line else [shell]
    output.flush()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, status = os.waitpid(os.posix_spawn(shell, arguments, os.environ, setsigdef=[signal.SIGINT, *CAUGHT]), 0)
    except (OSError, ValueError) as error:
        output.error(f'Couldn\'t execute "{shell}": {getattr(error, "strerror", None) or error}')
        return
    finally:
        signal.signal(signal.SIGINT, before)
    if not os.WIFEXITED(status):
        output.error("Shell exited abnormally")
    elif os.WEXITSTATUS(status):
        output.error(f"Shell exited with status {os.WEXITSTATUS(status)}")


def run_ls(options: str, output: Output) -> None:
    """lls: the rest of the line is the shell's to read."""
    run_shell(f"/bin/ls {options}".rstrip(), output)
