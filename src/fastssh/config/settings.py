"""What a configuration says about one host: values with their origin, defaults behind them, tokens expanded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from fastssh.config.directives import DIRECTIVES
from fastssh.config.lexer import Where
from fastssh.config.table import Directive
from fastssh.config.tokens import Local, check_host, check_user, expand
from fastssh.config.values import Qos, RekeyLimit, Value
from fastssh.errors import ConfigError
from fastssh.keys.patterns import lower


class Settings:
    """The settings for the host that was asked for, filled by :mod:`fastssh.config.evaluate`: first value wins."""

    def __init__(self, original_host: str, local: Local, *, session_type: str, command: str) -> None:
        self.original_host = original_host
        self.local = local
        self.session_type, self.command = session_type, command
        self._values: dict[str, list[tuple[Value, Where]]] = {}

    # -- filling -----------------------------------------------------------------------------------------------------

    def set(self, directive: Directive[Value], value: Value, where: Where) -> None:
        """Takes a value unless an earlier one stands; adds it for directives that accumulate, equal ones once."""
        entries = self._values.setdefault(directive.name, [])
        if not entries or (directive.accumulate and value not in (entry for entry, _ in entries)):
            entries.append((value, where))

    # -- reading -----------------------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        """True when the directive was given, rather than left to its default."""
        return name in self._values

    def where(self, name: str) -> Where:
        """Where the (first) value of a given directive came from."""
        return self._values[name][0][1]

    def first(self, *names: str) -> str | None:
        """Which of these directives was given first; None when none was."""
        return next((name for name in self._values if name in names), None)

    def value(self, name: str) -> Value:
        """The raw value, or the default; of an accumulating directive the first."""
        return self._values[name][0][0] if name in self._values else DIRECTIVES[name.lower()].default

    def flag(self, name: str) -> bool:
        return bool(self.value(name))

    def number(self, name: str) -> int:
        value = self.value(name)
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str | None:
        """The value of a directive of one word, tokens and environment expanded; None without value and default."""
        value = self.value(name)
        assert value is None or isinstance(value, str)
        return None if value is None else self._expand(name, value)

    def words(self, name: str) -> tuple[str, ...] | None:
        """The words of a directive, or all values of one that accumulates, expanded; None when it was not given."""
        if DIRECTIVES[name.lower()].accumulate:
            if name not in self._values:
                return None
            return tuple(self._expand(name, word) for value, _ in self._values[name] for word in _each(value))
        value = self.value(name)
        return None if value is None else tuple(self._expand(name, word) for word in _each(value))

    def entries(self, name: str) -> list[tuple[tuple[str, ...], Where]]:
        """Each occurrence of a directive that accumulates, nothing expanded, and where it stands."""
        return [(tuple(_each(value)), where) for value, where in self._values.get(name, [])]

    def rekey_limit(self) -> RekeyLimit:
        value = self.value("RekeyLimit")
        assert isinstance(value, RekeyLimit)
        return value

    def qos(self) -> Qos | None:
        value = self.value("IPQoS")
        assert value is None or isinstance(value, Qos)
        return value

    # -- who and where -----------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The name to connect to: HostName with %h expanded, else the name that was asked for, in lower case."""
        pattern = self.value("HostName")
        return check_host(self._expand("HostName", pattern) if isinstance(pattern, str) else lower(self.original_host))

    @property
    def port(self) -> int:
        return self.number("Port")

    @property
    def user(self) -> str:
        """The user to log in as; the local user's name without a setting. Checked as ssh(1) checks it."""
        pattern = self.value("User")
        if not isinstance(pattern, str):
            return self.local.user
        return check_user(self._expand("User", pattern))

    @property
    def host_key_alias(self) -> str | None:
        value = self.value("HostKeyAlias")
        assert value is None or isinstance(value, str)
        return value

    def tokens(self, allowed: str) -> dict[str, Callable[[], str]]:
        """Those tokens that are allowed, with what gives their values; each name is checked on the way."""
        hostname = self.local.hostname
        known = {
            "d": lambda: self.local.home,
            "h": lambda: self.host,
            "i": lambda: str(self.local.uid),
            "j": lambda: "",  # the ProxyJump host: there is none
            "k": lambda: check_host(self.host_key_alias or self.original_host),
            "L": lambda: hostname.partition(".")[0],
            "l": lambda: hostname,
            "n": lambda: check_host(self.original_host),
            "p": lambda: str(self.port),
            "r": lambda: self.user,
            "u": lambda: self.local.user,
            "C": lambda: _connection_hash(hostname, self.host, str(self.port), self.user),
        }
        return {token: value for token, value in known.items() if token in allowed}

    def _expand(self, name: str, text: str) -> str:
        """``text`` with what the directive allows expanded; errors name the place it came from."""
        directive = DIRECTIVES[name.lower()]
        if not directive.tokens and not directive.environment:
            return text
        # HostName is what %h is made of: there it means the name as asked for.
        tokens = {"h": lambda: lower(self.original_host)} if name == "HostName" else self.tokens(directive.tokens)
        try:
            return expand(text, tokens, self.local.environment if directive.environment else None)
        except ConfigError as error:
            raise self.where(name).error(f"{name}: {error}") if name in self._values else error from None


def _connection_hash(*parts: str) -> str:
    """%C: a name for the connection that is short enough for a socket's path; no security rests on it."""
    return hashlib.sha1("".join(parts).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _each(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        yield from (word for word in value if isinstance(word, str))
