"""-Q: what there is of a kind, one a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from fastssh import algorithms
from fastssh.cli.tool import UsageError


def _ciphers() -> tuple[str, ...]:
    return algorithms.default_ciphers()


def _authenticated() -> tuple[str, ...]:
    return tuple(name for name in _ciphers() if "gcm@" in name or "poly1305" in name)


def _plain_keys() -> list[str]:
    return list(dict.fromkeys(map(algorithms.key_type, algorithms.CA_SIGNATURES)))


def _certificates() -> list[str]:
    return list(map(algorithms.certificate_algorithm, _plain_keys()))


def _signatures() -> list[str]:
    return list(dict.fromkeys((*algorithms.CA_SIGNATURES, *algorithms.USER_KEYS)))


_KINDS: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "cipher": _ciphers,
    "cipher-auth": _authenticated,
    "compression": lambda: algorithms.COMPRESSION_WANTED[::-1],
    "kex": lambda: algorithms.KEX,
    "key": lambda: (*_plain_keys(), *_certificates()),
    "key-cert": _certificates,
    "key-plain": _plain_keys,
    "key-sig": _signatures,
    "mac": lambda: algorithms.MACS,
    "protocol-version": lambda: ("2",),
    "sig": lambda: algorithms.CA_SIGNATURES,
}
# Directives whose values these are, as ssh takes them.
_DIRECTIVES: Final = {
    "ciphers": "cipher", "macs": "mac", "kexalgorithms": "kex", "hostkeyalgorithms": "key-sig",
    "pubkeyacceptedalgorithms": "key-sig", "pubkeyacceptedkeytypes": "key-sig", "hostbasedkeytypes": "key-sig",
    "hostbasedacceptedalgorithms": "key-sig", "casignaturealgorithms": "sig",
}  # fmt: skip


def answer(kind: str) -> str:
    """The lines. Raises UsageError for a kind that is none."""
    if kind == "help":
        return _lines(_KINDS)
    found = _KINDS.get(_DIRECTIVES.get(kind.lower(), kind))
    if found is None:
        raise UsageError(f"Unsupported query {kind!r}")
    return _lines(found())


def _lines(names: Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)
