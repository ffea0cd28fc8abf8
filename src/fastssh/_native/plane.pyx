# cython: language_level=3, auto_pickle=False, boundscheck=False, wraparound=False, embedsignature=False
"""The door to csrc/plane: buffers' lifetimes, the GIL, codes to exceptions. No policy. See plane.pyi."""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastssh._native.status cimport raise_status

cdef extern from "packet.h":
    ctypedef struct fs_cipher_info:
        size_t key_len, iv_len
    ctypedef struct fs_mac_info:
        size_t key_len
    ctypedef struct fs_packet_keys:
        const fs_cipher_info *cipher
        const fs_mac_info *mac
        const uint8_t *key
        const uint8_t *iv
        const uint8_t *mac_key
    const fs_cipher_info *fs_cipher_find(const char *name) nogil
    const fs_mac_info *fs_mac_find(const char *name) nogil

cdef extern from "plane.h":
    ctypedef struct fs_plane:
        pass
    ctypedef struct fs_event:
        uint32_t kind, a, b, length
        const uint8_t *bytes
    ctypedef struct fs_transfer_result:
        int kind, status, sys_errno, cancelled
        uint64_t bytes
        uint64_t contiguous
        int64_t end_of_file
        char *message
    ctypedef struct fs_transfer_spec:
        int kind, fd
        const uint8_t *handle
        size_t handle_len
        uint64_t offset
        int64_t size
        uint32_t chunk
        int to_end
    enum:
        FS_EVENT_MESSAGE, FS_EVENT_DATA, FS_EVENT_SFTP, FS_EVENT_TRANSFER, FS_EVENT_WRITABLE, FS_EVENT_SFTP_END
        FS_EVENT_RELAY, FS_EVENT_RELAY_WAITS, FS_EVENT_RAW
        FS_RELAY_SOURCE, FS_RELAY_SOURCE_STDERR, FS_RELAY_SINK, FS_RELAY_SINK_STDERR, FS_RELAY_ENDS
        FS_STEP_EVENTS, FS_STEP_WANT_WRITE, FS_STEP_EOF, FS_STEP_MORE, FS_STEP_BLOCKED
        FS_TRANSFER_GET, FS_TRANSFER_PUT
        FS_OK, FS_E_ARGUMENT, FS_E_CHANNEL, FS_E_STATE, FS_E_SYSTEM, FS_E_QUEUE
    fs_plane *fs_plane_new(size_t receive_capacity, size_t send_capacity, int *status) nogil
    int fs_plane_unpadded(fs_plane *p) nogil
    void fs_plane_free(fs_plane *p) nogil
    int fs_plane_set_send_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence) nogil
    int fs_plane_set_receive_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence) nogil
    int fs_plane_set_send_compression(fs_plane *p, int on) nogil
    int fs_plane_set_receive_compression(fs_plane *p, int on) nogil
    uint32_t fs_plane_send_sequence(const fs_plane *p) nogil
    uint32_t fs_plane_receive_sequence(const fs_plane *p) nogil
    int fs_plane_rekey_due(const fs_plane *p) nogil
    void fs_plane_set_rekey_bytes(fs_plane *p, uint64_t limit) nogil
    int fs_plane_sending_kex(const fs_plane *p) nogil
    uint64_t fs_plane_bytes_sent(const fs_plane *p) nogil
    uint64_t fs_plane_bytes_received(const fs_plane *p) nogil
    int fs_plane_send(fs_plane *p, const uint8_t *payload, size_t len) nogil
    int fs_plane_has_events(const fs_plane *p) nogil
    int fs_plane_event(const fs_plane *p, size_t *cursor, fs_event *event) nogil
    void fs_plane_clear_events(fs_plane *p) nogil
    int fs_plane_step(fs_plane *p, int fd, int readable, int *flags) nogil
    void fs_plane_set_sink(fs_plane *p, int fd) nogil
    ctypedef struct fs_lingering:
        fs_plane *plane
        int fd, flags, status, sys_errno
    enum:
        FS_MAX_LINGERING
    void fs_planes_linger(fs_lingering *lingering, size_t count, int wakeup, uint64_t ns) nogil
    int fs_plane_content(const fs_plane *p, int flags) nogil
    int fs_plane_feed(fs_plane *p, const uint8_t *data, size_t len, size_t *taken) nogil
    int fs_plane_fill(fs_plane *p) nogil
    size_t fs_plane_unsent(const fs_plane *p, const uint8_t **data) nogil
    void fs_plane_drop(fs_plane *p, size_t count) nogil
    int fs_plane_channel_add(fs_plane *p, uint32_t channel, uint32_t window, uint32_t max_packet) nogil
    int fs_plane_channel_confirm(fs_plane *p, uint32_t channel, uint32_t remote, uint32_t window, uint32_t max_packet) nogil
    int fs_plane_channel_write(fs_plane *p, uint32_t channel, uint32_t stream, const uint8_t *data, size_t len, size_t *pending) nogil
    int fs_plane_channel_pending(const fs_plane *p, uint32_t channel, size_t *pending) nogil
    int fs_plane_channel_eof(fs_plane *p, uint32_t channel) nogil
    int fs_plane_channel_discard(fs_plane *p, uint32_t channel) nogil
    int fs_plane_channel_close(fs_plane *p, uint32_t channel) nogil
    int fs_plane_channel_consumed(fs_plane *p, uint32_t channel, uint32_t count) nogil
    int fs_plane_channel_widen(fs_plane *p, uint32_t channel, uint32_t window) nogil
    int fs_plane_channel_raw(fs_plane *p, uint32_t channel) nogil
    void fs_plane_channel_remove(fs_plane *p, uint32_t channel) nogil
    int fs_plane_sftp_attach(fs_plane *p, uint32_t channel) nogil
    int fs_plane_sftp_limit(fs_plane *p, uint32_t channel, uint32_t requests) nogil
    int fs_plane_sftp_start(fs_plane *p, uint32_t channel, const fs_transfer_spec *spec, uint32_t *transfer) nogil
    uint64_t fs_plane_transfer_progress(const fs_plane *p, uint32_t transfer) nogil
    uint64_t fs_plane_transfer_contiguous(const fs_plane *p, uint32_t transfer) nogil
    void fs_plane_transfer_cancel(fs_plane *p, uint32_t transfer) nogil
    int fs_plane_transfer_result(fs_plane *p, uint32_t transfer, fs_transfer_result *result) nogil
    void fs_plane_set_send_rate(fs_plane *p, uint64_t bytes_per_second) nogil
    double fs_plane_wait_seconds(const fs_plane *p) nogil
    ctypedef struct fs_serve_spec:
        uint32_t max_read, max_message
        const uint8_t *statuses
        size_t statuses_len
    int fs_plane_serve_attach(fs_plane *p, uint32_t channel, const fs_serve_spec *spec) nogil
    int fs_plane_serve_feed(fs_plane *p, uint32_t channel, const uint8_t *data, size_t len) nogil
    int fs_plane_serve_register(fs_plane *p, uint32_t channel, uint32_t handle, int fd, int readable, int writable) nogil
    int fs_plane_serve_forget(fs_plane *p, uint32_t channel, uint32_t handle) nogil
    int fs_plane_serve_resume(fs_plane *p, uint32_t channel) nogil
    int fs_plane_serve_counters(const fs_plane *p, uint32_t channel, uint64_t *bytes_read, uint64_t *bytes_written) nogil
    ctypedef struct fs_relay_kept:
        const uint8_t *bytes[2]
        size_t lengths[2]
    int fs_plane_relay_attach(fs_plane *p, uint32_t channel, const int fds[4]) nogil
    int fs_plane_relay_feed(fs_plane *p, uint32_t channel, uint32_t stream, const uint8_t *data, size_t len) nogil
    int fs_plane_relay_waits(fs_plane *p, int watching, size_t *cursor, fs_event *event) nogil
    int fs_plane_relay_ready(fs_plane *p, uint32_t channel, uint32_t ends) nogil
    int fs_plane_relay_release(fs_plane *p, uint32_t channel, uint32_t ends) nogil
    int fs_plane_relay_kept(const fs_plane *p, uint32_t channel, uint32_t stream, fs_relay_kept *kept) nogil

