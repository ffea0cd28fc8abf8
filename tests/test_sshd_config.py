"""sshd_config(5): what the server's evaluator makes of it, held against `sshd -T` of the OpenSSH that is installed."""

from __future__ import annotations

import dataclasses
import glob
import grp
import gzip
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastssh import algorithms
from fastssh.config import lexer
from fastssh.config.server.directives import DEPRECATED, UNSUPPORTED
from fastssh.config.server.evaluate import ServerConfig, load
from fastssh.config.server.limits import MaxStartups, NetBlock, Overflow, Penalties
from fastssh.config.server.match import ConnectionFacts
from fastssh.config.server.settings import DIRECTIVES, FIELDS, ServerSettings
from fastssh.config.server.values import (
    AddressFamily,
    AllowForwarding,
    FingerprintHash,
    GatewayPorts,
    ListenAddress,
    PermitRootLogin,
    Subsystem,
    SyslogFacility,
)
from fastssh.config.tokens import expand
from fastssh.config.values import LogLevel, Qos, RekeyLimit
from fastssh.errors import ConfigError
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.patterns import match_any
from tests.support import peers
from tests.support.peers import Keys

Load = Callable[..., ServerConfig]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """read(text, ...) evaluates a file; relative Includes are beside it."""

    def evaluate(text: str, **options: object) -> ServerConfig:
        path = tmp_path / "sshd_config"
        path.write_text(text, errors="surrogateescape")
        return load(str(path), include_folder=str(tmp_path), **options)  # type: ignore[arg-type]

    return evaluate


# -- the same as sshd -T -----------------------------------------------------------------------------------------------

USER = peers.user_name()
NAMES = {group.gr_gid: group.gr_name for group in grp.getgrall()}
GROUPS = tuple(NAMES[gid] for gid in os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid) if gid in NAMES)
FACTS = ConnectionFacts(USER, GROUPS, "Box.example.org", "10.1.2.3", "192.168.0.1", 2222)
TEST_OF = "user={0.user},host={0.host},addr={0.address},laddr={0.local_address},lport={0.local_port}"

# What depends on how sshd was built or installed, unless a configuration says it.
OWN_DEFAULTS = {
    "ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "casignaturealgorithms",
    "ipqos", "pidfile", "persourcepenalties",
}
LATER = {"persourcepenalties", "persourcepenaltyexemptlist"}  # than OpenSSH 9.2


def sshd(path: Path, host_key: Path, *options: str) -> dict[str, list[str]] | None:
    """The output of sshd -T by keyword; None when sshd refuses."""
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    program = peers.program("sshd", "openssh-server")
    done = subprocess.run(
        [program, "-T", "-f", path, "-h", host_key, *options], capture_output=True, text=True, timeout=30, check=False,
        cwd=path.parent,
    )
    if done.returncode:
        return None
    return by_keyword(done.stdout.splitlines())


