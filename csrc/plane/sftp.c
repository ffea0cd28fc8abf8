/* The SFTP endpoint: replies taken apart, requests kept account of, transfers started and ended. */
#include <stdlib.h>
#include <string.h>

#include "sftp.h"

/* --- life -------------------------------------------------------------------------------------------------------- */

/* No slot leads to a transfer any more. */
static void forget_requests(fs_sftp *s)
{
    for (uint32_t i = 0; i < FS_SFTP_REQUESTS; i++) {
        s->requests[i].state = FS_REQUEST_FREE;
        s->requests[i].transfer = NULL;
        s->free_slots[i] = (uint16_t)(FS_SFTP_REQUESTS - 1 - i);
    }
    s->free_count = s->most; /* others are never handed out */
    s->again_count = 0;
    s->in_flight = 0;
    s->data_request = NULL;
}

int fs_plane_sftp_attach(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->sftp != NULL || c->serve != NULL)
        return FS_E_CHANNEL;
    fs_sftp *s = calloc(1, sizeof *s);
    if (s == NULL)
        return FS_E_NO_MEMORY;
    s->most = FS_SFTP_REQUESTS;
    forget_requests(s);
    s->depth = FS_DEPTH_START;
    s->starting = 1;
    s->min_rtt = UINT64_MAX;
    c->sftp = s;
    return FS_OK;
}

int fs_plane_sftp_limit(fs_plane *p, uint32_t id, uint32_t requests)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->sftp == NULL)
        return FS_E_CHANNEL;
    if (requests == 0 || c->sftp->free_count != c->sftp->most)
        return FS_E_ARGUMENT;
    c->sftp->most = requests < FS_SFTP_REQUESTS ? requests : FS_SFTP_REQUESTS;
    forget_requests(c->sftp);
    return FS_OK;
}

static void end_transfer(fs_plane *p, fs_transfer *t)
{
    t->ended = 1;
    p->active_transfers--;
    /* A full event queue ends the connection, and with it all transfers. */
    int status = fs_push_event(p, FS_EVENT_TRANSFER, t->channel, t->number, NULL, 0);
    if (status != FS_OK && p->failed == FS_OK)
        p->failed = status;
}

static int complete(const fs_transfer *t)
{
    return t->outstanding == 0 && (t->kind == FS_TRANSFER_GET ? fs_get_complete(t) : fs_put_complete(t));
}

int fs_sftp_busy(const fs_channel *c)
{
    return c->sftp != NULL && c->sftp->first != NULL;
}

void fs_sftp_channel_closed(fs_plane *p, fs_channel *c)
{
    if (c->sftp == NULL)
        return;
    fs_gather_flush(p);
    for (fs_transfer *t = c->sftp->first, *following; t != NULL; t = following) {
        following = t->following;
        if (!complete(t))
            fs_transfer_fail(t, FS_E_CHANNEL, 0); /* the last reply may have come just before the CLOSE */
        t->outstanding = 0;
        end_transfer(p, t);
    }
    c->sftp->first = c->sftp->last = NULL;
    forget_requests(c->sftp);
}

void fs_sftp_free(fs_plane *p, fs_channel *c)
{
    if (c->sftp == NULL)
        return;
    fs_sftp_channel_closed(p, c);
    fs_buffer_free(&c->sftp->message);
    free(c->sftp);
    c->sftp = NULL;
}

/* --- transfers --------------------------------------------------------------------------------------------------- */

int fs_plane_sftp_start(fs_plane *p, uint32_t id, const fs_transfer_spec *spec, uint32_t *number)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->sftp == NULL || c->state != FS_CHANNEL_OPEN || c->eof_wanted || c->close_wanted)
        return FS_E_CHANNEL;
    if (spec->handle_len > FS_SFTP_MAX_HANDLE || spec->chunk == 0 || spec->chunk > FS_SFTP_MAX_CHUNK || spec->fd < 0)
        return FS_E_ARGUMENT;
    if (spec->size < 0 && (spec->kind == FS_TRANSFER_GET || spec->size != -1))
        return FS_E_ARGUMENT;
    if (spec->offset > (uint64_t)INT64_MAX || (spec->size > 0 && spec->offset > (uint64_t)(INT64_MAX - spec->size)))
        return FS_E_ARGUMENT;
    uint32_t slot = 0;
    while (slot < p->transfer_slots && p->transfers[slot] != NULL)
        slot++;
    if (slot == p->transfer_slots) {
        uint32_t slots = p->transfer_slots ? 2 * p->transfer_slots : 64;
        if (slots > FS_MAX_CHANNELS)
            return FS_E_QUEUE;
        fs_transfer **transfers = realloc(p->transfers, slots * sizeof(fs_transfer *));
        if (transfers == NULL)
            return FS_E_NO_MEMORY;
        memset(transfers + p->transfer_slots, 0, (slots - p->transfer_slots) * sizeof(fs_transfer *));
        p->transfers = transfers;
        p->transfer_slots = slots;
    }
    fs_transfer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return FS_E_NO_MEMORY;
    t->number = slot;
    t->channel = id;
    t->kind = spec->kind;
    t->fd = spec->fd;
    memcpy(t->handle, spec->handle, spec->handle_len);
    t->handle_len = (uint32_t)spec->handle_len;
    t->chunk = spec->chunk;
    t->first = t->next = spec->offset;
    t->end = spec->size < 0 ? UINT64_MAX : spec->offset + (uint64_t)spec->size;
    t->to_end = spec->kind == FS_TRANSFER_GET && spec->to_end;
    t->result.kind = spec->kind;
    t->result.end_of_file = -1;
    p->transfers[slot] = t;
    p->active_transfers++;
    *number = slot;
    if (c->eof_received) { /* the peer has ended it, which the caller hears of soon */
        fs_transfer_fail(t, FS_E_CHANNEL, 0);
        end_transfer(p, t);
        return p->failed;
    }
    if (c->sftp->last != NULL)
        c->sftp->last->following = t;
    else
        c->sftp->first = t;
    c->sftp->last = t;
    return FS_OK;
}

