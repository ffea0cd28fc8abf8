# cython: language_level=3
"""Bundles of small files; see csrc/bundle/bundle.h."""

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from fastssh._native.status cimport raise_status

cdef extern from "bundle.h" nogil:
    enum:
        FS_ENTRY_WHOLE
        FS_ENTRY_OVERHEAD
        FS_UNPACK_PRESERVE
        FS_UNPACK_SET_ID
    ctypedef struct fs_packer:
        void *stream
    ctypedef struct fs_entry:
        int kind
        const uint8_t *name
        uint32_t name_len
        const uint8_t *attributes
        uint64_t size
    int fs_packer_open(fs_packer *packer, int directory)
    void fs_packer_close(fs_packer *packer)
    int fs_packer_next(fs_packer *packer, uint8_t *out, size_t room, size_t *len)
    int fs_entry_next(const uint8_t *bundle, size_t len, size_t *offset, fs_entry *entry)
    int fs_entry_write(const fs_entry *entry, int directory, unsigned options)

cdef extern from "fs_status.h" nogil:
    int FS_OK, FS_AGAIN, FS_E_SYSTEM

MIN_ROOM = FS_ENTRY_OVERHEAD + 1
PRESERVE, SET_ID = FS_UNPACK_PRESERVE, FS_UNPACK_SET_ID


cdef class Packer:
    cdef fs_packer packer

    def __cinit__(self):
        self.packer.stream = NULL

    def __init__(self, int directory):
        if self.packer.stream != NULL:
            raise ValueError("a packer is opened once")
        cdef int status = fs_packer_open(&self.packer, directory)
        raise_status(status, errno)

    def next(self, Py_ssize_t room):
        cdef size_t size = 0
        cdef uint8_t *out
        cdef int status, error
        cdef bytes whole
        if self.packer.stream == NULL:
            raise ValueError("the packer is closed")
        if room < MIN_ROOM:
            raise ValueError(f"no room for an entry in {room} bytes")
        # Of this call alone: a client may have a thousand directories open, and none of them is to hold so much.
        whole = PyBytes_FromStringAndSize(NULL, room)
        out = <uint8_t *>PyBytes_AS_STRING(whole)
        with nogil:
            status = fs_packer_next(&self.packer, out, <size_t>room, &size)
            error = errno
        raise_status(status, error)
        return whole[:size]

    def close(self):
        fs_packer_close(&self.packer)

    def __dealloc__(self):
        fs_packer_close(&self.packer)


def entries(bytes bundle not None):
    cdef const uint8_t *data = bundle
    cdef size_t size = len(bundle), offset = 0
    cdef fs_entry entry
    cdef int status
    cdef list found = []
    while True:
        status = fs_entry_next(data, size, &offset, &entry)
        if status == FS_AGAIN:
            return found
        raise_status(status)
        name = PyBytes_FromStringAndSize(<const char *>entry.name, entry.name_len)
        found.append((name, entry.size, entry.kind == FS_ENTRY_WHOLE, entry.attributes - data))


def unpack(bytes bundle not None, int directory, unsigned options):
    cdef const uint8_t *data = bundle
    cdef size_t size = len(bundle), offset = 0
    cdef fs_entry entry
    cdef int status
    cdef uint32_t index = 0
    cdef list failed = []
    # Whatever is wrong with it shows before anything is done.
    while True:
        status = fs_entry_next(data, size, &offset, &entry)
        if status == FS_AGAIN:
            break
        raise_status(status)
    offset = 0
    with nogil:
        while fs_entry_next(data, size, &offset, &entry) == FS_OK:
            if entry.kind == FS_ENTRY_WHOLE and fs_entry_write(&entry, directory, options) != 0:
                with gil:
                    failed.append(index)
            index += 1
    return tuple(failed)
