"""Options with which our client reaches the servers of the tests."""

from __future__ import annotations

from typing import Any

from tests.support.peers import Peer

SECONDS = 30.0  # the most anything here may wait


def to(peer: Peer, **more: Any) -> dict[str, Any]:
    """Options that reach this server."""
    settings: dict[str, Any] = {
        "host": peer.host, "port": peer.port, "user": peer.user, "identity_files": [peer.key],
        "user_known_hosts": [peer.known_hosts], "global_known_hosts": [], "agent_socket": "none",
    }
    return settings | more


def options_without_file(more: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "host": "server.test", "user": "ann", "global_known_hosts": [], "identity_files": [], "agent_socket": "none",
    }
    return settings | more
