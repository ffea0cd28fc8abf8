"""Certificates: ssh-keygen's, and those that no ssh-keygen would make."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from fastssh.keys.private import PrivateKey
from fastssh.wire.codec import Reader, string, uint32, uint64
from tests.support import keygen

ALWAYS = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class Authority:
    """ssh-keygen with a key of its own to certify others."""

    key: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def make(cls, path: Path, kind: str = "ed25519", bits: int | None = None) -> Authority:
        return cls(keygen.make_key(path, kind, bits))

    @property
    def line(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def certify(
        self, public: Path, *options: str, principals: str | None, id: str = "an id", serial: int = 0,
        validity: str | None = None, host: bool = False, algorithm: str | None = None,
    ) -> Path:  # fmt: skip
        """A certificate of the key in a .pub file; ``options`` are those of -O."""
        copy = self.key.parent / f"{self.key.name}-{next(self._numbers)}"
        shutil.copy(public, f"{copy}.pub")
        arguments: list[str | Path] = ["-q", "-s", self.key, "-I", id, "-z", str(serial)]
        arguments += ["-h"] if host else []
        arguments += ["-n", principals] if principals is not None else []
        arguments += ["-V", validity] if validity is not None else []
        arguments += ["-t", algorithm] if algorithm is not None else []
        arguments += [part for option in options for part in ("-O", option)]
        keygen.run(*arguments, f"{copy}.pub", home=self.key.parent)
        return Path(f"{copy}-cert.pub")


def options(*pairs: tuple[str, bytes]) -> bytes:
    return b"".join(string(name.encode()) + string(value) for name, value in pairs)


def build(
    authority: PrivateKey, key: PrivateKey, *, type_name: bytes | None = None, serial: int = 0, type: int = 1,
    key_id: bytes = b"id", principals: bytes = string(b"ann"), after: int = 0, before: int = ALWAYS,
    critical: bytes = b"", extensions: bytes = b"", signer: bytes | None = None, algorithm: str | None = None,
    signature: bytes | None = None, tail: bytes = b"",
) -> bytes:  # fmt: skip
    """A certificate's wire form, field by field."""
    reader = Reader(key.public.blob)
    name = reader.string()
    blob = string(name + b"-cert-v01@openssh.com" if type_name is None else type_name) + string(b"nonce")
    blob += reader.rest() + uint64(serial) + uint32(type) + string(key_id) + string(principals)
    blob += uint64(after) + uint64(before) + string(critical) + string(extensions) + string(b"")
    blob += string(authority.public.blob if signer is None else signer)
    if signature is None:
        signature = authority.sign(blob, algorithm or authority.public.signature_algorithms[0])
    return blob + string(signature) + tail
