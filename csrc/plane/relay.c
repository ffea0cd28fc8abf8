/* Descriptor relay: sources are read straight into packet slots, and what arrives is written from where it was
 * decrypted. A descriptor that is not ready parks its own direction alone, until the caller says that it is ready; so
 * neither a peer without window nor a program that reads nothing holds anything else up.
 *
 * The peer gets credit for what a sink has taken. What it did not take is kept, within the window. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* see plane.c */
#endif

#define MOST_READ (256 * 1024) /* bytes of one source in one filling, so that other channels have their turn */
/* Bytes read while the peer gives no window: beyond it nothing but an end of file can be sent, and only reading finds
 * that. */
#define READ_AHEAD 4096

/* Turns of the plane until an empty ring is given back: a sink that is slow now will be slow again. */
#define RING_TURNS 1000

static uint8_t bit_of(int end)
{
    return (uint8_t)(1u << end);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int fs_plane_relay_attach(fs_plane *p, uint32_t id, const int fds[FS_RELAY_ENDS])
{
    fs_channel *c = fs_channel_find(p, id);
    struct stat status;
    if (c == NULL || c->state == FS_CHANNEL_FAILED || c->sftp != NULL || c->serve != NULL || c->relay != NULL)
        return FS_E_CHANNEL;
    fs_relay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return FS_E_NO_MEMORY;
    for (int end = 0; end < FS_RELAY_ENDS; end++) {
        r->fds[end] = fds[end] < 0 ? -1 : fds[end];
        if (fds[end] >= 0 && fstat(fds[end], &status) == 0 && S_ISSOCK(status.st_mode))
            r->sockets |= bit_of(end);
    }
    c->relay = r;
    p->relays++;
    return FS_OK;
}

void fs_relay_free(fs_plane *p, fs_channel *c)
{
    fs_relay *r = c->relay;
    if (r == NULL)
        return;
    if (p->gather.channel == c)
        fs_gather_flush(p);
    for (int stream = 0; stream < FS_RELAY_STREAMS; stream++)
        fs_ring_free(&r->kept[stream]);
    free(r);
    c->relay = NULL;
    p->relays--;
}

/* The descriptor is not touched any more; what waits for it is dropped, and the peer may send on. */
static int let_go(fs_channel *c, int end)
{
    fs_relay *r = c->relay;
    r->fds[end] = -1;
    r->waits &= (uint8_t)~bit_of(end);
    r->told &= (uint8_t)~bit_of(end);
    if (end < FS_FIRST_SINK)
        return FS_OK;
    fs_ring *kept = &r->kept[end - FS_FIRST_SINK];
    uint32_t lost = (uint32_t)kept->len;
    fs_ring_free(kept);
    return fs_channel_consume(c, lost);
}

static int tell_end(fs_plane *p, fs_channel *c, int end, int error)
{
    int status = let_go(c, end);
    if (status == FS_OK)
        status = fs_push_event(p, FS_EVENT_RELAY, c->id, bit_of(end) | (uint32_t)error << FS_RELAY_ENDS, NULL, 0);
    return status;
}

static fs_relay *find_relay(const fs_plane *p, uint32_t id)
{
    const fs_channel *c = fs_channel_find(p, id);
    return c == NULL ? NULL : c->relay;
}

int fs_plane_relay_ready(fs_plane *p, uint32_t id, uint32_t ends)
{
    fs_relay *r = find_relay(p, id);
    if (r == NULL)
        return FS_E_CHANNEL;
    r->waits &= (uint8_t)~ends;
    return FS_OK;
}

int fs_plane_relay_release(fs_plane *p, uint32_t id, uint32_t ends)
{
    int status = FS_OK;
    if (find_relay(p, id) == NULL)
        return FS_E_CHANNEL;
    fs_gather_flush(p);
    for (int end = 0; end < FS_RELAY_ENDS && status == FS_OK; end++)
        if (ends & bit_of(end))
            status = let_go(fs_channel_find(p, id), end);
    return status;
}

int fs_plane_relay_kept(const fs_plane *p, uint32_t id, uint32_t stream, fs_relay_kept *kept)
{
    struct iovec spans[2] = {{0}};
    const fs_relay *r = find_relay(p, id);
    if (r == NULL || stream >= FS_RELAY_STREAMS)
        return FS_E_CHANNEL;
    int count = fs_ring_spans(&r->kept[stream], spans);
    *kept = (fs_relay_kept){.bytes = {spans[0].iov_base, spans[1].iov_base},
                            .lengths = {count > 0 ? spans[0].iov_len : 0, count > 1 ? spans[1].iov_len : 0}};
    return FS_OK;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

int fs_plane_relay_waits(fs_plane *p, int watching, size_t *cursor, fs_event *event)
{
    for (; p->relays > 0 && *cursor < p->channel_slots; ++*cursor) {
        fs_relay *r = p->channels[*cursor] == NULL ? NULL : p->channels[*cursor]->relay;
        uint8_t wanted = r != NULL && watching ? r->waits : 0;
        if (r == NULL || r->told == wanted)
            continue;
        r->told = wanted;
        *event = (fs_event){.kind = FS_EVENT_RELAY_WAITS, .a = (uint32_t)*cursor, .b = wanted};
        ++*cursor;
        return 1;
    }
    return 0;
}

size_t fs_relay_polled(const fs_plane *p, struct pollfd *polled, size_t most)
{
    size_t count = 0;
    for (uint32_t i = 0; p->relays > 0 && i < p->channel_slots; i++) {
        const fs_relay *r = p->channels[i] == NULL ? NULL : p->channels[i]->relay;
        for (int end = 0; r != NULL && r->waits && end < FS_RELAY_ENDS; end++) {
            if (!(r->waits & bit_of(end)))
                continue;
            if (count < most)
                polled[count] = (struct pollfd){.fd = r->fds[end], .events = end < FS_FIRST_SINK ? POLLIN : POLLOUT};
            count++;
        }
    }
    return count;
}

int fs_relay_polled_ready(fs_plane *p, const struct pollfd *polled, size_t count)
{
    int ready = 0;
    size_t at = 0;
    for (uint32_t i = 0; at < count && i < p->channel_slots; i++) {
        fs_relay *r = p->channels[i] == NULL ? NULL : p->channels[i]->relay;
        uint8_t waited = r == NULL ? 0 : r->waits;
        for (int end = 0; at < count && end < FS_RELAY_ENDS; end++) {
            if (!(waited & bit_of(end)) || polled[at++].revents == 0)
                continue;
            r->waits &= (uint8_t)~bit_of(end);
            ready = 1;
        }
    }
    return ready;
}

/* --- from the channel to a sink ---------------------------------------------------------------------------------- */

/* What the sink took, 0 when it has to be waited for; or -errno. */
static ssize_t write_some(fs_relay *r, int end, struct iovec *iov, int count)
{
    struct msghdr message = {.msg_iov = iov};
    size_t asked = 0;
    ssize_t n;
    for (int i = 0; i < count; i++)
        asked += iov[i].iov_len;
    message.msg_iovlen = (unsigned)count;
    do
        n = r->sockets & bit_of(end) ? sendmsg(r->fds[end], &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                                     : writev(r->fds[end], iov, count);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        return -errno;
    if (n < 0)
        n = 0;
    if ((size_t)n < asked)
        r->waits |= bit_of(end);
    return n;
}

static int drain(fs_plane *p, fs_channel *c, int stream)
{
    fs_relay *r = c->relay;
    fs_ring *kept = &r->kept[stream];
    int end = FS_FIRST_SINK + stream, status = FS_OK;
    while (status == FS_OK && kept->len > 0 && !(r->waits & bit_of(end))) {
        struct iovec spans[2];
        ssize_t n = write_some(r, end, spans, fs_ring_spans(kept, spans));
        if (n < 0)
            return tell_end(p, c, end, (int)-n);
        fs_ring_drop(kept, (size_t)n);
        status = fs_channel_consume(c, (uint32_t)n);
    }
    if (kept->len > 0)
        kept->idle = 0;
    else if (kept->capacity > 0 && ++kept->idle > RING_TURNS)
        fs_ring_free(kept);
    return status;
}

int fs_relays_drain(fs_plane *p)
{
    int status = FS_OK;
    for (uint32_t i = 0; p->relays > 0 && !p->disconnected && i < p->channel_slots; i++) {
        fs_channel *c = p->channels[i];
        for (int stream = 0; c != NULL && c->relay != NULL && stream < FS_RELAY_STREAMS; stream++) {
            int end = FS_FIRST_SINK + stream;
            if (status == FS_OK && c->relay->fds[end] >= 0)
                status = drain(p, c, stream);
            /* After CLOSE the caller takes over what is left. */
            if (status == FS_OK && c->relay->fds[end] >= 0 && c->eof_received && !c->close_received &&
                c->relay->kept[stream].len == 0)
                status = tell_end(p, c, end, 0);
        }
    }
    return status;
}

static int keep(fs_channel *c, int stream, const uint8_t *data, size_t len)
{
    return fs_ring_put(&c->relay->kept[stream], data, len, c->local_window_max);
}

void fs_relay_flush(fs_plane *p, fs_gather *g)
{
    fs_channel *c = g->channel;
    fs_relay *r = c->relay;
    int stream = r->gathered, end = FS_FIRST_SINK + stream, status = FS_OK;
    while (status == FS_OK && g->first < g->count && r->fds[end] >= 0 && !(r->waits & bit_of(end))) {
        ssize_t n = write_some(r, end, g->iov + g->first, g->count - g->first);
        if (n < 0) {
            status = tell_end(p, c, end, (int)-n);
        } else {
            fs_gather_skip(g, (size_t)n);
            status = fs_channel_consume(c, (uint32_t)n);
        }
    }
    for (; status == FS_OK && g->first < g->count; g->first++) {
        const struct iovec *piece = &g->iov[g->first];
        status = r->fds[end] < 0 ? fs_channel_consume(c, (uint32_t)piece->iov_len)
                                 : keep(c, stream, piece->iov_base, piece->iov_len);
    }
    if (status != FS_OK && p->failed == FS_OK)
        p->failed = status;
}

int fs_relay_receive(fs_plane *p, fs_channel *c, uint32_t stream, uint8_t *data, uint32_t len)
{
    fs_relay *r = c->relay;
    fs_gather *g = &p->gather;
    int end = FS_FIRST_SINK + (int)stream;
    if (g->channel != c || r->gathered != stream || g->count == FS_GATHER)
        fs_gather_flush(p); /* which may end or park this sink */
    if (p->failed != FS_OK)
        return p->failed;
    if (r->fds[end] < 0)
        return fs_channel_consume(c, len);
    if (r->kept[stream].len > 0 || r->waits & bit_of(end))
        return keep(c, (int)stream, data, len);
    r->gathered = (uint8_t)stream;
    fs_gather_prepare(p, NULL, c, r->fds[end], g->count > 0 ? g->offset + g->bytes : 0);
    fs_gather_add(g, data, len);
    return FS_OK;
}

int fs_plane_relay_feed(fs_plane *p, uint32_t id, uint32_t stream, const uint8_t *data, size_t len)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->relay == NULL || stream >= FS_RELAY_STREAMS)
        return FS_E_CHANNEL;
    size_t received = c->local_window_max - c->local_window - c->unacknowledged;
    if (len > received - c->relay->kept[0].len - c->relay->kept[1].len)
        return FS_E_ARGUMENT; /* more than came, or it was consumed */
    if (c->relay->fds[FS_FIRST_SINK + stream] < 0)
        return fs_channel_consume(c, (uint32_t)len);
    return keep(c, (int)stream, data, len);
}

/* --- from a source to the channel -------------------------------------------------------------------------------- */

/* What the source gave, or 0: it ended, which the caller is told, or it has to be waited for. *status: of telling. */
static size_t read_some(fs_plane *p, fs_channel *c, int end, const struct iovec *iov, int count, size_t asked,
                        int *status)
{
    fs_relay *r = c->relay;
    struct msghdr message = {.msg_iov = (struct iovec *)iov};
    ssize_t n;
    message.msg_iovlen = (unsigned)count;
    do
        n = r->sockets & bit_of(end) ? recvmsg(r->fds[end], &message, MSG_DONTWAIT) : readv(r->fds[end], iov, count);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        r->waits |= bit_of(end);
        n = 0;
    } else if (n <= 0) {
        *status = tell_end(p, c, end, n < 0 ? errno : 0);
        n = 0;
    } else if ((size_t)n < asked) {
        r->waits |= bit_of(end); /* that was all there is now */
    }
    return (size_t)n;
}

