"""Patterns for remote names, as glob(3) reads them: ``*``, ``?``, ``[...]`` and backslash, one path component each.

Matching takes time in proportion to pattern times name at worst, whatever names a server makes up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final

_MAGIC: Final = re.compile(r"[*?\[\\]")
_CLASSES: Final[dict[str, Callable[[str], bool]]] = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "blank": lambda c: c in " \t",
    "cntrl": lambda c: ord(c) < 0x20 or ord(c) == 0x7F,
    "digit": lambda c: c in "0123456789",
    "graph": lambda c: c.isprintable() and not c.isspace(),
    "lower": str.islower,
    "print": str.isprintable,
    "punct": lambda c: c.isprintable() and not c.isalnum() and not c.isspace(),
    "space": str.isspace,
    "upper": str.isupper,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}

Test = Callable[[str], bool]
_STAR: Final = None
MAX_BRACES: Final = 1000  # patterns that one with braces may stand for


def has_magic(pattern: str) -> bool:
    """Whether ``pattern`` is more than a plain path. A backslash counts: it has to be taken out."""
    return _MAGIC.search(pattern) is not None


def escape(path: str) -> str:
    """The pattern that only ``path`` matches."""
    return _MAGIC.sub(lambda found: "\\" + found[0], path)


def is_literal(component: str) -> bool:
    """Whether ``component`` can only match one name: no wildcard that is not escaped."""
    return all(isinstance(token, str) for token in _tokens(component))


def unescape(component: str) -> str:
    """The one name that a literal component matches."""
    return "".join(token for token in _tokens(component) if isinstance(token, str))


def braces(pattern: str) -> list[str]:
    """The patterns that ``a{b,c}d`` stands for, as csh(1) reads it: abd and acd. At most MAX_BRACES, then as it is.

    ``{}`` is nothing but itself, and so is a brace that is escaped, between brackets or without its other.
    """
    waiting, found = [pattern], list[str]()
    while waiting:
        if len(waiting) + len(found) > MAX_BRACES:
            return [pattern]
        each = waiting.pop()
        parts = _first_braces(each)
        if parts is None:
            found.append(each)
        else:
            before, choices, after = parts
            waiting.extend(before + choice + after for choice in reversed(choices))
    return found


def _first_braces(pattern: str) -> tuple[str, list[str], str] | None:
    """What stands before the first braces, the choices in them, and what stands behind."""
    start = -1
    depth = 0
    cuts: list[int] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif character == "[" and (end := _bracket(pattern, at + 1)) is not None:
            at = end[1] - 1
        elif character == "{" and pattern[at : at + 2] != "{}":
            if depth == 0:
                start, cuts = at, [at]
            depth += 1
        elif character == "," and depth == 1:
            cuts.append(at)
        elif character == "}" and depth > 0:
            depth -= 1
            if depth == 0:
                cuts.append(at)
                choices = [pattern[low + 1 : high] for low, high in pairwise(cuts)]
                return pattern[:start], choices, pattern[at + 1 :]
        elif character == "{":
            at += 1
        at += 1
    return None


class Pattern:
    """One compiled component. A leading dot is only matched by a dot, never by a wildcard."""

    def __init__(self, component: str) -> None:
        self._tokens = _tokens(component)
        self._dot = bool(self._tokens) and self._tokens[0] == "."

    def matches(self, name: str) -> bool:
        """Whether the whole of ``name`` fits."""
        if name.startswith(".") and not self._dot:
            return False
        tokens, token, at = self._tokens, 0, 0
        star, resume = -1, 0  # the last star seen, and where what follows it is tried next
        while at < len(name):
            if token < len(tokens) and tokens[token] is _STAR:
                star, resume = token, at
                token += 1
            elif token < len(tokens) and _fits(tokens[token], name[at]):
                token += 1
                at += 1
            elif star >= 0:
                resume += 1
                token, at = star + 1, resume
            else:
                return False
        return all(rest is _STAR for rest in tokens[token:])


def _fits(token: str | Test | None, character: str) -> bool:
    return token == character if isinstance(token, str) else token is not None and token(character)


def _tokens(component: str) -> list[str | Test | None]:
    """One item a character: the character itself, a test, or _STAR."""
    tokens: list[str | Test | None] = []
    at = 0
    while at < len(component):
        character = component[at]
        at += 1
        if character == "*":
            if not tokens or tokens[-1] is not _STAR:
                tokens.append(_STAR)
        elif character == "?":
            tokens.append(lambda _: True)
        elif character == "\\" and at < len(component):
            tokens.append(component[at])
            at += 1
        elif character == "[" and (found := _bracket(component, at)) is not None:
            test, at = found
            tokens.append(test)
        else:
            tokens.append(character)
    return tokens


def _bracket(component: str, at: int) -> tuple[Test, int] | None:
    """The test of a bracket expression whose inside starts at ``at``, and the index behind it; None if unterminated."""
    negated = component[at : at + 1] in ("!", "^") and component[at : at + 1] != ""
    at += negated
    ranges: list[tuple[str, str]] = []
    tests: list[Test] = []
    first = True
    while at < len(component) and (component[at] != "]" or first):
        first = False
        if component.startswith("[:", at) and (end := component.find(":]", at)) > 0:
            tests.append(_CLASSES.get(component[at + 2 : end], lambda _: False))
            at = end + 2
            continue
        low, at = _bracket_character(component, at)
        if component[at : at + 1] == "-" and component[at + 1 : at + 2] not in ("", "]"):
            high, at = _bracket_character(component, at + 1)
        else:
            high = low
        ranges.append((low, high))
    if at >= len(component):
        return None
    return lambda c: negated != (any(low <= c <= high for low, high in ranges) or any(t(c) for t in tests)), at + 1


def _bracket_character(component: str, at: int) -> tuple[str, int]:
    if component[at] == "\\" and at + 1 < len(component):
        at += 1
    return component[at], at + 1
