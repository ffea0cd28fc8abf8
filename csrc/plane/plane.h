/* The data plane of one connection: socket <-> packets <-> channels <-> bulk endpoints, without the GIL.
 *
 * In:  recv -> open in place -> dispatch: channel data, window adjustments and bulk SFTP replies end here, everything
 * else becomes an event for the control plane, in wire order. Out: control messages as they are sent; then fill: window
 * credit, channel queues, SFTP requests and file bytes, read straight into packet slots, sealed in place, sent from one
 * reused buffer.
 *
 * All counts that a peer can influence are checked before they are used. Functions return fs_status codes. After an
 * error the plane only hands out the events that came before it. One thread at a time. */
#ifndef FS_PLANE_H
#define FS_PLANE_H

#include <stddef.h>
#include <stdint.h>

#include "fs_status.h"
#include "packet.h"

typedef struct fs_plane fs_plane;

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Capacities in bytes; raised to the least that holds a whole packet or SFTP message, sending lowered to 4 MiB. */
fs_plane *fs_plane_new(size_t receive_capacity, size_t send_capacity, int *status);
/* Packets without protection and without padding in both directions (OpenSSH's PROTOCOL.mux section 9), for a plane
 * that has neither sent nor received anything; else FS_E_STATE. */
int fs_plane_unpadded(fs_plane *p);
void fs_plane_free(fs_plane *p); /* wipes buffers and keys */

/* --- keys -------------------------------------------------------------------------------------------------------- */

/* keys->sequence is ignored: it goes on, or starts again at 0 with reset_sequence (strict KEX). */
int fs_plane_set_send_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence);
int fs_plane_set_receive_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence);
/* zlib@openssh.com from the next packet on. A context lasts until it is turned off: off and on again for new keys,
 * which begin a new one (RFC 4253 section 6.2). */
int fs_plane_set_send_compression(fs_plane *p, int on);
int fs_plane_set_receive_compression(fs_plane *p, int on);
uint32_t fs_plane_send_sequence(const fs_plane *p);
uint32_t fs_plane_receive_sequence(const fs_plane *p);
int fs_plane_rekey_due(const fs_plane *p);
void fs_plane_set_rekey_bytes(fs_plane *p, uint64_t limit); /* 0: the cipher's default */
int fs_plane_sending_kex(const fs_plane *p);
uint64_t fs_plane_bytes_sent(const fs_plane *p);
uint64_t fs_plane_bytes_received(const fs_plane *p);

/* --- messages and events ----------------------------------------------------------------------------------------- */

/* Seals one message at the end of the send buffer. FS_E_STATE: not allowed between our KEXINIT and our new keys.
 * DISCONNECT ends all traffic: nothing is filled in behind it and nothing is dispatched any more, so that descriptors
 * may be closed. */
int fs_plane_send(fs_plane *p, const uint8_t *payload, size_t len);

enum {
    FS_EVENT_MESSAGE,
    FS_EVENT_DATA,
    FS_EVENT_SFTP,
    FS_EVENT_TRANSFER,
    FS_EVENT_WRITABLE,
    FS_EVENT_SFTP_END,
    FS_EVENT_RELAY,
    FS_EVENT_RELAY_WAITS,
    FS_EVENT_RAW,
};

typedef struct fs_event {
    uint32_t kind;
    /* MESSAGE: sequence; DATA: channel, stream; SFTP, WRITABLE, SFTP_END: channel; TRANSFER: channel, transfer;
     * RELAY: channel, the end's bit | errno << FS_RELAY_ENDS; RELAY_WAITS: channel, bits of ends */
    uint32_t a, b;
    uint32_t length; /* of the bytes */
    const uint8_t *bytes;
} fs_event;

int fs_plane_has_events(const fs_plane *p);
/* Iterates: *cursor starts at 0. Returns 0 at the end. Events stay valid until fs_plane_clear_events. */
int fs_plane_event(const fs_plane *p, size_t *cursor, fs_event *event);
void fs_plane_clear_events(fs_plane *p);

/* --- moving bytes ------------------------------------------------------------------------------------------------ */

enum { FS_STEP_EVENTS = 1, FS_STEP_WANT_WRITE = 2, FS_STEP_EOF = 4, FS_STEP_MORE = 8, FS_STEP_BLOCKED = 16 };

/* One bounded turn on a non-blocking socket, or where fs_plane_set_sink() named one on a pair of descriptors. *flags:
 * FS_STEP_. FS_E_SYSTEM leaves errno; when it comes from sending, feed() still takes what the peer said before it
 * closed.
 */
int fs_plane_step(fs_plane *p, int fd, int readable, int *flags);
/* What is sent goes to this descriptor, a pipe perhaps, and step()'s is read alone. SIGPIPE has to be ignored. */
void fs_plane_set_sink(fs_plane *p, int fd);
/* The same in memory. *taken <= len. */
int fs_plane_feed(fs_plane *p, const uint8_t *data, size_t len, size_t *taken);
/* Fills, and shows the sealed bytes; fs_plane_drop(n) after they were taken. */
int fs_plane_fill(fs_plane *p);
size_t fs_plane_unsent(const fs_plane *p, const uint8_t **data);
void fs_plane_drop(fs_plane *p, size_t count);

