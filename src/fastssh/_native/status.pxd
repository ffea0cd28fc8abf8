# The one place where fs_status codes (csrc/include/fs_status.h) become exceptions.

# Raises what `code` stands for and returns -1; returns `code` itself when it is no error (FS_OK, FS_AGAIN).
# `err` is the errno that goes with FS_E_SYSTEM.
cdef int raise_status(int code, int err=*) except -1
