"""A client of a master: requests over its control socket, one at a time, and a session that the master drives.

Blocking, and without an event loop: the master moves the bytes, and starting a loop would cost more than the session.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, TypeVar

from fastssh.aio.mux.control_socket import check_path, is_ours
from fastssh.errors import MultiplexError, ProtocolError
from fastssh.wire import mux
from fastssh.wire.mux import Decoder, MuxMessage
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

M = TypeVar("M", bound=MuxMessage)

_PIECE: Final = 4096


class MasterConnection:
    """A connection to the master that listens at ``path``; ``timeout`` in seconds, None for none, is for its greeting.

    Raises OSError when nobody listens, MultiplexError when who does is no master of ours. ``with`` closes it. The
    requests raise MultiplexError for what the master refuses, with what ssh(1) says of it, and when it ends meanwhile.
    """

    def __init__(self, path: str, timeout: float | None = None) -> None:
        name = check_path(path)
        self.path = path
        self._decoder = Decoder()
        self._request = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.connect(name)
            if not is_ours(self._sock):  # whoever listens at a path that others may write to could be anybody
                raise MultiplexError("control socket is another user's")
            self._sock.settimeout(timeout)
            self._greet()
            self._sock.settimeout(None)
        except BaseException:
            self._sock.close()
            raise

    def _greet(self) -> None:
        try:
            self._send(mux.Hello(mux.VERSION))
            hello = self._receive()
        except (OSError, ProtocolError) as error:
            raise MultiplexError(f"master hello exchange failed: {error}") from error
        if not isinstance(hello, mux.Hello):
            raise MultiplexError(f"master hello exchange failed: {hello.label()} came first")
        if hello.version != mux.VERSION:
            raise MultiplexError(f"Unsupported multiplexing protocol version {hello.version} (expected {mux.VERSION})")

    # -- requests ------------------------------------------------------------------------------------------------------

    def check(self) -> int:
        """The master's process id."""
        return self._ask(mux.AliveCheck(self._request), mux.Alive, "alive check").pid

    def terminate(self) -> None:
        """Ends the master, and all sessions of it."""
        self._ask(mux.Terminate(self._request), mux.Ok, "termination request", may_end=True)

    def stop_listening(self) -> None:
        """The master takes no more clients, and goes on."""
        self._ask(mux.StopListening(self._request), mux.Ok, "stop listening request")

    def open_forward(self, kind: int, listen: tuple[bytes, int], target: tuple[bytes, int]) -> int:
        """Opens a forward, see :class:`fastssh.wire.mux.OpenForward`: the port that the server chose, else 0."""
        asked = mux.OpenForward(self._request, kind, *listen, *target)
        answer = self._ask(asked, MuxMessage, "forwarding request")
        if isinstance(answer, mux.RemotePort):
            return answer.port
        self._expect(answer, mux.Ok)
        return 0

    def close_forward(self, kind: int, listen: tuple[bytes, int], target: tuple[bytes, int]) -> None:
        """Cancels the forward that was opened with the same."""
        self._ask(mux.CloseForward(self._request, kind, *listen, *target), mux.Ok, "forwarding request")

    def open_session(
        self,
        descriptors: Sequence[int],
        *,
        command: bytes,
        subsystem: bool = False,
        term: str = "",
        tty: bool = False,
        agent: bool = False,
        escape: int = mux.NO_ESCAPE,
        environment: Sequence[tuple[str, str]] = (),
    ) -> int:
        """A session over ``descriptors``, standard input, output and error: its number, for :meth:`wait`.

        ``command`` is empty for a shell; ``environment`` is passed on as far as the master's configuration says.
        """
        variables = tuple(os.fsencode(f"{name}={value}") for name, value in environment)
        asked = mux.NewSession(
            self._request, b"", int(tty), 0, int(agent), int(subsystem), escape, os.fsencode(term), command, variables
        )
        return self._ask(asked, mux.SessionOpened, "session request", descriptors).session

    def open_stdio(self, descriptors: Sequence[int], host: bytes, port: int) -> int:
        """``descriptors``, standard input and output, become a connection from the server to ``host``, or with the port
        PATH_PORT to the Unix socket of that path: a session's number."""
        asked = mux.NewStdioForward(self._request, b"", host, port)
        return self._ask(asked, mux.SessionOpened, "stdio forwarding request", descriptors).session

    def proxy(self) -> socket.socket:
        """From here on the connection is what :class:`fastssh.wire.mux.Proxy` asks for, and the caller's."""
        self._ask(mux.Proxy(self._request), mux.ProxyOk, "proxy request")
        return self._sock

    # -- a session -----------------------------------------------------------------------------------------------------

    def wait(
        self, session: int, tty_failed: Callable[[], None] | None = None, *, timeout: float | None = None
    ) -> int | None:
        """The exit status of a session, when the master has ended it; None if it did not tell one. ``tty_failed`` is
        called when the server has no terminal for it. ``timeout`` in seconds is for each word of the master: OSError.
        """
        status: int | None = None
        self._sock.settimeout(timeout)
        while True:
            try:
                message = self._receive()
            except ConnectionError:
                return status
            if isinstance(message, mux.TtyAllocFail) and message.session == session:
                if tty_failed is not None:
                    tty_failed()
            elif isinstance(message, mux.ExitMessage) and message.session == session and status is None:
                status = message.value
            else:
                raise MultiplexError(f"master returned unexpected {message.label()}")

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _send(self, message: MuxMessage) -> None:
        self._sock.sendall(message.encode())

    def _receive(self) -> MuxMessage:
        while (message := self._decoder.next()) is None:
            data = self._sock.recv(_PIECE)
            if not data:
                raise ConnectionResetError("master ended the connection")
            self._decoder.feed(data)
        return message

    def _ask(
        self, asked: MuxMessage, wanted: type[M], what: str, descriptors: Sequence[int] = (), *, may_end: bool = False
    ) -> M:
        """The answer to ``asked``; that there is none is none if it ``may_end``."""
        try:
            self._send(asked)
            for descriptor in descriptors:  # each with a byte of its own, as masters expect them
                socket.send_fds(self._sock, [b"\0"], [descriptor])
            answer = self._receive()
        except ConnectionError as error:
            if may_end and wanted is mux.Ok:
                made: M = wanted(self._request)
                return made
            raise MultiplexError(f"{what} failed: master ended the connection") from error
        except ProtocolError as error:
            raise MultiplexError(f"{what} failed: {error}") from error
        if getattr(answer, "request", self._request) != self._request:
            raise MultiplexError(f"{what} failed: reply to another request")
        self._request += 1
        if isinstance(answer, mux.PermissionDenied):
            raise MultiplexError(f"Master refused {what}: {printable(answer.reason)}")
        if isinstance(answer, mux.Failure):
            raise MultiplexError(f"{what} failed: {printable(answer.reason)}")
        return self._expect(answer, wanted)

    @staticmethod
    def _expect(answer: MuxMessage, wanted: type[M]) -> M:
        if not isinstance(answer, wanted):
            raise MultiplexError(f"unexpected response from master: {answer.label()}")
        return answer

    def fileno(self) -> int:
        """Readable when the master says something."""
        return self._sock.fileno()

    def close(self) -> None:
        """Harmless when closed."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
