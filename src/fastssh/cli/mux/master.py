"""The master of a shared connection: serves its clients' requests, and drives their sessions on their descriptors.

A client is a process of the same user, and may say anything: what it says wrong ends its own connection and nothing
else. PROTOCOL.mux of OpenSSH, and ControlMaster, ControlPath and ControlPersist of ssh_config(5).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio.forwarding.listen import Listener
from fastssh.aio.mux import control_socket
from fastssh.aio.mux.stream import MuxStream
from fastssh.cli.mux.proxy import Proxy
from fastssh.cli.mux.shared import SharedSession, SharedStdio
from fastssh.cli.mux.specs import from_wire
from fastssh.cli.signals import subscribe
from fastssh.cli.ssh.forwards import ForwardError, Forwards
from fastssh.errors import ChannelOpenError, ProtocolError, SSHError
from fastssh.wire import mux
from fastssh.wire.mux import MuxMessage
from fastssh.wire.text import printable

if TYPE_CHECKING:
    import socket

    from fastssh.aio.client import ClientConnection
    from fastssh.cli.connecting import Log
    from fastssh.config.forwards import Forward
    from fastssh.config.settings import Settings

MOST_CLIENTS: Final = 256  # at a time; further ones wait to be accepted
LAST_REPLY_SECONDS: Final = 5.0  # for a client to read its last reply
DENIED: Final = "Permission denied"


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What is shared, and how. ``permit`` is asked a question before anything is done for a client, None where all is
    permitted; ``terminate`` ends the program, ``stopped`` is called when no more clients are taken."""

    connection: ClientConnection
    forwards: Forwards
    settings: Settings
    log: Log
    terminate: Callable[[], None]
    stopped: Callable[[], None]
    permit: Callable[[str], Awaitable[bool]] | None = None


