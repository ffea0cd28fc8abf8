"""The session of a fastssh call: what is asked of the server, on which descriptors, with or without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from fastssh.aio.session import Session, SessionRequest
from fastssh.cli.ssh import words
from fastssh.cli.ssh.wanted import command_of, describe_terminal, environment, terminal_name, wants_terminal
from fastssh.config.session import class_of_service, escape_character
from fastssh.errors import ChannelOpenError, SSHError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastssh.aio.client import ClientConnection
    from fastssh.cli.connecting import Log
    from fastssh.cli.messages import Messages
    from fastssh.cli.ssh.forwards import Forwards
    from fastssh.cli.ssh.interactive import LocalTerminal
    from fastssh.config.settings import Settings

END_OF_TRANSMISSION: Final = b"\4"  # Ctrl-D


class SessionRunner:
    """Opens a session as command line (``given``) and settings ask for it, and serves it to its end."""

    def __init__(self, given: str, settings: Settings, messages: Messages, log: Log) -> None:
        self._settings, self._messages, self._log = settings, messages, log
        self._command = command_of(settings, given)
        self._stdin = os.open(os.devnull, os.O_RDONLY) if settings.flag("StdinNull") else 0
        self._on_terminal, refused = wants_terminal(settings, self._command, stdin_is_terminal=os.isatty(0))
        self._local: LocalTerminal | None = None
        self.terminated = False  # by an escape
        if refused:
            self._warn("Pseudo-terminal will not be allocated because stdin is not a terminal.")

    def _warn(self, text: str) -> None:
        if self._log.level >= 0:
            self._messages.write(text)

    def open(self, connection: ClientConnection) -> Session:
        """Raises what ended the connection."""
        stdin = -1 if self._on_terminal else self._stdin
        connection.set_class_of_service(class_of_service(self._settings, interactive=self._on_terminal))
        return Session(connection, self._request(connection.forwards_agent), stdin=stdin, stdout=1, stderr=2)

    def _request(self, agent: bool) -> SessionRequest:
        command, subsystem = self._command, self._settings.value("SessionType") == "subsystem"
        term = terminal_name(self._settings, os.environ)
        return SessionRequest(
            command=command.encode("utf-8", "surrogateescape") if command and not subsystem else None,
            subsystem=command if subsystem else None,
            terminal=describe_terminal(term, self._stdin) if self._on_terminal else None,
            environment=environment(self._settings, os.environ),
            agent=agent,
            terminal_refused=self._refused,
        )

    def _refused(self, text: str) -> None:
        if self._local is not None:
            self._local.cooked()
        self._warn(text)

    async def run(self, session: Session, forwards: Callable[[], Forwards]) -> int:
        """The exit status, when it is over; what ended it otherwise was told of."""
        try:
            await (self._run_on_terminal(session, forwards) if self._on_terminal else session.wait())
        except ChannelOpenError as error:
            self._warn(printable(error.told(session.channel.id)))
        except (SSHError, OSError) as error:
            if self._log.level >= 0:
                words.tell(error, self._messages, self._settings, begun=True)
        if self._on_terminal:
            self._warn(f"Connection to {self._settings.host} closed.")
        return words.FAILED if session.exit_status is None else session.exit_status & 0xFF

    async def _run_on_terminal(self, session: Session, forwards: Callable[[], Forwards]) -> None:
        from fastssh.cli.ssh.commands import EscapeCommands, Situation, shown
        from fastssh.cli.ssh.escapes import EscapeScanner
        from fastssh.cli.ssh.interactive import LocalTerminal, type_into
        from fastssh.cli.ssh.job import run_locally

        escape = escape_character(self._settings)
        with LocalTerminal(self._stdin, self._messages) as local:

            def end() -> None:
                self.terminated = True
                session.finish(None)

            async def background() -> None:
                await go_on_in_background(session, forwards(), local)

            async def shell(command: str) -> None:
                local.cooked()
                try:
                    await run_locally(command)
                finally:
                    local.raw()

            commands = EscapeCommands(
                Situation(
                    session=session, connection=session.connection, forwards=forwards(), settings=self._settings,
                    log=self._log, escape="" if escape is None else shown(chr(escape)), say=self._messages.show,
                    end=end, suspend=local.suspend, background=background, ask=local.ask, shell=shell,
                )
            )  # fmt: skip
            self._local = local
            local.used_by(session)
            scanner = EscapeScanner(escape, commands.letters)
            typing = asyncio.create_task(type_into(session, self._stdin, scanner, commands))
            try:
                await session.wait()
            finally:
                typing.cancel()
                await asyncio.wait((typing,))


async def go_on_in_background(session: Session, forwards: Forwards, local: LocalTerminal) -> None:
    """``~&``: nothing more is forwarded, the shell is told that its input has ended, and what is open goes on in a new
    process, until all of it has ended."""
    from fastssh.cli.ssh.background import fork_running
    from fastssh.cli.ssh.forwards import ForwardError

    for forward in list(forwards):
        with contextlib.suppress(ForwardError):
            await forwards.cancel(forward)
    local.cooked()
    fork_running()
    session.write(END_OF_TRANSMISSION)
