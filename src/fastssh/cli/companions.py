"""More sessions for large files, opened in the background while the copy has long begun on the first."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from fastssh.aio.client import connect
from fastssh.aio.options import LOG_DEBUG1, ClientOptions
from fastssh.errors import SSHError

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.sftp import SFTPClient

LARGE: Final = 64 * 1024 * 1024  # bytes; smaller files are copied before another connection has logged in
CONNECTIONS: Final = 3  # in all, unless asked otherwise; more gain nothing against a stock sshd
CHANNELS: Final = 2  # in all, where there can be no further connection
OPEN_SECONDS: Final = 15.0  # for a companion's SFTP session to start
FINISH_SECONDS: Final = 3.0  # for logins under way at the end: servers count one that is given up as an attack


class Companions:
    """Companions of ``sftp``, ``number`` sessions in all (None: what is good), while its ``async with`` block runs.

    Connections with the same key to the same host key, if nobody has to be asked for them, or a ``number`` was asked
    for and ``ask`` allows it; else channels of the one connection. What cannot be opened is done without.
    """

    def __init__(
        self, connection: ClientConnection, sftp: SFTPClient, number: int | None, *, ask: bool = True
    ) -> None:
        self._connection, self._sftp, self._number = connection, sftp, number
        self._ask = ask and number is not None
        self._log = connection.options.log
        self._task: asyncio.Task[None] | None = None
        self._logins: list[asyncio.Task[ClientConnection | None]] = []
        self._made: list[ClientConnection] = []

    @property
    def connections(self) -> int:
        """Further connections that were made."""
        return len(self._made)

    def begin(self) -> None:
        """Opens them, once."""
        if self._task is None:
            self._task = asyncio.create_task(self._open(), name="companions")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._task is not None:
                if kind is None and self._logins:
                    await asyncio.wait(self._logins, timeout=FINISH_SECONDS)
                self._task.cancel()
                await asyncio.wait({self._task, *self._logins})
        finally:
            for connection in self._made:
                connection.close()
        for connection in self._made:
            await connection.wait_closed()

    async def _open(self) -> None:
        options = self._connection.companion_options(ask=self._ask)
        if options is not None:
            self._logins = [asyncio.create_task(self._log_in(options)) for _ in range(1, self._number or CONNECTIONS)]
            await asyncio.gather(*map(self._use, self._logins))
        if not self._made:
            for _ in range(1, self._number or CHANNELS):
                if not await self._add(self._connection):
                    return

    async def _log_in(self, options: ClientOptions) -> ClientConnection | None:
        try:
            connection = await connect(options)
        except (SSHError, OSError) as error:
            self._log(LOG_DEBUG1, f"no further connection: {error}")
            return None
        self._made.append(connection)
        return connection

    async def _use(self, login: asyncio.Task[ClientConnection | None]) -> None:
        connection = await login
        if connection is not None:
            await self._add(connection)

    async def _add(self, connection: ClientConnection) -> bool:
        try:
            await self._sftp.add_companion(connection, timeout=OPEN_SECONDS)
        except (SSHError, OSError) as error:
            self._log(LOG_DEBUG1, f"no further SFTP session: {error}")
            return False
        return True
