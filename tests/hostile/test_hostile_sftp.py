"""SFTP replies that are wrong, too many, too large, or never end, against the API."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fastssh.aio import copy
from fastssh.errors import (
    ConnectionLostError,
    ProtocolError,
    SFTPBadMessageError,
    SFTPConnectionLostError,
    SFTPError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.sftp import messages
from fastssh.sftp.constants import StatusCode
from fastssh.sftp.stripes import LAST_PIECE
from fastssh.wire import codec
from fastssh.wire.messages import ChannelClose, ChannelEof, ChannelRequest
from tests.hostile.client import MIB, memory_bounded, refused, survives
from tests.hostile.server import SCRIPT_SECONDS
from tests.hostile.sftp import (
    FILE,
    FOLDER,
    LINK,
    Node,
    Session,
    always,
    attributes,
    entry,
    folder,
    reply,
    sftp,
    status,
)

Act = Callable[[Any], Awaitable[object]]
NASTY = b"bad\x1b[31m\x07\xff\x9b\nname"
BROKEN = (ProtocolError, SFTPBadMessageError, SFTPConnectionLostError)
LONG = b"\xff\xff\xff\xff"
SMALL, LARGE = b"small", b"x" * 100_000
NODES = {b"small": Node(data=SMALL), b"large": Node(data=LARGE), b"dir": folder(entry(b"one"), entry(b"two"))}


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orderly end is waited for, but not as long as for people."""
    monkeypatch.setattr("fastssh.aio.sftp.INTERRUPT_SECONDS", 0.2)
    monkeypatch.setattr("fastssh.aio.driver.GOODBYE_SECONDS", 0.2)


def using(act: Act) -> Any:
    """In an SFTP session of the connection."""

    async def use(connection: Any) -> None:
        async with await connection.sftp(timeout=10) as session:
            await act(session)

    return use


async def stat_small(session: Any) -> None:
    await session.stat("small")


async def read_small(session: Any) -> None:
    async with session.open("small") as file:
        await file.read()


def get(name: str, target: Path) -> Act:
    async def act(session: Any) -> None:
        await session.get_file(name, target)

    return act


# --- row 22: ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 5, 1000, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF])
@pytest.mark.parametrize("kind", ["status", "data", "handle", "unknown"])
async def test_row22_replies_to_requests_that_were_not_made(serve, number, kind):
    make = {
        "status": status(number, 0),
        "data": reply(103, number, codec.string(b"x" * 100)),
        "handle": reply(102, number, codec.string(b"h")),
        "unknown": reply(77, number, b""),
    }[kind]

    async def act(session: Any) -> None:
        await session.stat("small")
        await session.stat("small")

    script = sftp(NODES, STAT=lambda session, request, values: messages.ATTRIBUTES.encode(request, attributes()) + make)
    await refused(serve(script), BROKEN, "was not made|unknown request|malformed", using(act))


@pytest.mark.parametrize("name", ["small", "large"])
async def test_row22_replies_that_come_twice(serve, tmp_path, name):
    def twice(session: Session, number: int, values: Any) -> bytes:
        return session.good(messages.READ, number, values) * 2

    target = tmp_path / "file"
    await refused(serve(sftp(NODES, READ=twice)), BROKEN, "not made|unknown request", using(get(name, target)))
    assert not target.exists() or target.stat().st_size < len(LARGE)


@pytest.mark.parametrize("kind", [1, 2, 3, 99, 101, 102, 103, 104, 105, 200, 201, 255])
async def test_row22_replies_of_another_kind(serve, kind):
    script = sftp(NODES, OPEN=always(lambda number: reply(kind, number, codec.uint32(0) + b"xx")))
    await refused(serve(script), BROKEN, "reply to OPEN", using(read_small))


