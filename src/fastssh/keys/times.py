"""Times as OpenSSH's files and options write them: moments, lengths, and spans of both."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fastssh.errors import KeyFormatError
from fastssh.wire.codec import UINT64_MAX

_MOMENT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z|UTC)?", re.ASCII | re.IGNORECASE)
_PART: Final = re.compile(r"([0-9]{1,10})([smhdw]?)", re.ASCII)
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST: Final = 2**31 - 1
_HEX: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII | re.IGNORECASE)


def moment(text: str) -> float:
    """``YYYYMMDD[HHMM[SS]][Z]`` as a POSIX time: local time, or with ``Z`` or ``UTC`` behind it that. ValueError."""
    from datetime import UTC, datetime  # lengths of time, which every configuration has, do without

    found = _MOMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC if found[7] else None).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time: YYYYMMDD[HHMM[SS]][Z] is wanted") from None


def duration(text: str) -> int:
    """A time in TIME FORMATS of sshd_config(5), ``90``, ``10m``, ``1h30m``, in seconds. ValueError."""
    parts = _PART.findall(text.lower())
    total = sum(int(count) * _UNITS[unit] for count, unit in parts)
    if not parts or "".join(map("".join, parts)) != text.lower() or total > _LONGEST:
        raise ValueError(f"{text!r} is not a time")
    return total


class Validity(NamedTuple):
    """When a certificate is valid: POSIX times in seconds, of which the last is the first that it is not."""

    after: int = 0
    before: int = UINT64_MAX


def parse_validity(text: str, now: float) -> Validity:
    """A validity interval as ``ssh-keygen -V`` takes it: ``+52w``, ``-1d:+5d``, ``always:forever``,
    ``20260101:20270101Z``, ``0x0:0xffff``.

    A length alone begins up to two minutes ago, for hosts whose clocks are not quite right. Raises
    :class:`KeyFormatError` in ssh-keygen's words.
    """
    start, colon, end = text.partition(":")
    if text.startswith("+") and not colon:
        try:
            return Validity(max(0, int(now) - 59) // 60 * 60, int(now) + duration(text[1:]))
        except ValueError:
            raise KeyFormatError(f"Invalid relative certificate life {text}") from None
    if not start or not end:
        raise KeyFormatError(f"Invalid certificate life specification {text}")
    found = Validity(_bound(start, now, "from", "always", 0), _bound(end, now, "to", "forever", UINT64_MAX))
    if found.before <= found.after:
        raise KeyFormatError("Empty certificate validity interval")
    return found


def _bound(text: str, now: float, which: str, word: str, meaning: int) -> int:
    if text == word:
        return meaning
    if text[0] in "+-":
        try:
            value = int(now) + duration(text[1:]) * (-1 if text[0] == "-" else 1)
        except ValueError:
            raise KeyFormatError(f"Invalid relative certificate time {text}") from None
        if value < 0:
            raise KeyFormatError(f"Certificate time {text} cannot be represented")
        return value
    if text[:2].lower() == "0x":
        if not _HEX.fullmatch(text):
            raise KeyFormatError("Invalid certificate time: not a number")
        return int(text, 16)
    try:
        value = int(moment(text))
    except ValueError:
        value = -1
    if value < 0:
        raise KeyFormatError(f'Invalid {which} time "{text}"')
    return value


_CYCLE_YEARS: Final = 400
_CYCLE_SECONDS: Final = 146097 * 86400  # after which the calendar and its weekdays begin again
_LAST_YEAR: Final = 2**31 - 1 + 1900


def moment_text(seconds: int) -> str | None:
    """``YYYY-MM-DDTHH:MM:SS`` in local time, whatever the year; None for what no calendar of a system reaches."""
    from datetime import datetime

    cycles = max(0, seconds // _CYCLE_SECONDS - 1)
    year = _CYCLE_YEARS * cycles
    try:
        found = datetime.fromtimestamp(seconds - cycles * _CYCLE_SECONDS)  # local time is meant
    except (ValueError, OverflowError, OSError):
        return None
    year += found.year
    return None if year > _LAST_YEAR else f"{year:04}{found:-%m-%dT%H:%M:%S}"
