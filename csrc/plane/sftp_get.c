/* SFTP get: READ requests kept in flight, DATA replies written to the file where they lie in the receive buffer. */
#include <errno.h>

#include "sftp.h"

/* --- received ---------------------------------------------------------------------------------------------------- */

void fs_get_flush(fs_gather *g)
{
    fs_transfer *t = g->transfer;
    while (g->first < g->count && !fs_transfer_stopped(t)) {
        uint64_t offset = g->offset;
        ssize_t n = fs_gather_write(g);
        if (n < 0)
            fs_transfer_fail(t, FS_E_SYSTEM, (int)-n);
        else
            fs_transfer_moved(t, offset, (uint64_t)n);
    }
}

void fs_get_data(fs_plane *p, const fs_request *r, uint64_t offset, uint8_t *data, uint32_t len)
{
    if (fs_transfer_stopped(r->transfer))
        return; /* nobody wants it any more */
    fs_gather_prepare(p, r->transfer, NULL, r->transfer->fd, offset);
    fs_gather_add(&p->gather, data, len);
}

/* 1 when the request is answered in full; a short read is asked again for its rest (draft section 6.4 allows it). */
int fs_get_data_end(fs_sftp *s, fs_request *r, uint32_t received)
{
    fs_transfer *t = r->transfer;
    if (r->probe) { /* the file goes on past the size we knew */
        t->probing = 0;
        t->end = t->next = r->offset + received;
        return 1;
    }
    if (received == r->length || fs_transfer_stopped(t))
        return 1;
    s->in_flight -= received;
    r->counted -= received;
    r->offset += received;
    r->length -= received;
    r->state = FS_REQUEST_AGAIN;
    s->again_count++;
    return 0;
}

int fs_get_complete(const fs_transfer *t)
{
    return t->at_end || (t->next >= t->end && !t->to_end);
}

/* --- asked for --------------------------------------------------------------------------------------------------- */

/* The next request that t wants to send; NULL when there is none now. */
static fs_request *next_request(fs_plane *p, fs_sftp *s, fs_transfer *t, uint64_t now)
{
    if (fs_transfer_stopped(t) || t->at_end)
        return NULL;
    if (t->next < t->end) {
        uint64_t left = t->end - t->next;
        uint32_t n = left < t->chunk ? (uint32_t)left : t->chunk;
        if (!fs_sftp_depth_allows(s, n))
            return NULL;
        if (fs_rate_tokens(p, now) < n) {
            fs_rate_wait(p, now, n);
            return NULL;
        }
        fs_rate_spend(p, n);
        fs_request *r = fs_sftp_request_new(s, t, t->next, n, n, now);
        t->next += n;
        return r;
    }
    if (!t->to_end || t->probing || s->free_count == 0)
        return NULL;
    uint64_t most = (uint64_t)INT64_MAX - t->next; /* bytes that a file may still grow */
    if (most == 0) {
        fs_transfer_fail(t, FS_E_SYSTEM, EFBIG);
        return NULL;
    }
    /* Nothing is expected of a probe, so it does not count as in flight. */
    fs_request *r = fs_sftp_request_new(s, t, t->next, most < t->chunk ? (uint32_t)most : t->chunk, 0, now);
    r->probe = t->probing = 1;
    return r;
}

/* One packet of READ requests. */
static int send_requests(fs_plane *p, fs_channel *c, fs_request **again, uint64_t now)
{
    fs_sftp *s = c->sftp;
    uint32_t most = c->remote_max_packet < 8192 ? c->remote_max_packet : 8192;
    if (most > c->remote_window)
        most = c->remote_window;
    if (fs_out_room(p) < 8192 + FS_PACKET_MAX_OVERHEAD)
        return FS_AGAIN;
    uint8_t *slot;
    int status = fs_out_reserve(p, fs_out_slot_size(p, FS_DATA_HEADER + 8192), &slot);
    if (status != FS_OK)
        return status;
    uint8_t *payload = slot + FS_PACKET_HEADER, *at = payload + FS_DATA_HEADER, *limit = at + most;
    for (fs_transfer *t = s->first; t != NULL; t = t->following) {
        if (t->kind != FS_TRANSFER_GET)
            continue;
        while ((size_t)(limit - at) >= FS_SFTP_REQUEST(t->handle_len)) {
            fs_request *r = NULL;
            while (s->again_count > 0 && *again < s->requests + FS_SFTP_REQUESTS && r == NULL) {
                if ((*again)->state == FS_REQUEST_AGAIN)
                    r = *again;
                (*again)++;
            }
            if (r != NULL) {
                s->again_count--;
                if (fs_transfer_stopped(r->transfer)) {
                    fs_sftp_request_done(s, r);
                    continue;
                }
                if ((size_t)(limit - at) < FS_SFTP_REQUEST(r->transfer->handle_len)) {
                    s->again_count++;
                    (*again)--;
                    break;
                }
                r->state = FS_REQUEST_SENT;
                r->sent_at = now;
            } else {
                r = next_request(p, s, t, now);
                if (r == NULL)
                    break;
            }
            at = fs_sftp_put_request(at, SSH_FXP_READ, fs_sftp_request_id(s, r), r->transfer, r->offset, r->length);
        }
    }
    size_t n = (size_t)(at - payload) - FS_DATA_HEADER;
    if (n == 0)
        return FS_AGAIN;
    payload[0] = SSH_MSG_CHANNEL_DATA;
    fs_put_u32(payload + 1, c->remote);
    fs_put_u32(payload + 5, (uint32_t)n);
    fs_packet packet = {.start = slot, .payload_len = FS_DATA_HEADER + n};
    status = fs_out_seal(p, &packet, 1);
    c->remote_window -= (uint32_t)n;
    return status;
}

int fs_get_fill(fs_plane *p, fs_channel *c, uint64_t now)
{
    fs_request *again = c->sftp->requests;
    int status;
    while ((status = send_requests(p, c, &again, now)) == FS_OK) {
    }
    return status == FS_AGAIN ? FS_OK : status;
}
