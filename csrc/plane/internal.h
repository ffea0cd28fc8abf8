/* What the files of the data plane share. */
#ifndef FS_PLANE_INTERNAL_H
#define FS_PLANE_INTERNAL_H

#include <poll.h>
#include <sys/uio.h>

#include "fs_bytes.h"
#include "plane.h"

/* SSH message numbers that the plane looks at (RFC 4250 section 4.1.2). */
enum {
    SSH_MSG_DISCONNECT = 1,
    SSH_MSG_DEBUG = 4,
    SSH_MSG_KEXINIT = 20,
    SSH_MSG_NEWKEYS = 21,
    SSH_MSG_KEX_FIRST = 30,
    SSH_MSG_KEX_LAST = 49,
    SSH_MSG_CHANNEL_OPEN_CONFIRMATION = 91,
    SSH_MSG_CHANNEL_OPEN_FAILURE = 92,
    SSH_MSG_CHANNEL_WINDOW_ADJUST = 93,
    SSH_MSG_CHANNEL_DATA = 94,
    SSH_MSG_CHANNEL_EXTENDED_DATA = 95,
    SSH_MSG_CHANNEL_EOF = 96,
    SSH_MSG_CHANNEL_CLOSE = 97,
    SSH_EXTENDED_DATA_STDERR = 1,
};

#define FS_MAX_CHANNELS 65536u
#define FS_BATCH 64                              /* packets opened or sealed in one call */
#define FS_DATA_HEADER 9u                        /* byte CHANNEL_DATA, uint32 channel, uint32 length */
#define FS_EXTENDED_HEADER (FS_DATA_HEADER + 4u) /* byte EXTENDED_DATA, uint32 channel, uint32 type, uint32 length */

_Static_assert(sizeof(off_t) == 8, "files past 2 GiB need a 64-bit off_t: define _FILE_OFFSET_BITS=64");

/* A growable byte queue: consumed at head, appended at tail. */
typedef struct fs_buffer {
    uint8_t *data;
    size_t capacity, head, tail;
} fs_buffer;

