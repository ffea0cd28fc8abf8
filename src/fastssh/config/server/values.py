"""Values that only sshd_config(5) has, and their readers, which raise ValueError with the reason."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from fastssh.aio.forwarding.gateway import GatewayPorts as GatewayPorts  # one of the kinds of values
from fastssh.config.lexer import join_arguments, split_arguments
from fastssh.config.tokens import check_host, expand, expand_home
from fastssh.config.values import choice, files, number, port, text, words
from fastssh.keys.addresses import check_address_list
from fastssh.keys.endpoint import Endpoint

T = TypeVar("T")

MAX_ADDENDUM: Final = 200  # characters, so that the identification line keeps to RFC 4253 section 4.2


# -- words -------------------------------------------------------------------------------------------------------------


class AddressFamily(Enum):
    ANY = "any"
    INET = "inet"
    INET6 = "inet6"


class PermitRootLogin(Enum):
    YES = "yes"
    PROHIBIT_PASSWORD = "prohibit-password"
    FORCED_COMMANDS_ONLY = "forced-commands-only"
    NO = "no"


class AllowForwarding(Enum):
    """What AllowTcpForwarding and AllowStreamLocalForwarding permit; local and remote are as the client sees them."""

    YES = "yes"
    NO = "no"
    LOCAL = "local"
    REMOTE = "remote"

    @property
    def local(self) -> bool:
        return self in (AllowForwarding.YES, AllowForwarding.LOCAL)

    @property
    def remote(self) -> bool:
        return self in (AllowForwarding.YES, AllowForwarding.REMOTE)


class SyslogFacility(Enum):
    DAEMON = "daemon"
    USER = "user"
    AUTH = "auth"
    AUTHPRIV = "authpriv"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"


class FingerprintHash(Enum):
    MD5 = "md5"
    SHA256 = "sha256"


def yes_no(arguments: Sequence[str]) -> bool:
    """yes or no; sshd, unlike ssh, takes no true and false."""
    return choice("yes", "no")(arguments) == "yes"


def only_no(arguments: Sequence[str]) -> bool:
    """What fastssh does not do: no."""
    if yes_no(arguments):
        raise ValueError("only 'no' is supported")
    return False


def compression(arguments: Sequence[str]) -> bool:
    """yes or delayed, which are the same, or no."""
    return choice("no", yes=("delayed",))(arguments) == "yes"


# -- names of files ----------------------------------------------------------------------------------------------------


def _from_home(path: str) -> str:
    """``path`` with a leading ``~`` as the home of whoever runs the server; the password database says where."""
    if not path.startswith("~"):
        return path
    try:
        return expand_home(path, pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise ValueError(f"no user exists for uid {os.getuid()}") from None


def _absolute(path: str) -> str:
    """``path`` from the folder that the server was started in."""
    path = _from_home(path)
    try:
        return path if path.startswith("/") else os.path.join(os.getcwd(), path)
    except OSError as error:
        raise ValueError(f"{path!r}: the current directory: {error.strerror}") from None


def file(arguments: Sequence[str]) -> str | None:
    """An absolute file name; None for ``none``."""
    name = text(arguments)
    return None if name.lower() == "none" else _absolute(name)


def one_file(arguments: Sequence[str]) -> tuple[str, ...]:
    """file(), for directives whose occurrences add up."""
    name = file(arguments)
    return () if name is None else (name,)


def absolute_files(arguments: Sequence[str]) -> tuple[str, ...]:
    """Absolute file names; none for ``none``."""
    return tuple(_absolute(name) for name in files(arguments))


def user_files(arguments: Sequence[str]) -> tuple[str, ...]:
    """File names that may be relative to the home of the user who logs in; none for ``none``."""
    return tuple(_from_home(name) for name in files(arguments))


def user_file(arguments: Sequence[str]) -> str | None:
    """One of user_files()."""
    return next(iter(user_files(arguments)), None)


def root_directory(arguments: Sequence[str]) -> str | None:
    """ChrootDirectory: an absolute path, once the tokens in it stand for something; None for ``none``."""
    name = text(arguments)
    if name.lower() == "none":
        return None
    if not name.startswith(("/", "%h")):
        raise ValueError(f"{name!r} is not an absolute path")
    return name


def with_tokens(allowed: str, read: Callable[[Sequence[str]], T]) -> Callable[[Sequence[str]], T]:
    """``read`` for arguments in which the %-tokens ``allowed`` may stand; they are expanded when the user is known."""
    names = {token: lambda: "" for token in allowed}

    def checked(arguments: Sequence[str]) -> T:
        for argument in arguments:
            expand(argument, names)
        return read(arguments)

    return checked


# -- commands ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """A program that the server runs itself: ``text`` as written, ``arguments`` in which tokens are still tokens."""

    text: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


def command(arguments: Sequence[str]) -> Command | None:
    """The rest of a line as a program with an absolute path and its arguments; None for ``none``."""
    if arguments[0].lower() == "none":
        return None
    if not arguments[0].startswith("/"):
        raise ValueError("the command must have an absolute path")
    return Command(arguments[0], tuple(split_arguments(arguments[0], comments=False)))


def shell_command(arguments: Sequence[str]) -> str | None:
    """The rest of a line, for the user's shell; None for ``none``."""
    return None if arguments[0].lower() == "none" else text(arguments)


