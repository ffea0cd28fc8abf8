/* SFTP serve: requests in order. Bytes of a WRITE go to the file from where they were decrypted, READs are noted down
 * for when there is room to answer them, everything else is handed to the caller, message by message.
 *
 * One thing at a time: while a message is with the caller nothing is looked at; no message but READ is looked at before
 * all READs are answered, since it may change what they see, or its answer overtake theirs. What may not be looked at
 * waits in the backlog, without credit, so that the window bounds it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

/* --- life -------------------------------------------------------------------------------------------------------- */

#define MOST_STATUSES 4096u
#define LONGEST_STATUS 1024u

/* Takes over the caller's table: at least the end of a file, and OK. */
static int take_statuses(fs_serve *s, const uint8_t *at, size_t len)
{
    uint32_t filled = 0;
    if (len < 8 || len > MOST_STATUSES * (4 + LONGEST_STATUS))
        return FS_E_ARGUMENT;
    s->statuses = malloc(len);
    s->status_at = malloc((len / 4 + 1) * sizeof *s->status_at);
    if (s->statuses == NULL || s->status_at == NULL)
        return FS_E_NO_MEMORY;
    while (len > 0) {
        uint32_t n = len < 4 ? UINT32_MAX : fs_get_u32(at);
        if (n > LONGEST_STATUS || n > len - 4)
            return FS_E_ARGUMENT;
        s->status_at[s->status_count++] = filled;
        memcpy(s->statuses + filled, at + 4, n);
        filled += n;
        at += 4 + n;
        len -= 4 + n;
    }
    s->status_at[s->status_count] = filled;
    return s->status_count >= 2 ? FS_OK : FS_E_ARGUMENT;
}

static void free_serve(fs_serve *s)
{
    fs_buffer_free(&s->message);
    fs_buffer_free(&s->backlog);
    free(s->files);
    free(s->statuses);
    free(s->status_at);
    free(s);
}

int fs_plane_serve_attach(fs_plane *p, uint32_t id, const fs_serve_spec *spec)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->sftp != NULL || c->serve != NULL)
        return FS_E_CHANNEL;
    if (spec->max_read == 0 || spec->max_read > FS_SFTP_MAX_CHUNK || spec->max_message == 0 ||
        spec->max_message > FS_SFTP_MAX_MESSAGE)
        return FS_E_ARGUMENT;
    fs_serve *s = calloc(1, sizeof *s);
    if (s == NULL)
        return FS_E_NO_MEMORY;
    s->max_read = spec->max_read;
    s->max_message = spec->max_message;
    int status = take_statuses(s, spec->statuses, spec->statuses_len);
    if (status != FS_OK) {
        free_serve(s);
        return status;
    }
    c->serve = s;
    return FS_OK;
}

void fs_serve_channel_closed(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    if (s == NULL)
        return;
    if (p->gather.channel == c)
        fs_gather_flush(p);
    fs_buffer_free(&s->message);
    fs_buffer_free(&s->backlog);
    s->write.left = s->message_left = s->header_len = s->read_count = 0;
    s->ended = 1;
}

