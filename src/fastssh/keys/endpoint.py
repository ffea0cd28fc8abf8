"""A host and a port of permitopen, permitlisten and their like, as sshd(8) writes them."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """A ``host:port`` of permitopen or permitlisten; ``port`` is None for any. As text it is what stands there."""

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{'*' if self.port is None else self.port}"
