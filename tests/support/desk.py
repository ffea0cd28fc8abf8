"""fastssh-keygen, in this process, beside ssh-keygen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fastssh.cli.keygen.command import main
from fastssh.keys.private import PrivateKey, generate_private_key
from tests.support import keygen

ED, RSA = generate_private_key("ed25519"), generate_private_key("rsa", 2048)
EC = generate_private_key("ecdsa")


@dataclass
class Desk:
    """fastssh-keygen and ssh-keygen side by side, at a folder with an authority's and other keys."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def ours(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.capture.readouterr()
        status = main([str(each) for each in arguments])
        said = self.capture.readouterr()
        assert "Traceback" not in said.err and "unexpected" not in said.err
        return status, said.out, said.err

    def theirs(self, *arguments: str | Path) -> tuple[int, str, str]:
        done = keygen.run(*arguments, home=self.folder, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode().replace("\r", "")

    def shown(self, path: Path) -> str:
        """What ssh-keygen -L prints of a certificate, which has to be what we print."""
        status, out, _ = self.theirs("-L", "-f", path)
        assert (status, out, "") == self.ours("-L", "-f", path)
        return out


def make_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, key in (("ca", ED), ("rsa", RSA), ("key", EC)):
        PrivateKey.save(key, name, None)
        Path(f"{name}.pub").write_text(f"{key.public.line('me@test')}\n")
    return Desk(tmp_path, capsys)
