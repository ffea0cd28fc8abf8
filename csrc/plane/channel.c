/* Channels: the table, both windows (RFC 4254 section 5.2), the outbound queue, EOF and CLOSE. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

fs_channel *fs_channel_find(const fs_plane *p, uint32_t id)
{
    return id < p->channel_slots ? p->channels[id] : NULL;
}

static int grow_table(fs_plane *p, uint32_t id)
{
    if (id >= FS_MAX_CHANNELS)
        return FS_E_ARGUMENT;
    if (id < p->channel_slots)
        return FS_OK;
    uint32_t slots = p->channel_slots ? p->channel_slots : 16;
    while (slots <= id)
        slots *= 2;
    fs_channel **channels = realloc(p->channels, slots * sizeof *channels);
    if (channels == NULL)
        return FS_E_NO_MEMORY;
    memset(channels + p->channel_slots, 0, (slots - p->channel_slots) * sizeof *channels);
    p->channels = channels;
    p->channel_slots = slots;
    return FS_OK;
}

int fs_plane_channel_add(fs_plane *p, uint32_t id, uint32_t window, uint32_t max_packet)
{
    /* A packet that the peer may send must also be one that the opener takes. */
    if (max_packet < FS_CHANNEL_MIN_PACKET || max_packet > FS_PACKET_MAX_LENGTH - 1024)
        return FS_E_ARGUMENT;
    int status = grow_table(p, id);
    if (status != FS_OK)
        return status;
    if (p->channels[id] != NULL)
        return FS_E_ARGUMENT;
    fs_channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return FS_E_NO_MEMORY;
    c->id = id;
    c->state = FS_CHANNEL_OPENING;
    c->local_window = c->local_window_max = window;
    c->local_max_packet = max_packet;
    p->channels[id] = c;
    return FS_OK;
}

int fs_plane_channel_confirm(fs_plane *p, uint32_t id, uint32_t remote, uint32_t window, uint32_t max_packet)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPENING)
        return FS_E_CHANNEL;
    if (max_packet < FS_CHANNEL_MIN_PACKET)
        return FS_E_WINDOW;
    c->remote = remote;
    c->remote_window = window;
    /* Our own packets stay below what every peer takes, whatever it says. */
    c->remote_max_packet = max_packet < FS_PACKET_MAX_LENGTH / 2 ? max_packet : FS_PACKET_MAX_LENGTH / 2;
    c->state = FS_CHANNEL_OPEN;
    return FS_OK;
}

int fs_plane_channel_write(fs_plane *p, uint32_t id, uint32_t stream, const uint8_t *data, size_t len, size_t *pending)
{
    fs_channel *c = fs_channel_find(p, id);
    if (stream > 1)
        return FS_E_ARGUMENT;
    if (c == NULL || c->state != FS_CHANNEL_OPEN || c->eof_wanted || c->close_wanted)
        return FS_E_CHANNEL;
    if (c->close_received)
        return fs_plane_channel_pending(p, id, pending); /* nobody reads it; the caller hears of it soon */
    fs_buffer *queue = stream ? &c->queue_stderr : &c->queue;
    int status = fs_buffer_reserve(queue, len, FS_CHANNEL_MAX_QUEUE);
    if (status != FS_OK)
        return status;
    if (len)
        memcpy(queue->data + queue->tail, data, len);
    queue->tail += len;
    *pending = fs_buffer_len(&c->queue) + fs_buffer_len(&c->queue_stderr);
    if (*pending > FS_CHANNEL_LOW_WATER)
        c->want_writable = 1;
    return FS_OK;
}

int fs_plane_channel_pending(const fs_plane *p, uint32_t id, size_t *pending)
{
    const fs_channel *c = fs_channel_find(p, id);
    if (c == NULL)
        return FS_E_CHANNEL;
    *pending = fs_buffer_len(&c->queue) + fs_buffer_len(&c->queue_stderr);
    return FS_OK;
}

int fs_plane_channel_eof(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPEN)
        return FS_E_CHANNEL;
    c->eof_wanted = 1;
    return FS_OK;
}

int fs_plane_channel_discard(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPEN)
        return FS_E_CHANNEL;
    fs_buffer_free(&c->queue);
    fs_buffer_free(&c->queue_stderr);
    return FS_OK;
}

int fs_plane_channel_close(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPEN)
        return FS_E_CHANNEL;
    c->close_wanted = 1;
    fs_sftp_channel_closed(p, c); /* replies are dropped from here on */
    fs_serve_channel_closed(p, c);
    return FS_OK;
}

/* Notes that count received bytes are done with. Credit goes out in fill, when a quarter of the window is owed, well
 * before the peer would have to wait (RFC 4254 section 5.2). */
int fs_channel_consume(fs_channel *c, uint32_t count)
{
    if (count > c->local_window_max - c->local_window - c->unacknowledged)
        return FS_E_ARGUMENT; /* more than was received */
    c->unacknowledged += count;
    return FS_OK;
}

int fs_plane_channel_consumed(fs_plane *p, uint32_t id, uint32_t count)
{
    fs_channel *c = fs_channel_find(p, id);
    return c == NULL ? FS_E_CHANNEL : fs_channel_consume(c, count);
}

int fs_plane_channel_raw(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL)
        return FS_E_CHANNEL;
    c->raw = 1;
    return FS_OK;
}