/* linger.c: turns of several planes, while none of them needs anything but its socket. */
#define FS_MAX_LINGERING 64
#define FS_MAX_LINGER UINT64_C(60000000000) /* ns, for something to happen */
#define FS_MAX_BUSY 500000000u              /* ns, from then on: signals are the control plane's */
#define FS_MAX_WAITING 64 /* descriptors that relays of one plane wait for; with more of them it is not content */

typedef struct fs_lingering {
    fs_plane *plane;
    int fd;
    int flags;  /* FS_STEP_: in, of its last turn; out, of the last one here */
    int status; /* out, with errno in sys_errno */
    int sys_errno;
} fs_lingering;

/* Waits for the sockets, and for the descriptors that relays wait for, and gives a turn to each plane of which one is
 * ready, over and over, until one of them has something for the control plane, `wakeup` (a descriptor, -1 for none) is
 * readable, ns have passed, or half a second since the first turn. Once at least.
 */
void fs_planes_linger(fs_lingering *lingering, size_t count, int wakeup, uint64_t ns);
/* Nothing but its socket, and the descriptors of its relays, is needed for the plane to go on with transfers, with
 * serving files, or with relaying. */
int fs_plane_content(const fs_plane *p, int flags);

/* --- channels ---------------------------------------------------------------------------------------------------- */

#define FS_CHANNEL_MIN_PACKET \
    512u /* a smaller maximum packet from a peer is refused (it would spin us); holds any READ */
#define FS_CHANNEL_LOW_WATER (64 * 1024)        /* WRITABLE below this */
#define FS_CHANNEL_MAX_QUEUE (16 * 1024 * 1024) /* FS_E_QUEUE above: the caller ignored back-pressure */

int fs_plane_channel_add(fs_plane *p, uint32_t channel, uint32_t window, uint32_t max_packet);
int fs_plane_channel_confirm(fs_plane *p, uint32_t channel, uint32_t remote, uint32_t window, uint32_t max_packet);
/* Dropped when the peer has closed the channel: its CLOSE is among the events. */
int fs_plane_channel_write(fs_plane *p, uint32_t channel, uint32_t stream, const uint8_t *data, size_t len,
                           size_t *pending);
int fs_plane_channel_pending(const fs_plane *p, uint32_t channel, size_t *pending);
/* CHANNEL_EOF behind the queue and all transfers; CHANNEL_CLOSE behind the queue, ending transfers at once. */
int fs_plane_channel_eof(fs_plane *p, uint32_t channel);
/* What is queued is dropped: nothing that stands behind it has to wait for the peer's window. */
int fs_plane_channel_discard(fs_plane *p, uint32_t channel);
int fs_plane_channel_close(fs_plane *p, uint32_t channel);
int fs_plane_channel_consumed(fs_plane *p, uint32_t channel, uint32_t count);
/* The peer may from now on have up to `window` bytes under way, if that is more than before. */
int fs_plane_channel_widen(fs_plane *p, uint32_t channel, uint32_t window);
/* From now on data and windows are events (FS_EVENT_RAW), and nothing is counted: as all else on it, they are the
 * caller's to understand. */
int fs_plane_channel_raw(fs_plane *p, uint32_t channel);
int fs_plane_channel_remote(const fs_plane *p, uint32_t channel, uint32_t *remote, uint32_t *window,
                            uint32_t *max_packet);
void fs_plane_channel_remove(fs_plane *p, uint32_t channel);

/* --- SFTP endpoints ---------------------------------------------------------------------------------------------- */

enum { FS_TRANSFER_GET, FS_TRANSFER_PUT };

typedef struct fs_transfer_result {
    int kind;
    int status;    /* 0, an SSH_FX code (> 0), or an fs_status (< 0) */
    int sys_errno; /* with FS_E_SYSTEM */
    int cancelled;
    uint64_t bytes;      /* put: acknowledged; get: written to the file */
    uint64_t contiguous; /* of these, how many are surely there from the offset on without a gap */
    int64_t end_of_file; /* get: smallest offset answered with EOF; put: bytes read from the file; -1 if unknown */
    char message[256];   /* the server's words, cut */
} fs_transfer_result;

typedef struct fs_transfer_spec {
    int kind;
    int fd;
    const uint8_t *handle; /* copied; at most 256 bytes */
    size_t handle_len;
    uint64_t offset;
    int64_t size;   /* put: -1 for until end of file */
    uint32_t chunk; /* bytes a request, 1..FS_SFTP_MAX_CHUNK */
    int to_end;     /* get: probe past the size until the server says EOF */
} fs_transfer_spec;

#define FS_SFTP_MAX_MESSAGE (256 * 1024) /* OpenSSH's SFTP_MAX_MSG_LENGTH; larger is refused */
#define FS_SFTP_MAX_CHUNK (FS_SFTP_MAX_MESSAGE - 1024)
#define FS_SFTP_MAX_HANDLE 256

