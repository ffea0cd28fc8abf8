"""What a configuration says about one host: values with their origin, defaults behind them, tokens expanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from fastssh.config.destination import NO_JUMP, Destination, Jump
from fastssh.config.directives import DIRECTIVES
from fastssh.config.lexer import Where
from fastssh.config.table import Directive
from fastssh.config.tokens import STRANGERS, Local, check_host, check_user, expand, expand_home, plain_word
from fastssh.config.values import Qos, RekeyLimit, Value
from fastssh.errors import ConfigError
from fastssh.keys.patterns import lower, match_pattern

MOST_ENTRIES: Final = 1000  # of one directive that accumulates

# What has made the name what it is, and has no meaning afterwards.
_SETTLED: Final = ("CanonicalizeHostname", "CanonicalizeMaxDots", "CanonicalizeFallbackLocal")

V = TypeVar("V", bound=Value)


class Settings:
    """The settings for the host that was asked for, filled by :mod:`fastssh.config.evaluate`: first value wins."""

    def __init__(self, original_host: str, local: Local, *, session_type: str, command: str) -> None:
        self.original_host = original_host
        self.local = local
        self._session_type, self.command = session_type, command
        self._host: str | None = None
        self._values: dict[str, list[tuple[Value, Where]]] = {}

    # -- filling -----------------------------------------------------------------------------------------------------

    def set(self, directive: Directive[Value], value: Value, where: Where) -> None:
        """Takes a value unless an earlier one stands; adds it for directives that accumulate, equal ones once."""
        if directive.rival in self._values and self.value(directive.rival) != NO_JUMP:
            return  # "ProxyJump none" leaves the way open for a ProxyCommand, but not the other way round
        entries = self._values.setdefault(directive.name, [])
        for each in _each(value) if directive.removes else (value,):
            if directive.removes and isinstance(each, str) and each.startswith("-"):
                entries[:] = [entry for entry in entries if not match_pattern(str(entry[0]), each[1:])]
            elif not entries or (directive.accumulate and each not in (entry for entry, _ in entries)):
                if len(entries) == MOST_ENTRIES:
                    raise where.error(f"{directive.name}: more than {MOST_ENTRIES} of them")
                entries.append((each, where))
        if not entries:
            del self._values[directive.name]

    def settle(self, host: str) -> None:
        """The name to connect to is known: HostName has nothing to say any more."""
        self._host = host
        for name in _SETTLED:
            self._values.setdefault(name, [(self.value(name), Where("default", 0))])

    # -- reading -----------------------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        """True when the directive was given, rather than left to its default."""
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        """The directives that were given, in the order in which they first were."""
        return iter(self._values)

    def where(self, name: str) -> Where:
        """Where the (first) value of a given directive came from."""
        return self._values[name][0][1]

    def last(self, *names: str) -> str:
        """Which of these directives, of which one was given at least, was given last."""
        return next(name for name in reversed(self._values) if name in names)

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
        if value is None or (DIRECTIVES[name.lower()].unset and value.lower() == "none"):
            return None
        return self.expanded(name, value)

    def words(self, name: str) -> tuple[str, ...] | None:
        """The words of a directive, or all values of one that accumulates, expanded; None when it was not given."""
        if DIRECTIVES[name.lower()].accumulate:
            if name not in self._values:
                return None
            return tuple(self.expanded(name, word) for value, _ in self._values[name] for word in _each(value))
        value = self.value(name)
        return None if value is None else tuple(self.expanded(name, word) for word in _each(value))

    def entries(self, name: str) -> list[tuple[tuple[str, ...], Where]]:
        """Each occurrence of a directive that accumulates, nothing expanded, and where it stands."""
        return [(tuple(_each(value)), where) for value, where in self._values.get(name, [])]

    def path(self, name: str) -> str | None:
        """text() of a file's name, with ``~`` for a home folder."""
        value = self.value(name)
        assert value is None or isinstance(value, str)
        if value is None or (DIRECTIVES[name.lower()].unset and value.lower() == "none"):
            return None
        return self.expanded(name, self._home(name, value))

    def paths(self, name: str) -> tuple[str, ...] | None:
        """words() of files' names, with ``~`` for a home folder, and without ``none``."""
        if DIRECTIVES[name.lower()].accumulate and name not in self._values:
            return None
        found = (word for value, _ in self.given(name) for word in _each(value))
        return tuple(self.expanded(name, self._home(name, word)) for word in found if word.lower() != "none")

    def typed(self, name: str, kind: type[V]) -> V:
        """The value of a directive that has a type of its own, or its default."""
        value = self.value(name)
        assert isinstance(value, kind)
        return value

    def given(self, name: str) -> tuple[tuple[Value, Where | None], ...]:
        """All values of a directive as they were written, with their places; the default, without a place."""
        if name in self._values:
            return tuple(self._values[name])
        default = DIRECTIVES[name.lower()].default
        return () if default is None else ((default, None),)

    def rekey_limit(self) -> RekeyLimit:
        return self.typed("RekeyLimit", RekeyLimit)

    def qos(self) -> Qos | None:
        value = self.value("IPQoS")
        assert value is None or isinstance(value, Qos)
        return value

    # -- who and where -----------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The name to connect to. While files are read: what HostName has made of the name that was asked for."""
        if self._host is not None:
            return self._host
        pattern = self.value("HostName")
        if not isinstance(pattern, str):
            return check_host(self.original_host)
        return self._placed("HostName", check_host, self.expanded("HostName", pattern))

    @property
    def port(self) -> int:
        return self.number("Port")

    @property
    def user(self) -> str:
        """The user to log in as; the local user's name without a setting. Checked as ssh(1) checks it."""
        pattern = self.value("User")
        if not isinstance(pattern, str):
            return self.local.user
        return self._placed("User", check_user, self.expanded("User", pattern))

    @property
    def host_key_alias(self) -> str | None:
        """HostKeyAlias; in lower case once the files are read, as ssh has it."""
        value = self.value("HostKeyAlias")
        assert value is None or isinstance(value, str)
        return value if value is None or self._host is None else lower(value)

    @property
    def session_type(self) -> str:
        """shell, exec, subsystem or none, as far as it is known."""
        given = self.value("SessionType")
        return given if isinstance(given, str) and given != "default" else self._session_type

    @property
    def proxied(self) -> bool:
        """Whether the connection goes by way of ProxyJump or ProxyCommand."""
        command = self.value("ProxyCommand")
        return self.jump is not None or (isinstance(command, str) and command.lower() != "none")

    @property
    def update_host_keys(self) -> str:
        """yes, no or ask: whether other host keys of the server are learnt. Left to itself, it is done for the files
        that are ours to write, and not where DNS says which keys are right."""
        value = self.value("UpdateHostKeys")
        if isinstance(value, str):
            return "no" if value == "ask" and not self._can_ask() else value
        usual = "UserKnownHostsFile" not in self or self.value("UserKnownHostsFile") == ("~/.ssh/known_hosts",)
        return "yes" if usual and self.value("VerifyHostKeyDNS") == "no" else "no"

    def _can_ask(self) -> bool:
        """Whether a question during the session would reach the person that began it."""
        quiet = self.value("LogLevel") in ("quiet", "fatal", "error")
        persists = self.value("ControlPersist") != DIRECTIVES["controlpersist"].default
        detached = persists and self.path("ControlPath") is not None
        runs = self.session_type != "shell" or self.text("RemoteCommand") is not None
        return not (quiet or detached or runs or self.value("RequestTTY") == "no")

    @property
    def jump(self) -> Jump | None:
        """ProxyJump, unless it is ``none``."""
        value = self.value("ProxyJump")
        assert value is None or isinstance(value, Jump)
        return value if value and value.hops else None

    def proxy_jump(self) -> Jump | None:
        """ProxyJump with its tokens expanded and each name checked; None without it.

        ConfigError for names that may not be used, and when the last host is the one that we want to go to.
        """
        if self.jump is None:
            return None
        jump = Jump(self.expanded("ProxyJump", self.jump.text), tuple(map(self._hop, self.jump.hops)))
        last = jump.hops[-1]
        if (last.host, last.port or 22, last.user or self.user) == (self.host, self.port, self.user):
            raise self.where("ProxyJump").error(f"jumphost loop via {last.host}")
        return jump

    def _hop(self, hop: Destination) -> Destination:
        host = self._placed("ProxyJump", check_host, self.expanded("ProxyJump", hop.host))
        if hop.user is None:
            return hop._replace(host=host)
        return hop._replace(host=host, user=self._placed("ProxyJump", check_user, self.expanded("ProxyJump", hop.user)))

    def tokens(self, allowed: str) -> dict[str, Callable[[], str]]:
        """Those tokens that are allowed, with what gives their values; each name is checked on the way."""
        hostname = self.local.hostname
        known: dict[str, Callable[[], str]] = {
            "d": lambda: self.local.home,
            "h": lambda: self.host,
            "i": lambda: str(self.local.uid),
            "j": lambda: check_host(self.jump.hops[-1].host) if self.jump else "",
            "k": lambda: check_host(self.host_key_alias or self.original_host),
            "L": lambda: hostname.partition(".")[0],
            "l": lambda: hostname,
            "n": lambda: check_host(self.original_host),
            "p": lambda: str(self.port),
            "r": lambda: self.user,
            "T": lambda: "NONE",  # the interface of a tunnel: there are none
            "u": lambda: self.local.user,
            "C": lambda: _connection_hash(hostname, self.host, str(self.port), self.user, known["j"]()),
        }
        return {token: value for token, value in known.items() if token in allowed}

    def _home(self, name: str, path: str) -> str:
        return self._placed(name, lambda path: expand_home(path, self.local.home), path)

    def _placed(self, name: str, use: Callable[[str], str], text: str) -> str:
        """What ``use`` makes of ``text``; its error names the place that the directive came from."""
        try:
            return use(text)
        except ConfigError as error:
            raise self.where(name).error(f"{name}: {error}") if name in self._values else error from None

    def expanded(self, name: str, text: str, more: Mapping[str, str] | None = None) -> str:
        """``text`` with what the directive allows expanded; ``more`` are values of tokens that it has for itself.

        Errors name the place it came from.
        """
        directive = DIRECTIVES[name.lower()]
        if not directive.tokens and not directive.environment:
            return text
        # HostName is what %h is made of: there it means the name as asked for.
        tokens = {"h": lambda: self.original_host} if name == "HostName" else self.tokens(directive.tokens)
        if directive.shell:
            tokens = {token: value if token not in STRANGERS else _plain(value) for token, value in tokens.items()}
        tokens |= {token: _constant(value) for token, value in (more or {}).items()}
        environment = self.local.environment if directive.environment else None
        return self._placed(name, lambda text: expand(text, tokens, environment), text)


def _constant(value: str) -> Callable[[], str]:
    return lambda: value


def _plain(value: Callable[[], str]) -> Callable[[], str]:
    return lambda: plain_word(value())


def _connection_hash(*parts: str) -> str:
    """%C: a name for the connection that is short enough for a socket's path; no security rests on it."""
    import hashlib  # which loads libcrypto

    return hashlib.sha1("".join(parts).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _each(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        yield from (word for word in value if isinstance(word, str))
