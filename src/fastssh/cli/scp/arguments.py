"""fastssh-scp's command line: scp's options, read as getopt(3) reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastssh.cli import options
from fastssh.cli.location import Local, Remote, parse
from fastssh.cli.scp import manual
from fastssh.cli.tool import Option, Tool, UsageError

TOOL: Final = Tool(
    name="fastssh-scp",
    summary="copy files over SSH, fast",
    about="""Copies files between this machine and another over SSH, with SFTP.

source and target are local paths, [user@]host:[path] or scp://[user@]host[:port][/path]. Any of them may be remote. \
Relative remote paths start at the home folder; wildcards in remote sources are expanded on the remote side. A local \
name with a colon is written `./na:me`.""",
    operands="source ... target",
    completes="remote",
    options=(
        Option("-r", "copy folders with what is in them, following links"),
        Option("-p", "keep modification and access times and mode bits"),
        Option("-q", "no progress bar, no warnings"),
        options.VERBOSE,
        Option("-P", "port of the remote host", "port"),
        options.IDENTITY,
        options.CONFIG_FILE,
        options.SETTING,
        options.CIPHERS,
        options.COMPRESS,
        options.LIMIT,
        Option("-B", "batch mode: never ask for anything"),
        options.IPV4,
        options.IPV6,
        options.JUMP,
        Option("-A", "let the remote side use the agent here; see -R"),
        Option("-3", "between two remote hosts: over this machine (default)",
               more="This machine logs in to both, and the bytes of files pass through its memory."),
        Option("-R", "between two remote hosts: with scp on the first one",
               more="The first host has to reach the second, and to be let in there without a password, with -A by the "
                    "agent here."),
        Option("-O", "the legacy SCP protocol in place of SFTP",
               more="For servers without SFTP: a shell there runs scp, and expands wildcards and a leading `~`. "
                    "Everything else in a remote name is quoted for it, so that names mean the same without -O."),
        Option("-T", "with -O, take names that were not asked for",
               more="Names of files that a server sends have to match what was asked for. Where its shell expands "
                    "wildcards in another way than this program, -T gives that check up. A name never leads out of the "
                    "target, with -T either."),
        Option("-s", "SFTP (default); the last one of -O and -s counts"),
        Option("-S", "program in place of a connection of our own, which takes the options of ssh(1)", "program",
               completes="file"),
        Option("-D", "SFTP with a server program on this machine in place of a connection", "sftp_server_path",
               completes="file"),
        Option("-X", "`nrequests=N`: so many requests of file data under way at most; `buffer=N`: bytes of a request "
                     "at most (with K or M)", "sftp_option",
               more="By default both adapt to link and server. With either there is one connection."),
        Option("--connections", "connections for large files, 1 to 8; by default up to 3 if nobody has to be asked for "
               "them; always 1 with -l", "number"),
        Option("--json", "print one summary of the copy on standard output"),
        *(Option(flag, "") for flag in ("-t", "-f", "-d")),  # the far side of -O
    ),
    more=manual.MORE,
    sections=manual.SECTIONS,
    see_also=("scp(1)", "sftp(1)", "ssh(1)", "ssh_config(5)", "fastsshd(8)"),
)


class Arguments:
    """A command line that makes sense. ``overrides`` is for :func:`fastssh.config.evaluate.load`, ``ssh_options`` says
    the same to a program like ssh(1)."""

    recurse: bool = False
    preserve: bool = False
    quiet: bool = False
    json: bool = False
    config_file: str | None = None
    port: int | None = None
    limit: int = 0  # bytes a second; 0: none
    connections: int | None = None  # None: as many as are good
    legacy: bool = False  # -O
    strict: bool = True  # not -T
    at_origin: bool = False  # -R
    forward_agent: bool = False  # -A
    program: str | None = None  # -S
    server: str | None = None  # -D
    requests: int = 0  # -X nrequests; 0: as many as are good
    buffer: int = 0  # -X buffer, in bytes; 0: what is good
    verbosity: int = 0
    far: tuple[str, ...] = ()  # -t, -f and what goes with them: this is the far side of somebody's -O

    def __init__(self) -> None:
        self.sources: list[Local | Remote] = []
        self.target: Local | Remote = Local("")
        self.overrides: list[options.Override] = []
        self.identities: list[str] = []
        self.ssh_options: list[str] = []

    @property
    def alone(self) -> bool:
        """Whether one session does it all."""
        return bool(self.limit or self.requests or self.buffer or self.connections == 1)


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    given, names = TOOL.parse(argv)
    found = Arguments()
    if any(flag in ("-t", "-f") for flag, _ in given):
        found.far = tuple(argv)
        return found
    for option, value in given:
        switch = _SWITCHES.get(option)
        if switch is not None:
            setattr(found, *switch)
        elif option in _READERS:
            name, reader = _READERS[option]
            setattr(found, name, reader(value))
        _for_ssh(found, option, value)
    if found.quiet:
        found.overrides.insert(0, ("LogLevel", "QUIET"))
    elif found.verbosity:
        found.overrides.insert(0, options.log_level(found.verbosity))
    _read_names(found, names)
    return found


_SWITCHES: Final[dict[str, tuple[str, bool]]] = {
    "--json": ("json", True),
    "-r": ("recurse", True),
    "-p": ("preserve", True),
    "-q": ("quiet", True),
    "-O": ("legacy", True),
    "-s": ("legacy", False),
    "-T": ("strict", False),
    "-3": ("at_origin", False),
    "-R": ("at_origin", True),
    "-A": ("forward_agent", True),
}

# Settings that win over -o, the last one over earlier ones, as in ssh(1).
_WINNING: Final = {
    **options.FAMILIES,
    "-C": options.COMPRESSION,
}
_AS_IT_IS: Final = ("-4", "-6", "-C", "-q", "-v")  # to a program like ssh(1)
_WITH_VALUE: Final = ("-c", "-F", "-i", "-o")


def _for_ssh(found: Arguments, option: str, value: str) -> None:
    """What concerns the connection: as settings, and as ssh(1) takes it."""
    if option == "-v":
        found.verbosity += 1
    elif option == "-X":
        setattr(found, *options.read_sftp_option(value))
    elif option == "-i":
        found.identities.append(value)
    elif option == "-o":
        found.overrides.append(value)
    elif option == "-B":
        found.overrides.append(("BatchMode", "yes"))
        found.ssh_options.append("-oBatchMode=yes")
    elif option == "-J":
        found.overrides.append(("ProxyJump", value))
        found.ssh_options.append(f"-oProxyJump={value}")
    elif option in _WINNING or option == "-c":
        found.overrides.insert(0, _WINNING.get(option, ("Ciphers", value)))
    if option in _AS_IT_IS:
        found.ssh_options.append(option)
    elif option in _WITH_VALUE:
        found.ssh_options += [option, value]


def _read_names(found: Arguments, names: list[str]) -> None:
    if len(names) < 2:
        raise UsageError("a source and a target are needed", usage=True)
    try:
        *found.sources, found.target = [parse(name) for name in names]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if found.at_origin and isinstance(found.target, Remote) and found.target.port is not None:
        raise UsageError("target port not supported with two remote hosts and the -R option")


def _read_limit(text: str) -> int:
    """-l in Kbit/s as bytes a second."""
    limit = options.number(text)
    if not 0 < limit <= options.LIMIT_MAX:
        raise UsageError(f"bad limit {text[:40]!r}", usage=True)
    return limit * 1024 // 8


def _read_connections(text: str) -> int:
    number = options.number(text)
    if not 0 < number <= options.CONNECTIONS_MAX:
        raise UsageError(f"bad number of connections {text[:40]!r}: 1 to {options.CONNECTIONS_MAX}", usage=True)
    return number


_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "--connections": ("connections", _read_connections),
    "-D": ("server", str),
    "-F": ("config_file", str),
    "-l": ("limit", _read_limit),
    "-P": ("port", lambda text: options.read_port(text, status=255)),
    "-S": ("program", str),
}
