"""Reading and writing the files of this floor: bounded, regular, never followed into a pipe, private from the start."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TypeAlias

from fastssh.errors import KeyFormatError

Path: TypeAlias = str | os.PathLike[str]

#: OpenSSH's bound for key files (MAX_KEY_FILE_SIZE), bytes.
MAX_KEY_FILE = 1024 * 1024


class KeyFileError(KeyFormatError):
    """A key file that is not used for what it is: too large, not a regular file, or open to others."""


class KeyPermissionError(KeyFileError):
    """A private key file that others than its owner can reach."""


def shown(path: Path) -> str:
    """A path for a message: always one line, whatever characters it has."""
    text = os.fspath(path)
    return text if text.isprintable() else text.encode("unicode_escape", "surrogateescape").decode("ascii", "replace")


def open_regular(path: Path, flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
    """Opens a regular file and returns descriptor and status; the caller closes it.

    Never waits on a FIFO and never takes a terminal. Raises OSError as ``os.open`` does, and
    :class:`KeyFileError` for what is not a regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, mode)
    except ValueError:  # a NUL byte
        raise KeyFileError(f"{shown(path)}: not a file name") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{shown(path)}: not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Contents and status of a regular file of at most ``limit`` bytes, else :class:`KeyFileError`; OSError as is."""
    descriptor, status = open_regular(path, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        data = file.read(limit + 1)  # what is read counts, not what the status said
    if len(data) > limit:
        raise KeyFileError(f"{shown(path)}: larger than {limit} bytes")
    return data, status


def check_private(path: Path, status: os.stat_result) -> None:
    """Refuses a private key file of ours that group or others can reach; as in OpenSSH, other owners' files pass."""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.getuid() and mode & 0o077:
        raise KeyPermissionError(
            f"UNPROTECTED PRIVATE KEY FILE: permissions {mode:04o} for {shown(path)} are too open; "
            "it must not be accessible by others"
        )


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


def create_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Makes a new file with ``mode`` from its first moment, whatever the umask; one that exists is left alone.

    Raises OSError (FileExistsError above all); a file that could not be written whole is removed again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o700)
    try:
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(path)
        raise
