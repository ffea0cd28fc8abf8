"""ssh_config(5): what the evaluator makes of it, held against `ssh -G` of the OpenSSH that is installed."""

from __future__ import annotations

import glob
import grp
import gzip
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastssh.aio.interfaces import InterfaceAddress, interface_addresses
from fastssh.config import lexer
from fastssh.config.client import client_options
from fastssh.config.directives import ALL_TOKENS, DIRECTIVES, OBSOLETE
from fastssh.config.evaluate import load
from fastssh.config.session import verbosity
from fastssh.config.settings import Settings
from fastssh.config.tokens import Local, check_host, check_user, expand, expand_home
from fastssh.config.values import RekeyLimit, seconds
from fastssh.errors import ConfigError

SSH = shutil.which("ssh")
needs_ssh = pytest.mark.skipif(SSH is None, reason="the OpenSSH client `ssh` is not installed")


@pytest.fixture
def local(tmp_path: Path) -> Local:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    return Local("me", 1000, str(home), "box.example.org", {"X": "value", "EMPTY": "", "SHELL": "/bin/sh"})


def evaluate(text: str, host: str = "host", *, local: Local, **options: object) -> Settings:
    path = Path(local.home) / "tested_config"
    path.write_text(text)
    path.chmod(0o600)
    return load(host, file=str(path), local=local, **options)  # type: ignore[arg-type]


# -- the same as ssh -G ------------------------------------------------------------------------------------------------

_SPELLING = {  # ssh -G writes some words its own way
    "stricthostkeychecking": {"yes": "true", "no": "false"},
    "pubkeyauthentication": {"yes": "true", "no": "false"},
    "loglevel": None,
}
COMPARED = (
    "HostName", "Port", "User", "AddressFamily", "BatchMode", "BindAddress", "Compression", "ConnectTimeout",
    "GlobalKnownHostsFile", "HashKnownHosts", "HostKeyAlias", "IdentitiesOnly", "IdentityAgent", "IdentityFile",
    "KbdInteractiveAuthentication", "LogLevel", "NumberOfPasswordPrompts", "PasswordAuthentication",
    "PreferredAuthentications", "PubkeyAuthentication", "RekeyLimit", "ServerAliveCountMax", "ServerAliveInterval",
    "StrictHostKeyChecking", "TCPKeepAlive", "UserKnownHostsFile",
)
DEFAULT_IDENTITIES = "id_rsa"  # ssh -G lists all default identity files; we leave them to the connection


def openssh(path: str, host: str, *options: str) -> dict[str, list[str]] | None:
    """The output of ssh -G by keyword; None when ssh refuses."""
    assert SSH is not None
    done = subprocess.run([SSH, "-F", path, *options, "-G", host], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "X": "value"}, check=False)
    if done.returncode:
        return None
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword.lower(), []).append(value)
    return found