EVENT_MESSAGE = FS_EVENT_MESSAGE
EVENT_DATA = FS_EVENT_DATA
EVENT_SFTP = FS_EVENT_SFTP
EVENT_TRANSFER = FS_EVENT_TRANSFER
EVENT_WRITABLE = FS_EVENT_WRITABLE
EVENT_SFTP_END = FS_EVENT_SFTP_END
EVENT_RELAY = FS_EVENT_RELAY
EVENT_RELAY_WAITS = FS_EVENT_RELAY_WAITS
EVENT_RAW = FS_EVENT_RAW
RELAY_SOURCE = FS_RELAY_SOURCE
RELAY_SOURCE_STDERR = FS_RELAY_SOURCE_STDERR
RELAY_SINK = FS_RELAY_SINK
RELAY_SINK_STDERR = FS_RELAY_SINK_STDERR
STEP_EVENTS = FS_STEP_EVENTS
STEP_WANT_WRITE = FS_STEP_WANT_WRITE
STEP_EOF = FS_STEP_EOF
STEP_MORE = FS_STEP_MORE
STEP_BLOCKED = FS_STEP_BLOCKED
MAX_LINGERING = FS_MAX_LINGERING


cdef class TransferResult:
    cdef readonly str kind
    cdef readonly object bytes
    cdef readonly object contiguous
    cdef readonly int status
    cdef int sys_errno  # `errno` itself is a macro of C
    cdef readonly str message
    cdef readonly object end_of_file
    cdef readonly bint cancelled

    @property
    def errno(self):
        return self.sys_errno


