"""Who may connect to ports that are forwarded."""

from __future__ import annotations

from enum import Enum


class GatewayPorts(Enum):
    """Who may connect to ports that a client asked for (sshd_config(5))."""

    NO = "no"
    YES = "yes"
    CLIENT_SPECIFIED = "clientspecified"
