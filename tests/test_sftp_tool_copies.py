"""fastssh-sftp's transfers: resuming, trees, bounds on what is under way, and servers that lie."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import sftp_server as lying
from tests.support.copying import random_file
from tests.support.peers import Peer, clean_environment, program, sftp_server, wait_for
from tests.support.sftp_tool import FASTSSH_SFTP, Done, local, ours, run

STOCK = program("sftp", "openssh-client")


def liar(directory: Path, mode: str, lines: str, *arguments: str) -> Done:
    """A session with a server that does one thing wrong, and whose own complaints nobody hears."""
    server = f"exec {shlex.join([sys.executable, lying.__file__, mode])} 2>/dev/null"
    return run(FASTSSH_SFTP, directory, lines, "-D", shlex.join(["sh", "-c", server]), *arguments, home=directory)


# -- resuming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", [FASTSSH_SFTP, STOCK], ids=["fastssh-sftp", "sftp"])
def test_resuming_adds_what_is_missing_and_never_cuts_what_is_there(tool: str, tmp_path: Path) -> None:
    whole = random_file(tmp_path / "whole", 3_000_000).read_bytes()
    (tmp_path / "short").write_bytes(whole[:1000])
    starts = {"large": 1_234_567, "nothing": 0, "small": 700, "same": 1000, "longer": 1001, "fits": 3_000_000}
    for name, size in starts.items():
        (tmp_path / f"got-{name}").write_bytes(whole[:size])
        (tmp_path / f"put-{name}").write_bytes(whole[:size])
    short = ("small", "same", "longer")
    lines = [
        *(f"-reget {'short' if name in short else 'whole'} got-{name}" for name in starts),
        *(f"-put -a {'short' if name in short else 'whole'} put-{name}" for name in starts),
        "reget whole got-new",
    ]
    done = local(tmp_path, "\n".join(lines) + "\n", "-b", "-", "-N", program=tool)
    assert done.returncode == 0, done.stdout
    for way in ("got", "put"):
        for name, size in starts.items():
            wanted = whole[:1001] if name == "longer" else whole[:1000] if name in short else whole
            assert (tmp_path / f"{way}-{name}").read_bytes() == wanted, (way, name, size)
    assert (tmp_path / "got-new").read_bytes() == whole
    assert "local file is larger than remote" in done.stdout
    assert done.stdout.count("destination file same size or larger") == 3
    assert done.stdout.count("was not modified") == 2


def test_a_resumed_transfer_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    whole = random_file(tmp_path / "whole", 2_500_000).read_bytes()
    for name, mode in (("got", "exit-reading"), ("put", "write-late")):
        (tmp_path / name).write_bytes(whole[:500_000])
        line = "reget whole got\n" if name == "got" else "reput whole put\n"
        done = liar(tmp_path, mode, line, "-b", "-")
        assert done.returncode in (1, 255)
        left = (tmp_path / name).read_bytes()
        assert 500_000 <= len(left) < len(whole)
        assert left == whole[: len(left)]


def test_a_link_of_the_targets_name_is_resumed_behind_it_and_devices_are_written(tmp_path: Path) -> None:
    whole = random_file(tmp_path / "whole", 100_000).read_bytes()
    (tmp_path / "part").write_bytes(whole[:10])
    (tmp_path / "link").symlink_to("part")
    done = local(tmp_path, "reget whole link\nreget whole /dev/null\nget -p whole /dev/null\n", "-b", "-")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "part").read_bytes() == whole
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_trees_are_resumed_over_a_connection(fastsshd: Peer, tmp_path: Path) -> None:
    """With bundles, files that are whole already would be written anew."""
    there = fastsshd.root / "sftp-resumed"
    (there / "sub").mkdir(parents=True)
    for name, size in (("a", 100), ("sub/b", 400_000), ("sub/c", 10)):
        random_file(there / name, size)
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/b").write_bytes((there / "sub/b").read_bytes()[:5000])
    (tmp_path / "tree/a").write_bytes((there / "a").read_bytes())
    before = (tmp_path / "tree/a").stat().st_mtime_ns
    done = ours(fastsshd, tmp_path, f"get -ra {there} tree2\nreget -R {there}/* tree\n", "-b", "-", "-N")
    assert done.returncode == 0, done.stdout
    for name in ("a", "sub/b", "sub/c"):
        assert (tmp_path / "tree" / name).read_bytes() == (there / name).read_bytes()
        assert (tmp_path / "tree2" / name).read_bytes() == (there / name).read_bytes()
    assert (tmp_path / "tree/a").stat().st_mtime_ns == before


# -- trees -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["sshd", "fastsshd"])
def test_trees_go_without_the_links_in_them(peer: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Peer = request.getfixturevalue(peer)
    there = server.root / "sftp-trees"
    there.mkdir()
    for place in (tmp_path / "tree", there / "far"):
        (place / "sub/deep").mkdir(parents=True)
        (place / "one").write_text("one")
        (place / "sub/two").write_text("two")
        (place / "sub/deep/three").write_text("three")
        (place / "link").symlink_to("one")
        (place / "around").symlink_to(".")
        (place / "broken").symlink_to("nothing")
        os.mkfifo(place / "fifo")
        os.utime(place / "sub/two", (1_500_000_000, 1_600_000_000))
    done = ours(server, tmp_path, f"put -rp tree {there}/up\nget -pr {there}/far down\n", "-b", "-", "-N")
    assert done.returncode == 0, done.stdout
    for place in (there / "up", tmp_path / "down"):
        assert sorted(str(path.relative_to(place)) for path in place.rglob("*")) == [
            "one", "sub", "sub/deep", "sub/deep/three", "sub/two",
        ]  # fmt: skip
        assert (place / "sub/two").stat().st_mtime == 1_600_000_000
    said = done.stdout.splitlines()
    assert "Entering tree" in {line.rstrip("/") for line in said}
    assert f"Retrieving {there}/far/sub/deep" in said
    assert sum("not a regular file" in line for line in said) == 8


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_buffers_are_as_long_as_was_asked_for(tmp_path: Path) -> None:
    random_file(tmp_path / "file", 100_000)
    server = tmp_path / "server"
    server.write_text(f"#!/bin/sh\nexec {sftp_server()} -el debug3 2>>{tmp_path}/log\n")
    server.chmod(0o755)
    lines = "get file got\nput file put\n"
    done = run(FASTSSH_SFTP, tmp_path, lines, "-D", server, "-B", "1000", "-R", "2", "-b", "-", home=tmp_path)
    assert done.returncode == 0, done.stdout
    log = (tmp_path / "log").read_text()
    for kind in ("read", "write"):
        lengths = [int(found) for found in re.findall(rf"{kind} .*?len (\d+)", log)]
        assert max(lengths) == 1000
        assert len(lengths) in range(100, 104)  # and looking for the end
    assert (tmp_path / "got").read_bytes() == (tmp_path / "put").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_batch_that_is_interrupted_ends_in_order(number: signal.Signals, sshd: Peer, tmp_path: Path) -> None:
    source = random_file(sshd.root / "interrupted", 3_000_000)
    options = ["-F", "/dev/null", *sshd.options(), "-l", "2400", "-b", "-", sshd.host]
    process = subprocess.Popen(
        [FASTSSH_SFTP, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
        env=clean_environment(tmp_path),
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(f"get {source} got\npwd\n".encode())
    process.stdin.flush()
    wait_for(lambda: (tmp_path / "got").exists() and (tmp_path / "got").stat().st_size > 100_000, "the first bytes")
    process.send_signal(number)
    said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert b"Remote working" not in said[0]
    left = (tmp_path / "got").read_bytes()
    assert 0 < len(left) < 3_000_000
    assert left == source.read_bytes()[: len(left)]


# -- servers that lie --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["name-parent", "name-absolute", "name-inside", "name-empty", "name-nul",
                                  "name-directory"])  # fmt: skip
def test_row18_a_recursive_get_never_leaves_its_target(mode: str, tmp_path: Path) -> None:
    (tmp_path / "source/sub").mkdir(parents=True)
    (tmp_path / "source/good").write_text("good")
    (tmp_path / "here/down").mkdir(parents=True)
    done = liar(tmp_path / "here", mode, "get -r ../source down\nget ../source/go* down\n", "-b", "-")
    assert done.returncode == (0 if mode == "name-directory" else 1), done.stdout
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert set(written) <= {"source/good", "here/down/source/good", "here/down/good"}
    assert not Path("/tmp/evil").exists()


def test_row18_set_id_bits_do_not_come_along(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("x")
    (tmp_path / "d/file").chmod(0o6755)
    done = local(tmp_path, "get -p d/file got\nput -p d/file put\nget -rp d tree\n", "-b", "-")
    assert done.returncode == 0, done.stdout
    for name in ("got", "put", "tree/file"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o755


def test_row19_names_and_words_of_a_server_are_shown_without_their_control_characters(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202egpj"
    (tmp_path / "d").mkdir()
    (tmp_path / f"d/{evil}").write_text("x")
    (tmp_path / f"d/{evil}.d").mkdir()
    lines = f"""
        ls d
        ls -l d
        ls -1 d/*
        get d/* .
        get -r d copy
        chmod 600 d/*
        rm d/*
        du -a d
        cd 'd/{evil}.d'
        pwd
        bogus '{evil}'
        get '{evil}'
    """
    for tool in (local, liar):
        if tool is local:
            done = local(tmp_path, lines)
        else:
            done = liar(tmp_path, "name-escape", "ls -l d\nls d\nls -1 d/*\nget -r d other\n-cd nothing\n")
        repeated = [line for line in done.stdout.splitlines(keepends=True) if not line.startswith("sftp> ")]
        text = "".join(repeated)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text), text
        assert "\\033" in text
    done = liar(tmp_path, "stat-escape", "get -r d third\ncd d\n")
    assert "\x1b" not in done.stdout
    assert "Failure (" in done.stdout


@pytest.mark.parametrize("mode", ["silence", "unknown-id", "twice", "wrong-kind", "truncated", "oversize", "babble"])
def test_row22_a_session_that_breaks_ends_with_one_clear_line(mode: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    done = liar(tmp_path, mode, "cd d\ncd ..\ncd d\npwd\n", "-b", "-")
    assert done.returncode == 255, done.stdout
    said = [line for line in done.stdout.splitlines() if not line.startswith("sftp> ")]
    assert len(said) == 1, said


def test_flushing_is_left_out_where_a_server_cannot_do_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = liar(tmp_path, "honest", "put -f file copy\nget -f file got\nput -Rf file copy\n", "-f", "-b", "-")
    assert done.returncode == 0, done.stdout
    assert local(tmp_path, "put -f file again\n", "-b", "-").returncode == 0


@pytest.mark.parametrize("mode", ["write-denied", "close-fails", "write-late"])
def test_an_upload_that_was_not_acknowledged_is_no_success(mode: str, tmp_path: Path) -> None:
    random_file(tmp_path / "file", 2_500_000)
    done = liar(tmp_path, mode, "put file copy\n", "-b", "-")
    assert done.returncode == 1
    assert 'upload "file": ' in done.stdout


def test_a_server_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    done = run(FASTSSH_SFTP, tmp_path, "pwd\n", "-D", "/nonexistent/server x", home=tmp_path)
    assert (done.returncode, done.stdout) == (255, "fastssh-sftp: /nonexistent/server: No such file or directory\n")
    done = run(FASTSSH_SFTP, tmp_path, "pwd\n", "-D", "false", home=tmp_path)
    assert done.returncode == 255
    assert len(done.stdout.splitlines()) == 1
    done = run(FASTSSH_SFTP, tmp_path, "pwd\n", "-D", "'unfinished", home=tmp_path)
    assert done.returncode == 255


# -- another ssh -------------------------------------------------------------------------------------------------------


def test_another_ssh_program_carries_the_session(sshd: Peer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    ssh = program("ssh", "openssh-client")
    there = sshd.root / "sftp-other-ssh"
    options = ["-S", ssh, "-F", "/dev/null", *sshd.options()]
    done = run(FASTSSH_SFTP, tmp_path, f"put file {there}\n", *options, "-b", "-", sshd.host, home=sshd.directory)
    assert done.returncode == 0, done.stdout
    assert there.read_text() == "text"
    done = run(FASTSSH_SFTP, tmp_path, "", *options, "-q", f"{sshd.host}:{there}", "got", home=sshd.directory)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "got").read_text() == "text"
    options += ["-s", sftp_server(), "-b", "-"]
    done = run(FASTSSH_SFTP, tmp_path, "pwd\n", *options, sshd.host, home=sshd.directory)
    assert done.returncode == 0, done.stdout


def test_a_command_of_the_remote_host_serves_as_well(sshd: Peer, tmp_path: Path) -> None:
    done = ours(sshd, tmp_path, "version\n", "-s", sftp_server(), "-b", "-")
    assert done.returncode == 0, done.stdout
    done = ours(sshd, tmp_path, "version\n", "-s", "nothing", "-b", "-")
    assert done.returncode == 255
    assert "the server has no nothing subsystem" in done.stdout
