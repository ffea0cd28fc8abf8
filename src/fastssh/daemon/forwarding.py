"""Forwarding as sshd_config and the options of the key permit it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastssh.aio.forwarding.policy import NO_FORWARDING, ForwardingPolicy
from fastssh.aio.forwarding.server import Forwarding
from fastssh.config.server.settings import ServerSettings
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.key_options import KeyOptions
from fastssh.wire.requests import AUTH_AGENT_REQUEST

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.aio.server.program import RequestHook
    from fastssh.aio.server.session import ServerSession

MAX_CHANNELS = 1024  # what a browser may keep open; the process, and its memory, are the user's alone


def policy_of(settings: ServerSettings) -> ForwardingPolicy:
    """What the configuration permits this user. To be asked when the process is the user's."""
    if settings.disable_forwarding:
        return NO_FORWARDING
    return ForwardingPolicy(
        local_tcp=settings.allow_tcp_forwarding.local,
        remote_tcp=settings.allow_tcp_forwarding.remote,
        local_streams=settings.allow_stream_local_forwarding.local,
        remote_streams=settings.allow_stream_local_forwarding.remote,
        agent=settings.allow_agent_forwarding,
        permit_open=_lists(settings.permit_open),
        permit_listen=_lists(settings.permit_listen),
        gateway_ports=settings.gateway_ports,
        privileged_ports=os.geteuid() == 0,
        bind_mask=settings.stream_local_bind_mask,
        bind_unlink=settings.stream_local_bind_unlink,
        max_channels=MAX_CHANNELS,
    )


def _lists(entries: tuple[Endpoint, ...] | None) -> tuple[tuple[Endpoint, ...], ...]:
    """None, for any, is no list; an empty list permits nothing."""
    return () if entries is None else (entries,)


def forward(connection: ServerConnection, settings: ServerSettings, options: KeyOptions) -> dict[str, RequestHook]:
    """Answers the client's forwarding requests from now on; returns what its sessions may ask for beside."""
    forwarding = Forwarding(policy_of(settings), connection.options.log)
    forwarding.attach(connection, options)

    def agent_requested(session: ServerSession, data: bytes) -> bool:
        variables = forwarding.agent_requested(connection) if not data else None
        session.variables.update(variables or {})
        return variables is not None

    return {AUTH_AGENT_REQUEST: agent_requested}
