"""fastssh-keygen makes key pairs that OpenSSH reads, and says and asks what ssh-keygen does."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fastssh.cli.keygen import actions, command
from tests.support import keygen


def ours(*arguments: str | Path) -> int:
    """fastssh-keygen in this process: its exit status."""
    return command.main([*map(str, arguments)])


def test_every_action_is_a_function_that_exists() -> None:
    for action in actions.ACTIONS:
        assert callable(actions.function_of(action)), action.home


@pytest.mark.parametrize(("kind", "bits"), keygen.KINDS, ids=keygen.KIND_IDS)
def test_ssh_keygen_reads_what_is_made_and_nobody_else_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, bits: int | None
) -> None:
    path = tmp_path / "key"
    size = ("-b", bits) if bits else ()
    assert ours("-t", kind, *map(str, size), "-C", "user@test", "-N", "", "-f", path) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = path.with_suffix(".pub")
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert keygen.run("-y", "-f", path, home=tmp_path).stdout == public.read_bytes()
    shown = keygen.run("-l", "-v", "-f", path, home=tmp_path).stdout.decode()
    _, fingerprint, *_ = shown.split()
    assert out == (
        f"Generating public/private {kind} key pair.\n"
        f"Your identification has been saved in {path}\nYour public key has been saved in {public}\n"
        f"The key fingerprint is:\n{fingerprint} user@test\n"
        f"The key's randomart image is:\n{shown.partition(chr(10))[2]}"
    )
