"""What may be forwarded: one record for a server's configuration and the options of the key that logged in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from fastssh.aio.forwarding.gateway import GatewayPorts
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.key_options import KeyOptions

#: Stands for a port where a path is asked about: lists of hosts and ports permit a path only by ``*:*``. So do sshd's
#: of permitopen, while its lists of permitlisten do not restrict paths.
PATH_PORT: Final = -2
PRIVILEGED: Final = 1024  # ports below belong to root
CONNECT_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class ForwardingPolicy:
    """The defaults are sshd_config(5)'s. Local and remote are as the client sees them: ``-L`` and ``-R``.

    ``permit_open`` and ``permit_listen`` are tuples of lists as in :class:`KeyOptions`: of each list one entry must
    fit, and no list restricts nothing. Restrictions of keys are added by :meth:`restricted_by` and never lift these.
    """

    local_tcp: bool = True
    remote_tcp: bool = True
    local_streams: bool = True  # Unix sockets; as with sshd, none without TCP in the same direction
    remote_streams: bool = True
    agent: bool = True
    permit_open: tuple[tuple[Endpoint, ...], ...] = ()
    permit_listen: tuple[tuple[Endpoint, ...], ...] = ()
    options: tuple[KeyOptions, ...] = ()  # of keys and certificates; each must permit
    gateway_ports: GatewayPorts = GatewayPorts.NO
    privileged_ports: bool = False  # listening below 1024: for sessions of root alone
    bind_mask: int = 0o177  # StreamLocalBindMask
    bind_unlink: bool = False  # StreamLocalBindUnlink: a socket in the way is removed
    #: Of one connection: each costs at most a window (2 MiB) and 0.3 MiB of memory.
    max_channels: int = 256
    max_listeners: int = 64
    connect_seconds: float = CONNECT_SECONDS  # to reach a destination, by any of its addresses
    agent_directory: str | None = None  # where the agent's socket gets its own directory; None: as tempfile has it

    def restricted_by(self, options: KeyOptions) -> Self:
        """This policy for whoever logged in with a key that has ``options``."""
        return replace(self, options=(*self.options, options))

    def _all(self) -> tuple[KeyOptions, ...]:
        return (KeyOptions(permit_open=self.permit_open, permit_listen=self.permit_listen), *self.options)

    def may_open(self, host: str, port: int) -> bool:
        """Whether the client may have a connection made to ``host`` and ``port``."""
        return self.local_tcp and all(each.may_open(host, port) for each in self._all())

    def may_listen(self, host: str, port: int) -> bool:
        """Whether it may have ``host`` and ``port``, as it wrote them, listened on; 0 is any free port."""
        if 0 < port < PRIVILEGED and not self.privileged_ports:
            return False
        return self.remote_tcp and all(each.may_listen(host, port) for each in self._all())

    def may_open_path(self, path: str) -> bool:
        """Whether it may have a connection made to the Unix socket at ``path``."""
        return self.local_streams and self.local_tcp and all(each.may_open(path, PATH_PORT) for each in self._all())

    def may_listen_path(self, path: str) -> bool:
        """Whether it may have a Unix socket made at ``path``."""
        return self.remote_streams and self.remote_tcp and all(each.may_listen(path, PATH_PORT) for each in self._all())

    def may_forward_agent(self) -> bool:
        """Whether sessions may have the client's agent."""
        return self.agent and all(each.permit_agent_forwarding for each in self.options)


#: DisableForwarding: nothing at all.
NO_FORWARDING: Final = ForwardingPolicy(
    local_tcp=False, remote_tcp=False, local_streams=False, remote_streams=False, agent=False
)