cdef int check(int status) except -1:
    """What the peer caused becomes its exception; the caller's own mistakes become ValueError."""
    if status == FS_OK:
        return 0
    if status == FS_E_CHANNEL:
        raise ValueError("channel is not open")
    if status == FS_E_STATE:
        raise ValueError("not allowed in this state")
    if status == FS_E_QUEUE:
        raise BufferError("too much is waiting to be sent")
    return raise_status(status, errno)


cdef class Plane:
    cdef fs_plane *plane
    cdef bint busy

    def __cinit__(self, *, size_t receive_capacity=512 * 1024, size_t send_capacity=512 * 1024):
        cdef int status
        self.plane = fs_plane_new(receive_capacity, send_capacity, &status)
        if self.plane is NULL:
            raise_status(status, 0)

    def __dealloc__(self):
        fs_plane_free(self.plane)

    def set_unpadded(self):
        self.enter()
        check(fs_plane_unpadded(self.plane))

    cdef int enter(self) except -1:
        """One thread at a time: step() lets go of the GIL."""
        if self.busy:
            raise RuntimeError("this plane is in use by another thread")
        return 0

    # -- keys ----------------------------------------------------------------------------------------------------

    def set_send_keys(self, str cipher, str mac, bytes key, bytes iv, bytes mac_key, *, bint reset_sequence):
        self.enter()
        check(fs_plane_set_send_keys(self.plane, make_keys(cipher, mac, key, iv, mac_key), reset_sequence))

    def set_receive_keys(self, str cipher, str mac, bytes key, bytes iv, bytes mac_key, *, bint reset_sequence):
        self.enter()
        check(fs_plane_set_receive_keys(self.plane, make_keys(cipher, mac, key, iv, mac_key), reset_sequence))

    def set_send_compression(self, str method):
        self.enter()
        check(fs_plane_set_send_compression(self.plane, compresses(method)))

    def set_receive_compression(self, str method):
        self.enter()
        check(fs_plane_set_receive_compression(self.plane, compresses(method)))

    @property
    def send_sequence(self):
        return fs_plane_send_sequence(self.plane)

    @property
    def receive_sequence(self):
        return fs_plane_receive_sequence(self.plane)

    @property
    def rekey_due(self):
        return fs_plane_rekey_due(self.plane) != 0

    def set_rekey_bytes(self, uint64_t limit):
        self.enter()
        fs_plane_set_rekey_bytes(self.plane, limit)

    @property
    def sending_kex(self):
        return fs_plane_sending_kex(self.plane) != 0

    @property
    def bytes_sent(self):
        return fs_plane_bytes_sent(self.plane)

    @property
    def bytes_received(self):
        return fs_plane_bytes_received(self.plane)

    # -- messages ------------------------------------------------------------------------------------------------

    def send(self, bytes payload):
        self.enter()
        check(fs_plane_send(self.plane, payload, len(payload)))

    def events(self):
        cdef size_t cursor = 0
        cdef fs_event event
        cdef list found = []
        self.enter()
        while fs_plane_event(self.plane, &cursor, &event):
            if event.kind == FS_EVENT_MESSAGE or event.kind == FS_EVENT_SFTP or event.kind == FS_EVENT_RAW:
                found.append((event.kind, event.a, (<const char *>event.bytes)[:event.length]))
            elif event.kind == FS_EVENT_DATA:
                found.append((event.kind, event.a, event.b, (<const char *>event.bytes)[:event.length]))
            elif event.kind == FS_EVENT_TRANSFER:
                found.append((event.kind, event.a, event.b))
            elif event.kind == FS_EVENT_RELAY:
                found.append((event.kind, event.a, event.b & ((1 << FS_RELAY_ENDS) - 1), event.b >> FS_RELAY_ENDS))
            else:
                found.append((event.kind, event.a))
        fs_plane_clear_events(self.plane)
        return found

    # -- moving bytes ----------------------------------------------------------------------------------------------

    def step(self, int fd, bint readable):
        cdef int status, flags, err
        self.enter()
        self.busy = True
        with nogil:
            status = fs_plane_step(self.plane, fd, readable, &flags)
            err = errno
        self.busy = False
        if status != FS_OK:
            raise_status(status, err)
        return flags

    def set_sink(self, int fd):
        fs_plane_set_sink(self.plane, fd)

    def feed(self, bytes data):
        cdef int status
        cdef size_t taken
        cdef const uint8_t *start = data
        cdef size_t length = len(data)
        self.enter()
        self.busy = True
        with nogil:
            status = fs_plane_feed(self.plane, start, length, &taken)
        self.busy = False
        if status != FS_OK:
            raise_status(status, 0)
        return taken

    def take(self):
        cdef int status
        cdef const uint8_t *data
        cdef size_t length
        self.enter()
        self.busy = True
        with nogil:
            status = fs_plane_fill(self.plane)
        self.busy = False
        length = fs_plane_unsent(self.plane, &data)
        result = (<const char *>data)[:length] if length else b""
        fs_plane_drop(self.plane, length)
        if status != FS_OK and not result:
            raise_status(status, 0)
        return result

    @property
    def unsent(self):
        return fs_plane_unsent(self.plane, NULL)

    # -- channels ------------------------------------------------------------------------------------------------

    def channel_add(self, uint32_t channel, uint32_t window, uint32_t max_packet):
        self.enter()
        check(fs_plane_channel_add(self.plane, channel, window, max_packet))

    def channel_confirm(self, uint32_t channel, uint32_t remote, uint32_t window, uint32_t max_packet):
        self.enter()
        # window and packet size are the peer's words, so their faults are the peer's
        raise_status(fs_plane_channel_confirm(self.plane, channel, remote, window, max_packet), 0)

    def channel_write(self, uint32_t channel, const uint8_t[::1] data not None, uint32_t stream=0):
        cdef size_t pending = 0
        cdef const uint8_t *start = &data[0] if data.shape[0] else <const uint8_t *>b""
        self.enter()
        check(fs_plane_channel_write(self.plane, channel, stream, start, data.shape[0], &pending))
        return pending

    def channel_pending(self, uint32_t channel):
        cdef size_t pending = 0
        check(fs_plane_channel_pending(self.plane, channel, &pending))
        return pending

    def channel_eof(self, uint32_t channel):
        self.enter()
        check(fs_plane_channel_eof(self.plane, channel))

    def channel_discard(self, uint32_t channel):
        self.enter()
        check(fs_plane_channel_discard(self.plane, channel))

    def channel_close(self, uint32_t channel):
        self.enter()
        check(fs_plane_channel_close(self.plane, channel))

    def channel_consumed(self, uint32_t channel, uint32_t count):
        self.enter()
        check(fs_plane_channel_consumed(self.plane, channel, count))

    def channel_widen(self, uint32_t channel, uint32_t window):
        self.enter()
        check(fs_plane_channel_widen(self.plane, channel, window))

    def channel_raw(self, uint32_t channel):
        self.enter()
        check(fs_plane_channel_raw(self.plane, channel))

    def channel_remove(self, uint32_t channel):
        self.enter()
        fs_plane_channel_remove(self.plane, channel)

    # -- SFTP bulk endpoints ---------------------------------------------------------------------------------------

    def sftp_attach(self, uint32_t channel):
        self.enter()
        check(fs_plane_sftp_attach(self.plane, channel))

    def sftp_limit(self, uint32_t channel, uint32_t requests):
        self.enter()
        check(fs_plane_sftp_limit(self.plane, channel, requests))

    def sftp_get(self, uint32_t channel, bytes handle, int fd, *, uint64_t offset, int64_t size, uint32_t chunk,
                 bint to_end):
        return self.start(channel, FS_TRANSFER_GET, handle, fd, offset, size, chunk, to_end)

    def sftp_put(self, uint32_t channel, bytes handle, int fd, *, uint64_t offset, int64_t size, uint32_t chunk):
        return self.start(channel, FS_TRANSFER_PUT, handle, fd, offset, size, chunk, False)

    cdef object start(self, uint32_t channel, int kind, bytes handle, int fd, uint64_t offset, int64_t size,
                      uint32_t chunk, bint to_end):
        cdef fs_transfer_spec spec
        cdef uint32_t transfer
        self.enter()
        spec.kind, spec.fd, spec.handle, spec.handle_len = kind, fd, handle, len(handle)
        spec.offset, spec.size, spec.chunk, spec.to_end = offset, size, chunk, to_end
        check(fs_plane_sftp_start(self.plane, channel, &spec, &transfer))
        return transfer

    def transfer_progress(self, uint32_t transfer):
        return fs_plane_transfer_progress(self.plane, transfer)

    def transfer_contiguous(self, uint32_t transfer):
        return fs_plane_transfer_contiguous(self.plane, transfer)

    def transfer_cancel(self, uint32_t transfer):
        self.enter()
        fs_plane_transfer_cancel(self.plane, transfer)

    def transfer_result(self, uint32_t transfer):
        cdef fs_transfer_result found
        cdef TransferResult result = TransferResult.__new__(TransferResult)
        self.enter()
        check(fs_plane_transfer_result(self.plane, transfer, &found))
        result.kind = "get" if found.kind == FS_TRANSFER_GET else "put"
        result.bytes, result.status, result.sys_errno = found.bytes, found.status, found.sys_errno
        result.contiguous = found.contiguous
        result.end_of_file, result.cancelled = found.end_of_file, found.cancelled
        result.message = (<bytes>found.message).decode("utf-8", "replace")
        return result

    def set_send_rate(self, uint64_t bytes_per_second):
        self.enter()
        fs_plane_set_send_rate(self.plane, bytes_per_second)

    @property
    def wait_seconds(self):
        return fs_plane_wait_seconds(self.plane)

    def content(self, int flags):
        return fs_plane_content(self.plane, flags) != 0

    # -- SFTP served -----------------------------------------------------------------------------------------------

    def sftp_serve_attach(self, uint32_t channel, bytes end_of_file, statuses, *, uint32_t max_read=255 * 1024,
                          uint32_t max_message=256 * 1024):
        cdef fs_serve_spec spec
        cdef bytes table = b"".join([len(body).to_bytes(4, "big") + body for body in (end_of_file, *statuses)])
        self.enter()
        spec.max_read, spec.max_message = max_read, max_message
        spec.statuses, spec.statuses_len = table, len(table)
        check(fs_plane_serve_attach(self.plane, channel, &spec))

    def sftp_serve_feed(self, uint32_t channel, const uint8_t[::1] data not None):
        cdef const uint8_t *start = &data[0] if data.shape[0] else <const uint8_t *>b""
        self.enter()
        check(fs_plane_serve_feed(self.plane, channel, start, data.shape[0]))

    def sftp_serve_register(self, uint32_t channel, bytes handle, int fd, *, bint readable, bint writable, bint append):
        self.enter()
        check(fs_plane_serve_register(self.plane, channel, handle_number(handle), fd, readable,
                                      writable and not append))

    def sftp_serve_forget(self, uint32_t channel, bytes handle):
        self.enter()
        if len(handle) == 4:  # others were never registered
            check(fs_plane_serve_forget(self.plane, channel, handle_number(handle)))

    def sftp_serve_resume(self, uint32_t channel):
        self.enter()
        check(fs_plane_serve_resume(self.plane, channel))

    def sftp_serve_counters(self, uint32_t channel):
        cdef uint64_t bytes_read = 0, bytes_written = 0
        check(fs_plane_serve_counters(self.plane, channel, &bytes_read, &bytes_written))
        return bytes_read, bytes_written

    # -- descriptors relayed ---------------------------------------------------------------------------------------

    def relay_attach(self, uint32_t channel, *, int source=-1, int source_stderr=-1, int sink=-1, int sink_stderr=-1):
        cdef int[4] fds
        self.enter()
        fds[0], fds[1], fds[2], fds[3] = source, source_stderr, sink, sink_stderr
        check(fs_plane_relay_attach(self.plane, channel, fds))

    def relay_feed(self, uint32_t channel, const uint8_t[::1] data not None, uint32_t stream=0):
        cdef const uint8_t *start = &data[0] if data.shape[0] else <const uint8_t *>b""
        self.enter()
        check(fs_plane_relay_feed(self.plane, channel, stream, start, data.shape[0]))

    def relay_waits(self, bint watching):
        cdef size_t cursor = 0
        cdef fs_event event
        cdef list found = []
        self.enter()
        while fs_plane_relay_waits(self.plane, watching, &cursor, &event):
            found.append((event.kind, event.a, event.b))
        return found

    def relay_ready(self, uint32_t channel, uint32_t ends):
        self.enter()
        check(fs_plane_relay_ready(self.plane, channel, ends))

    def relay_release(self, uint32_t channel, uint32_t ends):
        self.enter()
        check(fs_plane_relay_release(self.plane, channel, ends))

    cdef fs_relay_kept kept(self, uint32_t channel, uint32_t stream) except *:
        cdef fs_relay_kept kept
        self.enter()
        check(fs_plane_relay_kept(self.plane, channel, stream, &kept))
        return kept

    def relay_kept(self, uint32_t channel, uint32_t stream=0):
        cdef fs_relay_kept kept = self.kept(channel, stream)
        return b"".join([(<const char *>kept.bytes[i])[:kept.lengths[i]] for i in range(2) if kept.lengths[i]])

    def relay_pending(self, uint32_t channel, uint32_t stream=0):
        cdef fs_relay_kept kept = self.kept(channel, stream)
        return kept.lengths[0] + kept.lengths[1]