def by_keyword(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        keyword, _, value = line.partition(" ")
        # The word was renamed; the newest sshd says it as we do.
        value = "prohibit-password" if value == "without-password" else value
        found.setdefault(keyword.lower(), []).append(value)
    return found


def assert_same(ours: ServerSettings, theirs: dict[str, list[str]]) -> None:
    mine = by_keyword(list(ours.lines()))
    for keyword, directive in DIRECTIVES.items():
        left_to_itself = keyword in OWN_DEFAULTS and FIELDS[directive.name] not in ours.given
        unknown = keyword in LATER and keyword not in theirs
        if keyword == directive.name.lower() and not left_to_itself and not unknown:
            assert mine.get(keyword) == theirs.get(keyword), keyword


CORPUS = {
    "empty": "",
    "first value wins": "PasswordAuthentication no\nPasswordAuthentication yes\nMaxAuthTries 2\nMaxAuthTries 3\n",
    "letter case": "pASSWORDaUTHENTICATION NO\nPERMITROOTLOGIN No\nLogLevel verbose\n",
    "equals and quotes": 'MaxAuthTries=3\nMaxSessions = 4\nBanner "/a b"\nAllowUsers "bob" \'eve\'\n',
    "comments and blanks": "# a\n \t \n  MaxAuthTries\t3   # b\nAllowUsers a # b\n",
    "ports": "Port 2022\nPort 22\nPort ssh\n",
    "ports after addresses": "ListenAddress 127.0.0.1\nListenAddress ::1\nPort 1022\nPort 1023\n",
    "addresses with ports": "ListenAddress 127.0.0.1:1022\nListenAddress [::1]:1023\nListenAddress [127.0.0.2]\n",
    "addresses with and without": "Port 1022\nListenAddress 127.0.0.1\nListenAddress 127.0.0.1:1023\nPort 1024\n",
    "inet": "AddressFamily inet\n",
    "inet6": "AddressFamily inet6\nPort 1022\n",
    "files": "HostKey /a\nHostKey b\nHostCertificate c\nPidFile d\nBanner e\nTrustedUserCAKeys f\nRevokedKeys /g\n",
    "files from home": "HostKey ~/a\nPidFile ~/b\nAuthorizedKeysFile ~/c %h/d e/%u /f/%U%%\n"
                       "AuthorizedPrincipalsFile ~/%u\n",
    "no files": "PidFile none\nBanner none\nTrustedUserCAKeys None\nRevokedKeys none\nAuthorizedKeysFile none\n"
                "AuthorizedPrincipalsFile none\nChrootDirectory none\n",
    "keys command": "AuthorizedKeysCommand /usr/bin/keys -u %u \"%h\" # %t\nAuthorizedKeysCommandUser nobody\n",
    "no keys command": "AuthorizedKeysCommand none\n",
    "authentication": "PubkeyAuthentication no\nPasswordAuthentication no\nPermitEmptyPasswords yes\n"
                      "KbdInteractiveAuthentication no\nStrictModes no\n",
    "aliases": "ChallengeResponseAuthentication no\nKeepAlive no\nDSAAuthentication no\n"
               "PubkeyAcceptedKeyTypes ssh-ed25519\n",
    "root login": "PermitRootLogin without-password\n",
    "root login by its new name": "PermitRootLogin prohibit-password\n",
    "root login with forced commands": "PermitRootLogin forced-commands-only\n",
    "users accumulate": "AllowUsers a b@10.0.0.0/8 c@*.example.org\nAllowUsers d\nDenyUsers e f@!10.1.0.0/16,10.*\n"
                        "AllowGroups g h\nDenyGroups i\nDenyGroups j k\n",
    "methods": "AuthenticationMethods publickey,password publickey,keyboard-interactive:pam\n",
    "any method": "AuthenticationMethods any\n",
    "methods of which one is enabled": "AuthenticationMethods password publickey\nPasswordAuthentication no\n",
    "limits": "MaxAuthTries 1\nMaxSessions 0\nMaxStartups 5:50:60\nLoginGraceTime 1m30s\nPerSourceMaxStartups 4\n"
              "PerSourceNetBlockSize 24:56\nRequiredRSASize 3072\n",
    "startups in one number": "MaxStartups 7\n",
    "no limit a source": "PerSourceMaxStartups none\nLoginGraceTime 0\n",
    "alive": "ClientAliveInterval 1m\nClientAliveCountMax 9\nTCPKeepAlive no\n",
    "subsystems": "Subsystem sftp internal-sftp -f AUTH -l INFO\nSubsystem other /bin/other\n",
    "forced command": "ForceCommand echo \"a  b\" 'c' # d\n",
    "no forced command": "ForceCommand None\n",
    "chroot": "ChrootDirectory %h/%u/root\n",
    "forwarding": "AllowTcpForwarding local\nAllowStreamLocalForwarding REMOTE\nGatewayPorts clientspecified\n"
                  "AllowAgentForwarding no\nDisableForwarding yes\nX11Forwarding no\n",
    "forwarding all": "AllowTcpForwarding all\nAllowStreamLocalForwarding all\nGatewayPorts yes\n",
    "places": "PermitOpen host:80 [::1]:22 10.0.0.1:* *:9\nPermitListen 80 host:90 *:* a*b:3 [::1]:8\n",
    "no places": "PermitOpen none\nPermitListen none\n",
    "any place": "PermitOpen any\nPermitListen any\n",
    "stream local": "StreamLocalBindMask 0\nStreamLocalBindUnlink yes\n",
    "stream local mask": "StreamLocalBindMask 0022\n",
    "session": "PermitTTY no\nPermitUserRC no\nPermitUserEnvironment yes\nPrintMotd no\nPrintLastLog no\n",
    "user environment": "PermitUserEnvironment LANG,LC_*\n",
    "environment": "AcceptEnv LANG LC_*\nAcceptEnv X\nSetEnv A=b A=c D=\"e f\" E=\nSetEnv F=g\n",
    "version": "VersionAddendum some words\n",
    "no version": "VersionAddendum none\n",
    "algorithms": "Ciphers aes256-ctr,aes128-gcm@openssh.com\nMACs hmac-sha2-512,hmac-sha2-256\n"
                  "KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256\nHostKeyAlgorithms ssh-ed25519,rsa-sha2-256\n"
                  "PubkeyAcceptedAlgorithms rsa-sha2-512\nCASignatureAlgorithms ssh-ed25519\n",
    "rekey": "RekeyLimit 1G 1h\n",
    "rekey default": "RekeyLimit default none\n",
    "compression": "Compression delayed\n",
    "no compression": "Compression no\n",
    "log": "LogLevel DEBUG\nSyslogFacility local3\nFingerprintHash md5\n",
    "log most": "LogLevel debug3\nSyslogFacility AUTHPRIV\n",
    "quality": "IPQoS af21 0x20\n",
    "quality none": "IPQoS none\n",
    "quality by number": "IPQoS 4 3\n",
    "names": "UseDNS yes\n",
    "deprecated": "Protocol 2\nUsePrivilegeSeparation sandbox\nKeyRegenerationInterval 1h\nServerKeyBits 1024\n"
                  "RSAAuthentication yes\nUseLogin no\nMatch user nobody-here\nRhostsRSAAuthentication no\n",
    "what is not done": "HostbasedAuthentication no\nIgnoreRhosts yes\nGSSAPIAuthentication no\nPermitTunnel no\n"
                        "KerberosAuthentication no\nX11DisplayOffset 10\nExposeAuthInfo no\nPubkeyAuthOptions none\n"
                        "ChannelTimeout none\nHostKeyAgent none\n",
    "global settings behind Match all": "AllowUsers a\nMatch user x\nAllowUsers b\nMatch all\nPort 1022\nAllowUsers c\n"
                                        "MaxSessions 3\n",
    "Match without a connection": "Match user *\nMaxSessions 3\nMatch address *,!10.0.0.0/8\nMaxSessions 4\n",
}


@pytest.mark.parametrize("name", CORPUS)
def test_reads_as_openssh_does(
    name: str, keys: Keys, tmp_path: Path, read: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host_key = keys.host("ed25519")
    ours = read(CORPUS[name], overrides=[("HostKey", str(host_key))])
    theirs = sshd(tmp_path / "sshd_config", host_key)
    assert theirs is not None
    assert_same(ours.for_connection(ConnectionFacts()), theirs)


@pytest.mark.parametrize(  # a value with a blank is not quoted again
    "name", sorted(CORPUS.keys() - {"environment", "equals and quotes"})
)
def test_what_is_printed_means_the_same_again(name: str, read: Load) -> None:
    once = read(CORPUS[name]).settings
    again = read("".join(f"{line}\n" for line in once.lines())).settings

    def bare(found: ServerSettings) -> ServerSettings:
        return dataclasses.replace(found, given=frozenset(), warnings=())

    assert bare(again) == bare(once)


MATCHES = {
    "user": "Match user {user}\nMaxSessions 3\n",
    "user with equals": "Match user={user}\nMaxSessions 3\n",
    "user in letter case": "Match User {user_upper}\nMaxSessions 3\n",
    "users": "Match User a,{user},b\nMaxSessions 3\n",
    "quoted users": 'Match User "a,{user}" Host *.example.org\nMaxSessions 3\n',
    "negated user": "Match User *,!{user}\nMaxSessions 3\n",
    "negated user first": "Match User !{user},*\nMaxSessions 3\n",
    "negation alone": "Match User !other\nMaxSessions 3\n",
    "group": "Match Group {group}\nMaxSessions 3\n",
    "other group": "Match Group no-such-group\nMaxSessions 3\n",
    "negated group": "Match Group *,!{group}\nMaxSessions 3\n",
    "negated group first": "Match Group !{group},*\nMaxSessions 3\n",
    "negated other group": "Match Group !no-such-group,*\nMaxSessions 3\n",
    "host": "Match Host box.EXAMPLE.org\nMaxSessions 3\n",
    "host pattern": "Match Host *.org,!*.net\nMaxSessions 3\n",
    "other host": "Match Host *.net\nMaxSessions 3\n",
    "address": "Match Address 10.1.2.3\nMaxSessions 3\n",
    "network": "Match Address 192.168.0.0/16,10.0.0.0/8\nMaxSessions 3\n",
    "negated network": "Match Address 10.0.0.0/8,!10.1.0.0/16\nMaxSessions 3\n",
    "address pattern": "Match Address 10.1.2.*\nMaxSessions 3\n",
    "other address": "Match Address 2001:db8::/32,10.2.0.0/16\nMaxSessions 3\n",
    "local address": "Match LocalAddress 192.168.0.0/24 LocalPort 2222\nMaxSessions 3\n",
    "other local port": "Match LocalAddress 192.168.0.0/24 LocalPort 22\nMaxSessions 3\n",
    "routing domain": "Match RDomain *\nMaxSessions 3\n",
    "all": "Match all\nMaxSessions 3\n",
    "both criteria": "Match User {user} Address 10.0.0.0/8\nMaxSessions 3\n",
    "one criterion of two": "Match User {user} Address 11.0.0.0/8\nMaxSessions 3\n",
    "the same criterion twice": "Match Address 10.0.0.0/8 Address 10.1.0.0/16\nMaxSessions 3\n",
    "comment": "Match User {user} # Host x\nMaxSessions 3\n",
    "overrides the global part": "MaxSessions 5\nPermitTTY yes\nMatch user {user}\nMaxSessions 3\nPermitTTY no\n",
    "first block wins": "Match user {user}\nMaxSessions 3\nMatch all\nMaxSessions 4\nPermitTTY no\n",
    "blocks end": "Match user {user}\nMaxSessions 3\nMatch user other\nMaxAuthTries 1\nMatch host *\nPermitTTY no\n",
    "lists accumulate over blocks and replace the global ones":
        "AllowUsers a\nAcceptEnv A\nDenyGroups x\nMatch user {user}\nAllowUsers b c\nAcceptEnv B\nMatch all\n"
        "AllowUsers d\nAcceptEnv C\n",
    "lists that do not accumulate": "SetEnv A=1\nPermitOpen a:1\nMatch user {user}\nSetEnv B=2\nSetEnv C=3\n"
                                    "PermitOpen b:2 c:3\nPermitOpen d:4\nAuthorizedKeysFile /k\n",
    "none clears": "Banner /b\nForceCommand c\nChrootDirectory /d\nTrustedUserCAKeys /t\nRevokedKeys /r\n"
                   "PermitOpen a:1\nMatch user {user}\nBanner none\nForceCommand none\nChrootDirectory none\n"
                   "TrustedUserCAKeys none\nRevokedKeys none\nPermitOpen any\n",
    "keys command and its user": "AuthorizedKeysCommandUser nobody\nMatch user {user}\nAuthorizedKeysCommand /c %u\n",
    "algorithms are relative to the default": "PubkeyAcceptedAlgorithms ssh-ed25519\nMatch user {user}\n"
                                              "PubkeyAcceptedAlgorithms rsa-sha2-512\n",
    "everything": "Match user {user}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\n"
                  "AllowTcpForwarding no\nGatewayPorts yes\nX11Forwarding no\nLogLevel VERBOSE\nMaxAuthTries 2\n"
                  "ClientAliveInterval 5\nRekeyLimit 1M 1h\nIPQoS ef\nStreamLocalBindMask 0111\n"
                  "AuthenticationMethods publickey\nPermitListen 8080\nDisableForwarding yes\n",
}


@pytest.mark.parametrize("name", MATCHES)
def test_match_blocks_hold_as_openssh_has_it(name: str, keys: Keys, tmp_path: Path, read: Load) -> None:
    host_key = keys.host("ed25519")
    text = MATCHES[name].format(user=USER, user_upper=USER.upper(), group=GROUPS[0])
    config = read(text, overrides=[("HostKey", str(host_key))])
    theirs = sshd(tmp_path / "sshd_config", host_key, "-C", TEST_OF.format(FACTS))
    assert theirs is not None
    assert_same(config.for_connection(FACTS), theirs)


# sshd -T refuses a LocalPort that it is not told.
@pytest.mark.parametrize("criterion", [
    "all", "User *", "Group *", "Host *", "Address *", "LocalAddress *", "User * Address *", "Host * Address *"
])
@pytest.mark.parametrize("known", [
    {}, {"user": USER, "groups": GROUPS}, {"host": "Box.example.org"}, {"address": "10.1.2.3"},
    {"local_address": "192.168.0.1"}, {"user": USER, "groups": GROUPS, "address": "10.1.2.3"},
], ids=lambda known: ",".join(known) or "nothing")
def test_what_is_not_known_matches_as_in_openssh(
    criterion: str, known: dict[str, Any], keys: Keys, tmp_path: Path, read: Load
) -> None:
    host_key = keys.host("ed25519")
    facts = ConnectionFacts(**known)
    parts = [part for part in TEST_OF.format(facts).split(",") if not part.endswith("=None")]
    ours = read(f"Match {criterion}\nMaxSessions 3\n").for_connection(facts)
    theirs = sshd(tmp_path / "sshd_config", host_key, *(("-C", ",".join(parts)) if parts else ()))
    assert theirs is not None
    assert theirs["maxsessions"] == [str(ours.max_sessions)]


REFUSED = {
    "unknown": "Foo bar\n",
    "no argument": "Port\n",
    "extra argument": "Port 22 23\n",
    "extra flag": "PermitTTY yes no\n",
    "open quote": 'Banner "x\n',
    "port 0": "Port 0\n",
    "port too large": "Port 65536\n",
    "flag true": "PermitTTY true\n",
    "flag": "PermitTTY maybe\n",
    "root login": "PermitRootLogin sometimes\n",
    "forwarding": "AllowTcpForwarding both\n",
    "gateway": "GatewayPorts maybe\n",
    "family": "AddressFamily inet4\n",
    "number": "MaxAuthTries x\n",
    "negative number": "MaxAuthTries -1\n",
    "hexadecimal number": "MaxAuthTries 0x1\n",
    "huge number": "MaxSessions 2147483648\n",
    "time": "LoginGraceTime 5x\n",
    "time none": "LoginGraceTime none\n",
    "startups": "MaxStartups 10:30\n",
    "startups rate": "MaxStartups 10:101:20\n",
    "startups rate 0": "MaxStartups 10:0:20\n",
    "startups order": "MaxStartups 30:10:20\n",
    "startups 0": "MaxStartups 0\n",
    "block": "PerSourceNetBlockSize 33\n",
    "block 6": "PerSourceNetBlockSize 32:129\n",
    "mask": "StreamLocalBindMask 1777\n",
    "mask digits": "StreamLocalBindMask 8\n",
    "rekey": "RekeyLimit 8\n",
    "log level": "LogLevel loud\n",
    "facility": "SyslogFacility mail0\n",
    "hash": "FingerprintHash sha257\n",
    "quality": "IPQoS best\n",
    "cipher": "Ciphers foo\n",
    "MAC": "MACs foo\n",
    "kex": "KexAlgorithms foo\n",
    "key type": "PubkeyAcceptedAlgorithms foo\n",
    "host key type": "HostKeyAlgorithms foo\n",
    "CA type": "CASignatureAlgorithms foo\n",
    "empty file": 'Banner ""\n',
    "empty keys file": 'AuthorizedKeysFile ""\n',
    "place without port": "PermitOpen host\n",
    "place with bad port": "PermitOpen host:x\n",
    "place without brackets": "PermitOpen ::1:80\n",
    "place with a slash": "PermitOpen host/80\n",
    "any among places": "PermitOpen host:80 any\n",
    "any and more": "PermitOpen any host:80\n",
    "listener on port 0": "PermitListen localhost:0\n",
    "methods": "AuthenticationMethods foo\n",
    "methods empty": "AuthenticationMethods publickey,\n",
    "any among methods": "AuthenticationMethods any password\n",
    "methods that are off": "PasswordAuthentication no\nAuthenticationMethods password\n",
    "hostbased alone": "AuthenticationMethods hostbased\n",
    "accepted environment": "AcceptEnv A=b\n",
    "environment": "SetEnv A\n",
    "environment without name": "SetEnv =b\n",
    "user pattern": "AllowUsers a@10.0.0.1/8\n",
    "empty user": 'DenyUsers ""\n',
    "empty group": 'AllowGroups ""\n',
    "subsystem without command": "Subsystem sftp\n",
    "relative keys command": "AuthorizedKeysCommandUser nobody\nAuthorizedKeysCommand keys %u\n",
    "quoted keys command": 'AuthorizedKeysCommandUser nobody\nAuthorizedKeysCommand "/keys" %u\n',
    "keys command without user": "AuthorizedKeysCommand /keys\n",
    "listen port": "ListenAddress 127.0.0.1:0\n",
    "listen port word": "ListenAddress 127.0.0.1:x\n",
    "listen more": "ListenAddress 127.0.0.1 22\n",
    "listen on nothing": "ListenAddress :33\n",
    "listen on another family": "AddressFamily inet\nListenAddress ::1\n",
    "match": "Match foo bar\n",
    "match nothing": "Match\n",
    "match without argument": "Match User\n",
    "match all and more": "Match all User bob\n",
    "match more and all": "Match User bob all\n",
    "match negated criterion": "Match !User bob\n",
    "match port list": "Match LocalPort 22,23\n",
    "match host bits": "Match Address 10.0.0.1/8\n",
    "match long mask": "Match Address 10.0.0.0/33\n",
    "match empty entry": "Match LocalAddress 10.0.0.0/8,\n",
    "include nothing": "Include\n",
    "in a block that does not match": "Match User nobody-here\nMaxAuthTries x\n",
    "unknown in a block": "Match User nobody-here\nFoo bar\n",
    "match in a block": "Match User nobody-here\nMatch foo\n",
    "deprecated in a block": "Match User nobody-here\nKeyRegenerationInterval 1h\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_openssh_refuses_naming_file_and_line(name: str, keys: Keys, tmp_path: Path, read: Load) -> None:
    text = REFUSED[name]
    path = tmp_path / "sshd_config"
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{path}:{text.count(chr(10))}: ")
    assert "\n" not in str(caught.value)
    assert sshd(path, keys.host("ed25519")) is None


# Refused here, where sshd finds out when somebody logs in, or goes on without.
STRICTER = {
    "token": "AuthorizedKeysFile /k/%z\n",
    "open token": "AuthorizedKeysFile /k/%\n",
    "token in a command": "AuthorizedKeysCommandUser n\nAuthorizedKeysCommand /k %z\n",
    "token of certificates": "AuthorizedKeysCommandUser n\nAuthorizedKeysCommand /k %F\n",
    "token of principals": "AuthorizedPrincipalsFile /k/%f\n",
    "token of chroot": "ChrootDirectory /k/%k\n",
    "relative chroot": "ChrootDirectory k\n",
    "none among files": "AuthorizedKeysFile none /k\n",
    "quote in a comment of a command": "AuthorizedKeysCommandUser n\nAuthorizedKeysCommand /k # don't\n",
    "address": "PerSourcePenaltyExemptList 10.0.0.1/8\n",
    "mask that is a word": "Match Address 10.0.0.0/x\n",
    "include from a home": "Include ~/x\n",
    "control character in the version": "VersionAddendum a\x07b\n",
    "letters in the version": "VersionAddendum é\n",
    "long version": f"VersionAddendum {'x' * 201}\n",
    "X11": "X11Forwarding yes\n",
    "hostbased": "HostbasedAuthentication yes\n",
    "tunnel": "PermitTunnel point-to-point\n",
    "GSSAPI": "GSSAPIAuthentication yes\n",
    "principals command": "AuthorizedPrincipalsCommand /x\n",
    "key options": "PubkeyAuthOptions touch-required other\n",
    "host key agent": "HostKeyAgent SSH_AUTH_SOCK\n",
    "channel timeout": "ChannelTimeout session:*=5m\n",
    "methods that we do not have": "AuthenticationMethods publickey,hostbased publickey\n",
    "only foreign ciphers": "Ciphers aes128-cbc,3des-cbc\n",
    "no cipher": "Ciphers -*\n",
    "no file name": 'RevokedKeys /x ""\n',
    "empty forced command": "ForceCommand # nothing\n",
    "penalty": "PerSourcePenalties authfail\n",
    "penalty unknown": "PerSourcePenalties foo:3\n",
    "penalty without time": "PerSourcePenalties authfail:\n",
    "penalty time": "PerSourcePenalties authfail:x\n",
    "no penalties and more": "PerSourcePenalties no authfail:3\n",
    "penalties overflow": "PerSourcePenalties overflow:maybe\n",
    "penalty misspelt": "PerSourcePenalties grace_exceeded:3\n",
    "penalty enabled": "PerSourcePenalties enabled:1\n",
    "penalty given": "PerSourcePenalties given:1\n",
}


@pytest.mark.parametrize("name", STRICTER)
def test_what_cannot_be_followed_is_an_error_naming_file_and_line(name: str, tmp_path: Path, read: Load) -> None:
    text = STRICTER[name]
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path}/sshd_config:{text.count(chr(10))}: ")


# -- where a keyword may stand -----------------------------------------------------------------------------------------

# A value for each directive, as sshd_config(5) would have it.
SAMPLES = {
    "AddressFamily": "inet", "AuthenticationMethods": "publickey", "AuthorizedKeysCommand": "none",
    "AllowStreamLocalForwarding": "yes", "AllowTcpForwarding": "yes", "ClientAliveCountMax": "1",
    "ClientAliveInterval": "1", "Compression": "yes", "FingerprintHash": "md5", "GatewayPorts": "no", "IPQoS": "ef",
    "ListenAddress": "127.0.0.1", "LogLevel": "INFO", "LoginGraceTime": "1", "MaxAuthTries": "1", "MaxSessions": "1",
    "MaxStartups": "1", "PerSourceMaxStartups": "1", "PerSourceNetBlockSize": "32", "PerSourcePenalties": "yes",
    "PermitListen": "80", "PermitOpen": "a:80", "Port": "22", "RekeyLimit": "1G", "RequiredRSASize": "2048",
    "SetEnv": "A=b", "StreamLocalBindMask": "0177", "Subsystem": "sftp internal-sftp", "SyslogFacility": "AUTH",
    "X11Forwarding": "no", "PubkeyAcceptedAlgorithms": "ssh-ed25519", "HostKeyAlgorithms": "ssh-ed25519",
    "CASignatureAlgorithms": "ssh-ed25519", "Ciphers": "aes128-ctr", "MACs": "hmac-sha2-256",
    "KexAlgorithms": "curve25519-sha256", "ChrootDirectory": "/x",
    "AuthorizedPrincipalsCommand": "none", "PubkeyAuthOptions": "none",
    # what fastssh does not do
    "ChannelTimeout": "none", "HostKeyAgent": "none", "LogVerbose": "none",
    "SecurityKeyProvider": "internal", "UnusedConnectionTimeout": "none",
    "X11DisplayOffset": "10", "HostbasedAcceptedAlgorithms": "ssh-ed25519",
    "GSSAPIKexAlgorithms": "gss-group16-sha512-", "XAuthLocation": "/x",
}
PLAIN = {"Banner", "PidFile", "HostKey", "HostCertificate", "AcceptEnv", "AllowUsers", "DenyUsers", "AllowGroups",
         "DenyGroups", "AuthorizedKeysFile", "AuthorizedKeysCommandUser", "AuthorizedPrincipalsFile", "ForceCommand",
         "RevokedKeys", "TrustedUserCAKeys", "VersionAddendum", "ModuliFile", "PerSourcePenaltyExemptList",
         "AuthorizedPrincipalsCommandUser", "SshdAuthPath", "SshdSessionPath"}  # a word will do; a flag for the rest
ABSENT = {"RDomain", "RefuseConnection"}  # not on Linux, not in 9.2
LATER_IN_MATCH = {"Subsystem"}  # than OpenSSH 9.2


@pytest.mark.parametrize(
    "name", sorted({directive.name for table in (DIRECTIVES, UNSUPPORTED) for directive in table.values()} - ABSENT)
)
def test_stands_in_match_blocks_where_openssh_has_it(name: str, keys: Keys, tmp_path: Path, read: Load) -> None:
    directive = (DIRECTIVES | UNSUPPORTED)[name.lower()]
    value = SAMPLES.get(name, "word" if name in PLAIN else "no")
    host_key = keys.host("ed25519")
    read(f"{name} {value}\n")
    known = sshd(tmp_path / "sshd_config", host_key) is not None
    text = f"Match User nobody-here\n{name} {value}\n"
    if directive.match:
        assert read(text).settings.given == frozenset()
    else:
        with pytest.raises(ConfigError, match=r"sshd_config:2: \w+ may not stand in a Match block"):
            read(text)
        assert read(f"Match all\n{name} {value}\n").warnings == read(f"\n{name} {value}\n").warnings
    (tmp_path / "sshd_config").write_text(text)
    accepted = sshd(tmp_path / "sshd_config", host_key) is not None
    if known and name not in LATER_IN_MATCH:
        assert accepted is directive.match


# sshd_config(5) of OpenSSH 9.2 with Debian's GSSAPI directives, and those that came until 10.2.
MANUAL = """
    AcceptEnv AddressFamily AllowAgentForwarding AllowGroups AllowStreamLocalForwarding AllowTcpForwarding AllowUsers
    AuthenticationMethods AuthorizedKeysCommand AuthorizedKeysCommandUser AuthorizedKeysFile AuthorizedPrincipalsCommand
    AuthorizedPrincipalsCommandUser AuthorizedPrincipalsFile Banner CASignatureAlgorithms ChannelTimeout ChrootDirectory
    Ciphers ClientAliveCountMax ClientAliveInterval Compression DebianBanner DenyGroups DenyUsers DisableForwarding
    ExposeAuthInfo FingerprintHash ForceCommand GatewayPorts GSSAPIAuthentication GSSAPICleanupCredentials
    GSSAPIKeyExchange GSSAPIStrictAcceptorCheck GSSAPIStoreCredentialsOnRekey GSSAPIKexAlgorithms
    HostbasedAcceptedAlgorithms HostbasedAuthentication HostbasedUsesNameFromPacketOnly HostCertificate HostKey
    HostKeyAgent HostKeyAlgorithms IgnoreRhosts IgnoreUserKnownHosts Include IPQoS KbdInteractiveAuthentication
    KerberosAuthentication KerberosGetAFSToken KerberosOrLocalPasswd KerberosTicketCleanup KexAlgorithms ListenAddress
    LoginGraceTime LogLevel LogVerbose MACs Match MaxAuthTries MaxSessions MaxStartups ModuliFile PasswordAuthentication
    PermitEmptyPasswords PermitListen PermitOpen PermitRootLogin PermitTTY PermitTunnel PermitUserEnvironment
    PermitUserRC PerSourceMaxStartups PerSourceNetBlockSize PidFile Port PrintLastLog PrintMotd PubkeyAcceptedAlgorithms
    PubkeyAuthOptions PubkeyAuthentication RDomain RekeyLimit RequiredRSASize RevokedKeys SecurityKeyProvider SetEnv
    StreamLocalBindMask StreamLocalBindUnlink StrictModes Subsystem SyslogFacility TCPKeepAlive TrustedUserCAKeys
    UnusedConnectionTimeout UseDNS UsePAM VersionAddendum X11DisplayOffset X11Forwarding X11UseLocalhost XAuthLocation
    PerSourcePenalties PerSourcePenaltyExemptList RefuseConnection SshdAuthPath SshdSessionPath
"""


def test_every_directive_of_the_manual_is_known() -> None:
    names = set(MANUAL.split())
    for page in glob.glob("/usr/share/man/man5/sshd_config.5*"):  # the installed one may know more
        with gzip.open(page, "rt") if page.endswith(".gz") else open(page) as file:
            words = [line.split() for line in file if line.startswith(".It Cm ")]
        names |= {line[2] for line in words if len(line) == 3 and line[2][0].isupper()}
    known = DIRECTIVES.keys() | UNSUPPORTED.keys()
    assert {name for name in names if name.lower() not in known} == {"Match", "Include"}


def test_the_tables_do_not_overlap() -> None:
    assert not DIRECTIVES.keys() & UNSUPPORTED.keys()
    assert not DEPRECATED.keys() & (DIRECTIVES.keys() | UNSUPPORTED.keys())


# -- values ------------------------------------------------------------------------------------------------------------


def test_the_defaults_are_sshds(read: Load) -> None:
    found = read("").settings
    assert found.listen_addresses == (ListenAddress("::", 22), ListenAddress("0.0.0.0", 22))
    assert found.authorized_keys_file == (".ssh/authorized_keys", ".ssh/authorized_keys2")
    assert found.permit_root_login is PermitRootLogin.PROHIBIT_PASSWORD
    assert (found.permit_open, found.permit_listen) == (None, None)
    assert found.ciphers == algorithms.default_ciphers()
    assert (found.given, found.warnings) == (frozenset(), ())
    assert load(None).settings == found


def test_row23_limits_before_authentication_are_on_by_default(read: Load) -> None:
    found = read("").settings
    assert (found.login_grace_time, found.max_auth_tries, found.max_sessions) == (120, 6, 10)
    assert found.max_startups == (10, 30, 100)
    assert found.per_source_penalties.enabled
    assert dataclasses.replace(found.per_source_penalties, given=frozenset()) == Penalties(
        enabled=True, crash=90, authfail=5, invaliduser=5, noauth=1, grace_exceeded=10, refuseconnection=10, max=600,
        min=15, max_sources4=65536, max_sources6=65536, overflow=Overflow.PERMISSIVE, overflow6=Overflow.PERMISSIVE,
    )


@pytest.mark.parametrize(("text", "field", "expected"), [
    ("Port 1\nPort 2", "ports", (1, 2)),
    ("Port 1\nListenAddress a.b\nPort 2", "listen_addresses", (ListenAddress("a.b", 1), ListenAddress("a.b", 2))),
    ("ListenAddress [fe80::1%lo]:3", "listen_addresses", (ListenAddress("fe80::1%lo", 3),)),
    ("AddressFamily INET", "address_family", AddressFamily.INET),
    ("IPQoS af21 cs2", "ip_qos", Qos(0x48, 0x40)),
    ("RekeyLimit 1G 1h", "rekey_limit", RekeyLimit(1 << 30, 3600)),
    ("MaxStartups 3:40:50", "max_startups", MaxStartups(3, 40, 50)),
    ("MaxStartups 3", "max_startups", MaxStartups(3, 30, 3)),
    ("PerSourceNetBlockSize 24", "per_source_net_block_size", NetBlock(24, 128)),
    ("PerSourceMaxStartups none", "per_source_max_startups", None),
    ("PerSourcePenaltyExemptList 10.0.0.0/8,!10.1.0.0/16", "per_source_penalty_exempt_list",
     ("10.0.0.0/8", "!10.1.0.0/16")),
    ("PerSourcePenaltyExemptList none", "per_source_penalty_exempt_list", ()),
    ("RequiredRSASize 512", "required_rsa_size", 1024),
    ("Compression delayed", "compression", True),
    ("VersionAddendum a b # c", "version_addendum", "a b"),
    ("VersionAddendum none # c", "version_addendum", None),
    ("LogLevel debug", "log_level", LogLevel.DEBUG1),
    ("SyslogFacility Local7", "syslog_facility", SyslogFacility.LOCAL7),
    ("FingerprintHash MD5", "fingerprint_hash", FingerprintHash.MD5),
    ("AllowTcpForwarding local", "allow_tcp_forwarding", AllowForwarding.LOCAL),
    ("GatewayPorts clientspecified", "gateway_ports", GatewayPorts.CLIENT_SPECIFIED),
    ("StreamLocalBindMask 022", "stream_local_bind_mask", 0o022),
    ("PermitOpen [::1]:80 *:*", "permit_open", (Endpoint("::1", 80), Endpoint("*", None))),
    ("PermitOpen none", "permit_open", ()),
    ("PermitListen 80 a*:90", "permit_listen", (Endpoint("*", 80), Endpoint("a*", 90))),
    ("Subsystem sftp internal-sftp -f AUTH", "subsystems", (Subsystem("sftp", ("internal-sftp", "-f", "AUTH")),)),
    ("Subsystem a b\nSubsystem c d\nSubsystem a e", "subsystems", (Subsystem("a", ("b",)), Subsystem("c", ("d",)))),
    ("AuthenticationMethods publickey,password none", "authentication_methods", (("publickey", "password"), ("none",))),
    ("PermitUserEnvironment yes", "permit_user_environment", ("*",)),
    ("PermitUserEnvironment no", "permit_user_environment", ()),
    ("PermitUserEnvironment YES", "permit_user_environment", ("YES",)),  # a pattern, as in sshd
    ("SetEnv A=b=c A=d", "set_env", (("A", "b=c"),)),
    ("HostKey none", "host_keys", ()),
    ("AuthorizedKeysFile none", "authorized_keys_file", ()),
    ("RevokedKeys /a /b", "revoked_keys", ("/a", "/b")),
    ("Ciphers ^aes256-ctr", "ciphers",
     tuple(dict.fromkeys(("aes256-ctr", *algorithms.default_ciphers())))),
    ("KexAlgorithms -ecdh-*,diffie-*,mlkem*", "kex_algorithms", ("curve25519-sha256", "curve25519-sha256@libssh.org")),
    ("HostKeyAlgorithms +ssh-rsa", "host_key_algorithms", algorithms.SERVER_KEYS),
    ("PubkeyAcceptedAlgorithms ssh-dss*,ssh-rsa*,sk-ssh-*", "pubkey_accepted_algorithms",
     ("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com")),
    ("CASignatureAlgorithms *-cert-v01@openssh.com,rsa-*", "ca_signature_algorithms", ("rsa-sha2-512", "rsa-sha2-256")),
    ("KexAlgorithms +ecdh-sha2-nistp256", "kex_algorithms", (*algorithms.SERVER_KEX, "ecdh-sha2-nistp256")),
    ("KexAlgorithms ^ecdh-*", "kex_algorithms", (
        "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", *algorithms.SERVER_KEX)),
    ("KexAlgorithms +sntrup761x25519-sha512", "kex_algorithms", algorithms.SERVER_KEX),
])
def test_values_have_their_types(text: str, field: str, expected: object, read: Load) -> None:
    found = read(f"{text}\n").settings
    assert getattr(found, field) == expected
    assert field in found.given or field == "listen_addresses"


def test_forwarding_knows_its_directions() -> None:
    assert [(each.local, each.remote) for each in AllowForwarding] == [
        (True, True), (False, False), (True, False), (False, True)
    ]


def test_a_program_keeps_its_text_and_comes_apart_as_sshd_runs_it(read: Load) -> None:
    found = read("AuthorizedKeysCommandUser n\nAuthorizedKeysCommand /k  'a b' \"%u\" # c\n").settings
    assert found.authorized_keys_command is not None
    assert found.authorized_keys_command.text == "/k  'a b' \"%u\" # c"
    assert found.authorized_keys_command.arguments == ("/k", "a b", "%u", "#", "c")
    assert [expand(each, {"u": lambda: "$(x)"}) for each in found.authorized_keys_command.arguments][2] == "$(x)"


def test_a_subsystem_is_quoted_again_for_a_shell(read: Load) -> None:
    (found,) = read("Subsystem x /bin/sh -c \"echo \\\"a\\\" 'b'\" '' c\\\\d\n").settings.subsystems
    assert found.arguments == ("/bin/sh", "-c", "echo \"a\" 'b'", "", "c\\d")
    done = subprocess.run(["/bin/sh", "-c", f"printf '%s\\n' {found.command}"], capture_output=True, text=True,
                          timeout=10, check=True)
    assert done.stdout == "/bin/sh\n-c\necho \"a\" 'b'\n\nc\\d\n"


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\0"), max_size=12)))
def test_joined_arguments_come_apart_again(arguments: list[str]) -> None:
    assert lexer.split_arguments(lexer.join_arguments(arguments)) == arguments


@pytest.mark.parametrize(("text", "expected"), [
    ("PerSourcePenalties no", "no"),
    ("PerSourcePenalties YES", "crash:90 authfail:5"),
    ("PerSourcePenalties authfail:1m noauth:0\nPerSourcePenalties authfail:2 crash:3", "crash:3 authfail:60 "),
    ("PerSourcePenalties no\nPerSourcePenalties crash:3", "crash:3 authfail:5"),  # as in sshd
    ("PerSourcePenalties no\nPerSourcePenalties yes", "no"),
    ("PerSourcePenalties grace-exceeded:7 max-sources4:8", "noauth:1 grace-exceeded:7 refuse"),
    ("PerSourcePenalties overflow:deny-all", "overflow:deny-all overflow6:deny-all"),
    ("PerSourcePenalties overflow6:permissive\nPerSourcePenalties overflow:deny-all",
     "overflow:deny-all overflow6:permissive"),
])
def test_penalties_add_up(text: str, expected: str, read: Load) -> None:
    (line,) = (line for line in read(f"{text}\n").settings.lines() if line.startswith("persourcepenalties "))
    assert expected in line
    assert (expected == "no") is (line == "persourcepenalties no")


def test_what_is_left_out_is_told(read: Load, tmp_path: Path) -> None:
    found = read(
        "Ciphers aes128-ctr,3des-cbc,aes128-cbc\nUsePrivilegeSeparation no\nX11DisplayOffset 10\nPort 22\n"
        "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\nHostbasedAuthentication no\n"
        "PubkeyAcceptedAlgorithms -ssh-rsa\n"
    ).settings
    path = f"{tmp_path}/sshd_config"
    assert found.ciphers == ("aes128-ctr",)
    assert found.kex_algorithms == ("curve25519-sha256",)
    assert found.warnings == (
        f"{path}:1: Ciphers: fastssh does not speak 3des-cbc, aes128-cbc",
        f"{path}:2: useprivilegeseparation is deprecated and ignored",
        f"{path}:3: X11DisplayOffset is not supported and ignored",
        f"{path}:5: KexAlgorithms: fastssh does not speak sntrup761x25519-sha512@openssh.com",
    )


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line_comes_first(read: Load, keys: Keys, tmp_path: Path) -> None:
    text = "Port 33\nPasswordAuthentication yes\nAllowUsers b\nMaxSessions 5\nMatch all\nMaxSessions 6\n"
    lines = ["Port=44", "passwordauthentication no", 'AllowUsers "a"', "MaxSessions 4"]
    host_key = keys.host("ed25519")
    ours = read(text, overrides=[*lines, ("HostKey", str(host_key))])
    assert (ours.settings.ports, ours.settings.password_authentication) == ((44, 33), False)
    assert (ours.settings.allow_users, ours.settings.max_sessions) == (("a", "b"), 4)
    assert ours.for_connection(FACTS).max_sessions == 6  # a block overrides what is global, the command line too
    options = [part for line in lines for part in ("-o", line)]
    for first, ports in (((), ()), (("-p", "55", "-p", "56"), (55, 56))):
        ours = read(text, overrides=[*lines, ("HostKey", str(host_key))], ports=ports)
        theirs = sshd(tmp_path / "sshd_config", host_key, *first, *options)
        assert theirs is not None
        assert_same(ours.for_connection(ConnectionFacts()), theirs)
    assert ours.settings.listen_addresses[0] == ListenAddress("::", 55)


def test_what_cannot_be_given_on_the_command_line() -> None:
    for text in ("Match all", "Include x", "", "# x", "Foo=bar", "Port=0", 'Banner="x', "Banner a\0b", "ForceCommand"):
        with pytest.raises(ConfigError, match=r"^command line: "):
            load(None, overrides=[text])
    for pair in (("Banner", ""), ("ForceCommand", ""), ("AuthorizedKeysCommand", ""), ("VersionAddendum", "a\rb")):
        with pytest.raises(ConfigError, match=r"^command line: "):
            load(None, overrides=[pair])
    assert load(None, overrides=[("Banner", "/a \"b\" #c")]).settings.banner == '/a "b" #c'


# -- files -------------------------------------------------------------------------------------------------------------


def test_includes_follow_globs_in_order_and_end_their_own_blocks(read: Load, keys: Keys, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "20.conf").write_text("MaxSessions 2\nPort 2\n")
    (folder / "10.conf").write_text(f"Match User {USER}\nMaxSessions 1\nMatch User other\nMaxAuthTries 1\n")
    (folder / ".hidden.conf").write_text("MaxSessions 9\n")
    (tmp_path / "inside").write_text("MaxAuthTries 3\nMatch Address 10.0.0.0/8\nPermitTTY no\n")
    text = (
        f"Include {folder}/*.conf {tmp_path}/nothing/*\nPort 3\nMatch User {USER}\nInclude {tmp_path}/inside\n"
        f"PermitUserRC no\nMatch User other\nInclude {tmp_path}/inside\nPermitEmptyPasswords yes\n"
    )
    host_key = keys.host("ed25519")
    config = read(text, overrides=[("HostKey", str(host_key))])
    for options, facts in ((("-C", TEST_OF.format(FACTS)), FACTS), ((), ConnectionFacts())):
        theirs = sshd(tmp_path / "sshd_config", host_key, *options)
        assert theirs is not None
        assert_same(config.for_connection(facts), theirs)
    found = config.for_connection(FACTS)
    assert (found.ports, found.max_sessions, found.max_auth_tries) == ((2, 3), 1, 3)
    assert (found.permit_tty, found.permit_user_rc, found.permit_empty_passwords) == (False, False, False)
    assert read("Include conf.d/2*\n").settings.max_sessions == 2  # relative to the folder of the configuration


def test_what_is_included_is_checked_where_it_stands(read: Load, tmp_path: Path) -> None:
    (tmp_path / "global").write_text("Port 2\n")
    (tmp_path / "all").write_text("Match all\nPort 2\n")
    (tmp_path / "bad").write_text("\nFoo x\n")
    (tmp_path / "dangling").symlink_to("missing")
    assert read("Match all\nInclude all\n").settings.ports == (2,)
    for text, reason in (
        ("Match User x\nInclude global\n", "global:1: port may not stand"),
        ("Match User x\nInclude all\n", "all:2: port may not stand"),
        ("Match User x\nInclude bad\n", "bad:2: Bad configuration option: foo"),
        ("Include global dangling\n", "sshd_config:1: cannot read .*dangling"),
        ("Include sshd_config\n", "sshd_config:1: includes are nested too deeply"),
        ("Include sshd_config sshd_config\n", "too deeply|files to read"),
        ('Include ""\n', "empty argument"),
        ("Include /\n", "not a regular file"),
    ):
        with pytest.raises(ConfigError, match=reason):
            read(text)


def test_row24_only_small_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(lexer.FILE_LIMIT + 1)
    nul = tmp_path / "nul"
    nul.write_bytes(b"Banner a\0b\n")
    refused = {fifo: "not a regular file", tmp_path: "not a regular file", large: "larger than", nul: "NUL",
               Path("/dev/zero"): "not a regular file", tmp_path / "missing": "No such file"}
    for path, reason in refused.items():
        with pytest.raises(ConfigError, match=reason):
            load(str(path))


# -- connections -------------------------------------------------------------------------------------------------------


def test_a_connection_reads_no_file(read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read(
        "Match User bob Group g Host * Address 10.0.0.0/8 LocalAddress * LocalPort ssh\nMaxSessions 3\n"
        "Subsystem a b\nBanner x\nAuthorizedKeysFile ~/x\n"
    )

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"opened {arguments}")

    for name in ("builtins.open", "os.open", "glob.glob", "socket.getservbyname", "pwd.getpwnam", "os.getcwd"):
        monkeypatch.setattr(name, refuse)
    found = config.for_connection(ConnectionFacts("bob", ("f", "g"), "h", "10.0.0.1", "::1", 22))
    assert found.max_sessions == 3
    assert config.settings.max_sessions == 10


@pytest.mark.parametrize("criterion", [
    "User *", "User *,!bob", "Group *", "Host *", "Address *", "Address 0.0.0.0/0,::/0", "LocalAddress *",
    "LocalPort 22", "RDomain *",
])
def test_nothing_holds_about_what_is_not_known(criterion: str, read: Load) -> None:
    config = read(f"Match {criterion}\nPermitTTY no\n")
    assert config.for_connection(ConnectionFacts()).permit_tty
    whole = ConnectionFacts("a", ("g",), "h", "::ffff:10.0.0.1", "::1", 22, "r")
    assert not config.for_connection(whole).permit_tty
    assert not read("Match all\nPermitTTY no\n").for_connection(ConnectionFacts()).permit_tty


@pytest.mark.parametrize(("groups", "holds"), [
    ((), False), (("staff",), True), (("staff", "banned"), False), (("banned", "staff"), False), (("other",), False),
])
def test_one_negated_group_is_enough_to_refuse(groups: tuple[str, ...], holds: bool, read: Load) -> None:
    config = read("Match Group staff,!banned\nPermitTTY no\n")
    assert config.for_connection(ConnectionFacts("bob", groups)).permit_tty is not holds
    assert match_any(groups, ("staff", "!banned")) is holds
    assert config.for_connection(ConnectionFacts(None, ("staff",))).permit_tty  # whose groups?


def test_an_address_is_the_same_mapped_into_ipv6(read: Load) -> None:
    config = read("Match Address 10.0.0.0/8\nPermitTTY no\nMatch Address ::ffff:11.0.0.0/104\nPermitUserRC no\n")
    assert not config.for_connection(ConnectionFacts(address="::ffff:10.1.2.3")).permit_tty
    assert not config.for_connection(ConnectionFacts(address="11.1.2.3")).permit_user_rc
    assert config.for_connection(ConnectionFacts(address="2001:db8::1")).permit_tty
    assert config.for_connection(ConnectionFacts(address="UNKNOWN")).permit_tty


def test_a_blocks_subsystems_add_to_the_global_ones(read: Load) -> None:
    config = read("Subsystem a /g\nSubsystem b /g\nMatch User bob\nSubsystem b /m\nSubsystem c /m\n")
    found = config.for_connection(ConnectionFacts("bob")).subsystems
    assert {each.name: each.command for each in found} == {"a": "/g", "b": "/m", "c": "/m"}
    assert {each.name: each.command for each in config.settings.subsystems} == {"a": "/g", "b": "/g"}


def test_blocks_that_contradict_each_other_end_the_connection(read: Load, tmp_path: Path) -> None:
    config = read(
        "AuthenticationMethods password\nMatch User a\nPasswordAuthentication no\nMatch User b\n"
        "AuthorizedKeysCommand /k\nMatch User c\nAuthenticationMethods publickey\nPubkeyAuthentication no\n"
    )
    for user, line, reason in (("a", 1, "no list"), ("b", 5, "needs an Authorized"), ("c", 7, "no list")):
        with pytest.raises(ConfigError, match=rf"^{tmp_path}/sshd_config:{line}: .*{reason}"):
            config.for_connection(ConnectionFacts(user))
    assert config.for_connection(ConnectionFacts("d")) == config.settings


def test_what_was_given_is_known(read: Load) -> None:
    config = read("Port 2\nMatch User a\nMaxSessions 3\n")
    assert config.settings.given == {"ports"}
    assert config.for_connection(ConnectionFacts("a")).given == {"ports", "max_sessions"}


# -- anything at all ---------------------------------------------------------------------------------------------------

ANYTHING = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)
KEYWORDS = st.sampled_from([*DIRECTIVES, *UNSUPPORTED, *DEPRECATED, "match", "foo", "match user x\n", "match all\n"])
REST = ANYTHING | st.text("ab01:.,/*!?@%=[]\"'\\# ~-+^", max_size=20) | st.sampled_from(
    ["yes", "no", "none", "any", "1", "a:1", "user a", "address 10.0.0.0/8", "localport 22", "A=b", "/x %u", "all"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING | st.lists(st.tuples(KEYWORDS, REST), max_size=5).map(
    lambda lines: "".join(f"{keyword} {rest}\n" for keyword, rest in lines)
))
def test_no_file_brings_anything_but_a_configuration_or_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzzed"
    path.write_bytes(text.lower().replace("include", "").encode())  # of which the whole machine would be read
    try:
        config = load(str(path), include_folder=str(tmp_path))
        found = config.for_connection(ConnectionFacts("a", ("a",), "a", "10.0.0.1", "10.0.0.1", 22, "a"))
    except ConfigError as error:
        assert str(error)
    else:
        assert all(" " in line for line in found.lines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REST, REST)
def test_no_include_brings_anything_but_a_configuration_or_a_config_error(tmp_path: Path, one: str, two: str) -> None:
    path = tmp_path / "fuzzed"
    path.write_bytes(f"Include {one.replace('/', '').replace('..', '')}x {two.replace('/', '').replace('..', '')}x\n"
                     .encode())
    try:
        assert load(str(path), include_folder=str(tmp_path)).settings.given == frozenset()
    except ConfigError as error:
        assert str(error)


@given(KEYWORDS, st.text(max_size=20))
def test_no_override_brings_anything_but_a_configuration_or_a_config_error(keyword: str, rest: str) -> None:
    for setting in (f"{keyword} {rest}", (keyword, rest)):
        try:
            assert load(None, overrides=[setting]).settings.lines()
        except ConfigError as error:
            assert str(error)


@given(st.binary(max_size=80))
def test_no_bytes_bring_anything_but_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "sshd-config-bytes"
    path.write_bytes(data.lower().replace(b"include", b""))
    try:
        assert load(str(path)).settings.lines()
    except ConfigError as error:
        assert str(error)
