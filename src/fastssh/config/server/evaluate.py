"""Reads sshd_config(5) once, and evaluates its Match blocks for each connection without reading anything again."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fastssh.config.lexer import Line, Where
from fastssh.config.reading import COMMAND_LINE, SYSTEM_FOLDER, Reading, included, override
from fastssh.config.server.directives import DEPRECATED, UNSUPPORTED, ServerDirective
from fastssh.config.server.match import Condition, ConnectionFacts
from fastssh.config.server.settings import BY_FIELD, DIRECTIVES, FIELDS, ServerSettings
from fastssh.config.server.values import AddressFamily, ListenAddress
from fastssh.errors import ConfigError
from fastssh.files import shown

SYSTEM_FILE: Final = "/etc/ssh/sshd_config"
_WILDCARDS: Final = {  # IPv6 first, as the resolver has it
    AddressFamily.ANY: ("::", "0.0.0.0"),
    AddressFamily.INET: ("0.0.0.0",),
    AddressFamily.INET6: ("::",),
}
_VERSIONS: Final = {AddressFamily.ANY: (4, 6), AddressFamily.INET: (4,), AddressFamily.INET6: (6,)}


class _Given(NamedTuple):
    value: Any
    where: Where


@dataclass(frozen=True, slots=True)
class _Section:
    """What stands under the same Match lines: values by the name of their field, in order."""

    conditions: tuple[Condition, ...]
    given: dict[str, list[_Given]] = field(default_factory=dict)

    @property
    def is_global(self) -> bool:
        """True for what holds without a connection as well: sshd has "Match all" end a block like that."""
        return all(condition.always for condition in self.conditions)

    def holds(self, facts: ConnectionFacts) -> bool:
        """True for a Match block that applies."""
        return bool(self.conditions) and all(condition.holds(facts) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A configuration that was read and checked. ``settings`` is what holds outside Match blocks."""

    settings: ServerSettings
    _sections: tuple[_Section, ...]
    _where: Mapping[str, Where]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was accepted and is not followed, with its place."""
        return self.settings.warnings

    @property
    def is_whole(self) -> bool:
        """Whether ``settings`` are all there is: no Match block says otherwise for anybody."""
        return not any(section.conditions for section in self._sections)

    def for_connection(self, facts: ConnectionFacts) -> ServerSettings:
        """The settings for a connection of which so much is known; a block's settings override the global ones.

        Reads no file. ConfigError, which ends the connection, when the blocks that apply contradict each other.
        """
        given = _gathered(section for section in self._sections if section.holds(facts))
        if not given:
            return self.settings
        values = {name: _combined(name, entries) for name, entries in given.items() if BY_FIELD[name].match}
        for name in values:
            if BY_FIELD[name].adds:
                values[name] = BY_FIELD[name].combine((values[name], getattr(self.settings, name)))
        settings = dataclasses.replace(self.settings, **values, given=self.settings.given | values.keys())
        _check(settings, {**self._where, **{name: given[name][0].where for name in values}})
        return settings


def load(
    file: str | None = SYSTEM_FILE,
    *,
    overrides: Sequence[str | tuple[str, str]] = (),
    ports: Sequence[int] = (),
    include_folder: str = SYSTEM_FOLDER,
) -> ServerConfig:
    """The configuration in ``file``; none is read for None.

    ``overrides`` are lines as given to ``-o``, or (keyword, argument) with the argument taken as it is; they come
    before the file, so for keywords whose first value wins, they win, but over no Match block. ``ports`` is what ``-p``
    gave: then every Port, of -o and of the file, is ignored. ``include_folder`` is where relative Includes are.
    Everything is checked, the insides of all Match blocks too. Raises ConfigError that names file and line.
    """
    loading = _Loading(include_folder)
    for setting in overrides:
        loading.setting(override(setting, ("match", "include")), ())
    if file is not None:
        try:
            loading.file(file, (), 0)
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
    given = _gathered(section for section in loading.sections if section.is_global)
    if ports:
        given[FIELDS["Port"]] = [_Given(tuple(ports), COMMAND_LINE)]
    where = {name: entries[0].where for name, entries in given.items()}
    values = {name: _combined(name, entries) for name, entries in given.items()}
    settings = ServerSettings(**values, given=frozenset(values), warnings=tuple(loading.warnings))
    settings = dataclasses.replace(settings, listen_addresses=_listening(settings, given))
    _check(settings, where)
    return ServerConfig(settings, tuple(loading.sections), where)


class _Loading:
    """One walk over the files."""

    def __init__(self, include_folder: str) -> None:
        self.sections: list[_Section] = []
        self.warnings: list[str] = []
        self._reading = Reading()
        self._include_folder = include_folder

    def file(self, path: str, around: tuple[Condition, ...], depth: int) -> None:
        """Reads one file that is included under the conditions ``around``; its own blocks end with it."""
        conditions = around
        for line in self._reading.lines(path, check_owner=False):
            if line.keyword == "match":
                conditions = (*around, Condition.read(line))
            elif line.keyword == "include":
                self._include(line, conditions, depth)
            else:
                self.setting(line, conditions)

    def _include(self, line: Line, conditions: tuple[Condition, ...], depth: int) -> None:
        """The files of an Include. One that cannot be read is an error: what it would forbid must not be allowed."""
        for path in included(line, depth, lambda argument: self._pattern(argument, line)):
            try:
                self.file(path, conditions, depth + 1)
            except OSError as error:
                raise line.where.error(f"cannot read {path}: {error.strerror}") from None

    def _pattern(self, argument: str, line: Line) -> str:
        if argument.startswith("~"):
            raise line.where.error(f"a system file cannot include {argument!r}")
        return os.path.join(self._include_folder, argument)

    def setting(self, line: Line, conditions: tuple[Condition, ...]) -> None:
        """Takes one setting. Raises ConfigError for one that cannot be followed, or not here."""
        directive = DIRECTIVES.get(line.keyword)
        if directive is not None:
            self._placed(line, conditions, directive.match)
            section = self._section(conditions)
            section.given.setdefault(FIELDS[directive.name], []).append(_Given(directive.value(line), line.where))
            self.warnings += (f"{line.where}: {remark}" for remark in directive.remarks(line.arguments))
        elif (unsupported := UNSUPPORTED.get(line.keyword)) is not None:
            self._placed(line, conditions, unsupported.match)
            self._refuse(line, unsupported)
        elif line.keyword in DEPRECATED:
            self._placed(line, conditions, DEPRECATED[line.keyword])
            self.warnings.append(f"{line.where}: {line.keyword} is deprecated and ignored")
        else:
            raise line.where.error(f"Bad configuration option: {shown(line.keyword)}")

    def _placed(self, line: Line, conditions: tuple[Condition, ...], match: bool) -> None:
        if not match and not all(condition.always for condition in conditions):
            raise line.where.error(f"{line.keyword} may not stand in a Match block")

    def _refuse(self, line: Line, directive: ServerDirective[str]) -> None:
        value = directive.value(line)
        if not directive.supports(value):
            raise line.where.error(f"{directive.name} {value} is not supported")
        if directive.harmless is None:
            self.warnings.append(f"{line.where}: {directive.name} is not supported and ignored")

    def _section(self, conditions: tuple[Condition, ...]) -> _Section:
        if not self.sections or self.sections[-1].conditions is not conditions:
            self.sections.append(_Section(conditions))
        return self.sections[-1]


def _gathered(sections: Iterable[_Section]) -> dict[str, list[_Given]]:
    """The values of several sections, in order."""
    found: dict[str, list[_Given]] = {}
    for section in sections:
        for name, entries in section.given.items():
            found.setdefault(name, []).extend(entries)
    return found


def _combined(name: str, entries: Sequence[_Given]) -> Any:
    return BY_FIELD[name].combine([entry.value for entry in entries])


def _listening(settings: ServerSettings, given: Mapping[str, Sequence[_Given]]) -> tuple[ListenAddress, ...]:
    """Where to listen: each ListenAddress, with every Port when it has none of its own; else all addresses."""
    family = settings.address_family
    found = [ListenAddress(host, port) for port in settings.ports for host in _WILDCARDS[family]]
    entries = given.get("listen_addresses")
    if entries is None:
        return tuple(found)
    found.clear()
    for value, where in entries:
        for address in value:
            if _version(address.host) not in (None, *_VERSIONS[family]):
                raise where.error(f"ListenAddress {address.host} is not of AddressFamily {family.value}")
            ports = (address.port,) if address.port else settings.ports
            found += (ListenAddress(address.host, port) for port in ports)
    return tuple(found)


def _version(host: str) -> int | None:
    """4 or 6 for an address, None for a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _check(settings: ServerSettings, where: Mapping[str, Where]) -> None:
    """ConfigError when settings do not go together."""
    for name in ("authorized_keys_command", "authorized_principals_command"):
        if getattr(settings, name) is not None and getattr(settings, f"{name}_user") is None:
            directive = BY_FIELD[name].name
            raise where[name].error(f"{directive} needs an {directive}User")
    enabled = {
        "publickey": settings.pubkey_authentication,
        "password": settings.password_authentication,
        "keyboard-interactive": settings.kbd_interactive_authentication,
        "none": True,
    }
    lists = settings.authentication_methods
    if lists and not any(all(enabled[method.partition(":")[0]] for method in methods) for methods in lists):
        raise where["authentication_methods"].error("AuthenticationMethods has no list whose methods are all enabled")
