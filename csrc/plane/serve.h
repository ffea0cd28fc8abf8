/* The SFTP endpoint of a server's channel: requests taken apart, READ and WRITE of registered files served, everything
 * strictly in the order in which it came (draft-ietf-secsh-filexfer-02). */
#ifndef FS_PLANE_SERVE_H
#define FS_PLANE_SERVE_H

#include "sftp.h"

#define FS_SERVE_REQUEST FS_SFTP_REQUEST(FS_SERVE_HANDLE) /* a whole READ; a WRITE up to its bytes */
#define FS_SERVE_READS 128u                               /* not yet answered; a power of two */
#define FS_SERVE_REPLIES (64 * 1024) /* while more than this is queued, only what is under way goes on */

typedef struct fs_served {
    uint32_t handle;
    int fd; /* -1: the slot is free */
    uint8_t readable, writable;
} fs_served;

typedef struct fs_serve_read {
    uint32_t id, handle, length;
    uint64_t offset;
} fs_serve_read;

/* A WRITE whose bytes are coming in. */
typedef struct fs_serve_write {
    uint32_t id, handle, left;
    int fd, error; /* errno; what is left is dropped then */
    uint64_t offset;
} fs_serve_write;

struct fs_serve {
    /* receiving: a request's header, then either bytes of a file or a message to assemble */
    uint8_t header[FS_SERVE_REQUEST];
    uint32_t header_len;
    uint32_t message_left;
    fs_buffer message;
    fs_serve_write write;
    fs_buffer backlog; /* arrived and not looked at, so without credit: the channel's window bounds it */
    uint8_t stalled;   /* a message is with the caller */
    uint8_t ended;     /* the caller knows that there is nothing more to come */
    fs_serve_read reads[FS_SERVE_READS]; /* a ring */
    uint32_t read_next, read_count;
    fs_served *files; /* by the low half of the handle */
    uint32_t file_slots;
    uint64_t bytes_read, bytes_written;
    uint32_t max_read, max_message;
    uint8_t *statuses;   /* bodies, the first for the end of a file, then by errno */
    uint32_t *status_at; /* where each begins, and where the last one ends */
    uint32_t status_count;
};

/* The bytes of a STATUS from behind its id. */
typedef struct fs_serve_status {
    const uint8_t *body;
    uint32_t len;
} fs_serve_status;

fs_serve_status fs_serve_end_of_file(const fs_serve *s);
fs_serve_status fs_serve_status_of(const fs_serve *s, int error);
/* uint32 length, byte STATUS, uint32 id; returns how many bytes that is. */
#define FS_SERVE_STATUS_HEADER 9u
void fs_serve_put_status(uint8_t *at, uint32_t id, fs_serve_status status);

/* The registered file behind a handle, NULL for any other value. */
const fs_served *fs_serve_file(const fs_serve *s, uint32_t handle);
/* The caller may be told something now: not in the midst of a peer's key exchange, and not without end. */
int fs_serve_may_tell(const fs_plane *p);
/* A message for the caller: the stream stands still until resume(). */
int fs_serve_tell(fs_plane *p, fs_channel *c, const uint8_t *message, size_t len);

/* sftp_serve_read.c: answers some of the READs that came; FS_AGAIN when none can be now. The queue must be empty. */
int fs_serve_answer_reads(fs_plane *p, fs_channel *c);

#endif
