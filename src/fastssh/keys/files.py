"""What is particular to files of keys: who may reach them, and what is told of lines that are not used."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from fastssh.files import Path, UnfitFileError, check_owner_and_modes, read_regular, shown

#: OpenSSH's bound for key files (MAX_KEY_FILE_SIZE), bytes.
MAX_KEY_FILE = 1024 * 1024
#: Of one file.
MAX_NOTES = 100


class KeyPermissionError(UnfitFileError):
    """A private key file that others than its owner can reach."""


class Note(NamedTuple):
    """What was ignored, and why; line 0 is the whole file."""

    file: str  #: fit for a message
    line: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.reason}"


class Notes:
    """What was ignored in one file, which may consist of bad lines: they must not take many times its size in memory,
    nor fill a log."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.all: list[Note] = []

    def add(self, line: int, reason: str) -> None:
        if len(self.all) < MAX_NOTES:
            self.all.append(Note(self._file, line, reason))
        elif len(self.all) == MAX_NOTES:
            self.all.append(Note(self._file, line, "ignored, and perhaps others after it"))


def check_private(path: Path, status: os.stat_result) -> None:
    """Refuses a private key file of ours that group or others can reach; as in OpenSSH, other owners' files pass."""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.getuid() and mode & 0o077:
        raise KeyPermissionError(
            f"UNPROTECTED PRIVATE KEY FILE: permissions {mode:04o} for {shown(path)} are too open; "
            "it must not be accessible by others"
        )


def read_checked(path: Path, limit: int, *, home: Path | None, uid: int | None) -> bytes | Note | None:
    """A file that says who may log in: its contents, None if there is none, or a note that says why it is not used.

    It is regular and has at most ``limit`` bytes. ``uid`` and ``home`` are the user's for
    :func:`check_owner_and_modes`; with ``uid=None`` (StrictModes no) anybody's file will do. Raises nothing.
    """
    name = shown(path)
    try:
        data, status = read_regular(path, limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Note(name, 0, f"cannot be read: {error.strerror}")
    except UnfitFileError as error:
        return Note(name, 0, str(error).removeprefix(f"{name}: "))
    if uid is not None and (reason := check_owner_and_modes(path, home, uid, status)) is not None:
        return Note(name, 0, reason)
    return data
