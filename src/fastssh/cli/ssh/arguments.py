"""fastssh's command line: ssh's options, which may stand before and behind the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastssh.cli import options
from fastssh.cli.ssh import manual
from fastssh.cli.tool import Option, Section, Tool, UsageError
from fastssh.config.destination import read_destination

TOOL: Final = Tool(
    name="fastssh",
    failed=255,  # as ssh's
    summary="log in to another machine, or run a command there",
    about="""Logs in to destination and gives you a shell there, or runs command. It takes ssh's options, reads \
ssh_config(5), and exits with the command's exit status.

destination is [user@]host or ssh://[user@]host[:port].""",
    more="""Without a command the session has a terminal, if standard input is one; -t and -T say otherwise. Standard \
input, output and error are the command's, byte for byte and in either direction at the speed of the line: what other \
programs share of them is not changed, and a terminal is put back as it was however the session ends.

The server's key is compared with `known_hosts`. A key that is not known is shown by its fingerprint, and you are \
asked; one that is not the known one ends the connection.""",
    operands="destination [command [argument ...]]",
    completes="host",
    options=(
        options.IPV4,
        options.IPV6,
        Option("-A", "forward the authentication agent"),
        Option("-a", "do not forward the agent"),
        Option("-B", "connect from the address of this interface", "bind_interface"),
        Option("-b", "connect from this address", "bind_address"),
        options.COMPRESS,
        options.CIPHERS._replace(value="cipher_spec"),
        Option("-D", "a SOCKS proxy here whose connections go over the server", "[bind_address:]port"),
        Option("-E", "append what would go to standard error to a file", "log_file", completes="file"),
        Option("-e", "escape character of sessions with a terminal: a letter, `^` and a letter, or `none`",
               "escape_char"),
        options.CONFIG_FILE._replace(value="configfile"),
        Option("-f", "go to the background when logged in, just before the command begins; implies -n"),
        Option("-G", "print the configuration for this destination, and leave"),
        Option("-g", "others may connect to ports forwarded here"),
        Option("-I", "", "pkcs11"),
        Option("-i", "private key to log in with; can be given several times", "identity_file", completes="file"),
        options.JUMP,
        Option("-K", ""),
        Option("-k", ""),
        Option("-L", "a port or socket here whose connections go over the server to another address",
               "[bind_address:]port:host:hostport"),
        Option("-l", "user to log in as", "login_name"),
        Option("-M", "be the master of a shared connection"),
        Option("-m", "MACs to offer, comma-separated", "mac_spec", completes="mac"),
        Option("-N", "run no command: forward only"),
        Option("-n", "standard input is `/dev/null`"),
        Option("-O", "tell the master of a shared connection: `check`, `forward`, `cancel`, `exit`, `stop`, `proxy`",
               "ctl_cmd", completes="check forward cancel exit stop proxy"),
        options.SETTING._replace(value="option"),
        Option("-P", "a tag for `Match tagged` in the configuration", "tag"),
        Option("-p", "port of the server", "port"),
        Option("-Q", "print what there is of a kind: `cipher`, `mac`, `kex`, `key`, `sig` ..., `help` lists them",
               "query_option", completes="cipher cipher-auth compression help kex key key-cert key-plain key-sig mac "
               "protocol-version sig"),
        Option("-q", "no warnings, no errors"),
        Option("-R", "a port or socket of the server whose connections come here and go on to another address",
               "[bind_address:]port:host:hostport"),
        Option("-S", "socket of a shared connection, or `none`", "ctl_path", completes="file"),
        Option("-s", "command is the name of a subsystem"),
        Option("-T", "no terminal"),
        Option("-t", "a terminal; given twice, even if standard input is none"),
        Option("-V", "show the versions of fastssh and of the libraries it uses"),
        options.VERBOSE,
        Option("-W", "standard input and output are a connection from the server to this address", "host:port"),
        Option("-w", "", "local_tun[:remote_tun]"),
        Option("-X", ""),
        Option("-x", ""),
        Option("-Y", ""),
        Option("-y", "messages go to syslog(3)"),
        *(Option(flag, "") for flag in ("-1", "-2")),
    ),
    sections=(
        Section("EXIT STATUS", "The exit status is that of the remote command, and 255 when there was an error, or the "
                "command was ended by a signal.", help=True),
        manual.CONFIGURATION,
        manual.SHARING,
        Section("ESCAPE CHARACTERS", """In a session with a terminal, the escape character (~, see -e) at the \
beginning of a line begins a command to fastssh itself:

`~.` ends the connection. `~^Z` stops fastssh. `~&` goes to the background, and waits there for forwarded connections \
to end. `~#` lists what is forwarded. `~C` opens a command line, on which -L, -R and -D add forwards and -KL, -KR and \
-KD cancel them (see EnableEscapeCommandline). `~B` sends a break. `~R` makes new keys. `~V` and `~v` tell less and \
more. `~?` lists these. `~~` is the character itself."""),
        Section("ENVIRONMENT", "`SSH_AUTH_SOCK` is the agent's socket. `SSH_ASKPASS` and `SSH_ASKPASS_REQUIRE` name a "
                "program that asks for passwords, and say when it does. `TERM` is told to the server. "
                "`FASTSSH_DEBUG=1` shows where an unexpected error came from."),
        Section("FILES", """`~/.ssh/config` and `/etc/ssh/ssh_config` are the configuration, `~/.ssh/known_hosts` and \
`/etc/ssh/ssh_known_hosts` hold the keys of servers, `~/.ssh/id_ed25519`, `~/.ssh/id_ecdsa` and `~/.ssh/id_rsa` are \
the keys to log in with."""),
        Section("EXAMPLES", """`fastssh me@host.example.org`

`fastssh -J gate.example.org inner.example.org uptime`

`fastssh -N -L 8080:localhost:80 host.example.org`"""),
    ),
    see_also=("ssh(1)", "ssh_config(5)", "fastssh-scp(1)", "fastsshd(8)"),
)  # fmt: skip