def as_ssh_prints(result: Settings, name: str) -> list[str]:
    """Our value in ssh -G's words."""
    key = name.lower()
    if name == "HostName":
        return [result.host]
    if name == "User":
        return [result.user]
    if name == "RekeyLimit":
        return ["{} {}".format(*result.rekey_limit())]
    if name == "UserKnownHostsFile":
        return [" ".join(expand_home(path, result.local.home) for path in result.words(name) or ()) or "none"]
    if name == "GlobalKnownHostsFile":
        return [" ".join(result.words(name) or ()) or "none"]
    if name == "IdentityFile":  # ssh -G prints it as written
        return [str(value) for value, _ in result._values.get(name, [])]
    value = result.value(name)
    if name == "ConnectTimeout" and not value:
        return ["none"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if name == "LogLevel":
        return [str(value).upper().replace("DEBUG1", "DEBUG")]
    return [] if value is None else [str((_SPELLING.get(key) or {}).get(str(value), value))]


CORPUS = {
    "empty": "",
    "plain": "Host host\n  User bob\n  Port 2222\n  HostName real.example\n",
    "first value wins": "Port 1\nHost *\n Port 2\nUser a\nUser b\n",
    "letter case": "hOST hos?\n pORT 7\n uSER Bob\n",
    "equals": "Port=17\nUser = bob\nHostName= a.b\nCompression =yes\n",
    "quotes": 'User "bob"\nUserKnownHostsFile "/a b" \'/c d\' /e\\ f "/g\\"h" /i\'j k\'l\n',
    "comments": "# c\n   # d\nPort 22 # e\nUser bob#notcomment\nUserKnownHostsFile /a#b # c /d\n",
    "blanks": "\t Port \t 5 \t\r\n\n \n\t\nUser\tbob\f\n",
    "negation": "Host * !host\n Port 1\nHost !other *\n Port 2\n",
    "negation alone": "Host !other\n Port 3\n",
    "wildcards": "Host h*t\n Port 3\nHost h??t\n User w\n",
    "several patterns": "Host a b host c\n Port 9\n",
    "match all": "Match all\n Port 4\n",
    "match host": "HostName x.example\nMatch host x.*\n Port 5\nMatch originalhost host\n User o\n",
    "match list": "Match host !host,*\n Port 1\nMatch host !other,h*\n Port 2\n",
    "match user": "User bob\nMatch user bob,eve\n Port 6\nMatch user root\n Port 7\n",
    "match localuser": f"Match localuser {pwd.getpwuid(os.getuid()).pw_name}\n Port 8\n",
    "match negated": "Match !host other\n Port 10\n",
    "match exec": "Match exec true\n Port 11\nMatch exec \"test %h = host\"\n User yes\n",
    "match exec that fails": "Match exec false\n Port 11\nMatch host other exec true\n Port 12\n",
    "match more and all": "Match host host all\n Port 15\nMatch host other all\n User no\n",
    "match equals": "Match host=host\n Port 12\n",
    "match final": "HostName later.example\nMatch final host later.example\n Port 13\nHost later.example\n User fin\n",
    "match negated final": "Match !final\n Port 13\n",
    "match case": "Match host HOST\n Port 14\n",
    "match nothing after all": "Match all\nMatch host nope\n Port 1\nHost host\n Port 2\n",
    "hostname token": "HostName %h.example.org\n",
    "hostname percent": "HostName %%h\n",
    "identities": "IdentityFile ~/a\nIdentityFile /b/%h\nIdentityFile ~/a\nIdentityFile none\n",
    "tokens": "User bob\nPort 77\nHostName real\nHostKeyAlias al\n"
              "UserKnownHostsFile /%h/%n/%p/%r/%u/%k/%i/%L/%l/%%/%C %d/x\n",
    "environment": "UserKnownHostsFile /${X}/%h ~/${X}\n",
    "no files": "UserKnownHostsFile none\nGlobalKnownHostsFile none\n",
    "global files": "GlobalKnownHostsFile /a /b\n",
    # With BatchMode, Debian's default for ServerAliveInterval is 300.
    "switches": "BatchMode yes\nHashKnownHosts true\nIdentitiesOnly no\nTCPKeepAlive false\nPasswordAuthentication no\n"
                "KbdInteractiveAuthentication no\nCompression yes\nServerAliveInterval 7\n",
    "aliases": "ChallengeResponseAuthentication no\nDSAAuthentication no\nIdentityFile2 /x\nKeepAlive no\n",
    "times": "ConnectTimeout 1h30m\nServerAliveInterval 2w1d\n",
    "no timeout": "ConnectTimeout none\n",
    "rekey": "RekeyLimit 1G 1h\n",
    "rekey default": "RekeyLimit default none\n",
    "rekey small units": "RekeyLimit 16k 90\n",
    "levels": "LogLevel debug2\nStrictHostKeyChecking accept-new\nAddressFamily INET6\n",
    "level debug": "LogLevel DEBUG\nStrictHostKeyChecking off\nPubkeyAuthentication no\n",
    "numbers": "NumberOfPasswordPrompts 1\nServerAliveCountMax 9\n",
    "service name": "Port ssh\n",
    "strings": "BindAddress 127.0.0.1\nHostKeyAlias alias\nIdentityAgent none\n"
               "PreferredAuthentications password,publickey\n",
    "ignore unknown": "IgnoreUnknown Foo*,use*\nFooBar x y z\nUseKeychain yes\nPort 3\n",
    "obsolete": "Protocol 2\nUsePrivilegedPort no\nRSAAuthentication no\nCipher 3des\nPort 3\n",
    "others": "ForwardX11 no\nControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 10m\nSendEnv LANG LC_*\n"
              "SetEnv A=b\nLocalForward 8080 localhost:80\nRequestTTY force\nEscapeChar none\nIPQoS af21 cs1\n"
              "GSSAPIAuthentication no\nProxyCommand none\nProxyJump none\nPort 3\n",
    "user upper case host": "Host HOST\n Port 1\nHost host\n Port 2\n",
}


@needs_ssh
@pytest.mark.parametrize("name", CORPUS)
def test_evaluates_as_openssh_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(CORPUS[name])
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)  # ssh asks the password database, not $HOME
    monkeypatch.setenv("X", "value")
    theirs = openssh(str(path), "host")
    assert theirs is not None
    ours = load("host", file=str(path))
    for directive in COMPARED:
        expected = theirs.get(directive.lower(), [])
        if directive == "IdentityFile" and any(DEFAULT_IDENTITIES in file for file in expected):
            expected = []
        assert as_ssh_prints(ours, directive) == expected, directive


