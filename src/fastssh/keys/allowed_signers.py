"""allowed_signers files: whose signature a key may make, of what and when (ssh-keygen(1), ALLOWED SIGNERS).

A line that is not understood allows nobody, and stops no other line from doing so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fastssh.errors import KeyFormatError
from fastssh.keys.certificate import Certificate, CertificateType
from fastssh.keys.patterns import lower, match_pattern, match_pattern_list
from fastssh.keys.public import PublicKey, decode_key, decode_key_fields
from fastssh.keys.times import moment, moment_text
from fastssh.wire.text import printable

MAX_ALLOWED_SIGNERS_FILE: Final = 64 * 1024 * 1024  # bytes

_PRINCIPALS: Final = re.compile(r'"([^"]*)"(?=[ \t]|$)|([^ \t"][^ \t]*)')
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="((?:[^"\\]++|\\"?+)*+)")?')
_BLANKS: Final = " \t"


@dataclass(frozen=True)
class AllowedSigner:
    """A line. ``namespaces`` is a pattern-list; times are POSIX times, both included."""

    key: PublicKey
    cert_authority: bool = False
    namespaces: str | None = None
    valid_after: float | None = None
    valid_before: float | None = None

    def signed_by(self, key: PublicKey) -> bool:
        """Whether the line is about ``key``, or about the authority of a certificate that ``key`` is."""
        if self.cert_authority:
            return isinstance(key, Certificate) and key.authority == self.key
        return key == self.key

    def refusal(self, namespace: str | None, when: float) -> str | None:
        """Why its key may not sign for ``namespace`` (None: for any), or not at ``when``; None if it may."""
        allowed = [] if self.namespaces is None else self.namespaces.split(",")
        if allowed and namespace is not None and not match_pattern_list(namespace, allowed):
            return f'key is not permitted for use in signature namespace "{namespace}"'
        if self.valid_after is not None and when < self.valid_after:
            return f"key is not yet valid: verify time {_text(when)} < valid-after {_text(self.valid_after)}"
        if self.valid_before is not None and when > self.valid_before:
            return f"key has expired: verify time {_text(when)} > valid-before {_text(self.valid_before)}"
        return None


def _text(when: float) -> str:
    return moment_text(int(when)) or "UNKNOWN-TIME"


class _Line(NamedTuple):
    """A line as far as its principals, which is a pattern-list; the rest is read when it matters."""

    where: str
    principals: str
    rest: str


class AllowedSigners:
    """The lines of a file. ``told`` is given a line of text for each line that is not understood, or refuses."""

    def __init__(self, data: bytes, name: str, told: Callable[[str], None] = lambda text: None) -> None:
        """``name`` stands for the file's and must be fit for a message."""
        self._text, self._name, self._told = data.decode("utf-8", "surrogateescape"), name, told

    def allow(self, key: PublicKey, principal: str, namespace: str, when: float) -> bool:
        """Whether a line lets ``principal`` sign with ``key`` for ``namespace`` at ``when`` (a POSIX time)."""
        for line in self._lines():
            if not match_pattern_list(principal, line.principals.split(",")):
                continue
            signer = self._signer(line)
            if signer is None or not signer.signed_by(key):
                continue
            reason = signer.refusal(namespace, when)
            if isinstance(key, Certificate) and signer.cert_authority:
                refused = _certificate_refusal(key, when) or (
                    None if principal in key.principals else "Certificate invalid: name is not a listed principal"
                )
                reason = f"certificate not authorized: {refused}" if refused else reason
            if reason is None:
                return True
            self._tell(line, reason)
        return False

    def principals_of(self, key: PublicKey, when: float) -> list[str]:
        """Whom ``key`` may sign for at ``when``, by the first line that lets it: its pattern-list, or where an
        authority is trusted the names in the certificate that it has patterns for."""
        for line in self._lines():
            signer = self._signer(line)
            if signer is None or not signer.signed_by(key):
                continue
            names, reason = line.principals.split(","), signer.refusal(None, when)
            if isinstance(key, Certificate) and signer.cert_authority:
                listed = () if _certificate_refusal(key, when) else key.principals
                names = [name for pattern in names for name in listed if match_pattern(name, pattern)]
                reason = reason if names else "no valid principals found"
            if reason is None:
                return names
            self._tell(line, reason)
        return []

    def matching(self, principal: str) -> list[str]:
        """The pattern-lists that ``principal`` matches. Raises :class:`KeyFormatError` for a line of one that is not
        understood."""
        found = []
        for line in self._lines():
            if match_pattern_list(principal, line.principals.split(",")):
                _parse(line)
                found.append(line.principals)
        return found

    def _lines(self) -> Iterator[_Line]:
        for number, raw in enumerate(self._text.split("\n"), 1):
            text = raw.strip(" \t\r")
            if not text or text.startswith("#"):
                continue
            where = f"{self._name}:{number}"
            found = _PRINCIPALS.match(text)
            if found is None:
                self._told(f"{where}: invalid line")
                continue
            principals = found[2] if found[1] is None else found[1]
            yield _Line(where, principals, text[found.end():].lstrip(_BLANKS))

    def _signer(self, line: _Line) -> AllowedSigner | None:
        try:
            return _parse(line)
        except KeyFormatError as error:
            self._told(str(error))
            return None

    def _tell(self, line: _Line, reason: str) -> None:
        self._told(f"{line.where}: {reason}")