static int read_ahead(fs_plane *p, fs_channel *c, int end, fs_buffer *queue)
{
    int status = fs_buffer_reserve(queue, READ_AHEAD, FS_CHANNEL_MAX_QUEUE);
    if (status != FS_OK)
        return status;
    struct iovec piece = {queue->data + queue->tail, READ_AHEAD};
    queue->tail += read_some(p, c, end, &piece, 1, READ_AHEAD, &status);
    return status;
}

static int read_source(fs_plane *p, fs_channel *c, int end)
{
    fs_relay *r = c->relay;
    fs_buffer *queue = end ? &c->queue_stderr : &c->queue;
    struct iovec iov[FS_MOST_SEGMENTS];
    fs_layout l;
    if (r->fds[end] < 0 || r->waits & bit_of(end) || fs_buffer_len(queue) > 0)
        return FS_OK;
    if (c->remote_window == 0)
        return read_ahead(p, c, end, queue);
    fs_layout_of(p, c, end, &l);
    size_t most = fs_layout_room(p, &l);
    if (most > c->remote_window)
        most = c->remote_window;
    if (most > MOST_READ)
        most = MOST_READ;
    if (most == 0)
        return FS_OK; /* room comes when what is sealed has been sent */
    int status = fs_layout_begin(p, &l, most);
    if (status != FS_OK)
        return status;
    int segments = fs_layout_gap(&l, most, iov);
    l.length = read_some(p, c, end, iov, segments, most, &status);
    return status == FS_OK && l.length > 0 ? fs_layout_seal(p, c, &l) : status;
}

int fs_relay_fill(fs_plane *p, fs_channel *c)
{
    fs_relay *r = c->relay;
    if (!fs_channel_can_send(c) || c->eof_wanted || c->close_wanted)
        return FS_OK;
    int status = read_source(p, c, r->first);
    r->first ^= 1;
    return status == FS_OK ? read_source(p, c, r->first) : status;
}