void fs_serve_free(fs_plane *p, fs_channel *c)
{
    if (c->serve == NULL)
        return;
    fs_serve_channel_closed(p, c);
    free_serve(c->serve);
    c->serve = NULL;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static fs_serve *find_serve(const fs_plane *p, uint32_t channel)
{
    const fs_channel *c = fs_channel_find(p, channel);
    return c == NULL ? NULL : c->serve;
}

const fs_served *fs_serve_file(const fs_serve *s, uint32_t handle)
{
    uint32_t slot = handle & 0xffff;
    const fs_served *file = slot < s->file_slots ? &s->files[slot] : NULL;
    return file != NULL && file->fd >= 0 && file->handle == handle ? file : NULL;
}

int fs_plane_serve_register(fs_plane *p, uint32_t id, uint32_t handle, int fd, int readable, int writable)
{
    fs_serve *s = find_serve(p, id);
    uint32_t slot = handle & 0xffff, slots;
    if (s == NULL)
        return FS_E_CHANNEL;
    if (fd < 0)
        return FS_E_ARGUMENT;
    if (slot >= s->file_slots) {
        for (slots = s->file_slots ? s->file_slots : 16; slots <= slot;)
            slots *= 2;
        fs_served *files = realloc(s->files, slots * sizeof *files);
        if (files == NULL)
            return FS_E_NO_MEMORY;
        for (uint32_t i = s->file_slots; i < slots; i++)
            files[i] = (fs_served){.fd = -1};
        s->files = files;
        s->file_slots = slots;
    }
    if (s->files[slot].fd >= 0)
        return FS_E_ARGUMENT; /* not yet forgotten */
    s->files[slot] = (fs_served){handle, fd, readable != 0, writable != 0};
    return FS_OK;
}

int fs_plane_serve_forget(fs_plane *p, uint32_t id, uint32_t handle)
{
    fs_serve *s = find_serve(p, id);
    if (s == NULL)
        return FS_E_CHANNEL;
    if (fs_serve_file(s, handle) == NULL)
        return FS_OK; /* a directory's, or one that is forgotten already */
    fs_gather_flush(p);
    if (s->write.left > 0 && s->write.handle == handle && s->write.error == 0)
        s->write.error = EBADF;
    s->files[handle & 0xffff].fd = -1;
    return FS_OK;
}

int fs_plane_serve_counters(const fs_plane *p, uint32_t id, uint64_t *bytes_read, uint64_t *bytes_written)
{
    const fs_serve *s = find_serve(p, id);
    if (s == NULL)
        return FS_E_CHANNEL;
    *bytes_read = s->bytes_read;
    *bytes_written = s->bytes_written;
    return FS_OK;
}

/* --- replies ----------------------------------------------------------------------------------------------------- */

static fs_serve_status status_number(const fs_serve *s, uint32_t number)
{
    if (number >= s->status_count)
        number = s->status_count - 1;
    return (fs_serve_status){s->statuses + s->status_at[number], s->status_at[number + 1] - s->status_at[number]};
}

fs_serve_status fs_serve_end_of_file(const fs_serve *s)
{
    return status_number(s, 0);
}

fs_serve_status fs_serve_status_of(const fs_serve *s, int error)
{
    return status_number(s, 1 + (uint32_t)error);
}

void fs_serve_put_status(uint8_t *at, uint32_t id, fs_serve_status status)
{
    fs_put_u32(at, 5 + status.len);
    at[4] = SSH_FXP_STATUS;
    fs_put_u32(at + 5, id);
}

static int queue_status(fs_channel *c, uint32_t id, int error)
{
    fs_serve_status status = fs_serve_status_of(c->serve, error);
    uint32_t len = FS_SERVE_STATUS_HEADER + status.len;
    int done = fs_buffer_reserve(&c->queue, len, FS_CHANNEL_MAX_QUEUE);
    if (done != FS_OK)
        return done;
    uint8_t *at = c->queue.data + c->queue.tail;
    fs_serve_put_status(at, id, status);
    memcpy(at + FS_SERVE_STATUS_HEADER, status.body, status.len);
    c->queue.tail += len;
    return FS_OK;
}

int fs_serve_may_tell(const fs_plane *p)
{
    return !p->receiving_kex && !p->paused && fs_buffer_len(&p->events) <= FS_EVENTS_SOFT_LIMIT;
}

int fs_serve_tell(fs_plane *p, fs_channel *c, const uint8_t *message, size_t len)
{
    fs_gather_flush(p); /* the caller finds the files as they must be */
    c->serve->stalled = 1;
    return fs_push_event(p, FS_EVENT_SFTP, c->id, 0, message, len);
}

int fs_plane_serve_resume(fs_plane *p, uint32_t id)
{
    fs_serve *s = find_serve(p, id);
    if (s == NULL)
        return FS_E_CHANNEL;
    if (!s->stalled)
        return FS_E_STATE;
    s->stalled = 0;
    return FS_OK;
}

/* --- WRITE ------------------------------------------------------------------------------------------------------- */

/* Each piece that is written, and was its WRITE's last one, is answered; the first that is not ends its own WRITE, and
 * the next one has its own try. */
void fs_serve_flush(fs_plane *p, fs_gather *g)
{
    fs_channel *c = g->channel;
    fs_serve *s = c->serve;
    int status = FS_OK;
    while (g->first < g->count && status == FS_OK) {
        int at = g->first;
        ssize_t n = fs_gather_write(g);
        if (n >= 0) {
            s->bytes_written += (uint64_t)n;
            for (; at < g->first && status == FS_OK; at++)
                if (g->last[at])
                    status = queue_status(c, g->ids[at], 0);
            continue;
        }
        int ended = 0;
        while (g->first < g->count && !ended) {
            at = g->first;
            ended = g->last[at];
            fs_gather_skip(g, g->iov[at].iov_len);
        }
        if (ended)
            status = queue_status(c, g->ids[at], (int)-n);
        else
            s->write.error = (int)-n; /* more of it is to come */
    }
    if (status != FS_OK && p->failed == FS_OK)
        p->failed = status;
}

/* Bytes of the WRITE under way. */
static int take_write(fs_plane *p, fs_channel *c, uint8_t *data, uint32_t len)
{
    fs_serve_write *w = &c->serve->write;
    fs_gather *g = &p->gather;
    if (w->error == 0)
        fs_gather_prepare(p, NULL, c, w->fd, w->offset); /* which may find that it fails */
    w->offset += len;                                    /* within INT64_MAX: checked when it began */
    w->left -= len;
    if (w->error == 0) {
        fs_gather_add(g, data, len);
        g->ids[g->count - 1] = w->id;
        g->last[g->count - 1] = w->left == 0;
    } else if (w->left == 0) {
        return queue_status(c, w->id, w->error); /* what came before it is answered */
    }
    return p->failed;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

enum { FOR_THE_CALLER, A_READ, A_WRITE };

/* How many bytes of a message, its length among them, decide what becomes of it; at least 4 must be there. */
static uint32_t header_size(const fs_serve *s)
{
    uint32_t length = fs_get_u32(s->header);
    return length < FS_SERVE_REQUEST - 4 ? 4 + length : FS_SERVE_REQUEST;
}

static int header_complete(const fs_serve *s)
{
    return s->header_len >= 4 && s->header_len == header_size(s);
}

/* What is served here: well-formed, of a registered file, and such that it can neither be refused nor cut. */
static int kind_of(const fs_serve *s)
{
    const uint8_t *at = s->header;
    uint32_t length = fs_get_u32(at);
    if (length < FS_SERVE_REQUEST - 4 || fs_get_u32(at + 9) != FS_SERVE_HANDLE)
        return FOR_THE_CALLER;
    const fs_served *file = fs_serve_file(s, fs_get_u32(at + 13));
    uint64_t offset = fs_get_u64(at + 17);
    uint32_t count = fs_get_u32(at + 25);
    if (file == NULL || count == 0 || offset > (uint64_t)INT64_MAX - count)
        return FOR_THE_CALLER;
    if (at[4] == SSH_FXP_READ && file->readable && length == FS_SERVE_REQUEST - 4 && count <= s->max_read)
        return A_READ;
    if (at[4] == SSH_FXP_WRITE && file->writable && count == length - (FS_SERVE_REQUEST - 4))
        return A_WRITE;
    return FOR_THE_CALLER;
}

/* The message whose header is complete; FS_AGAIN when it has to wait. */
static int begin_message(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    uint8_t *at = s->header;
    uint32_t length = fs_get_u32(at), id = fs_get_u32(at + 5), handle = fs_get_u32(at + 13);
    uint64_t offset = fs_get_u64(at + 17);
    int kind = kind_of(s), status;
    if (kind == A_READ) {
        if (s->read_count == FS_SERVE_READS)
            return FS_AGAIN;
        s->reads[(s->read_next + s->read_count++) % FS_SERVE_READS] =
            (fs_serve_read){id, handle, fs_get_u32(at + 25), offset};
        s->header_len = 0;
        return FS_OK;
    }
    if (s->read_count > 0)
        return FS_AGAIN;
    if (kind == A_WRITE) {
        if (fs_buffer_len(&c->queue) > FS_SERVE_REPLIES)
            return FS_AGAIN;
        s->write = (fs_serve_write){id, handle, fs_get_u32(at + 25), fs_serve_file(s, handle)->fd, 0, offset};
        s->header_len = 0;
        return FS_OK;
    }
    if (!fs_serve_may_tell(p))
        return FS_AGAIN;
    if (s->header_len == 4 + length) {
        s->header_len = 0;
        return fs_serve_tell(p, c, at + 4, length);
    }
    if ((status = fs_buffer_reserve(&s->message, length, FS_SFTP_MAX_MESSAGE)) != FS_OK)
        return status;
    memcpy(s->message.data, at + 4, s->header_len - 4);
    s->message.tail = s->header_len - 4;
    s->message_left = length - (s->header_len - 4);
    s->header_len = 0;
    return FS_OK;
}

/* Bytes of the message that is being assembled for the caller. */
static int take_message(fs_plane *p, fs_channel *c, const uint8_t *data, uint32_t len)
{
    fs_serve *s = c->serve;
    memcpy(s->message.data + s->message.tail, data, len);
    s->message.tail += len;
    s->message_left -= len;
    if (s->message_left > 0)
        return FS_OK;
    int status = fs_serve_tell(p, c, s->message.data, s->message.tail);
    s->message.head = s->message.tail = 0;
    return status;
}

/* Bytes of a header: of its length first, which says how many there are. */
static uint32_t take_header(fs_serve *s, const uint8_t *data, size_t len)
{
    uint32_t want = (s->header_len < 4 ? 4 : header_size(s)) - s->header_len;
    uint32_t n = len < want ? (uint32_t)len : want;
    memcpy(s->header + s->header_len, data, n);
    s->header_len += n;
    return n;
}

/* Looks at as much as may be looked at now. *used <= len. */
static int work(fs_plane *p, fs_channel *c, uint8_t *data, size_t len, size_t *used)
{
    fs_serve *s = c->serve;
    int status = FS_OK;
    *used = 0;
    while (status == FS_OK && !s->stalled) {
        size_t left = len - *used;
        uint32_t *under_way = s->write.left > 0 ? &s->write.left : &s->message_left;
        if (*under_way > 0) {
            uint32_t n = left < *under_way ? (uint32_t)left : *under_way;
            if (n == 0)
                break;
            status =
                under_way == &s->write.left ? take_write(p, c, data + *used, n) : take_message(p, c, data + *used, n);
            *used += n;
        } else if (header_complete(s)) {
            status = begin_message(p, c);
        } else {
            if (left == 0)
                break;
            *used += take_header(s, data + *used, left);
            if (s->header_len == 4 && fs_get_u32(s->header) > s->max_message)
                status = FS_E_MALFORMED; /* where the next one begins, nobody knows */
        }
    }
    return status == FS_AGAIN ? FS_OK : status;
}

static int put_off(fs_serve *s, const uint8_t *data, size_t len)
{
    int status = fs_buffer_reserve(&s->backlog, len, SIZE_MAX / 4); /* the window bounds it */
    if (status != FS_OK)
        return status;
    if (len)
        memcpy(s->backlog.data + s->backlog.tail, data, len);
    s->backlog.tail += len;
    return FS_OK;
}

/* Nothing is answered any more. */
static int over(const fs_channel *c)
{
    return c->eof_wanted || c->close_wanted || c->close_received;
}

int fs_serve_receive(fs_plane *p, fs_channel *c, uint8_t *data, uint32_t len)
{
    fs_serve *s = c->serve;
    size_t used = 0;
    int status = FS_OK;
    if (over(c))
        return fs_channel_consume(c, len);
    if (fs_buffer_len(&s->backlog) == 0)
        status = work(p, c, data, len, &used);
    if (status == FS_OK && used < len)
        status = put_off(s, data + used, len - used);
    return status == FS_OK ? fs_channel_consume(c, (uint32_t)used) : status;
}

int fs_plane_serve_feed(fs_plane *p, uint32_t id, const uint8_t *data, size_t len)
{
    fs_channel *c = fs_channel_find(p, id);
    if (c == NULL || c->serve == NULL)
        return FS_E_CHANNEL;
    uint32_t received = c->local_window_max - c->local_window - c->unacknowledged;
    if (len > received - fs_buffer_len(&c->serve->backlog))
        return FS_E_ARGUMENT; /* more than came, or it was consumed */
    return over(c) ? fs_channel_consume(c, (uint32_t)len) : put_off(c->serve, data, len);
}

/* --- filling ----------------------------------------------------------------------------------------------------- */

/* What waited, as far as it may be looked at. */
static int work_off(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    uint32_t header_len = s->header_len;
    size_t used, len = fs_buffer_len(&s->backlog);
    uint8_t nothing;
    int status = work(p, c, len ? s->backlog.data + s->backlog.head : &nothing, len, &used);
    fs_gather_flush(p); /* before the backlog moves */
    fs_buffer_drop(&s->backlog, used);
    if (status == FS_OK)
        status = fs_channel_consume(c, (uint32_t)used);
    if (status == FS_OK)
        status = p->failed;
    return status == FS_OK && used == 0 && header_len == s->header_len ? FS_AGAIN : status;
}

/* Everything that came before the peer's EOF is worked off. */
static int at_end(const fs_channel *c)
{
    const fs_serve *s = c->serve;
    return c->eof_received && !s->ended && !s->stalled && s->read_count == 0 && fs_buffer_len(&s->backlog) == 0 &&
           !header_complete(s);
}

int fs_serve_fill(fs_plane *p, fs_channel *c)
{
    fs_serve *s = c->serve;
    if (over(c)) {
        fs_serve_channel_closed(p, c);
        return FS_AGAIN;
    }
    if (s->stalled || !fs_channel_can_send(c))
        return FS_AGAIN;
    int status = FS_AGAIN;
    /* The queue comes before the answers to READs: it holds those to earlier requests. */
    if (s->read_count > 0 && fs_buffer_len(&c->queue) == 0)
        status = fs_serve_answer_reads(p, c);
    if (status == FS_AGAIN && !s->stalled)
        status = work_off(p, c);
    if (status == FS_AGAIN && at_end(c) && fs_serve_may_tell(p)) {
        s->ended = 1;
        status = fs_push_event(p, FS_EVENT_SFTP_END, c->id, 0, NULL, 0);
    }
    return status;
}
