"""The progress display: what it draws, on what, and how it counts."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli import progress
from fastssh.cli.progress import Progress, Style, Tally, draw, fit, size_text, time_text
from fastssh.cli.scp.summary import Summary, peak_rss
from fastssh.errors import SFTPPermissionError

PLAIN = Style()


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def columns(text: str) -> int:
    text = re.sub(r"\x1b\[[0-9;]*[mK]", "", text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class Shown(Progress):
    """A display 100 columns wide, without a terminal."""

    def __init__(self, tally: Tally) -> None:
        self.screen = io.StringIO()
        super().__init__(tally, self.screen, PLAIN)

    def _width(self) -> int:
        return 100

    def _in_foreground(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What stands on the screen: of each line what was written last."""
        return [line.rpartition("\r\x1b[K")[2] for line in self.screen.getvalue().split("\n")]


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1048524, "1023.9 KiB"),
    (1048575, "1.0 MiB"), (5 << 30, "5.0 GiB"), (1 << 60, "1.0 EiB"),
])
def test_sizes_are_short(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0:00"), (7.9, "0:07"), (60, "1:00"), (3723, "1:02:03"), (359999, "99:59:59"), (360000, "--:--"),
    (float("inf"), "--:--"), (float("nan"), "--:--"),
])
def test_times_are_short(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@given(st.text(st.characters(blacklist_categories=["C"]), max_size=60), st.integers(0, 40))
def test_a_name_is_fitted_into_its_columns(name: str, width: int) -> None:
    assert columns(fit(name, width)) == width


@given(st.text(st.characters(blacklist_categories=["C"]), max_size=150), st.integers(0, 1 << 62),
       st.integers(0, 1 << 62), st.floats(0, 1e15), st.integers(1, 300), st.booleans(), st.booleans())
def test_a_line_never_reaches_the_last_column(
    name: str, done: int, size: int, rate: float, width: int, colour: bool, unicode: bool
) -> None:
    line = draw(name, done, size, rate, "0:01 left", width, Style(colour, unicode))
    assert columns(line) == width - 1
    assert colour or "\x1b" not in line


def test_a_line_shows_name_bar_percent_bytes_rate_and_time() -> None:
    line = draw("file.bin", 512 << 20, 1 << 30, 100 << 20, "0:05 left", 100, PLAIN)
    assert re.fullmatch(r"file\.bin +#+\.+ +50% +512\.0/1024\.0 MiB +100\.0 MiB/s +0:05 left", line)
    assert "100%" in draw("x", 0, 0, 0, "", 100, PLAIN)  # an empty file is complete at once
    assert " 99%" in draw("x", (1 << 30) - 1, 1 << 30, 0, "", 100, PLAIN)  # never rounded up


def test_a_large_file_is_drawn_and_leaves_a_line() -> None:
    clock = Clock()
    tally = Tally(now=clock)
    shown = Shown(tally)
    tally.on_finished = shown._file_finished
    tally.started("dir/big\x1b[31m", 1 << 30)
    for _ in range(32):
        clock.time += 0.125
        tally.progress("dir/big\x1b[31m", round((clock.time - 100) * (100 << 20)))
        shown.update()
    assert re.fullmatch(r"dir/big\\033\[31m +#+\.+ +39% +400\.0/1024\.0 MiB +100\.0 MiB/s +0:06 left", shown.lines[-1])
    clock.time += 6
    shown.update()
    assert shown.lines[-1].endswith("stalled")
    tally.finished("dir/big\x1b[31m", 1 << 30)
    assert re.fullmatch(r"dir/big\\033\[31m +#+ +100% +1\.0 GiB +102\.4 MiB/s +0:10", shown.lines[-2])
    assert "\x1b[3" not in shown.screen.getvalue()


async def test_many_small_files_are_one_line_and_failures_do_not_count() -> None:
    tally = Tally()
    shown = Shown(tally)
    async with shown:
        for number in range(500):
            tally.started(f"f{number}", 4096)
            tally.finished(f"f{number}", 4096)
        failures: list[str] = []
        tally.on_failed = lambda name, _: failures.append(name)
        tally.failed("never started", SFTPPermissionError("denied"))
        tally.started("half", 10)
        tally.progress("half", 5)
        assert tally.bytes == 500 * 4096 + 5
        tally.failed("half", SFTPPermissionError("denied"))
    assert len(shown.lines) == 2
    assert shown.lines[0].startswith("500 files ")
    assert tally.bytes == 500 * 4096
    assert failures == ["never started", "half"]


async def test_a_single_quick_file_still_gets_its_line() -> None:
    tally = Tally()
    async with Shown(tally) as shown:
        tally.started("quick", 3)
        tally.finished("quick", 3)
    assert shown.lines[0].startswith("quick ")
    assert len(shown.lines) == 2


async def test_the_timer_draws_ten_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    shown = Shown(tally)
    drawn: list[float] = []
    monkeypatch.setattr(shown, "update", lambda: drawn.append(asyncio.get_running_loop().time()))
    async with shown:
        while len(drawn) < 3:
            tally.progress("x", 1)
            await asyncio.sleep(0.001)
    assert all(later - earlier >= progress.INTERVAL * 0.9 for earlier, later in itertools.pairwise(drawn))


def test_nothing_is_drawn_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Progress.wanted(io.StringIO())
    assert not Progress.wanted(None)
    closed = io.StringIO()
    closed.close()
    assert not Progress.wanted(closed)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert Progress.wanted(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not Progress.wanted(Terminal())


@pytest.mark.parametrize(("no_color", "colour"), [(None, True), ("", True), ("1", False)])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, no_color: str | None, colour: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert progress.terminal_style(io.TextIOWrapper(io.BytesIO(), "utf-8")) == Style(colour, unicode=True)
    assert not progress.terminal_style(io.TextIOWrapper(io.BytesIO(), "latin-1")).unicode


def test_a_summary_is_one_line_of_ascii() -> None:
    summary = Summary(files=2, bytes=3000, seconds=1.5, status=1)
    summary.error("b\udcff\x1b[31m", SFTPPermissionError("Permission denied", filename="b\udcff\x1b[31m"))
    text = summary.text()
    assert text.isascii()
    assert text.isprintable()
    found = json.loads(text)
    assert found["errors"] == [
        {"name": "b\udcff\x1b[31m", "reason": "Permission denied", "type": "SFTPPermissionError"}
    ]
    assert (found["files"], found["bytes"], found["rate"], found["exit_status"]) == (2, 3000, 2000, 1)
    for number in range(5000):
        summary.error(f"file {number}", OSError(5, "Input/output error"))
    found = json.loads(summary.text())
    assert (found["failed"], len(found["errors"])) == (5001, 1000)
    assert found["cipher"] is None
    assert 1 << 20 < found["peak_rss"] < 1 << 34


def test_peak_memory_is_the_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/proc/self/status").exists():
        assert 1 << 20 < peak_rss(1 << 40) < 1 << 34
    monkeypatch.setattr("builtins.open", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert peak_rss(5) in (5, 5120)
