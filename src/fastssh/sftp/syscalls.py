"""System calls that Python's os does not have: openat2(2), and chmod of a name that is not followed."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import sys
from functools import lru_cache
from typing import Any, Final

from fastssh.sftp.status import failure

# Calls added since Linux 5.1 have one number on all machines but Alpha and MIPS, which do without them here.
_MACHINES: Final = {"x86_64", "aarch64", "armv7l", "i686", "ppc64le", "riscv64", "s390x", "loongarch64"}
_OPENAT2: Final = 437  # Linux 5.6
_FCHMODAT2: Final = 452  # Linux 6.6

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@lru_cache(maxsize=1)
def _syscall() -> Any:
    """syscall(2) of the C library; None where the numbers above do not hold."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


def _call(number: int, *arguments: Any) -> int:
    """Raises OSError: ENOSYS where the kernel, or this module, does not know the call."""
    call = _syscall()
    if call is None:
        raise failure(errno.ENOSYS)
    result = int(call(ctypes.c_long(number), *arguments))
    if result < 0:
        raise failure(ctypes.get_errno())
    return result


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """A descriptor, closed at exec; ``resolve``: RESOLVE_ flags that bound where ``path`` may lead. Raises OSError."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _call(_OPENAT2, ctypes.c_int(directory), ctypes.c_char_p(path), ctypes.byref(how), size)


def chmod_nofollow(path: bytes, mode: int, directory: int | None = None) -> None:
    """chmod(2) of ``path`` itself, below ``directory``; EOPNOTSUPP for a symbolic link. Raises OSError."""
    if sys.platform != "linux":
        os.chmod(path, mode, dir_fd=directory, follow_symlinks=False)
        return
    where = ctypes.c_int(_AT_FDCWD if directory is None else directory)
    flags = ctypes.c_int(_AT_SYMLINK_NOFOLLOW)
    try:
        _call(_FCHMODAT2, where, ctypes.c_char_p(path), ctypes.c_uint(mode), flags)
    except OSError as error:
        # A filter that does not know the call may say EPERM, which is then said again.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    else:
        return
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if stat.S_ISLNK(os.fstat(held).st_mode):
            raise failure(errno.EOPNOTSUPP)
        os.chmod(f"/proc/self/fd/{held}", mode)  # leads to what is held, wherever its name leads by now
    finally:
        os.close(held)