class Master:
    """Listens at ``path`` from the moment it is made, in the running loop. Raises FileExistsError when something is
    there, other OSErrors, and MultiplexError.

    :meth:`close` ends listening, and all clients with their sessions.
    """

    def __init__(self, path: str, sharing: Sharing) -> None:
        self.sharing = sharing
        self._clients: set[_Client] = set()
        self._listener = Listener(
            [control_socket.listen(path)], self._accepted, lambda text: sharing.log(0, text), path=path
        )
        self._unsubscribe = subscribe(signal.SIGWINCH, self._resized)

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        if not control_socket.is_ours(sock):
            self.sharing.log(0, f"multiplex uid mismatch: peer euid {control_socket.peer_uid(sock)} != uid "
                                f"{os.geteuid()}")  # fmt: skip
            sock.close()
            return
        client = _Client(self, sock)
        self._clients.add(client)
        client.task.add_done_callback(lambda task: self._ended(client))
        if len(self._clients) >= MOST_CLIENTS:
            self._listener.pause()

    def _ended(self, client: _Client) -> None:
        self._clients.discard(client)
        if len(self._clients) < MOST_CLIENTS:
            self._listener.resume()

    def _resized(self) -> None:
        """SIGWINCH, which clients pass on: whose terminal it was is not said."""
        for client in self._clients:
            client.resized()

    def stop_listening(self) -> None:
        """Takes no more clients; those that came go on. Harmless when done."""
        self._listener.close()

    async def close(self) -> None:
        """Ends everything. Harmless when closed."""
        self._listener.close()
        self._unsubscribe()
        tasks = {client.task for client in self._clients} - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Client:
    """One client: a task that reads and answers its requests in their order, and at most one session."""

    def __init__(self, master: Master, sock: socket.socket) -> None:
        self._master, self._sharing = master, master.sharing
        self._host = printable(self._sharing.settings.host)
        self._stream = MuxStream(sock)
        self._session: SharedSession | SharedStdio | None = None
        self._running: asyncio.Task[None] | None = None
        self._leave = False
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def resized(self) -> None:
        if self._session is not None:
            self._session.resized()

    async def _serve(self) -> None:
        try:
            self._stream.send(mux.Hello(mux.VERSION))
            await self._answer_all()
        except ProtocolError as error:
            self._sharing.log(0, f"control client: {printable(str(error))}")
        except SSHError:  # the connection is gone, which everybody hears of
            pass
        finally:
            if self._running is not None:
                self._running.cancel()
                await asyncio.wait((self._running,))
            await asyncio.shield(self._stream.finish(0 if self._stream.ended else LAST_REPLY_SECONDS))

    async def _answer_all(self) -> None:
        greeted = False
        while not self._leave and (received := await self._stream.receive()) is not None:
            message, descriptors = received
            try:
                if greeted is isinstance(message, mux.Hello):
                    raise ProtocolError(f"{message.label()} out of place")
                if isinstance(message, mux.Hello):
                    greeted = True
                    if message.version != mux.VERSION:
                        raise ProtocolError(f"unsupported multiplexing protocol version {message.version}")
                    continue
                await self._answer(message, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    async def _answer(self, message: MuxMessage, descriptors: list[int]) -> None:
        """Takes what it keeps out of ``descriptors``."""
        stream = self._stream
        match message:
            case mux.AliveCheck(request=request):
                stream.send(mux.Alive(request, os.getpid()))
            case mux.NewSession(request=request):
                if await self._may_begin(message, descriptors, f"Allow shared connection to {self._host}? "):
                    await self._begin(SharedSession(self._sharing, message, self._kept(descriptors)), request)
            case mux.NewStdioForward(request=request):
                what = f"Allow forward to {_place(message)}? "
                if await self._may_begin(message, descriptors, what):
                    await self._begin(SharedStdio(self._sharing, message, self._kept(descriptors)), request)
            case mux.OpenForward(request=request):
                await self._open_forward(request, from_wire(message))
            case mux.CloseForward(request=request):
                await self._close_forward(request, from_wire(message))
            case mux.StopListening(request=request):
                what = f"Disable further multiplexing on shared connection to {self._host}? "
                if await self._permitted(request, what):
                    self._master.stop_listening()
                    self._sharing.stopped()
                    stream.send(mux.Ok(request))
            case mux.Terminate(request=request):
                if await self._permitted(request, f"Terminate shared connection to {self._host}? "):
                    stream.send(mux.Ok(request))
                    await stream.finish(LAST_REPLY_SECONDS)
                    self._sharing.terminate()
            case mux.Proxy(request=request):
                if await self._permitted(request, "Allow multiplex proxy connection?"):
                    stream.send(mux.ProxyOk(request))
                    await Proxy(self._sharing.connection, stream).run()
                    self._leave = True
            case mux.Unknown(request=request):
                stream.send(mux.Failure(request, "unsupported request"))
            case _:
                raise ProtocolError(f"{message.label()} from a client")

    async def _permitted(self, request: int, question: str) -> bool:
        """Whether the user permits it; the client has its answer otherwise."""
        permit = self._sharing.permit
        if permit is None or await permit(question):
            return True
        self._stream.send(mux.PermissionDenied(request, DENIED))
        return False

    # -- sessions ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _kept(descriptors: list[int]) -> list[int]:
        kept = list(descriptors)
        descriptors.clear()
        return kept

    async def _may_begin(
        self, message: mux.NewSession | mux.NewStdioForward, descriptors: list[int], question: str
    ) -> bool:
        if len(descriptors) < message.descriptors:
            self._stream.send(mux.Failure(message.request, "did not receive file descriptors"))
            self._leave = True
            return False
        if self._running is not None:
            self._stream.send(mux.Failure(message.request, "Multiple sessions not supported"))
            return False
        return await self._permitted(message.request, question)

    async def _begin(self, session: SharedSession | SharedStdio, request: int) -> None:
        """Starts it, and answers when the server has."""
        began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._session = session
        self._running = asyncio.get_running_loop().create_task(self._run(session, began))
        await asyncio.wait((began, self._running), return_when=asyncio.FIRST_COMPLETED)
        if began.done():
            self._stream.send(mux.SessionOpened(request, began.result()))
        else:
            self._stream.send(mux.Failure(request, "Session open refused by peer"))
            self._session = self._running = None

    async def _run(self, session: SharedSession | SharedStdio, began: asyncio.Future[int]) -> None:
        def tty_failed() -> None:
            self._stream.send(mux.TtyAllocFail(began.result()))

        try:
            status = await session.run(began, tty_failed)
        except ChannelOpenError as error:
            self._sharing.log(0, f"control client: {error}")
            return
        except (SSHError, OSError) as error:
            self._sharing.log(1, f"control client: {error}")
            status = None
        if began.done():
            if status is not None:
                self._stream.send(mux.ExitMessage(began.result(), status))
            await self._stream.finish(LAST_REPLY_SECONDS)  # which is what the client waits for

    # -- forwards ------------------------------------------------------------------------------------------------------

    async def _open_forward(self, request: int, forward: Forward | None) -> None:
        if forward is None:
            self._stream.send(mux.Failure(request, "Invalid forwarding request"))
            return
        shown = printable(f"{forward.kind.value} forward {forward}")
        new = forward not in self._sharing.forwards
        if new and not await self._permitted(request, f"Open {shown} on {self._host}?"):
            return
        try:
            port = await self._sharing.forwards.open(forward)
        except ForwardError as error:
            for line in (*error.details, str(error)):
                self._sharing.log(0, line)
            remote = forward.kind.value == "remote"
            self._stream.send(mux.Failure(request, str(error) if remote else "Port forwarding failed"))
        else:
            self._stream.send(mux.RemotePort(request, port) if port else mux.Ok(request))

    async def _close_forward(self, request: int, forward: Forward | None) -> None:
        try:
            if forward is None:
                raise ForwardError("port not forwarded")
            await self._sharing.forwards.cancel(forward)
        except ForwardError as error:
            self._stream.send(mux.Failure(request, str(error)))
        else:
            self._stream.send(mux.Ok(request))


def _place(message: mux.NewStdioForward) -> str:
    host = printable(os.fsdecode(message.host))
    return f"path {host}" if message.port == mux.PATH_PORT else f"[{host}]:{message.port}"
