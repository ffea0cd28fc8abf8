"""fastssh-sftp's command line: options, destinations, and what a program of -S is called with."""

from __future__ import annotations

import pytest

from fastssh.cli.location import Remote, sftp_destination
from fastssh.cli.sftp.arguments import read
from fastssh.cli.sftp.opening import program_of
from fastssh.cli.tool import Asked, UsageError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("host", Remote("host", "")),
        ("me@host", Remote("host", "", "me")),
        ("host:", Remote("host", "")),
        ("host:dir/", Remote("host", "dir/")),
        ("me@host:/a:b", Remote("host", "/a:b", "me")),
        ("a@b@host:x", Remote("host", "x", "a@b")),
        ("[::1]", Remote("::1", "")),
        ("me@[fe80::1]:x", Remote("fe80::1", "x", "me")),
        ("sftp://host", Remote("host", "")),
        ("sftp://me@host:2222/dir", Remote("host", "dir", "me", 2222)),
        ("SFTP://host//abs%20path", Remote("host", "/abs path")),
        ("sftp://[::1]:22/", Remote("::1", "", None, 22)),
    ],
)
def test_destinations_mean_what_they_mean_to_sftp(name: str, meant: Remote) -> None:
    assert sftp_destination(name) == meant


@pytest.mark.parametrize("name", ["", "me@", "me@:x", "sftp://", "sftp://host:0/", "sftp://host:x/", "sftp://h/%zz",
                                  "sftp://@host/", "sftp://host/%00"])  # fmt: skip
def test_destinations_without_a_host_or_with_broken_parts_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        sftp_destination(name)
    with pytest.raises(UsageError):
        read([name])


def test_options_become_settings_in_the_order_of_the_command_line() -> None:
    found = read(["-46AC", "-c", "aes128-ctr", "-J", "hop", "-oUser=x", "-i", "key", "-P", "2222", "-vv", "h:p", "l"])
    assert found.overrides == [
        ("AddressFamily", "inet"), ("AddressFamily", "inet6"), ("ForwardAgent", "yes"), ("Compression", "yes"),
        ("Ciphers", "aes128-ctr"), ("ProxyJump", "hop"), "User=x", ("LogLevel", "DEBUG2"),
    ]  # fmt: skip
    assert (found.identities, found.port, found.destination, found.local) == (["key"], 2222, Remote("h", "p"), "l")
    assert (found.batch, found.quiet) == (None, False)
    found = read(["-afpr", "-B", "1000", "-R", "3", "-l", "800", "-s", "/x", "--connections", "2", "h"])
    assert (found.resume, found.fsync, found.preserve, found.recurse) == (True, True, True, True)
    assert (found.buffer, found.requests, found.limit) == (1000, 3, 102_400)
    assert (found.subsystem, found.connections) == ("/x", 2)
    found = read(["-X", "buffer=64k", "-X", "nrequests=5", "h"])
    assert (found.buffer, found.requests) == (65_536, 5)


def test_a_batch_is_quiet_and_asks_nobody_unless_it_is_told_otherwise() -> None:
    found = read(["-b", "-", "h"])
    assert (found.batch, found.quiet) == ("-", True)
    assert ("BatchMode", "yes") in found.overrides
    assert read(["-N", "-b", "file", "h"]).quiet is False
    assert read(["-q", "-N", "h"]).quiet is False
    assert read(["-D", "server", "ignored", "and", "ignored"]).destination is None


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        ([], "destination is missing", None),
        (["a", "b", "c"], "too many names", None),
        (["-Z", "h"], "unknown option", None),
        (["-P", "0", "h"], "Bad port", 255),
        (["-B", "0", "h"], "Invalid buffer size", 255),
        (["-B", "1x", "h"], "Invalid buffer size", 255),
        (["-R", "0", "h"], "Invalid number of requests", 255),
        (["-l", "-1", "h"], "Invalid bandwidth limit", 255),
        (["-X", "buffer=1g", "h"], "Invalid buffer size", 255),
        (["-X", "nothing=1", "h"], "Invalid -X option", 255),
        (["-b", "x", "-b", "y", "h"], "Batch file already specified", 255),
        (["--connections", "9", "h"], "Invalid number of connections", 255),
    ],
)
def test_command_lines_without_a_meaning_are_refused(arguments: list[str], said: str, status: int | None) -> None:
    with pytest.raises(UsageError, match=said) as error:
        read(arguments)
    assert error.value.status == status


def test_help_is_given_whatever_else_is_asked_for() -> None:
    with pytest.raises(Asked):
        read(["-b", "file", "--help"])


def test_a_program_in_place_of_the_connection_is_called_as_sftp_calls_ssh() -> None:
    asked = read(["-S", "myssh", "-F", "conf", "-4", "-oUser=x", "-P", "22", "-b", "-", "me@host:x"])
    assert program_of(asked) == [
        "myssh", "-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes", "-oControlMaster no",
        "-F", "conf", "-4", "-o", "User=x", "-obatchmode yes", "-oForwardAgent no", "-oPort 22", "-l", "me",
        "-s", "--", "host", "sftp",
    ]  # fmt: skip
    command = program_of(read(["-S", "myssh", "-s", "/bin/server", "--", "-host"]))
    assert command is not None
    assert command[-3:] == ["--", "-host", "/bin/server"]
    assert program_of(read(["-D", "server -e 'a b' \\c"])) == ["server", "-e", "a b", "c"]
    assert program_of(read(["h"])) is None
    with pytest.raises(ValueError):
        program_of(read(["-D", " "]))
