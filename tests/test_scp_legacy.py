"""fastssh-scp -O, -t and -f with real peers: sshd, dropbear, fastsshd, stock scp, and programs in their place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fastssh.aio.server.process import Account, ProcessStarter
from fastssh.aio.server.program import Launch
from tests.support import openssh
from tests.support.copying import FASTSSH_SCP, contents, copy, fastssh_scp, make_tree, random_file
from tests.support.peers import HOST, Keys, Peer, clean_environment, program
from tests.support.serving_fastssh import start_fastssh

SECONDS = 60
NOBODY = 65534


@pytest.mark.parametrize("name", ["sshd", "dropbear", "fastsshd"])
def test_a_tree_goes_there_and_back_by_the_legacy_protocol(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    peer: Peer = request.getfixturevalue(name)
    tree = make_tree(tmp_path / "tree")
    up = peer.root / "legacy up"
    up.mkdir(exist_ok=True)
    summary = copy(peer, "-Orp", tree, peer.remote(up))
    assert contents(up / "tree") == contents(tree)
    assert (summary["files"], summary["bytes"], summary["failed"]) == (4, 600_000, 0)
    assert summary["cipher"]
    summary = copy(peer, "-O", "-pr", peer.remote(up / "tree"), tmp_path / "down")
    assert contents(tmp_path / "down") == contents(tree)
    assert summary["files"] == 4
    (tmp_path / "into").mkdir()
    copy(peer, "-O", peer.remote(up / "tree/*.txt"), peer.remote(up / "tree/sub dir/b c"), tmp_path / "into")
    assert sorted(os.listdir(tmp_path / "into")) == ["a.txt", "b c"]


def test_failures_are_named_once_and_the_rest_is_copied(sshd: Peer, tmp_path: Path) -> None:
    there = sshd.root / "legacy-failures"
    there.mkdir()
    (tmp_path / "here").write_text("here")
    done = fastssh_scp(sshd, "-O", tmp_path / "missing", tmp_path / "here", sshd.remote(there))
    assert (done.returncode, done.stderr) == (1, f"fastssh-scp: {tmp_path}/missing: No such file or directory\n")
    assert os.listdir(there) == ["here"]
    done = fastssh_scp(sshd, "-O", sshd.remote(there / "no"), sshd.remote(there / "here"), tmp_path)
    assert (done.returncode, done.stderr) == (1, f"fastssh-scp: {there}/no: No such file or directory\n")
    done = fastssh_scp(sshd, "-O", tmp_path / "here", sshd.remote(there / "no/where/at/all"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No such file or directory" in done.stderr
    done = fastssh_scp(sshd, "-O", sshd.remote(there), tmp_path)
    assert (done.returncode, done.stderr) == (1, f"fastssh-scp: {there}: not a regular file\n")


def test_row20_no_name_is_more_than_a_name_to_the_other_sides_shell(sshd: Peer, tmp_path: Path) -> None:
    there = sshd.root / "legacy-names"
    there.mkdir()
    names = ["$(touch mark)", "`touch mark`", "; touch mark", "a'b\"c", "-x", "a\\b"]
    for name in names:
        (tmp_path / name).write_text(name)
    copy(sshd, "-O", *[tmp_path / name for name in names], sshd.remote(there))
    assert sorted(os.listdir(there)) == sorted(names)
    (tmp_path / "back").mkdir()
    copy(sshd, "-O", *[sshd.remote(there / name.replace("\\", "\\\\")) for name in names], tmp_path / "back")
    assert sorted(os.listdir(tmp_path / "back")) == sorted(names)
    done = fastssh_scp(sshd, "-O", tmp_path / "-x", sshd.remote(there / "$(touch mark)/x"))
    assert done.returncode == 1
    assert not list(sshd.root.rglob("mark")) + list(sshd.directory.rglob("mark"))


def test_a_server_without_scp_is_one_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "ssh"
    script.write_text("#!/bin/sh\necho 'sh: 1: scp: not found' >&2\nexit 127\n")
    script.chmod(0o755)
    done = subprocess.run(
        [FASTSSH_SCP, "-O", "-S", script, "host:file", "."], cwd=tmp_path, capture_output=True, text=True,
        timeout=SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "sh: 1: scp: not found\nfastssh-scp: host: scp on the other side ended with status 127\n"


# --- stock scp, and ours on its far side ----------------------------------------------------------------------------


def stock(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """scp -O through a program that runs fastssh-scp where scp is asked for."""
    script = tmp_path / "as-ssh"
    script.write_text(f'#!/bin/sh\nfor last; do :; done\nset -- $last\nshift\nexec {FASTSSH_SCP} "$@"\n')
    script.chmod(0o755)
    return subprocess.run(
        [program("scp", "openssh-client"), "-O", "-S", script, *map(os.fspath, arguments)], cwd=tmp_path,
        capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, env=clean_environment(tmp_path),
    )  # fmt: skip


def test_stock_scp_works_with_ours_on_the_far_side(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    for number, name in enumerate(("a", "sub/b", "sub/c")):
        random_file(tmp_path / "tree" / name, number * 300_000)
    assert stock(tmp_path, "-rp", tmp_path / "tree", f"host:{tmp_path}/up").returncode == 0
    assert contents(tmp_path / "up") == contents(tmp_path / "tree")
    assert stock(tmp_path, "-rp", f"host:{tmp_path}/up", tmp_path / "down").returncode == 0
    assert contents(tmp_path / "down") == contents(tmp_path / "tree")
    done = stock(tmp_path, f"host:{tmp_path}/missing", tmp_path / "x")
    assert done.returncode == 1
    assert f"{tmp_path}/missing: No such file or directory" in done.stderr
    done = stock(tmp_path, tmp_path / "up/a", tmp_path / "up/sub/b", f"host:{tmp_path}/nowhere")
    assert done.returncode == 1
    assert "nowhere: Not a directory" in done.stderr or "nowhere: No such file" in done.stderr


@pytest.mark.parametrize(("argv", "said"), [
    (["-f"], b""), (["-t", "a", "b"], b""), (["-tf", "x"], b""), (["-t", "/nonexistent/x"], b"\0"),
])
def test_the_far_side_by_itself_ends_with_its_input(argv: list[str], said: bytes, tmp_path: Path) -> None:
    done = subprocess.run([FASTSSH_SCP, *argv], cwd=tmp_path, input=b"", capture_output=True, timeout=SECONDS)
    assert done.stdout == said
    assert (done.returncode == 0) is (said == b"\0")
    assert b"Traceback" not in done.stderr


# --- served without a shell -------------------------------------------------------------------------------------------


async def test_a_server_without_a_shell_serves_scp_below_its_root(tmp_path: Path, keys: Keys) -> None:
    tree = make_tree(tmp_path / "tree")
    outside = tmp_path / "outside"
    outside.write_text("secret")
    async with start_fastssh(tmp_path, keys, sftp_root=tmp_path / "root") as server:
        root = server.root
        done = await server.run("scp", "-O", "-rp", tree, f"{HOST}:")
        assert done.status == 0, done.stderr
        assert contents(root / "tree") == contents(tree)
        done = await server.run("scp", "-O", "-rp", f"{HOST}:/tree", tmp_path / "down")
        assert done.status == 0, done.stderr
        assert contents(tmp_path / "down") == contents(tree)
        (tmp_path / "into").mkdir()
        done = await server.run("scp", "-O", f"{HOST}:tree/*.txt", f"{HOST}:'tree/sub dir'/b\\ c", tmp_path / "into")
        assert done.status == 0, done.stderr
        assert sorted(os.listdir(tmp_path / "into")) == ["a.txt", "b c"]

        os.symlink(outside, root / "link")
        os.symlink(tmp_path, root / "up")
        for name in ("link", "../outside", "up/outside", str(outside)):
            done = await server.run("scp", "-O", f"{HOST}:{name}", tmp_path / "stolen")
            assert done.status == 1
            done = await server.run("scp", "-O", tree / "a.txt", f"{HOST}:{name}x/y")
            assert done.status == 1
        await server.run("scp", "-O", tree / "a.txt", f"{HOST}:link")
        assert not (tmp_path / "stolen").exists()
        assert outside.read_text() == "secret"
        for command in ("id", "scp -f a; id", "scp -f $(id)", "sh"):
            done = await server.run("ssh", HOST, command)
            assert done.status != 0
            assert done.stdout == b""


def test_users_of_a_file_have_scp_below_their_root(
    start_fastsshd: Callable[..., Peer], keys: Keys, tmp_path: Path
) -> None:
    lines = []
    for name, access in (("cat", "rw"), ("bob", "ro")):
        root = tmp_path / "roots" / name
        root.mkdir(parents=True)
        (root / "file").write_text(name)
        if os.getuid() == 0:
            os.chown(root, NOBODY, NOBODY)
        lines.append(f"{name}:*:{root}:{access}:{keys.authorized}\n")
    users = tmp_path / "users"
    users.write_text("".join(lines))
    users.chmod(0o600)
    (tmp_path / "here").write_text("here")
    peer = start_fastsshd(UsersFile=users)
    for name, status in (("cat", 0), ("bob", 1)):
        user = replace(peer, user=name)
        done = openssh.run("scp", user, "-O", tmp_path / "here", user.remote("/made"))
        assert done.returncode == status, done.stderr
        assert (tmp_path / "roots" / name / "made").exists() is (status == 0)
        assert openssh.run("scp", user, "-O", user.remote("f*e"), tmp_path / name).returncode == 0
        assert (tmp_path / name).read_text() == name
        assert openssh.ssh(user, "scp -f /file; id").stdout == b""


def test_an_account_without_scp_gets_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastssh.daemon import session

    launched: list[str | None] = []

    class Starter(ProcessStarter):
        def __call__(self, session: Any, launch: Launch) -> Any:
            launched.append(launch.command)

    starter = session._with_scp(Starter(Account.current()))
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path="": None if name == "scp" else which(name, path=path))
    commands = ["scp -v -r -t -- /x y", "scp -f *.c", "scp a b:", "scpx -t a", "echo scp -t a", None]
    for command in commands:
        starter(cast(Any, None), Launch(command=command))
    monkeypatch.undo()
    starter(cast(Any, None), Launch(command=commands[0]))
    ours = str(FASTSSH_SCP)
    assert launched == [f"{ours} -v -r -t -- /x y", f"{ours} -f *.c", *commands[2:], commands[0]]