@pytest.mark.parametrize("request_name", ["OPEN", "STAT", "READ", "READDIR", "REALPATH", "OPENDIR"])
async def test_row22_ok_is_no_answer_to_what_asks_for_something(serve, tmp_path, request_name):
    async def act(session: Any) -> None:
        if request_name == "REALPATH":
            await session.realpath()
        elif request_name.endswith("DIR"):
            await session.listdir("dir")
        elif request_name == "STAT":
            await session.stat("small")
        else:
            await session.get_file("large", tmp_path / "file")

    script = sftp(NODES, **{request_name: always(lambda number: status(number, 0))})
    await refused(serve(script), BROKEN, "status OK|malformed SFTP reply", using(act))


# --- row 22: data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, "one more", "twice", 262_000])
@pytest.mark.parametrize("how", ["file.read", "small", "large"])
async def test_row22_data_that_is_empty_or_more_than_was_asked_for(serve, tmp_path, size, how):
    def answer(session: Session, number: int, values: Any) -> bytes:
        length = {"one more": values[2] + 1, "twice": 2 * values[2]}.get(size, size)
        return reply(103, number, codec.string(b"d" * length))

    async def act(session: Any) -> None:
        if how == "file.read":
            async with session.open("large") as file:
                await file.read()
        else:
            await session.get_file(how, tmp_path / "file")

    await refused(serve(sftp(NODES, READ=answer)), BROKEN, "asked for|malformed", using(act))


@pytest.mark.parametrize(
    "body", [b"", b"\0\0", LONG, LONG + b"x" * 100, codec.uint32(101) + b"x" * 100, codec.uint32(99) + b"x" * 100]
)
@pytest.mark.parametrize("name", ["small", "large"])
async def test_row07_data_whose_length_is_not_that_of_the_message(serve, tmp_path, body, name):
    script = sftp(NODES, READ=always(lambda number: reply(103, number, body)))
    await refused(serve(script), BROKEN, "reply to READ|malformed", using(get(name, tmp_path / "file")))


@pytest.mark.parametrize("length", [0, 1, 4, 256 * 1024 + 1, 2**31, 2**32 - 1])
async def test_row22_message_length_is_bounded(serve, length):
    script = sftp(NODES, STAT=always(lambda number: codec.uint32(length) + b"\x65" + codec.uint32(number)))
    with memory_bounded():
        await refused(serve(script), BROKEN, "malformed", using(stat_small))


# --- row 22: the other replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 257, 1000, 200_000])
async def test_row22_handles_are_of_1_to_256_bytes(serve, size):
    script = sftp(NODES, OPEN=always(lambda number: reply(102, number, codec.string(b"h" * size))))
    await refused(serve(script), BROKEN, f"handle of {size} bytes", using(read_small))