REFUSED = {
    "unknown": "Foo bar\n",
    "unknown after ignored": "IgnoreUnknown f*\nFoo x\nBar y\n",
    "no argument": "Port\n",
    "no argument after equals": "Port =\n",
    "extra argument": "Port 22 23\n",
    "open quote": 'Port "22\n',
    "open single quote": "User 'bob\n",
    "port 0": "Port 0\n",
    "port too large": "Port 65536\n",
    "port word": "Port nosuchservice\n",
    "port hexadecimal": "Port 0x16\n",
    "flag": "Compression maybe\n",
    "choice": "StrictHostKeyChecking sometimes\n",
    "number": "NumberOfPasswordPrompts x\n",
    "negative number": "ServerAliveCountMax -1\n",
    "hexadecimal number": "ServerAliveCountMax 0x16\n",
    "time": "ConnectTimeout 5x\n",
    "time overflow": "ConnectTimeout 999999999w\n",
    "rekey too small": "RekeyLimit 8\n",
    "rekey unit": "RekeyLimit 1X\n",
    "log level": "LogLevel debug9\n",
    "empty user": 'User ""\n',
    "empty host name": 'HostName ""\n',
    "files and none": "UserKnownHostsFile none /x\n",
    "match": "Match foo\n",
    "match without argument": "Match host\n",
    "match all and more": "Match all host h\n",
    "host without pattern": "Host\n",
    "include without name": "Include\n",
    "forward": "LocalForward 80\n",
    "forward with more": "LocalForward 80 h:80 x\n",
    "in a block that does not match": "Host other\n Foo bar\n",
    **{text: f"{text}\n" for text in (
        "EscapeChar ab", "EscapeChar ^?", "TunnelDevice x", "TunnelDevice 5:y", "TunnelDevice -1", "SetEnv A",
        "SendEnv A=b", 'SendEnv ""', "ControlPersist YES", "ControlPersist 5x", "AddKeysToAgent confirm x",
        "AddKeysToAgent yes 5m", "AddKeysToAgent maybe", "StreamLocalBindMask 8", "StreamLocalBindMask 01000",
        "SyslogFacility kern", "FingerprintHash crc", "CanonicalDomains -a", "CanonicalDomains a none",
        "CanonicalDomains a..b", "CanonicalizePermittedCNAMEs a", "CanonicalizePermittedCNAMEs a: b:c",
        "CanonicalizePermittedCNAMEs a:b none", "PermitRemoteOpen a", "PermitRemoteOpen a:b",
        "PermitRemoteOpen any a:1", "LogVerbose a none", "ForwardAgent $a-b", "IdentityAgent $a-b", "ProxyJump a,,b",
        "ProxyJump @a", "ProxyJump a:0", "ProxyJump ssh://a/x", "ProxyJump :22", "IPQoS af99", "IPQoS 256",
        "IPQoS", "RequestTTY perhaps", "SessionType shell", "ControlMaster maybe", "Tunnel 5",
        "UpdateHostKeys never", "CanonicalizeHostname ask", "AddressFamily inet4", "RekeyLimit 1G 1x",
        "Compression delayed x", "Match final all host x", "Match host x user y all", "Match all final",
        "Match !host", "Match exec", 'Host a ""', 'Include ""', "LogLevel", "ConnectTimeout 1.5",
        "ForwardX11Timeout x",
    )},
}  # fmt: skip


@needs_ssh
@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_openssh_refuses_naming_file_and_line(name: str, local: Local) -> None:
    text = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        evaluate(text, local=local)
    assert str(caught.value).startswith(f"{local.home}/tested_config:{text.count(chr(10))}: ")
    assert "\n" not in str(caught.value)
    assert openssh(f"{local.home}/tested_config", "host") is None


