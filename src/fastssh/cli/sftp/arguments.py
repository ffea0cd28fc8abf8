"""fastssh-sftp's command line: sftp's options, read as getopt(3) reads them."""

from __future__ import annotations

from typing import Final

from fastssh.cli.location import Remote, sftp_destination
from fastssh.cli.sftp.manual import commands_text
from fastssh.cli.tool import Option, Section, Tool, UsageError
from fastssh.config.values import port as read_port

TOOL: Final = Tool(
    name="fastssh-sftp",
    summary="transfer files over SSH, interactively or in a batch",
    about="""Works with the files of another machine over SSH, with SFTP: at a prompt, or by the commands of a file.

destination is `[user@]host[:path]` or `sftp://[user@]host[:port][/path]`. With a path that is a directory the session \
begins there; any other path is fetched, to the local name if one is given, and that is all. Numeric IPv6 addresses \
stand in brackets.""",
    operands="destination [local]",
    options=(
        Option("-b", "read commands from a file, `-` for standard input, and stop at the first that fails", "batchfile",
               more="A command with `-` before it may fail; one with `@` before it is not repeated on standard output. "
               "Nothing is asked, and nothing is said of what goes well (but see -N).", completes="file"),
        Option("-a", "continue transfers that were interrupted, in place of beginning anew",
               more="What is there already is taken to be the beginning of the same file."),
        Option("-f", "flush files to the disk after their transfer"),
        Option("-p", "keep modification and access times and mode bits"),
        Option("-r", "copy directories with what is in them; symbolic links in them are passed over"),
        Option("-q", "no progress bar, no warnings"),
        Option("-N", "not quiet, even with -b"),
        Option("-v", "say what happens; -vv and -vvv say more"),
        Option("-P", "port of the remote host", "port"),
        Option("-i", "private key to log in with", "identity_file", completes="file"),
        Option("-F", "file instead of `~/.ssh/config` and the system's", "ssh_config", completes="file"),
        Option("-J", "jump hosts on the way, comma-separated", "destination"),
        Option("-o", "a setting of ssh_config(5), e.g. `-o ConnectTimeout=5`", "ssh_option", completes="setting"),
        Option("-c", "ciphers to offer, comma-separated", "cipher", completes="cipher"),
        Option("-C", "compress"),
        Option("-A", "forward the agent"),
        Option("-4", "IPv4 only"),
        Option("-6", "IPv6 only"),
        Option("-l", "use at most this many Kbit/s", "limit"),
        Option("-B", "bytes of one read or write request; by default as much as the server takes", "buffer_size"),
        Option("-R", "requests under way at once; by default as many as the way to the server wants", "num_requests"),
        Option("-X", "`nrequests=N` or `buffer=N`, as -R and -B", "sftp_option"),
        Option("-s", "another subsystem, or with a slash in it another command, on the remote host",
               "subsystem | sftp_server"),
        Option("-D", "a local SFTP server in place of a connection, with its arguments", "sftp_server_command"),
        Option("-S", "another program than fastssh for the connection; it is called as ssh(1) is", "program",
               completes="file"),
        Option("--connections", "connections for large files, 1 to 8; by default up to 3 if nobody has to be asked for "
               "them; always 1 with -l, -B, -R, -D and -S", "number"),
        Option("-2", ""),
    ),
    sections=(
        Section("COMMANDS", commands_text()),
        Section("EXIT STATUS", "The exit status is 0, 1 when a command of a batch or the file of the command line "
                "failed, 255 when no connection could be made or it was lost, and 130 after Ctrl-C in a batch.",
                help=True),
        Section("ENVIRONMENT", "`SHELL` is the shell of ! and lls. `FASTSSH_DEBUG=1` shows where an unexpected error "
                "came from.", help=True),
    ),
    see_also=("sftp(1)", "fastssh-scp(1)", "ssh(1)", "ssh_config(5)", "fastsshd(8)"),
    completes="host",
)  # fmt: skip

_CONNECTIONS_MAX: Final = 8  # below what MaxStartups and MaxSessions of a stock server allow
_LIMIT_MAX: Final = 100 * 1024 * 1024  # Kbit/s, as sftp
_BUFFER_MAX: Final = 256 * 1024  # bytes, as sftp takes after -X
_REQUESTS_MAX: Final = 256 * 1024
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Arguments:
    """A command line that makes sense. ``overrides`` is for :func:`fastssh.config.evaluate.load`."""

    destination: Remote | None = None  # None with ``server``
    local: str | None = None
    batch: str | None = None
    resume: bool = False
    fsync: bool = False
    preserve: bool = False
    recurse: bool = False
    quiet: bool = False
    port: int | None = None
    limit: int = 0  # bytes a second; 0: none
    buffer: int = 0  # bytes of a request; 0: as is good
    requests: int = 0  # at once; 0: as is good
    connections: int | None = None  # None: as many as are good
    subsystem: str = "sftp"
    server: str | None = None  # -D
    program: str | None = None  # -S
    config_file: str | None = None

    def __init__(self) -> None:
        self.passed: list[str] = []  # options for a program of -S
        self.overrides: list[str | tuple[str, str]] = []
        self.identities: list[str] = []


