"""The package's door: :func:`connect` with a host as the user calls it, and what ssh_config(5) says of it."""

from __future__ import annotations

import asyncio
import functools
import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from fastssh.aio import client
from fastssh.aio.opening import Opening
from fastssh.aio.options import ClientOptions

if TYPE_CHECKING:
    import socket

    from fastssh.aio.client import ClientConnection

_FIELDS: Final = frozenset(field.name for field in fields(ClientOptions)) - {"host"}
_PROXIES: Final = ("proxy_command", "proxy_jump")


class connect(Opening["ClientConnection"]):  # noqa: N801
    """Connects and logs in: ``conn = await connect("alias")``, or ``async with connect("alias") as conn``.

    ``host`` is what one would type after ``ssh``: the user's ``~/.ssh/config`` and the system's
    ``/etc/ssh/ssh_config`` are read for it. ``config`` is the path of a file to read instead, or "none" or False for
    none. ``port`` and ``options``, which are the fields of :class:`ClientOptions` by name, win over what is read;
    ``proxy_jump`` may also be text, as ``-J`` takes it. A whole :class:`ClientOptions` as ``host`` is taken as it is.
    ``sock`` is a connected socket to use instead of dialling; its ownership goes to the connection.

    The server's host key is always verified. Nobody is asked anything without a ``prompter``: an unknown host is then
    refused, unless StrictHostKeyChecking says otherwise, and keys with a passphrase are left out.

    Raises TypeError at once for what is no option; then ConfigError that names file and line, ConnectionLostError
    (unreachable), SSHTimeoutError, HostKeyError, AuthenticationError, ProtocolError; all of these are SSHError.
    Cancelled, nothing is left behind.
    """

    def __init__(
        self,
        host: str | ClientOptions,
        port: int | None = None,
        *,
        config: str | os.PathLike[str] | bool | None = None,
        sock: socket.socket | None = None,
        **options: Any,
    ) -> None:
        if isinstance(host, ClientOptions):
            if options or port is not None or config is not None:
                raise TypeError("options are given both as an object and by keyword")
        elif not isinstance(host, str):
            raise TypeError(f"host is text or ClientOptions, not {type(host).__name__}")
        unknown = sorted(options.keys() - _FIELDS)
        if unknown:
            raise TypeError(f"connect() has no option {unknown[0]!r}")
        if port is not None:
            options["port"] = port
        jump = options.get("proxy_jump")
        checked = {name: value for name, value in options.items() if name != "proxy_jump" or not isinstance(jump, str)}
        if not isinstance(host, ClientOptions):
            ClientOptions(host="host", **{"user": "user"} | checked)  # raises for values that are of another type
        self._host, self._explicit, self._sock = host, options, sock
        self._file = _file(config)
        super().__init__(self._connect)

    async def _connect(self) -> ClientConnection:
        try:
            # A thread, since Match exec may run programs.
            options = self._host if isinstance(self._host, ClientOptions) else await asyncio.to_thread(self._evaluate)
        except BaseException:
            if self._sock is not None:
                self._sock.close()
            raise
        return await client.connect(options, sock=self._sock)

    def _evaluate(self) -> ClientOptions:
        from fastssh.config.client import client_options  # whoever has options of its own needs none of it
        from fastssh.config.evaluate import load

        explicit = dict(self._explicit)
        overrides = []
        for name, keyword in (("port", "Port"), ("user", "User")):  # patterns and tokens of the files ask for these
            if explicit.get(name):
                overrides.append((keyword, str(explicit[name])))
        if any(name in explicit for name in _PROXIES) or self._sock is not None:
            jump = explicit.get("proxy_jump")
            overrides.append(("ProxyJump", explicit.pop("proxy_jump") if isinstance(jump, str) else "none"))
        if explicit.get("prompter") is not None:
            overrides.append(("BatchMode", "no"))
        assert isinstance(self._host, str)
        evaluate = functools.partial(load, file=self._file)
        settings = evaluate(self._host, overrides=overrides, session_type="exec", command="")
        found = client_options(
            settings, prompter=explicit.get("prompter"), log=explicit.get("log"), evaluate=evaluate
        )
        return replace(found, **explicit)


def _file(config: str | os.PathLike[str] | bool | None) -> str | None:
    """``config`` as :func:`load` takes it."""
    if config is None:
        return None
    if config is False:
        return "none"
    if config is True or not isinstance(config, str | os.PathLike):
        raise TypeError(f"config is a path, \"none\", False or None, not {config!r}")
    return os.path.expanduser(os.fspath(config))