# ssh_config(5) of OpenSSH 9.2 with Debian's GSSAPI directives, and those that came until 10.2.
MANUAL = """
    AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CASignatureAlgorithms CanonicalDomains
    CanonicalizeFallbackLocal CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CertificateFile
    CheckHostIP Ciphers ClearAllForwardings Compression ConnectTimeout ConnectionAttempts ControlMaster ControlPath
    ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure
    FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted
    GSSAPIAuthentication GSSAPIClientIdentity GSSAPIDelegateCredentials GSSAPIKexAlgorithms GSSAPIKeyExchange
    GSSAPIRenewalForcesRekey GSSAPIServerIdentity GSSAPITrustDns GatewayPorts GlobalKnownHostsFile HashKnownHosts
    HostKeyAlgorithms HostKeyAlias HostbasedAcceptedAlgorithms HostbasedAuthentication Hostname IPQoS IdentitiesOnly
    IdentityAgent IdentityFile IgnoreUnknown KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms
    KnownHostsCommand LocalCommand LocalForward LogLevel LogVerbose MACs NoHostAuthenticationForLocalhost
    NumberOfPasswordPrompts PKCS11Provider PasswordAuthentication PermitLocalCommand PermitRemoteOpen Port
    PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms PubkeyAuthentication
    RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys SecurityKeyProvider SendEnv
    ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull StreamLocalBindMask StreamLocalBindUnlink
    StrictHostKeyChecking SyslogFacility TCPKeepAlive Tunnel TunnelDevice UpdateHostKeys User UserKnownHostsFile
    VerifyHostKeyDNS VisualHostKey XAuthLocation
    ChannelTimeout ObscureKeystrokeTiming RefuseConnection Tag VersionAddendum WarnWeakCrypto
"""


def test_every_directive_of_the_manual_is_known() -> None:
    names = set(MANUAL.split())
    for page in glob.glob("/usr/share/man/man5/ssh_config.5*"):  # the installed one may know more
        with gzip.open(page, "rt") if page.endswith(".gz") else open(page) as file:
            words = [line.split() for line in file if line.startswith(".It Cm ")]
        names |= {line[2] for line in words if len(line) == 3 and line[2][0].isupper()}
    assert {name for name in names if name.lower() not in DIRECTIVES} == {"Host", "Match", "Include"} & names


@needs_ssh
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab #'\"\\=\t", min_size=1, max_size=14))
def test_arguments_are_split_as_openssh_splits_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"UserKnownHostsFile /x {text} /z\n")
    theirs = openssh(str(path), "host")
    try:
        ours = load("host", file=str(path)).words("UserKnownHostsFile")
    except ConfigError:
        ours = None
    # An empty argument ends OpenSSH's list of files; we refuse it.
    if ours is None and theirs is not None:
        assert '""' in text or "''" in text or "'" in text or '"' in text
        with pytest.raises(ConfigError, match="empty"):
            load("host", file=str(path))
    else:
        assert theirs is None if ours is None else theirs == theirs | {"userknownhostsfile": [" ".join(ours)]}


# -- properties --------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\0"), max_size=12)))
def test_quoted_arguments_come_back_whole(words: list[str]) -> None:
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert lexer.split_arguments(quoted) == words


@given(st.text(max_size=60))
def test_no_line_brings_anything_but_a_line_or_a_config_error(text: str) -> None:
    where = lexer.Where("f", 3)
    try:
        line = lexer.read_line(text, where)
    except ConfigError as error:
        assert str(error).startswith("f:3: ")
    else:
        assert line is None or line.keyword


@given(st.text(max_size=30), st.dictionaries(st.sampled_from("hpr"), st.text(max_size=5)))
def test_what_a_token_stands_for_is_not_expanded_again(text: str, values: dict[str, str]) -> None:
    tokens = {name: (lambda value=value: value) for name, value in values.items()}
    text = text.replace("%", "").replace("$", "")
    whole = "".join(f"%{name}" for name in values) + text
    assert expand(whole, tokens, {}) == "".join(values.values()) + text


# -- tokens and names --------------------------------------------------------------------------------------------------

BAD_HOSTS = ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "`x`", "a\nb", "a|b", "a\x00b", "a\x1bb", "a&b", "a'b",
             'a"b', "a\\b", "(a)", "<a>", "{a}"]