def linger(list planes, list fds, list flags, int wakeup, double seconds):
    cdef fs_lingering waiting[FS_MAX_LINGERING]
    cdef size_t i, count = len(planes)
    cdef uint64_t nanoseconds = <uint64_t>(min(max(seconds, 0.0), 60.0) * 1e9)
    cdef Plane plane
    cdef list results = []
    if count > FS_MAX_LINGERING or len(fds) != count or len(flags) != count or len(set(map(id, planes))) != count:
        raise ValueError("planes, their descriptors and flags do not fit together")
    for i in range(count):
        plane = planes[i]
        plane.enter()
        waiting[i].plane, waiting[i].fd, waiting[i].flags = plane.plane, fds[i], flags[i]
    for plane in planes:
        plane.busy = True
    with nogil:
        fs_planes_linger(waiting, count, wakeup, nanoseconds)
    for plane in planes:
        plane.busy = False
    for i in range(count):
        if waiting[i].status == FS_OK:
            results.append(waiting[i].flags)
            continue
        try:
            raise_status(waiting[i].status, waiting[i].sys_errno)
        except Exception as error:
            results.append(error)
    return results


cdef uint32_t handle_number(bytes handle) except? 0xffffffff:
    if len(handle) != 4:
        raise ValueError(f"handle of {len(handle)} bytes")
    return int.from_bytes(handle, "big")


cdef bint compresses(str method) except? -1:
    if method not in ("none", "zlib@openssh.com"):
        raise ValueError(f"unknown compression method {method}")
    return method != "none"


cdef fs_packet_keys make_keys(str cipher, str mac, bytes key, bytes iv, bytes mac_key) except *:
    """The pointers are into the arguments, which the callers hold."""
    cdef fs_packet_keys keys
    cdef bytes cipher_name = cipher.encode("ascii"), mac_name = mac.encode("ascii")
    keys.cipher = fs_cipher_find(cipher_name)
    keys.mac = fs_mac_find(mac_name)
    if keys.cipher is NULL or keys.mac is NULL:
        raise ValueError(f"unknown cipher or MAC: {cipher} {mac}")
    if len(key) != keys.cipher.key_len or len(iv) != keys.cipher.iv_len or len(mac_key) != keys.mac.key_len:
        raise ValueError(f"wrong key sizes for {cipher} {mac}")
    keys.key, keys.iv, keys.mac_key = key, iv, mac_key
    return keys
