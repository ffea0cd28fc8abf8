/* The part of plane_script.h that is about SFTP messages, of transfers and of channels that are served; included in its
 * midst. */
#ifndef FS_PLANE_SCRIPT_SFTP_H
#define FS_PLANE_SCRIPT_SFTP_H

/* --- what the plane sends ---------------------------------------------------------------------------------------- */

static void plane_requests(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    while (fs_buffer_len(&c->received) >= 4) {
        const uint8_t *at = c->received.data + c->received.head;
        uint32_t length = fs_get_u32(at);
        CHECK(length >= 5 && length <= FS_SFTP_MAX_MESSAGE);
        if (fs_buffer_len(&c->received) < 4 + (size_t)length)
            return;
        if (at[5] & 0x80) { /* the endpoint's own */
            uint32_t handle = fs_get_u32(at + 9);
            CHECK(handle <= FS_SFTP_MAX_HANDLE && length >= 21 + handle);
            CHECK(at[4] == SSH_FXP_READ || at[4] == SSH_FXP_WRITE);
            script_request r = {.channel = number,
                                .id = fs_get_u32(at + 5),
                                .type = at[4],
                                .length = fs_get_u32(at + 21 + handle),
                                .offset = fs_get_u64(at + 13 + handle)};
            CHECK(length == 21 + handle + (r.type == SSH_FXP_WRITE ? r.length : 0));
            CHECK(r.length > 0 && r.offset <= (uint64_t)INT64_MAX - r.length);
            for (uint32_t i = 0; r.type == SSH_FXP_WRITE && i < r.length; i++)
                CHECK(at[25 + handle + i] == content(r.offset + i) && r.offset + i < FILE_SIZE);
            for (uint32_t i = 0; i < s->request_count; i++)
                CHECK(s->requests[i].channel != number || s->requests[i].id != r.id);
            CHECK(s->request_count < OUTSTANDING);
            s->requests[s->request_count++] = r;
        }
        fs_buffer_drop(&c->received, 4 + length);
    }
}

/* An answer of the plane's to r, or of the caller's through it. */
static void check_answer(const script_channel *c, const script_asked *r, const uint8_t *m, uint32_t length)
{
    uint32_t number = fs_get_u32(m + 5);
    if (r->by_caller) {
        CHECK(m[0] == SSH_FXP_STATUS && number == CALLER);
        return;
    }
    CHECK((r->handle >> 16) < c->files.uses && (r->type == SSH_FXP_READ || r->type == SSH_FXP_WRITE));
    uint8_t fd = c->files.fds[r->handle >> 16];
    if (r->type == SSH_FXP_WRITE) {
        uint32_t fails = fd == FD_FULL ? SYSTEM + ENOSPC : fd == FD_PIPE ? SYSTEM + ESPIPE : 0;
        CHECK(m[0] == SSH_FXP_STATUS && (number == fails || number == SYSTEM + EBADF)); /* forgotten in its midst */
        return;
    }
    CHECK(fd != FD_PIPE);
    uint64_t size = fd == FD_FILE ? FILE_SIZE : fd == FD_FULL ? UINT64_MAX : 0;
    uint64_t there = r->offset < size ? size - r->offset : 0, wanted = r->length < there ? r->length : there;
    CHECK(m[0] == (wanted ? SSH_FXP_DATA : SSH_FXP_STATUS) && number == (wanted ? wanted : SSH_FX_EOF));
    CHECK(length == 9 + wanted);
    for (uint32_t i = 0; i < wanted; i++)
        CHECK(m[9 + i] == (fd == FD_FILE ? content(r->offset + i) : 0));
}

static void plane_replies(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    while (fs_buffer_len(&c->received) >= 4) {
        const uint8_t *at = c->received.data + c->received.head;
        uint32_t length = fs_get_u32(at);
        CHECK(length >= 9 && length <= FS_SFTP_MAX_MESSAGE);
        if (fs_buffer_len(&c->received) < 4 + (size_t)length)
            return;
        CHECK(at[4] == SSH_FXP_STATUS || at[4] == SSH_FXP_DATA);
        if (s->trusted) { /* in the order in which it was asked */
            const script_asked *r = &c->asked[c->asked_next++ % ASKED];
            CHECK(c->asked_count-- > 0);
            CHECK_INT(fs_get_u32(at + 5), r->id);
            check_answer(c, r, at + 4, length);
        }
        fs_buffer_drop(&c->received, 4 + length);
    }
}

/* --- what the peer sends ----------------------------------------------------------------------------------------- */