BAD_USERS = ["", "-x", "a;b", "a|b", "a'b", "`a`", "a\nb", "x -oFoo", "a\\", "(a)", 'a"b', "a\x07"]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_row20_host_names_that_a_shell_could_act_upon_are_refused(host: str, local: Local) -> None:
    with pytest.raises(ConfigError):
        check_host(host)
    with pytest.raises(ConfigError):
        load(host, file="none", local=local)
    with pytest.raises(ConfigError):  # the same from HostName
        _ = load("host", overrides=[("HostName", host)], file="none", local=local).host


def test_row20_a_user_of_the_command_line_is_taken_as_it_stands(local: Local) -> None:
    assert load("h", overrides=[("User", "a%u%%b$X")], file="none", local=local).user == "a%u%%b$X"
    assert load("h", overrides=["User=a%u%%b"], file="none", local=local).user == "ame%b"
    for user in ("${X}", "x\ay", "-l"):
        with pytest.raises(ConfigError, match="user name"):
            load("h", overrides=[("User", user)], file="none", local=local)


@pytest.mark.parametrize("user", BAD_USERS)
def test_row20_user_names_that_a_shell_could_act_upon_are_refused(user: str, local: Local) -> None:
    with pytest.raises(ConfigError):
        check_user(user)
    with pytest.raises(ConfigError):
        client_options(load("host", overrides=[("User", user)], file="none", local=local))


