"""One file over several sessions, in memory: whatever the order, the losses and the lies, the target is never more than
it seems."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fastssh.errors import SFTPError, SFTPPermissionError, TransferError
from fastssh.sftp import download, messages, stripes, upload
from fastssh.sftp.constants import OpenFlags, StatusCode
from fastssh.sftp.download import FileDownload
from fastssh.sftp.messages import StatusReply
from fastssh.sftp.transfer import FileCopy, FileOptions
from fastssh.sftp.upload import FileUpload
from tests.support.sftp_server import LIES, Lie, Server, about
from tests.support.sftp_stepped import Party

SEGMENT, LAST_PIECE, STRIPED = 100_000, 10_000, 200_000
SIZE = 12 * SEGMENT + 12_345
UP, DOWN = "up", "down"
BULK = {UP: "WRITE", DOWN: "READ"}
both = pytest.mark.parametrize("direction", [UP, DOWN])
seeds = pytest.mark.parametrize("seed", range(8))


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few requests each."""
    for module in (stripes, upload, download):
        monkeypatch.setattr(module, "STRIPED", STRIPED)
    monkeypatch.setattr(stripes, "SEGMENT", SEGMENT)
    monkeypatch.setattr(stripes, "LAST_PIECE", LAST_PIECE)


class Copying:
    """A file on its way from ``source`` to ``target`` over the sessions of ``party``."""

    def __init__(self, folder: Path, direction: str, party: Party, size: int = SIZE) -> None:
        self.source, self.target, self.party, self.direction = folder / "source", folder / "target", party, direction
        self.source.write_bytes(random.Random(size).randbytes(size))
        self.size = size
        self.ended: list[FileCopy] = []
        session, names = party.sessions[0], FileOptions()
        self.copy: FileCopy
        if direction == UP:
            self.copy = FileUpload(session, str(self.source), os.fsencode(self.target), names, self.ended.append)
        else:
            self.copy = FileDownload(session, str(self.target), os.fsencode(self.source), names, self.ended.append)

    @property
    def body(self) -> int:
        """Bytes before the last piece."""
        return max(self.size - 1, 0) // LAST_PIECE * LAST_PIECE

    def run(self, seed: int = 0, weights: list[int] | None = None) -> FileCopy:
        self.copy.start()
        return self.finish(seed, weights)

    def finish(self, seed: int = 0, weights: list[int] | None = None) -> FileCopy:
        self.party.run(random.Random(seed), weights)
        assert self.ended == [self.copy]
        assert [len(session._transfers) for session in self.party.sessions if session.error is None] in (
            [0] * count for count in range(9)
        )
        return self.copy

    def bulk(self, session: int | None = None) -> list[tuple[Any, ...]]:
        return self.party.requests(BULK[self.direction], session)

    def segments(self, session: int) -> set[int]:
        """The segments of the body that a session moved bytes of."""
        return {values[1] // SEGMENT for values in self.bulk(session) if values[1] < self.body}

    def run_until(self, ready: Callable[[], bool]) -> None:
        self.copy.start()
        source = random.Random(1)
        for _ in range(100_000):
            if ready():
                return
            self.party.step(source.randrange(len(self.party.links)))
        raise AssertionError("that never happened")

    def assert_whole(self) -> None:
        assert self.copy.error is None
        assert self.copy.bytes == self.size
        assert self.target.read_bytes() == self.source.read_bytes()
        assert self.party.open_handles() == 0

    def assert_prefix(self, least: int = 0) -> int:
        """The target holds a true beginning of the source, and not all of it."""
        data = self.target.read_bytes()
        assert least <= len(data) < self.size
        assert data == self.source.read_bytes()[: len(data)]
        return len(data)


@pytest.fixture
def party() -> Iterator[Callable[..., Party]]:
    made: list[Party] = []

    def make(*arguments: Any, **options: Any) -> Party:
        made.append(Party(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Party]


@both
@seeds
def test_bytes_over_several_sessions_are_the_sources(tmp_path: Path, party: Make, direction: str, seed: int) -> None:
    copying = Copying(tmp_path, direction, party(3))
    copying.run(seed)
    copying.assert_whole()
    assert all(copying.segments(number) for number in range(3))
    moved = [len(values[2]) if direction == UP else values[2] for values in copying.bulk() if values[1] < SIZE]
    assert sum(moved) == SIZE  # nothing twice


EDGES = [
    *(STRIPED + more for more in (-1, 0, 1)), *(3 * SEGMENT + more for more in (-1, 0, 1)),
    *(3 * SEGMENT + LAST_PIECE + more for more in (-1, 0, 1)), SEGMENT, SEGMENT + 1, 32_769,
]


@both
@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("sessions", [1, 2])
def test_sizes_around_the_edges_of_segments(
    tmp_path: Path, party: Make, direction: str, size: int, sessions: int
) -> None:
    copying = Copying(tmp_path, direction, party(sessions), size)
    copying.run()
    copying.assert_whole()
    used = sessions == 2 and size >= STRIPED
    assert len(copying.party.requests("OPEN")) == 1 + used
    edges = sorted(values[1] for values in copying.bulk())
    assert all(number * SEGMENT in edges for number in range(-(-copying.body // SEGMENT)))
    assert copying.body in edges


@both
@seeds
def test_the_last_piece_goes_when_all_else_is_there_and_closed(
    tmp_path: Path, party: Make, direction: str, seed: int
) -> None:
    copying = Copying(tmp_path, direction, together := party(3))
    sizes: dict[int, int] = {}  # of the target, after each answer
    together.watch = lambda session, name, values: sizes.update(
        {len(together.log) - 1: copying.target.stat().st_size if copying.target.exists() else 0}
    )
    copying.run(seed, [1, 5, 1])
    copying.assert_whole()
    moved = [index for index, (_, name, _) in enumerate(together.log) if name == BULK[direction]]
    first_last = next(index for index in moved if together.log[index][2][1] >= copying.body)
    before = sum(len(v[2]) if direction == UP else v[2] for _, name, v in together.log[:first_last]
                 if name == BULK[direction])
    assert before == copying.body
    assert all(session == 0 for session, _, _ in together.log[first_last:])
    assert [session for session, name, _ in together.log[:first_last] if name == "CLOSE"] in ([1, 2], [2, 1])
    assert max(size for index, size in sizes.items() if index < first_last) < SIZE
    probes = [values for values in copying.bulk() if values[1] >= SIZE]
    assert len(probes) == (direction == DOWN)  # the end is looked for once


@both
def test_a_slow_companion_gets_less_to_do(tmp_path: Path, party: Make, direction: str) -> None:
    copying = Copying(tmp_path, direction, party(2), 40 * SEGMENT)
    copying.run(0, [20, 1])
    copying.assert_whole()
    assert 2 <= len(copying.segments(1)) < len(copying.segments(0)) / 3


@both
def test_companions_that_come_later_join_in(tmp_path: Path, party: Make, direction: str) -> None:
    copying = Copying(tmp_path, direction, together := party(2, join=False))
    copying.run_until(lambda: len(copying.bulk()) > 6)
    together.join(1)
    copying.finish()
    copying.assert_whole()
    assert copying.segments(1)
    assert together.sessions[0].joining == []


# -- which companions are used -----------------------------------------------------------------------------------------


def test_companions_never_create_or_empty_a_file(tmp_path: Path, party: Make) -> None:
    copying = Copying(tmp_path, UP, together := party(3))
    copying.run()
    opened = [(session, values[1]) for session, name, values in together.log if name == "OPEN"]
    assert [flags for session, flags in opened if session == 0] == [
        OpenFlags.WRITE | OpenFlags.CREAT | OpenFlags.TRUNC
    ]
    assert {flags for session, flags in opened if session} == {OpenFlags.WRITE}


def refused(name: str) -> Lie:
    def lie(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
        if name == "OPEN":
            server.close()  # it is not open, then
        return messages.STATUS.encode(number, StatusReply(StatusCode.PERMISSION_DENIED, "no"))

    return about(name, lie)


def elsewhere(field: str) -> Lie:
    """FSTAT shows another file."""

    def lie(server: Server, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
        attributes = messages.ATTRIBUTES.decode(reply[4:])
        setattr(attributes, field, (getattr(attributes, field) or 0) ^ 1)
        return messages.ATTRIBUTES.encode(number, attributes)

    return about("FSTAT", lie)


@both
@pytest.mark.parametrize("how", ["OPEN", "FSTAT", "another"])
def test_a_companion_that_cannot_open_the_file_or_sees_another_is_not_used(
    tmp_path: Path, party: Make, direction: str, how: str
) -> None:
    field = "atime" if direction == UP else "mtime"
    lie = elsewhere(field) if how == "another" else refused(how)
    copying = Copying(tmp_path, direction, party(3, {1: lie}))
    copying.run()
    copying.assert_whole()
    assert not copying.bulk(1)
    assert copying.segments(2)


def test_a_file_that_cannot_be_marked_goes_over_one_session(tmp_path: Path, party: Make) -> None:
    copying = Copying(tmp_path, UP, together := party(2, {0: LIES["no-fsetstat"]}))
    copying.run()
    copying.assert_whole()
    assert len(together.requests("OPEN")) == 1


# -- losses and failures -----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_what_a_lost_companion_had_is_done_by_the_others(
    tmp_path: Path, party: Make, direction: str, after: int
) -> None:
    copying = Copying(tmp_path, direction, together := party(3))
    copying.run_until(lambda: len(copying.bulk(1)) > after)
    mine = copying.segments(1)
    together.lose(1)
    copying.finish()
    copying.assert_whole()
    assert mine
    if direction == UP:  # all of it again, as its handle was never closed
        assert mine <= copying.segments(0) | copying.segments(2)


def test_a_companion_lost_before_its_close_was_answered_is_done_again(tmp_path: Path, party: Make) -> None:
    copying = Copying(tmp_path, UP, together := party(2))
    copying.run_until(lambda: bool(together.requests("CLOSE", 1)))
    mine = copying.segments(1)
    together.lose(1)
    copying.finish()
    copying.assert_whole()
    assert mine and mine <= copying.segments(0)


@both
def test_the_loss_of_the_first_session_is_the_end(tmp_path: Path, party: Make, direction: str) -> None:
    copying = Copying(tmp_path, direction, together := party(3))
    copying.run_until(lambda: len(copying.bulk()) > 15)
    together.lose(0)
    assert copying.ended == [copying.copy]
    assert str(copying.copy.error) == "connection lost"
    together.run(random.Random(0))
    if direction == DOWN:
        copying.assert_prefix()
    assert copying.target.stat().st_size < SIZE
    assert [len(server._handles) for server in together.servers[1:]] == [0, 0]


def late(name: str, offset: int) -> Lie:
    return about(name, lambda s, n, v, r: r if v[1] < offset else messages.STATUS.encode(
        n, StatusReply(StatusCode.PERMISSION_DENIED, "not this one")))


@both
@seeds
@pytest.mark.parametrize("session", [0, 1])
def test_a_refusal_of_any_session_fails_the_file_and_cuts_it(
    tmp_path: Path, party: Make, direction: str, seed: int, session: int
) -> None:
    lie = late(BULK[direction], 5 * SEGMENT + 50_000)
    copying = Copying(tmp_path, direction, party(3, {session: lie}))
    copy = copying.run(seed)
    assert isinstance(copy.error, SFTPPermissionError)
    assert copy.error.strerror == "not this one"
    assert copy.error.filename == str(copying.target if direction == UP else copying.source)
    prefix = copying.assert_prefix()
    assert prefix <= copying.body
    assert copying.party.open_handles() == 0


@both
def test_the_cut_is_before_the_first_gap(tmp_path: Path, party: Make, direction: str) -> None:
    """Session 0 stands still in the first segments while the others finish all that follow."""
    copying = Copying(tmp_path, direction, together := party(3))
    copying.copy.start()
    while len(together.requests("FSTAT")) < 2:
        for number in range(3):
            together.step(number)
    for _ in range(200):
        together.step(1)
        together.step(2)
    assert copying.target.stat().st_size > 8 * SEGMENT
    assert copying.copy.progress > 8 * SEGMENT
    copying.copy.cancel()
    copying.finish()
    assert isinstance(copying.copy.error, TransferError)
    assert "interrupted" in str(copying.copy.error)
    assert copying.assert_prefix() <= 2 * SEGMENT


@both
@seeds
def test_a_cancelled_copy_is_a_true_beginning(tmp_path: Path, party: Make, direction: str, seed: int) -> None:
    copying = Copying(tmp_path, direction, party(3))
    copying.run_until(lambda: len(copying.bulk()) > 5 * seed)
    copying.copy.cancel()
    before = len(copying.bulk())
    copying.finish(seed)
    assert len(copying.bulk()) == before  # nothing more was asked for
    copying.assert_prefix()
    assert copying.party.open_handles() == 0


@both
def test_a_companion_that_cannot_close_fails_the_file(tmp_path: Path, party: Make, direction: str) -> None:
    copying = Copying(tmp_path, direction, party(2, {1: LIES["close-fails"]}))
    copy = copying.run()
    assert isinstance(copy.error, SFTPError)
    assert copy.error.strerror == "close: quota exceeded"
    prefix = copying.assert_prefix()
    if direction == UP:  # what it wrote may be lost
        assert prefix <= SEGMENT * min(copying.segments(1))


@both
@pytest.mark.parametrize("change", ["shrunk", "grown", "touched"])
@pytest.mark.parametrize("sessions", [1, 3])
def test_a_source_that_changes_is_noticed_and_the_copy_stays_short(
    tmp_path: Path, party: Make, direction: str, change: str, sessions: int
) -> None:
    copying = Copying(tmp_path, direction, party(sessions))
    copying.run_until(lambda: len(copying.bulk()) > 8)
    status = copying.source.stat()
    match change:
        case "shrunk":
            os.truncate(copying.source, SIZE - 2 * SEGMENT)
        case "grown":
            os.truncate(copying.source, SIZE + 1)
        case _:
            os.utime(copying.source, (status.st_atime, 12345))
    copy = copying.finish()
    assert isinstance(copy.error, TransferError)
    assert str(copy.error) == f"{copying.source}: file changed while it was copied"
    assert copying.target.stat().st_size < min(SIZE, copying.source.stat().st_size + (change == "shrunk") * SIZE)
    assert copying.party.open_handles() == 0


@seeds
def test_anything_may_happen_and_the_target_is_whole_or_short(tmp_path: Path, party: Make, seed: int) -> None:
    """Losses, refusals and cancelling at random times, in both directions."""
    source = random.Random(seed)
    for round_ in range(12):
        direction = source.choice([UP, DOWN])
        folder = tmp_path / str(round_)
        folder.mkdir()
        bulk = BULK[direction]
        lies = {number: late(bulk, source.randrange(SIZE * 3)) for number in range(4) if source.random() < 0.2}
        copying = Copying(folder, direction, together := party(4, lies))
        copying.copy.start()
        for _ in range(source.randrange(1, 300)):
            together.step(source.randrange(4))
            if source.random() < 0.004:
                together.lose(source.randrange(4))
            if source.random() < 0.002:
                copying.copy.cancel()
        copying.finish(seed)
        if copying.copy.error is None:
            assert copying.target.read_bytes() == copying.source.read_bytes()
        elif copying.target.exists():
            assert copying.target.stat().st_size < SIZE
            if direction == DOWN or together.sessions[0].error is None:
                copying.assert_prefix()


@pytest.mark.parametrize("size", [2**40, 2**50, 2**63 - 1])
def test_row10_a_size_that_no_file_has_costs_no_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server says the size is: no more segments than MAX_SEGMENTS, and they cover all of the body."""
    monkeypatch.undo()
    moving = stripes.Stripes(Mock(), b"", 0, size, (b"remote", "local"), Mock(), spread=False)
    assert len(moving._states) <= stripes.MAX_SEGMENTS
    assert len(moving._states) * moving._segment >= moving._body >= size - stripes.LAST_PIECE
    assert moving._segment % stripes.LAST_PIECE == 0
