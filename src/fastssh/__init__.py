"""fastssh: an SSH-2 stack whose bulk path is native and whose decisions are Python.

>>> import fastssh
>>> async with fastssh.connect("host") as conn:
...     result = await conn.run("uname -a", check=True)

Importing the package costs next to nothing: what it offers is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastssh.version import __version__

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.forwarding.policy import ForwardingPolicy
    from fastssh.aio.lingering import new_event_loop, run
    from fastssh.aio.options import ClientOptions, Prompter
    from fastssh.aio.process import CompletedProcess, Process
    from fastssh.aio.server.connection import ServerConnection
    from fastssh.aio.server.coroutine import ServerProcess
    from fastssh.aio.server.options import ServerOptions
    from fastssh.aio.server.serve import serve
    from fastssh.aio.sftp import SFTPClient
    from fastssh.aio.sftp_file import SFTPFile
    from fastssh.auth.server import Attempt, Verdict
    from fastssh.config.connect import connect
    from fastssh.errors import (
        AgentError,
        AuthenticationError,
        ChannelClosedError,
        ChannelOpenError,
        ChannelRequestError,
        ConfigError,
        ConnectionLostError,
        DisconnectedError,
        HostKeyChangedError,
        HostKeyError,
        HostKeyRevokedError,
        HostKeyUnknownError,
        KeyFormatError,
        NegotiationError,
        PassphraseError,
        ProcessError,
        ProtocolError,
        RemoteError,
        SFTPError,
        SSHError,
        SSHTimeoutError,
        TransferError,
    )
    from fastssh.keys.private import PrivateKey, generate_private_key, load_private_key
    from fastssh.keys.public import PublicKey
    from fastssh.keys.public_file import load_public_key

_HOMES: Final = {
    "fastssh.aio.client": ("ClientConnection",),
    "fastssh.config.connect": ("connect",),
    "fastssh.aio.forwarding.policy": ("ForwardingPolicy",),
    "fastssh.aio.lingering": ("new_event_loop", "run"),
    "fastssh.aio.options": ("ClientOptions", "Prompter"),
    "fastssh.aio.process": ("CompletedProcess", "Process"),
    "fastssh.aio.server.connection": ("ServerConnection",),
    "fastssh.aio.server.serve": ("serve",),
    "fastssh.aio.server.coroutine": ("ServerProcess",),
    "fastssh.aio.server.options": ("ServerOptions",),
    "fastssh.aio.sftp": ("SFTPClient",),
    "fastssh.aio.sftp_file": ("SFTPFile",),
    "fastssh.auth.server": ("Attempt", "Verdict"),
    "fastssh.errors": (
        "AgentError",
        "AuthenticationError",
        "ChannelClosedError",
        "ChannelOpenError",
        "ChannelRequestError",
        "ConfigError",
        "ConnectionLostError",
        "DisconnectedError",
        "HostKeyChangedError",
        "HostKeyError",
        "HostKeyRevokedError",
        "HostKeyUnknownError",
        "KeyFormatError",
        "NegotiationError",
        "PassphraseError",
        "ProcessError",
        "ProtocolError",
        "RemoteError",
        "SFTPError",
        "SSHError",
        "SSHTimeoutError",
        "TransferError",
    ),
    "fastssh.keys.private": ("PrivateKey", "generate_private_key", "load_private_key"),
    "fastssh.keys.public": ("PublicKey",),
    "fastssh.keys.public_file": ("load_public_key",),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AgentError",
    "Attempt",
    "AuthenticationError",
    "ChannelClosedError",
    "ChannelOpenError",
    "ChannelRequestError",
    "ClientConnection",
    "ClientOptions",
    "CompletedProcess",
    "ConfigError",
    "ConnectionLostError",
    "DisconnectedError",
    "ForwardingPolicy",
    "HostKeyChangedError",
    "HostKeyError",
    "HostKeyRevokedError",
    "HostKeyUnknownError",
    "KeyFormatError",
    "NegotiationError",
    "PassphraseError",
    "PrivateKey",
    "Process",
    "ProcessError",
    "Prompter",
    "ProtocolError",
    "PublicKey",
    "RemoteError",
    "SFTPClient",
    "SFTPError",
    "SFTPFile",
    "SSHError",
    "SSHTimeoutError",
    "ServerConnection",
    "ServerOptions",
    "ServerProcess",
    "TransferError",
    "Verdict",
    "__version__",
    "connect",
    "generate_private_key",
    "load_private_key",
    "load_public_key",
    "new_event_loop",
    "run",
    "serve",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
