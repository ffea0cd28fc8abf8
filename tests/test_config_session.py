"""What a session takes from ssh_config(5): shared connections, commands, agents, tunnels, and what is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastssh.config.client import client_options
from fastssh.config.evaluate import load
from fastssh.config.session import (
    Control,
    agent_socket,
    class_of_service,
    control,
    escape_character,
    forwarded_agent,
    known_hosts_command,
    local_command,
    refused_tunnel,
)
from fastssh.config.settings import Settings
from fastssh.config.support import passed_over
from fastssh.config.tokens import Local
from fastssh.errors import ConfigError

ENVIRONMENT = {"X": "/x", "SSH_AUTH_SOCK": "/agent", "EMPTY": ""}


def evaluate(folder: Path, text: str, host: str = "host", environment: dict[str, str] = ENVIRONMENT) -> Settings:
    path = folder / "config"
    path.write_text(text)
    return load(host, file=str(path), local=Local("me", 1000, "/home/me", "box.example", environment))


@pytest.mark.parametrize(("text", "expected"), [
    ("ControlMaster auto\n", None),
    ("ControlPath none\n", None),
    ("ControlPath ~/cm-%r@%h:%p\nUser bob\n", Control("/home/me/cm-bob@host:22", "no", None)),
    ("ControlPath ${X}/%%\nControlMaster yes\nControlPersist yes\n", Control("/x/%", "yes", 0)),
    ("ControlPath /c\nControlMaster autoask\nControlPersist 1m30s\n", Control("/c", "autoask", 90)),
    ("ControlPath /c\nControlPersist 0\n", Control("/c", "no", 0)),
    ("ControlPath /c\nControlPersist no\n", Control("/c", "no", None)),
])
def test_a_shared_connection_has_a_path_a_role_and_a_time(tmp_path: Path, text: str, expected: Control | None) -> None:
    assert control(evaluate(tmp_path, text)) == expected


def test_the_hash_of_a_connection_tells_jump_hosts_apart(tmp_path: Path) -> None:
    paths = {control(evaluate(tmp_path, f"ControlPath /c/%C\n{more}")) for more in (
        "", "Port 23\n", "User bob\n", "HostName other\n", "ProxyJump a\n", "ProxyJump b\n", "ProxyJump x,b\n",
    )}  # fmt: skip
    assert len(paths) == 6  # %j is the last host alone
    assert all(path is not None and len(path.path) == len("/c/") + 40 for path in paths)


@pytest.mark.parametrize(("text", "expected"), [
    ("", ord("~")), ("EscapeChar none\n", None), ("EscapeChar ^]\n", 0x1D), ("EscapeChar %\n", ord("%")),
    ("EscapeChar ^\n", ord("^")),
])
def test_the_escape_character_is_a_byte(tmp_path: Path, text: str, expected: int | None) -> None:
    assert escape_character(evaluate(tmp_path, text)) == expected


@pytest.mark.parametrize("text", ["EscapeChar ab", "EscapeChar ^?", "EscapeChar ^ab", "EscapeChar ä"])
def test_what_is_no_escape_character_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="config:1: EscapeChar: "):
        evaluate(tmp_path, text)


def test_a_local_command_needs_a_permit(tmp_path: Path) -> None:
    text = "LocalCommand echo '%h' %n %p %r %u %T %%  # x\nHostName real\n"
    assert local_command(evaluate(tmp_path, text)) is None
    permitted = evaluate(tmp_path, f"{text}PermitLocalCommand yes\n")
    assert local_command(permitted) == "echo 'real' host 22 me me NONE %  # x"
    assert local_command(evaluate(tmp_path, "PermitLocalCommand yes\nLocalCommand none\n")) is None


def test_row20_names_of_others_reach_a_local_shell_as_plain_words_alone(tmp_path: Path) -> None:
    for directive in ("ProxyCommand nc %r %h", "PermitLocalCommand yes\nLocalCommand echo %r"):
        for user in ("$HOME", "a b", "*", "x~$y"):
            found = evaluate(tmp_path, f'{directive}\nUser "{user}"\n')
            with pytest.raises(ConfigError, match=r"config:[12]: \w+Command: .* may not go into a command"):
                _ = found.text("ProxyCommand"), local_command(found)
    for host in ("`x`", "$(x)", "a;b", "a,b", "{a}", "a|b"):
        with pytest.raises(ConfigError, match="not allowed"):
            evaluate(tmp_path, "ProxyCommand nc %h\n", host)
        with pytest.raises(ConfigError, match="not allowed"):
            evaluate(tmp_path, f"ProxyCommand nc %h\nHostName '{host}'\n")
    plain = evaluate(tmp_path, "ProxyCommand nc %r@[%h]:%p\nUser me@example.org\nHostName fe80::1%%eth0\n")
    assert plain.text("ProxyCommand") == "nc me@example.org@[fe80::1%eth0]:22"


def test_a_known_hosts_command_gets_its_arguments_one_by_one(tmp_path: Path) -> None:
    tokens = {"f": "SHA256:x y", "H": "[a]:1", "I": "HOSTNAME", "K": "AAAA", "t": "ssh-ed25519"}
    found = evaluate(tmp_path, 'KnownHostsCommand /bin/look "%H %h" %I %f ${X} %%\n')
    assert known_hosts_command(found, tokens) == ("/bin/look", "[a]:1 host", "HOSTNAME", "SHA256:x y", "/x", "%")
    assert known_hosts_command(evaluate(tmp_path, "KnownHostsCommand none\n"), tokens) is None
    assert known_hosts_command(evaluate(tmp_path, ""), tokens) is None
    with pytest.raises(ConfigError, match=r"config:1: KnownHostsCommand: '%T' may not stand"):
        known_hosts_command(evaluate(tmp_path, "KnownHostsCommand /x %T\n"), tokens)


@pytest.mark.parametrize(("text", "asked", "forwarded"), [
    ("", "/agent", None),
    ("ForwardAgent yes\n", "/agent", "/agent"),
    ("ForwardAgent yes\nIdentityAgent ~/a%u\n", "/home/me/ame", "/home/me/ame"),
    ("ForwardAgent yes\nIdentityAgent none\n", None, None),
    ("ForwardAgent ${X}/s\nIdentityAgent none\n", None, "/x/s"),
    ("ForwardAgent $X\n", "/agent", "/x"),
    ("ForwardAgent $EMPTY\nIdentityAgent $NOTSET\n", None, None),
    ("ForwardAgent SSH_AUTH_SOCK\nIdentityAgent /other\n", "/other", "/agent"),
])
def test_the_agent_that_is_asked_and_the_one_that_is_forwarded(
    tmp_path: Path, text: str, asked: str | None, forwarded: str | None
) -> None:
    found = evaluate(tmp_path, text)
    assert (agent_socket(found), forwarded_agent(found)) == (asked, forwarded)


def test_without_a_variable_there_is_no_agent(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "ForwardAgent yes\n", environment={})
    assert (agent_socket(found), forwarded_agent(found)) == (None, None)


def test_terminals_and_transfers_have_classes_of_service_of_their_own(tmp_path: Path) -> None:
    for text, interactive, bulk in (
        ("", 0x48, 0x20), ("IPQoS ef\n", 0xB8, 0xB8), ("IPQoS af43 none\n", 0x98, -1), ("IPQoS 3 0xff\n", 3, 255),
    ):  # fmt: skip
        found = evaluate(tmp_path, text)
        assert (class_of_service(found, interactive=True), class_of_service(found, interactive=False)) == (
            interactive, bulk,
        )  # fmt: skip


def test_a_tunnel_is_told_of_and_refused_where_forwards_must_not_fail(tmp_path: Path) -> None:
    assert refused_tunnel(evaluate(tmp_path, "")) is None
    assert refused_tunnel(evaluate(tmp_path, "Tunnel yes\n")) == "Could not request tunnel forwarding."
    assert refused_tunnel(evaluate(tmp_path, "Tunnel yes\nClearAllForwardings yes\nExitOnForwardFailure yes\n")) is None
    with pytest.raises(ConfigError, match="config:2: Could not request tunnel forwarding"):
        refused_tunnel(evaluate(tmp_path, "ExitOnForwardFailure yes\nTunnel ethernet\n"))


@pytest.mark.parametrize(("text", "sent", "given"), [
    ("SendEnv A B*\nSendEnv C\nSetEnv D=1 E= D=2\nSetEnv F=3\n", ("A", "B*", "C"), ("D=1", "E=")),
    ("SendEnv LC_A LC_B LANG\nSendEnv -LC_*\nSendEnv LC_C\n", ("LANG", "LC_C"), ()),
    ("SendEnv A\nSendEnv -A\n", None, ()),
    ("SendEnv -A\nSendEnv A\n", ("A",), ()),
    ("Host x\nSendEnv A\nSetEnv B=1\nHost host\nSendEnv C -D\n", ("C",), ()),
])
def test_variables_are_sent_as_they_were_given(
    tmp_path: Path, text: str, sent: tuple[str, ...] | None, given: tuple[str, ...]
) -> None:
    found = evaluate(tmp_path, text)
    assert (found.words("SendEnv"), found.typed("SetEnv", tuple)) == (sent, given)


@pytest.mark.parametrize(("text", "expected"), [
    ("", "yes"), ("UserKnownHostsFile ~/.ssh/known_hosts\n", "yes"), ("UserKnownHostsFile /x\n", "no"),
    ("UserKnownHostsFile none\n", "no"), ("VerifyHostKeyDNS yes\n", "no"), ("UpdateHostKeys ask\n", "no"),
    ("UpdateHostKeys yes\nUserKnownHostsFile /x\n", "yes"),
])
def test_host_keys_are_learnt_where_the_files_are_the_usual_ones(tmp_path: Path, text: str, expected: str) -> None:
    assert evaluate(tmp_path, text).update_host_keys == expected


PASSED_OVER = (
    "ForwardX11 yes", "GSSAPIAuthentication yes", "GSSAPIKeyExchange yes", "HostbasedAuthentication yes",
    "PKCS11Provider /x.so", "SecurityKeyProvider /x.so", "Tunnel point-to-point", "VerifyHostKeyDNS ask",
    "ChannelTimeout session=1h", "VersionAddendum x # y", "LogVerbose kex.c:*",
    "ObscureKeystrokeTiming yes",
)  # fmt: skip


@pytest.mark.parametrize("text", PASSED_OVER)
def test_what_is_not_there_makes_no_configuration_unusable_and_is_told_of_when_asked(tmp_path: Path, text: str) -> None:
    told: list[tuple[int, str]] = []
    name = text.split()[0]
    client_options(evaluate(tmp_path, f"Port 5\n{text}\n"), log=lambda level, line: told.append((level, line)))
    assert told == [(1, f"{tmp_path}/config:2: {name} is not supported, and ignored")]


def test_what_was_not_asked_for_is_not_told_of(tmp_path: Path) -> None:
    text = "ForwardX11 no\nGSSAPIAuthentication no\nTunnel no\nPKCS11Provider none\nChannelTimeout none\n"
    assert list(passed_over(evaluate(tmp_path, text))) == []
    assert list(passed_over(evaluate(tmp_path, f"Host other\n{PASSED_OVER[0]}\n"))) == []


def test_defaults_of_a_tool_come_after_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("ExitOnForwardFailure no\n")
    found = load("h", file=str(path), defaults=[("ExitOnForwardFailure", "yes"), "ClearAllForwardings=yes"])
    assert (found.flag("ExitOnForwardFailure"), found.flag("ClearAllForwardings")) == (False, True)
    with pytest.raises(ConfigError, match="command line: "):
        load("h", file="none", defaults=["Host x"])


def test_the_session_type_of_the_configuration_counts_for_match(tmp_path: Path) -> None:
    text = "Host none\n SessionType none\nMatch sessiontype none\n Port 5\nMatch sessiontype subsystem\n Port 6\n"
    assert evaluate(tmp_path, text, "none").port == 5
    assert evaluate(tmp_path, text, "other").port == 6
