"""Whole key exchanges between two transports in memory, both sides counted: `make microbench` (pytest-benchmark)."""

from __future__ import annotations

from typing import Any

import pytest

from fastssh import algorithms
from tests.support.memory import connected


@pytest.mark.parametrize("kex", algorithms.KEX)
def test_key_exchange(benchmark: Any, kex: str) -> None:
    pair = benchmark(connected, {"kex": (kex,)}, {"kex": (kex,)})
    assert pair.client.transport.negotiated.kex == kex
