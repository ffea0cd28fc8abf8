# cython: language_level=3
"""Packets sealed and opened in memory; see packet.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastssh._native.status cimport raise_status

cdef extern from "packet.h" nogil:
    const size_t FS_PACKET_HEADER

    ctypedef struct fs_cipher_info:
        const char *name
        uint16_t key_len, iv_len, block_len, tag_len

    ctypedef struct fs_mac_info:
        const char *name
        uint16_t key_len, tag_len
        uint8_t etm

    const fs_cipher_info *fs_cipher_find(const char *name)
    const fs_mac_info *fs_mac_find(const char *name)
    const fs_cipher_info **fs_cipher_all
    const fs_mac_info **fs_mac_all

    ctypedef struct fs_packet_keys:
        const fs_cipher_info *cipher
        const fs_mac_info *mac
        const uint8_t *key
        const uint8_t *iv
        const uint8_t *mac_key
        uint32_t sequence

    ctypedef struct fs_packet_counters:
        uint32_t sequence
        uint64_t packets, bytes, rekey_bytes

    ctypedef struct fs_packet:
        uint8_t *start
        uint8_t *payload
        size_t payload_len, total

    ctypedef struct fs_sealer:
        pass

    ctypedef struct fs_opener:
        pass

    fs_sealer *fs_sealer_new(const fs_packet_keys *keys, int *status)
    void fs_sealer_free(fs_sealer *s)
    fs_packet_counters *fs_sealer_counters(fs_sealer *s)
    int fs_sealer_rekey_due(const fs_sealer *s)
    size_t fs_sealed_size(const fs_sealer *s, size_t payload_len)
    int fs_seal_batch(fs_sealer *s, fs_packet *packets, size_t count)

    fs_opener *fs_opener_new(const fs_packet_keys *keys, int *status)
    void fs_opener_free(fs_opener *o)
    fs_packet_counters *fs_opener_counters(fs_opener *o)
    int fs_opener_rekey_due(const fs_opener *o)
    int fs_open_batch(fs_opener *o, uint8_t *data, size_t len, fs_packet *packets, size_t max, size_t *count,
                      size_t *used, size_t *need)

    int fs_packet_select_aesgcm(const char *name)
    const char *fs_packet_aesgcm()

cdef extern from "aesgcm.h" nogil:
    ctypedef struct fs_aesgcm_impl:
        const char *name
        int (*usable)()
    const fs_aesgcm_impl **fs_aesgcm_impls

cdef enum:
    OPEN_BATCH = 64  # packets opened in one call


cdef const fs_cipher_info *find_cipher(str name) except? NULL:
    cdef bytes encoded = name.encode()
    return fs_cipher_find(encoded)


cdef const fs_mac_info *find_mac(str name) except? NULL:
    cdef bytes encoded = name.encode()
    return fs_mac_find(encoded)


cdef const uint8_t *exactly(str what, bytes value, size_t wanted) except? NULL:
    """The bytes of ``value``, which lives as long as the caller holds it."""
    if <size_t>len(value) != wanted:
        raise ValueError(f"{what} must be {wanted} bytes long, not {len(value)}")
    return <const uint8_t *>PyBytes_AS_STRING(value)


cdef int fill_keys(fs_packet_keys *keys, str cipher, str mac, bytes key, bytes iv, bytes mac_key,
                   uint32_t sequence) except -1:
    keys.cipher = find_cipher(cipher)
    if keys.cipher is NULL:
        raise ValueError(f"unknown cipher: {cipher!r}")
    keys.mac = find_mac(mac)
    if keys.mac is NULL:
        raise ValueError(f"unknown MAC: {mac!r}")
    keys.key = exactly("key", key, keys.cipher.key_len)
    keys.iv = exactly("iv", iv, keys.cipher.iv_len)
    keys.mac_key = NULL
    if keys.cipher.tag_len == 0:  # an AEAD cipher has no use for a MAC, so none needs to have been derived
        keys.mac_key = exactly("mac_key", mac_key, keys.mac.key_len)
    keys.sequence = sequence
    return 0


cdef class Sealer:
    cdef fs_sealer *sealer
    cdef bint busy  # a batch runs without the GIL: no other thread may come in between

    def __cinit__(self, str cipher not None, str mac not None, bytes key not None, bytes iv not None,
                  bytes mac_key not None, uint32_t sequence=0):
        cdef fs_packet_keys keys
        cdef int status = 0
        fill_keys(&keys, cipher, mac, key, iv, mac_key, sequence)
        self.sealer = fs_sealer_new(&keys, &status)
        if self.sealer is NULL:
            raise_status(status)

    def __dealloc__(self):
        fs_sealer_free(self.sealer)

    def seal(self, bytes payload not None):
        return self.seal_batch([payload])

    def seal_batch(self, list payloads not None):
        cdef size_t count = len(payloads), total = 0, size, i
        cdef fs_packet *packets
        cdef bytes payload, out
        cdef int status

        if self.busy:
            raise RuntimeError("this Sealer is in use by another thread")
        for payload in payloads:
            size = fs_sealed_size(self.sealer, len(payload))
            if size == 0:
                raise ValueError(f"no packet can have a payload of {len(payload)} bytes")
            total += size
        out = PyBytes_FromStringAndSize(NULL, total)  # filled below, before anyone else sees it
        packets = <fs_packet *>PyMem_Malloc(count * sizeof(fs_packet))
        if packets is NULL:
            raise MemoryError
        try:
            total = 0
            for i in range(count):
                payload = payloads[i]
                packets[i].start = <uint8_t *>PyBytes_AS_STRING(out) + total
                packets[i].payload_len = len(payload)
                memcpy(packets[i].start + FS_PACKET_HEADER, PyBytes_AS_STRING(payload), len(payload))
                total += fs_sealed_size(self.sealer, len(payload))
            self.busy = True
            with nogil:
                status = fs_seal_batch(self.sealer, packets, count)
            self.busy = False
        finally:
            PyMem_Free(packets)
        raise_status(status)
        return out

    @property
    def sequence(self):
        return fs_sealer_counters(self.sealer).sequence

    @property
    def rekey_due(self):
        return fs_sealer_rekey_due(self.sealer) != 0


cdef class Opener:
    cdef fs_opener *opener
    cdef bint busy

    def __cinit__(self, str cipher not None, str mac not None, bytes key not None, bytes iv not None,
                  bytes mac_key not None, uint32_t sequence=0):
        cdef fs_packet_keys keys
        cdef int status = 0
        fill_keys(&keys, cipher, mac, key, iv, mac_key, sequence)
        self.opener = fs_opener_new(&keys, &status)
        if self.opener is NULL:
            raise_status(status)

    def __dealloc__(self):
        fs_opener_free(self.opener)

    def open(self, bytes data not None):
        cdef size_t length = len(data), done = 0, count, used, need, i
        cdef fs_packet packets[OPEN_BATCH]
        cdef uint8_t *copy
        cdef list payloads = []
        cdef int status

        if self.busy:
            raise RuntimeError("this Opener is in use by another thread")
        copy = <uint8_t *>PyMem_Malloc(length)  # opening happens in place, and bytes do not change
        if copy is NULL:
            raise MemoryError
        try:
            memcpy(copy, PyBytes_AS_STRING(data), length)
            while True:
                self.busy = True
                with nogil:
                    status = fs_open_batch(self.opener, copy + done, length - done, packets, OPEN_BATCH, &count,
                                           &used, &need)
                self.busy = False
                for i in range(count):
                    payloads.append(PyBytes_FromStringAndSize(<char *>packets[i].payload, packets[i].payload_len))
                done += used
                if status != 0 or count < OPEN_BATCH or packets[count - 1].payload[0] < 80:
                    break
        finally:
            PyMem_Free(copy)
        if not payloads:  # what came before a bad packet is good: the fault is raised by the next call
            raise_status(status)
        return payloads, done

    @property
    def sequence(self):
        return fs_opener_counters(self.opener).sequence

    @property
    def rekey_due(self):
        return fs_opener_rekey_due(self.opener) != 0


def cipher_sizes(str name not None):
    cdef const fs_cipher_info *cipher = find_cipher(name)
    if cipher is NULL:
        raise KeyError(name)
    return cipher.key_len, cipher.iv_len, cipher.block_len, cipher.tag_len


def mac_sizes(str name not None):
    cdef const fs_mac_info *mac = find_mac(name)
    if mac is NULL:
        raise KeyError(name)
    return mac.key_len, mac.tag_len, mac.etm != 0


def cipher_names():
    cdef list names = []
    cdef size_t i = 0
    while fs_cipher_all[i] is not NULL:
        names.append(fs_cipher_all[i].name.decode("ascii"))
        i += 1
    return names


def mac_names():
    cdef list names = []
    cdef size_t i = 0
    while fs_mac_all[i] is not NULL:
        names.append(fs_mac_all[i].name.decode("ascii"))
        i += 1
    return names


def aesgcm_implementation():
    return fs_packet_aesgcm().decode("ascii")


def aesgcm_implementations():
    cdef list names = []
    cdef size_t i = 0
    while fs_aesgcm_impls[i] is not NULL:
        if fs_aesgcm_impls[i].usable():
            names.append(fs_aesgcm_impls[i].name.decode("ascii"))
        i += 1
    return names + ["libcrypto"]


def select_aesgcm(str name not None):
    cdef bytes encoded = name.encode()
    if fs_packet_select_aesgcm(encoded) < 0:
        raise ValueError(f"no AES-GCM named {name!r} can run here")
