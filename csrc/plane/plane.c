/* The plane's life, its keys, and one turn of it. */
#include "plane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "internal.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS has no such flag: there it rests on Python, which ignores SIGPIPE from its start on */
#endif

/* The least a buffer must hold: a packet; a whole SFTP message over packets as small as a peer may ask for. The most:
 * what leaves room for control messages beside bulk. */
#define LEAST_RECEIVE (FS_PACKET_MAX_LENGTH + FS_PACKET_MAX_OVERHEAD)
#define LEAST_SEND (2 * FS_PACKET_MAX_LENGTH)
#define MOST_SEND (FS_OUT_LIMIT / 2)
#define COMPACT_HELD (64 * 1024)      /* a partial packet up to this is moved to the front: cheaper than a short recv */
#define COMPACT_ROOM (128 * 1024)     /* a longer one only when less room than this is left behind it */
#define STEP_BUDGET (4 * 1024 * 1024) /* bytes a step moves before it lets others run */

uint64_t fs_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Sealer and opener without keys. */
static int without_keys(fs_plane *p, const char *cipher)
{
    int status = FS_OK;
    fs_packet_keys keys = {.cipher = fs_cipher_find(cipher),
                           .mac = fs_mac_find("none"),
                           .key = (const uint8_t *)"",
                           .iv = (const uint8_t *)"",
                           .mac_key = (const uint8_t *)""};
    fs_sealer *sealer = fs_sealer_new(&keys, &status);
    fs_opener *opener = sealer == NULL ? NULL : fs_opener_new(&keys, &status);
    if (opener == NULL) {
        fs_sealer_free(sealer);
        return status;
    }
    fs_sealer_free(p->sealer);
    fs_opener_free(p->opener);
    p->sealer = sealer;
    p->opener = opener;
    return FS_OK;
}

int fs_plane_unpadded(fs_plane *p)
{
    if (p->bytes_received > 0 || fs_sealer_counters(p->sealer)->packets > 0)
        return FS_E_STATE;
    return without_keys(p, "unpadded");
}

fs_plane *fs_plane_new(size_t receive_capacity, size_t send_capacity, int *status)
{
    fs_plane *p = calloc(1, sizeof *p);
    *status = FS_E_NO_MEMORY;
    if (p == NULL)
        return NULL;
    p->in_capacity = receive_capacity < LEAST_RECEIVE ? LEAST_RECEIVE : receive_capacity;
    p->out_target = send_capacity < LEAST_SEND ? LEAST_SEND : send_capacity > MOST_SEND ? MOST_SEND : send_capacity;
    p->in = malloc(p->in_capacity);
    if (p->in != NULL && fs_buffer_reserve(&p->out, p->out_target, p->out_target) == FS_OK)
        *status = without_keys(p, "none");
    if (p->opener == NULL) {
        fs_plane_free(p);
        return NULL;
    }
    *status = FS_OK;
    return p;
}

void fs_plane_free(fs_plane *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->channel_slots; i++)
        if (p->channels[i] != NULL)
            fs_channel_free(p, p->channels[i]);
    for (uint32_t i = 0; i < p->transfer_slots; i++)
        free(p->transfers[i]);
    free(p->channels);
    free(p->transfers);
    if (p->in != NULL)
        OPENSSL_cleanse(p->in, p->in_capacity);
    free(p->in);
    fs_buffer_free(&p->out);
    fs_buffer_free(&p->events);
    fs_sealer_free(p->sealer);
    fs_opener_free(p->opener);
    fs_zlib_free(p->deflate);
    fs_zlib_free(p->inflate);
    free(p);
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

int fs_plane_set_send_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence)
{
    int status;
    keys.sequence = reset_sequence ? 0 : fs_sealer_counters(p->sealer)->sequence;
    fs_sealer *sealer = fs_sealer_new(&keys, &status);
    if (sealer == NULL)
        return status;
    fs_sealer_free(p->sealer);
    p->sealer = sealer;
    if (p->rekey_bytes)
        fs_sealer_counters(sealer)->rekey_bytes = p->rekey_bytes;
    p->sending_kex = 0;
    return FS_OK;
}

int fs_plane_set_receive_keys(fs_plane *p, fs_packet_keys keys, int reset_sequence)
{
    int status;
    if (!p->awaiting_keys)
        return FS_E_STATE;
    keys.sequence = reset_sequence ? 0 : fs_opener_counters(p->opener)->sequence;
    fs_opener *opener = fs_opener_new(&keys, &status);
    if (opener == NULL)
        return status;
    fs_opener_free(p->opener);
    p->opener = opener;
    if (p->rekey_bytes)
        fs_opener_counters(opener)->rekey_bytes = p->rekey_bytes;
    p->awaiting_keys = 0;
    p->need_more = 0;
    return FS_OK;
}

static int set_compression(fs_zlib **z, int on, int inflating)
{
    if (!on) {
        fs_zlib_free(*z);
        *z = NULL;
    } else if (*z == NULL && (*z = fs_zlib_new(inflating)) == NULL) {
        return FS_E_NO_MEMORY;
    }
    return FS_OK;
}

