"""A connection as the command line and ssh_config(5) ask for it, with the person at the terminal behind it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from fastssh.cli.messages import Messages
from fastssh.cli.options import Override
from fastssh.config.evaluate import load
from fastssh.config.session import verbosity
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.early import EarlyConnection
    from fastssh.aio.options import ClientOptions
    from fastssh.config.settings import Settings

_FOR_LOGINS: Final = ("fastssh.keys.private",)


class Log:
    """Takes what ``ClientOptions.log`` is given, up to ``level`` (see :func:`fastssh.config.session.verbosity`)."""

    def __init__(self, messages: Messages, level: int, *, verbose: bool = False) -> None:
        self.level = level
        self._messages, self._verbose = messages, verbose

    @classmethod
    def of(cls, settings: Settings, messages: Messages) -> Log:
        """As LogLevel says."""
        return cls(messages, verbosity(settings), verbose=settings.value("LogLevel") == "verbose")

    def verbose(self, text: str) -> None:
        """What is shown from LogLevel VERBOSE on."""
        if self._verbose or self.level > 0:
            self._messages.write(printable(text, newlines=True))

    def __call__(self, of: int, text: str) -> None:
        if of <= self.level:
            self._messages.write(printable(f"debug{of}: {text}" if of else text, newlines=True))


async def connect(
    host: str, messages: Messages, *, overrides: Sequence[Override] = (), config_file: str | None = None
) -> ClientConnection:
    """Logs in to ``host`` as it was typed. ``overrides`` and ``config_file`` are as :func:`load` takes them.

    Raises ConfigError, and what :class:`fastssh.connect` raises.
    """
    settings = load(host, overrides=overrides, file=config_file)
    return await log_in(settings, messages, Log.of(settings, messages), config_file=config_file)


async def log_in(
    settings: Settings,
    messages: Messages,
    log: Log,
    *,
    config_file: str | None = None,
    early: EarlyConnection | None = None,
    meanwhile: Sequence[str] = (),
) -> ClientConnection:
    """Logs in to the host of ``settings``; hosts on the way there have the same files. ``early`` is what
    :func:`begin_early` gave, if it was called before. ``meanwhile`` are modules that will be needed afterwards: they
    are imported while the server is waited for. Raises as :func:`connect`."""
    begun = begin_early(settings) if early is None else early
    from fastssh.aio.client import connect

    asked = options(settings, messages, log, config_file=config_file)
    asked.early = begun
    importing = threading.Thread(target=_import, args=((*_FOR_LOGINS, *meanwhile),), name="imports", daemon=True)
    importing.start()
    try:
        return await connect(asked)
    finally:
        importing.join()  # a process forked from this one would wait for ever for what a thread is importing


def begin_early(settings: Settings) -> EarlyConnection | None:
    """The connection to the host of ``settings``, begun while the modules that it needs are still to be loaded; None
    where it is not just to be made."""
    if any(name in settings for name in ("ProxyCommand", "ProxyJump", "BindAddress", "BindInterface")):
        return None
    import socket

    from fastssh.aio.early import EarlyConnection

    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    return EarlyConnection(
        settings.host, settings.port, families.get(str(settings.value("AddressFamily")), socket.AF_UNSPEC)
    )


def options(
    settings: Settings, messages: Messages, log: Log, *, config_file: str | None = None
) -> ClientOptions:
    """What :func:`log_in` connects with."""
    from fastssh.cli.terminal import Terminal
    from fastssh.config.client import client_options

    evaluate = functools.partial(load, file=config_file)
    prompter = Terminal(messages) if Terminal.available() else None
    found = client_options(settings, prompter=prompter, log=log, evaluate=evaluate)
    found.verbose = log.verbose
    found.banner = functools.partial(_show_banner, messages, log)  # there need not be anybody to ask
    return found


def _import(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # whoever needs it tells
            importlib.import_module(name)


def _show_banner(messages: Messages, log: Log, text: str) -> None:
    if log.level >= 0:
        messages.show(text.removesuffix("\n"))


def identity_overrides(paths: Iterable[str], messages: Messages, *, quiet: bool) -> list[Override]:
    """-i as settings; a file that is not there is told of and left out, as by ssh(1)."""
    found: list[Override] = []
    for path in paths:
        try:
            os.stat(os.path.expanduser(path))
        except OSError as error:
            if not quiet:
                messages.write(f"Warning: Identity file {printable(path)} not accessible: {error.strerror}.")
        else:
            found.append(("IdentityFile", path))
    return found
