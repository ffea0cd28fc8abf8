"""How long the tools take to start, in processes of their own: `python -m benchmarks.startup` (pyperf's options apply).

pyperf runs each command many times and reports mean and deviation; `pyperf compare_to old.json new.json` compares two
results written with `-o`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyperf

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import fastssh": [sys.executable, "-c", "import fastssh"],
    "import fastssh, connect loaded": [sys.executable, "-c", "import fastssh; fastssh.connect"],
    "fastssh-scp --help": [str(Path(sys.executable).with_name("fastssh-scp")), "--help"],
}


def main() -> None:
    runner = pyperf.Runner(processes=5, values=3, warmups=1)
    for name, command in COMMANDS.items():
        runner.bench_command(name, command)


if __name__ == "__main__":
    main()
