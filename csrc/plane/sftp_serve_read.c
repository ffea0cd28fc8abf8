/* SFTP serve, READ: DATA messages are laid out over packet slots with gaps for the file's bytes; one preadv fills the
 * gaps of requests that adjoin; the packets are sealed where they lie. What the file turns out to hold makes the
 * messages shorter before they are sealed. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "serve.h"

static const fs_serve_read *read_at(const fs_serve *s, uint32_t index)
{
    return &s->reads[(s->read_next + index) % FS_SERVE_READS];
}

static void pop_reads(fs_serve *s, uint32_t count)
{
    s->read_next = (s->read_next + count) % FS_SERVE_READS;
    s->read_count -= count;
}

/* The most that the answer takes: all the bytes, or a STATUS instead of them. */
static size_t longest_answer(const fs_serve *s, const fs_serve_read *r)
{
    size_t data = FS_SFTP_DATA_HEADER + (size_t)r->length;
    size_t status = FS_SERVE_STATUS_HEADER + (size_t)fs_serve_end_of_file(s).len;
    return data > status ? data : status;
}

static void put_data_header(uint8_t *at, uint32_t id, uint32_t length)
{
    fs_put_u32(at, FS_SFTP_DATA_HEADER - 4 + length);
    at[4] = SSH_FXP_DATA;
    fs_put_u32(at + 5, id);
    fs_put_u32(at + 9, length);
}

static void lay_out_data(fs_layout *l, const fs_serve_read *r, uint32_t length, struct iovec *iov, int *segments)
{
    uint8_t header[FS_SFTP_DATA_HEADER];
    put_data_header(header, r->id, length);
    fs_layout_put(l, header, sizeof header);
    *segments += fs_layout_gap(l, length, iov + *segments);
}

static void lay_out_end(fs_layout *l, const fs_serve *s, const fs_serve_read *r)
{
    uint8_t header[FS_SERVE_STATUS_HEADER];
    fs_serve_status end = fs_serve_end_of_file(s);
    fs_serve_put_status(header, r->id, end);
    fs_layout_put(l, header, sizeof header);
    fs_layout_put(l, end.body, end.len);
}

/* A READ that only the caller can answer: its file is forgotten, or the system refuses. It may try again itself. */
static int tell_read(fs_plane *p, fs_channel *c)
{
    uint8_t message[FS_SERVE_REQUEST - 4];
    const fs_serve_read *r = read_at(c->serve, 0);
    if (!fs_serve_may_tell(p))
        return FS_AGAIN;
    message[0] = SSH_FXP_READ;
    fs_put_u32(message + 1, r->id);
    fs_put_u32(message + 5, FS_SERVE_HANDLE);
    fs_put_u32(message + 9, r->handle);
    fs_put_u64(message + 13, r->offset);
    fs_put_u32(message + 21, r->length);
    pop_reads(c->serve, 1);
    return fs_serve_tell(p, c, message, sizeof message);
}

static int readable_file(const fs_serve *s, uint32_t handle)
{
    const fs_served *file = fs_serve_file(s, handle);
    return file != NULL && file->readable ? file->fd : -1;
}

/* Answers the first of count READs and those that adjoin it, until the file ends; how many that were, 0 when the first
 * is the caller's. */
static uint32_t answer_run(fs_serve *s, fs_layout *l, uint32_t count)
{
    struct iovec iov[FS_MOST_SEGMENTS];
    const fs_serve_read *first = read_at(s, 0);
    int fd = readable_file(s, first->handle), segments = 0;
    size_t start = l->length;
    uint64_t total = 0;
    uint32_t run = 0;
    if (fd < 0)
        return 0;
    for (; run < count && run < FS_MOST_MESSAGES; run++) {
        const fs_serve_read *r = read_at(s, run);
        if (r->handle != first->handle || r->offset != first->offset + total)
            break;
        lay_out_data(l, r, r->length, iov, &segments);
        total += r->length;
    }
    ssize_t n;
    do
        n = preadv(fd, iov, segments, (off_t)first->offset);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        s->bytes_read += (uint64_t)n;
    if (n == (ssize_t)total)
        return run;
    l->length = start; /* once more, shorter: what was read in full stays where it is */
    if (n < 0)
        return 0;
    if (n == 0) {
        lay_out_end(l, s, first);
        return 1;
    }
    segments = 0;
    for (run = 0; n > 0; run++) {
        const fs_serve_read *r = read_at(s, run);
        uint32_t length = n < (ssize_t)r->length ? (uint32_t)n : r->length;
        lay_out_data(l, r, length, iov, &segments);
        n -= (ssize_t)length;
    }
    return run;
}

/* An answer longer than the window or a batch of packets: through the queue. */
static int answer_queued(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    const fs_serve_read *r = read_at(s, 0);
    int fd = readable_file(s, r->handle);
    int status = fs_buffer_reserve(&c->queue, longest_answer(s, r), FS_CHANNEL_MAX_QUEUE);
    if (status != FS_OK)
        return status;
    uint8_t *at = c->queue.data + c->queue.tail;
    ssize_t n = -1;
    if (fd >= 0)
        do
            n = pread(fd, at + FS_SFTP_DATA_HEADER, r->length, (off_t)r->offset);
        while (n < 0 && errno == EINTR);
    if (n < 0)
        return tell_read(p, c);
    if (n > 0) {
        put_data_header(at, r->id, (uint32_t)n);
        c->queue.tail += FS_SFTP_DATA_HEADER + (size_t)n;
    } else {
        fs_serve_status end = fs_serve_end_of_file(s);
        fs_serve_put_status(at, r->id, end);
        memcpy(at + FS_SERVE_STATUS_HEADER, end.body, end.len);
        c->queue.tail += FS_SERVE_STATUS_HEADER + end.len;
    }
    s->bytes_read += (uint64_t)n;
    pop_reads(s, 1);
    return FS_OK;
}

int fs_serve_answer_reads(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    fs_layout l;
    fs_layout_of(p, c, 0, &l);
    size_t left = fs_layout_room(p, &l), stream = 0, length;
    uint32_t count = 0;
    if (left > c->remote_window)
        left = c->remote_window;
    for (; count < s->read_count && (length = longest_answer(s, read_at(s, count))) <= left - stream; count++)
        stream += length;
    if (count == 0) {
        /* Room will come when what is sealed has been sent. The window may never grow as long as something of it is
         * left: a peer may well wait for that. */
        length = longest_answer(s, read_at(s, 0));
        int fits = length <= c->remote_window && length <= fs_layout_most(p, &l);
        return c->remote_window == 0 || fits ? FS_AGAIN : answer_queued(p, c);
    }
    int status = fs_layout_begin(p, &l, stream);
    if (status != FS_OK)
        return status;
    int told = 0;
    while (count > 0 && !told) {
        uint32_t answered = answer_run(s, &l, count);
        told = answered == 0;
        pop_reads(s, answered);
        count -= answered;
    }
    if (l.length > 0)
        status = fs_layout_seal(p, c, &l);
    return status == FS_OK && told ? tell_read(p, c) : status;
}