static fs_transfer *find_transfer(const fs_plane *p, uint32_t number)
{
    return number < p->transfer_slots ? p->transfers[number] : NULL;
}

uint64_t fs_plane_transfer_progress(const fs_plane *p, uint32_t number)
{
    const fs_transfer *t = find_transfer(p, number);
    return t == NULL ? 0 : t->result.bytes;
}

uint64_t fs_plane_transfer_contiguous(const fs_plane *p, uint32_t number)
{
    const fs_transfer *t = find_transfer(p, number);
    return t == NULL ? 0 : t->result.contiguous;
}

void fs_plane_transfer_cancel(fs_plane *p, uint32_t number)
{
    fs_transfer *t = find_transfer(p, number);
    if (t != NULL && !t->ended)
        t->result.cancelled = 1;
}

int fs_plane_transfer_result(fs_plane *p, uint32_t number, fs_transfer_result *result)
{
    fs_transfer *t = find_transfer(p, number);
    if (t == NULL || !t->ended)
        return FS_E_ARGUMENT;
    *result = t->result;
    p->transfers[number] = NULL;
    free(t);
    return FS_OK;
}

/* The first failure is the one that is told. */
void fs_transfer_fail(fs_transfer *t, int status, int sys_errno)
{
    if (t->result.status != 0)
        return;
    t->result.status = status;
    t->result.sys_errno = sys_errno;
}

