/* What a received message does. Channel data and windows end here; the rest is for Python. RFC 4254 sections 5.2
 * and 5.3. */
#include "internal.h"

/* A channel that the peer may speak on: confirmed, and not closed by it. */
static fs_channel *open_channel(const fs_plane *p, const uint8_t *payload)
{
    fs_channel *c = fs_channel_find(p, fs_get_u32(payload + 1));
    return c != NULL && c->state == FS_CHANNEL_OPEN && !c->close_received ? c : NULL;
}

static int receive_data(fs_plane *p, uint8_t *payload, size_t len, int extended)
{
    size_t header = extended ? FS_EXTENDED_HEADER : FS_DATA_HEADER;
    if (len < header)
        return FS_E_MALFORMED;
    fs_channel *c = open_channel(p, payload);
    uint32_t count = fs_get_u32(payload + header - 4);
    if (c == NULL || c->eof_received)
        return FS_E_CHANNEL;
    if (count != len - header)
        return FS_E_MALFORMED;
    if (count > c->local_window || count > c->local_max_packet)
        return FS_E_WINDOW;
    c->local_window -= count;
    if (count == 0)
        return FS_OK;
    /* After our CLOSE the peer may still be sending what was on its way; nobody reads it. Nor unknown kinds of extended
     * data. */
    int known = !extended || fs_get_u32(payload + 5) == SSH_EXTENDED_DATA_STDERR;
    if (c->close_sent || c->close_wanted || !known)
        return fs_channel_consume(c, count);
    if (c->relay != NULL)
        return fs_relay_receive(p, c, extended ? 1 : 0, payload + header, count);
    if (c->serve != NULL && !extended)
        return fs_serve_receive(p, c, payload + header, count);
    if (c->sftp != NULL && !extended) { /* what the server's sftp says on stderr is for people, not for the session */
        int status = fs_sftp_receive(p, c, payload + header, count);
        return status == FS_OK ? fs_channel_consume(c, count) : status;
    }
    return fs_push_event(p, FS_EVENT_DATA, c->id, extended ? 1 : 0, payload + header, count);
}

static int receive_window_adjust(fs_plane *p, const uint8_t *payload, size_t len)
{
    if (len != 9)
        return FS_E_MALFORMED;
    fs_channel *c = open_channel(p, payload);
    uint32_t count = fs_get_u32(payload + 5);
    if (c == NULL)
        return FS_E_CHANNEL;
    if (count > UINT32_MAX - c->remote_window)
        return FS_E_WINDOW;
    c->remote_window += count;
    return FS_OK;
}

static int receive_confirmation(fs_plane *p, const uint8_t *payload, size_t len)
{
    if (len < 17)
        return FS_E_MALFORMED;
    return fs_plane_channel_confirm(p, fs_get_u32(payload + 1), fs_get_u32(payload + 5), fs_get_u32(payload + 9),
                                    fs_get_u32(payload + 13));
}

/* EOF, CLOSE and OPEN_FAILURE change what is legal on the channel from here on; Python hears of them as events. */
static int receive_channel_state(fs_plane *p, const uint8_t *payload, size_t len)
{
    uint8_t number = payload[0];
    if (len < 5 || (number != SSH_MSG_CHANNEL_OPEN_FAILURE && len != 5))
        return FS_E_MALFORMED;
    fs_channel *c = fs_channel_find(p, fs_get_u32(payload + 1));
    if (number == SSH_MSG_CHANNEL_OPEN_FAILURE) {
        if (c == NULL || c->state != FS_CHANNEL_OPENING)
            return FS_E_CHANNEL;
        c->state = FS_CHANNEL_FAILED;
        return FS_OK;
    }
    c = open_channel(p, payload);
    if (c == NULL || (number == SSH_MSG_CHANNEL_EOF && c->eof_received))
        return FS_E_CHANNEL;
    c->eof_received = 1;
    if (number == SSH_MSG_CHANNEL_CLOSE)
        c->close_received = 1;
    fs_sftp_channel_closed(p, c);
    if (c->close_received) /* after EOF alone what came before it is still answered */
        fs_serve_channel_closed(p, c);
    return FS_OK;
}

/* A message for a channel whose data and windows are others' to count. */
static int is_raw(const fs_plane *p, const uint8_t *payload, size_t len)
{
    if (len < 5 || payload[0] < SSH_MSG_CHANNEL_WINDOW_ADJUST || payload[0] > SSH_MSG_CHANNEL_EXTENDED_DATA)
        return 0;
    const fs_channel *c = open_channel(p, payload);
    return c != NULL && c->raw;
}

int fs_dispatch(fs_plane *p, uint32_t sequence, uint8_t *payload, size_t len)
{
    uint8_t number = payload[0];
    int status = FS_OK;
    if (number < 80)
        p->paused = 1;
    /* RFC 4253 section 7.1: after its KEXINIT a peer sends nothing but what the key exchange needs. */
    if (p->receiving_kex && (number >= 50 || (number > SSH_MSG_DEBUG && number <= SSH_MSG_KEXINIT)))
        return FS_E_STATE;
    if (is_raw(p, payload, len))
        return fs_push_event(p, FS_EVENT_RAW, fs_get_u32(payload + 1), 0, payload, len);
    switch (number) {
    case SSH_MSG_CHANNEL_DATA:
        return receive_data(p, payload, len, 0);
    case SSH_MSG_CHANNEL_EXTENDED_DATA:
        return receive_data(p, payload, len, 1);
    case SSH_MSG_CHANNEL_WINDOW_ADJUST:
        return receive_window_adjust(p, payload, len);
    case SSH_MSG_KEXINIT:
        p->receiving_kex = 1;
        break;
    case SSH_MSG_NEWKEYS:
        if (!p->receiving_kex)
            return FS_E_STATE;
        p->receiving_kex = 0;
        p->awaiting_keys = 1;
        break;
    case SSH_MSG_CHANNEL_OPEN_CONFIRMATION:
        status = receive_confirmation(p, payload, len);
        break;
    case SSH_MSG_CHANNEL_OPEN_FAILURE:
    case SSH_MSG_CHANNEL_EOF:
    case SSH_MSG_CHANNEL_CLOSE:
        status = receive_channel_state(p, payload, len);
        break;
    default:
        break;
    }
    return status == FS_OK ? fs_push_event(p, FS_EVENT_MESSAGE, sequence, 0, payload, len) : status;
}
