"""fastssh-scp's command line: scp's options, read as getopt(3) reads them."""

from __future__ import annotations

import getopt
from dataclasses import dataclass, field
from typing import Final

from fastssh.cli.location import Local, Remote, parse
from fastssh.config.values import port as read_port

USAGE: Final = """\
usage: fastssh-scp [-46BCpqrTv] [-c cipher] [-F ssh_config] [-i identity_file]
                   [-l limit] [-o ssh_option] [-P port] [-X sftp_option]
                   [--connections number] [--json] source ... target
       fastssh-scp --help | --version
"""

HELP: Final = """\
Copies files between this machine and another over SSH, with SFTP.

source and target are local paths, [user@]host:[path] or
scp://[user@]host[:port][/path]. Either the sources or the target are remote.
Relative remote paths start at the home folder; wildcards in remote sources are
expanded on the remote side. A local name with a colon is written ./na:me.

  -r                copy folders with what is in them, following links
  -p                keep modification and access times and mode bits
  -q                no progress bar, no warnings
  -v                say what happens; -vv and -vvv say more
  -P port           port of the remote host
  -i identity_file  private key to log in with
  -F ssh_config     file instead of ~/.ssh/config and the system's
  -o ssh_option     a setting of ssh_config(5), e.g. -o ConnectTimeout=5
  -c cipher         ciphers to offer, comma-separated
  -C                compress
  -l limit          use at most this many Kbit/s
  -B                batch mode: never ask for anything
  -4, -6            IPv4 or IPv6 only
  -T, -s            as in scp; names are always checked, SFTP always used
  -X sftp_option    nrequests=N or buffer=N; taken, but both adapt anyway
  --connections N   connections for large files, 1 to 8; by default up to 3 if
                    nobody has to be asked for them; always 1 with -l
  --json            print one summary of the copy on standard output
  --help            show this
  --version         show versions of fastssh and of the libraries it uses

The exit status is 0 when everything was copied, 1 when something was not,
255 when no connection could be made, and 130 after Ctrl-C.
FASTSSH_DEBUG=1 in the environment shows where an unexpected error came from.
"""

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
_OPTIONS: Final = "346ABCOpqRrsTvc:D:F:i:J:l:o:P:S:X:"
_CONNECTIONS_MAX: Final = 8  # below what MaxStartups and MaxSessions of a stock server allow
_LIMIT_MAX: Final = 100 * 1024 * 1024  # Kbit/s, as scp


class UsageError(Exception):
    """A command line that cannot be understood. ``usage`` says whether the usage is worth showing."""

    def __init__(self, text: str, *, usage: bool = False, status: int = 1) -> None:
        super().__init__(text)
        self.usage, self.status = usage, status


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
    action: str = "copy"  # or "help", "version"


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError."""
    try:
        options, names = getopt.getopt(argv, _OPTIONS, ["connections=", "help", "json", "version"])
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires argument" in error.msg else "unknown option"
        raise UsageError(f"{what} -- {error.opt}", usage=True) from None
    found = Arguments()
    verbosity = 0
    for option, value in options:
        match option:
            case "--help" | "--version":
                found.action = option[2:]
                return found
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
