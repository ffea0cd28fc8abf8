"""Match blocks of sshd_config(5): criteria that are read once, and asked of every connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastssh.config.criteria import Criteria
from fastssh.config.lexer import Line
from fastssh.config.values import port
from fastssh.keys.addresses import check_address_list, match_address_list
from fastssh.keys.patterns import lower, match_any, match_pattern_list


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What is known of a connection. What is None is not known (yet), and no criterion about it holds.

    ``groups`` are the names of all groups of ``user``. ``host`` is the client's name, or its address with UseDNS no.
    """

    user: str | None = None
    groups: tuple[str, ...] | None = None
    host: str | None = None
    address: str | None = None
    local_address: str | None = None
    local_port: int | None = None
    rdomain: str | None = None


Test = Callable[[ConnectionFacts], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A Match line. Without tests it is ``Match all``."""

    tests: tuple[Test, ...]

    @classmethod
    def read(cls, line: Line) -> Condition:
        """The condition on ``line``. ConfigError when it cannot be understood."""
        criteria = Criteria.read(line, bare=("all",), with_argument=_TESTS)
        tests: list[Test] = []
        for item in criteria.items:
            if item.negated:
                raise line.where.error(f"'!{item.name}' is not a Match criterion")
            if item.name == "all":
                if len(criteria.items) > 1:
                    raise line.where.error("'all' cannot be combined with other Match criteria")
                continue
            try:
                tests.append(_TESTS[item.name](item.argument))
            except ValueError as error:
                raise line.where.error(f"Match {item.name}: {error}") from None
        return cls(tuple(tests))

    @property
    def always(self) -> bool:
        return not self.tests

    def holds(self, facts: ConnectionFacts) -> bool:
        return all(test(facts) for test in self.tests)


def _user(argument: str) -> Test:
    patterns = argument.split(",")
    return lambda facts: facts.user is not None and match_pattern_list(facts.user, patterns)


def _group(argument: str) -> Test:
    patterns = argument.split(",")
    return lambda facts: facts.user is not None and facts.groups is not None and match_any(facts.groups, patterns)


def _host(argument: str) -> Test:
    patterns = lower(argument).split(",")
    return lambda facts: facts.host is not None and match_pattern_list(lower(facts.host), patterns)


def _address(argument: str) -> Test:
    patterns = argument.split(",")
    check_address_list(patterns)
    return lambda facts: facts.address is not None and match_address_list(facts.address, patterns)


def _local_address(argument: str) -> Test:
    patterns = argument.split(",")
    check_address_list(patterns)
    return lambda facts: facts.local_address is not None and match_address_list(facts.local_address, patterns)


def _local_port(argument: str) -> Test:
    wanted = port([argument])
    return lambda facts: facts.local_port == wanted


def _rdomain(argument: str) -> Test:
    patterns = argument.split(",")
    return lambda facts: facts.rdomain is not None and match_pattern_list(facts.rdomain, patterns)


_TESTS: Final[dict[str, Callable[[str], Test]]] = {
    "user": _user,
    "group": _group,
    "host": _host,
    "address": _address,
    "localaddress": _local_address,
    "localport": _local_port,
    "rdomain": _rdomain,
}
