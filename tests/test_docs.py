"""What the documents say exists, exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.peers import Peer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "PROTOCOL.md", "CONTRIBUTING.md", "SECURITY.md")
PLACES = ("", "src/fastssh", "csrc/packet", "csrc/plane", "csrc/include", "csrc/process", "csrc/crypto")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_documents_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    named = set(re.findall(r"`([\w./-]+\.(?:py|pyi|pyx|c|h|md|sh))`", text)) | set(
        re.findall(r"\]\(([\w./-]+)\)", text)
    )
    missing = [path for path in sorted(named) if not any((ROOT / place / path).exists() for place in PLACES)]
    assert not missing


def test_make_targets_named_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for name in DOCUMENTS:
        for line in re.findall(r"`make ([a-z ]+)`", (ROOT / name).read_text()):
            assert set(line.split()) <= targets, f"{name}: make {line}"


def test_the_library_example_of_the_readme_runs(
    sshd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert example
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk.img").write_bytes(b"contents")
    there = sshd.root / "images"
    there.mkdir()
    code = example[1].replace('connect("host.example.org")', "connect(peer.host, **peer.connect_options())")
    exec(code.replace("/srv/images", str(there)), {"peer": sshd})
    assert capsys.readouterr().out.endswith("['disk.img']\n")
    assert (there / "disk.img").read_bytes() == b"contents"
