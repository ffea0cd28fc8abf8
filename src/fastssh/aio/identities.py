"""The keys and certificates to offer, in ssh's order, see :func:`merge`.

Files are read here, and their passphrases asked for when a server accepted the key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fastssh.aio.options import LOG_DEBUG1, LOG_DEBUG2, LOG_WARNING, ClientOptions
from fastssh.auth.effects import Identity
from fastssh.errors import AgentError, KeyFormatError, PassphraseError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.agent import AgentClient
    from fastssh.keys.private import PrivateKey
    from fastssh.keys.public import PublicKey

Log = Callable[[int, str], None]


def _read_public(path: str) -> PublicKey | None:
    """The key or the certificate in a public file, or what a private one says of it in the clear."""
    from fastssh.files import read_regular
    from fastssh.keys.files import MAX_KEY_FILE
    from fastssh.keys.public_file import first_key, public_half

    try:
        data, _ = read_regular(path, MAX_KEY_FILE)
    except (OSError, KeyFormatError):
        return None
    with suppress(KeyFormatError):
        return first_key(data)[0]
    with suppress(KeyFormatError):
        return public_half(data)
    return None


def _public_half(path: str) -> PublicKey | None:
    """The public key that belongs to a private key file: ``path.pub``, or what the file itself says in the clear."""
    return _read_public(f"{path}.pub") or _read_public(path)


def load_file(path: str, log: Log, *, named: bool) -> Identity | None:
    """The identity in a file; None when there is none to offer, and the log says why. ``named``: the user asked for
    this file, so that its absence is worth a warning."""
    from fastssh.keys.private import load_private_key

    shown = printable(path)
    private: PrivateKey | None = None
    try:
        private = load_private_key(path)
    except FileNotFoundError:
        public = _public_half(path)  # the agent may have the private one
        if public is None:
            level = LOG_WARNING if named else LOG_DEBUG1
            log(level, f"Identity file {shown} not accessible: No such file or directory")
            return None
    except PassphraseError:
        public = _public_half(path)
    except OSError as error:
        log(LOG_WARNING, f'Load key "{shown}": {error.strerror}')
        return None
    except KeyFormatError as error:
        public = _public_half(path)
        if public is None:
            log(LOG_WARNING, f"Load key: {error}")
            return None
    else:
        public = private.public
        stated = _read_public(f"{path}.pub")
        if stated is not None and stated.plain is not stated and stated.plain.blob == public.blob:
            return Identity(shown, "file", stated, path=path, explicit=named)  # as ssh: what lies there is offered
    return Identity(shown, "file", public, private, path=path, explicit=named)


def _certificate(file: str, log: Log) -> PublicKey | None:
    """The user's certificate in ``file``; None for what is none."""
    found = _read_public(file)
    if found is None:
        return None
    from fastssh.keys.certificate import Certificate, CertificateType  # most users have none

    if not isinstance(found, Certificate) or found.type is not CertificateType.USER:
        log(LOG_DEBUG1, f"ignoring certificate {printable(file)}: not a user certificate")
        return None
    return found


def _load(options: ClientOptions) -> list[Identity]:
    """Each identity file, and behind it the certificate that lies beside it, unless certificates were named: then these
    alone, before all else (ssh_config(5), CertificateFile)."""
    named = options.identity_files is not None
    files: list[Identity] = []
    for path in options.certificate_paths():
        certificate = _certificate(path, options.log)
        if certificate is not None:
            files.append(Identity(printable(path), "certificate", certificate, explicit=True))
        elif not os.path.exists(path):
            options.log(LOG_WARNING, f"Certificate file {printable(path)} not accessible: No such file or directory")
    for path in options.identity_paths():
        identity = load_file(path, options.log, named=named)
        _note(path, identity.public if identity is not None else None, options.log)
        if identity is not None:
            files.append(identity)
        if options.certificate_files:
            continue
        beside = _certificate(f"{path}-cert.pub", options.log)
        _note(f"{path}-cert", beside, options.log)
        if beside is not None:
            files.append(Identity(printable(path), "file", beside, path=path, explicit=named))
    return files


# What ssh's log calls the types of keys.
_TYPES: Final = ("RSA", "DSA", "ECDSA", "ED25519", "RSA-CERT", "DSA-CERT", "ECDSA-CERT", "ED25519-CERT", "XMSS",
                 "XMSS-CERT", "ECDSA-SK", "ECDSA-SK-CERT", "ED25519-SK", "ED25519-SK-CERT")  # fmt: skip


