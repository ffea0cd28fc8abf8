"""What ssh-audit, which others judge servers by, says of fastsshd."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fastsshd import Start
from tests.support.peers import Peer, clean_environment

SSH_AUDIT = Path(sys.executable).parent / "ssh-audit"
EXIT_FAILURES = 3  # 2: nothing but warnings

pytestmark = pytest.mark.skipif(not SSH_AUDIT.exists(), reason="ssh-audit is missing: pip install -e '.[test]'")


def audit(peer: Peer) -> tuple[int, dict[str, Any]]:
    """Exit status and report, without its flood of connections, whose answer is MaxStartups' matter."""
    done = subprocess.run(
        [SSH_AUDIT, "--json", "--skip-rate-test", "--port", str(peer.port), peer.host],
        env=clean_environment(peer.directory), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def failures(report: dict[str, Any]) -> Iterator[str]:
    for kind in ("kex", "key", "enc", "mac"):
        assert report[kind], f"nothing was seen of {kind}"
        yield from (each["algorithm"] for each in report[kind] if "fail" in each["notes"])


def test_row27_ssh_audit_finds_nothing_to_fail_on(start_fastsshd: Start) -> None:
    status, report = audit(start_fastsshd(host_keys=("ed25519", "rsa")))
    assert (list(failures(report)), report["cves"]) == ([], [])
    assert status != EXIT_FAILURES


def test_ssh_audit_sees_what_was_added(start_fastsshd: Start) -> None:
    peer = start_fastsshd(host_keys=("ed25519", "ecdsa"), KexAlgorithms="+ecdh-sha2-nistp256")
    status, report = audit(peer)
    assert (list(failures(report)), status) == (["ecdh-sha2-nistp256", "ecdsa-sha2-nistp256"], EXIT_FAILURES)
