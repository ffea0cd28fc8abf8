"""The table of ssh_config(5): every directive, how it is read, and what fastssh does with it.

Sources: ssh_config(5) and readconf.c of OpenSSH 9.2 to 10.2 for names, aliases, defaults and which accept tokens;
ssh_config(5) of Debian for the GSSAPI directives it adds.
"""

from __future__ import annotations

from typing import Final

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
    seconds,
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
    # -- what fastssh uses
    Directive("AddressFamily", choice("any", "inet", "inet6"), "any"),
    Directive("BatchMode", flag, False),
    Directive("BindAddress", text),
    Directive("Ciphers", text),
    Directive("Compression", flag, False),
    Directive("ConnectTimeout", seconds_or_none, 0),
    Directive("GlobalKnownHostsFile", files, ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"), most=0),
    Directive("HashKnownHosts", flag, False),
    Directive("HostKeyAlgorithms", text),
    Directive("HostKeyAlias", text),
    Directive("HostName", text, tokens="h"),
    Directive("IdentitiesOnly", flag, False),
    Directive("IdentityAgent", text, tokens=ALL_TOKENS, environment=True),
    Directive("IdentityFile", text, accumulate=True, tokens=ALL_TOKENS, environment=True, aliases=("identityfile2",)),
    Directive("IgnoreUnknown", text),
    Directive("IPQoS", qos, most=2),
    Directive("KbdInteractiveAuthentication", flag, True,
              aliases=("challengeresponseauthentication", "skeyauthentication", "tisauthentication")),
    Directive("KexAlgorithms", text),
    Directive("LogLevel", choice(*LOG_LEVELS[:5], *LOG_LEVELS[6:], debug1=("debug",)), "info"),
    Directive("MACs", text),
    Directive("NumberOfPasswordPrompts", number, 3),
    Directive("PasswordAuthentication", flag, True),
    Directive("Port", port, 22),
    Directive("PreferredAuthentications", text),
    Directive("ProxyCommand", text, most=-1, tokens=PROXY_TOKENS),
    Directive("ProxyJump", text, most=-1, tokens=PROXY_TOKENS),
    Directive("ProxyUseFdpass", flag, False),
    Directive("PubkeyAcceptedAlgorithms", text, aliases=("pubkeyacceptedkeytypes",)),
    Directive("PubkeyAuthentication", choice("unbound", "host-bound", yes=("true",), no=("false",)), "yes",
              aliases=("dsaauthentication",)),
    Directive("RekeyLimit", rekey_limit, RekeyLimit(0, 0), most=2),
    Directive("RequiredRSASize", number, 1024),
    Directive("ServerAliveCountMax", number, 3),
    Directive("ServerAliveInterval", seconds, 0, aliases=("protocolkeepalives", "setuptimeout")),
    Directive("StrictHostKeyChecking", choice("ask", "accept-new", yes=("true",), no=("false", "off")), "ask"),
    Directive("Tag", text),
    Directive("TCPKeepAlive", flag, True, aliases=("keepalive",)),
    Directive("User", text, tokens=ALL_TOKENS.translate({ord("r"): None, ord("C"): None}), environment=True),
    Directive("UserKnownHostsFile", files, ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"), most=0, tokens=ALL_TOKENS,
              environment=True),
    # -- what would change where we connect or whom we trust, and is not supported yet: refused, not ignored
    Directive("BindInterface", text, harmless=()),
    Directive("CanonicalizeHostname", choice("always", yes=("true",), no=("false",)), "no", harmless=("no",)),
    Directive("RefuseConnection", text, most=-1, harmless=()),
    Directive("RevokedHostKeys", text, harmless=("none",)),
    # -- what plays no part in copying files, or only adds ways that we do without
    Directive("AddKeysToAgent", words, ("no",), most=2),
    Directive("CanonicalDomains", words, most=0),
    Directive("CanonicalizeFallbackLocal", flag, True),
    Directive("CanonicalizeMaxDots", number, 1),
    Directive("CanonicalizePermittedCNAMEs", words, most=0),
    Directive("CASignatureAlgorithms", text),
    Directive("CertificateFile", text, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("ChannelTimeout", words, most=0),
    Directive("CheckHostIP", flag, False),
    Directive("ClearAllForwardings", flag, False),
    Directive("ConnectionAttempts", number, 1),
    Directive("ControlMaster", choice("ask", "auto", "autoask", yes=("true",), no=("false",)), "no"),
    Directive("ControlPath", text, tokens=ALL_TOKENS, environment=True),
    Directive("ControlPersist", text, "no"),
    Directive("DynamicForward", text, accumulate=True),
    Directive("EnableEscapeCommandline", flag, False),
    Directive("EnableSSHKeysign", flag, False),
    Directive("EscapeChar", text, "~"),
    Directive("ExitOnForwardFailure", flag, False),
    Directive("FingerprintHash", choice("md5", "sha256"), "sha256"),
    Directive("ForkAfterAuthentication", flag, False),
    Directive("ForwardAgent", text, "no"),
    Directive("ForwardX11", flag, False),
    Directive("ForwardX11Timeout", seconds, 1200),
    Directive("ForwardX11Trusted", flag, True),
    Directive("GatewayPorts", flag, False),
    Directive("GSSAPIAuthentication", flag, False),
    Directive("GSSAPIClientIdentity", text),
    Directive("GSSAPIDelegateCredentials", flag, False),
    Directive("GSSAPIKexAlgorithms", text),
    Directive("GSSAPIKeyExchange", flag, False),
    Directive("GSSAPIRenewalForcesRekey", flag, False),
    Directive("GSSAPIServerIdentity", text),
    Directive("GSSAPITrustDns", flag, False),
    Directive("HostbasedAcceptedAlgorithms", text, aliases=("hostbasedkeytypes",)),
    Directive("HostbasedAuthentication", flag, False),
    Directive("KbdInteractiveDevices", text),
    Directive("KnownHostsCommand", text, most=-1, tokens=ALL_TOKENS + "fHIKt", environment=True),
    Directive("LocalCommand", text, most=-1, tokens=ALL_TOKENS + "T"),
    Directive("LocalForward", words, most=2, least=2, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("LogVerbose", words, most=0),
    Directive("NoHostAuthenticationForLocalhost", flag, False),
    Directive("ObscureKeystrokeTiming", text, "yes"),
    Directive("PermitLocalCommand", flag, False),
    Directive("PermitRemoteOpen", words, most=0),
    Directive("PKCS11Provider", text, aliases=("smartcarddevice",)),
    Directive("RemoteCommand", text, most=-1, tokens=ALL_TOKENS),
    Directive("RemoteForward", words, most=2, accumulate=True, tokens=ALL_TOKENS, environment=True),
    Directive("RequestTTY", choice("force", "auto", yes=("true",), no=("false",)), "auto"),
    Directive("SecurityKeyProvider", text),
    Directive("SendEnv", words, most=0, accumulate=True),
    Directive("SessionType", choice("none", "subsystem", "default"), "default"),
    Directive("SetEnv", words, most=0, accumulate=True),
    Directive("StdinNull", flag, False),
    Directive("StreamLocalBindMask", text, "0177"),
    Directive("StreamLocalBindUnlink", flag, False),
    Directive("SyslogFacility", text, "USER"),
    Directive("Tunnel", choice("ethernet", "point-to-point", yes=("true",), no=("false",)), "no"),
    Directive("TunnelDevice", text, "any:any"),
    Directive("UpdateHostKeys", _YES_NO_ASK, "yes"),
    Directive("VerifyHostKeyDNS", _YES_NO_ASK, "no"),
    Directive("VersionAddendum", text, most=-1),
    Directive("VisualHostKey", flag, False),
    Directive("WarnWeakCrypto", text, "yes"),
    Directive("XAuthLocation", text),
)

DIRECTIVES: Final = by_name(_TABLE)

# Names that OpenSSH still takes and does nothing with.
OBSOLETE: Final = frozenset((
    "afstokenpassing", "cipher", "compressionlevel", "fallbacktorsh", "globalknownhostsfile2", "kerberosauthentication",
    "kerberostgtpassing", "protocol", "rhostsauthentication", "rhostsrsaauthentication", "rsaauthentication",
    "useblacklistedkeys", "useprivilegedport", "userknownhostsfile2", "useroaming", "usersh",
))
