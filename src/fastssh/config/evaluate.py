"""Evaluates ssh_config(5): command line, then the user's file, then the system's; the first value obtained wins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from fastssh.config.canonical import Resolver, canonical_host, system_resolver
from fastssh.config.directives import ALL_TOKENS, DIRECTIVES, OBSOLETE
from fastssh.config.lexer import Line
from fastssh.config.match import matches, read_criteria, wants_final
from fastssh.config.reading import SYSTEM_FOLDER, Reading, included, override
from fastssh.config.settings import Settings
from fastssh.config.tokens import Local, check_host, check_user, expand, expand_home
from fastssh.errors import ConfigError
from fastssh.files import shown
from fastssh.keys.patterns import match_pattern_list

SYSTEM_FILE: Final = "/etc/ssh/ssh_config"
USER_FOLDER: Final = ".ssh"
USER_FILE: Final = "config"
_FILES_ONLY: Final = ("host", "match", "include")

Setting = str | tuple[str, str]


def load(
    host: str,
    *,
    overrides: Sequence[Setting] = (),
    defaults: Sequence[Setting] = (),
    file: str | None = None,
    local: Local | None = None,
    system_file: str = SYSTEM_FILE,
    session_type: str = "subsystem",
    command: str = "sftp",
    resolve: Resolver = system_resolver,
) -> Settings:
    """The settings for ``host`` (as the user typed it).

    ``overrides`` are lines as given to ``-o``, or (keyword, argument) with the argument taken as it is; they come
    before everything else, and ``defaults`` after it. ``file`` replaces the user's and the system's files, as ``-F``
    does; ``none`` reads no file. The user's and the system's files need not exist, but ``file`` must. ``session_type``
    ("shell", "exec", "subsystem" or "none") and ``command`` (or the subsystem's name) are what Match blocks may ask
    for. ``resolve`` is asked when CanonicalizeHostname is on, and nothing is waited for otherwise.

    Raises ConfigError that names file and line, and ConnectionLostError when a name must be canonicalised and cannot.
    """
    local = local or Local.here()
    settings = Settings(host, local, session_type=session_type, command=command)
    check_host(host)
    evaluation = _Evaluation(settings)
    for setting in overrides:
        evaluation.setting(override(_literal(setting), _FILES_ONLY), active=True)
    evaluation.files(file, system_file)
    settings.settle(canonical_host(settings, resolve))
    if evaluation.final_wanted or settings.value("CanonicalizeHostname") != "no":
        # Once more, now that the name is known; earlier values stand.
        _Evaluation(settings, final=True).files(file, system_file)
    for setting in defaults:
        evaluation.setting(override(setting, _FILES_ONLY), active=True)
    return settings


def _literal(setting: Setting) -> Setting:
    """A user's name of the command line (not of its -o) is one as it stands: no token or variable is expanded in it."""
    if isinstance(setting, str) or setting[0].lower() != "user":
        return setting
    return setting[0], check_user(setting[1]).replace("%", "%%")


class _Evaluation:
    """One pass over all files."""

    def __init__(self, settings: Settings, *, final: bool = False) -> None:
        self.settings = settings
        self.final = final
        self.final_wanted = False
        self.host = settings.host if final else settings.original_host  # what Host patterns are matched with
        self.reading = Reading()

    def files(self, file: str | None, system_file: str) -> None:
        """The user's and the system's file, or the one asked for."""
        if file is not None:
            if file.lower() != "none":
                try:
                    self._file(file, user=True, check_owner=False, active=True, depth=0)
                except OSError as error:
                    raise ConfigError(f"Can't open user config file {shown(file)}: {error.strerror}") from None
            return
        user_file = os.path.join(self.settings.local.home, USER_FOLDER, USER_FILE)
        for path, user in ((user_file, True), (system_file, False)):
            try:
                self._file(path, user=user, check_owner=user, active=True, depth=0)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ConfigError(f"{path}: {error.strerror}") from None

    def _file(self, path: str, *, user: bool, check_owner: bool, active: bool, depth: int) -> None:
        """Reads one file. ``active`` says whether the including file's block matched; blocks end with the file."""
        block = active
        for line in self.reading.lines(path, check_owner=check_owner):
            if line.keyword == "host":
                if not all(line.arguments):
                    raise line.where.error("host has an empty argument")
                block = active and match_pattern_list(self.host, line.arguments)
            elif line.keyword == "match":
                block = self._match(line, active)
            elif line.keyword == "include":
                self._include(line, user=user, active=block, depth=depth)
            else:
                self.setting(line, active=block)

    def _match(self, line: Line, active: bool) -> bool:
        criteria = read_criteria(line)
        self.final_wanted = self.final_wanted or wants_final(criteria)
        return matches(criteria, self.settings, final=self.final, active=active)

    def _include(self, line: Line, *, user: bool, active: bool, depth: int) -> None:
        """The files of an Include, which follow the rules of the including file's owner."""
        for path in included(line, depth, lambda argument: self._pattern(argument, line, user)):
            try:
                self._file(path, user=user, check_owner=True, active=active, depth=depth + 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise line.where.error(f"cannot read {path}: {error.strerror}") from None

    def _pattern(self, argument: str, line: Line, user: bool) -> str:
        """An Include's argument as an absolute pattern."""
        folder = os.path.join(self.settings.local.home, USER_FOLDER) if user else SYSTEM_FOLDER
        if argument.startswith("~") and not user:
            raise line.where.error(f"a system file cannot include {argument!r}")
        try:
            argument = expand(argument, self.settings.tokens(ALL_TOKENS), self.settings.local.environment)
            return os.path.join(folder, expand_home(argument, self.settings.local.home))
        except ConfigError as error:
            raise line.where.error(f"include: {error}") from None

    def setting(self, line: Line, *, active: bool) -> None:
        directive = DIRECTIVES.get(line.keyword)
        if directive is None:
            ignored = (self.settings.text("IgnoreUnknown") or "").lower().split(",")
            if line.keyword in OBSOLETE or match_pattern_list(line.keyword, ignored):
                return
            raise line.where.error(f"Bad configuration option: {shown(line.keyword)}")
        value = directive.value(line)
        if active:
            self.settings.set(directive, value, line.where)