async def test_row22_a_handle_of_256_bytes_is_good(serve, tmp_path):
    handle = bytes(range(256))
    nodes = {**NODES, handle: Node(data=LARGE)}
    script = sftp(nodes, OPEN=always(lambda number: reply(102, number, codec.string(handle))))
    await survives(serve(script), using(get("large", tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == LARGE


@pytest.mark.parametrize("request_name", ["STAT", "READ"])
@pytest.mark.parametrize(
    ("body", "match"),
    [
        (codec.uint32(4) + codec.string(NASTY) + codec.string(b""), r"bad\\033\[31m\\007"),
        (codec.uint32(4) + codec.string(b"\xff\xfe\x80") + codec.string(b"\xff"), "."),
        (codec.uint32(4) + codec.string(b"x" * 200_000) + codec.string(b""), "xxx"),
        (codec.uint32(4) + codec.string(b"") + codec.string(b""), "Failure"),
        (codec.uint32(4), "Failure"),
        (codec.uint32(4) + codec.string(b"no language"), "no language"),
        (codec.uint32(3), "Permission denied"),
        (codec.uint32(2), "No such file"),
        (codec.uint32(31), "status 31"),
        (codec.uint32(2**32 - 1) + codec.string(b"") * 2, "status|Failure"),
        (codec.uint32(2**31) + codec.string(b"") * 2, "status|Failure"),
    ],
)
async def test_row19_status_text_is_made_fit_for_a_terminal(serve, tmp_path, request_name, body, match):
    script = sftp(NODES, **{request_name: always(lambda number: reply(101, number, body))})
    act = stat_small if request_name == "STAT" else get("large", tmp_path / "file")
    error = await refused(serve(script), SFTPError, match, using(act))
    assert error.filename in ("small", "large")


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\0\0\0", codec.uint32(4) + LONG, codec.uint32(4) + b"\0", codec.uint32(4) + bytes(8) + b"x"]
)
async def test_row07_malformed_status(serve, body):
    script = sftp(NODES, STAT=always(lambda number: reply(101, number, body)))
    await refused(serve(script), BROKEN, "reply to STAT", using(stat_small))


@pytest.mark.parametrize(
    "body",
    [
        b"", LONG, LONG + b"x" * 1000, codec.uint32(1), codec.uint32(1) + codec.string(b"a"),
        codec.uint32(1) + codec.string(b"a") + LONG, codec.uint32(2) + codec.string(b"a") * 2 + attributes().encode(),
        codec.uint32(1) + codec.string(b"a") * 2 + attributes().encode() + b"x",
        codec.uint32(1) + codec.string(b"a") * 2 + b"\x80\0\0\0" + LONG,
        codec.uint32(1) + codec.string(b"a") * 2 + b"\0\0\0\xff" + bytes(8),
    ],
)  # fmt: skip
@pytest.mark.parametrize("request_name", ["READDIR", "REALPATH"])
async def test_row07_malformed_names(serve, body, request_name):
    async def act(session: Any) -> None:
        await (session.listdir("dir") if request_name == "READDIR" else session.realpath())

    script = sftp(NODES, **{request_name: always(lambda number: reply(104, number, body))})
    with memory_bounded():
        await refused(serve(script), BROKEN, f"reply to {request_name}", using(act))


@pytest.mark.parametrize("names", [(), (entry(b"/a"), entry(b"/b"))])
async def test_row22_one_name_means_one(serve, names):
    async def act(session: Any) -> None:
        await session.realpath()

    script = sftp(NODES, REALPATH=always(lambda number: messages.NAME.encode(number, names)))
    await refused(serve(script), BROKEN, "names in reply to REALPATH", using(act))


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\0\0\0\1", b"\0\0\0\1" + bytes(7), b"\x80\0\0\0" + LONG, b"\x80\0\0\0\0\0\0\1" + LONG,
             b"\0\0\0\0x", b"\0\0\0\x0f" + bytes(27)],
)  # fmt: skip
async def test_row07_malformed_attributes(serve, body):
    script = sftp(NODES, STAT=always(lambda number: reply(105, number, body)))
    await refused(serve(script), BROKEN, "reply to STAT", using(stat_small))


# --- row 22: the first exchange -----------------------------------------------------------------------------------


def frame(number: int, body: bytes) -> bytes:
    return messages.frame(bytes((number,)) + body)


@pytest.mark.parametrize(
    "version",
    [
        frame(2, codec.uint32(0)), frame(2, codec.uint32(2)), frame(2, codec.uint32(4)), frame(2, codec.uint32(6)),
        frame(2, LONG), frame(2, codec.uint32(3) + LONG), frame(2, codec.uint32(3) + codec.string(b"a")),
        frame(2, codec.uint32(3) + codec.string(b"a") + LONG), frame(1, codec.uint32(3)), status(0, 0), status(3, 4),
        frame(104, codec.uint32(3)), codec.uint32(0) + b"x" * 9, codec.uint32(3) + b"\2\0\0" + bytes(9),
        b"Last login: today\r\n", b"\x1b[2J" * 100, b"\xff" * 1000,
    ],
    ids=lambda version: version[:16].hex(),
)  # fmt: skip
async def test_row22_what_is_not_version_3_of_sftp_is_refused(serve, version):
    with memory_bounded():
        await refused(serve(sftp(NODES, version=version)), BROKEN, "SFTP|malformed", using(stat_small))