/* What does not come in order counts, but not as contiguous. */
void fs_transfer_moved(fs_transfer *t, uint64_t offset, uint64_t bytes)
{
    t->result.bytes += bytes;
    if (offset == t->first + t->result.contiguous)
        t->result.contiguous += bytes;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

fs_request *fs_sftp_request_new(fs_sftp *s, fs_transfer *t, uint64_t offset, uint32_t length, uint32_t counted,
                                uint64_t now)
{
    fs_request *r = &s->requests[s->free_slots[--s->free_count]];
    r->transfer = t;
    r->offset = offset;
    r->length = length;
    r->sent_at = now;
    r->state = FS_REQUEST_SENT;
    r->probe = 0;
    r->counted = counted;
    t->outstanding++;
    s->in_flight += counted;
    return r;
}

uint32_t fs_sftp_request_id(fs_sftp *s, fs_request *r)
{
    r->generation++;
    return FS_SFTP_OWN_ID | (r->generation * FS_SFTP_REQUESTS & ~FS_SFTP_OWN_ID) | (uint32_t)(r - s->requests);
}

void fs_sftp_request_done(fs_sftp *s, fs_request *r)
{
    r->state = FS_REQUEST_FREE;
    r->transfer->outstanding--;
    s->in_flight -= r->counted;
    s->free_slots[s->free_count++] = (uint16_t)(r - s->requests);
}

/* The request that a reply answers; NULL for an id that is not outstanding, however it came about. */
static fs_request *request_of(fs_sftp *s, uint32_t id)
{
    fs_request *r = &s->requests[id & (FS_SFTP_REQUESTS - 1)];
    uint32_t expected =
        FS_SFTP_OWN_ID | (r->generation * FS_SFTP_REQUESTS & ~FS_SFTP_OWN_ID) | (uint32_t)(r - s->requests);
    return r->state == FS_REQUEST_SENT && id == expected ? r : NULL;
}

uint8_t *fs_sftp_put_request(uint8_t *at, uint8_t type, uint32_t id, const fs_transfer *t, uint64_t offset,
                             uint32_t length)
{
    uint32_t body = FS_SFTP_REQUEST(t->handle_len) - 4 + (type == SSH_FXP_WRITE ? length : 0);
    fs_put_u32(at, body);
    at[4] = type;
    fs_put_u32(at + 5, id);
    fs_put_u32(at + 9, t->handle_len);
    memcpy(at + 13, t->handle, t->handle_len);
    at += 13 + t->handle_len;
    fs_put_u64(at, offset);
    fs_put_u32(at + 8, length);
    return at + 12;
}

/* --- adaptive depth ---------------------------------------------------------------------------------------------- */

static void note_delivery(fs_sftp *s, const fs_request *r, uint32_t bytes, uint64_t now)
{
    uint64_t rtt = now - r->sent_at;
    if (rtt < s->min_rtt)
        s->min_rtt = rtt ? rtt : 1;
    if (s->starting && s->depth < FS_DEPTH_MAX)
        s->depth = bytes < FS_DEPTH_MAX - s->depth ? s->depth + bytes : FS_DEPTH_MAX;
    if (s->round_started == 0 || now - s->round_started > 1000000000u) { /* the first, or after a pause */
        s->round_started = now;
        s->round_bytes = 0;
        return;
    }
    s->round_bytes += bytes;
    uint64_t elapsed = now - s->round_started;
    if (elapsed < 2 * s->min_rtt || elapsed < 1000000)
        return;
    double wanted = 2.0 * (double)s->round_bytes / (double)elapsed * (double)s->min_rtt;
    double held = 0.75 * (double)s->depth; /* falls slowly: one slow round is noise */
    if (wanted < (double)s->depth)
        s->starting = 0;
    if (wanted < held)
        wanted = held;
    s->depth = wanted < FS_DEPTH_MIN ? FS_DEPTH_MIN : wanted > FS_DEPTH_MAX ? FS_DEPTH_MAX : (uint64_t)wanted;
    s->round_started = now;
    s->round_bytes = 0;
}

/* --- replies ----------------------------------------------------------------------------------------------------- */

static void take_message(fs_transfer *t, const uint8_t *body, size_t len)
{
    if (len < 4 || t->result.message[0])
        return;
    size_t n = fs_get_u32(body);
    if (n > len - 4)
        n = len - 4;
    if (n > sizeof t->result.message - 1)
        n = sizeof t->result.message - 1;
    memcpy(t->result.message, body + 4, n);
    t->result.message[n] = 0;
}

/* STATUS to one of our requests; body starts after the id. */
static int receive_status(fs_sftp *s, fs_request *r, const uint8_t *body, size_t len)
{
    if (len < 4)
        return FS_E_SFTP;
    uint32_t code = fs_get_u32(body);
    fs_transfer *t = r->transfer;
    note_delivery(s, r, r->length, fs_now_ns());
    if (t->kind == FS_TRANSFER_PUT && code == SSH_FX_OK) {
        fs_transfer_moved(t, r->offset, r->length);
    } else if (t->kind == FS_TRANSFER_GET && code == SSH_FX_EOF) {
        if (t->result.end_of_file < 0 || r->offset < (uint64_t)t->result.end_of_file)
            t->result.end_of_file = (int64_t)r->offset;
        t->at_end = 1;
    } else {
        if (code == SSH_FX_OK)
            return FS_E_SFTP; /* OK is no answer to READ */
        if (t->result.status == 0)
            take_message(t, body + 4, len - 4);
        fs_transfer_fail(t, code > INT32_MAX ? INT32_MAX : (int)code, 0);
    }
    if (r->probe)
        t->probing = 0;
    fs_sftp_request_done(s, r);
    return FS_OK;
}

/* A whole message without its length. */
static int receive_message(fs_plane *p, fs_channel *c, const uint8_t *message, size_t len)
{
    uint32_t id = fs_get_u32(message + 1);
    if (!(id & FS_SFTP_OWN_ID))
        return fs_push_event(p, FS_EVENT_SFTP, c->id, 0, message, len);
    fs_request *r = request_of(c->sftp, id);
    if (r == NULL)
        return FS_E_REQUEST_ID;
    if (message[0] != SSH_FXP_STATUS)
        return FS_E_SFTP;
    return receive_status(c->sftp, r, message + 5, len - 5);
}

/* The header of a DATA reply to one of our requests: what follows is file bytes. */
static int begin_data(fs_sftp *s, const uint8_t *header)
{
    uint32_t length = fs_get_u32(header), count = fs_get_u32(header + 9);
    fs_request *r = request_of(s, fs_get_u32(header + 5));
    if (r == NULL)
        return FS_E_REQUEST_ID;
    if (r->transfer->kind != FS_TRANSFER_GET || length < 9 || count != length - 9)
        return FS_E_SFTP;
    /* More than was asked for, or nothing at all, which would never end. */
    if (count == 0 || count > r->length)
        return FS_E_SFTP;
    s->data_request = r;
    s->data_left = count;
    s->data_offset = r->offset;
    return FS_OK;
}

static void end_data(fs_sftp *s)
{
    fs_request *r = s->data_request;
    uint32_t received = (uint32_t)(s->data_offset - r->offset);
    s->data_request = NULL;
    note_delivery(s, r, received, fs_now_ns());
    if (fs_get_data_end(s, r, received))
        fs_sftp_request_done(s, r);
}

/* Collects header bytes up to want; 1 when they are there. */
static int collect_header(fs_sftp *s, uint32_t want, uint8_t **data, size_t *len)
{
    size_t n = s->header_len < want ? want - s->header_len : 0;
    if (n > *len)
        n = *len;
    memcpy(s->header + s->header_len, *data, n);
    s->header_len += (uint32_t)n;
    *data += n;
    *len -= n;
    return s->header_len >= want;
}

int fs_sftp_receive(fs_plane *p, fs_channel *c, uint8_t *data, size_t len)
{
    fs_sftp *s = c->sftp;
    int status = FS_OK;
    while (len > 0 && status == FS_OK) {
        if (s->data_request != NULL) { /* file bytes */
            uint32_t n = len < s->data_left ? (uint32_t)len : s->data_left;
            fs_get_data(p, s->data_request, s->data_offset, data, n);
            s->data_offset += n; /* r->offset + r->length <= INT64_MAX + chunk: checked at the start */
            s->data_left -= n;
            data += n;
            len -= n;
            if (s->data_left == 0)
                end_data(s);
        } else if (s->message_left > 0) { /* a message that came in pieces */
            size_t n = len < s->message_left ? len : s->message_left;
            memcpy(s->message.data + s->message.tail, data, n);
            s->message.tail += n;
            s->message_left -= (uint32_t)n;
            data += n;
            len -= n;
            if (s->message_left == 0) {
                status = receive_message(p, c, s->message.data + s->message.head, fs_buffer_len(&s->message));
                s->message.head = s->message.tail = 0;
            }
        } else { /* the next header */
            if (!collect_header(s, 9, &data, &len))
                break;
            uint32_t length = fs_get_u32(s->header);
            if (length < 5 || length > FS_SFTP_MAX_MESSAGE)
                return FS_E_SFTP;
            if (s->header[4] == SSH_FXP_DATA && (s->header[5] & 0x80)) {
                if (length < 9)
                    return FS_E_SFTP;
                if (!collect_header(s, FS_SFTP_DATA_HEADER, &data, &len))
                    break;
                s->header_len = 0;
                status = begin_data(s, s->header);
                continue;
            }
            s->header_len = 0;
            if ((status = fs_buffer_reserve(&s->message, length, FS_SFTP_MAX_MESSAGE)) != FS_OK)
                break;
            memcpy(s->message.data, s->header + 4, 5);
            s->message.tail = 5;
            s->message_left = length - 5;
            if (s->message_left == 0) {
                status = receive_message(p, c, s->message.data, 5);
                s->message.head = s->message.tail = 0;
            }
        }
    }
    return status;
}

/* --- filling and settling ---------------------------------------------------------------------------------------- */

int fs_sftp_fill(fs_plane *p, fs_channel *c)
{
    fs_sftp *s = c->sftp;
    /* A message of Python's that is still queued is never cut into. */
    if (s->first == NULL || !fs_channel_can_send(c) || fs_buffer_len(&c->queue) > 0)
        return FS_OK;
    uint64_t now = fs_now_ns();
    int status = fs_get_fill(p, c, now);
    for (fs_transfer *t = s->first; t != NULL && status == FS_OK; t = t->following)
        if (t->kind == FS_TRANSFER_PUT && !fs_transfer_stopped(t) && !fs_put_complete(t))
            while ((status = fs_put_fill(p, c, t, now)) == FS_OK && !fs_transfer_stopped(t) && !fs_put_complete(t)) {
            }
    return status == FS_AGAIN ? FS_OK : status;
}

int fs_sftp_settle(fs_plane *p)
{
    fs_gather_flush(p);
    for (uint32_t i = 0; i < p->channel_slots; i++) {
        fs_sftp *s = p->channels[i] != NULL ? p->channels[i]->sftp : NULL;
        if (s == NULL)
            continue;
        fs_transfer *previous = NULL;
        for (fs_transfer *t = s->first, *following; t != NULL; t = following) {
            following = t->following;
            if (t->outstanding > 0 || !(complete(t) || fs_transfer_stopped(t))) {
                previous = t;
                continue;
            }
            if (previous != NULL)
                previous->following = following;
            else
                s->first = following;
            if (s->last == t)
                s->last = previous;
            t->following = NULL;
            end_transfer(p, t);
        }
    }
    return p->failed;
}
