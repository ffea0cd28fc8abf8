"""OpenSSH's certificates: a key, whom it is for and until when, signed by an authority (PROTOCOL.certkeys).

A :class:`Certificate` that exists has a good signature of the authority that it names; whether anybody trusts that
authority is for the caller to say. It is a public key whose wire form is the certificate, so that a login and a key
exchange take one where they take the other, and it never equals the key that it certifies.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from fastssh.algorithms import certificate_algorithm, signature_algorithm
from fastssh.errors import KeyFormatError, SignatureError
from fastssh.files import Path, read_regular, shown
from fastssh.keys.files import MAX_KEY_FILE
from fastssh.keys.kinds import DECODE_ERRORS
from fastssh.keys.patterns import lower, match_pattern
from fastssh.keys.public import PUBLIC_KINDS, PublicKey, decode_key_fields, decode_public_key, public_from_crypto
from fastssh.wire.codec import UINT64_MAX, Reader

#: Bytes of a certificate's wire form: two RSA keys of any size, and 256 names of 200 characters.
MAX_CERTIFICATE: Final = 64 * 1024
#: OpenSSH's bound (SSHKEY_CERT_MAX_PRINCIPALS).
MAX_PRINCIPALS: Final = 256
MAX_OPTIONS: Final = 256

_KINDS: Final = {certificate_algorithm(name): kind for name, kind in PUBLIC_KINDS.items()}

Options = tuple[tuple[str, bytes], ...]


class CertificateType(IntEnum):
    """What a certificate is good for."""

    USER = 1
    HOST = 2


@dataclass(frozen=True)
class Certificate(PublicKey):
    """A certified key. Times are POSIX times in seconds; ``valid_before`` is the first second that it is not valid.

    Of options the values are as on the wire; :mod:`fastssh.keys.certificate_options` reads a user's.
    """

    plain_key: PublicKey = field(compare=False)
    serial: int = field(compare=False)
    type: CertificateType = field(compare=False)
    key_id: str = field(compare=False)  #: the authority's word for it, for logs; printable() before it goes anywhere
    principals: tuple[str, ...] = field(compare=False)  #: users' or hosts' names
    valid_after: int = field(compare=False)
    valid_before: int = field(compare=False)
    critical_options: Options = field(compare=False)
    extensions: Options = field(compare=False)
    authority: PublicKey = field(compare=False)
    authority_algorithm: str = field(compare=False)  #: what the authority signed with

    @property
    def plain(self) -> PublicKey:
        return self.plain_key

    @property
    def algorithm(self) -> str:
        return certificate_algorithm(self.plain_key.algorithm)

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        return tuple(map(certificate_algorithm, self.plain_key.signature_algorithms))

    @property
    def family(self) -> str:
        return f"{self.plain_key.family}-CERT"

    def verify(self, signature: bytes, data: bytes, allowed: Collection[str]) -> str:
        """As that of a key; ``allowed`` are names of certificates' algorithms, and the signature has the key's own."""
        names = [signature_algorithm(name) for name in allowed if name in self.signature_algorithms]
        return self.plain_key.verify(signature, data, names)

    def refusal(self, type: CertificateType, now: float) -> str | None:
        """None if it is of this type, names somebody and is valid at ``now``; else why not, in OpenSSH's words.

        A certificate that names nobody is for nobody, whatever it was meant for (CVE-2026-35414).
        """
        if self.type is not type:
            return f"Certificate invalid: not a {type.name.lower()} certificate"
        if now < self.valid_after:
            return "Certificate invalid: not yet valid"
        if self.valid_before != UINT64_MAX and now >= self.valid_before:
            return "Certificate invalid: expired"
        if not self.principals:
            return "Certificate lacks principal list"
        return None

    def host_refusal(self, host: str, now: float, algorithms: Collection[str]) -> str | None:
        """The same for a host's certificate that is to be one of ``host``, whose authority signs with ``algorithms``.

        Names in it may be patterns, as in OpenSSH; no critical option is known for hosts.
        """
        reason = self.refusal(CertificateType.HOST, now)
        if reason is None and not any(match_pattern(lower(host), lower(name)) for name in self.principals):
            reason = "Certificate invalid: name is not a listed principal"
        if reason is None and self.critical_options:
            reason = "Certificate contains unsupported critical options(s)"
        if reason is None and self.authority_algorithm not in algorithms:
            reason = f"Certificate signed with disallowed algorithm {self.authority_algorithm}"
        return reason


def decode_certificate(blob: bytes) -> Certificate:
    """The certificate in a wire blob, once its signature is verified. Raises :class:`KeyFormatError`."""
    if len(blob) > MAX_CERTIFICATE:
        raise KeyFormatError(f"certificate of {len(blob)} bytes: at most {MAX_CERTIFICATE} are accepted")
    try:
        return _decode(bytes(blob))
    except KeyFormatError:
        raise
    except SignatureError as error:
        raise KeyFormatError(f"certificate's signature: {error}") from None
    except DECODE_ERRORS as error:
        raise KeyFormatError(f"malformed certificate: {error}") from None


def load_certificate(path: Path) -> Certificate:
    """The certificate in a file of one line, as ``ssh-keygen -s`` writes it.

    Raises OSError for a file that cannot be opened, else :class:`KeyFormatError` that names it.
    """
    text = read_regular(path, MAX_KEY_FILE)[0].decode("utf-8", "replace")
    try:
        fields = text.split(None, 2)
        if len(fields) < 2:
            raise KeyFormatError("not a certificate: type and base64 text are wanted")
        return decode_certificate(decode_key_fields(fields[0], fields[1]))
    except KeyFormatError as error:
        raise KeyFormatError(f"{shown(path)}: {error}") from None


def _decode(blob: bytes) -> Certificate:
    reader = Reader(blob)
    kind = _KINDS.get(reader.ascii())
    if kind is None:
        raise KeyFormatError("not a certificate of a type that is known")
    reader.string()  # the nonce: it keeps the authority from signing what others chose to the last byte
    key = kind.read_public(reader)
    serial, type = reader.uint64(), reader.uint32()
    if type not in tuple(CertificateType):
        raise KeyFormatError(f"certificate of the unknown type {type}")
    key_id, principals = reader.string().decode("utf-8", "surrogateescape"), _principals(reader.string())
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical, extensions = _options(reader.string()), _options(reader.string())
    reader.string()  # reserved
    # Only a plain key certifies: decode_public_key() takes no certificate, and so there are no chains.
    authority = decode_public_key(reader.string())
    signed = blob[: reader.offset]
    signature = reader.string()
    reader.end()
    algorithm = authority.verify(signature, signed, authority.signature_algorithms)
    return Certificate(
        blob, kind, key, public_from_crypto(kind, key), serial, CertificateType(type), key_id, principals, valid_after,
        valid_before, critical, extensions, authority, algorithm,
    )  # fmt: skip


def _principals(packed: bytes) -> tuple[str, ...]:
    reader = Reader(packed)
    names: list[str] = []
    while reader.remaining:
        if len(names) == MAX_PRINCIPALS:
            raise KeyFormatError(f"certificate with more than {MAX_PRINCIPALS} principals")
        names.append(reader.utf8())
    return tuple(names)


def _options(packed: bytes) -> Options:
    reader = Reader(packed)
    found: dict[str, bytes] = {}
    while reader.remaining:
        name, value = reader.ascii(), reader.string()
        if name in found:
            raise KeyFormatError(f"certificate with the option {name[:64]} twice")
        if len(found) == MAX_OPTIONS:
            raise KeyFormatError(f"certificate with more than {MAX_OPTIONS} options")
        found[name] = value
    return tuple(found.items())
