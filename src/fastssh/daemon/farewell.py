"""The lines that end a connection in the log, in sshd's words where tools look for them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fastssh.daemon.log import Log
from fastssh.errors import (
    ChannelClosedError,
    ConnectionLostError,
    DisconnectedError,
    NegotiationError,
    ProtocolError,
    SSHTimeoutError,
)

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.daemon.login.gate import Candidate

MIB = 1 << 20


def log_end(connection: ServerConnection, candidate: Candidate | None, log: Log, seconds: float) -> None:
    """Says why the connection ended, whose it was, and what went over it."""
    where, before = connection.where, "" if connection.attempt is not None else " [preauth]"
    who = f"{_who(connection, candidate)}{where}"
    error = connection.error
    match error:
        case DisconnectedError():
            log.info(f"Received disconnect from {where}:{error.code}: {error.description}{before}")
            log.info(f"Disconnected from {who}{before}")
        case ConnectionLostError():
            reset = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ECONNRESET
            log.info(f"Connection {'reset' if reset else 'closed'} by {who}{before}")
        case SSHTimeoutError():
            log.info(str(error))
        case NegotiationError():
            log.info(
                f"Unable to negotiate with {where}: no matching {_kind(error.kind)} found. "
                f"Their offer: {','.join(error.theirs)}{before}"
            )
        case ProtocolError() if not connection.peer_identification:
            log.info(f"banner exchange: Connection from {where}: {error}")
        case ProtocolError() if str(error) == "Too many authentication failures" and candidate is not None:
            log.error(f"maximum authentication attempts exceeded for {candidate.described} from {where} ssh2{before}")
            log.info(f"Disconnecting {who}: {error}{before}")
        case ProtocolError():
            log.fatal(f"ssh_dispatch_run_fatal: Connection from {who}: {error}{before}")
        case ChannelClosedError() | None:
            log.info(f"Closing connection to {where}")
        case _:
            log.info(f"Disconnecting {who}: {error}{before}")
    _log_amount(connection, log, seconds)


def _who(connection: ServerConnection, candidate: Candidate | None) -> str:
    if candidate is None:
        return ""
    if connection.attempt is not None:
        return f"user {candidate.described} "
    known = candidate.user is not None and candidate.refused is None
    return f"{'authenticating user ' if known else ''}{candidate.described} "


def _kind(kind: str) -> str:
    """What sshd calls an algorithm list; the direction is left out."""
    for ours, theirs in (
        ("key exchange", "key exchange method"), ("host key", "host key type"), ("cipher", "cipher"), ("mac", "MAC"),
        ("compression", "compression method"),
    ):  # fmt: skip
        if ours in kind.lower():
            return theirs
    return kind


def _log_amount(connection: ServerConnection, log: Log, seconds: float) -> None:
    sent, received = connection.plane.bytes_sent, connection.plane.bytes_received
    rate = (sent + received) / max(seconds, 0.001) / MIB
    line = f"Transferred: sent {sent}, received {received} bytes in {seconds:.1f} seconds ({rate:.1f} MiB/s)"
    (log.verbose if connection.attempt is None else log.info)(line)
