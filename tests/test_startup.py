"""What the tools do not load: what is imported is most of what a short call costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peers import Peer, clean_environment

SECONDS = 60
ASYNC = ("asyncio", "dataclasses", "inspect", "cryptography", "ctypes", "logging", "socket", "subprocess", "threading")
OF_OTHER_KEYS = tuple(f"cryptography.hazmat.primitives.asymmetric.{name}" for name in ("ec", "rsa", "padding"))
ENDED = "import sys\nfrom fastssh.cli.{module}.command import main\nstatus = main({argv!r})\n"
LOADED = "print(status, *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)\n"


def loaded(home: Path, tool: str, argv: list[str], heavy: tuple[str, ...]) -> list[str]:
    """The exit status of a call, and those modules of ``heavy`` that it loaded."""
    code = ENDED.format(module=tool, argv=argv) + LOADED.format(heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS,
                          stdin=subprocess.DEVNULL, env=clean_environment(home))
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("tool", ["ssh", "scp", "sftp", "keygen", "keyscan", "copy_id"])
def test_help_loads_nothing_heavy(tool: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, tool, ["--help"], ASYNC) == ["0"]


def test_a_usage_error_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(tmp_path, "ssh", ["-p"], ASYNC) == ["255"]


def test_what_is_there_is_told_without_a_loop(tmp_path: Path) -> None:
    assert loaded(tmp_path, "ssh", ["-Q", "mac"], ASYNC) == ["0"]
    assert loaded(tmp_path, "ssh", ["-V"], ("asyncio", "importlib.metadata", "email")) == ["0"]
    heavy = ("asyncio", "cryptography", "fastssh.aio.client", "fastssh.keys.public")
    assert loaded(tmp_path, "ssh", ["-F", "none", "-G", "host"], heavy) == ["0"]


def test_an_ed25519_key_is_shown_without_what_other_types_need(sshd: Peer, tmp_path: Path) -> None:
    key = str(sshd.keys.user("ed25519"))
    assert loaded(tmp_path, "keygen", ["-lf", key], ("asyncio", *OF_OTHER_KEYS)) == ["0"]


def test_hosts_are_found_without_cryptography(sshd: Peer, tmp_path: Path) -> None:
    argv = ["-F", f"[{sshd.host}]:{sshd.port}", "-f", str(sshd.known_hosts)]
    assert loaded(tmp_path, "keygen", argv, ("asyncio", "cryptography")) == ["0"]


def test_a_login_loads_nothing_of_servers_tls_and_other_ends(sshd: Peer, tmp_path: Path) -> None:
    heavy = (
        "ssl", "_ssl", "importlib.metadata", "encodings.idna", "fastssh.aio.forwarding.policy",
        "fastssh.keys.key_options", "fastssh.aio.server", "fastssh.aio.sftp", "fastssh.keys.pem",
    )  # fmt: skip
    assert loaded(tmp_path, "ssh", [*sshd.options(), sshd.host, "true"], heavy) == ["0"]


def test_tls_is_there_for_whoever_imports_it_later() -> None:
    code = (
        "from fastssh.cli.process import hurry\n"
        "import sys\n"
        "hurry()\n"
        "print('asyncio' in sys.modules, 'ssl' in sys.modules)\n"
        "import ssl\n"
        "print(ssl.create_default_context().check_hostname)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "True False\nTrue\n", done.stderr