def test_row20_no_token_brings_a_shell_anything_but_a_plain_word(local: Local, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for user in ("$HOME", "a b", "x$IFS", "*"):
        with pytest.raises(ConfigError, match="may not go into a command"):
            evaluate(f'User "{user}"\nMatch exec "touch {mark}; echo %r"\n Port 2\n', local=local)
    assert not mark.exists()
    assert evaluate('User ok\nMatch exec "test %r-%n-%p = ok-host-22"\n Port 2\n', local=local).port == 2


@pytest.mark.parametrize("text", ["UserKnownHostsFile %z", "HostName %n", "IdentityFile /x%", "UserKnownHostsFile %H"])
def test_row20_tokens_that_may_not_stand_there_are_errors(text: str, local: Local) -> None:
    with pytest.raises(ConfigError, match=r"tested_config:1: \w+: .*may not stand"):
        client_options(evaluate(text, local=local))


@pytest.mark.parametrize("text", ["${NOTSET}", "${", "${}", "${a-b}", "${X"])
def test_environment_variables_that_are_not_set_or_misspelt_are_errors(text: str, local: Local) -> None:
    with pytest.raises(ConfigError, match="tested_config:1: IdentityFile"):
        client_options(evaluate(f"IdentityFile /x/{text}", local=local))


def test_every_token_has_a_value(local: Local) -> None:
    result = evaluate("User bob\nHostName Real.Example\nPort 5\n", "Typed", local=local)
    values = {token: value() for token, value in result.tokens(ALL_TOKENS).items()}
    assert set(values) == set(ALL_TOKENS)
    assert {k: v for k, v in values.items() if k != "C"} == {
        "d": local.home, "h": "real.example", "i": "1000", "j": "", "k": "Typed", "L": "box", "l": "box.example.org",
        "n": "Typed", "p": "5", "r": "bob", "u": "me",
    }


def test_a_home_that_does_not_exist_is_an_error() -> None:
    assert expand_home("~/x", "/h") == "/h/x"
    assert expand_home("~", "/h") == "/h/"
    assert expand_home("~", "/") == "/"
    assert expand_home("a~", "/h") == "a~"
    assert expand_home("~root/x", "/h") == pwd.getpwuid(0).pw_dir.rstrip("/") + "/x"
    with pytest.raises(ConfigError, match="no such user"):
        expand_home("~nosuchuser-here/x", "/h")


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_users_file_and_that_over_the_systems(local: Local, tmp_path: Path) -> None:
    system = tmp_path / "system"
    system.write_text("Port 3\nUser s\nCompression yes\n")
    user = Path(local.home) / ".ssh/config"
    user.write_text("Port 2\nUser u\n")
    user.chmod(0o600)
    result = load("h", overrides=["port=1"], local=local, system_file=str(system))
    assert (result.port, result.user, result.flag("Compression")) == (1, "u", True)
    result = load("h", file="none", local=local, system_file=str(system))
    assert (result.port, result.user) == (22, "me")
    result = load("h", file=os.devnull, local=local, system_file=str(system))
    assert result.port == 22
    result = load("h", file=str(system), local=local, system_file=str(tmp_path / "missing"))
    assert result.port == 3


def test_includes_follow_globs_in_order_and_end_their_own_blocks(local: Local) -> None:
    folder = Path(local.home) / ".ssh"
    contents = {"b.conf": "Port 2\nUser b\n", "a.conf": "Port 1\nHost other\n", "deep": "Include b.conf\n"}
    for name, text in contents.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    result = evaluate("Include *.conf\nCompression yes\n", local=local)
    assert (result.port, result.user, result.flag("Compression")) == (1, "b", True)
    assert evaluate("Include ~/.ssh/deep nothing/*\n", local=local).port == 2
    assert evaluate(f"Include {folder}/b.conf\n", local=local).port == 2
    assert evaluate("Host other\n Include b.conf\n", local=local).port == 22
    (folder / "bad").write_text("Foo\n")
    (folder / "bad").chmod(0o600)
    with pytest.raises(ConfigError, match=r"\.ssh/bad:1: "):
        evaluate("Host other\n Include bad\n", local=local)


def test_includes_take_tokens_and_variables(local: Local) -> None:
    (Path(local.home) / "host-value").write_text("Port 2\n")
    assert evaluate("Include ~/%n-${X}\n", local=local).port == 2
    with pytest.raises(ConfigError, match=r"tested_config:1: include: .*NOTSET is not set"):
        evaluate("Include ~/${NOTSET}\n", local=local)
    with pytest.raises(ConfigError, match=r"tested_config:1: include: .*may not stand"):
        evaluate("Include ~/%z\n", local=local)


@pytest.mark.parametrize(("criteria", "holds"), [
    ("sessiontype subsystem", True), ("sessiontype shell,exec", False), ("command sftp", True),
    ("command rsync*", False), ("version fastssh_*", True), ("version OpenSSH_*", False), ("tagged home", True),
    ("!tagged home", False), ('tagged ""', False), ('command ""', False), ("!command=", True),
    ("tagged home host other localnetwork 10.0.0.0/8", False),
])
def test_match_criteria_of_later_releases(criteria: str, holds: bool, local: Local) -> None:
    assert (evaluate(f"Tag home\nMatch {criteria}\n Port 2\n", local=local).port == 2) is holds


def test_match_localnetwork_asks_the_interfaces(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [InterfaceAddress("eth0", "192.0.2.7"), InterfaceAddress("eth0", "fe80::1%eth0")]
    monkeypatch.setattr("fastssh.aio.interfaces.interface_addresses", lambda: addresses)
    for networks, holds in {
        "192.0.2.0/24": True, "10.0.0.0/8,192.0.2.7": True, "10.0.0.0/8": False, "fe80::/10": False, "::/0": False,
    }.items():
        assert (evaluate(f"Match localnetwork {networks}\n Port 2\n", local=local).port == 2) is holds, networks
    for wrong in ("192.0.2.*", "192.0.2.0/33", "!192.0.2.0/24", "a"):
        with pytest.raises(ConfigError, match=r"tested_config:1: Match localnetwork: "):
            evaluate(f"Match localnetwork {wrong}\n", local=local)


def test_the_kernel_tells_the_addresses_of_interfaces_that_are_up() -> None:
    assert InterfaceAddress("lo", "127.0.0.1") in interface_addresses()


def test_includes_that_include_themselves_end(local: Local) -> None:
    path = Path(local.home) / ".ssh/loop"
    path.write_text("Include loop\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="too deeply"):
        evaluate("Include loop\n", local=local)
    path.write_text("Include loop loop\n" * 4)
    with pytest.raises(ConfigError, match=r"too deeply|files to read"):
        evaluate("Include loop\n", local=local)


def test_a_system_file_cannot_include_from_a_home(local: Local, tmp_path: Path) -> None:
    system = tmp_path / "system"
    system.write_text("Include ~/x\n")
    with pytest.raises(ConfigError, match="system:1: a system file cannot include"):
        load("h", local=local, system_file=str(system))


def test_row24_only_small_regular_files_are_read(local: Local, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(lexer.FILE_LIMIT + 1)
    nul = tmp_path / "nul"
    nul.write_bytes(b"User a\0b\n")
    refused = {fifo: "not a regular file", tmp_path: "not a regular file", large: "larger than", nul: "NUL",
               Path("/dev/zero"): "not a regular file", tmp_path / "missing": "No such file"}
    for path, reason in refused.items():
        with pytest.raises(ConfigError, match=reason):
            load("h", file=str(path), local=local)


def test_row24_a_users_file_that_others_could_write_is_refused(local: Local) -> None:
    path = Path(local.home) / ".ssh/config"
    path.write_text("Port 2\n")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="bad owner or permissions"):
        load("h", local=local, system_file="/nonexistent")
    path.chmod(0o644)
    assert load("h", local=local, system_file="/nonexistent").port == 2


def test_a_file_may_be_writable_by_the_users_own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def status(mode: int, uid: int = os.getuid(), gid: int = 4321) -> os.stat_result:
        return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))

    members: list[str] = []
    user = pwd.struct_passwd(("me", "x", os.getuid(), 4321, "", "/", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", lambda _: user)
    monkeypatch.setattr("grp.getgrgid", lambda gid: grp.struct_group(("g", "x", gid, members)))
    assert lexer._only_ours(status(0o100644))
    assert lexer._only_ours(status(0o100664))
    assert not lexer._only_ours(status(0o100664, gid=4322))
    assert not lexer._only_ours(status(0o100666))
    assert not lexer._only_ours(status(0o100600, uid=os.getuid() + 1))
    members.append("somebody")
    assert not lexer._only_ours(status(0o100664))


def test_what_cannot_be_given_on_the_command_line(local: Local) -> None:
    for text in ("Host x", "Match all", "Include x", "", "# x", "Foo=bar", "Port=0", 'User="x'):
        with pytest.raises(ConfigError, match=r"^command line: "):
            load("h", overrides=[text], file="none", local=local)
    result = load("h", overrides=[("IdentityFile", 'a "b" #c'), "IdentityFile=d"],
                  file="none", local=local)
    assert result.words("IdentityFile") == ('a "b" #c', "d")


# -- client options ----------------------------------------------------------------------------------------------------


def options(text: str, *, local: Local, prompter: object = None):  # type: ignore[no-untyped-def]
    return client_options(evaluate(text, local=local), prompter=prompter)  # type: ignore[arg-type]


def test_directives_reach_the_connection(local: Local) -> None:
    found = options(
        "HostName real\nPort 5\nUser bob\nIdentityFile ~/k%h\nIdentityFile none\nIdentitiesOnly yes\n"
        "IdentityAgent ${X}/s\nUserKnownHostsFile ~/a /%h\n"
        "GlobalKnownHostsFile none\nStrictHostKeyChecking accept-new\nHashKnownHosts yes\n"
        "HostKeyAlias al\nConnectTimeout 3\nServerAliveInterval 4\nServerAliveCountMax 5\nCompression yes\n"
        "AddressFamily inet\nBindAddress ::1\nBindInterface eth7\n"
        "RekeyLimit 1G 1h\nNumberOfPasswordPrompts 1\nTCPKeepAlive no\n"
        "IPQoS af21 cs2\nPreferredAuthentications password,hostbased,publickey\nCiphers aes256-ctr\n", local=local)
    expected = {
        "host": "real", "port": 5, "user": "bob", "identity_files": (f"{local.home}/kreal",), "identities_only": True,
        "agent_socket": "value/s", "user_known_hosts": (f"{local.home}/a", "/real"), "global_known_hosts": (),
        "strict_host_key_checking": "accept-new", "hash_known_hosts": True, "host_key_alias": "al",
        "connect_timeout": 3, "server_alive_interval": 4, "server_alive_count_max": 5, "compression": True,
        "address_family": "inet",
        "bind_interface": "eth7",
        "bind_address": "::1", "rekey_bytes": 1 << 30, "rekey_seconds": 3600, "number_of_password_prompts": 1,
        "tcp_keepalive": False, "ip_qos": 0x40, "preferred_authentications": ("password", "publickey"),
        "ciphers": ("aes256-ctr",),
    }
    assert {name: getattr(found, name) for name in expected} == expected


def test_defaults_are_those_of_the_connection(local: Local) -> None:
    found = options("", local=local)
    assert (found.host, found.port, found.user, found.identity_files) == ("host", 22, "me", None)
    assert (found.kex, found.ciphers, found.macs, found.host_key_algorithms) == ((), (), (), ())
    assert found.user_known_hosts == (f"{local.home}/.ssh/known_hosts", f"{local.home}/.ssh/known_hosts2")
    assert found.preferred_authentications == ("publickey", "keyboard-interactive", "password")
    assert found.agent_socket is None
    assert found.strict_host_key_checking == "yes"  # nobody to ask
    assert options("", local=local, prompter=object()).strict_host_key_checking == "ask"
    batch = options("BatchMode yes\n", local=local, prompter=object())
    assert batch.prompter is None
    assert batch.strict_host_key_checking == "yes"


@pytest.mark.parametrize(("text", "field", "expected"), [
    ("Ciphers aes128-cbc,aes128-ctr,3des-cbc", "ciphers", ("aes128-ctr",)),
    ("Ciphers +aes128-cbc", "ciphers", ()),
    ("MACs umac-64@openssh.com,hmac-sha2-256", "macs", ("hmac-sha2-256",)),
    ("KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256", "kex", ("curve25519-sha256",)),
    ("HostKeyAlgorithms +ssh-rsa", "host_key_algorithms", ()),
    ("HostKeyAlgorithms ssh-ed25519*", "host_key_algorithms", ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519")),
    ("HostKeyAlgorithms ssh-rsa-cert-v01@openssh.com,ssh-ed25519", "host_key_algorithms", ("ssh-ed25519",)),
    ("PubkeyAcceptedKeyTypes rsa-sha2-512", "pubkey_accepted_algorithms", ("rsa-sha2-512",)),
    ("IdentityAgent none", "agent_socket", "none"),
    ("IdentityAgent SSH_AUTH_SOCK", "agent_socket", None),
    ("IdentityAgent $X", "agent_socket", "value"),
    ("IdentityAgent $NOTSET", "agent_socket", "none"),
    ("IdentityAgent ~/a", "agent_socket", "HOME/a"),
    ("IdentityFile none", "identity_files", ()),
    ("PasswordAuthentication no\nPubkeyAuthentication no", "preferred_authentications", ("keyboard-interactive",)),
])
def test_values_are_translated(text: str, field: str, expected: object, local: Local) -> None:
    if isinstance(expected, str):
        expected = expected.replace("HOME", local.home)
    assert getattr(options(text, local=local), field) == expected


def test_a_connection_may_be_refused_for_some_hosts(local: Local) -> None:
    with pytest.raises(ConfigError, match="tested_config:2: RefuseConnection: not from here"):
        options("Port 2\nRefuseConnection not from here\n", local=local)
    options("Host other\nRefuseConnection x\n", local=local)


@pytest.mark.parametrize(("text", "reason"), [
    ("Ciphers foo", "unknown cipher"), ("Ciphers aes128-cbc", "speaks none"), ("MACs hmac-foo", "unknown MAC"),
    ("KexAlgorithms foo", "unknown key exchange"), ("HostKeyAlgorithms foo", "unknown host key"),
    ("RefuseConnection go away now", "go away now"), ("IPQoS nonsense", "class of service"),
    ("PreferredAuthentications gssapi-with-mic", "leave no authentication"),
    ("Ciphers -*", "no cipher is left"),
])
def test_settings_that_cannot_be_followed_say_why(text: str, reason: str, local: Local) -> None:
    with pytest.raises(ConfigError, match=reason):
        options(text, local=local)


@pytest.mark.parametrize(("level", "number"), [("QUIET", -1), ("ERROR", -1), ("INFO", 0), ("VERBOSE", 0), ("DEBUG", 1),
                                               ("DEBUG2", 2), ("debug3", 3)])
def test_log_levels_become_numbers(level: str, number: int, local: Local) -> None:
    assert verbosity(evaluate(f"LogLevel {level}", local=local)) == number


def test_obsolete_names_and_directives_do_not_overlap() -> None:
    assert not OBSOLETE & set(DIRECTIVES)


def test_readers_know_their_limits() -> None:
    assert seconds(["1w2d3h4m5s"]) == 788645
    assert DIRECTIVES["rekeylimit"].read(["4E"]) == RekeyLimit(4 << 60, 0)
    for text in ("8E", "-1", "1.5G", ""):
        with pytest.raises(ValueError):
            DIRECTIVES["rekeylimit"].read([text])
