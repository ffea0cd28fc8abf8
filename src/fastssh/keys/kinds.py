"""The key types: the fields of each on the wire, and how it signs and verifies.

One object a type stands in :data:`KINDS`; nothing else in fastssh asks what type a key has. All arithmetic on secrets
is left to ``cryptography``, nonces of ECDSA above all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from fastssh.errors import KeyFormatError, ProtocolError, SignatureError
from fastssh.wire.codec import Reader, mpint, string

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric import utils as dss
else:

    class _WhenUsed:
        """A module of ``cryptography`` that is imported when something of it is used: all of them together take longer
        than most of what a command-line tool does with keys, which are of one type as a rule."""

        def __init__(self, name: str) -> None:
            self._name = f"cryptography.hazmat.primitives.{name}"

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._name), name)

    hashes = _WhenUsed("hashes")
    ec, ed25519, padding, rsa, dss = (
        _WhenUsed(f"asymmetric.{name}") for name in ("ec", "ed25519", "padding", "rsa", "utils")
    )

Public = TypeVar("Public")
Private = TypeVar("Private")

#: What OpenSSH and OpenSSL accept as RSA modulus sizes, in bits.
RSA_MIN_BITS = 1024
RSA_MAX_BITS = 16384
#: OpenSSL's bound for public exponents of large moduli, in bits; a longer one only makes verifying dear.
RSA_MAX_EXPONENT_BITS = 64


class PublicKind(ABC, Generic[Public]):
    """A key type as far as its public half goes. Readers take the fields after the type name and raise what
    :data:`DECODE_ERRORS` lists."""

    name: str  #: the type on the wire
    family: str  #: the word people know it by, as in ``ssh-keygen -l``
    signature_algorithms: tuple[str, ...]  #: best first
    signature_tail: int = 0  #: bytes that stand behind a signature and are signed as well

    @abstractmethod
    def read_public(self, reader: Reader) -> Public: ...

    @abstractmethod
    def write_public(self, key: Public) -> bytes: ...

    @abstractmethod
    def bits(self, key: Public) -> int: ...

    @abstractmethod
    def verify(self, key: Public, signature: bytes, data: bytes, algorithm: str) -> None:
        """Raises InvalidSignature, SignatureError or ProtocolError unless ``signature`` is one of ``data``."""

    def signed(self, key: Public, data: bytes, tail: bytes) -> bytes:
        """What a signature with ``tail`` behind it is really over."""
        return data


class KeyKind(PublicKind[Public], Generic[Public, Private]):
    """A key type whose private half is ours to use."""

    sizes: tuple[int, ...]  #: bits that :meth:`generate` takes, the default first; empty where any in range will do

    @abstractmethod
    def read_private(self, reader: Reader) -> Private:
        """The private fields of PROTOCOL.key and of the agent protocol; public and private halves must agree."""

    @abstractmethod
    def write_private(self, key: Private) -> bytes: ...

    @abstractmethod
    def generate(self, bits: int | None) -> Private: ...

    @abstractmethod
    def sign(self, key: Private, data: bytes, algorithm: str) -> bytes:
        """The signature without its algorithm name."""

    @abstractmethod
    def accepts(self, key: object) -> bool:
        """Whether a ``cryptography`` key, private or public, is of this type."""

    def _size(self, bits: int | None) -> None:
        if bits is not None and bits not in self.sizes:
            raise KeyFormatError(f"{self.name} keys cannot have {bits} bits")


class _Ed25519(KeyKind["ed25519.Ed25519PublicKey", "ed25519.Ed25519PrivateKey"]):
    """RFC 8709; the private form is seed and public key joined."""

    name = "ssh-ed25519"
    family = "ED25519"
    signature_algorithms = ("ssh-ed25519",)
    sizes = (256,)

    def accepts(self, key: object) -> bool:
        return isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey))

    def read_public(self, reader: Reader) -> ed25519.Ed25519PublicKey:
        value = reader.string()
        if len(value) != 32:
            raise KeyFormatError(f"an Ed25519 public key has 32 bytes, not {len(value)}")
        return ed25519.Ed25519PublicKey.from_public_bytes(value)

    def write_public(self, key: ed25519.Ed25519PublicKey) -> bytes:
        return string(key.public_bytes_raw())

    def read_private(self, reader: Reader) -> ed25519.Ed25519PrivateKey:
        public, pair = reader.string(), reader.string()
        if len(public) != 32 or len(pair) != 64:
            raise KeyFormatError("an Ed25519 private key has 32 + 64 bytes")
        key = ed25519.Ed25519PrivateKey.from_private_bytes(pair[:32])
        # A public half that is not the seed's own would make two signatures betray the secret.
        if not key.public_key().public_bytes_raw() == public == pair[32:]:
            raise KeyFormatError("public and private halves of the key do not agree")
        return key

    def write_private(self, key: ed25519.Ed25519PrivateKey) -> bytes:
        public = key.public_key().public_bytes_raw()
        return string(public) + string(key.private_bytes_raw() + public)

    def bits(self, key: ed25519.Ed25519PublicKey) -> int:
        return 256

    def generate(self, bits: int | None) -> ed25519.Ed25519PrivateKey:
        self._size(bits)
        return ed25519.Ed25519PrivateKey.generate()

    def sign(self, key: ed25519.Ed25519PrivateKey, data: bytes, algorithm: str) -> bytes:
        return key.sign(data)

    def verify(self, key: ed25519.Ed25519PublicKey, signature: bytes, data: bytes, algorithm: str) -> None:
        key.verify(signature, data)


#: Orders of the curves' base points (FIPS 186-4 appendix D.1.2).
_ORDERS = {
    b"nistp256": 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    b"nistp384": (0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF << 192)
    + 0xC7634D81_F4372DDF_581A0DB2_48B0A77A_ECEC196A_CCC52973,
    b"nistp521": (((1 << 233) - 1) << 288)
    + 0xFFFFFFFA_51868783_BF2F966B_7FCC0148_F709A5D0_3BB5C9B8_899C47AE_BB6FB71E_91386409,
}


class _ECDSA(KeyKind["ec.EllipticCurvePublicKey", "ec.EllipticCurvePrivateKey"]):
    """RFC 5656 section 3: points uncompressed, the hash by the curve's size (section 6.2.1)."""

    family = "ECDSA"

    def __init__(self, curve_name: str, bits: int, hash_name: str) -> None:
        self.name = f"ecdsa-sha2-{curve_name}"
        self.signature_algorithms = (self.name,)
        self.sizes = (bits,)
        self._curve_name, self._bits, self._hash_name = curve_name.encode("ascii"), bits, hash_name

    @cached_property
    def _curve(self) -> ec.EllipticCurve:
        curve: ec.EllipticCurve = getattr(ec, f"SECP{self._bits}R1")()
        return curve

    @cached_property
    def _ecdsa(self) -> ec.ECDSA:
        return ec.ECDSA(getattr(hashes, self._hash_name)())

    def accepts(self, key: object) -> bool:
        return (
            isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey))
            and key.curve.name == self._curve.name
        )

    def read_public(self, reader: Reader) -> ec.EllipticCurvePublicKey:
        if reader.string() != self._curve_name:
            raise KeyFormatError(f"the curve of an {self.name} key must be {self._curve_name.decode()}")
        point = reader.string()
        if len(point) != 1 + 2 * ((self._bits + 7) // 8) or point[0] != 0x04:
            raise KeyFormatError(f"the point of an {self.name} key is not in uncompressed form")
        return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, point)  # refuses what is not on the curve

    def write_public(self, key: ec.EllipticCurvePublicKey) -> bytes:
        numbers = key.public_numbers()
        size = (self._bits + 7) // 8
        return string(self._curve_name) + string(
            b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
        )

    def read_private(self, reader: Reader) -> ec.EllipticCurvePrivateKey:
        public = self.read_public(reader).public_numbers()
        secret = reader.mpint()
        if not 0 < secret < _ORDERS[self._curve_name]:  # OpenSSL would take one that is too large by the order
            raise KeyFormatError(f"the private value of the {self.name} key is out of range")
        return ec.EllipticCurvePrivateNumbers(secret, public).private_key()  # refuses halves that do not agree

    def write_private(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        return self.write_public(key.public_key()) + mpint(key.private_numbers().private_value)

    def bits(self, key: ec.EllipticCurvePublicKey) -> int:
        return self._bits

    def generate(self, bits: int | None) -> ec.EllipticCurvePrivateKey:
        self._size(bits)
        return ec.generate_private_key(self._curve)

    def sign(self, key: ec.EllipticCurvePrivateKey, data: bytes, algorithm: str) -> bytes:
        r, s = dss.decode_dss_signature(key.sign(data, self._ecdsa))
        return mpint(r) + mpint(s)

    def verify(self, key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, algorithm: str) -> None:
        reader = Reader(signature)
        r, s = reader.mpint(), reader.mpint()
        reader.end()
        if not all(0 < value < 1 << self._bits for value in (r, s)):
            raise SignatureError("ECDSA signature values out of range")
        key.verify(dss.encode_dss_signature(r, s), data, self._ecdsa)


class _RSA(KeyKind["rsa.RSAPublicKey", "rsa.RSAPrivateKey"]):
    """RFC 4253 section 6.6 for the key, RFC 8332 for its signatures; SHA-1 signatures do not exist here."""

    name = "ssh-rsa"
    family = "RSA"
    signature_algorithms = ("rsa-sha2-512", "rsa-sha2-256")
    sizes = ()
    _HASHES: ClassVar[dict[str, str]] = {"rsa-sha2-512": "SHA512", "rsa-sha2-256": "SHA256"}

    def accepts(self, key: object) -> bool:
        return isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey))

    def _hash(self, algorithm: str) -> hashes.HashAlgorithm:
        found: hashes.HashAlgorithm = getattr(hashes, self._HASHES[algorithm])()
        return found

    @staticmethod
    def _check(n: int, e: int) -> None:
        if n < 0 or not RSA_MIN_BITS <= n.bit_length() <= RSA_MAX_BITS:
            raise KeyFormatError(f"RSA keys have {RSA_MIN_BITS} to {RSA_MAX_BITS} bits, not {n.bit_length()}")
        if e < 3 or not e & 1 or e.bit_length() > RSA_MAX_EXPONENT_BITS:
            raise KeyFormatError("RSA public exponent out of range")

    def read_public(self, reader: Reader) -> rsa.RSAPublicKey:
        e, n = reader.mpint(), reader.mpint()
        self._check(n, e)
        return rsa.RSAPublicNumbers(e, n).public_key()

    def write_public(self, key: rsa.RSAPublicKey) -> bytes:
        numbers = key.public_numbers()
        self._check(numbers.n, numbers.e)
        return mpint(numbers.e) + mpint(numbers.n)

    def read_private(self, reader: Reader) -> rsa.RSAPrivateKey:
        n, e, d, iqmp, p, q = (reader.mpint() for _ in range(6))
        self._check(n, e)
        # These few products show that the numbers belong together; primality tests would cost far more than the rest
        # of a connection, and a composite p or q can hurt only the owner of the file.
        if (
            not (1 < p < n and 1 < q < n and 0 < d < n and 0 < iqmp < p)
            or p * q != n
            or e * d % (p - 1) != 1
            or e * d % (q - 1) != 1
            or iqmp * q % p != 1
        ):
            raise KeyFormatError("the numbers of the RSA private key do not agree")
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), iqmp, rsa.RSAPublicNumbers(e, n))
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)

    def write_private(self, key: rsa.RSAPrivateKey) -> bytes:
        numbers = key.private_numbers()
        public = numbers.public_numbers
        return b"".join(map(mpint, (public.n, public.e, numbers.d, numbers.iqmp, numbers.p, numbers.q)))

    def bits(self, key: rsa.RSAPublicKey) -> int:
        return key.key_size

    def generate(self, bits: int | None) -> rsa.RSAPrivateKey:
        size = 3072 if bits is None else bits
        if not RSA_MIN_BITS <= size <= RSA_MAX_BITS:
            raise KeyFormatError(f"RSA keys have {RSA_MIN_BITS} to {RSA_MAX_BITS} bits, not {size}")
        return rsa.generate_private_key(65537, size)

    def sign(self, key: rsa.RSAPrivateKey, data: bytes, algorithm: str) -> bytes:
        return key.sign(data, padding.PKCS1v15(), self._hash(algorithm))

    def verify(self, key: rsa.RSAPublicKey, signature: bytes, data: bytes, algorithm: str) -> None:
        size = (key.key_size + 7) // 8
        if len(signature) > size:
            raise SignatureError("RSA signature longer than the modulus")
        # Some signers drop leading zero bytes; OpenSSH accepts that, and so the number is what counts.
        key.verify(signature.rjust(size, b"\x00"), data, padding.PKCS1v15(), self._hash(algorithm))


