"""A fastsshd with an authority whose certificates it takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support import openssh, peers
from tests.support.certificates import Authority
from tests.support.peers import Keys, Peer, start_fastsshd

USER = peers.user_name()


@dataclass
class Site:
    """A server whose files are written anew for each test, and an authority that it trusts for all users."""

    peer: Peer
    authority: Authority
    other: Authority  # trusted by nobody
    principals: Path
    authorized_keys: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def certify(self, *options: str, kind: str = "ed25519", by: Authority | None = None, **what: Any) -> Path:
        public = self.peer.keys.user(kind).with_suffix(".pub")
        return (by or self.authority).certify(public, *options, **({"principals": USER} | what))

    def ssh(self, certificate: Path, *command: str, options: tuple[str, ...] = (), kind: str = "ed25519") -> Any:
        peer = replace(self.peer, key=self.peer.keys.user(kind))
        return openssh.ssh(peer, *command, options=("-o", f"CertificateFile={certificate}", *options))

    def admits(self, certificate: Path, **how: Any) -> bool:
        done = self.ssh(certificate, "echo in", **how)
        assert (done.returncode, done.stdout) in ((0, b"in\n"), (255, b"")), done.stderr
        return done.returncode == 0

    def refuses(self, certificate: Path, reason: str, **how: Any) -> None:
        """The certificate lets nobody in, and the log says since when: only what was written meanwhile is looked at."""
        before = self.peer.log.stat().st_size
        assert not self.admits(certificate, **how)
        peers.wait_for(lambda: reason in self.peer.log.read_text()[before:], reason)


def site(directory: Path, keys: Keys, **config: Any) -> Iterator[Site]:
    authority, other = (Authority.make(directory / name) for name in ("authority", "other"))
    trusted = directory / "trusted"
    trusted.write_text(f"# authorities\n\n{authority.line}")
    settings = {
        "TrustedUserCAKeys": trusted, "AuthorizedKeysFile": directory / "authorized_keys", "LogLevel": "VERBOSE",
    }  # fmt: skip
    with start_fastsshd(directory / "server", keys=keys, **(settings | config)) as peer:
        yield Site(peer, authority, other, directory / "principals", directory / "authorized_keys")
