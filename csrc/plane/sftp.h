/* The SFTP endpoint of a channel: framing of replies, outstanding requests, transfers (draft-ietf-secsh-filexfer-02).
 * Requests with the top bit set in their id are the endpoint's; replies to all others are events for Python. */
#ifndef FS_PLANE_SFTP_H
#define FS_PLANE_SFTP_H

#include "internal.h"

enum { SSH_FXP_READ = 5, SSH_FXP_WRITE = 6, SSH_FXP_STATUS = 101, SSH_FXP_DATA = 103 };
enum { SSH_FX_OK = 0, SSH_FX_EOF = 1 };

/* READ and WRITE: uint32 length, byte type, uint32 id, string handle, uint64 offset, uint32 length. */
#define FS_SFTP_REQUEST(handle_len) (25u + (handle_len))
#define FS_SFTP_DATA_HEADER 13u /* uint32 length, byte type, uint32 id, uint32 data length */
#define FS_SFTP_REQUESTS 1024u  /* outstanding at once; a power of two */
#define FS_SFTP_OWN_ID 0x80000000u

/* Bytes in flight of a channel. START: before anything is known, as each doubling costs a long link a round trip. */
#define FS_DEPTH_MIN (1024 * 1024)
#define FS_DEPTH_START (4 * 1024 * 1024)
#define FS_DEPTH_MAX (15 * 1024 * 1024) /* OpenSSH senders degrade near 16 MiB */

typedef struct fs_transfer {
    uint32_t number, channel;
    int kind, fd;
    uint8_t handle[FS_SFTP_MAX_HANDLE];
    uint32_t handle_len, chunk;
    uint64_t first;     /* the offset of its beginning */
    uint64_t next, end; /* next offset to ask for or to read; end: UINT64_MAX for until end of file */
    uint32_t outstanding;
    uint8_t to_end, probing,
        at_end; /* get: probe wanted, probe outstanding, EOF was answered; put: source is at its end */
    uint8_t ended;
    fs_transfer_result result;
    struct fs_transfer *following; /* in the channel's list of active ones */
} fs_transfer;

enum { FS_REQUEST_FREE, FS_REQUEST_SENT, FS_REQUEST_AGAIN };

typedef struct fs_request {
    fs_transfer *transfer;
    uint64_t offset, sent_at;
    uint32_t length, counted, generation; /* counted: its share of in_flight */
    uint8_t state, probe;
} fs_request;

struct fs_sftp {
    /* receiving: a reply's header, then either bytes of a file or a message to assemble */
    uint8_t header[FS_SFTP_DATA_HEADER];
    uint32_t header_len;
    uint32_t data_left; /* of the bulk DATA reply under way */
    uint64_t data_offset;
    fs_request *data_request;
    fs_buffer message;
    uint32_t message_left;
    /* requests */
    fs_request requests[FS_SFTP_REQUESTS];
    uint16_t free_slots[FS_SFTP_REQUESTS];
    uint32_t free_count, again_count;
    uint32_t most;      /* requests at once */
    uint64_t in_flight; /* bytes */
    fs_transfer *first, *last;
    /* adaptive depth: 2 x delivered rate x minimum round trip */
    uint64_t depth, min_rtt, round_started, round_bytes;
    int starting; /* as TCP starts: what is delivered is added, until a round has shown less */
};

uint32_t fs_sftp_request_id(fs_sftp *s, fs_request *r); /* a fresh id for the slot */
/* A slot (there must be a free one); counted bytes are in flight until it is done. */
fs_request *fs_sftp_request_new(fs_sftp *s, fs_transfer *t, uint64_t offset, uint32_t length, uint32_t counted,
                                uint64_t now);
void fs_sftp_request_done(fs_sftp *s, fs_request *r);
uint8_t *fs_sftp_put_request(uint8_t *at, uint8_t type, uint32_t id, const fs_transfer *t, uint64_t offset,
                             uint32_t length);
void fs_transfer_fail(fs_transfer *t, int status, int sys_errno);
void fs_transfer_moved(fs_transfer *t, uint64_t offset, uint64_t bytes); /* bytes are there */
static inline int fs_transfer_stopped(const fs_transfer *t)
{
    return t->result.status != 0 || t->result.cancelled;
}
static inline int fs_sftp_depth_allows(const fs_sftp *s, uint64_t length)
{
    return s->free_count > 0 && (s->in_flight == 0 || s->in_flight + length <= s->depth);
}

/* rate.c: file bytes that the rate limit allows now; UINT64_MAX without one. */
uint64_t fs_rate_tokens(fs_plane *p, uint64_t now);
void fs_rate_spend(fs_plane *p, uint64_t bytes);
void fs_rate_wait(fs_plane *p, uint64_t now, uint64_t bytes); /* asks to be called again when so many are there */

/* sftp_get.c */
int fs_get_fill(fs_plane *p, fs_channel *c, uint64_t now);
void fs_get_data(fs_plane *p, const fs_request *r, uint64_t offset, uint8_t *data, uint32_t len);
int fs_get_data_end(fs_sftp *s, fs_request *r, uint32_t received);
int fs_get_complete(const fs_transfer *t);
void fs_get_flush(fs_gather *g);

/* sftp_put.c */
int fs_put_fill(fs_plane *p, fs_channel *c, fs_transfer *t, uint64_t now);
int fs_put_complete(const fs_transfer *t);

#endif
