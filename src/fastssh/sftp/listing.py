"""The entries of a directory in batches, with the line that ls -l would show for each, or in bundles."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Final

from fastssh._native.bundle import Packer
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.messages import SFTPName

BATCH_NAMES: Final = 100  # in one reply, as OpenSSH sends
BATCH_BYTES: Final = 32 * 1024  # of names and attributes in one reply, after which no entry is added
_FIXED: Final = 2 * 4 + 32  # bytes of an entry beside its two strings
_RECENT: Final = 365 * 24 * 60 * 60 / 2  # seconds; an older file, or one of the future, is shown with its year
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

NameOf = Callable[[int], bytes | None]


class LongNames:
    """Makes the lines. ``user_name`` and ``group_name`` give None for a number to be shown as it is; ``now``: seconds
    since 1970.
    """

    def __init__(self, user_name: NameOf, group_name: NameOf, now: Callable[[], float]) -> None:
        self._user_name, self._group_name, self._now = user_name, group_name, now

    def line(self, name: bytes, st: os.stat_result) -> bytes:
        """Mode, links, owner, group, size, time and name, in sftp-server's columns."""
        owner = self._user_name(st.st_uid) or b"%d" % st.st_uid
        group = self._group_name(st.st_gid) or b"%d" % st.st_gid
        mode = stat.filemode(st.st_mode).encode()
        when = time_text(st.st_mtime_ns // 1_000_000_000, self._now()).encode()
        return b"%s  %3d %-8s %-8s %8d %s %s" % (mode, st.st_nlink, owner, group, st.st_size, when, name)


def time_text(seconds: int, now: float) -> str:
    """A time as ls -l shows it: of the last half year with the hour, else with the year. Both since 1970."""
    try:
        time = datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):  # a year of five digits: sftp-server leaves it out as well
        return ""
    day = f"{_MONTHS[time.month - 1]} {time.day:2}"
    return f"{day} {time.hour:02}:{time.minute:02}" if 0 <= now - seconds < _RECENT else f"{day}  {time.year}"


class Listing:
    """A directory being read. Owns ``descriptor``. ``parent`` gives the attributes of '..'."""

    def __init__(self, descriptor: int, parent: Callable[[], os.stat_result], names: LongNames) -> None:
        self.descriptor, self._parent, self._names = descriptor, parent, names
        self._entries = self._read()
        self._packer: Packer | None = None

    def batch(self) -> tuple[SFTPName, ...]:
        """The next entries; none at the end. Raises OSError."""
        batch: list[SFTPName] = []
        size = 0
        for name, st in self._entries:
            entry = SFTPName(name, self._names.line(name, st), SFTPAttributes.from_stat(st))
            batch.append(entry)
            size += _FIXED + len(entry.filename) + len(entry.longname)
            if len(batch) >= BATCH_NAMES or size >= BATCH_BYTES:
                break
        return tuple(batch)

    def bundle(self, most: int) -> bytes:
        """The next entries as a bundle of at most ``most`` bytes; b"" at the end. Raises OSError.

        It goes by a descriptor of its own: :meth:`batch` and this one each have their place in the directory.
        """
        if self._packer is None:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.descriptor)
            try:
                self._packer = Packer(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return self._packer.next(most)

    def _read(self) -> Generator[tuple[bytes, os.stat_result], None, None]:
        """What is there but cannot be looked at any more is passed over, as sftp-server does."""
        here = os.fstat(self.descriptor)
        if here.st_nlink == 0:  # removed meanwhile
            return
        yield b".", here
        try:
            parent = self._parent()
        except OSError:
            pass
        else:
            yield b"..", parent
        with os.scandir(self.descriptor) as entries:
            for entry in entries:
                try:
                    st = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                yield os.fsencode(entry.name), st

    def close(self) -> None:
        """Raises OSError as close(2) does."""
        self._entries.close()
        if self._packer is not None:
            self._packer.close()
        os.close(self.descriptor)
