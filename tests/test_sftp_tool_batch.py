"""fastssh-sftp without a terminal: what its commands do, what is said of them, and the exit status."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.copying import random_file
from tests.support.peers import Peer, program, sftp_server
from tests.support.sftp_tool import FASTSSH_SFTP, local, ours, run


@pytest.fixture(params=["sshd", "fastsshd"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


def test_a_batch_does_its_work_over_a_connection(peer: Peer, tmp_path: Path) -> None:
    there = peer.root / "sftp-tool"
    there.mkdir()
    random_file(tmp_path / "one", 300_000)
    (tmp_path / "two").write_text("two")
    (tmp_path / "into").mkdir()
    lines = f"""
        # a comment, and a blank line

        cd {there}
        mkdir sub
        put one
        put t* sub/renamed
        rename sub/renamed two
        ls
        lcd into
        get [ot]*
        ln two hard
        ln -s two soft
        rm hard
        mkdir gone
        rmdir gone
        chmod 600 two
        pwd
        lpwd
    """
    (tmp_path / "batch").write_text(lines)
    done = ours(peer, tmp_path, "", "-b", tmp_path / "batch")
    assert done.returncode == 0, done.stdout
    assert f"Remote working directory: {there}\n" in done.stdout
    assert f"Local working directory: {tmp_path / 'into'}\n" in done.stdout
    assert re.search("^one +sub +two +$", done.stdout, re.M)
    assert sorted(os.listdir(there)) == ["one", "soft", "sub", "two"]
    assert os.readlink(there / "soft") == "two"
    assert (there / "two").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "into/one").read_bytes() == (tmp_path / "one").read_bytes()
    assert (tmp_path / "into/two").read_text() == "two"


def test_home_directories_are_found_where_nothing_is_removed_or_changed(peer: Peer, tmp_path: Path) -> None:
    done = ours(peer, tmp_path, f"""
        pwd
        cd /
        cd ~
        pwd
        cd /
        cd ~{peer.user}
        pwd
        df ~/
        -ls ~nobodyknows
        -rm ~/nothing
        -rmdir ~
    """, "-b", "-")
    assert done.returncode == 0, done.stdout
    homes = re.findall("Remote working directory: (.*)", done.stdout)
    assert homes[0] == homes[1] != "/"
    assert homes[2] in (os.path.expanduser(f"~{peer.user}"), homes[0])
    for name in ("~nobodyknows", "~/nothing", "~"):  # names of this directory
        assert f"{homes[2]}/{name}" in done.stdout


def test_a_batch_ends_with_the_first_command_that_fails(tmp_path: Path) -> None:
    failing = (
        *("get nothing", "put nothing", "cd nothing", "ls nothing", "rm nothing", "rmdir nothing", "mkdir .", "get"),
        *("rename nothing x", "ln nothing x", "chmod 644 nothing", "chown 1 nothing", "lcd nothing", "lmkdir ."),
        *("df nothing", "cp nothing x", "nonsense", "chmod x y", "ls -q", 'pwd "', "symlink x ."),
    )
    for line in failing[:3]:
        done = local(tmp_path, f"@pwd\n{line}\npwd\n", "-b", "-")
        assert done.returncode == 1, line
        assert done.stdout.count("Remote working directory") == 1, line
    done = local(tmp_path, "".join(f"-{line}\n" for line in failing) + "pwd\n", "-b", "-")
    assert done.returncode == 0
    assert done.stdout.endswith(f"sftp> pwd\nRemote working directory: {tmp_path}\n")
    for line in failing:  # each is repeated, and said to be wrong
        assert f"sftp> -{line}\n" in done.stdout
    said = [each for each in done.stdout.splitlines() if not each.startswith(("sftp> ", "Remote working"))]
    assert len(said) == len(failing), said
    done = local(tmp_path, "-" + "\n-".join(failing[3:]) + "\nrm nothing\n", "-b", "-")
    assert done.returncode == 1


def test_prefixes_come_in_any_order_and_commands_in_any_case(tmp_path: Path) -> None:
    done = local(tmp_path, "-@ rm x\n@-rm y\n  @ PWD\n-\n@\nBye\nls\n", "-b", "-")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("sftp> ")] == ["sftp> -", "sftp> Bye"]
    assert f"Remote working directory: {tmp_path}" in done.stdout
    assert done.stdout.count("No such file or directory") == 2


def test_without_batch_mode_errors_do_not_end_the_session(tmp_path: Path) -> None:
    done = local(tmp_path, "rm x\nnonsense\nmkdir made\n")
    assert done.returncode == 0
    assert (tmp_path / "made").is_dir()


SCRIPT = """
pwd
ls -l d
ls d
ls -1 d
ls -la d
ls -lh d
ls -lS d
ls -ltr d
ls -Sr d
ls -1f gone
ls -t d
ls d/*
ls -l d/*
ls -lrS d/*
ls d/f?le
ls -l link
ls link
ls -l nowhere
ls -lh d/big
ls nothing
ls -z
ls d/nothing*
get d/file copied
get d/*
get nothing
get -r tree copy
put d/file d/again
put d/* tree
put d/* d/file
put nothing
rm tree/fi*
rm tree/nothing
mkdir d
rename d/again d/more
rename nothing x
rename -l d/more d/again
symlink d/file soft
ln d/file hard
ln -s d/file soft
chmod 600 d/file
chmod 0x d/file
chmod
chgrp 0 d/fi*
chown 0 nothing
cp d/file d/copied
cp d d/copied
cd nothing
cd d/file
cd d
pwd
ls
ls -a
cd
pwd
lpwd
lcd nothing
lcd d
lmkdir made
lmkdir made
lumask 77
lumask 9
version
!echo hello
!exit 3
lls -d .
rmdir made
rmdir nothing
progress
reget file
put
get "x
bye
ls
"""


def test_all_is_said_and_done_as_sftp_does_it(tmp_path: Path) -> None:
    """The same script for both, in directories of the same name."""
    outcomes = []
    stock = program("sftp", "openssh-client")
    for number, tool in enumerate((FASTSSH_SFTP, stock)):
        place = tmp_path / str(number) / "place"
        (place / "d").mkdir(parents=True)
        (place / "tree/sub").mkdir(parents=True)
        for name, size in (("d/file", 5), ("d/big", 3_000_000), ("tree/sub/x", 1), ("d/.hidden", 1), ("b ü", 1)):
            (place / name).write_bytes(b"x" * size)
            os.utime(place / name, (1_700_000_000 + size, 1_700_000_000 + size))
        (place / "link").symlink_to("d/big")
        (place / "nowhere").symlink_to("missing")
        done = local(place, SCRIPT, program=tool)
        text = done.stdout.replace(str(place), "PLACE").replace("tree/\n", "tree\n").replace('"PLACE/file"', '"file"')
        left = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
        modes = [(place / name).lstat().st_mode for name in left]
        outcomes.append((done.returncode, text.splitlines(), left, modes))
    mine, theirs = outcomes
    assert mine[2:] == theirs[2:]
    assert mine[0] == theirs[0]
    assert mine[1] == theirs[1]


def test_du_adds_up_a_tree_and_braces_are_only_read_in_what_was_typed(tmp_path: Path) -> None:
    here = tmp_path / "{a,b}"
    (here / "sub/deep").mkdir(parents=True)
    for name, size in (("one", 1500), ("sub/two", 1), ("sub/deep/three", 10_240), ("sub/.four", 0)):
        (here / name).write_bytes(b"x" * size)
    (here / "around").symlink_to(".")
    lines = "cd {a,b}\n@du\n@du -s\n@du -ah sub\n@du {one,sub}\n@ls -1 {one,sub/two}\n-@du nothing\n"
    done = local(tmp_path, lines, "-b", "-")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[1:-1] == [
        *("10      sub/deep", "11      sub", "14      ."), "14      .",
        *("0B      sub/.four", "10.0K   sub/deep/three", "10.0K   sub/deep", "1.0K    sub/two", "11.0K   sub"),
        *("2       one", "10      sub/deep", "11      sub"), "one", "sub/two",
    ]  # fmt: skip
    assert done.stdout.endswith(f'Can\'t du: "{tmp_path}/{{a,b}}/nothing" not found\n')


def test_a_batch_file_that_is_missing_and_output_that_nobody_reads_are_told(tmp_path: Path) -> None:
    done = local(tmp_path, "", "-b", "missing")
    assert (done.returncode, done.stdout) == (255, "fastssh-sftp: No such file or directory (missing).\n")
    command = f"exec {FASTSSH_SFTP} -D {sftp_server()} -b - >&-"  # as when a pipe's reader is gone, but at once
    done = run("/bin/sh", tmp_path, "pwd\nmkdir made\n", "-c", command, home=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "made").is_dir()
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [FASTSSH_SFTP, "-D", sftp_server(), "-b", "-"], input=b"pwd\nmkdir more\n", cwd=tmp_path, stdout=full,
            stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == b"fastssh-sftp: No space left on device\n"
