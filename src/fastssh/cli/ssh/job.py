"""The work of one fastssh call: a connection, what is forwarded over it, and its session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from fastssh.cli.messages import Messages
from fastssh.cli.ssh.arguments import Arguments
from fastssh.cli.ssh.words import tell
from fastssh.config.client import verbosity
from fastssh.config.evaluate import load
from fastssh.errors import SSHError

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.session import SessionRequest
    from fastssh.config.settings import Settings

FAILED: Final = 255


def run(asked: Arguments, messages: Messages) -> int:
    """The exit status."""
    try:
        settings = _settings(asked, messages)
    except SSHError as error:
        tell(error, messages)
        return FAILED
    from fastssh.cli.supervision import Supervisor

    job = Job(asked, settings, messages)
    return Supervisor(messages).run(job.run())


def _settings(asked: Arguments, messages: Messages) -> Settings:
    from fastssh.cli.connecting import identity_overrides

    overrides = asked.overrides + identity_overrides(asked.identities, messages, quiet=asked.quiet)
    kind = "subsystem" if asked.subsystem else "exec" if asked.command else "shell"
    return load(
        asked.host, overrides=overrides, file=asked.config_file, session_type=kind, command=asked.command
    )


class Job:
    """One call."""

    def __init__(self, asked: Arguments, settings: Settings, messages: Messages) -> None:
        self._asked, self._settings, self._messages = asked, settings, messages

    async def run(self) -> int:
        """The exit status."""
        from fastssh.cli.connecting import Log, log_in

        log = Log(self._messages, verbosity(self._settings))
        try:
            connection = await log_in(
                self._settings, self._messages, log, config_file=self._asked.config_file
            )
            async with connection:
                return await self._session(connection)
        except (SSHError, OSError) as error:
            if log.level >= 0:
                tell(error, self._messages)
            return FAILED

    async def _session(self, connection: ClientConnection) -> int:
        from fastssh.aio.session import Session

        session = Session(connection, self._request(), stdin=0, stdout=1, stderr=2)
        status = await session.wait()
        return FAILED if status is None else status & 0xFF

    def _request(self) -> SessionRequest:
        from fastssh.aio.session import SessionRequest

        return SessionRequest(command=os.fsencode(self._asked.command))