async def test_row22_version_twice(serve):
    script = sftp(NODES, version=frame(2, codec.uint32(3)) * 2)
    await refused(serve(script), BROKEN, "was not made|reply to", using(stat_small))


async def test_row22_no_version_at_all_is_given_up_at_the_deadline(serve):
    async def use(connection: Any) -> None:
        await connection.sftp(timeout=0.3)

    await refused(serve(sftp(NODES, version=b"")), SSHTimeoutError, "did not start SFTP in time", use)


@pytest.mark.parametrize(
    "limits", [(0, 0, 0, 0), (2**64 - 1,) * 4, (1, 1, 1, 1), (34_000, 2**63, 2**63, 0), (5, 2**40, 2**40, 1)]
)
async def test_row22_absurd_limits_do_no_harm(serve, tmp_path, limits):
    def answer(session: Session, number: int, values: Any) -> bytes:
        return reply(201, number, b"".join(map(codec.uint64, limits)))

    async def act(session: Any) -> None:
        assert 1024 <= session.read_length <= 261_120
        assert 1024 <= session.write_length <= 261_120
        await session.get_file("large", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == LARGE
        await session.put_file(tmp_path / "file", "back")

    hooks: dict[str, Any] = {"limits@openssh.com": answer}
    sessions: list[Session] = []
    script = sftp(NODES, extensions={"limits@openssh.com": b"1"}, sessions=sessions, **hooks)
    await survives(serve(script), using(act))
    assert sessions[0].written[b"back"] == LARGE


@pytest.mark.parametrize("body", [b"", bytes(31), bytes(33), LONG])
async def test_row07_malformed_limits(serve, body):
    hooks: dict[str, Any] = {"limits@openssh.com": always(lambda number: reply(201, number, body))}
    script = sftp(NODES, extensions={"limits@openssh.com": b"1"}, **hooks)
    await refused(serve(script), BROKEN, "reply to limits", using(stat_small))


# --- row 10, files that lie ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
async def test_row10_sizes_that_no_file_has(serve, tmp_path, size):
    """The file has 100,000 bytes, whatever its size is said to be: never a success, and nothing huge is made."""
    nodes = {b"large": Node(data=LARGE, size=size)}
    target = tmp_path / "file"

    async def act(session: Any) -> None:
        with pytest.raises((SSHError, OSError)) as caught:
            await session.get_file("large", target)
        assert str(caught.value).isprintable()
        assert "large" in str(caught.value)

    with memory_bounded():
        await survives(serve(sftp(nodes)), using(act))
    assert not target.exists() or target.stat().st_size <= len(LARGE)


@pytest.mark.parametrize("size", [1, 99_999, 100_001, 200_000])
async def test_row10_a_file_of_another_size_than_was_said_is_no_success(serve, tmp_path, size):
    nodes = {b"large": Node(data=LARGE, size=size)}
    target = tmp_path / "file"
    await refused(serve(sftp(nodes)), SSHError, "changed", using(get("large", target)))


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_row22_a_file_that_never_ends_can_be_given_up(serve, tmp_path, size):
    def endless(session: Session, number: int, values: Any) -> bytes:
        return reply(103, number, codec.string(bytes(min(values[2], 32_768))))

    async def act(session: Any) -> None:
        async with asyncio.timeout(0.5):
            await session.get_file("large", tmp_path / "file")

    async def use(connection: Any) -> None:
        try:
            await using(act)(connection)
        except TimeoutError as error:
            raise SSHTimeoutError(str(error) or "given up") from None

    nodes = {b"large": Node(data=LARGE, size=size)}
    with memory_bounded(40 * MIB):
        await refused(serve(sftp(nodes, READ=endless)), SSHError, "given up|changed", use)


@pytest.mark.parametrize("request_name", ["OPEN", "READ", "FSTAT", "CLOSE", "STAT"])
async def test_row22_an_answer_that_never_comes_can_be_given_up(serve, tmp_path, hurry, request_name):
    async def use(connection: Any) -> None:
        async with await connection.sftp() as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await session.get_file("large", tmp_path / "file")

    await survives(serve(sftp(NODES, **{request_name: always(lambda number: b"")})), use)
    target = tmp_path / "file"
    assert request_name in ("FSTAT", "CLOSE") or not target.exists() or target.stat().st_size < len(LARGE)


# --- the channel under it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["STAT", "OPEN", "READ", "FSTAT", "CLOSE"])
@pytest.mark.parametrize("how", ["eof", "close", "exit", "shutdown"])
async def test_row11_a_session_that_ends_in_the_middle(serve, tmp_path, moment, how):
    def end(session: Session, number: int, values: Any) -> bytes:
        peer = session.peer
        if how == "exit":
            peer.send(ChannelRequest(peer.channel, "exit-status", False, codec.uint32(1)))
        if how == "shutdown":
            peer.sock.shutdown(1)
        else:
            peer.send(ChannelEof(peer.channel) if how == "eof" else ChannelClose(peer.channel))
        return b""

    target = tmp_path / "file"
    kinds = (SFTPConnectionLostError, ConnectionLostError)
    await refused(serve(sftp(NODES, **{moment: end})), kinds, "ended|closed|Connection", using(get("large", target)))
    assert moment in ("FSTAT", "CLOSE") or not target.exists() or target.stat().st_size < len(LARGE)


async def test_row12_stderr_without_end_costs_nothing(serve, tmp_path):
    def noisy(session: Session, number: int, values: Any) -> None:
        session.peer.flood(session.peer.extended(b"\x1b[31m" * 6000), 100)

    async def act(session: Any) -> None:
        for _ in range(10):
            await session.stat("small")
        await session.get_file("large", tmp_path / "file")

    with memory_bounded():
        await survives(serve(sftp(NODES, STAT=noisy)), using(act))
    assert (tmp_path / "file").read_bytes() == LARGE


async def test_row22_replies_in_any_order_and_any_pieces_are_good(serve, tmp_path):
    """Not hostile, but what hostile ones look like at first: last request first, a byte at a time."""
    waiting: list[bytes] = []
    data = os.urandom(8 * 32_768 - 10)

    def later(session: Session, number: int, values: Any) -> bytes:
        waiting.append(session.good(messages.READ, number, values))
        end = values[1] + values[2]
        # Nothing more may be asked for before these are answered: all but the last piece, and the end.
        if len(waiting) < 4 and end % LAST_PIECE and end < len(data):
            return b""
        out = b"".join(reversed(waiting))
        waiting.clear()
        session.peer.send(*[session.peer.data(out[at : at + 1]) for at in range(50)])
        return out[50:]

    await survives(serve(sftp({b"large": Node(data=data)}, READ=later)), using(get("large", tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == data


# --- row 18: names ------------------------------------------------------------------------------------------------

# Should a check ever fail, these must lead to nothing that anybody needs: all of them stay in the sandbox.
BAD_NAMES = [
    b"", b"/", b"a/b", b"../victim", b"..\x00", b"sub/../../victim", b"a\0b", b"\0", b"victim/", b"//",
    b"../../victim", b"../../../home/.ssh/authorized_keys",
]  # fmt: skip
GOOD_NAMES = [b"..x", b"...", b"-rf", b"a b", b"new\nline", NASTY, b"~", b"$(id)", b"`id`", b"a\\b", b"\xff", b"*"]


async def download(session: Any, target: Path, *sources: str, **options: Any) -> Any:
    return await copy.download(session, sources or ("dir",), target, copy.CopyOptions(**options))


@pytest.mark.parametrize("kind", [FILE, FOLDER, LINK, None, stat.S_IFIFO | 0o644])
async def test_row18_no_name_leads_out_of_the_directory_it_was_listed_in(serve, sandbox, kind):
    names = [*BAD_NAMES, os.fsencode(sandbox.target.parent / "victim"), os.fsencode(sandbox.root / "new"), b"good"]
    listed = [entry(name, Node(kind, data=b"evil")) for name in names]
    nodes = {b"dir": folder(*listed)}
    for name in listed:
        for path in (b"dir/" + name.filename, name.filename):
            nodes.setdefault(path, Node(FOLDER if kind == FOLDER else FILE, data=b"evil"))

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, recurse=True)
        assert report.failed >= len(BAD_NAMES)
        for failure in report.errors:
            assert str(failure.error).isprintable(), failure

    await survives(serve(sftp(nodes)), using(act))
    sandbox.check()
    assert sorted(os.listdir(sandbox.target)) in ([], ["dir"])
    inside = sandbox.target / "dir"
    assert set(os.listdir(inside) if inside.exists() else ()) <= {"good"}


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_row18_listings_refuse_such_names(serve, name):
    async def act(session: Any) -> None:
        await session.listdir("dir")

    nodes = {b"dir": folder(entry(name))}
    await refused(serve(sftp(nodes)), SFTPBadMessageError, "server sent a name that is no file name", using(act))


async def test_row18_strange_names_are_names_and_nothing_else(serve, sandbox):
    nodes = {b"dir": folder(*[entry(name, Node(data=b"x")) for name in GOOD_NAMES])}
    nodes.update({b"dir/" + name: Node(data=b"x") for name in GOOD_NAMES})

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, recurse=True)
        assert report.failed == 0

    await survives(serve(sftp(nodes)), using(act))
    assert sorted(os.listdir(os.fsencode(sandbox.target / "dir"))) == sorted(GOOD_NAMES)
    sandbox.check()


@pytest.mark.parametrize("pattern", ["*.txt", "wanted.tx?", "d*/wanted.txt"])
async def test_row18_names_that_were_not_asked_for_are_not_taken(serve, sandbox, pattern):
    """CVE-2019-6111: the answer to a pattern has names that it does not match."""
    listed = [entry(name) for name in (b".bashrc", b"authorized_keys", b"wanted.txt", b"wanted.txt.exe", b".txt")]
    nodes = {b".": folder(*listed, entry(b"dir", folder())), b"dir": folder(*listed)}
    nodes.update({prefix + name.filename: Node() for name in listed for prefix in (b"", b"dir/")})

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, pattern)
        assert report.files == 1

    await survives(serve(sftp(nodes)), using(act))
    assert os.listdir(sandbox.target) == ["wanted.txt"]
    sandbox.check()


@pytest.mark.parametrize(
    "answer",
    [b"/evil/.bashrc", b"/evil/*", b"/evil/.*", b"/evil/..", b"/", b"", b"..", b"/evil/x\0y", b"/evil/\x1b[31m"],
)
async def test_row18_the_expansion_of_a_home_directory_chooses_no_local_name(serve, sandbox, answer):
    """~user is for the server to know; what comes after it is not."""
    listed = [entry(name) for name in (b".bashrc", b"authorized_keys", b"wanted.txt")]
    nodes = {
        path: folder(*listed) for path in (b"/evil", b"/evil/", b"/", b"", b".", b"..", b"/evil/..")
    } | {path + name.filename: Node(data=b"evil") for name in listed for path in (b"/evil/", b"/", b"", b"../")}
    hooks: dict[str, Any] = {
        "expand-path@openssh.com": always(lambda number: messages.NAME.encode(number, (entry(answer),)))
    }

    async def act(session: Any) -> None:
        try:
            await download(session, sandbox.target, "~bob/wanted.txt")
        except SSHError as error:
            assert str(error).isprintable()

    script = sftp(nodes, extensions={"expand-path@openssh.com": b"1"}, **hooks)
    await survives(serve(script), using(act))
    sandbox.check()
    assert set(os.listdir(sandbox.target)) <= {"wanted.txt"}


async def test_row18_a_name_that_comes_twice_is_taken_once(serve, sandbox):
    """First as a link to elsewhere, then as a folder to write through: a trick that others fell for."""
    file = Node(data=b"1")
    listed = [entry(b"x", Node(LINK)), entry(b"x", folder()), entry(b"x", file), entry(b"y", file)]
    nodes = {b"dir": folder(*listed), b"dir/x": Node(data=b"1"), b"dir/y": Node(data=b"1")}

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, recurse=True)
        assert report.failed == 2

    await survives(serve(sftp(nodes)), using(act))
    assert not (sandbox.target / "dir" / "x").is_symlink()
    sandbox.check()


