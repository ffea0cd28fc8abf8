"""Numbers of draft-ietf-secsh-filexfer-02 and sizes that OpenSSH's sftp-server keeps to."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

VERSION: Final = 3

MAX_MESSAGE: Final = 256 * 1024  # bytes of a message without its length field; OpenSSH's SFTP_MAX_MSG_LENGTH
MAX_TRANSFER: Final = 261_120  # bytes of one READ or WRITE: MAX_MESSAGE less 1024, as OpenSSH's limits@ states
DEFAULT_TRANSFER: Final = 32_768  # what every server must take (section 3), where it states no limits
MAX_HANDLE: Final = 256  # bytes (section 6.3)

# Request ids with the top bit set belong to the native plane.
MAX_REQUEST_ID: Final = 0x7FFF_FFFF


class Packet(IntEnum):
    """SSH_FXP_ numbers (section 3)."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class StatusCode(IntEnum):
    """SSH_FX_ codes (section 7)."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8


# What is said where a server sends a code without words.
STATUS_TEXT: Final[dict[int, str]] = {
    StatusCode.OK: "Success",
    StatusCode.EOF: "End of file",
    StatusCode.NO_SUCH_FILE: "No such file or directory",
    StatusCode.PERMISSION_DENIED: "Permission denied",
    StatusCode.FAILURE: "Failure",
    StatusCode.BAD_MESSAGE: "Bad message",
    StatusCode.NO_CONNECTION: "No connection",
    StatusCode.CONNECTION_LOST: "Connection lost",
    StatusCode.OP_UNSUPPORTED: "Operation unsupported",
}


class OpenFlags(IntFlag):
    """SSH_FXF_ flags of OPEN (section 6.3)."""

    READ = 0x01
    WRITE = 0x02
    APPEND = 0x04
    CREAT = 0x08
    TRUNC = 0x10
    EXCL = 0x20


class AttrFlags(IntFlag):
    """SSH_FILEXFER_ATTR_ flags (section 5)."""

    SIZE = 0x01
    UIDGID = 0x02
    PERMISSIONS = 0x04
    ACMODTIME = 0x08
    EXTENDED = 0x8000_0000
