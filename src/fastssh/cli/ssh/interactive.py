"""A session with a terminal: what is typed, the window's size, being stopped, and the terminal as it was at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from fastssh.aio.borrowed import Borrowed
from fastssh.aio.tty import get_size
from fastssh.cli.raw import RawMode
from fastssh.cli.signals import subscribe
from fastssh.cli.ssh.escapes import Command, EscapeScanner

if TYPE_CHECKING:
    from fastssh.aio.session import Session
    from fastssh.cli.messages import Messages

TYPED: Final = 16 * 1024  # bytes read at a time


async def type_into(
    session: Session, fd: int, scanner: EscapeScanner, command: Callable[[str], Awaitable[None]]
) -> None:
    """Gives ``session`` what is typed on ``fd``, and ``command`` the letters behind escape characters, until the end of
    input. Cancelled, the descriptor is as it was."""
    keyboard = Borrowed(fd, writing=False)
    try:
        await session.room()
        while typed := await keyboard.read(TYPED):
            for part in scanner.feed(typed):
                if isinstance(part, Command):
                    await command(part.name)
                else:
                    session.write(part)
                    await session.room()
        session.write_eof()
    finally:
        keyboard.close()


class LocalTerminal:
    """The terminal behind ``fd`` while a session uses it, in raw mode from ``with`` on. Where ``fd`` is none, nothing
    is done to it. Messages get line ends that raw mode needs."""

    def __init__(self, fd: int, messages: Messages) -> None:
        self._fd, self._messages = fd, messages
        self._raw = RawMode(fd) if os.isatty(fd) else None
        self._session: Session | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.raw()
        self._unsubscribe = subscribe(signal.SIGWINCH, self.resized)  # a master has other terminals as well
        if self._raw is not None:
            loop.add_signal_handler(signal.SIGTSTP, self.suspend)
            loop.add_signal_handler(signal.SIGCONT, self._continued)
        return self

    def __exit__(self, *error: object) -> None:
        loop = asyncio.get_running_loop()
        self._unsubscribe()
        for number in (signal.SIGTSTP, signal.SIGCONT):
            loop.remove_signal_handler(number)
        self.cooked()

    def raw(self) -> None:
        if self._raw is not None:
            with suppress(termios.error):  # it was hung up meanwhile
                self._raw.enter()
                self._messages.newline = "\r\n"

    def cooked(self) -> None:
        """As it was before."""
        if self._raw is not None:
            self._raw.leave()
            self._messages.newline = "\n"

    def used_by(self, session: Session) -> None:
        """Whom to tell of a new size."""
        self._session = session

    def resized(self) -> None:
        if self._session is not None:
            self._session.resize(get_size(self._fd))

    def suspend(self) -> None:
        """Stops this process, as Ctrl-Z stops others; when it goes on, so does the session."""
        loop = asyncio.get_running_loop()
        self.cooked()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)  # comes back here with SIGCONT
        if self._raw is not None:
            loop.add_signal_handler(signal.SIGTSTP, self.suspend)
        self.raw()
        self.resized()

    async def ask(self, prompt: str) -> str:
        """What is typed behind ``prompt``, as a line, and shown; nothing without an answer."""
        from fastssh.cli.terminal import NoAnswerError, Terminal

        self.cooked()
        try:
            return await Terminal(self._messages).ask(prompt, echo=True)
        except NoAnswerError:
            return ""
        finally:
            self.raw()

    def _continued(self) -> None:
        if self._raw is not None:
            self._raw.again()
        self.resized()