_SWITCHES: Final = {
    "-a": "resume",
    "-f": "fsync",
    "-p": "preserve",
    "-r": "recurse",
}
_OVERRIDES: Final = {
    "-4": ("AddressFamily", "inet"),
    "-6": ("AddressFamily", "inet6"),
    "-A": ("ForwardAgent", "yes"),
    "-C": ("Compression", "yes"),
    "-c": ("Ciphers", ""),
    "-J": ("ProxyJump", ""),
}
_PASSED: Final = ("-4", "-6", "-A", "-C", "-F", "-J", "-c", "-i", "-o", "-q", "-v")


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    options, operands = TOOL.parse(argv)
    found = Arguments()
    verbosity = 0
    noisy = silent = False
    for option, value in options:
        if option in _PASSED:
            found.passed += [option, value] if value else [option]
        if option in _SWITCHES:
            setattr(found, _SWITCHES[option], True)
        elif option in _OVERRIDES:
            name, setting = _OVERRIDES[option]
            found.overrides.append((name, setting or value))
        else:
            match option:
                case "-b":
                    if found.batch is not None:
                        raise UsageError("Batch file already specified.", status=255)
                    found.batch, found.quiet = value, True
                    found.overrides.append(("BatchMode", "yes"))
                    found.passed.append("-obatchmode yes")
                case "-q":
                    found.quiet = silent = True
                case "-N":
                    noisy = True
                case "-v":
                    verbosity += 1
                case "-P":
                    found.port = _read_port(value)
                case "-i":
                    found.identities.append(value)
                case "-F":
                    found.config_file = value
                case "-o":
                    found.overrides.append(value)
                case "-l":
                    found.limit = _between(value, _LIMIT_MAX, "bandwidth limit") * 1024 // 8
                case "-B":
                    found.buffer = _between(value, _BUFFER_MAX, "buffer size")
                case "-R":
                    found.requests = _between(value, _REQUESTS_MAX, "number of requests")
                case "-X":
                    _read_sftp_option(found, value)
                case "-s":
                    found.subsystem = value
                case "-D":
                    found.server = value
                case "-S":
                    found.program = value
                case "--connections":
                    found.connections = _between(value, _CONNECTIONS_MAX, "number of connections")
    if verbosity:
        found.overrides.append(("LogLevel", f"DEBUG{min(verbosity, 3)}"))
    elif silent:  # a batch is quiet of its own, and warnings are still told
        found.overrides.append(("LogLevel", "ERROR"))
    found.quiet = found.quiet and not noisy
    _read_operands(found, operands)
    return found


def _read_operands(found: Arguments, operands: list[str]) -> None:
    if found.server is not None:
        return  # what stands there is passed over, as sftp does
    if not 1 <= len(operands) <= 2:
        raise UsageError("a destination is missing" if not operands else "too many names", usage=True)
    try:
        found.destination = sftp_destination(operands[0])
    except ValueError as error:
        raise UsageError(str(error), usage=True) from None
    found.local = operands[1] if len(operands) == 2 else None


def _read_port(text: str) -> int:
    try:
        return read_port([text])
    except ValueError:
        raise UsageError(f'Bad port "{text}"', status=255) from None


def _read_sftp_option(found: Arguments, text: str) -> None:
    name, equals, value = text.partition("=")
    if name == "buffer" and equals:
        unit = _UNITS.get(value[-1:].lower(), 0)
        found.buffer = _between(str(int(value[:-1]) * unit) if unit and _is_number(value[:-1]) else value,
                                _BUFFER_MAX, "buffer size")  # fmt: skip
    elif name == "nrequests" and equals:
        found.requests = _between(value, _REQUESTS_MAX, "number of requests")
    else:
        raise UsageError("Invalid -X option", status=255)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def _between(text: str, most: int, what: str) -> int:
    """A number from 1 to ``most``."""
    if not _is_number(text) or not 1 <= int(text) <= most:
        raise UsageError(f'Invalid {what} "{text}"', status=255)
    return int(text)