@pytest.mark.parametrize("preserve", [False, True])
async def test_row18_set_id_bits_are_not_taken_over(serve, sandbox, preserve):
    special = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
    nodes = {
        b"dir": folder(entry(b"tool", Node(FILE | 0o777 | special)), entry(b"sub", Node(FOLDER | 0o777 | special))),
        b"dir/tool": Node(FILE | 0o777 | special, data=b"x"),
        b"dir/sub": Node(FOLDER | 0o777 | special),
    }

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, recurse=True, preserve=preserve)
        assert report.failed == 0 or all("changed" in str(each.error) for each in report.errors)

    await survives(serve(sftp(nodes)), using(act))
    for path in (sandbox.target / "dir" / "tool", sandbox.target / "dir" / "sub"):
        if path.exists():
            assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


# --- trees that never end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b".", b"..", b"", b"a/b", b"same"])
async def test_row22_a_listing_without_end_comes_to_one(serve, sandbox, name, monkeypatch):
    from fastssh.sftp import download_tree

    monkeypatch.setattr(download_tree, "MAX_ENTRIES", 20_000)
    names = (entry(name),) * 1000

    async def act(session: Any) -> None:
        async with asyncio.timeout(15):
            report = await download(session, sandbox.target, recurse=True)
        assert report.failed

    script = sftp({b"dir": folder()}, READDIR=always(lambda number: messages.NAME.encode(number, names)))
    with memory_bounded(40 * MIB):
        await survives(serve(script), using(act))
    sandbox.check()


