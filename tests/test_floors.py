"""The floors of ARCHITECTURE.md: a file imports only from its own floor and from those below.

``python tests/test_floors.py`` prints the table that ARCHITECTURE.md shows.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"


@dataclass(frozen=True)
class Floor:
    number: int
    modules: tuple[str, ...]
    holds: str


FLOORS = (
    Floor(
        0,
        ("fastssh.errors", "fastssh.version"),
        "csrc (C11 and libcrypto, never Python.h); the one hierarchy of exceptions",
    ),
    Floor(1, ("fastssh._native",), "Cython: buffers and lifetimes, C codes become exceptions, the GIL is released"),
    Floor(2, ("fastssh.wire", "fastssh.files"), "wire types; each message described once; small files, read with care"),
    Floor(3, ("fastssh.algorithms", "fastssh.keys"), "names of algorithms; keys, signatures, known_hosts, agent"),
    Floor(4, ("fastssh.transport", "fastssh.auth", "fastssh.connection"), "the protocol, sans-IO, both roles"),
    Floor(5, ("fastssh.sftp", "fastssh.scp"), "SFTP: requests, replies, attributes, names; the legacy SCP protocol"),
    Floor(6, ("fastssh.aio",), "asyncio: sockets, timers, processes; the client API, the server API"),
    Floor(
        7,
        ("fastssh.config", "fastssh.daemon", "fastssh.cli", "fastssh"),
        "configuration files, fastsshd, command-line tools, the package's door",
    ),
)
SANS_IO = 5  # up to this floor there is no socket, loop, clock, thread or RNG: they are handed in
IO_MODULES = {
    *("asyncio", "socket", "select", "selectors", "ssl", "time", "random", "secrets", "threading", "subprocess"),
    *("signal", "multiprocessing", "concurrent"),
}
C_FOLDERS = ("include", "bundle", "process", "crypto", "packet", "plane")  # lowest first


def table() -> str:
    rows = [
        f"| F{floor.number} | {', '.join(f'`{name}`' for name in floor.modules)} | {floor.holds} |" for floor in FLOORS
    ]
    return "\n".join(["| floor | modules | what it holds |", "|---|---|---|", *rows])


def floor_of(module: str) -> int:
    """The floor that names the module or a package around it (the door is fastssh/__init__.py alone)."""
    while True:
        for floor in FLOORS:
            if module in floor.modules:
                return floor.number
        parent = module.rpartition(".")[0]
        if parent in ("", "fastssh"):
            raise LookupError(f"{module} stands on no floor: add it to FLOORS")
        module = parent


def module_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in (".py", ".pyi", ".pyx", ".pxd"))


def is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.is_dir() or any(path.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of each import, those inside functions and under TYPE_CHECKING too."""
    package = module_of(path).split(".")
    if path.stem != "__init__":
        package = package[:-1]
    for line, level, module, names in _statements(path):
        base = ".".join(package[: len(package) - level + 1]) if level else ""
        target = ".".join(filter(None, (base, module)))
        if not names:
            yield line, target
        for name in names:
            inner = f"{target}.{name}"
            yield line, inner if target.startswith("fastssh") and is_module(inner) else target


def _statements(path: Path) -> Iterator[tuple[int, int, str, list[str]]]:
    """(line, level of relative import, module, names): no names for a plain import."""
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        for node in ast.walk(ast.parse(text, str(path))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, 0, alias.name, []
            elif isinstance(node, ast.ImportFrom):
                yield node.lineno, node.level, node.module or "", [alias.name for alias in node.names]
        return
    for match in re.finditer(
        r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+)?c?import[ \t]+([\w., \t*]+|\([^)]*\))", text, re.M
    ):
        line = text.count("\n", 0, match.start()) + 1
        names = [part.split()[0] for part in match[3].strip("()").replace("\n", " ").split(",") if part.split()]
        if match[1] is None and match[2] is None:
            for name in names:
                yield line, 0, name, []
        else:
            yield line, len(match[1]), match[2], names


def test_no_file_imports_upward() -> None:
    upward = []
    for path in sources():
        own = floor_of(module_of(path))
        for line, target in imports(path):
            if target.partition(".")[0] == "fastssh" and floor_of(target) > own:
                upward.append(f"{path.relative_to(ROOT)}:{line}: F{own} imports {target} of F{floor_of(target)}")
    assert not upward, "\n".join([*upward, table()])


def test_protocol_floors_are_handed_their_sockets_clocks_and_randomness() -> None:
    found = []
    for path in sources():
        if path.suffix == ".py" and floor_of(module_of(path)) <= SANS_IO:
            found += [
                f"{path.relative_to(ROOT)}:{line}: imports {target}"
                for line, target in imports(path)
                if target.partition(".")[0] in IO_MODULES
            ]
            found += [f"{path.relative_to(ROOT)}: calls urandom"] if "urandom(" in path.read_text() else []
    assert not found, "\n".join(found)


def test_c_never_sees_python_and_includes_only_downward() -> None:
    folder_of = {header.name: header.parent.name for header in (ROOT / "csrc").rglob("*.h")}
    wrong = []
    for path in sorted((ROOT / "csrc").rglob("*.[ch]")):
        for included in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M):
            name = Path(included).name
            if name == "Python.h":
                wrong.append(f"{path.relative_to(ROOT)} includes Python.h")
            own, other = path.parent.name, folder_of.get(name)
            if own in C_FOLDERS and other in C_FOLDERS and C_FOLDERS.index(other) > C_FOLDERS.index(own):
                wrong.append(f"{path.relative_to(ROOT)} ({own}) includes {included} ({other})")
            if own in C_FOLDERS and other not in (None, *C_FOLDERS):
                wrong.append(f"{path.relative_to(ROOT)} ({own}) includes {included} ({other})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fastssh", ("asyncio", "cryptography", "rich", "bcrypt")),
        ("fastssh.wire.codec", ("asyncio", "cryptography", "rich", "bcrypt")),
        ("fastssh.wire.messages", ("asyncio", "cryptography", "rich", "bcrypt")),
        ("fastssh.config", ("cryptography", "rich", "bcrypt")),
    ],
)
def test_importing_a_module_loads_nothing_heavy(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_architecture_shows_this_table() -> None:
    assert table() in (ROOT / "ARCHITECTURE.md").read_text()


if __name__ == "__main__":
    print(table())
