"""Canonicalisation of host names: CanonicalizeHostname and its companions in ssh_config(5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from fastssh.config.client_values import PermittedCname, domain
from fastssh.config.settings import Settings
from fastssh.errors import ConnectionLostError
from fastssh.keys.patterns import lower, match_pattern_list
from fastssh.wire.text import printable

#: Asks for a name among addresses of a family ("any", "inet" or "inet6"): the name that the resolver calls canonical,
#: empty when it names none; None when there is no such name. A name that ends in a dot is complete.
Resolver = Callable[[str, str], str | None]

_PLAIN_ADDRESS: Final = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}")


def canonical_host(settings: Settings, resolve: Resolver) -> str:
    """The name to connect to, from HostName or the name as it was typed: addresses in their one form, names in lower
    case, and canonical where that is asked for. Raises ConnectionLostError when a name has to be found and is not.
    """
    name, family = settings.host, settings.typed("AddressFamily", str)
    if _PLAIN_ADDRESS.fullmatch(name):
        return name
    if name[0].isdigit() or ":" in name:
        address = _address(name, family)
        if address is not None:
            return address
        if ":" in name or "%" in name or not name.strip("0123456789."):
            return name  # an address all the same, of another family or an interface that is not there
    name = lower(name)
    wanted = settings.typed("CanonicalizeHostname", str)
    if wanted == "no" or (settings.proxied and wanted != "always"):
        return name
    return _Canonicalization(settings, lambda asked: resolve(asked, family)).of(name)


class _Canonicalization:
    def __init__(self, settings: Settings, resolve: Callable[[str], str | None]) -> None:
        self._settings, self._resolve = settings, resolve
        rules = settings.typed("CanonicalizePermittedCNAMEs", tuple)
        self._rules: Sequence[PermittedCname] = [rule for rule in rules if isinstance(rule, PermittedCname)]

    def of(self, name: str) -> str:
        """What ``name`` is canonically."""
        questions = self._questions(name)
        for question in questions or ():
            if (canonical := self._resolve(question)) is not None:
                return self._followed(question.removesuffix("."), canonical)
        if questions is not None and not self._settings.flag("CanonicalizeFallbackLocal"):
            raise ConnectionLostError(f'Could not resolve host "{printable(name)}"')
        return self._by_search_rules(name) if self._rules else name

    def _questions(self, name: str) -> list[str] | None:
        """The complete names to ask for; None when ``name`` has dots enough to be left alone."""
        if name.endswith("."):
            return [name]
        if name.count(".") > self._settings.number("CanonicalizeMaxDots"):
            return None
        return [f"{name}.{suffix}." for suffix in self._settings.typed("CanonicalDomains", tuple)]

    def _by_search_rules(self, name: str) -> str:
        """A name that only a CNAME can change. One that goes to a proxy need not be known here."""
        canonical = self._resolve(name)
        if canonical is not None:
            return self._followed(name, canonical)
        if self._settings.proxied:
            return name
        raise ConnectionLostError(f"Could not resolve hostname {printable(name)}")

    def _followed(self, name: str, canonical: str) -> str:
        """``canonical`` when a rule permits to follow the alias ``name`` to it."""
        try:
            target = domain(canonical)
        except ValueError:  # an answer that is no host's name
            return name
        for rule in self._rules:
            if match_pattern_list(name, rule.source.split(",")) and match_pattern_list(target, rule.target.split(",")):
                return target
        return name


def _address(name: str, family: str) -> str | None:
    """An address in its one form; None for what is none, of this family."""
    import socket

    try:
        found = socket.getaddrinfo(
            _encoded(name), None, _families()[family], socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        return socket.getnameinfo(found[0][4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    except (OSError, UnicodeError):
        return None


def system_resolver(name: str, family: str) -> str | None:
    """The system's :data:`Resolver`, which waits for the answer."""
    import socket

    try:
        found = socket.getaddrinfo(
            _encoded(name), None, _families()[family], socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except (OSError, UnicodeError):
        return None
    return found[0][3]


def _encoded(name: str) -> bytes:
    """As it is: the resolver has no business with IDNA here, as in ssh(1)."""
    return name.encode("utf-8", "surrogateescape")


def _families() -> dict[str, int]:
    import socket

    return {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