@pytest.mark.parametrize("names", [(entry(b"."),) * 1000, (entry(b"x"),) * 1000])
async def test_row22_listdir_without_end_comes_to_one(serve, names, monkeypatch):
    from fastssh.aio import sftp as sftp_module

    monkeypatch.setattr(sftp_module, "MAX_MATCHES", 20_000)

    async def act(session: Any) -> None:
        await session.listdir("dir")

    script = sftp({b"dir": folder()}, READDIR=always(lambda number: messages.NAME.encode(number, names)))
    await refused(serve(script), SFTPError, "too many entries", using(act))


async def test_row22_empty_listings_are_the_end_of_one(serve, sandbox):
    async def act(session: Any) -> None:
        assert await session.listdir("dir") == []
        report = await download(session, sandbox.target, recurse=True)
        assert report.failed == 0

    await survives(serve(sftp(NODES, READDIR=always(lambda number: messages.NAME.encode(number, ())))), using(act))


@pytest.mark.parametrize("kind", [FOLDER, LINK])
async def test_row22_folders_inside_of_themselves_come_to_an_end(serve, sandbox, kind):
    """Every folder has one more in it: by depth, or by the name that REALPATH gives."""
    one = folder()

    def listing(session: Session, number: int, values: Any) -> bytes:
        if values[0] in session._listed:
            return status(number, StatusCode.EOF)
        session._listed.add(values[0])
        return messages.NAME.encode(number, (entry(b"d", Node(kind)),))

    hooks: dict[str, Any] = {
        "STAT": always(lambda number: messages.ATTRIBUTES.encode(number, one.attributes)),
        "OPENDIR": lambda session, number, values: messages.HANDLE.encode(number, values[0][-200:] + b"%d" % number),
        "READDIR": listing,
    }
    if kind == LINK:
        hooks["REALPATH"] = always(lambda number: messages.NAME.encode(number, (entry(b"/the/same"),)))

    async def act(session: Any) -> None:
        async with asyncio.timeout(15):
            report = await download(session, sandbox.target, recurse=True)
        assert any("depth" in str(each.error) or "symbolic" in str(each.error) for each in report.errors)

    await survives(serve(sftp({b"dir": one}, **hooks)), using(act))
    sandbox.check()


