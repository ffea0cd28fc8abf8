"""fastssh-scp's command line: options as getopt reads them, names as scp decides them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli.location import Local, Remote, parse
from fastssh.cli.scp import arguments
from fastssh.cli.scp import command as scp
from fastssh.cli.scp.arguments import read
from fastssh.cli.tool import Asked, UsageError

NAMES = {
    "file": Local("file"),
    "": Local(""),
    "/a:b": Local("/a:b"),
    "./a:b": Local("./a:b"),
    "dir/a:b": Local("dir/a:b"),
    ":a": Local(":a"),
    ":": Local(":"),
    "[::1": Local("[::1"),
    "a@b": Local("a@b"),
    "host:": Remote("host", "."),
    "host:file": Remote("host", "file"),
    "host:/a/b": Remote("host", "/a/b"),
    "host:~/a": Remote("host", "~/a"),
    "host:a:b": Remote("host", "a:b"),
    "host:*.txt": Remote("host", "*.txt"),
    "user@host:x": Remote("host", "x", "user"),
    "a@b@host:x": Remote("host", "x", "a@b"),
    "[::1]:x": Remote("::1", "x"),
    "user@[fe80::1%eth0]:/x": Remote("fe80::1%eth0", "/x", "user"),
    "[host]:x": Remote("host", "x"),
    "scp://host": Remote("host", "."),
    "scp://host/": Remote("host", "."),
    "scp://host/a/b": Remote("host", "a/b"),
    "scp://host//a": Remote("host", "/a"),
    "SCP://host/a": Remote("host", "a"),
    "scp://user@host:2222/a%20b": Remote("host", "a b", "user", 2222),
    "scp://u%40x;fingerprint=abc@host/x": Remote("host", "x", "u@x"),
    "scp://[::1]:22/x": Remote("::1", "x", None, 22),
    "scp://[::1]/x": Remote("::1", "x"),
    "scp://host/%e9": Remote("host", "\udce9"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_mean_what_scp_makes_of_them(name: str) -> None:
    assert parse(name) == NAMES[name]


@pytest.mark.parametrize("name", [
    "user@:x", "@:x", "scp://", "scp:///x", "scp://host:0/x", "scp://host:99999/x", "scp://host:x/y", "scp://h/%zz",
    "scp://h/%2", "scp://h/%00", "scp://[::1/x", "scp://[::1]x/y", "scp://@host/x", "[]:x",
])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse(name)
    with pytest.raises(UsageError):
        read([name, "."])


@given(st.text(max_size=40))
def test_every_name_is_a_place_or_an_error(name: str) -> None:
    for text in (name, f"scp://{name}", f"h:{name}"):
        try:
            found = parse(text)
        except ValueError:
            continue
        assert isinstance(found, Local | Remote)
        assert isinstance(found, Local) or found.host


def test_options_combine_as_getopt_has_it() -> None:
    found = read(["-rpP22", "-qi", "key", "-okey=value", "-o", "b c", "-Fnone", "-l8", "--", "-a", "h:b"])
    assert (found.recurse, found.preserve, found.quiet, found.port) == (True, True, True, 22)
    assert found.identities == ["key"]
    assert found.overrides == [("LogLevel", "QUIET"), "key=value", "b c"]
    assert (found.config_file, found.limit) == ("none", 1024)
    assert found.sources == [Local("-a")]
    assert found.target == Remote("h", "b")


def test_options_end_at_the_first_name() -> None:
    found = read(["a", "-r", "h:c"])
    assert found.sources == [Local("a"), Local("-r")]
    assert not found.recurse


@pytest.mark.parametrize(("argv", "overrides"), [
    (["-4"], [("AddressFamily", "inet")]),
    (["-46"], [("AddressFamily", "inet6"), ("AddressFamily", "inet")]),  # the last one wins: it comes first
    (["-o", "Ciphers=a", "-c", "b", "-c", "c"], [("Ciphers", "c"), ("Ciphers", "b"), "Ciphers=a"]),
    (["-C"], [("Compression", "yes")]),
    (["-B"], [("BatchMode", "yes")]),
    (["-v"], [("LogLevel", "DEBUG1")]),
    (["-vvvv"], [("LogLevel", "DEBUG3")]),
    (["-T", "-s"], []),
    (["-X", "nrequests=4", "-X", "buffer=32K"], []),
])
def test_options_become_settings(argv: list[str], overrides: list[object]) -> None:
    assert read([*argv, "a", "h:b"]).overrides == overrides


@pytest.mark.parametrize(("argv", "expected"), [
    (["-O"], {"legacy": True}), (["-Os"], {"legacy": False}), (["-T"], {"strict": False}),
    (["-R"], {"at_origin": True}), (["-R3"], {"at_origin": False}), (["-A"], {"forward_agent": True}),
    (["-S", "prog"], {"program": "prog"}), (["-D", "/x/sftp-server"], {"server": "/x/sftp-server"}),
    (["-J", "a,b"], {"overrides": [("ProxyJump", "a,b")]}),
    (["-X", "nrequests=4", "-X", "buffer=32K"], {"requests": 4, "buffer": 32768, "alone": True}),
    (["-X", "buffer=256K"], {"buffer": 256 * 1024}), (["-X", "nrequests=262144"], {"requests": 262144}),
    (["-4CvFnone", "-oA=b", "-i", "key", "-cx", "-B", "-Jj"],
     {"ssh_options": ["-4", "-C", "-v", "-F", "none", "-o", "A=b", "-i", "key", "-c", "x", "-oBatchMode=yes",
                      "-oProxyJump=j"]}),
])
def test_options_of_their_own_are_kept(argv: list[str], expected: dict[str, object]) -> None:
    found = read([*argv, "a", "h:b"])
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(("argv", "text", "status"), [
    ([], "needed", 1), (["a"], "needed", 1), (["-r"], "needed", 1), (["-Z", "a", "b"], "unknown option -- Z", 1),
    (["--nonsense", "a", "b"], "unknown option -- nonsense", 1), (["-c"], "option requires an argument -- c", 1),
    (["--json=x", "a", "b"], "", 1),
    (["-P", "0", "a", "h:b"], "bad port", 255), (["-P", "nope", "a", "h:b"], "bad port", 255),
    (["-l", "0", "a", "h:b"], "bad limit", 1), (["-l", "x", "a", "h:b"], "bad limit", 1),
    (["-l", "9" * 5000, "a", "h:b"], "bad limit", 1),
    (["-X", "foo=1", "a", "h:b"], "Invalid -X option", 255), (["-X", "buffer=0", "a", "h:b"], "buffer size", 255),
    (["-X", "buffer=1M", "a", "h:b"], "Invalid buffer size", 255),
    (["-R", "h:a", "scp://i:22/b"], "target port not supported", 1),
])
def test_wrong_command_lines_say_why(
    argv: list[str], text: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scp.main(argv) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("fastssh-scp: ")
    assert text in error.splitlines()[0]
    assert len(error.splitlines()) == 1 or error.endswith(arguments.TOOL.usage().rstrip() + "\n")


@given(st.lists(st.text(max_size=10) | st.sampled_from(["-r", "-P", "-l", "-X", "-o", "h:a", "scp://h"]), max_size=5))
def test_every_command_line_is_understood_or_a_usage_error(argv: list[str]) -> None:
    try:
        read(argv)
    except Asked:
        return
    except UsageError as error:
        assert str(error)


def test_help_and_version_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert scp.main(["--help"]) == 0
    out, error = capsys.readouterr()
    assert arguments.TOOL.usage() in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert scp.main(["--version"]) == 0
    version, more = capsys.readouterr()
    assert version.startswith("fastssh ")
    for word in ("OpenSSL", "cryptography", "AES-GCM: "):
        assert word in version
    assert error == more == ""


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["-Z"], []])
def test_what_copies_nothing_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from fastssh.cli.scp.command import main; main(sys.argv[1:]);"
        "print([name for name in ('cryptography.hazmat', 'asyncio', 'rich', 'bcrypt', 'ssl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
