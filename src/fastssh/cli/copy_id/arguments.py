"""fastssh-copy-id's command line: ssh-copy-id's, whose -i may stand without a value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from fastssh.cli import options
from fastssh.cli.tool import Option, Section, Tool, UsageError
from fastssh.config.destination import Destination, read_destination

TOOL: Final = Tool(
    name="fastssh-copy-id",
    summary="install your public keys on a server",
    about="""Lets your keys log in to a server: tries which of them do so already, and adds the others to \
~/.ssh/authorized_keys there, over one connection, so that a password is asked for once.

Without -i the keys are those that your agent holds, or if it holds none the newest of `~/.ssh/id*.pub`.""",
    more="""The file on the server is replaced as a whole, or not at all: a connection that breaks leaves it as it \
was. A last line without a newline is ended first. The folder `.ssh` gets mode 0700 and the file 0600, but one of \
another name keeps its mode; what is missing is made. A file of another user's stays that user's.

Keys are installed by a few commands of sh(1), whatever shell the account has. Where no command may be run, or there \
is no such shell, -s does the same over SFTP.""",
    operands="[user@]hostname",
    options=(
        Option("-f", "install keys without trying which are there already; no private key is needed"),
        Option("-n", "dry run: print the keys that would be installed"),
        Option("-s", "over SFTP instead of with commands"),
        Option("-x", "say what happens"),
        Option("-i", "the key in this file and no other; `.pub` is added. Without a file: the newest of "
               "`~/.ssh/id*.pub`", "[identity_file]", completes="file"),
        Option("-t", "path on the server instead of `.ssh/authorized_keys`", "target_path"),
        options.CONFIG_FILE,
        options.SETTING,
        Option("-p", "port of the server", "port"),
        Option("-h", ""),
    ),
    sections=(
        Section("EXIT STATUS", "The exit status is 0 when the keys were installed or there already, else 1.",
                help=True),
        Section("FILES", "`~/.ssh/id*.pub`: the newest one that is not a certificate is the default key."),
        Section("EXAMPLES", "Your key, to a server on another port: `fastssh-copy-id -p 2222 me@host.example`\n\n"
                "One key, over SFTP: `fastssh-copy-id -s -i ~/.ssh/id_work me@host.example`"),
    ),
    see_also=("ssh-copy-id(1)", "fastssh(1)", "sshd(8)"),
    completes="host",
)  # fmt: skip

TARGET: Final = ".ssh/authorized_keys"
_VALUED: Final = frozenset("oFtp")


class Arguments:
    """A command line that makes sense. ``identity``: None without -i, "" for the default file."""

    host: str = ""  #: as it was written
    identity: str | None = None
    force: bool = False
    dry_run: bool = False
    sftp: bool = False
    target: str = TARGET
    port: int | None = None
    config_file: str | None = None

    def __init__(self) -> None:
        self.destination = Destination("")
        self.overrides: list[options.Override] = []
        self.given: list[str] = []  #: -F and -o as they were written, for the last message


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    given, operands = TOOL.parse(list(_with_values(argv)))
    found = Arguments()
    debug = False
    for option, value in given:
        match option:
            case "-f":
                found.force = True
            case "-n":
                found.dry_run = True
            case "-s":
                found.sftp = True
            case "-x":
                debug = True
            case "-i":
                if found.identity is not None:
                    raise UsageError("ERROR: -i option must not be specified more than once", usage=True)
                found.identity = value
            case "-t":
                found.target = value
            case "-F":
                found.config_file = value
                found.given += ["-F", value]
            case "-o":
                found.overrides.append(value)
                found.given += ["-o", value]
            case "-p":
                found.port = options.read_port(value)
            case _:
                raise UsageError(TOOL.summary, usage=True)
    if not found.target or "\0" in found.target or found.target.endswith("/"):
        raise UsageError(f"ERROR: bad target path {found.target!r}")
    if found.target.startswith("-"):
        found.target = f"./{found.target}"
    if debug:
        found.overrides.insert(0, options.log_level(1))
    found.host = _host(operands)
    try:
        found.destination = read_destination(found.host)
    except ValueError as error:
        raise UsageError(f"ERROR: {error}") from None
    found.overrides += [*options.account(None, found.port), *options.account(*found.destination[1:])]
    return found


def _with_values(argv: list[str]) -> Iterator[str]:
    """``argv`` with a value behind each -i: the next word, unless that is an option or the host."""
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] not in ("-", "--"):
        word = argv[at]
        at += 1
        if word.startswith("--"):
            yield word
            continue
        for place, letter in enumerate(word[1:], 1):
            if letter in _VALUED:
                yield f"-{word[place:]}"
                if place == len(word) - 1 and at < len(argv):
                    yield argv[at]
                    at += 1
                break
            yield f"-{letter}"
            if letter == "i":
                has_value = place == len(word) - 1 and at < len(argv) - 1 and not argv[at].startswith("-")
                yield argv[at] if has_value else ""
                at += has_value
    yield from argv[at:]


def _host(operands: list[str]) -> str:
    if not operands or not operands[0]:
        raise UsageError("a host is needed", usage=True)
    if len(operands) > 1:
        shown = " ".join(operands)
        raise UsageError(
            f"ERROR: Too many arguments.  Expecting a target hostname, got: {shown}", usage=True
        )
    host = operands[0]
    if host.endswith(".pub") and os.path.exists(host):
        raise UsageError(f'ERROR: Missing hostname. Use "-i -- {host}" if you really mean to use this as the hostname')
    return host
