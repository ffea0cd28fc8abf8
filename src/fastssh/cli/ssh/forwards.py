"""The forwards of a running fastssh: opened at its beginning, by an escape or a client of its shared connection, and
cancelled by what was asked for. What goes wrong is said in ssh's words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastssh.aio.dial import reason_of
from fastssh.config.forwards import Forward, Kind, Listen, permit_remote_open
from fastssh.errors import ChannelRequestError, HostKeyError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.forwarding.client import DynamicForward, LocalForward, RemoteForward
    from fastssh.config.settings import Settings

    Open = LocalForward | DynamicForward | RemoteForward


class ForwardError(Exception):
    """A forward that could not be opened, or cancelled. ``details`` are lines to say before its own."""

    def __init__(self, text: str, *details: str) -> None:
        super().__init__(text)
        self.details = details


class Forwards:
    """The forwards of ``connection``, as ``settings`` say where to listen and what to permit."""

    def __init__(self, connection: ClientConnection, settings: Settings) -> None:
        self._connection = connection
        self._gateway_ports = settings.flag("GatewayPorts")
        self._permit_open = permit_remote_open(settings)
        self._socket: dict[str, Any] = {
            "bind_mask": settings.number("StreamLocalBindMask"),
            "bind_unlink": settings.flag("StreamLocalBindUnlink"),
        }
        self._open: dict[Forward, Open] = {}

    def __iter__(self) -> Iterator[Forward]:
        """Those that are open."""
        return iter(self._open)

    @property
    def connections(self) -> int:
        """How many go over them now."""
        return sum(each.connections for each in self._open.values())

    async def open_all(self, wanted: Sequence[Forward], say: Callable[[str], None], *, exit_on_failure: bool) -> bool:
        """Opens ``wanted``, the requests to the server at once; whether all are open. ``say`` gets lines for the person
        at the terminal: ports that the server chose, and failures, which ``exit_on_failure`` (ExitOnForwardFailure)
        makes errors."""
        results = await asyncio.gather(*(self.open(forward) for forward in wanted), return_exceptions=True)
        complete = True
        for forward, result in zip(wanted, results, strict=True):
            if isinstance(result, ForwardError):
                complete = False
                for line in result.details:
                    say(line)
                remote = forward.kind is Kind.REMOTE
                say(f"{'Error' if exit_on_failure else 'Warning'}: {result}" if remote else str(result))
            elif isinstance(result, BaseException):
                raise result
            elif result:
                say(allocated(forward, result))
        return complete

    async def open(self, forward: Forward) -> int:
        """The port that the server chose for a remote forward of port 0, else 0. Nothing is done for one that is open.

        Raises ForwardError, and what ended the connection.
        """
        forward = _normal(forward)
        if forward in self._open:
            return self.allocated_port(forward)
        listen, target = forward.listen_address(gateway_ports=self._gateway_ports), forward.target_address()
        connection = self._connection
        try:
            if forward.kind is Kind.REMOTE:
                self._open[forward] = await connection.forward_remote(listen, target, permit_open=self._permit_open)
            elif target is None:
                self._open[forward] = await connection.forward_dynamic(listen, **self._socket)
            else:
                self._open[forward] = await connection.forward_local(listen, target, **self._socket)
        except ChannelRequestError:
            raise ForwardError(f"remote port forwarding failed for listen {_place(forward.listen)}") from None
        except HostKeyError as error:  # whoever the server is, it gets nothing of ours
            raise ForwardError(f"Could not request {_direction(forward.kind)} forwarding.", str(error)) from None
        except ValueError as error:
            raise ForwardError(f"Could not request {_direction(forward.kind)} forwarding.", str(error)) from None
        except OSError as error:
            raise ForwardError("Could not request local forwarding.", *_bind_failed(listen, error)) from None
        return self.allocated_port(forward)

    def allocated_port(self, forward: Forward) -> int:
        """The port that the server chose for an open forward; 0 for one that names its port."""
        if forward.kind is not Kind.REMOTE or isinstance(forward.listen, str) or forward.listen[1] != 0:
            return 0
        return self._open[_normal(forward)].port

    async def cancel(self, forward: Forward) -> None:
        """Stops listening for a forward that was opened just so; its connections go on. ForwardError if there is none,
        or if the server refuses."""
        await self._cancel(_normal(forward))

    async def cancel_listening(self, kind: Kind, listen: Listen) -> None:
        """Likewise for the one of this kind that listens at ``listen``, wherever it leads."""
        wanted = _normal(Forward(kind, listen, None)).listen
        found = next((each for each in self._open if (each.kind, each.listen) == (kind, wanted)), None)
        if found is None:
            raise ForwardError("port not forwarded")
        await self._cancel(found)

    async def _cancel(self, forward: Forward) -> None:
        if forward not in self._open:
            raise ForwardError("port not forwarded")
        try:
            await self._open.pop(forward).stop()
        except ChannelRequestError as error:
            raise ForwardError(str(error)) from None


def allocated(forward: Forward, port: int) -> str:
    """What is said of a port that the server chose."""
    target = forward.target or ("socks", 0)
    shown = f"{target}:-2" if isinstance(target, str) else f"{target[0]}:{target[1]}"
    return printable(f"Allocated port {port} for remote forward to {shown}")


def _normal(forward: Forward) -> Forward:
    """One form for what means the same: an empty bind address is all addresses."""
    if isinstance(forward.listen, tuple) and forward.listen[0] == "":
        return forward._replace(listen=("*", forward.listen[1]))
    return forward


def _place(listen: Listen) -> str:
    return printable(f"path {listen}" if isinstance(listen, str) else f"port {listen[1]}")


def _direction(kind: Kind) -> str:
    return "remote" if kind is Kind.REMOTE else "local"


def _bind_failed(listen: Listen, error: OSError) -> tuple[str, ...]:
    reason = reason_of(error)
    if isinstance(listen, str):
        return (printable(f"unix_listener: cannot bind to path {listen}: {reason}"),)
    host, port = listen
    where = "127.0.0.1" if host == "localhost" else host or "*"
    return (
        printable(f"bind [{where}]:{port}: {reason}"),
        f"channel_setup_fwd_listener_tcpip: cannot listen to port: {port}",
    )
