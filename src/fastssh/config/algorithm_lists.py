"""Directives that choose algorithms: what a list means when others wrote it for what we do not speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fastssh import algorithms
from fastssh.keys.patterns import has_wildcard, match_pattern, match_pattern_list

_FOREIGN_KEYS: Final = ("webauthn-*", "ssh-dss*", "ssh-rsa", "ssh-rsa-cert-*", "ssh-xmss*", "*-cert-v00@openssh.com")
_FOREIGN_HOST_KEYS: Final = (*_FOREIGN_KEYS, "sk-*")
_FOREIGN_CA_KEYS: Final = (*_FOREIGN_KEYS, "*-cert-v0?@openssh.com")


class AlgorithmList(NamedTuple):
    """One kind of algorithm. ``known`` is all that we speak, in our order, which is what is offered by default.

    ``foreign`` are patterns of what other SSH programs know and fastssh does not speak. A configuration shared with
    them may name these; they are left out, while a name that nobody knows is an error.
    """

    kind: str
    known: Callable[[], tuple[str, ...]]
    foreign: tuple[str, ...]

    def left_out(self, spec: str) -> tuple[str, ...]:
        """The names in ``spec`` that are left out."""
        return () if spec[:1] == "-" else tuple(name for name in _names(spec) if self._is_foreign(name))

    def choose(self, spec: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The algorithms that ``spec`` means (see algorithms.apply_list); empty when it leaves the default.

        ``default`` is what it adds to or takes from, all that is known unless given. ConfigError for unknown names, and
        where nothing is left.
        """
        names, operator = _names(spec), _operator(spec)
        if operator != "-":
            names = [name for name in names if not self._is_foreign(name)]
            if not names and not operator:
                raise ValueError(f"fastssh speaks none of {spec}")
            if not names:
                return ()
        known = self.known()
        return algorithms.apply_list(operator + ",".join(names), default or known, known, self.kind)

    def _is_foreign(self, name: str) -> bool:
        if match_pattern_list(name, self.foreign):
            return True
        if not has_wildcard(name) or any(match_pattern(each, name) for each in self.known()):
            return False
        return any(match_pattern(foreign, name) for foreign in self.foreign)  # ssh-rsa*, which stands for ssh-rsa


def _operator(spec: str) -> str:
    return spec[0] if spec[:1] in ("+", "-", "^") else ""


def _names(spec: str) -> list[str]:
    return spec[len(_operator(spec)) :].split(",")


LISTS: Final = {
    "Ciphers": AlgorithmList(
        "cipher", algorithms.default_ciphers, ("*-cbc", "arcfour*", "rijndael-cbc@lysator.liu.se", "aes*-ocb")
    ),
    "MACs": AlgorithmList("MAC", lambda: algorithms.MACS, ("hmac-md5*", "hmac-ripemd160*", "hmac-sha1*", "umac-*")),
    "KexAlgorithms": AlgorithmList(
        "key exchange method", lambda: algorithms.KEX, ("*-sha1", "gss-*", "sntrup*")
    ),
    "HostKeyAlgorithms": AlgorithmList(
        "host key algorithm", lambda: algorithms.SERVER_KEYS, _FOREIGN_HOST_KEYS
    ),
    "PubkeyAcceptedAlgorithms": AlgorithmList("signature algorithm", lambda: algorithms.USER_KEYS, _FOREIGN_KEYS),
    "HostbasedAcceptedAlgorithms": AlgorithmList("signature algorithm", lambda: algorithms.USER_KEYS, _FOREIGN_KEYS),
    "CASignatureAlgorithms": AlgorithmList("signature algorithm", lambda: algorithms.CA_SIGNATURES, _FOREIGN_CA_KEYS),
}
