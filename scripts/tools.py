"""All command-line tools: what is generated is generated of these."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Final

from fastssh.cli.tool import Tool

ROOT: Final = Path(__file__).resolve().parents[1]


def tools() -> list[Tool]:
    """Those that an installation has, by name."""
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    modules = (entry.partition(".command:")[0] for _, entry in sorted(commands.items()))
    return [importlib.import_module(f"{module}.arguments").TOOL for module in modules]
