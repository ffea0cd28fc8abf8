"""Keys from and for other programs: RFC 4716, PKCS#8 and PEM."""

from __future__ import annotations

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.generate import default_comment
from fastssh.errors import KeyFormatError, PassphraseError
from fastssh.keys import pem, rfc4716
from fastssh.keys.private import PrivateKey, parse_private_key, serialize_private_key
from fastssh.keys.public import PublicKey
from fastssh.keys.public_file import is_private

_COMMENT_MAX = 60  # characters, as ssh-keygen writes it


def export(asked: Arguments, console: Console) -> int:
    """-e."""
    file = identity.key_file(asked, console, named=True)
    try:
        key, _ = file.public()
    except (KeyFormatError, OSError):
        key = identity.load(file, asked, console).key.public
    try:
        console.data(_exported(key, asked.format))
    except KeyFormatError as error:
        raise Fatal(str(error)) from None
    return 0


def _exported(key: PublicKey, format: str | None) -> bytes:
    if format in ("PEM", "PKCS8"):
        return pem.write_public(key, format.lower())
    comment = f"{key.bits}-bit {key.family}, converted by {default_comment()} from OpenSSH"
    return rfc4716.write_public(key, comment[:_COMMENT_MAX]).encode()


def import_key(asked: Arguments, console: Console) -> int:
    """-i."""
    file = identity.key_file(asked, console, named=True)
    try:
        data, _ = file.contents
        key = rfc4716.read(data) if asked.format in (None, "RFC4716") else _from_pem(data)
    except PassphraseError:
        raise Fatal(f"{file.name}: the key is encrypted: change its format with -p -m RFC4716") from None
    except OSError as error:
        raise Fatal(f"{file.name}: {identity.reason(error)}") from None
    except KeyFormatError as error:
        raise Fatal(f"{file.name} is not a recognised public key format: {error}") from None
    if isinstance(key, PublicKey):
        console.data(f"{key.line()}\n".encode())
    else:  # ssh.com's key comes out in PEM, as ssh-keygen has it
        console.data(serialize_private_key(key, format="pem" if asked.format in (None, "RFC4716") else "openssh"))
    return 0


def _from_pem(data: bytes) -> PublicKey | PrivateKey:
    return parse_private_key(data, name="private key") if is_private(data) else pem.read_public(data)
