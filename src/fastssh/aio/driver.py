"""One socket, one native plane, one event loop: bytes move when the loop says so, and the protocol hears what came.

The loop calls :meth:`Driver._pump` when the socket is readable or writable, and once a tick after anything was written;
each call gives the plane a turn with the GIL released. Whatever ends the connection reaches :attr:`lost` exactly once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TypeVar

from fastssh._native.plane import STEP_BLOCKED, STEP_EOF, STEP_EVENTS, STEP_MORE, STEP_WANT_WRITE
from fastssh.aio.lingering import selector_of
from fastssh.aio.pipes import PipePair
from fastssh.errors import ConnectionLostError, DisconnectedError, SSHError
from fastssh.wire.messages import DisconnectReason

if TYPE_CHECKING:
    from fastssh._native.plane import Event, Plane

T = TypeVar("T")

IDENTIFICATION_READ: Final = 64 * 1024  # bytes
TURNS: Final = 32  # of the plane in one call from the loop, so that other tasks run
LAST_WORDS: Final = 4 * 1024 * 1024  # bytes read for a DISCONNECT among them after a send failed
GOODBYE_SECONDS: Final = 2.0  # for the peer to take our last messages
QUICK_RECEIVES: Final = 64  # of a connection's first ones, see _acknowledge


class Protected(Protocol):
    """What a driver asks of a transport: :class:`~fastssh.transport.transport.Transport`, or one without keys."""

    @property
    def identification(self) -> bytes:
        """What is sent first; where it is empty the other side sends none either."""
        ...

    @property
    def peer_identification(self) -> str: ...

    def receive_identification(self, data: bytes) -> bool: ...

    def process_events(self, events: Iterable[Event]) -> None: ...

    def check_rekey(self) -> None: ...

    def disconnect(self, reason: int, text: str) -> None: ...

    def disconnect_for(self, error: BaseException) -> None: ...


class Driver:
    """Runs ``transport`` over the connected, non-blocking ``sock``, which it owns from here on.

    ``settle`` is called after each turn of the plane, ``watch`` with events that say which descriptors of relays the
    loop has to watch now, ``lost`` once at the end. ``peer`` names the other side in
    errors. To be made in the running loop; :meth:`start` begins.
    """

    def __init__(
        self,
        sock: socket.socket | PipePair,
        transport: Protected,
        plane: Plane,
        *,
        settle: Callable[[], None],
        lost: Callable[[SSHError], None],
        watch: Callable[[Event], None],
        peer: str,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self.fileno = sock.fileno()
        self._transport = transport
        self.plane = plane
        self._settle = settle
        self._lost = lost
        self._watch = watch
        self.peer = peer
        self.error: SSHError | None = None  # why the connection ended
        self._linger = selector_of(self._loop)
        self._sink = self.fileno  # what is written to
        if isinstance(sock, PipePair):
            self._sink, self._linger = sock.sink, None
            plane.set_sink(sock.sink)
        self._identified = False
        self._quick = QUICK_RECEIVES if hasattr(socket, "TCP_QUICKACK") else 0
        self._pumping = self._scheduled = self._reading = self._writing = False
        self._pause: asyncio.TimerHandle | None = None  # the rate limit
        self._goodbye: asyncio.TimerHandle | None = None
        self._closed = self._loop.create_future()

    # -- from outside ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sends our identification and listens for the peer's."""
        self._sock.setblocking(False)
        _set_option(self._sock, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._identified = not self._transport.identification  # where there is none, none is waited for
        try:
            sent = self._sock.send(self._transport.identification)
        except OSError as error:
            self._fail_system(error)
            return
        if sent != len(self._transport.identification):  # a fresh socket takes far more than this line
            self.fail(ConnectionLostError(f"connection to {self.peer}: identification could not be sent"))
            return
        self._want_read(True)

    def wake(self) -> None:
        """Something may have to be sent: a turn of the plane follows within this tick of the loop."""
        if not self._scheduled and not self._pumping and self.error is None:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_pump)

    def turn(self) -> None:
        """Something can go on at once: a turn of the plane, unless one is under way."""
        self._pump(False)

    def fail(self, error: SSHError) -> None:
        """The connection ends with ``error``, unless it ended already. The peer is told why, as far as it may know."""
        if self.error is not None:
            return
        self.error = error
        if self._identified and not isinstance(error, ConnectionLostError | DisconnectedError):
            self._say_goodbye(error)
        self._finish()
        self._lost(error)

    def close(self, error: SSHError) -> None:
        """An orderly end from our side: DISCONNECT goes out behind what was sent before it. ``error`` is what anybody
        who still waits for something gets."""
        if self.error is not None:
            return
        self.error = error
        self._want_read(False)
        if self._linger is not None:
            self._linger.release(self)
        self._cancel_pause()
        if self._identified:
            try:
                self._transport.disconnect(DisconnectReason.BY_APPLICATION, "disconnected by user")
            except (SSHError, ValueError, BufferError):  # a plane that has failed: there is nobody left to tell
                self._finish()
        if not self._closed.done():
            self._goodbye = self._loop.call_later(GOODBYE_SECONDS, self._finish)
            self._flush()
        self._lost(error)

    def on_closed(self, callback: Callable[[], None]) -> None:
        """``callback`` is called soon after the socket was closed."""
        self._closed.add_done_callback(lambda _: callback())

    async def wait_closed(self) -> None:
        """Returns when the socket is closed."""
        await asyncio.shield(self._closed)

    # -- the socket ------------------------------------------------------------------------------------------------

    def _want_read(self, on: bool) -> None:
        if on != self._reading:
            self._reading = on
            if on:
                self._loop.add_reader(self.fileno, self._readable)
            else:
                self._loop.remove_reader(self.fileno)

    def _want_write(self, on: bool) -> None:
        if on != self._writing:
            self._writing = on
            if on:
                self._loop.add_writer(self._sink, self._writable)
            else:
                self._loop.remove_writer(self._sink)

    def _readable(self) -> None:
        if self._identified:
            self._pump(True)
        else:
            self._identify()
        if self._quick and self.error is None:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledges what was received, now: a stock server turns Nagle's algorithm off when a session starts and not
        before, so that until then its next message waits until its last one is acknowledged, and that, delayed as
        usual, is 40 ms away. The option lasts for one acknowledgment (tcp(7)), hence the repetition."""
        self._quick -= 1
        _set_option(self._sock, socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _writable(self) -> None:
        if self.error is None:
            self._pump(False)
        else:
            self._flush()

    def _scheduled_pump(self) -> None:
        self._scheduled = False
        self._pump(False)

    def _pump_more(self) -> None:
        self._scheduled = False
        self._pump(True)

    def _identify(self) -> None:
        try:
            data = self._sock.recv(IDENTIFICATION_READ)
            if not data:
                raise ConnectionLostError(f"connection to {self.peer} closed by the peer before its identification")
            self._identified = self._transport.receive_identification(data)
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._identified = bool(self._transport.peer_identification)  # then it can be told why
            self._failed(error)
            return
        if self._identified:
            self._pump(False)

    # -- turns of the plane ----------------------------------------------------------------------------------------

    def _pump(self, readable: bool) -> None:
        """Turns of the plane until there is nothing left to do now."""
        if self._identified:
            self._guarded(self._turns, readable)

    def guarded(self, work: Callable[[], None]) -> None:
        """Does something outside of a turn; what goes wrong ends the connection as it would in one."""
        if self.error is None:
            try:
                work()
            except Exception as error:
                self._failed(error)

    def _guarded(self, work: Callable[[T], None], argument: T) -> None:
        if self.error is not None or self._pumping:
            return
        self._pumping = True
        try:
            work(argument)
        except Exception as error:
            self._failed(error)
        finally:
            self._pumping = False

    def _turns(self, readable: bool) -> None:
        for _ in range(TURNS):
            self._transport.check_rekey()
            try:
                flags = self.plane.step(self.fileno, readable)
            except (SSHError, OSError) as fault:
                self._fault(fault)
            self._settle()
            if not flags & STEP_EVENTS:
                break
            self._transport.process_events(self.plane.events())
            if self.error is not None:
                return
            readable = False
        else:
            flags |= STEP_MORE
        if flags & STEP_EOF and not flags & STEP_EVENTS:
            raise ConnectionLostError(f"connection to {self.peer} closed by the peer")
        lingers = self._linger is not None and self.plane.content(flags) and self._linger.adopt(self, flags)
        if self._linger is not None and not lingers:
            self._linger.release(self)
        for event in self.plane.relay_waits(not lingers):
            self._watch(event)
        self._want_read(not lingers and (not flags & STEP_BLOCKED or bool(flags & STEP_EVENTS)))
        self._want_write(not lingers and bool(flags & STEP_WANT_WRITE))
        if flags & STEP_MORE and not lingers and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump_more)
        self._cancel_pause()
        wait = self.plane.wait_seconds
        if wait > 0:
            self._pause = self._loop.call_later(wait, self._pump, False)

    def _fault(self, fault: Exception) -> NoReturn:
        """The plane or its socket failed: what came before may tell more."""
        try:
            self._transport.process_events(self.plane.events())
            if isinstance(fault, OSError):
                self._read_last_words()
        except OSError:  # the plane repeats its fault, without the system's reason
            raise fault from None
        raise fault

    def turned(self, result: int | Exception) -> None:
        """The selector gives the connection back: something is to be done, or ``result`` is what ended it."""
        if isinstance(result, Exception):
            self._guarded(self._fault, result)
        else:
            self._pump(False)

    def _read_last_words(self) -> None:
        """A send failed. A server that closes with our data unread says why before: that lies in the socket still."""
        left = LAST_WORDS
        while left > 0 and (data := self._sock.recv(IDENTIFICATION_READ)):
            left -= len(data)
            while data:
                taken = self.plane.feed(data)
                events = self.plane.events()
                if not taken and not events:
                    return
                data = data[taken:]
                self._transport.process_events(events)

    def _cancel_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    # -- the end ---------------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        """The end, by whatever came out of handling what the peer sent."""
        if isinstance(error, SSHError):
            self.fail(error)
        elif isinstance(error, OSError):
            self._fail_system(error)
        else:  # ours, or of somebody who was called: the connection is in an unknown state
            self._loop.call_exception_handler({"message": "error in a protocol handler", "exception": error})
            failure = SSHError(f"internal error: {type(error).__name__}")  # the peer is told no more than this
            failure.__cause__ = error
            self.fail(failure)

    def _fail_system(self, error: OSError) -> None:
        failure = ConnectionLostError(f"connection to {self.peer}: {error.strerror or error}")
        failure.__cause__ = error
        self.fail(failure)

    def _say_goodbye(self, error: SSHError) -> None:
        """One attempt to tell the peer why; a connection that is broken already cannot, and that is not news."""
        try:
            self._transport.disconnect_for(error)
            self._sock.send(self.plane.take())
        except (SSHError, OSError, ValueError, BufferError):
            return

    def _flush(self) -> None:
        """Sends what is left after our DISCONNECT, then closes."""
        try:
            flags = self.plane.step(self.fileno, False) if self._identified else 0
        except (SSHError, OSError):
            flags = 0
        if flags & STEP_WANT_WRITE:
            self._want_write(True)
        else:
            self._finish()

    def _finish(self) -> None:
        if self._closed.done():
            return
        self._want_read(False)
        self._want_write(False)
        self._cancel_pause()
        if self._linger is not None:
            self._linger.release(self)
        if self._goodbye is not None:
            self._goodbye.cancel()
        self._sock.close()
        self._closed.set_result(None)


def _set_option(sock: socket.socket | PipePair, level: int, name: int, value: int) -> None:
    """Options that only make things better: a socket that has no such option (a Unix socket) does without."""
    try:
        sock.setsockopt(level, name, value)
    except OSError:
        return
