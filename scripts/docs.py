"""Writes what is generated of the tools: docs/man and docs/completion. `make docs`; a test holds that it was done."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import completion, manual
from scripts.tools import ROOT, tools


def generated() -> dict[Path, str]:
    """Each file, and what is to be in it."""
    found = {}
    for tool in tools():
        found[ROOT / "docs" / "man" / f"{tool.name}.{tool.section}"] = manual.page(tool)
        for path, text in completion.files(tool).items():
            found[ROOT / "docs" / "completion" / path] = text
    return found


def main() -> int:
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