def _note(path: str, public: PublicKey | None, log: Log) -> None:
    number = _TYPES.index(public.family) if public is not None and public.family in _TYPES else -1
    log(LOG_DEBUG1, f"identity file {printable(path)} type {number}")


async def load_files(options: ClientOptions) -> list[Identity]:
    """The identities in files. Nobody is needed for it: there is time while keys are exchanged."""
    if "publickey" not in options.preferred_authentications:
        return []
    return await asyncio.to_thread(_load, options)


async def gather(options: ClientOptions, agent: AgentClient | None, files: list[Identity]) -> list[Identity]:
    """The identities of one connection, in the order in which they are offered.

    An agent is asked here, and only here: once it is bound to the session it names no key that may not be used in it.
    """
    if "publickey" not in options.preferred_authentications:
        return []
    held: list[Identity] = []
    if agent is not None:
        try:
            for key in await agent.identities():
                public = key.public_key()
                if public is not None:
                    held.append(Identity(printable(key.comment), "agent", public))
        except AgentError as error:
            options.log(LOG_DEBUG1, str(error))
    found = merge([_in_memory(key) for key in options.keys], files, held, identities_only=options.identities_only)
    chosen = [identity for identity in found if _large_enough(identity, options)]
    for identity in chosen:
        options.log(LOG_DEBUG1, f"Will attempt key: {identity.shown(options.fingerprint_hash)}")
    return chosen


def _large_enough(identity: Identity, options: ClientOptions) -> bool:
    public = identity.public.plain if identity.public is not None else None
    if public is None or public.algorithm != "ssh-rsa" or public.bits >= options.required_rsa_size:
        return True
    options.log(LOG_DEBUG1, f"Skipping {identity.name}: {public.bits} bits, {options.required_rsa_size} are required")
    return False


def _in_memory(key: PrivateKey) -> Identity:
    return Identity(printable(key.comment) or "key", "memory", key.public, key)


def _blob(identity: Identity) -> bytes | None:
    return identity.public.blob if identity.public is not None else None


def merge(
    memory: list[Identity], files: list[Identity], held: list[Identity], *, identities_only: bool
) -> list[Identity]:
    """Puts them in order, each key once: certificates that were named, keys in memory, those of the agent that files
    name, the agent's others, files. Of a key in both agent and file the agent's is used, under the file's name."""
    named = [identity for identity in files if identity.origin == "certificate"]
    files = [identity for identity in files if identity.origin != "certificate"]
    by_blob = {blob: identity for identity in files if (blob := _blob(identity)) is not None}
    matching = [
        replace(identity, name=by_blob[blob].name, explicit=by_blob[blob].explicit)
        for identity in held
        if (blob := _blob(identity)) in by_blob
    ]
    others = [] if identities_only else [identity for identity in held if _blob(identity) not in by_blob]
    ordered: list[Identity] = []
    seen: dict[bytes, Identity] = {}
    for identity in (*named, *memory, *matching, *others, *files):
        blob = _blob(identity)
        earlier = seen.get(blob) if blob is not None else None
        if earlier is None:
            ordered.append(identity)
            if blob is not None:
                seen[blob] = identity
        elif earlier.origin == "file" and earlier.private is None:
            earlier.private = identity.private  # one file may be spoilt where another is not
    return ordered


async def unlock(
    identity: Identity, ask: Callable[[str], Awaitable[str | None]], log: Log, *, attempts: int
) -> PrivateKey | None:
    """Loads the private key of a file, asking for its passphrase ``attempts`` times at most; None when that fails, and
    the log says why."""
    from fastssh.keys.private import load_private_key

    passphrase: str | None = None
    for attempt in range(attempts + 1):
        try:
            secret = None if passphrase is None else passphrase.encode("utf-8", "surrogateescape")
            return await asyncio.to_thread(load_private_key, identity.path, secret)
        except PassphraseError as error:
            if attempt == attempts:
                break
            if attempt:
                log(LOG_DEBUG2, "bad passphrase given, try again...")
            passphrase = await ask(f"Enter passphrase for key '{identity.name}': ")
            if passphrase is None:  # nobody to ask
                log(LOG_WARNING, f"Load key: {error}")
                return None
            if not passphrase:
                log(LOG_DEBUG2, "no passphrase given, try next key")
                return None
        except OSError as error:
            log(LOG_WARNING, f'Load key "{identity.name}": {error.strerror}')
            return None
        except KeyFormatError as error:
            log(LOG_WARNING, f"Load key: {error}")
            return None
    log(LOG_WARNING, f'Load key "{identity.name}": incorrect passphrase supplied to decrypt private key')
    return None
