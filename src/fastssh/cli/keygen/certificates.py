"""-L: what certificates say, line for line as ssh-keygen prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.errors import KeyFormatError, ProtocolError
from fastssh.files import read_any, shown
from fastssh.keys.certificate import Certificate
from fastssh.keys.files import MAX_KEY_FILE
from fastssh.keys.public import decode_key, decode_key_fields
from fastssh.keys.times import Validity, moment_text
from fastssh.wire.codec import UINT64_MAX, Reader

#: Options whose values are known: whether there is one, a string.
_CRITICAL: Final = {"force-command": True, "source-address": True, "verify-required": False}
_EXTENSIONS: Final = dict.fromkeys((
    "permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc",
    "no-touch-required",
), False)  # fmt: skip
_INDENT: Final = " " * 8


def run(asked: Arguments, console: Console) -> int:
    """The certificates in a file, a line each; 0 if there was one. Raises Fatal."""
    path = identity.file_of(asked, console)
    name = "(stdin)" if path == "-" else path
    try:
        data = console.input(MAX_KEY_FILE) if path == "-" else read_any(path, MAX_KEY_FILE)[0]
    except (OSError, KeyFormatError) as error:
        raise Fatal(f"{console.name}: {shown(path)}: {identity.reason(error)}") from None
    found = False
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            fields = line.split(None, 2)
            key = decode_key(decode_key_fields(fields[0], fields[1] if len(fields) > 1 else ""))
        except KeyFormatError as error:
            console.tell(f"{shown(name)}:{number}: invalid key: {error}")
            continue
        if not isinstance(key, Certificate):
            console.tell(f"{shown(name)}:{number} is not a certificate")
            continue
        found = True
        console.say(f"{name}:" if path != "-" and number == 1 else f"{name}:{number}:")
        for text in lines(key, asked.hash):
            console.say(text)
    return 0 if found else 1


def lines(certificate: Certificate, hash: str = "sha256") -> Iterator[str]:
    """What is printed of a certificate."""
    key, authority = certificate, certificate.authority
    yield f"{_INDENT}Type: {key.algorithm} {key.type.name.lower()} certificate"
    yield f"{_INDENT}Public key: {key.family} {key.fingerprint(hash)}"
    yield f"{_INDENT}Signing CA: {authority.family} {authority.fingerprint(hash)} (using {key.authority_algorithm})"
    yield f'{_INDENT}Key ID: "{key.key_id}"'
    yield f"{_INDENT}Serial: {key.serial}"
    yield f"{_INDENT}Valid: {validity_text(Validity(key.valid_after, key.valid_before))}"
    yield from _list("Principals", key.principals)
    yield from _list("Critical Options", [_option(*option, _CRITICAL) for option in key.critical_options])
    yield from _list("Extensions", [_option(*option, _EXTENSIONS) for option in key.extensions])


def _list(title: str, entries: tuple[str, ...] | list[str]) -> Iterator[str]:
    yield f"{_INDENT}{title}: {'' if entries else '(none)'}"
    for entry in entries:
        yield f"{_INDENT * 2}{entry}"


def _option(name: str, value: bytes, known: dict[str, bool]) -> str:
    if known.get(name):
        reader = Reader(value)
        try:
            text = reader.string().decode("utf-8", "surrogateescape")
            reader.end()
            return f"{name} {text}"
        except ProtocolError as error:
            return f"{name} CORRUPT: {error}"
    if name in known and not value:
        return name
    return f"{name} UNKNOWN OPTION: {value.hex()} (len {len(value)})" if value else f"{name} UNKNOWN FLAG OPTION"


def validity_text(validity: Validity) -> str:
    """``forever``, ``before ...``, ``after ...`` or ``from ... to ...``, in local time."""
    after, before = (moment_text(bound) or "UNKNOWN-TIME" for bound in validity)
    match (validity.after, validity.before):
        case (0, last) if last == UINT64_MAX:
            return "forever"
        case (0, _):
            return f"before {before}"
        case (_, last) if last == UINT64_MAX:
            return f"after {after}"
    return f"from {after} to {before}"
