"""Which module implements which method. Modules are imported when their method is used first."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from fastssh.transport.kex.method import KexMethod

_MODULES = {
    "mlkem768x25519-sha256": "mlkem",
    "curve25519-sha256": "ecdh",
    "curve25519-sha256@libssh.org": "ecdh",
    "ecdh-sha2-nistp256": "ecdh",
    "ecdh-sha2-nistp384": "ecdh",
    "ecdh-sha2-nistp521": "ecdh",
    "diffie-hellman-group14-sha256": "dh",
    "diffie-hellman-group16-sha512": "dh",
    "diffie-hellman-group18-sha512": "dh",
    "diffie-hellman-group-exchange-sha256": "gex",
}


def find_method(name: str) -> KexMethod:
    """The method of this name; KeyError if there is none."""
    module = import_module(f"fastssh.transport.kex.{_MODULES[name]}")
    return cast(KexMethod, module.METHODS[name])


def usable(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` without those that this installation's cryptography package cannot do (ML-KEM in old ones)."""
    return tuple(name for name in names if _MODULES[name] != "mlkem" or _mlkem_supported())


@cache  # asking makes a key
def _mlkem_supported() -> bool:
    try:
        from fastssh.transport.kex import mlkem
    except ImportError:
        return False
    return mlkem.supported()
