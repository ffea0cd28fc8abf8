# cython: language_level=3
"""fs_status codes as exceptions of :mod:`fastssh.errors`: the one place that maps them."""

from os import strerror

from fastssh.errors import IntegrityError, ProtocolError, SSHError

cdef extern from "fs_status.h" nogil:
    int FS_E_LENGTH, FS_E_PADDING, FS_E_MAC, FS_E_SEQUENCE, FS_E_MALFORMED, FS_E_STATE, FS_E_CHANNEL, FS_E_WINDOW
    int FS_E_SFTP, FS_E_REQUEST_ID, FS_E_ARGUMENT, FS_E_NO_MEMORY, FS_E_CRYPTO, FS_E_SYSTEM, FS_E_QUEUE
    int FS_E_COMPRESSION
    const char *fs_status_text(int code)

# SSH_DISCONNECT codes of RFC 4253 section 11.1
cdef enum:
    PROTOCOL_ERROR = 2
    COMPRESSION_ERROR = 6


cdef int raise_status(int code, int err=0) except -1:
    if code >= 0:
        return code
    text = fs_status_text(code).decode("ascii")
    if code == FS_E_MAC:
        raise IntegrityError(text)
    if code == FS_E_SYSTEM:
        raise OSError(err, strerror(err))
    if code == FS_E_NO_MEMORY:
        raise MemoryError(text)
    if code == FS_E_ARGUMENT:
        raise ValueError(text)
    if code == FS_E_CRYPTO:
        raise SSHError(text)
    raise ProtocolError(text, COMPRESSION_ERROR if code == FS_E_COMPRESSION else PROTOCOL_ERROR)
