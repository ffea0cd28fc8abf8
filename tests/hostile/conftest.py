"""Fixtures of the tests against a hostile server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.client import Sandbox
from tests.hostile.server import HostileServer, Script

Serve = Callable[..., HostileServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(script, **options)`` starts a server; all are stopped, and their scripts' errors raised, at the end."""
    servers: list[HostileServer] = []

    def start(script: Script, **options: Any) -> HostileServer:
        servers.append(HostileServer(script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)
