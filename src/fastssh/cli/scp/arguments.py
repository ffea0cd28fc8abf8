"""fastssh-scp's command line: scp's options, read as getopt(3) reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fastssh.cli.location import Local, Remote, parse
from fastssh.cli.scp import manual
from fastssh.cli.tool import Option, Tool, UsageError
from fastssh.config.values import port as read_port

TOOL: Final = Tool(
    name="fastssh-scp",
    summary="copy files over SSH, fast",
    about="""Copies files between this machine and another over SSH, with SFTP.

source and target are local paths, [user@]host:[path] or scp://[user@]host[:port][/path]. Either the sources or the \
target are remote. Relative remote paths start at the home folder; wildcards in remote sources are expanded on the \
remote side. A local name with a colon is written `./na:me`.""",
    operands="source ... target",
    completes="remote",
    options=(
        Option("-r", "copy folders with what is in them, following links"),
        Option("-p", "keep modification and access times and mode bits"),
        Option("-q", "no progress bar, no warnings"),
        Option("-v", "say what happens; -vv and -vvv say more"),
        Option("-P", "port of the remote host", "port"),
        Option("-i", "private key to log in with", "identity_file", completes="file"),
        Option("-F", "file instead of `~/.ssh/config` and the system's", "ssh_config", completes="file"),
        Option("-o", "a setting of ssh_config(5), e.g. `-o ConnectTimeout=5`", "ssh_option", completes="setting"),
        Option("-c", "ciphers to offer, comma-separated", "cipher", completes="cipher"),
        Option("-C", "compress"),
        Option("-l", "use at most this many Kbit/s", "limit"),
        Option("-B", "batch mode: never ask for anything"),
        Option("-4", "IPv4 only"),
        Option("-6", "IPv6 only"),
        Option("-T", "as in scp; names are always checked"),
        Option("-s", "as in scp; SFTP is always used"),
        Option("-X", "`nrequests=N` or `buffer=N`; taken, but both adapt anyway", "sftp_option"),
        Option("--connections", "connections for large files, 1 to 8; by default up to 3 if nobody has to be asked for "
               "them; always 1 with -l", "number"),
        Option("--json", "print one summary of the copy on standard output"),
        *(Option(flag, "", value) for flag, value in (("-3", ""), ("-A", ""), ("-D", "path"), ("-J", "destination"),
                                                     ("-O", ""), ("-R", ""), ("-S", "program"))),
    ),
    more=manual.MORE,
    sections=manual.SECTIONS,
    see_also=("scp(1)", "sftp(1)", "ssh(1)", "ssh_config(5)", "fastsshd(8)"),
)

# scp's options that fastssh-scp does not have, and what they ask for.
_NOT_YET: Final = {
    "-3": "copying between two remote hosts",
    "-A": "agent forwarding",
    "-D": "a local sftp server",
    "-J": "a jump host",
    "-O": "the legacy SCP protocol",
    "-R": "copying between two remote hosts",
    "-S": "another ssh program",
}
_CONNECTIONS_MAX: Final = 8  # below what MaxStartups and MaxSessions of a stock server allow
_LIMIT_MAX: Final = 100 * 1024 * 1024  # Kbit/s, as scp


@dataclass
class Arguments:
    """A command line that makes sense. ``overrides`` is for :func:`fastssh.config.evaluate.load`."""

    sources: list[Local | Remote] = field(default_factory=list)
    target: Local | Remote = field(default_factory=lambda: Local(""))
    recurse: bool = False
    preserve: bool = False
    quiet: bool = False
    json: bool = False
    config_file: str | None = None
    port: int | None = None
    limit: int = 0  # bytes a second; 0: none
    connections: int | None = None  # None: as many as are good
    overrides: list[str | tuple[str, str]] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    options, names = TOOL.parse(argv)
    found = Arguments()
    verbosity = 0
    for option, value in options:
        match option:
            case "--json":
                found.json = True
            case "--connections":
                found.connections = _read_connections(value)
            case "-r":
                found.recurse = True
            case "-p":
                found.preserve = True
            case "-q":
                found.quiet = True
            case "-v":
                verbosity += 1
            case "-P":
                found.port = _read_port(value)
            case "-l":
                found.limit = _read_limit(value)
            case "-F":
                found.config_file = value
            case "-i":
                found.identities.append(value)
            case "-o":
                found.overrides.append(value)
            case "-X":
                _check_sftp_option(value)
            case "-T" | "-s":
                pass  # names are always checked, and SFTP is the only protocol
            case "-B":
                found.overrides.append(("BatchMode", "yes"))
            case "-C" | "-c" | "-4" | "-6":  # these win over -o, and the last over earlier ones, as in ssh(1)
                found.overrides.insert(0, _WINNING.get(option, ("Ciphers", value)))
            case _:
                raise UsageError(f"{option}: {_NOT_YET[option]} is not supported yet")
    if found.quiet:
        found.overrides.insert(0, ("LogLevel", "QUIET"))
    elif verbosity:
        found.overrides.insert(0, ("LogLevel", f"DEBUG{min(verbosity, 3)}"))
    _read_names(found, names)
    return found


_WINNING: Final = {
    "-4": ("AddressFamily", "inet"),
    "-6": ("AddressFamily", "inet6"),
    "-C": ("Compression", "yes"),
}


def _read_names(found: Arguments, names: list[str]) -> None:
    if len(names) < 2:
        raise UsageError("a source and a target are needed", usage=True)
    try:
        *found.sources, found.target = [parse(name) for name in names]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if isinstance(found.target, Remote) and any(isinstance(source, Remote) for source in found.sources):
        raise UsageError("copying between two remote hosts is not supported yet")


def _read_port(text: str) -> int:
    try:
        return read_port([text])
    except ValueError as error:
        raise UsageError(str(error), status=255) from None  # scp's status


def _read_limit(text: str) -> int:
    """-l in Kbit/s as bytes a second."""
    limit = _read_number(text)
    if not 0 < limit <= _LIMIT_MAX:
        raise UsageError(f"bad limit {text[:40]!r}", usage=True)
    return limit * 1024 // 8


def _read_connections(text: str) -> int:
    number = _read_number(text)
    if not 0 < number <= _CONNECTIONS_MAX:
        raise UsageError(f"bad number of connections {text[:40]!r}: 1 to {_CONNECTIONS_MAX}", usage=True)
    return number


def _check_sftp_option(text: str) -> None:
    name, _, value = text.partition("=")
    if name not in ("nrequests", "buffer"):
        raise UsageError(f"invalid SFTP option {text!r}")
    if not _read_number(value[:-1] if value[-1:] in tuple("kKmM") else value):
        raise UsageError(f"invalid value in SFTP option {text!r}")


def _read_number(text: str) -> int:
    """A number of at most 12 digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0
