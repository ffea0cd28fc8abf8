"""known_hosts files in fastssh-keygen's hands: what is found, removed and hashed is what ssh-keygen's would be."""

from __future__ import annotations

import errno
import functools
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.keys.known_hosts import KnownHosts
from fastssh.keys.known_hosts_file import parse_lines, read_lines
from tests.support import keygen
from tests.support.keygen import compare, ours, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with known_hosts files: ``good``, and ``bad`` with a line that nobody understands."""
    folder = tmp_path_factory.mktemp("hosts")
    keys = [" ".join(Path(f"{keygen.make_key(folder / name, 'ed25519')}.pub").read_text().split()[:2]) for name in "ab"]
    hashed = folder / "hashed"
    hashed.write_text(f"hidden {keys[0]}\n")
    run("-q", "-H", "-f", hashed, home=folder)
    (folder / "good").write_text(
        f"# first\n\nhost {keys[0]} with a comment\nhost,1.2.3.4 {keys[1]}\n  \t[host]:2222 {keys[0]}\n"
        f"@cert-authority host,*.example.org {keys[0]}\n@revoked host {keys[1]}\n*.wild,!not.wild {keys[0]}\n"
        f"{hashed.read_text()}Upper {keys[1]}\n\n# last\nend {keys[1]}"
    )
    good = (folder / "good").read_bytes()
    (folder / "bad").write_bytes(good + b"\nhost-i \n@other host ssh-rsa AAAA\nx a b\n")
    return folder


HOSTS = ("host", "1.2.3.4", "[host]:2222", "a.example.org", "a.wild", "not.wild", "hidden", "upper", "UPPER",
         "end", "nobody", "host-i")  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_found_is_what_ssh_keygen_finds(folder: Path, host: str) -> None:
    for name in ("good", "bad"):
        compare("-F", host, "-f", folder / name, home=folder)
    compare("-l", "-F", host, "-f", folder / "good", home=folder)
    compare("-q", "-F", host, "-f", folder / "good", home=folder)


@pytest.mark.parametrize("host", ["host", "a.wild", "hidden", "nobody"])
def test_what_is_found_is_shown_hashed(folder: Path, host: str) -> None:
    theirs = run("-H", "-F", host, "-f", folder / "good", home=folder, check=False)
    mine = ours("-H", "-F", host, "-f", folder / "good", home=folder)
    assert mine.returncode == theirs.returncode
    for mine_line, line in zip(mine.stdout.splitlines(), theirs.stdout.splitlines(), strict=True):
        if line.startswith(b"|1|") and host != "hidden":
            assert mine_line.startswith(b"|1|") and mine_line.split()[1:] == line.split()[1:]
        else:
            assert mine_line == line


def both(folder: Path, tmp_path: Path, name: str, *arguments: str) -> tuple[Path, Path]:
    """The file changed by ssh-keygen and by ours, both of which say the same; paths of the results."""
    said = []
    for program, who in ((functools.partial(run, check=False), "theirs"), (ours, "ours")):
        place = tmp_path / who
        place.mkdir(exist_ok=True)
        (place / "hosts").write_bytes((folder / name).read_bytes())
        (place / "hosts").chmod(0o640)
        done = program(*arguments, "-f", place / "hosts", home=folder)
        words = [text.replace(bytes(place), b"").replace(b"\r", b"") for text in (done.stdout, done.stderr)]
        said.append((done.returncode, *words))
    assert said[0] == said[1]
    return tmp_path / "theirs" / "hosts", tmp_path / "ours" / "hosts"


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_are_removed_as_ssh_keygen_removes_them(folder: Path, tmp_path: Path, host: str) -> None:
    theirs, mine = both(folder, tmp_path, "good", "-R", host)
    assert mine.read_bytes() == theirs.read_bytes()
    assert stat.S_IMODE(mine.stat().st_mode) == 0o640
    olds = [path.with_name("hosts.old") for path in (theirs, mine)]
    assert olds[0].exists() == olds[1].exists()
    assert sorted(path.name for path in mine.parent.iterdir()) == sorted(path.name for path in theirs.parent.iterdir())
    if olds[1].exists():
        assert olds[1].read_bytes() == (folder / "good").read_bytes()
        assert stat.S_IMODE(olds[1].stat().st_mode) == 0o640


@pytest.mark.parametrize("arguments", [("-R", "host"), ("-R", "nobody"), ("-H",)])
def test_a_file_that_is_not_understood_is_not_rewritten(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    _, mine = both(folder, tmp_path, "bad", *arguments)
    assert mine.read_bytes() == (folder / "bad").read_bytes()
    assert [path.name for path in mine.parent.iterdir()] == ["hosts"]


def test_a_hash_that_nobody_can_match_keeps_hosts_from_being_removed(folder: Path, tmp_path: Path) -> None:
    text = (folder / "good").read_text()
    key = text.split("end ")[1].strip()
    for hash in ("|1|bad|x", "|2|bm8=|bm8=", "|1|bm8=|bm8=", "|1|"):
        (folder / "unmatched").write_text(f"{text}\n{hash} {key}\n")
        for arguments in (("-R", "host"), ("-F", "host"), ("-H",)):
            both(folder, tmp_path, "unmatched", *arguments)


def test_names_are_hashed_and_found_again(folder: Path, tmp_path: Path) -> None:
    theirs, mine = both(folder, tmp_path, "good", "-H")
    lines = [path.read_bytes().split(b"\n") for path in (mine, theirs)]
    for mine_line, line in zip(*lines, strict=True):
        assert mine_line.split(b" ")[1:] == line.split(b" ")[1:]
    assert ours("-F", "UPPER", "-f", mine, home=folder).returncode == 0  # which ssh-keygen does not find
    for host in set(HOSTS) - {"UPPER"}:
        found = run("-F", host, "-f", mine, home=folder, check=False)
        assert found.returncode == run("-F", host, "-f", folder / "good", home=folder, check=False).returncode
    for path in (theirs, mine):  # to hash once more changes nothing
        before = path.read_bytes()
        ours("-H", "-f", path, home=folder)
        assert path.read_bytes() == before
    assert KnownHosts.load([mine]).lookup("host").keys


def test_keys_of_a_type_to_come_stay(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes((folder / "good").read_bytes() + b"\nother ssh-mldsa AAAACXNzaC1tbGRzYQ==\n")
    ours("-R", "host", "-f", path, home=folder)
    assert path.read_bytes().endswith(b"other ssh-mldsa AAAACXNzaC1tbGRzYQ==\n")
    assert ours("-F", "other", "-f", path, home=folder).returncode == 0


def test_a_link_to_the_file_stays_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes((folder / "good").read_bytes())
    (tmp_path / "link").symlink_to("real")
    assert ours("-R", "host", "-f", tmp_path / "link", home=folder).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert not ours("-R", "host", "-f", tmp_path / "real", home=folder).stdout


def test_a_link_that_comes_meanwhile_leads_nowhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may be at work in a user's folder."""
    victim, hosts = tmp_path / "victim", tmp_path / "hosts"
    victim.write_text("mine")
    before = (folder / "good").read_bytes()

    def read_and_swap(path: str) -> object:
        lines = read_lines(path)
        hosts.unlink()
        hosts.symlink_to(victim)
        return lines

    monkeypatch.setattr("fastssh.cli.keygen.known_hosts.read_lines", read_and_swap)
    for flag in (("-R", "host"), ("-H",)):
        hosts.unlink(missing_ok=True)
        hosts.write_bytes(before)
        assert ours(*flag, "-f", hosts, home=folder).returncode != 0
        assert victim.read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["hosts", "victim"]


def test_what_was_there_is_kept_where_files_have_one_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    _, mine = both(folder, tmp_path, "good", "-R", "host")
    assert mine.with_name("hosts.old").read_bytes() == (folder / "good").read_bytes()


def test_a_missing_file_is_told(folder: Path) -> None:
    for arguments in (("-F", "host"), ("-R", "host"), ("-H",)):
        compare(*arguments, "-f", folder / "missing", home=folder)


@given(st.binary() | st.text("@|1*?!#, \tab=\r\n").map(str.encode))
def test_lines_are_kept_as_they_are(data: bytes) -> None:
    lines = list(parse_lines(data))
    texts = "".join(f"{line.text}\n" for line in lines).encode("utf-8", "surrogateescape")
    assert texts.removesuffix(b"\n") == data.removesuffix(b"\n")
    for line in lines:
        assert line.hashed(bytes)
        assert not (line.matches("host") and line.is_malformed_hash)
