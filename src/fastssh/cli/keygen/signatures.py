"""-Y: files are signed, and signatures verified, in ssh-keygen's words, which programs like git read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from fastssh.cli.keygen import identity, signers
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.cli.keygen.generate import overwrites
from fastssh.cli.keygen.signers import Signer
from fastssh.cli.tool import UsageError
from fastssh.errors import AgentError, KeyFormatError, SignatureError
from fastssh.files import UnfitFileError, read_any, replace_file, shown
from fastssh.keys.allowed_signers import MAX_ALLOWED_SIGNERS_FILE, AllowedSigners
from fastssh.keys.public import PublicKey
from fastssh.keys.revocation import MAX_REVOCATIONS_FILE, parse_revocations
from fastssh.keys.sshsig import (
    HASHES,
    MAX_SIGNATURE_FILE,
    Signature,
    armor,
    check_hash,
    dearmor,
    decode_signature,
    signed_data,
    signing_algorithm,
)
from fastssh.keys.times import moment

_PIECE: Final = 256 * 1024  # bytes read at once
_NOT_FOUND, _INVALID, _SYSTEM = 210, 252, 232  # ssh-keygen's statuses of match-principals


class Operation(NamedTuple):
    """``needs``: what has to be given, in the order in which it is missed: an attribute and what is said."""

    run: Callable[[Arguments, Console], int]
    needs: tuple[tuple[str, str], ...]


def run(asked: Arguments, console: Console) -> int:
    """Raises Fatal, UsageError."""
    operation = OPERATIONS.get(asked.signature or "")
    if operation is None:
        raise UsageError(f'Unsupported operation for -Y: "{asked.signature}"', usage=True)
    for name, what in operation.needs:
        if not getattr(asked, name):
            raise Fatal(f"Too few arguments for {asked.signature}: missing {what}", 1)
    return operation.run(asked, console)


class _Options(NamedTuple):
    """Those of -O."""

    hash: str
    when: float
    print_key: bool


def _options(asked: Arguments, *known: str) -> _Options:
    """``known``: the names that the operation has. Raises Fatal."""
    hash, when, print_key = HASHES[0], time.time(), False
    for option in asked.options:
        name, equals, value = option.partition("=")
        name = name.lower()
        if name not in known or bool(equals) is (name == "print-pubkey"):
            raise Fatal(f'Invalid option "{option}"')
        match name:
            case "hashalg":
                hash = value
            case "verify-time":
                try:
                    when = moment(value)
                except ValueError:
                    raise Fatal('Invalid "verify-time" option') from None
            case _:
                print_key = True
    return _Options(hash, when, print_key)


# -- signing -----------------------------------------------------------------------------------------------------------


def _sign(asked: Arguments, console: Console) -> int:
    assert asked.file is not None
    if "-" in asked.operands and len(asked.operands) > 1:
        raise Fatal("Cannot sign mix of paths and standard input")
    hash = _options(asked, "hashalg").hash
    key, _ = signers.public_key(asked.file, f"Couldn't load public key {shown(asked.file)}")
    signer = _in_agent(key, asked) or _in_file(key, asked, console)
    for path in asked.operands or ["-"]:
        _sign_one(path, signer, hash, asked, console)
    return 0


def _in_agent(key: PublicKey, asked: Arguments) -> Signer | None:
    """The agent, if it has the key; -U wants it to. Raises Fatal."""
    try:
        found = signers.in_agent(key)
    except AgentError:
        if asked.use_agent:
            raise Fatal("Couldn't get agent socket") from None
        return None
    if found is None and asked.use_agent:
        raise Fatal("Couldn't find key in agent")
    return found


def _in_file(key: PublicKey, asked: Arguments, console: Console) -> Signer:
    """The private key of a file of -f, which may be that of its public key or of its certificate."""
    assert asked.file is not None
    path = asked.file.removesuffix(".pub")
    if path != asked.file:
        path = path if os.path.exists(path) else path.removesuffix("-cert")
        if not os.path.exists(path):
            raise Fatal(f'No private key found for public key "{shown(asked.file)}"')
    signer = signers.in_file(path, asked, console)
    if signer.key != key.plain:
        raise Fatal(f"Public key {shown(asked.file)} doesn't match private {shown(path)}")
    return Signer(key, signer.sign)


def _sign_one(path: str, signer: Signer, hash: str, asked: Arguments, console: Console) -> None:
    name = "(stdin)" if not asked.operands else path
    try:
        with _opened(path) as file:
            if not asked.quiet:
                console.tell("Signing data on standard input" if path == "-" else f"Signing file {path}")
            check_hash(hash)
            digest = _digest(file, hash)
    except OSError as error:
        raise Fatal(f"Cannot open {shown(path)} for signing: {identity.reason(error)}") from None
    except KeyFormatError as error:
        raise Fatal(f"Signing {shown(name)} failed: {error}") from None
    assert asked.principals is not None
    data = signed_data(asked.principals, hash, digest)
    try:
        blob = signer.sign(data, signing_algorithm(signer.key, hash))
    except (SignatureError, AgentError) as error:
        raise Fatal(f"Signing {shown(name)} failed: {error}") from None
    text = armor(Signature(signer.key, asked.principals, hash, blob).encode())
    if path == "-":
        console.say(text, end="")
        return
    target = f"{path}.sig"
    if os.path.exists(target) and not overwrites(target, console):
        return
    try:
        replace_file(target, text.encode("ascii"), None if os.path.exists(target) else 0o666 & ~_umask())
    except UnfitFileError as error:
        raise Fatal(f"Cannot write to {error}") from None
    except OSError as error:
        raise Fatal(f"Cannot open {shown(target)}: {identity.reason(error)}") from None
    if not asked.quiet:
        console.tell(f"Write signature to {target}")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _stdin() -> BinaryIO:
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """A file, or standard input."""
    if path == "-":
        yield _stdin()
        return
    with open(path, "rb", buffering=0) as file:
        yield file


def _digest(file: BinaryIO, hash: str) -> bytes:
    """The hash of all that there is to be read, which may be large."""
    value = hashlib.new(hash)
    while piece := file.read(_PIECE):
        value.update(piece)
    return value.digest()


# -- verifying ---------------------------------------------------------------------------------------------------------


def _verify(asked: Arguments, console: Console) -> int:
    """verify, and check-novalidate where nobody is asked whose key it is."""
    options = _options(asked, "verify-time", "print-pubkey")
    checked = asked.signature == "verify"
    try:
        signature = _signature(asked)
        signature.verify(_digest(_stdin(), signature.hash), asked.principals or "")
        if checked:
            _check_allowed(signature, options.when, asked, console)
    except (SignatureError, KeyFormatError) as error:
        if str(error):
            console.tell(str(error))
        if not asked.quiet:
            console.say("Could not verify signature.")
        return 255
    key = signature.key
    if not asked.quiet:
        whom = f"for {asked.certificate_id} " if checked else ""
        console.say(
            f'Good "{asked.principals}" signature {whom}with {key.family} key {key.fingerprint(asked.hash)}'
        )
    if options.print_key:
        console.say(key.line())
    return 0


def _signature(asked: Arguments) -> Signature:
    """That of the file of -s. Raises KeyFormatError."""
    assert asked.ca_key is not None
    try:
        data, _ = read_any(asked.ca_key, MAX_SIGNATURE_FILE)
    except (OSError, UnfitFileError) as error:
        raise KeyFormatError(f"Couldn't read signature file: {identity.reason(error)}") from None
    return decode_signature(dearmor(data))


def _check_allowed(signature: Signature, when: float, asked: Arguments, console: Console) -> None:
    """Raises SignatureError for a key that is revoked, or that the signer may not sign with."""
    if asked.hostname is not None:  # -r
        try:
            revoked = parse_revocations(read_any(asked.hostname, MAX_REVOCATIONS_FILE)[0]).revoke(signature.key)
        except (OSError, KeyFormatError) as error:
            raise SignatureError(f"{shown(asked.hostname)}: {identity.reason(error)}") from None
        if revoked:
            raise SignatureError(f"{signature.key.family} key {signature.key.fingerprint(asked.hash)} is revoked")
    signers = _allowed_signers(asked, console)
    assert asked.certificate_id is not None and asked.principals is not None
    if not signers.allow(signature.key, asked.certificate_id, asked.principals, when):
        raise SignatureError("")  # the reasons were told


def _allowed_signers(asked: Arguments, console: Console) -> AllowedSigners:
    """The file of -f. Raises SignatureError."""
    assert asked.file is not None
    try:
        data, _ = read_any(asked.file, MAX_ALLOWED_SIGNERS_FILE)
    except (OSError, UnfitFileError) as error:
        raise SignatureError(
            f'Unable to open allowed keys file "{shown(asked.file)}": {identity.reason(error)}'
        ) from None
    return AllowedSigners(data, shown(asked.file), console.tell)


# -- principals --------------------------------------------------------------------------------------------------------


def _find_principals(asked: Arguments, console: Console) -> int:
    """Whom the key of a signature may sign for; the signature itself is not verified."""
    try:
        options = _options(asked, "verify-time")
        names = _allowed_signers(asked, console).principals_of(_signature(asked).key, options.when)
    except (SignatureError, KeyFormatError, Fatal) as error:
        console.tell(str(error))
        names = []
    for name in names:
        console.say(name)
    if not names:
        console.tell("No principal matched.")
    return 0 if names else 255


def _match_principals(asked: Arguments, console: Console) -> int:
    """The patterns that -I matches."""
    _options(asked)
    status, names = _NOT_FOUND, []
    assert asked.certificate_id is not None
    try:
        names = _allowed_signers(asked, console).matching(asked.certificate_id)
    except SignatureError as error:
        status = _SYSTEM
        console.tell(str(error))
    except KeyFormatError as error:
        status = _INVALID
        console.tell(str(error))
    for name in names:
        console.say(name)
    if not names:
        console.tell("No principal matched.")
    return 0 if names else status


_NAMESPACE: Final = ("principals", "namespace")
_SIGNATURE: Final = ("ca_key", "signature file")
_SIGNERS: Final = ("file", "allowed keys file")
OPERATIONS: Final = {
    "sign": Operation(_sign, (_NAMESPACE, ("file", "key"))),
    "verify": Operation(_verify, (_NAMESPACE, _SIGNATURE, _SIGNERS, ("certificate_id", "principal identity"))),
    "check-novalidate": Operation(_verify, (_NAMESPACE, _SIGNATURE)),
    "find-principals": Operation(_find_principals, (_SIGNATURE, _SIGNERS)),
    "match-principals": Operation(_match_principals, (_SIGNERS, ("certificate_id", "principal ID"))),
}
