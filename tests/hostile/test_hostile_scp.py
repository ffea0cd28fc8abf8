"""fastssh-scp as a program against a hostile server: exit status, what it prints, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import threading
from typing import Any

import pytest

from fastssh.sftp import messages
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelFailure,
    ChannelOpen,
    ChannelOpenFailure,
    ChannelRequest,
    Disconnect,
    Ignore,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
)
from tests.hostile.client import check_line
from tests.hostile.server import SCRIPT_SECONDS, Peer
from tests.hostile.sftp import FILE, FOLDER, LINK, Node, Session, always, attributes, entry, folder, reply, sftp, status

NASTY = b"bad\x1b[31m\x07\xff\x9b\nfastssh-scp: all is well"
LARGE = bytes(100_000)


# --- the connection -----------------------------------------------------------------------------------------------


def says(data: bytes) -> Any:
    return lambda peer: peer.raw(data)


def disconnects(peer: Peer) -> None:
    peer.identify()
    peer.send(Disconnect(2, "go\x1b[31m away\nfastssh-scp: all is well"))


def refuses_users(peer: Peer) -> None:
    peer.request()
    peer.send(UserauthBanner("\x1b]0;owned\x07welcome\n"), UserauthFailure(("publickey", "pass\x7eword")))


def refuses_channels(peer: Peer) -> None:
    peer.authenticate()
    peer.expect(ChannelOpen)
    peer.send(ChannelOpenFailure(0, 1, "no\x1b[31m\nway"))


def refuses_sftp(peer: Peer) -> None:
    peer.open_channel()
    peer.expect(ChannelRequest)
    peer.send(ChannelFailure(peer.channel))


def flips_a_bit(peer: Peer) -> None:
    peer.start()
    peer.plane.mangle = lambda packet: packet[:-1] + bytes((packet[-1] ^ 1,))
    peer.send(Ignore(b"x"))


def asks(peer: Peer) -> None:
    peer.request()
    peer.send(UserauthFailure(("keyboard-interactive",)))
    peer.receive(UserauthRequest)
    texts = codec.string(NASTY[:12]) * 2 + codec.string(b"")
    peer.send(b"\x3c" + texts + codec.uint32(1) + codec.string(NASTY) + b"\1")


@pytest.mark.parametrize(
    ("script", "match", "status"),
    [
        (says(b"\x1b[2J\x07hello\r\n" * 2000), "no identification string", 255),
        (says(b"SSH-1.5-\x1b[31m\r\n"), "major versions differ", 255),
        (says(b"SSH-2.0-x\r\n" + b"\xff" * 100), "packet length out of range", 255),
        (lambda peer: peer.sock.shutdown(2), "closed by the peer|reset", 255),
        (disconnects, r"go\\033\[31m away\\012fastssh-scp", 255),
        (refuses_users, r"Permission denied \(publickey,pass~word\)", 255),
        (asks, "Permission denied", 255),
        (refuses_channels, r"channel refused: no\\033\[31m\\012way", None),
        (refuses_sftp, "no sftp subsystem", None),
        (flips_a_bit, "message authentication code incorrect", None),
        (sftp(version=b"\x1b[31mLast login: today\r\n" * 5), "SFTP", None),
        (sftp(version=messages.encode_version({}, 2)), "version 2", None),
    ],
)
async def test_row26_the_end_of_a_connection_is_one_clear_line(serve, sandbox, script, match, status):
    ended = await sandbox.fails(serve(script), match, "{host}:file", "{target}", status=status)
    about = [line for line in ended.lines if line.startswith("fastssh-scp:")]
    assert len(about) == 1, ended.stderr
    assert os.listdir(sandbox.target) == []


async def test_row26_a_later_connection_works(serve, sandbox):
    server = serve(says(b"noise\n" * 5000))
    await sandbox.fails(server, "identification", "{host}:file", "{target}")
    await sandbox.fails(server, "SFTP|ended", "{host}:file", "{target}")  # of the good server, which has no SFTP


# --- names --------------------------------------------------------------------------------------------------------

# Should a check ever fail, all of them stay in the sandbox.
EVIL = {
    b"../victim": FILE, b"../../victim": FILE, b"sub/../../../home/.ssh/authorized_keys": FILE, b"..": FOLDER,
    b"": FILE, b"a\0b": FILE, b"../../home/.ssh": FOLDER, b"./victim": FILE,
}  # fmt: skip


def evil_tree() -> dict[bytes, Node]:
    nodes = {b"dir": folder(*[entry(name, Node(mode, data=b"evil")) for name, mode in EVIL.items()], entry(b"good"))}
    for name, mode in EVIL.items():
        for path in (b"dir/" + name, name):
            nodes[path] = Node(mode, data=b"evil", names=[entry(b"authorized_keys", Node(data=b"evil"))])
            nodes[path + b"/authorized_keys"] = Node(data=b"evil")
    nodes[b"dir/good"] = Node(data=b"")
    return nodes


async def test_row18_nothing_is_written_outside_of_the_target(serve, sandbox):
    ended = await sandbox.fails(serve(sftp(evil_tree())), "no file name", "-r", "{host}:dir", "{target}", status=1)
    assert len(ended.lines) >= len(EVIL) - 1
    assert os.listdir(sandbox.target) == ["dir"]
    assert os.listdir(sandbox.target / "dir") == ["good"]


async def test_row18_patterns_do_not_let_other_names_in(serve, sandbox):
    nodes = evil_tree()
    nodes[b"."] = folder(entry(b".bashrc"), entry(b"id_ed25519"), entry(b"a.txt", Node(data=b"a")), entry(b"b.txt~"))
    nodes[b"a.txt"] = Node(data=b"a")
    ended = await sandbox.scp(serve(sftp(nodes)), "{host}:*.txt", "{target}")
    assert (ended.status, ended.stderr) == (0, "")
    assert os.listdir(sandbox.target) == ["a.txt"]
    sandbox.check()


async def test_row18_a_pattern_with_evil_names_in_its_listing_fails(serve, sandbox):
    nodes = {b".": folder(entry(b"../victim"), entry(b"a")), b"../victim": Node(data=b"evil"), b"a": Node()}
    await sandbox.fails(serve(sftp(nodes)), "no file name", "{host}:*", "{target}")


async def test_row18_the_name_of_a_home_directory_is_not_the_servers_to_choose(serve, sandbox):
    home = always(lambda number: messages.NAME.encode(number, (entry(b"/evil/.ssh"),)))
    nodes = {b"/evil/.ssh": folder(entry(b"authorized_keys")), b"/evil/.ssh/authorized_keys": Node()}
    hooks: dict[str, Any] = {"expand-path@openssh.com": home}
    script = sftp(nodes, extensions={"expand-path@openssh.com": b"1"}, **hooks)
    ended = await sandbox.scp(serve(script), "-r", "{host}:~bob", "{target}")
    assert ended.status == 0, ended
    assert os.listdir(sandbox.target) == ["bob"]
    sandbox.check()


async def test_row18_links_of_the_server_make_no_links_here(serve, sandbox):
    nodes = {
        b"dir": folder(entry(b"out", Node(LINK)), entry(b"out", folder()), entry(b"loop", Node(LINK))),
        b"dir/out": folder(entry(b"victim", Node(data=b"evil"))),
        b"dir/out/victim": Node(data=b"evil"),
    }
    await sandbox.fails(serve(sftp(nodes)), "loop|twice", "-r", "{host}:dir", "{target}", status=1)
    assert not any(path.is_symlink() for path in sandbox.target.rglob("*"))


async def test_row18_set_id_bits_are_dropped_even_with_p(serve, sandbox):
    mode = stat.S_IFREG | 0o7777
    nodes = {b"tool": Node(mode, data=b"x")}
    ended = await sandbox.scp(serve(sftp(nodes)), "-p", "{host}:tool", "{target}")
    assert ended.status == 0, ended
    assert stat.S_IMODE((sandbox.target / "tool").stat().st_mode) == 0o777


# --- what is printed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [False, True])
async def test_row19_names_and_errors_of_the_server_cannot_drive_the_terminal(serve, sandbox, verbose):
    names = [b"a\x1b[2Jb", b"\x9b31m", b"new\nfastssh-scp: line", b"\x07\x08\x7f", "rtl\u202etxt".encode(), b"\xff\xfe"]
    nodes = {b"dir": folder(*[entry(name, Node(data=b"x"), longname=NASTY) for name in names])}
    denied = always(lambda number: status(number, 3, NASTY))
    arguments = ["-v"] * verbose + ["-r", "{host}:dir", "{target}"]
    ended = await sandbox.fails(serve(sftp(nodes, OPEN=denied)), r"bad\\033\[31m", *arguments, status=1)
    assert len([line for line in ended.lines if "bad" in line]) == len(names)
    assert not any(line.startswith("fastssh-scp: line") or line.endswith("all is well\n") for line in ended.lines)


async def test_row19_the_summary_is_one_line_of_json(serve, sandbox):
    nodes = {b"dir": folder(entry(b"a\x1b[2J\nb", Node(data=b"x")))}
    server = serve(sftp(nodes, OPEN=always(lambda number: status(number, 3, NASTY))))
    ended = await sandbox.fails(server, "bad", "--json", "-r", "{host}:dir", "{target}", status=1)
    check_json = json.loads(ended.stdout)
    assert check_json["errors"]
    assert ended.stdout.count("\n") == 1
    assert ended.stdout.rstrip("\n").isascii()
    assert ended.stdout.rstrip("\n").isprintable()


async def test_row19_on_a_terminal_too(serve, sandbox):
    """Progress, banner and questions on a terminal: only our own sequences get there."""
    import pexpect

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(UserauthBanner("BANNER\x1b]0;owned\x07\x9b31m\n"), UserauthFailure(("keyboard-interactive",)))
        peer.receive(UserauthRequest)
        peer.send(b"\x3c" + codec.string(b"name\x1b]0;owned\x07") + codec.string(b"")
                  + codec.string(b"") + codec.uint32(1) + codec.string(b"QUESTION\x1b]0;owned\x07? ") + b"\1")
        peer.wait_for(lambda: peer.messages)
        peer.messages.clear()
        peer.succeed()
        sftp({b"dir": folder(entry(b"file\x1b]0;owned\x07", Node(data=LARGE))),
              b"dir/file\x1b]0;owned\x07": Node(data=LARGE)})(peer)

    server = serve(script)

    def talk() -> tuple[bytes, int]:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "fastssh.cli.scp.command", "-P", str(server.port), "-F", "none", "-o", "StrictHostKeyChecking=no",
             "-o", f"UserKnownHostsFile={os.devnull}", "-r", "alice@127.0.0.1:dir", str(sandbox.target)],
            env={"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm",
                 "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=25,
        )  # fmt: skip
        child.expect_exact("QUESTION")
        shown = child.before + child.after
        child.sendline("answer")
        child.expect(pexpect.EOF)
        child.close()
        return shown + child.before, child.exitstatus

    shown, exit_status = await asyncio.to_thread(talk)
    assert exit_status == 0, shown
    assert b"BANNER\\033]0;owned\\007" in shown
    assert b"QUESTION\\033]0;owned\\007" in shown
    for bad in (b"\x07", b"\x1b]0", b"\x9b"):
        assert bad not in shown, shown
    assert (sandbox.target / "dir" / "file\x1b]0;owned\x07").stat().st_size == len(LARGE)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "match"),
    [
        ({"READ": always(lambda number: reply(103, number, codec.string(b"")))}, "asked for|malformed"),
        ({"READ": always(lambda number: status(number, 4, NASTY))}, r"large: bad\\033"),
        ({"READ": always(lambda number: status(number, 0))}, "large|malformed|reply"),
        ({"OPEN": always(lambda number: reply(102, number, codec.string(b"h" * 300)))}, "handle of 300 bytes"),
        ({"CLOSE": always(lambda number: status(number, 4, b"disk on fire"))}, "large: close: disk on fire"),
        ({"STAT": always(lambda number: status(number + 1, 0))}, "was not made"),
        ({"STAT": always(lambda number: messages.ATTRIBUTES.encode(number, attributes(FILE, 2**64 - 1)))}, "large"),
        ({"STAT": always(lambda number: messages.ATTRIBUTES.encode(number, attributes(FOLDER, 0)))}, "not a regular"),
    ],
)
async def test_row22_a_file_that_was_not_copied_does_not_look_complete(serve, sandbox, hooks, match):
    server = serve(sftp({b"large": Node(data=LARGE)}, **hooks))
    await sandbox.fails(server, match, "{host}:large", "{target}")
    target = sandbox.target / "large"
    assert "CLOSE" in hooks or not target.exists() or target.stat().st_size < len(LARGE)


@pytest.mark.parametrize("size", [1, 99, 99_999, 100_001, 10**6])
async def test_row22_a_file_that_is_longer_or_shorter_than_it_is_said_to_be_is_no_success(serve, sandbox, size):
    lie = always(lambda number: messages.ATTRIBUTES.encode(number, attributes(FILE, size)))
    server = serve(sftp({b"large": Node(data=LARGE)}, STAT=lie, FSTAT=lie))
    await sandbox.fails(server, "large: .*changed", "{host}:large", "{target}", status=1)


async def test_row22_one_bad_file_does_not_keep_the_others(serve, sandbox):
    good = {b"dir/%d" % number: Node(data=b"%d" % number) for number in range(20)}
    nodes = {b"dir": folder(*[entry(path[4:], node) for path, node in good.items()]), **good}

    def some(session: Session, number: int, values: Any) -> bytes | None:
        return status(number, 3, b"not this one") if values[0] == b"dir/7" else None

    server = serve(sftp(nodes, OPEN=some))
    ended = await sandbox.fails(server, "dir/7: not this one", "-r", "{host}:dir", "{target}", status=1)
    assert len(ended.lines) == 1
    assert len(os.listdir(sandbox.target / "dir")) == 19


@pytest.mark.parametrize("moment", ["key exchange", "READ", "WRITE", "stuck WRITE"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_row12_signals_end_it_whatever_the_server_does(serve, sandbox, moment, number):
    """A server that does not answer, reached at three points, and one that does not even read any more."""
    gone = threading.Event()
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def arrived() -> bytes:
        if not gone.is_set():
            loop.call_soon_threadsafe(reached.set)
        return b""

    def silent(peer: Peer) -> None:
        peer.raw(peer.transport.identification)
        peer.sock.recv(1000)
        arrived()

    def hook(session: Session, request: int, values: Any) -> bytes:
        arrived()
        assert moment != "stuck WRITE" or gone.wait(SCRIPT_SECONDS)
        return b""

    hooks = {moment.rpartition(" ")[2]: hook}
    (sandbox.target / "source").write_bytes(bytes(20_000_000))
    server = serve(silent if moment == "key exchange" else sftp({b"large": Node(data=LARGE)}, **hooks))
    words = ["{target}/source", "{host}:target"] if "WRITE" in moment else ["{host}:large", "{target}"]
    ended = await sandbox.scp(server, *words, signals=(reached, number))
    gone.set()
    assert ended.status == 128 + number, ended
    assert "interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr
    for line in ended.lines:
        check_line(line)
    assert not (sandbox.target / "large").exists() or (sandbox.target / "large").stat().st_size < len(LARGE)