class Subsystem(NamedTuple):
    """A subsystem and what runs for it; ``internal-sftp`` as the first argument means the server itself."""

    name: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The arguments as one text for the user's shell."""
        return join_arguments(self.arguments)

    def __str__(self) -> str:
        return f"{self.name} {self.command}"


def subsystem(arguments: Sequence[str]) -> tuple[Subsystem, ...]:
    """A name, a program and its arguments."""
    if not arguments[0] or not arguments[1]:
        raise ValueError("a name or a command is empty")
    return (Subsystem(arguments[0], tuple(arguments[1:])),)


def first_of_each_name(values: Iterable[tuple[Subsystem, ...]]) -> tuple[Subsystem, ...]:
    """Subsystems from several lines: of those with the same name the first stands."""
    found: dict[str, Subsystem] = {}
    for each in (each for value in values for each in value):
        found.setdefault(each.name, each)
    return tuple(found.values())


# -- addresses and ports -----------------------------------------------------------------------------------------------


class ListenAddress(NamedTuple):
    """A host's name or address, and a port; 0 stands for every Port."""

    host: str
    port: int

    def __str__(self) -> str:
        return str(Endpoint(self.host, self.port))


def _host_and_port(argument: str) -> tuple[str, str | None]:
    """The parts of ``host:port``, ``[host]:port`` or either without its port."""
    if argument.startswith("["):
        host, bracket, rest = argument[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{argument!r} is not [host]:port")
        return check_host(host), rest[1:] if rest else None
    host, colon, after = argument.partition(":")
    return check_host(host), after if colon else None


def ports(arguments: Sequence[str]) -> tuple[int, ...]:
    """port(), for a directive whose occurrences add up."""
    return (port(arguments),)


def listen_address(arguments: Sequence[str]) -> tuple[ListenAddress, ...]:
    """``host``, ``host:port``, ``[host]:port`` or a bare IPv6 address."""
    argument = text(arguments)
    if "[" not in argument and argument.count(":") > 1:
        return (ListenAddress(check_host(argument), 0),)
    host, after = _host_and_port(argument)
    return (ListenAddress(host, 0 if after is None else port([after])),)


def destinations(arguments: Sequence[str]) -> tuple[Endpoint, ...] | None:
    """PermitOpen: places as ``host:port``, where ``*`` is any; None for ``any``, nothing for ``none``."""
    if arguments[0] in ("any", "none"):
        if len(arguments) > 1:
            raise ValueError(f"{arguments[0]!r} must stand alone")
        return None if arguments[0] == "any" else ()
    return tuple(_destination(argument) for argument in arguments)


def _destination(argument: str) -> Endpoint:
    host, after = _host_and_port(argument)
    if after is None:
        raise ValueError(f"{argument!r} has no port")
    return Endpoint(host, None if after == "*" else port([after]))


def listeners(arguments: Sequence[str]) -> tuple[Endpoint, ...] | None:
    """PermitListen: as destinations(), and a port alone stands for every host."""
    alone = arguments[0] in ("any", "none")
    return destinations([each if alone or ":" in each else f"*:{each}" for each in arguments])


def address_list(arguments: Sequence[str]) -> tuple[str, ...]:
    """A comma-separated list of addresses, networks and patterns; nothing for ``none``."""
    if arguments[0].lower() == "none":
        return ()
    patterns = tuple(arguments[0].split(","))
    check_address_list(patterns)
    return patterns


# -- users -------------------------------------------------------------------------------------------------------------


def account(arguments: Sequence[str]) -> str | None:
    """The name of a user of this machine; None for ``none``."""
    name = text(arguments)
    return None if name.lower() == "none" else name


def user_patterns(arguments: Sequence[str]) -> tuple[str, ...]:
    """Patterns of users, or ``user@hosts`` with a list of hosts' names and addresses after the last ``@``."""
    for pattern in words(arguments):
        _, at, hosts = pattern.rpartition("@")
        if at:
            check_address_list(hosts.split(","))
    return tuple(arguments)


def method_lists(arguments: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """AuthenticationMethods: lists of methods, any of which is enough; nothing for ``any``."""
    if "any" in arguments:
        if len(arguments) > 1:
            raise ValueError("'any' must stand alone")
        return ()
    lists = tuple(tuple(argument.split(",")) for argument in arguments)
    for method in (method for methods in lists for method in methods):
        if method not in ("publickey", "password", "keyboard-interactive", "keyboard-interactive:pam", "none"):
            raise ValueError(f"{method!r} is not an authentication method that fastssh has")
    return lists


TOUCH_REQUIRED: Final = "touch-required"
VERIFY_REQUIRED: Final = "verify-required"


def pubkey_auth_options(arguments: Sequence[str]) -> tuple[str, ...]:
    """PubkeyAuthOptions: what is asked of every security key; ``none`` asks for nothing."""
    names = {name.lower() for name in words(arguments)}
    known = (TOUCH_REQUIRED, VERIFY_REQUIRED)
    if unknown := names - {"none", *known}:
        raise ValueError(f"{min(unknown)!r} is not one of none, {', '.join(known)}")
    return tuple(name for name in known if name in names)


# -- the environment ---------------------------------------------------------------------------------------------------


def environment_patterns(arguments: Sequence[str]) -> tuple[str, ...]:
    """AcceptEnv: patterns of variables' names."""
    if any("=" in name for name in words(arguments)):
        raise ValueError("a variable's name holds '='")
    return tuple(arguments)


def environment_values(arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """SetEnv: ``NAME=VALUE``; of values for the same name the first stands."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not name or not equals:
            raise ValueError(f"{argument!r} is not NAME=VALUE")
        found.setdefault(name, value)
    return tuple(found.items())


def user_environment(arguments: Sequence[str]) -> tuple[str, ...]:
    """PermitUserEnvironment: ``yes``, ``no`` or a pattern list of names; nothing for no."""
    match text(arguments):
        case "yes":
            return ("*",)
        case "no":
            return ()
        case patterns:
            return tuple(patterns.split(","))


# -- numbers -----------------------------------------------------------------------------------------------------------


def number_or_none(arguments: Sequence[str]) -> int | None:
    """number(); None for ``none``."""
    return None if arguments[0].lower() == "none" else number(arguments)


def rsa_size(arguments: Sequence[str]) -> int:
    """Bits; 1024 at the least, as sshd has it."""
    return max(1024, number(arguments))


def mask(arguments: Sequence[str]) -> int:
    """A file creation mask in octal."""
    if not re.fullmatch(r"0*[0-7]{1,3}", arguments[0], re.ASCII):
        raise ValueError(f"{arguments[0]!r} is not a mask in octal")
    return int(arguments[0], 8)


# -- the version line --------------------------------------------------------------------------------------------------


def version_addendum(arguments: Sequence[str]) -> str | None:
    """The rest of a line, up to a comment; None for ``none``."""
    addendum = arguments[0].partition("#")[0].rstrip()
    if addendum.lower() in ("", "none"):
        return None
    if len(addendum) > MAX_ADDENDUM or not addendum.isascii() or not addendum.isprintable():
        raise ValueError(f"not at most {MAX_ADDENDUM} printable ASCII characters")
    return addendum
