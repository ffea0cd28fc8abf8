"""fastsshd as root: it becomes the user for good."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import openssh, peers
from tests.support.fastsshd import Start, key_lines, logged, refused, with_keys
from tests.support.peers import NOT_HERE, Keys, Peer, make_keys, start_fastsshd

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason=f"{NOT_HERE}only root's server serves root and others")


@pytest.fixture
def other_account() -> Iterator[Callable[..., Peer]]:
    """start(**config): a server of root's with a throw-away account, nobody, whose home is a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="fastsshd-"))
    folder.chmod(0o755)
    started: list[Peer] = []

    def start(**config: Any) -> Peer:
        directory = folder / str(len(started))
        directory.mkdir(mode=0o755)
        keys = make_keys(directory / "keys")
        home = directory / "home"
        peers._shimmed(home, keys, "nobody")
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        peer = start_fastsshd(directory, keys=keys, home=home, account="nobody", **config)
        started.append(peer)
        return peer

    try:
        yield start
    finally:
        for peer in started:
            peer.stop()
        shutil.rmtree(folder)


def test_a_session_is_the_users_for_good(other_account: Start) -> None:
    peer = other_account(StrictModes="yes")
    done = openssh.ssh(peer, "id -u; id -g; pwd; cat /proc/$PPID/status; cat /etc/shadow")
    lines = done.stdout.decode().splitlines()
    assert lines[:3] == [str(NOBODY), str(NOBODY), str(peer.directory / "home")]
    ids = {line.split()[0]: line.split()[1:] for line in lines[3:] if line.startswith(("Uid", "Gid", "Groups"))}
    assert ids["Uid:"] == ids["Gid:"] == [str(NOBODY)] * 4
    assert set(ids["Groups:"]) <= {str(NOBODY)}
    assert b"Permission denied" in done.stderr  # /etc/shadow
    (peer.directory / "secret").write_text("root's")
    (peer.directory / "secret").chmod(0o600)
    assert openssh.sftp(peer, f"get {peer.directory / 'secret'}\n").returncode == 1
    assert openssh.sftp(peer, "mkdir made\n").returncode == 0
    assert (peer.directory / "home/made").stat().st_uid == NOBODY


def test_keys_are_read_with_the_users_rights(other_account: Start) -> None:
    peer = other_account()
    file = peer.directory / "home/.ssh/authorized_keys"
    secret = peer.directory / "roots_keys"
    secret.write_text(file.read_text())
    secret.chmod(0o600)
    file.unlink()
    file.symlink_to(secret)
    assert refused(peer)
    logged(peer, "authorized_keys: cannot be read: Permission denied")


def test_a_chroot_holds_for_files_and_commands(other_account: Start) -> None:
    jail = Path(tempfile.mkdtemp(prefix="fastsshd-", dir="/run"))  # /tmp, which everybody may write to, will not do
    try:
        jail.chmod(0o755)
        (jail / "inner").mkdir()
        os.chown(jail / "inner", NOBODY, NOBODY)
        peer = other_account(lines=["ForceCommand internal-sftp -d /inner", f"ChrootDirectory {jail}"])
        (peer.directory / "file").write_text("hello")
        done = openssh.sftp(peer, f"put {peer.directory / 'file'} put\nmkdir /inner/../../../inner/made\n")
        assert done.returncode == 0, done.stderr
        assert sorted(os.listdir(jail / "inner")) == ["made", "put"]
        assert (jail / "inner/put").stat().st_uid == NOBODY
        assert openssh.sftp(peer, "get /etc/hostname\n").returncode == 1
        assert openssh.sftp(peer, "mkdir /made\n").returncode == 1  # the jail itself is root's
        jail.chmod(0o777)
        assert openssh.sftp(peer, "ls /\n").returncode == 255
        logged(peer, f"fatal: bad ownership or modes for chroot directory component '{jail}'")
    finally:
        shutil.rmtree(jail)


def test_a_locked_account_is_closed(other_account: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PASSWORD_CRYPT", "!locked")
    peer = other_account()
    assert refused(peer)
    logged(peer, "User nobody from 127.0.0.1 not allowed because account is locked")


@pytest.mark.parametrize(("permit", "forced", "admitted"), [
    ("no", False, False), ("no", True, False), ("forced-commands-only", False, False),
    ("forced-commands-only", True, True), ("prohibit-password", False, True), ("yes", False, True),
])  # fmt: skip
def test_root_logs_in_as_far_as_it_may(
    start_fastsshd: Start, keys: Keys, tmp_path: Path, permit: str, forced: bool, admitted: bool
) -> None:
    line = key_lines(keys, 'command="true"' if forced else "")
    peer = with_keys(start_fastsshd, tmp_path, line.lstrip(), PermitRootLogin=permit)
    if admitted:
        assert openssh.ssh(peer, "true").returncode == 0
    else:
        assert refused(peer)
        logged(peer, r"ROOT LOGIN REFUSED FROM 127\.0\.0\.1 port \d+")