/* Puts the reply to one request into the channel's stream: cut to length bytes, or a status. */
static void peer_reply(script *s, uint32_t index, uint32_t length, uint32_t code)
{
    static uint8_t reply[13 + FS_SFTP_MAX_CHUNK];
    script_request r = s->requests[index];
    s->requests[index] = s->requests[--s->request_count];
    if (code == 0 && r.type == SSH_FXP_READ) {
        uint64_t there = r.offset < FILE_SIZE ? FILE_SIZE - r.offset : 0;
        if (length > r.length || length == 0)
            length = r.length;
        if (length > there)
            length = (uint32_t)there;
        if (length == 0)
            code = SSH_FX_EOF;
    }
    if (code != 0 || r.type == SSH_FXP_WRITE) {
        static const char words[13] = "went\0\033[wrong";
        memcpy(reply + 17, words, sizeof words);
        fs_put_u32(reply, 13 + sizeof words);
        reply[4] = SSH_FXP_STATUS;
        fs_put_u32(reply + 9, code);
        fs_put_u32(reply + 13, sizeof words);
        length = 4 + sizeof words;
    } else {
        fs_put_u32(reply, 9 + length);
        reply[4] = SSH_FXP_DATA;
        fs_put_u32(reply + 9, length);
        for (uint32_t i = 0; i < length; i++)
            reply[13 + i] = content(r.offset + i);
    }
    fs_put_u32(reply + 5, r.id);
    append(&s->channels[r.channel].stream, reply, 13 + (size_t)length);
}

/* A request on a channel that is served: what it writes is what is there already, where it is a file. */
static void peer_request(script *s, uint32_t number)
{
    static uint8_t message[FS_SERVE_REQUEST + 100000];
    script_channel *c = &s->channels[number];
    uint32_t how = script_byte(s), slot = script_byte(s) % SLOTS;
    if (!c->serving || c->asked_count == ASKED)
        return;
    script_asked r = {.id = c->ids++, .handle = c->files.handles[slot]};
    if (how % 32 == 31)
        r.handle ^= script_number(s, 0);
    r.type = how & 1 ? SSH_FXP_READ : SSH_FXP_WRITE;
    if (how % 16 == 15)
        r.type = (uint8_t)script_byte(s);
    r.length = script_number(s, r.type == SSH_FXP_WRITE ? 100000 : 300000);
    r.offset = script_number(s, FILE_SIZE - (r.type == SSH_FXP_WRITE ? r.length : 0));
    if (r.type != SSH_FXP_WRITE && how % 64 > 61)
        r.offset = (uint64_t)INT64_MAX - script_number(s, 400000);
    uint32_t bytes = r.type == SSH_FXP_WRITE ? r.length : 0, tail = how == 77 ? 3 : 0;
    fs_put_u32(message, FS_SERVE_REQUEST - 4 + bytes + tail);
    message[4] = r.type;
    fs_put_u32(message + 5, r.id);
    fs_put_u32(message + 9, FS_SERVE_HANDLE);
    fs_put_u32(message + 13, r.handle);
    fs_put_u64(message + 17, r.offset);
    fs_put_u32(message + 25, r.length);
    for (uint32_t i = 0; i < bytes; i++)
        message[FS_SERVE_REQUEST + i] = content(r.offset + i);
    memset(message + FS_SERVE_REQUEST + bytes, 0, tail);
    append(&c->stream, message, FS_SERVE_REQUEST + bytes + tail);
    c->asked[(c->asked_next + c->asked_count++) % ASKED] = r;
}

/* --- what the caller does ---------------------------------------------------------------------------------------- */

static void start_transfer(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    uint8_t handle[FS_SFTP_MAX_HANDLE] = {0};
    fs_transfer_spec spec = {.kind = (int)(script_byte(s) & 1), .handle = handle, .handle_len = script_number(s, 257)};
    uint32_t fd = script_byte(s) % 16, transfer, size = script_number(s, FILE_SIZE * 2);
    /* /dev/full reads as zeros without end */
    if (fd >= FDS || (fd == FD_FULL && spec.kind == FS_TRANSFER_PUT))
        fd = FD_FILE;
    spec.fd = script_fds[fd];
    spec.offset = script_byte(s) < 200 ? script_number(s, FILE_SIZE) : (uint64_t)INT64_MAX - script_number(s, 1000000);
    spec.size = spec.kind == FS_TRANSFER_PUT && script_byte(s) < 100 ? -1 : (int64_t)size;
    uint32_t least = (spec.size < 0 ? FILE_SIZE : size) / 1000; /* some thousand requests are enough */
    spec.chunk = 1 + least + script_number(s, FS_SFTP_MAX_CHUNK - least);
    spec.to_end = spec.kind == FS_TRANSFER_GET && (script_byte(s) & 1);
    if (fs_plane_sftp_start(s->plane, number, &spec, &transfer) != FS_OK) {
        uint32_t remote, window, packet;
        CHECK(!c->attached || c->eof_asked || c->close_asked || spec.offset + size > (uint64_t)INT64_MAX ||
              fs_plane_channel_remote(s->plane, number, &remote, &window, &packet) != FS_OK || !s->trusted);
        return;
    }
    if (transfer >= TRANSFERS) { /* enough: nobody asks for its result */
        s->trusted = 0;
        return;
    }
    CHECK(!s->transfers[transfer].used);
    s->transfers[transfer] =
        (script_transfer){1, (uint8_t)spec.kind, (uint8_t)fd, (uint8_t)spec.to_end, 0, number, spec.offset, spec.size};
}

