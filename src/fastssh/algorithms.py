"""Names of the algorithms we speak, in order of preference, and the list syntax users change them with.

No SHA-1, no DSA and no CBC stands here. The order follows OpenSSH's, except that AES-GCM comes first where the
processor has AES instructions.
"""

from __future__ import annotations

import functools
import os

from fastssh.errors import ConfigError
from fastssh.keys.patterns import has_wildcard, match_pattern, match_pattern_list

KEX: tuple[str, ...] = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)

#: What a server offers unless told otherwise: not the NIST curves, whose constants nobody can explain. A client
#: without curve25519 has group14-sha256, which RFC 9142 section 4 makes the one method that all must have.
SERVER_KEX: tuple[str, ...] = tuple(name for name in KEX if not name.startswith("ecdh-sha2-nistp"))

#: Signature algorithms of host keys; the same are used for user keys (RFC 8332, RFC 5656, RFC 8709).
HOST_KEYS: tuple[str, ...] = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def certificate_algorithm(name: str) -> str:
    """What the certificate of a key type, or of keys with a signature algorithm, is called (PROTOCOL.certkeys)."""
    return f"{name.removesuffix('@openssh.com')}-cert-v01@openssh.com"


#: The same for certificates of host keys.
HOST_CERTIFICATES: tuple[str, ...] = tuple(map(certificate_algorithm, HOST_KEYS))
#: Keys of FIDO devices, which sign for users and authorities (PROTOCOL.u2f).
SECURITY_KEYS: tuple[str, ...] = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
#: What a server offers of the algorithms that its keys make.
SERVER_KEYS: tuple[str, ...] = (*HOST_CERTIFICATES, *HOST_KEYS)
#: What a server accepts from authorities in certificates, and what it accepts from users.
CA_SIGNATURES: tuple[str, ...] = (*HOST_KEYS, *SECURITY_KEYS)
USER_KEYS: tuple[str, ...] = (*map(certificate_algorithm, CA_SIGNATURES), *CA_SIGNATURES)

CIPHERS: tuple[str, ...] = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)

MACS: tuple[str, ...] = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)

#: What is offered unless compression is asked for; the client's first choice wins, so this means "off".
COMPRESSION: tuple[str, ...] = ("none", "zlib@openssh.com")
#: What is offered with ``Compression yes``. Plain ``zlib``, which starts before authentication, is never spoken.
COMPRESSION_WANTED: tuple[str, ...] = ("zlib@openssh.com", "none")

#: The signature algorithm of the key that is behind each certificate.
_SIGNATURES = {certificate_algorithm(name): name for name in CA_SIGNATURES}
#: The type of the key that makes each signature, where the two names differ (RFC 8332 section 3).
_KEY_TYPES = {"rsa-sha2-256": "ssh-rsa", "rsa-sha2-512": "ssh-rsa"}


def signature_algorithm(algorithm: str) -> str:
    """What a signature is made with: ``rsa-sha2-512`` for ``rsa-sha2-512-cert-v01@openssh.com``, else the same."""
    return _SIGNATURES.get(algorithm, algorithm)


def key_type(algorithm: str) -> str:
    """The wire name of the key type behind a signature algorithm: ``ssh-rsa`` for ``rsa-sha2-512``."""
    name = signature_algorithm(algorithm)
    return _KEY_TYPES.get(name, name)


@functools.cache
def _has_aes_instructions() -> bool:
    """Whether the processor has AES instructions; where nothing says so, what its kind nearly always has."""
    if os.uname().sysname == "Linux":
        try:
            with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
                text = file.read(16384)  # the first processor's entry is enough, and later ones are dear to read
        except OSError:
            text = ""
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() in ("flags", "features"):
                return "aes" in value.split()
    return os.uname().machine.lower() in ("x86_64", "amd64", "arm64", "aarch64")


def default_ciphers() -> tuple[str, ...]:
    """:data:`CIPHERS`, with chacha20-poly1305 first on a processor without AES instructions."""
    if _has_aes_instructions():
        return CIPHERS
    chacha = "chacha20-poly1305@openssh.com"
    return (chacha, *(name for name in CIPHERS if name != chacha))


def apply_list(spec: str, default: tuple[str, ...], known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The algorithms that ``spec`` means, as ssh_config(5) says for Ciphers, MACs, KexAlgorithms and their like.

    ``+list`` appends to ``default``, ``-list`` removes from it, ``^list`` moves to its head; any other list replaces
    it. Names may be patterns, which stand for the ``known`` names they match. No name comes twice.

    Raises :class:`ConfigError` naming what is not in ``known`` (after ``-`` it does no harm and is accepted, as
    OpenSSH does), and where nothing is left. ``kind`` is the word for the messages, e.g. ``"cipher"``.
    """
    operator = spec[:1] if spec[:1] in ("+", "-", "^") else ""
    names = spec[len(operator):].split(",")
    if operator == "-":
        chosen = tuple(name for name in default if not match_pattern_list(name, names))
    else:
        listed = _expand(names, known, kind)
        chosen = {"+": (*default, *listed), "^": (*listed, *default), "": listed}[operator]
    if not chosen:
        raise ConfigError(f"no {kind} is left by {spec!r}")
    return tuple(dict.fromkeys(chosen))


def _expand(names: list[str], known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    found: list[str] = []
    unknown: list[str] = []
    for name in names:
        matches = [each for each in known if match_pattern(each, name)] if has_wildcard(name) else [name]
        if not matches or (matches == [name] and name not in known):
            unknown.append(name)
        found.extend(matches)
    if unknown:
        raise ConfigError(f"unknown {kind}: {', '.join(repr(name) for name in unknown)}")
    return tuple(found)
