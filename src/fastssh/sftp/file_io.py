"""Bytes of open files: WRITE, and copy-data a slice at a time (draft-ietf-secsh-filexfer-extensions-00).

A copy may take hours: whoever drives it decides when the next slice comes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import Final

from fastssh.sftp.constants import StatusCode
from fastssh.sftp.handles import OpenFile
from fastssh.sftp.status import Refused, failure

SLICE: Final = 1024 * 1024  # bytes moved at once by the kernel: some milliseconds of a slow disk
READ_SLICE: Final = 256 * 1024  # bytes moved at once through memory of ours
_MAX_OFFSET: Final = 2**63 - 1


def signed(value: int) -> int:
    """An offset or size, as far as the system can have it; EINVAL for what it would take for a negative one."""
    if value > _MAX_OFFSET:
        raise failure(errno.EINVAL)
    return value


def write_all(file: OpenFile, data: bytes, offset: int) -> None:
    """All of ``data`` at ``offset``, or at the end of a file opened for appending. Raises OSError."""
    offset = 0 if file.append else signed(offset)
    left = memoryview(data)
    while True:
        done = os.write(file.fd, left) if file.append else os.pwrite(file.fd, left, offset)
        left = left[done:]
        offset += done
        if not left:
            return


def copy(source: OpenFile, target: OpenFile, offset: int, length: int, target_offset: int) -> Iterator[None]:
    """One slice each time it is asked. ``length`` 0: until the end of ``source``.

    Refused for two handles of one file, whose end would run away from the copy; EOF where ``source`` is shorter
    than ``offset`` and ``length`` say, after what there is was copied. Raises OSError.
    """
    if os.path.sameopenfile(source.fd, target.fd):
        raise Refused(StatusCode.FAILURE, "Source and target are the same file")
    signed(offset)
    target_offset = 0 if target.append else signed(target_offset)
    end = offset + length if length else _MAX_OFFSET
    in_kernel = True
    while offset < end:
        done = _by_kernel(source.fd, target.fd, min(SLICE, end - offset), offset, target_offset) if in_kernel else 0
        if not done:  # not possible between these two, or the end: a read says which
            in_kernel = False
            data = os.pread(source.fd, min(READ_SLICE, end - offset), offset)
            if not data:
                break
            write_all(target, data, target_offset)
            done = len(data)
        offset += done
        target_offset += done
        yield
    if length and offset < end:
        raise Refused(StatusCode.EOF)


def _by_kernel(source: int, target: int, count: int, offset: int, target_offset: int) -> int:
    """Bytes copied; 0 where the kernel cannot. What is really wrong, reading or writing will say again."""
    if sys.platform != "linux":
        return 0
    try:
        return os.copy_file_range(source, target, count, offset, target_offset)
    except OSError:
        return 0