static void check_result(const script *s, const script_transfer *t, const fs_transfer_result *r)
{
    CHECK(r->kind == t->kind && memchr(r->message, 0, sizeof r->message) != NULL);
    if (!s->trusted || r->status != 0 || r->cancelled)
        return;
    uint64_t held = t->kind == FS_TRANSFER_PUT && t->fd == FD_NULL ? 0 : FILE_SIZE;
    uint64_t there = t->offset < held ? held - t->offset : 0, wanted = t->size < 0 ? there : (uint64_t)t->size;
    CHECK(r->bytes == (t->to_end || wanted > there ? there : wanted));
}

static void serve_channel(script *s, uint32_t number)
{
    enum { NUMBERS = 40 };
    uint8_t statuses[NUMBERS * 8];
    for (uint32_t i = 0; i < NUMBERS; i++) {
        fs_put_u32(statuses + 8 * i, 4);
        fs_put_u32(statuses + 8 * i + 4, i == 0 ? SSH_FX_EOF : i == 1 ? SSH_FX_OK : SYSTEM + i - 1);
    }
    fs_serve_spec spec = {FS_SFTP_MAX_CHUNK, FS_SFTP_MAX_MESSAGE, statuses, sizeof statuses};
    CHECK(fs_plane_serve_attach(s->plane, number, &spec) == FS_OK);
    s->channels[number].serving = 1;
}

/* A request that is for the caller, on a channel that is served: it stands still. */
static void served_event(script *s, uint32_t number, const uint8_t *message, uint32_t length)
{
    script_channel *c = &s->channels[number];
    CHECK(!c->stalled);
    c->stalled = 1;
    c->stalled_id = length >= 5 ? fs_get_u32(message + 1) : 0;
    for (uint32_t i = 0; i < c->asked_count; i++) {
        script_asked *r = &c->asked[(c->asked_next + i) % ASKED];
        if (r->id == c->stalled_id)
            r->by_caller = 1;
    }
}

/* The caller answers it. */
static void served_answer(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    uint8_t status[13] = {0, 0, 0, 9, SSH_FXP_STATUS};
    size_t pending;
    if (!c->stalled)
        return;
    fs_put_u32(status + 5, c->stalled_id);
    fs_put_u32(status + 9, CALLER);
    if (!c->eof_asked && !c->close_asked)
        CHECK(fs_plane_channel_write(s->plane, number, 0, status, sizeof status, &pending) == FS_OK || !s->trusted);
    CHECK(fs_plane_serve_resume(s->plane, number) == FS_OK || !s->trusted); /* not if removed */
    c->stalled = 0;
}

static void served_call(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    uint32_t how = script_byte(s), slot = script_byte(s) % SLOTS, fd = script_byte(s) % 8;
    uint64_t bytes_read, bytes_written;
    if (!c->serving || !s->trusted)
        return;
    if (how < 100) {
        served_answer(s, number);
    } else if (how < 200) {
        uint32_t handle = c->files.uses << 16 | slot;
        if (c->files.registered[slot] || c->files.uses == USES)
            return;
        fd = fd < FDS ? fd : FD_FILE;
        CHECK(fs_plane_serve_register(s->plane, number, handle, script_fds[fd], (how & 15) != 1, (how & 15) != 2) ==
              FS_OK);
        c->files.fds[c->files.uses++] = (uint8_t)fd;
        c->files.handles[slot] = handle;
        c->files.registered[slot] = 1;
    } else if (how < 220) {
        CHECK(fs_plane_serve_forget(s->plane, number, c->files.handles[slot]) == FS_OK);
        c->files.registered[slot] = 0;
    } else {
        CHECK(fs_plane_serve_counters(s->plane, number, &bytes_read, &bytes_written) == FS_OK);
    }
}

#endif
