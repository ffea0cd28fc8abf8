/* SFTP put: WRITE messages are laid out over packet slots with gaps for the file's bytes; one preadv fills the gaps;
 * the packets are sealed where they lie. A message is always laid out whole, so that a source that turns out shorter
 * only makes the last message shorter: nothing is ever promised to the server that cannot be sent. */
#include <errno.h>

#include "sftp.h"

#define LEAST_PIECE (32 * 1024) /* do not cut messages smaller than this for a narrow window */

int fs_put_complete(const fs_transfer *t)
{
    return t->at_end || t->next >= t->end;
}

/* How many file bytes each message of the next batch carries; their number, 0 if none can go now. */
static size_t plan(fs_plane *p, const fs_channel *c, fs_transfer *t, const fs_layout *l, uint64_t now,
                   uint32_t lengths[])
{
    const fs_sftp *s = c->sftp;
    size_t header = FS_SFTP_REQUEST(t->handle_len), room = fs_layout_room(p, l), count = 0;
    uint64_t offset = t->next, in_flight = s->in_flight, tokens = fs_rate_tokens(p, now);
    uint64_t left = room;
    if (left > c->remote_window)
        left = c->remote_window;
    /* Small packets: a message must fit into half a batch, for progress without waiting. */
    uint64_t chunk = t->chunk < FS_BATCH / 2 * l->width ? t->chunk : FS_BATCH / 2 * l->width;
    while (count < FS_MOST_MESSAGES && count < s->free_count && offset < t->end) {
        uint64_t n = t->end - offset < chunk ? t->end - offset : chunk;
        if (in_flight > 0 && in_flight + n > s->depth)
            break;
        if (n > tokens) {
            fs_rate_wait(p, now, n);
            break;
        }
        if (left < header + n) {
            /* A narrow window: a shorter message, when it is worth it or when nothing else will open the window. */
            if (count > 0 || left <= header || room == 0)
                break;
            if (left - header < LEAST_PIECE && s->in_flight > 0)
                break;
            n = left - header;
        }
        lengths[count++] = (uint32_t)n;
        left -= header + n;
        tokens -= n;
        offset += n;
        in_flight += n;
    }
    return count;
}

/* Lays out the headers of messages for total file bytes, shortening the plan to them; returns the number of messages.
 */
static size_t lay_out(fs_sftp *s, fs_transfer *t, fs_layout *l, uint32_t lengths[], size_t count, uint64_t total,
                      struct iovec *iov, int *segments, fs_request *requests[], uint64_t now)
{
    uint8_t header[FS_SFTP_REQUEST(FS_SFTP_MAX_HANDLE)];
    uint64_t offset = t->next;
    size_t i;
    *segments = 0;
    l->length = 0;
    for (i = 0; i < count && total > 0; i++) {
        if (lengths[i] > total)
            lengths[i] = (uint32_t)total;
        uint32_t id = 0;
        if (requests != NULL) {
            requests[i] = fs_sftp_request_new(s, t, offset, lengths[i], lengths[i], now);
            id = fs_sftp_request_id(s, requests[i]);
        }
        uint8_t *end = fs_sftp_put_request(header, SSH_FXP_WRITE, id, t, offset, lengths[i]);
        fs_layout_put(l, header, (size_t)(end - header));
        *segments += fs_layout_gap(l, lengths[i], iov + *segments);
        offset += lengths[i];
        total -= lengths[i];
    }
    return i;
}

/* One batch of WRITE messages. FS_AGAIN when nothing can go now. */
int fs_put_fill(fs_plane *p, fs_channel *c, fs_transfer *t, uint64_t now)
{
    fs_sftp *s = c->sftp;
    uint32_t lengths[FS_MOST_MESSAGES];
    struct iovec iov[FS_MOST_SEGMENTS];
    fs_request *requests[FS_MOST_MESSAGES];
    int segments;
    fs_layout l;
    fs_layout_of(p, c, 0, &l);
    size_t count = plan(p, c, t, &l, now, lengths);
    if (count == 0)
        return FS_AGAIN;

    uint64_t total = 0, stream = 0;
    for (size_t i = 0; i < count; i++) {
        total += lengths[i];
        stream += FS_SFTP_REQUEST(t->handle_len) + lengths[i];
    }
    int status = fs_layout_begin(p, &l, (size_t)stream);
    if (status != FS_OK)
        return status;

    lay_out(s, t, &l, lengths, count, total, iov, &segments, NULL, now);
    ssize_t n;
    do
        n = preadv(t->fd, iov, segments, (off_t)t->next);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        fs_transfer_fail(t, FS_E_SYSTEM, errno);
        return FS_OK;
    }
    t->result.end_of_file = (int64_t)(t->next + (uint64_t)n);
    if (n == 0) {
        t->at_end = 1;
        return FS_OK;
    }
    count = lay_out(s, t, &l, lengths, count, (uint64_t)n, iov, &segments, requests, now);
    t->next += (uint64_t)n;
    fs_rate_spend(p, (uint64_t)n);
    return fs_layout_seal(p, c, &l); /* plan() kept it within the window */
}