KINDS: dict[str, KeyKind[Any, Any]] = {
    kind.name: kind
    for kind in (
        _Ed25519(),
        _ECDSA("nistp256", 256, "SHA256"),
        _ECDSA("nistp384", 384, "SHA384"),
        _ECDSA("nistp521", 521, "SHA512"),
        _RSA(),
    )
}


Kind = TypeVar("Kind", bound=PublicKind[Any])


def kind_named(name: bytes, kinds: Mapping[str, Kind]) -> Kind:
    """The one of ``kinds`` with that wire name; :class:`KeyFormatError` says why there is none."""
    text = name.decode("ascii", "replace")
    kind = kinds.get(text)
    if kind is not None:
        return kind
    shown = text if text.isprintable() and len(text) <= 64 else "?"
    if "-cert-v0" in text:
        raise KeyFormatError(f"{shown}: certificates are not accepted in the place of a key")
    if text.startswith(("sk-", "webauthn-sk-")):
        raise KeyFormatError(f"{shown}: security keys are not supported here")
    if text == "ssh-dss":
        raise KeyFormatError("ssh-dss: DSA is not supported, since it is too weak")
    raise KeyFormatError(f"{shown}: unknown key type")


def kind_of(key: object) -> KeyKind[Any, Any]:
    """The type of a ``cryptography`` key, private or public."""
    for kind in KINDS.values():
        if kind.accepts(key):
            return kind
    name = type(key).__name__.removeprefix("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        name = f"EC on the curve {key.curve.name}"
    raise KeyFormatError(f"keys of type {name} are not supported")


#: What a malformed key or signature makes the readers above and ``cryptography`` raise.
DECODE_ERRORS = (ProtocolError, ValueError, OverflowError)


def verify_errors() -> tuple[type[Exception], ...]:
    """What :meth:`PublicKind.verify` raises for a signature that is wrong or malformed."""
    from cryptography.exceptions import InvalidSignature

    return (InvalidSignature, *DECODE_ERRORS)