async def test_row22_a_folder_that_opens_as_a_file_and_the_other_way_round(serve, sandbox):
    nodes = {
        b"dir": folder(entry(b"file", Node(FOLDER)), entry(b"sub", Node(FILE, data=b"x" * 10))),
        b"dir/file": Node(FILE, data=b"x"),
        b"dir/sub": folder(entry(b"deep")),
    }

    async def act(session: Any) -> None:
        report = await download(session, sandbox.target, recurse=True)
        assert report.failed

    await survives(serve(sftp(nodes)), using(act))
    sandbox.check()


@pytest.mark.parametrize("code", [1, 3, 4, 8, 99])
@pytest.mark.parametrize("request_name", ["OPEN", "WRITE", "CLOSE", "FSETSTAT"])
async def test_row22_an_upload_is_a_success_only_if_every_answer_was(serve, tmp_path, request_name, code):
    source = tmp_path / "source"
    source.write_bytes(LARGE)

    async def act(session: Any) -> None:
        await session.put_file(source, "target", preserve=True)

    hooks = {request_name: always(lambda number: status(number, code, NASTY))}
    if request_name == "FSETSTAT":
        hooks["SETSTAT"] = hooks["FSETSTAT"]  # the other way to say the same
    script = sftp({}, **hooks)
    await refused(serve(script), SFTPError, r"target: .*bad\\033", using(act))


