"""`make demo`, small: with OpenSSH beside it, and on a machine that has none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peers import clean_environment

ROOT = Path(__file__).resolve().parents[1]
NO_OPENSSH = "import sys; from tests.support import peers; peers.SYSTEM_PATH = sys.argv[1]; "
RUN = "import sys; from scripts import demo; sys.exit(demo.main())"


def demo(directory: Path, code: str, *arguments: str) -> list[tuple[str, str]]:
    """Runs it; returns the client and the server of each row whose hashes were found equal."""
    environment = clean_environment(directory, FASTSSH_DEMO_MIB="3", COLUMNS="100")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"(?m)^\W*(\S+)\W+(\S+)\W.*MB/s.*\bequal\b", done.stdout)


@pytest.mark.usefixtures("sshd")  # says what is missing of OpenSSH
def test_each_client_meets_each_server(tmp_path: Path) -> None:
    both = [(client, server) for server in ("fastsshd", "sshd") for client in ("fastssh-scp", "scp")]
    assert demo(tmp_path, RUN) == both


def test_no_openssh_is_needed(tmp_path: Path) -> None:
    """The account's shim, which the tests' servers have, is compiled; all else is ours."""
    compiler = shutil.which("gcc", path=f"{os.environ['PATH']}:/usr/bin")
    assert compiler
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gcc").symlink_to(compiler)
    assert demo(tmp_path, NO_OPENSSH + RUN, str(programs)) == [("fastssh-scp", "fastsshd")]
