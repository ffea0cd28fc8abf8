# cython: language_level=3
"""Starting programs as a login does; see csrc/process/spawn.h."""

from libc.stdlib cimport calloc, free

from fastssh._native.status cimport raise_status

cdef extern from "spawn.h" nogil:
    ctypedef int pid_t
    ctypedef struct fs_spawn:
        const char *path
        char **arguments
        char **variables
        const char *directory
        int streams[3]
        int controlling
        unsigned long files
    int fs_spawn_start(const fs_spawn *spawn, pid_t *pid, int *error)


cdef const char *_text(bytes value) except NULL:
    """Whole, or not at all: what stands behind a NUL would be lost."""
    if b"\0" in value:
        raise ValueError("embedded null byte")
    return value


cdef char **_vector(list values) except NULL:
    """Pointers into ``values``, which have to outlive it; to be freed."""
    cdef char **vector = <char **>calloc(len(values) + 1, sizeof(char *))
    if vector == NULL:
        raise MemoryError()
    try:
        for i, value in enumerate(values):
            vector[i] = <char *>_text(value)
    except BaseException:
        free(vector)
        raise
    return vector


def spawn(bytes path not None, list arguments not None, list variables not None, bytes directory not None,
          streams, bint controlling, unsigned long files):
    cdef fs_spawn request
    cdef char **argv = NULL
    cdef char **envp = NULL
    cdef pid_t pid = -1
    cdef int error = 0, status
    request.path, request.directory = _text(path), _text(directory)
    request.streams[0], request.streams[1], request.streams[2] = streams
    request.controlling, request.files = controlling, files
    try:
        argv, envp = _vector(arguments), _vector(variables)
        request.arguments, request.variables = argv, envp
        with nogil:
            status = fs_spawn_start(&request, &pid, &error)
    finally:
        free(argv)
        free(envp)
    raise_status(status, error)
    return pid