void fs_buffer_free(fs_buffer *b);
/* Makes room for count more bytes, moving or growing; FS_E_QUEUE when more than limit would be held. */
int fs_buffer_reserve(fs_buffer *b, size_t count, size_t limit);
static inline size_t fs_buffer_len(const fs_buffer *b)
{
    return b->tail - b->head;
}
static inline void fs_buffer_drop(fs_buffer *b, size_t count)
{
    b->head += count;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

typedef struct fs_sftp fs_sftp;
typedef struct fs_serve fs_serve;
typedef struct fs_relay fs_relay;
typedef struct fs_zlib fs_zlib;

enum { FS_CHANNEL_OPENING = 1, FS_CHANNEL_OPEN, FS_CHANNEL_FAILED };

typedef struct fs_channel {
    uint32_t id, remote;
    uint8_t state;
    uint8_t eof_wanted, eof_sent, close_wanted, close_sent, eof_received, close_received;
    uint8_t raw;                                               /* everything that comes for it is an event */
    uint8_t want_writable;                                     /* the queue went above the low-water mark */
    uint32_t local_window, local_window_max, local_max_packet; /* what the peer may still send */
    uint32_t unacknowledged;                                   /* consumed, not yet given back */
    uint32_t remote_window, remote_max_packet;                 /* what we may still send */
    fs_buffer queue, queue_stderr;
    fs_sftp *sftp;   /* a client's endpoint: replies come in */
    fs_serve *serve; /* a server's: requests come in */
    fs_relay *relay; /* bytes for descriptors come in. All of them NULL: data become events */
} fs_channel;

/* File bytes that arrived, gathered over packets and written with one pwritev: pieces of one file without gaps between
 * them, of DATA replies to a transfer's requests or of WRITE requests that a channel serves; or bytes for a descriptor
 * that a channel is joined to, where the offset means nothing. */
#define FS_GATHER 256
typedef struct fs_gather {
    struct fs_transfer *transfer; /* whose bytes these are: one of the two */
    fs_channel *channel;
    int fd;
    uint64_t offset; /* in the file, of the first piece */
    size_t bytes;
    int first, count; /* pieces not yet written: [first, count) */
    struct iovec iov[FS_GATHER];
    uint32_t ids[FS_GATHER]; /* channel: of the WRITE that a piece belongs to */
    uint8_t last[FS_GATHER]; /* channel: it is that WRITE's last one */
} fs_gather;

struct fs_plane {
    int failed;           /* first error; nothing is opened or filled after it */
    int failed_errno;     /* of FS_E_SYSTEM */
    int apart, sink;      /* where what is sent goes, if that is another descriptor than what is read */
    int send_errno;       /* of send(): nothing goes out any more, what the peer said before can still be fed */
    uint8_t disconnected; /* we sent DISCONNECT: nothing follows it, nothing is received (RFC 4253 section 11.1) */
    /* receiving */
    fs_opener *opener;
    uint8_t *in;
    size_t in_capacity, in_head, in_tail;
    fs_packet batch[FS_BATCH]; /* opened, not yet dispatched: [batch_next, batch_count) */
    size_t batch_count, batch_next;
    uint32_t batch_sequence; /* of batch[batch_next] */
    uint8_t receiving_kex;   /* between the peer's KEXINIT and its NEWKEYS */
    uint8_t awaiting_keys;   /* after the peer's NEWKEYS */
    uint8_t paused;          /* a message below 80 waits for Python */
    uint8_t end_of_stream;
    uint8_t need_more; /* the rest of `in` is not a whole packet */
    fs_zlib *inflate;
    uint64_t bytes_received;
    /* sending */
    fs_sealer *sealer;
    fs_buffer out;
    size_t out_target; /* bulk data is filled up to this */
    uint8_t sending_kex;
    fs_zlib *deflate;
    uint64_t bytes_sent;
    uint64_t rekey_bytes;
    /* rate limit for bulk sending: a token bucket */
    uint64_t rate, tokens, tokens_at, wait_until; /* bytes a second, bytes, ns, ns */
    /* events: records of fs_event_record + bytes */
    fs_buffer events;
    /* channels and transfers */
    fs_channel **channels;
    uint32_t channel_slots;
    uint32_t fill_next; /* round robin */
    struct fs_transfer **transfers;
    uint32_t transfer_slots;
    uint32_t active_transfers; /* not yet ended */
    fs_gather gather;
    uint32_t relays; /* channels that have one */
};

uint64_t fs_now_ns(void);
fs_channel *fs_channel_find(const fs_plane *p, uint32_t id);

/* events.c */
#define FS_EVENTS_SOFT_LIMIT (512 * 1024) /* dispatch pauses above, between packets */
#define FS_EVENTS_HARD_LIMIT (4 * 1024 * 1024)
int fs_push_event(fs_plane *p, uint32_t kind, uint32_t a, uint32_t b, const uint8_t *bytes, size_t len);

/* Control messages may queue up to this while the peer does not read; then the connection is given up. Bulk stops at
 * half. */
#define FS_OUT_LIMIT (8 * 1024 * 1024)

/* output.c: a slot is where a packet is built; payload goes to slot + FS_PACKET_HEADER. */
/* Equals the sealed size, but for compression's slack; 0 when no such packet may be made. */
size_t fs_out_slot_size(const fs_plane *p, size_t payload_len);
int fs_out_reserve(fs_plane *p, size_t size, uint8_t **slot);   /* size bytes from the tail on */
int fs_out_seal(fs_plane *p, fs_packet *packets, size_t count); /* packets in slots laid end to end from the tail on */
int fs_out_message(fs_plane *p, const uint8_t *payload, size_t len);
size_t fs_out_room(const fs_plane *p); /* bytes of bulk that may still be filled */

/* compress.c */
fs_zlib *fs_zlib_new(int inflating);
void fs_zlib_free(fs_zlib *z);
/* The result is in a buffer of the context's, valid until the next call. */
int fs_zlib_run(fs_zlib *z, const uint8_t *in, size_t in_len, uint8_t **out, size_t *out_len);

/* dispatch.c */
int fs_dispatch(fs_plane *p, uint32_t sequence, uint8_t *payload, size_t len);

/* channel.c */
int fs_channel_fill(fs_plane *p, fs_channel *c); /* credit, queue, EOF, CLOSE */
int fs_channel_consume(fs_channel *c, uint32_t count);
/* Of CHANNEL_DATA or EXTENDED_DATA, as the header's size says. */
void fs_channel_put_header(uint8_t *payload, const fs_channel *c, size_t header, uint32_t len);
void fs_channel_free(fs_plane *p, fs_channel *c);
static inline int fs_channel_can_send(const fs_channel *c)
{
    return c->state == FS_CHANNEL_OPEN && !c->eof_sent && !c->close_sent && !c->close_received;
}

/* sftp.c, sftp_get.c, sftp_put.c */
int fs_sftp_receive(fs_plane *p, fs_channel *c, uint8_t *data, size_t len);
int fs_sftp_fill(fs_plane *p, fs_channel *c);
int fs_sftp_settle(fs_plane *p);                         /* writes what was gathered, ends what is done */
int fs_sftp_busy(const fs_channel *c);                   /* transfers are under way */
void fs_sftp_channel_closed(fs_plane *p, fs_channel *c); /* no reply can come any more: ends all transfers */
void fs_sftp_free(fs_plane *p, fs_channel *c);

/* gather.c: writes what the next piece does not adjoin, or leaves no room for. One of the owners is NULL. */
void fs_gather_prepare(fs_plane *p, struct fs_transfer *t, fs_channel *c, int fd, uint64_t offset);
void fs_gather_add(fs_gather *g, uint8_t *data, uint32_t len);
/* One pwritev: bytes written, less than all of them perhaps; or -errno. */
ssize_t fs_gather_write(fs_gather *g);
void fs_gather_skip(fs_gather *g, size_t bytes);
void fs_gather_flush(fs_plane *p);

/* layout.c: a stream of channel bytes laid out over packet slots, cut into packets of `width`, each in a slot of
 * `stride`. Bytes are copied in, gaps are left for those of a file. */
typedef struct fs_layout {
    uint8_t *base;
    size_t width, stride;
    size_t header; /* of CHANNEL_DATA, or of EXTENDED_DATA */
    size_t length; /* of the stream so far */
} fs_layout;

#define FS_MOST_MESSAGES 64 /* with bytes of a file, in one layout */
/* Of the gaps of one layout: each ends with a packet or with a message. */
#define FS_MOST_SEGMENTS (FS_BATCH + FS_MOST_MESSAGES)

void fs_layout_of(const fs_plane *p, const fs_channel *c, int extended, fs_layout *l);
size_t fs_layout_room(const fs_plane *p, const fs_layout *l);  /* bytes of stream that may be laid out now */
size_t fs_layout_most(const fs_plane *p, const fs_layout *l);  /* ... with nothing waiting to be sent */
int fs_layout_begin(fs_plane *p, fs_layout *l, size_t stream); /* slots for so many */
void fs_layout_put(fs_layout *l, const uint8_t *bytes, size_t len);
int fs_layout_gap(fs_layout *l, size_t len, struct iovec *iov);
/* Seals what was laid out, which must be within the window. */
int fs_layout_seal(fs_plane *p, fs_channel *c, const fs_layout *l);

/* sftp_serve.c */
int fs_serve_receive(fs_plane *p, fs_channel *c, uint8_t *data, uint32_t len); /* gives credit by itself */
int fs_serve_fill(fs_plane *p, fs_channel *c); /* FS_AGAIN when there was nothing to do */
void fs_serve_flush(fs_plane *p, fs_gather *g);
void fs_serve_channel_closed(fs_plane *p, fs_channel *c); /* no request is answered any more */
void fs_serve_free(fs_plane *p, fs_channel *c);

/* relay.c */
int fs_relay_receive(fs_plane *p, fs_channel *c, uint32_t stream, uint8_t *data,
                     uint32_t len); /* gives credit by itself */
void fs_relay_flush(fs_plane *p, fs_gather *g);
int fs_relays_drain(fs_plane *p); /* what was kept, into sinks that are ready; tells of those that have all */
int fs_relay_fill(fs_plane *p, fs_channel *c);
void fs_relay_free(fs_plane *p, fs_channel *c);
/* The descriptors that the plane's relays wait for, at most so many; returns how many there are. */
size_t fs_relay_polled(const fs_plane *p, struct pollfd *polled, size_t most);
/* The same after poll(): whether one of them is ready. Nothing may have happened to the plane in between. */
int fs_relay_polled_ready(fs_plane *p, const struct pollfd *polled, size_t count);

#endif
