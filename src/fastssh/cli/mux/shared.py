"""What a master does on the descriptors of a client: a session, or a connection from the server (``ssh -W``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fastssh.aio.borrowed import Borrowed
from fastssh.aio.joined import JoinedChannel
from fastssh.aio.session import COMMAND_WINDOW, Session, SessionRequest
from fastssh.aio.tty import get_size
from fastssh.cli.ssh.commands import EscapeCommands, Situation, shown
from fastssh.cli.ssh.escapes import EscapeScanner
from fastssh.cli.ssh.interactive import type_into
from fastssh.cli.ssh.wanted import describe_terminal, sent
from fastssh.wire import mux
from fastssh.wire.requests import DirectStreamlocal, DirectTcpip

if TYPE_CHECKING:
    from fastssh.cli.mux.master import Sharing

MOST_VARIABLES: Final = 4096  # of a client's environment


class SharedSession:
    """A session that a client asked for. Owns ``descriptors``: standard input, output and error."""

    def __init__(self, sharing: Sharing, asked: mux.NewSession, descriptors: list[int]) -> None:
        self._sharing, self._asked, self._descriptors = sharing, asked, descriptors
        self._session: Session | None = None

    async def run(self, began: asyncio.Future[int], tty_failed: Callable[[], None]) -> int | None:
        """Its exit status, None if the server told none; ``began`` gets its number when the server has opened it.

        Raises ChannelOpenError, OSError for descriptors that are none, and what ended the connection.
        """
        stdin, stdout, stderr = self._descriptors
        asked = self._asked
        escapes = bool(asked.want_tty) and asked.escape <= 0xFF
        try:
            request = self._request(tty_failed)
            session = self._session = _BeginningSession(
                began, self._sharing, request, stdin=-1 if escapes else stdin, stdout=stdout, stderr=stderr
            )
            if escapes:
                await self._run_with_escapes(session, stdin, stderr)
            else:
                await session.wait()
            return session.exit_status
        finally:
            self._session = None
            for descriptor in self._descriptors:
                os.close(descriptor)

    def _request(self, tty_failed: Callable[[], None]) -> SessionRequest:
        asked, settings = self._asked, self._sharing.settings
        variables = [os.fsdecode(variable).partition("=") for variable in asked.environment[:MOST_VARIABLES]]

        def refused(text: str) -> None:
            self._sharing.log(0, text)
            tty_failed()

        return SessionRequest(
            command=asked.command if asked.command and not asked.subsystem else None,
            subsystem=os.fsdecode(asked.command) if asked.subsystem else None,
            terminal=describe_terminal(os.fsdecode(asked.term), self._descriptors[0]) if asked.want_tty else None,
            environment=tuple(sent(settings, ((name, value) for name, equals, value in variables if equals))),
            agent=bool(asked.want_agent) and self._sharing.connection.forwards_agent,
            terminal_refused=refused,
        )  # fmt: skip

    async def _run_with_escapes(self, session: Session, stdin: int, stderr: int) -> None:
        sharing, escape = self._sharing, self._asked.escape
        screen = Borrowed(stderr, writing=True)

        def say(text: str) -> None:
            """To a terminal in raw mode, which may be stopped: then nothing is said."""
            with suppress(OSError):
                os.write(screen.fd, f"{text}\r\n".encode("utf-8", "replace"))

        commands = EscapeCommands(
            Situation(
                session=session, connection=sharing.connection, forwards=sharing.forwards, settings=sharing.settings,
                log=sharing.log, escape=shown(chr(escape)), say=say, end=lambda: session.finish(None),
            )
        )  # fmt: skip
        typing = asyncio.create_task(type_into(session, stdin, EscapeScanner(escape, commands.letters), commands))
        try:
            await session.wait()
        finally:
            typing.cancel()
            await asyncio.wait((typing,))
            screen.close()

    def resized(self) -> None:
        if self._session is not None and self._asked.want_tty:
            self._session.resize(get_size(self._descriptors[0]))


class SharedStdio:
    """A connection from the server that a client asked for. Owns ``descriptors``: standard input and output."""

    def __init__(self, sharing: Sharing, asked: mux.NewStdioForward, descriptors: list[int]) -> None:
        self._sharing, self._asked, self._descriptors = sharing, asked, descriptors

    async def run(self, began: asyncio.Future[int], tty_failed: Callable[[], None]) -> None:
        """As :meth:`SharedSession.run`."""
        stdin, stdout = self._descriptors
        host, port = self._asked.host, self._asked.port
        if port == mux.PATH_PORT:
            kind, data = "direct-streamlocal@openssh.com", DirectStreamlocal(host).body()
        else:
            kind, data = "direct-tcpip", DirectTcpip(host, port, b"127.0.0.1", 65535).body()
        try:
            await _BeginningStdio(began, self._sharing, kind, data, stdin=stdin, stdout=stdout).wait()
        finally:
            for descriptor in self._descriptors:
                os.close(descriptor)

    def resized(self) -> None:
        """It has no terminal."""


class _BeginningSession(Session):
    """Tells when the server has opened it."""

    def __init__(
        self, began: asyncio.Future[int], sharing: Sharing, request: SessionRequest, *, stdin: int, stdout: int,
        stderr: int,
    ) -> None:  # fmt: skip
        self._began = began
        super().__init__(sharing.connection, request, stdin=stdin, stdout=stdout, stderr=stderr)

    def opened(self) -> None:
        self._began.set_result(self.channel.id)
        super().opened()


class _BeginningStdio(JoinedChannel):
    """Likewise."""

    def __init__(
        self, began: asyncio.Future[int], sharing: Sharing, kind: str, data: bytes, *, stdin: int, stdout: int
    ) -> None:
        self._began = began
        super().__init__(sharing.connection, kind, data, window=COMMAND_WINDOW, stdin=stdin, stdout=stdout)

    def opened(self) -> None:
        self._began.set_result(self.channel.id)
        super().opened()
