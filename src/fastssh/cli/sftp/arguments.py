"""fastssh-sftp's command line: sftp's options, read as getopt(3) reads them."""

from __future__ import annotations

from typing import Final

from fastssh.cli import options
from fastssh.cli.location import Remote, sftp_destination
from fastssh.cli.sftp.manual import commands_text
from fastssh.cli.tool import Option, Section, Tool, UsageError

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
        options.VERBOSE,
        Option("-P", "port of the remote host", "port"),
        options.IDENTITY,
        options.CONFIG_FILE,
        options.JUMP,
        options.SETTING,
        options.CIPHERS,
        options.COMPRESS,
        Option("-A", "forward the agent"),
        options.IPV4,
        options.IPV6,
        options.LIMIT,
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
        self.overrides: list[options.Override] = []
        self.identities: list[str] = []

    @property
    def alone(self) -> bool:
        """Whether one session does it all."""
        return bool(self.limit or self.requests or self.buffer or self.connections == 1)


_SWITCHES: Final = {
    "-a": "resume",
    "-f": "fsync",
    "-p": "preserve",
    "-r": "recurse",
}
_OVERRIDES: Final = {
    **options.FAMILIES,
    "-A": ("ForwardAgent", "yes"),
    "-C": options.COMPRESSION,
    "-c": ("Ciphers", ""),
    "-J": ("ProxyJump", ""),
}
_PASSED: Final = ("-4", "-6", "-A", "-C", "-F", "-J", "-c", "-i", "-o", "-q", "-v")


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    given, operands = TOOL.parse(argv)
    found = Arguments()
    verbosity = 0
    noisy = silent = False
    for option, value in given:
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
                    found.port = options.read_port(value, 'Bad port "{}"', status=255)
                case "-i":
                    found.identities.append(value)
                case "-F":
                    found.config_file = value
                case "-o":
                    found.overrides.append(value)
                case "-l":
                    found.limit = options.between(value, options.LIMIT_MAX, "bandwidth limit") * 1024 // 8
                case "-B":
                    found.buffer = options.between(value, options.BUFFER_MAX, "buffer size")
                case "-R":
                    found.requests = options.between(value, options.REQUESTS_MAX, "number of requests")
                case "-X":
                    setattr(found, *options.read_sftp_option(value))
                case "-s":
                    found.subsystem = value
                case "-D":
                    found.server = value
                case "-S":
                    found.program = value
                case "--connections":
                    found.connections = options.between(value, options.CONNECTIONS_MAX, "number of connections")
    if verbosity:
        found.overrides.append(options.log_level(verbosity))
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
