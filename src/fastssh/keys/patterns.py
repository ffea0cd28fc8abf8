"""Patterns of ssh_config(5) and sshd(8): ``*`` and ``?``, and comma-separated lists with negation.

Matching takes time in proportion to pattern times text, whatever the pattern: both may come from a stranger's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def lower(text: str) -> str:
    """ASCII lower case, as host names are compared (RFC 4343); other letters stay as they are."""
    return text.encode("utf-8", "surrogateescape").lower().decode("utf-8", "surrogateescape")


def has_wildcard(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def match_pattern(text: str, pattern: str) -> bool:
    """Whether the whole of ``text`` matches: ``*`` is any run of characters, ``?`` exactly one."""
    at = wanted = 0
    star = -1  # the last '*' seen, and where the text it takes ends: only that one is ever stretched
    taken = 0
    while at < len(text):
        if wanted < len(pattern) and pattern[wanted] == "*":
            star, taken = wanted, at
            wanted += 1
        elif wanted < len(pattern) and pattern[wanted] in ("?", text[at]):
            at += 1
            wanted += 1
        elif star >= 0:
            taken += 1
            at, wanted = taken, star + 1
        else:
            return False
    return not pattern[wanted:].strip("*")


def match_pattern_list(text: str, patterns: Iterable[str]) -> bool:
    """Whether one pattern matches and no ``!pattern`` does; negations alone match nothing (ssh_config(5), PATTERNS)."""
    return match_any((text,), patterns)


def match_any(texts: Sequence[str], patterns: Iterable[str]) -> bool:
    """match_pattern_list() for something with several names: one matches a pattern, and none a ``!pattern``."""
    matched = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if any(match_pattern(text, pattern[negated:]) for text in texts):
            if negated:
                return False
            matched = True
    return matched
