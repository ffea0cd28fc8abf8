"""A fastssh that shares its connection: until its own session ends, or with ControlPersist until nobody needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from fastssh.cli.mux.master import Master, Sharing
from fastssh.cli.ssh.words import FAILED
from fastssh.cli.terminal import ask_permission
from fastssh.config.session import control
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastssh.aio.client import ClientConnection
    from fastssh.cli.connecting import Log
    from fastssh.cli.ssh.forwards import Forwards
    from fastssh.config.settings import Settings

_ASKING: Final = ("ask", "autoask")


class OwnMaster:
    """Made by :meth:`make`; ``async with`` ends it, and whatever goes on for clients."""

    def __init__(
        self, path: str, connection: ClientConnection, forwards: Forwards, settings: Settings, log: Log, *, asks: bool
    ) -> None:
        self._connection = connection
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopped = asyncio.Event()
        self._seconds = 0
        self._master = Master(
            path,
            Sharing(
                connection=connection,
                forwards=forwards,
                settings=settings,
                log=log,
                terminate=self._end,
                stopped=self._stopped.set,
                permit=ask_permission if asks else None,
            ),
        )

    @classmethod
    def make(cls, connection: ClientConnection, forwards: Forwards, settings: Settings, log: Log) -> Self | None:
        """None where ``settings`` ask for none, or where there is one already, of which the user is told. Raises
        OSError and MultiplexError."""
        shared = control(settings)
        if shared is None or shared.master == "no":
            return None
        asks = shared.master in _ASKING
        try:
            made = cls(shared.path, connection, forwards, settings, log, asks=asks)
        except FileExistsError:
            log(0, f"ControlSocket {printable(shared.path)} already exists, disabling multiplexing")
            return None
        made._seconds = shared.persist or 0
        return made

    def _end(self) -> None:
        if not self._told.done():
            self._told.set_result(None)

    async def until_told(self, work: Coroutine[Any, Any, int], *, endless: bool) -> int:
        """The exit status of ``work``; a client that ends this master ends it as well. Where it is ``endless``, it is
        over when clients are taken no more and what goes on for them has ended."""
        working = asyncio.ensure_future(work)
        unneeded = asyncio.ensure_future(self._unneeded() if endless else asyncio.Event().wait())
        try:
            await asyncio.wait((working, self._told, unneeded), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else FAILED
        finally:
            working.cancel()
            unneeded.cancel()
            await asyncio.wait((working, unneeded))

    async def _unneeded(self) -> None:
        await self._stopped.wait()
        await self._connection.idle()

    async def linger(self) -> int:
        """Stays until told to go, or until nothing has been open for ControlPersist's seconds. Raises what ended the
        connection."""
        idle = asyncio.ensure_future(self._connection.idle_for(self._seconds))
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((idle, stopped, self._told), return_when=asyncio.FIRST_COMPLETED)
            if idle.done():
                idle.result()
        finally:
            idle.cancel()
            stopped.cancel()
            await asyncio.wait((idle, stopped))
        if not self._told.done() and self._stopped.is_set():
            await self.until_told(self._forever(), endless=True)
        return 0

    @staticmethod
    async def _forever() -> int:
        await asyncio.Event().wait()
        return 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._master.close()