int fs_plane_set_send_compression(fs_plane *p, int on)
{
    return set_compression(&p->deflate, on, 0);
}
int fs_plane_set_receive_compression(fs_plane *p, int on)
{
    return set_compression(&p->inflate, on, 1);
}

uint32_t fs_plane_send_sequence(const fs_plane *p)
{
    return fs_sealer_counters(p->sealer)->sequence;
}
uint32_t fs_plane_receive_sequence(const fs_plane *p)
{
    return fs_opener_counters(p->opener)->sequence;
}
int fs_plane_rekey_due(const fs_plane *p)
{
    return fs_sealer_rekey_due(p->sealer) || fs_opener_rekey_due(p->opener);
}
int fs_plane_sending_kex(const fs_plane *p)
{
    return p->sending_kex;
}
uint64_t fs_plane_bytes_sent(const fs_plane *p)
{
    return p->bytes_sent;
}
uint64_t fs_plane_bytes_received(const fs_plane *p)
{
    return p->bytes_received;
}

void fs_plane_set_rekey_bytes(fs_plane *p, uint64_t limit)
{
    p->rekey_bytes = limit; /* 0 takes effect with the next keys, which bring their own */
    if (limit) {
        fs_sealer_counters(p->sealer)->rekey_bytes = limit;
        fs_opener_counters(p->opener)->rekey_bytes = limit;
    }
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

static void make_room(fs_plane *p)
{
    if (p->batch_next < p->batch_count)
        return; /* opened packets still lie there */
    size_t held = p->in_tail - p->in_head;
    if (held == 0) {
        p->in_head = p->in_tail = 0;
    } else if (p->in_head > 0 && (held <= COMPACT_HELD || p->in_capacity - p->in_tail < COMPACT_ROOM)) {
        memmove(p->in, p->in + p->in_head, held);
        p->in_head = 0;
        p->in_tail = held;
    }
}

/* Dispatches what was opened; FS_AGAIN when Python has to read events or set keys first. A message below 80 may change
 * the phase (keys, authentication, compression), so nothing after it is touched before Python has seen it. */
static int dispatch_batch(fs_plane *p)
{
    while (p->batch_next < p->batch_count) {
        if (p->paused || fs_buffer_len(&p->events) > FS_EVENTS_SOFT_LIMIT)
            return FS_AGAIN;
        fs_packet *packet = &p->batch[p->batch_next++];
        uint8_t *payload = packet->payload;
        size_t len = packet->payload_len;
        uint32_t sequence = p->batch_sequence++;
        int status = FS_OK;
        if (p->inflate != NULL)
            status = fs_zlib_run(p->inflate, payload, len, &payload, &len);
        if (status == FS_OK)
            status = fs_dispatch(p, sequence, payload, len);
        if (p->inflate != NULL)
            fs_sftp_settle(p); /* what was gathered lies in the inflater's buffer */
        if (status != FS_OK)
            return status;
    }
    return p->awaiting_keys || p->paused ? FS_AGAIN : FS_OK;
}

/* Opens and dispatches all that is there. FS_AGAIN when more bytes, events() or keys are needed. */
static int receive(fs_plane *p)
{
    for (;;) {
        int status = dispatch_batch(p);
        if (status != FS_OK)
            return status;
        if (p->in_head == p->in_tail || p->need_more)
            return FS_AGAIN;
        /* The opener ends a batch at a message below 80, but it cannot see the number of a compressed one. */
        size_t used, need, most = p->inflate != NULL ? 1 : FS_BATCH;
        p->batch_next = 0;
        p->batch_sequence = fs_opener_counters(p->opener)->sequence;
        int opened = fs_open_batch(p->opener, p->in + p->in_head, p->in_tail - p->in_head, p->batch, most,
                                   &p->batch_count, &used, &need);
        p->in_head += used;
        if (opened == FS_AGAIN)
            p->need_more = 1;
        if (opened != FS_OK && opened != FS_AGAIN) {
            /* The packets before the bad one were good and count. */
            status = dispatch_batch(p);
            return status != FS_OK && status != FS_AGAIN ? status : opened;
        }
    }
}

/* Nothing more can be dispatched before Python has read events or set keys. */
static int blocked(const fs_plane *p)
{
    return p->disconnected || p->paused || p->awaiting_keys || fs_buffer_len(&p->events) > FS_EVENTS_SOFT_LIMIT;
}

/* Takes over count bytes that were put behind in_tail. */
static void received(fs_plane *p, size_t count)
{
    p->in_tail += count;
    p->bytes_received += count;
    p->need_more = 0;
}

static int advance(fs_plane *p)
{
    if (p->disconnected)
        return FS_OK;
    int status = receive(p);
    int settled = fs_sftp_settle(p); /* before the buffer may move */
    if (status != FS_OK && status != FS_AGAIN)
        return status;
    return settled;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static int fill(fs_plane *p)
{
    p->wait_until = 0;
    /* A packet boundary: bulk goes on by itself after our new keys. */
    if (p->sending_kex || p->disconnected)
        return FS_OK;
    int status = FS_OK;
    /* Round robin, so that one channel's bulk does not starve the others: whoever sent first comes last the next time.
     */
    uint32_t first = p->channel_slots;
    for (uint32_t i = 0; i < p->channel_slots && status == FS_OK; i++) {
        fs_channel *c = p->channels[(p->fill_next + i) % p->channel_slots];
        if (c == NULL || c->state != FS_CHANNEL_OPEN)
            continue;
        size_t held = fs_buffer_len(&p->out);
        status = fs_channel_fill(p, c);
        if (status == FS_OK && c->sftp != NULL)
            status = fs_sftp_fill(p, c);
        if (status == FS_OK && c->relay != NULL)
            status = fs_relay_fill(p, c);
        while (status == FS_OK && c->serve != NULL && (status = fs_serve_fill(p, c)) == FS_OK)
            status = fs_channel_fill(p, c); /* the replies, and credit for the requests */
        if (status == FS_AGAIN)
            status = FS_OK;
        if (first == p->channel_slots && fs_buffer_len(&p->out) > held)
            first = c->id;
    }
    if (first < p->channel_slots)
        p->fill_next = first + 1;
    if (status == FS_OK)
        status = fs_sftp_settle(p);
    return status;
}

int fs_plane_fill(fs_plane *p)
{
    if (p->failed == FS_OK)
        p->failed = fs_relays_drain(p);
    if (p->failed == FS_OK)
        p->failed = fill(p);
    return p->failed;
}

/* Sends until the socket is full, filling as long as everything goes out. */
static int send_all(fs_plane *p, int fd, int *flags)
{
    size_t moved = 0;
    for (;;) {
        if (fs_buffer_len(&p->out) == 0) {
            int status = fill(p);
            if (status != FS_OK)
                return status;
            if (fs_buffer_len(&p->out) == 0)
                return FS_OK;
            if (moved > STEP_BUDGET) {
                *flags |= FS_STEP_MORE;
                return FS_OK;
            }
        }
        size_t held = fs_buffer_len(&p->out);
        const uint8_t *start = p->out.data + p->out.head;
        ssize_t n = p->apart ? write(p->sink, start, held) : send(fd, start, held, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            n = 0;
        if (n < 0) {
            p->send_errno = errno;
            return FS_E_SYSTEM;
        }
        fs_plane_drop(p, (size_t)n);
        moved += (size_t)n;
        if ((size_t)n < held) {
            *flags |= FS_STEP_WANT_WRITE;
            return FS_OK;
        }
    }
}

/* --- one turn ---------------------------------------------------------------------------------------------------- */

static int finish(fs_plane *p, int status, int *flags)
{
    if (status != FS_OK && p->failed == FS_OK && p->send_errno == 0) {
        p->failed = status;
        p->failed_errno = errno;
    }
    if (status == FS_E_SYSTEM)
        errno = p->send_errno ? p->send_errno : p->failed_errno;
    if (fs_plane_has_events(p))
        *flags |= FS_STEP_EVENTS;
    if (p->end_of_stream)
        *flags |= FS_STEP_EOF;
    if (blocked(p))
        *flags |= FS_STEP_BLOCKED;
    return status;
}

void fs_plane_set_sink(fs_plane *p, int fd)
{
    p->apart = 1;
    p->sink = fd;
}

int fs_plane_step(fs_plane *p, int fd, int readable, int *flags)
{
    *flags = 0;
    p->wait_until = 0; /* fill() asks again if it must */
    if (p->failed != FS_OK)
        return finish(p, p->failed, flags);
    if (p->send_errno != 0)
        return finish(p, FS_E_SYSTEM, flags);
    int status = advance(p); /* what was left over when events or keys were wanted */
    for (size_t moved = 0; status == FS_OK && readable && !p->end_of_stream;) {
        make_room(p);
        size_t room = p->in_capacity - p->in_tail;
        if (room == 0 || blocked(p))
            break;
        ssize_t n = p->apart ? read(fd, p->in + p->in_tail, room) : recv(fd, p->in + p->in_tail, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return finish(p, FS_E_SYSTEM, flags);
        if (n == 0)
            p->end_of_stream = 1;
        received(p, (size_t)n);
        status = advance(p);
        moved += (size_t)n;
        /* A short recv drained the socket; the poller will say when there is more. */
        if ((size_t)n < room || moved > STEP_BUDGET || fs_plane_has_events(p))
            break;
    }
    if (status == FS_OK)
        status = fs_relays_drain(p); /* whether or not anything can be sent */
    if (status == FS_OK)
        status = send_all(p, fd, flags);
    return finish(p, status, flags);
}

int fs_plane_feed(fs_plane *p, const uint8_t *data, size_t len, size_t *taken)
{
    int flags = 0;
    *taken = 0;
    if (p->failed != FS_OK)
        return p->failed;
    int status = advance(p);
    while (status == FS_OK && *taken < len) {
        make_room(p);
        size_t n = p->in_capacity - p->in_tail;
        if (n > len - *taken)
            n = len - *taken;
        if (n == 0)
            break;
        memcpy(p->in + p->in_tail, data + *taken, n);
        *taken += n;
        received(p, n);
        status = advance(p);
    }
    return finish(p, status, &flags);
}
