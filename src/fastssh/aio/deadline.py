"""A limit on how long something may take, which names what took too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastssh.errors import SSHTimeoutError

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """``async with``: SSHTimeoutError naming ``what`` after ``seconds``; 0 for no limit. ``asked``: the limit that was
    set, where ``seconds`` are what is left of it."""

    def __init__(self, seconds: float, what: str, asked: float | None = None) -> None:
        self._seconds, self._what = seconds if asked is None else asked, what
        self._timeout = asyncio.timeout(seconds if seconds > 0 else None)

    async def __aenter__(self) -> asyncio.Timeout:
        return await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            if not self._timeout.expired():
                raise
            raise SSHTimeoutError(f"{self._what} timed out after {self._seconds:g} s") from None
