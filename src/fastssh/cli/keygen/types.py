"""The types of keys that -t names, and where their keys are by default."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from fastssh.cli.keygen.console import Fatal

DEFAULT: Final = "ed25519"


class Type(NamedTuple):
    """``name`` is for :func:`fastssh.keys.private.generate_private_key`; ``bits`` the size that the name says."""

    name: str
    bits: int | None = None


#: As -t takes them. A name on the wire says the size of an ECDSA key.
TYPES: Final = {
    "ed25519": Type("ed25519"),
    "ssh-ed25519": Type("ed25519"),
    "ecdsa": Type("ecdsa"),
    "ecdsa-sha2-nistp256": Type("ecdsa", 256),
    "ecdsa-sha2-nistp384": Type("ecdsa", 384),
    "ecdsa-sha2-nistp521": Type("ecdsa", 521),
    "rsa": Type("rsa"),
    "ssh-rsa": Type("rsa"),
    "rsa-sha2-256": Type("rsa"),
    "rsa-sha2-512": Type("rsa"),
}
_SECURITY: Final = ("ed25519-sk", "ecdsa-sk", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
_RSA_MIN, _RSA_MAX = 1024, 16384


def read_type(name: str, bits: int | None) -> Type:
    """The type of key that is to be made, and its size. Raises Fatal in ssh-keygen's words."""
    if name in _SECURITY:
        raise Fatal(f"{name}: keys of security tokens are made by ssh-keygen: making them is not supported here")
    if name in ("dsa", "ssh-dss"):
        raise Fatal(f"unknown key type {name}: DSA is too weak to be used")
    if name not in TYPES:
        raise Fatal(f"unknown key type {name}")
    kind = TYPES[name]
    if kind.name == "ed25519":
        return kind  # it has one size, whatever -b says
    size = kind.bits or bits
    if kind.name == "ecdsa" and size not in (None, 256, 384, 521):
        raise Fatal("Invalid ECDSA key length: valid lengths are 256, 384 or 521 bits")
    if kind.name == "rsa" and size is not None and size < _RSA_MIN:
        raise Fatal(f"Invalid RSA key length: minimum is {_RSA_MIN} bits")
    if kind.name == "rsa" and size is not None and size > _RSA_MAX:
        raise Fatal(f"Invalid RSA key length: maximum is {_RSA_MAX} bits")
    return Type(kind.name, size)


def default_file(kind: Type | None = None) -> str:
    """``~/.ssh/id_ed25519`` or the like."""
    return os.path.join(os.path.expanduser("~"), ".ssh", f"id_{DEFAULT if kind is None else kind.name}")