int fs_plane_sftp_attach(fs_plane *p, uint32_t channel);
int fs_plane_sftp_limit(fs_plane *p, uint32_t channel, uint32_t requests); /* at once; before the first of them */
int fs_plane_sftp_start(fs_plane *p, uint32_t channel, const fs_transfer_spec *spec, uint32_t *transfer);
uint64_t fs_plane_transfer_progress(const fs_plane *p, uint32_t transfer);
uint64_t fs_plane_transfer_contiguous(const fs_plane *p, uint32_t transfer);
void fs_plane_transfer_cancel(fs_plane *p, uint32_t transfer);
int fs_plane_transfer_result(fs_plane *p, uint32_t transfer,
                             fs_transfer_result *result); /* once; then the number is free */
void fs_plane_set_send_rate(fs_plane *p, uint64_t bytes_per_second);
double fs_plane_wait_seconds(const fs_plane *p);

/* --- SFTP served ------------------------------------------------------------------------------------------------- */

/* What arrives on the channel is requests. READ and WRITE of registered files are served here; any other message is an
 * event, and what comes behind it waits until resume(): requests are worked off, and answered, strictly in order. */
typedef struct fs_serve_spec {
    uint32_t max_read;    /* bytes; longer READs are the caller's */
    uint32_t max_message; /* bytes; a longer message ends the connection */
    /* STATUS as the caller words it, from behind the id: strings (uint32 length, bytes) one after the other. The first
     * is for the end of a file, the others go by errno: 0 is OK, the last one stands for all beyond it. */
    const uint8_t *statuses;
    size_t statuses_len;
} fs_serve_spec;

#define FS_SERVE_HANDLE 4u /* bytes: low half index, high half how often it was used before */

int fs_plane_serve_attach(fs_plane *p, uint32_t channel, const fs_serve_spec *spec);
/* What came as FS_EVENT_DATA before the channel was attached, and was not consumed. */
int fs_plane_serve_feed(fs_plane *p, uint32_t channel, const uint8_t *data, size_t len);
/* A regular file. The descriptor stays the caller's, and is not touched any more after forget(). */
int fs_plane_serve_register(fs_plane *p, uint32_t channel, uint32_t handle, int fd, int readable, int writable);
int fs_plane_serve_forget(fs_plane *p, uint32_t channel, uint32_t handle);
/* The message that was an event is answered, or its answer is queued: on with what waits, at the next turn. */
int fs_plane_serve_resume(fs_plane *p, uint32_t channel);
int fs_plane_serve_counters(const fs_plane *p, uint32_t channel, uint64_t *bytes_read, uint64_t *bytes_written);

/* --- descriptors relayed ----------------------------------------------------------------------------------------- */

/* Descriptors joined to a channel's streams (0: CHANNEL_DATA, 1: EXTENDED_DATA of stderr): what a source gives is sent,
 * what arrives is written to the sink. They are non-blocking, or regular files, and stay the caller's.
 *
 * RELAY tells that an end is done with, and not touched any more: a source at its end of file or with an error; a sink
 * that has taken all that came before the peer's EOF, or that failed. What that means for the channel is the caller's
 * to say. What arrives for a stream without a sink is dropped. */
enum {
    FS_RELAY_SOURCE = 1,
    FS_RELAY_SOURCE_STDERR = 2,
    FS_RELAY_SINK = 4,
    FS_RELAY_SINK_STDERR = 8,
    FS_RELAY_STREAMS = 2,
    FS_RELAY_ENDS = 4,
};

/* fds in the order of the bits, -1 for none; one descriptor may be several ends. Before the channel is open as well. */
int fs_plane_relay_attach(fs_plane *p, uint32_t channel, const int fds[FS_RELAY_ENDS]);
/* What came as FS_EVENT_DATA before the channel was attached, and was not consumed; before the next turn. */
int fs_plane_relay_feed(fs_plane *p, uint32_t channel, uint32_t stream, const uint8_t *data, size_t len);
/* What the caller should watch for reading (sources) and writing (sinks): iterates over the relays of which it changed
 * since it was last asked; *cursor starts at 0. Returns 0 at the end. Not watching: nothing has to be, since linger()
 * does it. */
int fs_plane_relay_waits(fs_plane *p, int watching, size_t *cursor, fs_event *event);
/* Descriptors that were watched are ready: on with them, at the next turn. */
int fs_plane_relay_ready(fs_plane *p, uint32_t channel, uint32_t ends);
/* The descriptors are not touched any more. What waits for a sink is dropped, and the peer may send as much again. */
int fs_plane_relay_release(fs_plane *p, uint32_t channel, uint32_t ends);

typedef struct fs_relay_kept {
    const uint8_t *bytes[2];
    size_t lengths[2];
} fs_relay_kept;

/* What arrived and its sink has not taken yet, in two pieces; valid until the next turn. */
int fs_plane_relay_kept(const fs_plane *p, uint32_t channel, uint32_t stream, fs_relay_kept *kept);

#endif
