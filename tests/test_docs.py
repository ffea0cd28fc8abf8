"""What the documents say exists, exists."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import fastssh
from tests.support.peers import HOST, Keys, Peer, free_port

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
    fastsshd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert example
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk.img").write_bytes(b"contents")
    there = fastsshd.root / "images"
    there.mkdir()
    code = example[1].replace('connect("host.example.org")', "connect(peer.host, **peer.connect_options())")
    exec(code.replace("/srv/images", str(there)), {"peer": fastsshd})
    assert capsys.readouterr().out.endswith("['disk.img']\n")
    assert (there / "disk.img").read_bytes() == b"contents"


def test_the_examples_of_keys_in_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)[2:]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"fastssh": fastssh}
    for example in examples:
        exec(example, names)
    assert "ssh-ed25519-cert-v01@openssh.com " in capsys.readouterr().out
    assert names["found"].key == names["authority"].public


async def test_the_server_example_of_the_readme_runs(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    shutil.copy(keys.host("ed25519"), tmp_path / "host_key")
    fingerprint = fastssh.load_private_key(keys.user("ed25519")).public.fingerprint()
    port = free_port()
    changes = {
        "SHA256:...": fingerprint, "/srv/files": str(tmp_path / "files"), '"localhost", 2222': f'"{HOST}", {port}',
        "asyncio.run(main())": "",
    }  # fmt: skip
    for old, new in changes.items():
        assert old in example
        example = example.replace(old, new)
    names: dict[str, Any] = {}
    exec(example, names)
    serving = asyncio.create_task(names["main"]())
    await asyncio.sleep(0)
    (tmp_path / "known_hosts").write_text(f"[{HOST}]:{port} {keys.host('ed25519').with_suffix('.pub').read_text()}")
    options: dict[str, Any] = {
        "port": port, "identities_only": True, "agent_socket": "none", "user_known_hosts": [tmp_path / "known_hosts"],
        "global_known_hosts": [],
    }  # fmt: skip
    async with fastssh.connect(HOST, identity_files=[keys.user("ed25519")], **options) as connection:
        assert (await connection.run("x", input=b"louder")).stdout == b"LOUDER"
        async with await connection.sftp() as sftp:
            await sftp.put_file(tmp_path / "known_hosts", "/known_hosts")
    assert (tmp_path / "files" / "known_hosts").exists()
    with pytest.raises(fastssh.AuthenticationError):
        await fastssh.connect(HOST, identity_files=[keys.user("rsa")], **options)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
