"""The legacy SCP protocol without I/O: records, both sides, and a peer that does not keep to it.

The vectors are what scp of OpenSSH 9.2 says (`scp -f`, `scp -t` with a pipe on both sides).
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastssh.errors import ProtocolError, SSHError, TransferError
from fastssh.scp import records
from fastssh.scp.command import Command, parse, parse_arguments, quoted
from fastssh.scp.names import requested
from fastssh.scp.records import Directory, End, File, Problem, Times
from fastssh.scp.serve import expand, serve
from fastssh.scp.sink import Sink
from fastssh.scp.source import Source
from fastssh.sftp.filesystem import LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem
from fastssh.sftp.tree import CopyOptions
from tests.support.copying import random_file
from tests.support.scp_memory import Talk, Watcher, copied, sink

MAX = 2**63 - 1

# --- records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "record"), [
    (b"C0644 5 name\n", File(0o644, 5, b"name")),
    (b"C4755 0 a b\n", File(0o4755, 0, b"a b")),
    (b"D0750 0 dir\n", Directory(0o750, b"dir")),
    (b"E\n", End()),
    (b"T1700000001 0 1600000001 0\n", Times(1_700_000_001, 1_600_000_001)),
    (b"\x01scp: x: No such file or directory\n", Problem("x: No such file or directory")),
    (b"\x02scp: ambiguous target\n", Problem("ambiguous target", fatal=True)),
])
def test_records_are_what_scp_says(line: bytes, record: Any) -> None:
    assert records.decode(line) == record
    assert record.encode() == line


@pytest.mark.parametrize("line", [
    b"", b"\n", b"C\n", b"C644 5 a\n", b"C06444 5 a\n", b"C0644  5 a\n", b"C0844 5 a\n", b"C0644 -5 a\n",
    b"C0644 +5 a\n",
    b"C0644 5a a\n", b"C0644 05 a\n", b"C0644 9223372036854775808 a\n", b"C0644 99999999999999999999999 a\n",
    b"C0644 5 \n", b"C0644 5 ..\n", b"C0644 5 .\n", b"C0644 5 a/b\n", b"C0644 5 /a\n", b"C0644 5 a\0b\n",
    b"D0755 0 ../x\n",
    b"D0755 x\n", b"Ex\n", b"T1 2 3\n", b"T1 0 1 0 0\n", b"T-1 0 1 0\n", b"T1 0 9999999999999999 0\n",
    b"T1 0 1 1000000000\n", b"X\n", b"C0644 5 name", b"C" + b"0" * records.MAX_LINE, b"sh: 1: scp: not found\n",
    b"C0644 5 " + b"n" * 5000 + b"\n", "C0644 \N{ARABIC-INDIC DIGIT FIVE} a\n".encode(),
])  # fmt: skip
def test_row07_what_is_no_record_is_a_protocol_error_of_one_line(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        records.decode(line)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=80).map(lambda data: data + b"\n"))
def test_any_line_is_a_record_or_a_protocol_error(line: bytes) -> None:
    try:
        record = records.decode(line)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    if isinstance(record, File | Directory):
        assert b"/" not in record.name
        assert record.name not in (b"", b".", b"..")
    if isinstance(record, File):
        assert 0 <= record.size <= MAX
    if isinstance(record, Problem):
        assert record.text.isprintable()


@given(
    st.integers(0, 0o7777), st.integers(0, MAX),
    st.binary(min_size=1, max_size=60).filter(lambda name: b"/" not in name and b"\0" not in name and b"\n" not in name)
)  # fmt: skip
def test_entries_survive_the_way_over(mode: int, size: int, name: bytes) -> None:
    if name not in (b".", b".."):
        assert records.decode(File(mode, size, name).encode()) == File(mode, size, name)


def test_row19_a_peers_words_cannot_drive_a_terminal() -> None:
    problem = records.problem(b"\x01scp: \x1b[2J\x9b31m bad\n")
    assert problem.text == "\\033[2J\\23331m bad"


# --- both sides -----------------------------------------------------------------------------------------------------


def tree(path: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(each.relative_to(path)): (stat.S_IMODE(each.lstat().st_mode), each.read_bytes() if each.is_file() else None)
        for each in sorted(path.rglob("*"))
    }


@pytest.mark.parametrize("piece", [1 << 30, 777])
def test_a_tree_goes_over_whole(tmp_path: Path, piece: int) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "empty").mkdir(mode=0o500)
    for number, name in enumerate(("one", "a/two", "a/b/th ree", "zero")):
        random_file(source / name, 300_000 * number)
        os.utime(source / name, (1_500_000_000 + number, 1_400_000_000 + number))
    (source / "a/b/th ree").chmod(0o640)
    (source / "one").chmod(0o400)
    os.utime(source / "a", (1_300_000_000, 1_200_000_000))
    sent, received, failures = copied([source], tmp_path / "target", recurse=True, preserve=True, piece=piece)
    assert not failures
    assert tree(tmp_path / "target") == tree(source)
    assert (tmp_path / "target/a").stat().st_mtime == 1_200_000_000
    assert (tmp_path / "target/one").stat().st_mtime == 1_400_000_000
    assert (sent.files, sent.directories, sent.bytes) == (received.files, received.directories, received.bytes)
    assert (sent.files, sent.directories, sent.bytes) == (4, 4, 1_800_000)


def test_several_sources_go_into_a_directory_and_failures_do_not_keep_the_rest(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "fifo")
    sources = [tmp_path / name for name in ("a", "missing", "into", "fifo", "b")]
    sent, received, failures = copied(sources, tmp_path / "into", target_directory=True)
    assert sorted(os.listdir(tmp_path / "into")) == ["a", "b"]
    assert sent.failed == received.failed == 3
    assert sum("No such file" in text for text in failures) == 2
    assert sum("not a regular file" in text for text in failures) == 4


def test_what_the_sink_refuses_is_told_to_the_source(tmp_path: Path) -> None:
    (tmp_path / "source/sub").mkdir(parents=True)
    (tmp_path / "source/sub/file").write_text("x")
    (tmp_path / "source/in the way").write_text("x")
    (tmp_path / "target/in the way").mkdir(parents=True)
    (tmp_path / "target/sub").write_text("")
    sent, _, _ = copied([tmp_path / "source/sub", tmp_path / "source/in the way"], tmp_path / "target", recurse=True)
    assert [failure.name for failure in sent.errors] == [str(tmp_path / "source" / n) for n in ("sub", "in the way")]
    assert sent.files == 0


def test_a_file_that_shrinks_or_grows_meanwhile_is_no_success(tmp_path: Path) -> None:
    for change in (lambda path: os.truncate(path, 100), lambda path: path.write_bytes(b"x" * 400_000)):
        source = random_file(tmp_path / "source", 300_000)
        watcher = Watcher()

        class Changing(Watcher):
            def started(self, name: str, size: int, change: Callable[[Path], object] = change) -> None:
                change(source)  # noqa: B023

        files = LocalFileSystem("/")
        one = Talk(Source(files, [str(source).encode()], CopyOptions(), Changing()).steps())
        other = Talk(Sink(files, str(tmp_path / "target").encode(), CopyOptions(), watcher).steps())
        other.give()
        while not one.over:
            one.give(other.take())
            other.give(one.take(), end=one.over)
        assert one.result is not None
        assert one.result.failed == 1
        assert "changed" in watcher.failures[0]
        assert (tmp_path / "target").stat().st_size < 300_000


@pytest.mark.parametrize("same", [True, False])
def test_a_file_copied_onto_itself_loses_nothing(tmp_path: Path, same: bool) -> None:
    path = random_file(tmp_path / "file", 600_000)
    data = path.read_bytes()
    record = b"C0644 600000 file\n"
    sent = data if same else data[:300_000] + b"\0" + data[300_001:]
    with pytest.raises(ProtocolError):  # interrupted
        sink(path, record + sent[:400_000], piece=50_000)
    assert path.read_bytes() == data if same else path.stat().st_size == 400_000
    path.write_bytes(data)
    report, said = sink(path, record + sent + b"\0", piece=70_001)
    assert (report.files, said) == (1, b"\0\0\0")
    assert path.read_bytes() == sent


# --- a peer that does not keep to it --------------------------------------------------------------------------------

F = b"C0644 1 %s\nx\0"


@pytest.mark.parametrize(("data", "match"), [
    (b"C0644 1 ../x\nx\0", "unexpected filename"), (b"D0755 0 ..\nC0644 1 x\nx\0E\n", "unexpected filename"),
    (b"C0644 1 /etc/x\nx\0", "unexpected filename"), (b"D0755 0 d.txt\n", "without -r"), (b"D0755 0 .\n", "unexpected"),
    (F % b"other", "does not match"), (F % b"a.txt" + F % b"a.txt", "more than was asked"), (b"E\n", "unexpected end"),
    (b"T1 0 1 0\nE\n", "unexpected end"), (b"C0644 -1 a.txt\n", "protocol error"),
    (b"C0644 99999999999999999999 a\n", "protocol error"),
    (b"C0644 5 a.txt\nx", "in the middle of a file"), (b"C0644 5 a.txt", "in the middle of a record"),
    (b"\x01" * 20000, "too long"), (b"C" * 20000, "too long"), (b"sh: scp: not found\n", "not found"),
    (b"C0644 1 .ssh\nx\0", "does not match"), (b"\0" * 100, "record"),
])  # fmt: skip
def test_row18_a_sink_writes_nothing_that_was_not_asked_for(tmp_path: Path, data: bytes, match: str) -> None:
    target = tmp_path / "a/target"
    target.mkdir(parents=True)
    with pytest.raises(SSHError, match=match) as caught:
        sink(target, data, check=requested(b"dir/*.txt"))
    assert str(caught.value).isprintable()
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left in (["a", "a/target"], ["a", "a/target", "a/target/a.txt"])


@pytest.mark.parametrize(("asked", "allowed", "refused"), [
    ("file", ["file"], ["File", "file2", ".file"]), ("dir/f*", ["f", "f1"], ["dir", ".f"]), ("~bob", ["bob"], ["~bob"]),
    ("a\\*b", ["a*b"], ["axb", "a\\*b"]), ("[ab]?", ["ax", "b1"], ["cx"]), ("*", ["x"], [".ssh"]), ("/x/", ["x"], [""]),
    ("a\\ b", ["a b"], ["a\\ b"]), ("~", [], ["bob", "root"]), ("d/~x", ["~x"], ["x"]), ("{a,b}", ["{a,b}"], ["a"]),
])
def test_row18_only_names_that_were_asked_for_may_come(asked: str, allowed: list[str], refused: list[str]) -> None:
    for name in allowed:
        requested(asked.encode())(name.encode())
    for name in refused:
        with pytest.raises(ProtocolError):
            requested(asked.encode())(name.encode())


def test_row18_a_plain_name_comes_once(tmp_path: Path) -> None:
    check = requested(b"dir/file")
    check(b"file")
    with pytest.raises(ProtocolError, match="more than was asked"):
        check(b"file")
    (tmp_path / "x").write_text("old")
    with pytest.raises(ProtocolError, match="Not a directory"):  # of a pattern, to a name that is a file's
        sink(tmp_path / "x", F % b"a" + F % b"b")


def test_row18_set_id_bits_are_never_kept(tmp_path: Path) -> None:
    for options in ({}, {"preserve": True}):
        sink(tmp_path, b"C7777 1 tool\nx\0D7777 0 dir\nE\n", recurse=True, **options)
        assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) & 0o7000 == 0
        assert stat.S_IMODE((tmp_path / "dir").stat().st_mode) & 0o6000 == 0
        (tmp_path / "tool").unlink()
        (tmp_path / "dir").rmdir()


def test_row18_depth_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="depth"):
        sink(tmp_path, b"D0755 0 d\n" * 100, recurse=True)


def test_a_fatal_message_ends_it_and_a_warning_does_not(tmp_path: Path) -> None:
    watcher = Watcher()
    report, said = sink(tmp_path, b"\x01scp: no\x1b such\n" + F % b"a", observer=watcher)
    assert (report.failed, report.files, watcher.failures) == (1, 1, ["no\\033 such"])
    assert said == b"\0\0\0"
    with pytest.raises(TransferError, match="lost"):
        sink(tmp_path, b"\x02scp: lost\n" + F % b"b")
    assert os.listdir(tmp_path) == ["a"]


def test_a_disk_that_is_full_is_told_and_the_file_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def write(fd: int, data: Any) -> int:
        if os.fstat(fd).st_size >= 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[:60])

    monkeypatch.setattr(os, "write", write)
    watcher = Watcher()
    report, said = sink(tmp_path, b"C0644 1000 a\n" + b"x" * 1000 + b"\0" + F % b"b", observer=watcher)
    monkeypatch.undo()
    assert said.startswith(b"\0\0\x01scp: ")
    assert b"No space left" in said
    assert report.failed == 1
    assert (tmp_path / "a").stat().st_size == 120
    assert (tmp_path / "b").read_bytes() == b"x"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.sampled_from([
    b"C0644 3 a\n", b"xyz", b"\0", b"D0700 0 d\n", b"E\n", b"T1 0 1 0\n", b"C0644 1 ../v\n", b"\x01w\n", b"\x02f\n",
    b"D0755 0 ..\n", b"C0755 9 b\n", b"x", b"D0000 0 a\n", b"C0000 0 d\n", b"\n", b"C0644 0 victim\n",
]) | st.binary(max_size=6), max_size=14), st.integers(1, 9), st.booleans())  # fmt: skip
def test_row18_whatever_a_peer_says_nothing_outside_is_touched(
    tmp_path: Path, parts: list[bytes], piece: int, recurse: bool
) -> None:
    target = tmp_path / "in/target"
    target.mkdir(parents=True, exist_ok=True)
    (tmp_path / "in/victim").write_text("mine")
    try:
        _, said = sink(target, b"".join(parts), piece=piece, recurse=recurse, preserve=True, check=requested(b"[abd]"))
        assert said.startswith(b"\0")
    except SSHError as error:
        assert str(error).isprintable()
    assert sorted(os.listdir(tmp_path / "in")) == ["target", "victim"]
    assert os.listdir(tmp_path) == ["in"]
    assert (tmp_path / "in/victim").read_text() == "mine"
    for directory, _, _ in os.walk(target):
        os.chmod(directory, 0o700)
    assert set(os.listdir(target)) <= {"a", "b", "d"}


def test_a_source_survives_whatever_a_sink_answers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x" * 1000)
    answers_of_all_kinds = (
        b"", b"\0", b"\0\x01no\n", b"\x01no\n", b"\x02no\n", b"\0\0", b"shell: no scp\n", b"\0\0\x02full\n", b"\n",
    )  # fmt: skip
    for answers in answers_of_all_kinds:
        try:
            talk = Talk(Source(LocalFileSystem("/"), [str(path).encode()], CopyOptions(), Watcher()).steps())
            talk.give(answers, end=True)
            assert talk.result is not None
            assert talk.result.files == 0
        except SSHError as error:
            assert str(error).isprintable()
        else:
            assert answers == b"\0\x01no\n"


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "text"), [
    ("/tmp/file", "/tmp/file"), ("a b", "a\\ b"), ("$(id)", "\\$\\(id\\)"), ("a'b\"c", "a\\'b\\\"c"),
    ("`id`;x|y&z<>", "\\`id\\`\\;x\\|y\\&z\\<\\>"), ("*.txt", "*.txt"), ("a\\*", "a\\*"), ("~/x", "~/x"),
    ("~bob/x y", "~bob/x\\ y"), ("a/~b", "a/~b"),
    ("a\nb", "a'\n'b"), ("~$x", "\\~\\$x"), ("{a,b}", "\\{a,b\\}"), ("[!a]!", "[!a]\\!"),
    ("a\\ b", "a\\ b"), ("é", "é"),
    ("x\\", "x\\\\"), ("#x", "\\#x"), ("", "''"),
])  # fmt: skip
def test_row20_a_shell_sees_names_quoted_but_for_wildcards(path: str, text: str) -> None:
    assert quoted(path) == text


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0*?[]~\\"), max_size=20))
def test_row20_a_shell_makes_of_a_plain_name_what_it_is(name: str) -> None:
    done = subprocess.run(["sh", "-c", f"printf %s {quoted(name)}"], capture_output=True, cwd="/", check=True)
    assert done.stdout == name.encode()
    if not any(character in name for character in "\n\t "):
        command = parse(Command(True, (name or ".",)).text())
        assert command is not None
        assert command.sink


@pytest.mark.parametrize(("text", "command"), [
    ("scp -t /x", Command(True, ("/x",))), ("scp -v -r -p -d -t -- -x", Command(True, ("-x",), True, True, True, True)),
    ("scp -prf 'a b' c\\ d", Command(False, ("a b", "c d"), True, True)), ("/usr/bin/scp -f a", Command(False, ("a",))),
    ('scp -f "a*"*', Command(False, ("a\\**",))), ("scp -f \\*'?'", Command(False, ("\\*\\?",))),
])
def test_commands_are_read_as_a_shell_reads_words(text: str, command: Command) -> None:
    assert parse(text) == command


@given(st.text(max_size=30) | st.text("scp -tfrpd'\"\\$;*a/~", max_size=30).map(lambda text: f"scp {text}"))
def test_any_command_is_scps_or_none_or_refused(text: str) -> None:
    try:
        command = parse(text)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    if command is not None:
        assert command.paths
        assert len(command.paths) == 1 or not command.sink


@pytest.mark.parametrize("text", ["ls", "", "scpx -t a", "rsync --server", "sh -c 'scp -t a'"])
def test_other_commands_are_none_of_scp(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("text", [
    "scp", "scp -t", "scp -f", "scp a b", "scp -t a b", "scp -t -f a", "scp -t a; id", "scp -t $(id)", "scp -f `id`",
    "scp -f \"$x\"", "scp -f 'a", "scp -f a\\", "scp -f a | sh", "scp -f a > b", "scp -Z -f a", "scp -f a\nid",
])  # fmt: skip
def test_row20_what_needs_a_shell_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text)


def test_patterns_are_expanded_below_a_root_and_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d/e").mkdir(parents=True)
    for name in ("a.txt", "b.txt", ".hidden", "d/c.txt", "d/e/f.txt", "a*c"):
        (root / name).write_text(name)
    (tmp_path / "outside.txt").write_text("secret")
    os.symlink(tmp_path, root / "out")
    with RootedFileSystem(root) as files:
        for pattern, found in {
            "*.txt": [b"a.txt", b"b.txt"], "/*/*.txt": [b"/d/c.txt"], "d/e/f.txt": [b"d/e/f.txt"], "a\\*c": [b"a*c"],
            "x*": [b"x*"], "~/d/*.txt": [b"/d/c.txt"], "../*.txt": [b"../a.txt", b"../b.txt"], "out/*": [b"out/*"],
            "~": [b"/"], "~bob/x": [b"~bob/x"], ".h*": [b".hidden"],
        }.items():  # fmt: skip
            assert expand(files, pattern) == found, pattern
        talk = Talk(serve(files, parse_arguments(["-f", "out/outside.txt"]), patterns=True))
        talk.give(b"\0")
        assert talk.sent.startswith(b"\x01scp: out/outside.txt: No such file")


def test_row21_links_cannot_make_names_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        os.symlink(".", tmp_path / f"{number:02}")
    monkeypatch.setattr("fastssh.scp.serve.MAX_MATCHES", 5_000)
    with RootedFileSystem(tmp_path) as files:
        assert len(expand(files, "*/*")) == 400
        talk = Talk(serve(files, parse_arguments(["-f", "/".join("*" * 20)]), patterns=True))
        with pytest.raises(TransferError):
            talk.give(b"\0")
        assert talk.sent == b"\x02scp: Argument list too long\n"


def test_row21_read_only_takes_nothing(tmp_path: Path) -> None:
    with RootedFileSystem(tmp_path) as files, pytest.raises(TransferError):
        Talk(serve(files, parse_arguments(["-t", "/"]), patterns=True, read_only=True)).give(F % b"x")
    assert os.listdir(tmp_path) == []


def test_row21_a_pipe_that_nobody_empties_does_not_stop_a_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with RootedFileSystem(tmp_path) as files:
            talk = Talk(serve(files, parse_arguments(["-t", "pipe"]), patterns=True))
            talk.give(b"C0644 1000000 x\n" + bytes(1_000_000) + b"\0", end=True)
        assert b"temporarily unavailable" in talk.sent
        assert talk.result is not None
        assert talk.result.failed == 1
    finally:
        os.close(reader)


def test_row21_a_rooted_sink_stays_below_its_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path, root / "out")
    os.symlink(tmp_path / "victim", root / "link")
    with RootedFileSystem(root) as files:
        for path, name in (("out/", b"x"), ("link", b"x"), ("../../x", b"x"), ("/", b"link")):
            talk = Talk(serve(files, parse_arguments(["-rt", path]), patterns=True))
            with suppress(SSHError):  # the bytes of a file that was refused are no record
                talk.give(F % name, end=True)
    assert sorted(os.listdir(tmp_path)) == ["root"]
