"""fastsshd's command line: sshd's options, read as getopt(3) reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final, TypeAlias

from fastssh.cli.sshd import manual
from fastssh.cli.tool import Asked, Option, Tool, UsageError
from fastssh.config.server.match import ConnectionFacts
from fastssh.config.values import port as read_port

TOOL: Final = Tool(
    name="fastsshd",
    section=8,
    failed=255,  # as sshd's
    summary="SSH server",
    about="""Serves SSH: shells, commands and SFTP. It takes sshd's options and sshd_config.

Started by an ordinary user without a configuration file it serves that user, on port 2222 unless -p says otherwise, \
with the keys in `~/.ssh/authorized_keys`, and makes itself a host key in `~/.local/state/fastssh`.""",
    completes="",
    options=(
        Option("-f", "configuration; as root `/etc/ssh/sshd_config` without it", "config_file", completes="file"),
        Option("-p", "listen here; can be given several times", "port"),
        Option("-h", "host key; can be given several times", "host_key_file", completes="file"),
        Option("-c", "certificate of a host key; can be given several times", "host_cert_file", completes="file"),
        Option("-o", "a setting of sshd_config(5), e.g. `-o PasswordAuthentication=no`", "option",
               completes="server setting"),
        Option("-D", "stay in the foreground; the log goes to standard error"),
        Option("-e", "the log goes to standard error"),
        Option("-E", "the log is appended to a file", "log_file", completes="file"),
        Option("-d", "debug: stay in the foreground, tell more, serve one connection"),
        Option("-q", "log nothing"),
        Option("-i", "serve one connection on standard input and output"),
        Option("-g", "LoginGraceTime", "seconds"),
        Option("-4", "IPv4 only"),
        Option("-6", "IPv6 only"),
        Option("-t", "check configuration and host keys, and leave"),
        Option("-T", "the same, and print the configuration; -C says for whom"),
        Option("-G", "print the configuration without looking at host keys"),
        Option("-C", "`user=`, `host=`, `addr=`, `laddr=`, `lport=`, `rdomain=`, separated by commas",
               "connection_spec"),
        Option("-V", "show the versions of fastssh and of the libraries it uses"),
        # without a meaning here: taken as sshd takes its own old ones
        *(Option(flag, "") for flag in ("-r", "-R", "-Q")),
        *(Option(flag, "", "value") for flag in ("-b", "-k", "-u")),
    ),
    more=manual.MORE,
    sections=manual.SECTIONS,
    see_also=("sshd(8)", "sshd_config(5)", "fastssh-scp(1)"),
)
_FACTS: Final = {
    "user": "user", "host": "host", "addr": "address", "laddr": "local_address", "rdomain": "rdomain",
}  # fmt: skip


@dataclass
class Arguments:
    """A command line that makes sense. ``overrides`` and ``ports`` are for fastssh.config.server.evaluate.load."""

    action: str = "serve"  # or "test", "print" (-T), "print only" (-G)
    config: str | None = None
    overrides: list[str | tuple[str, str]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    facts: ConnectionFacts | None = None
    foreground: bool = False
    to_stderr: bool = False
    log_file: str | None = None
    debug: bool = False
    quiet: bool = False
    inetd: bool = False


_Taker: TypeAlias = Callable[[Arguments, str], None]


def read(argv: list[str]) -> Arguments:
    """The meaning of ``argv`` (without the program's name). Raises UsageError, Asked."""
    options, rest = TOOL.parse(argv)
    if rest:
        raise UsageError(f"Extra argument {rest[0]}.")
    found = Arguments()
    try:
        for option, value in options:
            if option in _TAKE:
                _TAKE[option](found, value)
    except ValueError as error:
        raise UsageError(f"{option} {value}: {error}") from None
    return found


def _action(name: str) -> _Taker:
    def take(found: Arguments, value: str) -> None:
        found.action = name

    return take


def _flag(name: str) -> _Taker:
    def take(found: Arguments, value: str) -> None:
        setattr(found, name, True)

    return take


def _setting(keyword: str, fixed: str | None = None) -> _Taker:
    def take(found: Arguments, value: str) -> None:
        found.overrides.append((keyword, value if fixed is None else fixed))

    return take


def _config(found: Arguments, value: str) -> None:
    if not value:
        raise ValueError("no file name")
    found.config = os.path.abspath(value)  # the server leaves this folder


def _log_file(found: Arguments, value: str) -> None:
    found.log_file = os.path.abspath(value)


def _port(found: Arguments, value: str) -> None:
    found.ports.append(read_port([value]))


def _override(found: Arguments, value: str) -> None:
    found.overrides.append(value)


def _debug(found: Arguments, value: str) -> None:
    found.debug = found.foreground = found.to_stderr = True


def _foreground(found: Arguments, value: str) -> None:
    found.foreground = found.to_stderr = True


def _version(found: Arguments, value: str) -> None:
    raise Asked("version")


def _connection(found: Arguments, value: str) -> None:
    facts = {} if found.facts is None else asdict(found.facts)
    for part in value.removesuffix(",").split(","):  # scripts that put specs together leave a comma
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not name=value")
        if name == "lport":
            facts["local_port"] = read_port([text])
        elif name in _FACTS:
            facts[_FACTS[name]] = text
        else:
            raise ValueError(f"{name!r} is not one of {', '.join((*_FACTS, 'lport'))}")
    found.facts = ConnectionFacts(**facts)


_TAKE: Final[dict[str, _Taker]] = {
    "-4": _setting("AddressFamily", "inet"),
    "-6": _setting("AddressFamily", "inet6"),
    "-C": _connection,
    "-c": _setting("HostCertificate"),
    "-D": _foreground,
    "-d": _debug,
    "-E": _log_file,
    "-e": _flag("to_stderr"),
    "-f": _config,
    "-G": _action("print only"),
    "-g": _setting("LoginGraceTime"),
    "-h": _setting("HostKey"),
    "-i": _flag("inetd"),
    "-o": _override,
    "-p": _port,
    "-q": _flag("quiet"),
    "-T": _action("print"),
    "-t": _action("test"),
    "-V": _version,
}
