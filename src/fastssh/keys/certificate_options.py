"""What a user's certificate permits: its critical options and extensions (PROTOCOL.certkeys) as :class:`KeyOptions`.

Nothing is permitted that no extension gives. A critical option that is not known, or a value that is not understood,
refuses the certificate; extensions that are not known mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from fastssh.errors import KeyFormatError, ProtocolError
from fastssh.keys.addresses import match_cidr_list
from fastssh.keys.certificate import Certificate
from fastssh.keys.key_options import RESTRICTED, KeyOptions
from fastssh.wire.codec import Reader
from fastssh.wire.text import printable


def certificate_options(certificate: Certificate) -> KeyOptions:
    """Raises :class:`KeyFormatError` for a certificate with an option that cannot be followed."""
    values: dict[str, Any] = {}
    for name, packed in certificate.critical_options:
        if name not in _CRITICAL:
            raise KeyFormatError(f'Certificate critical option "{printable(name[:64])}" is not supported')
        values |= _read(name, packed, _CRITICAL[name])
    for name, packed in certificate.extensions:
        if name in _EXTENSIONS:
            values |= _read(name, packed, _EXTENSIONS[name])
    return replace(RESTRICTED, **values)


Read = Callable[[Reader], dict[str, Any]]


def _read(name: str, packed: bytes, read: Read) -> dict[str, Any]:
    reader = Reader(packed)
    try:
        values = read(reader)
        reader.end()
    except (ProtocolError, ValueError) as error:
        raise KeyFormatError(f'Certificate option "{name}" corrupt: {printable(str(error))}') from None
    return values


def _command(reader: Reader) -> dict[str, Any]:
    command = reader.utf8()
    if "\0" in command:
        raise ValueError("a NUL byte")
    return {"command": command}


def _sources(reader: Reader) -> dict[str, Any]:
    networks = tuple(reader.utf8().split(","))
    match_cidr_list("", networks)  # ValueError for what is no list of networks
    return {"networks": (networks,)}


def _flag(**values: bool) -> Read:
    return lambda reader: values


_CRITICAL: Final[dict[str, Read]] = {
    "force-command": _command,
    "source-address": _sources,
    "verify-required": _flag(require_verify=True),
}
_EXTENSIONS: Final[dict[str, Read]] = {
    "no-touch-required": _flag(require_touch=False),
    "permit-X11-forwarding": _flag(permit_x11_forwarding=True),
    "permit-agent-forwarding": _flag(permit_agent_forwarding=True),
    "permit-port-forwarding": _flag(permit_port_forwarding=True),
    "permit-pty": _flag(permit_pty=True),
    "permit-user-rc": _flag(permit_user_rc=True),
}
