"""An event loop that serves connections natively while they do nothing but transfer bytes: :func:`new_event_loop`."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastssh._native.plane import MAX_LINGERING, linger

if TYPE_CHECKING:
    from fastssh.aio.driver import Driver

T = TypeVar("T")

FOREVER: Final = 60.0  # seconds; the native call returns then at the latest, and the loop comes back


class LingeringSelector(selectors.DefaultSelector):
    """The selector of :func:`new_event_loop`.

    Each answer of a server costs a round through the event loop, and during a transfer there are tens of thousands.
    Where the loop would wait, :meth:`select` waits in one native call for the sockets of all connections that move
    bytes and have nothing else to do, and for the descriptors that they relay, gives their planes turns, and returns
    when the loop itself has something to do: a timer, another descriptor, a signal, or an event of a connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drivers: dict[Driver, int] = {}  # with the flags of the plane's last turn

    def adopt(self, driver: Driver, flags: int) -> bool:
        """Takes a connection over until :meth:`Driver.turned` gives it back. False: the loop has to watch it."""
        if driver not in self._drivers and len(self._drivers) >= MAX_LINGERING:
            return False
        self._drivers[driver] = flags
        return True

    def release(self, driver: Driver) -> None:
        """Harmless for one that was not adopted."""
        self._drivers.pop(driver, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._drivers:
            self._linger(FOREVER if timeout is None else timeout)
            timeout = 0
        return super().select(timeout)

    def _linger(self, seconds: float) -> None:
        drivers = list(self._drivers)
        results = linger(
            [driver.plane for driver in drivers],
            [driver.fileno for driver in drivers],
            list(self._drivers.values()),
            self.fileno(),
            seconds,
        )
        for driver, result in zip(drivers, results, strict=True):
            if isinstance(result, int) and driver.plane.content(result):
                self._drivers[driver] = result
            else:
                del self._drivers[driver]
                asyncio.get_running_loop().call_soon(driver.turned, result)


class LingeringLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop with a selector of ours, by which connections find it."""

    def __init__(self) -> None:
        self.lingering = LingeringSelector()
        super().__init__(self.lingering)


def new_event_loop() -> asyncio.SelectorEventLoop:
    """asyncio's own event loop with a selector of ours; for ``asyncio.Runner(loop_factory=fastssh.new_event_loop)``.

    It does what every other does. Connections in it find its selector by themselves, and transfers cost less CPU time.
    """
    return LingeringLoop()


def selector_of(loop: asyncio.AbstractEventLoop) -> LingeringSelector | None:
    """The selector of a loop that :func:`new_event_loop` made; None for any other."""
    return loop.lingering if isinstance(loop, LingeringLoop) else None


def run_last(main: Coroutine[Any, Any, T]) -> T:
    """As :func:`run`, for the last thing that a process does: other tasks are cancelled, nothing else is tidied up."""
    loop = new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left))


def run(main: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run(main)``, in a loop of :func:`new_event_loop`."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
