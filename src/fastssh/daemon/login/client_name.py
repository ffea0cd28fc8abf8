"""The client's name (UseDNS of sshd_config(5)): what its address is called, if that name leads back to the address.

Whoever answers for an address in the DNS may call it what they like; only the second look-up makes the name true. The
resolver may take its time, or never answer: it works in a thread while the connection begins, and is waited for where
the name is needed, until a deadline. The parent never asks it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from fastssh.config.tokens import check_host
from fastssh.daemon.log import Log
from fastssh.errors import ConfigError
from fastssh.keys.addresses import parse_address
from fastssh.keys.patterns import lower
from fastssh.wire.text import printable

SECONDS: Final = 10.0  # from the connection's beginning; sshd waits as long as the resolver does


class ClientName:
    """The name of the client at ``address``, which is being looked up as soon as this exists."""

    def __init__(
        self, address: str, log: Log, *, seconds: float | None = None, look_up: Callable[[str], str] | None = None
    ) -> None:
        self._address, self._log = address, log
        self._until = time.monotonic() + (SECONDS if seconds is None else seconds)
        self._name: str | None = None
        self._reason = ""
        self._ended = threading.Event()
        self._answer: tuple[str | None] | None = None
        threading.Thread(target=self._run, args=(look_up or look_up_name,), name="resolver", daemon=True).start()

    def _run(self, look_up: Callable[[str], str]) -> None:
        try:
            self._name = look_up(self._address)
        except OSError as error:
            self._reason = error.strerror or str(error)
        except ValueError as error:
            self._reason = str(error)
        finally:
            self._ended.set()

    def wait(self) -> str | None:
        """The name in lower case; None where there is none to trust, and the log says why."""
        if self._answer is None:
            in_time = self._ended.wait(max(0.0, self._until - time.monotonic()))
            self._answer = (self._name if in_time else None,)  # what comes later does not count any more
            if self._answer == (None,):
                reason = self._reason if in_time else "no answer in time"
                self._log.verbose(f"No name of {self._address} is used: {reason}")
        return self._answer[0]


def look_up_name(address: str) -> str:
    """A name that leads back to ``address``, in lower case. Raises OSError, and ValueError with the reason."""
    name = lower(socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0])
    try:
        check_host(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if parse_address(name) is not None:  # whoever chose it wants it to be taken for another address
        raise ValueError(f"nasty PTR record {printable(name)!r} is set up")
    # As bytes: for text Python would load a codec, and the process may have a root of its own by then.
    addresses = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    found = {parse_address(str(address[4][0])) for address in addresses}
    if parse_address(address) not in found - {None}:
        raise ValueError(f"it maps to {printable(name)}, but this does not map back to the address")
    return name
