"""A fastssh that shares another one's connection: its session is the master's, on the descriptors of this process,
which waits for its end and keeps the terminal."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from fastssh.cli.messages import describe
from fastssh.cli.mux import control as commands
from fastssh.cli.mux.client import MasterConnection
from fastssh.cli.mux.lookup import find_master, named_master
from fastssh.cli.process import print_text
from fastssh.cli.ssh.wanted import command_of, environment, stdio_place, terminal_name, wants_terminal
from fastssh.cli.ssh.words import FAILED
from fastssh.config.session import control, escape_character, forwarded_agent
from fastssh.errors import MultiplexError
from fastssh.wire.mux import NO_ESCAPE
from fastssh.wire.text import printable

if TYPE_CHECKING:
    import socket

    from fastssh.cli.connecting import Log
    from fastssh.cli.messages import Messages
    from fastssh.cli.raw import RawMode
    from fastssh.cli.ssh.arguments import Arguments
    from fastssh.config.forwards import Forward
    from fastssh.config.settings import Settings

_ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def share(
    asked: Arguments, settings: Settings, wanted: Sequence[Forward], messages: Messages, log: Log
) -> int | None:
    """The exit status of ``-O``, or of a call for which another program's connection does; None if there is none.

    Raises ConfigError and MultiplexError.
    """
    if asked.control == "proxy":
        return None  # a connection of our own, over the master's
    if asked.control is not None:
        return commands.run(
            asked.control, settings, wanted, say=messages.write, show=lambda text: _show(text, messages),
            quiet=log.level < 0,
        )  # fmt: skip
    master = find_master(settings, lambda text: log(0, text))
    if master is None:
        return None
    with master:
        if not commands.open_forwards(master, wanted, lambda text: log(0, text)):
            log(0, "master forward request failed")
            return None
        return _Passenger(master, asked, settings, messages, log).run()


def proxied(settings: Settings) -> socket.socket:
    """A control connection in proxy mode. Raises MultiplexError."""
    try:
        return named_master(settings).proxy()
    except OSError as error:
        raise MultiplexError(describe(error)) from error


def makes_one_that_stays(settings: Settings) -> bool:
    """Whether this call is to become a master in the background (ControlPersist)."""
    shared = control(settings)
    return shared is not None and shared.master != "no" and shared.persist is not None


def use_own(asked: Arguments, settings: Settings, messages: Messages, log: Log) -> int:
    """The exit status of a call whose master was made for it, and has its forwards. Raises OSError, MultiplexError."""
    shared = control(settings)
    assert shared is not None
    if settings.value("SessionType") == "none" and asked.forward_stdio is None:
        return 0
    with MasterConnection(shared.path) as master:
        status = _Passenger(master, asked, settings, messages, log).run()
    return FAILED if status is None else status


def _show(text: str, messages: Messages) -> None:
    print_text(text, messages)


class _Ended(BaseException):
    """A signal that ends this process came."""


def _end(number: int, frame: object) -> NoReturn:
    for each in _ENDING:  # the first one does: a further one would come in the way of putting the terminal back
        signal.signal(each, _end_already)
    raise _Ended


def _end_already(number: int, frame: object) -> None:
    """The end has begun."""


class _Passenger:
    def __init__(
        self, master: MasterConnection, asked: Arguments, settings: Settings, messages: Messages, log: Log
    ) -> None:
        self._master, self._asked, self._settings = master, asked, settings
        self._messages, self._log = messages, log

    def run(self) -> int | None:
        """The exit status; None if the master would not have this session. Raises MultiplexError, ConfigError."""
        pid = self._master.check()
        stdin = os.open(os.devnull, os.O_RDONLY) if self._settings.flag("StdinNull") else 0
        if self._asked.forward_stdio is not None:
            return self._forward_stdio(stdin, self._asked.forward_stdio)
        with _signals(pid):
            try:
                if self._settings.value("SessionType") == "none":
                    self._detach()
                    self._master.wait(-1)
                    return FAILED
                return self._session(stdin)
            except _Ended:
                return FAILED

    def _forward_stdio(self, stdin: int, place: str) -> int:
        from fastssh.wire.mux import PATH_PORT

        host, port = stdio_place(place)
        session = self._master.open_stdio((stdin, 1), os.fsencode(host), PATH_PORT if port < 0 else port)
        with _signals(0), suppress(_Ended):
            self._master.wait(session)
        return 0

    def _session(self, stdin: int) -> int | None:
        settings = self._settings
        command = command_of(settings, self._asked.command)
        on_terminal, refused = wants_terminal(settings, command, stdin_is_terminal=os.isatty(0))
        if refused:
            self._log(0, "Pseudo-terminal will not be allocated because stdin is not a terminal.")
        mode = _raw_mode(stdin) if on_terminal and not settings.flag("ForkAfterAuthentication") else None
        escape = escape_character(settings)
        try:
            session = self._master.open_session(
                (stdin, 1, 2),
                command=os.fsencode(command),
                subsystem=settings.value("SessionType") == "subsystem",
                term=terminal_name(settings, os.environ),
                tty=on_terminal,
                agent=forwarded_agent(settings) is not None,
                escape=NO_ESCAPE if escape is None else escape,
                environment=environment(settings, os.environ),
            )
        except MultiplexError as error:
            self._log(0, str(error))
            return None
        self._detach()
        with _raw(mode) as cooked:
            try:
                status = self._master.wait(session, cooked)
            finally:
                cooked()
                if on_terminal and self._log.level >= 0:
                    self._messages.write(f"Shared connection to {printable(settings.host)} closed.\r")
        return FAILED if status is None else status & 0xFF

    def _detach(self) -> None:
        """ForkAfterAuthentication: who started this goes on."""
        if self._settings.flag("ForkAfterAuthentication"):
            if os.fork() != 0:
                os._exit(0)
            os.setsid()


@contextmanager
def _signals(master: int) -> Iterator[None]:
    """Signals that end this process raise _Ended; a new size of the terminal is passed on to the master, whose business
    the session's is."""

    def pass_on(number: int, frame: object) -> None:
        if master > 1:
            with suppress(OSError):
                os.kill(master, number)

    handlers = dict.fromkeys(_ENDING, _end) | {signal.SIGWINCH: pass_on}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _nothing() -> None:
    """There is no terminal to set."""


def _raw_mode(fd: int) -> RawMode:
    """Made before the session begins: what is typed until it is entered would be the local terminal's to edit. The
    master looks at the terminal as it is before."""
    from fastssh.cli.raw import RawMode  # and with it an event loop's modules

    return RawMode(fd)


@contextmanager
def _raw(mode: RawMode | None) -> Iterator[Callable[[], None]]:
    """The terminal in raw mode, until what is given is called, at the end at the latest."""
    if mode is None:
        yield _nothing
        return
    with suppress(termios.error):
        mode.enter()
    try:
        yield mode.leave
    finally:
        mode.leave()