@pytest.mark.parametrize("kind", [102, 103, 104, 105])
async def test_row22_other_answers_to_a_write_end_the_session(serve, tmp_path, kind):
    source = tmp_path / "source"
    source.write_bytes(LARGE)

    async def act(session: Any) -> None:
        await session.put_file(source, "target")

    script = sftp({}, WRITE=always(lambda number: reply(kind, number, codec.string(b"x"))))
    await refused(serve(script), BROKEN, "malformed|reply", using(act))


async def test_row22_a_server_that_stops_reading_an_upload_can_be_given_up(serve, tmp_path, hurry):
    source = tmp_path / "source"
    source.write_bytes(bytes(30 * MIB))
    gone = threading.Event()

    def stuck(session: Session, number: int, values: Any) -> bytes:
        assert gone.wait(SCRIPT_SECONDS)
        return b""

    async def use(connection: Any) -> None:
        async with await connection.sftp() as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await session.put_file(source, "target")

    with memory_bounded():
        await survives(serve(sftp({}, WRITE=stuck)), use)
    gone.set()


@pytest.mark.parametrize("late", ["data", "status", "adjust"])
async def test_row12_file_data_after_the_servers_kexinit_ends_the_connection(serve, tmp_path, late):
    """The native lane obeys RFC 4253 section 7.1 as well."""
    asked = 0

    def rekeying(session: Session, number: int, values: Any) -> bytes | None:
        nonlocal asked
        asked += 1
        if asked == 2:
            session.peer.transport.rekey()  # its KEXINIT goes out right before what follows
            if late == "adjust":
                session.peer.send(session.peer.adjust(1))
            elif late == "status":
                return status(number, StatusCode.EOF)
        return None

    target = tmp_path / "file"
    script = sftp({b"large": Node(data=bytes(500_000))}, READ=rekeying)
    use = using(get("large", target))
    await refused(serve(script), ProtocolError, "not allowed in this state|during key exchange", use)
    assert not target.exists() or target.stat().st_size < 500_000


async def test_row12_rekeys_in_the_middle_of_a_file_are_good_where_they_are_made_well(serve, tmp_path):
    data = os.urandom(1_000_000)
    asked = 0

    def rekeying(session: Session, number: int, values: Any) -> None:
        nonlocal asked
        asked += 1
        if asked % 5 == 0 and asked <= 30:
            peer = session.peer
            peer.transport.rekey()
            peer.flush()
            peer.wait_for(lambda: not peer.transport.exchanging)

    await survives(serve(sftp({b"large": Node(data=data)}, READ=rekeying)), using(get("large", tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == data
