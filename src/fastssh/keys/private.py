"""Private keys: signing, and the files they live in (OpenSSH, PEM and PKCS#8)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fastssh.algorithms import signature_algorithm
from fastssh.errors import KeyFormatError, PassphraseError, SignatureError
from fastssh.files import Path, create_file, read_regular, replace_file, shown
from fastssh.keys import openssh_format
from fastssh.keys.files import MAX_KEY_FILE, check_private
from fastssh.keys.kinds import DECODE_ERRORS, KINDS, KeyKind, kind_named, kind_of
from fastssh.keys.public import PublicKey, public_from_crypto
from fastssh.keys.security_keys import SECURITY_KINDS
from fastssh.wire.codec import Reader, string

if TYPE_CHECKING:
    from fastssh.keys.certificate import Certificate

#: A passphrase, or what to call for one (at most once a file; None means that the user has none to give).
Passphrase: TypeAlias = bytes | Callable[[], bytes | None] | None

#: The format that OpenSSH writes by default; the others are in :mod:`fastssh.keys.pem`.
OPENSSH = "openssh"

#: Whatever OpenSSH's format may hold.
PRIVATE_KINDS: dict[str, KeyKind[Any, Any]] = {**KINDS, **SECURITY_KINDS}

_PEM_BEGIN = re.compile(rb"^-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----", re.MULTILINE)
_PEM_LABELS = ("RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
_LEGACY_ENCRYPTED = re.compile(rb"^Proc-Type: *4, *ENCRYPTED", re.MULTILINE)


@dataclass(frozen=True)
class PrivateKey:
    """A private key and the comment of its file. ``public`` is what is shown of it: the key, or a certificate of it."""

    public: PublicKey
    comment: str
    _kind: KeyKind[Any, Any] = field(repr=False, compare=False)
    _key: Any = field(repr=False, compare=False)

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """A signature blob (RFC 4253 section 6.6) over ``data``.

        ``algorithm`` is one of ``public.signature_algorithms``, else :class:`SignatureError`.
        """
        if algorithm not in self.public.signature_algorithms:
            raise SignatureError(f"an {self.public.algorithm} key cannot sign with {algorithm}")
        made = signature_algorithm(algorithm)
        return string(made.encode("ascii")) + string(self._kind.sign(self._key, data, made))

    def certified(self, certificate: Certificate) -> PrivateKey:
        """The same key, shown with its certificate. Raises :class:`KeyFormatError` for a certificate of another key."""
        if certificate.plain != self.public.plain:
            raise KeyFormatError("the certificate is not one of this key")
        return replace(self, public=certificate)

    def save(
        self,
        path: Path,
        passphrase: bytes | None = None,
        *,
        comment: str | None = None,
        format: str = OPENSSH,
        cipher: str = openssh_format.DEFAULT_CIPHER,
        rounds: int = openssh_format.DEFAULT_ROUNDS,
    ) -> None:
        """Writes the key to ``path``, whole or not at all, with mode 0600; a file that was there is replaced.

        ``comment`` None is the key's own; only OpenSSH's format has a place for it. ``format``, ``cipher`` and
        ``rounds``: see :func:`serialize_private_key`. The public key is not written: that is ``public.save()``.
        Raises OSError, :class:`KeyFormatError`.
        """
        key = self if comment is None else replace(self, comment=comment)
        data = serialize_private_key(key, passphrase, format=format, cipher=cipher, rounds=rounds)
        replace_file(path, data, 0o600)

    @property
    def crypto(self) -> Any:
        """The key as ``cryptography`` has it."""
        return self._key

    def fields(self) -> bytes:
        """Type and private fields as PROTOCOL.key and the agent protocol write them: secret bytes."""
        return string(self._kind.name.encode("ascii")) + self._kind.write_private(self._key)


def private_from_crypto(kind: KeyKind[Any, Any], key: Any, comment: str = "") -> PrivateKey:
    """The :class:`PrivateKey` of a ``cryptography`` private key of that kind."""
    return PrivateKey(public_from_crypto(kind, key.public_key()), comment, kind, key)


def load_private_key(path: Path, passphrase: Passphrase = None, *, check_permissions: bool = True) -> PrivateKey:
    """The private key in a file: OpenSSH's own format, PEM (PKCS#1, SEC1) or PKCS#8.

    A callable ``passphrase`` is called at most once, and only if the file is encrypted. Raises OSError for a file that
    cannot be opened, :class:`~fastssh.files.UnfitFileError` (a KeyFormatError) for one that is too large, not
    regular or, with ``check_permissions``, open to others; :class:`KeyFormatError` and :class:`PassphraseError` as
    :func:`parse_private_key`. Each message names the path.
    """
    data, status = read_regular(path, MAX_KEY_FILE)
    if check_permissions:
        check_private(path, status)
    return parse_private_key(data, passphrase, shown(path))


def parse_private_key(
    data: bytes, passphrase: Passphrase = None, name: str = "key", *, security_keys: bool = False
) -> PrivateKey:
    """The private key in a file's contents. ``name`` is what messages call it. With ``security_keys`` the handle of a
    security key will do as well, which can be shown and written, and signs nothing.

    Raises :class:`KeyFormatError` for what cannot be understood, :class:`PassphraseError` when a passphrase is wanted
    and none given, or when it is wrong.
    """
    try:
        if len(data) > MAX_KEY_FILE:
            raise KeyFormatError(f"larger than {MAX_KEY_FILE} bytes")
        begin = _PEM_BEGIN.search(data)
        if begin is None:
            raise KeyFormatError("not a private key")
        label = begin[1].decode("ascii")
        if label == "OPENSSH PRIVATE KEY":
            return _parse_openssh(data[begin.start():], passphrase, PRIVATE_KINDS if security_keys else KINDS)
        if label in _PEM_LABELS:
            return _parse_pem(data[begin.start():], label, passphrase)
        raise KeyFormatError(f"files of the kind {label!r} are not supported")
    except PassphraseError as error:
        raise PassphraseError(f"{name}: {error}") from None
    except DECODE_ERRORS as error:
        raise KeyFormatError(f"{name}: {error}") from None


def _ask(passphrase: Passphrase) -> bytes:
    value = passphrase() if callable(passphrase) else passphrase
    if value is None:
        raise PassphraseError("the key is encrypted and no passphrase was given")
    return value


def _parse_openssh(data: bytes, passphrase: Passphrase, kinds: Mapping[str, KeyKind[Any, Any]]) -> PrivateKey:
    container = openssh_format.decode_container(data)
    kind_named(Reader(container.public_blob).string(), kinds)  # what we do not support is told before a question
    plain = openssh_format.open_container(container, _ask(passphrase) if container.encrypted else b"")
    reader = Reader(plain)
    kind = kind_named(reader.string(), kinds)
    key = kind.read_private(reader)
    comment = reader.string().decode("utf-8", "surrogateescape")  # what is not text is kept when the file is rewritten
    openssh_format.end_of_fields(reader)
    private = private_from_crypto(kind, key, comment)
    if private.public.blob != container.public_blob:
        raise KeyFormatError("the public key in the file is not that of its private key")
    return private


def _parse_pem(data: bytes, label: str, passphrase: Passphrase) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = label.startswith("ENCRYPTED") or _LEGACY_ENCRYPTED.search(data) is not None
    secret = _ask(passphrase) if encrypted else None
    if secret == b"":
        raise PassphraseError("wrong passphrase")
    try:
        key = load_pem_private_key(data, secret, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm:
        raise KeyFormatError("its type or its encryption is not supported") from None
    except (ValueError, TypeError) as error:
        if encrypted:  # padding is all that these formats have to tell a wrong passphrase from damage
            raise PassphraseError("wrong passphrase") from None
        raise KeyFormatError(f"malformed private key: {' '.join(str(error).split())[:100]}") from None
    kind = kind_of(key)
    # Once through our own form: whatever the container, the same checks hold for the numbers.
    return private_from_crypto(kind, kind.read_private(Reader(kind.write_private(key))))


#: Short names as ``ssh-keygen -t`` takes them; ECDSA by its size.
_ECDSA_SIZES = {256: "nistp256", 384: "nistp384", 521: "nistp521"}
_SHORT_NAMES = {"ed25519": "ssh-ed25519", "rsa": "ssh-rsa"}


def generate_private_key(kind: str, bits: int | None = None, comment: str = "") -> PrivateKey:
    """A new key. ``kind`` is ``ed25519``, ``ecdsa``, ``rsa`` or a wire name; ``bits`` the size where there is a choice
    (ECDSA 256, 384 or 521, default 256; RSA 1024 to 16384, default 3072). Raises :class:`KeyFormatError`."""
    name = _SHORT_NAMES.get(kind, kind)
    if kind == "ecdsa":
        if (bits or 256) not in _ECDSA_SIZES:
            raise KeyFormatError(f"ecdsa keys cannot have {bits} bits: use 256, 384 or 521")
        name = f"ecdsa-sha2-{_ECDSA_SIZES[bits or 256]}"
    if name not in KINDS:
        raise KeyFormatError(f"{kind!r} is not a type of key: use ed25519, ecdsa or rsa")
    return private_from_crypto(KINDS[name], KINDS[name].generate(bits), comment)


def serialize_private_key(
    key: PrivateKey,
    passphrase: bytes | None = None,
    *,
    format: str = OPENSSH,
    cipher: str = openssh_format.DEFAULT_CIPHER,
    rounds: int = openssh_format.DEFAULT_ROUNDS,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The key as a private key file, encrypted if there is a passphrase (an empty one is refused).

    ``format`` is ``openssh``, ``pem`` (PKCS#1 or SEC1) or ``pkcs8``; the latter two have no comment, and a cipher and
    a key derivation of their own; ``pem`` has no place for Ed25519. Raises :class:`KeyFormatError`.
    """
    if format == OPENSSH:
        fields = key.fields() + string(key.comment.encode("utf-8", "surrogateescape"))
        return openssh_format.seal_container(
            key.public.plain.blob, fields, passphrase, cipher=cipher, rounds=rounds, random=random
        )
    from fastssh.keys import pem

    return pem.write_private(key.crypto, format, passphrase)


def write_key_pair(path: Path, key: PrivateKey, passphrase: bytes | None = None, *, rounds: int | None = None) -> None:
    """Writes ``path`` (0600 from its first moment) and ``path.pub`` (0644). Neither may exist: FileExistsError."""
    data = serialize_private_key(key, passphrase, rounds=openssh_format.DEFAULT_ROUNDS if rounds is None else rounds)
    public = f"{key.public.plain.line(key.comment)}\n".encode("utf-8", "surrogateescape")
    create_file(path, data)
    try:
        create_file(f"{os.fspath(path)}.pub", public, 0o644)
    except BaseException:
        os.unlink(path)
        raise
