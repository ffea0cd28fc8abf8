"""Making certificates (PROTOCOL.certkeys): what an authority says of a key, laid out and signed.

``issue`` does it with the authority's private key. Where an agent or a device signs, :meth:`Terms.body` is what is to
be signed, and :func:`complete` puts the signature behind it::

    critical, extensions = parse_options(["no-agent-forwarding"])
    terms = Terms(
        key, "ann@work", principals=("ann",), validity=parse_validity("+8h", time.time()), serial=7,
        critical_options=critical, extensions=extensions,
    )
    certificate = issue(terms, authority)  # authority: a PrivateKey
    print(certificate.line("ann's laptop"))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from fastssh.algorithms import certificate_algorithm
from fastssh.errors import KeyFormatError
from fastssh.keys.addresses import match_cidr_list
from fastssh.keys.certificate import (
    MAX_PRINCIPALS,
    Certificate,
    CertificateType,
    Options,
    decode_certificate,
)
from fastssh.keys.patterns import lower
from fastssh.keys.private import PrivateKey
from fastssh.keys.public import PublicKey
from fastssh.keys.times import Validity
from fastssh.wire.codec import UINT64_MAX, Reader, string, uint32, uint64, utf8

NONCE: Final = 32  # bytes, as OpenSSH's


class Terms(NamedTuple):
    """What a certificate is to say of ``key``, which is a plain one. Options' values are as on the wire, see
    :func:`parse_options`."""

    key: PublicKey
    key_id: str
    type: CertificateType = CertificateType.USER
    principals: tuple[str, ...] = ()
    validity: Validity = Validity()
    serial: int = 0
    critical_options: Options = ()
    extensions: Options = ()

    def body(self, authority: PublicKey, nonce: bytes) -> bytes:
        """Everything up to the signature. ``nonce``: bytes that nobody could foresee. Raises KeyFormatError."""
        if self.key.plain is not self.key or authority.plain is not authority:
            raise KeyFormatError("a certificate is made of a plain key, by another")
        if len(self.principals) > MAX_PRINCIPALS:
            raise KeyFormatError("Too many certificate principals specified")
        if not all(self.principals):
            raise KeyFormatError("Empty principal name")
        if not 0 <= self.serial <= UINT64_MAX:
            raise KeyFormatError(f"Invalid serial number {self.serial}")
        reader = Reader(self.key.blob)
        reader.string()  # the type; what follows is the key
        return b"".join((
            utf8(certificate_algorithm(self.key.algorithm)),
            string(nonce),
            reader.rest(),
            uint64(self.serial),
            uint32(self.type),
            utf8(self.key_id),
            string(b"".join(map(utf8, self.principals))),
            uint64(self.validity.after),
            uint64(self.validity.before),
            _options(self.critical_options),
            _options(self.extensions),
            string(b""),  # reserved
            string(authority.blob),
        ))  # fmt: skip


def _options(options: Options) -> bytes:
    return string(b"".join(utf8(name) + string(value) for name, value in options))


def issue(
    terms: Terms, authority: PrivateKey, algorithm: str | None = None, *, random: Callable[[int], bytes] = os.urandom
) -> Certificate:
    """The certificate, signed with ``algorithm`` (None: the best that the authority's key has).

    Raises :class:`KeyFormatError` for terms that no certificate can have, SignatureError for an algorithm that is not
    the key's.
    """
    body = terms.body(authority.public.plain, random(NONCE))
    return complete(body, authority.sign(body, algorithm or authority.public.plain.signature_algorithms[0]))


def complete(body: bytes, signature: bytes) -> Certificate:
    """The certificate of :meth:`Terms.body` and the authority's signature blob over it, which is verified."""
    return decode_certificate(body + string(signature))


# -- options -----------------------------------------------------------------------------------------------------------

#: The permissions that options take and give, by their names there, in any letter case.
_PERMISSIONS: Final = {
    lower(name): f"permit-{name}"
    for name in ("X11-forwarding", "agent-forwarding", "port-forwarding", "pty", "user-rc")
}


def parse_options(words: Iterable[str], *, permissions: bool = True) -> tuple[Options, Options]:
    """Critical options and extensions of ``words``, which are as those of ``ssh-keygen -O``, in the order of OpenSSH.

    ``permissions``: whether it starts from all that a user may have, as for users, or from nothing, as for hosts.
    Raises :class:`KeyFormatError` in ssh-keygen's words.
    """
    flags = set(_PERMISSIONS.values()) if permissions else set()
    valued: dict[str, str] = {}
    verify, others = False, ([], [])  # type: tuple[bool, tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]]
    for word in words:
        name, equals, value = word.partition("=")
        flag = lower(word)
        negated, bare = flag.startswith("no-"), flag.removeprefix("no-").removeprefix("permit-")
        if flag == "clear":
            flags.clear()
        elif bare in _PERMISSIONS and flag in (f"no-{bare}", f"permit-{bare}"):
            (flags.discard if negated else flags.add)(_PERMISSIONS[bare])
        elif flag in ("touch-required", "no-touch-required"):
            (flags.add if negated else flags.discard)("no-touch-required")
        elif flag in ("verify-required", "no-verify-required"):
            verify = not negated
        elif equals and lower(name) in _VALUED:
            _add_value(lower(name), value, valued)
        elif lower(word).startswith(("critical:", "extension:")):
            kind, _, custom = word.partition(":")
            others[lower(kind) == "extension"].append(_custom(custom))
        else:
            raise KeyFormatError(f'Unsupported certificate option "{word}"')
    critical = [(name, utf8(value)) for name, value in valued.items()] + [("verify-required", b"")] * verify
    return _ordered(critical + others[0]), _ordered([(name, b"") for name in flags] + others[1])


_VALUED: Final = ("force-command", "source-address")


def _add_value(name: str, value: str, valued: dict[str, str]) -> None:
    if not value:
        raise KeyFormatError(f"Empty {name} option")
    if name in valued:
        raise KeyFormatError(f"{name} already specified")
    if name == "source-address":
        try:
            match_cidr_list("", value.split(","))
        except ValueError:
            raise KeyFormatError("Invalid source-address list") from None
    valued[name] = value


def _custom(text: str) -> tuple[str, bytes]:
    """``name`` or ``name=contents``."""
    name, equals, value = text.partition("=")
    return name, utf8(value) if equals else b""


def _ordered(options: Iterable[tuple[str, bytes]]) -> Options:
    """By name, as OpenSSH writes them and PROTOCOL.certkeys asks; one name stands for one option."""
    found = tuple(sorted(options))
    names = [name for name, _ in found]
    for name in names:
        if not name or names.count(name) > 1:
            raise KeyFormatError(f'certificate option "{name}" is {"given twice" if name else "empty"}')
    return found