int fs_plane_channel_widen(fs_plane *p, uint32_t id, uint32_t window)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPEN)
        return FS_E_CHANNEL;
    if (window > c->local_window_max) {
        c->unacknowledged += window - c->local_window_max; /* the sum stays at or below `window` */
        c->local_window_max = window;
    }
    return FS_OK;
}

int fs_plane_channel_remote(const fs_plane *p, uint32_t id, uint32_t *remote, uint32_t *window, uint32_t *max_packet)
{
    const fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->state != FS_CHANNEL_OPEN)
        return FS_E_CHANNEL;
    *remote = c->remote;
    *window = c->remote_window;
    *max_packet = c->remote_max_packet;
    return FS_OK;
}

void fs_channel_free(fs_plane *p, fs_channel *c)
{
    fs_sftp_free(p, c);
    fs_serve_free(p, c);
    fs_relay_free(p, c);
    fs_buffer_free(&c->queue);
    fs_buffer_free(&c->queue_stderr);
    p->channels[c->id] = NULL;
    free(c);
}

void fs_plane_channel_remove(fs_plane *p, uint32_t id)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c != NULL)
        fs_channel_free(p, c);
}

/* --- filling ----------------------------------------------------------------------------------------------------- */

static int send_channel_message(fs_plane *p, fs_channel *c, uint8_t number)
{
    uint8_t message[5] = {number};
    fs_put_u32(message + 1, c->remote);
    return fs_out_message(p, message, sizeof message);
}

static int send_credit(fs_plane *p, fs_channel *c)
{
    if (c->unacknowledged == 0 || c->eof_received || c->close_received || c->close_sent)
        return FS_OK;
    if (c->unacknowledged < c->local_window_max / 4)
        return FS_OK;
    uint8_t message[9] = {SSH_MSG_CHANNEL_WINDOW_ADJUST};
    fs_put_u32(message + 1, c->remote);
    fs_put_u32(message + 5, c->unacknowledged);
    int status = fs_out_message(p, message, sizeof message);
    if (status != FS_OK)
        return status;
    c->local_window += c->unacknowledged; /* consume() keeps the sum at or below local_window_max */
    c->unacknowledged = 0;
    return FS_OK;
}

void fs_channel_put_header(uint8_t *payload, const fs_channel *c, size_t header, uint32_t len)
{
    payload[0] = header == FS_DATA_HEADER ? SSH_MSG_CHANNEL_DATA : SSH_MSG_CHANNEL_EXTENDED_DATA;
    fs_put_u32(payload + 1, c->remote);
    if (header != FS_DATA_HEADER)
        fs_put_u32(payload + 5, SSH_EXTENDED_DATA_STDERR);
    fs_put_u32(payload + header - 4, len);
}

/* One packet of queued data; FS_AGAIN when window or room is used up or nothing waits. */
static int send_queued(fs_plane *p, fs_channel *c, fs_buffer *queue, int extended)
{
    size_t header = extended ? FS_EXTENDED_HEADER : FS_DATA_HEADER, n = fs_buffer_len(queue);
    if (n > c->remote_window)
        n = c->remote_window;
    if (n > c->remote_max_packet)
        n = c->remote_max_packet;
    if (n == 0 || fs_out_room(p) == 0)
        return FS_AGAIN;
    uint8_t *slot;
    int status = fs_out_reserve(p, fs_out_slot_size(p, header + n), &slot);
    if (status != FS_OK)
        return status;
    uint8_t *at = slot + FS_PACKET_HEADER;
    fs_channel_put_header(at, c, header, (uint32_t)n);
    memcpy(at + header, queue->data + queue->head, n);
    fs_packet packet = {.start = slot, .payload_len = header + n};
    status = fs_out_seal(p, &packet, 1);
    if (status != FS_OK)
        return status;
    fs_buffer_drop(queue, n);
    c->remote_window -= (uint32_t)n;
    return FS_OK;
}

int fs_channel_fill(fs_plane *p, fs_channel *c)
{
    int status = send_credit(p, c);
    if (status != FS_OK)
        return status;
    if (fs_channel_can_send(c)) {
        while ((status = send_queued(p, c, &c->queue, 0)) == FS_OK) {
        }
        if (status != FS_AGAIN)
            return status;
        while ((status = send_queued(p, c, &c->queue_stderr, 1)) == FS_OK) {
        }
        if (status != FS_AGAIN)
            return status;
    }
    size_t waiting = fs_buffer_len(&c->queue) + fs_buffer_len(&c->queue_stderr);
    if (c->want_writable && waiting <= FS_CHANNEL_LOW_WATER) {
        c->want_writable = 0;
        if ((status = fs_push_event(p, FS_EVENT_WRITABLE, c->id, 0, NULL, 0)) != FS_OK)
            return status;
    }
    if (waiting && !c->close_received)
        return FS_OK;
    if (c->eof_wanted && !c->eof_sent && !c->close_sent && !c->close_received && !fs_sftp_busy(c)) {
        if ((status = send_channel_message(p, c, SSH_MSG_CHANNEL_EOF)) != FS_OK)
            return status;
        c->eof_sent = 1;
    }
    if (c->close_wanted && !c->close_sent) {
        if ((status = send_channel_message(p, c, SSH_MSG_CHANNEL_CLOSE)) != FS_OK)
            return status;
        c->close_sent = 1;
    }
    return FS_OK;
}
