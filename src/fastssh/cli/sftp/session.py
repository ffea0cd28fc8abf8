"""One fastssh-sftp call: its connection, and the lines that are read until there is no more to do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from functools import partial
from typing import IO, TYPE_CHECKING, Final, Protocol

from fastssh.cli.messages import Messages, describe
from fastssh.cli.sftp.arguments import Arguments
from fastssh.cli.sftp.background import Background, Interrupted
from fastssh.cli.sftp.commands import BY_NAME, Command, Side, parse, read_prefix
from fastssh.cli.sftp.copies import Copies
from fastssh.cli.sftp.local import run_ls, run_shell
from fastssh.cli.sftp.matching import local_names, remote_matches, under
from fastssh.cli.sftp.opening import Opened, opened
from fastssh.cli.sftp.output import Output
from fastssh.cli.sftp.shell import Settings, Shell
from fastssh.cli.sftp.signals import AGAIN_SECONDS, Ended, Signals
from fastssh.cli.sftp.words import LineError
from fastssh.cli.supervision import Supervisor
from fastssh.cli.tool import UsageError
from fastssh.errors import SSHError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.sftp.session import Failure

EXIT_FAILED: Final = 1
EXIT_NO_CONNECTION: Final = 255
_GET: Final = "get"
PATIENCE: Final = 30.0  # seconds for a transfer to end in order after Ctrl-C; a second one goes on without it
COMPLETION_SECONDS: Final = 5.0  # for the server to tell names


class Lines(Protocol):
    """Where lines come from."""

    interactive: bool

    def next(self) -> str | None:
        """The next line; None at the end. Raises KeyboardInterrupt when it was given up with Ctrl-C."""


class Batch:
    """Lines of a file."""

    interactive = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def next(self) -> str | None:
        line = self._file.readline()
        return line.decode("utf-8", "surrogateescape").removesuffix("\n") if line else None


class Job:
    """The call. :meth:`run` returns the exit status."""

    def __init__(self, asked: Arguments, messages: Messages) -> None:
        self._asked, self._messages = asked, messages
        self._output = Output(messages)
        self._supervisor = Supervisor(messages, lambda: messages.line("interrupted"))
        self._stack = contextlib.AsyncExitStack()
        self._opened: Opened | None = None

    def run(self) -> int:
        """Raises UsageError for a batch file that cannot be read."""
        if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        with contextlib.ExitStack() as stack:
            file = self._batch(stack)
            with Background(self._supervisor.stray) as background:
                status = self._connect(background)
                if status or self._opened is None:
                    return status
                background.start()
                try:
                    interactive = self._asked.batch is None and file.isatty()
                    with Signals(background.loop, interactive=interactive):
                        return self._serve(background, self._opened, file)
                except Ended as ended:
                    return 128 + ended.number
                except (KeyboardInterrupt, Interrupted):
                    self._messages.line("interrupted")
                    return 128 + signal.SIGINT
                finally:
                    with contextlib.suppress(Interrupted, KeyboardInterrupt, Ended):
                        background.call(self._stack.aclose())

    def _batch(self, stack: contextlib.ExitStack) -> IO[bytes]:
        if self._asked.batch in (None, "-"):
            return stack.enter_context(open(0, "rb", closefd=False))
        try:
            return stack.enter_context(open(self._asked.batch, "rb"))
        except OSError as error:
            raise UsageError(f"{error.strerror} ({self._asked.batch}).", status=EXIT_NO_CONNECTION) from None

    # -- the connection ------------------------------------------------------------------------------------------------

    def _connect(self, background: Background) -> int:
        """0, or the exit status when there is no session."""
        try:
            return self._supervisor.run(self._open(), run=background.run)
        except (SSHError, OSError, ValueError) as error:
            self._messages.line(describe(error))
            return EXIT_NO_CONNECTION

    async def _open(self) -> int:
        self._opened = await self._stack.enter_async_context(opened(self._asked, self._messages))
        return 0

    # -- what is asked for ---------------------------------------------------------------------------------------------

    def _serve(self, background: Background, session: Opened, file: IO[bytes]) -> int:
        try:
            return self._work(background, session, file)
        except (SSHError, OSError) as error:
            lost: Failure | None = session.sftp.session.error
            if lost is None:
                raise
            self._output.error(f"Connection closed: {describe(error)}")
            return EXIT_NO_CONNECTION

    def _work(self, background: Background, session: Opened, file: IO[bytes]) -> int:
        asked = self._asked
        start = background.call(session.sftp.realpath("."))
        if not asked.quiet:
            self._messages.write(printable(_greeting(asked)))
        copies = Copies(session.large)
        settings = Settings(
            asked.resume, asked.fsync, asked.preserve, asked.recurse, asked.quiet, stop=asked.batch is not None,
            progress=not asked.quiet and asked.batch is None and sys.stderr is not None and sys.stderr.isatty(),
        )  # fmt: skip
        carry = dict.fromkeys((_GET, "reget"), copies.get) | dict.fromkeys(("put", "reput"), copies.put)
        shell = Shell(session.sftp, start, self._output, settings, carry)
        path = asked.destination.path if asked.destination is not None else ""
        if path:
            went = background.call(self._go(shell, path, asked.local))
            if went is not None:
                return 0 if went else EXIT_FAILED
        lines: Lines
        if asked.batch is None and file.isatty():
            session.sftp.patience = PATIENCE
            from fastssh.cli.sftp.editing import Editor

            lines = Editor(lambda side, pattern: self._names(background, shell, side, pattern))
        else:
            lines = Batch(file)
        return self._loop(background, shell, lines)

    @staticmethod
    def _names(background: Background, shell: Shell, side: Side, pattern: str) -> list[str]:
        """What a line may be completed with; nothing if it takes too long, or cannot be had."""

        async def look() -> list[str]:
            async with asyncio.timeout(COMPLETION_SECONDS):
                return [match.marked for match in await remote_matches(shell.sftp, shell.pattern(pattern))]

        try:
            return local_names(pattern, at_least=False) if side is Side.LOCAL else background.call(look())
        except (SSHError, OSError, ValueError, Interrupted):
            return []
        except Ended as ended:  # readline swallows what is raised under it: the signal comes again when that waits
            again = partial(signal.pthread_kill, threading.get_ident(), ended.number)
            background.loop.call_soon_threadsafe(background.loop.call_later, AGAIN_SECONDS, again)
            return []

    async def _go(self, shell: Shell, path: str, local: str | None) -> bool | None:
        """To the directory of the command line: None. Or fetches its file: whether that went well."""
        if local is None and await Copies.is_directory(shell, path):
            shell.note(f"Changing to: {under(shell.directory, path)}")
            return None if await shell.execute(Command(BY_NAME["cd"], paths=(path,))) else False
        return await shell.execute(Command(BY_NAME[_GET], paths=(path, *([local] if local is not None else []))))

    def _loop(self, background: Background, shell: Shell, lines: Lines) -> int:
        stop = shell.settings.stop
        while True:
            try:
                line = lines.next()
            except KeyboardInterrupt:
                if not lines.interactive:
                    raise
                self._output.text("\n")
                continue
            if line is None:
                return 0
            prefix, rest = read_prefix(line)
            command, wrong = _understood(rest)
            if wrong:
                self._output.error(wrong)
            if not lines.interactive and not prefix.silent:
                self._output.line(f"sftp> {line}")
            if command is not None and command.verb.does == "quit":
                return 0
            shell.settings.stop = stop and not prefix.go_on
            try:
                went = not wrong if command is None else self._execute(background, shell, command)
            except Interrupted:
                if not lines.interactive:
                    raise
                self._output.error("Interrupt")
                continue
            if not went and shell.settings.stop:
                return EXIT_FAILED

    def _execute(self, background: Background, shell: Shell, command: Command) -> bool:
        local = {"shell": run_shell, "lls": run_ls}.get(command.verb.does)
        if local is not None:
            local(command.rest, self._output)
            return True
        return background.call(shell.execute(command))


def _greeting(asked: Arguments) -> str:
    return f"Attached to {asked.server}." if asked.destination is None else f"Connected to {asked.destination.host}."


def _understood(rest: str) -> tuple[Command | None, str]:
    """The command, or what is wrong with the line."""
    try:
        return parse(rest), ""
    except LineError as error:
        return None, str(error)
