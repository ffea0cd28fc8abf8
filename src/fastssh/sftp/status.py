"""What a server's answer to a failed request says: one place where errno becomes an SFTP status."""

from __future__ import annotations

import errno
import os
from typing import Final

from fastssh.sftp.constants import STATUS_TEXT, StatusCode
from fastssh.sftp.messages import StatusReply

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
