"""fastssh's command line: options before and behind the host, as ssh reads them, and what is answered at once."""

from __future__ import annotations

import subprocess

import pytest

from fastssh import algorithms
from fastssh.cli.ssh import arguments
from fastssh.cli.ssh.command import main
from fastssh.cli.tool import UsageError
from tests.support.peers import openssh_offers, program

OPTIONS = tuple(option.flag for option in arguments.TOOL.options)


def settings(*words: str) -> list[object]:
    return arguments.read([*words, "host"]).overrides


@pytest.mark.parametrize(("words", "host", "command"), [
    (["host"], "host", ""),
    (["host", "ls", "-l", "/"], "host", "ls -l /"),
    (["-v", "host", "-q", "ls", "-q"], "host", "ls -q"),  # options go on behind the host
    (["--", "host", "-q"], "host", "-q"),  # but not if they were ended
    (["host", "--", "-q"], "host", "-q"),
    (["me@host", "echo", "a  b"], "host", "echo a  b"),
    (["ssh://me@host:22", "ls"], "host", "ls"),
    (["ssh://[::1]:22"], "::1", ""),
    (["a@b@host"], "host", ""),
])  # fmt: skip
def test_the_host_and_the_command_are_found(words: list[str], host: str, command: str) -> None:
    found = arguments.read(words)
    assert (found.host, found.command) == (host, command)


def test_the_user_and_port_are_settings_of_which_the_first_counts() -> None:
    assert settings("-l", "a", "-p", "1") == [("User", "a"), ("Port", "1")]
    found = arguments.read(["-l", "first", "me@host", "-p", "22"])
    assert found.overrides == [("User", "first"), ("User", "me"), ("Port", "22")]
    assert arguments.read(["ssh://m%65@host:2222"]).overrides == [("Port", "2222"), ("User", "me")]


@pytest.mark.parametrize(("words", "expected"), [
    (["-4", "-o", "AddressFamily=any"], ("AddressFamily", "inet")),
    (["-T", "-t"], ("RequestTTY", "yes")),
    (["-tt"], ("RequestTTY", "force")),
    (["-t", "-T"], ("RequestTTY", "no")),
    (["-e", "none"], ("EscapeChar", "none")),
    (["-MM"], ("ControlMaster", "ask")),
    (["-vv"], ("LogLevel", "DEBUG2")),
    (["-vvvvv"], ("LogLevel", "DEBUG3")),
    (["-q"], ("LogLevel", "QUIET")),
])  # fmt: skip
def test_switches_are_settings_that_come_before_all_others(words: list[str], expected: tuple[str, str]) -> None:
    assert settings(*words)[0] == expected


def test_going_to_the_background_and_running_nothing_imply_other_settings() -> None:
    assert {("ForkAfterAuthentication", "yes"), ("StdinNull", "yes")} <= set(settings("-f"))
    assert {("SessionType", "none"), ("RequestTTY", "no")} <= set(settings("-N"))
    assert {("SessionType", "none"), ("RequestTTY", "no")} <= set(settings("-W", "a:1"))


def test_forwards_keep_their_order() -> None:
    found = arguments.read(["-L", "1:a:2", "-D", "3", "host", "-R", "4:b:5"])
    assert found.forwards == [("local", "1:a:2"), ("dynamic", "3"), ("remote", "4:b:5")]


@pytest.mark.parametrize("words", [
    [], ["-p"], ["@host"], ["user@"], ["ssh://"], ["ssh://host/path"], ["-s", "host"], ["--unknown", "host"],
    ["-Z", "h"], ["-J", "a", "-J", "b", "host"], ["-O", "nothing", "host"], ["-X", "host"], ["-K", "host"],
    ["-w", "any", "host"], ["-I", "lib", "host"], ["-1", "host"],
])  # fmt: skip
def test_what_cannot_be_understood_is_an_error(words: list[str]) -> None:
    with pytest.raises(UsageError):
        arguments.read(words)


def test_each_of_sshs_letters_is_known() -> None:
    said = subprocess.run([program("ssh", "openssh-client")], capture_output=True, text=True, timeout=20).stderr
    letters = {word[2] for word in said.replace("[-46", "[-4 [-6").split() if word.startswith("[-")}
    letters |= set(said.split("[-", 1)[1].split("]")[0])
    assert letters - {flag[1] for flag in OPTIONS} == set()
    switches = [flag for flag in ("-2", "-k", "-x") if flag in OPTIONS]
    assert arguments.read([*switches, "host"]).overrides == []


@pytest.mark.parametrize(
    "kind", ["cipher", "cipher-auth", "mac", "kex", "key", "key-cert", "key-plain", "key-sig", "sig"]
)
def test_what_is_queried_is_what_openssh_calls_so(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-Efile", "-Q", kind]) == 0
    names = capsys.readouterr().out.split()
    assert names == list(dict.fromkeys(names)) != []
    assert set(names) - set(openssh_offers(kind)) <= {"mlkem768x25519-sha256"}  # which 9.2 does not have


def test_queries_go_by_the_names_of_directives_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-Q", "Ciphers"]) == 0
    assert capsys.readouterr().out.split() == list(algorithms.default_ciphers())
    assert main(["-Q", "protocol-version"]) == 0
    assert capsys.readouterr().out == "2\n"
    assert main(["-Q", "nothing"]) == 255
    assert capsys.readouterr().err == "fastssh: Unsupported query 'nothing'\n"


def test_the_version_goes_to_standard_error_where_v_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-V"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("fastssh ")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == said.err


def test_a_usage_error_has_sshs_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 255
    assert "usage: fastssh" in capsys.readouterr().err
