"""Reading and writing small files: bounded, regular, never followed into a pipe, private from the start."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from typing import TypeAlias

from fastssh.errors import KeyFormatError

Path: TypeAlias = str | os.PathLike[str]

_PIECE = 16 * 1024  # bytes read at once: most files are one, and no memory is asked for that is not needed


class UnfitFileError(KeyFormatError):
    """A file that is not used for what it is: too large, not a regular file, or open to others.

    A KeyFormatError, for whoever asks for a key has no use for the difference.
    """


def shown(path: Path) -> str:
    """A path for a message: always one line, whatever characters it has."""
    text = os.fspath(path)
    return text if text.isprintable() else text.encode("unicode_escape", "surrogateescape").decode("ascii", "replace")


def open_regular(path: Path, flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
    """Opens a regular file and returns descriptor and status; the caller closes it.

    Never waits on a FIFO and never takes a terminal. Raises OSError as ``os.open`` does, and
    :class:`UnfitFileError` for what is not a regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, mode)
    except ValueError:  # a NUL byte
        raise UnfitFileError(f"{shown(path)}: not a file name") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnfitFileError(f"{shown(path)}: not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Contents and status of a regular file of at most ``limit`` bytes, else :class:`UnfitFileError`; OSError as is."""
    descriptor, status = open_regular(path, os.O_RDONLY)
    try:
        return read_descriptor(descriptor, limit, shown(path)), status
    finally:
        os.close(descriptor)


def check_owner_and_modes(
    path: Path, home: Path | None, uid: int, status: os.stat_result | None = None
) -> str | None:
    """StrictModes of sshd_config(5): None when nobody but user and root can write the file or put another there.

    The file, its folder and those above up to ``home`` (up to the root where it is elsewhere, or None) must belong to
    one of the two and be writable by no other; else the reason comes back, fit for a log. ``status`` is the opened
    file's, so that what was read is what was checked; without it the file is looked at by its name.
    """
    try:
        real = os.path.realpath(path, strict=True)
        top = os.path.realpath(home) if home is not None else "/"
        status = os.stat(real) if status is None else status
        wrong = _open_to_others(status, uid) if stat.S_ISREG(status.st_mode) else "is not a regular file"
        while not wrong and real != "/":
            real = os.path.dirname(real)
            wrong = _open_to_others(os.stat(real), uid)
            if real == top:
                break
    except OSError as error:
        return f"{shown(path)}: owner and permissions cannot be checked: {error.strerror}"
    except ValueError:  # a NUL byte
        return f"{shown(path)}: not a file name"
    return f"bad ownership or modes: {shown(real)} {wrong}" if wrong else None


def _open_to_others(status: os.stat_result, uid: int) -> str | None:
    if status.st_uid not in (0, uid):
        return f"belongs to user {status.st_uid}"
    if status.st_mode & 0o022:
        return f"is writable by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


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


def replace_file(path: Path, data: bytes, mode: int | None = None, *, follow: bool = True) -> None:
    """Writes a file whole or not at all: what reads it sees the old contents or the new, whatever happens.

    ``mode`` is the new file's, whatever the umask; None keeps that of the old one (0600 without one). Its owner stays
    as well, as far as this process may say so. Of a symbolic link the file that it leads to is replaced, or without
    ``follow`` none is. Raises OSError; :class:`UnfitFileError` for what is not a regular file.
    """
    real = os.path.realpath(path) if follow else os.fspath(path)
    try:
        status = os.stat(real, follow_symlinks=follow)
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise UnfitFileError(f"{shown(path)}: not a regular file")
    if mode is None:
        mode = 0o600 if status is None else stat.S_IMODE(status.st_mode)
    fresh = _create_beside(real, data, mode)
    try:
        if status is not None:
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.chown(fresh, status.st_uid, status.st_gid)
        os.rename(fresh, real)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(fresh)
        raise


def _create_beside(path: str, data: bytes, mode: int) -> str:
    """A new file in the same folder, with a name that no other had; its path."""
    folder, name = os.path.split(path)
    for number in itertools.count():
        fresh = os.path.join(folder, f".{name[:200]}.{os.getpid()}.{number}")
        try:
            create_file(fresh, data, mode)
        except FileExistsError:  # of a process that had our number and did not live to tidy up
            continue
        return fresh
    raise AssertionError  # count() has no end


def read_any(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Contents and status of a file, pipe or device that a user named, so that ``/dev/stdin`` will do as well.

    Waits as long as a pipe's other end lets it. Raises OSError, or :class:`UnfitFileError` past ``limit`` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError:  # a NUL byte
        raise UnfitFileError(f"{shown(path)}: not a file name") from None
    try:
        return read_descriptor(descriptor, limit, shown(path)), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, limit: int, name: str) -> bytes:
    """Everything up to the end, at most ``limit`` bytes: else :class:`UnfitFileError`, which calls it ``name``."""
    pieces, length = [], 0
    while piece := os.read(descriptor, _PIECE):  # what is read counts, not what the status said
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            raise UnfitFileError(f"{name}: larger than {limit} bytes")
    return b"".join(pieces)
