"""fastssh-scp -O as a program against a hostile server that speaks the legacy protocol, or something like it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.scp import download, upload
from fastssh.errors import SSHError
from fastssh.scp.records import MAX_LINE
from fastssh.sftp.tree import CopyOptions
from tests.hostile.client import check_line, memory_bounded, options
from tests.hostile.server import HostileServer, Peer, Script
from tests.support.scp_memory import Watcher

NASTY = b"bad\x1b[31m\x07\xff\x9b"


def legacy(*data: bytes, status: int = 0, words: bytes = b"") -> Script:
    """A server whose scp says ``data`` whatever it is answered, and ``words`` on standard error."""

    def script(peer: Peer) -> None:
        request = peer.start()
        assert request.name == "exec"
        if words:
            peer.send(peer.extended(words))
        for piece in data:
            peer.send(peer.data(piece))
        peer.finish(status)

    return script


def record(name: bytes, kind: bytes = b"C0644 4") -> bytes:
    return kind + b" " + name + b"\n" + (b"evil\0" if kind.startswith(b"C") else b"")


async def pulled(server: HostileServer, target: Path, asked: str, *, strict: bool = True, **copying: bool) -> list[str]:
    """A download within this process: what went wrong, file by file, and in the end."""
    said: list[str] = []
    watcher = Watcher()
    async with fastssh.connect("127.0.0.1", server.port, **options(server)) as connection:
        try:
            await download(
                connection.create_process, asked, str(target), CopyOptions(**copying), watcher, say=said.append,
                strict=strict,
            )  # fmt: skip
        except SSHError as error:
            said.append(str(error))
    for line in said + watcher.failures:
        check_line(line)
    return said + watcher.failures


EVIL = [b"../victim", b"../../home/.ssh/authorized_keys", b"..", b".", b"", b"a/b", b"/etc/passwd", b"a\0b"]


@pytest.mark.parametrize("name", EVIL)
async def test_row18_no_name_leads_out_of_the_target(serve, sandbox, name):
    for kind, copying in ((b"C0644 4", {}), (b"D0755 0", {"recurse": True}), (b"C0644 4", {"strict": False}),
                          (b"D0777 0", {"recurse": True, "preserve": True, "strict": False})):  # fmt: skip
        said = await pulled(serve(legacy(record(name, kind))), sandbox.target, "*", **copying)
        assert said and "unexpected filename" in said[-1]
        assert os.listdir(sandbox.target) == []
        sandbox.check()


@pytest.mark.parametrize(("asked", "sent", "left"), [
    ("file", [b"other"], []), ("file", [b"file", b".bashrc"], ["file"]), ("*.txt", [b"a.txt", b".ssh"], ["a.txt"]),
    ("file", [b"file", b"file"], ["file"]), ("~", [b".ssh"], []), (".", [b".ssh"], []), ("[ab]", [b"a", b"c"], ["a"]),
])
async def test_row18_files_that_were_not_asked_for_are_refused(serve, sandbox, asked, sent, left):
    said = await pulled(serve(legacy(*map(record, sent))), sandbox.target, asked)
    assert re.search("does not match|more than was asked", said[-1])
    assert sorted(os.listdir(sandbox.target)) == left
    sandbox.check()


async def test_row18_with_t_the_server_chooses_names_in_the_target_and_no_others(serve, sandbox):
    ended = await sandbox.scp(serve(legacy(record(b"other"))), "-OT", "{host}:file", "{target}")
    assert (ended.status, os.listdir(sandbox.target)) == (0, ["other"])
    await sandbox.fails(serve(legacy(record(b"../x"))), "unexpected filename", "-OT", "{host}:x", "{target}", status=1)


async def test_row18_directories_come_with_r_alone_and_have_an_end(serve, sandbox):
    said = await pulled(serve(legacy(record(b"dir", b"D0755 0"))), sandbox.target, "dir")
    assert "without -r" in said[-1] and os.listdir(sandbox.target) == []
    said = await pulled(serve(legacy(record(b"dir", b"D0755 0") * 100)), sandbox.target, "dir", recurse=True)
    assert "depth" in said[-1]
    server = serve(legacy(record(b"dir", b"D0755 0"), b"E\n", b"E\n", record(b"x")))
    assert "unexpected end" in (await pulled(server, sandbox.target, "dir", recurse=True))[-1]


async def test_row18_set_id_bits_are_dropped_by_the_legacy_protocol_too(serve, sandbox):
    assert not await pulled(serve(legacy(record(b"tool", b"C7777 4"))), sandbox.target, "tool", preserve=True)
    assert stat.S_IMODE((sandbox.target / "tool").stat().st_mode) == 0o777


@pytest.mark.parametrize("size", [
    b"-1", b"+4", b"9223372036854775808", b"18446744073709551620", b"0x4", b"04", b"1" * 4000,
])
async def test_row10_sizes_are_numbers_that_a_file_can_have(serve, sandbox, size):
    said = await pulled(serve(legacy(b"C0644 " + size + b" file\nevil\0")), sandbox.target, "file")
    assert "protocol error" in said[-1]
    assert os.listdir(sandbox.target) == []


@pytest.mark.parametrize(("data", "match"), [
    (b"C0644 9000000000000000000 file\nevil", "in the middle of a file"), (b"C0644 5 file\nevil\0", "ended without"),
    (b"C0644 3 file\nevil\0", "^l"), (b"C0644 4 file\nevil\x01scp: \x1bbad\n", r"\\033bad"),
    (b"C0644 4 file\nevil\x02gone\n", "gone"),
])
async def test_row22_what_is_longer_or_shorter_than_it_is_said_to_be_is_no_success(serve, sandbox, data, match):
    said = await pulled(serve(legacy(data)), sandbox.target, "file")
    assert any(re.search(match, line) for line in said)
    whole = b"evil" if re.search(rb" (9|5 )", data) else b""
    assert (sandbox.target / "file").read_bytes() in (b"evi", b"ev", whole)


@pytest.mark.parametrize("data", [
    b"C" * 8 * MAX_LINE, b"\x01" * 8 * MAX_LINE, b"\0" * 8 * MAX_LINE, b"T1 0 1 0\n" * 10_000 + b"T",
    b"\x01scp: " + NASTY, b"C0644 4 " + b"n" * 8 * MAX_LINE + b"\n",
])
async def test_row12_lines_without_end_are_cut(serve, sandbox, data):
    pieces = [data[start : start + 16384] for start in range(0, len(data), 16384)]
    with memory_bounded():
        assert await pulled(serve(legacy(*pieces)), sandbox.target, "file")
    assert os.listdir(sandbox.target) == []


async def test_row19_words_of_the_other_side_cannot_drive_the_terminal(serve, sandbox):
    server = serve(legacy(b"\x01scp: " + NASTY + b"\n", status=1, words=NASTY + b"\nfastssh-scp: line\r\n"))
    ended = await sandbox.fails(server, r"bad\\033\[31m\\007", "-O", "{host}:file", "{target}", status=1)
    assert len(ended.lines) == 3


@pytest.mark.parametrize(("script", "match", "status"), [
    (legacy(status=127, words=b"sh: scp: not found\n"), "status 127", 1), (legacy(b"Welcome to host!\n"), "Welcome", 1),
    (lambda peer: peer.open_channel() and peer.sock.shutdown(2), "closed by the peer|reset|lost", 255),
])
async def test_row26_a_far_side_that_fails_is_a_clear_error(serve, sandbox, script, match, status):
    ended = await sandbox.fails(serve(script), match, "-O", "{host}:file", "{target}", status=status)
    assert len([line for line in ended.lines if line.startswith("fastssh-scp:")]) == 1
    assert os.listdir(sandbox.target) == []


@pytest.mark.parametrize("answer", [b"", b"\x01no " + NASTY + b"\n", b"\0" * 9, b"\x01" * 20_000])
async def test_row22_an_upload_that_was_not_acknowledged_is_no_success(serve, sandbox, answer):
    def script(peer: Peer) -> None:
        peer.start()
        peer.send(peer.data(answer) if answer else peer.data(b"x"))
        peer.finish(1 if len(answer) == 9 else 0)

    server, watcher = serve(script), Watcher()
    async with fastssh.connect("127.0.0.1", server.port, **options(server)) as connection:
        try:
            source = [str(sandbox.target.parent / "victim")]
            report = await upload(
                connection.create_process, source, "up", CopyOptions(), watcher, say=watcher.failures.append
            )
        except SSHError as error:
            watcher.failures.append(str(error))
        else:
            assert report.failed
    assert watcher.failures
    for line in watcher.failures:
        check_line(line)


async def test_row12_a_far_side_that_talks_without_end_fills_no_memory(serve, sandbox):
    def script(peer: Peer) -> None:
        peer.start()
        for _ in range(300):
            peer.send(peer.extended(b"words " * 1000))
        peer.send(peer.data(b"\0"))
        peer.finish(1)

    with memory_bounded():
        ended = await sandbox.scp(serve(script), "-O", "{host}:file", "{target}")
    assert ended.status == 1
    assert len(ended.stderr) < 200_000


async def test_ctrl_c_ends_a_legacy_copy_that_hangs(serve, sandbox):
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def script(peer: Peer) -> None:
        peer.start()
        peer.send(peer.data(b"C0644 1000000 file\n"), *[peer.data(bytes(20_000))] * 20)
        answers = b""
        while len(answers) < 2:
            answers += peer.read_channel()
        loop.call_soon_threadsafe(hangs.set)
        while peer.read_channel():
            pass

    sent: Any = (hangs, signal.SIGINT)
    ended = await sandbox.scp(serve(script), "-O", "{host}:file", "{target}", signals=sent)
    assert ended.status == 130
    assert ended.lines[-1] == f"fastssh-scp: interrupted while copying {sandbox.target / 'file'}"
    assert (sandbox.target / "file").stat().st_size < 1_000_000
