"""Sealing and opening one batch of packets, every suite: `make microbench` (pytest-benchmark)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fastssh._native.packet import Opener, Sealer, cipher_names, cipher_sizes, mac_names, mac_sizes

BATCH = 256 * 1024  # bytes of payload a call, as the data plane has
SUITES = [(cipher, mac) for cipher in cipher_names() for mac in (["none"] if cipher_sizes(cipher)[3] else mac_names())]


def keys(cipher: str, mac: str) -> tuple[str, str, bytes, bytes, bytes]:
    key, iv, _, tag = cipher_sizes(cipher)
    return cipher, mac, os.urandom(key), os.urandom(iv), b"" if tag else os.urandom(mac_sizes(mac)[0])


@pytest.mark.parametrize("size", [1024, 32768])
@pytest.mark.parametrize("suite", SUITES, ids="+".join)
def test_seal(benchmark: Any, suite: tuple[str, str], size: int) -> None:
    sealer = Sealer(*keys(*suite))
    payloads = [bytes([94]) + os.urandom(size - 1) for _ in range(BATCH // size)]
    benchmark.extra_info["bytes"] = BATCH
    sealed = benchmark(sealer.seal_batch, payloads)
    assert len(sealed) > BATCH


@pytest.mark.parametrize("size", [1024, 32768])
@pytest.mark.parametrize("suite", SUITES, ids="+".join)
def test_open(benchmark: Any, suite: tuple[str, str], size: int) -> None:
    """An opener takes each packet once, so every round has one of its own; making it is not measured."""
    material = keys(*suite)
    sealed = Sealer(*material).seal_batch([bytes([94]) + os.urandom(size - 1) for _ in range(BATCH // size)])
    benchmark.extra_info["bytes"] = BATCH
    opened = benchmark.pedantic(
        lambda opener: opener.open(sealed), setup=lambda: ((Opener(*material),), {}), rounds=200, warmup_rounds=10
    )
    assert opened[1] == len(sealed)