def _certificate_refusal(key: Certificate, when: float) -> str | None:
    return key.refusal(CertificateType.USER, when)


# -- a line ------------------------------------------------------------------------------------------------------------


def _parse(line: _Line) -> AllowedSigner:
    """Raises :class:`KeyFormatError`, in ssh-keygen's words behind the line's place."""
    try:
        key = _key(line.rest)
        options, rest = ("", line.rest) if key else _split_options(line.rest)
        if not rest:
            raise KeyFormatError("missing key")
        key = key or _key(rest)
        if key is None:
            raise KeyFormatError("invalid key")
        try:
            return AllowedSigner(key, **_options(options))
        except KeyFormatError as error:
            raise KeyFormatError(f"bad options: {error}") from None
    except KeyFormatError as error:
        raise KeyFormatError(f"{line.where}: {printable(str(error))}") from None


def _key(text: str) -> PublicKey | None:
    fields = text.split(None, 2)
    try:
        return decode_key(decode_key_fields(fields[0], fields[1]))
    except (KeyFormatError, IndexError):
        return None


def _split_options(text: str) -> tuple[str, str]:
    """Options up to a blank outside of quotation marks, and what follows."""
    quoted, at = False, 0
    while at < len(text) and (quoted or text[at] not in _BLANKS):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    if quoted:
        raise KeyFormatError("invalid options")
    return text[:at], text[at:].lstrip(_BLANKS)


def _options(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 0
    while at < len(text):
        found = _OPTION.match(text, at)
        name = lower(found[1]) if found is not None else ""
        value = found[2] if found is not None else None
        if found is None or name not in _VALUES or (name == "cert-authority") is not (value is None):
            raise KeyFormatError("unknown key option")
        field, read = _VALUES[name]
        if field in values and value is not None:
            raise KeyFormatError(f'multiple "{name}" clauses')
        try:
            values[field] = read((value or "").replace('\\"', '"'))
        except ValueError:
            raise KeyFormatError(f'invalid "{name}" time') from None
        at = found.end()
        if at < len(text) and text[at] != ",":
            raise KeyFormatError("unknown key option")
        at += 1
        if at == len(text):
            raise KeyFormatError("unexpected end-of-options")
    if {"valid_after", "valid_before"} <= values.keys() and values["valid_before"] <= values["valid_after"]:
        raise KeyFormatError('"valid-before" time is before "valid-after"')
    return values


_VALUES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "cert-authority": ("cert_authority", lambda text: True),
    "namespaces": ("namespaces", str),
    "valid-after": ("valid_after", moment),
    "valid-before": ("valid_before", moment),
}
