"""What a server is asked to be: one record of options, and who decides what a client may do."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastssh import algorithms
from fastssh.auth.interactive import Conversation
from fastssh.auth.publickey import PUBLICKEY
from fastssh.auth.server import MAX_AUTH_TRIES, Attempt, AuthRules, Verdict
from fastssh.errors import ConfigError

if TYPE_CHECKING:
    from fastssh.aio.forwarding.policy import ForwardingPolicy
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.aio.server.coroutine import ServerProcess
    from fastssh.connection.channel import ChannelHandler
    from fastssh.keys.private import PrivateKey
    from fastssh.sftp.filesystem import FileSystem
    from fastssh.transport.kex.groups import Group

LOGIN_GRACE_SECONDS = 120.0
MAX_STARTUPS = 100
FAILURE_SECONDS = 0.1  # the least time that a refused attempt takes, so that nobody learns from how long it took


def _nobody(connection: ServerConnection, attempt: Attempt) -> Verdict:
    return Verdict.REFUSE


def _no_questions(connection: ServerConnection, attempt: Attempt) -> None:
    """The default for keyboard-interactive: there is nothing to ask."""


def _not_told(connection: ServerConnection, attempt: Attempt, verdict: Verdict) -> None:
    """The default for outcomes: nobody listens."""


def _no_log(text: str) -> None:
    """The default log: nobody listens."""


@dataclass(kw_only=True)
class ServerOptions:
    """Options of a server's connections. Times are in seconds, 0 switches a timer off; sizes are in bytes.

    Names and defaults are sshd_config(5)'s in Python spelling. Empty algorithm tuples mean the defaults of
    :mod:`fastssh.algorithms`, ``SERVER_KEX`` for ``kex``.
    """

    host_keys: Sequence[PrivateKey]
    #: Judges each attempt to log in; see :class:`fastssh.auth.server.Attempt` for what it is told.
    authorize: Callable[[ServerConnection, Attempt], Verdict] = _nobody
    #: The questions of ``keyboard-interactive``, which has to be among a user's methods for that; see
    #: :mod:`fastssh.auth.interactive`.
    converse: Callable[[ServerConnection, Attempt], Conversation | None] = _no_questions
    #: How a user may log in, asked when a request names it. None: authentication_methods, max_auth_tries, banner.
    rules: Callable[[ServerConnection, str], AuthRules] | None = None
    #: Hears of every attempt that was answered; see :class:`fastssh.auth.server.AuthServer`.
    outcome: Callable[[ServerConnection, Attempt, Verdict], None] = _not_told
    #: Called once after the login: may set ``acceptors`` and ``global_handlers`` of its ``connection``.
    authenticated: Callable[[ServerConnection, Attempt], None] = lambda connection, attempt: None
    #: The handler of one session channel; its ``channel`` attribute is set before its first call.
    session: Callable[[ServerConnection], ChannelHandler] | None = None
    #: Without ``session``: serves shells, commands and subsystems; returns the exit status (None: 0).
    process: Callable[[ServerProcess], Awaitable[int | None]] | None = None
    #: Without ``session``: offers SFTP, of what is below a directory, or of a file system made for each SFTP session
    #: (whose ``close``, if it has one, is called at the session's end). Without ``process``, scp's legacy protocol
    #: (``scp -O``) as well.
    sftp_root: str | os.PathLike[str] | None = None
    sftp: Callable[[ServerConnection], FileSystem] | None = None
    #: What may be forwarded, both ways; None: nothing. The agent is for sessions that run programs of the machine.
    forwarding: ForwardingPolicy | None = None
    # -- limits before and of authentication
    login_grace_time: float = LOGIN_GRACE_SECONDS
    max_startups: int = MAX_STARTUPS  # connections of one Server that have not logged in; more are closed at once
    max_auth_tries: int = MAX_AUTH_TRIES
    authentication_methods: tuple[str, ...] = (PUBLICKEY, "password")
    failure_seconds: float = FAILURE_SECONDS
    banner: str = ""  # SSH_MSG_USERAUTH_BANNER, before the first answer
    # -- algorithms
    kex: tuple[str, ...] = ()
    host_key_algorithms: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    compression: bool = True  # offered, and delayed until the user is known
    pubkey_accepted_algorithms: tuple[str, ...] = ()
    groups: Sequence[Group] = ()  # for group exchange; none: RFC 3526's
    version_addendum: str = ""  # appended to our identification
    # -- the life of a connection
    max_sessions: int = 10
    client_alive_interval: float = 0
    client_alive_count_max: int = 3
    rekey_bytes: int = 0  # 0: the cipher's own limit
    rekey_seconds: float = 0
    log: Callable[[str], None] = _no_log  # one line for an operator, safe for a terminal
    debug: Callable[[str], None] = _no_log

    def __post_init__(self) -> None:
        if not self.host_keys:
            raise ConfigError("a server needs at least one host key")
        if self.sftp is not None and self.sftp_root is not None:
            raise ConfigError("sftp and sftp_root exclude each other")
        if self.session is not None and (self.process or self.sftp or self.sftp_root is not None):
            raise ConfigError("session excludes process, sftp and sftp_root")

    def session_handlers(self) -> Callable[[ServerConnection], ChannelHandler] | None:
        """``session``, or what ``process``, ``sftp`` and ``sftp_root`` make of one; None: no session is offered."""
        if self.session is None and (self.process or self.sftp or self.sftp_root is not None):
            from fastssh.aio.server.coroutine import offered

            return offered(self)
        return self.session

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """Those accepted from users' keys."""
        return self.pubkey_accepted_algorithms or algorithms.USER_KEYS
