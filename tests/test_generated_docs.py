"""Manual pages and completion: made of what the tools say of themselves, and understood by those that they are for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fastssh import algorithms
from fastssh.cli.tool import Option, Section, Tool
from scripts import completion, manual
from scripts.docs import generated
from scripts.tools import ROOT, tools

SECONDS = 30.0
TOOLS = {tool.name: tool for tool in tools()}
SAMPLE = Tool(
    name="fastssh-sample",
    summary="a sample",
    about="Does nothing, see ssh(1).\n\nReally -- nothing: `.no` request, C:\\path.",
    options=(
        Option("-c", "cipher's name: [one]", "cipher", completes="cipher"),
        Option("-x", "one of two", "word", "More of it.\n\nAnd more.", completes="alpha beta"),
        Option("--json", "print JSON"),
        Option("-Z", ""),
    ),
    operands="file ...",
    sections=(Section("FILES", "`/etc/x`\n  A file.\n\nAn example:\n\n    $ it's  -x alpha"),),
    see_also=("ssh(1)",),
)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **environment})


def test_what_is_generated_is_up_to_date() -> None:
    """`make docs` after a change of a tool's table."""
    stale = [str(path.relative_to(ROOT)) for path, text in generated().items()
             if not path.exists() or path.read_text() != text]  # fmt: skip
    assert stale == []
    kept = {path for folder in ("man", "completion") for path in (ROOT / "docs" / folder).rglob("*") if path.is_file()}
    assert kept == set(generated())


@pytest.mark.parametrize("tool", [*TOOLS.values(), SAMPLE], ids=lambda tool: tool.name)
def test_a_manual_page_is_set_without_warnings_and_names_every_option(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / f"{tool.name}.{tool.section}"
    path.write_text(manual.page(tool))
    done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(path), MANWIDTH="80", MANPAGER="cat")
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"\x1b\[\d*m|.\x08", "", done.stdout)
    for option in tool.options:
        assert (re.search(rf"^ +{option.flag}\b", shown, re.M) is not None) == bool(option.help), option.flag


def test_a_manual_page_shows_texts_as_they_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "sample.1"
    path.write_text(manual.page(SAMPLE))
    shown = re.sub(r"\x1b\[\d*m|.\x08", "", run("man", "-E", "UTF-8", "-l", "-Tutf8", str(path), MANWIDTH="80").stdout)
    for text in (".no request, C:\\path.", "$ it's  -x alpha", "[-c cipher]", "/etc/x", "Cipher's name: [one]."):
        assert text in shown
    assert "-Z" not in shown


@pytest.mark.parametrize("tool", [*TOOLS.values(), SAMPLE], ids=lambda tool: tool.name)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_understand_what_completes_for_them(shell: str, tool: Tool, tmp_path: Path) -> None:
    assert shutil.which(shell), f"apt-get install {shell}"
    (path,) = [name for name in completion.files(tool) if name.startswith(shell)]
    file = tmp_path / "file"
    file.write_text(completion.files(tool)[path])
    done = run(shell, "-n", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def bash_completes(tool: Tool, tmp_path: Path, *words: str) -> set[str]:
    file = tmp_path / "file"
    file.write_text(completion.bash(tool))
    line = " ".join(map(shlex.quote, words))
    function = "_" + tool.name.replace("-", "_")
    script = f"source {file}; COMP_WORDS=({tool.name} {line}); COMP_CWORD={len(words)}; {function}; "
    done = run("bash", "-c", script + 'printf "%s\\n" "${COMPREPLY[@]}"', HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    return set(filter(None, done.stdout.split("\n")))


def test_bash_completes_options_values_hosts_and_files(tmp_path: Path) -> None:
    assert bash_completes(SAMPLE, tmp_path, "-") == {"-c", "-x", "--json", "--help", "--version"}
    assert bash_completes(SAMPLE, tmp_path, "-c", "aes128") == {a for a in algorithms.CIPHERS if a.startswith("aes128")}
    assert bash_completes(SAMPLE, tmp_path, "-x", "b") == {"beta"}
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host build *.example\n  Port 22\nhost=backup\n")
    (tmp_path / ".ssh" / "known_hosts").write_text("[buried.example]:2222 ssh-ed25519 AAAA\n|1|x|y ssh-rsa AAAA\n")
    assert bash_completes(TOOLS["fastssh-scp"], tmp_path, "/nowhere", "ann@b") == {
        "ann@build:", "ann@backup:", "ann@buried.example:",
    }  # fmt: skip
    assert bash_completes(TOOLS["fastssh-scp"], tmp_path, f"{tmp_path}/fi") == {f"{tmp_path}/file"}
    assert bash_completes(TOOLS["fastssh-scp"], tmp_path, "-o", "ServerAliveI") == {"ServerAliveInterval="}


def test_fish_completes_values(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(completion.fish(SAMPLE))
    done = run("fish", "--no-config", "-c", f"source {file}; complete -C 'fastssh-sample -x b'", HOME=str(tmp_path))
    assert done.stdout.split()[:1] == ["beta"] and "alpha" not in done.stdout, done.stderr
