"""SECURITY.md and the tests say the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_requirement_has_a_test_with_its_number() -> None:
    table = re.findall(r"^\| (\d+) \|.*\| (\w+) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in table] == list(range(1, 28))
    tested = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tested |= {int(number) for number in re.findall(r"def test_row(\d\d)_", path.read_text())}
    assert {int(number) for number, _ in table} <= tested
