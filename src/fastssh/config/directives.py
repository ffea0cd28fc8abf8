"""The table of ssh_config(5): every directive, how it is read, and what fastssh does with it.

Sources: ssh_config(5) and readconf.c of OpenSSH 9.2 to 10.2 for names, aliases, defaults and which accept tokens;
ssh_config(5) of Debian for the GSSAPI directives it adds.
"""

from __future__ import annotations

from typing import Final

from fastssh.config import client_values as client
from fastssh.config.destination import read_jump
from fastssh.config.table import Directive, by_name
from fastssh.config.values import (
    LogLevel,
    RekeyLimit,
    Value,
    choice,
    files,
    flag,
    number,
    port,
    qos,
    rekey_limit,
    seconds_or_none,
    text,
    words,
)

# Tokens of the TOKENS section. %j is new in 9.6 (the ProxyJump host, empty without one).
ALL_TOKENS: Final = "CdhijkLlnpru"
PROXY_TOKENS: Final = "hnpr"


_YES_NO_ASK: Final = choice("ask", yes=("true",), no=("false",))
LOG_LEVELS: Final = tuple(level.value for level in LogLevel)

_TABLE: Final[tuple[Directive[Value], ...]] = (
    Directive("AddKeysToAgent", client.keys_to_agent, client.KeysToAgent("no", 0), most=2),
    Directive("AddressFamily", choice("any", "inet", "inet6"), "any"),
    Directive("BatchMode", flag, False),
    Directive("BindAddress", text),
    Directive("BindInterface", text),
    Directive("CanonicalDomains", client.domains, (), most=0),
    Directive("CanonicalizeFallbackLocal", flag, True),
    Directive("CanonicalizeHostname", choice("always", yes=("true",), no=("false",)), "no"),
    Directive("CanonicalizeMaxDots", number, 1),
    Directive("CanonicalizePermittedCNAMEs", client.permitted_cnames, (), most=0),
    Directive("CASignatureAlgorithms", text),
    Directive("CertificateFile", text, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("ChannelTimeout", client.channel_timeouts, (), most=0, passed_over=((),)),
    Directive("CheckHostIP", flag, False),
    Directive("Ciphers", text),
    Directive("ClearAllForwardings", flag, False),
    Directive("Compression", flag, False),
    Directive("ConnectionAttempts", number, 1),
    Directive("ConnectTimeout", seconds_or_none, 0),
    Directive("ControlMaster", choice("ask", "auto", "autoask", yes=("true",), no=("false",)), "no"),
    Directive("ControlPath", text, tokens=ALL_TOKENS, environment=True, unset=True),
    Directive("ControlPersist", client.control_persist, client.ControlPersist(False, 0)),
    Directive("DynamicForward", text, accumulate=True),
    Directive("EnableEscapeCommandline", flag, False),
    Directive("EnableSSHKeysign", flag, False),
    Directive("EscapeChar", client.escape_char, ord("~")),
    Directive("ExitOnForwardFailure", flag, False),
    Directive("FingerprintHash", choice("md5", "sha1", "sha256", "sha384", "sha512"), "sha256"),
    Directive("ForkAfterAuthentication", flag, False),
    Directive("ForwardAgent", client.forward_agent, "no", tokens=ALL_TOKENS, environment=True),
    Directive("ForwardX11", flag, False, passed_over=(False,)),
    Directive("ForwardX11Timeout", seconds_or_none, 1200),
    Directive("ForwardX11Trusted", flag, True),
    Directive("GatewayPorts", flag, False),
    Directive("GlobalKnownHostsFile", files, ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"), most=0),
    Directive("GSSAPIAuthentication", flag, False, passed_over=(False,)),
    Directive("GSSAPIClientIdentity", text),
    Directive("GSSAPIDelegateCredentials", flag, False),
    Directive("GSSAPIKexAlgorithms", text),
    Directive("GSSAPIKeyExchange", flag, False, passed_over=(False,)),
    Directive("GSSAPIRenewalForcesRekey", flag, False),
    Directive("GSSAPIServerIdentity", text),
    Directive("GSSAPITrustDns", flag, False),
    Directive("HashKnownHosts", flag, False),
    Directive("HostbasedAcceptedAlgorithms", text, aliases=("hostbasedkeytypes",)),
    Directive("HostbasedAuthentication", flag, False, passed_over=(False,)),
    Directive("HostKeyAlgorithms", text),
    Directive("HostKeyAlias", text),
    Directive("HostName", text, tokens="h"),
    Directive("IdentitiesOnly", flag, False),
    Directive("IdentityAgent", client.agent_path, tokens=ALL_TOKENS, environment=True),
    Directive("IdentityFile", text, accumulate=True, tokens=ALL_TOKENS, environment=True, aliases=("identityfile2",)),
    Directive("IgnoreUnknown", text),
    Directive("IPQoS", qos, most=2),
    Directive("KbdInteractiveAuthentication", flag, True,
              aliases=("challengeresponseauthentication", "skeyauthentication", "tisauthentication")),
    Directive("KbdInteractiveDevices", text),
    Directive("KexAlgorithms", text),
    Directive("KnownHostsCommand", text, most=-1, tokens=ALL_TOKENS + "fHIKt", environment=True, unset=True),
    Directive("LocalCommand", text, most=-1, tokens=ALL_TOKENS + "T", unset=True, shell=True),
    Directive("LocalForward", words, most=2, least=2, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("LogLevel", choice(*LOG_LEVELS[1:5], *LOG_LEVELS[6:], quiet=("silent",), debug1=("debug",)), "info"),
    Directive("LogVerbose", client.verbose_places, (), most=0, passed_over=((),)),
    Directive("MACs", text),
    Directive("NoHostAuthenticationForLocalhost", flag, False),
    Directive("NumberOfPasswordPrompts", number, 3),
    Directive("ObscureKeystrokeTiming", client.keystroke_interval, 20, passed_over=(0,)),
    Directive("PasswordAuthentication", flag, True),
    Directive("PermitLocalCommand", flag, False),
    Directive("PermitRemoteOpen", client.remote_opens, ("any",), most=0),
    Directive("PKCS11Provider", text, unset=True, passed_over=("none",), aliases=("smartcarddevice",)),
    Directive("Port", port, 22),
    Directive("PreferredAuthentications", text),
    Directive("ProxyCommand", text, most=-1, tokens=PROXY_TOKENS, unset=True, shell=True, rival="ProxyJump"),
    Directive("ProxyJump", read_jump, most=-1, tokens=PROXY_TOKENS, rival="ProxyCommand"),
    Directive("ProxyUseFdpass", flag, False),
    Directive("PubkeyAcceptedAlgorithms", text, aliases=("pubkeyacceptedkeytypes",)),
    Directive("PubkeyAuthentication", choice("unbound", "host-bound", yes=("true",), no=("false",)), "yes",
              aliases=("dsaauthentication",)),
    Directive("RefuseConnection", text, most=-1),
    Directive("RekeyLimit", rekey_limit, RekeyLimit(0, 0), most=2),
    Directive("RemoteCommand", text, most=-1, tokens=ALL_TOKENS, unset=True),
    Directive("RemoteForward", words, most=2, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("RequestTTY", choice("force", "auto", yes=("true",), no=("false",)), "auto"),
    Directive("RequiredRSASize", number, 1024),
    Directive("RevokedHostKeys", files, (), most=0, tokens=ALL_TOKENS),
    Directive("SecurityKeyProvider", text, "internal", unset=True, passed_over=("internal", "none")),
    Directive("SendEnv", client.variable_names, most=0, accumulate=True, removes=True),
    Directive("ServerAliveCountMax", number, 3),
    Directive("ServerAliveInterval", seconds_or_none, 0, aliases=("protocolkeepalives", "setuptimeout")),
    Directive("SessionType", choice("none", "subsystem", "default"), "default"),
    Directive("SetEnv", client.variables, (), most=0),
    Directive("StdinNull", flag, False),
    Directive("StreamLocalBindMask", client.mask, 0o177),
    Directive("StreamLocalBindUnlink", flag, False),
    Directive("StrictHostKeyChecking", choice("ask", "accept-new", yes=("true",), no=("false", "off")), "ask"),
    Directive("SyslogFacility", client.facility, "USER"),
    Directive("Tag", text),
    Directive("TCPKeepAlive", flag, True, aliases=("keepalive",)),
    Directive("Tunnel", choice("ethernet", "point-to-point", yes=("true",), no=("false",)), "no", passed_over=("no",)),
    Directive("TunnelDevice", client.tunnel_device, client.TunnelDevice(None, None)),
    Directive("UpdateHostKeys", _YES_NO_ASK),
    Directive("User", text, tokens=ALL_TOKENS.translate({ord("r"): None, ord("C"): None}), environment=True),
    Directive("UserKnownHostsFile", files, ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"), most=0, tokens=ALL_TOKENS,
              environment=True),
    Directive("VerifyHostKeyDNS", _YES_NO_ASK, "no", passed_over=("no",)),
    Directive("VersionAddendum", client.addendum, most=-1, tokens=ALL_TOKENS, passed_over=("",)),
    Directive("VisualHostKey", flag, False),
    Directive("WarnWeakCrypto", choice("no-pq-kex", yes=("true",), no=("false",)), "yes"),
    Directive("XAuthLocation", text, "/usr/bin/xauth"),
)

DIRECTIVES: Final = by_name(_TABLE)

# Names that OpenSSH still takes and does nothing with.
OBSOLETE: Final = frozenset((
    "afstokenpassing", "cipher", "compressionlevel", "fallbacktorsh", "globalknownhostsfile2", "kerberosauthentication",
    "kerberostgtpassing", "protocol", "rhostsauthentication", "rhostsrsaauthentication", "rsaauthentication",
    "useblacklistedkeys", "useprivilegedport", "userknownhostsfile2", "useroaming", "usersh",
))