# Options whose setting comes before everything else, and the last of several first, as in ssh.
_WINNING: Final = {
    **options.FAMILIES,
    "-A": ("ForwardAgent", "yes"),
    "-a": ("ForwardAgent", "no"),
    "-C": options.COMPRESSION,
    "-f": ("ForkAfterAuthentication", "yes"),
    "-g": ("GatewayPorts", "yes"),
    "-N": ("SessionType", "none"),
    "-n": ("StdinNull", "yes"),
    "-s": ("SessionType", "subsystem"),
    "-T": ("RequestTTY", "no"),
}
_WINNING_VALUES: Final = {
    "-B": "BindInterface", "-b": "BindAddress", "-c": "Ciphers", "-e": "EscapeChar", "-m": "MACs", "-P": "Tag",
    "-S": "ControlPath",
}  # fmt: skip
# Those that stand beside -o: the first of all wins.
_VALUES: Final = {"-l": "User", "-p": "Port"}
_FORWARDS: Final = {"-D": "dynamic", "-L": "local", "-R": "remote"}
_MISSING: Final = {
    "-1": "SSH protocol v.1 is no longer supported",
    "-I": "PKCS#11 is not supported",
    "-K": "GSSAPI is not supported",
    "-w": "tunnel devices are not supported",
    "-X": "X11 forwarding is not supported",
    "-Y": "X11 forwarding is not supported",
}
_CONTROL: Final = ("check", "forward", "cancel", "exit", "stop", "proxy")


class Arguments:
    """A command line that makes sense. ``overrides`` is for :func:`fastssh.config.evaluate.load`."""

    host: str = ""
    command: str = ""
    version: bool = False
    query: str | None = None
    dump: bool = False
    subsystem: bool = False
    quiet: bool = False
    config_file: str | None = None
    log_file: str | None = None
    syslog: bool = False
    forward_stdio: str | None = None  # -W
    control: str | None = None  # -O
    jump: str | None = None

    def __init__(self) -> None:
        self.forwards: list[tuple[str, str]] = []  # kind, as config/forwards.py names it, and what
        self.overrides: list[options.Override] = []
        self.defaults: list[tuple[str, str]] = []  # what holds where nothing else says otherwise
        self.identities: list[str] = []


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    found = _Reader()
    words = argv
    while True:
        given, rest = TOOL.parse(words)
        for flag, value in given:
            found.option(flag, value)
            if found.asked.version or found.asked.query is not None:
                return found.asked
        ended = words[: len(words) - len(rest)][-1:] == ["--"]  # and what follows the host is the command, as it is
        if not found.asked.host and rest:
            found.destination(rest[0])
            rest = rest[1:]
            if rest and not ended:
                words = rest
                continue
        return found.finish(rest)


