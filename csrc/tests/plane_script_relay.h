/* The part of plane_script.h that is about channels joined to descriptors; included in its midst. */
#ifndef FS_PLANE_SCRIPT_RELAY_H
#define FS_PLANE_SCRIPT_RELAY_H

static void relay_event(const script *s, script_channel *c, uint32_t what)
{
    script_relay *r = &c->relay;
    uint32_t bit = what & ((1u << FS_RELAY_ENDS) - 1), error = what >> FS_RELAY_ENDS;
    CHECK(c->relayed && bit != 0 && (bit & (bit - 1)) == 0 && !(r->done & bit));
    r->done |= bit;
    if (bit < FS_RELAY_SINK)
        CHECK(error == 0 && r->ours[bit / 2] < 0); /* ends 0 and 1 */
    else
        CHECK((error == 0 ? c->peer_eof : error == EPIPE && r->left & bit) || !s->trusted);
}

static void relay_channel(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    c->relayed = 1;
    c->relay = (script_relay){0};
    for (int end = 0; end < FS_RELAY_ENDS; end++) {
        int ends[2], writes = end >= FS_RELAY_ENDS / 2;
        CHECK(pipe(ends) == 0);
        for (int i = 0; i < 2; i++)
            CHECK(fcntl(ends[i], F_SETFL, O_NONBLOCK) == 0);
        CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0); /* soon full */
        c->relay.theirs[end] = ends[writes];
        c->relay.ours[end] = ends[!writes];
    }
    CHECK(fs_plane_relay_attach(s->plane, number, c->relay.theirs) == FS_OK);
}

static void relay_close_end(script_relay *r, int end)
{
    if (r->ours[end] >= 0)
        close(r->ours[end]);
    r->ours[end] = -1;
}

/* The plane knows nothing of the channel any more. */
static void relay_over(script_channel *c)
{
    for (int end = 0; c->relayed && end < FS_RELAY_ENDS; end++) {
        relay_close_end(&c->relay, end);
        close(c->relay.theirs[end]);
    }
    c->relayed = 0;
}

static void relay_give(script_relay *r, int end, uint32_t most)
{
    static uint8_t bytes[100000];
    if (r->ours[end] < 0)
        return;
    for (uint32_t i = 0; i < most; i++)
        bytes[i] = content(r->in[end] + i);
    ssize_t n = write(r->ours[end], bytes, most);
    if (n > 0)
        r->in[end] += (uint64_t)n;
}

/* Returns how many bytes were found behind a sink. */
static size_t relay_find(const script *s, script_relay *r, int end, uint32_t most)
{
    static uint8_t bytes[100000];
    ssize_t n = r->ours[end] < 0 ? 0 : read(r->ours[end], bytes, most);
    for (ssize_t i = 0; s->trusted && i < n; i++)
        CHECK(bytes[i] == content(r->out[end] + (uint64_t)i));
    r->out[end] += n > 0 ? (uint64_t)n : 0;
    CHECK(r->out[end] <= r->in[end] || !s->trusted);
    return n > 0 ? (size_t)n : 0;
}

static void relay_call(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    script_relay *r = &c->relay;
    uint32_t how = script_byte(s), end = script_byte(s) % 2, sink = 2 + end;
    fs_relay_kept kept;
    size_t cursor = 0;
    fs_event event;
    if (how < 80) {
        relay_give(r, (int)end, script_number(s, 100000));
    } else if (how < 140) {
        relay_find(s, r, (int)sink, script_number(s, 100000));
    } else if (how < 146) {
        relay_close_end(r, (int)end);
    } else if (how < 150) {
        relay_close_end(r, (int)sink);
        r->left |= 1u << sink;
    } else if (how < 230) {
        CHECK(fs_plane_relay_ready(s->plane, number, script_byte(s)) == FS_OK || !s->trusted);
    } else if (how < 234) {
        CHECK(fs_plane_relay_release(s->plane, number, 1u << end) == FS_OK || !s->trusted);
        r->left |= 1u << end;
    } else if (how < 238) {
        CHECK(fs_plane_relay_release(s->plane, number, 1u << sink) == FS_OK || !s->trusted);
        r->left |= 1u << sink;
    } else if (how < 246) {
        while (fs_plane_relay_waits(s->plane, how & 1, &cursor, &event))
            CHECK(event.kind == FS_EVENT_RELAY_WAITS && event.a < CHANNELS && event.b < 1u << FS_RELAY_ENDS);
    } else if (s->trusted) {
        CHECK(fs_plane_relay_kept(s->plane, number, end, &kept) == FS_OK);
        CHECK(kept.lengths[0] + kept.lengths[1] <= c->window_max);
        CHECK(kept.lengths[0] + kept.lengths[1] <= r->in[sink] - r->out[sink]);
    }
}

/* Everything is ready; returns whether anything came of it. */
static int relay_settle(script *s, uint32_t number)
{
    script_relay *r = &s->channels[number].relay;
    size_t found = 0;
    if (!s->channels[number].relayed)
        return 0;
    CHECK(fs_plane_relay_ready(s->plane, number, 15) == FS_OK || !s->trusted);
    for (int end = 2; end < FS_RELAY_ENDS; end++)
        found += relay_find(s, r, end, 100000);
    return found > 0;
}

/* Nothing moves any more, and the peer gave all the window that was asked for. */
static void relay_check_settled(const script_channel *c)
{
    const script_relay *r = &c->relay;
    if (!c->relayed || !c->open || c->close_asked || c->peer_closed)
        return;
    if (!c->peer_eof) /* all was taken, or dropped: there is credit for it, less than a quarter of the window being owed
                       */
        CHECK(c->window + c->window_max / 4 >= c->window_max);
    for (int end = 0; end < FS_RELAY_ENDS; end++) {
        uint32_t bit = 1u << end;
        if (r->left & bit || (bit < FS_RELAY_SINK && c->eof_asked))
            continue;
        CHECK_INT(r->out[end], r->in[end]);
        CHECK_INT((r->done & bit) != 0, bit < FS_RELAY_SINK ? r->ours[end] < 0 : c->peer_eof);
    }
}

/* The peer's bytes for a sink; of an unknown kind (2), which nobody gets. */
static void peer_relay_data(script *s, uint32_t number, uint32_t kind, uint32_t len)
{
    static uint8_t bytes[LOCAL_PACKET];
    script_channel *c = &s->channels[number];
    if (!peer_may_send(s, c) || c->peer_eof)
        return;
    if (len > c->window)
        len = (uint32_t)c->window;
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = kind > 1 ? 0 : content(c->relay.in[2 + kind] + i);
    if (kind <= 1)
        c->relay.in[2 + kind] += len;
    peer_data(s, number, bytes, len, kind);
}

#endif
