"""How a setting of sshd_config(5) is described, and the directives that fastssh knows without following them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any, Final, TypeVar

from fastssh import algorithms
from fastssh.config.algorithm_lists import LISTS
from fastssh.config.table import Directive, by_name
from fastssh.config.values import text, words

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Element = TypeVar("Element")

_KEY: Final = "directive"


# -- what several lines make -------------------------------------------------------------------------------------------


def first(values: Sequence[T]) -> T:
    """The first value obtained stands."""
    return values[0]


def all_of_them(values: Sequence[tuple[Element, ...]]) -> tuple[Element, ...]:
    """Each line adds to the ones before it."""
    return tuple(chain.from_iterable(values))


# -- what sshd -T prints -----------------------------------------------------------------------------------------------


def plain(value: object) -> list[str]:
    """One line, in the words of the file."""
    if value is None:
        return ["none"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return [str(value.value if isinstance(value, Enum) else value)]


def upper(value: Enum) -> list[str]:
    """A word that sshd prints in capitals."""
    return [str(value.value).upper()]


def each(values: tuple[object, ...]) -> list[str]:
    """A line for each of several values."""
    return [str(value) for value in values]


def joined(separator: str = " ", nothing: str = "none") -> Callable[[tuple[object, ...]], list[str]]:
    """Several values on one line."""
    return lambda values: [separator.join(map(str, values)) or nothing]


# -- the description of a setting --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerDirective(Directive[T_co]):
    """One directive of sshd_config(5)."""

    match: bool = True  # it may stand in a Match block
    adds: bool = False  # a Match block adds to what the global part says, where it otherwise replaces it
    combine: Callable[[Sequence[Any]], Any] = first
    show: Callable[[Any], Iterable[str]] = plain
    remarks: Callable[[Sequence[str]], Iterable[str]] = lambda arguments: ()  # what to warn of


def setting(
    name: str,
    read: Callable[[Sequence[str]], T],
    default: T,
    *,
    most: int = 1,
    least: int = 1,
    match: bool = True,
    adds: bool = False,
    combine: Callable[[Sequence[T]], T] = first,
    show: Callable[[T], Iterable[str]] = plain,
    remarks: Callable[[Sequence[str]], Iterable[str]] = lambda arguments: (),
    aliases: tuple[str, ...] = (),
) -> T:
    """A field of a dataclass that a directive fills: its type is that of what ``read`` makes of the arguments."""
    directive = ServerDirective(
        name, read, default, most=most, least=least, aliases=aliases, match=match, adds=adds, combine=combine,
        show=show, remarks=remarks,
    )
    return field(default=default, metadata={_KEY: directive})


def no_effect(name: str, *harmless: str) -> Callable[[Sequence[str]], Iterable[str]]:
    """``remarks`` of a directive that is read and not followed yet, unless its value asks for nothing."""

    def remarks(arguments: Sequence[str]) -> Iterable[str]:
        return () if "".join(arguments).lower() in harmless else (f"{name} has no effect yet",)

    return remarks


#: Where a server offers less than we speak.
_SERVER_DEFAULTS: Final = {"KexAlgorithms": algorithms.SERVER_KEX}


def algorithm_setting(name: str, *, match: bool, aliases: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A field for a list of algorithms, as :mod:`fastssh.config.algorithm_lists` reads it."""
    known = LISTS[name]
    default = _SERVER_DEFAULTS.get(name) or known.known()

    def read(arguments: Sequence[str]) -> tuple[str, ...]:
        return known.choose(text(arguments), default) or default

    def remarks(arguments: Sequence[str]) -> Iterable[str]:
        left_out = known.left_out(arguments[0])
        return (f"{name}: fastssh does not speak {', '.join(left_out)}",) if left_out else ()

    return setting(name, read, default, match=match, show=joined(","), remarks=remarks, aliases=aliases)


def directive_of(metadata: Any) -> ServerDirective[Any] | None:
    """The directive that fills a field with this metadata; None for a field of another kind."""
    directive: ServerDirective[Any] | None = metadata.get(_KEY)
    return directive


# -- known, and not followed -------------------------------------------------------------------------------------------


def _unsupported(name: str, *harmless: str, match: bool = True, aliases: tuple[str, ...] = ()) -> ServerDirective[str]:
    """A directive that fastssh takes only with a value that asks nothing of it."""
    return ServerDirective(name, _sentence, most=0, harmless=harmless, match=match, aliases=aliases)


def _meaningless(name: str, *, match: bool = True, aliases: tuple[str, ...] = ()) -> ServerDirective[str]:
    """A directive that says how something is done that fastssh does not do."""
    return ServerDirective(name, _sentence, most=0, match=match, aliases=aliases)


def _sentence(arguments: Sequence[str]) -> str:
    return " ".join(words(arguments))


UNSUPPORTED: Final = by_name((
    _unsupported("ChannelTimeout", "none"),
    _unsupported("DebianBanner", "no", match=False),
    _unsupported("ExposeAuthInfo", "no"),
    _unsupported("GSSAPIAuthentication", "no"),
    _meaningless("GSSAPICleanupCredentials", match=False),
    _meaningless("GSSAPIKexAlgorithms", match=False),
    _unsupported("GSSAPIKeyExchange", "no", match=False),
    _meaningless("GSSAPIStoreCredentialsOnRekey", match=False),
    _meaningless("GSSAPIStrictAcceptorCheck", match=False),
    _meaningless("HostbasedAcceptedAlgorithms", aliases=("hostbasedacceptedkeytypes",)),
    _unsupported("HostbasedAuthentication", "no"),
    _meaningless("HostbasedUsesNameFromPacketOnly"),
    _unsupported("HostKeyAgent", "none", match=False),
    _meaningless("IgnoreRhosts"),
    _meaningless("IgnoreUserKnownHosts", match=False),
    _unsupported("KerberosAuthentication", "no"),
    _unsupported("KerberosGetAFSToken", "no", match=False),
    _meaningless("KerberosOrLocalPasswd", match=False),
    _meaningless("KerberosTicketCleanup", match=False),
    _unsupported("LogVerbose", "none"),
    _unsupported("PermitTunnel", "no"),
    _unsupported("RDomain", "none"),
    _unsupported("RefuseConnection", "no"),
    _unsupported("SecurityKeyProvider", "internal", "none", match=False),
    _meaningless("SshdAuthPath", match=False),
    _meaningless("SshdSessionPath", match=False),
    _unsupported("UnusedConnectionTimeout", "none", "0"),
    _meaningless("X11DisplayOffset"),
    _meaningless("X11UseLocalhost"),
    _meaningless("XAuthLocation", match=False),
))

# Names that sshd still takes with a warning, and whether they may stand in a Match block.
DEPRECATED: Final = {
    **dict.fromkeys(("authorizedkeysfile2", "rhostsrsaauthentication", "rsaauthentication"), True),
    **dict.fromkeys(
        (
            "afstokenpassing", "checkmail", "kerberostgtpassing", "keyregenerationinterval",
            "pamauthenticationviakbdint", "protocol", "reversemappingcheck", "rhostsauthentication", "serverkeybits",
            "uselogin", "useprivilegeseparation", "verifyreversemapping",
        ),
        False,
    ),
}
