"""The public key file of RFC 4716, and the private key file of the same family that ssh.com's programs write."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import rsa_crt_iqmp

from fastssh.errors import KeyFormatError
from fastssh.keys.kinds import DECODE_ERRORS, KINDS
from fastssh.keys.private import PrivateKey, private_from_crypto
from fastssh.keys.public import PublicKey, decode_key
from fastssh.wire.codec import Reader, mpint

BEGIN: Final = "---- BEGIN SSH2 PUBLIC KEY ----"
END: Final = "---- END SSH2 PUBLIC KEY ----"
_BEGIN_PRIVATE: Final = "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"  # it says so even if the cipher is "none"
_END_PRIVATE: Final = "---- END SSH2 ENCRYPTED PRIVATE KEY ----"
_HEADER: Final = re.compile(r"[^\s:]{1,64}:")  # section 3.3: a tag of at most 64 characters and a colon
_LINE: Final = 70
_COMMENT_MAX: Final = 1024  # section 3.3: bytes of a header's value
_MAGIC: Final = 0x3F6FF9EB
_MAX_BITS: Final = 16384


def write_public(key: PublicKey, comment: str) -> str:
    """The file's text. Raises KeyFormatError for a comment that is no header's value."""
    if not comment.isprintable() or len(comment.encode()) > _COMMENT_MAX:
        raise KeyFormatError("the comment of an RFC 4716 file must be one line of at most 1024 bytes")
    text = base64.b64encode(key.blob).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join((BEGIN, f'Comment: "{comment}"', *lines, END, ""))


def read(data: bytes) -> PublicKey | PrivateKey:
    """The public key, or the private one of ssh.com's format, in a file's contents. Raises :class:`KeyFormatError`.

    A private key must be RSA and not be encrypted.
    """
    try:
        private, body = _body(data.decode("utf-8"))
        blob = binascii.a2b_base64(body, strict_mode=True)
        return _private(blob) if private else decode_key(blob)
    except KeyFormatError:
        raise
    except binascii.Error:
        raise KeyFormatError("its base64 cannot be decoded") from None
    except UnicodeDecodeError:
        raise KeyFormatError("not an RFC 4716 file") from None
    except DECODE_ERRORS as error:
        raise KeyFormatError(str(error)) from None


def _body(text: str) -> tuple[bool, str]:
    """Whether the key is private, and its base64 text: what stands between the marks and is no header."""
    lines = iter([line.strip(" \t\r") for line in text.split("\n")])
    begin = next((line for line in lines if line in (BEGIN, _BEGIN_PRIVATE)), None)
    if begin is None:
        raise KeyFormatError("not an RFC 4716 file: its first mark is missing")
    end = END if begin == BEGIN else _END_PRIVATE
    body: list[str] = []
    continued = False
    for line in lines:
        if line == end:
            return begin == _BEGIN_PRIVATE, "".join(body)
        if continued or _HEADER.match(line):
            continued = line.endswith("\\")
        else:
            body.append(line)
    raise KeyFormatError("not an RFC 4716 file: its last mark is missing")


def _private(blob: bytes) -> PrivateKey:
    """ssh.com's private key: magic, length, type, cipher and the numbers, each with its length in bits before it."""
    outer = Reader(blob)
    if outer.uint32() != _MAGIC:
        raise KeyFormatError("not a private key of ssh.com's format")
    if outer.uint32() != len(blob):
        raise KeyFormatError("a private key of ssh.com's format with a wrong length")
    type, cipher = outer.ascii(), outer.ascii()
    if cipher != "none":
        raise KeyFormatError(f"unsupported cipher {cipher[:64]}: only a key that is not encrypted can be read")
    if "rsa" not in type:
        raise KeyFormatError(f"keys of the type {type[:64]} are not supported in this format")
    inner = Reader(outer.string())
    outer.end()
    reader = Reader(inner.string())  # padding may follow
    e, d, n, _, q, p = (_number(reader) for _ in range(6))
    if p < 2 or q < 2:
        raise KeyFormatError("the numbers of the RSA private key do not agree")
    kind = KINDS["ssh-rsa"]
    fields = b"".join(map(mpint, (n, e, d, rsa_crt_iqmp(p, q), p, q)))
    return private_from_crypto(kind, kind.read_private(Reader(fields)))


def _number(reader: Reader) -> int:
    bits = reader.uint32()
    if bits > _MAX_BITS:
        raise KeyFormatError(f"a number of {bits} bits: at most {_MAX_BITS} are accepted")
    return int.from_bytes(reader.raw((bits + 7) // 8), "big")