class _Reader:
    """One command line on its way to :class:`Arguments`."""

    def __init__(self) -> None:
        self.asked = Arguments()
        self._verbosity = 0
        self._terminals = self._masters = 0

    def option(self, flag: str, value: str) -> None:
        asked = self.asked
        if flag in _MISSING:
            raise UsageError(f"{flag}: {_MISSING[flag]}")
        if flag in _WINNING:
            asked.overrides.insert(0, _WINNING[flag])
        elif flag in _WINNING_VALUES:
            asked.overrides.insert(0, (_WINNING_VALUES[flag], value))
        elif flag in _VALUES:
            asked.overrides.append((_VALUES[flag], value))
        elif flag in _FORWARDS:
            asked.forwards.append((_FORWARDS[flag], value))
        elif flag in _OTHERS:
            _OTHERS[flag](self, value)
        # what is left switches off what there is not: -2, -k, -x
        if flag == "-f":
            asked.overrides.insert(0, _WINNING["-n"])
        elif flag == "-N":
            asked.overrides.insert(0, _WINNING["-T"])
        elif flag == "-s":
            asked.subsystem = True

    def terminal(self) -> None:
        self._terminals += 1
        self.asked.overrides.insert(0, ("RequestTTY", "yes" if self._terminals == 1 else "force"))

    def master(self) -> None:
        self._masters += 1
        self.asked.overrides.insert(0, ("ControlMaster", "yes" if self._masters == 1 else "ask"))

    def verbose(self) -> None:
        self._verbosity += 1

    def control(self, value: str) -> None:
        found = [name for name in _CONTROL if value and name.startswith(value)]
        if self.asked.control is not None:
            raise UsageError("Multiplexing command already specified")
        if len(found) != 1:
            raise UsageError("Invalid multiplex command.")
        self.asked.control = found[0]

    def stdio(self, value: str) -> None:
        if self.asked.forward_stdio is not None:
            raise UsageError("stdio forward already specified")
        self.asked.forward_stdio = value
        self.asked.overrides[:0] = [("SessionType", "none"), ("RequestTTY", "no")]
        self.asked.defaults += [("ClearAllForwardings", "yes"), ("ExitOnForwardFailure", "yes")]

    def jump(self, value: str) -> None:
        if self.asked.jump is not None:
            raise UsageError("Only a single -J option is permitted (use commas to separate multiple jump hops)")
        self.asked.jump = value
        self.asked.overrides.append(("ProxyJump", value))

    def destination(self, text: str) -> None:
        try:
            found = read_destination(text)
        except ValueError as error:
            raise UsageError(str(error), usage=True) from None
        self.asked.host = found.host
        self.asked.overrides += options.account(found.user, found.port)

    def finish(self, words: list[str]) -> Arguments:
        asked = self.asked
        if not asked.host:
            raise UsageError("a destination is needed", usage=True)
        asked.command = " ".join(words)
        if asked.subsystem and not asked.command and not asked.dump:
            raise UsageError("You must specify a subsystem to invoke.", usage=True)
        if asked.quiet:
            asked.overrides.insert(0, ("LogLevel", "QUIET"))
        elif self._verbosity:
            asked.overrides.insert(0, options.log_level(self._verbosity))
        return asked


def _set(name: str, to: Callable[[str], object] = str) -> Callable[[_Reader, str], None]:
    return lambda reader, value: setattr(reader.asked, name, to(value))


_OTHERS: Final[dict[str, Callable[[_Reader, str], None]]] = {
    "-E": _set("log_file"),
    "-F": _set("config_file"),
    "-G": _set("dump", lambda _: True),
    "-i": lambda reader, value: reader.asked.identities.append(value),
    "-J": _Reader.jump,
    "-M": lambda reader, _: reader.master(),
    "-O": _Reader.control,
    "-o": lambda reader, value: reader.asked.overrides.append(value),
    "-Q": _set("query"),
    "-q": _set("quiet", lambda _: True),
    "-t": lambda reader, _: reader.terminal(),
    "-V": _set("version", lambda _: True),
    "-v": lambda reader, _: reader.verbose(),
    "-W": _Reader.stdio,
    "-y": _set("syslog", lambda _: True),
}
