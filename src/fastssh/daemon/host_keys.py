"""The server's host keys: those of the configuration, or one that an ordinary user's server makes itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastssh.config.server.settings import ServerSettings
from fastssh.daemon.log import Log
from fastssh.errors import ConfigError, SSHError
from fastssh.files import create_file, shown
from fastssh.keys.certificate import CertificateType, load_certificate
from fastssh.keys.private import PrivateKey, generate_private_key, load_private_key, serialize_private_key


def load_host_keys(settings: ServerSettings, log: Log) -> tuple[PrivateKey, ...]:
    """The first key of each kind, and after them each that has a HostCertificate, with it.

    What cannot be used is logged; ConfigError when no key is left.
    """
    found: list[PrivateKey] = []
    chosen = "host_keys" in settings.given
    for path in settings.host_keys:
        try:
            key = load_private_key(path)
        except FileNotFoundError:
            if chosen:  # of the default ones, those count that are there
                log.error(f"Unable to load host key: {shown(path)}: No such file or directory")
            continue
        except OSError as error:
            log.error(f"Unable to load host key: {shown(path)}: {error.strerror}")
            continue
        except SSHError as error:
            log.error(f"Unable to load host key: {error}")
            continue
        found.append(key)
    if not found:
        raise ConfigError("no hostkeys available -- exiting.")
    first = {key.public.algorithm: key for key in reversed(found)}
    return (*(key for key in found if first[key.public.algorithm] is key), *_certified(found, settings, log))


def _certified(keys: Sequence[PrivateKey], settings: ServerSettings, log: Log) -> Iterator[PrivateKey]:
    for path in settings.host_certificates:
        try:
            certificate = load_certificate(path)
        except OSError as error:
            log.error(f"Could not load host certificate {shown(path)}: {error.strerror}")
            continue
        except SSHError as error:
            log.error(f"Could not load host certificate: {error}")
            continue
        reason = certificate.refusal(CertificateType.HOST, time.time())
        if reason is not None:  # clients may think otherwise, and time goes on: they are shown it
            log.error(f"Host certificate {shown(path)}: {reason}")
        if certificate.type is not CertificateType.HOST:
            continue
        key = next((key for key in keys if key.public == certificate.plain), None)
        if key is None:
            log.error(f"No matching private key for certificate: {shown(path)}")
        else:
            yield key.certified(certificate)


def state_folder() -> Path:
    """Where an ordinary user's server keeps its own key: $XDG_STATE_HOME/fastssh (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / "fastssh"


def own_host_key() -> Path:
    """The file with this user's host key, made at the first start. Raises OSError."""
    folder = state_folder()
    path = folder / "host_ed25519_key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            create_file(path, serialize_private_key(generate_private_key("ed25519", comment="fastsshd")))
        except FileExistsError:  # another server was quicker: its key is the one
            return path
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)  # a key that clients have come to know must outlive a crash
        finally:
            os.close(descriptor)
    return path
