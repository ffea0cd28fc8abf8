/* SFTP put: WRITE messages are laid out over packet slots with gaps for the file's bytes; one preadv fills the gaps;
 * the packets are sealed where they lie. A message is always laid out whole, so that a source that turns out shorter
 * only makes the last message shorter: nothing is ever promised to the server that cannot be sent. */
#include <errno.h>
#include <string.h>

#include "sftp.h"

#define MOST_MESSAGES 64
#define MOST_SEGMENTS (FS_BATCH + MOST_MESSAGES)
#define SLOT_DATA (FS_PACKET_HEADER + FS_DATA_HEADER) /* where channel data starts in a slot */
#define LEAST_PIECE (32 * 1024)                       /* do not cut messages smaller than this for a narrow window */

int fs_put_complete(const fs_transfer *t)
{
    return t->at_end || t->next >= t->end;
}

/* The stream of channel bytes, cut into packets of `width`, each in a slot of `stride`. */
typedef struct layout {
    uint8_t *base;
    size_t width, stride;
    size_t length; /* of the stream so far */
} layout;

static uint8_t *place(const layout *l, size_t at, size_t *contiguous)
{
    size_t packet = at / l->width, offset = at % l->width;
    *contiguous = l->width - offset;
    return l->base + packet * l->stride + SLOT_DATA + offset;
}

static void put_bytes(layout *l, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t n;
        uint8_t *at = place(l, l->length, &n);
        if (n > len)
            n = len;
        memcpy(at, bytes, n);
        bytes += n;
        len -= n;
        l->length += n;
    }
}

/* Appends the segments that len file bytes take; returns how many: all gaps of a batch are at most MOST_SEGMENTS, since
 * each ends with a packet or with a message. */
static int put_gap(layout *l, size_t len, struct iovec *iov)
{
    int count = 0;
    while (len > 0) {
        size_t n;
        uint8_t *at = place(l, l->length, &n);
        if (n > len)
            n = len;
        iov[count++] = (struct iovec){at, n};
        len -= n;
        l->length += n;
    }
    return count;
}

/* How many file bytes each message of the next batch carries; their number, 0 if none can go now. */
static size_t plan(fs_plane *p, const fs_channel *c, fs_transfer *t, const layout *l, uint64_t now, uint32_t lengths[])
{
    const fs_sftp *s = c->sftp;
    size_t header = FS_SFTP_REQUEST(t->handle_len), room = fs_out_room(p) / l->stride, count = 0;
    uint64_t offset = t->next, in_flight = s->in_flight, tokens = fs_rate_tokens(p, now);
    if (room > FS_BATCH)
        room = FS_BATCH;
    uint64_t left = room * l->width;
    if (left > c->remote_window)
        left = c->remote_window;
    /* Small packets: a message must fit into half a batch, for progress without waiting. */
    uint64_t chunk = t->chunk < FS_BATCH / 2 * l->width ? t->chunk : FS_BATCH / 2 * l->width;
    while (count < MOST_MESSAGES && count < s->free_count && offset < t->end) {
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
static size_t lay_out(fs_sftp *s, fs_transfer *t, layout *l, uint32_t lengths[], size_t count, uint64_t total,
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
        put_bytes(l, header, (size_t)(end - header));
        *segments += put_gap(l, lengths[i], iov + *segments);
        offset += lengths[i];
        total -= lengths[i];
    }
    return i;
}

/* One batch of WRITE messages. FS_AGAIN when nothing can go now. */
int fs_put_fill(fs_plane *p, fs_channel *c, fs_transfer *t, uint64_t now)
{
    fs_sftp *s = c->sftp;
    uint32_t lengths[MOST_MESSAGES];
    struct iovec iov[MOST_SEGMENTS];
    fs_request *requests[MOST_MESSAGES];
    int segments;
    layout l = {.width = c->remote_max_packet};
    l.stride = fs_out_slot_size(p, FS_DATA_HEADER + l.width);
    size_t count = plan(p, c, t, &l, now, lengths);
    if (count == 0)
        return FS_AGAIN;

    uint64_t total = 0, stream = 0;
    for (size_t i = 0; i < count; i++) {
        total += lengths[i];
        stream += FS_SFTP_REQUEST(t->handle_len) + lengths[i];
    }
    size_t packets = (size_t)((stream + l.width - 1) / l.width);
    int status = fs_out_reserve(p, packets * l.stride, &l.base);
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

    fs_packet sealed[FS_BATCH];
    packets = (l.length + l.width - 1) / l.width;
    for (size_t i = 0; i < packets; i++) {
        size_t bytes = i + 1 < packets ? l.width : l.length - i * l.width;
        uint8_t *payload = l.base + i * l.stride + FS_PACKET_HEADER;
        payload[0] = SSH_MSG_CHANNEL_DATA;
        fs_put_u32(payload + 1, c->remote);
        fs_put_u32(payload + 5, (uint32_t)bytes);
        sealed[i] = (fs_packet){.start = payload - FS_PACKET_HEADER, .payload_len = FS_DATA_HEADER + bytes};
    }
    c->remote_window -= (uint32_t)l.length; /* plan() kept it within */
    return fs_out_seal(p, sealed, packets);
}
