"""``-G``: what we print of a configuration, held against `ssh -G` of the OpenSSH that is installed, line by line.

Where the two differ on purpose:

- Lists of algorithms are those that fastssh speaks; what both speak is compared, in the same choice.
- Default identity files are those that fastssh looks for, the default class of service is upstream's and not Debian's.
- ``User`` takes tokens, as in OpenSSH 10. Lists of ciphers, MACs and key exchange methods may hold patterns
  everywhere. CanonicalizePermittedCNAMEs asks for nothing where names are not canonicalised.
- Faults of 9.2 are not followed: only the first pattern of LogVerbose is kept there, StreamLocalBindMask and
  SyslogFacility hold although their block does not, SendEnv is listed twice after a second reading, a LocalForward
  between two paths is printed as a DynamicForward too, and ``none`` for a time leaves it open to a later line, as does
  RekeyLimit without a time.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastssh.aio.options import IDENTITY_FILES
from fastssh.config.algorithm_lists import LISTS
from fastssh.config.dump import lines
from fastssh.config.evaluate import load
from fastssh.config.tokens import Local

SSH = shutil.which("ssh")
pytestmark = pytest.mark.skipif(SSH is None, reason="the OpenSSH client `ssh` is not installed")

PROCESSES = 4
ALGORITHMS = {name.lower(): kind for name, kind in LISTS.items()}
ME = pwd.getpwuid(os.getuid()).pw_name

FLAGS = (
    "BatchMode", "CanonicalizeFallbackLocal", "CheckHostIP", "Compression", "EnableSSHKeysign",
    "ClearAllForwardings", "ExitOnForwardFailure", "ForwardX11", "ForwardX11Trusted", "GatewayPorts",
    "GSSAPIAuthentication", "GSSAPIKeyExchange", "GSSAPIDelegateCredentials", "GSSAPITrustDns",
    "GSSAPIRenewalForcesRekey", "HashKnownHosts", "HostbasedAuthentication", "IdentitiesOnly",
    "KbdInteractiveAuthentication", "NoHostAuthenticationForLocalhost", "PasswordAuthentication",
    "PermitLocalCommand", "ProxyUseFdpass", "StdinNull", "ForkAfterAuthentication", "StreamLocalBindUnlink",
    "TCPKeepAlive", "VisualHostKey", "EnableEscapeCommandline",
)  # fmt: skip

VALUES = {
    "AddressFamily": ("any", "inet", "INET6"),
    "CanonicalizeMaxDots": ("0", "7"),
    "ControlMaster": ("yes", "no", "ask", "auto", "autoask", "TRUE"),
    "FingerprintHash": ("md5", "sha256", "SHA512", "sha1"),
    "PubkeyAuthentication": ("yes", "no", "unbound", "host-bound"),
    "RequestTTY": ("yes", "no", "force", "auto", "true"),
    "SessionType": ("none", "subsystem", "default"),
    "StrictHostKeyChecking": ("yes", "no", "off", "ask", "accept-new"),
    "Tunnel": ("yes", "no", "point-to-point", "ethernet", "true"),
    "VerifyHostKeyDNS": ("yes", "no", "ask"),
    "UpdateHostKeys": ("yes", "no", "ask"),
    "ConnectionAttempts": ("1", "99"),
    "ForwardX11Timeout": ("0", "1d", "90"),
    "NumberOfPasswordPrompts": ("0", "5"),
    "ServerAliveCountMax": ("0", "2147483647"),
    "ServerAliveInterval": ("0", "15", "1h1m1s", "none"),
    "RequiredRSASize": ("1024", "4096"),
    "BindAddress": ("192.0.2.1", "::1"),
    "BindInterface": ("eth0",),
    "ControlPath": ("~/.ssh/%r@%h:%p", "/tmp/%C", "none", "NONE", "${X}/%%", "~", "~root/x"),
    "HostKeyAlias": ("ALIAS", "a.b"),
    "IdentityAgent": ("none", "SSH_AUTH_SOCK", "$X", "~/agent", "${X}/%u"),
    "IgnoreUnknown": ("a,b*",),
    "KbdInteractiveDevices": ("bsdauth,pam",),
    "LocalCommand": ("echo %h  two", "none", "x # y"),
    "RemoteCommand": ("echo %h  two", "none", 'say "%u"  # %%'),
    "LogLevel": ("quiet", "FATAL", "error", "Info", "verbose", "debug", "DEBUG1", "debug2", "DEBUG3"),
    "PKCS11Provider": ("/usr/lib/x.so", "none"),
    "SecurityKeyProvider": ("/x.so", "$Y", "internal"),
    "PreferredAuthentications": ("password", "publickey,hostbased"),
    "RevokedHostKeys": ("/etc/ssh/revoked", "~/revoked"),
    "XAuthLocation": ("/opt/xauth",),
    "KnownHostsCommand": ("/bin/true %H %t %K %f %I", "none"),
    "DynamicForward": ("1080", "127.0.0.1:1080", "[::1]:1080", "*:1080"),
    "LocalForward": ("8080 localhost:80", "127.0.0.1:1 [::1]:2", "1 /run/%h", "*:1 h:2", "[a]:1 h:http", "/a%r h:2"),
    "RemoteForward": ("8080 localhost:80", "1080", "0 a:1", "/run/x /run/y%p"),
    "IdentityFile": ("~/.ssh/%h", "none", '"/a b"', "/${X}/%d"),
    "CertificateFile": ("~/c-cert.pub", "none"),
    "CanonicalDomains": ("none", "A.Example b.example."),
    "GlobalKnownHostsFile": ("none", "/a", "/a /b"),
    "UserKnownHostsFile": ("none", "~/a", "~/.ssh/known_hosts", "/%h/%n/%p/%r/%u/%k/%i/%L/%l/%%/%C %d/x ~/${X}",
                           "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
    "SendEnv": ("LANG LC_*", "-A", "A B\nSendEnv C\nSendEnv -B", "A* B\nSendEnv -?*\nSendEnv D"),
    "SetEnv": ("A=b C=d", "A=1 A=2 B=", 'A="b c"', "A=1\nSetEnv B=2"),
    "LogVerbose": ("none", "kex.c:*:1000"),
    "PermitRemoteOpen": ("any", "none", "host:80", "a:1 [::1]:2 b:*"),
    "AddKeysToAgent": ("yes", "no", "ask", "confirm", "confirm 1h", "90m", "TRUE"),
    "ForwardAgent": ("yes", "no", "/run/%u", "$X", "${X}/a", "~/a"),
    "ConnectTimeout": ("none", "1", "2m"),
    "TunnelDevice": ("any", "any:any", "5", "5:6", "any:3"),
    "CanonicalizePermittedCNAMEs": ("none",),
    "ControlPersist": ("yes", "no", "true", "10m", "0"),
    "EscapeChar": ("none", "~", "^B", "%", "^@", "^[", "\\"),
    "IPQoS": ("af21 cs1", "none", "ef", "0x10", "lowdelay throughput", "le reliability", "cs0 cs7", "3 255", "af43"),
    "RekeyLimit": ("default", "1G 1h", "16", "500M none", "0 0", "4E"),
    "StreamLocalBindMask": ("0177", "22", "0", "0777"),
    "SyslogFacility": ("auth", "LOCAL7", "Daemon"),
    "ProxyCommand": ("none", "nc  -X 5 %h %p # c", "-", '"quoted one" x', "=nc", "nc\nProxyJump x"),
    "ProxyJump": ("none", "a", "u@a:22", "a,b,u@c:7", "[::1]:5", "192.0.2.1", "ssh://u@a:5/,ssh://b", "a # c",
                  "a\nProxyCommand nc", "u@d@a", "none\nProxyCommand nc"),
    "Ciphers": ("aes256-ctr", "-aes*", "+aes128-ctr", "^aes256-gcm@openssh.com", "-*gcm*,chacha20*"),
    "MACs": ("hmac-sha2-512", "-*etm*", "^hmac-sha2-256"),
    "KexAlgorithms": ("curve25519-sha256", "-ecdh*,diffie*", "^ecdh-sha2-nistp521"),
    "HostKeyAlgorithms": ("ssh-ed25519", "-*cert*", "^rsa-sha2-512", "+ssh-ed25519", "ssh-ed25519*,rsa*"),
    "PubkeyAcceptedAlgorithms": ("rsa-sha2-512", "-ssh-ed25519-cert*", "+rsa-sha2-256", "-ssh-ed25519"),
    "PubkeyAcceptedKeyTypes": ("ssh-ed25519",),
    "HostbasedAcceptedAlgorithms": ("ssh-ed25519,rsa-sha2-256",),
    "CASignatureAlgorithms": ("-rsa*", "ssh-ed25519"),
    "Port": ("1", "65535", "ssh", "http"),
    "User": ("bob", "DOM\\\\bob", "a@b", '"a b"'),
    "HostName": ("real.example", "%h.example", "REAL", "192.0.2.1", "::1", "127.1", "0x7f.1", "fe80::1%%lo",
                 "010.0.0.1", "%%h", "1.2.3.4.5"),
}  # fmt: skip

FILES = {
    "nothing": "",
    "first wins": "Port 1\nPort 2\nHost *\n Port 3\nUser a\nUser b\n",
    "hosts": "Host a b*\n Port 1\nHost host !h?st\n Port 2\nHost !x h*\n Port 3\nHost h?st\n User u\n",
    "quoted patterns": 'Host "host" x\n Port 1\nHost "ho st"\n Port 2\n',
    "match": "Match host x,host user *\n Port 4\nMatch originalhost host !user root\n User u\n",
    "match all alone": "Match all\n Port 4\nMatch !all\n User no\n",
    "match localuser": f"Match localuser {ME}\n Port 5\nMatch !localuser {ME}\n User no\n",
    "match user": "User bob\nMatch user bob host h*\n Port 6\n",
    "match exec": 'Match exec "test %h-%n-%k = host-host-host"\n Port 7\nMatch !exec false\n User x\n',
    "match exec after a name": 'HostName Real\nHostKeyAlias al\nMatch exec "test %h-%n-%k = Real-host-al"\n Port 7\n',
    "match exec key": 'HostName Real\nMatch exec "test %k = Real"\n Port 7\n',
    "match exec in vain": 'Match host other exec "exit 0"\n Port 7\n',
    "match final": "HostName Later\nMatch final host later\n Port 8\nMatch canonical\n User c\n"
                   "Host later\n BatchMode no\n",
    "match negated final": "Match !final\n Port 8\nMatch final\n Port 9\n",
    "match final and all": "Match final all\n Port 9\nMatch canonical all\n User x\n",
    "match in capitals": "MATCH HOST HOST\n Port 3\nmatch ORIGINALHOST host\n User u\n",
    "match with comment": "Match host host # other\n Port 5\n",
    "canonical, nothing to find": "CanonicalizeHostname yes\nCanonicalizeMaxDots 0\nHost host.a.b\n Port 4\n",
    "canonical, an address": "CanonicalizeHostname always\nHostName 127.1\nHost 127.0.0.1\n Port 4\n",
    "canonical, no domains": "CanonicalizeHostname yes\nCanonicalDomains none\nMatch canonical host host\n Port 4\n",
    "separators": 'Port=5\nUser = u\nHostName= a\nCompression =yes\nBindAddress\t=\t"x y"\nControlPath="/a=b"\n',
    "double equals": "LocalCommand = = x\nRemoteCommand == y\n",
    "quoted keyword": '"Port" 5\n',
    "escapes": 'UserKnownHostsFile "/a\\"b" /c\\ d \'/e"f\' /g\\\\h /i\\j\n',
    "comments": "# Port 1\n  # Port 2\nPort 3 # Port 4\nUser a#b\nIdentityFile /x #y\n",
    "blank lines": "\n\n \t\n\tPort 5\n\r\nUser u\r\nBindAddress a\f\n",
    "no last newline": "Port 5",
    "long line": f"User {'x' * 5000}\n",
    "obsolete": "Protocol 2\nCipher 3des\nRhostsAuthentication no\nUseRsh no\nRSAAuthentication yes\n",
    "ignore unknown": "IgnoreUnknown Foo*,x\nFooBar 1 2 3\nX y\nPort 5\n",
    "old names": "ChallengeResponseAuthentication no\nDSAAuthentication no\nIdentityFile2 /i\nKeepAlive no\n"
                 "HostbasedKeyTypes rsa-sha2-512\nSmartcardDevice /p\nSKeyAuthentication yes\n",
    "identities": "IdentityFile /a\nIdentityFile /b\nIdentityFile /a\nHost host\n IdentityFile /c\n",
    "forwards": "LocalForward 1 a:1\nLocalForward 1 a:1\nLocalForward 2 b:2\nDynamicForward 3\nRemoteForward 4 c:4\n"
                "RemoteForward 4 c:4\nRemoteForward 5\n",
    "forwards cleared": "LocalForward 1 a:1\nDynamicForward 3\nRemoteForward 4 c:4\nClearAllForwardings yes\n"
                        "Tunnel yes\n",
    "batch": "BatchMode yes\nServerAliveInterval 3\n",
    "keys asked for": "UpdateHostKeys ask\nControlPersist yes\n",
    "keys nobody is asked for": "UpdateHostKeys ask\nControlPersist yes\nControlPath /x\n",
    "keys asked for in a command": "UpdateHostKeys ask\nRemoteCommand x\n",
    "keys asked for without a terminal": "UpdateHostKeys ask\nRequestTTY no\n",
    "keys asked for in silence": "UpdateHostKeys ask\nLogLevel ERROR\n",
    "descriptors of a jump": "ProxyUseFdpass yes\nProxyJump a\n",
    "an alias in capitals": "HostKeyAlias AL\nUserKnownHostsFile /%k\n",
    "defaults of the first reading": "Match final\n CanonicalizeMaxDots 3\n CanonicalizeHostname yes\n Port 5\n",
    "dns": "VerifyHostKeyDNS yes\n",
    "dns and keys": "VerifyHostKeyDNS ask\nUpdateHostKeys yes\n",
    "an interactive host": "Host host\n ForwardAgent yes\n ForwardX11 yes\n RequestTTY force\n"
                           " RemoteCommand tmux new -A\n SetEnv LC_X=1\n SendEnv LC_*\n EscapeChar ^X\n",
    "a shared connection": "Host *\n ControlMaster auto\n ControlPath ~/.ssh/cm-%r@%h:%p\n ControlPersist 10m\n",
    "a bastion": "Host bastion\n User gate\nHost host\n HostName 10.0.0.5\n ProxyJump gate@bastion:2222\n"
                 "Host *\n User me\n IdentitiesOnly yes\n IdentityFile ~/.ssh/id_%r\n",
    "a cloud shell": "Host host\n HostName i-1\n ProxyCommand sh -c \"aws ssm start-session --target %h 'port=%p'\"\n"
                     " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n",
}  # fmt: skip

CORPUS = {
    **{f"{name} {word}": f"{name} {word}\n" for name in FLAGS for word in ("yes", "no")},
    **{f"{name} {value}": f"{name} {value}\n" for name, values in VALUES.items() for value in values},
    **FILES,
}
CORPUS["BatchMode yes"] += "ServerAliveInterval 0\n"  # Debian's ssh sends keepalives in batch mode
CORPUS["ForkAfterAuthentication yes"] += "RemoteCommand true\n"  # which ssh refuses else


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Iterator[dict[str, list[str]]]:
    """What ssh prints of each configuration; a list without lines where it refuses."""

    def run(number: int, text: str) -> list[str]:
        (folder / str(number)).write_text(text, newline="")
        assert SSH is not None
        done = subprocess.run(
            [SSH, "-F", str(folder / str(number)), "-G", "host"], capture_output=True, text=True, timeout=30,
            stdin=subprocess.DEVNULL, env=os.environ | {"X": "value"}, check=False,
        )  # fmt: skip
        return done.stdout.splitlines() if done.returncode == 0 else [done.stderr]

    with ThreadPoolExecutor(PROCESSES) as pool:
        yield dict(zip(CORPUS, pool.map(run, range(len(CORPUS)), CORPUS.values()), strict=True))


@pytest.fixture(scope="module")
def local() -> Local:
    """As ssh sees this machine: it asks the password database for the home folder, not $HOME."""
    return Local.here()._replace(home=pwd.getpwuid(os.getuid()).pw_dir, environment={"X": "value"})


@pytest.fixture(scope="module")
def spoken() -> dict[str, set[str]]:
    """The algorithms that both speak, by directive."""

    def ask(name: str) -> set[str]:
        assert SSH is not None
        asked = "sig" if name == "casignaturealgorithms" else name
        done = subprocess.run([SSH, "-Q", asked], capture_output=True, text=True, timeout=30, check=True)
        return set(done.stdout.split()) & set(ALGORITHMS[name].known())

    return {name: ask(name) for name in ALGORITHMS}


def comparable(printed: list[str], given: str, spoken: dict[str, set[str]]) -> list[str]:
    """The lines, with what is compared of lists of algorithms, and without defaults that are our own."""
    found = []
    for line in printed:
        keyword, _, value = line.partition(" ")
        if keyword in spoken:
            line = f"{keyword} {','.join(sorted(spoken[keyword].intersection(value.split(','))))}"
        if keyword == "gssapikexalgorithms" or (keyword == "ipqos" and "IPQoS" not in given):
            continue
        if keyword == "identityfile" and "IdentityFile" not in given and value not in IDENTITY_FILES:
            continue
        if keyword == "dynamicforward" and "DynamicForward" not in given:
            continue
        found.append(line)
    return found


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_printed_is_what_openssh_prints(
    name: str, theirs: dict[str, list[str]], spoken: dict[str, set[str]], folder: Path, local: Local
) -> None:
    text, path = CORPUS[name], folder / str(list(CORPUS).index(name))
    ours = lines(load("host", file=str(path), local=local, session_type="shell", command=""))
    assert comparable(ours, text, spoken) == comparable(theirs[name], text, spoken)
