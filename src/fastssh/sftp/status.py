"""What a server's answer to a failed request says: one place where errno becomes an SFTP status."""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Final

from fastssh.sftp.constants import STATUS_TEXT, StatusCode
from fastssh.sftp.messages import STATUS, StatusReply

# As OpenSSH's sftp-server tells them apart; what is not here is a plain FAILURE.
_BY_ERRNO: Final[dict[int, StatusCode]] = {
    errno.ENOENT: StatusCode.NO_SUCH_FILE,
    errno.ENOTDIR: StatusCode.NO_SUCH_FILE,
    errno.EBADF: StatusCode.NO_SUCH_FILE,
    errno.ELOOP: StatusCode.NO_SUCH_FILE,
    errno.EPERM: StatusCode.PERMISSION_DENIED,
    errno.EACCES: StatusCode.PERMISSION_DENIED,
    errno.EFAULT: StatusCode.PERMISSION_DENIED,
    errno.ENAMETOOLONG: StatusCode.BAD_MESSAGE,
    errno.EINVAL: StatusCode.BAD_MESSAGE,
    errno.ENOSYS: StatusCode.OP_UNSUPPORTED,
}


class Refused(Exception):
    """A request is answered with this status, which comes from no errno. Never leaves the server."""

    def __init__(self, code: StatusCode, text: str = "") -> None:
        super().__init__(text)
        self.status = status(code, text)


def status(code: StatusCode, text: str = "") -> StatusReply:
    """The reply with this code; without ``text`` in the usual words."""
    return StatusReply(code, text or STATUS_TEXT[code])


def status_of(error: OSError) -> StatusReply:
    """The reply to a request that the system refused. Its words are the system's, never a path of ours."""
    if error.errno is None:
        return status(StatusCode.FAILURE)
    return status(_BY_ERRNO.get(error.errno, StatusCode.FAILURE), os.strerror(error.errno))


def failure(number: int) -> OSError:
    """An OSError with the system's words for ``number``."""
    return OSError(number, os.strerror(number))


@cache
def native_statuses() -> tuple[bytes, tuple[bytes, ...]]:
    """What the native plane answers in our words, as ``Plane.sftp_serve_attach`` takes it: at the end of a file;
    by errno, 0 being success and the last one for any errno beyond."""
    replies = [status(StatusCode.OK)]
    replies += [status_of(failure(number)) for number in range(1, max(errno.errorcode) + 1)]
    replies.append(status(StatusCode.FAILURE))
    return STATUS.value.write(status(StatusCode.EOF)), tuple(map(STATUS.value.write, replies))
